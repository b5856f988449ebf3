"""The fault harness itself: its judge finds what is wrong, and a fault can be tried. `./run faults` tries them all."""

import json
import sys

import psycopg
import pytest

from channels.providers import REGISTRY
from tests.faults import __main__ as command
from tests.faults import ground as grounds
from tests.faults import provider, rows
from tests.faults.judge import Allowed, Verdict, judge, table
from tests.postgres import IMMEDIATE, SURVIVES, Postgres

PEOPLE = ["a", "b", "c"]
ALL_SENT = dict.fromkeys(PEOPLE, "sent")


def verdict(outcomes=ALL_SENT, ledger=PEOPLE, allowed=Allowed(), resume=1.0, **rest):  # noqa: B008 - frozen
    return judge("a fault", PEOPLE, outcomes, ledger, allowed, resume, **rest)


def test_all_is_well_when_everybody_got_it_once():
    assert verdict().ok
    assert (verdict().people, verdict().sent, verdict().lost) == (3, 3, 0)


@pytest.mark.parametrize(
    ("world", "problem"),
    [
        ({"ledger": ["a", "b"]}, "1 lost"),  # said to be sent, and never arrived
        ({"outcomes": {"a": "sent", "b": "sent"}}, "1 lost"),  # without an outcome
        ({"ledger": ["a", "b", "c", "c"]}, "1 got it twice and are not marked unknown"),
        ({"ledger": ["a", "b", "c", "d"]}, "1 strangers got it"),
        ({"outcomes": ALL_SENT | {"c": "failed"}, "allowed": Allowed(failed=1)}, "1 got it and are said not to have"),
        ({"outcomes": ALL_SENT | {"c": "unknown"}}, "1 unknown, at most 0 may be"),
        ({"outcomes": ALL_SENT | {"c": "failed"}, "ledger": ["a", "b"]}, "1 failed, at most 0 may be"),
        ({"resume": 60.6}, "resumed after 61 s, 60 at most"),
        ({"problems": ["not finished"]}, "not finished"),
        ({"outcomes": {"a": "sent", "b": "sent"}, "ledger": ["a", "b"], "waiting": ["c"]}, "1 still waiting"),
    ],
)
def test_it_finds(world, problem):
    found = verdict(**world)
    assert not found.ok
    assert problem in "; ".join(found.problems)


def test_what_is_marked_unknown_may_have_arrived_or_not_or_twice():
    unknown = ALL_SENT | {"c": "unknown"}
    for ledger in (PEOPLE, ["a", "b"], [*PEOPLE, "c"]):
        assert verdict(unknown, ledger, Allowed(unknown=1)).ok


def test_the_table_is_markdown():
    lines = table([verdict(), verdict(ledger=["a"])]).splitlines()
    assert {line.count("|") for line in lines} == {11}
    assert lines[2].endswith("| ok |")
    assert lines[3].endswith("| MISSED: 2 lost |")


@pytest.mark.parametrize(("problems", "status"), [([], 0), (["1 lost"], 1)])
def test_its_exit_status_and_last_line_say_whether_a_fault_missed(monkeypatch, capsys, tmp_path, problems, status):
    monkeypatch.setattr(command, "attempt", lambda fault, *_rest: Verdict(fault.name, problems=problems))
    monkeypatch.setattr(rows, "LEFT_OUT", {"earthquake": "no ground to shake"})
    assert command.run(tmp_path, None, [], True, True) == status
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["ok"] is not bool(problems)
    assert [one["fault"] for one in said["faults"]] == [one.name for one in rows.FAULTS if one.quick]
    assert said["left_out"] == ["earthquake"]


def test_it_knows_no_fault_by_a_strange_name(tmp_path):
    assert command.run(tmp_path, None, ["earthquake"], False, False) == 2


@pytest.fixture
def ground(monkeypatch, transactional_db, tmp_path):
    monkeypatch.setitem(sys.modules, "channels.providers.faults", provider)
    monkeypatch.setitem(REGISTRY, "faults_http", "faults.Http")
    one = grounds.Ground(tmp_path, grounds.Scale(60, 0.002, 0, 1, 1, grounds.SHORT | {"DELIVERY_WAVE_SIZE": 20}))
    yield one
    one.close()


def test_a_fault_is_tried_with_a_real_worker(ground):
    rows.dropped_reply(ground)
    found = ground.verdict("replies lost")
    assert found.problems == []
    assert (found.people, found.sent, found.unknown) == (60, 56, 4)
    assert len(ground.sink.ledger) == 60


def test_its_postgres_keeps_what_was_committed_when_it_is_stopped_by_force():
    with Postgres(SURVIVES) as server:
        with psycopg.connect(server.url) as one:
            one.execute("CREATE TABLE kept AS SELECT 1 AS n")
        server.stop(IMMEDIATE)
        server.start()
        with psycopg.connect(server.url) as one:
            assert one.execute("SELECT n FROM kept").fetchall() == [(1,)]
