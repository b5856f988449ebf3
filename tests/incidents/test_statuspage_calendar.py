"""Maintenance as a calendar, read back by a calendar's parser."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from icalendar import Calendar, Event

from incidents.models import Incident
from incidents.statuspage import copies
from tests import make

from .test_statuspage import newsroom, say, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
START = datetime(2026, 11, 28, 22, tzinfo=UTC)
END = datetime(2026, 11, 29, 1, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(shared_world: Path) -> None:
    newsroom()


def upkeep(**facts) -> Incident:
    one = told(make.component(), title=facts.pop("title", "Database upgrade"), severity="sev4", state="operational")
    facts = {"stage": "scheduled", "started_at": START, "expected_resolution_at": END} | facts
    Incident.objects.filter(pk=one.pk).update(maintenance=True, **facts)
    one.refresh_from_db()
    return one


def events(client) -> list[Event]:
    response = client.get("/maintenance.ics")
    assert response["Content-Type"] == "text/calendar; charset=utf-8"
    return list(Calendar.from_ical(response.content).walk("VEVENT"))


def test_an_event_says_when_what_and_where(client, django_assert_num_queries):
    one = upkeep()
    with django_assert_num_queries(3):
        (event,) = events(client)
    assert (event.decoded("dtstart"), event.decoded("dtend")) == (START, END)
    assert b"DTSTART:20261128T220000Z\r\n" in client.get("/maintenance.ics").content
    assert event["summary"] == "Database upgrade"
    assert "Payments with Component" in event["description"]
    assert event["url"] == f"{settings.PORTAL_URL}/incidents/{one.uid}/"
    assert event["status"] == "CONFIRMED"
    said = one.updates.get().published_at.replace(microsecond=0)
    assert event.decoded("dtstamp") == event.decoded("last-modified") == said
    assert event.errors == []


def test_an_event_keeps_its_uid_and_counts_its_updates(client):
    one = upkeep()
    (before,) = events(client)
    say(one, "identified", words={"en": {"issue": "It begins an hour later."}})
    (after,) = events(client)
    assert after["uid"] == before["uid"]
    assert (before["sequence"], after["sequence"]) == (0, 1)
    assert "It begins an hour later." in after["description"]


def test_only_public_maintenance_is_in_it(client):
    told(make.component(), title="Card payments fail")
    draft = make.incident(title="Not yet said")
    Incident.objects.filter(pk=draft.pk).update(maintenance=True)
    assert events(client) == []
    upkeep()
    assert [event["summary"] for event in events(client)] == ["Database upgrade"]


def test_maintenance_without_an_end_has_none(client):
    upkeep(expected_resolution_at=None)
    (event,) = events(client)
    assert event.decoded("dtstart") == START
    assert "dtend" not in event


def test_no_text_gets_out_of_its_line(client):
    title = "Così; si, fa\\o\r\nBEGIN:VALARM\rEND:VEVENT\x07 " + "è" * 80
    upkeep(title="x")
    Incident.objects.update(title=title)
    content = client.get("/maintenance.ics").content
    assert all(len(line) <= 75 for line in content.split(b"\r\n")), "RFC 5545, 3.1: folded"
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")
    (event,) = events(client)
    assert event["summary"] == "Così; si, fa\\o BEGIN:VALARM END:VEVENT " + "è" * 80
    assert event.subcomponents == []


def test_a_calendar_that_knows_it_gets_an_empty_answer(client):
    one = upkeep()
    first = client.get("/maintenance.ics")
    assert "s-maxage=5" in first["Cache-Control"]
    again = client.get("/maintenance.ics", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    say(one, "identified")
    assert client.get("/maintenance.ics", headers={"If-None-Match": first["ETag"]}).status_code == 200


def test_it_is_in_the_static_copy_and_linked_from_the_page(client, tmp_path):
    upkeep()
    copies.publish(tmp_path / "public")
    assert (tmp_path / "public/maintenance.ics").read_bytes() == client.get("/maintenance.ics").content
    page = client.get("/?lang=it").content.decode()
    assert 'type="text/calendar" title="Manutenzione programmata" href="/maintenance.ics">' in page
    assert '<a href="/maintenance.ics">Calendario</a>' in page
