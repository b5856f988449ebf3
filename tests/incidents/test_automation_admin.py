"""The pages of runbooks on AWS: who sees them, what a confirmation shows, and what a mistake is answered with."""

import json

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from incidents import roles
from incidents.aws import automation
from incidents.models import (
    AutomationDocument,
    AutomationExecution,
    AutomationSignal,
    Incident,
    Runbook,
    RunbookStep,
)
from tests import make

pytestmark = pytest.mark.django_db
STEPS = [
    {"kind": "draft", "config": {"stage": "", "words": "template"}},
    {"kind": "approval", "config": {}},
    {"kind": "publish", "config": {}},
]
DATA = {
    "region": "eu-south-1",
    "name": "Commsportal-First",
    "role_arn": "",
    "topic_arn": "arn:aws:sns:eu-south-1:123456789012:AutomationApprovals",
    "approvers": "arn:aws:iam::123456789012:role/portal\n\neve\n",
    "integrations": "3 = bank",
}


def person(*codenames: str, groups: tuple[str, ...] = (roles.INCIDENT_MANAGERS, roles.ALL_COMPONENTS)) -> User:
    one = make.user(*groups)
    one.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    return User.objects.get(pk=one.pk)


@pytest.fixture
def manager() -> User:
    return person("view_runbook", "change_runbook")


@pytest.fixture
def reader() -> User:
    return person("view_runbook")


@pytest.fixture
def document() -> AutomationDocument:
    runbook = Runbook.objects.create(name="First words")
    for position, step in enumerate(STEPS):
        RunbookStep.objects.create(runbook=runbook, position=position, **step)
    return AutomationDocument.objects.create(
        runbook=runbook, region="eu-south-1", name="Commsportal-First", approvers=["portal"]
    )


def registered(document: AutomationDocument) -> AutomationDocument:
    """As it is once AWS has answered."""
    from incidents.aws import automation_document as documents

    document.content, document.text = document.runbook.content(), automation.text_now(document)
    document.content_hash = documents.hash_of(document.text)
    document.state, document.version, document.registered_at = "registered", "4", timezone.now()
    document.save()
    return document


@pytest.fixture
def incident(manager) -> Incident:
    make.plan(make.channel())
    return make.incident(manager, make.component("Checkout"), title="Cards fail")


def page(name: str, one: AutomationDocument) -> str:
    return reverse(f"admin:incidents_automationdocument_{name}", args=[one.pk])


# ── Settings ────────────────────────────────────────────────────────────────


def test_the_settings_are_typed_in_lines(manager, document):
    client = make.client(manager)
    AutomationDocument.objects.all().delete()
    response = client.post(
        reverse("admin:incidents_automationdocument_add"), {**DATA, "runbook": Runbook.objects.get().pk}
    )
    assert response.status_code == 302
    one = AutomationDocument.objects.get()
    assert one.approvers == ["arn:aws:iam::123456789012:role/portal", "eve"]
    assert one.integrations == {"3": "bank"}
    body = client.get(page("change", one)).content.decode()
    assert "3 = bank" in body


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("region", "milan", "“milan” is not an AWS region"),
        ("name", "aws-runbook", "begin with another word"),
        ("name", "x y", "no name of a document"),
        ("role_arn", "portal", "not the ARN of a role"),
        ("topic_arn", "arn:aws:sns:eu-south-1:123456789012:Approvals", "begins with Automation"),
        ("approvers", "arn:aws:s3:::bucket", "no user or role of IAM"),
        ("approvers", "\n".join(f"u{n}" for n in range(11)), "These are 11"),
        ("integrations", "three = bank", "Line 1, “three = bank”"),
        ("integrations", "²=x", "Line 1"),
    ],
)
def test_a_mistake_names_value_and_fix_and_nothing_is_saved(manager, document, field, value, says):
    data = {**DATA, "runbook": document.runbook_id, "name": "Other", field: value}
    response = make.client(manager).post(reverse("admin:incidents_automationdocument_add"), data)
    assert response.status_code == 200
    assert says in response.content.decode()
    assert AutomationDocument.objects.count() == 1


