"""Tell staff something, by email, SMS and in their chat: written down first, sent by a worker, each thing once.

A notice says little and links to the page where something is to be done, which asks for the login.
"""

import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from channels import delivery, queue
from channels.models import Channel, Medium
from channels.providers.base import Addressee, Message

from . import approving, rendering
from .chat import direct
from .models import ComponentStatus, Decision, Incident, IncidentUpdate, Proposal, StaffContact, StaffNotice
from .models.decision import name_of

Outcome = StaffNotice.Outcome
PAUSE = timedelta(seconds=30)  # before what surely was not sent is tried again
PATIENCE = timedelta(minutes=30)  # a reminder that comes later than this says nothing true
LONG_PATIENCE = timedelta(days=1)  # what asks about an update is true for as long as that waits
LOST = timedelta(minutes=2)  # a worker that has been sending for this long is gone
SLICE = 5  # seconds that a sweep sends for at most
Words = Callable[[], tuple[str, str]]  # subject and text, in the active language


def tell(
    people: Iterable[Any],
    kind: str,
    about: str,
    words: Words,
    path: str,
    incident: Incident | None = None,
    update: IncidentUpdate | None = None,
    proposal: Proposal | None = None,
) -> None:
    """Write down a notice to each of `people`, and to the chat that the plan names for staff, unless there is one.

    `about` tells it from others of its kind: the same is told once to each. `path` is the page to open. It is about
    an incident, or about a proposal, of which no plan is known for certain, so that no chat is told.
    """
    plan = incident.plan_version if incident else None
    tell_only([*people, *(plan.staff_channels() if plan else ())], kind, about, words, path, incident, update, proposal)


def tell_only(
    whom: Iterable[Any],
    kind: str,
    about: str,
    words: Words,
    path: str,
    incident: Incident | None,
    update: IncidentUpdate | None = None,
    proposal: Proposal | None = None,
) -> None:
    """The same, to these people and chat channels alone."""
    wanted = [one for found in dict.fromkeys(whom) for one in _to(found)]
    for one in wanted:
        one.kind, one.incident, one.update, one.proposal = kind, incident, update, proposal
        whom = f"u{one.user_id}" if one.user_id else f"c{one.channel_id}"
        one.key = f"{kind}:{about}:{whom}:{one.medium}"
        one.url = f"{settings.PORTAL_URL}{path}"
        with translation.override(one.locale):
            subject, one.text = words()
        one.subject = subject[:300]
    with transaction.atomic():
        StaffNotice.objects.bulk_create(wanted, ignore_conflicts=True)
        fresh = StaffNotice.objects.filter(key__in=[one.key for one in wanted], outcome=Outcome.WAITING, tried_at=None)
        for pk in fresh.values_list("pk", flat=True):
            queue.enqueue("incidents.tasks.tell_staff", pk)


def _to(person: Any) -> list[StaffNotice]:
    if isinstance(person, Channel):
        return [StaffNotice(channel=person, medium=Medium.BROADCAST, locale=settings.LANGUAGE_CODE)]
    contact = StaffContact.objects.filter(user=person).first() or StaffContact(user=person)
    media: list[str] = [Medium.EMAIL] if contact.by_email and person.email else []
    media += [Medium.SMS] if contact.phone else []
    media += [StaffNotice.DIRECT] if contact.by_slack and direct.reaches(person) else []
    return [StaffNotice(user=person, medium=medium, locale=contact.locale) for medium in media]


# ── Send ────────────────────────────────────────────────────────────────────


def send(notice_id: int) -> None:
    """Send one notice, unless somebody has."""
    mine = StaffNotice.objects.filter(pk=notice_id, outcome=Outcome.WAITING)
    if not mine.update(outcome=Outcome.SENDING, tried_at=timezone.now()):
        return
    one = StaffNotice.objects.select_related("user", "channel", "incident__plan_version", "update").get(pk=notice_id)
    one.outcome, one.detail = (Outcome.OBSOLETE, "") if _is_obsolete(one) else _send(one)
    one.save(update_fields=["outcome", "detail"])


def send_waiting() -> None:
    """What no worker was woken for, and what could not be handed over. What a lost worker was sending is sent again:
    to be told twice harms nobody here.
    """
    now = timezone.now()
    StaffNotice.objects.filter(outcome=Outcome.SENDING, tried_at__lt=now - LOST).update(outcome=Outcome.WAITING)
    unsent = StaffNotice.objects.filter(outcome=Outcome.WAITING)
    unsent.filter(created_at__lt=now - PATIENCE, update=None).update(outcome=Outcome.FAILED)
    unsent.filter(created_at__lt=now - LONG_PATIENCE).update(outcome=Outcome.FAILED)
    end = time.monotonic() + SLICE
    for pk, tried_at in unsent.order_by("pk").values_list("pk", "tried_at")[:500]:
        if time.monotonic() > end:
            return
        if tried_at is None or tried_at < now - PAUSE:
            send(pk)


def _is_obsolete(one: StaffNotice) -> bool:
    """Whether it would ask for what is decided already, or warn of a promise that was kept meanwhile."""
    if one.kind in (StaffNotice.Kind.RUNBOOK, StaffNotice.Kind.EVENTS):
        return False
    if one.kind == StaffNotice.Kind.DECLARED:
        return bool(one.incident and one.incident.is_over)
    if one.update:
        return _is_settled(one, one.update)
    if one.incident is None:
        first, last = one.key.split(":")[1].split("-")
        return not Proposal.objects.open().filter(pk__range=(int(first), int(last))).exists()
    due = one.incident.update_due_at
    return due is None or about(due) not in one.key


