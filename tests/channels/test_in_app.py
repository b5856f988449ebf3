"""The feed by component, the script as it is served, and what browsers report."""

import gzip
import json
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from channels import counting
from channels.counting import Tally
from channels.models import Notice, NoticeCount

FEED, SEEN, SCRIPT = "/api/in-app.json", "/in-app/seen", "/in-app.js"
CARDS, LOGIN = "bcdf2345ghjk", "mnpq6789rstv"


@pytest.fixture(autouse=True)
def tally(monkeypatch):
    """A process that has just begun."""
    one = Tally()
    monkeypatch.setattr(counting, "tally", one)
    return one


def noticed(name, *components, ago=timedelta(), **facts):
    return Notice.objects.create(
        key=name,
        thread=f"incident-{name}",
        locale="en",
        subject=name,
        text="Card payments fail.",
        facts={"components": list(components), **facts},
        at=timezone.now() - ago,
    )


def counts():
    return {(one.notice.key, one.event): one.count for one in NoticeCount.objects.select_related("notice")}


def report(client, body):
    body = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(SEEN, body, content_type="text/plain;charset=UTF-8")


# ── The feed by component ──


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("asked", "subjects"),
    [
        ("", ["all", "both", "login", "cards"]),
        (CARDS, ["all", "both", "cards"]),
        (f"{CARDS},{LOGIN}", ["all", "both", "login", "cards"]),
        (f",,{LOGIN},", ["all", "both", "login"]),
        ("unknown", ["all"]),
        ("\0' OR 1=1 --,<script>", ["all"]),
        ("x," * 5000 + CARDS, ["all"]),  # the first hundred are enough for anybody
    ],
)
def test_it_tells_of_the_components_that_are_asked_for(client, django_assert_num_queries, asked, subjects):
    noticed("cards", CARDS, ago=timedelta(minutes=4))
    noticed("login", LOGIN, ago=timedelta(minutes=3))
    noticed("both", CARDS, LOGIN, ago=timedelta(minutes=2))
    noticed("all")  # names none: it concerns everybody
    with django_assert_num_queries(1):
        answer = client.get(FEED, {"components": asked})
    assert [one["subject"] for one in answer.json()["notices"]] == subjects


