"""Every role against every action: who gets through, and nobody else.

Each action is really done, as the pages do it, on the way that the page takes; then it is taken back.
"""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.urls import reverse

from feedback.models import Survey
from feedback.models import review as reviews
from incidents import declaring, roles
from incidents.errors import NotAllowed
from incidents.models import Incident, IncidentUpdate, Runbook
from incidents.runbooks import running
from tests import make
from tests.incidents.test_runbooks import runbook

pytestmark = pytest.mark.django_db
COLUMNS = [roles.INCIDENT_MANAGERS, roles.COMMUNICATIONS_MANAGERS, roles.SUPPORT_LEADS, roles.MANAGERS, None]

# One letter a role, in the order of COLUMNS: incident manager, communications manager, support lead, manager, no role.
TABLE = """
    see the incident           I C S M .
    declare                    I C . . .
    dismiss                    I C . . .
    change the severity        I C . . .
    hand over a role           I . . . .
    write                      I C S . .
    edit                       I C S . .
    ask for approval           I C S . .
    withdraw                   I C S . .
    approve                    I C . . .
    send back                  I C . . .
    publish                    I C . . .
    break the glass            I . . . .
    review the glass           I C . . .
    correct                    I C S . .
    stop the sending           I C . . .
    start a runbook            I C S . .
    pause a runbook            I C S . .
    write a runbook            . C . . .
    read a runbook             I C S . .
    change a plan              . C . . .
    read a plan                I C S . .
    write a template           . C . . .
    design a survey            . C . . .
    read the survey            I C . . .
    add a recipient            . C . . .
    read recipients            . C S . .
    add an alert source        I . . . .
    see event subscriptions    I . . . .
    add an event subscription  . . . . .
    read the report            I C . M .
    take the evidence          I C . M .
    read a review              I C . M .
    write a review             I C . . .
    add a person               . . . . .
    record training            . . . M .
    remove a lost factor       . . . . .
"""


def expected() -> dict[str, list[bool]]:
    rows = [line.strip() for line in TABLE.splitlines() if line.strip()]
    return {row[:-9].strip(): [letter != "." for letter in row[-9:].split()] for row in rows}


class World:
    """An incident with a published update and one that waits, written by somebody else."""

    def __init__(self) -> None:
        self.author = make.incident_manager()
        self.second = make.communications_manager()
        make.recipients(2)
        make.plan(make.channel(), people=[("incident_manager", self.author)])
        self.incident = make.incident(self.author)
        self.published = make.published(self.incident.updates.get(), self.second)
        self.waiting = declaring.start_draft(self.incident, self.author, "identified").submit(self.author)
        self.quiet = make.incident(self.author, title="Never public")
        self.draft = self.quiet.updates.get()
        self.runbook = runbook({"kind": "wait", "minutes": 5})
        self.run = running.start(self.quiet, self.runbook, self.author)


def got(page: str, *args: object) -> Callable[[User, World], bool]:
    return lambda user, world: make.client(user).get(reverse(page, args=args)).status_code == 200


def posted(page: str, pk: Callable[[World], int], **data: str) -> Callable[[User, World], bool]:
    def act(user: User, world: World) -> bool:
        answer = make.client(user).post(reverse(page, args=[pk(world)]), data)
        assert answer.status_code in (302, 403, 404), answer.status_code
        return answer.status_code == 302

    return act


def verb(act: Callable[[User, World], object]) -> Callable[[User, World], bool]:
    def attempt(user: User, world: World) -> bool:
        try:
            act(user, world)
        except NotAllowed:
            return False
        return True

    return attempt


def approved(world: World) -> IncidentUpdate:
    return IncidentUpdate.objects.get(pk=world.waiting.pk).approve(world.second)


def delivered(world: World) -> IncidentUpdate:
    world.waiting.withdraw(world.author)
    make.deliver()
    return world.published


def broken(world: World) -> IncidentUpdate:
    return world.waiting.break_glass(make.incident_manager(), "Nobody was there.", world.waiting.content_hash)