def test_a_name_is_taken_once_in_a_region(manager, document):
    data = {**DATA, "runbook": document.runbook_id}
    response = make.client(manager).post(reverse("admin:incidents_automationdocument_add"), data)
    assert "choose another" in response.content.decode()


def test_what_is_registered_does_not_move(manager, document):
    registered(document)
    data = {**DATA, "region": "eu-west-1", "name": "Elsewhere"}
    make.client(manager).post(page("change", document), data)
    document.refresh_from_db()
    assert (document.region, document.name, document.topic_arn) == (
        "eu-south-1",
        "Commsportal-First",
        DATA["topic_arn"],
    )
    assert (document.state, document.version) == ("registered", "4")


# ── Export ──────────────────────────────────────────────────────────────────


def test_a_reader_sees_and_downloads_the_document_and_changes_nothing(reader, document):
    client = make.client(reader)
    body = client.get(page("document", document)).content.decode()
    assert "The portal does it; AWS waits" in body
    assert "aws:approve" in body
    response = client.get(page("download", document))
    assert json.loads(response.content)["schemaVersion"] == "0.3"
    assert response["Content-Disposition"] == 'attachment; filename="Commsportal-First.json"'
    for name in ("register", "start"):
        assert client.get(page(name, document)).status_code == 403
        assert client.post(page(name, document), {"seen": "x", "incident": "1"}).status_code == 403
    assert "Register" not in client.get(page("change", document)).content.decode()


def test_who_may_not_see_runbooks_sees_none(document):
    client = make.client(person(groups=(roles.MANAGERS, roles.ALL_COMPONENTS)))
    for name in ("document", "download", "change"):
        assert client.get(page(name, document)).status_code in (302, 403)
    assert client.get(reverse("admin:incidents_automationexecution_changelist")).status_code == 403


def test_a_runbook_that_cannot_be_exported_says_why(manager, document):
    RunbookStep.objects.all().delete()
    client = make.client(manager)
    assert "no steps" in client.get(page("document", document)).content.decode()
    for name in ("download", "register"):
        response = client.get(page(name, document))
        assert response.status_code == 422
        assert "no steps" in response.content.decode()


# ── Register ────────────────────────────────────────────────────────────────


def test_registering_is_shown_then_asked_for(manager, document):
    client = make.client(manager)
    response = client.get(page("register", document))
    body = response.content.decode()
    assert "Nothing is started." in body
    document.refresh_from_db()
    assert document.state == "new"
    assert client.post(page("register", document), {"seen": response.context["seen"]}).status_code == 302
    document.refresh_from_db()
    assert (document.state, document.asked_by) == ("asked", manager)
    assert client.post(page("register", document), {"seen": response.context["seen"]}).status_code == 409


def test_what_changed_since_it_was_shown_is_shown_again(manager, document):
    client = make.client(manager)
    seen = client.get(page("register", document)).context["seen"]
    RunbookStep.objects.create(runbook=document.runbook, position=9, kind="wait", config={"minutes": 1})
    assert client.post(page("register", document), {"seen": seen}).status_code == 409
    document.refresh_from_db()
    assert document.state == "new"


def test_a_runbook_that_differs_from_what_is_registered_says_so(manager, document):
    registered(document)
    client = make.client(manager)
    hint = "differs from what is registered"
    assert hint not in client.get(page("change", document)).content.decode()
    assert client.get(page("register", document)).status_code == 409
    RunbookStep.objects.create(runbook=document.runbook, position=9, kind="wait", config={"minutes": 1})
    body = client.get(page("change", document)).content.decode()
    assert hint in body
    assert "Register the new version" in body


def test_what_aws_said_is_told(manager, document):
    AutomationDocument.objects.update(state="failed", detail="AccessDenied <b>no</b>")
    body = make.client(manager).get(page("change", document)).content.decode()
    assert "AccessDenied &lt;b&gt;no" in body


