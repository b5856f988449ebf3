"""An incident at AWS: opened, told, resolved; whatever is lost on the way, each thing counts once there.

The other end is a fake on the loopback: nothing here was ever tried on AWS.
"""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from channels.models import Dispatch
from incidents import declaring, tasks
from incidents.alerts import taking_in
from incidents.alerts.eventbridge import read
from incidents.alerts.signal import Malformed, Unknown
from incidents.aws import calling, coordinating, listening
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import AlertSource, AwsAccount, AwsCall, AwsRecord, Incident, Proposal
from tests import make
from tests.fakes.aws import Drop, FakeAws, Fault

from .conftest import PLAN, RECORD

pytestmark = pytest.mark.django_db
ITEM = "oi-0123456789ab"


@pytest.fixture
def marta(db) -> User:
    return make.incident_manager(username="marta", first_name="Marta", last_name="Rinaldi")


@pytest.fixture
def anna(db) -> User:
    return make.communications_manager(first_name="Anna", last_name="Weber")


@pytest.fixture
def manager(service) -> FakeAws:
    """Incident Manager."""
    fake = service("ssm-incidents")
    fake.answers["StartIncident"] = {"incidentRecordArn": RECORD}
    fake.answers["CreateTimelineEvent"] = lambda asked: {
        "eventId": f"event-{asked['clientToken'][-20:]}",
        "incidentRecordArn": RECORD,
    }
    fake.answers["GetIncidentRecord"] = {"incidentRecord": record("OPEN")}
    fake.answers["ListTimelineEvents"] = {"eventSummaries": []}
    yield fake
    assert fake.invalid == []


@pytest.fixture
def ops(service) -> FakeAws:
    """OpsCenter."""
    fake = service("ssm")
    fake.answers["CreateOpsItem"] = {"OpsItemId": ITEM}
    fake.answers["GetOpsItem"] = {"OpsItem": {"OpsItemId": ITEM, "Status": "Open"}}
    yield fake
    assert fake.invalid == []


@pytest.fixture
def account(make_account) -> AwsAccount:
    """Incident Manager, by itself from SEV 2 on."""
    long_ago = timezone.now() - timedelta(days=1)
    return make_account(opens_in="incident_manager", response_plan_arn=PLAN, opens_from="sev2", opens_since=long_ago)


@pytest.fixture
def ops_account(make_account) -> AwsAccount:
    long_ago = timezone.now() - timedelta(days=1)
    return make_account(opens_in="opscenter", opens_from="sev2", opens_since=long_ago)


def record(status: str, **more) -> dict:
    who = "arn:aws:iam::123456789012:user/sre"
    return {
        "arn": RECORD,
        "title": "Card payments fail",
        "status": status,
        "impact": 2,
        "creationTime": 1780000000,
        "lastModifiedTime": 1780000000,
        "lastModifiedBy": who,
        "dedupeString": "x",
        "incidentRecordSource": {"createdBy": who, "source": "commsportal"},
        **more,
    }


def due_now() -> None:
    """As if the pauses between two attempts were over."""
    now = timezone.now()
    AwsCall.objects.update(next_try_at=now)
    AwsAccount.objects.update(held_until=None)
    AwsRecord.objects.update(seen_at=None)


def operations(fake: FakeAws) -> list[str]:
    return [one.operation for one in fake.calls]


# ── Opened there ──


def test_a_bad_incident_is_opened_with_the_response_plan_and_told(marta, account, manager):
    incident = make.incident(marta, make.component("Card payments"))
    tasks.sweep_aws()
    [asked] = manager.params("StartIncident")
    assert asked["responsePlanArn"] == PLAN
    assert (asked["title"], asked["impact"]) == ("Card payments fail", 2)
    assert asked["triggerDetails"]["source"] == "commsportal"
    assert asked["clientToken"] == f"commsportal-{incident.uid}-{account.pk}-open"
    assert json.loads(asked["triggerDetails"]["rawData"])["components"] == "Card payments"
    kept = AwsRecord.objects.get()
    assert (kept.ref, kept.ours, kept.state) == (RECORD, True, "open")
    [event] = manager.params("CreateTimelineEvent")
    assert (event["incidentRecordArn"], event["eventType"]) == (RECORD, "Custom Event")
    assert json.loads(event["eventData"]).startswith("Marta Rinaldi declared it in the portal: Card payments fail")


