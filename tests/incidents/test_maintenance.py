"""Planned maintenance: planned, approved, and going out by itself, or held with its reason."""

import threading
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from channels.models import Channel, Delivery, Dispatch, Recipient
from commsportal.demo.build import clock
from feedback import reports
from incidents import declaring, library, planning, publishing, roles, tasks
from incidents.checker import check
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import CommunicationPlan, Decision, Incident, IncidentUpdate, Scenario, Stage, Subscription
from incidents.statuspage import live
from tests import make

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def words(db) -> Scenario:
    library.load(next(entry for entry in library.entries() if entry.maintenance))
    return Scenario.objects.get(maintenance=True)


@pytest.fixture
def author(words):
    make.plan(make.channel())
    make.recipients(3)
    return make.incident_manager(username="marta", first_name="Marta", last_name="Rinaldi")


@pytest.fixture
def approver(db):
    return make.communications_manager(username="paolo", first_name="Paolo", last_name="Neri")


@pytest.fixture
def start() -> datetime:
    return (timezone.now() + 3 * DAY).replace(second=0, microsecond=0)


@pytest.fixture
def planned(author, start) -> Incident:
    parts = [make.component("Card payments")]
    return planning.plan_maintenance(author, "Database upgrade", parts, start, start + 2 * HOUR, DAY)


def notice(incident: Incident, stage: str, planned: bool = True) -> IncidentUpdate:
    return incident.updates.get(stage=stage, publish_at__isnull=not planned)


def approve_all(incident: Incident, author, approver) -> None:
    for update in incident.updates.filter(status="draft").order_by("number"):
        update.submit(author)
        update.approve(approver)


def announce(incident: Incident, author, approver) -> IncidentUpdate:
    return make.published(notice(incident, "scheduled", planned=False), approver)


def sweep(at: datetime) -> None:
    with clock(at):
        tasks.sweep()


def states(incident: Incident) -> list[tuple[str, str]]:
    return list(incident.updates.order_by("number").values_list("stage", "status"))


# ── Planning ──


def test_it_writes_four_notices_in_each_language(planned, start):
    assert (planned.maintenance, planned.stage, planned.severity) == (True, "scheduled", "sev4")
    assert (planned.started_at, planned.expected_resolution_at) == (start, start + 2 * HOUR)
    rows = planned.updates.order_by("number").values_list("stage", "publish_at")
    assert list(rows) == [
        ("scheduled", None),
        ("scheduled", start - DAY),
        ("in_progress", start),
        ("completed", start + 2 * HOUR),
    ]
    subjects = {r.locale: r.subject for r in planned.updates.get(number=2).renditions.all()}
    assert subjects["en"].startswith("Reminder: Planned maintenance")
    assert subjects["it"].startswith("Promemoria: ")
    for update in planned.updates.all():
        assert {r.locale for r in update.renditions.all()} == {"en", "it"}
        assert all(all(r.words().values()) for r in update.renditions.all())
        assert [f for f in check(update) if f.level != "hint"] == []
        assert update.next_update_at is None
        under_way = "under_maintenance" if update.stage == "in_progress" else "operational"
        assert set(update.component_states.values()) == {under_way}


def test_a_reminder_that_would_be_past_is_left_out(author, start):
    with clock(start - HOUR):
        incident = planning.plan_maintenance(author, "Work", [make.component()], start, start + HOUR, DAY)
    assert [stage for stage, _status in states(incident)] == ["scheduled", "in_progress", "completed"]


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (-HOUR, HOUR, "is past"),
        (2 * HOUR, HOUR, "is not after the start"),
        (2 * HOUR, 2 * HOUR, "is not after the start"),
        (91 * DAY, 92 * DAY, "more than 90 days ahead"),
        (DAY, 9 * DAY, "more than 7 days after the start"),
    ],
)
def test_a_window_that_cannot_be_is_refused(author, begins, ends, said):
    now = timezone.now()
    with pytest.raises(Refused, match=said):
        planning.plan_maintenance(author, "Work", [make.component()], now + begins, now + ends)
    assert not Incident.objects.exists()


def test_planning_needs_the_role_and_the_components(author, start):
    part = make.component()
    for who in (make.user(roles.MANAGERS, roles.ALL_COMPONENTS), make.user(roles.INCIDENT_MANAGERS)):
        with pytest.raises(NotAllowed):
            planning.plan_maintenance(who, "Work", [part], start, start + HOUR)
    with pytest.raises(Refused, match="at least one component"):
        planning.plan_maintenance(author, "Work", [], start, start + HOUR)
    with pytest.raises(Refused, match="title"):
        planning.plan_maintenance(author, " \n", [part], start, start + HOUR)


def test_the_window_may_cross_the_change_of_clocks(author, approver, settings):
    settings.TIME_ZONE = "Europe/Rome"
    rome = ZoneInfo("Europe/Rome")
    begins = datetime(2027, 3, 28, 1, 30, tzinfo=rome)  # at two the clocks go to three
    ends = datetime(2027, 3, 28, 3, 30, tzinfo=rome)
    with clock(begins - 3 * DAY), timezone.override(rome):
        incident = planning.plan_maintenance(author, "Work", [make.component()], begins, ends, DAY)
        first = notice(incident, "scheduled", planned=False).submit(author)
    text = first.page["en"]["text"]
    assert "28 March, 01:30 CET" in text
    assert "28 March, 03:30 CEST" in text
    incident.refresh_from_db()
    assert incident.expected_resolution_at - incident.started_at == HOUR


# ── The planned ones are never "the" draft ──


def test_an_update_between_is_a_draft_of_its_own(planned, author, approver):
    announcement = notice(planned, "scheduled", planned=False)
    assert declaring.start_draft(planned, author) == announcement
    make.published(announcement, approver)
    extra = declaring.start_draft(planned, author)
    assert (extra.number, extra.publish_at, extra.next_update_at) == (5, None, None)
    assert extra.expected_resolution_at == planned.expected_resolution_at
    with pytest.raises(IntegrityError), transaction.atomic():
        IncidentUpdate.objects.create(incident=planned, number=9, stage="scheduled", author=author)
    with pytest.raises(IntegrityError), transaction.atomic():
        IncidentUpdate.objects.create(
            incident=planned, number=9, stage="scheduled", author=author, publish_at=planned.started_at
        )


