"""Runbooks: steps are done once, in order, and nothing goes out without the approval that the plan asks for."""

import uuid
from datetime import timedelta
from ipaddress import ip_network

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.utils import timezone
from standardwebhooks.webhooks import Webhook as Signer

from channels.models import Dispatch
from incidents import clock, declaring, tasks
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import (
    Decision,
    Incident,
    IncidentUpdate,
    Runbook,
    RunbookRun,
    RunbookStep,
    RunbookStepRun,
    StaffNotice,
)
from incidents.runbooks import KINDS, running
from incidents.runbooks.outcome import failed
from tests import make
from tests.channels.providers.conftest import certificate, closing, vouched  # noqa: F401
from tests.fakes.http import FakeHttp, Reply

pytestmark = pytest.mark.django_db
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
State, StepState = RunbookRun.State, RunbookStepRun.State
TEXT = {"kind": "notify", "role": "support_lead", "text": "Customers of {{ components }} will call."}
SPEAK = [{"kind": "draft", "stage": "", "words": "template"}, {"kind": "approval"}, {"kind": "publish"}]


def runbook(
    *steps: dict, triggers: tuple[str, ...] = ("opened",), stages: tuple[str, ...] = (), name: str = "First words"
):
    one = Runbook.objects.create(name=name, triggers=list(triggers), stages=list(stages))
    for position, step in enumerate(steps):
        config = {key: value for key, value in step.items() if key not in ("kind", "name")}
        RunbookStep.objects.create(runbook=one, position=position, kind=step["kind"], config=config)
    return one


@pytest.fixture
def people() -> dict[str, User]:
    return {
        "incident_manager": make.incident_manager(first_name="Anna"),
        "communications_manager": make.communications_manager(first_name="Marta"),
        "support_lead": make.user("Support leads", "All components", first_name="Paolo"),
    }


@pytest.fixture
def opened(people):
    """Declares an incident under a plan with these steps; the run that it started."""

    def declare(*steps: dict, **kwargs) -> RunbookRun:
        make.recipients(2)
        make.scenario()
        plan = make.plan(make.channel(name="Email"), people=list(people.items()))
        plan.runbooks.add(runbook(*steps, **kwargs))
        make.incident(people["incident_manager"], make.component("Checkout"), title="Cards fail")
        return RunbookRun.objects.get()

    return declare


@pytest.fixture
def receiver(closing, certificate, vouched, settings) -> FakeHttp:  # noqa: F811
    """A server that our webhooks reach."""
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    make.channel("webhook", "Webhooks", config={"signing_secret": WEBHOOK_SECRET})
    peer = FakeHttp(certificate=str(certificate))
    closing.callback(peer.close)
    return peer


def told(run: RunbookRun) -> list[tuple[str, str]]:
    return [(one.step["kind"], one.state) for one in run.log.all()]


def approve(update: IncidentUpdate, by: User) -> None:
    """As the page of the review does, which tells of runbooks."""
    update.approve(by, seen_runs=[one.pk for one in running.that_publish(update)])


def walk(run: RunbookRun) -> RunbookRun:
    running.advance(run.pk)
    run.refresh_from_db()
    return run


# ── Approval ────────────────────────────────────────────────────────────────


def test_it_writes_asks_waits_and_publishes_what_was_approved(opened, people):
    run = walk(opened(*SPEAK, TEXT))
    update = run.incident.updates.get()
    assert told(run) == [("draft", "done"), ("approval", "waiting")]
    assert (run.state, update.status) == (State.WAITING, "in_review")
    assert "Marta" in run.log.last().note
    approve(update, people["communications_manager"])
    walk(run)
    update.refresh_from_db()
    assert (run.state, update.status, update.published_by) == (State.DONE, "published", people["incident_manager"])
    assert told(run)[-2:] == [("publish", "done"), ("notify", "done")]
    [notice] = StaffNotice.objects.filter(kind="runbook")
    assert (notice.user, notice.text) == (people["support_lead"], "Customers of Checkout will call.")


