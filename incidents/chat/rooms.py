"""A channel for each incident that is bad enough: made, filled with its people, kept up to date, put away.

What is wanted is a row, and what was done is written into it after each call. `tend()` looks for what is missing and
does that: a worker that dies anywhere is followed by another one that does the rest and nothing twice. How each chat
does it is in `slack_room` and `teams_room`.
"""

import logging
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from channels import queue
from channels.errors import DeliveryError, Permanent
from incidents import rendering
from incidents.models import ChatPost, ChatRoom, ChatWorkspace, Incident, IncidentUpdate, Severity
from incidents.models.chat import BUSY
from incidents.models.decision import name_of

from . import chats, posting
from .room import Entry, Room

log = logging.getLogger(__name__)
LATER = timedelta(minutes=10)  # before what the chat does not let us do is tried again
SOON = timedelta(seconds=35)  # before what the chat does by itself is looked at again; Teams wants more than 30
SLICE = 5  # seconds that a sweep works for at most
AFTERWARDS = timedelta(days=7)  # for which the channel of what is over still hears what is published
MOST_NAMES = 9


def of(incident: Incident) -> list[ChatRoom]:
    """The channels of an incident. One query."""
    return list(incident.chat_rooms.select_related("workspace").order_by("pk"))


def want() -> None:
    """Write down a channel for each open incident that is to have one."""
    for workspace in ChatWorkspace.objects.filter(enabled=True).exclude(rooms_from=""):
        bad = [one.value for one in Severity if one.value <= workspace.rooms_from]
        new = Incident.objects.open().filter(severity__in=bad, maintenance=False, imported_from=None)
        for incident in new.exclude(chat_rooms__workspace=workspace).order_by("pk")[:50]:
            ChatRoom.objects.get_or_create(
                incident=incident, workspace=workspace, defaults={"name": chats.name_for(workspace, incident)}
            )


def tend_all() -> None:
    """Do what is missing in all channels."""
    want()
    end = time.monotonic() + SLICE
    now = timezone.now()
    usable = Q(workspace__enabled=True) & (Q(workspace__held_until=None) | Q(workspace__held_until__lt=now))
    alive = Q(incident__resolved_at=None) | Q(incident__resolved_at__gt=now - AFTERWARDS) | ~Q(archive_at=None)
    free = Q(busy_until=None) | Q(busy_until__lt=now)
    rooms = ChatRoom.objects.filter(usable, alive, free, archived_at=None)
    # Those that were not looked at for the longest time first.
    for pk in rooms.order_by(F("busy_until").asc(nulls_first=True), "pk").values_list("pk", flat=True)[:200]:
        if time.monotonic() > end:
            return
        tend(pk)


def tend(pk: int) -> None:
    """Do what is missing in one channel, unless somebody does."""
    now = timezone.now()
    mine = ChatRoom.objects.filter(pk=pk, archived_at=None).filter(Q(busy_until=None) | Q(busy_until__lt=now))
    if not mine.update(busy_until=now + BUSY):
        return
    room = ChatRoom.objects.select_related("workspace", "incident__plan_version").get(pk=pk)
    here = chats.room_of(room)
    again: Any = None
    problem = ""
    try:
        if room.workspace.usable:
            with translation.override(room.workspace.locale):
                _tend(here)
        if room.archiving and not room.archived_at:
            again = timezone.now() + SOON
    except DeliveryError as error:
        posting.heed(room.workspace, error, here.locked_out)
        problem = room.workspace.mask(str(error))[:500]
        if isinstance(error, Permanent):
            again = timezone.now() + LATER
            if room.channel and here.is_gone(error):  # somebody put it away in the chat itself
                room.archived_at = timezone.now()
                room.save(update_fields=["archived_at"])
    except Exception:  # the others must not wait for it
        log.exception("channel %s cannot be tended", room.pk)
        again = timezone.now() + LATER
    ChatRoom.objects.filter(pk=pk).update(busy_until=again, problem=problem)


def _tend(here: Room) -> None:
    room = here.row
    topic = here.topic_of(_topic(room.incident))
    if not room.channel:
        _make(here, topic)
    try:
        if topic != room.topic and not room.archiving:
            here.describe(topic)
            room.topic = topic
            room.save(update_fields=["topic"])
        if not room.archiving:
            here.invite(_people(room))
            _speak(here)
    except Permanent:
        if not room.archive_at:  # what cannot be said must not keep it from being put away
            raise
    if room.archive_at and here.archive():
        room.archived_at = timezone.now()
        room.save(update_fields=["archived_at"])


