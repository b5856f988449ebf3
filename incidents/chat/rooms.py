"""A Slack channel for each incident that is bad enough: made, filled with its people, kept up to date, put away.

What is wanted is a row, and what was done is written into it after each call. `tend()` looks for what is missing and
does that: a worker that dies anywhere is followed by another one that does the rest and nothing twice.
"""

import logging
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.text import slugify
from django.utils.translation import gettext as _

from channels import queue
from channels.errors import DeliveryError, Permanent
from incidents import rendering
from incidents.models import ChatAccount, ChatPost, ChatRoom, ChatWorkspace, Incident, IncidentUpdate, Severity
from incidents.models.chat import BUSY
from incidents.models.decision import name_of

from . import blocks, posting
from .slack import LOCKED_OUT

log = logging.getLogger(__name__)
NAME = 80  # characters of a channel's name
TOPIC = 250
PAGES = 20  # of the list of channels that are looked through, 200 on each
LATER = timedelta(minutes=10)  # before what Slack does not let us do is tried again
SLICE = 5  # seconds that a sweep works for at most
AFTERWARDS = timedelta(days=7)  # for which the channel of what is over still hears what is published
MOST_NAMES = 9
# Slack's words for “that is so already”.
DONE = {"already_in_channel", "already_pinned", "already_archived"}


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
                incident=incident, workspace=workspace, defaults={"name": name_for(incident)}
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
    again: Any = None
    problem = ""
    try:
        if room.workspace.usable:
            with translation.override(room.workspace.locale):
                _tend(room)
    except DeliveryError as error:
        posting.heed(room.workspace, error)
        problem = room.workspace.mask(str(error))[:500]
        if isinstance(error, Permanent):
            again = timezone.now() + LATER
            if room.channel and error.code in posting.GONE:  # somebody put it away in Slack
                room.archived_at = timezone.now()
                room.save(update_fields=["archived_at"])
    except Exception:  # the others must not wait for it
        log.exception("channel %s cannot be tended", room.pk)
        again = timezone.now() + LATER
    ChatRoom.objects.filter(pk=pk).update(busy_until=again, problem=problem)


def _tend(room: ChatRoom) -> None:
    if not room.channel:
        _make(room)
    _set_topic(room)
    _invite(room)
    _brief(room)
    _say(room)
    if room.archive_at:
        _once(room, "conversations.archive", channel=room.channel)
        room.archived_at = timezone.now()
        room.save(update_fields=["archived_at"])


def _once(room: ChatRoom, method: str, **arguments: Any) -> None:
    """Call a method whose work may be done already. Raises DeliveryError."""
    try:
        room.workspace.slack.call(method, **arguments)
    except Permanent as error:
        if error.code not in DONE:
            raise


# ── Make ────────────────────────────────────────────────────────────────────


def name_for(incident: Incident, number: int = 1) -> str:
    """“inc-12-card-payments-fail”: what Slack takes as the name of a channel."""
    start, end = f"inc-{incident.pk}", f"-{number}" if number > 1 else ""
    slug = slugify(incident.title)[: NAME - len(start) - len(end) - 1].strip("-_")
    return f"{start}-{slug}{end}" if slug else f"{start}{end}"


def _make(room: ChatRoom) -> None:
    workspace = room.workspace
    for number in range(1, MOST_NAMES + 1):
        again = room.asked_at is not None
        if not again:
            room.asked_at = timezone.now()
            room.save(update_fields=["asked_at", "name"])
        try:
            said = workspace.slack.call("conversations.create", name=room.name, is_private=workspace.rooms_private)
            channel = said.get("channel") or {}
        except Permanent as error:
            if error.code != "name_taken":
                raise
            channel = (_made_before(room) if again else None) or {}
        if channel.get("id"):
            room.channel = str(channel["id"])[:32]
            room.name = str(channel.get("name") or room.name)[:NAME]
            room.save(update_fields=["channel", "name"])
            return
        room.name, room.asked_at = name_for(room.incident, number + 1), None
    raise Permanent("name_taken", _("Slack has channels of all these names already."))


def _made_before(room: ChatRoom) -> dict[str, Any] | None:
    """The channel of this name that we made and did not write down; None if it is somebody else's."""
    assert room.asked_at
    since = (room.asked_at - posting.MARGIN).timestamp()
    cursor = ""
    for _page in range(PAGES):
        more = {"cursor": cursor} if cursor else {}
        said = room.workspace.slack.ask(
            "conversations.list", types="public_channel,private_channel", exclude_archived="true", limit=200, **more
        )
        for one in said.get("channels") or []:
            ours = one.get("creator") == room.workspace.bot and (one.get("created") or 0) >= since
            if one.get("name") == room.name and ours:
                return one
        cursor = str((said.get("response_metadata") or {}).get("next_cursor") or "")
        if not cursor:
            break
    return None


