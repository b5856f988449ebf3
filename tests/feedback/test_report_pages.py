"""The reports as pages and files: who may read what, what they say, how little they ask of the database."""

import csv
import importlib
import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Channel, Delivery, Dispatch
from feedback.models import SurveyAnswer
from incidents import roles
from incidents.models import Component, Decision, Incident, IncidentComponent, IncidentUpdate
from incidents.rendering import moment
from tests import make
from tests.feedback.test_reports import an_incident, an_update, by_hand, sent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
OVER_TIME = "/admin/feedback/report/"


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """Meg, who may read reports, and an incident of long ago: its key. Unguarded, for the past is told in rows."""
    importlib.import_module("incidents.migrations.0002_guards").drop(None, connection.schema_editor())
    make.user(roles.MANAGERS, roles.ALL_COMPONENTS, username="meg")
    return by_hand().pk


@pytest.fixture
def manager(client, db) -> User:
    who = User.objects.get(username="meg")
    client.force_login(who)
    return who


@pytest.fixture
def incident(world: int, db) -> Incident:
    """Counted by hand; the only one that there is, if a test makes no other."""
    return Incident.objects.get(pk=world)


def component_manager(client, component: Component) -> User:
    """May read reports, of this component only."""
    who = make.user(roles.MANAGERS)
    assign_perm("incidents.view_component", who, component)
    client.force_login(who)
    return who


def several(component: Component, minutes_ago: dict[str, int]) -> list[Incident]:
    """Resolved incidents by title and start, each with the one update that came after five minutes."""
    plan, now = make.plan(), timezone.now()
    writer, approver = (User.objects.get(username=name) for name in ("writer", "approver"))
    common = {"plan": plan, "plan_version": plan.current(), "stage": "resolved", "resolved_at": now}
    incidents = [
        Incident(title=title, started_at=now - timedelta(minutes=minutes), **common)
        for title, minutes in minutes_ago.items()
    ]
    for one in incidents:
        one.published_at = one.started_at + timedelta(minutes=5)
    Incident.objects.bulk_create(incidents)
    Incident.objects.filter(plan=plan).update(declared_at=F("started_at"))
    IncidentComponent.objects.bulk_create(IncidentComponent(incident=one, component=component) for one in incidents)
    IncidentUpdate.objects.bulk_create(
        IncidentUpdate(
            incident=one,
            number=1,
            stage="identified",
            status="published",
            published_at=one.published_at,
            author=writer,
            approved_by=approver,
            content_hash=f"{1:064}",
            approved_hash=f"{1:064}",
        )
        for one in incidents
    )
    return incidents


def on(component: Component, title: str, minutes_ago: int = 60) -> Incident:
    [one] = several(component, {title: minutes_ago})
    return one


def rows(response) -> list[list[str]]:
    return list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))


def test_the_addresses_have_their_names():
    assert reverse("admin:feedback_report") == OVER_TIME
    assert reverse("admin:feedback_report_incident", args=[7]) == f"{OVER_TIME}7/"
    assert reverse("admin:feedback_report_csv") == f"{OVER_TIME}csv/"
    assert reverse("admin:feedback_report_incident_csv", args=[7]) == f"{OVER_TIME}7/csv/"


# ── Who may ──