def _make(here: Room, topic: str) -> None:
    room, people = here.row, _people(here.row)
    for number in range(1, MOST_NAMES + 1):
        again = room.asked_at is not None
        if not again:
            room.asked_at = timezone.now()
            room.save(update_fields=["asked_at", "name"])
        if made := here.create(again, topic, people):
            room.channel, room.name, room.link = made.channel[:120], made.name, made.link[:1000]
            room.topic = made.topic
            room.save(update_fields=["channel", "name", "link", "topic"])
            return
        room.name, room.asked_at = here.name_for(room.incident, number + 1), None
    raise Permanent("name_taken", _("There are channels of all these names already."))


# ── Keep up to date ─────────────────────────────────────────────────────────


def _topic(incident: Incident) -> str:
    parts = [str(incident.get_severity_display()), incident.stage_in_words]
    if due := incident.update_due_at:
        parts.append(_("customers must hear by %(time)s") % {"time": rendering.moment(due)})
    return " · ".join([*parts, incident.title])


def _people(room: ChatRoom) -> list[Any]:
    """Whoever holds a role in the incident and may see it. Who hands a role on stays: that is for people to decide."""
    held = room.incident.roles.filter(user__is_active=True).select_related("user").order_by("pk")
    people = dict.fromkeys(one.user for one in held)
    return [one for one in people if Incident.objects.for_user(one).filter(pk=room.incident_id).exists()]


def _speak(here: Room) -> None:
    """The brief, then what was published in the order in which customers heard it, then that it is over."""
    room = here.row
    one = _post(here, f"brief-{room.pk}", lambda: brief(here))
    here.pin(one)
    said = ChatPost.objects.filter(room=room, update__isnull=False).exclude(ts="").values("update")
    told = IncidentUpdate.objects.filter(
        incident=room.incident, status=IncidentUpdate.Status.PUBLISHED, imported=False
    ).exclude(pk__in=said)
    for update in told.order_by("published_at", "number"):
        _post(here, f"said-{room.pk}-{update.pk}", lambda update=update: saying(update), update=update)
    if ended := room.incident.resolved_at:
        _post(here, f"over-{room.pk}-{ended.timestamp():.0f}", lambda: last_word(room.incident))


def _post(here: Room, key: str, entry: Any, **about: Any) -> ChatPost:
    """Say it once. `entry` makes what is said, if it has not been."""
    room = here.row
    defaults = {"workspace": room.workspace, "room": room, "place": room.channel, **about}
    one, _new = ChatPost.objects.get_or_create(key=key, defaults=defaults)
    one.workspace = room.workspace
    if not one.ts:
        here.post(one, entry())
    return one


def brief(here: Room) -> Entry:
    """What whoever comes in must know, and where things are."""
    incident = here.row.incident
    facts = [
        (_("Severity"), incident.get_severity_display()),
        (_("Began"), rendering.moment(incident.started_at, always_day=True)),
        (_("Components"), ", ".join(one.name for one in incident.components.order_by("name")) or "—"),
        *((one.get_role_display(), name_of(one.user)) for one in incident.roles.select_related("user").order_by("pk")),
    ]
    links = [(page_of(incident), _("The incident in the portal"))]
    links += [(rendering.status_url(incident), _("What customers see"))] if incident.published_at else []
    return Entry(incident.title, facts=facts, links=links, note=str(here.how))


def page_of(incident: Incident) -> str:
    return f"{settings.PORTAL_URL}{reverse('admin:incidents_incident_change', args=[incident.pk])}"


def saying(update: IncidentUpdate) -> Entry:
    """What customers were told, as they read it."""
    words = update.page.get(translation.get_language() or "") or next(iter(update.page.values()), {})
    when = rendering.moment(update.published_at)
    told = _("Published at %(time)s: %(stage)s") % {"time": when, "stage": update.get_stage_display()}
    return Entry(words.get("subject", ""), lead=told, text=words.get("text", ""))


def last_word(incident: Incident) -> Entry:
    """That it is over."""
    when = rendering.moment(incident.resolved_at, always_day=True)
    over = _("Dismissed %(time)s: nothing was published.") if incident.was_dismissed else _("Over since %(time)s.")
    note = _("This channel stays until somebody archives it on the page of the incident.")
    return Entry(over % {"time": when}, links=[(page_of(incident), _("The incident in the portal"))], note=note)


def wake(room: ChatRoom) -> None:
    """Have a worker look after a channel now."""
    queue.enqueue("incidents.tasks.tend_room", room.pk)
