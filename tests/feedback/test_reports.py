"""Figures for managers, checked against an incident counted by hand."""

import csv
import io
from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from channels.models import Batch, Delivery, Dispatch, Notice, NoticeCount, Recipient
from feedback import people, reports, wording
from incidents.models import CommunicationPlan, Decision, Incident, IncidentComponent, IncidentUpdate, PromiseBreach
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unguarded")]  # the past is told in rows
T0 = datetime(2026, 3, 2, 10, 0, 0, tzinfo=UTC)


def at(minutes: float, seconds: float = 0) -> datetime:
    return T0 + timedelta(minutes=minutes, seconds=seconds)


def an_incident(plan: CommunicationPlan | None, declared: datetime = T0, **kwargs) -> Incident:
    version = plan.current() if plan else None
    one = Incident.objects.create(
        plan=plan, plan_version=version, **{"title": "Card payments fail", "started_at": T0} | kwargs
    )
    Incident.objects.filter(pk=one.pk).update(declared_at=declared)
    one.refresh_from_db()
    return one


def an_update(incident: Incident, number: int, when: datetime, stage: str = "identified", **kwargs) -> IncidentUpdate:
    by, approver = User.objects.get_or_create(username="writer")[0], User.objects.get_or_create(username="approver")[0]
    return IncidentUpdate.objects.create(
        incident=incident,
        number=number,
        stage=stage,
        status="published",
        published_at=when,
        author=by,
        approved_by=approver,
        content_hash=f"{number:064}",
        approved_hash=f"{number:064}",
        **kwargs,
    )


def decide(update: IncidentUpdate, *steps: tuple[str, datetime]) -> None:
    who = {"approve": "approver", "reject": "approver", "glass_seen": "approver"}
    for verb, when in steps:
        by = User.objects.get(username=who.get(verb, "writer"))
        Decision.objects.create(incident=update.incident, update=update, by=by, verb=verb, at=when)


def sent(
    update: IncidentUpdate, channel, purpose: str = "update", locale: str = "en", **counts: int
) -> list[Recipient]:
    """A dispatch with this many deliveries of each status."""
    dispatch = Dispatch.objects.create(
        source=f"update:{update.pk}",
        thread=update.incident.thread,
        purpose=purpose,
        channel=channel,
        locale=locale,
        content={"parts": {}},
        approved_hash=update.approved_hash,
        expanded_at=T0,
    )
    people = make.recipients(sum(counts.values()))
    statuses = [status for status, n in counts.items() for _i in range(n)]
    Delivery.objects.bulk_create(
        Delivery(dispatch=dispatch, recipient=who, status=status, at=T0)
        for who, status in zip(people, statuses, strict=True)
    )
    return people


def by_hand() -> Incident:
    """Started 10:00:00, declared 10:04:00; first update due within 15 min, then every 30.

    1 at 10:09:12 (5:12 after declaring: in time)   promised 10:40
    2 at 10:39:12 (30:00 later: in time, to the second)  promised 11:00
    3 at 11:09:13 (30:01 later: late)               no promise
    4 at 11:30:00 (20:47 later: in time), resolved
    5 at 13:00:00 the review, for which nothing was due
    """
    plan = make.plan(first_update_minutes=15, update_minutes=30)
    one = an_incident(plan, at(4), stage="resolved", resolved_at=at(90), published_at=at(9, 12))
    first = an_update(one, 1, at(9, 12), "investigating", next_update_at=at(40))
    second = an_update(one, 2, at(39, 12), next_update_at=at(60))
    third = an_update(one, 3, at(69, 13))
    fourth = an_update(one, 4, at(90), "resolved")
    an_update(one, 5, at(180), "postmortem")
    # 100 s until the refusal and 30 s until the approval; the stretch that an edit ended does not count.
    decide(first, ("draft", at(4)), ("submit", at(5)), ("reject", at(6, 40)), ("edit", at(7)))
    decide(first, ("submit", at(8)), ("approve", at(8, 30)), ("publish", at(9, 12)))
    decide(second, ("submit", at(30)), ("edit", at(35)), ("submit", at(38)), ("approve", at(38, 45)))
    email, sms, post = make.channel(name="Email"), make.channel("outbox_sms", name="SMS"), make.channel("outbox_post")
    sent(first, email, sent=6, delivered=1, failed=2, unknown=1)
    sent(first, email, locale="it", sent=5)
    sent(third, sms, sent=3, failed=1, skipped=1)
    sent(third, post, sent=1)
    asked = sent(fourth, email, "survey", sent=4, failed=1)
    for who, (clear, timely, useful) in zip(asked, [(5, 4, 3), (4, 1, 3), (4, 1, 5)], strict=False):
        make.survey_answer(one, who, clear=clear, timely=timely, useful=useful)
    return one


