from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.utils import timezone

from incidents.models import Component, ComponentStatus, Incident, IncidentUpdate
from incidents.statuspage.uptime import Row, Uptime, measure, read_uptime
from tests import make
from tests.incidents.test_statuspage import newsroom, say, told

ROME = ZoneInfo("Europe/Rome")
NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 6, day, hour, minute, tzinfo=UTC)


def fared(*rows: Row, since: datetime = LONG_AGO, now: datetime = NOW, zone=UTC, days: int = 10) -> Uptime:
    return measure(rows, {1: since}, now, zone, days)[1]


def of(uptime: Uptime, day: date) -> dict[str, int]:
    return {state.value: n for state, n in next(one for one in uptime.days if one.date == day).minutes.items()}


def test_without_an_outage_it_is_exactly_a_hundred():
    uptime = fared()
    assert uptime.percent == Decimal(100)
    assert [day.worst for day in uptime.days] == ["operational"] * 10
    assert of(uptime, date(2026, 6, 10)) == {"operational": 720}  # today is half over


def test_a_partial_outage_weighs_three_tenths_of_a_major_one():
    rows = [
        Row(1, at(2, 10), "investigating", {1: "major_outage"}),
        Row(1, at(2, 11), "identified", {1: "partial_outage"}),
        Row(1, at(2, 13), "resolved", {1: "operational"}),
    ]
    uptime = fared(*rows)
    assert of(uptime, date(2026, 6, 2)) == {"operational": 21 * 60, "major_outage": 60, "partial_outage": 120}
    # 60 + 0.3 × 120 = 96 of 9.5 × 1440 = 13,680 minutes: 99.298…
    assert uptime.percent == Decimal("99.29")


def test_a_second_of_outage_is_never_rounded_away():
    rows = [
        Row(1, at(2), "investigating", {1: "partial_outage"}),
        Row(1, at(2) + timedelta(seconds=1), "resolved", {}),
    ]
    uptime = fared(*rows)
    assert uptime.percent == Decimal("99.99")
    assert of(uptime, date(2026, 6, 2))["partial_outage"] == 1


def test_of_overlapping_incidents_the_worst_counts_once():
    rows = [
        Row(1, at(2, 10), "investigating", {1: "partial_outage"}),
        Row(2, at(2, 11), "investigating", {1: "major_outage"}),
        Row(1, at(2, 12), "resolved", {1: "operational"}),
        Row(2, at(2, 13), "resolved", {1: "operational"}),
    ]
    assert of(fared(*rows), date(2026, 6, 2)) == {
        "operational": 21 * 60,
        "partial_outage": 60,
        "major_outage": 120,
    }


def test_maintenance_and_degraded_performance_are_no_downtime():
    rows = [
        Row(1, at(2), "in_progress", {1: "under_maintenance"}),
        Row(1, at(3), "completed", {1: "operational"}),
        Row(2, at(4), "investigating", {1: "degraded_performance"}),
        Row(2, at(5), "resolved", {1: "operational"}),
    ]
    uptime = fared(*rows)
    assert uptime.percent == Decimal(100)
    assert of(uptime, date(2026, 6, 2)) == {"under_maintenance": 1440}
    assert of(uptime, date(2026, 6, 4)) == {"degraded_performance": 1440}


def test_what_is_still_open_counts_until_now_and_what_began_before_the_window_from_its_start():
    uptime = fared(Row(1, LONG_AGO, "investigating", {1: "major_outage"}))
    assert uptime.percent == 0
    assert of(uptime, date(2026, 6, 1)) == {"major_outage": 1440}
    assert of(uptime, date(2026, 6, 10)) == {"major_outage": 720}


def test_an_update_that_does_not_name_a_component_leaves_it_as_it_was():
    rows = [
        Row(1, at(2, 10), "investigating", {1: "major_outage"}),
        Row(1, at(2, 11), "identified", {2: "major_outage"}),
        Row(1, at(2, 12), "resolved", {}),
    ]
    assert of(fared(*rows), date(2026, 6, 2))["major_outage"] == 120


