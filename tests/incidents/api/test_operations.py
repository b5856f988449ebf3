"""What a program does through the API, and what it is told when it cannot."""

from datetime import timedelta

import pytest
from django.utils import timezone

from channels.models import Recipient, Suppression
from incidents.models import ApiAnswer, Decision, Incident, IncidentUpdate
from tests import make

from .program import Program, fields, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna():
    return make.incident_manager(username="anna")


@pytest.fixture
def program(anna):
    return Program(anna)


@pytest.fixture
def component():
    make.plan(make.channel())
    make.scenario()
    return make.component("Checkout")


@pytest.fixture
def incident(program, component):
    """Declared by the program; its first draft is there."""
    body = {"components": {component.uid: "major_outage"}, "scenario": "outage", "title": "Card payments fail"}
    return program.post("/incidents", body).json()


def draft_of(incident) -> IncidentUpdate:
    return IncidentUpdate.objects.get(pk=incident["pending_update"])


# ── Incidents ──


def test_declaring_writes_a_draft_and_tells_nobody(program, anna, component, incident):
    one = Incident.objects.get(uid=incident["id"])
    assert (one.declared_by, one.title, one.published_at) == (anna, "Card payments fail", None)
    assert incident["components"] == [{"id": component.uid, "name": "Checkout", "status": "operational"}]
    draft = draft_of(incident)
    assert (draft.status, draft.author) == ("draft", anna)
    assert draft.component_states == {str(component.pk): "major_outage"}
    assert program.get(f"/incidents/{one.uid}").json() == incident


def test_an_incident_that_is_open_already_is_named(program, component, incident):
    body = {"components": {component.uid: "partial_outage"}}
    said = problem(program.post("/incidents", body), 409, "wrong_state")
    assert incident["id"] in said["detail"]
    assert program.post("/incidents", body | {"even_if_open": True}).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"components": {}}, "components"),
        ({"components": {"nosuch": "major_outage"}}, "components"),
        ({"severity": "sev9"}, "severity"),
        ({"scenario": "nosuch"}, "scenario"),
        ({"title": 7}, "title"),
        ({"title": "x\0y"}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"started_at": "yesterday"}, "started_at"),
        ({"started_at": "2026-01-05T10:00:00"}, "started_at"),
        ({"started_at": 1767600000}, "started_at"),
        ({"started_at": "2099-01-05T10:00:00Z"}, "started_at"),
        ({"even_if_open": "yes"}, "even_if_open"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_taken_is_named_and_nothing_is_saved(program, component, change, field):
    body = {"components": {component.uid: "major_outage"}} | change
    said = problem(
        program.post("/incidents", body),
        422,
        "refused" if "nosuch" in str(change) or "2099" in str(change) else "invalid",
    )
    assert any(name.startswith(field) for name in fields(said)), said
    assert not Incident.objects.exists()


def test_filters_and_cursors(program, component):
    other = make.component("Login")
    ids = []
    for n in range(5):
        where = component if n % 2 else other
        body = {"components": {where.uid: "degraded_performance"}, "title": f"No. {n}", "even_if_open": True}
        ids.append(program.post("/incidents", body).json()["id"])
    found, cursor = [], ""
    while True:
        page = program.get(f"/incidents?limit=2&cursor={cursor}").json()
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert found == ids[::-1]
    assert [one["id"] for one in program.get(f"/incidents?component={other.uid}").json()["items"]] == ids[::-2]
    assert program.get("/incidents?open=false").json()["items"] == []
    soon = (timezone.now() + timedelta(hours=1)).isoformat().replace("+", "%2B")
    assert program.get(f"/incidents?started_after={soon}").json()["items"] == []


@pytest.mark.parametrize(
    "query",
    ["colour=red", "limit=0", "limit=101", "limit=x", "cursor=x", "severity=sev9", "component=nosuch", "open=7"],
)
def test_an_odd_filter_is_refused_and_does_not_show_everything(program, incident, query):
    said = problem(program.get(f"/incidents?{query}"), 422, "refused" if "nosuch" in query else "invalid")
    assert fields(said) == [query.partition("=")[0]]


def test_dismissing_asks_why(program, incident):
    problem(program.post(f"/incidents/{incident['id']}/dismiss", {"reason": " "}), 422, "refused")
    said = program.post(f"/incidents/{incident['id']}/dismiss", {"reason": "A test alarm"}).json()
    assert (said["dismissed"], said["pending_update"]) == (True, None)
    problem(program.post(f"/incidents/{incident['id']}/dismiss", {"reason": "Again"}), 409, "wrong_state")


def test_a_role_is_handed_over(program, incident):
    marta = make.communications_manager(username="marta")
    url = f"/incidents/{incident['id']}/roles/communications_manager"
    said = program.put(url, {"username": "marta"}).json()
    assert said["roles"] == [{"role": "communications_manager", "person": {"username": "marta", "name": "marta"}}]
    for username in ("nobody", make.user(username="stranger").username):
        problem(program.put(url, {"username": username}), 422, "refused")
    assert marta.pk == Incident.objects.get().roles.get().user_id


# ── Updates ──


def test_a_draft_is_changed_in_what_is_given(program, anna, component, incident):
    draft = draft_of(incident)
    before = draft.renditions.get(locale="en").words()
    body = {
        "version": draft.version,
        "words": {"en": {"issue": "Cards are refused.\r\nSince noon.\x01"}},
        "component_states": {component.uid: "partial_outage"},
        "next_update_at": "2026-12-01T15:00:00+01:00",
    }
    said = program.patch(f"/updates/{draft.pk}", body).json()
    assert said["version"] == draft.version + 1
    assert said["words"]["en"] == before | {"issue": "Cards are refused.\nSince noon."}
    assert said["component_states"] == {component.uid: "partial_outage"}
    assert said["next_update_at"] == "2026-12-01T14:00:00Z"
    assert draft.decisions.last().by == anna
    said = program.patch(f"/updates/{draft.pk}", {"version": said["version"], "next_update_at": None}).json()
    assert said["next_update_at"] is None


def test_a_stale_version_is_refused(program, incident):
    draft = draft_of(incident)
    body = {"version": draft.version, "words": {"en": {"issue": "Mine."}}}
    assert program.patch(f"/updates/{draft.pk}", body).status_code == 200
    problem(program.patch(f"/updates/{draft.pk}", body | {"words": {"en": {"issue": "Theirs."}}}), 409, "wrong_state")
    problem(program.post(f"/updates/{draft.pk}/submit", {"version": 1}), 409, "wrong_state")


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"version": None}, "version", "invalid"),
        ({"version": "1"}, "version", "invalid"),
        ({"words": {"de": {"issue": "x"}}}, "words", "invalid"),
        ({"words": {"en": {"headline": "x"}}}, "words.en.headline", "invalid"),
        ({"words": {"en": {"issue": "x\0"}}}, "words.en.issue", "invalid"),
        ({"words": {"en": {"subject": "x" * 201}}}, "words.en.subject", "refused"),
        ({"words": "hello"}, "words", "invalid"),
        ({"stage": "completed"}, "stage", "refused"),
        ({"component_states": {"nosuch": "operational"}}, "component_states", "refused"),
        ({"channels": [99999]}, "channels", "refused"),
        ({"channels": ["1"]}, "channels.0", "invalid"),
        ({"segments": [99999]}, "segments", "refused"),
        ({"status": "published"}, "status", "invalid"),
        ({"publish_at": "2026-12-01T15:00:00Z"}, "publish_at", "invalid"),
        ({"next_update_at": "0001-01-01T00:00:00Z"}, "next_update_at", "invalid"),
    ],
)
def test_what_a_draft_cannot_take_is_named(program, incident, change, field, code):
    draft = draft_of(incident)
    said = problem(program.patch(f"/updates/{draft.pk}", {"version": draft.version} | change), 422, code)
    assert any(name.startswith(field) for name in fields(said)), said
    assert draft_of(incident).version == draft.version