# ── Keep up to date ─────────────────────────────────────────────────────────


def _set_topic(room: ChatRoom) -> None:
    incident = room.incident
    parts = [str(incident.get_severity_display()), incident.stage_in_words]
    if due := incident.update_due_at:
        parts.append(_("customers must hear by %(time)s") % {"time": rendering.moment(due)})
    topic = blocks.safe(" · ".join([*parts, incident.title]))[:TOPIC]
    if topic != room.topic:
        room.workspace.slack.call("conversations.setTopic", channel=room.channel, topic=topic)
        room.topic = topic
        room.save(update_fields=["topic"])


def _invite(room: ChatRoom) -> None:
    """Whoever holds a role in the incident and is connected. Who hands a role on stays: Slack's people decide that."""
    held = room.incident.roles.filter(user__is_active=True).select_related("user")
    people = [one.user for one in held if Incident.objects.for_user(one.user).filter(pk=room.incident_id).exists()]
    known = ChatAccount.objects.filter(workspace=room.workspace, user__in=people).exclude(member__in=room.invited)
    for member in known.order_by("pk").values_list("member", flat=True):
        try:
            _once(room, "conversations.invite", channel=room.channel, users=member)
        except Permanent as error:
            if error.code in LOCKED_OUT or error.code in posting.GONE or error.code == "missing_scope":
                raise
            log.warning("channel %s: a member cannot be invited: %s", room.pk, error.code)
        room.invited = [*room.invited, member]
        room.save(update_fields=["invited"])


def _brief(room: ChatRoom) -> None:
    one, _new = ChatPost.objects.get_or_create(
        key=f"brief-{room.pk}", defaults={"workspace": room.workspace, "room": room, "place": room.channel}
    )
    one.workspace = room.workspace
    if not one.ts:
        posting.post(one, brief(room.incident))
    if one.pinned_at is None:
        _once(room, "pins.add", channel=one.place, timestamp=one.ts)
        one.pinned_at = timezone.now()
        one.save(update_fields=["pinned_at"])


def brief(incident: Incident) -> dict[str, Any]:
    """What whoever comes in must know, and where things are."""
    facts = [
        (_("Severity"), incident.get_severity_display()),
        (_("Began"), rendering.moment(incident.started_at, always_day=True)),
        (_("Components"), ", ".join(one.name for one in incident.components.order_by("name")) or "—"),
        *((one.get_role_display(), name_of(one.user)) for one in incident.roles.select_related("user").order_by("pk")),
    ]
    lines = "\n".join(f"*{blocks.safe(label)}*: {blocks.safe(text)}" for label, text in facts)
    page = f"{settings.PORTAL_URL}{reverse('admin:incidents_incident_change', args=[incident.pk])}"
    links = [blocks.link(page, _("The incident in the portal"))]
    links += [blocks.link(rendering.status_url(incident), _("What customers see"))] if incident.published_at else []
    how = _("Here: /incident clock, stage, draft, help. What is written in this channel goes to nobody else.")
    shown = [
        blocks.header(incident.title),
        blocks.line(lines),
        blocks.line(" · ".join(links)),
        blocks.small(blocks.safe(how)),
    ]
    return blocks.message(shown, blocks.safe(incident.title))


def _say(room: ChatRoom) -> None:
    """Post what was published, in the order in which customers heard it."""
    said = ChatPost.objects.filter(room=room, update__isnull=False).exclude(ts="").values("update")
    told = IncidentUpdate.objects.filter(
        incident=room.incident, status=IncidentUpdate.Status.PUBLISHED, imported=False
    ).exclude(pk__in=said)
    for update in told.order_by("published_at", "number"):
        one, _new = ChatPost.objects.get_or_create(
            key=f"said-{room.pk}-{update.pk}",
            defaults={"workspace": room.workspace, "room": room, "update": update, "place": room.channel},
        )
        one.workspace = room.workspace
        posting.post(one, saying(update))


def saying(update: IncidentUpdate) -> dict[str, Any]:
    """What customers were told, as they read it."""
    words = update.page.get(translation.get_language() or "") or next(iter(update.page.values()), {})
    when = rendering.moment(update.published_at)
    told = _("Published at %(time)s: %(stage)s") % {"time": when, "stage": update.get_stage_display()}
    text = words.get("text", "")
    shown = [
        blocks.small(f"*{blocks.safe(told)}*"),
        blocks.header(words.get("subject", "")),
        *blocks.exact(text)[:30],
    ]
    return blocks.message(shown, blocks.safe(f"{told}. {words.get('subject', '')}"))


def wake(room: ChatRoom) -> None:
    """Have a worker look after a channel now."""
    queue.enqueue("incidents.tasks.tend_room", room.pk)