def test_it_is_told_once_however_often_the_sweep_comes(marta, account, manager):
    make.incident(marta)
    for _time in range(3):
        due_now()
        tasks.sweep_aws()
    for call in AwsCall.objects.all():
        tasks.tell_aws(call.pk)
    assert operations(manager).count("StartIncident") == 1
    assert operations(manager).count("CreateTimelineEvent") == 1


@pytest.mark.parametrize("severity", ["sev3", "sev4"])
def test_what_is_not_bad_enough_stays_here(marta, account, manager, severity):
    make.incident(marta, severity=severity)
    tasks.sweep_aws()
    assert manager.calls == []


def test_what_was_declared_before_it_was_switched_on_stays_here(marta, account, manager):
    make.incident(marta)
    AwsAccount.objects.update(opens_since=timezone.now())
    tasks.sweep_aws()
    assert manager.calls == []


def test_an_account_that_is_off_is_told_nothing(marta, account, manager):
    make.incident(marta)
    AwsAccount.objects.update(enabled=False)
    tasks.sweep_aws()
    assert manager.calls == []


def test_what_is_published_and_the_end_are_told_and_it_is_resolved_there(marta, anna, account, manager):
    incident = make.incident(marta)
    tasks.sweep_aws()
    make.published(incident.updates.get(), anna)
    make.published(declaring.start_draft(incident, marta, "resolved"), anna)
    tasks.sweep_aws()
    told = [json.loads(one["eventData"]) for one in manager.params("CreateTimelineEvent")]
    assert told[1].startswith("Anna Weber published to customers (Investigating): ")
    assert "Customers who pay by card see an error" in told[1]
    assert told[2].startswith("Anna Weber published to customers (Resolved): ")
    [asked] = manager.params("UpdateIncidentRecord")
    assert (asked["arn"], asked["status"]) == (RECORD, "RESOLVED")
    assert operations(manager)[-1] in ("UpdateIncidentRecord", "ListTimelineEvents")
    assert AwsRecord.objects.get().state == "resolved"


def test_going_on_after_the_end_opens_it_there_again(marta, anna, account, manager):
    incident = make.incident(marta)
    make.published(declaring.start_draft(incident, marta), anna)
    make.published(declaring.start_draft(incident, marta, "resolved"), anna)
    make.published(declaring.start_draft(incident, marta, "monitoring"), anna)
    tasks.sweep_aws()
    assert [one["status"] for one in manager.params("UpdateIncidentRecord")] == ["RESOLVED", "OPEN"]
    assert AwsRecord.objects.get().state == "open"


def test_a_mistake_is_resolved_there_with_its_reason(marta, account, manager):
    incident = make.incident(marta)
    tasks.sweep_aws()
    incident.dismiss(marta, "It was a test of the monitoring.")
    tasks.sweep_aws()
    assert "It was a test of the monitoring." in manager.params("CreateTimelineEvent")[-1]["eventData"]
    assert manager.params("UpdateIncidentRecord")[0]["status"] == "RESOLVED"


def test_maintenance_is_never_opened_there(marta, account, manager):
    incident = make.incident(marta)
    Incident.objects.update(maintenance=True)
    tasks.sweep_aws()
    assert manager.calls == []
    incident.refresh_from_db()
    with pytest.raises(WrongState):
        coordinating.open_there(account, incident, marta)


# ── By hand ──


def test_a_person_opens_it_by_hand(marta, account, manager):
    AwsAccount.objects.update(opens_from="")
    account.refresh_from_db()
    incident = make.incident(marta, severity="sev4")
    tasks.sweep_aws()
    assert manager.calls == []
    call = coordinating.open_there(account, incident, marta)
    assert manager.calls == []  # written down first; the worker makes it
    assert call.by == marta
    tasks.tell_aws(call.pk)
    assert AwsRecord.objects.get().incident == incident
    with pytest.raises(WrongState, match="already"):
        coordinating.open_there(account, incident, marta)


