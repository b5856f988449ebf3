"""How far a dispatch is: from its batches and the tally of its deliveries."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet, Sum

from . import tally
from .models import Batch, Delivery, Dispatch


@dataclass(frozen=True)
class Progress:
    """How far one dispatch is. Counts are people; `reasons` maps (status, code) to people."""

    dispatch: Dispatch
    total: int
    counts: dict[str, int]
    reasons: dict[tuple[str, str], int]
    waiting: int
    last_at: Any = None
    repeating: int = 0  # of those waiting, how many have an earlier outcome that stands until the new one

    @property
    def reached(self) -> int:
        return sum(self.counts.get(status, 0) for status in Delivery.REACHED)

    @property
    def failed(self) -> int:
        return self.counts.get(Delivery.Status.FAILED, 0)

    @property
    def unknown(self) -> int:
        return self.counts.get(Delivery.Status.UNKNOWN, 0)

    @property
    def finished(self) -> bool:
        """Nothing more will happen by itself."""
        if self.dispatch.cancelled_at:
            return True
        return self.dispatch.expanded_at is not None and self.waiting == 0


def progress_of(dispatches: QuerySet[Dispatch]) -> list[Progress]:
    """Progress of each dispatch, in three queries whatever their number."""
    found = list(dispatches.select_related("channel", "via").order_by("channel__name", "locale", "id"))
    keys = [d.pk for d in found]
    counts: dict[int, Counter[str]] = {k: Counter() for k in keys}
    reasons: dict[int, Counter[tuple[str, str]]] = {k: Counter() for k in keys}
    last: dict[int, Any] = {}
    for one in tally.counted(keys):
        counts[one.dispatch_id][one.status] += one.people
        if one.status not in Delivery.REACHED:
            reasons[one.dispatch_id][one.status, one.code] += one.people
        if one.last_at:
            last[one.dispatch_id] = max(one.last_at, last.get(one.dispatch_id, one.last_at))
    waiting = dict.fromkeys(keys, 0)
    repeating = dict.fromkeys(keys, 0)  # waiting, but with an earlier outcome that is counted already
    left = Batch.objects.filter(dispatch__in=keys, done_at__isnull=True).values_list("dispatch_id", "repeats")
    for key, repeats, n in left.annotate(n=Sum(F("size") - F("done_to"))).order_by():
        waiting[key] += n
        repeating[key] += n if repeats else 0
    result = []
    for d in found:
        total = sum(counts[d.pk].values()) + waiting[d.pk] - repeating[d.pk]
        if not d.expanded_at:  # the approved count is the best that is known
            total = max(total, d.approved_count)
        result.append(
            Progress(d, total, dict(counts[d.pk]), dict(reasons[d.pk]), waiting[d.pk], last.get(d.pk), repeating[d.pk])
        )
    return result