@pytest.mark.parametrize("path", ["", "csv/", "{pk}/", "{pk}/csv/"])
def test_whoever_may_not_read_reports_is_refused(client, path):
    incident = on(make.component(), "Secret outage")
    client.force_login(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    response = client.get(OVER_TIME + path.format(pk=incident.pk))
    assert response.status_code == 403
    assert "You may not read reports" in response.content.decode()
    assert "Secret outage" not in response.content.decode()


@pytest.mark.parametrize("path", ["", "csv/", "{pk}/", "{pk}/csv/"])
def test_whoever_is_not_logged_in_is_sent_to_the_login(client, path):
    incident = on(make.component(), "Secret outage")
    response = client.get(OVER_TIME + path.format(pk=incident.pk))
    assert response.status_code == 302
    assert response["Location"].startswith("/admin/login/")


def test_a_foreign_incident_is_nowhere(client):
    mine, foreign = make.component("Search"), make.component("Vault")
    own, secret = on(mine, "Search is slow"), on(foreign, "Vault is open")
    component_manager(client, mine)
    for path in ("", "csv/", "?period=all", f"?component={mine.pk}", f"?plan={own.plan_id}"):
        text = client.get(OVER_TIME + path).content.decode()
        assert "Search is slow" in text
        assert "Vault" not in text
    assert client.get(f"{OVER_TIME}{own.pk}/").status_code == 200
    for path in (f"{secret.pk}/", f"{secret.pk}/csv/"):
        response = client.get(OVER_TIME + path)
        assert response.status_code == 404
        assert "Vault" not in response.content.decode()
    # Neither as a filter, which would tell that it exists.
    for path in (f"?component={foreign.pk}", f"?plan={secret.plan_id}"):
        assert client.get(OVER_TIME + path).status_code == 400


def test_an_incident_that_is_not_there_is_a_page_that_says_so(client, manager):
    for pk in (999_999, 10**30):
        response = client.get(f"{OVER_TIME}{pk}/")
        assert response.status_code == 404
        assert "There is no such incident" in response.content.decode()


def test_answers_are_listed_for_whoever_sees_the_incident(client):
    mine, foreign = make.component(), make.component()
    for component, comment in ((mine, "<script>mine</script>"), (foreign, "theirs")):
        make.survey_answer(on(component, "x"), clear=1, timely=1, useful=1, comment=comment)
    who = make.user(roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.operate_component", who, mine)
    client.force_login(who)
    page = client.get("/admin/feedback/surveyanswer/").content.decode()
    assert "&lt;script&gt;mine" in page
    assert "<script>mine" not in page
    assert "theirs" not in page
    own, other = (SurveyAnswer.objects.get(texts__comment__icontains=word) for word in ("mine", "theirs"))
    assert client.get(f"/admin/feedback/surveyanswer/{own.pk}/change/").status_code == 200
    assert client.get(f"/admin/feedback/surveyanswer/{other.pk}/change/").status_code == 302
    assert client.post(f"/admin/feedback/surveyanswer/{own.pk}/change/", {"clear": 5}).status_code == 403
    assert client.get("/admin/feedback/surveyanswer/add/").status_code == 403
    assert client.post(f"/admin/feedback/surveyanswer/{own.pk}/delete/", {"post": "yes"}).status_code == 403
    own.refresh_from_db()
    assert own.given["clear"] == 1


def test_low_answers_can_be_picked_out(client):
    component = make.component()
    low, high = (make.survey_answer(on(component, "x"), clear=score) for score in (2, 3))
    client.force_login(make.communications_manager())
    found = client.get("/admin/feedback/surveyanswer/?score=low").context["cl"].result_list
    assert low in found
    assert high not in found


def test_answers_need_their_permission(client):
    client.force_login(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    assert client.get("/admin/feedback/surveyanswer/").status_code == 403


# ── What they say ──


def test_over_time_begins_with_the_sentence_and_compares_with_the_period_before(client, manager):
    on(make.component(), "Recent", minutes_ago=60)
    on(make.component(), "Earlier", minutes_ago=60 * 24 * 40)
    page = client.get(OVER_TIME, {"period": "30"}).content.decode()
    assert "1 incident: first update in 5 min, on time, no messages sent." in page
    assert "Recent" in page
    assert "Earlier" not in page
    assert "before: 1" in page
    assert "before:" not in client.get(OVER_TIME, {"period": "all"}).content.decode()


def test_filters_choose_by_severity_component_and_plan(client, manager):
    one, two = on(make.component(), "First"), on(make.component(), "Second")
    Incident.objects.filter(pk=one.pk).update(severity="sev1")
    for query in ({"severity": "sev1"}, {"component": one.components.get().pk}, {"plan": one.plan_id}):
        page = client.get(OVER_TIME, query).content.decode()
        assert f"{OVER_TIME}{one.pk}/" in page
        assert f"{OVER_TIME}{two.pk}/" not in page


def test_custom_dates_include_their_last_day(client, manager, incident):
    for first, last, found in (("2026-03-02", "2026-03-02", True), ("2026-03-03", "2026-03-09", False)):
        page = client.get(OVER_TIME, {"first": first, "last": last}).content.decode()
        assert (f"{OVER_TIME}{incident.pk}/" in page) is found


def test_planned_maintenance_is_left_out(client, manager):
    one = on(make.component(), "Move the database")
    Incident.objects.filter(pk=one.pk).update(maintenance=True)
    assert "Move the database" not in client.get(OVER_TIME).content.decode()


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"first": "yesterday"}, "Enter a valid date."),
        ({"first": "2026-02-30"}, "Enter a valid date."),
        ({"first": "2026-03-02", "last": "2026-03-01"}, "The last day is before the first: 2026-03-02."),
        ({"period": "custom"}, "Choose the first day"),
        ({"first": "0001-01-01"}, "Choose a year from 1970 on"),
        ({"first": "2026-01-01", "last": "9999-12-31"}, "Choose a year from 1970 on"),
        ({"period": "forever"}, "Select a valid choice"),
        ({"severity": "sev9"}, "Select a valid choice"),
        ({"component": "x' OR 1=1"}, "Select a valid choice"),
        ({"plan": "9" * 40}, "Select a valid choice"),
    ],
)
def test_a_filter_that_makes_no_sense_is_named(client, manager, query, named):
    for path in ("", "csv/"):
        response = client.get(OVER_TIME + path, query)
        assert response.status_code == 400
        assert named in response.content.decode()


