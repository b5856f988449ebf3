"""The circuit breaker of a channel, and its fallback.

A provider that cannot be reached several times in a row is left alone for a while, so that a dead one costs the
others nothing. Whether one answers that did not answer lately, one worker tries: the others do not wait with it for a
time-out. A channel that is paused or broken hands its unfinished dispatches over to its
fallback, once: the same words, to the same people, on the record.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from .models import OPENS_AFTER, Channel, Dispatch

FIRST_PAUSE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 300
LATELY = timedelta(seconds=60)


@contextmanager
def admitted(channel_id: int) -> Iterator[bool]:
    """Whether the caller may work on a channel: everybody if it answered lately, else one at a time, who tries it."""
    channel = Channel.objects.filter(pk=channel_id)
    if channel.filter(failures=0, answered_at__gt=Now() - LATELY).exists():
        yield True
        return
    untried = Q(tried_until__isnull=True) | Q(tried_until__lt=Now())
    patience = timedelta(seconds=settings.DELIVERY_LEASE_SECONDS)
    if not channel.filter(untried).update(tried_until=Now() + patience):
        yield False
        return
    try:
        yield True
    finally:
        channel.update(tried_until=None)


def not_reached(channel: Channel, reason: str, times: int = 1) -> None:
    """The provider could not be reached: count it, and open the circuit when that happens again and again."""
    Channel.objects.filter(pk=channel.pk).update(failures=F("failures") + times)
    channel.refresh_from_db(fields=["failures"])
    if channel.failures < OPENS_AFTER:
        return
    seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(channel.failures - OPENS_AFTER, 10))
    until = Now() + timedelta(seconds=seconds * random.uniform(0.8, 1.0))
    Channel.objects.filter(pk=channel.pk).update(held_until=until)
    hand_over(channel, reason)


def reached(channel: Channel) -> None:
    """The provider answered: the circuit is closed, and whoever is free may come."""
    now = timezone.now()
    before, channel.answered_at = channel.answered_at, now
    if channel.failures == 0 and before and now - before < LATELY / 4:
        channel.answered_at = before  # written down often enough
        return
    Channel.objects.filter(pk=channel.pk).update(failures=0, answered_at=Now())
    if channel.failures or not before or now - before > LATELY:
        from .delivery import due
        from .tasks import most_workers, wake

        for _worker in range(min(due(channel.pk).count(), most_workers() - 1)):
            wake(channel.pk)
    channel.failures = 0


def hand_over(channel: Channel, reason: str) -> int:
    """Let the fallback carry what this channel has not finished; how many dispatches.

    Only a dispatch that still goes through its own channel moves, so that nothing is passed on and on. Recipients
    with an outcome keep it: a dispatch has one delivery a recipient, whatever it went through.
    """
    backup = Channel.objects.filter(pk=channel.fallback_id or 0, enabled=True, paused_at=None).first()
    if backup is None or backup.failures >= OPENS_AFTER or not backup.can_stand_in_for(channel):
        return 0
    unfinished = Q(batches__done_at__isnull=True, batches__isnull=False) | Q(expanded_at__isnull=True)
    ids = Dispatch.objects.filter(unfinished, channel=channel, via=channel, cancelled_at=None).values("pk").distinct()
    moved = Dispatch.objects.filter(pk__in=list(ids.values_list("pk", flat=True)), via=channel).update(
        via=backup, via_since=timezone.now(), via_reason=reason[:600]
    )
    if moved:
        from .tasks import wake

        wake(backup.pk)
    return moved


def relieve() -> None:
    """Hand over what was published while its channel was paused or broken already."""
    broken = Q(failures__gte=OPENS_AFTER, held_until__gt=Now())  # once the pause is over it gets its chance
    for channel in Channel.objects.filter(Q(paused_at__isnull=False) | broken, fallback__isnull=False):
        hand_over(channel, channel.paused_reason or _("It could not be reached."))
