"""Real workers as processes, and what they send to: for the tests of the worker and for the fault harness."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import psutil
from aiosmtpd.controller import Controller
from django.conf import settings as portal
from django.db import connection
from django.utils import timezone

from channels import tasks
from channels.models import Batch, Channel, Dispatch, Heartbeat
from tests import make
from tests.postgres import free_port

WAVE = 100
DROP = "drop"  # the mail is accepted, and the connection ends before the reply


def until(condition: Callable[[], Any], seconds: float = 45) -> Any:
    """What `condition` returns once it is true. Fails when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {seconds} seconds")


class Sink:
    """A mail server that keeps a ledger of the addresses it accepted mail for, and rings at a certain count.

    `mishaps` are met by the next mails instead of "250 OK": a reply, or DROP.
    """

    def __init__(self, pause: float = 0) -> None:
        self.ledger: list[str] = []
        self.bell = Event()
        self.ring_at = 0
        self.pause = pause  # seconds that each mail takes
        self.mishaps: deque[str] = deque()
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:
        if self.pause:
            await asyncio.sleep(self.pause)
        mishap = self.mishaps.popleft() if self.mishaps else ""
        if mishap in ("", DROP):
            self.ledger += envelope.rcpt_tos
        if self.ring_at and len(self.ledger) >= self.ring_at:
            self.bell.set()
        if mishap == DROP:
            server.transport.abort()
        return mishap or "250 OK"


class Worker:
    """One `manage.py worker` on the test's database, with everything about it short."""

    def __init__(self, folder: Path, manage: Path = portal.BASE_DIR / "manage.py", **env: Any) -> None:
        self.log_file = folder / "worker.log"
        self.manage = manage
        self.env = os.environ | {
            "DATABASE_URL": database_url(),
            "DATA_DIR": str(folder),
            "SECRET_KEY": portal.SECRET_KEY,
            "WORKERS": "2",
            "SWEEP_SECONDS": "1",
            "WORKER_STALE_SECONDS": "3",
            "DELIVERY_WAVE_SIZE": str(WAVE),
            "DELIVERY_LEASE_SECONDS": "3",
            "DELIVERY_SLICE_SECONDS": "1",
            **{k: str(v) for k, v in env.items()},
        }
        self.start()

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            command = [sys.executable, self.manage, "worker"]
            self.process = psutil.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def beats(self) -> bool:
        """Whether a heartbeat came that is newer than this call's predecessor."""
        return Heartbeat.objects.filter(name=tasks.CANARY, at__gt=self.since).exists()

    def ready(self) -> "Worker":
        self.since = timezone.now()
        until(self.beats)
        return self

    def cluster(self) -> psutil.Process:
        return until(self.process.children)[0]

    def hands(self) -> list[psutil.Process]:
        """The processes that work on tasks (and the two that feed them)."""
        return [p for p in self.cluster().children(recursive=True) if not p.children()]

    def busy(self, port: int) -> psutil.Process:
        """One that is talking to the server on this port."""
        return until(lambda: [p for p in self.hands() if _talks_to(p, port)])[0]

    def stop(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(40)


def _talks_to(process: psutil.Process, port: int) -> bool:
    try:
        return any(c.raddr and c.raddr.port == port for c in process.net_connections("tcp4"))
    except psutil.NoSuchProcess:
        return False


def database_url() -> str:
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    host = database["HOST"] or database.get("OPTIONS", {}).get("host", "")
    login = f"{quote(database['USER'])}:{quote(database['PASSWORD'])}"
    return f"postgres://{login}@{quote(host, safe='')}:{database['PORT'] or 5432}/{database['NAME']}"


def publish(channel: Channel, count: int) -> None:
    """An approved update to `count` people, published: a wake-up is on the queue, and nothing is sent yet."""
    make.plan(channel, locales=("en",))
    make.recipients(count)
    make.published(make.incident().updates.get())


def finished() -> bool:
    found = Dispatch.objects.filter(expanded_at__isnull=False).exists()
    return found and not Batch.objects.filter(done_at__isnull=True).exists()


class Gate:
    """A way to a server on another port, which can be shut: then nobody gets through, and who was through is out."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._there = (host, port)
        self._open = True
        self._loop = asyncio.new_event_loop()
        self._pairs: set[asyncio.StreamWriter] = set()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Gate":
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._through, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_error: object) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        self._loop.close()

    def shut(self) -> None:
        self._call(self._shut())

    def open(self) -> None:
        self._open = True

    def _call(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _shut(self) -> None:
        self._open = False
        for one in list(self._pairs):
            one.transport.abort()
        await asyncio.sleep(0)

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(*self._there)
        self._pairs |= {writer, back}
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)
        finally:
            self._pairs -= {writer, back}


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()