@pytest.mark.parametrize(
    "query",
    [
        {"page": "x"},
        {"page": "0"},
        {"page": "99"},
        {"sort": "password"},
        {"sort": "--first"},
        {"sort": "\x00"},
        {"first": "1970-01-01", "last": "1970-01-01"},
    ],
)
def test_a_strange_page_or_order_falls_back(client, manager, query):
    on(make.component(), "x")
    assert client.get(OVER_TIME, query).status_code == 200


def test_the_table_is_sorted_and_paged_and_keeps_the_filters(client, manager):
    several(make.component(), {f"Number {minutes:02}": 100 + minutes for minutes in range(60)})
    first = client.get(OVER_TIME, {"sort": "duration", "period": "30"}).content.decode()
    assert first.index("Number 00") < first.index("Number 01") < first.index("Number 49")
    assert "Number 50" not in first
    assert 'aria-sort="ascending"' in first
    assert "sort=duration&amp;page=2" in first or "period=30&amp;page=2" in first
    assert "Number 50" in client.get(OVER_TIME, {"sort": "duration", "page": "2"}).content.decode()
    assert "Number 59" in client.get(OVER_TIME, {"sort": "-duration"}).content.decode()


def test_every_column_can_be_sorted_by_even_where_figures_are_missing(client, manager):
    component = make.component()
    on(component, "Known")
    IncidentComponent.objects.create(incident=an_incident(None, started_at=timezone.now()), component=component)
    from feedback.admin.report import SORTS

    for name in SORTS:
        for sort in (name, f"-{name}"):
            assert client.get(OVER_TIME, {"sort": sort}).status_code == 200


def test_nothing_to_report_teaches(client, manager):
    empty = client.get(OVER_TIME, {"first": "2001-01-01", "last": "2001-01-02"}).content.decode()
    assert "No incidents in this period." in empty
    assert "Show all incidents" in empty
    Decision.objects.all().delete()
    Incident.objects.all().delete()
    assert "There is nothing to report yet." in client.get(OVER_TIME).content.decode()


def test_one_incident_shows_its_figures_and_the_comments_inert(client, manager, incident):
    SurveyAnswer.objects.filter(given__clear=5).update(texts={"comment": "<img src=x onerror=alert(1)>"})
    Incident.objects.filter(pk=incident.pk).update(title="<b>Card</b> {% x %}")
    page = client.get(f"{OVER_TIME}{incident.pk}/").content.decode()
    assert "First update in 9 min, 1 of 4 late, 75 % reached, clarity 4.3/5." in page
    assert "9 min 12 s" in page
    assert "5 min 12 s" in page
    assert "3 of the 4 people who were asked answered (75 %)" in page
    assert "At least one message reached 15 of the 20 people" in page
    assert "<img src=x" not in page
    assert "<b>Card" not in page


