import csv
import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from channels import delivery
from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.models import Batch, Channel, Delivery, Dispatch, Heartbeat, Recipient, Suppression
from channels.providers import get as get_provider
from channels.providers.base import Outcome
from channels.reasons import explain
from incidents import declaring, publishing, roles, tasks
from incidents.admin.board import board, left
from incidents.errors import NotAllowed, WrongState
from incidents.models import ComponentUserObjectPermission, Decision
from tests import make
from tests.fakes.scripted import Scripted

pytestmark = pytest.mark.django_db


class Postman(Scripted):
    """Fails by the address, as a test's `fate` says: {address: error}."""


@pytest.fixture
def fate(monkeypatch):
    """What befalls whom: {address: DeliveryError}; everybody else is reached."""
    errors: dict = {}
    original = get_provider.__wrapped__
    monkeypatch.setattr("channels.providers.get", lambda key: Postman if key == "postman" else original(key))
    script = staticmethod(lambda _n, people: [Outcome(error=errors.get(p.address), ref="ok") for p in people])
    monkeypatch.setattr(Postman, "script", script, raising=False)
    monkeypatch.setattr(Postman, "ledger", [])
    monkeypatch.setattr(Postman, "calls", 0)
    return errors


@pytest.fixture
def worker():
    """A worker that has just reported."""
    return Heartbeat.objects.create(name="worker", at=timezone.now())


def url(update, name="delivery"):
    return reverse(f"admin:incidents_incidentupdate_{name}", args=[update.pk])


def published(*channels, **kwargs):
    make.plan(*channels, **kwargs)
    return make.published(make.incident().updates.get())


@pytest.fixture
def manager(client):
    one = make.incident_manager()
    client.force_login(one)
    return one


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
    assert "Not posted yet" in text(client.get(url(update)))
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
    dispatch = Dispatch.objects.get()
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
def test_a_missing_worker_is_named(client, manager, age):
    make.recipients(3)
    if age:
        Heartbeat.objects.create(name="worker", at=timezone.now() - timedelta(seconds=age))
    update = published(make.channel())
    shown = text(client.get(url(update)))
    assert "The worker is not running" in shown
    assert "Waiting for workers" in shown


def test_a_finished_delivery_does_not_miss_the_worker(client, manager):
    make.recipients(3)
    update = published(make.channel())
    make.deliver()
    assert "The worker is not running" not in text(client.get(url(update)))


def test_a_paused_channel_is_explained_with_the_way_to_its_test(client, manager, worker):
    channel = make.channel(name="Mail")
    make.recipients(3)
    update = published(channel)
    tasks.sweep()
    Channel.objects.update(paused_at=timezone.now(), paused_reason="535")
    test_page = reverse("admin:channels_channel_test", args=[channel.pk])
    shown = text(client.get(url(update)))
    assert "the provider refused everything" in shown
    assert test_page not in shown  # an incident manager may not test channels
    client.force_login(make.communications_manager())
    assert test_page in text(client.get(url(update)))


def test_a_throttled_channel_says_when_it_goes_on(client, manager, worker, monkeypatch, fate):
    make.recipients(3)
    monkeypatch.setattr(Postman, "script", staticmethod(_raise(Throttled("429", "slow", 300))))
    update = published(make.channel("postman"))
    make.deliver()
    at = timezone.localtime(Channel.objects.get().held_until)
    shown = text(client.get(url(update)))
    assert "it goes on by itself at" in shown
    assert f"{at:%H:%M:%S}" in shown  # with its day, if that is tomorrow


def test_a_failed_first_try_says_when_the_next_is(client, manager, worker, monkeypatch, fate):
    make.recipients(3)
    monkeypatch.setattr(Postman, "script", staticmethod(_raise(Transient("no-connection", "refused"))))
    update = published(make.channel("postman"), locales=("en",))
    make.deliver()
    at = timezone.localtime(Batch.objects.get().next_try_at)
    shown = text(client.get(url(update)))
    assert "the next is at" in shown
    assert f"{at:%H:%M:%S}" in shown


