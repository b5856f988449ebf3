"""How many deliveries have which outcome, without counting them: triggers keep DeliveryTally (migration 0012)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Max, QuerySet, Sum

from .models import DeliveryTally

FOLDED_AT_ONCE = 500  # dispatches


class Count(NamedTuple):
    """So many people of a dispatch have this outcome, the last of them since `last_at`."""

    dispatch_id: int
    status: str
    code: str
    people: int
    last_at: datetime | None


def counted(dispatches: QuerySet[Any] | list[int]) -> Iterator[Count]:
    """The outcomes of some dispatches (or of their ids), one for each (dispatch, status, code). One query."""
    rows = DeliveryTally.objects.filter(dispatch__in=dispatches).values_list("dispatch_id", "status", "code")
    for row in rows.annotate(people=Sum("n"), last_at=Max("last_at")).order_by():
        if row[3]:
            yield Count(*row)


def fold() -> None:
    """Replace the rows of dispatches that have new ones by one for each outcome. Running it twice is harmless.

    One statement, so a reader meets either the old rows or the new; what is recorded meanwhile is folded the next time.
    On SQLite the triggers fold at once.
    """
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH fresh AS (
                SELECT DISTINCT dispatch_id FROM channels_deliverytally WHERE NOT folded LIMIT %s
            ), gone AS (
                DELETE FROM channels_deliverytally WHERE dispatch_id IN (SELECT dispatch_id FROM fresh) RETURNING *
            )
            INSERT INTO channels_deliverytally (dispatch_id, status, code, n, last_at, folded)
            SELECT dispatch_id, status, code, sum(n), max(last_at), true FROM gone
            GROUP BY dispatch_id, status, code HAVING sum(n) <> 0
            """,
            [FOLDED_AT_ONCE],
        )
