"""Hands events over, to each subscription in order and at least once: the next one goes when the last one is taken.

`run` may be called twice, by two workers, or after a worker died in the middle. Each event is written down before it
is sent, and goes out under the same key however often that is.
"""

import json
import logging
import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from channels import delivery, own_secrets, queue
from channels.errors import DeliveryError, Permanent, Throttled
from channels.models import Medium
from channels.providers.base import Addressee, Message
from incidents import telling_staff
from incidents.aws import topics
from incidents.errors import Refused, WrongState
from incidents.models import EventDelivery, EventSubscription, OutgoingEvent, StaffNotice
from incidents.models.decision import name_of

from . import recording, scope

log = logging.getLogger(__name__)
State = EventDelivery.State
LEASE = timedelta(minutes=2)  # longer than any call
SLICE = 5  # seconds that a sweep sends for at most
KEPT = timedelta(days=90)  # for which one can look up what was sent
# Before the second, third … try of an event; when all are used up, the subscription pauses: after some three days.
# By and large those that Standard Webhooks recommends.
PAUSES = [
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
]
NO_WAY = timedelta(minutes=1)  # where the fault is not the receiver's: no try is counted
GONE = "410"  # by Standard Webhooks: the receiver does not want to hear from us again
TYPE = "application/cloudevents+json"


# ── Send ────────────────────────────────────────────────────────────────────


def send_due() -> None:
    """What waits for its time, or for a worker that died; those first that have had no trouble.

    In the sweep and one after the other: many dead receivers then keep one worker busy, and the messages to customers
    have all others.
    """
    now = timezone.now()
    due = EventSubscription.objects.filter(enabled=True, paused_reason="", cursor__lt=recording.head())
    due = due.filter(Q(next_try_at=None) | Q(next_try_at__lte=now), Q(leased_until=None) | Q(leased_until__lte=now))
    end = time.monotonic() + SLICE
    for pk in due.order_by("tries", F("sent_at").asc(nulls_first=True)).values_list("pk", flat=True):
        if time.monotonic() > end:
            return
        try:
            run(pk, end)
        except Exception:  # the others must not wait for it
            log.exception("events of subscription %s stand still", pk)


def run(subscription_id: int, end: float | None = None) -> None:
    """Send what is next, one after the other, until nothing is left, one is not taken, or the time is over."""
    end = time.monotonic() + SLICE if end is None else end
    while (taken := _take(subscription_id)) and _settle(taken, _hand_over(taken.subscription, taken.event)):
        if time.monotonic() > end:
            return


def forget() -> None:
    """What was sent long ago need not be looked up any more; the events themselves stay."""
    old = EventDelivery.objects.filter(state__in=[State.SENT, State.SKIPPED], tried_at__lt=timezone.now() - KEPT)
    old.delete()


@dataclass(frozen=True)
class _Taken:
    subscription: EventSubscription
    event: OutgoingEvent
    fence: int


def _take(pk: int) -> _Taken | None:
    """Write down that the next event is being sent; None if there is nothing to send now."""
    with transaction.atomic():
        one = _locked(pk)
        now = timezone.now()
        if one is None or not one.is_due(now):
            return None
        if reason := _forbidden(one):
            one.paused_reason = reason
            one.save(update_fields=["paused_reason"])
            return None
        # Asked first: whatever is recorded after this is not passed over.
        newest = recording.head()
        event = scope.wanted(one).filter(number__gt=one.cursor, number__lte=newest).first()
        if event is None:
            if newest > one.cursor:
                one.cursor = newest
                one.save(update_fields=["cursor"])
            return None
        one.leased_until, one.fence = now + LEASE, one.fence + 1
        one.save(update_fields=["leased_until", "fence"])
        mine, _new = EventDelivery.objects.get_or_create(subscription=one, event=event)
        mine.state, mine.tried_at, mine.tries = State.SENDING, now, mine.tries + 1
        mine.save()
    return _Taken(one, event, one.fence)


def _forbidden(one: EventSubscription) -> str:
    """Why nothing at all may be sent now; empty where it may."""
    if not one.owner.is_active:
        return _("%(who)s, who owns it, cannot log in any more.") % {"who": name_of(one.owner)}
    # A channel, or a customer, may have come there since it was set up.
    return _("Customers are written to at the same place.") if one.reaches_customers() else ""


def _locked(pk: int) -> EventSubscription | None:
    found = EventSubscription.objects.select_for_update(of=("self",)).select_related("owner")
    return found.filter(pk=pk).first()


def _hand_over(one: EventSubscription, event: OutgoingEvent) -> DeliveryError | None:
    """Send it, with no lock held; what went wrong."""
    told = scope.for_subscription(event, one)
    return _send(one, told, one.key_of(event), event.data["severity"])


def _send(one: EventSubscription, told: dict[str, Any], key: str, severity: str) -> DeliveryError | None:
    text = json.dumps(told, ensure_ascii=False)
    if one.kind == EventSubscription.Kind.SNS:
        attributes = {"type": told["type"], **({"severity": severity} if severity else {})}
        group = f"commsportal-{one.uid}" if one.is_fifo else ""
        try:
            topics.publish(one.target, text, attributes, group, key)
        except DeliveryError as error:
            return error
        return None
    channel = delivery.way_to(Medium.WEBHOOK)
    if channel is None:
        return _NoWay("no-channel", _("No channel for webhooks is on and runs: events go out as its messages do."))
    message = Message({"json": text, "content_type": TYPE}, settings.LANGUAGE_CODE, f"events-{one.uid}", key)
    addressee = Addressee(one.target, key=key, secrets=own_secrets.in_force(one.secrets))
    return delivery.send_own(channel, message, addressee).error


