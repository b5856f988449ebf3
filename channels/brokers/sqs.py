"""The queue in Amazon SQS."""

import os
from contextlib import suppress
from typing import Any

from boto3 import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django_q.conf import Conf

from . import ANSWER_SECONDS, WAIT_SECONDS, Patient


class Sqs(Patient):
    """A standard queue, which somebody has made."""

    errors = (BotoCoreError, ClientError, OSError)

    _pid = 0

    def _client(self) -> tuple[Any, str]:
        """The client and the queue's address, made once in each process: a fork must not share its connections."""
        if self._pid != os.getpid():
            config = Config(
                connect_timeout=ANSWER_SECONDS,
                read_timeout=ANSWER_SECONDS + WAIT_SECONDS,
                retries={"mode": "standard", "total_max_attempts": 2},
            )
            place = settings.Q_CLUSTER["sqs"]
            # A session of its own: boto3's default one is not for several threads.
            client = Session(region_name=place["region"]).client("sqs", config=config)
            self._made = client, client.get_queue_url(QueueName=place["queue"])["QueueUrl"]
            self._pid = os.getpid()
        return self._made

    def enqueue(self, task: str) -> Any:
        with self.answering():
            client, url = self._client()
            return client.send_message(QueueUrl=url, MessageBody=task)["MessageId"]

    def take(self) -> list[tuple[Any, str]] | None:
        client, url = self._client()
        answer = client.receive_message(QueueUrl=url, WaitTimeSeconds=WAIT_SECONDS, VisibilityTimeout=Conf.RETRY)
        return [(one["ReceiptHandle"], one["Body"]) for one in answer.get("Messages", [])]

    def acknowledge(self, task_id: str) -> None:
        """One that cannot be acknowledged comes again, which is harmless."""
        with suppress(*self.errors):
            client, url = self._client()
            client.delete_message(QueueUrl=url, ReceiptHandle=task_id)

    delete = fail = acknowledge

    def queue_size(self) -> int:
        """About how many wait; SQS is late by seconds, at times by a minute."""
        with self.answering():
            client, url = self._client()
            names = ["ApproximateNumberOfMessages"]
            return int(client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"][names[0]])

    def calls(self) -> None:
        """SQS lets nobody look without taking."""

    def info(self) -> str:
        return "Amazon SQS"
