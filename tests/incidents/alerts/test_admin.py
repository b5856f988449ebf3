"""Proposals, sources and rules in the admin: who sees them, what a person decides, and what is never shown."""

import json
import time

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels import own_secrets
from incidents import roles
from incidents.alerts import FORMATS, taking_in
from incidents.alerts.signal import Signal, labels, text
from incidents.models import Alert, AlertRule, AlertSource, Incident, IncidentUpdate, Proposal
from tests import hostile, make

from .conftest import rule, secret, source

pytestmark = pytest.mark.django_db
DECLARE = "/admin/incidents/incident/declare/"


def fire(of, fingerprint="a", firing=True, **fields):
    fields.setdefault("title", f"Alert {fingerprint}")
    taking_in.take_in(of, "", [Signal(fingerprint, firing, **fields)])


def url(name, *args):
    return reverse(f"admin:incidents_{name}", args=args)


@pytest.fixture
def person() -> User:
    return make.incident_manager(username="marta", first_name="Marta")


@pytest.fixture
def browser(person):
    return make.client(person)


@pytest.fixture
def checkout():
    return make.component("Checkout")


@pytest.fixture
def proposal(checkout):
    rule(checkout, title="Alert*", status="partial_outage", severity="sev1", scenario=make.scenario("refunds"))
    fire(source(name="Prometheus"))
    return Proposal.objects.get()


def scoped(component, *groups) -> User:
    one = make.user(*(groups or [roles.INCIDENT_MANAGERS]))
    assign_perm("incidents.operate_component", one, component)
    return one


def html(client, path="/admin/"):
    return client.get(path).content.decode()


# ── The dashboard ──


def test_the_dashboard_says_what_monitoring_proposes(browser, proposal):
    fire(Alert.objects.get().source, "b")
    fire(Alert.objects.get(fingerprint="b").source, "b", firing=False)
    page = html(browser)
    for words in ("Monitoring proposes an incident", "Alert a", "Checkout", "SEV 1", "2 alerts since", "1 still fires"):
        assert words in page
    assert f"{DECLARE}?proposal={proposal.pk}" in page
    assert url("proposal_change", proposal.pk) + "#dismiss" in page


def test_it_is_quiet_when_nothing_is_proposed(browser, proposal, person):
    assert "All quiet" not in html(browser)
    proposal.dismiss(person, "A test.")
    page = html(browser)
    assert "Monitoring proposes" not in page
    assert "All quiet" in page


def test_once_all_is_over_it_says_so_and_waits(browser, proposal):
    fire(Alert.objects.get().source, firing=False)
    assert "all of them are over" in html(browser)
    assert Proposal.objects.get().state == "open"


def test_messages_that_were_turned_away_are_told(browser):
    one = source(name="Prometheus")
    AlertSource.objects.filter(pk=one.pk).update(dropped=312, dropped_at=timezone.now())
    page = html(browser)
    assert "Prometheus: too many messages in a minute" in page
    assert "312" in page
    lead = make.client(scoped(make.component()))
    assert "too many messages" not in html(lead)


def test_of_very_many_proposals_the_newest_are_shown_and_the_rest_is_a_click_away(browser):
    for n in range(14):
        rule(make.component(), title=f"t{n}")
        fire(source(), title=f"t{n}")
    page = html(browser)
    assert "Monitoring proposes many incidents" in page
    assert page.count(f"{DECLARE}?proposal=") == 12
    assert "?state__exact=open" in page


def test_the_number_of_queries_does_not_grow(browser, django_assert_max_num_queries):
    browser.get("/admin/")  # what it keeps for a minute is kept
    counts = []
    for n in range(2):
        for m in range(3):
            component = make.component()
            rule(component, title=f"{n}-{m}")
            fire(source(), title=f"{n}-{m}")
        with django_assert_max_num_queries(45) as captured:
            browser.get("/admin/")
        counts.append(len(captured))
    assert counts[0] == counts[1]


# ── Who sees it ──