class _NoWay(DeliveryError):
    """The receiver was not even asked."""


def _settle(taken: _Taken, error: DeliveryError | None) -> bool:
    """Write down what became of it; whether to go on with the next one."""
    with transaction.atomic():
        one = _locked(taken.subscription.pk)
        if one is None or one.fence != taken.fence:
            return False  # somebody else took over: what they write down stands
        now = timezone.now()
        one.leased_until = None
        one.next_try_at = None
        said = "" if error is None else " ".join(filter(None, [error.code, error.detail]))[:500]
        if error is None:
            one.cursor, one.tries, one.sent_at = taken.event.number, 0, now
        elif isinstance(error, _NoWay):
            one.next_try_at = now + NO_WAY
        elif isinstance(error, Throttled):
            one.next_try_at = now + timedelta(seconds=error.retry_after)
        else:
            _again_or_pause(one, taken.event, error, said, now)
        one.save()
        EventDelivery.objects.filter(subscription=one, event=taken.event).update(
            state=State.WAITING if error else State.SENT, tried_at=now, detail=said
        )
        return error is None


def _again_or_pause(
    one: EventSubscription, event: OutgoingEvent, error: DeliveryError, said: str, now: datetime
) -> None:
    one.tries += 1
    if one.tries <= len(PAUSES) and not (isinstance(error, Permanent) and error.code == GONE):
        # Never longer than it says, and never at the same moment for all that failed together.
        one.next_try_at = now + PAUSES[one.tries - 1] * random.uniform(0.7, 1.0)
        return
    if error.code == GONE:
        one.paused_reason = _("The receiver says that it wants no more events (410).")
    else:
        one.paused_reason = _("Event %(number)d was not taken in %(tries)d tries: %(said)s") % {
            "number": event.number,
            "tries": one.tries,
            "said": said,
        }
    one.paused_reason = one.paused_reason[:500]
    reason, name = one.paused_reason, one.name
    telling_staff.tell_only(
        [one.owner],
        StaffNotice.Kind.EVENTS,
        f"{one.pk}-{one.fence}",
        lambda: (
            _("Events for “%(name)s” are paused") % {"name": name},
            "\n\n".join([reason, _("Nothing is lost: see what is wrong, and let it go on.")]),
        ),
        f"/admin/incidents/eventsubscription/{one.pk}/sent/",
        event.incident,
    )


# ── What a person does ──────────────────────────────────────────────────────


def resume(subscription: EventSubscription) -> None:
    """Go on with the event at which it stands. Raises WrongState."""
    with transaction.atomic():
        me = EventSubscription.objects.select_for_update().get(pk=subscription.pk)
        if not me.paused_reason and not me.tries:
            raise WrongState(_("It is not paused: somebody let it go on already."))
        _go_on(me)


def skip(subscription: EventSubscription, number: int) -> None:
    """Leave out the event that is not taken, and go on with the next. Raises WrongState (it is not that one's turn)."""
    with transaction.atomic():
        me = EventSubscription.objects.select_for_update().get(pk=subscription.pk)
        waiting = EventDelivery.objects.filter(subscription=me, event=number, state=State.WAITING)
        if number <= me.cursor or not waiting.update(state=State.SKIPPED):
            raise WrongState(_("Event %(number)d does not wait any more.") % {"number": number})
        me.cursor = number
        _go_on(me)


def replay(subscription: EventSubscription, number: int) -> int:
    """Send again from this event on, under the same keys; how many. Raises Refused (there are none)."""
    with transaction.atomic():
        me = EventSubscription.objects.select_for_update(of=("self",)).select_related("owner").get(pk=subscription.pk)
        count = to_replay(me, number)
        if not count:
            raise Refused(_("From event %(number)d on nothing has been sent yet.") % {"number": number})
        me.cursor = number - 1
        _go_on(me)
    return count


def to_replay(subscription: EventSubscription, number: int) -> int:
    """How many events replay() would send again."""
    if number < 1:
        return 0
    return scope.wanted(subscription).filter(number__gte=number, number__lte=subscription.cursor).count()


def _go_on(me: EventSubscription) -> None:
    """Whatever is being sent just now is sent once more: who sends it cannot move the cursor any more."""
    me.paused_reason, me.tries, me.next_try_at = "", 0, None
    me.leased_until, me.fence = None, me.fence + 1
    me.save()
    queue.enqueue("incidents.tasks.send_events", me.pk)


def try_out(subscription: EventSubscription) -> DeliveryError | None:
    """Send a test event, which is no part of the stream; what went wrong. Raises Refused."""
    if not subscription.is_connected:
        raise Refused(_("Make its secret first: without it nobody could tell that a message is ours."))
    if reason := _forbidden(subscription):
        raise Refused(reason)
    told = scope.test_body(subscription)
    return _send(subscription, told, f"{told['id']}-{subscription.uid}", "")
