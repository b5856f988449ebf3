"""The queue in Redis."""

from typing import Any

import redis
from django.conf import settings
from django_q.conf import Conf
from django_q.signing import BadSignature, SignedPackage
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import ANSWER_SECONDS, LOOK_AT, WAIT_SECONDS, Patient


class Redis(Patient):
    """A list, first in, first out."""

    errors = (redis.RedisError, OSError)

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(f"django_q:{list_key or Conf.CLUSTER_NAME}:q")

    @staticmethod
    def get_connection(list_key: str | None = None) -> redis.Redis:
        return redis.Redis.from_url(
            settings.Q_CLUSTER["redis"],
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),  # a connection that has ended since is opened anew, and that is all
        )

    def enqueue(self, task: str) -> Any:
        with self.answering():
            return self.connection.rpush(self.list_key, task)

    def take(self) -> list[tuple[Any, str]] | None:
        found = self.connection.blpop([self.list_key], WAIT_SECONDS)
        return [(None, found[1])] if found else None

    def queue_size(self) -> int:
        with self.answering():
            return self.connection.llen(self.list_key)

    def calls(self) -> list[tuple[str, tuple[Any, ...]]]:
        """(task, arguments) of the first that wait."""
        with self.answering():
            payloads = self.connection.lrange(self.list_key, 0, LOOK_AT - 1)
        found = []
        for payload in payloads:
            try:
                task = SignedPackage.loads(payload)
            except (TypeError, BadSignature):
                continue  # signed with another SECRET_KEY: the queue will drop it
            found.append((task["func"], task["args"]))
        return found

    def info(self) -> str:
        return "Redis"
