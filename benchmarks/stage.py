"""Where benchmarks play: a PostgreSQL of their own, processes of their own, and nothing left when they end."""

import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from .measure import Wrong, say

ROOT = Path(__file__).resolve().parent.parent
PR_SET_PDEATHSIG = 1


class Child:
    """A Python module in a process of its own that answers lines of JSON. Ends when its input closes."""

    def __init__(self, module: str, *args: str, env: dict[str, str]) -> None:
        self.module = module
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end them
        )
        self.hello = self.answer()

    def tell(self, **order: Any) -> None:
        assert self.process.stdin
        with suppress(BrokenPipeError):  # answer() says what happened
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next line it says. Raises Wrong if it ended instead."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise Wrong(f"{self.module} ended with exit code {self.process.wait()}; what it said stands above.")
        return json.loads(line)

    def ask(self, **order: Any) -> dict[str, Any]:
        self.tell(**order)
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        end(self.process)
        self.process.stdout.close()


class Stage:
    """A database for the portal, and scratch ones beside it; processes that end with the block they were made in."""

    def __init__(self, database_url: str, folder: Path, server_url: str = "") -> None:
        self.database_url = database_url
        self.folder = folder
        self._server_url = server_url
        self._mine = ExitStack()

    def environment(self, **more: str) -> dict[str, str]:
        from django.conf import settings

        return os.environ | {
            "DATABASE_URL": self.database_url,
            "DATA_DIR": str(self.folder),
            "SECRET_KEY": settings.SECRET_KEY,
            "DJANGO_SETTINGS_MODULE": "commsportal.settings",
            "LOG_LEVEL": "ERROR",
            **more,
        }

    @contextmanager
    def child(self, module: str, *args: str, **env: str) -> Iterator[Child]:
        """`python -m module args…` with this stage's environment."""
        child = Child(module, *args, env=self.environment(**env))
        try:
            yield child
        finally:
            child.close()

    @contextmanager
    def worker(self, **env: str) -> Iterator[None]:
        """A real `manage.py worker`."""
        command = [sys.executable, str(ROOT / "manage.py"), "worker"]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            end(process, 60)

    def scratch(self) -> str:
        """The address of a new, empty database."""
        return self._mine.enter_context(scratch(self._server_url))

    def close(self) -> None:
        self._mine.close()


def end(process: subprocess.Popen[Any], seconds: float = 5) -> None:
    """Wait for a process that was asked to end; then make it."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def opened() -> Iterator[Stage]:
    """A stage with Django set up on it: in the PostgreSQL of DATABASE_URL a new database, else on one of our own.

    The settings of this shell that could send or keep anything elsewhere are left aside.
    """
    given = os.environ.get("DATABASE_URL", "")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="commsportal-bench-")))
        server = given if given.startswith(("postgres:", "postgresql:")) else stack.enter_context(own_postgres())
        (folder / "static").mkdir()
        os.environ.update(
            DATABASE_URL=stack.enter_context(scratch(server)),
            DATA_DIR=str(folder),
            SECRET_KEY=secrets.token_urlsafe(50),
            FIELD_KEYS="",
            PORTAL_URL="https://status.example.com",
            PORTAL_DEMO="0",
            DJANGO_SETTINGS_MODULE="commsportal.settings",
            LOG_LEVEL="ERROR",
        )
        os.environ.pop("CACHE_URL", None)
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connections

        stack.callback(connections.close_all)
        say("preparing the database")
        call_command("migrate", verbosity=0)
        stage = Stage(os.environ["DATABASE_URL"], folder, server)
        stack.callback(stage.close)
        yield stage


@contextmanager
def own_postgres() -> Iterator[str]:
    """The address of a throw-away PostgreSQL (tests/postgres.py), which ends when its input closes."""
    say("starting a PostgreSQL")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise Wrong("PostgreSQL did not start; what it said stands above.")
        yield url
    finally:
        process.stdin.close()
        end(process, 30)
        process.stdout.close()


@contextmanager
def scratch(server_url: str) -> Iterator[str]:
    """A new database on a server; it goes when the block ends, and nothing else there is touched."""
    name = f"commsportal_bench_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
