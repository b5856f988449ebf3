"""What alerts propose: one draft for a storm, nothing public, nothing twice, and never an incident by themselves."""

from datetime import timedelta

import pytest
import time_machine
from django.db import IntegrityError, transaction
from django.utils import timezone

from incidents.alerts import taking_in
from incidents.alerts.signal import Signal
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import Alert, AlertRule, Incident, IncidentUpdate, Proposal, Stage
from tests import make
from tests.incidents.test_races import at_once

from .conftest import alert, rule, source, tell

pytestmark = pytest.mark.django_db


def fire(of, fingerprint="a", firing=True, **fields):
    fields.setdefault("title", f"Alert {fingerprint}")
    return taking_in.take_in(of, "", [Signal(fingerprint, firing, **fields)])


def states(proposal):
    return {one.component.name: one.status for one in proposal.proposed.all()}


# ── Storms ──


def test_a_storm_of_a_thousand_gives_one_draft():
    one, checkout = source(), make.component("Checkout")
    rule(checkout, labels={"service": "checkout"}, severity="sev2")
    for n in range(1000):
        answer = tell(one, alert(f"alert-{n}", labels={"service": "checkout", "host": f"web-{n}"}))
        assert answer.status_code == 200
    proposal = Proposal.objects.counted().get()
    assert (proposal.alerts_n, proposal.told_n, proposal.firing_n) == (1000, 1000, 1000)
    assert states(proposal) == {"Checkout": "degraded_performance"}
    assert not Incident.objects.exists()
    assert not IncidentUpdate.objects.exists()


def test_a_thousand_times_the_same_is_one_alert():
    one = source()
    for _n in range(1000):
        tell(one, alert("same"))
    proposal = Proposal.objects.counted().get()
    assert (proposal.alerts_n, proposal.told_n) == (1, 1000)


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_a_storm_from_all_sides_at_once_gives_one_draft():
    checkout, api = make.component("Checkout"), make.component("API")
    rule(checkout, title="checkout*")
    rule(checkout, api, title="both*")
    sources = [source(name=f"Source {n}") for n in range(4)]

    def storm(n):
        title = ("checkout", "both", "nobody knows")[n % 3]
        for i in range(125):
            # Half of them are told by two threads, with the same fingerprint.
            answer = tell(sources[n % 4], alert(f"{n % 4}-{i}", title=title))
            assert answer.status_code == 200, answer.content

    failed = [one for one in at_once(*(lambda n=n: storm(n) for n in range(8))) if one]
    assert failed == []
    proposal = Proposal.objects.counted().get(state="open")
    assert proposal.told_n == 1000
    assert proposal.alerts_n == 500
    assert set(states(proposal)) <= {"Checkout", "API"}
    assert Proposal.objects.exclude(state="joined").count() == 1


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_of_those_who_are_let_in_at_once_none_is_counted_wrong():
    one = source(rate=20)
    answers = at_once(*(lambda n=n: [tell(one, alert(f"{n}-{i}")).status_code for i in range(8)] for n in range(5)))
    codes = [code for codes in answers for code in codes]
    one.refresh_from_db()
    # A minute may turn while it runs: then it has room for twenty more.
    assert (codes.count(200), codes.count(429)) in ((20, 20), (40, 0)) or 20 < codes.count(200) < 40
    assert one.dropped == codes.count(429)


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_a_decision_and_a_storm_at_the_same_moment_do_not_lock_each_other():
    one, component = source(), make.component()
    rule(component)
    fire(one, "first")
    proposal, person = Proposal.objects.get(), make.incident_manager()

    def storm(n):
        for i in range(40):
            fire(one, f"{i}", firing=(i + n) % 2 == 0)

    results = at_once(*(lambda n=n: storm(n) for n in range(3)), lambda: proposal.dismiss(person, "A test."))
    assert results == [None] * 4
    assert Proposal.objects.filter(state="dismissed").count() == 1
    assert Proposal.objects.filter(state="open").count() <= 1


