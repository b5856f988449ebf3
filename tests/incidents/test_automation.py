"""Runbooks on AWS Systems Manager Automation, against a fake on loopback: it is a fake, and AWS was never asked."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.models import Dispatch
from incidents import tasks
from incidents.aws import automation, automation_schema
from incidents.aws import automation_document as documents
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import (
    AutomationDocument,
    AutomationExecution,
    Incident,
    IncidentUpdate,
    Runbook,
    RunbookRun,
    RunbookStep,
)
from incidents.models.automation import SOON
from incidents.runbooks import KINDS, running
from tests import make
from tests.fakes.automation import FakeAutomation
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault, Hang, fake_aws
from tests.incidents.test_runbooks import approve

pytestmark = pytest.mark.django_db
REGION = "eu-south-1"
ROLE = "arn:aws:iam::123456789012:role/portal"
DRAFT = {"kind": "draft", "stage": "", "words": "template"}
APPROVAL, PUBLISH = {"kind": "approval"}, {"kind": "publish"}
CALL: dict = {
    "kind": "aws",
    "operation": "ssm:CreateOpsItem",
    "region": REGION,
    "parameters": {"Title": "{{ title }}", "Description": "{{ severity }}", "Source": "portal"},
}
WAIT = {"kind": "wait", "minutes": 5}
HOOK = {"kind": "webhook", "url": "https://example.com/hook", "name": "Page the bank"}
TELL = {"kind": "notify", "role": "support_lead", "text": "Customers will call about {{ title }}."}
SPEAK = [DRAFT, APPROVAL, CALL, PUBLISH]


def content(*steps: dict) -> dict:
    named: list[dict] = [{"name": "", **one} for one in steps]
    return {"key": 1, "name": "First words", "triggers": [], "stages": [], "steps": named}


def branch(to: int, severities: tuple[str, ...] = ("sev1",), stages: tuple[str, ...] = ()) -> dict:
    return {"kind": "branch", "severities": list(severities), "stages": list(stages), "to": to}


@pytest.fixture
def aws(monkeypatch) -> Iterator[FakeAutomation]:
    with fake_aws("ssm") as fake:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", fake.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        yield FakeAutomation(fake)
        assert fake.invalid == []


def allow(user: User) -> User:
    user.user_permissions.add(*Permission.objects.filter(codename__in=["change_runbook", "view_runbook"]))
    return User.objects.get(pk=user.pk)


@pytest.fixture
def anna() -> User:
    return allow(make.incident_manager(first_name="Anna"))


@pytest.fixture
def marta() -> User:
    return make.communications_manager(first_name="Marta")


def runbook(*steps: dict) -> Runbook:
    one = Runbook.objects.create(name="First words")
    for position, step in enumerate(steps):
        config = {key: value for key, value in step.items() if key not in ("kind", "name")}
        RunbookStep.objects.create(
            runbook=one, position=position, kind=step["kind"], name=step.get("name", ""), config=config
        )
    return one


def on_aws(*steps: dict, **kwargs) -> AutomationDocument:
    kwargs.setdefault("approvers", [ROLE])
    return AutomationDocument.objects.create(
        runbook=runbook(*steps), region=REGION, name="Commsportal-First-words", **kwargs
    )


def registered(by: User, *steps: dict, **kwargs) -> AutomationDocument:
    one = on_aws(*steps, **kwargs)
    automation.register(one, by)
    tasks.register_automation(one.pk)
    one.refresh_from_db()
    assert one.state == "registered", one.detail
    return one


@pytest.fixture
def incident(anna, marta) -> Incident:
    make.recipients(2)
    people = [("incident_manager", anna), ("communications_manager", marta)]
    make.plan(make.channel(name="Email"), people=people)
    one = make.incident(anna, make.component("Checkout"), title='Cards "fail" {{ssm:secret}}')
    one.updates.get().withdraw(anna)
    return one


def started(document: AutomationDocument, incident: Incident, by: User) -> AutomationExecution:
    return go_on(automation.start(document, incident, by))


def go_on(execution: AutomationExecution, rounds: int = 6) -> AutomationExecution:
    """What the worker's sweeps do until nothing moves, whatever the clock says."""
    for _again in range(rounds):
        AutomationExecution.objects.filter(look_at__isnull=False).update(look_at=timezone.now(), leased_until=None)
        tasks.sweep_automation()
        tasks.sweep_runbooks()
        execution.refresh_from_db()
        if execution.look_at is None and execution.run and execution.run.state in ("done", "paused"):
            break
    return execution


def told(execution: AutomationExecution) -> list[tuple[str, str]]:
    return [(one["name"], one["status"]) for one in execution.steps]


def signals(execution: AutomationExecution) -> list[tuple[str, str, str, str]]:
    return [(one.step, one.kind, one.origin, one.state) for one in execution.signals.all()]


# ── The document ────────────────────────────────────────────────────────────


