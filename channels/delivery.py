"""The engine: expand → claim → send → record. The only caller of Provider.send.

Batches and deliveries are the truth; queue tasks only wake this up. A worker writes down what it is about to
send (`attempted_to`), sends, then records the outcomes and `done_to` in one transaction. So a crash leaves
evidence: what lies between `done_to` and `attempted_to` is uncertain, sent again only where the receiver
drops duplicates, else recorded as unknown for a person.
"""

import json
import logging
import random
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.html import escape
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from . import circuit, links, own_secrets, pace
from .errors import DeliveryError, Permanent, Throttled, Transient, Uncertain
from .models import OPENS_AFTER, Batch, Channel, Delivery, Dispatch, Picture, Recipient, Suppression
from .providers.base import Addressee, Message, MessagePicture, Outcome, Provider

log = logging.getLogger(__name__)
Row = tuple[int, str, str, str, str]  # recipient, status, code, detail, the provider's reference


class LeaseLost(Exception):
    """Another worker holds this batch now; its record stands."""


# ── Expand ──────────────────────────────────────────────────────────────────


def audience(recipients: QuerySet[Recipient], channel: Channel) -> QuerySet[Recipient]:
    """Those of `recipients` whom `channel` may write to: its medium, confirmed, not suppressed."""
    medium = channel.get_provider().capabilities.medium
    return recipients.filter(~Suppression.of_recipient(), medium=medium, confirmed_at__isnull=False)


def broadcast_recipient(channel: Channel) -> QuerySet[Recipient]:
    """The one recipient that stands for everybody a broadcast channel reaches."""
    one, _created = Recipient.objects.get_or_create(
        medium="broadcast",
        address=f"channel:{channel.pk}",
        defaults={"name": channel.name, "confirmed_at": timezone.now()},
    )
    return Recipient.objects.filter(pk=one.pk)


def expand(dispatch: Dispatch, recipients: QuerySet[Recipient], first: Callable[[], object] | None = None) -> int:
    """Cut the recipients of `dispatch` into batches on the database server; how many people that is.

    The first batch is small and committed first, then `first` is called: the first customer does not wait for the
    millionth. Running it again, or after a crash half-way, adds only what is missing.
    """
    ids = recipients.order_by().values("id")
    few = settings.DELIVERY_FIRST_BATCH_SIZE
    with transaction.atomic():
        locked = Dispatch.objects.select_for_update().get(pk=dispatch.pk)
        if locked.expanded_at or locked.cancelled_at:
            return _expanded_size(dispatch)
        if not locked.batches.exists():
            _insert_batches(dispatch, ids.order_by("id")[:few], few)
    if first:
        first()
    with transaction.atomic():
        locked = Dispatch.objects.select_for_update().get(pk=dispatch.pk)
        if not locked.expanded_at:
            # The first batch may have been tried already, and a part of it queued again: the largest id counts.
            queued = [max(part) for part in locked.batches.values_list("recipient_ids", flat=True)]
            if queued:
                _insert_batches(dispatch, ids.filter(id__gt=max(queued)), settings.DELIVERY_BATCH_SIZE)
            locked.expanded_at = timezone.now()
            locked.save(update_fields=["expanded_at"])
    circuit.relieve()  # its channel may be down already
    dispatch.refresh_from_db(fields=["expanded_at", "via"])
    return _expanded_size(dispatch)


def _expanded_size(dispatch: Dispatch) -> int:
    return dispatch.batches.aggregate(n=Sum("size"))["n"] or 0


