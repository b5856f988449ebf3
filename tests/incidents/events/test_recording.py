"""Recording: every thing that happened becomes an event once, whoever dies in between, and numbers have no gap."""

import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incidents import declaring, library, planning
from incidents.events import recording, scope
from incidents.models import (
    Decision,
    EventMark,
    Incident,
    OutgoingEvent,
    PromiseBreach,
    Runbook,
    RunbookRun,
    RunbookStep,
)
from incidents.runbooks import running
from tests import make

pytestmark = pytest.mark.django_db


def types() -> list[str]:
    return list(OutgoingEvent.objects.order_by("number").values_list("type", flat=True))


def collected() -> list[str]:
    """The types of what is new."""
    before = recording.head()
    recording.collect()
    return list(OutgoingEvent.objects.filter(number__gt=before).order_by("number").values_list("type", flat=True))


@pytest.fixture
def people():
    return make.incident_manager(), make.communications_manager()


@pytest.fixture
def incident(people) -> Incident:
    make.plan(make.channel())
    return make.incident(people[0], make.component("Checkout"), title="Cards fail")


def test_an_incident_is_told_from_its_declaration_to_its_end(incident, people):
    anna, marta = people
    update = incident.updates.get()
    assert collected() == ["incident.declared", "update.drafted"]
    update.submit(anna)
    update.reject(marta, "Say since when.")
    update.submit(anna)
    update.approve(marta, typed_count=update.reach().total)
    update.publish(marta)
    assert collected() == [
        "update.submitted",
        "update.rejected",
        "update.submitted",
        "update.approved",
        "update.published",
    ]
    incident.change_severity(anna, "sev1")
    assert collected() == ["incident.severity_changed"]
    assert OutgoingEvent.objects.latest("number").data["severity"] == "sev1"
    make.published(declaring.start_draft(incident, anna, "resolved"))
    assert collected()[-2:] == ["update.published", "incident.resolved"]
    make.published(declaring.start_draft(incident, anna, "resolved"))  # a follow-up ends nothing
    assert "incident.resolved" not in collected()
    assert collected() == []
    numbers = list(OutgoingEvent.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_mistake_is_told(incident, people):
    recording.collect()
    incident.dismiss(people[0], "A test alarm.")
    assert collected() == ["update.withdrawn", "incident.dismissed"]


def test_what_goes_out_without_a_second_person_says_so(incident, people):
    anna, _marta = people
    update = incident.updates.get().submit(anna)
    recording.collect()
    update.break_glass(anna, "Nobody answers.", update.content_hash, update.reach().total)
    assert collected() == ["update.approved", "update.published"]
    assert OutgoingEvent.objects.get(type="update.approved").data["approval"] == "break_glass"


def test_maintenance_is_told_when_it_is_planned_moved_and_cancelled(people):
    library.load(next(entry for entry in library.entries() if entry.maintenance))
    make.plan(make.channel())
    anna, day = people[0], timedelta(days=1)
    start = timezone.now() + 3 * day
    planned = planning.plan_maintenance(anna, "Upgrade", [make.component()], start, start + day / 12, day)
    assert collected() == ["maintenance.planned", *["update.drafted"] * 4]
    make.published(planned.updates.get(publish_at=None))
    planning.move_maintenance(planned, anna, start + day, start + 2 * day, day)
    planning.cancel_maintenance(Incident.objects.get(), anna, "Not needed.")
    told = collected()
    assert [one for one in told if one.startswith("maintenance")] == ["maintenance.moved", "maintenance.cancelled"]
    assert OutgoingEvent.objects.first().data["maintenance"] is True


def test_nothing_is_told_of_what_was_rolled_back(people):
    make.plan(make.channel())
    with transaction.atomic():
        make.incident(people[0])
        transaction.set_rollback(True)
    assert collected() == []


def test_what_a_draft_says_is_in_no_event(incident, people):
    update = incident.updates.get()
    update.submit(people[0])
    recording.collect()
    for event in OutgoingEvent.objects.all():
        text = str(scope.body(event, None))
        assert "Cards fail" not in text
        assert "Payments with" not in text
    assert OutgoingEvent.objects.get(type="update.drafted").data["update"] == {"number": 1}


def test_what_is_published_is_told_as_it_was_approved(incident):
    make.published(incident.updates.get())
    recording.collect()
    told = OutgoingEvent.objects.get(type="update.published")
    assert told.data["update"]["subject"]["en"].startswith("Checkout")
    assert set(told.data["update"]["subject"]) == {"en", "it"}
    assert (told.data["public"], told.data["update"]["stage"]) == (True, "investigating")
    assert told.components[0]["status"] == "partial_outage"


def test_it_reads_a_row_that_became_visible_late(incident, people, monkeypatch):
    """A transaction that began first may end last: its row has the lower key."""
    hidden = Decision.objects.latest("pk")
    original = recording._new

    def without(rows, source, marks):
        return original(rows.exclude(pk=hidden.pk) if source == "decision" else rows, source, marks)

    monkeypatch.setattr(recording, "_new", without)
    incident.updates.get().submit(people[0])
    assert collected() == ["incident.declared", "update.submitted"]
    monkeypatch.setattr(recording, "_new", original)
    assert collected() == ["update.drafted"]


def test_what_was_read_long_ago_is_not_looked_at_again(incident, time_machine):
    recording.collect()
    assert not EventMark.objects.exists()
    time_machine.move_to(timezone.now() + timedelta(days=2))
    recording.collect()
    last = Decision.objects.latest("pk").pk
    assert EventMark.objects.get(source="decision").upto == last
    assert collected() == []


def test_a_defect_of_one_row_keeps_back_no_other(incident, people, monkeypatch, caplog):
    original = recording._of_decision
    first = Decision.objects.earliest("pk")

    def broken(decision, at):
        if decision.pk == first.pk:
            raise ValueError("a defect")
        yield from original(decision, at)

    monkeypatch.setattr(recording, "_of_decision", broken)
    assert collected() == ["update.drafted"]
    assert "no event can be made of Decision" in caplog.text
    monkeypatch.setattr(recording, "_of_decision", original)
    assert collected() == ["incident.declared"]


def test_it_asks_the_same_number_of_questions_whatever_it_finds(people, django_assert_num_queries):
    make.plan(make.channel())
    make.incident(people[0], make.component())
    with CaptureQueriesContext(connection) as few:
        recording.collect()
    for _n in range(5):
        make.incident(people[0], make.component())
    with django_assert_num_queries(len(few)):
        assert recording.collect() == 10


def test_events_are_never_changed_or_deleted(incident):
    recording.collect()
    one = OutgoingEvent.objects.first()
    for change in (
        lambda: OutgoingEvent.objects.update(type="x"),
        lambda: OutgoingEvent.objects.filter(pk=one.pk)._raw_delete("default"),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()


def test_a_broken_promise_is_told(incident):
    PromiseBreach.objects.create(incident=incident, kind="first", due_at=timezone.now())
    assert "promise.broken" in collected()
    told = OutgoingEvent.objects.get(type="promise.broken")
    assert told.data["promise"]["kind"] == "first"


# ── Runbooks ────────────────────────────────────────────────────────────────


@pytest.fixture
def run(people) -> RunbookRun:
    plan = make.plan(make.channel())
    runbook = Runbook.objects.create(name="First words", triggers=["opened"])
    for position in range(2):
        RunbookStep.objects.create(
            runbook=runbook, position=position, kind="ask", config={"items": "Look", "role": "incident_manager"}
        )
    plan.runbooks.add(runbook)
    make.incident(people[0], make.component())
    return RunbookRun.objects.get()


def test_a_runbook_is_told_when_it_starts_each_time_it_halts_and_when_it_ends(run, people):
    anna, _marta = people
    assert collected()[-1] == "runbook.started"
    running.advance(run.pk)
    running.pause(run, anna)
    running.resume(run, anna)
    running.pause(run, anna)  # twice between two looks: neither is lost
    assert collected() == ["runbook.halted", "runbook.halted"]
    running.resume(run, anna)
    running.pause(run, anna)
    assert collected() == ["runbook.halted"]
    running.stop(run, anna, "Not needed.")
    assert collected() == ["runbook.finished"]
    told = OutgoingEvent.objects.latest("number").data["runbook"]
    assert told == {"run": run.pk, "name": "First words", "state": "stopped"}
    assert collected() == []


def test_a_step_that_fails_halts_it(people):
    plan = make.plan(make.channel())
    runbook = Runbook.objects.create(name="Call", triggers=["opened"])
    RunbookStep.objects.create(runbook=runbook, kind="webhook", config={"url": "https://127.0.0.1:1/x"})
    plan.runbooks.add(runbook)
    make.incident(people[0], make.component())
    running.advance(RunbookRun.objects.get().pk)
    assert "runbook.halted" in collected()


# ── Two at once ─────────────────────────────────────────────────────────────


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_two_that_read_at_once_write_each_event_once_and_no_number_twice():
    make.plan(make.channel())
    anna = make.incident_manager()
    for _n in range(10):
        make.incident(anna, make.component())
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        recording.collect()
        connection.close()

    threads = [threading.Thread(target=work) for _n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    numbers = list(OutgoingEvent.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, 21))


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_ends_late_is_told_after_those_that_ended_before():
    make.plan(make.channel())
    anna = make.incident_manager()
    first, second = (make.incident(anna, make.component(name)).updates.get() for name in "AB")
    recording.collect()
    began, go = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            first.submit(anna)
            began.set()
            go.wait(60)
        connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    assert began.wait(60)
    second.submit(anna)
    assert recording.collect() == 1
    cursor = recording.head()
    go.set()
    thread.join()
    early, late = Decision.objects.filter(verb="submit").order_by("pk")
    assert (early.update, late.update) == (first, second)
    assert recording.collect() == 1
    assert OutgoingEvent.objects.get(number__gt=cursor).source_id == early.pk
