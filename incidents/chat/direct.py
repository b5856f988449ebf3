"""Direct messages to staff: what they are told, and what waits for their approval, with its buttons."""

import logging
import time
from typing import Any

from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from channels import delivery
from channels.errors import DeliveryError, Permanent
from channels.models import Channel
from channels.providers.base import Outcome
from incidents import approving, rendering
from incidents.models import ChatAccount, ChatPost, Component, ComponentStatus, Decision, IncidentUpdate, StaffNotice
from incidents.models.decision import name_of

from . import blocks, clicks, posting

log = logging.getLogger(__name__)
WHOLE = 9000  # characters of words; Slack refuses messages whose blocks are much longer than this
FIRST = 1500  # of those that are too long to be shown whole
MOST_BLOCKS = 40
OWN_WORDS = ("sms", "post", "voice")  # forms that do not carry the words of the page
SLICE = 5  # seconds that a sweep works for at most
Status = IncidentUpdate.Status


def reaches(person: Any) -> bool:
    """Whether somebody can be written to there."""
    return ChatAccount.objects.filter(user=person, workspace__enabled=True).exists()


def tell(notice: StaffNotice) -> tuple[str, str]:
    """Send one notice: what became of it (StaffNotice.Outcome) and Slack's word for that. Trying again is harmless."""
    accounts = ChatAccount.objects.filter(user=notice.user, workspace__enabled=True).select_related("workspace")
    account = accounts.first()
    if account is None:
        return StaffNotice.Outcome.FAILED, _("No Slack account is connected any more.")
    workspace = account.workspace
    if not workspace.usable:
        return StaffNotice.Outcome.WAITING, workspace.problem or _("Slack asked for patience.")
    update = notice.update if notice.kind in StaffNotice.ASKING else None
    if update and not update.may("approve", notice.user):  # the words are for those alone who may decide
        return StaffNotice.Outcome.FAILED, _("This person may not approve it any more.")
    with translation.override(notice.locale):
        message = asking(update, notice) if update else telling(notice)
    one, _new = ChatPost.objects.get_or_create(
        key=f"notice-{notice.pk}",
        defaults={"workspace": workspace, "notice": notice, "update": update},
    )
    if not one.ts and update and one.content_hash != update.content_hash:
        one.content_hash = update.content_hash
        one.save(update_fields=["content_hash"])
    try:
        if not one.place:
            said = workspace.slack.call("conversations.open", users=account.member)
            one.place = str((said.get("channel") or {}).get("id") or "")[:32]
            one.save(update_fields=["place"])
        posting.post(one, message)
    except DeliveryError as error:
        posting.heed(workspace, error)
        # Perhaps it was posted: the next try looks for it first.
        lost = isinstance(error, Permanent)
        outcome = delivery.fate(Outcome(error=error)) if lost else StaffNotice.Outcome.WAITING
        return outcome, workspace.mask(str(error))[:500]
    workspace.complain("")
    return StaffNotice.Outcome.SENT, ""


def telling(notice: StaffNotice) -> dict[str, Any]:
    """What is told with a link alone: a reminder, that a promise broke, that words were sent back."""
    where = blocks.buttons(blocks.button(clicks.OPEN, _("Open"), url=notice.url))
    shown = [blocks.header(notice.subject), *blocks.exact(notice.text), where]
    return blocks.message(shown, blocks.safe(notice.subject))


# ── What waits for approval ─────────────────────────────────────────────────


def asking(update: IncidentUpdate, notice: StaffNotice) -> dict[str, Any]:
    """The exact words that wait, whom they go to, and the buttons.

    Only who reads all of it here may approve here: what is too long, has a picture, or needs a number to be typed is
    approved on the page.
    """
    reach = update.reach()
    words, whole = _words(update)
    why = reach.warning()
    if not why and not whole:
        why = _("This is not all of it: read the rest on the page, and decide there.")
    shown = [
        blocks.header(notice.subject),
        blocks.line(blocks.safe(_first_line(update, notice))),
        blocks.small(_facts(update)),
        {"type": "divider"},
        *words,
        {"type": "divider"},
        blocks.small(blocks.safe(_audience(update, reach))),
        *([blocks.line(f":warning: {blocks.safe(why)}")] if why else []),
        _buttons(update, notice, reach, not why),
    ]
    return blocks.message(shown, blocks.safe(notice.subject))


def _first_line(update: IncidentUpdate, notice: StaffNotice) -> str:
    """Who asks; a notice that comes late says so in its own words."""
    asked = update.decisions.filter(verb=Decision.Verb.SUBMIT).select_related("by").order_by("pk").last()
    if notice.kind != StaffNotice.Kind.APPROVAL or asked is None:
        return notice.text
    return _("%(who)s asks for your approval. This is what would be sent.") % {"who": name_of(asked.by)}


def _words(update: IncidentUpdate) -> tuple[list[dict[str, Any]], bool]:
    """What customers would read, and whether that is all of it."""
    parts = [
        (rendering.language_name(locale), f"{one['subject']}\n\n{one['text']}") for locale, one in update.page.items()
    ]
    texts: dict[str, list[str]] = {}
    frozen = (update.manifest or {}).get("messages", [])
    known = Channel.objects.in_bulk({one["channel"] for one in frozen})
    for one in frozen:
        channel = known.get(one["channel"])
        can = channel.capabilities if channel else None
        if one["purpose"] == "update" and (can is None or can.form in OWN_WORDS):
            name = channel.name if channel else _("a deleted channel")
            texts.setdefault(one["content"]["parts"].get("text", ""), []).append(name)
    parts += [(", ".join(dict.fromkeys(names)), text) for text, names in texts.items() if text]
    found: list[dict[str, Any]] = []
    length, whole = 0, not any(one.get("picture") for one in update.page.values())
    for title, text in parts:
        if length + len(text) > WHOLE or len(found) > MOST_BLOCKS - 8:
            whole = False
            text = text[:FIRST] + " …" if not found else ""
        if text:
            found += [blocks.small(f"*{blocks.safe(title)}*"), *blocks.exact(text)]
            length += len(text)
    return found[:MOST_BLOCKS], whole and len(found) <= MOST_BLOCKS