def _insert_batches(dispatch: Dispatch, ids: QuerySet[Any], size: int) -> None:
    sql, params = ids.query.sql_with_params()
    group = "jsonb_agg(id ORDER BY id)" if connection.vendor == "postgresql" else "json_group_array(id)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO channels_batch
                (dispatch_id, recipient_ids, size, repeats, attempted_to, done_to, tries, fence, next_try_at,
                 last_error)
            SELECT %s, {group}, COUNT(*), false, 0, 0, 0, 0, %s, ''
            FROM (SELECT id, (ROW_NUMBER() OVER (ORDER BY id) - 1) / %s AS chunk FROM ({sql}) AS chosen
                  ORDER BY id) AS numbered
            GROUP BY chunk ORDER BY chunk
            """,
            [dispatch.pk, connection.ops.adapt_datetimefield_value(dispatch.not_before), size, *params],
        )


# ── Claim ───────────────────────────────────────────────────────────────────


def _open() -> QuerySet[Batch]:
    """Batches whose dispatch nobody stopped, and whose way out is on and need not wait."""
    return Batch.objects.filter(
        Q(dispatch__via__held_until__isnull=True) | Q(dispatch__via__held_until__lte=Now()),
        dispatch__cancelled_at__isnull=True,
        dispatch__via__enabled=True,
        dispatch__via__paused_at__isnull=True,
    )


def due(channel_id: int | None = None) -> QuerySet[Batch]:
    """Batches that somebody may work on now, by the database's clock."""
    batches = _open().filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), done_at__isnull=True, next_try_at__lte=Now()
    )
    return batches.filter(dispatch__via_id=channel_id) if channel_id else batches


def claim(channel_id: int) -> Batch | None:
    """Lease the next due batch of a channel to this caller, with a new fencing token. None if there is none."""
    with transaction.atomic():
        batch = due(channel_id).select_for_update(skip_locked=True, of=("self",)).order_by("id").first()
        if batch is None:
            return None
        Batch.objects.filter(pk=batch.pk).update(
            lease_until=Now() + timedelta(seconds=settings.DELIVERY_LEASE_SECONDS),
            fence=F("fence") + 1,
            tries=F("tries") + 1,
        )
        batch.fence += 1
        batch.tries += 1
        return batch


def _commit(batch: Batch, **changes: Any) -> None:
    """Change a batch if this worker still holds it, and renew the lease. Raises LeaseLost if it does not.

    Whatever brings `done_to` to the end closes the batch in the same transaction.
    """
    if changes.get("done_to") == batch.size:
        changes |= {"done_at": Now(), "lease_until": None}
    changes.setdefault("lease_until", Now() + timedelta(seconds=settings.DELIVERY_LEASE_SECONDS))
    if Batch.objects.filter(pk=batch.pk, fence=batch.fence).update(**changes) != 1:
        raise LeaseLost(f"batch {batch.pk}, fence {batch.fence}")
    for name in ("attempted_to", "done_to"):
        if name in changes:
            setattr(batch, name, changes[name])


# ── Send and record ─────────────────────────────────────────────────────────


def run_channel(channel_id: int, seconds: float) -> bool:
    """Work on a channel's due batches for at most about `seconds`; whether due work remains that one may go on with."""
    with circuit.admitted(channel_id) as admitted:
        return admitted and _run_channel(channel_id, seconds)


def _run_channel(channel_id: int, seconds: float) -> bool:
    provider: Provider | None = None
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            batch = claim(channel_id)
            if batch is None:
                return False
            try:
                if provider is None:
                    channel = Channel.objects.get(pk=channel_id)
                    provider, meter = _provider(batch, channel), pace.Meter(channel)
                if provider is None:
                    return False
                deliver(batch, provider, end, meter)
            except pace.Crowded:
                return False
            except LeaseLost as lost:
                log.warning("lease lost: %s", lost)
        return due(channel_id).exists()
    finally:
        if provider:
            provider.close()


def _provider(batch: Batch, channel: Channel) -> Provider | None:
    """The channel's provider; None if it cannot be made, which pauses the channel for a person to see."""
    try:
        return channel.get_provider()
    except Exception as error:  # no longer installed, or settings it cannot read
        dispatch = Dispatch.objects.select_related("via").get(pk=batch.dispatch_id)
        _hold(batch, dispatch, Permanent("no-provider", repr(error)))
        return None


