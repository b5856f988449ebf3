"""The status page of a real web server whose database goes away."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from django.conf import settings as portal
from django.db import connection

from incidents.statuspage import live, snapshot
from tests import make
from tests.postgres import free_port
from tests.workers import Gate, database_url, until

from .test_statuspage import newsroom, say, told


@pytest.fixture
def gate(transactional_db: None) -> Iterator[Gate]:
    """The way to the test's PostgreSQL; it can be shut, as if the database were stopped."""
    with Gate(int(connection.settings_dict["PORT"] or 5432), connection.settings_dict["HOST"] or "127.0.0.1") as gate:
        yield gate


@pytest.fixture
def server(gate: Gate, tmp_path: Path) -> Iterator[Callable[[], int]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> int:
        port = free_port()
        url = database_url().rpartition("/")
        env = os.environ | {
            "DATABASE_URL": f"{url[0].rpartition('@')[0]}@127.0.0.1:{gate.port}/{url[2]}",
            "DATA_DIR": str(tmp_path),
            "SECRET_KEY": portal.SECRET_KEY,
            "PORTAL_URL": portal.PORTAL_URL,
        }
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "commsportal.wsgi:application"]
        command += ["--port", str(port), "--workers", "2", "--working-dir", str(portal.BASE_DIR)]
        with (tmp_path / "web.log").open("ab") as log:
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        until(lambda: _fetch(port, "/livez")[0] == 200)
        return port

    yield start
    for one in started:
        one.terminate()
        one.wait(20)


def _fetch(port: int, address: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as talk:
        try:
            talk.request("GET", address)
            answer = talk.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""


@pytest.mark.postgres_only
def test_it_answers_with_the_database_stopped_and_after_a_restart(gate, server, tmp_path):
    newsroom()
    incident = told(make.component("Checkout"), title="Card payments fail")
    port = server()
    until(lambda: "Card payments fail" in _fetch(port, "/")[1])
    say(incident, "identified")
    # Django answers as well while there is no snapshot: it is the file that must know.
    taken = tmp_path / "live" / snapshot.FILE
    until(lambda: taken.exists() and "Identified" in taken.read_text(), seconds=10)

    gate.shut()
    until(lambda: "As of <time" in _fetch(port, "/")[1], seconds=live.UNSURE + 10)
    assert "Identified" in _fetch(port, f"/incidents/{incident.uid}/")[1]
    status, said = _fetch(port, "/api/v2/summary.json")
    assert (status, '"identified"' in said) == (200, True)

    again = server()  # a web server that starts while the database is gone
    status, said = _fetch(again, "/")
    assert (status, "Identified" in said, "As of" in said) == (200, True, True)

    gate.open()
    say(incident, "monitoring")
    until(lambda: "As of" not in _fetch(again, "/")[1] and "Monitoring" in _fetch(port, "/")[1], seconds=20)