def test_asking_twice_writes_it_down_once(marta, account):
    incident = make.incident(marta)
    first = coordinating.open_there(account, incident, marta)
    assert coordinating.open_there(account, incident, marta) == first


def test_who_may_not_is_refused(marta, account):
    incident = make.incident(marta)
    with pytest.raises(NotAllowed):
        coordinating.open_there(account, incident, make.user("Support leads"))
    account.enabled = False
    with pytest.raises(Refused):
        coordinating.open_there(account, incident, marta)


# ── Faults ──


@pytest.mark.parametrize("fault", [Drop(), Drop(cut=True), Fault("InternalServerException", "x", 500)])
def test_a_lost_reply_is_asked_for_again_with_the_same_token(marta, account, manager, fault):
    make.incident(marta)
    manager.script("StartIncident", fault)
    tasks.sweep_aws()
    call = AwsCall.objects.get(verb="open")
    assert (call.state, call.uncertain) == ("waiting", True)
    assert not AwsRecord.objects.exists()
    due_now()
    tasks.sweep_aws()
    first, second = manager.params("StartIncident")
    assert first == second
    assert AwsRecord.objects.get().ref == RECORD


def test_a_throttle_lets_the_account_rest_and_nothing_is_lost(marta, account, manager):
    make.incident(marta)
    manager.script("StartIncident", Fault("ThrottlingException", "slow down"))
    tasks.sweep_aws()
    account.refresh_from_db()
    assert account.rests
    assert "asks for patience" in account.trouble
    assert AwsCall.objects.get(verb="open").uncertain is False
    AwsCall.objects.update(next_try_at=timezone.now())
    tasks.sweep_aws()
    assert len(manager.params("StartIncident")) == 1  # it rests
    due_now()
    tasks.sweep_aws()
    assert AwsRecord.objects.exists()


def test_refused_credentials_are_told_in_words_and_tried_again_by_a_person(marta, account, manager):
    incident = make.incident(marta)
    manager.script("StartIncident", Fault("AccessDeniedException", "no policy", 403))
    tasks.sweep_aws()
    call = AwsCall.objects.get(verb="open")
    assert call.state == "failed"
    assert "these credentials lack the permission ssm-incidents:StartIncident" in call.detail
    due_now()
    tasks.sweep_aws()
    assert len(manager.params("StartIncident")) == 1  # not by itself
    other = PLAN.replace("customers-notice", "other-plan")
    AwsAccount.objects.update(response_plan_arn=other)
    assert calling.again(incident, marta) == 1
    tasks.sweep_aws()
    assert manager.params("StartIncident")[-1]["responsePlanArn"] == other  # as the settings are now
    assert AwsRecord.objects.exists()
    with pytest.raises(WrongState):
        calling.again(incident, marta)


def test_what_may_have_been_taken_is_repeated_to_the_letter(marta, account, manager):
    incident = make.incident(marta)
    manager.script("StartIncident", Drop())
    tasks.sweep_aws()
    AwsCall.objects.update(state="unknown")
    AwsAccount.objects.update(response_plan_arn=PLAN.replace("customers-notice", "other-plan"))
    calling.again(incident, marta)
    due_now()
    tasks.sweep_aws()
    assert {one["responsePlanArn"] for one in manager.params("StartIncident")} == {PLAN}


@pytest.mark.parametrize(
    ("fault", "state"), [(Drop(), "unknown"), (Fault("ThrottlingException", "slow down"), "failed")]
)
def test_after_hours_a_person_has_to_look(marta, account, manager, fault, state):
    make.incident(marta)
    manager.script("StartIncident", fault)
    coordinating.write_down()
    AwsCall.objects.update(asked_at=timezone.now() - timedelta(hours=3))
    tasks.sweep_aws()
    assert AwsCall.objects.get(verb="open").state == state