def test_the_link_in_a_text_for_staff_works_before_and_after_customers_can_read(opened, people):
    text = {**TEXT, "text": "See {{ status_url }}"}
    run = walk(opened(text, *SPEAK, text))
    approve(run.incident.updates.get(), people["communications_manager"])
    walk(run)
    before, after = StaffNotice.objects.filter(kind="runbook").order_by("pk").values_list("text", flat=True)
    assert before.endswith(f"/admin/incidents/incident/{run.incident_id}/change/")
    assert after.endswith(f"/incidents/{run.incident.uid}/")


def test_it_never_publishes_without_the_approval(opened, people):
    run = walk(opened({"kind": "draft", "stage": "", "words": "template"}, {"kind": "publish"}))
    for _again in range(3):
        walk(run)
    assert run.state == State.WAITING
    assert run.incident.updates.get().status == "draft"
    assert not Dispatch.objects.exists()


def test_a_skipped_approval_lets_nothing_out(opened, people):
    run = walk(opened(*SPEAK))
    running.skip(run, people["incident_manager"], 1, "Nobody is there.")
    walk(run)
    assert told(run) == [("draft", "done"), ("approval", "skipped"), ("publish", "waiting")]
    assert run.incident.updates.get().status == "in_review"
    assert not Dispatch.objects.exists()


def test_words_that_are_changed_after_the_approval_wait_for_another(opened, people):
    run = walk(opened(*SPEAK))
    update = run.incident.updates.get()
    running.pause(run, people["incident_manager"])
    approve(update, people["communications_manager"])
    update = update.edit(people["incident_manager"], update.version, {"en": {"impact": "Nobody can pay."}})
    running.resume(run, people["incident_manager"])
    walk(run)
    assert told(run)[-1] == ("approval", "waiting")
    assert IncidentUpdate.objects.get().status == "draft"


def test_a_draft_that_was_sent_back_is_not_asked_for_again_by_itself(opened, people):
    run = walk(opened(*SPEAK))
    update = run.incident.updates.get()
    update.reject(people["communications_manager"], "Too vague.")
    for _again in range(3):
        walk(run)
    assert IncidentUpdate.objects.get().status == "draft"
    assert update.decisions.filter(verb=Decision.Verb.SUBMIT).count() == 1
    IncidentUpdate.objects.get().submit(people["incident_manager"])
    approve(IncidentUpdate.objects.get(), people["communications_manager"])
    assert walk(run).state == State.DONE


def test_a_withdrawn_update_stops_it_for_a_person(opened, people):
    run = walk(opened(*SPEAK))
    run.incident.updates.get().withdraw(people["incident_manager"])
    walk(run)
    assert (run.state, told(run)[-1]) == (State.PAUSED, ("approval", "failed"))


def test_it_publishes_in_the_name_of_the_approver_where_its_own_person_may_not(people):
    make.recipients(1)
    make.scenario()
    plan = make.plan(make.channel(name="Email"), people=list(people.items()))
    plan.runbooks.add(runbook(*SPEAK))
    incident = make.incident(people["incident_manager"])
    incident.updates.get().withdraw(people["incident_manager"])
    RunbookRun.objects.all().delete()
    run = running.start(incident, Runbook.objects.get(), people["support_lead"])
    walk(run)
    update = incident.updates.first()
    assert update.author == people["support_lead"]
    approve(update, people["communications_manager"])
    walk(run)
    update.refresh_from_db()
    assert (update.status, update.published_by) == ("published", people["communications_manager"])


def test_whoever_approves_must_have_been_told_that_a_runbook_publishes(opened, people):
    run = walk(opened(*SPEAK))
    update = run.incident.updates.get()
    for told in ((), [run.pk + 1]):
        with pytest.raises(WrongState, match="The runbook “First words” publishes this as soon as it is approved"):
            update.approve(people["communications_manager"], seen_runs=told)
    running.pause(run, people["incident_manager"])  # whoever resumes it would send
    with pytest.raises(WrongState):
        update.approve(people["communications_manager"])
    running.stop(run, people["incident_manager"], "By hand.")
    update.approve(people["communications_manager"])
    assert walk(run).state == State.STOPPED
    assert not Dispatch.objects.exists()


