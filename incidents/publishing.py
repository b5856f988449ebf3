"""From an approved update to what customers see: the frozen manifest, its audience, its dispatches."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial, reduce
from operator import or_
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from channels import delivery, queue
from channels.models import Batch, Channel, Delivery, Dispatch, Medium, Recipient
from channels.providers.base import Capabilities
from channels.tasks import most_workers, wake

from . import asking, linking, rendering
from .errors import Refused, WrongState
from .models import (
    OVER,
    AudienceSegment,
    Component,
    Incident,
    IncidentComponent,
    IncidentUpdate,
    Severity,
    Stage,
    Subscription,
)
from .models.segment import matching
from .statuspage import live

SURVEY_SALT = "feedback.survey"
SURVEY_PATH = "/survey/"
CLEAR_SALT = "feedback.clear"
CLEAR_PATH = "/clear/"


# ── Manifest: what is approved is what is sent ──────────────────────────────


def build_manifest(update: IncidentUpdate) -> dict[str, Any]:
    """Everything that publishing this update will show or send, as plain JSON.

    {"incident", "update", "stage", "title", "component_states", "next_update_at", "expected_resolution_at",
     "page": {locale: {"subject", "text", "html"}},
     "messages": [{"channel", "locale", "purpose", "content": {"parts", "links"}, "audience"}]}

    With a picture, each page has "picture" (UpdatePicture.on_page), and so has the content of messages to channels that
    carry it (UpdatePicture.frozen). A planned notice also has "publish_at", the time at which it goes out by itself; of
    maintenance that was moved there is "starts_at", when the work begins.
    """
    words = {r.locale: rendering.final_words(r, update) for r in update.renditions.all()}
    chosen = _freeze(choice(update))
    picture = update.picture
    asked = asking.survey(update.incident) if update.ask_feedback else None
    page: dict[str, dict[str, Any]] = {}
    for locale, text in words.items():
        page[locale] = {**rendering.page(text, update, locale)}
        if picture:
            page[locale]["picture"] = picture.on_page(locale)
    messages = []
    for channel in sending_channels(update):
        can = channel.get_provider().capabilities
        form = can.form
        for locale in channel_locales(channel, words, update):
            parts = rendering.parts(form, words[locale], update, locale)
            one = _message(channel, locale, "update", parts, chosen, _was_it_clear(update) if form == "email" else {})
            if picture and can.pictures:
                one["content"]["picture"] = picture.frozen(locale)
            messages.append(one)
            if asked and form in ("email", "sms"):
                messages += _invitations(channel, locale, update, asked)
    return {
        "incident": update.incident.uid,
        "update": update.number,
        "stage": update.stage,
        "title": update.incident.title,
        "component_states": update.component_states,
        "next_update_at": update.next_update_at.isoformat() if update.next_update_at else None,
        "expected_resolution_at": (
            update.expected_resolution_at.isoformat() if update.expected_resolution_at else None
        ),
        "page": page,
        "messages": messages,
        # Not there at all in others: what waits for approval keeps its hash.
        **({"publish_at": update.publish_at.isoformat()} if update.publish_at else {}),
        **({"starts_at": update.starts_at.isoformat()} if update.starts_at else {}),
    }


def _message(
    channel: Channel, locale: str, purpose: str, parts: dict, audience: dict, links: dict | None = None
) -> dict[str, Any]:
    content = {"parts": parts, "links": links or {}}
    return {"channel": channel.pk, "locale": locale, "purpose": purpose, "content": content, "audience": audience}


def _was_it_clear(update: IncidentUpdate) -> dict[str, Any]:
    """The link under an email by which its reader says whether it was clear."""
    return {"clear_url": {"path": CLEAR_PATH, "salt": CLEAR_SALT, "subject": update.pk}}


def _invitations(channel: Channel, locale: str, update: IncidentUpdate, asked: asking.Asked) -> list[dict[str, Any]]:
    """What invites to the survey, and the reminder to those who do not answer, if there is to be one."""
    form = channel.get_provider().capabilities.form
    links = {"survey_url": {"path": SURVEY_PATH, "salt": SURVEY_SALT, "subject": update.incident_id}}
    told = {"told": update.incident.uid, "survey": asked.version}
    if asked.share < 100:
        told["share"] = asked.share
    parts = rendering.survey_parts(form, update, locale, asked)
    found = [_message(channel, locale, Dispatch.Purpose.SURVEY.value, parts, told, links)]
    if asked.remind_days:
        again = told | {"reminds": update.pk, "after_days": asked.remind_days}
        parts = rendering.survey_parts(form, update, locale, asked, reminder=True)
        found.append(_message(channel, locale, Dispatch.Purpose.REMINDER.value, parts, again, links))
    return found


def manifest_hash(manifest: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a manifest; hex, 64 characters."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sent_hash(update: IncidentUpdate) -> str:
    """The hash of what really was queued: the manifest with its messages read back from the dispatches."""
    rows = dispatches(update).order_by("id")
    messages = [
        {
            "channel": d.channel_id,
            "locale": d.locale,
            "purpose": d.purpose,
            "content": d.content,
            "audience": d.audience,
        }
        for d in rows
    ]
    return manifest_hash({**(update.manifest or {}), "messages": messages})


def sending_channels(update: IncidentUpdate) -> list[Channel]:
    """Channels this update goes out by: the chosen ones if somebody is to be notified, and each page, always.

    The live page shows every update, so a copy of it must.
    """
    chosen = update.channels.through.objects.filter(incidentupdate=update, channel=OuterRef("pk"))
    found = Channel.objects.annotate(chosen=Exists(chosen)).filter(Q(chosen=True) | Q(enabled=True)).order_by("pk")
    return [one for one in found if (one.enabled if one.is_page else one.chosen and update.notify)]


def channel_locales(channel: Channel, available: Any, update: IncidentUpdate) -> list[str]:
    """The languages a channel will carry: a broadcast channel its own, tickets one, the others all that are written."""
    can = channel.get_provider().capabilities
    default = update.default_locale if can.medium == Medium.TICKET else ""
    return languages(can, channel.locales, available, default)


def languages(can: Capabilities, own: list[str], available: Iterable[str], default: str) -> list[str]:
    """Of the languages that are there, those that a channel carries which can this; `own` are its chosen ones."""
    found = list(available)
    if can.medium == Medium.TICKET:
        return [locale for locale in found if locale == default] or found[:1]
    own = own if can.broadcast else []
    return [locale for locale in found if not own or locale in own]


# ── Audience ────────────────────────────────────────────────────────────────


def choice(update: IncidentUpdate, segments: Iterable[AudienceSegment] | None = None) -> dict[str, Any]:
    """By what an update's people are chosen, as it stands, or with other `segments`: see subscribers()."""
    rules = [one.rule for one in (update.segments.order_by("name") if segments is None else segments)]
    components = sorted(int(k) for k in update.component_states)
    return {
        "components": components,
        "severity": update.incident.severity,
        "maintenance": update.incident.maintenance,
        # Not there at all in others: what waits for approval keeps its hash.
        **({"received": update.corrects_id} if update.corrects_id else {}),
        **({"private": True} if _private(components) else {}),
        **({"segments": rules} if rules else {}),
    }