@pytest.mark.parametrize("path", ["", "{pk}/"])
def test_charts_have_a_title_a_description_and_a_table(client, manager, incident, path):
    page = client.get(OVER_TIME + path.format(pk=incident.pk), {"period": "all"}).content.decode()
    assert page.count("<desc id=") >= 1
    assert page.count("<details>") >= 2


@pytest.mark.parametrize("seconds", [0, 0.4, 1, 15.2])
def test_a_first_update_within_seconds_has_a_chart(client, manager, seconds):
    start = timezone.now() - timedelta(hours=1)
    times = {"started_at": start, "published_at": start + timedelta(seconds=seconds), "resolved_at": timezone.now()}
    an_update(an_incident(make.plan(), start, stage="resolved", **times), 1, times["published_at"])
    assert "Time to first update" in client.get(OVER_TIME).content.decode()


def test_an_incident_about_which_nothing_was_said_has_a_report(client, manager):
    incident = an_incident(None, title="Quiet")
    page = client.get(f"{OVER_TIME}{incident.pk}/").content.decode()
    assert "No update has been published." in page
    assert "Nobody has been asked yet." in page


@pytest.mark.parametrize(
    ("promised_in", "said", "unsaid"),
    [
        (16, "so it is not overdue, and does not count as late yet", "it is overdue"),
        (-4, "it is overdue. It counts as late in the figures.", "not overdue"),
    ],
)
def test_an_open_incident_is_overdue_only_once_its_promise_is_broken(client, manager, promised_in, said, unsaid):
    now = timezone.now()
    told, promise = now - timedelta(minutes=36), now + timedelta(minutes=promised_in)
    one = an_incident(make.plan(update_minutes=30), told, started_at=told, published_at=told, next_update_at=promise)
    an_update(one, 1, told, next_update_at=promise)
    page = " ".join(client.get(f"{OVER_TIME}{one.pk}/").content.decode().split())
    assert said in page
    assert moment(promise) in page
    assert unsaid not in page


# ── Files ──


def test_the_csv_has_a_byte_order_mark_words_units_and_iso_times(client, manager, incident):
    response = client.get(f"{OVER_TIME}csv/", {"period": "all"})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].endswith('.csv"')
    assert response.content.startswith(b"\xef\xbb\xbf")
    header, row = rows(response)
    found = dict(zip(header, row, strict=True))
    assert found["Incident"] == str(incident.pk)
    assert found["Started"] == "2026-03-02T11:00:00+01:00"
    assert found["First update after start (s)"] == "552"
    assert found["First update after declaration (s)"] == "312"
    assert found["Updates late"] == "1"
    assert found["Gaps kept (%)"] == "66.67"
    assert found["Longest gap (s)"] == "1801"
    assert found["Waiting for approval (s)"] == "175"
    assert (found["Messages"], found["Reached"], found["Reached (%)"]) == ("20", "15", "75.00")
    assert (found["Invited to the survey"], found["Answered"], found["Clear (1–5)"]) == ("4", "3", "4.33")