# ── Start ───────────────────────────────────────────────────────────────────


def test_it_is_started_in_an_incident_after_a_page_that_shows_what_happens(manager, document, incident):
    registered(document)
    client = make.client(manager)
    assert "Cards fail" in client.get(page("start", document)).content.decode()
    body = client.get(page("start", document), {"incident": incident.pk}).content.decode()
    assert "AWS learns the title" in body
    assert not AutomationExecution.objects.exists()
    response = client.post(page("start", document), {"incident": incident.pk})
    execution = AutomationExecution.objects.get()
    assert response["Location"] == reverse("admin:incidents_automationexecution_change", args=[execution.pk])
    assert "Being handed to AWS" in client.get(response["Location"]).content.decode()
    assert client.post(page("start", document), {"incident": incident.pk}).status_code == 409


@pytest.mark.parametrize("key", ["999", "x", "9" * 30, "-1"])
def test_an_incident_that_is_not_there_is_not_found(manager, document, key):
    registered(document)
    assert make.client(manager).get(page("start", document), {"incident": key}).status_code == 404


def test_it_is_not_started_in_the_incidents_of_others(document, incident):
    registered(document)
    stranger = person("view_runbook", "change_runbook", groups=(roles.INCIDENT_MANAGERS,))
    assign_perm("incidents.operate_component", stranger, make.component("Login"))
    client = make.client(stranger)
    assert "Cards fail" not in client.get(page("start", document)).content.decode()
    assert client.post(page("start", document), {"incident": incident.pk}).status_code == 404


def test_it_is_not_started_before_it_is_registered(manager, document):
    assert make.client(manager).get(page("start", document)).status_code == 422


# ── Executions ──────────────────────────────────────────────────────────────


@pytest.fixture
def execution(manager, document, incident) -> AutomationExecution:
    one = automation.start(registered(document), incident, manager)
    one.execution_id, one.status = "0" * 36, "Waiting"
    names = ["step_01_draft", "step_02_approval"]
    one.steps = [
        {
            "name": name,
            "action": action,
            "status": status,
            "message": "",
            "began": "2026-11-27T03:00:00+00:00",
            "ended": "",
            "approval": "",
            "decisions": "",
        }
        for name, action, status in zip(names, ["aws:pause", "aws:approve"], ["Success", "Waiting"], strict=True)
    ]
    one.save()
    return one


def shown(who: User, one: AutomationExecution):
    return make.client(who).get(reverse("admin:incidents_automationexecution_change", args=[one.pk]))


def test_an_execution_tells_how_far_it_is_and_whose_turn(reader, execution):
    body = shown(reader, execution).content.decode()
    assert "AWS waits for the approval that the portal asks for." in body
    assert "Write the draft of an update" in body
    assert "Ask AWS now" not in body
    run = reverse("admin:incidents_runbookrun_change", args=[execution.run_id])
    assert f'href="{run}"' in body


def test_the_page_of_the_portals_half_names_what_aws_does(manager, document, incident):
    operation = {"operation": "ssm:CreateOpsItem", "region": "eu-south-1"}
    parameters = {"Title": "x", "Description": "x", "Source": "x"}
    config = {**operation, "parameters": parameters}
    RunbookStep.objects.create(runbook=document.runbook, position=9, kind="aws", config=config)
    one = automation.start(registered(document), incident, manager)
    response = make.client(manager).get(reverse("admin:incidents_runbookrun_change", args=[one.run_id]))
    assert response.status_code == 200
    body = response.content.decode()
    assert "Wait for what AWS does" in body
    assert "ssm:CreateOpsItem" in body


def test_a_signal_given_in_aws_is_shown_as_information(reader, execution):
    AutomationSignal.objects.create(
        execution=execution, step="step_02_approval", kind="Approve", origin="aws", state="given", who="<i>eve</i>"
    )
    body = shown(reader, execution).content.decode()
    assert "it approves nothing in the portal" in body
    assert "&lt;i&gt;eve" in body