def _private(components: Iterable[int]) -> bool:
    """Whether these are private components, all of them."""
    found = list(Component.objects.filter(pk__in=components).values_list("private", flat=True))
    return bool(found) and all(found)


def check_private(update: IncidentUpdate) -> None:
    """Of private components alone nothing is said where everybody reads it, and only those are told who may be.

    Raises Refused, or WrongState if what was frozen is from before a component became private, or public.
    """
    private = _private(int(key) for key in update.component_states)
    if private != bool(frozen_choice(update).get("private")):
        text = _("A component was made private, or public, since approval was asked for; ask for approval again.")
        raise WrongState(text)
    if not private:
        return
    public = [one.name for one in sending_channels(update) if one.get_provider().capabilities.public]
    if public:
        text = _("Everybody reads what goes out by %(channels)s, but all components of this incident are private. ")
        text += _("Leave it out, or name a component that is not private.")
        raise Refused(text % {"channels": ", ".join(public)})


def _freeze(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the components' groups, which may be changed between approval and sending."""
    groups = Component.objects.filter(pk__in=chosen["components"], group__isnull=False).order_by("group_id")
    return {**chosen, "groups": list(groups.values_list("group_id", flat=True).distinct())}


def frozen_choice(update: IncidentUpdate) -> dict[str, Any]:
    """By what its people were chosen when approval was asked for; in a draft, as it stands."""
    for message in (update.manifest or {}).get("messages", []):
        if message["purpose"] == Dispatch.Purpose.UPDATE:
            return message["audience"]
    return choice(update)


def subscribers(chosen: Mapping[str, Any]) -> QuerySet[Recipient]:
    """Recipients who want to hear of this: {"components": [key], "groups": [key], "severity", "maintenance",
    "private", "segments": [{"name", "conditions"}], "received": key of an update}.

    With segments: those among them who are in at least one. With "received", everybody besides whom that update
    reached, or perhaps reached: whatever they want to hear of by now, they read what is corrected.

    If it is private, those who are subscribed to its very components: "everything" is everything public.

    Without "groups": those that the components are in now. Without "severity" and "maintenance", as in what was
    approved before there was such a choice: everybody of these components.
    """
    components = list(chosen.get("components", []))
    groups = chosen.get("groups")
    if groups is None:
        groups = Component.objects.filter(pk__in=components, group__isnull=False).order_by().values("group")
    what = Q(component__in=components)
    if not chosen.get("private"):
        what |= Q(component__isnull=True, group__isnull=True) | Q(group__in=groups)
    wanted = Subscription.objects.filter(what, recipient=OuterRef("pk"))
    if chosen.get("maintenance"):
        wanted = wanted.filter(maintenance=True)  # work is announced whatever it is called: no severity
    elif "severity" in chosen:
        wanted = wanted.filter(least_severity__in=[one for one in Severity.values if one >= chosen["severity"]])
    found = Q(Exists(wanted))
    if rules := chosen.get("segments"):
        found &= reduce(or_, (matching(one["conditions"]) for one in rules))
    if received := chosen.get("received"):
        got = (*Delivery.REACHED, Delivery.Status.UNKNOWN)
        read = Delivery.objects.filter(
            recipient=OuterRef("pk"), dispatch__source=f"update:{received}", dispatch__purpose="update", status__in=got
        )
        found |= Q(Exists(read))
    return Recipient.objects.filter(found)


def told(incident: Incident) -> QuerySet[Recipient]:
    """Recipients whom a message about this incident reached."""
    reached = Delivery.objects.filter(
        recipient=OuterRef("pk"),
        dispatch__thread=incident.thread,
        dispatch__purpose=Dispatch.Purpose.UPDATE,
        status__in=Delivery.REACHED,
    )
    return Recipient.objects.filter(Exists(reached))


def invited(incident: Incident, chosen: Mapping[str, Any]) -> QuerySet[Recipient]:
    """Whom a survey is sent to: {"told": the incident's uid, "share" in percent if it is not all of them}.

    With "reminds", the key of the update that was asked with: those whom that reached and who have not answered.
    """
    people = asking.drawn(told(incident), incident, chosen.get("share", 100))
    if update := chosen.get("reminds"):
        got = Delivery.objects.filter(
            recipient=OuterRef("pk"),
            dispatch__source=f"update:{update}",
            dispatch__purpose=Dispatch.Purpose.SURVEY,
            status__in=Delivery.REACHED,
        )
        people = asking.unanswered(people.filter(Exists(got)), incident, update)
    return people


def audience(
    incident: Incident,
    channel: Channel,
    locale: str,
    purpose: str,
    chosen: Mapping[str, Any],
    locales: list[str],
    default: str,
) -> QuerySet[Recipient]:
    """Who gets one message: by channel, by language (an unwritten one reads the default), by subscription.

    Tickets are linked instead of subscribed, and are written to once, in whatever language.
    """
    can = channel.get_provider().capabilities
    if can.broadcast:
        return delivery.broadcast_recipient(channel)
    if can.medium == Medium.TICKET:
        return delivery.audience(linking.tickets(incident, channel), channel)
    people = subscribers(chosen) if purpose == Dispatch.Purpose.UPDATE else invited(incident, chosen)
    language = Q(locale=locale)
    if locale == default:
        language |= ~Q(locale__in=locales)
    return delivery.audience(people, channel).filter(language)


@dataclass(frozen=True)
class Reach:
    """How many people an update goes to: `rows` are (channel, locale, people); `segments` the names of those chosen."""

    update: IncidentUpdate
    rows: list[tuple[Channel, str, int]] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    private: bool = False  # it hits private components alone

    @property
    def total(self) -> int:
        """People who get a message of their own; a public post reaches whoever reads it and is not counted."""
        return sum(n for channel, _locale, n in self.rows if not channel.get_provider().capabilities.broadcast)

    def nobody(self) -> str:
        """Why nobody would be told; empty if somebody is, or if nobody is meant to be."""
        if not self.update.notify:
            return ""
        able = [channel.get_provider().capabilities for channel, _locale, _n in self.rows if not channel.is_page]
        # That no ticket is linked is no surprise, as long as the public hears of it.
        personal = [can for can in able if not can.broadcast and can.medium != Medium.TICKET]
        if self.total or (not personal and any(can.broadcast for can in able)):
            return ""
        if not self.rows:
            return _("Nobody would receive this: no channel is chosen that sends.")
        return _("Nobody would receive this: no subscriber matches.")

    def warning(self) -> str:
        """Why the number must be typed to confirm; empty if it need not."""
        if not self.update.notify:
            return ""
        if nobody := self.nobody():
            return nobody + " " + _("Type 0 to confirm that this is meant.")
        last = (
            IncidentUpdate.objects.filter(status="published", notify=True, imported=False, approved_count__gt=0)
            .order_by("-published_at")
            .values_list("approved_count", flat=True)
            .first()
        )
        many = self.total > settings.AUDIENCE_CONFIRM_ABOVE or (last is not None and self.total > 10 * last)
        if many:
            return _("This goes to %(count)s people, far more than usual. Type the number to confirm.") % {
                "count": self.total
            }
        return ""

    def check_against(self, approved: int) -> None:
        """Raises WrongState if the audience is no longer what was approved.

        It may be a tenth off, or as many as were approved up to 100: subscribers come and go between two clicks.
        """
        if abs(self.total - approved) > max(approved // 10, min(approved, 100)):
            raise WrongState(
                _("The audience changed from %(then)s to %(now)s people since it was approved; ask for approval again.")
                % {"then": approved, "now": self.total}
            )


def reach(
    update: IncidentUpdate,
    channels: list[Channel] | None = None,
    locales: list[str] | None = None,
    segments: list[AudienceSegment] | None = None,
) -> Reach:
    """Count the audience of an update as it stands (not the survey, which goes to those who were told).

    `channels`, `locales` and `segments` stand in for the saved ones, to count for what is being typed.
    """
    if locales is None:
        locales = list(update.renditions.values_list("locale", flat=True))
    chosen = frozen_choice(update) if channels is None else choice(update, segments)
    rows = []
    for channel in sending_channels(update) if channels is None else channels:
        for locale in channel_locales(channel, locales, update):
            people = audience(
                update.incident,
                channel,
                locale,
                Dispatch.Purpose.UPDATE,
                chosen,
                locales,
                update.default_locale,
            )
            rows.append((channel, locale, people.count()))
    return Reach(update, rows, [one["name"] for one in chosen.get("segments", ())], bool(chosen.get("private")))


# ── Publish ─────────────────────────────────────────────────────────────────


def announce(update: IncidentUpdate, incident: Incident) -> None:
    """Bring the incident, as the public sees it, to what the update says. Inside publish()'s transaction."""
    now = update.published_at
    if incident.maintenance and incident.stage == Stage.SCHEDULED:
        incident.started_at = _work_begins(update, incident)
    incident.stage = update.stage
    incident.told_severity = incident.severity
    incident.published_at = incident.published_at or now
    incident.next_update_at = update.next_update_at
    incident.expected_resolution_at = update.expected_resolution_at
    if update.stage == Stage.MONITORING and not incident.monitoring_at:
        incident.monitoring_at = now
    if update.stage in OVER:
        incident.resolved_at = incident.resolved_at or now
        incident.next_update_at = None
    else:
        incident.resolved_at = None
    incident.save()
    for component_id, state in update.component_states.items():
        IncidentComponent.objects.update_or_create(
            incident=incident, component_id=int(component_id), defaults={"status": state}
        )
    transaction.on_commit(live.look_again)


def _work_begins(update: IncidentUpdate, incident: Incident) -> datetime:
    """When work that was ahead begins, now that this is said; it may begin earlier than planned."""
    at = update.starts_at or incident.started_at
    if update.published_at and update.stage in (Stage.IN_PROGRESS, Stage.VERIFYING):
        return min(at, update.published_at)
    return at


def dispatch(update: IncidentUpdate) -> None:
    """Queue what was approved: one dispatch per message of the manifest. Inside publish()'s transaction."""
    manifest = update.manifest or {}
    if manifest_hash(manifest) != update.approved_hash:
        raise Refused(_("The content is not what was approved. Nothing was sent."))
    plan = update.incident.plan_version
    for message in manifest["messages"]:
        survey = message["purpose"] != Dispatch.Purpose.UPDATE
        delay = timedelta(minutes=plan.survey_delay_minutes if survey and plan else 0)
        delay += timedelta(days=message["audience"].get("after_days", 0))
        one = Dispatch.objects.create(
            source=f"update:{update.pk}",
            thread=update.incident.thread,
            purpose=message["purpose"],
            channel_id=message["channel"],
            locale=message["locale"],
            content=message["content"],
            audience=message["audience"],
            approved_hash=update.approved_hash,
            not_before=timezone.now() + delay,
        )
        if not survey:
            transaction.on_commit(partial(queue.enqueue, "incidents.tasks.expand", one.pk))


def expand(one: Dispatch, first: Callable[[], object] | None = None) -> int:
    """Find the people of a dispatch and cut them into batches; how many. Harmless to repeat.

    `first` is called when the first of them can be written to.
    """
    update = IncidentUpdate.objects.select_related("incident__plan_version").get(
        pk=int(one.source.removeprefix("update:"))
    )
    locales = list((update.manifest or {})["page"])
    people = audience(
        update.incident,
        one.channel,
        one.locale,
        one.purpose,
        one.audience,
        locales,
        update.default_locale,
    )
    count = delivery.expand(one, people, first)
    for _worker in range(min(one.batches.filter(done_at=None).count(), most_workers())):
        wake(one.via_id)
    return count


def waiting() -> QuerySet[Dispatch]:
    """Dispatches whose people are still to be found. A survey waits until the incident's messages are out."""
    busy = Batch.objects.filter(
        dispatch__thread=OuterRef("thread"),
        dispatch__purpose=Dispatch.Purpose.UPDATE,
        dispatch__cancelled_at__isnull=True,
        done_at__isnull=True,
    )
    unsent = Dispatch.objects.filter(
        thread=OuterRef("thread"), purpose=Dispatch.Purpose.UPDATE, expanded_at__isnull=True, cancelled_at__isnull=True
    )
    ready = Dispatch.objects.filter(expanded_at__isnull=True, cancelled_at__isnull=True, not_before__lte=Now())
    # A message stuck behind a dead channel must not keep everybody else from being asked.
    patience = timezone.now() - timedelta(hours=1)
    return ready.filter(
        Q(purpose=Dispatch.Purpose.UPDATE) | Q(not_before__lt=patience) | (~Exists(busy) & ~Exists(unsent))
    )


def dispatches(update: IncidentUpdate) -> QuerySet[Dispatch]:
    return Dispatch.objects.filter(source=f"update:{update.pk}")


def people_reached(incident: Incident) -> int:
    """Distinct recipients whom at least one message of the incident reached."""
    return told(incident).count()