INCIDENT = "admin:incidents_incident"
ACTIONS: dict[str, Callable[[User, World], bool]] = {
    "see the incident": lambda user, world: got(f"{INCIDENT}_change", world.incident.pk)(user, world),
    "declare": verb(
        lambda user, world: declaring.declare(user, "New", {world.incident.components.get(): "major_outage"}, "sev2")
    ),
    "dismiss": posted(f"{INCIDENT}_dismiss", lambda world: world.quiet.pk, reason="A test."),
    "change the severity": posted(f"{INCIDENT}_severity", lambda world: world.quiet.pk, severity="sev1"),
    "hand over a role": lambda user, world: posted(
        f"{INCIDENT}_role", lambda world: world.incident.pk, role="support_lead", user=str(world.second.pk)
    )(user, world),
    "write": lambda user, world: (
        world.waiting.withdraw(world.author),
        posted(f"{INCIDENT}_write", lambda world: world.incident.pk)(user, world),
    )[1],
    "edit": verb(lambda user, world: world.draft.edit(user, world.draft.version, {"en": {"impact": "All."}})),
    "ask for approval": verb(lambda user, world: world.draft.submit(user)),
    "withdraw": verb(lambda user, world: world.draft.withdraw(user)),
    "approve": verb(lambda user, world: world.waiting.approve(user)),
    "send back": verb(lambda user, world: world.waiting.reject(user, "Vague.")),
    "publish": verb(lambda user, world: approved(world).publish(user)),
    "break the glass": verb(lambda user, world: world.waiting.break_glass(user, "Nobody.", world.waiting.content_hash)),
    "review the glass": verb(lambda user, world: broken(world).review_glass(user, "It was needed.")),
    "correct": verb(lambda user, world: declaring.start_correction(delivered(world), user)),
    "stop the sending": verb(lambda user, world: world.published.stop(user)),
    "start a runbook": lambda user, world: posted(
        "admin:incidents_runbookrun_start", lambda world: world.incident.pk, runbook=str(world.runbook.pk)
    )(user, world),
    "pause a runbook": posted("admin:incidents_runbookrun_act", lambda world: world.run.pk, do="pause"),
    "write a runbook": got("admin:incidents_runbook_add"),
    "read a runbook": lambda user, world: got("admin:incidents_runbook_change", world.runbook.pk)(user, world),
    "change a plan": got("admin:incidents_communicationplan_add"),
    "read a plan": lambda user, world: got("admin:incidents_communicationplan_change", world.incident.plan_id)(
        user, world
    ),
    "write a template": got("admin:incidents_messagetemplate_add"),
    "design a survey": got("admin:feedback_survey_add"),
    "read the survey": lambda user, world: got("admin:feedback_survey_change", Survey.objects.get().pk)(user, world),
    "add a recipient": got("admin:channels_recipient_add"),
    "read recipients": got("admin:channels_recipient_changelist"),
    "add an alert source": got("admin:incidents_alertsource_add"),
    "see event subscriptions": got("admin:incidents_eventsubscription_changelist"),
    "add an event subscription": got("admin:incidents_eventsubscription_add"),
    "read the report": got("admin:feedback_report"),
    "take the evidence": lambda user, world: (
        make.client(user).get(reverse("admin:feedback_report_evidence", args=[world.incident.pk])).status_code == 200
    ),
    "read a review": lambda user, world: (
        make.client(user).get(reverse("admin:feedback_report_review", args=[world.incident.pk])).status_code == 200
    ),
    "write a review": lambda user, world: reviews.may_write(user, world.incident),
    "add a person": got("admin:auth_user_add"),
    "record training": got("admin:incidents_training_add"),
    "remove a lost factor": posted("admin:auth_user_second_factors", lambda world: world.second.pk),
}


def test_the_table_names_every_action():
    assert list(expected()) == list(ACTIONS)


@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_a_role_gets_through_with_what_the_table_says_and_nothing_else(column: int):
    world = World()
    user = make.user(*filter(None, [COLUMNS[column]]), roles.ALL_COMPONENTS)
    found, wanted = {}, {action: row[column] for action, row in expected().items()}
    for action, act in ACTIONS.items():
        with transaction.atomic():
            for one in (world.waiting, world.published, world.draft, world.quiet, world.incident):
                one.refresh_from_db()
            found[action] = act(user, world)
            transaction.set_rollback(True)
    assert found == wanted


@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_without_the_component_no_role_gets_through_with_anything_of_the_incident(column: int):
    world = World()
    user = make.user(*filter(None, [COLUMNS[column]]))
    of_the_incident = list(ACTIONS)[: list(ACTIONS).index("write a runbook")]
    found = {}
    for action in of_the_incident:
        with transaction.atomic():
            for one in (world.waiting, world.published, world.draft, world.quiet, world.incident):
                one.refresh_from_db()
            found[action] = ACTIONS[action](user, world)
            transaction.set_rollback(True)
    assert found == dict.fromkeys(of_the_incident, False)
    assert Incident.objects.count() == 2
    assert Runbook.objects.count() == 1
