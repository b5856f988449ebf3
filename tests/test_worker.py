"""The worker as an operator meets it: a process of its own, killed in every way there is."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ

from channels import delivery, tasks
from channels import worker as worker_module
from channels.models import Batch, Channel, Delivery, Dispatch, Recipient
from channels.worker import Sweeps
from incidents import publishing
from tests import make
from tests.workers import WAVE, Sink, Worker, database_url, finished, publish, until


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    sink.controller.start()
    yield sink
    sink.controller.stop()


@pytest.fixture
def channel(transactional_db: None, sink: Sink) -> Channel:
    config = {
        "host": "127.0.0.1",
        "port": sink.controller.port,
        "security": "none",
        "from_address": "status@example.com",
        "timeout": 10,
    }
    return make.channel("smtp", config=config)


@pytest.fixture
def worker(transactional_db: None, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(**env: Any) -> Worker:
        started.append(Worker(tmp_path, **env))
        return started[-1]

    yield start
    family = [p for one in started if one.process.is_running() for p in one.process.children(recursive=True)]
    for one in started:
        one.stop()
    _gone, alive = psutil.wait_procs(family, timeout=10)
    for process in alive:
        process.kill()
    assert not alive


def assert_nothing_lost(sink: Sink, count: int, doubtful: int) -> None:
    """Everybody has one outcome; who did not get the mail is marked as doubtful; nobody got it twice."""
    assert Delivery.objects.count() == count
    outcome = dict(Delivery.objects.values_list("recipient_id", "status"))
    addresses = dict(Recipient.objects.values_list("id", "address"))
    sent = {addresses[pk] for pk, status in outcome.items() if status == Delivery.Status.SENT}
    unknown = {addresses[pk] for pk, status in outcome.items() if status == Delivery.Status.UNKNOWN}
    assert len(sent) + len(unknown) == count
    assert len(unknown) <= doubtful
    assert max(Counter(sink.ledger).values()) == 1
    assert sent <= set(sink.ledger) <= sent | unknown


def test_it_loses_nothing_when_a_busy_worker_is_killed_in_the_middle_of_3000_deliveries(worker, channel, sink):
    sink.ring_at = 1000
    publish(channel, 3000)
    one = worker()
    assert sink.bell.wait(30)
    one.busy(sink.controller.port).kill()
    until(finished)
    assert_nothing_lost(sink, 3000, doubtful=WAVE)
    assert Delivery.objects.filter(status="unknown").exclude(code="worker-stopped").count() == 0


@pytest.mark.once
@pytest.mark.parametrize("victim", ["main process", "sentinel", "whole group"])
def test_it_resumes_when_the_cluster_is_killed(worker, channel, sink, victim):
    sink.ring_at = 150
    publish(channel, 400)
    one = worker()
    assert sink.bell.wait(30)
    cluster = one.cluster()
    if victim == "main process":
        cluster.kill()
    elif victim == "sentinel":
        cluster.children()[0].kill()
    else:
        os.killpg(cluster.pid, signal.SIGKILL)
    until(finished)
    assert_nothing_lost(sink, 400, doubtful=2 * WAVE)
    until(lambda: "Restarting the queue" in one.log)  # orphans may have finished the work before it is noticed


def test_it_restarts_a_cluster_that_hangs_after_an_idle_worker_was_killed(worker, channel, sink):
    one = worker(WORKERS=1).ready()
    cluster = one.cluster()
    hung = "nothing was done for 3 seconds"
    while hung not in one.log:
        # The one that waits for work holds the queue's lock, and takes it along; between two waits it holds nothing,
        # the next one takes its place, and the heart goes on beating.
        with suppress(psutil.NoSuchProcess):
            for process in one.hands():
                process.kill()
        one.since = timezone.now() + timedelta(seconds=0.5)
        until(lambda: hung in one.log or one.beats())
    publish(channel, 50)
    until(finished)
    assert not cluster.is_running()
    assert_nothing_lost(sink, 50, doubtful=0)


def test_it_finishes_the_wave_in_flight_when_it_is_stopped(worker, channel, sink):
    sink.ring_at = 150
    publish(channel, 3000)
    one = worker()
    assert sink.bell.wait(30)
    family = one.process.children(recursive=True)
    assert one.stop(signal.SIGTERM) == 0
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert not Batch.objects.filter(lease_until__isnull=False).exists()
    assert Delivery.objects.filter(status=Delivery.Status.SENT).count() == len(sink.ledger) == Delivery.objects.count()
    assert len(sink.ledger) < 3000


@pytest.mark.once
def test_it_stops_at_ctrl_c_too(worker):
    one = worker().ready()
    family = one.process.children(recursive=True)
    assert one.stop(signal.SIGINT) == 0
    assert psutil.wait_procs(family, timeout=5)[1] == []


@pytest.mark.once
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_it_takes_its_cluster_along_when_it_is_killed_itself(worker):
    one = worker().ready()
    family = one.process.children(recursive=True)
    one.process.kill()
    assert psutil.wait_procs(family, timeout=30)[1] == []


@pytest.mark.postgres_only
def test_it_waits_for_a_database_that_went_away(worker, channel, sink):
    one = worker().ready()
    database = connection.settings_dict["NAME"]
    connection.close()
    with psycopg.connect(database_url().rpartition("/")[0] + "/postgres", autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        try:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
            until(lambda: "The database does not answer" in one.log)
        finally:
            other.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
    until(lambda: "The database answers again" in one.log)
    publish(channel, 20)
    until(finished)
    assert_nothing_lost(sink, 20, doubtful=0)
    assert one.process.is_running()


@pytest.fixture
def sweeps(settings, transactional_db: None) -> Sweeps:
    settings.SWEEP_SECONDS = 0
    return Sweeps()


def test_it_piles_up_no_sweeps_while_nobody_takes_them(sweeps, settings):
    for _moment in range(20):
        sweeps.ask()
    assert [row.func() for row in OrmQ.objects.order_by("id")] == settings.SWEEPS


def test_it_asks_again_for_a_sweep_that_was_taken_and_never_done(sweeps, settings):
    sweeps.ask()
    OrmQ.objects.update(lock=timezone.now() + timedelta(seconds=400))
    first = set(OrmQ.objects.values_list("pk", flat=True))
    sweeps.ask()
    assert set(OrmQ.objects.values_list("pk", flat=True)) == first
    settings.WORKER_STALE_SECONDS = 0
    sweeps.ask()
    assert len(first) == OrmQ.objects.count()
    assert first.isdisjoint(OrmQ.objects.values_list("pk", flat=True))


def test_it_asks_a_new_cluster_at_once(sweeps, settings):
    settings.SWEEP_SECONDS = 1000
    sweeps.ask()
    first = set(OrmQ.objects.values_list("pk", flat=True))
    sweeps.forget()
    sweeps.ask()
    assert len(first) == OrmQ.objects.count()
    assert first.isdisjoint(OrmQ.objects.values_list("pk", flat=True))


def test_it_tops_up_wake_ups_to_all_workers_but_one_and_no_further(settings, transactional_db):
    settings.DELIVERY_BATCH_SIZE = settings.DELIVERY_FIRST_BATCH_SIZE = 5
    channel = make.channel(answered_at=timezone.now())
    publish(channel, 100)
    publishing.expand(Dispatch.objects.get())  # the worker's part
    OrmQ.objects.all().delete()
    for _moment in range(3):
        tasks.sweep()
    assert OrmQ.objects.count() == settings.Q_CLUSTER["workers"] - 1  # one is left for other channels
    OrmQ.objects.all().delete()
    delivery.claim(channel.pk)
    tasks.sweep()
    assert OrmQ.objects.count() == settings.Q_CLUSTER["workers"] - 2


def test_it_loads_what_enabled_channels_need_before_it_forks(monkeypatch, db):
    """Whatever is wrong with one of them: that is said where it is used."""
    make.channel("outbox_sms", "On")
    make.channel("outbox_sms", "Off", enabled=False)
    make.channel("no-such-provider", "Gone")
    loaded, closed = [], []
    original = Channel.get_provider
    monkeypatch.setattr(Channel, "get_provider", lambda self: loaded.append(self.name) or original(self))
    monkeypatch.setattr(worker_module.connections, "close_all", lambda: closed.append(True))
    monkeypatch.setattr(worker_module.gc, "freeze", lambda: None)
    worker_module._load()
    assert sorted(loaded) == ["Gone", "On"]
    assert closed == [True]
