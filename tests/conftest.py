"""What every test stands on: a database like production's, its own data directory, a cache of its own."""

import importlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings
from django.utils import translation
from xdist.scheduler import LoadScopeScheduling

from tests.demo import ROOT, Demo

# Files that share what takes long to build, or wait a lot: each group is run by one process, and begun first.
TOGETHER = {
    "tests/browser/test_walk.py": "demo",
    "tests/test_run.py": "demo",
    "tests/test_demo.py": "company",
    "tests/test_worker.py": "worker",
    "tests/test_queue.py": "queue",
    "tests/incidents/test_compose_browser.py": "compose",
}
# The real hasher is slow on purpose; a test makes many people.
QUICK = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# The marks and fixtures by which a test asks for the database.
DATABASE = {"django_db", "db", "transactional_db", "django_db_setup"}


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite in a file, as in production: in memory its threads would share one connection and its locks."""
    default = connections["default"]
    if default.vendor == "sqlite":
        name = f"test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}.sqlite3"
        default.settings_dict["TEST"]["NAME"] = os.path.join(os.environ["TEST_DATA_DIR"], name)
        _flush_past_triggers(default)


def _flush_past_triggers(database: BaseDatabaseWrapper) -> None:
    """SQLite empties tables row by row after a test with real transactions, and our guards forbid just that."""
    flush = database.ops.sql_flush

    def sql_flush(*args: Any, **kwargs: Any) -> list[str]:
        with database.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = cursor.fetchall()
        drop = [f"DROP TRIGGER {database.ops.quote_name(name)}" for name, _sql in triggers]
        return [*drop, *flush(*args, **kwargs), *(sql for _name, sql in triggers)]

    database.ops.sql_flush = sql_flush  # type: ignore[method-assign]


class Scheduling(LoadScopeScheduling):
    """One test at a time to whoever is free, but for what stands together (xdist's own groups need pytest < 9.2)."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.split("::")[0], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_postgres = connections["default"].vendor == "postgresql"
    for item in items:
        if not DATABASE & {*getattr(item, "fixturenames", ()), *(mark.name for mark in item.iter_markers())}:
            item.add_marker("no_database")
        if item.get_closest_marker("postgres_only") and not on_postgres:
            item.add_marker(pytest.mark.skip(reason="needs PostgreSQL: set DATABASE_URL, or use ./run test"))


@pytest.fixture(scope="session", autouse=True)
def no_resolver() -> Iterator[None]:
    """No name but localhost is known: pytest-socket stops connections, but the question for an address goes before."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if host not in ("localhost", b"localhost"):
            flags |= socket.AI_NUMERICHOST  # whatever is not an address itself is refused
        return look_up(host, port, family, type, proto, flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def data_dir(settings, tmp_path: Path) -> Iterator[Path]:
    """A data directory and a cache that no other test has seen, and the language that none has chosen."""
    settings.DATA_DIR = tmp_path
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": str(tmp_path)}
    }
    settings.WHITENOISE_AUTOREFRESH = True  # or each test client walks through every static file first
    settings.PASSWORD_HASHERS = QUICK
    yield tmp_path
    translation.deactivate()  # a request leaves its language to the thread until the next one


@pytest.fixture(scope="module")
def shared_world(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """For a fixture of a module's scope: what it makes stands before each test of the module, and goes after the last.

    Each test takes back what it changed itself, so its rows must be read anew and not passed on as instances. A test
    with real transactions cannot stand in such a module. Yields the data directory in which the world was made.
    """
    data = tmp_path_factory.mktemp("world")
    with (
        django_db_blocker.unblock(),
        transaction.atomic(),
        override_settings(DATA_DIR=data, PASSWORD_HASHERS=QUICK),
    ):
        yield data
        transaction.set_rollback(True)


@pytest.fixture
def unguarded(db: None) -> None:
    """Without the database's guards until the test's end: for a past that is told, not lived."""
    guards = importlib.import_module("incidents.migrations.0002_guards")
    guards.drop(None, connection.schema_editor())


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium for Playwright (`executable_path`); without one the test is skipped."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    pytest.skip("Chromium is missing: apt-get install chromium")


@pytest.fixture(scope="session")
def first_demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo that was started on an empty directory and stopped by Ctrl-C: its company takes long to build."""
    if connection.vendor != "sqlite":
        pytest.skip("the demo always runs on SQLite")
    if not (ROOT / ".venv").exists():
        pytest.skip("needs the .venv that ./run makes")
    demo = Demo(tmp_path_factory.mktemp("first-demo") / "data")
    try:
        demo.until_ready()
        demo.first_incidents = demo.incidents()
    finally:
        left = demo.stop()
    assert left == []
    return demo