def test_the_csv_of_one_incident_has_every_figure(client, manager, incident):
    SurveyAnswer.objects.filter(given__clear=5).update(texts={"comment": "Quick, and\nhonest"})
    header, *lines = rows(client.get(f"{OVER_TIME}{incident.pk}/csv/"))
    assert header == ["Figure", "Of", "Value", "Unit"]
    found = {(figure, of): (value, unit) for figure, of, value, unit in lines}
    assert found["Longest gap", ""] == ("1801", "seconds")
    assert found["Published", "update 1"] == ("2026-03-02T11:09:12+01:00", "time")
    assert found["Late", "update 3"] == ("yes", "")
    assert found["Reached", "Email"] == ("80.00", "%")
    assert found["Different people reached", ""] == ("15", "people")
    assert found["Mean score", "Did we tell you in time?"] == ("2.00", "1 to 5")
    assert ("Quick, and\nhonest", "") in [(value, unit) for figure, _of, value, unit in lines if figure == "Comment"]


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1"])
def test_a_cell_is_never_a_formula(client, manager, incident, start):
    Incident.objects.filter(pk=incident.pk).update(title=f"{start},2")
    SurveyAnswer.objects.filter(given__clear=5).update(texts={"comment": f'{start}"x'})
    for path in ("csv/?period=all", f"{incident.pk}/csv/"):
        cells = [cell for row in rows(client.get(OVER_TIME + path)) for cell in row]
        assert not [cell for cell in cells if cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
        assert any(cell.startswith("'") for cell in cells)


# ── By channel ──


def test_of_one_channel_the_incidents_it_told_of_and_its_own_reach(client, manager, incident):
    [other] = several(make.component(), {"Without texts": 60})
    sent(other.updates.get(), Channel.objects.get(name="Email"), sent=3)
    page = client.get(OVER_TIME, {"period": "all"})
    assert page.context["summary"].incidents == 2
    texts = Channel.objects.get(name="SMS")
    page = client.get(OVER_TIME, {"period": "all", "channel": texts.pk})
    assert page.context["summary"].incidents == 1
    assert [(one.channel, one.reached, one.total) for one in page.context["summary"].channels] == [("SMS", 3, 5)]
    # What is not the channel's alone stays the incident's.
    assert page.context["summary"].survey.invited == 4
    rows = list(
        csv.reader(
            io.StringIO(client.get(f"{OVER_TIME}csv/?channel={texts.pk}&period=all").content.decode("utf-8-sig"))
        )
    )
    assert "Without texts" not in str(rows)


def test_a_channel_that_told_of_nothing_one_sees_is_not_offered(client, manager, incident):
    unused = make.channel(name="Unused")
    page = client.get(OVER_TIME, {"period": "all", "channel": unused.pk})
    assert page.status_code == 400
    assert "channel" in page.context["form"].errors
    component_manager(client, make.component())
    page = client.get(OVER_TIME, {"period": "all"})
    assert list(page.context["form"].fields["channel"].queryset) == []


# ── How little they ask ──


def test_the_number_of_queries_does_not_grow(client, manager, incident, django_assert_max_num_queries):
    for one in several(make.component(), {f"Number {number}": 60 for number in range(12)}):
        sent(one.updates.get(), make.channel(), sent=5, failed=2)
    Delivery.objects.filter(dispatch__in=Dispatch.objects.all(), status="unknown").delete()
    with django_assert_max_num_queries(23):
        client.get(OVER_TIME)
    with django_assert_max_num_queries(23):
        client.get(OVER_TIME, {"period": "all"})
    with django_assert_max_num_queries(23):
        client.get(f"{OVER_TIME}csv/")
    with django_assert_max_num_queries(33):
        client.get(f"{OVER_TIME}{incident.pk}/")
    with django_assert_max_num_queries(23):
        client.get(f"{OVER_TIME}{incident.pk}/csv/")


def test_the_list_of_answers_asks_little(client, django_assert_max_num_queries):
    client.force_login(make.communications_manager())
    for _n in range(12):
        one = on(make.component(), "x")
        make.survey_answer(one, clear=1, timely=2, useful=3, comment="y")
    with django_assert_max_num_queries(20):
        assert client.get("/admin/feedback/surveyanswer/").status_code == 200


def test_typed_dates_win_over_the_list_of_periods(client, manager, incident):
    query = {"period": "30", "first": "2026-03-01", "last": "2026-03-31"}
    assert f"{OVER_TIME}{incident.pk}/" in client.get(OVER_TIME, query).content.decode()


def test_answers_are_linked_for_whoever_may_read_them(client, incident):
    SurveyAnswer.objects.update(texts={"comment": "Quick"})
    client.force_login(make.communications_manager())
    page = client.get(f"{OVER_TIME}{incident.pk}/").content.decode()
    url = f"/admin/feedback/surveyanswer/?incident__id__exact={incident.pk}"
    assert url in page
    assert client.get(url).context["cl"].result_count == 3
    client.force_login(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    assert "surveyanswer" not in client.get(f"{OVER_TIME}{incident.pk}/").content.decode().split('id="content"')[1]