def test_every_kind_of_step_has_its_action():
    steps = [DRAFT, APPROVAL, PUBLISH, WAIT, CALL, HOOK, TELL, branch(9), {"kind": "chat", "text": "x"}]
    made = documents.document(content(*steps), REGION)
    assert [one["action"].removeprefix("aws:") for one in made["mainSteps"]] == [
        "pause", "approve", "pause", "sleep", "executeAwsApi", "invokeWebhook", "pause", "branch", "pause",
    ]  # fmt: skip
    assert made["mainSteps"][3]["inputs"] == {"Duration": "PT5M"}
    assert made["mainSteps"][4]["inputs"] == {
        "Service": "ssm",
        "Api": "CreateOpsItem",
        "Title": "{{ IncidentTitle }}",
        "Description": "{{ SeverityInWords }}",
        "Source": "portal",
    }
    assert json.loads(made["mainSteps"][5]["inputs"]["Body"])["step"] == 6
    assert made["mainSteps"][5]["inputs"]["IntegrationName"] == "{{ Step6Integration }}"
    assert [one.get("isEnd", False) for one in made["mainSteps"]] == [False] * 8 + [True]
    assert automation_schema.problems(made) == []


def test_publishing_is_never_for_aws():
    for kind in set(KINDS) - set(documents.ON_AWS) - {"approval", "automation"}:
        step = {"kind": kind, "role": "support_lead", "text": "x", "items": "x", "stages": ["resolved"], "words": "x"}
        [made] = documents.document(content(step))["mainSteps"]
        assert made["action"] == "aws:pause", kind


def test_the_approval_names_no_topic_where_there_is_none():
    with_one, without = (documents.document(content(APPROVAL), REGION, topic=topic) for topic in (True, False))
    assert with_one["mainSteps"][0]["inputs"]["NotificationArn"] == "{{ ApprovalTopicArn }}"
    assert "ApprovalTopicArn" in with_one["parameters"]
    assert "NotificationArn" not in without["mainSteps"][0]["inputs"]
    assert "ApprovalTopicArn" not in without["parameters"]


def test_the_address_of_a_webhook_stays_in_the_portal():
    assert "example.com" not in documents.text_of(documents.document(content(HOOK), REGION))


def test_a_branch_jumps_as_it_does_in_the_portal():
    made = documents.document(content(branch(3, ("sev1", "sev2"), ("identified",)), WAIT, WAIT))
    first = made["mainSteps"][0]
    assert first["inputs"]["Default"] == "step_03_wait"
    [choice] = first["inputs"]["Choices"]
    assert choice["NextStep"] == "step_02_wait"
    assert [len(part.get("Or", [part])) for part in choice["And"]] == [2, 1]


def test_a_branch_to_the_end_ends_it():
    first = documents.document(content(branch(0), WAIT))["mainSteps"][0]
    assert ("Default" in first["inputs"], first["isEnd"]) == (False, True)


@pytest.mark.parametrize("steps", [[WAIT, branch(0)], [branch(2, ()), WAIT]])
def test_a_branch_that_decides_nothing_is_left_out(steps):
    made = documents.document(content(*steps))
    assert [one["action"] for one in made["mainSteps"]] == ["aws:sleep"]
    assert [one.get("step", "") for one in documents.portal_half(content(*steps))["steps"]].count("") == 1


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({**CALL, "region": "eu-west-1"}, "register it in eu-west-1"),
        ({**CALL, "operation": "sns:Publish", "parameters": {}}, "not allowed"),
        ({**CALL, "parameters": {"Title": "x"}}, "Missing required parameter"),
        ({**CALL, "parameters": {**CALL["parameters"], "Title": "{{ title | downcase }}"}}, "incidenttitle"),
    ],
)
def test_what_aws_would_do_otherwise_is_refused_by_name(step, says):
    with pytest.raises(Refused, match=says):
        documents.document(content(step), REGION)


def test_a_runbook_without_steps_is_not_exported():
    with pytest.raises(Refused):
        documents.document(content())


# ── The schema, as it is documented ─────────────────────────────────────────

GOOD = {
    "schemaVersion": "0.3",
    "parameters": {"Who": {"type": "StringList"}},
    "mainSteps": [
        {"name": "ask", "action": "aws:approve", "inputs": {"Approvers": "{{ Who }}"}},
        {"name": "rest", "action": "aws:sleep", "inputs": {"Duration": "P1DT2H"}, "isEnd": True},
    ],
}


def edited(path: str, value: object) -> dict:
    made = json.loads(json.dumps(GOOD))
    at = made
    *parts, last = [int(one) if one.isdecimal() else one for one in path.split(".")]
    for part in parts:
        at = at[part]
    at[last] = value
    return made