def test_what_was_said_later_overtakes_whatever_its_number(planned, author, approver, start):
    approve_all(planned, author, approver)
    first = notice(planned, "scheduled", planned=False).publish(approver)
    extra = make.published(declaring.start_draft(planned, author), approver)
    assert first.overtaken_by() == extra
    sweep(start - DAY)
    reminder = planned.updates.get(number=2)
    assert reminder.status == "published"
    assert extra.overtaken_by() == reminder
    assert reminder.overtaken_by() is None


def test_dismissing_gives_up_every_notice(planned, author):
    planned.dismiss(author, "Wrong system.")
    assert {status for _stage, status in states(planned)} == {"withdrawn"}


# ── What is approved ──


def test_the_time_is_part_of_what_is_approved_and_of_nothing_else(planned, author, start):
    begin = notice(planned, "in_progress").submit(author)
    assert begin.manifest["publish_at"] == start.isoformat()
    ordinary = make.incident(author, make.component()).updates.get().submit(author)
    assert "publish_at" not in ordinary.manifest
    assert publishing.manifest_hash(publishing.build_manifest(ordinary)) == ordinary.content_hash


def refused(sql: str, *params) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, params)
            return False
    except DatabaseError:
        return True


def test_the_database_holds_the_time_and_the_release(planned, author, approver, start):
    begin = notice(planned, "in_progress")
    move = "UPDATE incidents_incidentupdate SET publish_at=%s WHERE id=%s"
    release = "UPDATE incidents_incidentupdate SET released_by_id=%s WHERE id=%s"
    assert refused(release, approver.pk, begin.pk)  # a draft
    begin.submit(author)
    assert refused(move, start + HOUR, begin.pk)
    assert refused(release, approver.pk, begin.pk)
    begin.approve(approver)
    assert begin.released_by == approver
    assert refused(move, start + HOUR, begin.pk)
    assert refused(release, author.pk, begin.pk)  # who decided nothing
    announce(planned, author, approver)
    sweep(start)
    begin.refresh_from_db()
    assert begin.status == "published"
    assert refused(move, start + HOUR, begin.pk)
    assert refused("UPDATE incidents_incidentupdate SET released_by_id=NULL WHERE id=%s", begin.pk)


def test_an_update_begins_unreleased_by_raw_row_as_well(planned, author, approver):
    row = IncidentUpdate(
        incident=planned,
        number=9,
        stage="scheduled",
        author=author,
        publish_at=timezone.now() + HOUR,
        released_by=approver,
    )
    with pytest.raises(DatabaseError), transaction.atomic():
        row.save()


def test_words_changed_by_raw_row_take_the_release_back(planned, author, approver):
    begin = notice(planned, "in_progress").submit(author)
    begin.approve(approver)
    begin.renditions.filter(locale="en").update(issue="Other words.")
    begin.refresh_from_db()
    assert (begin.status, begin.released_by, begin.approved_by) == ("draft", None, None)


def test_four_eyes_stand(planned, author):
    begin = notice(planned, "in_progress").submit(author)
    with pytest.raises(NotAllowed):
        begin.approve(author)


def test_an_edit_voids_approval_and_release(planned, author, approver, start):
    begin = notice(planned, "in_progress").submit(author)
    begin.approve(approver)
    begin.edit(author, begin.version, {"en": {"issue": "We have begun to work on Card payments."}})
    assert (begin.status, begin.released_by) == ("draft", None)
    announce(planned, author, approver)
    sweep(start)
    begin.refresh_from_db()
    assert begin.status == "draft"


def test_a_release_from_before_a_rejection_lets_nothing_go(planned, author, approver, start):
    announce(planned, author, approver)
    begin = notice(planned, "in_progress").submit(author)
    begin.approve(approver)
    released = begin.approved_hash
    begin.reject(approver, "Ask the night shift first.")
    begin.submit(author)
    assert begin.content_hash == released  # the same words again
    only_approves = make.communications_manager()
    only_approves.groups.set(only_approves.groups.filter(name=roles.ALL_COMPONENTS))
    codenames = ["approve_incidentupdate", "view_incidentupdate"]
    only_approves.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    begin.approve(type(only_approves).objects.get(pk=only_approves.pk))
    assert begin.released_by is None
    # Nor does the database take the old decision for a new one.
    assert refused("UPDATE incidents_incidentupdate SET released_by_id=%s WHERE id=%s", approver.pk, begin.pk)
    sweep(start)
    assert "Nobody who may publish" in held(begin)


def test_a_rejection_in_the_record_alone_voids_the_release(planned, author, approver):
    begin = notice(planned, "in_progress").submit(author)
    begin.approve(approver)
    IncidentUpdate.objects.filter(pk=begin.pk).update(released_by=None)
    begin.decisions.create(incident=planned, by=approver, verb="reject", content_hash=begin.approved_hash)
    assert refused("UPDATE incidents_incidentupdate SET released_by_id=%s WHERE id=%s", approver.pk, begin.pk)


def test_who_may_only_approve_does_not_let_it_go(planned, author):
    able = make.communications_manager()
    able.groups.set(able.groups.filter(name=roles.ALL_COMPONENTS))
    able.user_permissions.set(Permission.objects.filter(codename__in=["approve_incidentupdate", "view_incidentupdate"]))
    begin = notice(planned, "in_progress").submit(author)
    begin.approve(type(able).objects.get(pk=able.pk))
    assert begin.released_by is None
    assert not begin.goes_by_itself
    with pytest.raises(NotAllowed):
        begin.release(type(able).objects.get(pk=able.pk))
    lead = make.communications_manager()
    begin.release(lead)
    assert (begin.released_by, begin.goes_by_itself) == (lead, True)
    assert begin.decisions.filter(verb=Decision.Verb.RELEASE, by=lead, content_hash=begin.approved_hash).count() == 1
    with pytest.raises(WrongState):
        begin.release(lead)


def test_only_a_planned_notice_can_be_released(planned, author, approver):
    first = notice(planned, "scheduled", planned=False).submit(author)
    first.approve(approver)
    assert first.released_by is None
    with pytest.raises(WrongState, match="no time"):
        first.release(approver)


# ── Going out ──