def test_a_worker_that_dies_while_it_calls_leaves_evidence(marta, account, manager):
    make.incident(marta)
    coordinating.write_down()
    call = AwsCall.objects.get(verb="open")
    # It had marked the call, and AWS had taken it, when it was killed.
    AwsCall.objects.filter(pk=call.pk).update(state="sending", tried_at=timezone.now())
    tasks.sweep_aws()
    assert manager.calls == []  # it may be at work still
    AwsCall.objects.filter(pk=call.pk).update(tried_at=timezone.now() - timedelta(minutes=3))
    tasks.sweep_aws()
    assert manager.params("StartIncident")[0]["clientToken"] == call.key
    assert AwsRecord.objects.get().ref == RECORD


def test_nothing_is_told_before_it_is_open_there(marta, account, manager):
    make.incident(marta)
    manager.script("StartIncident", Fault("AccessDeniedException", "no policy", 403))
    tasks.sweep_aws()
    assert AwsCall.objects.get(verb="open").state == "failed"
    [call] = AwsCall.objects.filter(verb="tell")
    tasks.tell_aws(call.pk)
    assert manager.params("CreateTimelineEvent") == []


def test_what_fails_does_not_hold_up_what_comes_after_it(marta, anna, account, manager):
    incident = make.incident(marta)
    manager.script("CreateTimelineEvent", Fault("ValidationException", "too odd"))
    tasks.sweep_aws()
    make.published(incident.updates.get(), anna)
    make.published(declaring.start_draft(incident, marta, "resolved"), anna)
    tasks.sweep_aws()
    assert AwsCall.objects.get(state="failed").verb == "tell"
    assert AwsRecord.objects.get().state == "resolved"


def test_order_is_kept_while_one_waits(marta, anna, account, manager):
    incident = make.incident(marta)
    tasks.sweep_aws()
    make.published(incident.updates.get(), anna)
    make.published(declaring.start_draft(incident, marta, "resolved"), anna)
    manager.script("CreateTimelineEvent", Drop())
    tasks.sweep_aws()
    AwsAccount.objects.update(held_until=None)  # it would not rest any more
    for call in AwsCall.objects.filter(state="waiting").order_by("-pk"):
        tasks.tell_aws(call.pk)
    assert manager.params("UpdateIncidentRecord") == []
    due_now()
    tasks.sweep_aws()
    assert operations(manager).index("UpdateIncidentRecord") > 0
    assert not AwsCall.objects.exclude(state="sent").exists()


# ── Heard from there ──


def test_what_is_resolved_there_is_shown_to_staff_and_published_nowhere(marta, anna, account, manager):
    incident = make.incident(marta)
    make.published(incident.updates.get(), anna)
    tasks.sweep_aws()
    before = Dispatch.objects.count()
    manager.answers["GetIncidentRecord"] = {"incidentRecord": record("RESOLVED", resolvedTime=1780000600)}
    due_now()
    tasks.sweep_aws()
    incident.refresh_from_db()
    assert (incident.stage, incident.updates.count(), Dispatch.objects.count()) == ("investigating", 1, before)
    kept = AwsRecord.objects.get()
    assert kept.ends_too_early
    html = make.client(marta).get(f"/admin/incidents/incident/{incident.pk}/change/").content.decode()
    assert "Resolved there at" in html
    assert "Customers were told nothing of it" in html


def test_what_people_wrote_there_is_read_once_and_our_own_is_not(marta, account, manager):
    incident = make.incident(marta)
    tasks.sweep_aws()
    own = manager.answers["CreateTimelineEvent"](
        {"clientToken": manager.params("CreateTimelineEvent")[0]["clientToken"]}
    )
    summary = {"incidentRecordArn": RECORD, "eventTime": 1780000000, "eventUpdatedTime": 1780000000}
    manager.answers["ListTimelineEvents"] = {
        "eventSummaries": [
            {**summary, "eventId": "note-1", "eventType": "Note"},
            {**summary, "eventId": "auto-1", "eventType": "SSM Incident Trigger"},
            {**summary, "eventId": own["eventId"], "eventType": "Custom Event"},
        ]
    }
    manager.answers["GetTimelineEvent"] = lambda asked: {
        "event": {**summary, "eventId": asked["eventId"], "eventType": "Note", "eventData": '"We <b>roll back</b>."'}
    }
    for _time in range(2):
        due_now()
        tasks.sweep_aws()
    assert [one["eventId"] for one in manager.params("GetTimelineEvent")] == ["note-1"]
    told = dict(AwsRecord.objects.get().events.values_list("event_id", "text"))
    assert told == {"note-1": "We <b>roll back</b>.", "auto-1": ""}
    html = make.client(marta).get(f"/admin/incidents/incident/{incident.pk}/change/").content.decode()
    assert "We &lt;b&gt;roll back&lt;/b&gt;." in html


