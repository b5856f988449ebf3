"""What support may say of an incident: the words that were approved and published, and nothing newer.

Everything comes from what was frozen for approval (publishing.build_manifest), never from a draft.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db.models import Count, F, Max, Q, QuerySet, TextField
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from channels.models import Channel, Dispatch, Medium, Recipient

from . import approving, publishing
from .models import Decision, Incident, IncidentTicket, IncidentUpdate, KnownQuestion
from .models.decision import name_of

Status = IncidentUpdate.Status
# Which message is the short answer, the best first: the forms of channels that carry few words.
SHORT = ("sms", "post", "push")


@dataclass(frozen=True)
class Answer:
    """What was approved in one language. `short` is empty where no short message was approved with the update."""

    locale: str
    subject: str
    long: str
    short: str

    @property
    def whole(self) -> str:
        """The long answer as it is copied."""
        return "\n\n".join(filter(None, (self.subject, self.long)))


@dataclass(frozen=True)
class Ticket:
    """A linked ticket and its page at the help desk; `url` is empty where nobody said what its address looks like."""

    name: str
    desk: str
    url: str


def last_said(incident: Incident) -> IncidentUpdate | None:
    """The latest update that customers were told."""
    told = incident.updates.filter(status=Status.PUBLISHED)
    return told.select_related("approved_by", "published_by").order_by("-published_at", "-number").first()


def answers(update: IncidentUpdate) -> list[Answer]:
    """The frozen words of a published update in each of its languages. One query."""
    messages = [one for one in (update.manifest or {}).get("messages", ()) if one["purpose"] == Dispatch.Purpose.UPDATE]
    forms = {one.pk: one.capabilities for one in Channel.objects.filter(pk__in={one["channel"] for one in messages})}
    short: dict[tuple[str, str], str] = {}
    for one in messages:
        if can := forms.get(one["channel"]):
            short.setdefault((one["locale"], can.form), one["content"]["parts"].get("text", ""))
    return [
        Answer(
            locale,
            words["subject"],
            words["text"],
            next((short[locale, form] for form in SHORT if short.get((locale, form))), ""),
        )
        for locale, words in update.page.items()
    ]


def approved_in_words(update: IncidentUpdate) -> tuple[datetime | None, str]:
    """When the words were approved, and by whom. Queries once."""
    if update.imported:
        return update.published_at, _("somebody, in the system that it was imported from")
    steps = list(update.decisions.select_related("by").order_by("pk"))
    update.steps = steps  # type: ignore[attr-defined]  # approving.approvals asks no more
    if update.waiver == Decision.Verb.GLASS:
        broke = [one.by for one in steps if one.verb == Decision.Verb.GLASS]
        who = _("%(who)s alone, without a second person") % {"who": name_of(broke[-1] if broke else None)}
        return update.approved_at, who
    if update.waiver:
        return update.approved_at, _("whoever approved its templates")
    people = [name_of(one.by) for one in approving.approvals(update)] or [name_of(update.approved_by)]
    return update.approved_at, get_text_list(people, _("and"))


def being_written(incident: Incident) -> IncidentUpdate | None:
    """What will replace the words, if somebody is at it; planned notices wait for their time."""
    pending = incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None)
    return pending.select_related("author", "corrects").order_by("-number").first()


def overdue(incident: Incident, said: IncidentUpdate | None) -> datetime | None:
    """By when customers were to hear, if that has passed."""
    due = incident.due_after(said.published_at if said else None)
    return due if due and due < timezone.now() else None


def questions(incident: Incident) -> list[KnownQuestion]:
    return list(KnownQuestion.objects.about(incident).select_related("approved_by", "incident"))


def mark(incident: Incident) -> str:
    """What tells whether anything that support goes by has changed; hex. Four queries."""
    rows = incident.updates.filter(Q(status=Status.PUBLISHED) | Q(status__in=IncidentUpdate.PENDING, publish_at=None))
    said = last_said(incident)
    known = KnownQuestion.objects.about(incident).order_by().aggregate(n=Count("pk"), at=Max("updated_at"))
    parts = [
        sorted(rows.values_list("pk", "status", "version")),
        incident.stage,
        bool(overdue(incident, said)),
        known["n"],
        known["at"],
        incident.tickets.count(),
    ]
    return sha256(repr(parts).encode()).hexdigest()[:32]


# ── Tickets ─────────────────────────────────────────────────────────────────


def tickets(incident: Incident) -> list[Ticket]:
    """Those linked to the incident, with the address of each at its help desk. Two queries."""
    rows: Sequence[IncidentTicket] = list(incident.tickets.select_related("recipient"))
    desks = Channel.objects.in_bulk({one.channel_id for one in rows})
    return [_ticket(one, desks.get(one.channel_id)) for one in rows]


def _ticket(one: IncidentTicket, desk: Channel | None) -> Ticket:
    if desk is None or desk.capabilities is None:
        return Ticket(one.name, desk.name if desk else "", "")
    return Ticket(one.name, desk.name, desk.get_provider().ticket_url(one.name))


# ── Who is affected ─────────────────────────────────────────────────────────


def affected(update: IncidentUpdate) -> QuerySet[Recipient]:
    """Recipients at whom the update was aimed: by component, severity and segment, as it was approved."""
    people = publishing.subscribers(publishing.frozen_choice(update))
    return people.exclude(medium__in=[Medium.BROADCAST, Medium.TICKET])


def search(people: QuerySet[Recipient], text: str, attribute: str = "") -> QuerySet[Recipient]:
    """Those of whom the name, the address or the attribute contains `text`."""
    found = people
    if attribute:
        # As text: what JSON is compared with would have to be JSON as well.
        found = found.annotate(account=Cast(KeyTextTransform(attribute, "attributes"), TextField()))
    if not text:
        return found
    wanted = Q(name__icontains=text) | Q(address__icontains=text)
    return found.filter(wanted | Q(account__icontains=text) if attribute else wanted)


def accounts(people: Any) -> QuerySet[Any]:
    """(value, how many recipients) of the attribute that `search` was given; those without it are left out."""
    known = people.filter(account__isnull=False).exclude(account="").order_by()
    return known.values_list("account").annotate(n=Count("pk")).order_by(F("n").desc(), "account")


def without(people: Any) -> int:
    """How many have no such attribute."""
    return people.filter(Q(account__isnull=True) | Q(account="")).count()


LIKELY = ("account", "customer", "company", "organisation", "organization", "tenant", "client")


def likely(known: Iterable[str]) -> str:
    """Of the attributes that recipients have, the one that probably names the account; "" if none does."""
    return next((one for wanted in LIKELY for one in known if one.lower() in (wanted, f"{wanted}_id")), "")