def deliver(batch: Batch, provider: Provider, end: float = float("inf"), meter: pace.Meter | None = None) -> None:
    """Send one claimed batch in waves, until it is done, held up, or the time is over."""
    dispatch = Dispatch.objects.select_related("via").get(pk=batch.dispatch_id)
    interrupted = batch.attempted_to > batch.done_to
    if batch.tries > settings.DELIVERY_MAX_TRIES:
        if not interrupted:
            _give_up(batch, dispatch, Transient("too-many-tries", _("Tried %d times.") % settings.DELIVERY_MAX_TRIES))
            return
        # Whoever sends this wave dies of it: show it to a person, and go on with the rest.
        _mark_doubtful(batch, dispatch)
        _commit(batch, tries=1)
        batch.tries = 1
    elif interrupted:
        _settle_interrupted(batch, dispatch, provider)
    if batch.done_to == batch.size:
        _commit(batch, done_to=batch.size)
        return
    try:
        picture = _picture(dispatch) if provider.capabilities.pictures else None
    except Picture.DoesNotExist:
        # The database keeps what was approved; half of it is not sent.
        _give_up(batch, dispatch, Permanent("no-picture", _("The picture that was approved is not there any more.")))
        return
    message = Message(
        parts=dispatch.content["parts"],
        locale=dispatch.locale,
        thread=dispatch.thread,
        reference=f"dispatch-{dispatch.pk}",
        picture=picture,
    )
    meter = meter or pace.Meter(dispatch.via)
    while batch.done_to < batch.size:
        if time.monotonic() >= end or not _open().filter(pk=batch.pk, dispatch__via=dispatch.via_id).exists():
            # Out of time, or stopped meanwhile by a person or another worker; not out of luck: the try is given back.
            _commit(batch, lease_until=None, tries=F("tries") - 1)
            return
        if not _wave(batch, dispatch, message, provider, meter):
            return


def _picture(dispatch: Dispatch) -> MessagePicture | None:
    """What was frozen, with its bytes. Raises Picture.DoesNotExist."""
    frozen = dispatch.content.get("picture")
    if not frozen:
        return None
    row = Picture.objects.get(sha256=frozen["sha256"])
    return MessagePicture(bytes(row.content), row.content_type, row.width, row.height, frozen["alt"])


def _wave(batch: Batch, dispatch: Dispatch, message: Message, provider: Provider, meter: pace.Meter) -> bool:
    """One wave: write down, send, record. False when the batch has to wait."""
    start = batch.done_to
    ids = batch.recipient_ids[start : start + meter.wave(settings.DELIVERY_WAVE_SIZE)]
    _commit(batch, attempted_to=start + len(ids))
    began = time.monotonic()
    people = {person.pk: person for person in _writable(ids)}
    rows = [_row(i, Delivery.Status.SKIPPED, "stopped") for i in ids if i not in people]
    again: list[int] = []
    postponed: list[int] = []
    todo = [i for i in ids if i in people]
    deadline = time.monotonic() + settings.DELIVERY_LEASE_SECONDS / 3
    can = provider.capabilities
    size = meter.most(can.max_batch)
    held: DeliveryError | None = None
    crowded = False
    sent_to = 0
    silent = 0  # calls in a row without an answer to any of them
    for chunk in (todo[n : n + size] for n in range(0, len(todo), size)):
        if time.monotonic() > deadline:
            break  # record what is known before the lease runs out
        addressees = [_addressee(dispatch, people[i]) for i in chunk]
        try:
            meter.take(len(chunk), len(todo) - sent_to)
        except pace.Crowded:
            crowded = True
            break
        try:
            outcomes = _hand_over(dispatch, message, provider, addressees)
        except (Throttled, Permanent, Transient) as error:
            held = error
            break
        sent_to += len(chunk)
        answered = can.many_servers or not all(isinstance(outcome.error, Uncertain) for outcome in outcomes)
        silent = 0 if answered else silent + 1
        for recipient_id, outcome in zip(chunk, outcomes, strict=True):
            if isinstance(outcome.error, Throttled):  # patience was asked for in the middle: no try is used up
                held = outcome.error
                postponed.append(recipient_id)
            elif _worth_repeating(outcome.error, provider) and batch.tries < settings.DELIVERY_MAX_TRIES:
                again.append(recipient_id)
            else:
                rows.append(_outcome_row(recipient_id, outcome))
                _suppress_if_bad(people[recipient_id], outcome.error)
        if held or silent == OPENS_AFTER:
            break
    # Those not reached go after the rest, as the tail of this wave, so that `done_to` stays one number.
    rest = postponed + todo[sent_to:]
    order = {}
    if rest:
        left = set(rest)
        batch.recipient_ids[start : start + len(ids)] = [i for i in ids if i not in left] + rest
        order = {"recipient_ids": batch.recipient_ids}
    _record(batch, dispatch, rows, again, done_to=start + len(ids) - len(rest), **order)
    meter.took(time.monotonic() - began)
    if held:
        _hold(batch, dispatch, held)
        return False
    if silent and silent * size >= sent_to:  # not one answer: whoever comes next shall not be in doubt as well
        circuit.not_reached(dispatch.via, _short(dispatch, outcomes[-1].error), silent)
    elif sent_to:
        circuit.reached(dispatch.via)
    if crowded:
        _commit(batch, lease_until=None, tries=F("tries") - 1)
        raise pace.Crowded
    return True