def facts(incident: Incident, now: datetime | None = None) -> reports.IncidentFacts:
    [one] = reports.gather(Incident.objects.filter(pk=incident.pk), now)
    return one


def test_it_agrees_with_an_incident_counted_by_hand():
    one = facts(by_hand())
    assert one.first_from_start == 9 * 60 + 12
    assert one.first_from_declared == 5 * 60 + 12
    assert [u.after for u in one.updates] == [552, 1800, 1801, 1247, 5400]
    assert [u.late for u in one.updates] == [False, False, True, False, None]
    assert [u.kept_promise for u in one.updates] == [None, True, False, None, None]
    assert (one.late, one.due) == (1, 4)
    assert one.cadence == 2 / 3
    assert one.longest_gap == 1801
    assert sorted(one.waits) == [45, 130]
    assert one.waited == 175
    assert one.duration == 90 * 60
    assert one.silence is None
    email, sms, post = one.channels
    assert (email.channel, email.reached, email.failed, email.unknown, email.skipped) == ("Email", 12, 2, 1, 0)
    assert (email.total, email.rate) == (15, 0.8)
    assert (sms.reached, sms.failed, sms.skipped, sms.rate) == (3, 1, 1, 0.6)
    assert (post.broadcast, post.reached, post.rate) == (True, 1, 1.0)
    assert (one.reach.reached, one.reach.total, one.reach.rate) == (15, 20, 0.75)
    assert (one.survey.invited, one.survey.answered, one.survey.rate) == (4, 3, 0.75)
    assert one.survey.scores == {"clear": (0, 0, 0, 2, 1), "timely": (2, 0, 0, 1, 0), "useful": (0, 0, 2, 0, 1)}
    assert one.survey.means == {"clear": 13 / 3, "timely": 2.0, "useful": 11 / 3}


def test_the_sentence_says_what_was_counted():
    one = facts(by_hand())
    assert (
        wording.incident_sentence(one, reports.summarise([one]))
        == "First update in 9 min, 1 of 4 late, 75 % reached, clarity 4.3/5."
    )


def test_people_are_counted_once_however_many_messages_they_got():
    incident = by_hand()
    dispatch = Dispatch.objects.filter(channel__name="SMS").get()
    someone = Delivery.objects.filter(dispatch__channel__name="Email", dispatch__purpose="update").first().recipient
    Delivery.objects.create(dispatch=dispatch, recipient=someone, status="sent", at=T0)
    assert people.people(incident)[:2] == (15, 20)


def test_an_open_incident_that_is_silent_too_long_counts_as_late():
    one = an_incident(make.plan(update_minutes=30), at(1))
    an_update(one, 1, at(5))
    early, late = facts(one, at(35)), facts(one, at(35, 1))
    assert (early.silence, early.late, early.due, early.cadence, early.longest_gap) == (1800, 0, 1, None, None)
    assert (late.silence, late.late, late.due, late.cadence, late.longest_gap) == (1801, 1, 2, 0.0, 1801)


@pytest.mark.parametrize(
    ("promised", "minutes", "overdue", "long", "late"),
    [
        (50, 45, False, True, 0),  # the plan's 30 minutes are over, the promise holds
        (50, 50, False, True, 0),
        (50, 51, True, True, 1),
        (20, 21, True, False, 0),  # the promise is broken within the plan's time
        (None, 36, True, True, 1),
    ],
)
def test_an_update_is_overdue_when_the_promise_to_customers_is_broken(promised, minutes, overdue, long, late):
    promise = at(promised) if promised else None
    one = an_incident(make.plan(update_minutes=30), at(1), published_at=at(5), next_update_at=promise)
    an_update(one, 1, at(5), next_update_at=promise)
    found = facts(one, at(minutes))
    assert (found.overdue, found.silence_long, found.late, found.due) == (overdue, long, late, 1 + late)
    assert len(found.gaps) == late
    assert (at(minutes) > one.update_due_at) == overdue  # the dashboard's clock says the same
    sentence = wording.incident_sentence(found, reports.summarise([found]))
    assert ("the next update is overdue" in sentence) == overdue