# ── What belongs together ──


def test_alerts_of_overlapping_components_join_and_the_worst_counts():
    checkout, api, mail = make.component("Checkout"), make.component("API"), make.component("Mail")
    rule(checkout, title="checkout", severity="sev3")
    rule(checkout, api, title="api", severity="sev1", status="major_outage")
    rule(mail, title="mail")
    one = source()
    for name in ("checkout", "api", "mail"):
        fire(one, name, title=name)
    first, second = Proposal.objects.order_by("pk")
    assert states(first) == {"Checkout": "major_outage", "API": "major_outage"}
    assert (first.severity, first.title) == ("sev1", "checkout")
    assert states(second) == {"Mail": "degraded_performance"}


def test_an_alert_that_connects_two_proposals_joins_them():
    a, b = make.component("A"), make.component("B")
    rule(a, title="a")
    rule(b, title="b", severity="sev1")
    rule(a, b, title="both")
    one = source()
    for name in ("a", "b", "both"):
        fire(one, name, title=name)
    kept, gone = Proposal.objects.order_by("pk")
    assert (gone.state, gone.joined) == ("joined", kept)
    assert (kept.alerts.count(), kept.severity, set(states(kept))) == (3, "sev1", {"A", "B"})


@pytest.mark.parametrize("first", ["known", "unknown"])
def test_what_no_rule_knows_joins_what_is_going_on(first):
    rule(make.component("Checkout"), title="known", public_title="Paying fails")
    one = source()
    hints = {"known": "sev3", "unknown": "sev1"}
    for name in sorted(hints, key=lambda name: name != first):
        fire(one, name, title=name, severity_hint=hints[name])
    proposal = Proposal.objects.get()
    assert proposal.severity == "sev3"  # how bad for customers is not for an alert to say that no rule knows
    assert proposal.alerts.count() == 2
    assert states(proposal) == {"Checkout": "degraded_performance"}
    assert (proposal.title, proposal.public_title) == ("known", "Paying fails")


def test_much_later_it_is_another_matter_unless_it_still_fires(settings):
    settings.ALERT_WINDOW_MINUTES = 10
    rule(make.component())
    one = source()
    fire(one, "a")
    with time_machine.travel(timezone.now() + timedelta(minutes=30), tick=False):
        fire(one, "b")
        assert Proposal.objects.count() == 1
        fire(one, "a", firing=False)
        fire(one, "b", firing=False)
    with time_machine.travel(timezone.now() + timedelta(minutes=39), tick=False):
        fire(one, "c")
        fire(one, "c", firing=False)
        assert Proposal.objects.count() == 1
    with time_machine.travel(timezone.now() + timedelta(minutes=50), tick=False):
        fire(one, "d")
    assert Proposal.objects.count() == 2


def test_an_alert_of_an_open_incident_is_attached_to_it_and_proposes_nothing():
    checkout = make.component("Checkout")
    rule(checkout)
    incident = make.incident(None, checkout, make.component("API"))
    fire(source())
    assert Alert.objects.get().incident == incident
    assert not Proposal.objects.exists()


def test_an_incident_that_covers_a_part_does_not_hide_the_rest():
    checkout, api = make.component("Checkout"), make.component("API")
    rule(checkout, api)
    make.incident(None, checkout)
    fire(source())
    assert Alert.objects.get().incident is None
    assert states(Proposal.objects.get()) == dict.fromkeys(["Checkout", "API"], "degraded_performance")


def test_an_incident_that_is_closed_covers_nothing():
    checkout, person = make.component("Checkout"), make.incident_manager()
    rule(checkout)
    make.incident(person, checkout).dismiss(person, "A mistake.")
    fire(source())
    assert Proposal.objects.count() == 1