def test_what_was_approved_before_it_began_is_for_a_person_to_publish(people):
    make.recipients(2)
    make.scenario()
    make.plan(make.channel(name="Email"), people=list(people.items()))
    one = runbook(*SPEAK)
    incident = make.incident(people["incident_manager"])
    held = incident.updates.get().submit(people["incident_manager"]).approve(people["communications_manager"])
    run = walk(running.start(incident, one, people["incident_manager"]))
    assert told(run)[-1] == ("publish", "waiting")
    assert "a person has to publish it" in run.log.last().note
    assert not Dispatch.objects.exists()
    held.publish(people["incident_manager"])
    assert walk(run).state == State.DONE


def test_an_approval_wakes_it(opened, people, monkeypatch):
    run = walk(opened(*SPEAK))
    woken = []
    monkeypatch.setattr("channels.queue.enqueue", lambda task, *args: woken.append((task, *args)))
    approve(run.incident.updates.get(), people["communications_manager"])
    assert ("incidents.tasks.run_runbook", run.pk) in woken


# ── What starts it ──────────────────────────────────────────────────────────


def test_it_starts_once_for_each_occasion(opened, people):
    run = opened(
        {"kind": "wait", "minutes": 5}, triggers=("opened", "severity", "stage", "clock"), stages=("identified",)
    )
    incident = Incident.objects.get()
    assert [one.trigger for one in RunbookRun.objects.all()] == ["opened"]
    make.published(incident.updates.get(), people["communications_manager"])  # investigating: not one of its stages
    assert RunbookRun.objects.count() == 1
    incident.refresh_from_db()
    incident.change_severity(people["incident_manager"], "sev1", "All cards.")
    make.published(declaring.start_draft(incident, people["incident_manager"], "identified"))
    make.published(declaring.start_draft(incident, people["incident_manager"], "identified"))
    assert [one.trigger for one in RunbookRun.objects.order_by("pk")] == ["opened", "severity", "stage"]
    assert run.by == people["incident_manager"]


def test_a_clock_that_is_about_to_break_starts_it_once_in_the_name_of_the_communications_manager(
    opened, people, time_machine
):
    now = timezone.now()
    time_machine.move_to(now, tick=False)
    opened({"kind": "wait", "minutes": 5}, triggers=("opened", "clock"))
    for minutes in (13, 14):
        time_machine.move_to(now + timedelta(minutes=minutes), tick=False)
        clock.tick()
    assert [(one.trigger, one.by) for one in RunbookRun.objects.filter(trigger="clock")] == [
        ("clock", people["communications_manager"])
    ]


def test_a_running_incident_keeps_the_steps_of_its_plan_version(opened, people):
    run = opened({"kind": "wait", "minutes": 5}, triggers=("severity", "opened"))
    RunbookStep.objects.update(config={"minutes": 50})
    run.incident.change_severity(people["incident_manager"], "sev1")
    assert [one.steps[0]["minutes"] for one in RunbookRun.objects.all()] == [5, 5]
    make.incident(people["incident_manager"], title="Later")
    assert RunbookRun.objects.first().steps[0]["minutes"] == 50


def test_one_that_is_switched_off_does_not_start(people):
    make.scenario()
    plan = make.plan(people=list(people.items()))
    plan.runbooks.add(one := runbook(*SPEAK))
    Runbook.objects.update(enabled=False)
    incident = make.incident(people["incident_manager"])
    assert not RunbookRun.objects.exists()
    with pytest.raises(Refused):
        running.start(incident, Runbook.objects.get(pk=one.pk), people["incident_manager"])


