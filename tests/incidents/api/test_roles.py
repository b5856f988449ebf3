"""Who may do what by the API (role), and with whose incidents (component): as in the admin, and nothing more."""

import itertools

import pytest
from django.contrib.auth.models import User
from guardian.shortcuts import assign_perm

from channels.models import Recipient
from commsportal.api import api
from incidents import roles
from incidents.models import Component, Incident, IncidentUpdate
from tests import make

from .program import Program
from .world import build, calls, operations

pytestmark = pytest.mark.django_db
# Words that nobody without component B may ever read.
SECRET = "Zebra"
INCIDENT, COMMUNICATIONS, SUPPORT, MANAGERS = (
    roles.INCIDENT_MANAGERS,
    roles.COMMUNICATIONS_MANAGERS,
    roles.SUPPORT_LEADS,
    roles.MANAGERS,
)
STAFF = {INCIDENT, COMMUNICATIONS, SUPPORT}
EVERYBODY = STAFF | {MANAGERS, None}
# Every operation, and who gets through with it; "boss" always does.
ALLOWED = {
    "get_token": EVERYBODY,
    "list_incidents": STAFF | {MANAGERS},
    "get_incident": STAFF | {MANAGERS},
    "declare_incident": {INCIDENT, COMMUNICATIONS},
    "dismiss_incident": {INCIDENT, COMMUNICATIONS},
    "hand_over_role": {INCIDENT},
    "list_updates": STAFF | {MANAGERS},
    "get_update": STAFF | {MANAGERS},
    "check_update": STAFF | {MANAGERS},
    "start_update": STAFF,
    "edit_update": STAFF,
    "submit_update": STAFF,
    "withdraw_update": STAFF,
    "list_events": STAFF | {MANAGERS},
    "list_components": EVERYBODY,
    "get_component": EVERYBODY,
    "list_plans": STAFF,
    "get_plan": STAFF,
    "list_subscribers": {COMMUNICATIONS, SUPPORT},
    "get_subscriber": {COMMUNICATIONS, SUPPORT},
    "add_subscriber": {COMMUNICATIONS},
    "unsubscribe": {COMMUNICATIONS},
    "get_deliveries": STAFF,
    "list_outcomes": {COMMUNICATIONS, SUPPORT},
    "list_reports": {INCIDENT, COMMUNICATIONS, MANAGERS},
    "get_report": {INCIDENT, COMMUNICATIONS, MANAGERS},
}


@pytest.fixture(scope="module")
def foreign(shared_world) -> dict[str, int]:
    return build(SECRET)


def call(program: Program, name: str, world: dict[str, int]):
    method, path = operations()[name]
    key, body = calls(world)[name]
    path = path.replace("{role}", "support_lead").replace("{uid}", str(key)).replace("{pk}", str(key))
    return program.ask(method, path, body)


def test_the_table_has_every_operation(foreign):
    assert set(ALLOWED) == set(operations()) == set(calls(foreign))


@pytest.mark.parametrize("group", [INCIDENT, COMMUNICATIONS, SUPPORT, MANAGERS, None])
@pytest.mark.parametrize("name", ALLOWED)
def test_a_role_may_do_what_the_table_says(foreign, group, name):
    program = Program(make.user(*([group] if group else []), roles.ALL_COMPONENTS))
    response = call(program, name, foreign)
    wanted = (200, 201) if group in ALLOWED[name] else (403,)
    assert response.status_code in wanted, response.content


