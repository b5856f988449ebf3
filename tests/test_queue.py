"""The queue, on each broker that QUEUE_URL can name: a real Redis, and moto's SQS."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import boto3
import psutil
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone

from channels import queue, tasks
from channels.models import Batch, Dispatch
from channels.worker import BlindSweeps, _mark
from commsportal.broker import broker
from incidents import publishing
from tests import make
from tests.channels.providers.conftest import aws_env, moto, moto_url  # noqa: F401
from tests.redis_server import PROGRAM, RedisServer
from tests.test_worker import assert_nothing_lost, channel, sink, worker  # noqa: F401
from tests.workers import finished, publish, until

TASK = "channels.tasks.run_channel"

# ── QUEUE_URL ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("", {"orm": "default"}),
        ("redis://host:6379/0", {"broker_class": "channels.brokers.redis.Redis", "redis": "redis://host:6379/0"}),
        ("rediss://:p%40ss@host", {"broker_class": "channels.brokers.redis.Redis", "redis": "rediss://:p%40ss@host"}),
        (
            "sqs://eu-south-1/portal",
            {"broker_class": "channels.brokers.sqs.Sqs", "sqs": {"region": "eu-south-1", "queue": "portal"}},
        ),
    ],
)
def test_it_reads_the_setting(url, found):
    assert broker(url) == found


@pytest.mark.parametrize(
    ("url", "value", "fix"),
    [
        ("host:6379", "host:6379", "begin with redis://"),
        ("amqp://host", "amqp://host", "begin with redis://"),
        ("redis://", "redis://", "write redis://host:6379/0"),
        ("redis://host:port/0", "redis://host:port/0", "write redis://host:6379/0"),
        ("redis://host:6379/portal", "'portal'", "write redis://host:6379/0"),
        ("redis://host/0?db=1", "?db=1", "leave them out"),
        ("sqs://commsportal", "'commsportal'", "write sqs://eu-south-1/commsportal"),
        ("sqs://eu-south-1/", "''", "1 to 80 letters"),
        ("sqs://eu-south-1/portal.fifo", "'portal.fifo'", "standard queue"),
    ],
)
def test_it_names_a_bad_value_and_the_fix(url, value, fix):
    with pytest.raises(ImproperlyConfigured) as caught:
        broker(url)
    assert "QUEUE_URL" in str(caught.value)
    assert value in str(caught.value)
    assert fix in str(caught.value)


@pytest.mark.parametrize("url", ["redis://me:se/cret@host:x/0", "redis://:se/cret@host/portal", "amqp://a:secret@b"])
def test_it_tells_no_password(url):
    with pytest.raises(ImproperlyConfigured) as caught:
        broker(url)
    assert "cret" not in str(caught.value)


# ── On each broker ──────────────────────────────────────────────────────────


@pytest.fixture
def use(settings) -> Iterator[Callable[[str], None]]:
    """Make this process put its tasks on the queue of a URL."""

    def use(url: str) -> None:
        plain = {key: value for key, value in settings.Q_CLUSTER.items() if key != "orm"}
        settings.Q_CLUSTER = plain | broker(url)

    yield use
    connection = getattr(queue._broker(), "connection", None)
    if hasattr(connection, "close"):
        connection.close()


@pytest.fixture(scope="module")
def one_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not PROGRAM:
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def redis(one_redis: RedisServer, use) -> RedisServer:
    one_redis.client.flushall()
    use(one_redis.url)
    return one_redis


@pytest.fixture
def sqs(moto: str, aws_env: pytest.MonkeyPatch, use) -> Iterator[str]:  # noqa: F811
    aws_env.setenv("AWS_ACCESS_KEY_ID", "testing")
    aws_env.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    client = boto3.Session(region_name="eu-south-1").client("sqs")
    client.create_queue(QueueName="portal")
    client.close()
    use("sqs://eu-south-1/portal")
    yield "sqs://eu-south-1/portal"
    queue._broker()._client()[0].close()


@pytest.fixture(params=["redis", "sqs"])
def url(request: pytest.FixtureRequest) -> str:
    """A queue that is not the database, in use by this process."""
    found = request.getfixturevalue(request.param)
    return found.url if request.param == "redis" else found


def _empty() -> None:
    while queue.size():
        for key, _payload in queue._broker().dequeue() or []:
            queue._broker().acknowledge(key)


def test_a_task_comes_about_after_the_commit_and_never_without(url, transactional_db):
    with suppress(ZeroDivisionError), transaction.atomic():
        queue.enqueue(TASK, 1)
        raise ZeroDivisionError
    assert queue.size() == 0
    with transaction.atomic():
        queue.enqueue(TASK, 2)
        assert queue.size() == 0
    assert queue.size() == 1
    queue.enqueue(TASK, 3)
    assert queue.size() == 2
    assert queue.calls() in ([(TASK, (2,)), (TASK, (3,))], None)


@pytest.mark.once
def test_an_update_is_delivered(url, worker, channel, sink):  # noqa: F811
    worker(QUEUE_URL=url, SWEEP_SECONDS=1000).ready()  # by its wake-ups: one sweep has been, and no other will come
    publish(channel, 20)
    until(finished)
    assert_nothing_lost(sink, 20, doubtful=0)
    until(lambda: queue.size() == 0)


# ── When the broker fails ───────────────────────────────────────────────────


@pytest.mark.once
def test_nothing_is_lost_when_redis_is_emptied_and_goes_away_in_mid_send(redis, worker, channel, sink):  # noqa: F811
    sink.pause = 0.002
    sink.ring_at = 200
    publish(channel, 900)
    one = worker(QUEUE_URL=redis.url, DELIVERY_BATCH_SIZE=150)
    assert sink.bell.wait(30)
    redis.client.flushall()
    until(lambda: len(sink.ledger) > 300)
    redis.stop()
    try:
        until(lambda: "The queue does not answer" in one.log)
        assert not finished()
    finally:
        redis.start()
    until(finished)
    assert_nothing_lost(sink, 900, doubtful=0)
    until(lambda: "The queue answers again" in one.log)
    assert "Restarting the queue" not in one.log


@pytest.mark.once
def test_people_can_publish_while_redis_is_away(redis, worker, channel, sink, caplog):  # noqa: F811
    one = worker(QUEUE_URL=redis.url).ready()
    redis.stop()
    try:
        publish(channel, 20)
        tasks.wake(channel.pk)
        assert caplog.text.count("a sweep will find the work") == 1  # it is left alone for a while
        until(lambda: "The queue does not answer" in one.log)
    finally:
        redis.start()
    until(finished)
    assert_nothing_lost(sink, 20, doubtful=0)


@pytest.mark.once
def test_it_restarts_a_cluster_that_hangs_on_redis(redis, worker, channel, sink):  # noqa: F811
    one = worker(QUEUE_URL=redis.url, WORKERS=1).ready()
    hung = "nothing was done for 3 seconds"
    while hung not in one.log:
        with suppress(psutil.NoSuchProcess):  # as in test_worker: whoever waits for work takes the lock along
            for process in one.hands():
                process.kill()
        one.since = timezone.now() + timedelta(seconds=0.5)
        until(lambda: hung in one.log or one.beats())
    publish(channel, 50)
    until(finished)
    assert_nothing_lost(sink, 50, doubtful=0)
    assert one.log.count("Restarting the queue") == 1


# ── Sweeps that cannot be found again ───────────────────────────────────────


@pytest.fixture
def sweeps(redis, settings, transactional_db) -> BlindSweeps:
    settings.SWEEP_SECONDS = 0
    return BlindSweeps()


def _take(settings, what: str) -> None:
    """As the workers would: the queue is empty, and each sweep has its mark."""
    _empty()
    for name in settings.SWEEPS:
        _mark(what, {"func": name})


def test_it_piles_up_no_sweeps_while_nobody_takes_them(sweeps, settings):
    for _moment in range(20):
        sweeps.ask()
    assert queue.calls() == [(name, ()) for name in settings.SWEEPS]


def test_clusters_that_hang_one_after_the_other_add_no_sweeps(sweeps, settings):
    for _cluster in range(5):
        sweeps.forget()
        sweeps.ask()
    assert queue.size() == len(settings.SWEEPS)


def test_it_asks_again_for_a_sweep_that_was_lost(sweeps, settings):
    sweeps.ask()
    _empty()
    sweeps.ask()
    assert queue.size() == len(settings.SWEEPS)


def test_it_asks_for_no_sweep_that_runs_unless_that_takes_too_long(sweeps, settings):
    sweeps.ask()
    _take(settings, "taken")
    sweeps.ask()
    assert queue.size() == 0
    settings.WORKER_STALE_SECONDS = 0
    sweeps.ask()
    assert queue.size() == len(settings.SWEEPS)


def test_it_asks_again_for_a_sweep_that_is_done(sweeps, settings):
    sweeps.ask()
    _take(settings, "taken")
    _take(settings, "done")
    queue.put(TASK, 1)
    sweeps.ask()
    assert queue.size() == 1 + len(settings.SWEEPS)


def test_a_new_cluster_is_asked_at_once_for_what_the_old_one_took_along(sweeps, settings):
    settings.SWEEP_SECONDS = 1000
    sweeps.ask()
    _take(settings, "taken")
    sweeps.forget()
    sweeps.ask()
    assert queue.size() == len(settings.SWEEPS)


def test_a_sweep_that_nobody_takes_is_overdue(sweeps, settings):
    sweeps.ask()
    assert not sweeps.overdue()
    settings.WORKER_STALE_SECONDS = 0
    assert sweeps.overdue()
    _take(settings, "taken")
    assert not sweeps.overdue()


@pytest.mark.parametrize("kind", ["redis", "sqs"])
def test_it_tops_up_wake_ups_to_all_workers_but_one_and_no_further(kind, request, settings, transactional_db):
    request.getfixturevalue(kind)
    settings.DELIVERY_BATCH_SIZE = settings.DELIVERY_FIRST_BATCH_SIZE = 5
    publish(make.channel(answered_at=timezone.now()), 100)
    publishing.expand(Dispatch.objects.get())  # the worker's part
    _empty()
    tasks.sweep()
    assert queue.size() == settings.Q_CLUSTER["workers"] - 1  # one is left for other channels
    Batch.objects.filter(pk=Batch.objects.first().pk).update(done_at=timezone.now())
    tasks.sweep()
    assert queue.size() == settings.Q_CLUSTER["workers"] - 1  # one is left for other channels


def test_a_channel_for_which_nothing_happens_is_woken_however_many_wait(sqs, settings, transactional_db):
    publish(make.channel(), 1)
    publishing.expand(Dispatch.objects.get())
    for _other in range(9):
        queue.put(TASK, 0)
    before = queue.size()
    tasks.sweep()
    assert queue.size() == before + 1
