"""The portal's side of a benchmark: its recipients, a channel, a dispatch, and the engine let loose on it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from django.db import connection
from django.utils import timezone

from channels.models import Channel, Delivery, Dispatch, Recipient
from channels.secrets import address_hash

from . import null, world
from .measure import Wrong
from .stage import Child

COLUMNS = ["medium", "address", "address_hash", "name", "locale", "time_zone", "attributes", "consent_source"]
COLUMNS += ["confirmed_at", "created_at"]
_dispatches = 0


def populate(count: int) -> int:
    """See to it that there are so many recipients; the id of the last one to write to."""
    have, now = Recipient.objects.count(), timezone.now()
    people = (
        ("email", world.address(n), address_hash("email", world.address(n)), world.name(n), "en", "UTC")
        for n in range(have, count)
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY channels_recipient ({', '.join(COLUMNS)}) FROM STDIN") as copy:
                for row in people:
                    copy.write_row((*row, "{}", "", now, now))
            cursor.execute("VACUUM ANALYZE channels_recipient")
    else:
        Recipient.objects.bulk_create(
            [Recipient(**dict(zip(COLUMNS, row, strict=False)), confirmed_at=now) for row in people]
        )
    return Recipient.objects.order_by("id").values_list("pk", flat=True)[count - 1]


def make_channel(provider: str, **config: Any) -> Channel:
    """An enabled channel that counts as tested."""
    return Channel.objects.create(
        name=f"Benchmark {Channel.objects.count()}",
        provider=provider,
        config=config,
        enabled=True,
        verified_at=timezone.now(),
    )


def make_dispatch(channel: Channel) -> Dispatch:
    """As publishing.dispatch makes one, not yet expanded; past the guard, as nobody approved it."""
    global _dispatches
    _dispatches += 1
    with _unguarded():
        return Dispatch.objects.create(
            source=f"benchmark:{channel.pk}:{_dispatches}",
            thread=f"incident-benchmark{_dispatches}",
            channel=channel,
            locale="en",
            content={"parts": {"subject": world.SUBJECT, "text": world.TEXT, "html": world.HTML}, "links": {}},
            approved_hash="0" * 64,
        )


@contextmanager
def _unguarded() -> Iterator[None]:
    """Without the guards of the table of dispatches, for one statement."""
    with connection.cursor() as cursor:
        without = ["ALTER TABLE channels_dispatch DISABLE TRIGGER USER"]
        again = ["ALTER TABLE channels_dispatch ENABLE TRIGGER USER"]
        if connection.vendor == "sqlite":
            theirs = "type = 'trigger' AND tbl_name = 'channels_dispatch'"
            cursor.execute(f"SELECT name, sql FROM sqlite_master WHERE {theirs}")
            found = cursor.fetchall()
            without, again = [f'DROP TRIGGER "{name}"' for name, _sql in found], [sql for _name, sql in found]
        for statement in without:
            cursor.execute(statement)
        try:
            yield
        finally:
            for statement in again:
                cursor.execute(statement)


@dataclass(frozen=True)
class Run:
    """What a fan-out took. `peak_rss` is the largest process's, in bytes."""

    dispatch: Dispatch
    seconds: float
    expand_seconds: float
    handed_over: int
    checksum: int
    peak_rss: int


def fan_out(channel: Channel, last_id: int, engines: Sequence[Child]) -> Run:
    """Write to all recipients up to `last_id`, from expansion to the last outcome recorded.

    Deliveries and batches of earlier runs are removed first, outside the clock. Raises Wrong if anything is left.
    """
    clear()
    dispatch = make_dispatch(channel)
    started = time.monotonic()
    expanded = engines[0].ask(do="expand", dispatch=dispatch.pk, last_id=last_id)
    for one in engines:
        one.tell(do="send", channel=channel.pk)
    answers = [one.answer() for one in engines]
    seconds = time.monotonic() - started
    left = dispatch.batches.filter(done_at__isnull=True)
    if left.exists():
        channel.refresh_from_db()
        problem = left.exclude(last_error="").values_list("last_error", flat=True).first()
        raise Wrong(f"The engine stopped early: {channel.paused_reason or problem or 'no error was recorded'}")
    sent = dispatch.deliveries.filter(status__in=Delivery.REACHED).count()
    if sent != expanded["people"]:
        raise Wrong(f"Of {expanded['people']} recipients only {sent} are recorded as sent.")
    return Run(
        dispatch,
        seconds,
        expanded["seconds"],
        sum(a["handed_over"] for a in answers),
        sum(a["checksum"] for a in answers),
        max(a["peak_rss"] for a in answers),
    )


def warm_up(channel: Channel, engines: Sequence[Child]) -> None:
    """Let each process write to the first few recipients, so that it loads what it needs at first use."""
    few = Recipient.objects.order_by("id").values_list("pk", flat=True)[:20]
    for one in engines:
        fan_out(channel, max(few), [one])


def clear() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("TRUNCATE channels_delivery, channels_batch")
        else:
            cursor.execute("DELETE FROM channels_delivery")
            cursor.execute("DELETE FROM channels_batch")


def check_null(run: Run, last_id: int) -> None:
    """Raises Wrong unless the null provider was given everybody, each once."""
    wanted = Recipient.objects.filter(pk__lte=last_id).values_list("pk", flat=True).iterator(20_000)
    checksum = count = 0
    for pk in wanted:
        count += 1
        checksum += crc32(f"{run.dispatch.pk}-{pk}".encode())
    if run.handed_over != count or run.checksum != checksum:
        raise Wrong(f"The provider was given {run.handed_over} recipients of {count}, or not each of them once.")


def null_channel(sleep: float = 0) -> Channel:
    return make_channel(null.KEY, sleep=sleep)
