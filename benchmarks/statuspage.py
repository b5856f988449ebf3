"""The status page: how fast it is read from the app alone and from nginx, while a million messages go out, and after
everything else has stopped; and whether a reader ever meets half of a page.

Needs nginx and wrk on the machine (Debian: nginx-light and wrk): the anchor and the readers.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

from . import portal
from .measure import Options, Wrong, percentile, ratio, say, turns
from .stage import ROOT, Stage, end

GOALS = {
    "live_vs_nginx": (">=", 0.22),
    "live_304_vs_nginx": (">=", 0.30),
    "snapshot_vs_nginx": (">=", 0.95),
    "busy_p99_vs_idle": ("<=", 3),
    "stopped_p99_vs_100_ms": ("<=", 1),
}
CONNECTIONS = 64
READERS = 8
VERSIONS = 5  # of the page that the reloads must have met
RATE = 50  # reads a second by a reader who does not hurry: what a page takes, and not what it can bear
NGINX = """
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; keepalive_requests 100000000;
  types {{ text/html html; application/json json; text/css css; }}
  {temporary}
  server {{
    listen 127.0.0.1:{port}; root {folder}/www;
    location /status/ {{ open_file_cache max=10000; open_file_cache_valid 1s; }}  # as deploy/nginx.conf.example
  }}
}}
"""


def run(stage: Stage, options: Options) -> dict[str, Any]:
    """Requests a second under 64 connections that never pause, and what a page takes a reader who does (ms)."""
    for tool in ("nginx", "wrk"):
        if not shutil.which(tool):
            raise Wrong(f"This benchmark needs {tool}. On Debian: apt-get install nginx-light wrk")
    seconds = 3 if options.full else 1
    newsroom = Newsroom()
    with ExitStack() as stack:
        www = stage.folder / "www"
        newsroom.publish(www / "status")
        app = stack.enter_context(web_server(stage, newsroom))
        body, app_etag = app.read_checked("/")
        (www / "page.html").write_bytes(body)
        nginx = stack.enter_context(web_anchor(stage.folder))
        nginx_etag = nginx.read("/page.html").headers["etag"]
        # Short turns, and more of them: the machine's weather changes within seconds.
        found = turns(
            3 * options.rounds,
            {
                "the app": lambda: wrk(app, "/", seconds),
                "nginx": lambda: wrk(nginx, "/page.html", seconds),
                "the app, 304": lambda: wrk(app, "/", seconds, app_etag),
                "nginx, 304": lambda: wrk(nginx, "/page.html", seconds, nginx_etag),
                "the snapshot": lambda: wrk(nginx, "/status/", seconds),
            },
        )
        live, anchor, live_304, anchor_304, copy = found.values()
        ratios = {
            "live_vs_nginx": ratio(live, anchor),
            "live_304_vs_nginx": ratio(live_304, anchor_304),
            "snapshot_vs_nginx": ratio(copy, anchor),
        }
        result: dict[str, Any] = {
            "page_bytes": len(body),
            "live_per_s": median(live),
            "nginx_per_s": median(anchor),
            "live_304_per_s": median(live_304),
            "nginx_304_per_s": median(anchor_304),
            "snapshot_per_s": median(copy),
        }
        reloads = options.pick(2_000, 10_000)
        for name, server, path in (("app", app, "/"), ("snapshot", nginx, "/status/")):
            result[f"{name}_reloads"], result[f"{name}_versions"] = reload(
                server, path, reloads, newsroom, www / "status"
            )
        idle, busy = beside_a_fan_out(stage, app, options)
        result |= {"idle_p99_ms": percentile(idle, 99), "busy_p99_ms": percentile(busy, 99)}
        ratios["busy_p99_vs_idle"] = round(percentile(busy, 99) / percentile(idle, 99), 4)
        stopped = with_all_else_stopped(app)
        result |= {"stopped_p50_ms": median(stopped), "stopped_p99_ms": percentile(stopped, 99)}
        ratios["stopped_p99_vs_100_ms"] = round(percentile(stopped, 99) / 100, 4)
    return {"torn": 0, "errors": 0, **result, "ratios": ratios}


# ── Who publishes ───────────────────────────────────────────────────────────


class Newsroom:
    """A page with a dozen components and ten incidents, two of them open, and somebody who goes on writing."""

    def __init__(self) -> None:
        from tests import make

        self.make = make
        self.author, self.approver = make.incident_manager(), make.communications_manager()
        make.plan()
        components = [make.component(f"Component {n}", f"Group {n // 4}") for n in range(12)]
        incidents = [make.incident(self.author, c, title=f"Payments fail on {c}") for c in components[:10]]
        for one in incidents:
            make.published(one.updates.get(), self.approver)
        for one in incidents[2:]:
            self.say(one, "resolved")
        self.incident = incidents[0]

    def say(self, incident: Any, stage: str) -> None:
        from incidents import declaring

        self.make.published(declaring.start_draft(incident, self.author, stage), self.approver)

    def publish(self, directory: Path) -> None:
        from incidents.statuspage import copies

        copies.publish(directory)


# ── Who serves ──────────────────────────────────────────────────────────────


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Server:
    def __init__(self, port: int) -> None:
        self.port = port
        self.gate: Any = None  # of the app: its way to the database

    def connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=10)

    def read(self, path: str, over: HTTPConnection | None = None) -> Reply:
        talk = over or self.connection()
        try:
            talk.request("GET", path)
            answer = talk.getresponse()
            return Reply(answer.status, {n.lower(): v for n, v in answer.headers.items()}, answer.read())
        finally:
            if over is None:
                talk.close()

    def read_checked(self, path: str) -> tuple[bytes, str]:
        """What the app answers there from its snapshot, and its ETag."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError, HTTPException):
                reply = self.read(path)
                if reply.status == 200 and reply.headers.get("etag") == _etag(reply.body):
                    return reply.body, reply.headers["etag"]
            time.sleep(0.2)
        raise Wrong("The app did not answer from its snapshot within a minute.")