@pytest.mark.parametrize("name", ALLOWED)
def test_an_administrator_may_do_all_of_it(foreign, name):
    program = Program(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    assert call(program, name, foreign).status_code in (200, 201)


@pytest.mark.parametrize("name", ALLOWED)
def test_without_its_scope_a_token_does_none_of_it(foreign, name):
    method, path = operations()[name]
    needed = api.get_openapi_schema()["paths"][path][method.lower()]["security"][0]["Bearer"]
    boss = User.objects.create_superuser("boss", "boss@example.com", "pw")
    others = [one for one in api.get_openapi_schema()["paths"].values() for one in one.values()]
    others = sorted({scope for one in others for scope in one["security"][0]["Bearer"]} - set(needed))
    response = call(Program(boss, *others), name, foreign)
    assert response.status_code == (403 if needed else 200)
    if needed:
        assert response.json()["code"] == "scope_missing"


@pytest.mark.parametrize("name", ALLOWED)
def test_seeing_a_component_is_not_working_on_it(foreign, name):
    """Whoever has every role, and may only look, writes nothing of its incidents."""
    reader = make.user(*STAFF)
    assign_perm("incidents.view_component", reader, Component.objects.get(pk=foreign["component"]))
    writes = {"declare_incident", "dismiss_incident", "hand_over_role", "start_update", "edit_update", "submit_update"}
    status = call(Program(reader), name, foreign).status_code
    assert status in ((403,) if name in writes | {"withdraw_update"} else (200, 201))


# ── Two tenants ──


@pytest.fixture
def stranger(foreign) -> Program:
    """Somebody with all roles, for another component, on which something goes on too."""
    own = make.component("Login")
    one = make.user(*STAFF, MANAGERS)
    assign_perm("incidents.operate_component", one, own)
    make.incident(User.objects.get(pk=one.pk), own, title="Login fails")
    return Program(one)


# Of recipients and plans there are no owners: who may see them sees all, as in the admin. Only words count there.
OF_ALL = {"get_plan", "list_plans", "get_subscriber", "list_subscribers", "unsubscribe", "get_token", "add_subscriber"}


@pytest.mark.parametrize("name", ALLOWED)
def test_nothing_of_anothers_component_is_there(foreign, stranger, name):
    before = list(IncidentUpdate.objects.values()), list(Incident.objects.values("pk", "stage", "updated_at"))
    response = call(stranger, name, foreign)
    assert SECRET not in response.content.decode()
    if name not in OF_ALL and not name.startswith("list"):
        assert response.status_code == (422 if name == "declare_incident" else 404)
    if name == "list_outcomes":
        assert response.status_code == 404
    after = list(IncidentUpdate.objects.values()), list(Incident.objects.values("pk", "stage", "updated_at"))
    assert after == before


def test_lists_have_ones_own_alone(stranger):
    assert [one["title"] for one in stranger.get("/incidents").json()["items"]] == ["Login fails"]
    assert [one["name"] for one in stranger.get("/components").json()["items"]] == ["Login"]
    assert len(stranger.get("/updates").json()["items"]) == 1
    assert len(stranger.get("/reports").json()["items"]) == 1


def test_no_filter_tells_of_others(foreign, stranger):
    """Each filter with each value that is true of what they may not see; and every portion."""
    component = Component.objects.get(pk=foreign["component"])
    told = Incident.objects.get(pk=foreign["told"])
    values = {
        "component": [component.uid],
        "incident": [told.uid],
        "severity": ["sev2"],
        "stage": ["investigating"],
        "status": ["published", "draft", "in_review"],
        "open": ["true", "false"],
        "maintenance": ["false"],
        "started_after": ["2020-01-01T00:00:00Z"],
        "updated_after": ["2020-01-01T00:00:00Z"],
        "limit": ["1", "100"],
    }
    document, asked = api.get_openapi_schema()["paths"], 0
    for path, methods in document.items():
        if "get" not in methods or "{" in path:
            continue
        names = [one["name"] for one in methods["get"]["parameters"] if one["in"] == "query"]
        pairs = [(name, value) for name in names for value in values.get(name, [])]
        for (a, x), (b, y) in itertools.product(pairs, pairs):
            response = stranger.get(f"{path}?{a}={x}" + (f"&{b}={y}" if a != b else ""))
            assert response.status_code in (200, 422)
            assert SECRET not in response.content.decode(), (path, a, x, b, y)
            asked += 1
    assert asked > 150


def test_subscriptions_to_others_components_are_left_out(foreign, stranger):
    """A subscriber is nobody's own; of what they hear about only one's own components are shown."""
    person = Recipient.objects.get(pk=foreign["person"])
    shown = stranger.get(f"/subscribers/{person.pk}").json()
    assert shown["subscriptions"] == []
    boss = Program(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    assert len(boss.get(f"/subscribers/{person.pk}").json()["subscriptions"]) == 1


def test_nobody_is_subscribed_to_anothers_component(foreign, stranger):
    component = Component.objects.get(pk=foreign["component"])
    body = {"medium": "email", "address": "new@example.com", "consent_source": "C", "consent_on": "2026-01-05"}
    response = stranger.post("/subscribers", body | {"components": [component.uid]})
    assert response.status_code == 422
    assert not Recipient.objects.filter(address="new@example.com").exists()


def test_an_incident_of_two_components_is_seen_by_both_and_worked_on_by_who_has_both(foreign, stranger):
    own, other = Component.objects.get(name="Login"), Component.objects.get(pk=foreign["component"])
    both = make.incident(make.incident_manager(), own, other, title="Both fail")
    assert stranger.get(f"/incidents/{both.uid}").status_code == 200
    update = both.updates.get()
    assert stranger.patch(f"/updates/{update.pk}", {"version": 1, "notify": False}).status_code == 403
    assert stranger.post(f"/incidents/{both.uid}/dismiss", {"reason": "x"}).status_code == 403


# ── Queries ──


@pytest.mark.parametrize("name", [one for one in ALLOWED if one.startswith("list")])
def test_more_rows_need_no_more_queries(foreign, name):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    program = Program(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    call(program, name, foreign)  # what is remembered for good is remembered now
    with CaptureQueriesContext(
        connection,
    ) as few:
        before = call(program, name, foreign).json()
    for n in range(3):
        component = make.component(f"More {n}", f"Group {n}")
        make.recipients(3, component)
        plan = make.plan(make.channel(), people=[("support_lead", program.who)])
        plan.stages.create(stage="resolved", locales=["en"])
        update = make.incident(make.incident_manager(), component, title=f"More {n}").updates.get()
        make.published(update)
    make.deliver()
    with CaptureQueriesContext(connection) as many:
        after = call(program, name, foreign).json()
    assert name == "list_outcomes" or len(after["items"]) > len(before["items"])
    assert len(many) <= len(few), [one["sql"][:120] for one in many]
