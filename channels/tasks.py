"""Entry points for the queue: ids in, nothing out. Running one twice is harmless."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Max
from django.db.models.functions import Now
from django.utils import timezone

from . import circuit, delivery, queue, tally
from .models import Batch, Heartbeat

CANARY = "worker"
SILENT = timedelta(seconds=60)  # no worker runs if none has reported for this long
RUN_CHANNEL = "channels.tasks.run_channel"


def wake(channel_id: int) -> None:
    """Ask a worker to look after a channel soon. It belongs to the caller's transaction."""
    queue.enqueue(RUN_CHANNEL, channel_id)


def run_channel(channel_id: int) -> None:
    """Work on a channel for a while; go to the back of the queue if there is more to do."""
    _beat()
    if delivery.run_channel(channel_id, settings.DELIVERY_SLICE_SECONDS):
        wake(channel_id)


def sweep() -> None:
    """The canary, and the certainty behind the wake-ups: due work is found even if every wake-up was lost.

    It only tops up: a channel that has workers, or wake-ups waiting, is not woken over and over.
    """
    _beat()
    delivery.settle_stopped()
    circuit.relieve()
    tally.fold()
    way = "dispatch__via"
    due = (
        delivery.due()
        .values(way)
        .annotate(n=Count("id"), failures=Max(f"{way}__failures"), answered=Max(f"{way}__answered_at"))
    )
    wanted = {}
    for channel_id, batches, failures, answered in due.order_by().values_list(way, "n", "failures", "answered"):
        # One worker is enough to find out whether a provider answers.
        wanted[channel_id] = min(batches, most_workers() if answered and not failures else 1)
    with suppress(queue.Away):  # then nobody can be woken; the next sweep comes when it is back
        busy = _busy(wanted)
        for channel_id, workers in wanted.items():
            for _worker in range(workers - busy[channel_id]):
                wake(channel_id)


def most_workers() -> int:
    """How many may work on one channel: one is left for what comes in meanwhile, however much goes out here."""
    return max(1, settings.Q_CLUSTER["workers"] - 1)


def worker_seen() -> datetime | None:
    """When a worker last reported; None if none ever did."""
    return Heartbeat.objects.filter(name=CANARY).values_list("at", flat=True).first()


def _beat() -> None:
    Heartbeat.objects.update_or_create(name=CANARY, defaults={"at": timezone.now()})


def _busy(wanted: Mapping[int, int]) -> Counter[int]:
    """How many workers each channel has or is about to get: batches under lease, and wake-ups on the queue."""
    leases = Batch.objects.filter(done_at__isnull=True, lease_until__gt=Now())
    busy: Counter[int] = Counter(leases.values_list("dispatch__via", flat=True))
    calls = queue.calls()
    if calls is None:
        return _guess(wanted, busy, queue.size())
    for task, args in calls:
        if task == RUN_CHANNEL:
            busy[args[0]] += 1
    return busy


def _guess(wanted: Mapping[int, int], leases: Counter[int], waiting: int) -> Counter[int]:
    """The same where nobody can see who waits: all that do may be for any channel.

    But a channel for which nothing has happened lately gets one wake-up, however many wait.
    """
    lately = Batch.objects.filter(dispatch__via__in=wanted, done_at__gt=timezone.now() - SILENT)
    alive = set(leases) | set(lately.values_list("dispatch__via", flat=True).distinct())
    unsure = {one for one in wanted if waiting and one not in alive}
    return Counter({one: n - 1 if one in unsure else leases[one] + waiting for one, n in wanted.items()})