def test_by_hand_it_runs_once_at_a_time_and_only_for_who_may_write(people):
    make.scenario()
    make.plan(people=list(people.items()))
    one = runbook({"kind": "wait", "minutes": 5})
    incident = make.incident(people["incident_manager"])
    with pytest.raises(NotAllowed):
        running.start(incident, one, make.user("Incident managers"))
    running.start(incident, one, people["incident_manager"])
    with pytest.raises(WrongState, match="runs in this incident already"):
        running.start(incident, one, people["incident_manager"])


def test_by_hand_one_is_started_that_the_plan_did_not_name_and_one_that_it_named_as_it_was_then(people):
    make.scenario()
    plan = make.plan(people=list(people.items()))
    named = runbook({"kind": "wait", "minutes": 5}, triggers=())
    plan.runbooks.add(named)
    incident = make.incident(people["incident_manager"])
    later = runbook({"kind": "wait", "minutes": 7}, name="Written later")
    named.steps.update(config={"minutes": 9})
    for one, minutes in [(named, 5), (later, 7)]:
        run = running.start(incident, one, people["incident_manager"])
        assert [step["minutes"] for step in run.steps] == [minutes]


# ── Steps ───────────────────────────────────────────────────────────────────


def test_waiting_takes_its_minutes(opened, time_machine):
    now = timezone.now()
    time_machine.move_to(now, tick=False)
    run = walk(opened({"kind": "wait", "minutes": 5}))
    assert (run.state, run.wake_at) == (State.WAITING, now + timedelta(minutes=5))
    tasks.sweep_runbooks()
    time_machine.move_to(now + timedelta(minutes=4), tick=False)
    assert walk(run).state == State.WAITING
    time_machine.move_to(now + timedelta(minutes=5), tick=False)
    tasks.sweep_runbooks()
    run.refresh_from_db()
    assert run.state == State.DONE


def test_it_waits_until_customers_are_told_of_a_stage(opened, people):
    step = {"kind": "wait_for", "stages": ["identified"], "minutes": 0, "late": "go_on"}
    run = walk(opened(step))
    make.published(run.incident.updates.get(), people["communications_manager"])
    assert walk(run).state == State.WAITING
    make.published(declaring.start_draft(run.incident, people["incident_manager"], "identified"))
    assert walk(run).state == State.DONE


@pytest.mark.parametrize(("late", "state", "step"), [("go_on", "done", "skipped"), ("halt", "paused", "failed")])
def test_a_stage_that_does_not_come_in_time(opened, time_machine, late, state, step):
    now = timezone.now()
    time_machine.move_to(now, tick=False)
    run = walk(opened({"kind": "wait_for", "stages": ["identified"], "minutes": 10, "late": late}))
    time_machine.move_to(now + timedelta(minutes=11), tick=False)
    assert (walk(run).state, told(run)) == (state, [("wait_for", step)])


def test_a_branch_jumps_forward_only_where_it_does_not_apply(opened):
    branch = {"kind": "branch", "severities": ["sev1"], "stages": [], "to": 3}
    run = walk(opened(branch, TEXT, {"kind": "wait", "minutes": 1}))
    assert told(run) == [("branch", "done"), ("wait", "waiting")]


def test_a_branch_that_applies_goes_on(opened):
    run = walk(opened({"kind": "branch", "severities": ["sev2"], "stages": ["investigating"], "to": 0}, TEXT))
    assert told(run) == [("branch", "done"), ("notify", "done")]


def test_a_branch_to_the_end_ends_it(opened):
    run = walk(opened({"kind": "branch", "severities": ["sev1"], "stages": [], "to": 0}, TEXT))
    assert (run.state, told(run)) == (State.DONE, [("branch", "done")])