def test_a_channel_switched_off_meanwhile(client, manager, worker):
    make.recipients(3)
    update = published(make.channel())
    Channel.objects.update(enabled=False)
    assert "The channel is switched off" in text(client.get(url(update)))


def _raise(error):
    def script(_number, _people):
        raise error

    return script


# ── Queries ──


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


# ── Retry ──


def retry(client, update, **data):
    channel = update.channels.first()
    return client.post(url(update, "retry"), {"channel": channel.pk, "status": "failed"} | data)


@pytest.fixture
def half(fate, manager):
    """A published update that failed for 4 of 10, for two reasons, and is unknown for 2."""
    people = make.recipients(10)
    for one in people[:3]:
        fate[one.address] = Permanent("554", "refused")
    fate[people[3].address] = Permanent("552 5.2.2", "full")
    for one in people[4:6]:
        fate[one.address] = Uncertain("no-reply-after-data")
    update = published(make.channel("postman", name="Mail"), locales=("en",))
    make.deliver()
    fate.clear()
    return update


def test_retrying_one_reason_reaches_those_and_records_who_did_it(client, manager, half):
    answer = retry(client, half, code="554")
    assert answer.status_code == 302
    [waiting] = delivery.progress(publishing.dispatches(half))
    assert waiting.repeating == 3
    assert "Being tried again" not in text(client.get(url(half)))  # one reason is left to try
    make.deliver()
    [done] = delivery.progress(publishing.dispatches(half))
    assert (done.reached, done.failed, done.unknown) == (7, 1, 2)
    decision = Decision.objects.get(verb="retry")
    assert decision.by == manager
    assert "3" in decision.comment
    assert decision.content_hash == half.content_hash


def test_a_second_click_sends_nothing_twice(client, half):
    retry(client, half, code="554")
    answer = retry(client, half, code="554")
    assert answer.status_code == 409
    assert "Nobody is left" in text(answer)
    make.deliver()
    assert len(Postman.ledger) == len(set(Postman.ledger)) == 7


def test_what_is_not_certain_needs_an_explicit_choice(client, half):
    answer = retry(client, half, status="unknown")
    assert answer.status_code == 422
    assert "twice" in text(answer)
    assert not Batch.objects.filter(repeats=True).exists()
    assert retry(client, half, status="unknown", sure="1").status_code == 302
    make.deliver()
    assert delivery.progress(publishing.dispatches(half))[0].unknown == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"channel": ""}, 422),
        ({"channel": "x"}, 422),
        ({"channel": "999999"}, 404),
        ({"status": "sent"}, 422),
        ({"status": ""}, 422),
        ({"purpose": "survey"}, 409),
        ({"code": "no such reason"}, 409),
    ],
)
def test_odd_requests_are_refused_in_words(client, half, data, status):
    answer = retry(client, half, **data)
    assert answer.status_code == status
    assert not Batch.objects.filter(repeats=True).exists()


def test_looking_at_retry_or_stop_changes_nothing(client, half):
    assert client.get(url(half, "retry")).status_code == 405
    assert client.get(url(half, "stop")).status_code == 200
    assert not Batch.objects.filter(repeats=True).exists()
    assert not Dispatch.objects.exclude(cancelled_at=None).exists()


def test_those_who_unsubscribed_are_left_out_of_a_retry(client, half):
    failed = Delivery.objects.filter(code="554").first()
    person = Recipient.objects.get(pk=failed.recipient_id)
    Suppression.objects.create(medium="email", address_hash=person.address_hash, reason="unsubscribed")
    retry(client, half, code="554")
    make.deliver()
    assert person.address not in Postman.ledger
    assert "Unsubscribed, or erased, in the meantime" in text(client.get(url(half)))


# ── Stop ──