def _is_settled(one: StaffNotice, update: IncidentUpdate) -> bool:
    """Whether the words that it asks about were decided, or somebody has asked anew, or changed them, since."""
    returned = one.kind == StaffNotice.Kind.RETURNED
    if update.status != (IncidentUpdate.Status.DRAFT if returned else IncidentUpdate.Status.IN_REVIEW):
        return True
    step = Decision.Verb.REJECT if returned else Decision.Verb.SUBMIT
    last = update.decisions.filter(verb=step).order_by("-pk").values_list("pk", flat=True).first()
    return not one.key.startswith(f"{one.kind}:{of_decision(update, last or 0)}:")


def of_decision(update: IncidentUpdate, decision: int) -> str:
    """A decision about an update in the key of a notice: that its approval was asked for, or that it was sent back."""
    return f"{update.pk}:{decision}"


def of_proposals(keys: Collection[int]) -> str:
    """Proposals in the key of a notice: whether one of them still waits can be asked for from there."""
    return f"{min(keys)}-{max(keys)}"


def about(due: datetime) -> str:
    """A promise in the key of a notice."""
    return f"{due:%Y%m%d%H%M%S}"


def _send(one: StaffNotice) -> tuple[str, str]:
    """What became of it, and the provider's word for that."""
    if one.medium == StaffNotice.DIRECT:
        return direct.tell(one)
    channel, address = _way(one)
    if channel is None or not address:
        return Outcome.WAITING, _("No channel that is on carries this.")
    can = channel.capabilities
    if can is None or (can.broadcast and can.public):
        return Outcome.FAILED, _("Customers read this channel.")
    key = f"staff-{one.pk}"
    thread = one.incident.thread if one.incident else f"proposal-{one.proposal_id}"
    message = Message(_parts(one, can.form), one.locale, f"staff-{thread}", key)
    outcome = delivery.send_own(channel, message, Addressee(address, key=key))
    return delivery.fate(outcome), channel.mask(str(outcome.error or ""))[:500]


def _way(one: StaffNotice) -> tuple[Channel | None, str]:
    """The channel that is on and carries it, and the address there."""
    if one.channel:
        return (one.channel if one.channel.enabled else None), f"channel:{one.channel.pk}"
    contact = StaffContact.objects.filter(user=one.user).first()
    if one.medium == Medium.SMS:
        return delivery.way_to(Medium.SMS), contact.phone if contact else ""
    return delivery.way_to(Medium.EMAIL), one.user.email if one.user else ""


def _parts(one: StaffNotice, form: str) -> dict[str, str]:
    subject = f"{settings.PORTAL_NAME}: {one.subject}"
    if form in ("sms", "post", "voice"):
        return {"text": f"{one.subject}. {one.url}"}
    parts = {"subject": subject, "text": f"{one.text}\n\n{one.url}", "url": one.url}
    if form in ("chat", "push"):
        return parts | {"text": one.text}
    with translation.override(one.locale):
        context = {
            "organisation": settings.PORTAL_NAME,
            "subject": one.subject,
            "text": one.text,
            "url": one.url,
            "locale": one.locale,
            "colour": rendering.STATE_COLOURS[ComponentStatus.DEGRADED],
        }
        return parts | {"html": render_to_string("messages/staff.html", context)}


# ── Who could not be told ───────────────────────────────────────────────────


def untold(update: IncidentUpdate) -> list[tuple[str, str]]:
    """Who was to be told that their approval is asked for, and could not be yet: the name, and why."""
    if update.status != IncidentUpdate.Status.IN_REVIEW:
        return []
    last = update.decisions.filter(verb=Decision.Verb.SUBMIT).order_by("-pk").values_list("pk", flat=True).first()
    rows = StaffNotice.objects.filter(update=update, kind__in=StaffNotice.ASKING, user__isnull=False)
    rows = rows.filter(key__contains=f":{of_decision(update, last or 0)}:").select_related("user").order_by("pk")
    approved = {one.by_id for one in approving.approvals(update)}
    # Whoever was asked first and has no notice has no way to be told.
    asked: dict[Any, list[StaffNotice]] = {one: [] for one in approving.approvers(update)[: approving.missing(update)]}
    for row in rows:
        if row.user_id not in approved:
            asked.setdefault(row.user, []).append(row)
    found = [(name_of(person), _why_untold(notices)) for person, notices in asked.items()]
    return [(name, why) for name, why in found if why]


def _why_untold(notices: list[StaffNotice]) -> str:
    """Why none of these reached its reader; "" where one did, or is on its way."""
    reasons = []
    for one in notices:
        waits = one.outcome == Outcome.WAITING
        if waits and one.medium != StaffNotice.DIRECT and _way(one)[0] is None:
            reasons.append(_("No channel that is on carries this."))
        elif waits and one.tried_at is None and one.created_at < timezone.now() - LOST:
            reasons.append(_("It has not been sent yet: does the worker run?"))
        elif one.outcome in (Outcome.FAILED, Outcome.UNKNOWN) or (waits and one.tried_at):
            reasons.append(one.detail or one.get_outcome_display())
        else:
            return ""
    return " ".join(dict.fromkeys(reasons)) or _("No email, phone or Slack account is known.")