def test_an_open_incident_without_an_update_is_late_after_the_plans_time():
    one = an_incident(make.plan(first_update_minutes=15), at(2))
    in_time, late = facts(one, at(17)), facts(one, at(47))
    assert (in_time.late, in_time.due) == (0, 0)
    assert (late.late, late.due, late.first_from_start, late.gaps) == (1, 1, None, [])
    assert wording.incident_sentence(late, reports.summarise([late])) == "No update for 45 min, late."


def test_imported_history_is_measured_against_the_stated_default():
    one = an_incident(None, imported_from="x:1", stage="resolved", resolved_at=at(120))
    for number, (minutes, stage) in enumerate([(10, "investigating"), (40, "identified"), (71, "resolved")], 1):
        an_update(one, number, at(minutes), stage)
    found = facts(one)
    assert (found.assumed, found.interval) == (True, 1800)
    assert (found.declared_at, found.first_from_declared) == (None, None)
    assert (found.first_from_start, found.cadence, found.longest_gap) == (600, 0.5, 1860)


def test_a_start_dated_at_the_first_update_says_nothing_about_speed():
    one = an_incident(None, imported_from="x:1", stage="resolved", resolved_at=at(20))
    an_update(one, 1, at(0))
    an_update(one, 2, at(20), "resolved")
    found = facts(one)
    assert (found.first_from_start, found.late, found.due) == (None, 0, 1)
    assert reports.summarise([found]).first_from_start is None


def test_planned_maintenance_is_never_late():
    one = an_incident(None, maintenance=True, stage="scheduled")
    an_update(one, 1, at(100), "scheduled")
    an_update(one, 2, at(5000), "in_progress")
    found = facts(one, at(90000))
    assert (found.due, found.silence, found.cadence) == (0, None, None)


def test_drafts_and_withdrawn_updates_do_not_count():
    one = an_incident(None)
    IncidentUpdate.objects.create(incident=one, number=1, stage="identified", status="withdrawn", published_at=T0)
    IncidentUpdate.objects.create(incident=one, number=2, stage="identified", status="draft")
    assert facts(one).updates == ()


def test_an_update_dated_before_the_start_took_no_time():
    one = an_incident(None)
    an_update(one, 1, at(-5))
    assert facts(one).first_from_start == 0


def test_people_still_waiting_are_not_part_of_the_rate():
    one = an_incident(None)
    update = an_update(one, 1, at(5))
    sent(update, make.channel(), sent=3, failed=1)
    dispatch = Dispatch.objects.get()
    for size, done, repeats in ((10, 4, False), (5, 0, True)):
        Batch.objects.create(
            dispatch=dispatch,
            recipient_ids=list(range(size)),
            size=size,
            attempted_to=done,
            done_to=done,
            repeats=repeats,
            next_try_at=timezone.now(),
        )
    [reach] = facts(one).channels
    assert (reach.waiting, reach.total, reach.rate) == (6, 4, 0.75)
    Dispatch.objects.update(cancelled_at=timezone.now())
    assert facts(one).channels[0].waiting == 0


def test_another_incidents_messages_and_answers_are_not_counted():
    by_hand()
    other = an_incident(None)
    found = facts(other)
    assert (found.channels, found.survey.invited, found.survey.answered, found.waits) == ((), 0, 0, ())


def test_a_provider_that_was_removed_does_not_break_the_report():
    one = an_incident(None)
    sent(an_update(one, 1, at(5)), make.channel("carrier_pigeon"), sent=2)
    assert facts(one).reach.rate == 1.0


def test_a_summary_takes_medians_of_times_and_shares_of_all():
    plan = make.plan(first_update_minutes=10, update_minutes=30)
    for minutes in (2, 4, 30):
        one = an_incident(plan, stage="resolved", resolved_at=at(50))
        an_update(one, 1, at(minutes))
        an_update(one, 2, at(50), "resolved")
    summary = reports.summarise(reports.gather(Incident.objects.all()))
    assert (summary.incidents, summary.told, summary.updates) == (3, 3, 6)
    assert summary.first_from_start == 240
    assert (summary.late, summary.due) == (3, 6)  # one first update, two gaps of 46 and 48 minutes
    assert (summary.gaps, summary.cadence, summary.longest_gap) == (3, 1 / 3, 2880)
    assert summary.duration == 3000


