"""Queries that stop by themselves: what a screen would like to know is not worth holding up the database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction

CANCELLED = "57014"  # PostgreSQL's query_canceled
STEPS = 10_000  # of SQLite's machine between two looks at the clock


class TookTooLong(Exception):
    """The answer did not come in time."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Queries within take so long at most (on PostgreSQL each, on SQLite all together). Raises TookTooLong."""
    limit = _on_postgresql if connection.vendor == "postgresql" else _on_sqlite
    with limit(seconds):
        yield


@contextmanager
def _on_postgresql(seconds: float) -> Iterator[None]:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # "true" is SET LOCAL: a pool that gives the connection to somebody else gives them no limit.
            change = "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)"
            cursor.execute(change, [f"{int(seconds * 1000)}ms"])
            before = cursor.fetchone()[0]
            yield
            cursor.execute(change, [before])
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != CANCELLED:
            raise
        raise TookTooLong from error


@contextmanager
def _on_sqlite(seconds: float) -> Iterator[None]:
    connection.ensure_connection()
    sqlite, end = connection.connection, time.monotonic() + seconds
    sqlite.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    try:
        yield
    except OperationalError as error:
        if str(error) != "interrupted":
            raise
        raise TookTooLong from error
    finally:
        sqlite.set_progress_handler(None, STEPS)
