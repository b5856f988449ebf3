"""The delivery page: what it says while messages go out, and when nothing moves."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.models import Batch, Channel, Delivery, Dispatch, Heartbeat, Notice, NoticeCount
from channels.reasons import explain
from incidents import publishing, tasks
from incidents.admin.board import board, left
from incidents.models import IncidentUpdate
from tests import make
from tests.fakes.postman import Postman, postman

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


@pytest.fixture(scope="module")
def world(shared_world):
    """Marta's update about cards: published for the three people who want to hear of cards only. Its key."""
    marta = make.incident_manager(username="marta")
    cards = make.component("Cards", group="Cards")
    make.recipients(3, cards)
    with postman():
        make.plan(make.channel("postman", "Mail"), locales=("en",)).component_groups.add(cards.group)
        return make.published(make.incident(marta, cards).updates.get()).pk


@pytest.fixture
def fate():
    """What befalls whom: {address: DeliveryError}; everybody else is reached."""
    with postman() as errors:
        yield errors


@pytest.fixture
def waiting(world, fate, db) -> IncidentUpdate:
    """Published for three people of one channel; no worker has touched it yet."""
    return IncidentUpdate.objects.get(pk=world)


@pytest.fixture
def worker():
    """A worker that has just reported."""
    return Heartbeat.objects.create(name="worker", at=timezone.now())


@pytest.fixture
def manager(client, db) -> User:
    one = User.objects.get(username="marta")
    client.force_login(one)
    return one


def url(update, name="delivery"):
    return reverse(f"admin:incidents_incidentupdate_{name}", args=[update.pk])


def published(*channels, **kwargs):
    """Another update, with a plan of its own, for everybody who wants to hear of everything."""
    make.plan(*channels, **kwargs)
    return make.published(make.incident().updates.get())


def text(answer):
    return " ".join(answer.content.decode().split())


# ── What it says ──


def test_everybody_reached(client, manager):
    make.recipients(30)
    make.recipients(12, locale="it")
    update = published(make.channel(name="Newsletter"))
    make.deliver()
    shown = text(client.get(url(update)))
    assert "All 42 people reached" in shown
    assert "Newsletter" in shown
    assert "42 of 42 people" in shown
    assert "Italian" in shown
    assert 'data-poll="0"' in shown


@pytest.mark.parametrize(("language", "said"), [("en", "1 of 1 person<"), ("it", "1 su 1 persona<")])
def test_one_person_is_one_person(client, manager, language, said):
    make.recipients(1)
    update = published(make.channel(), locales=("en",))
    make.deliver()
    shown = text(client.get(url(update), headers={"accept-language": language}))
    assert said.replace("<", "") in shown
    for wrong in ("1 people", "1 persone"):
        assert wrong not in shown


def test_failures_are_grouped_by_reason_in_words(client, manager, fate):
    people = make.recipients(20)
    for one in people[:3]:
        fate[one.address] = Permanent("550 5.1.1", "User unknown")
    fate[people[3].address] = Permanent("552 5.2.2", "Over quota")
    for one in people[4:6]:
        fate[one.address] = Uncertain("no-reply-after-data", "gone")
    update = published(make.channel("postman"), locales=("en",))
    make.deliver()
    shown = text(client.get(url(update)))
    assert "14 of 20 people reached" in shown
    found = {(f.status, str(f.words)): (f.people, f.detail) for f in board(update).failures}
    assert found == {
        ("failed", "The address does not exist"): (3, "User unknown"),
        ("failed", "The mailbox is full"): (1, "Over quota"),
        ("unknown", "The receiving server could not be reached or did not answer"): (2, "gone"),
    }
    assert "Try 1 person again" in shown
    assert "Try 3 people again" not in shown  # it would not help, and the page says so
    assert "Try 1 person again" in shown
    assert "We cannot tell whether these were sent" in shown
    assert "Send again to 2 people" in shown


def test_a_post_is_said_to_be_posted_and_counts_no_people(client, manager):
    update = published(make.channel("outbox_post", name="X"))
    waiting = text(client.get(url(update)))
    assert "Not posted yet" in waiting
    assert "people to write to" not in waiting
    make.deliver()
    assert "Posted: EN, IT" in text(client.get(url(update)))


def test_an_update_for_the_status_page_alone(client, manager):
    update = published()
    assert "notified nobody" in text(client.get(url(update)))


def test_a_draft_has_sent_nothing(client, manager):
    make.plan(make.channel())
    shown = text(client.get(url(make.incident().updates.get())))
    assert "Nothing has been sent" in shown
    assert "data-poll" not in shown


def test_the_survey_has_its_own_row_with_its_time(client, manager):
    make.recipients(5)
    channel = make.channel(name="Newsletter")
    make.plan(channel, survey_delay_minutes=60)
    update = make.incident().updates.get()
    update.ask_feedback = True
    update.save()
    make.published(update)
    make.deliver()
    start = timezone.localtime(Dispatch.objects.filter(purpose="survey").first().not_before)
    shown = text(client.get(url(update)))
    assert "Survey invitations: Newsletter" in shown
    assert f"{start:%H:%M}" in shown
    assert "All 5 people reached" in shown  # invitations are not counted as told


