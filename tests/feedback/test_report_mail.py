"""Reports by email: on their day, once, of what their reader may see, and stopped from the mail itself."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.urls import reverse
from guardian.shortcuts import assign_perm

from channels import mailbox
from channels.models import Channel
from feedback import report_mail, tasks
from feedback.models import ReportMail, ReportSubscription
from incidents import roles
from incidents.models import Component, IncidentComponent
from tests import make
from tests.feedback.test_reports import an_incident, an_update

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unguarded")]
MONDAY = datetime(2026, 3, 9, 6, 30, tzinfo=UTC)  # 07:30 in Rome; the week before: 2 to 8 March
PAGE = "/admin/feedback/report/mail/"


@pytest.fixture
def letters(db) -> Channel:
    return make.channel()


@pytest.fixture
def meg(db) -> User:
    return make.user(roles.MANAGERS, roles.ALL_COMPONENTS, username="meg")


def weekly(user: User, **kwargs) -> ReportSubscription:
    kwargs.setdefault("created_at", datetime(2026, 1, 5, tzinfo=UTC))
    return ReportSubscription.objects.create(user=user, locale=kwargs.pop("locale", "en"), **kwargs)


def an_outage(day: int, title: str, component: Component | None = None):
    start = datetime(2026, 3, day, 10, tzinfo=UTC)
    times = {"started_at": start, "published_at": start, "resolved_at": start + timedelta(hours=1)}
    one = an_incident(make.plan(), start, title=title, stage="resolved", **times)
    an_update(one, 1, start + timedelta(minutes=9), "resolved")
    if component:
        IncidentComponent.objects.create(incident=one, component=component)
    return one


def sweep(at: datetime = MONDAY) -> None:
    with time_machine.travel(at, tick=False):
        tasks.sweep_reports()


def letters_sent() -> list:
    return mailbox.letters()


# ── When ──


@pytest.mark.parametrize(
    ("every", "at", "period"),
    [
        ("week", datetime(2026, 3, 9, 6, 0, tzinfo=UTC), ("2026-03-02", "2026-03-08")),  # 07:00 in Rome
        ("week", datetime(2026, 3, 9, 5, 59, tzinfo=UTC), None),
        ("week", datetime(2026, 3, 15, 22, 59, tzinfo=UTC), ("2026-03-02", "2026-03-08")),
        ("week", datetime(2026, 3, 30, 5, 0, tzinfo=UTC), ("2026-03-23", "2026-03-29")),  # summer time since Sunday
        ("month", datetime(2026, 3, 1, 6, 0, tzinfo=UTC), ("2026-02-01", "2026-02-28")),
        ("month", datetime(2026, 2, 28, 23, 30, tzinfo=UTC), None),  # it is March in Rome, but not seven
        ("month", datetime(2027, 1, 1, 6, 0, tzinfo=UTC), ("2026-12-01", "2026-12-31")),
    ],
)
def test_a_period_is_due_at_seven_on_the_day_after_it_in_the_portals_time_zone(meg, every, at, period):
    found = weekly(meg, every=every).period(at)
    assert (tuple(day.isoformat() for day in found) if found else None) == period


def test_what_was_over_before_somebody_subscribed_is_not_sent(meg):
    assert weekly(meg, created_at=datetime(2026, 3, 9, 6, tzinfo=UTC)).period(MONDAY) is None
    assert weekly(meg, created_at=datetime(2026, 3, 8, 6, tzinfo=UTC)).period(MONDAY)


# ── What ──


def test_it_says_the_sentence_the_figures_and_where_to_read_more(letters, meg):
    an_outage(3, "Cards <fail>")
    an_outage(2, "Search is slow")
    an_outage(9, "Of the next week")
    before = datetime(2026, 2, 25, 10, tzinfo=UTC)
    an_incident(make.plan(), before, title="Of the week before", started_at=before, published_at=before)
    one = weekly(meg)
    sweep()
    with time_machine.travel(MONDAY, tick=False):
        stop = report_mail.stop_url(one)
    [letter] = letters_sent()
    assert letter.to == meg.email
    assert letter.subject.endswith("Communication report, 2 Mar 2026 to 8 Mar 2026")
    for text in (letter.text, re.sub(r"\s+", " ", letter.html)):
        assert "2 incidents: first update in 9 min (median)" in text
        assert "Of the next week" not in text
        assert "Of the week before" not in text
        assert "before: 1" in text
        assert stop in text
    assert "- 3 Mar 2026: Cards <fail>" in letter.text
    assert "Cards &lt;fail&gt;" in letter.html
    assert "first=2026-03-02&last=2026-03-08" in letter.text
    mail = ReportMail.objects.get()
    assert (mail.outcome, str(mail.first), str(mail.last)) == ("sent", "2026-03-02", "2026-03-08")
    assert "[[" not in letter.text + letter.html


def test_it_is_written_in_the_language_that_was_chosen_and_about_the_filters(letters, meg):
    checkout = make.component("Checkout")
    an_outage(3, "Cards fail", checkout)
    an_outage(4, "Search is slow", make.component("Search"))
    weekly(meg, locale="it", component=checkout)
    sweep()
    [letter] = letters_sent()
    assert "Rapporto sulla comunicazione, dal 2 mar 2026" in letter.subject
    assert "Checkout" in letter.text
    assert "Cards fail" in letter.text
    assert "Search" not in letter.text


def test_a_quiet_week_is_said_to_be_one(letters, meg):
    weekly(meg)
    sweep()
    [letter] = letters_sent()
    assert "No incidents in this period." in letter.text


def test_nobody_reads_of_what_they_may_not_see(letters):
    mine, foreign = make.component("Search"), make.component("Vault")
    who = make.user(roles.MANAGERS)
    assign_perm("incidents.view_component", who, mine)
    an_outage(3, "Search is slow", mine)
    an_outage(4, "Vault is open", foreign)
    weekly(who)
    weekly(who, component=foreign)
    sweep()
    [letter] = letters_sent()
    assert "Search is slow" in letter.text
    assert "Vault" not in letter.text + letter.html
    outcomes = list(ReportMail.objects.order_by("id").values_list("outcome", "detail"))
    assert outcomes[0] == ("sent", "")
    assert outcomes[1] == ("obsolete", "Its reader does not see the component or the plan that it was about any more.")


@pytest.mark.parametrize("change", ["stopped", "left", "role"])
def test_who_stopped_or_left_gets_nothing(letters, meg, change):
    one = weekly(meg)
    with time_machine.travel(MONDAY, tick=False):
        report_mail.write_down()
    if change == "stopped":
        ReportSubscription.objects.update(active=False)
    elif change == "left":
        User.objects.filter(pk=meg.pk).update(is_active=False)
    else:
        meg.groups.clear()
    sweep()
    assert letters_sent() == []
    assert ReportMail.objects.get(subscription=one).outcome == "obsolete"


# ── Once ──


def test_each_period_is_sent_once_however_often_the_worker_looks(letters, meg):
    weekly(meg)
    for minutes in (0, 1, 60, 60 * 24):
        sweep(MONDAY + timedelta(minutes=minutes))
    assert len(letters_sent()) == 1
    sweep(MONDAY + timedelta(days=21))  # two weeks were slept through: they stand on the page
    assert len(letters_sent()) == 2
    assert [str(one.first) for one in ReportMail.objects.order_by("first")] == ["2026-03-02", "2026-03-23"]


def test_the_database_holds_one_mail_for_each_period(meg):
    one = weekly(meg)
    ReportMail.objects.create(subscription=one, first="2026-03-02", last="2026-03-08")
    with pytest.raises(IntegrityError), transaction.atomic():
        ReportMail.objects.create(subscription=one, first="2026-03-02", last="2026-03-08")
    with time_machine.travel(MONDAY, tick=False):
        report_mail.write_down()
    assert ReportMail.objects.count() == 1


def test_without_a_channel_it_waits_and_is_given_up_when_the_next_is_nearer(meg):
    weekly(meg)
    sweep()
    assert ReportMail.objects.get().outcome == "waiting"
    assert "No channel" in ReportMail.objects.get().detail
    make.channel()
    sweep(MONDAY + timedelta(minutes=5))
    assert ReportMail.objects.get().outcome == "sent"
    weekly(make.user(roles.MANAGERS, username="mo"))
    with time_machine.travel(MONDAY, tick=False):
        report_mail.write_down()
    sweep(MONDAY + timedelta(days=3))
    assert ReportMail.objects.get(subscription__user__username="mo").outcome == "failed"


def test_what_a_lost_worker_was_sending_is_marked_and_not_sent_again(letters, meg):
    weekly(meg)
    with time_machine.travel(MONDAY, tick=False):
        report_mail.write_down()
    ReportMail.objects.update(outcome="sending", tried_at=MONDAY)
    sweep(MONDAY + timedelta(minutes=1))
    assert ReportMail.objects.get().outcome == "sending"
    sweep(MONDAY + timedelta(minutes=3))
    assert ReportMail.objects.get().outcome == "unknown"
    assert letters_sent() == []


def test_a_sweep_asks_little(letters, django_assert_max_num_queries):
    for _n in range(8):
        weekly(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    sweep()
    with time_machine.travel(MONDAY + timedelta(minutes=1), tick=False), django_assert_max_num_queries(6):
        tasks.sweep_reports()


# ── Stop ──


def test_the_mail_stops_it_without_a_login(client, meg):
    one = weekly(meg)
    path = report_mail.stop_url(one).removeprefix("http://127.0.0.1:8000")
    assert "Stop this report?" in client.get(path).content.decode()
    one.refresh_from_db()
    assert one.active  # reading changes nothing
    response = client.post(path, {"List-Unsubscribe": "One-Click"})
    assert "You do not get this report any more." in response.content.decode()
    one.refresh_from_db()
    assert not one.active
    assert client.post(path).status_code == 200
    one.delete()
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("token", ["x", "x:y:z", "%00", "1"])
def test_a_link_that_is_not_ours_does_not_work(client, token):
    assert client.post(f"/report-mail/{token}/").status_code == 404


# ── Pages ──


def test_a_manager_subscribes_herself_and_stops_it(client, meg):
    client.force_login(meg)
    data = {"every": "month", "severity": "sev1", "component": "", "plan": "", "locale": "it"}
    client.post(PAGE, data)
    one = ReportSubscription.objects.get()
    assert (one.user, one.created_by, one.every, one.severity, one.locale) == (meg, meg, "month", "sev1", "it")
    shown = client.get(PAGE).content.decode()
    assert "Every month, on its first day" in shown
    assert meg.email in shown
    assert "You get just this report already." in client.post(PAGE, data).content.decode()
    assert ReportSubscription.objects.count() == 1
    other = weekly(make.user(roles.MANAGERS))
    for pk in (other.pk, one.pk, "x", "9" * 30):
        client.post(PAGE, {"stop": pk})
    other.refresh_from_db()
    one.refresh_from_db()
    assert other.active  # only one's own
    assert not one.active


def test_the_report_hands_its_filters_on(client, meg):
    component = make.component("Checkout")
    client.force_login(meg)
    over_time = client.get(
        reverse("admin:feedback_report"), {"severity": "sev1", "component": component.pk, "period": "30"}
    )
    assert f"{PAGE}?severity=sev1&amp;component={component.pk}" in over_time.content.decode()
    shown = client.get(PAGE, {"component": component.pk, "severity": "sev1"}).content.decode()
    assert f'<option value="{component.pk}" selected>' in shown


def test_a_foreign_component_cannot_be_subscribed_to(client):
    mine, foreign = make.component("Search"), make.component("Vault")
    who = make.user(roles.MANAGERS)
    assign_perm("incidents.view_component", who, mine)
    client.force_login(who)
    assert "Vault" not in client.get(PAGE).content.decode()
    response = client.post(PAGE, {"every": "week", "component": foreign.pk, "locale": "en"})
    assert response.status_code == 400
    assert not ReportSubscription.objects.exists()


def test_who_has_no_address_is_told(client, meg):
    User.objects.filter(pk=meg.pk).update(email="")
    client.force_login(meg)
    response = client.post(PAGE, {"every": "week", "locale": "en"})
    assert response.status_code == 400
    assert "meg has no email address" in response.content.decode()


def test_administrators_subscribe_others_and_nobody_else_does(client, meg):
    add = "/admin/feedback/reportsubscription/add/"
    client.force_login(meg)
    assert client.get(add).status_code == 403
    boss = User.objects.create_superuser("boss", "boss@example.com", "pw")
    client.force_login(boss)
    data = {"user": meg.pk, "every": "week", "locale": "en", "active": "on"}
    assert client.post(add, data).status_code == 302
    assert ReportSubscription.objects.get().created_by == boss
    stranger = make.user(roles.SUPPORT_LEADS)
    response = client.post(add, {**data, "user": stranger.pk})
    assert "may not read reports" in response.content.decode()
    assert client.get("/admin/feedback/reportsubscription/").status_code == 200
    assert client.get("/admin/feedback/reportmail/").status_code == 200


def test_the_page_asks_little(client, meg, django_assert_max_num_queries):
    for n in range(8):
        one = weekly(meg, component=make.component())
        ReportMail.objects.create(subscription=one, first="2026-03-02", last=f"2026-03-0{n + 2}")
    client.force_login(meg)
    with django_assert_max_num_queries(20):
        client.get(PAGE)


def test_administrators_find_those_of_others_from_the_page(client, meg):
    client.force_login(meg)
    assert "Reports of others" not in client.get(PAGE).content.decode()
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    assert "/admin/feedback/reportsubscription/" in client.get(PAGE).content.decode().split('id="content"')[-1]
