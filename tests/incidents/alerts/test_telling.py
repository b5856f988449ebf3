"""Staff hear of what monitoring proposes: those who can decide, each proposal once, and a storm in one notice."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from guardian.shortcuts import assign_perm

from incidents import roles, tasks, telling_staff
from incidents.alerts import taking_in, telling
from incidents.alerts.signal import Signal
from incidents.models import Incident, Proposal, StaffNotice
from tests import make

from .conftest import rule, source

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at(time_machine):
    def move(minutes: float) -> None:
        time_machine.move_to(T0 + timedelta(minutes=minutes), tick=False)

    move(0)
    return move


@pytest.fixture
def marta(db):
    return make.incident_manager(username="marta")


def fire(of, title: str = "checkout down", n: int = 0, severity: str = "sev2") -> None:
    taking_in.take_in(of, "", [Signal(f"{title}-{n}", True, title=title, severity_hint=severity)])


def told() -> list[str]:
    return [one.user.username for one in StaffNotice.objects.filter(kind="proposal").order_by("pk")]


def test_the_incident_managers_of_the_plan_are_told_once(at, marta):
    make.incident_manager(username="other")
    checkout = make.component("Checkout")
    make.plan(people=[("incident_manager", marta), ("support_lead", make.user(roles.SUPPORT_LEADS))])
    rule(checkout, title="checkout*")
    fire(source())
    assert told() == []
    for _twice in range(2):
        tasks.sweep_alerts()
    notice = StaffNotice.objects.get()
    assert notice.user == marta
    assert notice.subject == "Monitoring proposes an incident: checkout down (SEV 2 · major)"
    assert notice.text == (
        "Affected: Checkout. Customers have been told nothing. Declare it, or say that it is no incident."
    )
    assert notice.url.endswith(reverse("admin:incidents_proposal_change", args=[Proposal.objects.get().pk]))
    assert notice.incident is None


def test_a_storm_is_one_notice(at, marta):
    one = source()
    for n in range(300):
        fire(one, n=n)
        if n % 100 == 0:
            tasks.sweep_alerts()
    at(20)
    tasks.sweep_alerts()
    assert told() == ["marta"]


def test_a_storm_of_many_proposals_is_one_notice_and_the_rest_come_together(at, marta):
    one = source()
    for n in range(8):
        rule(make.component(f"Part {n}"), title=f"part {n}", name=f"Rule {n}", position=n)
        fire(one, title=f"part {n}")
        if n in (2, 5):
            tasks.sweep_alerts()
    assert Proposal.objects.count() == 8
    assert told() == ["marta"]
    assert StaffNotice.objects.get().subject == "Monitoring proposes 3 incidents"
    at(6)
    tasks.sweep_alerts()
    last = StaffNotice.objects.first()
    assert last.subject == "Monitoring proposes 5 incidents"
    assert "part 7 (SEV 2 · major)" in last.text
    assert last.url.endswith("/admin/incidents/proposal/?state__exact=open")
    at(20)
    tasks.sweep_alerts()
    assert told() == ["marta", "marta"]


def test_what_is_worse_does_not_wait(at, marta):
    one = source()
    for n, severity in enumerate(("sev3", "sev1", "sev2")):
        rule(make.component(f"Part {n}"), title=f"part {n}", name=f"Rule {n}", position=n)
        fire(one, title=f"part {n}", severity=severity)
        tasks.sweep_alerts()
    assert [one.proposal.severity for one in StaffNotice.objects.order_by("pk")] == ["sev3", "sev1"]


def test_somebody_elses_proposal_does_not_wait_for_my_quiet(at, marta):
    other, one = make.incident_manager(username="other"), source()
    for n, who in enumerate((marta, other)):
        part = make.component(f"Part {n}", group=f"Group {n}")
        plan = make.plan(people=[("incident_manager", who)])
        plan.component_groups.add(part.group)
        rule(part, title=f"part {n}", name=f"Rule {n}", position=n)
        fire(one, title=f"part {n}")
        tasks.sweep_alerts()
    assert told() == ["marta", "other"]


def test_without_a_plan_a_few_who_may_declare_are_told_and_nobody_else(at):
    for n in range(7):
        make.incident_manager(username=f"manager{n}")
    make.user(roles.INCIDENT_MANAGERS, username="elsewhere")  # no component of it
    make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS)
    fire(source())
    tasks.sweep_alerts()
    assert told() == [f"manager{n}" for n in range(5)]


def test_who_may_not_decide_is_not_told_whatever_the_plan_says(at, marta):
    here, there = make.component("Checkout"), make.component("Login")
    one = make.user(roles.INCIDENT_MANAGERS)
    assign_perm("incidents.operate_component", one, there)
    make.plan(people=[("incident_manager", one)])
    rule(here, title="checkout*")
    fire(source())
    tasks.sweep_alerts()
    assert told() == ["marta"]


@pytest.mark.parametrize("how", ["dismissed", "late"])
def test_what_is_decided_or_old_is_no_news(at, marta, how):
    fire(source())
    if how == "dismissed":
        Proposal.objects.get().dismiss(marta, "A test.")
    else:
        at(31)
    tasks.sweep_alerts()
    assert told() == []


def test_it_goes_out_by_email_unless_somebody_decided_meanwhile(at, marta, settings):
    make.channel()
    one = source()
    fire(one)
    tasks.sweep_alerts()
    telling_staff.send_waiting()
    [mail] = [path.read_text() for path in (settings.DATA_DIR / "outbox").glob("*.json")]
    assert "Monitoring proposes an incident" in mail
    Proposal.objects.get().dismiss(marta, "A test.")
    at(6)
    fire(one, title="again")
    tasks.sweep_alerts()
    Proposal.objects.first().dismiss(marta, "A test.")
    telling_staff.send_waiting()
    assert [one.outcome for one in StaffNotice.objects.order_by("pk")] == ["sent", "obsolete"]
    assert not Incident.objects.exists()


def test_the_notice_is_seen_by_whom_it_is_for_and_by_who_sees_everything(at, marta):
    fire(source(), title="Zebra down")
    tasks.sweep_alerts()
    listed = reverse("admin:incidents_staffnotice_changelist")
    scoped = make.user(roles.INCIDENT_MANAGERS)
    assign_perm("incidents.operate_component", scoped, make.component())
    assert "Zebra" in make.client(marta).get(listed).content.decode()
    assert "Zebra" in make.client(make.communications_manager()).get(listed).content.decode()
    assert "Zebra" not in make.client(scoped).get(listed).content.decode()


def test_looking_is_one_query_while_nothing_is_new(at, django_assert_num_queries):
    with django_assert_num_queries(1):
        telling.tell()