def test_only_those_see_it_who_may_see_one_of_its_components(proposal, checkout):
    own, other = scoped(checkout), scoped(make.component("Login"))
    page = url("proposal_change", proposal.pk)
    assert "Alert a" in html(make.client(own))
    assert make.client(own).get(page).status_code == 200
    stranger = make.client(other)
    for path in ("/admin/", url("proposal_changelist"), url("alert_changelist")):
        assert "Alert a" not in html(stranger, path)
    alert = Alert.objects.get()
    assert stranger.get(page).status_code == 404
    assert stranger.get(url("alert_change", alert.pk)).status_code == 302
    assert stranger.get(f"{DECLARE}?proposal={proposal.pk}").status_code == 404
    assert stranger.post(url("proposal_dismiss", proposal.pk), {"reason": "x"}).status_code == 404
    assert Proposal.objects.get().state == "open"


def test_what_is_of_no_component_is_seen_by_those_who_see_all(checkout):
    fire(source())
    assert "Alert a" not in html(make.client(scoped(checkout)))
    assert "No rule says which components" in html(make.client(make.incident_manager()))


def test_who_sees_a_part_does_not_decide_about_all(checkout, person):
    rule(checkout, make.component("API"))
    fire(source())
    proposal = Proposal.objects.get()
    half = make.client(scoped(checkout))
    page = html(half)
    assert "Alert a" in page
    assert f"?proposal={proposal.pk}" not in page
    assert half.get(f"{DECLARE}?proposal={proposal.pk}").status_code == 403
    assert half.post(url("proposal_dismiss", proposal.pk), {"reason": "x"}).status_code == 403