def test_a_trend_has_every_week_and_puts_each_incident_in_its_own(settings):
    for day in (1, 2, 16):
        one = an_incident(None, started_at=datetime(2026, 3, day, 23, 30, tzinfo=UTC))
        an_update(one, 1, one.started_at + timedelta(minutes=day))
    found = reports.gather(Incident.objects.all())
    weekly, points = reports.trend(found, date(2026, 2, 25), date(2026, 3, 24))
    assert weekly
    # 23:30 on Sunday 1 March in UTC is Monday in Rome.
    assert [(p.start.isoformat(), p.summary.incidents) for p in points] == [
        ("2026-02-23", 0),
        ("2026-03-02", 2),
        ("2026-03-09", 0),
        ("2026-03-16", 1),
        ("2026-03-23", 0),
    ]
    weekly, points = reports.trend(found, date(2025, 11, 30), date(2026, 8, 1))
    assert not weekly
    assert [p.start.month for p in points] == [11, 12, 1, 2, 3, 4, 5, 6, 7, 8]


def test_linked_tickets_are_counted():
    incident, other = by_hand(), an_incident(None)
    writer = User.objects.get(username="writer")
    for number in range(3):
        ticket = Recipient.objects.create(medium="ticket", address=f"1:{number}")
        incident.tickets.create(recipient=ticket, added_by=writer)
    assert (facts(incident).tickets, facts(other).tickets) == (3, 0)
    assert reports.summarise([facts(incident), facts(other)]).tickets == 3


def test_it_asks_the_database_a_fixed_number_of_times(django_assert_num_queries):
    by_hand()
    with django_assert_num_queries(11):
        reports.gather(Incident.objects.all())
    component = make.component()
    for number in range(5):
        one = an_incident(None)
        IncidentComponent.objects.create(incident=one, component=component)
        sent(an_update(one, 1, at(number), expected_resolution_at=at(60)), make.channel(), sent=3)
        PromiseBreach.objects.create(incident=one, kind="next", due_at=at(30))
    with django_assert_num_queries(11):
        assert len(reports.gather(Incident.objects.filter(components=component))) == 5


def test_what_browsers_say_of_notices_in_apps_is_told_by_channel(client, django_assert_num_queries):
    one, other = an_incident(None), an_incident(None, title="Search is slow")
    app, mail = make.channel("in_app", name="Product pages"), make.channel(name="Mail")
    for number, (incident, shown, closed) in enumerate([(one, 40, 10), (one, 60, 20), (other, 7, 0)]):
        update = an_update(incident, number + 1, at(number))
        sent(update, app, sent=1)
        dispatch = Dispatch.objects.get(source=f"update:{update.pk}")
        sent(update, mail, sent=3)
        for locale, share in (("en", 1), ("it", 2)):
            key = f"{dispatch.pk}-9-{locale}"
            notice = Notice.objects.create(key=key, thread=incident.thread, locale=locale, subject="x", at=at(number))
            for day in (at(0).date(), at(1500).date()):
                for event, n in (("shown", shown * share), ("dismissed", closed * share)):
                    NoticeCount.objects.create(notice=notice, day=day, event=event, count=n)
    with django_assert_num_queries(13):
        found = {
            facts.pk: {reach.channel: reach for reach in facts.channels}
            for facts in reports.gather(Incident.objects.all())
        }
    apps = found[one.pk]["Product pages"]
    assert (apps.shown, apps.closed, apps.closing_rate, apps.first_shown) == (600, 180, 0.3, at(0).date())
    assert (found[other.pk]["Product pages"].shown, found[other.pk]["Product pages"].closed) == (42, 0)
    assert found[one.pk]["Mail"].shown is None
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(f"/admin/feedback/report/{one.pk}/").content.decode()
    seen = page[: page.index("As a table")]
    assert "In the app: shown 600 times, dismissed 180 times (30 %), first on 2 Mar 2026." in seen
    assert seen.count("times are counted, not people") == 1
    assert "In the app: shown 642 times" in client.get("/admin/feedback/report/?period=all").content.decode()
    lines = read(client.get(f"/admin/feedback/report/{one.pk}/csv/"))
    assert [line[2:] for line in lines if line[1] == "Product pages" and "in the app" in line[0]] == [
        ["600", "times, by browsers"],
        ["180", "times, by browsers"],
        ["30.00", "%"],
        ["2026-03-02", "day (UTC)"],
    ]
    header, *rows = read(client.get("/admin/feedback/report/csv/?period=all"))
    [row] = [row for row in rows if row[0] == str(one.pk)]
    assert [row[header.index(f"In the app: {name}")] for name in ("times shown", "dismissed (%)")] == ["600", "30.00"]


