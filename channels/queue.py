"""The queue: whatever is to be done by a worker is put on it here, and who must know what waits asks here.

On the database a task is a row, and comes about with the caller's transaction or not at all. Redis and SQS
(channels/brokers/) know nothing of transactions: a task goes there after the commit, and if it cannot, a sweep finds
its work.
"""

import logging
import os
import threading
import time
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.brokers.orm import ORM
from django_q.models import OrmQ
from django_q.tasks import async_task

from .brokers import LOOK_AT, Away

log = logging.getLogger(__name__)
_mine = threading.local()


def on_database() -> bool:
    """Whether what waits can be read row by row, and in the caller's transaction."""
    return "orm" in settings.Q_CLUSTER


def enqueue(task: str, *args: Any) -> None:
    """Ask a worker to run the task of this dotted name. Nothing is asked if the caller's transaction is rolled back."""
    if on_database():
        put(task, *args)
    else:
        transaction.on_commit(partial(_try, task, *args))


def put(task: str, *args: Any) -> None:
    """The same, at once. Raises Away."""
    async_task(task, *args, broker=_broker())


def _try(task: str, *args: Any) -> None:
    if time.monotonic() < _broker().leave_alone_until:
        return
    try:
        put(task, *args)
    except Away as error:
        log.warning("The queue does not take %s; a sweep will find the work: %s", task, error)


def calls() -> list[tuple[str, tuple[Any, ...]]] | None:
    """(task, arguments) of the first that wait; None where nobody can look. Raises Away."""
    if on_database():
        rows = OrmQ.objects.filter(lock__lte=timezone.now()).order_by("id")[:LOOK_AT]
        return [(row.func(), row.args()) for row in rows]
    return _broker().calls()


def size() -> int:
    """How many wait to be taken. Raises Away."""
    return _broker().queue_size()


def _broker() -> Any:
    """One for each thread of each process, kept: making one costs what a task costs, or much more."""
    mine = (os.getpid(), settings.Q_CLUSTER)
    if getattr(_mine, "of", None) != mine:
        name = settings.Q_CLUSTER.get("broker_class")
        _mine.broker = import_string(name)() if name else ORM()
        _mine.of = mine
    return _mine.broker