def test_stopping_states_the_people_and_sends_no_more(client, manager, worker):
    make.recipients(250)
    channel = make.channel()
    update = published(channel, locales=("en",))
    tasks.sweep()
    delivery.deliver(delivery.claim(channel.pk), channel.get_provider())  # the first hundred
    asked = text(client.get(url(update, "stop")))
    assert "150 people have not been written to yet" in asked
    assert "Stop: leave out 150 people" in asked
    assert client.post(url(update, "stop")).status_code == 302
    make.deliver()
    shown = text(client.get(url(update)))
    assert "100 of 250 people reached" in shown
    assert "150 people were not written to." in shown
    assert 'data-poll="0"' in shown
    assert Decision.objects.get(verb="stop").by == manager
    again = client.post(url(update, "stop"))
    assert again.status_code == 409
    assert "nothing left to stop" in text(again)


def test_a_stopped_message_does_not_hold_up_the_surveys_of_others():
    channel = make.channel()
    make.recipients(3)
    make.plan(channel, locales=("en",))
    update = make.incident().updates.get()
    make.published(update)
    make.deliver()
    incident = update.incident
    second = declaring.start_draft(incident, make.incident_manager(), "resolved")
    second.ask_feedback = True
    second.save()
    make.published(second)
    tasks.sweep()
    publishing.dispatches(second).filter(purpose="update").update(cancelled_at=timezone.now())
    assert [d.purpose for d in publishing.waiting()] == ["survey"]


# ── Who may ──


@pytest.mark.parametrize("name", ["delivery", "delivery_progress", "stop", "delivery_failures"])
def test_an_update_of_other_components_does_not_exist(client, half, name):
    stranger = make.user(roles.INCIDENT_MANAGERS, roles.MANAGERS)
    ComponentUserObjectPermission.objects.create(
        user=stranger,
        content_object=make.component("Elsewhere"),
        permission=Permission.objects.get(codename="operate_component"),
    )
    client.force_login(stranger)
    assert client.get(url(half, name)).status_code == 404
    assert client.post(url(half, "retry"), {}).status_code == 404
    assert client.post(url(half, "stop")).status_code == 404


def test_those_who_may_not_retry_see_no_button_and_are_refused(client, half):
    client.force_login(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    shown = text(client.get(url(half)))
    assert "people again" not in shown
    assert retry(client, half).status_code == 403
    assert client.post(url(half, "stop")).status_code == 403
    assert not Batch.objects.filter(repeats=True).exists()


def test_without_the_right_to_see_deliveries_the_page_is_closed(client, half):
    client.force_login(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    assert client.get(url(half)).status_code == 403
    client.logout()
    assert client.get(url(half)).status_code == 302


def test_the_verbs_check_by_themselves(half):
    stranger = make.user(roles.INCIDENT_MANAGERS)
    with pytest.raises(NotAllowed):
        half.retry(stranger, half.channels.get())
    with pytest.raises(NotAllowed):
        half.stop(stranger)
    draft = make.incident().updates.get()
    with pytest.raises(WrongState):
        draft.retry(make.incident_manager(), half.channels.get())
    with pytest.raises(WrongState):
        draft.stop(make.incident_manager())


# ── CSV ──


def rows(answer):
    return list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_the_list_of_those_not_reached(client, half):
    assert client.get(url(half, "delivery_failures")).status_code == 403  # needs the right to see recipients
    client.force_login(make.communications_manager())
    answer = client.get(url(half, "delivery_failures"))
    assert answer["Content-Type"].startswith("text/csv")
    header, *lines = rows(answer)
    assert header[:4] == ["Channel", "About", "Language", "Address"]
    assert len(lines) == 6
    assert {line[6] for line in lines} == {"554", "552 5.2.2", "no-reply-after-data"}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_becomes_a_formula(client, half, start):
    evil = f"{start}HYPERLINK(1)"
    Recipient.objects.update(name=evil)
    Delivery.objects.filter(status="failed").update(detail=evil, code=evil)
    client.force_login(make.communications_manager())
    cells = [cell for line in rows(client.get(url(half, "delivery_failures"))) for cell in line]
    assert f"'{evil}" in cells
    assert not [cell for cell in cells if cell.startswith(start)]


def test_an_erased_person_keeps_the_line_without_the_address(client, half):
    Recipient.objects.all().delete()
    client.force_login(make.communications_manager())
    lines = rows(client.get(url(half, "delivery_failures")))[1:]
    assert len(lines) == 6
    assert {line[3] for line in lines} == {""}


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