def test_a_second_draft_is_refused_and_the_first_is_named(program, incident):
    said = problem(program.post(f"/incidents/{incident['id']}/updates", {}), 409, "wrong_state")
    assert str(incident["pending_update"]) in said["detail"]


def test_asking_for_approval_freezes_and_sends_nothing(program, incident):
    draft = draft_of(incident)
    said = program.post(f"/updates/{draft.pk}/submit", {"version": draft.version}).json()
    assert (said["status"], said["approvals_needed"]) == ("in_review", 1)
    assert said["said"]["en"]["subject"]
    changed = program.patch(
        f"/updates/{draft.pk}", {"version": said["version"], "words": {"en": {"issue": "No."}}}
    ).json()
    assert changed["status"] == "draft"
    withdrawn = program.post(f"/updates/{draft.pk}/withdraw", {"comment": "Not needed"}).json()
    assert withdrawn["status"] == "withdrawn"
    assert Incident.objects.get().published_at is None


def test_what_the_checker_finds_is_told(program, incident):
    draft = draft_of(incident)
    words = {"en": {"issue": "{{ nonsense }}"}}
    program.patch(f"/updates/{draft.pk}", {"version": draft.version, "words": words})
    said = problem(program.post(f"/updates/{draft.pk}/submit", {}), 422, "refused")
    assert "words.en.issue" in fields(said)
    found = program.get(f"/updates/{draft.pk}/findings").json()
    assert any(one["level"] == "block" and one["field"] == "issue" for one in found)