def test_the_schema_takes_what_is_documented():
    assert automation_schema.problems(GOOD) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schemaVersion", "2.2"),
        ("mainSteps", []),
        ("surprise", 1),
        ("description", "{{ Nobody }}"),
        ("parameters.Who.type", "List"),
        ("parameters.Who.default", "one"),
        ("parameters.Wh-o", {"type": "String"}),
        ("mainSteps.0.name", "x"),
        ("mainSteps.0.name", "rest"),
        ("mainSteps.0.action", "aws:runShellScript"),
        ("mainSteps.0.onFailure", "step:nowhere"),
        ("mainSteps.0.nextStep", "nowhere"),
        ("mainSteps.0.isEnd", "true"),
        ("mainSteps.0.timeoutSeconds", 2_592_001),
        ("mainSteps.0.inputs", {}),
        ("mainSteps.0.inputs.Message", "x" * 4097),
        ("mainSteps.0.inputs.Message", "{{ ssm:secret }}"),
        ("mainSteps.0.inputs.Approvers", ["a"] * 11),
        ("mainSteps.0.inputs.Approvers", ["arn:aws:s3:::bucket"]),
        ("mainSteps.0.inputs.MinRequiredApprovals", 0),
        ("mainSteps.0.inputs.NotificationArn", "arn:aws:sns:eu-south-1:123456789012:Approvals"),
        ("mainSteps.0.inputs.Else", 1),
        ("mainSteps.1.inputs.Duration", "PT169H"),
        ("mainSteps.1.inputs.Duration", "-PT1M"),
        ("mainSteps.1.inputs.Timestamp", "2026-01-01T00:00:00Z"),
    ],
)
def test_the_schema_refuses(path, value):
    made = edited(path, value)
    if path == "description":
        made = edited("mainSteps.0.description", value)
    assert automation_schema.problems(made)


KINDS_DRAWN = st.sampled_from([DRAFT, APPROVAL, PUBLISH, WAIT, CALL, HOOK, TELL])
BRANCHES = st.builds(
    branch, st.integers(0, 12), st.sampled_from([(), ("sev1",), ("sev1", "sev3")]), st.sampled_from([(), ("resolved",)])
)


@given(st.lists(KINDS_DRAWN | BRANCHES, min_size=1, max_size=12), st.text(max_size=40))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_runbook_the_document_is_valid(steps, name):
    body = {**content(*steps), "name": name}
    try:
        made = documents.document(body, REGION)
    except Refused as refusal:
        assert "branches alone" in str(refusal)  # noqa: PT017 - any other refusal is a defect of the export
        return
    assert automation_schema.problems(made) == []
    assert len(documents.portal_half(body)["steps"]) == len(steps)
    assert sum(bool(one.get("isEnd")) for one in made["mainSteps"][-1:]) == 1


# ── Register ────────────────────────────────────────────────────────────────


def test_it_is_registered_and_each_change_is_a_new_version(aws, anna):
    one = registered(anna, *SPEAK)
    assert (one.version, one.content_hash) == ("1", documents.hash_of(automation.text_now(one)))
    [call] = aws.aws.params("CreateDocument")
    assert (call["DocumentType"], call["DocumentFormat"]) == ("Automation", "JSON")
    with pytest.raises(WrongState, match="registered as it is now"):
        automation.register(one, anna)
    RunbookStep.objects.create(runbook=one.runbook, position=9, kind="wait", config={"minutes": 1})
    automation.register(one, anna)
    tasks.sweep_automation()
    one.refresh_from_db()
    assert (one.state, one.version, len(aws.aws.params("UpdateDocument"))) == ("registered", "2", 1)
    assert json.loads(one.text)["mainSteps"][-1]["action"] == "aws:sleep"


def test_only_who_may_change_runbooks_registers(aws):
    with pytest.raises(NotAllowed):
        automation.register(on_aws(*SPEAK), make.incident_manager())


def test_what_was_shown_is_what_is_registered(aws, anna):
    one = on_aws(*SPEAK)
    seen = documents.hash_of(automation.text_now(one))
    RunbookStep.objects.create(runbook=one.runbook, position=9, kind="wait", config={"minutes": 1})
    with pytest.raises(WrongState, match="changed after you opened"):
        automation.register(one, anna, seen)


@pytest.mark.parametrize(("steps", "kwargs"), [(SPEAK, {"approvers": []}), ([HOOK], {"integrations": {"2": "x"}})])
def test_what_is_not_filled_in_is_named(aws, anna, steps, kwargs):
    with pytest.raises(Refused, match=r"approve in AWS|Step 1 calls a webhook"):
        automation.register(on_aws(*steps, **kwargs), anna)


@pytest.mark.parametrize("lost", ["CreateDocument", "UpdateDocument"])
def test_a_reply_that_got_lost_registers_nothing_twice(aws, anna, lost):
    one = registered(anna, *SPEAK) if lost == "UpdateDocument" else on_aws(*SPEAK)
    RunbookStep.objects.create(runbook=one.runbook, position=9, kind="wait", config={"minutes": 1})
    automation.register(one, anna)
    aws.lost.add(lost)
    tasks.register_automation(one.pk)
    one.refresh_from_db()
    assert one.state == "asked"
    AutomationDocument.objects.update(try_at=timezone.now())
    tasks.sweep_automation()
    one.refresh_from_db()
    assert one.state == "registered", one.detail
    assert (one.version, len(aws.documents[one.name])) == (("2", 2) if lost == "UpdateDocument" else ("1", 1))


def test_a_document_of_somebody_else_is_not_written_over(aws, anna):
    one = on_aws(*SPEAK)
    aws.documents[one.name] = ['{"schemaVersion": "0.3"}']
    automation.register(one, anna)
    tasks.register_automation(one.pk)
    one.refresh_from_db()
    assert (one.state, one.version) == ("failed", "")
    assert "choose another name" in one.detail
    assert aws.documents[one.name] == ['{"schemaVersion": "0.3"}']