@pytest.mark.parametrize(("stage", "proposals"), [(Stage.SCHEDULED, 1), (Stage.IN_PROGRESS, 0)])
def test_work_that_goes_on_covers_its_alerts_and_planned_work_does_not(stage, proposals):
    checkout = make.component("Checkout")
    rule(checkout)
    incident = make.incident(None, checkout)
    Incident.objects.filter(pk=incident.pk).update(maintenance=True, stage=stage)
    fire(source())
    assert Proposal.objects.count() == proposals


# ── Firing and resolved ──


def test_what_is_over_fires_anew_and_what_came_late_does_not():
    one, now = source(), timezone.now()
    fire(one, at=now - timedelta(minutes=9))
    fire(one, firing=False, at=now - timedelta(minutes=5))
    assert fire(one, at=now - timedelta(minutes=7)) == 0  # it was on its way for long
    assert Alert.objects.get().state == "resolved"
    fire(one, at=now - timedelta(minutes=1))
    assert list(Alert.objects.values_list("state", "count")) == [("firing", 1), ("resolved", 1)]
    assert fire(one, firing=False, at=now - timedelta(minutes=5)) == 0
    assert Alert.objects.filter(state="firing").count() == 1


def test_that_something_unknown_is_over_says_nothing():
    assert fire(source(), firing=False) == 0
    assert not Alert.objects.exists()


def test_a_proposal_whose_alerts_are_all_over_stays_for_a_person():
    one = source()
    fire(one)
    fire(one, firing=False)
    proposal = Proposal.objects.counted().get()
    assert (proposal.state, proposal.alerts_n, proposal.firing_n) == ("open", 1, 0)


def test_two_sources_may_use_the_same_fingerprint():
    for one in (source(), source()):
        fire(one)
    assert Alert.objects.count() == 2


def test_the_database_keeps_what_fires_once():
    fire(source())
    twin = Alert.objects.get()
    twin.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save(force_insert=True)


# ── Rules ──


@pytest.mark.parametrize(
    ("title", "labels", "fits"),
    [
        ("", {}, True),
        ("checkout-*", {}, True),
        ("CHECKOUT-5XX", {}, True),
        ("*5xx", {}, True),
        ("checkout", {}, False),
        ("[a-z]*", {}, False),
        ("checkout-?xx", {}, False),
        ("", {"Service": "check*"}, True),
        ("", {"service": "checkout", "site": "milan"}, True),
        ("", {"service": "api"}, False),
        ("", {"team": "*"}, True),
        ("", {"team": "payments"}, False),
        ("checkout-*", {"service": "api"}, False),
    ],
)
def test_a_rule_fits_by_title_and_labels(title, labels, fits):
    one = source()
    signal = Signal("a", True, "checkout-5xx", labels={"service": "checkout", "site": "Milan"})
    assert AlertRule(title=title, labels=labels).fits(one, signal) == fits


def test_the_first_rule_that_fits_decides_and_those_of_other_sources_do_not():
    a, b, c = make.component("A"), make.component("B"), make.component("C")
    one = source()
    rule(c, source=source(), position=0)
    rule(b, position=2)
    rule(a, position=1, scenario=make.scenario(), severity="sev1")
    fire(one)
    proposal = Proposal.objects.get()
    assert states(proposal) == {"A": "degraded_performance"}
    assert (proposal.severity, proposal.scenario.slug) == ("sev1", "outage")


@pytest.mark.parametrize(
    ("ruled", "hinted", "proposed"), [("sev1", "sev2", "sev1"), ("", "sev2", "sev2"), ("", "", "sev4")]
)
def test_the_severity_is_the_rules_else_the_alerts_else_the_sources(ruled, hinted, proposed):
    rule(make.component(), severity=ruled)
    fire(source(default_severity="sev4"), severity_hint=hinted)
    assert Proposal.objects.get().severity == proposed


def test_a_rule_may_keep_alerts_to_the_list():
    rule(title="Alert a", proposes=False)
    fire(source())
    assert Alert.objects.get().proposal is None
    assert not Proposal.objects.exists()