def test_no_token_approves_or_publishes(program, incident):
    """There is no operation for it, whatever the address; and the words of a token are not its owner's to approve."""
    draft = draft_of(incident)
    program.post(f"/updates/{draft.pk}/submit", {})
    for verb in ("approve", "publish", "release", "break_glass", "glass"):
        problem(Program(make.communications_manager()).post(f"/updates/{draft.pk}/{verb}", {}), 404, "not_found")
    from commsportal.api import api

    ids = {one["operationId"] for methods in api.get_openapi_schema()["paths"].values() for one in methods.values()}
    assert not [one for one in ids if any(word in one for word in ("approve", "publish", "release", "glass"))]


def test_the_next_update_and_the_end(program, incident):
    make.published(draft_of(incident))
    url = f"/incidents/{incident['id']}/updates"
    problem(program.post(url, {"no_change": True, "stage": "identified"}), 422, "refused")
    same = program.post(url, {"no_change": True}).json()
    assert same["words"]["en"]["subject"].startswith("No change")
    program.post(f"/updates/{same['id']}/withdraw")
    end = program.post(url, {"stage": "resolved", "words": {"en": {"issue": "It was a certificate."}}}).json()
    assert (end["stage"], end["number"], set(end["component_states"].values())) == ("resolved", 3, {"operational"})
    assert end["words"]["en"]["issue"] == "It was a certificate."


# ── Once ──


def test_the_same_key_makes_nothing_twice(program, component):
    body = {"components": {component.uid: "major_outage"}}
    first = program.post("/incidents", body, Idempotency_Key="deploy-7")
    again = program.post("/incidents", dict(reversed(body.items())), Idempotency_Key="deploy-7")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again["Idempotency-Replayed"] == "true"
    assert Incident.objects.count() == 1
    other = body | {"severity": "sev1"}
    problem(program.post("/incidents", other, Idempotency_Key="deploy-7"), 409, "key_reused")
    assert (
        Program(program.who).post("/incidents", body | {"even_if_open": True}, Idempotency_Key="deploy-7").status_code
        == 201
    )


def test_what_was_refused_is_tried_again(program, component):
    body = {"components": {component.uid: "major_outage"}, "scenario": "later"}
    problem(program.post("/incidents", body, Idempotency_Key="k"), 422, "refused")
    make.scenario("later")
    assert program.post("/incidents", body, Idempotency_Key="k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 101, "a b", "é"])
def test_an_odd_key_is_refused(program, component, key):
    body = {"components": {component.uid: "major_outage"}}
    said = problem(program.post("/incidents", body, Idempotency_Key=key), 422, "invalid")
    assert fields(said) == ["Idempotency-Key"]


def test_an_answer_is_not_said_again_to_who_may_not_see_it_any_more(program, component, anna):
    body = {"components": {component.uid: "major_outage"}}
    program.post("/incidents", body, Idempotency_Key="k")
    anna.groups.remove(anna.groups.get(name="All components"))
    assert program.post("/incidents", body, Idempotency_Key="k").status_code == 404


def test_answers_are_forgotten(program, component):
    program.post("/incidents", {"components": {component.uid: "major_outage"}}, Idempotency_Key="k")
    ApiAnswer.forget()
    assert ApiAnswer.objects.count() == 1
    ApiAnswer.forget(timezone.now() + timedelta(hours=25))
    assert ApiAnswer.objects.count() == 0


# ── Subscribers ──

PERSON = {"medium": "email", "address": "Zoe@Example.com", "consent_source": "Contract 7", "consent_on": "2026-01-05"}


@pytest.fixture
def marta():
    return Program(make.communications_manager(username="marta"))


def test_a_subscriber_is_added_with_their_consent(marta, component):
    said = marta.post("/subscribers", PERSON | {"components": [component.uid], "attributes": {"plan": "Gold"}}).json()
    person = Recipient.objects.get()
    assert (person.address, person.consent_source, person.attributes) == (
        "Zoe@example.com",
        "Contract 7",
        {"plan": "Gold"},
    )
    assert said["subscriptions"][0]["component"] == component.uid
    assert said["confirmed_at"]
    problem(marta.post("/subscribers", PERSON | {"address": "zoe@example.com"}), 409, "wrong_state")
    assert [one["id"] for one in marta.get("/subscribers?medium=email&address=ZOE@example.com").json()["items"]] == [
        said["id"]
    ]


def test_unsubscribing_stops_the_address(marta):
    said = marta.post("/subscribers", PERSON).json()
    for _again in range(2):
        assert marta.post(f"/subscribers/{said['id']}/unsubscribe").json()["stopped"] is True
    assert Suppression.objects.get().reason == "unsubscribed"
    Recipient.objects.all().delete()
    problem(marta.post("/subscribers", PERSON), 409, "wrong_state")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"medium": "pigeon"}, "medium"),
        ({"medium": "broadcast"}, "medium"),
        ({"address": "nobody"}, "address"),
        ({"address": "x" * 5000}, "address"),
        ({"consent_source": "  "}, "consent_source"),
        ({"consent_source": None}, "consent_source"),
        ({"consent_on": "2999-01-01"}, "consent_on"),
        ({"consent_on": "soon"}, "consent_on"),
        ({"locale": "de"}, "locale"),
        ({"time_zone": "Mars/North"}, "time_zone"),
        ({"attributes": {"plan": {"a": 1}}}, "attributes"),
        ({"attributes": {"auth": "x"}}, "attributes"),
        ({"components": ["nosuch"]}, "components"),
        ({"groups": ["nosuch"]}, "groups"),
        ({"confirmed_at": "2026-01-01T00:00:00Z"}, "confirmed_at"),
    ],
)
def test_a_subscriber_that_cannot_be_taken_is_not(marta, change, field):
    response = marta.post("/subscribers", PERSON | change)
    said = problem(response, 422, response.json()["code"])
    assert any(name.startswith(field) for name in fields(said)), said
    assert not Recipient.objects.exists()


