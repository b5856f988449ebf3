"""In how many browsers a notice was shown and closed (docs/reference/in-app.md, "What is counted").

Nothing of a reader is kept: no cookie, no address, no browser; only a number for each notice, day and event. A report
is a few bytes that anybody can send, so what it may cost is bounded: reports are added up in this process and written
every few seconds, only what is shown now can be counted, and what comes faster than LIMIT is not looked at.
"""

import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from django.db import DatabaseError, transaction
from django.db.models import F, Sum
from django.utils import timezone

from .models import Delivery, Notice, NoticeCount

log = logging.getLogger(__name__)

MAX_BODY = 1024  # bytes of one report
MAX_IDS = 20  # notices of one report
LIMIT = 500  # reports a second of one process
EVERY = 5.0  # seconds between two writings
FRESH = 1.0  # seconds for which a process relies on the list of notices it read


class Tally:
    """What a process has heard and not yet written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Counter[tuple[int, str]] = Counter()  # (id of a Notice, event)
        self._written_at = -EVERY
        self._known: dict[str, int] = {}  # key → id of what is shown now
        self._known_at = -FRESH
        self._second, self._heard = 0, 0

    def hear(self, body: bytes) -> None:
        """Count one report, {"event", "ids"}; whatever is not one is passed over. Raises nothing."""
        event, ids = _read(body)
        if not ids:
            return
        try:
            known = self._lookup(ids)
            with self._lock:
                self._waiting.update((known[one], event) for one in ids if one in known)
        except DatabaseError as error:
            log.warning("a report of a shown notice is lost: %s", type(error).__name__)
        self.write_if_due()

    def may_hear(self) -> bool:
        """Whether there is room for one more report in this second."""
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._heard = second, 0
            self._heard += 1
            return self._heard <= LIMIT

    def write_if_due(self) -> None:
        if self._waiting and time.monotonic() - self._written_at >= EVERY:
            self.write()

    def write(self) -> None:
        """Add what waits to the table. Without a database it waits on."""
        with self._lock:
            waiting, self._waiting = self._waiting, Counter()
            self._written_at = time.monotonic()
        try:
            with transaction.atomic():
                _add(waiting)
        except DatabaseError as error:
            log.warning("the counts of notices wait: %s", type(error).__name__)
            with self._lock:
                self._waiting.update(waiting)

    def _lookup(self, ids: Iterable[str]) -> dict[str, int]:
        """Key and id of every notice that is shown now, read again for a new one."""
        now = time.monotonic()
        if now - self._known_at >= FRESH and (now - self._known_at > 60 or not self._known.keys() >= set(ids)):
            self._known_at = now
            self._known = dict(Notice.current().values_list("key", "pk"))
        return self._known


def _read(body: bytes) -> tuple[str, list[str]]:
    """Event and ids of a report; no ids if it is none."""
    try:
        said = json.loads(body)
        event, ids = said["event"], said["ids"]
        if event in NoticeCount.Event.values and isinstance(ids, list):
            return event, list({one for one in ids[:MAX_IDS] if isinstance(one, str)})
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return "", []


def _add(counts: Counter[tuple[int, str]]) -> None:
    """Rows first, then the numbers: always in the same order, so that two processes never wait for each other."""
    day = timezone.now().date()
    there = set(Notice.objects.filter(pk__in={pk for pk, _event in counts}).values_list("pk", flat=True))
    rows = [(pk, event, n) for (pk, event), n in sorted(counts.items()) if pk in there]
    NoticeCount.objects.bulk_create(
        [NoticeCount(notice_id=pk, day=day, event=event) for pk, event, _n in rows], ignore_conflicts=True
    )
    for pk, event, n in rows:
        NoticeCount.objects.filter(notice=pk, day=day, event=event).update(count=F("count") + n)


tally = Tally()


def counted(dispatch_ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """By channel id, in how many browsers the notices of these dispatches were shown and closed, all languages."""
    refs = dict(Delivery.objects.filter(dispatch__in=dispatch_ids).values_list("provider_ref", "dispatch__channel_id"))
    found: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(NoticeCount.Event.values, 0))
    rows = NoticeCount.objects.filter(notice__key__in=refs).values_list("notice__key", "event").annotate(n=Sum("count"))
    for key, event, n in rows.order_by():
        found[refs[key]][event] += n
    return found