def test_it_is_looked_at_once_a_minute(marta, account, manager):
    make.incident(marta)
    for _time in range(3):
        tasks.sweep_aws()
    assert operations(manager).count("GetIncidentRecord") == 1


def test_an_account_that_does_not_answer_is_asked_once_for_many_incidents(marta, account, manager):
    for n in range(3):
        incident = make.incident(marta)
        AwsRecord.objects.create(account=account, incident=incident, kind="incident_manager", ref=f"{RECORD[:-1]}{n}")
    manager.script("GetIncidentRecord", Drop())
    listening.listen()
    assert len(manager.calls) == 1


def test_what_was_deleted_there_is_left_alone(marta, account, manager):
    make.incident(marta)
    tasks.sweep_aws()
    manager.script("GetIncidentRecord", Fault("ResourceNotFoundException", "gone", 404))
    due_now()
    tasks.sweep_aws()
    assert AwsRecord.objects.get().state == "gone"
    asked = len(manager.calls)
    due_now()
    tasks.sweep_aws()
    assert len(manager.calls) == asked


# ── Opened there first ──


def trail(name: str, asked: dict, answered: dict | None = None, **more) -> dict:
    """An event of EventBridge as CloudTrail makes it of a call."""
    detail = {
        "eventSource": "ssm-incidents.amazonaws.com",
        "eventName": name,
        "eventTime": timezone.now().isoformat(),
        "requestParameters": asked,
        "responseElements": answered,
        **more,
    }
    return {
        "version": "0",
        "id": f"e-{name}",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.ssm-incidents",
        "account": "123456789012",
        "time": timezone.now().isoformat(),
        "region": "eu-south-1",
        "resources": [],
        "detail": detail,
    }


STARTED = trail(
    "StartIncident", {"responsePlanArn": PLAN, "title": "Queue is stuck", "impact": 1}, {"incidentRecordArn": RECORD}
)


def test_what_cloudtrail_tells_of_incident_manager_is_read():
    [begun] = read(STARTED)
    assert (begun.firing, begun.title, begun.severity_hint) == (True, "Queue is stuck", "sev1")
    assert begun.labels["incident_record"] == RECORD
    [ended] = read(trail("UpdateIncidentRecord", {"arn": RECORD, "status": "RESOLVED"}))
    assert (ended.firing, ended.fingerprint) == (False, begun.fingerprint)
    [nameless] = read(trail("StartIncident", {"responsePlanArn": PLAN}, {"incidentRecordArn": RECORD}))
    assert nameless.title == "Incident Manager: customers-notice"
    [other] = read(trail("RunInstances", {}, {}, eventSource="ec2.amazonaws.com"))
    assert other.firing  # as any event does


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (trail("StartIncident", {"triggerDetails": {"source": "commsportal"}}, {"incidentRecordArn": RECORD}), Unknown),
        (trail("StartIncident", {}, None, errorCode="AccessDenied"), Unknown),
        (trail("UpdateIncidentRecord", {"arn": RECORD, "title": "x"}), Unknown),
        (trail("ListIncidentRecords", {}), Unknown),
        (trail("StartIncident", {"title": "x"}, None), Malformed),
        (trail("UpdateIncidentRecord", {"status": "RESOLVED"}), Malformed),
    ],
)
def test_what_says_nothing_of_an_incident_there_proposes_nothing(event, problem):
    """Above all what the portal opened itself: it would be proposed to those who have just declared it."""
    with pytest.raises(problem):
        read(event)