def test_it_goes_out_from_announcement_to_end_without_anybody(planned, author, approver, start):
    approve_all(planned, author, approver)
    sweep(timezone.now())
    assert "published" not in {status for _stage, status in states(planned)}
    notice(planned, "scheduled", planned=False).publish(approver)
    make.deliver()
    assert Delivery.objects.count() == 3
    for at, stage, state in (
        (start - DAY, "scheduled", "operational"),
        (start + timedelta(minutes=1), "in_progress", "under_maintenance"),
        (start + 2 * HOUR, "completed", "operational"),
    ):
        sweep(at - timedelta(minutes=2))
        before = planned.updates.filter(status="published").count()
        sweep(at)
        sweep(at)  # harmless to repeat
        assert planned.updates.filter(status="published").count() == before + 1
        planned.refresh_from_db()
        assert planned.stage == stage
        assert planned.incident_components.get().status == state
    assert planned.resolved_at
    for update in planned.updates.exclude(publish_at=None):
        assert (update.status, update.published_by, update.hold_reason) == ("published", approver, None)
        assert publishing.sent_hash(update) == update.approved_hash
        assert update.decisions.filter(verb=Decision.Verb.PUBLISH, by=approver).count() == 1
    end = notice(planned, "completed")
    assert planned.expected_resolution_at == end.publish_at


def held(update: IncidentUpdate) -> str:
    update.refresh_from_db()
    assert update.status == "approved"
    assert not Dispatch.objects.filter(source=f"update:{update.pk}").exists()
    return update.hold_reason or ""


def test_without_an_announcement_nothing_goes_out(planned, author, approver, start):
    approve_all(planned, author, approver)
    sweep(start)
    assert "never told" in held(notice(planned, "in_progress"))


