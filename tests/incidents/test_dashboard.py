"""The first page: what is happening, what is expected of me, by when."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Channel, Heartbeat, Recipient
from incidents import coverage, declaring, roles
from incidents.admin import first_steps, glance
from incidents.models import CommunicationPlan, Incident, MessageTemplate
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


@pytest.fixture(scope="module")
def world(shared_world) -> None:
    """Marta, who writes, Anna, who approves, and their plan, by which four people are told. Nothing has happened."""
    author = make.incident_manager(username="marta", first_name="Marta", last_name="Rinaldi")
    make.communications_manager(username="anna", first_name="Anna")
    make.plan(make.channel(), people=[("incident_manager", author)])
    make.recipients(4)
    make.scenario()


@pytest.fixture
def author(db) -> User:
    return User.objects.get(username="marta")


@pytest.fixture
def approver(db) -> User:
    return User.objects.get(username="anna")


@pytest.fixture(autouse=True)
def worker(db):
    Heartbeat.objects.create(name="worker", at=timezone.now())


def page(user, path=None):
    client = Client()
    client.force_login(user)
    return client.get(path or reverse("admin:index"))


def text(user) -> str:
    return page(user).content.decode()


def test_the_clock_of_an_incident_of_another_day_shows_the_day(author):
    incident = make.incident(author)
    began = timezone.now() - timedelta(days=2)
    Incident.objects.filter(pk=incident.pk).update(started_at=began)
    day = f"{timezone.localtime(began):%-d %B}"
    for path in (None, reverse("admin:incidents_incident_change", args=[incident.pk])):
        clocks = page(author, path).content.decode().split('data-kind="since"')[1]
        assert f">{day}" in clocks.split("</time>")[0]


def test_it_is_quiet_when_nothing_is_wrong_and_says_how_ready_we_are(author):
    html = text(author)
    assert "All quiet" in html
    assert "1 of 1 channels tested and on" in html
    assert "0 of 1 plans name all three roles" in html
    assert "8 of 8 templates written" in html
    assert 'role="alert"' not in html


def test_the_sidebar_has_the_name_of_the_portal(author):
    html = text(author)
    assert "Commsportal" in html.split('id="nav-sidebar-inner"')[1]


def test_a_card_says_what_is_known_and_what_to_do(author, approver):
    incident = make.incident(author)
    assert "You are writing an update" in text(author)
    make.published(incident.updates.get(), approver)
    html = text(author)
    for words in ("Card payments fail", "SEV 2", "Investigating", "Marta Rinaldi", "since it began", "next update due"):
        assert words in html
    assert "partial outage" in html  # the last words said
    assert "Write update" in html


def test_pending_updates_are_told_in_words_to_each_person(author, approver):
    update = make.incident(author).updates.get()
    assert "Marta Rinaldi is writing an update" in text(approver)
    update.submit(author)
    assert "Waiting for somebody else" in text(author)
    assert "Waiting for your approval, written by Marta Rinaldi" in text(approver)
    update.approve(approver)
    assert "Approved by Anna, not yet sent" in text(author)


def test_only_what_i_may_approve_waits_for_me(author, approver):
    component, other = make.component(), make.component()
    update = make.incident(author, component, other).updates.get()
    update.submit(author)
    half = make.user(roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.operate_component", half, component)
    lead = make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS)
    assert list(page(approver).context["approvals"]) == [update]
    for person in (author, half, lead):
        assert list(page(person).context["approvals"]) == []


def test_whoever_wrote_a_word_is_not_asked_to_approve(author, approver):
    update = make.incident(author).updates.get()
    update.edit(approver, update.version, {"en": {"subject": "Something else"}})
    update.submit(author)
    assert list(page(approver).context["approvals"]) == []
    assert "See review" in text(approver)


def test_a_draft_that_was_sent_back_comes_with_the_reason(author, approver):
    update = make.incident(author).updates.get()
    update.submit(author)
    update.reject(approver, "Say which cards.")
    assert page(author).context["returned"] == [update]
    assert text(author).count("Say which cards.") == 2  # on its card, and among what waits for me
    assert page(approver).context["returned"] == []
    update.edit(author, update.version, {"en": {"issue": "Credit cards fail."}})
    assert page(author).context["returned"] == [update]  # editing is not yet answering
    update.submit(author)
    assert page(author).context["returned"] == []


def test_deliveries_in_flight_show_until_they_are_done(author, approver):
    make.published(make.incident(author).updates.get(), approver)
    assert len(page(author).context["flights"]) == 1
    make.deliver()
    assert page(author).context["flights"] == []


def test_channels_that_are_not_well_say_why(author):
    make.channel(name="Paused", paused_at=timezone.now(), paused_reason="InvalidClientTokenId")
    make.channel(name="Held", held_until=timezone.now() + timedelta(minutes=5))
    make.channel(name="Failed", enabled=False, verified_at=None, test_error="535 refused")
    make.channel(name="Fine")
    make.channel(name="Switched off", enabled=False)
    ailing = {one.channel.name: one.words for one in page(author).context["ailing"]}
    assert set(ailing) == {"Paused", "Held", "Failed"}
    assert "InvalidClientTokenId" in ailing["Paused"]
    assert "535 refused" in ailing["Failed"]


@pytest.mark.parametrize(("age", "silent"), [(5, False), (59, False), (61, True), (3700, True)])
def test_a_silent_worker_is_noticed_after_a_minute(author, age: int, silent: bool):
    Heartbeat.objects.update(at=timezone.now() - timedelta(seconds=age))
    assert ("worker has been silent" in text(author)) == silent


def test_a_worker_that_never_ran_is_named(author):
    Heartbeat.objects.all().delete()
    assert "The worker has never run" in text(author)


def test_somebody_without_a_role_is_told_so():
    html = text(make.user())
    assert "You have no role here yet" in html
    assert "Declare an incident" not in html


def test_only_those_who_may_declare_get_the_button(author):
    url = reverse("admin:incidents_incident_declare")
    assert url in text(author)
    assert url not in text(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))


def test_the_demo_says_what_to_try(author, settings):
    assert "what to try" not in text(author)
    settings.PORTAL_DEMO = True
    html = text(author)
    assert "what to try" in html
    assert "/outbox/" in html


def test_the_number_of_queries_does_not_grow(author, approver, django_assert_max_num_queries):
    CommunicationPlan.objects.get().channels.add(make.channel(), make.channel())
    coverage.standing()  # it is kept for a minute; test_coverage.py counts what it asks
    counts = []
    for _round in range(2):
        make.published(make.incident(author).updates.get(), approver)
        waiting = make.incident(author)
        waiting.updates.get().submit(author)
        back = make.incident(author).updates.get()
        back.submit(author)
        back.reject(approver, "No.")
        client = Client()
        client.force_login(approver)
        with django_assert_max_num_queries(45) as captured:
            client.get(reverse("admin:index"))
        counts.append(len(captured))
    assert counts[0] == counts[1]


# ── First steps ──


def test_an_empty_portal_shows_what_comes_first_and_a_plan_ends_it(approver, django_assert_num_queries):
    plan = CommunicationPlan.objects.get()
    make.component()
    approver.get_all_permissions()  # known for the whole page
    with django_assert_num_queries(1):
        steps = {one.name: one.done for one in first_steps.first_steps(approver)}
    there = {"Components": True, "People and their roles": True, "A channel, tested": True, "Templates": True}
    assert steps == there | {"Recipients": True, "A communication plan": False, "The coverage check": False}
    assert "First steps" not in text(approver)
    plan.delete()
    MessageTemplate.objects.all().delete()
    Recipient.objects.all().delete()
    User.objects.exclude(pk=approver.pk).update(is_staff=False)
    Channel.objects.update(enabled=False, verified_at=None)
    html = text(approver)
    assert "First steps" in html
    assert "thing to mend in the plans" not in html
    assert "Primi passi" in make.client(approver).get(reverse("admin:index"), headers={"accept-language": "it"}).text
    steps = first_steps.first_steps(approver)
    assert not any(one.done for one in steps[1:])
    assert [bool(one.url) for one in steps] == [False, False, True, True, True, True, True]  # the others ask for more
    for one in steps:
        if one.url:
            assert page(approver, one.url).status_code == 200


def test_who_makes_no_plans_is_not_asked_to(author):
    CommunicationPlan.objects.all().delete()
    assert "First steps" not in text(author)


# ── Clocks ──


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than 1 min"),
        (-59, "less than 1 min"),
        (60, "1 min"),
        (8040, "2 h 14 min"),
        (-300, "5 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_span_has_at_most_two_units(seconds: int, words: str):
    assert glance.span(seconds) == words


@pytest.mark.parametrize(("left", "state"), [(20, "calm"), (11, "calm"), (9, "soon"), (1, "soon"), (-1, "late")])
def test_a_promise_turns_amber_in_its_last_third_and_red_when_broken(left: int, state: str):
    now = timezone.now()
    clock = glance.Clock("until", now + timedelta(minutes=left), now + timedelta(minutes=left - 30))
    assert clock.state == state
    assert clock.text.startswith("late by" if state == "late" else "in")


def test_the_first_promise_counts_from_the_declaration_and_the_next_from_the_words(author, approver):
    CommunicationPlan.objects.update(first_update_minutes=10, update_minutes=20)
    incident = make.incident(author)
    assert incident.plan == CommunicationPlan.objects.get()
    clock = glance.promise(incident, None)
    assert clock.at - incident.declared_at == timedelta(minutes=10)
    update = make.published(incident.updates.get(), approver)
    incident.refresh_from_db()
    assert glance.promise(incident, update.published_at).at == update.next_update_at == incident.update_due_at
    Incident.objects.filter(pk=incident.pk).update(next_update_at=None)
    incident.refresh_from_db()
    assert incident.update_due_at == update.published_at + timedelta(minutes=20)
    done = declaring.start_draft(incident, author, "resolved")
    make.published(done, approver)
    incident.refresh_from_db()
    assert glance.promise(incident, done.published_at) is None


def test_a_channel_of_another_kind_does_not_break_the_page(author):
    Channel.objects.create(name="Old", provider="no-longer-there")
    assert page(author).status_code == 200