def test_an_incident_opened_there_is_proposed_and_linked_once_a_person_declares_it(marta, account, manager):
    source = AlertSource.objects.create(name="Bridge", kind="eventbridge", topics=["x"])
    taking_in.take_in(source, "1", read(STARTED))
    proposal = Proposal.objects.get()
    assert (proposal.title, proposal.severity, proposal.state) == ("Queue is stuck", "sev1", "open")
    tasks.sweep_aws()
    assert manager.calls == []
    incident = make.incident(marta)
    proposal.accept(marta, incident)
    tasks.sweep_aws()
    kept = AwsRecord.objects.get()
    assert (kept.ref, kept.ours, kept.incident) == (RECORD, False, incident)
    assert manager.params("StartIncident") == []  # it is open there already
    assert manager.params("CreateTimelineEvent")[0]["incidentRecordArn"] == RECORD


def test_another_accounts_incident_is_not_ours_to_change(marta, account, manager):
    source = AlertSource.objects.create(name="Bridge", kind="eventbridge", topics=["x"])
    foreign = RECORD.replace("123456789012", "999999999999")
    [signal] = read(trail("StartIncident", {"title": "x"}, {"incidentRecordArn": foreign}))
    taking_in.take_in(source, "1", [signal])
    incident = make.incident(marta)
    Proposal.objects.get().accept(marta, incident)
    assert coordinating.adopt(account, incident) is None
    tasks.sweep_aws()
    assert AwsRecord.objects.get().ours


def test_the_button_links_what_is_open_there_instead_of_opening_it_twice(marta, account, manager):
    source = AlertSource.objects.create(name="Bridge", kind="eventbridge", topics=["x"])
    taking_in.take_in(source, "1", read(STARTED))
    incident = make.incident(marta)
    Proposal.objects.get().accept(marta, incident)
    assert coordinating.open_there(account, incident, marta) is None
    assert AwsRecord.objects.get().ref == RECORD
    assert not AwsCall.objects.exists()


# ── OpsCenter ──


def test_an_ops_item_is_created_told_and_resolved(marta, anna, ops_account, ops):
    incident = make.incident(marta, make.component("Card payments"))
    tasks.sweep_aws()
    make.published(incident.updates.get(), anna)
    make.published(declaring.start_draft(incident, marta, "resolved"), anna)
    tasks.sweep_aws()
    [created] = ops.params("CreateOpsItem")
    assert (created["Title"], created["Severity"], created["Source"]) == ("Card payments fail", "2", "Commsportal")
    dedup = json.loads(created["OperationalData"]["/aws/dedup"]["Value"])
    assert dedup == {"dedupString": f"commsportal-{incident.uid}-{ops_account.pk}-open"}
    first, last = ops.params("UpdateOpsItem")
    assert first["OpsItemId"] == ITEM
    assert "published to customers" in first["OperationalData"]["commsportal/latest"]["Value"]
    assert "Status" not in first
    assert last["Status"] == "Resolved"


def test_an_ops_item_whose_reply_was_lost_is_found_again(marta, ops_account, ops):
    make.incident(marta)
    ops.script("CreateOpsItem", Drop(), Fault("OpsItemAlreadyExistsException", "there", 400, {"OpsItemId": ITEM}))
    tasks.sweep_aws()
    due_now()
    tasks.sweep_aws()
    assert AwsRecord.objects.get().ref == ITEM
    assert AwsCall.objects.get(verb="open").state == "sent"


def test_an_ops_item_resolved_there_is_shown(marta, ops_account, ops):
    make.incident(marta)
    tasks.sweep_aws()
    ops.answers["GetOpsItem"] = {"OpsItem": {"OpsItemId": ITEM, "Status": "Resolved", "LastModifiedTime": 1780000000}}
    due_now()
    tasks.sweep_aws()
    assert AwsRecord.objects.get().ends_too_early