def test_without_the_permission_to_declare_it_is_only_read(proposal):
    lead = make.client(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    page = html(lead, url("proposal_change", proposal.pk))
    assert "Alert a" in page
    assert "Dismiss" not in page
    assert "Declare an incident…" not in page
    assert lead.post(url("proposal_dismiss", proposal.pk), {"reason": "x"}).status_code == 403


def test_sources_and_rules_are_for_those_who_see_every_component(proposal, checkout):
    one, mine = AlertSource.objects.get(), AlertRule.objects.get()
    limited = make.client(scoped(checkout))
    for path in (
        url("alertsource_changelist"),
        url("alertsource_add"),
        url("alertsource_change", one.pk),
        url("alertsource_connect", one.pk),
        url("alertsource_try", one.pk),
        url("alertrule_changelist"),
        url("alertrule_change", mine.pk),
    ):
        assert limited.get(path).status_code in (302, 403, 404), path
        assert limited.post(path).status_code in (302, 403, 404), path
    page = html(limited)
    assert url("alertsource_changelist") not in page
    one.refresh_from_db()
    assert own_secrets.in_force(one.secrets) == (secret(one),)


# ── Declare ──


def test_the_form_begins_with_what_is_proposed(browser, proposal, checkout):
    form = browser.get(f"{DECLARE}?proposal={proposal.pk}").context["form"]
    assert form.state(checkout) == "partial_outage"
    assert form["severity"].value() == "sev1"
    assert form["scenario"].value() == proposal.scenario_id
    began = timezone.localtime(Alert.objects.get().first_at)
    assert form["started_at"].value() == began.strftime("%Y-%m-%dT%H:%M")


def test_the_words_of_a_machine_are_never_the_title_for_customers(browser, proposal):
    page = browser.get(f"{DECLARE}?proposal={proposal.pk}")
    assert page.context["form"]["title"].value() == ""
    Proposal.objects.update(public_title="Paying fails")
    assert browser.get(f"{DECLARE}?proposal={proposal.pk}").context["form"]["title"].value() == "Paying fails"


def answers(proposal, component, **changes):
    return {
        "proposal": proposal.pk,
        "severity": "sev2",
        "started_at": timezone.localtime().strftime("%Y-%m-%dT%H:%M"),
        f"component_{component.pk}": "major_outage",
        **changes,
    }


def test_a_person_declares_it_and_it_is_linked(browser, person, proposal, checkout):
    assert browser.post(DECLARE, answers(proposal, checkout)).status_code == 302
    incident = Incident.objects.get()
    proposal.refresh_from_db()
    assert (proposal.state, proposal.incident, proposal.decided_by) == ("accepted", incident, person)
    assert (incident.declared_by, incident.published_at) == (person, None)
    assert IncidentUpdate.objects.get().status == "draft"
    assert "Monitoring proposes" not in html(browser)
    page = html(browser, url("incident_change", incident.pk))
    assert 'id="alerts"' in page
    assert "Alert a" in page
    assert "Prometheus" in page
    assert "Marta declared an incident" in html(browser, url("proposal_change", proposal.pk))


def test_what_somebody_else_decided_meanwhile_is_said_and_what_was_typed_stays(browser, proposal, checkout):
    other = make.incident_manager(username="luca", first_name="Luca")
    proposal.dismiss(other, "A test.")
    response = browser.post(DECLARE, answers(proposal, checkout, title="Kept title"))
    assert response.status_code == 422
    page = response.content.decode()
    assert "decided by Luca" in page
    assert 'value="Kept title"' in page
    assert not Incident.objects.exists()
    again = browser.get(f"{DECLARE}?proposal={proposal.pk}")
    assert again.status_code == 409
    assert "decided by Luca" in again.content.decode()


@pytest.mark.parametrize("key", ["0", "x", "999999999999999999999", "-1", "1' OR 1=1"])
def test_a_proposal_that_is_not_there_is_not_found(browser, key):
    assert browser.get(DECLARE, {"proposal": key}).status_code == 404


def test_one_that_was_joined_leads_to_the_other(browser, proposal, checkout):
    gone = Proposal.objects.create(title="Gone", severity="sev3", state="joined", joined=proposal)
    assert browser.get(f"{DECLARE}?proposal={gone.pk}").context["proposal"].row == proposal
    assert "Alert a" in html(browser, url("proposal_change", gone.pk))


# ── Dismiss ──


def test_dismissing_takes_a_post_and_a_reason_and_is_undone_by_another(browser, person, proposal):
    path = url("proposal_dismiss", proposal.pk)
    assert browser.get(path).status_code == 302
    assert Proposal.objects.get().state == "open"
    assert browser.post(path, {"reason": " "}).status_code == 422
    browser.post(path, {"reason": "A load test of ours."})
    assert Proposal.objects.get().state == "dismissed"
    assert "A load test of ours." in html(browser, url("proposal_change", proposal.pk))
    assert browser.get(url("proposal_reopen", proposal.pk)).status_code == 302
    assert Proposal.objects.get().state == "dismissed"
    browser.post(url("proposal_reopen", proposal.pk))
    assert Proposal.objects.get().state == "open"
    assert [one.get_change_message() for one in LogEntry.objects.filter(user=person).order_by("pk")] == [
        "Dismissed: A load test of ours.",
        "Opened again.",
    ]


def test_the_incident_page_shows_the_first_twenty_and_counts_the_rest(browser, person, checkout):
    incident = make.incident(person, checkout)
    one = source()
    rule(checkout)
    for n in range(23):
        fire(one, f"{n}")
    fire(one, "0", firing=False)
    response = browser.get(url("incident_change", incident.pk))
    assert len(response.context["alerts"]) == 20
    assert response.context["more_alerts"] == 3
    assert "and 3 more" in response.content.decode()


def test_the_page_of_an_alert_says_all_that_was_told(browser, checkout):
    mine = rule(checkout, name="Checkout fails")
    fire(one := source(name="Prometheus"), summary="Too many errors.", labels={"service": "checkout", "a": "<b>"})
    page = html(browser, url("alert_change", Alert.objects.get().pk))
    for words in ("Alert a", "Firing", "Too many errors.", one.name, mine.name, "service = checkout", "&lt;b&gt;"):
        assert words in page
    assert "&#x27;firing&#x27;" not in page
    assert url("proposal_change", Proposal.objects.get().pk) in page


# ── Sources ──


def test_a_new_source_shows_how_to_connect_it_and_its_secret_once(browser):
    answer = browser.post(url("alertsource_add"), {"name": "Prometheus", "kind": "alertmanager"})
    one = AlertSource.objects.get()
    connect = url("alertsource_connect", one.pk)
    assert answer.url == connect
    assert one.secrets == {}
    page = html(browser, connect)
    assert one.url in page
    assert "webhook_configs" in page
    made = browser.post(connect)
    one.refresh_from_db()
    assert secret(one) in made.content.decode()
    assert "no-store" in made["Cache-Control"]
    for path in (connect, url("alertsource_change", one.pk), url("alertsource_changelist")):
        assert secret(one) not in html(browser, path)
    assert secret(one) not in str(list(LogEntry.objects.values()))


@pytest.mark.parametrize("kind", FORMATS)
def test_each_kind_says_how_to_connect_it(browser, kind):
    one = source(kind)
    page = html(browser, url("alertsource_connect", one.pk))
    assert one.url in page
    assert ("Make a secret" in page or "Keep this secret" in page) == (kind != "cloudwatch")


def test_the_secret_of_pagerduty_is_typed_in_and_never_shown(browser):
    one = source("pagerduty", secrets={})
    path = url("alertsource_connect", one.pk)
    wrong = browser.post(path, {"secret": "short one"})
    assert wrong.status_code == 422
    assert "short one" not in wrong.content.decode()
    given = "kD2dFb0lP1QvHqCw5xZr"
    assert browser.post(path, {"secret": given}).status_code == 302
    one.refresh_from_db()
    assert secret(one) == given
    assert given not in html(browser, path)


def test_a_source_of_sns_has_topics_and_no_secret(browser):
    one = source("cloudwatch", topics=[])
    path = url("alertsource_change", one.pk)
    data = {"name": one.name, "default_severity": "sev3", "rate": 100, "enabled": "on"}
    wrong = browser.post(path, data | {"topics": "arn:aws:sqs:eu-south-1:123456789012:alarms"})
    assert "is not the ARN of a topic" in wrong.content.decode()
    topics = ["arn:aws:sns:eu-south-1:123456789012:alarms", "arn:aws-cn:sns:cn-north-1:123456789012:b.fifo"]
    assert browser.post(path, data | {"topics": "\n".join([*topics, "", topics[0]])}).status_code == 302
    one.refresh_from_db()
    assert (one.topics, one.rate) == (topics, 100)
    assert browser.post(url("alertsource_connect", one.pk)).status_code == 422


def test_who_only_looks_makes_no_secret():
    one = source()
    lead = make.client(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    path = url("alertsource_connect", one.pk)
    assert "Make a secret</button>" not in html(lead, path)
    assert lead.post(path).status_code == 403


def test_saving_the_form_undoes_nothing_that_was_counted_meanwhile(browser):
    one = source()
    AlertSource.objects.filter(pk=one.pk).update(dropped=7)
    data = {"name": "Other", "default_severity": "sev1", "rate": 5}
    assert browser.post(url("alertsource_change", one.pk), data).status_code == 302
    one.refresh_from_db()
    assert (one.name, one.dropped, one.enabled) == ("Other", 7, False)
    assert one.secrets


def test_a_source_that_told_something_is_not_deleted(browser, proposal):
    boss = make.client(User.objects.create_superuser("boss", "b@example.com", "pw"))
    boss.post(url("alertsource_delete", AlertSource.objects.get().pk), {"post": "yes"})
    assert AlertSource.objects.exists()


def test_a_trial_shows_what_would_be_proposed_and_keeps_nothing(browser, checkout):
    one = source("alertmanager")
    rule(checkout, name="Checkout fails", labels={"service": "checkout"}, severity="sev2")
    path = url("alertsource_try", one.pk)
    assert "CheckoutErrors" in html(browser, path)
    page = browser.post(path, {"payload": json.dumps(FORMATS["alertmanager"].sample)}).content.decode()
    for words in ("It would propose an incident.", "Checkout fails", "SEV 2", "nothing was kept"):
        assert words in page
    assert not Alert.objects.exists()
    assert not Proposal.objects.exists()
    one.refresh_from_db()
    assert one.heard_at is None


@pytest.mark.parametrize("typed", ["{", "[]", '{"version": "9", "alerts": []}', "[" * 50_000])
def test_a_trial_of_what_cannot_be_read_says_why(browser, typed):
    response = browser.post(url("alertsource_try", source("alertmanager").pk), {"payload": typed})
    assert response.status_code == 422
    assert "This would not be taken in" in response.content.decode()


# ── Rules ──


def form(**changes):
    data = {"name": "Rule", "position": "1", "status": "degraded_performance", "proposes": "on"}
    return data | changes


def test_labels_are_written_in_lines(browser, checkout):
    lines = "service = checkout-*\n\nsite=Milan = 2"
    browser.post(url("alertrule_add"), form(labels=lines, components=[checkout.pk]))
    one = AlertRule.objects.get()
    assert one.labels == {"service": "checkout-*", "site": "Milan = 2"}
    page = html(browser, url("alertrule_change", one.pk))
    assert "service = checkout-*\nsite = Milan = 2" in page
    assert "Checkout: Degraded performance" in html(browser, url("alertrule_changelist"))


@pytest.mark.parametrize("line", ["service", "= x", "service =", "x" * 101 + " = y"])
def test_a_line_that_is_no_label_is_named(browser, line):
    response = browser.post(url("alertrule_add"), form(labels=f"a = b\n{line}"))
    assert response.status_code == 200
    assert "Line 2" in response.content.decode()
    assert not AlertRule.objects.exists()


@pytest.mark.parametrize("name", ["alertsource", "alertrule", "alert", "proposal"])
def test_lists_take_the_same_queries_for_one_and_for_many(browser, name, django_assert_max_num_queries):
    counts = []
    for n in range(2):
        for m in range(4):
            component = make.component()
            rule(component, title=f"{n}-{m}", source=(one := source()))
            fire(one, title=f"{n}-{m}")
        with django_assert_max_num_queries(30) as captured:
            assert browser.get(url(f"{name}_changelist")).status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1]


# ── Whatever is told ──


def test_what_is_hostile_is_only_text(browser, checkout):
    one = source()
    rule(checkout)
    for n, words in enumerate(hostile.MARKUP + hostile.TEMPLATES):
        fire(one, f"{n}", title=text(words, 200) or "?", summary=text(words), labels=labels({words: words}))
    Proposal.objects.update(title=hostile.MARKUP[0])
    proposal = Proposal.objects.get()
    worst = Alert.objects.filter(title__startswith="<script>").first()
    payload = json.dumps({"alerts": [{"fingerprint": "x", "status": "firing", "title": hostile.MARKUP[4]}]})
    pages = [
        html(browser),
        html(browser, url("proposal_change", proposal.pk)),
        html(browser, url("proposal_changelist")),
        html(browser, url("alert_changelist")),
        html(browser, url("alert_change", worst.pk)),
        html(browser, f"{DECLARE}?proposal={proposal.pk}"),
        browser.post(url("alertsource_try", one.pk), {"payload": payload}).content.decode(),
    ]
    for page in pages:
        assert "alert(1)" in page
        for words in hostile.MARKUP:
            if "<" in words and not words.startswith("</"):
                assert words not in page


def test_a_pattern_of_many_stars_takes_no_time(checkout):
    one = rule(checkout, title="*a" * 90 + "b")
    began = time.perf_counter()
    assert not one.fits(source(), Signal("a", True, "a" * 200))
    assert time.perf_counter() - began < 1


# ── Keys ──


def test_the_key_of_secrets_is_changed_and_what_no_key_reads_is_named(settings):
    from cryptography.fernet import Fernet

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    one = source()
    settings.FIELD_KEYS = [new, old]
    call_command("rotate_keys", verbosity=0)
    settings.FIELD_KEYS = [new]
    assert AlertSource.objects.get().secrets == one.secrets
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    assert AlertSource.objects.get().trust.secrets == ()
    with pytest.raises(CommandError, match="alert sources"):
        call_command("rotate_keys", verbosity=0)