def test_what_aws_refused_is_sent_again_by_who_may(manager, reader, execution):
    AutomationSignal.objects.create(
        execution=execution, step="step_02_approval", kind="Approve", state="failed", detail="not an approver"
    )
    url = reverse("admin:incidents_automationexecution_again", args=[execution.pk])
    assert "Send again what AWS refused" in shown(manager, execution).content.decode()
    assert make.client(reader).post(url).status_code == 403
    assert make.client(manager).get(url).status_code == 302
    assert execution.signals.get().state == "failed"
    assert make.client(manager).post(url).status_code == 302
    assert execution.signals.get().state == "waiting"


def test_what_is_stopped_says_where_it_still_runs(manager, reader, execution):
    run = reverse("admin:incidents_runbookrun_change", args=[execution.run_id])
    pages = [run, reverse("admin:incidents_automationexecution_change", args=[execution.pk])]

    def bodies() -> list[str]:
        return [make.client(manager).get(url).content.decode() for url in pages]

    assert "On AWS: Waiting." in bodies()[0]
    assert "AWS is told to stop its part too." in bodies()[0]
    act = reverse("admin:incidents_runbookrun_act", args=[execution.run_id])
    make.client(manager).post(act, {"do": "stop", "reason": "A false alarm."})
    assert all("has not said yet that it does" in body for body in bodies())
    AutomationSignal.objects.create(
        execution=execution, kind="Stop", state="failed", detail="AccessDeniedException", comment="Stopped by Anna"
    )
    assert all("still running on AWS: stop it there" in body for body in bodies())
    assert "Send again what AWS refused" in bodies()[1]
    AutomationExecution.objects.update(status="Cancelled", look_at=None)
    assert not any("stop it there" in body or "stop it too" in body for body in bodies())
    assert "On AWS: Stopped." in bodies()[0]
    assert pages[1] in bodies()[0]


def test_an_execution_in_a_foreign_incident_does_not_exist(execution):
    stranger = person("view_runbook", "change_runbook", groups=(roles.INCIDENT_MANAGERS,))
    assign_perm("incidents.operate_component", stranger, make.component("Login"))
    assert shown(stranger, execution).status_code == 404
    url = reverse("admin:incidents_automationexecution_again", args=[execution.pk])
    assert make.client(stranger).post(url).status_code == 404
    listed = make.client(stranger).get(reverse("admin:incidents_automationexecution_changelist"))
    assert "Cards fail" not in listed.content.decode()
    assert shown(stranger, execution).status_code == 404


def test_the_page_of_an_execution_asks_the_database_as_often_for_many_steps(
    reader, execution, django_assert_num_queries
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client = make.client(reader)
    url = reverse("admin:incidents_automationexecution_change", args=[execution.pk])
    client.get(url)
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get(url)
    execution.steps = execution.steps * 20
    execution.save()
    for number in range(20):
        AutomationSignal.objects.create(execution=execution, step=f"step_{number:02d}_publish", kind="Resume")
    with django_assert_num_queries(len(few)):
        client.get(url)


def test_lists_ask_the_database_as_often_for_many_rows(manager, document, execution, django_assert_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client = make.client(manager)
    urls = [
        reverse("admin:incidents_automationdocument_changelist"),
        reverse("admin:incidents_automationexecution_changelist"),
    ]
    few = []
    for url in urls:
        client.get(url)
        with CaptureQueriesContext(connection) as seen:
            client.get(url)
        few.append(len(seen))
    for number in range(5):
        AutomationDocument.objects.create(runbook=document.runbook, region="eu-south-1", name=f"Other-{number}")
        AutomationExecution.objects.create(
            incident=execution.incident, document=document, by=manager, region="eu-south-1", document_name="x"
        )
    for url, count in zip(urls, few, strict=True):
        with django_assert_num_queries(count):
            client.get(url)