def test_what_is_too_late_is_held_and_can_go_out_by_hand(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    begin = notice(planned, "in_progress")
    sweep(start + timedelta(minutes=16))
    assert "16 minutes late" in held(begin)
    sweep(start + timedelta(minutes=17))  # it stays with the person
    with clock(start + timedelta(minutes=20)):
        begin.publish(approver)
    assert (begin.status, begin.hold_reason) == ("published", None)


def test_a_reminder_never_comes_after_the_work_has_begun(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    reminder = planned.updates.get(number=2)
    sweep(start + timedelta(minutes=1))
    assert "too late" in held(reminder)
    with clock(start + timedelta(minutes=2)), pytest.raises(Refused) as caught:
        reminder.publish(approver)  # nor by hand
    assert "too_late" in {f.code for f in caught.value.findings}


def test_the_end_waits_if_the_start_was_never_published(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    sweep(start + HOUR)  # the worker was down
    sweep(start + 2 * HOUR)
    assert "start of the work was never published" in held(notice(planned, "completed"))


def test_the_end_waits_if_customers_were_told_that_it_lasts_longer(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    sweep(start)
    with clock(start + HOUR):
        extra = declaring.start_draft(planned, author)
        assert (extra.stage, set(extra.component_states.values())) == ("in_progress", {"under_maintenance"})
        extra.edit(author, extra.version, expected_resolution_at=start + 5 * HOUR)
        make.published(extra, approver)
    sweep(start + 2 * HOUR)
    assert "lasts until" in held(notice(planned, "completed"))


def test_the_start_waits_if_customers_were_told_of_another_end(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    extra = declaring.start_draft(planned, author)
    extra.edit(author, extra.version, expected_resolution_at=start + 5 * HOUR)
    make.published(extra, approver)
    sweep(start)
    assert "another end since" in held(notice(planned, "in_progress"))


def test_it_is_held_if_whoever_let_it_go_may_no_longer(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(author)
    approver.is_active = False
    approver.save()
    sweep(start)
    assert "Paolo Neri may not publish" in held(notice(planned, "in_progress"))


def test_it_is_held_if_the_audience_is_another_by_then(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    make.recipients(400)
    sweep(start)
    assert "audience changed" in held(notice(planned, "in_progress"))


def test_it_is_held_if_the_checker_blocks_it_by_then(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    Channel.objects.update(enabled=False)
    sweep(start)
    assert "switched off" in held(notice(planned, "in_progress"))


def test_nobody_let_it_go_so_it_is_held(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    begin = notice(planned, "in_progress")
    IncidentUpdate.objects.filter(pk=begin.pk).update(released_by=None)
    sweep(start)
    assert "Nobody who may publish" in held(begin)


def test_one_that_breaks_does_not_keep_the_others(planned, author, approver, start, monkeypatch, caplog):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    other = planning.plan_maintenance(author, "Other work", [make.component()], start, start + HOUR)
    approve_all(other, author, approver)
    notice(other, "scheduled", planned=False).publish(approver)
    why = planning.why_held
    broken = notice(planned, "in_progress").pk
    monkeypatch.setattr(planning, "why_held", lambda one: 1 / 0 if one.pk == broken else why(one))
    sweep(start)
    assert notice(other, "in_progress").status == "published"
    assert notice(planned, "in_progress").status == "approved"
    assert f"planned notice {broken} cannot be published" in caplog.text


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_of_many_sweeps_at_once_one_publishes(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    before = Dispatch.objects.count()
    gate = threading.Barrier(4)

    def run() -> None:
        try:
            gate.wait(10)
            planning.publish_due()
        finally:
            connections.close_all()

    with clock(start):
        threads = [threading.Thread(target=run) for _n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    begin = notice(planned, "in_progress")
    assert begin.status == "published"
    assert begin.decisions.filter(verb=Decision.Verb.PUBLISH).count() == 1
    assert Dispatch.objects.count() == before + 2  # English and Italian


def test_notify_off_and_subscribers_without_maintenance_get_nothing(planned, author, approver, start):
    Subscription.objects.update(maintenance=False)
    first = notice(planned, "scheduled", planned=False).submit(author)
    assert first.reach().total == 0
    first.approve(approver, typed_count=0)
    first.publish(approver)
    begin = notice(planned, "in_progress")
    begin.edit(author, begin.version, notify=False)
    begin.submit(author).approve(approver)
    sweep(start)
    make.deliver()
    begin.refresh_from_db()
    assert begin.status == "published"
    assert not Delivery.objects.exists()


# ── Checker ──


def test_the_words_must_say_when_it_begins_and_ends(planned, author):
    first = notice(planned, "scheduled", planned=False)
    first.edit(author, first.version, {"en": {"issue": "We will work.", "action": "", "outlook": ""}})
    found = [f for f in check(first) if f.code == "missing_window"]
    assert [(f.locale, f.blocks) for f in found] == [("en", True), ("en", True)]
    with pytest.raises(Refused):
        first.submit(author)
    clocks = [f"{timezone.localtime(at):%H:%M}" for at in (planned.started_at, planned.expected_resolution_at)]
    first.edit(author, first.version, {"en": {"issue": f"We will work from {clocks[0]} to {clocks[1]}."}})
    assert [f for f in check(first) if f.code == "missing_window"] == []


def test_the_end_must_be_set_and_lie_after_the_start(planned, author, start):
    first = notice(planned, "scheduled", planned=False)
    for wrong in (None, start, start - HOUR):
        first.edit(author, first.version, expected_resolution_at=wrong)
        assert "window" in {f.code for f in check(first) if f.blocks}


def test_an_incident_is_not_asked_for_a_window(author):
    assert {"window", "missing_window"}.isdisjoint({f.code for f in check(make.incident(author).updates.get())})


# ── Clock and reports ──


def test_its_clock_runs_to_its_start_and_then_to_its_end(planned, author, approver, start):
    assert planned.update_due_at is None
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    planned.refresh_from_db()
    assert planned.update_due_at == start
    sweep(start)
    planned.refresh_from_db()
    assert planned.update_due_at == start + 2 * HOUR
    sweep(start + 2 * HOUR)
    planned.refresh_from_db()
    assert planned.update_due_at is None


def test_reports_count_no_lateness(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    sweep(start)
    sweep(start + 2 * HOUR)
    with clock(start + DAY):
        fact = reports.gather(Incident.objects.filter(pk=planned.pk))[0]
    assert fact.maintenance
    assert [one.late for one in fact.updates] == [None, None, None]
    assert fact.silence is None


# ── Cancelling ──


def test_cancelled_before_anybody_was_told_it_is_just_closed(planned, author, approver, start):
    approve_all(planned, author, approver)
    assert planning.cancel_maintenance(planned, author, "Postponed.") is None
    planned.refresh_from_db()
    assert planned.was_dismissed
    sweep(start)
    assert not Dispatch.objects.exists()


def test_cancelled_after_the_announcement_customers_are_told(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    with pytest.raises(Refused):
        planning.cancel_maintenance(planned, author, " ")
    with pytest.raises(NotAllowed):
        planning.cancel_maintenance(planned, make.user(roles.MANAGERS, roles.ALL_COMPONENTS), "Postponed.")
    draft = planning.cancel_maintenance(planned, author, "Postponed.")
    assert draft is not None
    assert (draft.stage, draft.status, draft.publish_at) == ("completed", "draft", None)
    words = {r.locale: r.words() for r in draft.renditions.all()}
    assert "does not take place" in words["en"]["issue"]
    assert "non avrà luogo" in words["it"]["issue"]
    assert [f for f in check(draft) if f.blocks] == []
    sweep(start)
    assert planned.updates.filter(status="published").count() == 1
    with pytest.raises(NotAllowed):
        draft.submit(author).approve(author)
    draft.approve(approver)
    draft.publish(approver)
    planned.refresh_from_db()
    assert planned.is_over
    assert planned.decisions.filter(verb=Decision.Verb.CANCEL, comment="Postponed.").exists()


def test_what_has_begun_cannot_be_cancelled(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    sweep(start)
    with pytest.raises(WrongState):
        planning.cancel_maintenance(planned, author, "Postponed.")


# ── The status page ──


def test_the_public_api_lists_it_as_upcoming_then_active(planned, author, approver, start, client):
    def listed(name: str) -> list[dict]:
        live.look_again()
        return client.get(f"/api/v2/scheduled-maintenances/{name}.json").json()["scheduled_maintenances"]

    assert listed("upcoming") == []
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    (one,) = listed("upcoming")
    assert datetime.fromisoformat(one["scheduled_for"]) == start
    assert datetime.fromisoformat(one["scheduled_until"]) == start + 2 * HOUR
    assert one["impact"] == "maintenance"
    sweep(start)
    assert listed("upcoming") == []
    (one,) = listed("active")
    assert one["status"] == "in_progress"
    html = client.get("/").content.decode()
    assert "Database upgrade" in html


# ── Pages ──


def page(name: str, *args) -> str:
    return reverse(f"admin:{name}", args=args)


def local(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%dT%H:%M")


def test_the_form_plans(author, start):
    part = make.component("Card payments")
    browser = make.client(author)
    assert "Plan maintenance" in browser.get("/admin/").content.decode()
    html = browser.get(page("incidents_incident_plan")).content.decode()
    assert "Card payments" in html
    data = {
        "components": [part.pk],
        "title": "Database upgrade",
        "starts_at": local(start),
        "ends_at": local(start + HOUR),
        "reminder": "24",
    }
    answer = browser.post(page("incidents_incident_plan"), data, follow=True)
    html = answer.content.decode()
    assert Incident.objects.get().updates.count() == 4
    for said in (
        "4 notices are written",
        "Announcement",
        "Reminder",
        "Start of the work",
        "End of the work",
        "the work begins",
    ):
        assert said in html


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"components": []}, "Choose at least one component"),
        ({"title": ""}, "Give the maintenance a title"),
        ({"starts_at": ""}, "Say when the work begins"),
        ({"ends_at": ""}, "Say when the work is to end"),
        ({"starts_at": "soon"}, "is no time"),
        ({"starts_at": "2020-01-01T10:00"}, "is past"),
        ({"reminder": "7"}, "7"),
        ({"components": ["x"]}, "x"),
        ({"components": ["999999"]}, "999999"),
    ],
)
def test_the_form_says_what_is_wrong_and_saves_nothing(author, start, changed, said):
    data = {
        "components": [make.component().pk],
        "title": "W",
        "starts_at": local(start),
        "ends_at": local(start + HOUR),
    }
    answer = make.client(author).post(page("incidents_incident_plan"), data | changed)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Incident.objects.exists()


def test_the_form_is_for_those_who_declare(words):
    reader = make.client(make.user(roles.MANAGERS))
    assert reader.get(page("incidents_incident_plan")).status_code == 403
    assert "Plan maintenance" not in reader.get("/admin/").content.decode()


def test_review_says_when_it_goes_out_and_approves_for_that_time(planned, author, approver, start):
    begin = notice(planned, "in_progress").submit(author)
    browser, url = make.client(approver), page("incidents_incidentupdate_review", begin.pk)
    html = browser.get(url).content.decode()
    assert "Once approved, it goes out by itself on" in html
    assert "Approve and send now" not in html
    assert browser.post(url, {"decision": "approve_publish", "seen_hash": begin.content_hash}).status_code == 422
    answer = browser.post(url, {"decision": "approve", "seen_hash": begin.content_hash}, follow=True)
    assert "It goes out by itself" in answer.content.decode()
    assert "Send it now…" in answer.content.decode()
    begin.refresh_from_db()
    assert begin.released_by == approver
    confirm = browser.get(page("incidents_incidentupdate_publish", begin.pk)).content.decode()
    assert "It was planned for" in confirm


def test_somebody_else_lets_it_go_by_a_button(planned, author, approver):
    begin = notice(planned, "in_progress").submit(author)
    begin.approve(approver)
    IncidentUpdate.objects.filter(pk=begin.pk).update(released_by=None)
    browser, url = make.client(author), page("incidents_incidentupdate_review", begin.pk)
    assert "Let it go out by itself" in browser.get(url).content.decode()
    assert browser.get(page("incidents_incidentupdate_release", begin.pk)).status_code == 302
    browser.post(page("incidents_incidentupdate_release", begin.pk))
    begin.refresh_from_db()
    assert begin.released_by == author
    assert make.client(author).post(page("incidents_incidentupdate_release", begin.pk)).status_code == 409


def test_what_is_held_is_shown_loudly_with_its_reason(planned, author, approver, start):
    approve_all(planned, author, approver)
    notice(planned, "scheduled", planned=False).publish(approver)
    sweep(start + HOUR)
    for url in ("/admin/", page("incidents_incident_change", planned.pk)):
        html = make.client(author).get(url).content.decode()
        assert 'role="alert"' in html
        assert "60 minutes late" in html
    html = make.client(author).get(page("incidents_incidentupdate_review", notice(planned, "in_progress").pk)).content
    assert "60 minutes late" in html.decode()


def test_a_notice_that_nobody_approved_in_time_is_shown_too(planned, author, approver, start):
    announce(planned, author, approver)
    with clock(start + timedelta(minutes=1)):
        html = make.client(author).get(page("incidents_incident_change", planned.pk)).content.decode()
    assert "passed without an approval" in html


def test_compose_offers_the_stages_of_maintenance(planned, author, approver):
    first = notice(planned, "scheduled", planned=False)
    html = make.client(author).get(page("incidents_incidentupdate_compose", first.pk)).content.decode()
    choices = html.split('name="stage"')[1].split("</select>")[0]
    assert [v for v in Stage.values if f'value="{v}"' in choices] == [
        "scheduled",
        "in_progress",
        "verifying",
        "completed",
    ]
    begin = notice(planned, "in_progress")
    html = make.client(author).get(page("incidents_incidentupdate_compose", begin.pk)).content.decode()
    assert html.split('name="stage"')[1].split("</select>")[0].count("<option") == 1
    assert "goes out by itself on" in html
    assert "Planned end" in html


def test_cancel_from_the_page(planned, author, approver):
    announce(planned, author, approver)
    browser = make.client(author)
    assert "Cancel the maintenance" in browser.get(page("incidents_incident_change", planned.pk)).content.decode()
    assert browser.get(page("incidents_incident_cancel", planned.pk)).status_code == 302
    answer = browser.post(page("incidents_incident_cancel", planned.pk), {"reason": "Postponed."}, follow=True)
    assert "does not take place" in answer.content.decode()
    assert make.client(author).post(page("incidents_incident_cancel", planned.pk), {"reason": ""}).status_code == 422


def test_pages_take_a_constant_number_of_queries(planned, author, start):
    browser = make.client(author)
    for url in ("/admin/", page("incidents_incident_change", planned.pk), page("incidents_incident_plan")):
        browser.get(url)
        with CaptureQueriesContext(connection) as first:
            browser.get(url)
        for n in range(3):
            planning.plan_maintenance(author, f"More {n}", [make.component()], start, start + HOUR, DAY)
        with CaptureQueriesContext(connection) as second:
            browser.get(url)
        assert len(second) == len(first), url


def test_it_speaks_italian(planned, author, approver, start):
    announce(planned, author, approver)
    browser = make.client(author)
    browser.cookies["django_language"] = "it"
    for url, said in (
        (page("incidents_incident_plan"), "Pianifica una manutenzione"),
        (page("incidents_incident_change", planned.pk), "Promemoria"),
        ("/admin/", "Manutenzione programmata"),
    ):
        assert said in browser.get(url).content.decode()


# ── Moving ──


def all_set(incident: Incident, author, approver) -> None:
    """Announced, and every other notice approved for its time."""
    approve_all(incident, author, approver)
    notice(incident, "scheduled", planned=False).publish(approver)


def times(incident: Incident) -> tuple[datetime, datetime | None]:
    incident.refresh_from_db()
    return incident.started_at, incident.expected_resolution_at


def waiting(incident: Incident) -> list[tuple[str, datetime | None]]:
    rows = incident.updates.filter(status__in=IncidentUpdate.PENDING).order_by("number")
    return list(rows.values_list("stage", "publish_at"))


def test_a_move_voids_what_was_approved_and_writes_it_anew(planned, author, approver, start):
    all_set(planned, author, approver)
    later, end = start + 2 * DAY, start + 2 * DAY + 3 * HOUR
    draft = planning.move_maintenance(planned, author, later, end, DAY, reason="The supplier is late.")
    assert [status for _stage, status in states(planned)] == ["published", *["withdrawn"] * 3, *["draft"] * 4]
    assert waiting(planned) == [
        ("scheduled", None),
        ("scheduled", later - DAY),
        ("in_progress", later),
        ("completed", end),
    ]
    assert draft == planned.updates.get(status="draft", publish_at=None)
    for update in planned.updates.filter(status="draft"):
        assert (update.starts_at, update.expected_resolution_at, update.approved_by) == (later, end, None)
        assert [f for f in check(update) if f.level != "hint"] == []
    assert times(planned) == (start, start + 2 * HOUR)  # what customers read
    record = planned.decisions.get(verb=Decision.Verb.MOVE)
    old, new = (timezone.localtime(at).strftime("%Y-%m-%d %H:%M") for at in (start, later))
    assert old in record.comment
    assert new in record.comment.partition("→")[2]
    assert "The supplier is late." in record.comment


def test_the_words_say_the_new_time_and_the_old_one_once(planned, author, approver, start):
    all_set(planned, author, approver)
    later = start + 2 * DAY
    draft = planning.move_maintenance(planned, author, later, later + HOUR, DAY)
    page = draft.submit(author).page
    assert "New time for planned maintenance" in page["en"]["subject"]
    assert "è stata spostata" in page["it"]["text"]
    begins = f"{timezone.localtime(later):%H:%M}"
    for locale in ("en", "it"):
        assert begins in page[locale]["subject"]
    for update in planned.updates.filter(status="draft"):
        text = str(update.submit(author).page)
        assert f"{timezone.localtime(start).day} " not in text.replace(f"{timezone.localtime(later).day} ", "")
    assert draft.manifest["starts_at"] == later.isoformat()


def test_nothing_goes_out_at_the_old_time(planned, author, approver, start):
    all_set(planned, author, approver)
    sent = Dispatch.objects.count()
    planning.move_maintenance(planned, author, start + 2 * DAY, start + 2 * DAY + HOUR, DAY)
    for at in (start - DAY, start, start + HOUR, start + 2 * HOUR):
        sweep(at)
    assert Dispatch.objects.count() == sent
    assert times(planned)[0] == start


def test_until_customers_are_told_the_new_notices_are_held(planned, author, approver, start):
    all_set(planned, author, approver)
    later = start + 2 * DAY
    draft = planning.move_maintenance(planned, author, later, later + HOUR, DAY)
    approve_all(planned, author, approver)
    draft.refresh_from_db()
    assert draft.status == "approved"
    sweep(later)
    begin = planned.updates.get(stage="in_progress", publish_at=later)
    assert "not told that the work was moved" in held(begin)
    assert times(planned)[0] == start


def test_once_published_everything_follows_the_new_time(planned, author, approver, start, client):
    all_set(planned, author, approver)

    def public() -> tuple[dict, bytes]:
        live.look_again()
        shown = client.get("/api/v2/scheduled-maintenances/upcoming.json").json()["scheduled_maintenances"]
        return shown[0], client.get("/maintenance.ics").content

    later, end = start + 2 * DAY, start + 2 * DAY + 3 * HOUR
    draft = planning.move_maintenance(planned, author, later, end, DAY)
    before, old_calendar = public()
    assert datetime.fromisoformat(before["scheduled_for"]) == start
    approve_all(planned, author, approver)
    draft.refresh_from_db()
    draft.publish(approver)
    after, calendar = public()
    assert datetime.fromisoformat(after["scheduled_for"]) == later
    assert datetime.fromisoformat(after["scheduled_until"]) == end
    assert b"SEQUENCE:0" in old_calendar
    assert b"SEQUENCE:1" in calendar
    uid = next(line for line in old_calendar.splitlines() if line.startswith(b"UID:"))
    assert uid in calendar.splitlines()
    assert f"DTSTART:{later:%Y%m%dT%H%M00Z}".encode() in calendar
    for at, stage in ((later - DAY, "scheduled"), (later, "in_progress"), (end, "completed")):
        sweep(at)
        planned.refresh_from_db()
        assert planned.stage == stage
    for update in planned.updates.filter(status="published"):
        assert publishing.sent_hash(update) == update.approved_hash
    assert planned.updates.filter(status="published").count() == 5


def test_it_can_be_moved_again_and_back(planned, author, approver, start):
    all_set(planned, author, approver)
    planning.move_maintenance(planned, author, start + DAY, start + DAY + HOUR)
    draft = planning.move_maintenance(planned, author, start + 2 * DAY, start + 2 * DAY + HOUR)
    assert draft is not None
    assert [at for _stage, at in waiting(planned)] == [None, start + 2 * DAY, start + 2 * DAY + HOUR]
    assert planning.move_maintenance(planned, author, start, start + 2 * HOUR, DAY) is None
    assert [at for _stage, at in waiting(planned)] == [start - DAY, start, start + 2 * HOUR]
    approve_all(planned, author, approver)
    sweep(start - DAY)
    sweep(start)
    planned.refresh_from_db()
    assert planned.stage == "in_progress"


def test_moved_before_anybody_was_told_it_is_only_planned_anew(planned, author, approver, start):
    approve_all(planned, author, approver)
    draft = planning.move_maintenance(planned, author, start + DAY, start + DAY + HOUR, DAY)
    assert times(planned) == (start + DAY, start + DAY + HOUR)
    assert (draft.stage, draft.starts_at) == ("scheduled", None)
    assert draft.renditions.get(locale="en").subject.startswith("Planned maintenance")
    assert planning.people_to_tell(planned) == 0


def test_the_notices_go_to_whom_the_old_ones_went(planned, author, approver, start):
    begin = notice(planned, "in_progress")
    begin.edit(author, begin.version, channels=[], notify=False)
    announce(planned, author, approver)
    planning.move_maintenance(planned, author, start + DAY, start + DAY + HOUR)
    new = planned.updates.get(stage="in_progress", status="draft")
    assert (new.notify, new.channels.count()) == (False, 0)
    assert planned.updates.get(stage="completed", status="draft").channels.count() == 1


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (-4 * DAY, HOUR, "is past"),
        (DAY, DAY, "is not after the start"),
        (91 * DAY, 92 * DAY, "more than 90 days ahead"),
        (DAY, 9 * DAY, "more than 7 days after"),
        (timedelta(), 2 * HOUR, "planned for that time already"),
    ],
)
def test_a_move_to_a_time_that_cannot_be_changes_nothing(planned, author, approver, start, begins, ends, said):
    all_set(planned, author, approver)
    before = states(planned)
    with pytest.raises(Refused, match=said):
        planning.move_maintenance(planned, author, start + begins, start + ends)
    assert states(planned) == before
    assert not planned.decisions.filter(verb=Decision.Verb.MOVE).exists()


def test_moving_needs_the_role_the_components_and_work_that_is_not_over(planned, author, approver, start):
    for who in (make.user(roles.MANAGERS, roles.ALL_COMPONENTS), make.user(roles.INCIDENT_MANAGERS)):
        with pytest.raises(NotAllowed):
            planning.move_maintenance(planned, who, start + DAY, start + DAY + HOUR)
    incident = make.incident(author)
    with pytest.raises(WrongState):
        planning.move_maintenance(incident, author, start + DAY, start + DAY + HOUR)
    planning.cancel_maintenance(planned, author, "Postponed.")
    with pytest.raises(WrongState):
        planning.move_maintenance(planned, author, start + DAY, start + DAY + HOUR)


def test_of_two_who_move_it_the_second_learns_of_the_first(planned, author, approver, start):
    all_set(planned, author, approver)
    seen = planning.planned_window(planned)
    planning.move_maintenance(planned, author, start + DAY, start + DAY + HOUR, seen=seen)
    with pytest.raises(WrongState, match="Somebody else moved it"):
        planning.move_maintenance(planned, author, start + 2 * DAY, start + 2 * DAY + HOUR, seen=seen)


def test_work_that_has_begun_is_only_extended(planned, author, approver, start):
    all_set(planned, author, approver)
    sweep(start)
    planned.refresh_from_db()
    end = start + 5 * HOUR
    with clock(start + HOUR):
        for begins, ends, said in (
            (start + HOUR, end, "only its end"),
            (start, start + HOUR, "is past"),
            (start, start + timedelta(minutes=90), "not later than now planned"),
            (start, start + 8 * DAY, "more than 7 days"),
        ):
            with pytest.raises(Refused, match=said):
                planning.move_maintenance(planned, author, begins, ends)
        draft = planning.move_maintenance(planned, author, start, end)
        assert (draft.stage, draft.starts_at, draft.expected_resolution_at) == ("in_progress", None, end)
        assert set(draft.component_states.values()) == {"under_maintenance"}
        assert "takes longer" in draft.renditions.get(locale="en").issue
        assert "richiede più tempo" in draft.renditions.get(locale="it").issue
        assert [f for f in check(draft) if f.level != "hint"] == []
        approve_all(planned, author, approver)
        draft.refresh_from_db()
        draft.publish(approver)
    sweep(start + 2 * HOUR)  # the end that was planned first
    planned.refresh_from_db()
    assert (planned.stage, planned.expected_resolution_at) == ("in_progress", end)
    sweep(end)
    planned.refresh_from_db()
    assert planned.stage == "completed"


def test_work_that_begins_early_has_begun_and_its_end_goes_out(planned, author, approver, start, client):
    all_set(planned, author, approver)
    later = start + DAY
    draft = planning.move_maintenance(planned, author, later, later + HOUR)
    approve_all(planned, author, approver)
    draft.refresh_from_db()
    draft.publish(approver)
    with clock(later - HOUR):
        planned.updates.get(stage="in_progress", status="approved").publish(approver)
        assert times(planned)[0] == later - HOUR
        assert planning.planned_window(planned) == (later - HOUR, later + HOUR)
        html = make.client(author).get(page("incidents_incident_change", planned.pk)).content.decode()
        assert "since it began" in html
        assert "still read the old time" not in html
    sweep(later + HOUR)
    planned.refresh_from_db()
    assert (planned.stage, planned.was_cancelled, planned.started_at) == ("completed", False, later - HOUR)


def test_work_that_is_done_before_it_was_to_begin_was_not_cancelled(planned, author, approver, start):
    announce(planned, author, approver)
    with clock(start - 3 * HOUR):
        make.published(notice(planned, "in_progress"), approver)
    with clock(start - HOUR):
        make.published(declaring.start_draft(planned, author, Stage.COMPLETED), approver)
    planned.refresh_from_db()
    assert (planned.stage_in_words, planned.was_cancelled) == ("Completed", False)


def test_the_database_holds_the_new_start(planned, author, approver, start):
    all_set(planned, author, approver)
    draft = planning.move_maintenance(planned, author, start + DAY, start + DAY + HOUR)
    move = "UPDATE incidents_incidentupdate SET starts_at=%s WHERE id=%s"
    draft.submit(author)
    assert refused(move, start + 2 * DAY, draft.pk)
    draft.approve(approver)
    assert refused(move, start + 2 * DAY, draft.pk)
    draft.publish(approver)
    assert refused(move, start + 2 * DAY, draft.pk)


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", range(4))
def test_a_worker_at_the_moment_of_moving_sends_the_old_notice_before_or_never(
    planned, author, approver, start, attempt
):
    all_set(planned, author, approver)
    before = Dispatch.objects.count()
    gate, results = threading.Barrier(3), []

    def run(job) -> None:
        try:
            gate.wait(10)
            results.append(job())
        except Refused as error:  # the work has begun: only its end can be moved
            results.append(error)
        finally:
            connections.close_all()

    jobs = [
        planning.publish_due,
        planning.publish_due,
        lambda: planning.move_maintenance(Incident.objects.get(pk=planned.pk), author, start + DAY, start + DAY + HOUR),
    ]
    with clock(start):
        threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    begin = planned.updates.get(number=3)
    planned.refresh_from_db()
    moved = planned.decisions.filter(verb=Decision.Verb.MOVE).exists()
    if begin.status == "published":
        assert not moved
        assert planned.stage == "in_progress"
    else:
        assert moved
        assert (begin.status, planned.stage) == ("withdrawn", "scheduled")
        assert Dispatch.objects.count() == before


# ── The page that moves ──


def test_moving_asks_first_and_says_how_many_people_hear_of_it(planned, author, approver, start):
    all_set(planned, author, approver)
    browser, url = make.client(author), page("incidents_incident_move", planned.pk)
    html = browser.get(url).content.decode()
    assert f'value="{local(start)}"' in html
    seen = html.split('name="seen" value="')[1].split('"')[0]
    data = {
        "seen": seen,
        "starts_at": local(start + DAY),
        "ends_at": local(start + DAY + HOUR),
        "reminder": "24",
        "reason": "Late.",
    }
    html = browser.post(url, data).content.decode()
    assert "drafted for 3 people" in html
    assert "Start of the work" in html
    assert "withdrawn" not in {status for _stage, status in states(planned)}
    assert f'value="{local(start + DAY)}"' in browser.post(url, data | {"do": "edit"}).content.decode()
    answer = browser.post(url, data | {"do": "move"}, follow=True)
    assert "Now tell customers" in answer.content.decode()
    for address in ("/admin/", page("incidents_incident_change", planned.pk)):
        assert "customers still read the old time" in browser.get(address).content.decode()
    # a page that is still open in another window
    stale = browser.post(url, data | {"starts_at": local(start + 2 * DAY), "ends_at": local(start + 3 * DAY)})
    assert stale.status_code == 422
    assert "moved it meanwhile" in stale.content.decode()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"starts_at": ""}, "Say when the work begins"),
        ({"ends_at": ""}, "Say when the work is to end"),
        ({"starts_at": "soon"}, "is no time"),
        ({"starts_at": "2020-01-01T10:00"}, "is past"),
        ({"ends_at": "2020-01-01T10:00"}, "is not after the start"),
        ({"reminder": "7"}, "7"),
        ({"reason": "x" * 501}, "500"),
        ({"seen": "x" * 90}, "80"),
        ({"seen": ""}, "moved it meanwhile"),
    ],
)
@pytest.mark.parametrize("do", ["", "move"])
def test_the_move_form_says_what_is_wrong_and_moves_nothing(planned, author, start, changed, said, do):
    seen = "/".join(at.isoformat() for at in times(planned))
    data = {"seen": seen, "starts_at": local(start + DAY), "ends_at": local(start + DAY + HOUR), "do": do}
    answer = make.client(author).post(page("incidents_incident_move", planned.pk), data | changed)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert times(planned)[0] == start


def test_the_page_extends_work_that_has_begun(planned, author, approver, start):
    all_set(planned, author, approver)
    sweep(start)
    browser, url = make.client(author), page("incidents_incident_move", planned.pk)
    with clock(start + HOUR):
        assert "Extend the work" in browser.get(page("incidents_incident_change", planned.pk)).content.decode()
        html = browser.get(url).content.decode()
        assert 'name="starts_at"' not in html
        data = {"seen": html.split('name="seen" value="')[1].split('"')[0], "ends_at": local(start + 5 * HOUR)}
        assert "Extend it" in browser.post(url, data).content.decode()
        browser.post(url, data | {"do": "move"})
    assert waiting(planned) == [("in_progress", None), ("completed", start + 5 * HOUR)]


def test_whoever_may_not_move_it_is_told_so(planned, author, approver):
    url = page("incidents_incident_move", planned.pk)
    reader = make.client(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    assert reader.get(url).status_code == 403
    assert reader.post(url, {"do": "move"}).status_code == 403
    assert "Move to another time" not in reader.get(page("incidents_incident_change", planned.pk)).content.decode()
    assert make.client(make.user(roles.INCIDENT_MANAGERS)).get(url).status_code == 404
    incident = make.incident(author)
    assert make.client(author).get(page("incidents_incident_move", incident.pk)).status_code == 409


def test_the_move_page_takes_a_constant_number_of_queries(planned, author, approver, start):
    all_set(planned, author, approver)
    browser, url = make.client(author), page("incidents_incident_move", planned.pk)
    browser.get(url)
    with CaptureQueriesContext(connection) as first:
        browser.get(url)
    for n in range(3):
        planning.plan_maintenance(author, f"More {n}", [make.component()], start, start + HOUR, DAY)
    with CaptureQueriesContext(connection) as second:
        browser.get(url)
    assert len(second) == len(first)
    assert len(first) < 30


def test_review_leads_to_the_next_notice(planned, author, approver):
    first, reminder = planned.updates.order_by("number")[:2]
    first.submit(author)
    html = make.client(author).get(page("incidents_incidentupdate_review", first.pk)).content.decode()
    assert "The next one is a draft:" in html
    reminder.submit(author)
    first.approve(approver)
    html = make.client(approver).get(page("incidents_incidentupdate_review", first.pk)).content.decode()
    assert "The next one waits for your approval:" in html


def test_what_was_cancelled_says_so_everywhere(planned, author, approver, client):
    announce(planned, author, approver)
    make.published(planning.cancel_maintenance(planned, author, "Postponed."), approver)
    live.look_again()
    assert b"STATUS:CANCELLED" in client.get("/maintenance.ics").content
    assert "<dd>Cancelled</dd>" in client.get(f"/incidents/{planned.uid}/").content.decode()
    assert "Cancelled" in make.client(author).get(page("incidents_incident_changelist")).content.decode()


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_approving_and_moving_at_once_wait_for_each_other(planned, author, approver, start):
    """An approval holds the update and records itself at the incident; a move holds that and wants the update."""
    announce(planned, author, approver)
    begin = notice(planned, "in_progress").submit(author)
    reached, moving = threading.Event(), threading.Event()
    results: list[object] = []
    record = IncidentUpdate._record

    def slowly(update: IncidentUpdate, *args, **kwargs) -> None:
        if args[1] == Decision.Verb.APPROVE:
            reached.set()
            moving.wait(5)
            time.sleep(0.3)  # the move has the incident by now, and asks for the update
        record(update, *args, **kwargs)

    def run(job) -> None:
        try:
            results.append(job())
        except Exception as error:
            results.append(error)
        finally:
            connections.close_all()

    def move() -> object:
        reached.wait(5)
        moving.set()
        return planning.move_maintenance(Incident.objects.get(pk=planned.pk), author, start + DAY, start + DAY + HOUR)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IncidentUpdate, "_record", slowly)
        threads = [threading.Thread(target=run, args=(job,)) for job in (lambda: begin.approve(approver), move)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert [one for one in results if isinstance(one, Exception)] == []
    begin.refresh_from_db()
    assert (begin.status, begin.released_by) == ("withdrawn", None)


def test_who_read_of_it_in_a_segment_hears_that_it_was_moved(author, approver, start):
    part = make.component("Card payments")
    first, *_others = make.recipients(3, part)
    Recipient.objects.filter(pk=first.pk).update(attributes={"plan": "Enterprise"})
    rule = [{"attribute": "plan", "is": "one_of", "values": ["Enterprise"]}]
    plan = CommunicationPlan.objects.get()
    plan.segments.create(name="Enterprise", conditions=rule)
    incident = planning.plan_maintenance(author, "Database upgrade", [part], start, start + 2 * HOUR, DAY)
    announce(incident, author, approver)
    incident.refresh_from_db()
    plan.segments.clear()
    told = planning.people_to_tell(incident)
    draft = planning.move_maintenance(incident, author, start + HOUR, start + 3 * HOUR, DAY)
    assert draft.reach().total == told == sum(not one.capabilities.broadcast for one in draft.channels.all())
    waiting = incident.updates.filter(status="draft")
    assert {tuple(one.segments.values_list("name", flat=True)) for one in waiting} == {("Enterprise",)}
