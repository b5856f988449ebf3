"""Where one fault happens: an audience, a sink with a ledger, workers, and what staff are told in the end."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from channels.models import Batch, Channel, Delivery, Dispatch, Recipient
from commsportal.broker import broker
from tests import make
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import Call, FakeHttp, Reply
from tests.faults.judge import Allowed, Verdict, judge
from tests.postgres import Postgres
from tests.redis_server import RedisServer
from tests.workers import Sink, Worker, finished, publish, until

MANAGE = Path(__file__).parent / "manage.py"


@dataclass(frozen=True)
class Scale:
    """How large and how patient a run is. Times are seconds."""

    people: int
    pause: float  # what one message costs at the sink, so that a fault meets a send under way
    outage: float  # of the database
    retry_after: int  # as the provider asks
    timeout: float  # of a call over HTTP
    env: Mapping[str, Any] = field(default_factory=dict)

    def setting(self, name: str) -> int:
        return int(self.env.get(name, 2 if name == "WORKERS" else getattr(settings, name, 0)))

    @property
    def patience(self) -> float:
        """After that, what is not finished counts as missed."""
        return 45 + 2 * self.setting("WORKER_STALE_SECONDS")


# As it is installed, but for two workers on a machine of two cores.
AS_SHIPPED = (
    *("DELIVERY_WAVE_SIZE", "DELIVERY_LEASE_SECONDS", "DELIVERY_SLICE_SECONDS"),
    *("DELIVERY_BATCH_SIZE", "DELIVERY_FIRST_BATCH_SIZE", "SWEEP_SECONDS", "WORKER_STALE_SECONDS"),
)
SHORT = {
    "DELIVERY_WAVE_SIZE": 50,
    "DELIVERY_BATCH_SIZE": 150,
    "DELIVERY_FIRST_BATCH_SIZE": 50,
    "DELIVERY_LEASE_SECONDS": 4,
    "DELIVERY_SLICE_SECONDS": 1,
    "SWEEP_SECONDS": 1,
    "WORKER_STALE_SECONDS": 3,
}


def full() -> Scale:
    shipped = {name: getattr(settings, name) for name in AS_SHIPPED}
    return Scale(people=2000, pause=0.003, outage=10, retry_after=8, timeout=15, env=shipped)


def quick() -> Scale:
    return Scale(people=500, pause=0.004, outage=2, retry_after=2, timeout=1, env=SHORT)


class HttpSink:
    """A receiver over HTTP that keeps a ledger. `troubles` are met by the next calls once the bell has rung.

    A Drop or a Hang loses the reply of what was accepted; a Reply refuses.
    """

    def __init__(self, pause: float, drops_repeats: bool) -> None:
        self.ledger: list[str] = []
        self.by: set[int] = set()  # the sessions that sent: each cluster has one
        self.bell = threading.Event()
        self.ring_at = 0
        self.troubles: deque[Reply | Drop | Hang] = deque()
        self.shut_for = 0.0  # seconds after the bell in which everything is refused with 429
        self.shut_until = 0.0
        self.refused: list[float] = []
        self.pause = pause
        self._keys: set[str] | None = set() if drops_repeats else None
        self._lock = threading.Lock()
        self._fake = FakeHttp(self._answer)
        self.url = self._fake.url
        self.port = int(self.url.rpartition(":")[2])

    def _answer(self, call: Call) -> Reply | Drop | Hang:
        time.sleep(self.pause)
        said = call.json
        with self._lock:
            self.by.add(said["by"])
            if not self.bell.is_set() and self.ring_at and len(self.ledger) >= self.ring_at:
                self.shut_until = time.monotonic() + self.shut_for
                self.bell.set()
            now = time.monotonic()
            if now < self.shut_until:
                self.refused.append(now)
                return Reply(429, headers={"Retry-After": str(math.ceil(self.shut_until - now))})
            trouble = self.troubles.popleft() if self.bell.is_set() and self.troubles else None
            if not isinstance(trouble, Reply):
                self._accept(said["to"], said["key"])
            return trouble or Reply()

    def _accept(self, address: str, key: str) -> None:
        if self._keys is not None:
            if key in self._keys:
                return
            self._keys.add(key)
        self.ledger.append(address)

    def close(self) -> None:
        self._fake.close()


class Ground:
    """One fault's world, on the database that Django is connected to. Close it."""

    def __init__(self, folder: Path, scale: Scale, server: Postgres | None = None) -> None:
        self.folder, self.scale, self.server = folder, scale, server
        self.in_flight = 0  # people whose wave was written down and not recorded when the fault struck
        self.allowed = Allowed()
        self.problems: list[str] = []
        self.resume: float | None = None
        self.workers: list[Worker] = []
        self._close: list[Callable[[], None]] = []
        self.sink: Any = None
        self.channel: Channel | None = None
        self._struck = 0.0
        self._held: dict[int, int] = {}
        self._arrived = 0

    # ── What stands there ──

    def mail(self) -> Sink:
        """A mail server, and a channel that goes to it."""
        sink = Sink(self.scale.pause)
        sink.controller.start()
        self._close.append(sink.controller.stop)
        sink.ring_at = self.scale.people // 3
        port = sink.controller.port
        config = {"host": "127.0.0.1", "port": port, "security": "none", "from_address": "status@example.com"}
        self.channel = make.channel("smtp", config={**config, "timeout": 10})
        self.sink = sink
        return sink

    def http(self, drops_repeats: bool = False) -> HttpSink:
        """A receiver over HTTP, and a channel that goes to it."""
        sink = HttpSink(self.scale.pause, drops_repeats)
        self._close.append(sink.close)
        sink.ring_at = self.scale.people // 3
        provider = "faults_http_once" if drops_repeats else "faults_http"
        self.channel = make.channel(provider, config={"url": sink.url})
        self.sink = sink
        return sink

    def redis(self) -> RedisServer:
        """A Redis, where this process puts its tasks from now on."""
        folder = self.folder / "redis"
        folder.mkdir()
        server, before = RedisServer(folder), settings.Q_CLUSTER
        self._close += [server.close, lambda: setattr(settings, "Q_CLUSTER", before)]
        plain = {key: value for key, value in before.items() if key != "orm"}
        settings.Q_CLUSTER = plain | broker(server.url)
        return server

    @property
    def port(self) -> int:
        return self.sink.port if isinstance(self.sink, HttpSink) else self.sink.controller.port

    def publish(self) -> None:
        publish(self.channel, self.scale.people)

    def worker(self, **env: Any) -> Worker:
        folder = self.folder / f"worker-{len(self.workers)}"
        folder.mkdir()
        (folder / "static").mkdir()
        more = {"FAULTS_TIMEOUT": self.scale.timeout, "LOG_LEVEL": "INFO", "PYTHONDONTWRITEBYTECODE": 1}
        one = Worker(folder, MANAGE, **{**more, **self.scale.env, **env})
        self.workers.append(one)
        return one

    # ── What happens ──

    def shorten(self, **env: int) -> None:
        """Short leases and small waves in any run, for a fault that meets them again and again."""
        self.scale = replace(self.scale, env={**self.scale.env, **SHORT, **env})

    def until_under_way(self) -> None:
        """A third of the audience has its message."""
        assert self.sink.bell.wait(60), f"{len(self.sink.ledger)} sent in a minute"

    def look(self) -> None:
        """Remember who holds which batch, how many people are in flight, and what has arrived."""
        held = list(Batch.objects.filter(lease_until__isnull=False, done_at__isnull=True))
        self._held = {one.pk: one.fence for one in held}
        self.in_flight = sum(one.attempted_to - one.done_to for one in held)
        self._arrived = len(self.sink.ledger)

    def strike(self, look: bool = True) -> None:
        """The fault is now (or, for one that lasts, over): the time until work goes on counts from here."""
        if look:
            self.look()
        self._struck = time.monotonic()

    def await_resume(self, arrived: int | None = None) -> None:
        """Until each batch that somebody held is done or in new hands, and something has arrived since."""
        mark = self._arrived if arrived is None else arrived

        def goes_on() -> bool:
            if not (len(self.sink.ledger) > mark or finished()):
                return False
            now = dict(Batch.objects.filter(pk__in=self._held, done_at__isnull=True).values_list("pk", "fence"))
            return not any(self._held[pk] == fence for pk, fence in now.items())

        until(goes_on, self.scale.patience)
        self.resume = time.monotonic() - self._struck

    # ── What came of it ──

    def outcomes(self) -> dict[str, str]:
        """The status that staff see, by address."""
        addresses = dict(Recipient.objects.values_list("id", "address"))
        return {addresses[pk]: status for pk, status in Delivery.objects.values_list("recipient_id", "status")}

    def waiting(self) -> set[str]:
        """Who is still to be sent to."""
        if not Dispatch.objects.exists() or Dispatch.objects.filter(expanded_at__isnull=True).exists():
            return set(Recipient.objects.values_list("address", flat=True))
        rows = Batch.objects.filter(done_at__isnull=True).values_list("recipient_ids", "done_to")
        left = [pk for ids, done_to in rows for pk in ids[done_to:]]
        return set(Recipient.objects.filter(pk__in=left).values_list("address", flat=True))

    def verdict(self, fault: str) -> Verdict:
        """Judge, when everything is finished, or at once if it cannot be."""
        if not self.problems:
            with suppress(AssertionError):  # who is still waiting is counted
                until(finished, self.scale.patience)
        audience = list(Recipient.objects.values_list("address", flat=True))
        waiting, outcomes = self.waiting(), self.outcomes()
        # What is accepted stands in the ledger before its outcome is recorded, so the ledger is read last.
        ledger = list(self.sink.ledger)
        return judge(fault, audience, outcomes, ledger, self.allowed, self.resume, self.problems, waiting)

    def close(self) -> None:
        """Stop the workers and the sinks; nothing of theirs is left running."""
        family = [p for one in self.workers if one.process.is_running() for p in one.process.children(recursive=True)]
        for one in self.workers:
            if one.process.poll() is None:
                one.process.terminate()
        for one in self.workers:
            try:
                one.process.wait(40)
            except psutil.TimeoutExpired:
                one.process.kill()
        for process in psutil.wait_procs(family, timeout=10)[1]:
            process.kill()
        for close in self._close:
            close()