# ── Promises, and the end that was told ──


def promised_by_hand() -> Incident:
    """Started 10:00:00, resolved 11:40:07.

    1 at 10:09:12: the end is expected at 11:00; the next update is promised for 10:30
    2 at 10:33:20 (3:20 late): the end at 11:45
    3 at 10:50:00: the same end; the next update promised for 11:00
      nothing at 11:00, and nothing at 11:15 either, which the plan wanted
    4 at 11:16:05 (16:05 and 1:05 late): no end is told; next update 11:30
      nothing at 11:30: the end comes 10:07 later, with an update
    5 at 11:40:07, resolved; it names a time, which is of no matter any more
    """
    one = an_incident(make.plan(), at(1), stage="resolved", resolved_at=at(100, 7), published_at=at(9, 12))
    first = an_update(one, 1, at(9, 12), "investigating", expected_resolution_at=at(60))
    an_update(one, 2, at(33, 20), expected_resolution_at=at(105))
    an_update(one, 3, at(50), expected_resolution_at=at(105))
    fourth = an_update(one, 4, at(76, 5))
    an_update(one, 5, at(100, 7), "resolved", expected_resolution_at=at(500))
    IncidentUpdate.objects.create(incident=one, number=6, stage="identified", expected_resolution_at=at(7))
    for due in (30, 60, 75, 90):
        PromiseBreach.objects.create(incident=one, kind="next", due_at=at(due))
    decide(first, ("submit", at(4)), ("glass", at(9, 12)), ("publish", at(9, 12)), ("glass_seen", at(300)))
    decide(fourth, ("submit", at(70)), ("approve", at(71)), ("approve", at(76)), ("glass", at(76, 5)))
    return one


def test_broken_promises_and_the_expected_end_agree_to_the_second():
    one = facts(promised_by_hand())
    assert [(b.due, b.came, b.late) for b in one.breaches] == [
        (at(30), at(33, 20), 200),
        (at(60), at(76, 5), 965),
        (at(75), at(76, 5), 65),
        (at(90), at(100, 7), 607),
    ]
    assert one.longest_breach == 965
    told = one.expectation
    assert told == reports.Expectation(at(60), at(105), 2407, -293, 1)
    assert (one.glass, one.glass_open) == (2, 1)
    assert one.waits == (360,)  # from asking until the last of two approvals; the other was never answered
    summary = reports.summarise([one])
    assert (summary.broken, summary.broken_late, summary.longest_broken) == (4, (200 + 607) / 2, 965)
    assert summary.expected_first == reports.Accuracy(1, 2407, 2407, 0.0)
    assert summary.expected_last == reports.Accuracy(1, 293, 293, 1.0)
    assert (summary.revisions, summary.glass, summary.glass_open) == (1, 2, 1)


def test_a_promise_that_is_still_broken_is_late_until_now():
    one = an_incident(make.plan())
    an_update(one, 1, at(5), expected_resolution_at=at(60))
    PromiseBreach.objects.create(incident=one, kind="next", due_at=at(30))
    found = facts(one, at(42, 1))
    [breach] = found.breaches
    assert (breach.came, breach.late) == (None, 721)
    assert (found.expectation.first_off, found.expectation.last_off) == (None, None)
    assert reports.summarise([found]).expected_last == reports.Accuracy(0, None, None, None)


def test_planned_work_and_what_told_no_time_expected_nothing():
    work = an_incident(None, maintenance=True, stage="completed", resolved_at=at(90))
    an_update(work, 1, at(5), "scheduled", expected_resolution_at=at(60))
    silent = an_incident(None, stage="resolved", resolved_at=at(90))
    an_update(silent, 1, at(5))
    assert [one.expectation for one in reports.gather(Incident.objects.all())] == [None, None]


def test_the_accuracy_of_a_period_counts_15_minutes_either_way_as_right():
    for off in (0, 900, -900, 901, -3600):
        one = an_incident(None, stage="resolved", resolved_at=at(90, off))
        an_update(one, 1, at(5), expected_resolution_at=at(90))
    found = reports.summarise(reports.gather(Incident.objects.all())).expected_last
    assert found == reports.Accuracy(5, 900, 3600, 0.6)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [([], None), ([7], 7), (range(1, 20), 19), (range(1, 21), 19), (range(1, 41), 38), (range(1, 101), 95)],
)
def test_95_of_100_is_the_nearest_rank(values, wanted):
    assert reports.p95(values) == wanted


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.2, "just then"), (2407, "40 min 7 s later than told"), (-293, "4 min 53 s earlier than told")],
)
def test_how_far_off_in_words(seconds, text):
    assert wording.off(seconds) == text