def test_a_document_that_was_deleted_in_aws_is_made_anew(aws, anna):
    one = registered(anna, *SPEAK)
    aws.documents.clear()
    RunbookStep.objects.create(runbook=one.runbook, position=9, kind="wait", config={"minutes": 1})
    automation.register(one, anna)
    tasks.register_automation(one.pk)
    one.refresh_from_db()
    assert (one.state, one.version) == ("registered", "1")


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (Fault("ThrottlingException", "Rate exceeded"), "asked"),
        (Fault("TooManyUpdates"), "asked"),
        (Fault("InternalServerError", status=500), "asked"),
        (Drop(cut=True), "asked"),
        (Fault("AccessDeniedException", "not authorized to perform: ssm:CreateDocument"), "failed"),
        (Fault("InvalidDocumentContent", "bad"), "failed"),
        (Fault("MaxDocumentSizeExceeded"), "failed"),
    ],
)
def test_what_passes_is_tried_again_and_what_is_refused_is_told(aws, anna, fault, state):
    one = on_aws(*SPEAK)
    automation.register(one, anna)
    aws.aws.script("CreateDocument", fault)
    tasks.register_automation(one.pk)
    one.refresh_from_db()
    assert one.state == state
    assert one.detail
    if state == "asked":
        tasks.sweep_automation()  # not before its time
        assert len(aws.aws.params("CreateDocument")) == 1
        AutomationDocument.objects.update(try_at=timezone.now())
        tasks.sweep_automation()
        one.refresh_from_db()
    else:
        automation.register(one, anna)
        tasks.register_automation(one.pk)
        one.refresh_from_db()
    assert (one.state, one.detail) == ("registered", "")


def test_a_silence_is_not_waited_for_for_ever(aws, anna, monkeypatch):
    from botocore.config import Config

    monkeypatch.setattr("channels.providers.aws.CONFIG", Config(read_timeout=0.3, retries={"total_max_attempts": 1}))
    one = on_aws(*SPEAK)
    automation.register(one, anna)
    aws.aws.script("CreateDocument", Hang())
    tasks.register_automation(one.pk)
    one.refresh_from_db()
    assert one.state == "asked"
    assert "ReadTimeout" in one.detail


def test_tried_often_enough_it_is_left_to_a_person(aws, anna):
    one = on_aws(*SPEAK)
    automation.register(one, anna)
    aws.aws.script("CreateDocument", *[Fault("ThrottlingException")] * 20)
    for _again in range(20):
        AutomationDocument.objects.update(try_at=None)
        tasks.sweep_automation()
    one.refresh_from_db()
    assert (one.state, len(aws.aws.params("CreateDocument"))) == ("failed", automation.MOST_TRIES)


# ── Start, and go on together ───────────────────────────────────────────────


def test_both_halves_go_step_by_step_and_the_portal_approves_and_publishes(aws, anna, marta, incident):
    execution = started(registered(anna, *SPEAK), incident, anna)
    assert told(execution) == [("step_01_draft", "Success"), ("step_02_approval", "Waiting")]
    update = incident.updates.first()
    assert update.status == "in_review"
    approve(update, marta)
    go_on(execution)
    update.refresh_from_db()
    assert (execution.status, update.status, execution.run.state) == ("Success", "published", "done")
    assert [one for one, _status in told(execution)] == [
        "step_01_draft",
        "step_02_approval",
        "step_03_aws",
        "step_04_publish",
    ]
    assert [one[:2] for one in signals(execution)] == [
        ("step_01_draft", "Resume"),
        ("step_02_approval", "Approve"),
        ("step_04_publish", "Resume"),
    ]
    assert {one[3] for one in signals(execution)} == {"sent"}
    sent = aws.aws.params("SendAutomationSignal")
    assert sent[1]["Payload"] == {"Comment": ["Approved by Marta."]}
    assert sent[2]["Payload"] == {"StepName": ["step_04_publish"]}
    assert [log.step["kind"] for log in execution.run.log.all()] == ["draft", "approval", "automation", "publish"]
    assert execution.look_at is None


def test_what_came_from_outside_names_nothing_in_aws(aws, anna, incident):
    started(registered(anna, WAIT), incident, anna)
    [call] = aws.aws.params("StartAutomationExecution")
    assert call["Parameters"]["IncidentTitle"] == ['Cards "fail" { {ssm:secret} }']
    assert call["DocumentVersion"] == "1"
    uuid.UUID(call["ClientToken"])


def test_aws_does_what_is_its_own_and_the_portal_does_not_do_it_too(aws, anna, incident):
    execution = started(registered(anna, CALL, HOOK, integrations={"2": "bank"}), incident, anna)
    assert (execution.status, execution.run.state) == ("Success", "done")
    assert {call.operation for call in aws.aws.calls} == {
        "CreateDocument", "StartAutomationExecution", "GetAutomationExecution",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("severities", "stages", "done"),
    [(("sev2",), ("investigating",), ["branch", "wait", "notify"]), (("sev1",), (), ["branch", "notify"])],
)
def test_both_halves_take_the_same_branch(aws, anna, incident, severities, stages, done):
    execution = started(registered(anna, branch(3, severities, stages), WAIT, TELL), incident, anna)
    assert [name.split("_")[2] for name, _status in told(execution)] == done
    assert [log.index for log in execution.run.log.all()] == ([0, 1, 2] if len(done) == 3 else [0, 2])
    assert (execution.status, execution.run.state) == ("Success", "done")


