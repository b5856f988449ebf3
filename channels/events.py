"""What an event of a provider changes: a delivery's outcome, and who must not be written to any more.

Events come twice, late and in any order. Each counts once, and whatever the order the result is the same: a failure
outweighs a receipt, for a message that was accepted may still bounce.
"""

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from .addresses import normalise
from .models import Batch, Channel, Delivery, ProviderEvent, Recipient, Suppression
from .secrets import address_hash

log = logging.getLogger(__name__)
KEY = re.compile(r"(\d{1,18})-(\d{1,18})")  # Addressee.key: dispatch and recipient
REMEMBERED = timedelta(days=14)  # far longer than anybody goes on telling us the same


class TooEarly(Exception):
    """The message was handed over, but its outcome is not written down yet: to be told again."""


@dataclass(frozen=True)
class Receipt:
    """What became of one message. It is found by `key`, else by `ref` among those sent to `address`."""

    status: str = ""  # DELIVERED or FAILED of Delivery.Status; "" leaves it
    suppress: str = ""  # a Suppression.Reason; "" leaves the address alone
    code: str = ""
    detail: str = ""
    key: str = ""
    ref: str = ""
    address: str = ""


@dataclass(frozen=True)
class Reply:
    """A person wrote back: stop, or start again."""

    medium: str
    address: str
    stop: bool


def take_in(channel: Channel, source: str, event_id: str, event: Receipt | Reply, at: datetime) -> bool:
    """Count an event, unless it was counted before: all of it or nothing. `at` is when it was told first.

    Raises TooEarly; then nothing was counted.
    """
    with transaction.atomic():
        if not first_time(source, event_id):
            return False
        if isinstance(event, Reply):
            _answer(event, at)
        else:
            _apply(channel, event, at)
    return True


def first_time(source: str, event_id: str) -> bool:
    """Whether this was not told before. Within the transaction that takes it in, so that both are kept or neither."""
    row, new = ProviderEvent.objects.get_or_create(source=source, event_id=event_id)
    if new and row.pk % 1000 == 0:
        transaction.on_commit(forget)
    return new


def forget() -> None:
    """Drop the oldest records; in portions, and faster than new ones come."""
    old = ProviderEvent.objects.filter(received_at__lt=timezone.now() - REMEMBERED).order_by("received_at")
    ProviderEvent.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:5000])).delete()


# ── Receipts ────────────────────────────────────────────────────────────────


def _apply(channel: Channel, receipt: Receipt, at: datetime) -> None:
    delivery = _find(channel, receipt)
    if delivery is None:
        log.info("channel %s: an event about a message that is not of this channel", channel.pk)
        return
    one = Delivery.objects.filter(pk=delivery.pk)
    if receipt.status == Delivery.Status.DELIVERED:
        one.filter(status__in=(Delivery.Status.SENT, Delivery.Status.UNKNOWN)).update(
            status=Delivery.Status.DELIVERED,
            code="",
            detail="",
            provider_ref=delivery.provider_ref or receipt.ref,
            delivered_at=at,
        )
    elif receipt.status == Delivery.Status.FAILED:
        # An earlier attempt may have failed; that says nothing about the one that was recorded since.
        _of_this_attempt(one, receipt).exclude(status__in=(Delivery.Status.FAILED, Delivery.Status.SKIPPED)).update(
            status=Delivery.Status.FAILED, code=receipt.code, detail=receipt.detail
        )
    if receipt.suppress:
        _suppress_recipient(channel, delivery.recipient_id, receipt)


def _of_this_attempt(rows: QuerySet[Delivery], receipt: Receipt) -> QuerySet[Delivery]:
    return rows.filter(provider_ref__in=("", receipt.ref)) if receipt.ref else rows


def _find(channel: Channel, receipt: Receipt) -> Delivery | None:
    """The delivery that a receipt is about; None if it is none of this channel's."""
    wanted = _wanted(channel, receipt)
    if wanted is None:
        return None
    found = wanted.first()
    if found and (not receipt.ref or found.provider_ref == receipt.ref):
        return found
    if _in_flight(channel, receipt):
        raise TooEarly
    return wanted.first()  # asked again: it may have been written down between the two questions


def _wanted(channel: Channel, receipt: Receipt) -> QuerySet[Delivery] | None:
    ours = Delivery.objects.filter(_through(channel)).order_by("-id")
    if key := KEY.fullmatch(receipt.key):
        return ours.filter(dispatch=int(key[1]), recipient=int(key[2]))
    person = _person(channel, receipt)
    # By person first: references are not indexed, for every insert would pay for it.
    return ours.filter(recipient=person, provider_ref=receipt.ref) if person and receipt.ref else None


def _through(channel: Channel) -> Q:
    """Of dispatches of this channel, or that it took over from another one."""
    return Q(dispatch__channel=channel) | Q(dispatch__via=channel)


def _in_flight(channel: Channel, receipt: Receipt) -> bool:
    """Whether the recipient is among those whom a worker is handing over right now."""
    key = KEY.fullmatch(receipt.key)
    recipient = int(key[2]) if key else _person(channel, receipt)
    batches = Batch.objects.filter(
        _through(channel),
        Q(dispatch=int(key[1])) if key else Q(),
        done_at__isnull=True,
        attempted_to__gt=F("done_to"),
    )
    waves = batches.values_list("recipient_ids", "done_to", "attempted_to")
    return any(recipient in ids[done:attempted] for ids, done, attempted in waves)


def _medium(channel: Channel) -> str:
    can = channel.capabilities
    return can.medium if can else ""


def _person(channel: Channel, receipt: Receipt) -> int | None:
    address = _canonical(_medium(channel), receipt.address)
    people = Recipient.objects.filter(medium=_medium(channel), address=address)
    return people.values_list("pk", flat=True).first()


def _canonical(medium: str, address: str) -> str:
    try:
        return normalise(medium, address)
    except ValueError:
        return address


# ── Suppressions ────────────────────────────────────────────────────────────


def _suppress_recipient(channel: Channel, recipient_id: int, receipt: Receipt) -> None:
    person = Recipient.objects.filter(pk=recipient_id).values_list("medium", "address_hash").first()
    if person is None and receipt.address:  # erased since; the address is still none to write to
        medium = _medium(channel)
        person = (medium, address_hash(medium, _canonical(medium, receipt.address)))
    if person:
        _suppress(*person, receipt.suppress, receipt.detail)


def _suppress(medium: str, hashed: str, reason: str, detail: str = "") -> None:
    # The words of an email server may name the address, which is kept as a hash only.
    row, new = Suppression.objects.get_or_create(
        medium=medium, address_hash=hashed, defaults={"reason": reason, "detail": re.sub(r"\S+@\S+", "…", detail)}
    )
    if not new and reason != row.reason:
        # Unsubscribing can be undone by the person; what the provider says cannot.
        Suppression.objects.filter(pk=row.pk, reason=Suppression.Reason.UNSUBSCRIBED).update(reason=reason)


def _answer(reply: Reply, at: datetime) -> None:
    hashed = address_hash(reply.medium, _canonical(reply.medium, reply.address))
    if reply.stop:
        _suppress(reply.medium, hashed, Suppression.Reason.UNSUBSCRIBED)
    else:
        # A START that was on its way when the STOP came lifts nothing.
        Suppression.objects.filter(
            medium=reply.medium, address_hash=hashed, reason=Suppression.Reason.UNSUBSCRIBED, created_at__lte=at
        ).delete()