def test_the_pages_and_both_csv_tell_of_promises_and_of_the_expected_end(client):
    one = promised_by_hand()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(f"/admin/feedback/report/{one.pk}/").content.decode()
    for words in ("<dt>Promises broken</dt><dd>4</dd>", "16 min 5 s", "40 min 7 s later than told", "1 not reviewed"):
        assert words in page
    assert "4 min 53 s earlier than told" in page
    tiles = client.get("/admin/feedback/report/?period=all").context["tiles"]
    shown = {tile["label"]: tile["value"] for tile in tiles}
    assert shown["Promises broken"] == "4"
    assert shown["What was promised came late by, median"] == "6 min 44 s"
    assert shown["Resolved within 15 min of the time last told"] == "100 %"
    assert shown["Resolved within 15 min of the time first told"] == "0 %"
    assert shown["Off the time last told, 95 of 100 within"] == "4 min 53 s"
    assert shown["Waiting for approval, 95 of 100 within"] == "6 min"
    assert shown["Sent without a second person"] == "2"
    lines = read(client.get(f"/admin/feedback/report/{one.pk}/csv/"))
    assert ["Late by", "promise 2: Next update", "965", "seconds"] in lines
    assert ["Resolved later than told", "last told", "-293", "seconds"] in lines
    assert ["Expected resolution", "times changed", "1", "changes"] in lines
    assert ["Sent without a second person, not reviewed", "", "1", "updates"] in lines
    header, *rows = read(client.get("/admin/feedback/report/csv/?period=all"))
    [row] = rows
    got = {name: row[header.index(name)] for name in header}
    assert (got["Promises broken"], got["Promises broken: late, together (s)"]) == ("4", "1837")
    assert got["Promises broken: longest (s)"] == "965"
    assert (got["Resolved later than first told (s)"], got["Resolved later than last told (s)"]) == ("2407", "-293")
    assert got["Expected resolution, times changed"] == "1"
    assert got["Expected resolution, last told"].startswith("2026-03-02T12:45:00")


def read(response) -> list[list[str]]:
    return list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))


def test_what_no_browser_has_shown_yet_is_said_so_and_without_such_a_channel_nothing_is():
    assert wording.in_app(reports.Reach(shown=0, closed=0)) == (
        "In the app: no browser has said yet that it showed a notice."
    )
    assert wording.in_app(reports.Reach(shown=1, closed=0)) == "In the app: shown 1 time, dismissed 0 times (0 %)."
    assert reports.together([reports.Reach(reached=4)]).shown is None
    assert reports.together([reports.Reach(reached=4), reports.Reach(shown=0, closed=0)]).shown == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (552, "9 min 12 s"),
        (3599.7, "1 h"),
        (5100, "1 h 25 min"),
        (86399, "1 d"),
        (183_600, "2 d 3 h"),
    ],
)
def test_durations_in_words(seconds, text):
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "–"),
        (0, "0 %"),
        (1 / 562, "under 1 %"),
        (0.0099, "under 1 %"),
        (0.01, "1 %"),
        (0.5, "50 %"),
        (0.994, "99 %"),
        (0.996, "over 99 %"),
        (1, "100 %"),
    ],
)
def test_all_is_said_only_when_it_is_all(share, text):
    assert wording.percent(share) == text


@pytest.mark.parametrize(
    ("late", "due", "text"),
    [
        (0, 0, ""),
        (0, 1, "on time"),
        (1, 1, "late"),
        (0, 5, "all 5 updates on time"),
        (5, 5, "all 5 updates late"),
        (2, 5, "2 of 5 late"),
    ],
)
def test_lateness_in_words(late, due, text):
    assert wording._late(late, due) == text


def test_the_sentence_of_a_period():
    assert wording.period_sentence(reports.summarise([])) == "No incidents in this period."
    one = facts(by_hand())
    said = "first update in 9 min, 1 of 4 late, 75 % reached, clarity 4.3/5."
    assert wording.period_sentence(reports.summarise([one])) == f"1 incident: {said}"
    an_incident(None, stage="resolved")
    both = reports.summarise(reports.gather(Incident.objects.all()))
    assert wording.period_sentence(both) == f"2 incidents: {said}"
