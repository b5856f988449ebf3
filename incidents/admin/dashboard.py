"""The first page: what is happening, what is expected of me, by when. Quiet when nothing is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Prefetch, Q, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.models import Batch, Channel, Dispatch
from channels.progress import Progress, progress_of
from channels.tasks import SILENT, worker_seen
from incidents import approving, planning
from incidents.models import (
    CommunicationPlan,
    Decision,
    Incident,
    IncidentComponent,
    IncidentUpdate,
    MessageTemplate,
    Role,
    Scenario,
    Stage,
)
from incidents.models.component import OPERATE
from incidents.rendering import moment

from . import coverage, glance
from . import proposal as proposals
from .first_steps import first_steps


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """UNFOLD["DASHBOARD_CALLBACK"]: in a constant number of queries, whatever is going on."""
    user = request.user
    mine = glance.operable(user)
    sees = user.has_perm("incidents.view_incident")
    incidents = list(glance.with_story(Incident.objects.for_user(user).open())) if sees else []
    sends = user.has_perm("channels.view_dispatch")
    ailing = list(_ailing()) if user.has_perm("channels.view_channel") else []
    cards = sorted((_card(i, user, mine) for i in incidents), key=_urgency)
    found = {
        "cards": [card for card in cards if not card.ahead],
        "planned": [card for card in cards if card.ahead],
        "held": [(card.incident, one) for card in cards for one in card.held],
        "proposals": proposals.cards(user, mine) if sees else [],
        "most_proposals": proposals.MOST_CARDS,
        "turned_away": proposals.turned_away(user),
        "glass": _glass(user) if sees else [],
        "approvals": _approvals(user, mine),
        "returned": list(_returned(user)) if sees else [],
        "flights": _flights(user) if sends else [],
        "ailing": ailing,
        "worker_silent": _worker_silent(),
        "may_declare": user.has_perm("incidents.declare_incident"),
    }
    plans = None
    if user.has_perm("incidents.view_communicationplan"):
        plans = list(CommunicationPlan.objects.prefetch_related("roles"))
    beginning = plans == [] and user.has_perm("incidents.add_communicationplan")
    parts = ("cards", "held", "proposals", "turned_away", "glass", "approvals", "returned", "flights", "ailing")
    busy = any(found[key] for key in parts)
    return (
        context
        | found
        | {
            "title": _("Dashboard"),
            "quiet": not busy,
            "stranger": not user.get_all_permissions(),
            "first_steps": first_steps(user) if beginning else [],
            "readiness": [] if beginning else _readiness(user, plans),
            "coverage": None if beginning else coverage.card(user),
        }
    )


# ── Open incidents ──────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Card:
    """One open incident as the dashboard shows it."""

    incident: Incident
    since: glance.Clock
    promise: glance.Clock | None
    standing: glance.Standing
    roles: list[tuple[str, str]]
    worst: str
    words: dict[str, str] = field(default_factory=dict)
    said_at: Any = None
    held: list[IncidentUpdate] = field(default_factory=list)
    unsaid_move: IncidentUpdate | None = None

    @property
    def shown_steps(self) -> tuple[glance.Step, ...]:
        """The next step; and once the promise is near, that there is nothing new to say."""
        near = self.promise is not None and self.promise.state != "calm"
        return tuple(one for n, one in enumerate(self.standing.steps) if n == 0 or (near and one.no_change))

    @property
    def ahead(self) -> bool:
        """Planned work that has not begun."""
        return self.incident.maintenance and self.incident.stage == Stage.SCHEDULED


def _card(incident: Incident, user: Any, mine: set[int]) -> Card:
    talk: list[IncidentUpdate] = incident.talk  # type: ignore[attr-defined]
    told_at = incident.told_at  # type: ignore[attr-defined]
    said = next((u for u in talk if u.status == IncidentUpdate.Status.PUBLISHED), None)
    operates = glance.may_operate(user, incident, mine)
    return Card(
        incident,
        glance.since(incident),
        glance.promise(incident, told_at),
        glance.standing(incident, glance.pending(talk), user, operates),
        glance.held_roles(incident),
        glance.worst_state(incident),
        glance.words(said) if said else {},
        said.published_at if said else None,
        glance.held(talk),
        planning.unsaid_move(incident, talk),
    )


def _urgency(card: Card) -> Any:
    """The promise that breaks first comes first."""
    clock = card.promise or card.since
    return (clock.kind == "since", clock.at)


# ── What waits for me ───────────────────────────────────────────────────────


def _wrote(user: Any) -> Exists:
    return Exists(Decision.objects.filter(update=OuterRef("pk"), by=user, verb__in=Decision.WRITING))


def _approvals(user: Any, mine: set[int]) -> list[IncidentUpdate]:
    """Updates that wait for this person: in review, not a word theirs, every component theirs to operate."""
    waiting = IncidentUpdate.objects.for_user(user).filter(status=IncidentUpdate.Status.IN_REVIEW)
    if not user.has_perm("incidents.approve_incidentupdate"):
        return []
    waiting = waiting.exclude(author=user).filter(~_wrote(user))
    if not user.has_perm(OPERATE):
        own = IncidentComponent.objects.filter(incident=OuterRef("incident"))
        waiting = waiting.filter(Exists(own), ~Exists(own.exclude(component__in=mine)))
    steps = Prefetch("decisions", Decision.objects.select_related("by").order_by("pk"), "steps")
    found = waiting.select_related("incident__plan_version", "author").prefetch_related("incident__roles", steps)
    found = found.order_by("updated_at")
    return [one for one in found if approving.counts(one, user)]


def _glass(user: Any) -> list[IncidentUpdate]:
    """What went out without a second person and was not reviewed yet; `broke` is the decision."""
    seen = Decision.objects.filter(update=OuterRef("pk"), verb=Decision.Verb.GLASS_SEEN)
    broken = IncidentUpdate.objects.for_user(user).filter(
        ~Exists(seen), status=IncidentUpdate.Status.PUBLISHED, waiver=Decision.Verb.GLASS
    )
    broke = Decision.objects.filter(verb=Decision.Verb.GLASS).select_related("by").order_by("pk")
    found = list(
        broken.select_related("incident").prefetch_related(Prefetch("decisions", broke, "broke")).order_by("pk")
    )
    for one in found:
        one.broke = one.broke[-1]  # type: ignore[attr-defined]
    return found


def _returned(user: Any) -> Iterable[IncidentUpdate]:
    """Drafts of mine that were sent back and not submitted again, with `back`: the rejection."""
    steps = Decision.objects.filter(update=OuterRef("pk")).exclude(verb__in=Decision.WRITING).order_by("-id")
    drafts = (
        IncidentUpdate.objects.for_user(user)
        .filter(Q(author=user) | _wrote(user), status=IncidentUpdate.Status.DRAFT)
        .annotate(last_verb=Subquery(steps.values("verb")[:1]), last_id=Subquery(steps.values("pk")[:1]))
        .filter(last_verb=Decision.Verb.REJECT)
        .select_related("incident")
    )
    found = list(drafts)
    backs = Decision.objects.select_related("by").in_bulk([d.last_id for d in found])  # type: ignore[attr-defined]
    for draft in found:
        draft.back = backs[draft.last_id]  # type: ignore[attr-defined]
    return found


# ── Deliveries in flight ────────────────────────────────────────────────────


@dataclass(frozen=True)
class Flight:
    """An update on its way: people reached so far, and when the last one will be at this pace."""

    update: IncidentUpdate
    reached: int
    failed: int
    total: int
    ends_at: Any
    url: str


def _flights(user: Any) -> list[Flight]:
    left = Batch.objects.filter(dispatch=OuterRef("pk"), done_at__isnull=True)
    moving = Dispatch.objects.filter(
        Q(expanded_at__isnull=True) | Exists(left), cancelled_at__isnull=True, not_before__lte=timezone.now()
    )
    sources = {int(s.partition(":")[2]) for s in moving.values_list("source", flat=True) if s.startswith("update:")}
    updates = IncidentUpdate.objects.for_user(user).filter(pk__in=sources).select_related("incident")
    by_source = {f"update:{u.pk}": u for u in updates}
    rows: dict[str, list[Progress]] = {}
    for one in progress_of(moving.filter(source__in=by_source)):
        rows.setdefault(one.dispatch.source, []).append(one)
    return [_flight(by_source[source], parts) for source, parts in rows.items()]


def _flight(update: IncidentUpdate, parts: list[Progress]) -> Flight:
    reached, total = sum(p.reached for p in parts), sum(p.total for p in parts)
    elapsed = timezone.now() - min(p.dispatch.created_at for p in parts)
    waiting = sum(p.waiting for p in parts)
    done = total - waiting
    ends_at = timezone.now() + elapsed * (waiting / done) if done > 0 and waiting else None
    failed = sum(p.failed + p.unknown for p in parts)
    return Flight(update, reached, failed, total, ends_at, glance.link("incidents_incidentupdate_delivery", update.pk))


# ── Machinery ───────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Ailing:
    channel: Channel
    tone: str
    words: str
    url: str


def _ailing() -> Iterable[Ailing]:
    """Channels that would not send now although somebody meant them to, and why."""
    for channel in Channel.objects.all():
        if words := _health_words(channel):
            yield Ailing(channel, channel.health, words, glance.link("channels_channel_change", channel.pk))


def _health_words(channel: Channel) -> str:
    health = channel.health
    if health == "paused":
        return _("Paused: %(reason)s") % {"reason": channel.paused_reason or _("no reason was given")}
    if health == "unreachable":
        waits = channel.held_until and channel.held_until > timezone.now()
        again = _("tried again at %(time)s") % {"time": moment(channel.held_until)} if waits else _("send a test")
        return _("Not reachable: %(again)s") % {"again": again}
    if health == "held":
        return _("Asked to slow down: waits until %(time)s") % {"time": moment(channel.held_until)}
    if channel.test_error:
        return _("The last test failed: %(error)s") % {"error": channel.test_error}
    return ""


def _worker_silent() -> str:
    """How long the worker has not been heard of, in words; empty while it is well."""
    seen = worker_seen()
    if seen is None:
        return _("The worker has never run, so nothing will be sent. Start it: manage.py worker")
    silence = timezone.now() - seen
    if silence <= SILENT:
        return ""
    return _("The worker has been silent for %(span)s: nothing is being sent. Restart it: manage.py worker") % {
        "span": glance.span(silence.total_seconds())
    }


def _readiness(user: Any, plans: list[CommunicationPlan] | None) -> list[tuple[bool, str, str]]:
    """(ready, sentence, link) for what must be in place before the next incident, as far as this person sees it."""
    rows = []
    if user.has_perm("channels.view_channel"):
        channels = Channel.objects.values_list("enabled", "verified_at")
        tested = sum(bool(enabled and verified) for enabled, verified in channels)
        text = _("%(tested)s of %(all)s channels tested and on") % {"tested": tested, "all": len(channels)}
        rows.append((0 < tested == len(channels), text, glance.link("channels_channel_changelist")))
    if plans is not None:
        staffed = sum(len({r.role for r in plan.roles.all()}) == len(Role) for plan in plans)
        text = _("%(staffed)s of %(all)s plans name all three roles") % {"staffed": staffed, "all": len(plans)}
        rows.append((0 < staffed == len(plans), text, glance.link("incidents_communicationplan_changelist")))
    if user.has_perm("incidents.view_messagetemplate"):
        locales = {locale for plan in plans or () for locale in plan.locales} or {settings.LANGUAGE_CODE}
        stages = {one.pk: one.stages for one in Scenario.objects.all()}
        wanted = sum(len(those) for those in stages.values()) * len(locales)
        written = MessageTemplate.objects.filter(locale__in=locales).values_list("scenario", "stage")
        there = sum(stage in stages[scenario] for scenario, stage in written)
        text = _("%(there)s of %(wanted)s templates written") % {"there": there, "wanted": wanted}
        rows.append((0 < there == wanted, text, glance.link("incidents_messagetemplate_changelist")))
    return rows