def test_a_severity_that_changes_meanwhile_does_not_part_them(aws, anna, incident):
    execution = started(registered(anna, APPROVAL, branch(4, ("sev2",)), WAIT, TELL), incident, anna)
    incident.change_severity(anna, "sev1")
    assert execution.steps
    # Without an update there is nothing to approve: the portal's step ends, and AWS is told so.
    assert execution.status in ("Success", "Waiting")
    go_on(execution)
    assert [log.index for log in execution.run.log.all()][:1] == [0]


def test_it_needs_the_permissions_of_both(aws, anna, incident):
    document = registered(anna, WAIT)
    with pytest.raises(NotAllowed):
        automation.start(document, incident, make.incident_manager())
    with pytest.raises(NotAllowed):
        automation.start(document, incident, allow(make.user("Incident managers")))
    assert not AutomationExecution.objects.exists()


def test_the_runbook_does_not_run_twice_in_one_incident(aws, anna, incident):
    document = registered(anna, *SPEAK)
    started(document, incident, anna)
    with pytest.raises(WrongState, match="runs in this incident already"):
        automation.start(document, incident, anna)
    with pytest.raises(WrongState, match="runs in this incident already"):
        running.start(incident, document.runbook, anna)


def test_what_is_not_registered_is_not_started(aws, anna, incident):
    with pytest.raises(Refused, match="not registered"):
        automation.start(on_aws(WAIT), incident, anna)


def test_over_is_over(aws, anna, incident):
    document = registered(anna, WAIT)
    execution = automation.start(document, incident, anna)
    Incident.objects.filter(pk=incident.pk).update(stage="resolved")
    go_on(execution)
    assert (execution.status, aws.executions) == ("NotStarted", {})


# ── Faults of a start ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        Fault("ThrottlingException"),
        Fault("AutomationExecutionLimitExceededException"),
        Fault("InternalServerError", status=500),
        Drop(),
        Drop(cut=True),
    ],
)
def test_a_start_that_did_not_get_through_is_repeated_with_the_same_token(aws, anna, incident, fault):
    document = registered(anna, WAIT)
    aws.aws.script("StartAutomationExecution", fault)
    execution = started(document, incident, anna)
    calls = aws.aws.params("StartAutomationExecution")
    assert len(calls) == 2
    assert calls[0] == calls[1]
    assert (execution.status, len(aws.executions)) == ("Success", 1)


def test_a_start_whose_answer_got_lost_starts_one_execution(aws, anna, incident):
    document = registered(anna, WAIT)
    aws.lost.add("StartAutomationExecution")
    execution = started(document, incident, anna)
    assert len(aws.aws.params("StartAutomationExecution")) == 2
    assert (list(aws.executions), execution.status) == ([execution.execution_id], "Success")


def test_a_start_that_is_refused_stops_the_portals_half_for_a_person(aws, anna, incident):
    document = registered(anna, CALL)
    aws.aws.script("StartAutomationExecution", Fault("AccessDeniedException", "not authorized"))
    execution = started(document, incident, anna)
    assert (execution.status, execution.run.state, execution.look_at) == ("NotStarted", "paused", None)
    assert "not authorized" in execution.run.reason


def test_a_start_that_is_refused_after_a_doubt_is_not_called_refused(aws, anna, incident):
    document = registered(anna, CALL)
    aws.aws.script("StartAutomationExecution", Drop(), Fault("AccessDeniedException"))
    assert started(document, incident, anna).status == "Unknown"


def test_it_is_looked_at_ever_more_rarely_while_nothing_happens(aws, anna, incident, time_machine):
    now = timezone.now()
    time_machine.move_to(now, tick=False)
    execution = started(registered(anna, *SPEAK), incident, anna)
    AutomationExecution.objects.update(quiet=0)
    pauses = []
    for _again in range(6):
        tasks.follow_automation(execution.pk)
        execution.refresh_from_db()
        pauses.append((execution.look_at - now).total_seconds())
    assert pauses == [10, 20, 40, 60, 60, 60]


def test_trouble_while_following_is_told_and_passes(aws, anna, incident):
    document = registered(anna, *SPEAK)
    execution = started(document, incident, anna)
    aws.aws.script("GetAutomationExecution", Fault("AccessDeniedException", "not authorized"))
    tasks.follow_automation(execution.pk)
    execution.refresh_from_db()
    assert "not authorized" in execution.trouble
    assert execution.look_at > timezone.now()
    automation.again(execution, anna)
    tasks.follow_automation(execution.pk)
    execution.refresh_from_db()
    assert execution.trouble == ""


def test_a_region_that_is_none_is_told_and_looked_at_again_later(aws, anna, incident):
    document = registered(anna, WAIT)
    AutomationDocument.objects.update(region="not a region")
    document.refresh_from_db()
    execution = automation.start(document, incident, anna)
    tasks.follow_automation(execution.pk)
    execution.refresh_from_db()
    assert "InvalidRegion" in execution.trouble
    assert execution.look_at > timezone.now()


