"""Time to awareness: from the start of an incident until a first message had arrived, person by person, by receipts.

Of an incident the figures are exact. Of several together they are right within one step of 2 %, because what is kept of
each is how many people fell on which step.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, log
from typing import Any

from django.core.cache import cache
from django.db.models import Min, Q
from django.utils import timezone

from channels import tally
from channels.models import Delivery, Dispatch
from incidents.models import Incident

from .models import Awareness as Kept

STEP = 1.02
LOOKED_AT = timedelta(days=30)  # receipts come late; later than this after the end they change nothing
EVERY_SECONDS = 60
AT_ONCE = 20  # incidents in one sweep


@dataclass(frozen=True)
class Aware:
    """Of `people` it is known when a first message had arrived: half by `median` seconds, 95 of 100 by `p95`."""

    people: int
    median: float
    p95: float
    buckets: Mapping[int, int]


def of(incidents: Any) -> dict[int, Aware]:
    """By incident, of those (a queryset or its keys) of which anything is known. One query."""
    rows = Kept.objects.filter(incident__in=incidents, people__gt=0)
    return {
        one.pk: Aware(one.people, one.median, one.p95, {int(step): n for step, n in one.buckets.items()})
        for one in rows
    }


def together(found: Iterable[Aware]) -> Aware | None:
    """Several incidents as one; a person who was told of two counts twice."""
    known = list(found)
    if len(known) < 2:
        return known[0] if known else None
    buckets: Counter[int] = Counter()
    for one in known:
        buckets.update(one.buckets)
    people = buckets.total()
    return Aware(people, _by_then(buckets, ceil(0.5 * people)), _by_then(buckets, ceil(0.95 * people)), buckets)


def _by_then(buckets: Mapping[int, int], wanted: int) -> float:
    """Seconds by which so many people knew."""
    seen = 0
    for step in sorted(buckets):
        seen += buckets[step]
        if seen >= wanted:
            break
    return STEP**step


def sweep() -> None:
    """Count what changed: incidents that are open or ended lately, and have more receipts than when last counted."""
    if not cache.add("awareness:looked", True, EVERY_SECONDS):
        return
    lately = Q(resolved_at=None) | Q(resolved_at__gt=timezone.now() - LOOKED_AT)
    look_at(list(Incident.objects.filter(lately, published_at__isnull=False, imported_from=None).order_by("-pk")))


def look_at(incidents: list[Incident]) -> None:
    """Count those that have other receipts than when last counted, at most AT_ONCE."""
    receipts = _receipts(incidents)
    known = dict(Kept.objects.filter(incident__in=incidents).values_list("incident_id", "receipts"))
    changed = [one for one in incidents if receipts[one.thread] != known.get(one.pk, 0)]
    for incident in changed[:AT_ONCE]:
        count(incident, receipts[incident.thread])


def count(incident: Incident, receipts: int) -> None:
    """Read all receipts of an incident and keep what they say."""
    now = timezone.now()
    first = (
        Delivery.objects.filter(dispatch__in=_told([incident.thread]).values("pk"), delivered_at__isnull=False)
        .filter(status=Delivery.Status.DELIVERED)
        .order_by()
        .values("recipient_id")
        .annotate(first=Min("delivered_at"))
    )
    start = incident.started_at
    seconds = sorted(
        max(0.0, (one - start).total_seconds()) for one in first.values_list("first", flat=True).iterator(10_000)
    )
    Kept.objects.update_or_create(
        incident=incident,
        defaults={
            "people": len(seconds),
            "median": rank(seconds, 0.5),
            "p95": rank(seconds, 0.95),
            "buckets": Counter(step_of(one) for one in seconds),
            "receipts": receipts,
            "counted_at": now,
        },
    )


def step_of(seconds: float) -> int:
    """The number of the first step that is not less: STEP ** number seconds."""
    return max(0, ceil(log(seconds) / log(STEP) - 1e-9)) if seconds > 1 else 0


def rank(values: list[float], share: float) -> float:
    """The smallest of the sorted values that this share of them does not exceed (nearest rank); 0 of none."""
    return values[ceil(share * len(values)) - 1] if values else 0.0


def _told(threads: list[str]) -> Any:
    return Dispatch.objects.filter(thread__in=threads, purpose=Dispatch.Purpose.UPDATE).order_by()


def _receipts(incidents: list[Incident]) -> Counter[str]:
    """How many messages are known to have arrived, by thread. Two queries."""
    thread_of = dict(_told([one.thread for one in incidents]).values_list("pk", "thread"))
    found: Counter[str] = Counter()
    for one in tally.counted(_told(list(set(thread_of.values()))).values("pk")):
        if one.status == Delivery.Status.DELIVERED:
            found[thread_of.get(one.dispatch_id, "")] += one.people
    return found