def test_a_checklist_waits_for_every_tick(opened, people):
    run = walk(opened({"kind": "ask", "role": "support_lead", "items": "Call the bank\n\nTell the front desk"}))
    assert StaffNotice.objects.get(kind="runbook").user == people["support_lead"]
    with pytest.raises(Refused, match="Not everything is ticked") as refusal:
        running.answer(run, people["support_lead"], 0, [0])
    assert refusal.value.findings == ["Tell the front desk"]
    running.answer(run, people["support_lead"], 0, [0, 1], "Both know.")
    assert walk(run).state == State.DONE
    assert run.log.get().note == "Checked by Paolo. — Both know."
    with pytest.raises(WrongState):
        running.answer(run, people["support_lead"], 0, [0, 1])


def test_the_chat_for_staff_is_written_to_and_left_out_where_there_is_none(opened):
    run = walk(opened({"kind": "chat", "text": "See {{ title }}"}))
    assert told(run) == [("chat", "skipped")]
    assert run.log.get().note == "The plan names no chat for staff."


def test_nothing_new_is_said_by_a_runbook_when_the_clock_runs_out(opened, people):
    steps = [{"kind": "draft", "stage": "", "words": "no_change"}, {"kind": "approval"}]
    run = opened(*steps, triggers=("opened",))
    update = run.incident.updates.get()
    make.published(update, people["communications_manager"])
    walk(run)
    second = run.incident.updates.first()
    assert (second.number, second.status) == (2, "in_review")
    assert "Nothing has changed since" in second.renditions.get(locale="en").outlook


# ── A person's hand ─────────────────────────────────────────────────────────


def test_paused_nothing_is_begun(opened, people):
    run = opened(TEXT)
    running.pause(run, people["incident_manager"])
    walk(run)
    tasks.sweep_runbooks()
    assert not run.log.exists()
    running.resume(run, people["incident_manager"])
    assert walk(run).state == State.DONE


def test_skip_wants_a_reason_and_the_step_at_which_it_stands(opened, people):
    run = walk(opened({"kind": "wait", "minutes": 5}, TEXT))
    with pytest.raises(Refused):
        running.skip(run, people["incident_manager"], 0, "  ")
    with pytest.raises(WrongState):
        running.skip(run, people["incident_manager"], 1, "Not needed.")
    running.skip(run, people["incident_manager"], 0, "Not needed.")
    walk(run)
    assert told(run) == [("wait", "skipped"), ("notify", "done")]
    assert (run.log.first().by, run.log.first().note) == (people["incident_manager"], "Not needed.")


def test_stopped_is_for_good(opened, people):
    run = walk(opened({"kind": "wait", "minutes": 5}, TEXT))
    running.stop(run, people["incident_manager"], "False alarm.")
    walk(run)
    assert (run.state, told(run)) == (State.STOPPED, [("wait", "skipped")])
    for verb in (running.pause, running.resume):
        with pytest.raises(WrongState):
            verb(run, people["incident_manager"])


@pytest.mark.parametrize("verb", ["pause", "resume", "skip", "stop", "answer"])
def test_only_who_may_write_updates_has_a_hand_in_it(opened, verb):
    run = walk(opened({"kind": "wait", "minutes": 5}))
    stranger = make.user("Incident managers")  # without the component
    more = {"skip": (0, "No."), "stop": ("No.",), "answer": (0, [])}.get(verb, ())
    with pytest.raises(NotAllowed):
        getattr(running, verb)(run, stranger, *more)


# ── Crashes ─────────────────────────────────────────────────────────────────

EVERY = [
    {"kind": "draft", "stage": "", "words": "template"},
    {"kind": "branch", "severities": ["sev2"], "stages": [], "to": 0},
    TEXT,
    {"kind": "chat", "text": "See {{ title }}"},
    {"kind": "approval"},
    {"kind": "publish"},
    {"kind": "wait_for", "stages": ["investigating"], "minutes": 5, "late": "go_on"},
    {"kind": "webhook"},
    {"kind": "ask", "role": "support_lead", "items": "Look"},
]


class Died(BaseException):
    """A worker that is killed: no handler of ours sees it."""


