"""Every fault that is tried. Each makes its world, breaks it in mid-send, and says what that may cost."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import psutil
from django.db import connection
from django.db.models import F
from django.test import Client
from django.utils import timezone

from channels import links
from channels.models import Batch, Recipient
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import Reply
from tests.faults.ground import SHORT, Ground
from tests.faults.judge import Allowed
from tests.postgres import IMMEDIATE
from tests.redis_server import PROGRAM, RedisServer
from tests.workers import DROP, finished, until

LEFT_OUT = {} if PROGRAM else {f"Redis: {what}": "redis-server is not installed" for what in ("FLUSHALL", "shutdown")}
HUNG_SECONDS = 90  # from the kill until a cluster that hangs sends again
REPLIES_LOST = 5
UNSUBSCRIBED = 40


@dataclass(frozen=True)
class Fault:
    name: str
    happen: Callable[[Ground], None]
    quick: bool


FAULTS: list[Fault] = []


def fault(name: str, quick: bool = False) -> Callable[[Callable[[Ground], None]], Callable[[Ground], None]]:
    def add(happen: Callable[[Ground], None]) -> Callable[[Ground], None]:
        FAULTS.append(Fault(name, happen, quick))
        return happen

    return add


# ── Processes that die ──────────────────────────────────────────────────────


@fault("kill -9: a busy worker", quick=True)
def busy_worker(ground: Ground) -> None:
    ground.mail()
    ground.publish()
    one = ground.worker()
    ground.until_under_way()
    one.busy(ground.port).kill()
    ground.strike()
    ground.allowed = Allowed(unknown=ground.in_flight)
    ground.await_resume()


@fault("kill -9: each idle worker")
def idle_workers(ground: Ground) -> None:
    ground.allowed = Allowed(resume=HUNG_SECONDS)
    ground.mail()
    one = ground.worker().ready()
    patience = ground.scale.patience
    for _round in range(5):
        # Whoever waits for work holds the queue's lock and takes it along, so that the cluster hangs; between two
        # waits nobody holds it, the next one takes its place, and the heart goes on beating.
        with suppress(psutil.NoSuchProcess):
            for process in one.hands():
                process.kill()
        ground.strike()
        one.since = timezone.now() + timedelta(seconds=0.5)
        until(lambda: "nothing was done for" in one.log or one.beats(), patience)
        if "nothing was done for" in one.log:
            break
    ground.publish()
    ground.await_resume()


@fault("kill -9: the queue's main process")
def main_process(ground: Ground) -> None:
    ground.mail()
    ground.publish()
    one = ground.worker()
    ground.until_under_way()
    one.cluster().kill()
    ground.strike()
    ground.allowed = Allowed(unknown=ground.in_flight)
    ground.await_resume()


@fault("kill -9: the whole group", quick=True)
def whole_group(ground: Ground) -> None:
    ground.mail()
    ground.publish()
    one = ground.worker()
    ground.until_under_way()
    os.killpg(one.cluster().pid, 9)
    ground.strike()
    ground.allowed = Allowed(unknown=ground.in_flight)
    ground.await_resume()


@fault("two clusters at once")
def two_clusters(ground: Ground) -> None:
    ground.shorten()
    sink = ground.http()
    sink.pause = 0.01  # long enough for several wake-ups, so that either takes some of them
    for _cluster in range(2):
        ground.worker().ready()
    ground.publish()
    until(finished, ground.scale.patience)
    if len(sink.by) != 2:
        ground.problems.append(f"{len(sink.by)} of two clusters took part")


# ── The provider ────────────────────────────────────────────────────────────


def _trouble(ground: Ground, drops_repeats: bool, *troubles: Reply | Drop | Hang) -> None:
    """The next calls, from a third of the audience on, meet these; then all is well again."""
    sink = ground.http(drops_repeats)
    sink.troubles.extend(troubles)
    ground.publish()
    ground.worker()
    ground.until_under_way()
    ground.strike(look=False)
    accepted = sum(not isinstance(one, Reply) for one in troubles)
    ground.await_resume(arrived=sink.ring_at + accepted)


@fault("provider answers 500")
def server_error(ground: Ground) -> None:
    ground.allowed = Allowed(unknown=REPLIES_LOST)
    _trouble(ground, False, *[Reply(500)] * REPLIES_LOST)


@fault("provider answers 500, and drops repeats")
def server_error_once(ground: Ground) -> None:
    _trouble(ground, True, *[Reply(500)] * REPLIES_LOST)


@fault("provider accepts and never answers (timeout)")
def no_answer(ground: Ground) -> None:
    ground.allowed = Allowed(unknown=2)
    _trouble(ground, False, Hang(), Hang())


@fault("provider answers 429 with Retry-After", quick=True)
def too_many(ground: Ground) -> None:
    sink = ground.http()
    sink.shut_for = ground.scale.retry_after
    ground.publish()
    ground.worker()
    ground.until_under_way()
    time.sleep(max(0, sink.shut_until - time.monotonic()))
    ground.strike(look=False)
    ground.await_resume(arrived=len(sink.ledger))
    # A call that was under way in another worker finds out for itself.
    others = ground.scale.setting("WORKERS") - 1
    if not 1 <= len(sink.refused) <= 1 + others:
        ground.problems.append(f"{len(sink.refused) - 1} requests before the time, {others} under way at most")


@fault("connection ends after acceptance (SMTP)", quick=True)
def dropped_mail(ground: Ground) -> None:
    ground.allowed = Allowed(unknown=REPLIES_LOST)
    sink = ground.mail()
    ground.publish()
    ground.worker()
    ground.until_under_way()
    sink.mishaps.extend([DROP] * REPLIES_LOST)
    ground.strike(look=False)
    ground.await_resume(arrived=len(sink.ledger) + REPLIES_LOST)


@fault("connection ends after acceptance (HTTP)")
def dropped_reply(ground: Ground) -> None:
    ground.allowed = Allowed(unknown=4)
    _trouble(ground, False, *[Drop(), Drop(cut=True)] * 2)


@fault("connection ends after acceptance (HTTP), and repeats are dropped")
def dropped_reply_once(ground: Ground) -> None:
    _trouble(ground, True, *[Drop(), Drop(cut=True)] * 2)


@fault("a message that kills the worker")
def poison(ground: Ground) -> None:
    ground.allowed = Allowed(unknown=SHORT["DELIVERY_WAVE_SIZE"])
    _poison(ground, drops_repeats=False)


@fault("a message that kills the worker, and repeats are dropped")
def poison_once(ground: Ground) -> None:
    ground.allowed = Allowed(unknown=SHORT["DELIVERY_WAVE_SIZE"], failed=SHORT["DELIVERY_BATCH_SIZE"])
    _poison(ground, drops_repeats=True)


def _poison(ground: Ground, drops_repeats: bool) -> None:
    ground.shorten(DELIVERY_MAX_TRIES=3)  # each try takes a lease
    sink = ground.http(drops_repeats)
    ground.publish()
    addresses = list(Recipient.objects.order_by("id").values_list("address", flat=True))
    # In the middle of a wave: those before it in the wave have their message each time that it kills.
    first, size = SHORT["DELIVERY_FIRST_BATCH_SIZE"], SHORT["DELIVERY_BATCH_SIZE"]
    bad = addresses[first + (len(addresses) // 3 - first) // size * size + SHORT["DELIVERY_WAVE_SIZE"] // 2]
    ground.channel.config["poison"] = bad
    ground.channel.save()
    ground.worker()
    ground.until_under_way()
    ground.strike(look=False)
    ground.await_resume(arrived=len(sink.ledger))
    until(lambda: ground.outcomes().get(bad), ground.scale.patience)
    if ground.outcomes()[bad] not in ("failed", "unknown"):
        ground.problems.append(f"the message that kills is said to be {ground.outcomes()[bad]}")


# ── The queue, where it is in Redis ─────────────────────────────────────────


def _queue_in_redis(ground: Ground) -> RedisServer:
    """A Redis of its own, and an update under way that needs it again and again, but sweeps as seldom as ever."""
    usual = {name: ground.scale.setting(name) for name in ("SWEEP_SECONDS", "WORKER_STALE_SECONDS")}
    ground.shorten(**usual)
    redis = ground.redis()
    ground.mail()
    ground.publish()
    ground.worker(QUEUE_URL=redis.url)
    ground.until_under_way()
    return redis


def flushall(ground: Ground) -> None:
    redis = _queue_in_redis(ground)
    redis.client.flushall()
    ground.strike()
    ground.await_resume()


def redis_stopped(ground: Ground) -> None:
    redis = _queue_in_redis(ground)
    redis.stop()
    time.sleep(ground.scale.outage)
    if finished():
        ground.problems.append("all was sent before Redis was back")
    redis.start()
    ground.strike()
    ground.await_resume()


if PROGRAM:
    fault("Redis: FLUSHALL")(flushall)
    fault("Redis: shutdown, and start")(redis_stopped)


# ── The database, the clock, people ─────────────────────────────────────────


@fault("PostgreSQL: stop -m immediate, and start", quick=True)
def database_stopped(ground: Ground) -> None:
    ground.mail()
    ground.publish()
    ground.worker()
    ground.until_under_way()
    connection.close()
    ground.server.stop(IMMEDIATE)
    time.sleep(ground.scale.outage)
    ground.server.start()
    ground.strike()  # nobody takes a batch up before its lease has run out
    ground.allowed = Allowed(unknown=ground.in_flight)
    ground.await_resume()


@fault("the worker's clock is an hour fast")
def clock_fast(ground: Ground) -> None:
    _clock(ground, 3600)


@fault("the worker's clock is an hour slow")
def clock_slow(ground: Ground) -> None:
    _clock(ground, -3600)


def _clock(ground: Ground, seconds: int) -> None:
    """With a rate, refusals to be tried again, and a worker killed: all of these go by a clock."""
    ground.shorten()
    sink = ground.mail()
    ground.channel.rate = 10_000  # a second: far from reached, but it is counted
    ground.channel.save()
    ground.publish()
    one = ground.worker(FAULTS_CLOCK=seconds)
    ground.until_under_way()
    sink.mishaps.extend(["451 4.3.0 Try again later"] * REPLIES_LOST)
    until(lambda: not sink.mishaps)
    one.busy(ground.port).kill()
    ground.strike()
    ground.allowed = Allowed(unknown=ground.in_flight)
    ground.await_resume()


@fault("people unsubscribe during the send", quick=True)
def unsubscribe(ground: Ground) -> None:
    ground.allowed = Allowed(skipped=UNSUBSCRIBED)
    sink = ground.mail()
    ground.publish()
    people = list(Recipient.objects.order_by("-id")[: ground.scale.people // 2])
    chosen = people[:: len(people) // UNSUBSCRIBED][:UNSUBSCRIBED]
    addresses = [links.unsubscribe_url(one.pk).partition("/unsubscribe/") for one in chosen]
    ground.worker()
    ground.until_under_way()
    browser = Client(SERVER_NAME="127.0.0.1")
    for _host, view, token in addresses:
        assert browser.post(view + token, {"List-Unsubscribe": "One-Click"}).status_code == 200
    # All of it is committed. A wave that began before may still go out; one that begins now must know.
    arrived = len(sink.ledger)
    waves = Batch.objects.filter(attempted_to__gt=F("done_to")).values_list("recipient_ids", "done_to", "attempted_to")
    in_flight = {pk for ids, start, end in waves for pk in ids[start:end]}
    until(lambda: not Batch.objects.filter(done_at__isnull=True).exists(), ground.scale.patience)
    stopped = {one.address: one.pk for one in chosen}
    late = [one for one in sink.ledger[arrived:] if one in stopped and stopped[one] not in in_flight]
    if late:
        ground.problems.append(f"{len(late)} got it who had unsubscribed before their wave began")