@pytest.mark.django_db
def test_news_of_other_components_leave_the_answer_as_it_was(client):
    noticed("cards", CARDS)
    first = client.get(FEED, {"components": CARDS})
    noticed("login", LOGIN)
    again = client.get(FEED, {"components": CARDS}, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(FEED, headers={"if-none-match": first["ETag"]}).status_code == 200


# ── The script ──


def test_the_script_is_small_and_may_be_used_from_any_site(client):
    """Without the database: this test has none."""
    answer = client.get(SCRIPT, headers={"accept-encoding": "gzip", "origin": "https://shop.example"})
    assert len(answer.content) <= 5120
    plain = client.get(SCRIPT)
    assert gzip.decompress(answer.content) == plain.content
    for one in (answer, plain):
        assert one["Content-Type"] == "text/javascript; charset=utf-8"
        assert one["X-Content-Type-Options"] == "nosniff"
        assert one["Access-Control-Allow-Origin"] == "*"
        assert one["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "max-age=300" in one["Cache-Control"]
        assert not one.cookies
    assert (answer["Content-Encoding"], plain.get("Content-Encoding")) == ("gzip", None)
    assert answer["ETag"] != plain["ETag"]
    again = client.get(SCRIPT, headers={"if-none-match": plain["ETag"]})
    assert (again.status_code, again.content, again["Access-Control-Allow-Origin"]) == (304, b"", "*")
    assert client.post(SCRIPT).status_code == 405


def test_the_script_makes_nothing_of_text_but_text(client):
    source = client.get(SCRIPT).content.decode()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "cookie ="):
        assert way not in source


@pytest.mark.parametrize(("demo", "status"), [(True, 200), (False, 404)])
def test_the_demo_has_a_page_to_try_it_on(client, settings, demo, status):
    settings.PORTAL_DEMO = demo
    answer = client.get("/demo/product/")
    assert (answer.status_code, f'<script src="{SCRIPT}" defer>' in answer.content.decode()) == (status, demo)


# ── Counting ──


@pytest.mark.django_db
def test_what_was_shown_and_closed_is_counted_by_notice_and_day(client, tally):
    noticed("a")
    noticed("b")
    answer = report(client, {"event": "shown", "ids": ["a", "b", "b"]})
    assert (answer.status_code, answer.content, answer["Access-Control-Allow-Origin"]) == (204, b"", "*")
    assert not answer.cookies
    report(client, {"event": "dismissed", "ids": ["a"]})
    report(client, {"event": "shown", "ids": ["a"]})
    tally.write()
    assert counts() == {("a", "shown"): 2, ("b", "shown"): 1, ("a", "dismissed"): 1}
    report(client, {"event": "shown", "ids": ["a"]})
    tally.write()
    assert counts()["a", "shown"] == 3
    assert set(NoticeCount.objects.values_list("day", flat=True)) == {timezone.now().date()}


@pytest.mark.django_db
def test_a_rush_is_written_in_one_go_by_whoever_asks_next(client, tally, monkeypatch):
    noticed("a")
    report(client, {"event": "shown", "ids": ["a"]})  # the first after a quiet time is written at once
    for _n in range(30):
        report(client, {"event": "shown", "ids": ["a"]})
    assert counts() == {("a", "shown"): 1}
    monkeypatch.setattr(counting, "EVERY", 0)
    client.get(FEED)
    assert counts() == {("a", "shown"): 31}


HOSTILE = [
    "",
    "null",
    "[]",
    '"shown"',
    "{",
    b"\xff\xfe",
    "[" * 1000,
    {"event": "shown"},
    {"event": "shown", "ids": "a"},
    {"event": "shown", "ids": {"a": 1}},
    {"event": "shown", "ids": [["a"], 7, None, {"a": "a"}]},
    {"event": "shown", "ids": ["unknown", "\0", "<img src=x onerror=alert(1)>", "' OR 1=1 --"]},
    {"event": "SHOWN", "ids": ["a"]},
    {"event": ["shown"], "ids": ["a"]},
    {"event": {}, "ids": ["a"]},
    {"event": "shown", "ids": ["old"]},
    json.dumps({"event": "shown", "ids": ["a"]}) + " " * 1024,
]


@pytest.mark.django_db
@pytest.mark.parametrize("body", HOSTILE)
def test_what_is_no_report_of_a_notice_counts_nothing(client, tally, body):
    noticed("a")
    noticed("old", ago=timedelta(hours=25))
    answer = report(client, body)
    assert (answer.status_code, answer.content) == (204, b"")
    tally.write()
    assert counts() == {}


@pytest.mark.django_db
def test_a_flood_of_made_up_ids_costs_neither_rows_nor_queries(client, tally, django_assert_max_num_queries):
    noticed("a")
    with django_assert_max_num_queries(3):
        for n in range(100):
            report(client, {"event": "shown", "ids": [f"made-up-{n}-{i}" for i in range(20)]})
    assert not tally._waiting
    assert NoticeCount.objects.count() == 0


@pytest.mark.django_db
def test_more_than_the_limit_in_a_second_is_not_looked_at(client, tally, monkeypatch):
    noticed("a")
    monkeypatch.setattr(counting, "LIMIT", 3)
    monkeypatch.setattr(counting.time, "monotonic", lambda: 1000.5)
    assert {report(client, {"event": "shown", "ids": ["a"]}).status_code for _n in range(9)} == {204}
    tally.write()
    assert counts() == {("a", "shown"): 3}


@pytest.mark.django_db
def test_a_notice_that_has_just_come_is_known_within_a_second(client, tally, monkeypatch):
    noticed("a")
    report(client, {"event": "shown", "ids": ["a"]})
    noticed("b")
    report(client, {"event": "shown", "ids": ["b"]})
    monkeypatch.setattr(counting, "FRESH", 0)
    report(client, {"event": "shown", "ids": ["b"]})
    tally.write()
    assert counts() == {("a", "shown"): 1, ("b", "shown"): 1}


@pytest.mark.django_db
def test_without_a_database_the_counts_wait(client, tally, monkeypatch):
    noticed("a")
    report(client, {"event": "shown", "ids": ["a"]})
    report(client, {"event": "shown", "ids": ["a"]})

    def away(*_args, **_kwargs):
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(NoticeCount.objects, "bulk_create", away)
        tally.write()
    assert counts() == {("a", "shown"): 1}
    tally.write()
    assert counts() == {("a", "shown"): 2}


@pytest.mark.django_db
def test_only_a_report_is_taken(client):
    for method in ("get", "put", "delete"):
        assert getattr(client, method)(SEEN).status_code == 405