def test_erasing_takes_the_answer_too(marta):
    from channels import erasing

    marta.post("/subscribers", PERSON, Idempotency_Key="k")
    assert "example.com" in str(ApiAnswer.objects.get().body)
    erasing.erase(Recipient.objects.get(), marta.who)
    assert "example.com" not in str(ApiAnswer.objects.get().body)
    problem(marta.post("/subscribers", PERSON, Idempotency_Key="k"), 404, "not_found")


# ── Deliveries and reports ──


def test_what_became_of_messages(program, marta, component, incident):
    make.recipients(3, component)
    update = draft_of(incident)
    make.published(update)
    make.deliver()
    said = program.get(f"/updates/{update.pk}/deliveries").json()
    assert said["finished"] is True
    assert sum(one["reached"] for one in said["dispatches"]) == 3
    problem(program.get(f"/updates/{update.pk}/outcomes"), 403, "not_allowed")
    page = marta.get(f"/updates/{update.pk}/outcomes?status=sent&limit=2").json()
    assert len(page["items"]) == 2
    assert page["next_cursor"]
    assert all(one["address"].endswith("@example.com") for one in page["items"])


def test_the_figures_of_a_report(program, component, incident):
    make.published(draft_of(incident))
    said = program.get(f"/reports/{incident['id']}").json()
    assert (said["incident"], len(said["updates"]), said["updates_late"]) == (incident["id"], 1, 0)
    assert (
        program.get("/reports").json()["items"] == [said]
        or program.get("/reports").json()["items"][0]["incident"] == said["incident"]
    )


# ── Any request ──


@pytest.mark.parametrize(
    "path",
    ["/", "/nosuch", "/incidents/", "/incidents/%00", "/incidents/../x", "/updates/x", "/updates/" + "9" * 40],
)
def test_an_address_that_is_none(program, path):
    problem(program.get(path), 404, "not_found")


def test_a_method_that_is_none(program):
    response = program.ask("DELETE", "/incidents")
    problem(response, 405, "method_not_allowed")
    assert "POST" in response["Allow"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 90_000, b'{"components": ' + b"9" * 5000 + b"}"])
def test_a_body_that_is_no_json(program, body):
    problem(program.ask("POST", "/incidents", body), 400, "unreadable")


@pytest.mark.parametrize("body", [b"null", b"7", b'"x"', b"[]", b"", b"true"])
def test_a_body_that_is_no_object(program, body):
    problem(program.ask("POST", "/incidents", body), 422, "invalid")


def test_a_body_that_is_too_long_or_something_else(program):
    problem(program.ask("POST", "/incidents", b'"' + b"x" * 300_000 + b'"'), 413, "too_long")
    response = program.client.post(
        "/api/v1/incidents", {"a": "b"}, headers={"Authorization": f"Bearer {program.secret}"}
    )
    problem(response, 415, "not_json")


def test_every_write_is_in_the_name_of_the_owner(program, anna, incident):
    assert set(Decision.objects.values_list("by", flat=True)) == {anna.pk}


# ── Events ──


def test_events_are_read_from_a_number_on(program, incident):
    from incidents.events import recording

    recording.collect()
    said = program.get("/events?limit=1").json()
    [first] = said["items"]
    assert (first["specversion"], first["type"]) == ("1.0", "incident.declared")
    assert first["data"]["incident"] == incident["id"]
    rest = program.get(f"/events?after={said['after']}").json()
    assert "update.drafted" in {one["type"] for one in rest["items"]}
    nothing = program.get(f"/events?after={rest['after']}").json()
    assert nothing == {"items": [], "after": rest["after"]}
    problem(program.get("/events?after=-1"), 422, "invalid")