@pytest.mark.parametrize("at", range(len(EVERY)))
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_step_it_is_resumed_and_does_each_step_once(opened, people, receiver, monkeypatch, at, when):
    run = opened(*[{"url": f"{receiver.url}/hook", **one} for one in EVERY])
    kind = KINDS[EVERY[at]["kind"]]
    do, deaths = kind.do, []

    def dying(*args):
        outcome = do(*args) if when == "after" else None
        if not deaths:
            deaths.append(at)
            raise Died
        return outcome or do(*args)

    monkeypatch.setattr(kind, "do", dying)
    for _again in range(12):
        try:
            tasks.sweep_runbooks()
        except Died:
            RunbookRun.objects.filter(leased_until__isnull=False).update(leased_until=timezone.now())  # time passes
        run.refresh_from_db()
        update = run.incident.updates.get()
        if update.status == "in_review":
            approve(update, people["communications_manager"])
        if run.position == 8 and run.state == State.WAITING:
            running.answer(run, people["support_lead"], 8, [0])
    assert deaths == [at]
    assert run.state == State.DONE
    assert [one.index for one in run.log.all()] == list(range(len(EVERY)))
    assert run.incident.updates.count() == 1
    assert Dispatch.objects.filter(purpose="update", channel__name="Email").count() == 2  # two languages, once each
    assert StaffNotice.objects.filter(kind="runbook", text__startswith="Customers of").count() == 1
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1  # a receiver does it once


def test_a_call_that_cannot_be_repeated_is_left_to_a_person_when_it_was_interrupted(opened, people, monkeypatch):
    step = {"kind": "aws", "operation": "events:PutEvents", "region": "eu-south-1", "parameters": {"Entries": []}}
    run = opened(step)

    def dying(*args):
        raise Died

    monkeypatch.setattr(KINDS["aws"], "do", dying)
    with pytest.raises(Died):
        running.advance(run.pk)
    assert run.log.get().state == StepState.DOING
    assert walk(run).state == State.RUNNING  # its worker may still be at it
    RunbookRun.objects.update(leased_until=timezone.now())
    assert (walk(run).state, run.log.get().state) == (State.PAUSED, StepState.UNKNOWN)
    assert "interrupted" in run.reason


def test_a_worker_that_comes_back_late_writes_nothing_over(opened, people, receiver, monkeypatch):
    run = opened({"kind": "webhook", "url": f"{receiver.url}/hook"})
    do = KINDS["webhook"].do

    def slow(*args):
        monkeypatch.setattr(KINDS["webhook"], "do", do)
        RunbookRun.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
        running.advance(run.pk)  # another worker takes it over, and is done with it
        return do(*args) and failed("the late one")

    monkeypatch.setattr(KINDS["webhook"], "do", slow)
    assert walk(run).state == State.DONE
    assert run.log.get().note == "Called."


@pytest.mark.parametrize("change", [{"content": {"name": "x", "steps": []}}, {"by": None}])
def test_the_database_keeps_what_a_run_was_started_with(opened, people, change):
    run = opened(TEXT)
    if "by" in change:
        change = {"by": people["support_lead"]}
    with pytest.raises(DatabaseError), transaction.atomic():
        RunbookRun.objects.filter(pk=run.pk).update(**change)


def test_the_database_keeps_what_became_of_a_step(opened):
    run = walk(opened(TEXT))
    with pytest.raises(DatabaseError), transaction.atomic():
        run.log.update(note="Nothing happened.")


# ── Webhooks ────────────────────────────────────────────────────────────────


def test_a_webhook_is_signed_and_tells_what_happened(opened, receiver):
    run = walk(opened({"kind": "webhook", "name": "Page the bank", "url": f"{receiver.url}/hook"}))
    assert run.state == State.DONE
    [call] = receiver.calls
    data = Signer(WEBHOOK_SECRET).verify(call.body, dict(call.headers))["data"]
    assert (data["incident"], data["severity"], data["public"], data["step"]) == (run.incident.uid, "sev2", False, 1)