def _hand_over(
    dispatch: Dispatch, message: Message, provider: Provider, addressees: Sequence[Addressee]
) -> list[Outcome]:
    """One call of the provider. Raises what means that nobody was handed over."""
    try:
        return provider.send(message, addressees)
    except (Throttled, Permanent, Transient):
        raise
    except Uncertain as error:
        doubt = error
    except Exception as error:  # a provider's bug must not lose track of people
        where = "".join(traceback.format_exception(error))
        log.error("%s failed unexpectedly: %s", provider.label, dispatch.via.mask(where))
        doubt = Uncertain(type(error).__name__, str(error))
    return [Outcome(error=doubt)] * len(addressees)


def _record(
    batch: Batch, dispatch: Dispatch, rows: list[Row], again: list[int], done_to: int, **order: list[int]
) -> None:
    """Write outcomes, requeue those worth another try, and advance the batch: all or nothing."""
    try:
        with transaction.atomic():
            _upsert(dispatch, rows)
            if again:
                _requeue(batch, again)
            _commit(batch, done_to=done_to, attempted_to=done_to, **order)
    except LeaseLost:
        # Somebody else took over and called these unknown; we know better about those that were sent.
        _upsert(dispatch, [row for row in rows if row[1] == Delivery.Status.SENT])
        raise


def _requeue(batch: Batch, ids: list[int]) -> None:
    Batch.objects.create(
        dispatch_id=batch.dispatch_id,
        recipient_ids=ids,
        size=len(ids),
        repeats=batch.repeats,
        tries=batch.tries,
        next_try_at=Now() + _backoff(batch.tries),
    )


def _backoff(tries: int) -> timedelta:
    """Exponential with jitter: about 10, 20, 40 … at most 600 seconds."""
    return timedelta(seconds=random.uniform(0.5, 1.0) * min(600, 5 * 2**tries))


def _settle_interrupted(batch: Batch, dispatch: Dispatch, provider: Provider) -> None:
    """A worker died in mid-wave. Repeat where the receiver drops duplicates; else leave it to a person."""
    if provider.capabilities.idempotent:
        _commit(batch, attempted_to=batch.done_to)
    else:
        _mark_doubtful(batch, dispatch)


def settle_stopped() -> None:
    """Mark as doubtful what was in flight when a worker died, where somebody stopped the dispatch since.

    Nobody takes such a batch up again, so that nobody else would ever say it.
    """
    left = Batch.objects.filter(
        attempted_to__gt=F("done_to"),
        done_at__isnull=True,
        lease_until__lt=Now(),
        dispatch__cancelled_at__isnull=False,
    )
    for batch in left.select_related("dispatch__via"):
        # Fenced like a claim: a worker that was only slow learns that it lost the batch, and says what it sent.
        if Batch.objects.filter(pk=batch.pk, fence=batch.fence).update(fence=F("fence") + 1):
            batch.fence += 1
            _mark_doubtful(batch, batch.dispatch)


def _mark_doubtful(batch: Batch, dispatch: Dispatch) -> None:
    doubtful = batch.recipient_ids[batch.done_to : batch.attempted_to]
    rows = [_row(i, Delivery.Status.UNKNOWN, "worker-stopped", _("The worker stopped in mid-send.")) for i in doubtful]
    with transaction.atomic():
        _upsert(dispatch, rows)
        _commit(batch, done_to=batch.attempted_to)