def test_a_step_that_fails_in_aws_stops_the_portals_half(aws, anna, incident):
    aws.fails["step_01_aws"] = "OpsItems are off."
    execution = started(registered(anna, CALL, TELL), incident, anna)
    assert (execution.status, execution.run.state) == ("Failed", "paused")
    assert "OpsItems are off." in execution.run.reason


def test_more_steps_than_one_answer_holds_are_all_read(aws, anna, incident):
    execution = started(registered(anna, *SPEAK), incident, anna)
    get = aws.get
    aws.aws.answers["GetAutomationExecution"] = lambda params: {
        "AutomationExecution": {
            **get(params)["AutomationExecution"],
            "StepExecutions": [],
            "StepExecutionsTruncated": True,
        }
    }
    tasks.follow_automation(execution.pk)
    execution.refresh_from_db()
    assert [name for name, _status in told(execution)] == ["step_01_draft", "step_02_approval"]


# ── Signals ─────────────────────────────────────────────────────────────────


@pytest.fixture
def asked(aws, anna, incident) -> AutomationExecution:
    """An execution where both AWS and the portal wait for approval."""
    return started(registered(anna, *SPEAK), incident, anna)


def test_sent_back_in_the_portal_it_is_rejected_in_aws(aws, marta, asked):
    asked.incident.updates.first().reject(marta, "Too vague.")
    go_on(asked)
    assert asked.status == "Rejected"
    assert signals(asked)[-1] == ("step_02_approval", "Reject", "portal", "sent")
    assert aws.aws.params("SendAutomationSignal")[-1]["Payload"]["Comment"] == [
        "Marta sent it back in the portal: Too vague."
    ]


def test_a_signal_given_in_aws_is_recorded_and_publishes_nothing(aws, marta, asked):
    there = aws.executions[asked.execution_id]
    aws.decide(there, "Approve", "arn:aws:iam::123456789012:user/eve", "fine by me")
    go_on(asked)
    assert signals(asked)[-1] == ("step_02_approval", "Approve", "aws", "given")
    assert "user/eve" in asked.signals.get(origin="aws").who
    assert told(asked)[-1] == ("step_04_publish", "Waiting")  # AWS went on, as far as it may
    update = IncidentUpdate.objects.exclude(status="withdrawn").get()
    assert (update.status, Dispatch.objects.count()) == ("in_review", 0)
    assert asked.run.log.last().step["kind"] == "approval"
    approve(update, marta)
    go_on(asked)
    update.refresh_from_db()
    assert (update.status, asked.status) == ("published", "Success")
    assert [one for one in signals(asked) if one[0] == "step_02_approval"] == [
        ("step_02_approval", "Approve", "aws", "given")
    ]


def test_rejected_in_aws_the_update_is_as_it_was(aws, asked):
    aws.decide(aws.executions[asked.execution_id], "Reject", "eve")
    go_on(asked)
    assert signals(asked)[-1] == ("step_02_approval", "Reject", "aws", "given")
    assert IncidentUpdate.objects.exclude(status="withdrawn").get().status == "in_review"


def test_an_approval_that_was_skipped_in_the_portal_approves_nothing_in_aws(aws, anna, asked):
    running.skip(asked.run, anna, 1, "Nobody is there.")
    go_on(asked)
    assert told(asked)[-1] == ("step_02_approval", "Waiting")
    assert not asked.signals.filter(kind="Approve").exists()


def test_a_signal_is_sent_once(aws, marta, asked):
    approve(asked.incident.updates.first(), marta)
    go_on(asked, rounds=12)
    assert [one["SignalType"] for one in aws.aws.params("SendAutomationSignal")].count("Approve") == 1


def test_a_signal_whose_answer_got_lost_is_not_sent_again(aws, marta, asked):
    approve(asked.incident.updates.first(), marta)
    aws.lost.add("SendAutomationSignal")
    go_on(asked)
    assert [one["SignalType"] for one in aws.aws.params("SendAutomationSignal")].count("Approve") == 1
    assert ("step_02_approval", "Approve", "portal", "sent") in signals(asked)
    assert not asked.signals.filter(origin="aws").exists()


@pytest.mark.parametrize(
    "fault",
    [
        Drop(),
        Fault("ThrottlingException"),
        Fault("InternalServerError", status=500),
        Fault("InvalidAutomationSignalException"),
    ],
)
def test_a_signal_that_did_not_arrive_is_sent_again(aws, marta, asked, fault):
    approve(asked.incident.updates.first(), marta)
    aws.aws.script("SendAutomationSignal", fault)
    go_on(asked, rounds=12)
    assert [one["SignalType"] for one in aws.aws.params("SendAutomationSignal")].count("Approve") == 2
    assert asked.status == "Success"


class Died(BaseException):
    """A worker that is killed: no handler of ours sees it."""


CALLS = [
    ("start_automation_execution", 1),
    *(("get_automation_execution", n) for n in (1, 2, 4)),
    *(("send_automation_signal", n) for n in (1, 2, 3)),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("operation", "nth"), CALLS)