def test_a_webhook_that_does_not_answer_is_called_again_later_and_then_left_to_a_person(opened, receiver, time_machine):
    now = timezone.now()
    time_machine.move_to(now, tick=False)
    run = opened({"kind": "webhook", "url": f"{receiver.url}/hook"})
    receiver.script(*[Reply(503)] * 9)
    walk(run)
    assert (run.state, run.wake_at) == (State.WAITING, now + timedelta(seconds=15))
    for minutes in range(1, 9):
        time_machine.move_to(now + timedelta(minutes=minutes), tick=False)
        walk(run)
    assert (run.state, len(receiver.calls)) == (State.PAUSED, 5)
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1


def test_a_webhook_that_refuses_stops_at_once_and_goes_on_when_a_person_says_so(opened, people, receiver):
    run = opened({"kind": "webhook", "url": f"{receiver.url}/hook"})
    receiver.script(Reply(400, b"no such hook"))
    walk(run)
    assert (run.state, told(run)) == (State.PAUSED, [("webhook", "failed")])
    assert "no such hook" in run.reason
    running.resume(run, people["incident_manager"])
    assert walk(run).state == State.DONE


def test_without_a_channel_for_webhooks_nothing_is_called(opened):
    run = walk(opened({"kind": "webhook", "url": "https://127.0.0.1:1/hook"}))
    assert (run.state, run.reason) == (
        State.PAUSED,
        "No channel for webhooks is on: its secret would sign the call.",
    )


# ── Severity ────────────────────────────────────────────────────────────────


def test_a_changed_severity_is_public_with_the_next_update_only(opened, people, client):
    run = opened(TEXT)
    incident = run.incident
    make.published(incident.updates.get(), people["communications_manager"])
    incident.refresh_from_db()
    incident.change_severity(people["incident_manager"], "sev1", "All cards.")
    assert (incident.severity, incident.impact, incident.impact_now) == ("sev1", "major", "critical")
    assert incident.decisions.get(verb="severity").comment == "SEV 2 · major → SEV 1 · critical: All cards."
    make.published(declaring.start_draft(incident, people["incident_manager"]))
    incident.refresh_from_db()
    assert incident.impact == "critical"


def test_a_severity_is_not_changed_under_an_update_that_waits(opened, people):
    incident = opened(TEXT).incident
    incident.updates.get().submit(people["incident_manager"])
    with pytest.raises(WrongState, match="publish it or send it back"):
        incident.change_severity(people["incident_manager"], "sev1")
    with pytest.raises(NotAllowed):
        incident.change_severity(people["support_lead"], "sev1")


# ── AWS ─────────────────────────────────────────────────────────────────────


def test_what_sends_messages_is_never_allowed(settings):
    from incidents.aws import operations

    settings.RUNBOOK_AWS_OPERATIONS = ["sns:Publish", "sesv2:SendEmail", "ssm:CreateOpsItem", "ssm:NoSuchThing"]
    assert operations.allowed() == ["ssm:CreateOpsItem"]
    with pytest.raises(Refused):
        operations.check("sns:Publish", {})
    with pytest.raises(Refused, match="Missing required parameter"):
        operations.check("ssm:CreateOpsItem", {"Title": "x"})


def test_an_operation_is_called_with_a_token_that_stays_the_same(opened, monkeypatch):
    from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, fake_aws

    with fake_aws("ssm") as fake:
        fake.answers["StartAutomationExecution"] = {"AutomationExecutionId": str(uuid.uuid4())}
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", fake.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        step = {
            "kind": "aws",
            "operation": "ssm:StartAutomationExecution",
            "region": "eu-south-1",
            "parameters": {"DocumentName": "Restart", "Parameters": {"Why": ["{{ title }}"]}},
        }
        run = walk(opened(step))
        assert run.state == State.DONE, run.log.get().note
        [call] = fake.calls
        assert call.params["Parameters"] == {"Why": ["Cards fail"]}
        assert len(call.params["ClientToken"]) == 36
        assert run.log.get().facts["reply"] == fake.answers["StartAutomationExecution"]
