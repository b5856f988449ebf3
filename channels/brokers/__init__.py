"""django-q2's brokers for Redis and Amazon SQS, with short time limits; one that is away ends no process.

Both only carry wake-ups. Redis hands each task out at most once, so that a worker takes along what it dies with; SQS
at least once, so that some come twice. Neither matters: batches are the truth, and the sweeps find what is due.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_q.brokers import Broker

ANSWER_SECONDS = 2  # a person's click may wait for this
LEAVE_ALONE_SECONDS = 5  # one that was away is not asked again at once for a task: each time costs patience
WAIT_SECONDS = 1  # how long one look for a task may last; a stopping worker waits for its end
LOOK_AT = 500  # tasks


class Away(Exception):
    """The queue does not answer, or refuses."""


class Patient(Broker):
    """What both share: the queue's processes outlive an outage."""

    leave_alone_until = 0.0  # time.monotonic(): when it is worth another try
    errors: tuple[type[Exception], ...] = (OSError,)  # that the client raises

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Raises Away for each of the client's errors."""
        try:
            yield
        except self.errors as error:
            self.leave_alone_until = time.monotonic() + LEAVE_ALONE_SECONDS
            raise Away(f"{type(error).__name__}: {error}") from error
        self.leave_alone_until = 0.0

    def dequeue(self) -> list[tuple[Any, str]] | None:
        """(what to acknowledge it by, payload) of each task taken; None if there is none."""
        try:
            with self.answering():
                return self.take()
        except Away:
            time.sleep(WAIT_SECONDS)  # the supervisor tells that it is away
            return None

    def take(self) -> list[tuple[Any, str]] | None:
        raise NotImplementedError

    def ping(self) -> bool:
        return True