def test_killed_at_any_call_it_goes_on_and_nothing_is_done_twice(
    aws, anna, marta, incident, monkeypatch, operation, nth, when
):
    document = registered(anna, *SPEAK)
    real, left, deaths = automation._ssm, [nth], []

    @contextmanager
    def mortal(region):
        with real(region) as client:
            call = getattr(client, operation)

            def dying(**kwargs):
                left[0] -= 1
                dies = left[0] == 0
                if dies and when == "before":
                    deaths.append(operation)
                    raise Died
                reply = call(**kwargs)
                if dies:
                    deaths.append(operation)
                    raise Died
                return reply

            monkeypatch.setattr(client, operation, dying)
            yield client

    monkeypatch.setattr(automation, "_ssm", mortal)
    execution = automation.start(document, incident, anna)
    for _again in range(16):
        # The lease is let go when Python is unwound; of one that is killed it runs out.
        AutomationExecution.objects.filter(look_at__isnull=False).update(look_at=timezone.now(), leased_until=None)
        try:
            tasks.sweep_automation()
        except Died:
            continue
        tasks.sweep_runbooks()
        update = incident.updates.exclude(status="withdrawn").first()
        if update and update.status == "in_review":
            approve(update, marta)
    execution.refresh_from_db()
    assert deaths == [operation]
    assert (execution.status, execution.run.state, len(aws.executions)) == ("Success", "done", 1)
    assert [(step, kind, state) for step, kind, _origin, state in signals(execution)] == [
        ("step_01_draft", "Resume", "sent"),
        ("step_02_approval", "Approve", "sent"),
        ("step_04_publish", "Resume", "sent"),
    ]
    assert sum(not isinstance(one, Fault) for one in aws.signals) == 3
    assert incident.updates.filter(status="published").count() == 1


def test_what_aws_refuses_is_told_and_sent_when_a_person_says_so(aws, anna, marta, asked):
    approve(asked.incident.updates.first(), marta)
    aws.aws.script("SendAutomationSignal", Fault("AccessDeniedException", "not an approver"))
    go_on(asked)
    assert signals(asked)[-1] == ("step_02_approval", "Approve", "portal", "failed")
    assert "not an approver" in asked.signals.get(kind="Approve").detail
    with pytest.raises(NotAllowed):
        automation.again(asked, make.incident_manager())
    automation.again(asked, anna)
    go_on(asked)
    assert asked.status == "Success"
    with pytest.raises(WrongState):
        automation.again(asked, anna)


def test_two_workers_do_not_follow_the_same_execution(aws, asked):
    calls = len(aws.aws.calls)
    AutomationExecution.objects.update(leased_until=timezone.now() + timedelta(minutes=1))
    tasks.follow_automation(asked.pk)
    assert len(aws.aws.calls) == calls


def test_a_run_that_goes_on_wakes_its_execution(aws, asked, monkeypatch):
    woken = []
    monkeypatch.setattr("channels.queue.enqueue", lambda task, *args: woken.append((task, *args)))
    tasks.run_runbook(asked.run_id)
    assert ("incidents.tasks.follow_automation", asked.pk) in woken


def test_nothing_is_called_within_a_transaction(aws, marta, asked, monkeypatch):
    from django.db import connection

    depths = []
    real = automation._ssm

    def watched(region):
        depths.append(len(connection.savepoint_ids))
        return real(region)

    monkeypatch.setattr(automation, "_ssm", watched)
    depth = len(connection.savepoint_ids)
    approve(asked.incident.updates.first(), marta)
    go_on(asked)
    assert set(depths) == {depth}
    assert RunbookRun.objects.get().state == "done"


# ── Stopped ─────────────────────────────────────────────────────────────────


def stopped_here(execution: AutomationExecution, by: User) -> AutomationExecution:
    running.stop(execution.run, by, "A false alarm.")
    return execution


def test_a_run_that_is_stopped_stops_what_runs_in_aws(aws, anna, asked):
    stopped_here(asked, anna)
    assert asked.status == "Waiting"  # it is AWS that says when
    tasks.follow_automation(asked.pk)
    assert aws.stops == [{"AutomationExecutionId": asked.execution_id, "Type": "Cancel"}]
    one = asked.signals.get(kind="Stop")
    assert (one.state, one.step, one.comment) == ("sent", "", "Stopped by Anna: A false alarm.")
    asked.refresh_from_db()
    assert (asked.status, asked.runs_on) == ("Waiting", "asked")  # taken, and not yet said
    tasks.follow_automation(asked.pk)
    asked.refresh_from_db()
    assert (asked.status_in_words, asked.is_over) == ("Being stopped", False)
    go_on(asked)
    assert (asked.status, asked.look_at) == ("Cancelled", None)
    assert len(aws.stops) == 1


def test_stopping_wakes_whoever_stops_it_in_aws(aws, anna, asked, monkeypatch):
    woken = []
    monkeypatch.setattr(running.queue, "enqueue", lambda task, pk: woken.append((task, pk)))
    stopped_here(asked, anna)
    assert woken == [("incidents.tasks.run_runbook", asked.run_id)]


