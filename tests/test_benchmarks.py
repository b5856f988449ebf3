"""The benchmarks work and judge; what they measure is not asserted here."""

import json
from contextlib import nullcontext
from functools import partial

import pytest

from benchmarks import __main__ as bench
from benchmarks import fanout
from benchmarks.measure import judged, ratio, turns
from benchmarks.stage import Stage
from tests.workers import database_url


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
def test_the_last_line_is_json_and_nobody_was_lost_or_doubled(tmp_path, monkeypatch, capsys):
    """The engine in processes of its own, a bare loop and the sink that judges both; the peers take longer."""
    stage = Stage(database_url(), tmp_path)
    monkeypatch.setattr(bench, "opened", lambda: nullcontext(stage))
    monkeypatch.setattr(fanout, "PARTS", (partial(fanout.through_smtp, peers=False),))
    assert bench.main(["fanout", "--size", "120", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["benchmarks"]["fanout"]
    assert found["lost"] == found["doubled"] == 0
    assert found["smtp_recipients"] == 120
    assert found["smtp_2_processes_per_s"] > 0
    assert set(found["goals"]) == {"smtp_vs_raw"} < set(found["ratios"])
    assert set(found["goals"]["smtp_vs_raw"]) == {"reach", "reached"}


def test_an_unknown_name_is_told_what_there_is(capsys):
    assert bench.main(["fanout", "speed"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("There is no benchmark “speed”. There are: fanout, scale, groups, latency, isolation, ")


def test_rounds_are_played_in_turns_and_compared_round_by_round():
    played = []

    def player(name, *values):
        values = iter(values)
        return lambda: played.append(name) or next(values)

    found = turns(3, {"product": player("product", 10, 30, 100), "anchor": player("anchor", 10, 10, 50)})
    assert played == ["product", "anchor", "anchor", "product", "product", "anchor"]
    assert ratio(found["product"], found["anchor"]) == 2


@pytest.mark.parametrize(("sign", "reached"), [(">=", True), ("<=", False)])
def test_a_goal_is_held_against_the_ratio(sign, reached):
    result = judged({"ratios": {"a": 2.0}}, {"a": (sign, 1.5), "not measured": (sign, 1)})
    assert result["goals"] == {"a": {"reach": f"{sign} 1.5", "reached": reached}}
