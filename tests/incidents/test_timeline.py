"""The timeline of an incident tells what its clock and its runbooks did, beside what people did."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from incidents import clock, tasks
from incidents.models import ApprovalRule, StaffNotice
from incidents.rendering import moment
from incidents.runbooks import running
from tests import make
from tests.incidents.test_runbooks import SPEAK, approve, opened, people, runbook, walk  # noqa: F401

pytestmark = pytest.mark.django_db
WAIT = {"kind": "wait", "minutes": 5}


@pytest.fixture
def at(time_machine):
    """Moves the clock to so many minutes after the start."""
    start = timezone.now().replace(hour=8, minute=0, second=0, microsecond=0)

    def move(minutes: float) -> None:
        time_machine.move_to(start + timedelta(minutes=minutes), tick=False)

    move(0)
    return move


def page(user, incident, language: str = "en"):
    url = reverse("admin:incidents_incident_change", args=[incident.pk])
    return make.client(user).get(url, headers={"Accept-Language": language})


def told(user, incident) -> list[str]:
    """What happened by itself, newest first."""
    return [item["text"] for item in page(user, incident).context["story"] if "text" in item]


def test_the_clock_is_told_of_with_whom_it_reached(at, people):  # noqa: F811
    make.recipients(2)
    make.plan(make.channel(name="Email"), people=list(people.items()), first_update_minutes=15, update_minutes=30)
    incident = make.incident(people["incident_manager"])
    at(11)
    clock.tick()
    StaffNotice.objects.update(outcome="sent")
    at(16)
    clock.tick()
    due = moment(incident.declared_at + timedelta(minutes=15))
    assert told(people["incident_manager"], incident) == [
        f"A promise was broken: First update, due {due}. Told: Anna (Waiting to be sent), Marta (Waiting to be sent).",
        "An update was due soon. Reminded: Marta.",
    ]
    StaffNotice.objects.filter(kind="breach").update(outcome="obsolete")
    assert told(people["incident_manager"], incident)[0] == f"A promise was broken: First update, due {due}."


def test_deputies_who_were_asked_are_told_of(at, people):  # noqa: F811
    make.recipients(2)
    marta = people["communications_manager"]
    plan = make.plan(make.channel(name="Email"), people=[("communications_manager", marta)])
    ApprovalRule.objects.create(plan=plan, escalate_minutes=5)
    make.communications_manager(first_name="Bruno")
    incident = make.incident(people["incident_manager"])
    incident.updates.get().submit(people["incident_manager"])
    at(6)
    clock.tick()
    StaffNotice.objects.update(outcome="failed")
    assert told(people["incident_manager"], incident) == [
        "Update 1 still waited for approval. Asked as well: Bruno (Failed)."
    ]


def test_a_person_is_named_once_and_as_reached_if_one_way_was_enough(at, people):  # noqa: F811
    make.recipients(2)
    marta = people["communications_manager"]
    make.plan(make.channel(name="Email"), people=[("communications_manager", marta)], first_update_minutes=15)
    incident = make.incident(people["incident_manager"])
    at(11)
    clock.tick()
    StaffNotice.objects.filter(kind="reminder").update(outcome="sent")
    [notice] = StaffNotice.objects.filter(kind="reminder")
    notice.pk, notice.key, notice.medium, notice.outcome = None, notice.key.replace("email", "sms"), "sms", "failed"
    notice.save()
    assert told(marta, incident) == ["An update was due soon. Reminded: Marta."]


def test_how_a_runbook_went_is_told_of(at, opened, people):  # noqa: F811
    run = walk(opened(WAIT, {"kind": "chat", "text": "Hello."}, WAIT))
    anna = people["incident_manager"]
    at(1)
    running.skip(run, anna, 0, "Not now.")
    walk(run)
    at(2)
    running.stop(run, anna, "All clear.")
    at(3)
    again = running.start(run.incident, run.runbook, anna)
    for index in (0, 2):
        at(4 + index)
        running.skip(walk(again), anna, index, "Not now.")
    walk(again)
    left_out = "The runbook “First words” left out “Write in the chat for staff”: The plan names no chat for staff."
    skipped = "Anna skipped “Wait” of the runbook “First words”: Not now."
    found = told(anna, run.incident)
    assert sorted(found[:-5]) == sorted(["The runbook “First words” is done.", skipped, left_out, skipped])
    assert found[-5] == "Anna started the runbook “First words”."
    assert found[-4] == "The runbook “First words” ended early. Stopped by Anna: All clear."
    assert sorted(found[-3:-1]) == sorted([left_out, skipped])
    assert found[-1] == "The runbook “First words” started by itself (An incident is declared), in the name of Anna."


def test_an_approval_that_a_runbook_asked_for_is_told_as_that(opened, people):  # noqa: F811
    run = walk(opened(*SPEAK))
    anna = people["incident_manager"]
    html = page(anna, run.incident).text
    assert "The runbook “First words” asked for approval, in the name of Anna" in html
    assert "Anna asked for approval" not in html
    review = reverse("admin:incidents_incidentupdate_review", args=[run.incident.updates.get().pk])
    html = make.client(people["communications_manager"]).get(review).text
    assert html.count("The runbook “First words” asked for approval, in the name of Anna") == 2
    assert "asked for approval on" not in html
    # What Anna asks for herself is hers, though the runbook still waits.
    update = run.incident.updates.get()
    update.reject(people["communications_manager"], "Say which cards.")
    update.refresh_from_db()
    update.submit(anna)
    assert page(anna, run.incident).text.count("Anna asked for approval") == 1


def test_by_hand_it_asked_as_started_by_a_person(people):  # noqa: F811
    make.recipients(2)
    make.plan(make.channel(name="Email"), people=list(people.items()))
    incident = make.incident(people["incident_manager"])
    walk(running.start(incident, runbook(*SPEAK), people["incident_manager"]))
    html = page(people["incident_manager"], incident).text
    assert "The runbook “First words” asked for approval, as started by Anna" in html
    assert f"Started {moment(incident.runs.get().started_at)} by Anna." in html


def test_what_happened_by_itself_stands_between_the_updates(at, opened, people):  # noqa: F811
    run = walk(opened(*SPEAK))
    at(5)
    approve(run.incident.updates.get(), people["communications_manager"])
    walk(run)
    at(9)
    running.start(run.incident, runbook(WAIT, name="Later", triggers=()), people["incident_manager"])
    story = page(people["incident_manager"], run.incident).context["story"]
    kinds = ["update" if "update" in item else item["text"] for item in story]
    assert kinds[0] == "Anna started the runbook “Later”."
    assert kinds.index("update") < kinds.index(
        "The runbook “First words” started by itself (An incident is declared), in the name of Anna."
    )


def test_the_number_of_queries_does_not_grow_with_what_happened(at, opened, people, django_assert_max_num_queries):  # noqa: F811
    run = walk(opened(WAIT, WAIT))
    anna = people["incident_manager"]
    counts = []
    for minutes in (70, 140):
        at(minutes)
        clock.tick()
        one = runbook(WAIT, WAIT, name=f"Number {minutes}", triggers=())
        running.skip(walk(running.start(run.incident, one, anna)), anna, 0, "Not now.")
        browser = make.client(anna)
        with django_assert_max_num_queries(45) as captured:
            browser.get(reverse("admin:incidents_incident_change", args=[run.incident_id]))
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_it_is_told_in_italian(opened, people):  # noqa: F811
    run = opened(*SPEAK)
    tasks.run_runbook(run.pk)
    text = page(people["incident_manager"], run.incident, "it").text
    assert "Il runbook «First words» ha chiesto l’approvazione, a nome di Anna" in text
    assert "Il runbook «First words» è partito da solo" in text