def _facts(update: IncidentUpdate) -> str:
    """Incident, stage, and the states that are announced."""
    states = {int(pk): ComponentStatus(state).label for pk, state in update.component_states.items()}
    names = [f"{one.name}: {states[one.pk]}" for one in Component.objects.filter(pk__in=states)]
    facts = [str(update.get_stage_display()), *names]
    if update.next_update_at:
        facts.append(_("next update by %(time)s") % {"time": rendering.moment(update.next_update_at)})
    return blocks.safe(" · ".join(facts))


def _audience(update: IncidentUpdate, reach: Any) -> str:
    if not update.notify:
        return _("Nobody is written to: only the status page changes.")
    names = ", ".join(dict.fromkeys(channel.name for channel, _locale, _count in reach.rows))
    count = reach.total
    people = ngettext("Goes to %(n)d person.", "Goes to %(n)d people.", count) % {"n": count}
    ways = _("Channels: %(names)s.") % {"names": names or _("none")}
    return f"{people} {ways}"


def _buttons(update: IncidentUpdate, notice: StaffNotice, reach: Any, here: bool) -> dict[str, Any]:
    from incidents.runbooks import running  # which tell staff things through this module

    shown = []
    if here and not running.that_publish(update):  # of which the page tells
        last = approving.missing(update) <= 1
        by_itself = last and update.publish_at and update.may("publish", notice.user)
        then = _("Nothing is sent by this: somebody publishes it afterwards.")
        if by_itself:
            when = rendering.moment(update.publish_at, always_day=True)
            then = _("It then goes out by itself: %(time)s.") % {"time": when}
        question = blocks.confirm(
            _("Approve exactly these words?"), f"{_audience(update, reach)[:180]} {then}", _("Approve"), _("Cancel")
        )
        signed = clicks.value(update)
        shown.append(blocks.button(clicks.APPROVE, _("Approve"), signed, style="primary", confirm=question))
    shown.append(blocks.button(clicks.SEND_BACK, _("Send back…"), clicks.value(update)))
    shown.append(blocks.button(clicks.OPEN, _("Open"), url=notice.url))
    return blocks.buttons(*shown)


# ── Once it is decided ──────────────────────────────────────────────────────


def close_decided(update_id: int | None = None) -> None:
    """Take the buttons away from what does not wait any more, and say who decided. Of one update, or of all."""
    open_ones = ChatPost.objects.filter(closed_at=None, notice__isnull=False).exclude(content_hash="").exclude(ts="")
    if update_id is not None:
        open_ones = open_ones.filter(update=update_id)
    end = time.monotonic() + SLICE
    rows = open_ones.select_related("workspace", "notice__user", "update__incident__plan_version").order_by("pk")
    for one in rows[:100]:
        if time.monotonic() > end:
            return
        if one.workspace.usable:
            _close(one)


def _close(one: ChatPost) -> None:
    update, notice = one.update, one.notice
    assert update
    assert notice
    with translation.override(notice.locale):
        outcome = decided(update, one.content_hash, notice.user)
        if not outcome:
            return
        shown = [
            blocks.header(update.incident.title),
            blocks.line(blocks.safe(outcome)),
            blocks.buttons(blocks.button(clicks.OPEN, _("Open"), url=clicks.page(update))),
        ]
        message = blocks.message(shown, blocks.safe(f"{update.incident.title}: {outcome}"))
    try:
        posting.change(one, message)
    except DeliveryError as error:
        posting.heed(one.workspace, error)
        if error.code not in posting.FIXED:
            log.info("message %s in the chat keeps its buttons for now: %s", one.pk, one.workspace.mask(str(error)))
            return
    ChatPost.objects.filter(pk=one.pk).update(closed_at=timezone.now())


def decided(update: IncidentUpdate, content_hash: str, person: Any) -> str:
    """What became of the words that this person was asked about, in words; "" while they still wait for them."""
    steps = list(update.decisions.select_related("by").order_by("pk"))
    same = update.content_hash == content_hash
    if same and update.status == Status.IN_REVIEW:
        mine = person.pk in {one.by_id for one in approving.approvals(update)}
        return _("Approved by you. It waits for somebody else too.") if mine else ""
    if same and update.status in (Status.APPROVED, Status.PUBLISHED):
        names = ", ".join(name_of(one.by) for one in approving.approvals(update))
        if update.waiver:
            verb = next((one for one in reversed(steps) if one.verb == update.waiver), None)
            return _("%(who)s %(verb)s.") % {"who": name_of(verb.by), "verb": verb.get_verb_display()} if verb else "—"
        return _("Approved by %(names)s.") % {"names": names}
    for one in reversed(steps):
        what = {"who": name_of(one.by), "why": one.comment}
        if one.verb == Decision.Verb.REJECT and one.content_hash == content_hash:
            return _("%(who)s sent it back: “%(why)s”") % what
        if one.verb == Decision.Verb.WITHDRAW:
            return _("%(who)s withdrew it.") % what
        if one.verb in Decision.WRITING:
            return _("%(who)s changed the words since. These are not the ones that would be sent.") % what
    return _("These words do not wait any more.")