def _hold(batch: Batch, dispatch: Dispatch, error: DeliveryError) -> None:
    """Nobody was handed over: wait as the error asks."""
    text = _short(dispatch, error)
    if isinstance(error, Throttled):
        Channel.objects.filter(pk=dispatch.via_id).update(held_until=Now() + timedelta(seconds=error.retry_after))
        pace.slow_down(dispatch.via)
        _commit(batch, lease_until=None, tries=F("tries") - 1, last_error=text)
    elif isinstance(error, Permanent):
        log.error("channel %s paused: %s", dispatch.via, text)
        Channel.objects.filter(pk=dispatch.via_id, paused_at__isnull=True).update(
            paused_at=timezone.now(), paused_reason=text
        )
        _commit(batch, lease_until=None, tries=F("tries") - 1, last_error=text)
        circuit.hand_over(dispatch.via, text)
    else:
        if batch.tries >= settings.DELIVERY_MAX_TRIES:
            _give_up(batch, dispatch, error)
        else:
            _commit(batch, lease_until=None, next_try_at=Now() + _backoff(batch.tries), last_error=text)
        circuit.not_reached(dispatch.via, text)


def _give_up(batch: Batch, dispatch: Dispatch, error: DeliveryError) -> None:
    rest = batch.recipient_ids[batch.done_to :]
    with transaction.atomic():
        _upsert(dispatch, [_row(i, Delivery.Status.FAILED, error.code, error.detail) for i in rest])
        _commit(
            batch,
            done_to=batch.size,
            attempted_to=batch.size,
            last_error=_short(dispatch, error),
        )


def _short(dispatch: Dispatch, error: DeliveryError | None) -> str:
    """An error as a batch keeps it: without credentials, as long as its column."""
    return dispatch.via.mask(str(error))[:600]


class Person(NamedTuple):
    """What sending needs of a recipient: a model instance costs more than the rest of the wave."""

    pk: int
    medium: str
    address: str
    address_hash: str
    name: str
    attributes: dict[str, Any]
    signing: dict[str, Any]


def _writable(ids: Sequence[int]) -> Iterator[Person]:
    """Asked again at the last moment: somebody may have unsubscribed since."""
    found = Recipient.objects.filter(~Suppression.of_recipient()).order_by()
    if connection.vendor == "postgresql":  # one array: a thousand parameters cost more than the query
        found = found.extra(where=["channels_recipient.id = ANY(%s)"], params=[list(ids)])
    else:
        found = found.filter(pk__in=ids)
    return map(Person._make, found.values_list(*Person._fields))


class _Values(Mapping[str, str]):
    """What fills the [[tokens]] for one recipient; a link is signed when it is asked for."""

    def __init__(self, dispatch: Dispatch, person: Person) -> None:
        self._links, self._person = dispatch.content.get("links", {}), person
        self._known = {"name": person.name}

    def __getitem__(self, token: str) -> str:
        found = self._known.get(token)
        if found is None:
            found = self._known[token] = self._sign(token)
        return found

    def _sign(self, token: str) -> str:
        if token == "unsubscribe_url":
            return links.unsubscribe_url(self._person.pk)
        link = self._links[token]
        signed = links.signed(link["salt"], [link["subject"], self._person.pk])
        return f"{settings.PORTAL_URL}{link['path']}{signed}/"

    def __iter__(self) -> Iterator[str]:
        return iter(("name", "unsubscribe_url", *self._links))

    def __len__(self) -> int:
        return 2 + len(self._links)


def _addressee(dispatch: Dispatch, person: Person) -> Addressee:
    key = f"{dispatch.pk}-{person.pk}"
    own = own_secrets.in_force(person.signing)
    return Addressee(person.address, person.name, key, _Values(dispatch, person), person.attributes, own)


def _worth_repeating(error: DeliveryError | None, provider: Provider) -> bool:
    if isinstance(error, Transient | Throttled):
        return True
    return isinstance(error, Uncertain) and provider.capabilities.idempotent


