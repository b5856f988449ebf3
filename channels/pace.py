"""How fast a channel may send: a token bucket that all workers share, kept by the database's clock.

What is stored is the moment at which the bucket will be full again (the generic cell rate algorithm): taking n tokens
moves it by n / rate seconds. A worker takes a block at a time and waits for it; nothing is sent before its moment.
"""

import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from .models import Channel, Pace

FIRST_WAVE = 100  # people
WAVE_SECONDS = 1.0
BLOCK_SECONDS = 0.25  # tokens are taken for about as long
PATIENCE_SECONDS = 1.0  # who would have to wait longer leaves the rate to those who are at it already
SLOWEST = 0.1  # people a second, whatever the provider says


class Crowded(Exception):
    """Other workers use up the rate."""


class Meter:
    """One worker's tokens of one channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.rate = channel.effective_rate
        self.tokens = 0
        self.size = FIRST_WAVE

    def most(self, max_batch: int) -> int:
        """How many people one call may hold: no more than may be sent in a second."""
        return max_batch if self.rate is None else max(1, min(max_batch, int(self.rate)))

    def wave(self, size: int) -> int:
        """How many people are written down at a time: what a crash leaves in doubt is about a second's work."""
        self.size = min(self.size, size)
        return self.size if self.rate is None else max(1, min(self.size, int(2 * self.rate)))

    def took(self, seconds: float) -> None:
        """A wave of this size took so long: the next one may be larger, or should be smaller."""
        if seconds < WAVE_SECONDS / 2:
            self.size *= 2
        elif seconds > WAVE_SECONDS:
            self.size = max(1, self.size // 2)

    def take(self, people: int, left: int) -> None:
        """Wait until `people` may be handed over, of `left` in this wave. Raises Crowded at once if that takes long."""
        if self.rate is None:
            return
        if self.tokens < people:
            block = max(people, min(left, int(self.rate * BLOCK_SECONDS)))
            time.sleep(lease(self.channel.pk, self.rate, block))
            self.tokens = block
        self.tokens -= people


def lease(channel_id: int, rate: float, tokens: int) -> float:
    """Reserve tokens; the seconds until they may be used. Raises Crowded, and reserves nothing, if it is too long."""
    with transaction.atomic():
        pace, now = _locked(channel_id, rate)
        pace.recover(rate, now)
        free = max(pace.free_at, now)
        wait = (free - now).total_seconds()
        if wait > PATIENCE_SECONDS:
            raise Crowded
        pace.free_at = free + timedelta(seconds=tokens / pace.rate)
        pace.save()
    return wait


def slow_down(channel: Channel) -> None:
    """The provider was asked too fast: go on at half the rate, and regain it slowly."""
    full = channel.effective_rate
    if full is None:
        return
    with transaction.atomic():
        pace, now = _locked(channel.pk, full)
        pace.recover(full, now)
        pace.rate = max(SLOWEST, pace.rate / 2)
        pace.save()


def _locked(channel_id: int, rate: float) -> tuple[Pace, Any]:
    """The channel's row, locked, and the database's time."""
    beginning = {"rate": rate, "free_at": Now(), "changed_at": Now()}
    Pace.objects.get_or_create(channel_id=channel_id, defaults=beginning)
    pace: Any = Pace.objects.select_for_update().annotate(now=Now()).get(channel_id=channel_id)
    return pace, pace.now