def test_two_who_change_it_at_once_try_again(marta, anna, ops_account, ops):
    incident = make.incident(marta)
    tasks.sweep_aws()
    ops.script("UpdateOpsItem", Fault("OpsItemConflictException", "busy"))
    make.published(incident.updates.get(), anna)
    tasks.sweep_aws()
    assert AwsCall.objects.get(verb="tell").state == "waiting"
    due_now()
    tasks.sweep_aws()
    assert AwsCall.objects.get(verb="tell").state == "sent"


# ── The page ──


def change(incident: Incident) -> str:
    return f"/admin/incidents/incident/{incident.pk}/change/"


def act(incident: Incident) -> str:
    return f"/admin/incidents/awscall/incident/{incident.pk}/"


def test_the_page_opens_it_through_a_warning_and_by_post_alone(marta, account, manager):
    AwsAccount.objects.update(opens_from="")
    incident = make.incident(marta)
    client = make.client(marta)
    html = client.get(change(incident)).content.decode()
    assert "That cannot be taken back. Customers hear nothing." in html
    assert client.get(act(incident)).status_code == 302
    assert not AwsCall.objects.exists()
    response = client.post(act(incident), {"do": "open", "account": account.pk}, follow=True)
    assert "It is being opened in Incident Manager." in response.content.decode()
    assert "1 call to AWS waits." in response.content.decode()
    tasks.sweep_aws()
    html = client.get(change(incident)).content.decode()
    assert RECORD in html
    assert client.post(act(incident), {"do": "open", "account": account.pk}).status_code == 409


def test_the_page_says_what_failed_and_tries_it_again(marta, account, manager):
    incident = make.incident(marta)
    manager.script("StartIncident", Fault("ResourceNotFoundException", "no such plan", 404))
    tasks.sweep_aws()
    client = make.client(marta)
    html = client.get(change(incident)).content.decode()
    assert "It is not there at AWS (ssm-incidents:StartIncident): no such plan" in html
    assert client.post(act(incident), {"do": "again"}).status_code == 302
    tasks.sweep_aws()
    assert AwsRecord.objects.exists()


def test_whoever_does_not_see_the_incident_can_do_nothing(account):
    incident = make.incident()
    stranger = make.client(make.user("Incident managers"))
    assert stranger.post(act(incident), {"do": "open", "account": account.pk}).status_code == 404
    reader = make.client(make.user("Support leads", "All components"))
    assert reader.post(act(incident), {"do": "open", "account": account.pk}).status_code == 403
    assert "Open it in Incident Manager" not in reader.get(change(incident)).content.decode()
    assert not AwsCall.objects.exists()


@pytest.mark.parametrize("key", ["", "x", "99999", "9" * 30, "-1"])
def test_an_account_that_there_is_not_is_refused_in_words(marta, account, key):
    incident = make.incident(marta)
    response = make.client(marta).post(act(incident), {"do": "open", "account": key})
    assert response.status_code == 422
    assert "Choose the account" in response.content.decode()


def test_the_list_of_calls_shows_what_one_may_see(marta, account, manager):
    make.incident(marta, title="Zebra payouts")
    tasks.sweep_aws()
    assert "Zebra payouts" in make.client(marta).get("/admin/incidents/awscall/").content.decode()
    other = make.client(make.user("Incident managers"))
    assert "Zebra payouts" not in other.get("/admin/incidents/awscall/").content.decode()


def test_the_page_costs_the_same_for_one_call_and_for_many(marta, account, manager, django_assert_max_num_queries):
    incident = make.incident(marta)
    tasks.sweep_aws()
    client = make.client(marta)
    found = []
    for wave in range(2):
        for n in range(wave * 5 + 1):
            key = f"{wave}-{n}"
            AwsCall.objects.create(
                account=account, incident=incident, verb="tell", key=key, service="x", operation="y", state="failed"
            )
            AwsRecord.objects.get().events.create(event_id=key, kind="Note", at=timezone.now())
        with django_assert_max_num_queries(45) as captured:
            client.get(change(incident))
        found.append(len(captured))
    assert found[0] == found[1]


def test_without_an_account_nothing_of_it_is_shown(marta):
    incident = make.incident(marta)
    assert 'id="aws"' not in make.client(marta).get(change(incident)).content.decode()