def _outcome_row(recipient_id: int, outcome: Outcome) -> Row:
    if outcome.error is None:
        return _row(recipient_id, Delivery.Status.SENT, ref=outcome.ref)
    status = Delivery.Status.UNKNOWN if isinstance(outcome.error, Uncertain) else Delivery.Status.FAILED
    return _row(recipient_id, status, outcome.error.code, outcome.error.detail)


def _row(recipient_id: int, status: str, code: str = "", detail: str = "", ref: str = "") -> Row:
    return recipient_id, str(status), code, detail, ref.replace("\0", "")[:200]


def _suppress_if_bad(person: Person, error: DeliveryError | None) -> None:
    if isinstance(error, Permanent) and error.bad_address:
        Suppression.objects.get_or_create(
            medium=person.medium,
            address_hash=person.address_hash,
            defaults={"reason": Suppression.Reason.BOUNCED, "detail": str(error)[:500]},
        )


def _upsert(dispatch: Dispatch, rows: list[Row]) -> None:
    """One set-based insert. A second outcome replaces only one that was failed or unknown."""
    if not rows:
        return
    rows = [(r, s, c, dispatch.via.mask(d)[:500] if d else d, p) for r, s, c, d, p in rows]
    values: list[Any]
    if connection.vendor == "postgresql":
        alike = len({row[1:4] for row in rows}) == 1  # all sent, mostly: writing an array costs by its length
        kind = "%s::text" if alike else "unnest(%s::text[])"
        source = f"(SELECT unnest(%s::bigint[]), {kind}, {kind}, {kind}, unnest(%s::text[])) AS x(r, s, c, d, p)"
        values = [list(column) for column in zip(*rows, strict=True)]
        if alike:
            values[1:4] = rows[0][1:4]
    else:
        source = """(SELECT value ->> 0 AS r, value ->> 1 AS s, value ->> 2 AS c, value ->> 3 AS d, value ->> 4 AS p
                     FROM json_each(%s)) AS x"""
        values = [json.dumps(rows)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO channels_delivery
                (dispatch_id, recipient_id, status, code, detail, provider_ref, attempts, at)
            SELECT %s, x.r, x.s, x.c, x.d, x.p, 1, %s FROM {source} WHERE true
            ON CONFLICT (dispatch_id, recipient_id) DO UPDATE SET
                status = excluded.status, code = excluded.code, detail = excluded.detail,
                provider_ref = excluded.provider_ref, attempts = channels_delivery.attempts + 1, at = excluded.at
            WHERE channels_delivery.status IN ('failed', 'unknown')
            """,
            [dispatch.pk, connection.ops.adapt_datetimefield_value(timezone.now()), *values],
        )


# ── By hand ─────────────────────────────────────────────────────────────────


def retry(
    dispatches: Iterable[Dispatch],
    statuses: Sequence[str] = (Delivery.Status.FAILED,),
    code: str | None = None,
) -> int:
    """Queue the failed recipients of some dispatches again; how many. Unknown ones only if asked for by name.

    `code` narrows it to those that failed for one reason (`Delivery.code`).

    Their rows keep the old outcome until the new one replaces it. Nobody is queued twice.
    """
    total = 0
    for dispatch in dispatches:
        with transaction.atomic():
            Dispatch.objects.select_for_update().get(pk=dispatch.pk)
            waiting: set[int] = set()
            for ids, done in dispatch.batches.filter(done_at__isnull=True).values_list("recipient_ids", "done_to"):
                waiting.update(ids[done:])
            failed = dispatch.deliveries.filter(status__in=statuses)
            if code is not None:
                failed = failed.filter(code=code)
            ids = [i for i in failed.values_list("recipient_id", flat=True).iterator() if i not in waiting]
            for n in range(0, len(ids), settings.DELIVERY_BATCH_SIZE):
                part = ids[n : n + settings.DELIVERY_BATCH_SIZE]
                Batch.objects.create(
                    dispatch=dispatch, recipient_ids=part, size=len(part), repeats=True, next_try_at=Now()
                )
            total += len(ids)
    return total


def send_test(channel: Channel, address: str) -> Outcome:
    """Send one test message through a channel as it is configured; the outcome is kept on the channel.

    A provider's refusal comes back as `Outcome.error`, and the channel cannot be enabled.
    """
    try:
        provider = channel.get_provider()
        try:
            note = provider.probe()
            granted = provider.granted_rate()
            # A public post cannot be taken back for a test: there the probe must do.
            [outcome] = (
                [Outcome()] if provider.capabilities.broadcast else provider.send(*_test_message(channel, address))
            )
            outcome = replace(outcome, note=note)
        finally:
            provider.close()
    except DeliveryError as error:
        outcome = Outcome(error=error)
    except Exception as error:  # a provider's bug, or settings it cannot read: a person sees it, not a crash
        log.error("test of channel %s failed unexpectedly: %s", channel.pk, channel.mask(repr(error)))
        outcome = Outcome(error=Permanent(type(error).__name__, str(error)))
    if outcome.error is None:
        Channel.objects.filter(pk=channel.pk).update(
            verified_at=timezone.now(),
            test_error="",
            paused_at=None,
            paused_reason="",
            failures=0,
            answered_at=Now(),
            held_until=None,
            granted_rate=granted,
        )
    else:
        Channel.objects.filter(pk=channel.pk).update(
            verified_at=None, enabled=False, test_error=channel.mask(str(outcome.error))
        )
    channel.refresh_from_db()
    return outcome


# ── The portal's own messages ───────────────────────────────────────────────


def way_to(medium: str) -> Channel | None:
    """The channel that carries the portal's own messages to addresses of this kind: the first that is on and runs."""
    for channel in Channel.objects.filter(enabled=True, paused_at__isnull=True).order_by("pk"):
        can = channel.capabilities
        if can and can.medium == medium and not can.broadcast:
            return channel
    return None


def send_own(channel: Channel, message: Message, addressee: Addressee) -> Outcome:
    """Hand over one message of the portal itself: it is of no incident, so nobody approved it and no row records it.

    Called once for each message: the caller has written down that it is being sent, and records the outcome.
    """
    try:
        provider = channel.get_provider()
        try:
            [outcome] = provider.send(message, [addressee])
        finally:
            provider.close()
    except DeliveryError as error:
        outcome = Outcome(error=error)
    except Exception as error:  # a provider's bug: perhaps it was sent
        log.error("%s failed unexpectedly: %s", channel, channel.mask(repr(error)))
        outcome = Outcome(error=Uncertain(type(error).__name__, str(error)))
    return outcome


def fate(outcome: Outcome) -> str:
    """What became of a message of the portal itself: "sent"; "waiting" if it surely was not and may be tried again;
    "unknown" if it perhaps was; "failed".
    """
    if outcome.error is None:
        return "sent"
    if isinstance(outcome.error, Transient | Throttled):
        return "waiting"
    return "unknown" if isinstance(outcome.error, Uncertain) else "failed"


def _test_message(channel: Channel, address: str) -> tuple[Message, list[Addressee]]:
    text = _("This is a test of the channel “%(channel)s”. No action is needed.") % {"channel": channel.name}
    subject = _("Test of %(channel)s") % {"channel": channel.name}
    parts = {
        "subject": subject,
        "text": text,
        "html": f"<p>{escape(text)}</p>",
        "json": json.dumps({"type": "test"}),
        "url": settings.PORTAL_URL,
    }
    # What an address needs besides itself, as a browser's keys or a secret, is known of recipients.
    known = Recipient.objects.filter(medium=channel.get_provider().capabilities.medium, address=address).first()
    # A key of its own each time: mailboxes hide a message whose Message-ID they have seen.
    key = f"test-{channel.pk}-{time.time_ns()}"
    message = Message(parts=parts, locale=get_language() or "en", thread=f"test-{channel.pk}", reference=key)
    values = {"name": "", "unsubscribe_url": settings.PORTAL_URL}
    one = Addressee(address or f"channel:{channel.pk}", key=key, values=values)
    if known:
        one = one._replace(attributes=known.attributes, secrets=own_secrets.in_force(known.signing))
    return message, [one]
