"""The message that asks an address whether it wants ours: words of the portal itself, sent once by a worker."""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from channels import delivery, links, own_secrets
from channels.models import Recipient, Suppression
from channels.providers.base import Addressee, Message

from . import rendering, subscribing
from .models import Component, ComponentGroup, ComponentStatus, Severity, SubscriptionRequest

Outcome = SubscriptionRequest.Outcome
PAUSE = timedelta(seconds=60)  # before what surely was not sent is tried again
PATIENCE = timedelta(hours=1)  # a confirmation that comes later than this puzzles people
LOST = timedelta(minutes=10)  # a worker that has been sending for this long is gone
SLICE = 5  # seconds that a sweep sends for at most


def send(request_id: int) -> None:
    """Send the message of one request, unless somebody has. A crash in the middle never sends it twice."""
    mine = SubscriptionRequest.objects.filter(pk=request_id, outcome=Outcome.WAITING)
    if not mine.update(outcome=Outcome.SENDING, sent_at=timezone.now()):
        return
    one = SubscriptionRequest.objects.get(pk=request_id)
    one.outcome, one.detail = _send(one)
    if one.outcome in (Outcome.FAILED, Outcome.SUPPRESSED, Outcome.LIMITED):
        one.address = ""
    one.save(update_fields=["outcome", "detail", "address"])


def send_waiting() -> None:
    """What no worker was woken for, and what could not be handed over: again each minute, for an hour."""
    now = timezone.now()
    unsent = SubscriptionRequest.objects.filter(outcome=Outcome.WAITING)
    unsent.filter(created_at__lt=now - PATIENCE).update(outcome=Outcome.FAILED, address="")
    lost = SubscriptionRequest.objects.filter(outcome=Outcome.SENDING, sent_at__lt=now - LOST)
    lost.update(outcome=Outcome.UNKNOWN)
    end = time.monotonic() + SLICE
    for pk, sent_at in unsent.order_by("pk").values_list("pk", "sent_at")[:1000]:
        if time.monotonic() > end:
            return
        if sent_at is None or sent_at < now - PAUSE:
            send(pk)


def _send(one: SubscriptionRequest) -> tuple[str, str]:
    """What became of it, and the provider's word for that."""
    if subscribing.over_limit(one):  # two at once may both have come through when they were asked for
        return Outcome.LIMITED, ""
    stopped = Suppression.objects.filter(medium=one.medium, address_hash=one.address_hash).first()
    if stopped and stopped.reason != Suppression.Reason.UNSUBSCRIBED:
        return Outcome.SUPPRESSED, ""
    try:
        wanted = subscribing.agreed_to(one)
    except subscribing.Gone:
        return Outcome.FAILED, _("The private page lets this reader in no more, or shows nothing of what was chosen.")
    channel = delivery.way_to(one.medium)
    can = channel.capabilities if channel else None
    if channel is None or can is None:
        return Outcome.WAITING, ""
    person = subscribing.recipient_of(one)
    # On a private page a subscriber asks for what their own page does not offer: that needs their yes like the first.
    is_known = person and person.confirmed_at and not stopped and "page" not in wanted
    parts = words(one, can.form, person if is_known else None, wanted)
    message = Message(parts, one.locale, f"subscription-{one.pk}", f"subscription-{one.pk}")
    keys = one.wanted.get("keys", {})
    secrets = own_secrets.in_force(person.signing) if person else ()
    addressee = Addressee(one.address, key=f"subscription-{one.pk}", attributes=keys, secrets=secrets)
    outcome = delivery.send_own(channel, message, addressee)
    return delivery.fate(outcome), channel.mask(str(outcome.error or ""))[:500]


def words(
    one: SubscriptionRequest, form: str, known: Recipient | None, wanted: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The parts of the message for a channel of this form; to a subscriber, that they are one already.

    `wanted` is what is left of what was asked for.
    """
    with translation.override(one.locale):
        context = {
            "organisation": settings.PORTAL_NAME,
            "site": settings.PORTAL_URL.partition("://")[2],
            "known": known,
            "url": links.manage_url(known.pk) if known else subscribing.confirm_url(one),
            "wanted": in_words(wanted or one.wanted),
            "hours": SubscriptionRequest.OPEN_HOURS,
            "colour": rendering.STATE_COLOURS[ComponentStatus.MAINTENANCE],
            "locale": one.locale,
        }
        if form == "sms":
            return {"text": render_to_string("messages/subscription_sms.txt", context).strip()}
        subject = _("You are subscribed already") if known else _("Confirm your subscription")
        if form == "push":
            text = _("Open this to change what you hear about.") if known else _("Open this and confirm, or ignore it.")
            return {"subject": f"{settings.PORTAL_NAME}: {subject}", "text": text, "url": context["url"]}
        parts = {
            "subject": f"{settings.PORTAL_NAME}: {subject}",
            "text": render_to_string("messages/subscription.txt", context),
        }
        if form == "chat":
            said = render_to_string("messages/subscription_chat.txt", context).strip()
            return {"subject": parts["subject"], "text": said, "url": context["url"]}
        if form == "event":
            return parts | {"json": _event(one, context["url"], bool(known))}
        return parts | {"html": render_to_string("messages/subscription.html", context)}


def _event(one: SubscriptionRequest, url: str, known: bool) -> str:
    """The machine-readable form: docs/reference/subscribers.md."""
    said = {
        "version": "1",
        "type": "subscription.known" if known else "subscription.confirmation",
        "locale": one.locale,
        "subscription": {"url": url, "expires_at": None if known else one.closes_at.isoformat()},
    }
    return json.dumps(said, ensure_ascii=False)


def in_words(wanted: Mapping[str, Any]) -> str:
    """“Payments and Search”, or “everything”, with what is left out; in the active language."""
    groups = ComponentGroup.objects.filter(pk__in=wanted["groups"])
    components = Component.objects.filter(pk__in=wanted["components"])
    names = [one.name for found in (groups, components) for one in found]
    parts = [get_text_list(names, _("and")) if names else _("everything")]
    levels = {
        Severity.SEV3: _("minor incidents and worse"),
        Severity.SEV2: _("major incidents and worse"),
        Severity.SEV1: _("critical incidents only"),
    }
    if level := levels.get(Severity(wanted["least_severity"])):
        parts.append(level)
    if not wanted["maintenance"]:
        parts.append(_("no planned maintenance"))
    return ", ".join(parts)