def test_what_was_stopped_is_signalled_nothing_else(aws, anna, marta, asked):
    approve(asked.incident.updates.first(), marta)
    tasks.sweep_runbooks()  # the portal has its approval, AWS not yet
    stopped_here(asked, anna)
    go_on(asked)
    assert [one[1] for one in signals(asked)] == ["Resume", "Stop"]


def test_stopped_while_aws_is_asked_it_is_signalled_nothing_else(aws, anna, marta, asked, monkeypatch):
    approve(asked.incident.updates.first(), marta)
    tasks.sweep_runbooks()
    look = automation._look

    def meanwhile(one, client):
        found = look(one, client)
        running.stop(RunbookRun.objects.get(pk=one.run_id), anna, "No.")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(automation, "_look", meanwhile)
        AutomationExecution.objects.update(look_at=timezone.now())
        tasks.sweep_automation()
    assert [one[1] for one in signals(asked)] == ["Resume", "Stop"]
    assert asked.signals.get(kind="Stop").comment == "Stopped by Anna: No."


@pytest.mark.parametrize("fault", [Drop(), Fault("ThrottlingException"), Fault("InternalServerError", status=500)])
def test_a_stop_that_did_not_arrive_is_repeated(aws, anna, asked, fault):
    aws.aws.script("StopAutomationExecution", fault, fault)
    stopped_here(asked, anna)
    go_on(asked, rounds=8)
    assert len(aws.aws.params("StopAutomationExecution")) == 3
    assert (asked.status, asked.signals.get(kind="Stop").state) == ("Cancelled", "sent")


def test_a_stop_whose_answer_got_lost_is_seen(aws, anna, asked):
    aws.lost.add("StopAutomationExecution")
    stopped_here(asked, anna)
    go_on(asked)
    assert (len(aws.stops), asked.status, asked.signals.get(kind="Stop").state) == (1, "Cancelled", "sent")


def test_over_in_aws_before_it_could_be_stopped_it_is_as_aws_says(aws, anna, asked):
    aws.decide(aws.executions[asked.execution_id], "Reject", "eve")
    stopped_here(asked, anna)
    go_on(asked)
    assert (asked.status, aws.stops) == ("Rejected", [])


def test_what_may_not_be_stopped_runs_on_and_says_so_until_a_person_asks_again(aws, anna, asked):
    refusal = Fault("AccessDeniedException", "not authorized to perform: ssm:StopAutomationExecution")
    aws.aws.script("StopAutomationExecution", refusal)
    stopped_here(asked, anna)
    go_on(asked)
    one = asked.signals.get(kind="Stop")
    assert (asked.status, one.state) == ("Waiting", "failed")
    assert asked.runs_on == "left"
    assert "ssm:StopAutomationExecution" in one.detail
    automation.again(asked, anna)
    go_on(asked)
    assert (asked.status, asked.runs_on) == ("Cancelled", "")


def test_a_stop_that_changes_nothing_is_not_called_stopped(aws, anna, asked, time_machine):
    aws.deaf = True
    stopped_here(asked, anna)
    go_on(asked)
    assert (asked.status, asked.runs_on) == ("Waiting", "asked")
    time_machine.move_to(timezone.now() + SOON + timedelta(seconds=1))
    go_on(asked)
    assert (asked.status, asked.runs_on) == ("Waiting", "left")


def test_tried_often_enough_a_stop_is_left_to_a_person(aws, anna, asked):
    aws.aws.script("StopAutomationExecution", *[Fault("ThrottlingException")] * automation.MOST_TRIES)
    stopped_here(asked, anna)
    go_on(asked, rounds=automation.MOST_TRIES + 3)
    assert asked.signals.get(kind="Stop").state == "failed"
    assert asked.runs_on == "left"


def test_stopped_before_it_was_started_it_is_not_started(aws, anna, incident):
    one = automation.start(registered(anna, *SPEAK), incident, anna)
    stopped_here(one, anna)
    go_on(one)
    assert (one.status, one.trouble) == ("NotStarted", "It was stopped before AWS took it.")
    assert aws.executions == {}


def test_stopped_while_nobody_knows_whether_it_was_started_it_is_left_to_a_person(aws, anna, incident):
    aws.lost.add("StartAutomationExecution")
    one = automation.start(registered(anna, *SPEAK), incident, anna)
    tasks.follow_automation(one.pk)
    stopped_here(one, anna)
    go_on(one)
    assert one.status == "Unknown"
    assert "stop it there" in one.trouble
    assert len(aws.aws.params("StartAutomationExecution")) == 1


@pytest.mark.parametrize("before", [True, False])
def test_killed_at_the_stop_it_is_stopped_by_the_next(aws, anna, asked, monkeypatch, before):
    call = automation._call

    def dies(one, signal, client):
        if not before:
            call(one, signal, client)
        raise Died

    stopped_here(asked, anna)
    with monkeypatch.context() as patch:
        patch.setattr(automation, "_call", dies)
        AutomationExecution.objects.update(look_at=timezone.now())
        with pytest.raises(Died):
            tasks.sweep_automation()
    go_on(asked)
    assert (asked.status, asked.signals.get(kind="Stop").state, len(aws.stops)) == ("Cancelled", "sent", 1)
