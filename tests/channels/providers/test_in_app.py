import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, OperationalError
from django.utils import timezone

from channels.errors import Permanent, Transient
from channels.models import Notice
from incidents import declaring, publishing
from tests import make

from .conftest import addressees, make_message

pytestmark = pytest.mark.django_db
FEED = "/api/in-app.json"
URL = "https://portal.example.com/incidents/9f3kabcd/"


@pytest.fixture
def in_app(make_provider):
    return make_provider("in_app")


def noticed(thread="incident-1", locale="en", ago=timedelta(), **changes):
    key = f"{thread}-{locale}-{Notice.objects.count()}"
    words = {"subject": f"{thread} in {locale}", "text": "Card payments fail.", "url": URL}
    return Notice.objects.create(key=key, thread=thread, locale=locale, at=timezone.now() - ago, **(words | changes))


def subjects(client, lang=""):
    return [one["subject"] for one in client.get(FEED, {"lang": lang} if lang else {}).json()["notices"]]


# ── Sending ──


def test_what_is_sent_is_what_apps_read(in_app, client, time_machine):
    time_machine.move_to(datetime(2026, 11, 3, 13, 30, tzinfo=UTC), tick=False)
    facts = {"components": ["bcdf2345ghjk"], "stage": "identified", "impact": "major", "over": False}
    parts = {"text": "Card payments fail.", "facts": json.dumps(facts)}
    [outcome] = in_app.send(make_message(parts=parts), addressees(1))
    assert (outcome.error, outcome.ref) == (None, "42-0-en")
    assert client.get(FEED).json() == {
        "version": 1,
        "language": "en",
        "notices": [
            {
                "id": "42-0-en",
                "thread": "incident-9f3kabcd",
                "language": "en",
                "subject": "Card payments: partial outage",
                "text": "Card payments fail.",
                "url": URL,
                "at": "2026-11-03T14:30:00.000+01:00",
                **facts,
            }
        ],
    }


def test_what_was_frozen_before_there_were_facts_still_goes_out(in_app, client):
    [outcome] = in_app.send(make_message(), addressees(1))
    assert outcome.error is None
    [notice] = client.get(FEED).json()["notices"]
    assert {name: notice[name] for name in ("components", "stage", "impact", "over")} == {
        "components": [],
        "stage": "",
        "impact": "",
        "over": False,
    }


def test_sending_again_adds_nothing(in_app):
    for _n in range(2):
        [outcome] = in_app.send(make_message(), addressees(1))
        assert outcome.error is None
    in_app.send(make_message(locale="it"), addressees(1))
    assert sorted(Notice.objects.values_list("key", flat=True)) == ["42-0-en", "42-0-it"]


@pytest.mark.parametrize(("fault", "kind"), [(DataError, Permanent), (OperationalError, Transient)])
def test_what_the_database_says_is_translated(in_app, monkeypatch, fault, kind):
    def fails(*_args, **_kwargs):
        raise fault("no\nSQL of ours")

    monkeypatch.setattr(Notice.objects, "bulk_create", fails)
    try:
        [outcome] = in_app.send(make_message(), addressees(1))
        error = outcome.error
    except Transient as raised:
        error = raised
    assert (type(error), error.detail) == (kind, "no")


def test_a_published_update_is_read_in_each_language(client):
    make.plan(make.channel("in_app"))
    update = make.published(make.incident().updates.get())
    make.deliver()
    dispatched = {one.locale: one.content["parts"]["text"] for one in publishing.dispatches(update)}
    assert set(dispatched) == {"en", "it"}
    for lang, text in dispatched.items():
        [notice] = client.get(FEED, {"lang": lang}).json()["notices"]
        assert (notice["language"], notice["text"]) == (lang, text)
        assert notice["url"].endswith(f"/incidents/{update.incident.uid}/")
        assert notice["components"] == [one.uid for one in update.incident.components.all()]
        assert (notice["stage"], notice["impact"], notice["over"]) == ("investigating", "major", False)


def test_the_last_notice_of_an_incident_says_that_it_is_over(client):
    make.plan(make.channel("in_app"), locales=("en",))
    incident = make.incident()
    make.published(incident.updates.get())
    make.published(declaring.start_draft(incident, incident.declared_by, "resolved"))
    make.deliver()
    [notice] = client.get(FEED).json()["notices"]
    assert (notice["stage"], notice["over"]) == ("resolved", True)


# ── The feed ──


def test_each_thread_shows_its_newest_notice_alone(client, django_assert_num_queries):
    noticed("incident-1", ago=timedelta(hours=2), subject="old")
    noticed("incident-2", ago=timedelta(hours=1), subject="two")
    noticed("incident-1", subject="new")
    with django_assert_num_queries(1):
        assert subjects(client) == ["new", "two"]


def test_what_is_older_than_the_setting_is_not_shown(client, settings):
    noticed(ago=timedelta(hours=25))
    assert subjects(client) == []
    settings.IN_APP_HOURS = 26
    assert subjects(client) == ["incident-1 in en"]


@pytest.mark.parametrize("lang", ["it", "it-CH", "IT"])
def test_it_speaks_the_language_that_is_asked_for(client, lang):
    noticed(locale="it", ago=timedelta(seconds=3))
    noticed(locale="en")
    noticed("incident-2", ago=timedelta(hours=1))
    answer = client.get(FEED, {"lang": lang})
    assert answer.json()["language"] == answer["Content-Language"] == "it"
    assert [(one["thread"], one["language"]) for one in answer.json()["notices"]] == [
        ("incident-1", "it"),
        ("incident-2", "en"),  # not written in Italian
    ]


def test_later_news_in_the_default_language_is_better_than_stale_news(client):
    noticed(locale="it", ago=timedelta(hours=1))
    noticed(locale="en", ago=timedelta(hours=1), subject="old")
    noticed(locale="en", subject="resolved")
    assert subjects(client, "it") == ["resolved"]


@pytest.mark.parametrize("lang", ["", "de", "x" * 600, "\0", "../../etc"])
def test_an_unknown_language_is_answered_in_the_default_one(client, lang):
    noticed(locale="en")
    noticed(locale="it")
    assert subjects(client, lang) == ["incident-1 in en"]


def test_a_poll_without_news_costs_no_body(client):
    noticed()
    first = client.get(FEED)
    again = client.get(FEED, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content, again["Access-Control-Allow-Origin"]) == (304, b"", "*")
    noticed("incident-2")
    assert client.get(FEED, headers={"if-none-match": first["ETag"]}).status_code == 200


def test_anybody_anywhere_may_read_it_without_a_cookie(client):
    answer = client.get(FEED, headers={"origin": "https://shop.example"})
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer["Access-Control-Expose-Headers"] == "ETag"
    assert answer["Cache-Control"] == "public, max-age=5"
    assert not answer.cookies
    assert "Cookie" not in answer.get("Vary", "")
    asked = client.options(FEED, headers={"origin": "https://shop.example"})
    assert (asked.status_code, asked["Access-Control-Allow-Origin"]) == (204, "*")
    assert "If-None-Match" in asked["Access-Control-Allow-Headers"]
    assert client.head(FEED).status_code == 200
    assert client.post(FEED).status_code == 405