def _etag(body: bytes) -> str:
    """How the app names a page that it answers from its snapshot: by what is in it."""
    return f'"{sha256(body).hexdigest()[:32]}"'


@contextmanager
def web_server(stage: Stage, newsroom: Newsroom) -> Iterator[Server]:
    """The portal as it is served in production, two processes, whose way to the database can be shut."""
    from tests.postgres import free_port
    from tests.workers import Gate

    address = urlsplit(stage.database_url)
    with Gate(address.port or 5432, address.hostname or "127.0.0.1") as gate:
        server = Server(free_port())
        server.gate = gate
        through = address._replace(netloc=f"{address.netloc.rpartition('@')[0]}@127.0.0.1:{gate.port}").geturl()
        env = stage.environment(DATABASE_URL=through, SECURE_SSL_REDIRECT="0")
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "commsportal.wsgi:application"]
        command += ["--port", str(server.port), "--workers", "2", "--http", "1", "--no-ws", "--blocking-threads", "8"]
        with _running([*command, "--working-dir", str(ROOT)], env):
            yield server


@contextmanager
def web_anchor(folder: Path) -> Iterator[Server]:
    from tests.postgres import free_port

    server = Server(free_port())
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/nginx-{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=server.port, temporary=temporary))
    folder.chmod(0o755)  # nginx reads as a user of its own
    with _running(["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with suppress(OSError):
                if server.read("/page.html").status == 200:
                    yield server
                    return
            time.sleep(0.1)
        raise Wrong(f"nginx does not serve: {(folder / 'error.log').read_text()[-500:]}")


@contextmanager
def _running(command: list[str], env: dict[str, str] | None = None) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        end(process, 20)


# ── Who reads ───────────────────────────────────────────────────────────────


def wrk(server: Server, path: str, seconds: int, etag: str = "") -> float:
    """Requests a second. Raises Wrong if one was not answered with 200, or with 304 to an `etag`."""
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{server.port}{path}"]
    if etag:
        command += ["-H", f"If-None-Match: {etag}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise Wrong(f"wrk met errors at {path}:\n{said}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not found:
        raise Wrong(f"wrk said no rate:\n{said}")
    return float(found[1])


def reload(server: Server, path: str, count: int, newsroom: Newsroom, directory: Path) -> tuple[int, int]:
    """`count` reads or more while the page is published again and again: (reads, different pages seen).

    Raises Wrong at the first error, and at the first page that is not whole.
    """
    until = time.monotonic() + 60
    say(f"{count:,} reloads of {path} while updates are published")
    over = Event()

    def publish() -> None:
        from django.db import connection

        while not over.is_set():
            newsroom.say(newsroom.incident, "investigating")
            newsroom.publish(directory)
        connection.close()

    seen: set[str] = set()

    def read() -> int:
        talk = server.connection()
        reads = 0
        while reads < count // READERS or (len(seen) < VERSIONS and time.monotonic() < until):
            reads += 1
            try:
                reply = server.read(path, talk)
            except (OSError, HTTPException) as error:
                raise Wrong(f"A reload of {path} failed: {error!r}") from error
            whole = reply.body.rstrip().endswith(b"</html>")
            if server.gate and reply.headers.get("etag") != _etag(reply.body):
                whole = False
            if reply.status != 200 or not whole:
                raise Wrong(f"A reload of {path} got {reply.status} and {len(reply.body)} bytes, not a whole page.")
            seen.add(sha256(reply.body).hexdigest())
        talk.close()
        return reads

    publisher = Thread(target=publish)
    publisher.start()
    try:
        with ThreadPoolExecutor(READERS) as readers:
            reads = sum(one.result() for one in [readers.submit(read) for _n in range(READERS)])
    finally:
        over.set()
        publisher.join()
    if len(seen) < VERSIONS:
        raise Wrong(f"The page changed only {len(seen) - 1} times while it was read: too few to show anything.")
    return reads, len(seen)


def steady(server: Server, go_on: Callable[[int], bool]) -> list[float]:
    """Milliseconds of each read of the page, RATE a second, as long as `go_on(reads)`."""
    found: list[float] = []
    talk = server.connection()
    with _first_in_line():
        while go_on(len(found)):
            started = time.monotonic()
            reply = server.read("/", talk)
            found.append((time.monotonic() - started) * 1000)
            if reply.status != 200:
                raise Wrong(f"The page answered {reply.status}.")
            time.sleep(max(0.0, 1 / RATE - (time.monotonic() - started)))
    talk.close()
    return found


@contextmanager
def _first_in_line() -> Iterator[None]:
    """This thread waits for no processor, where that may be asked for: a reader has one of their own elsewhere."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except (AttributeError, OSError):
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def beside_a_fan_out(stage: Stage, app: Server, options: Options) -> tuple[list[float], list[float]]:
    """What a page takes, idle and while two processes of the engine send through the null provider."""
    count = options.pick(100_000, 1_000_000)
    with ExitStack() as stack:
        last_id = portal.populate(count)
        channel = portal.null_channel()
        engines = [stack.enter_context(stage.child("benchmarks.engine")) for _n in range(2)]
        portal.warm_up(channel, engines)
        say("reading while nothing else is done")
        idle = steady(app, lambda reads: reads < 20 * RATE)
        say(f"reading while {count:,} messages go out")
        over = Event()

        def send() -> None:
            from django.db import connection

            try:
                while not over.is_set():  # again, if the machine is faster than the reader
                    portal.fan_out(channel, last_id, engines)
            finally:
                over.set()
                connection.close()

        sender = Thread(target=send)
        sender.start()
        busy = steady(app, lambda reads: reads < 20 * RATE and not over.is_set())
        over.set()
        sender.join()
    return idle, busy


def with_all_else_stopped(app: Server) -> list[float]:
    """What a page takes when the database is gone: nothing else runs. Raises Wrong if it does not say so."""
    say("reading with the database stopped")
    app.gate.shut()
    until = time.monotonic() + 30
    while b"cp-as-of" not in app.read("/").body:
        if time.monotonic() > until:
            raise Wrong("The database is gone for half a minute, and the page does not say as of when it is.")
        time.sleep(0.5)
    return steady(app, lambda reads: reads < 20 * RATE)
