"""One short form, and the incident with its first draft is there."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from incidents.admin.declare import local_time, suggested_title
from incidents.forms import WALL
from incidents.models import Component, Incident
from tests import make

pytestmark = pytest.mark.django_db
URL = "/admin/incidents/incident/declare/"
ROME = ZoneInfo("Europe/Rome")


@pytest.fixture
def manager():
    return make.incident_manager(first_name="Marta", last_name="Rinaldi")


@pytest.fixture
def client(manager):
    client = Client()
    client.force_login(manager)
    return client


def answers(*components, state="partial_outage", **more):
    data = {"severity": "sev2", "started_at": timezone.localtime().strftime(WALL)}
    return data | {f"component_{c.pk}": state for c in components} | more


def test_components_are_all_it_needs(client, manager):
    component = make.component("Checkout")
    make.plan(make.channel())
    response = client.post(URL, answers(component))
    incident = Incident.objects.get()
    draft = incident.updates.get()
    assert response.url == reverse("admin:incidents_incidentupdate_compose", args=[draft.pk])
    assert incident.title == "Checkout: partial outage"
    assert incident.declared_by == manager
    assert draft.component_states == {str(component.pk): "partial_outage"}
    assert abs(incident.started_at - timezone.now()) < timedelta(minutes=2)


def test_the_form_asks_four_things_besides_the_components(client):
    make.component()
    form = client.get(URL).context["form"]
    asked = [f.name for f in form.visible_fields() if not f.name.startswith("component_")]
    assert sorted(asked) == ["scenario", "severity", "started_at", "title"]


def test_components_without_a_group_come_last(client):
    Component.objects.create(name="Old service")
    make.component("Checkout", group="Payments")
    assert [group for group, _rows in client.get(URL).context["groups"]] == ["Payments", "Other"]


def test_scenario_severity_and_title_are_taken(client):
    component, scenario = make.component(), make.scenario("refunds")
    client.post(URL, answers(component, title=" Refunds stuck ", severity="sev1", scenario=scenario.pk))
    incident = Incident.objects.get()
    assert (incident.title, incident.severity, incident.scenario) == ("Refunds stuck", "sev1", scenario)
    assert "fail since" in incident.updates.get().renditions.get().issue


def test_roles_are_filled_from_the_plan_and_named(client, manager):
    plan = make.plan(make.channel(), people=[("incident_manager", manager)])
    response = client.post(URL, answers(make.component()), follow=True)
    assert Incident.objects.get().roles.get().user == manager
    told = [str(m) for m in response.context["messages"]]
    assert any("Major incident manager: Marta Rinaldi" in one and plan.name in one for one in told)


def test_without_a_plan_it_says_what_that_means(client):
    component = make.component()
    assert "There is no communication plan yet" in client.get(URL).content.decode()
    response = client.post(URL, answers(component), follow=True)
    told = [str(m) for m in response.context["messages"]]
    assert any("no plan covers these components" in one and "communicationplan" in one for one in told)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"started_at": "2026-03-29T02:30"}, "Europe/Rome"),
        ({"started_at": "yesterday"}, "not a date"),
        ({"started_at": ""}, "required"),
        ({"started_at": "0026-03-29T02:30"}, "26 cannot be right"),
        ({"severity": "sev9"}, "sev9"),
        ({"scenario": "999"}, "valid choice"),
        ({"title": "x" * 201}, "200"),
    ],
)
def test_bad_input_is_named_and_nothing_is_saved(client, change, words):
    response = client.post(URL, answers(make.component(), **change))
    assert response.status_code == 422
    assert words in response.content.decode()
    assert not Incident.objects.exists()


def test_no_component_or_an_unknown_state_is_refused(client):
    component = make.component()
    assert "at least one component" in client.post(URL, answers()).content.decode()
    assert client.post(URL, answers(component, state="broken")).status_code == 422
    assert client.post(URL, answers(component, state="operational")).status_code == 422
    assert not Incident.objects.exists()


def test_what_was_typed_is_kept(client):
    component = make.component("Checkout")
    html = client.post(URL, answers(component, title="Kept title", started_at="nonsense")).content.decode()
    assert 'value="Kept title"' in html
    chosen = html.split(f'name="component_{component.pk}" value="partial_outage"')[1].split(">")[0]
    assert "checked" in chosen


def test_an_open_incident_on_the_same_component_is_offered_first(client, manager):
    component = make.component()
    open_one = make.incident(manager, component, title="Payments are down")
    assert "Payments are down" in client.get(URL).content.decode()
    response = client.post(URL, answers(component))
    assert response.status_code == 200
    assert "Add an update instead?" in response.content.decode()
    assert list(Incident.objects.all()) == [open_one]
    client.post(URL, answers(component, confirmed="1"))
    assert Incident.objects.count() == 2


def test_a_duplicate_of_another_day_is_shown_with_its_day(client, manager):
    component = make.component()
    began = timezone.now() - timedelta(days=2)
    Incident.objects.filter(pk=make.incident(manager, component).pk).update(started_at=began)
    html = client.post(URL, answers(component)).content.decode()
    assert f"since {timezone.localtime(began):%-d %B}" in html


def test_an_incident_that_is_over_is_no_duplicate(client, manager):
    component = make.component()
    Incident.objects.filter(pk=make.incident(manager, component).pk).update(stage="resolved")
    assert client.post(URL, answers(component)).status_code == 302


def test_without_the_role_it_is_a_page_that_says_so():
    from incidents import roles

    client = Client()
    client.force_login(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    for response in (client.get(URL), client.post(URL, answers(make.component()))):
        assert response.status_code == 403
        assert "Your role does not declare incidents" in response.content.decode()
    assert not Incident.objects.exists()


def test_the_add_button_leads_to_the_form(client):
    assert client.get("/admin/incidents/incident/add/").url == URL


def test_queries_do_not_grow_with_components(client, manager, django_assert_max_num_queries):
    counts = []
    for _round in range(2):
        for _n in range(5):
            make.incident(manager, make.component())
        with django_assert_max_num_queries(25) as captured:
            client.get(URL)
        counts.append(len(captured))
    assert counts[0] == counts[1]


# ── Times ──


@time_machine.travel("2026-03-29T12:00:00+02:00", tick=False)
def test_an_hour_that_the_clocks_skip_is_refused_with_the_next_valid_one():
    with pytest.raises(ValidationError) as error:
        local_time("2026-03-29T02:30", ROME)
    assert "Europe/Rome" in error.value.message
    assert "03:00" in error.value.message
    assert local_time("2026-03-29T03:00", ROME) == datetime(2026, 3, 29, 1, 0, tzinfo=ZoneInfo("UTC"))


@pytest.mark.parametrize(("now", "utc_hour"), [("2026-10-25T02:45:00+02:00", 0), ("2026-10-25T02:45:00+01:00", 1)])
def test_an_hour_that_happens_twice_means_the_last_one_that_began(now: str, utc_hour: int):
    with time_machine.travel(now, tick=False):
        assert local_time("2026-10-25T02:30", ROME).astimezone(ZoneInfo("UTC")).hour == utc_hour


@time_machine.travel("2026-10-25T12:00:00+01:00", tick=False)
def test_it_says_which_pass_of_an_hour_that_happens_twice_was_taken():
    browser = make.client(make.incident_manager())
    browser.post(URL, answers(make.component("Checkout"), started_at="2026-10-25T02:30"))
    draft = reverse("admin:incidents_incidentupdate_compose", args=[Incident.objects.get().updates.get().pk])
    html = browser.get(draft).content.decode()
    assert "Started at 02:30 CET. The clocks go back then and show 02:30 twice; the second one is meant (CET)." in html


@time_machine.travel("2026-06-01T12:00:00+02:00", tick=False)
def test_the_future_is_refused_naming_the_zone_and_the_time_there():
    with pytest.raises(ValidationError, match=r"future in Europe/Rome, where it is 01.06.2026 12:00"):
        local_time("2026-06-01T12:01", ROME)
    assert local_time("2026-06-01T12:00", ROME) == timezone.now()


@pytest.mark.parametrize("text", ["", "x", "2026-13-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59", "2026-06-01\0"])
def test_nonsense_is_refused(text: str):
    with pytest.raises(ValidationError):
        local_time(text, ROME)


def test_a_title_stays_short_with_many_components():
    many = {make.component(f"Part {n} " + "x" * 60): "degraded_performance" for n in range(8)}
    many[next(iter(many))] = "major_outage"
    title = suggested_title(many)
    assert len(title) <= 200
    assert "6 more" in title
    assert title.endswith("major outage")