# ── A person decides ──


@pytest.fixture
def proposal():
    rule(make.component("Checkout"))
    fire(source())
    return Proposal.objects.get()


def test_whoever_declares_accepts_and_its_alerts_go_along(proposal):
    person = make.incident_manager()
    incident = make.incident(person)
    proposal.accept(person, incident)
    assert (proposal.state, proposal.incident, proposal.decided_by) == ("accepted", incident, person)
    assert Alert.objects.get().incident == incident
    with pytest.raises(WrongState, match=person.username):
        proposal.dismiss(person, "Nothing.")
    with pytest.raises(WrongState):
        proposal.reopen(person)


def test_dismissing_takes_a_reason_and_can_be_undone(proposal):
    person = make.incident_manager()
    with pytest.raises(Refused):
        proposal.dismiss(person, "  ")
    proposal.dismiss(person, "A test of ours.")
    assert (proposal.state, proposal.reason, proposal.decided_by) == ("dismissed", "A test of ours.", person)
    proposal.reopen(person)
    assert (proposal.state, proposal.reason, proposal.decided_by) == ("open", "", None)


def test_while_it_still_fires_what_was_dismissed_is_not_proposed_again(proposal):
    proposal.dismiss(make.incident_manager(), "A test of ours.")
    fire(source_of := Alert.objects.get().source)
    assert Proposal.objects.count() == 1
    fire(source_of, "something else")
    assert Proposal.objects.filter(state="open").count() == 1


def test_whoever_may_not_declare_may_not_decide(proposal):
    from incidents import roles

    lead = make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS)
    for verb in (lambda: proposal.dismiss(lead, "No."), lambda: proposal.accept(lead, make.incident())):
        with pytest.raises(NotAllowed):
            verb()
    assert Proposal.objects.get().state == "open"


def test_the_database_takes_no_decision_without_a_person(proposal):
    for state in ("accepted", "dismissed", "joined"):
        with pytest.raises(IntegrityError), transaction.atomic():
            Proposal.objects.update(state=state, reason="A machine.")


# ── Trying, and forgetting ──


def test_a_trial_keeps_nothing_and_says_what_would_happen():
    one, checkout = source(), make.component("Checkout")
    mine = rule(checkout, title="Alert*")
    fire(one, "a")
    found = taking_in.preview(one, [Signal("a", True, "Alert a"), Signal("b", True, "Alert b")])
    assert [row.firing is not None for row in found] == [True, False]
    assert [(row.meaning.rule, row.home.proposal) for row in found] == [(mine, Proposal.objects.get())] * 2
    assert Alert.objects.get().count == 1


def test_what_nobody_declared_is_forgotten_after_a_while(settings):
    settings.ALERT_KEEP_DAYS = 90
    one, checkout = source(), make.component("Checkout")
    rule(checkout, title="checkout")
    person = make.incident_manager()
    with time_machine.travel(timezone.now() - timedelta(days=91), tick=False):
        fire(one, "kept", title="checkout")
        accepted = Proposal.objects.get()
        accepted.accept(person, make.incident(person, checkout))
        fire(one, "gone")
        Proposal.objects.get(state="open").dismiss(person, "Noise.")
    fire(one, "new")
    taking_in.forget()
    assert set(Alert.objects.values_list("fingerprint", flat=True)) == {"kept", "new"}
    assert set(Proposal.objects.values_list("state", flat=True)) == {"accepted", "open"}


def test_the_number_of_queries_does_not_grow_with_the_storm(django_assert_max_num_queries):
    one = source()
    rule(make.component(), make.component())
    for n in range(30):
        fire(one, f"{n}")
    with django_assert_max_num_queries(30):  # a new one
        fire(one, "new")
    with django_assert_max_num_queries(3):  # what fires already
        fire(one, "new")
