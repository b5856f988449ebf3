"""./run, as a stranger meets it."""

import ast
import os
import re
import signal
import socket
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

import pytest
from pytest_socket import SocketConnectBlockedError

from tests.demo import ROOT, Demo, copy


@pytest.fixture(scope="module")
def run():
    spec = spec_from_loader("run_script", SourceFileLoader("run_script", str(ROOT / "run")))
    module = module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def test_an_old_python_can_read_it_and_say_what_it_needs(run, monkeypatch):
    ast.parse((ROOT / "run").read_text(), feature_version=(3, 6))
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SystemExit, match=r"^Commsportal needs Python 3\.11 or newer; this is 3\.\d+\.\d+ "):
        run.newer_python()


def test_it_starts_again_under_a_newer_python(run, monkeypatch, tmp_path):
    newer = tmp_path / "python3.12"
    newer.write_text("#!/bin/sh\n")
    newer.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    called = []
    monkeypatch.setattr(os, "execv", lambda *args: called.append(args))
    with pytest.raises(SystemExit):
        run.newer_python()
    assert called[0][0] == str(newer)


def test_it_passes_over_a_python_that_does_not_run(run, monkeypatch, tmp_path):
    for name, code in (("python3.13", 127), ("python3.12", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    called = []
    monkeypatch.setattr(os, "execv", lambda *args: called.append(args))
    with pytest.raises(SystemExit):
        run.newer_python()
    assert called == [(str(tmp_path / "python3.12"), called[0][1])]


def test_it_names_the_missing_package(run, monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(run.Problem, match=r"apt-get install python3\.\d+-venv"):
        run.ensure_venv()


def test_it_names_a_taken_port_before_anything_is_started(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, ROOT / "run", "demo", "--port", str(port), "--data", tmp_path / "data"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"Port {port} cannot be used (Address already in use).")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_it_leaves_a_strangers_folder_alone(run, tmp_path):
    (tmp_path / "thesis.txt").write_text("the only copy")
    with pytest.raises(run.Problem, match=r"is not Commsportal's data directory \(it has thesis.txt\)"):
        run.open_data(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_it_empties_its_own_folder(run, tmp_path):
    data = str(tmp_path / "data")
    with run.open_data(data):
        run.remember(data, 8123)
        (tmp_path / "data" / "outbox").mkdir()
        (tmp_path / "data" / "outbox" / "1.json").write_text("{}")
        run.empty(data)
        assert os.listdir(data) == ["run.lock"]


def test_two_demos_do_not_share_their_data(run, tmp_path):
    with run.open_data(str(tmp_path)), pytest.raises(run.Problem, match=rf"process {os.getpid()}\) is using"):
        run.open_data(str(tmp_path))


def test_the_secret_key_is_random_kept_and_readable_by_the_owner_only(run, tmp_path):
    data = str(tmp_path)
    run.remember(data, 8123)
    key = tmp_path / "secret.key"
    first = key.read_text()
    assert len(first) > 50
    assert key.stat().st_mode & 0o777 == 0o600
    run.remember(data)
    assert key.read_text() == first
    assert run.environment(data)["PORTAL_URL"] == "http://127.0.0.1:8123"


def test_the_demo_ignores_the_settings_of_this_shell(run, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://prod")
    monkeypatch.setenv("SECRET_KEY", "prod")
    run.remember(str(tmp_path), 8000)
    assert not {"DATABASE_URL", "SECRET_KEY"} & set(run.environment(str(tmp_path)))


def test_it_adds_up_the_counts_of_both_databases(run, tmp_path):
    report = tmp_path / "report.xml"
    suite = '<testsuite tests="10" failures="1" errors="2" skipped="3"></testsuite>'
    report.write_text(f"<testsuites>{suite}</testsuites>")
    assert run.count(str(report)) == (4, 3, 3)
    assert run.count(str(tmp_path / "none.xml")) == (0, 1, 0)  # pytest itself broke down


def test_no_test_can_reach_another_host():
    # The warning that comes first is an error as well, as all are.
    with pytest.raises((SocketConnectBlockedError, UserWarning), match=r"192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


@pytest.mark.timeout(240)
def test_the_demo_starts_serves_stops_and_keeps_its_data(first_demo, tmp_path):
    """The first start and its end by SIGINT are the fixture's."""
    assert re.search(r"marta +Incident manager", first_demo.said)
    assert f"{first_demo.address}/admin/" in first_demo.said
    again = Demo(copy(first_demo, tmp_path))
    try:
        for path in ("/livez", "/", "/admin/login/", "/outbox/"):
            again.get(path)
        assert again.incidents() == first_demo.first_incidents != []
        again.until_ready()
        again.until(lambda: len(again.process.children(recursive=True)) > 5, "the worker has no processes")
    finally:
        left = again.stop(signal.SIGTERM)
    assert left == []
    assert (again.data / "secret.key").read_text() == (first_demo.data / "secret.key").read_text()