def test_before_a_component_was_known_there_is_no_data():
    uptime = fared(Row(1, at(8, 12), "investigating", {1: "major_outage"}), since=at(8, 12))
    assert [day.worst for day in uptime.days[:7]] == [None] * 7
    assert of(uptime, date(2026, 6, 8)) == {"major_outage": 720}
    assert fared(since=NOW).percent is None


def test_the_day_that_loses_an_hour_has_23_and_the_one_that_gains_it_25():
    spring = fared(now=datetime(2026, 3, 31, tzinfo=UTC), zone=ROME)
    assert of(spring, date(2026, 3, 29)) == {"operational": 23 * 60}
    autumn = fared(
        Row(1, datetime(2026, 10, 24, 22, tzinfo=UTC), "investigating", {1: "major_outage"}),
        Row(1, datetime(2026, 10, 25, 23, tzinfo=UTC), "resolved", {}),
        now=datetime(2026, 10, 28, tzinfo=UTC),
        zone=ROME,
    )
    assert of(autumn, date(2026, 10, 25)) == {"major_outage": 25 * 60}
    assert of(autumn, date(2026, 10, 26)) == {"operational": 24 * 60}


def test_bars_stand_where_their_days_are_and_the_days_with_trouble_are_listed_newest_first():
    uptime = fared(
        Row(1, at(2), "investigating", {1: "major_outage"}), Row(1, at(3, 1), "resolved", {1: "operational"})
    )
    assert dict(uptime.bars) == {"operational": "M0 24h3M12 24h27", "major_outage": "M4 16h7"}
    assert [day.date.day for day in uptime.troubled] == [3, 2]


@pytest.mark.django_db
@time_machine.travel(datetime(2026, 6, 10, 9, 58, tzinfo=UTC))  # two hours of 90 days are 99.9 % or a little less
def test_the_front_page_tells_of_published_trouble_only(client, django_assert_num_queries):
    make.plan()
    make.scenario()
    hit, secret = make.component("Cards"), make.component("Vault")
    Component.objects.update(created_at=timezone.now() - timedelta(days=200))
    make.published(make.incident(None, hit, state="major_outage").updates.get())
    make.incident(None, secret, state="major_outage")
    components = list(Component.objects.all())
    with django_assert_num_queries(2):
        uptimes = read_uptime(components)
    secret_uptime = uptimes[secret.pk]
    assert (secret_uptime.percent, secret_uptime.troubled) == (Decimal(100), [])
    with time_machine.travel(timezone.now() + timedelta(hours=2), tick=False):
        page = client.get("/?lang=en").text
    assert page.count('class="cp-days"') == 2
    assert page.count("1 day with trouble") == 1
    assert "99.90 % uptime" in page
    assert "100.00 % uptime" in page


def test_what_came_from_elsewhere_without_states_counts_as_its_impact_implies(unguarded, django_assert_num_queries):
    """A page that lists an outage says nothing of 100 %."""
    newsroom()
    checkout = make.component("Checkout")
    with time_machine.travel(NOW - timedelta(days=3), tick=False):
        one = told(checkout, severity="sev1")
    with time_machine.travel(NOW - timedelta(days=3) + timedelta(hours=2), tick=False):
        say(one, "resolved")
    Incident.objects.filter(pk=one.pk).update(imported_from="elsewhere")
    IncidentUpdate.objects.filter(incident=one).update(component_states={})
    Component.objects.update(created_at=NOW - timedelta(days=200))
    with time_machine.travel(NOW, tick=False), django_assert_num_queries(3):
        uptime = read_uptime([checkout])[checkout.pk]
    [day] = uptime.troubled
    assert day.trouble == [(ComponentStatus.MAJOR, 120)]
    Incident.objects.filter(pk=one.pk).update(imported_from=None)
    with time_machine.travel(NOW, tick=False):
        assert read_uptime([checkout])[checkout.pk].troubled == []  # of ours only what was said