def test_pace_and_expected_end(client, manager, worker):
    people = make.recipients(400)
    update = published(make.channel(), locales=("en",))
    tasks.sweep()
    dispatch = publishing.dispatches(update).get()
    at = timezone.now() - timedelta(seconds=10)
    Delivery.objects.bulk_create(
        Delivery(dispatch=dispatch, recipient=one, status="sent", at=at) for one in people[:100]
    )
    first = dispatch.batches.order_by("id").first()
    Batch.objects.filter(pk=first.pk).update(done_at=at, attempted_to=100, done_to=100)
    [row] = board(update).rows
    assert row.state in ("Sending 10 a second, about 30 s left", "Sending 9 a second, about 35 s left")
    shown = text(client.get(url(update)))
    assert "100 of 400 people" in shown
    assert 'data-poll="2"' in shown
    assert 'http-equiv="refresh"' in shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "about 5 s left"), (41, "about 40 s left"), (300, "about 5 min left"), (7200, "about 2 h left")],
)
def test_the_time_left_in_words(seconds, words):
    assert left(seconds) == words


# ── When nothing moves ──


@pytest.mark.parametrize("age", [None, 61])
def test_a_missing_worker_is_named(client, manager, waiting, age):
    if age:
        Heartbeat.objects.create(name="worker", at=timezone.now() - timedelta(seconds=age))
    shown = text(client.get(url(waiting)))
    assert "The worker is not running" in shown
    assert "Waiting for workers" in shown


def test_a_finished_delivery_does_not_miss_the_worker(client, manager, waiting):
    make.deliver()
    assert "The worker is not running" not in text(client.get(url(waiting)))


def test_a_paused_channel_is_explained_with_the_way_to_its_test(client, manager, worker, waiting):
    tasks.sweep()
    Channel.objects.update(paused_at=timezone.now(), paused_reason="535")
    test_page = reverse("admin:channels_channel_test", args=[waiting.channels.get().pk])
    shown = text(client.get(url(waiting)))
    assert "the provider refused everything" in shown
    assert test_page not in shown  # an incident manager may not test channels
    client.force_login(make.communications_manager())
    assert test_page in text(client.get(url(waiting)))


def test_a_throttled_channel_says_when_it_goes_on(client, manager, worker, waiting, monkeypatch):
    monkeypatch.setattr(Postman, "script", staticmethod(_raise(Throttled("429", "slow", 300))))
    make.deliver()
    at = timezone.localtime(Channel.objects.get().held_until)
    shown = text(client.get(url(waiting)))
    assert "it goes on by itself at" in shown
    assert f"{at:%H:%M:%S}" in shown  # with its day, if that is tomorrow


def test_a_failed_first_try_says_when_the_next_is(client, manager, worker, waiting, monkeypatch):
    monkeypatch.setattr(Postman, "script", staticmethod(_raise(Transient("no-connection", "refused"))))
    make.deliver()
    at = timezone.localtime(Batch.objects.get().next_try_at)
    shown = text(client.get(url(waiting)))
    assert "the next is at" in shown
    assert f"{at:%H:%M:%S}" in shown


def test_a_channel_switched_off_meanwhile(client, manager, worker, waiting):
    Channel.objects.update(enabled=False)
    assert "The channel is switched off" in text(client.get(url(waiting)))


def _raise(error):
    def script(_number, _people):
        raise error

    return script


# ── Queries ──


def test_it_tells_in_how_many_browsers_the_notice_in_an_app_was_shown(client, manager):
    update = published(make.channel("in_app", "App"))
    assert "Browsers" not in client.get(url(update)).content.decode()
    make.deliver()
    [english, italian] = Notice.objects.order_by("locale")
    for notice, event, count in ((english, "shown", 1200), (italian, "shown", 34), (italian, "dismissed", 7)):
        NoticeCount.objects.create(notice=notice, event=event, day="2026-11-03", count=count)
    NoticeCount.objects.create(notice=english, event="shown", day="2026-11-04", count=1)
    said = "Browsers that showed it: 1,235; closed there: 7. Each counts at most once."
    assert said in client.get(url(update)).content.decode()


def test_the_number_of_queries_does_not_grow(client, manager, fate):
    plan = make.plan()
    counts = []
    for channels, size in ((1, 5), (8, 60)):
        people = make.recipients(size)
        for i, one in enumerate(people[:channels]):
            fate[one.address] = Permanent(f"55{i}", "x")
        plan.channels.set([make.channel("postman") for _n in range(channels)])
        update = make.published(make.incident().updates.get())
        make.deliver()
        Batch.objects.update(done_at=None, done_to=0)  # still in flight: every question is asked
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(url(update, "delivery_progress"))
        board = answer.context["board"]
        assert (len(board.rows), len(board.failures), board.finished) == (channels, channels * channels, False)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 16


# ── Reasons ──


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("550 5.1.1", "The address does not exist"),
        ("552", "The mailbox is full"),
        ("535 5.7.8", "The provider does not accept our account or its settings"),
        ("AccessDeniedException", "The provider does not accept our account or its settings"),
        ("ThrottlingException", "The provider asked us to send more slowly"),
        ("429", "The provider asked us to send more slowly"),
        ("no-connection", "The receiving server could not be reached or did not answer"),
        ("worker-stopped", "The worker was stopped while it handed these over"),
        ("MessageRejected", "The provider refused the message"),
        ("who knows", "The provider reported a problem"),
        ("", "The provider reported a problem"),
    ],
)
def test_a_code_becomes_a_sentence(code, words):
    assert explain(code).words == words
    assert explain(code).way_out
