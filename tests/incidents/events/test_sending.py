"""Sending: in order, at least once under the same key, and whatever the receiver does, nothing is lost or passed by."""

import json
import uuid
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from standardwebhooks.webhooks import Webhook as Signer
from standardwebhooks.webhooks import WebhookVerificationError

from channels.models import Channel, Recipient
from incidents import tasks
from incidents.errors import Refused, WrongState
from incidents.events import recording, scope, sending
from incidents.models import EventDelivery, EventSubscription, OutgoingEvent, StaffNotice
from tests import make
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Fault, fake_aws
from tests.fakes.http import Drop, Reply
from tests.incidents.test_races import at_once

from .conftest import CHANNEL_SECRET

pytestmark = pytest.mark.django_db
TOPIC = "arn:aws:sns:eu-south-1:123456789012:incidents"


class Died(BaseException):
    """A worker is killed: nothing of it catches this."""


@pytest.fixture
def happen():
    """Something happens: two events each time."""
    make.plan(make.channel())
    anna, component = make.incident_manager(), make.component("Checkout")
    return lambda *parts: make.incident(anna, *(parts or [component]))


def again(one: EventSubscription) -> EventSubscription:
    return EventSubscription.objects.select_related("owner").get(pk=one.pk)


def numbers(receiver) -> list[int]:
    return [call.json["data"]["number"] for call in receiver.calls]


# ── What arrives ────────────────────────────────────────────────────────────


def test_it_is_signed_with_the_subscription_s_own_secret(subscribe, receiver, happen):
    one = subscribe()
    incident = happen()
    tasks.sweep_events()
    first, _second = receiver.calls
    told = Signer(one.secrets["secret"]).verify(first.body, dict(first.headers))
    with pytest.raises(WebhookVerificationError):
        Signer(CHANNEL_SECRET).verify(first.body, dict(first.headers))
    assert (told["specversion"], told["type"], told["subject"]) == (
        "1.0",
        "incident.declared",
        f"incidents/{incident.uid}",
    )
    assert first.headers["Content-Type"] == "application/cloudevents+json"
    assert told["data"]["components"][0]["name"] == "Checkout"
    assert [one.state for one in EventDelivery.objects.all()] == ["sent", "sent"]


def test_while_a_secret_is_changed_both_sign(subscribe, receiver, happen):
    one = subscribe()
    before = one.secrets["secret"]
    one.renew_secret()
    happen()
    tasks.sweep_events()
    call = receiver.calls[0]
    for secret in (before, one.secrets["secret"]):
        Signer(secret).verify(call.body, dict(call.headers))


def test_all_arrive_once_and_in_order(subscribe, receiver, happen):
    subscribe()
    for _n in range(5):
        happen()
    for _again in range(3):
        tasks.sweep_events()
    assert numbers(receiver) == list(range(1, 11))
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 10


def test_only_what_was_chosen_is_sent(subscribe, receiver, happen):
    wanted, other = make.component("Wanted"), make.component("Other")
    subscribe(types=["incident.declared"], components=[wanted])
    happen(wanted)
    happen(other)
    tasks.sweep_events()
    [call] = receiver.calls
    assert call.json["data"]["components"][0]["name"] == "Wanted"
    assert EventSubscription.objects.get().cursor == 4


def test_a_new_subscription_hears_of_what_happens_from_then_on(subscribe, receiver, happen):
    happen()
    recording.collect()
    subscribe()
    happen()
    tasks.sweep_events()
    assert numbers(receiver) == [3, 4]


def test_what_is_off_gets_it_all_once_it_is_on_again(subscribe, receiver, happen):
    one = subscribe(enabled=False)
    happen()
    tasks.sweep_events()
    assert not receiver.calls
    EventSubscription.objects.filter(pk=one.pk).update(enabled=True)
    tasks.sweep_events()
    assert numbers(receiver) == [1, 2]


def test_without_a_secret_nothing_is_sent(subscribe, receiver, happen):
    one = subscribe()
    EventSubscription.objects.filter(pk=one.pk).update(secrets={})
    happen()
    tasks.sweep_events()
    assert not receiver.calls
    with pytest.raises(Refused):
        sending.try_out(again(one))


# ── Tenants ─────────────────────────────────────────────────────────────────


def test_what_the_owner_may_not_see_is_not_sent(subscribe, receiver, happen):
    from guardian.shortcuts import assign_perm, remove_perm

    mine, foreign = make.component("Mine"), make.component("Zebra payouts")
    owner = make.user("Incident managers")
    assign_perm("incidents.view_component", owner, mine)
    subscribe(owner, types=["incident.declared"])
    happen(foreign)
    happen(mine)
    happen(mine, foreign)
    tasks.sweep_events()
    assert len(receiver.calls) == 2
    assert not any(b"Zebra" in call.body for call in receiver.calls)
    assert scope.after(owner, 0) == scope.after(owner, 2)
    remove_perm("incidents.view_component", owner, mine)
    happen(mine)
    tasks.sweep_events()
    assert len(receiver.calls) == 2
    assert scope.after(type(owner).objects.get(pk=owner.pk), 0) == []


def test_choosing_a_foreign_component_gains_nothing(subscribe, receiver, happen):
    from guardian.shortcuts import assign_perm

    mine, foreign = make.component("Mine"), make.component("Zebra payouts")
    owner = make.user("Incident managers")
    assign_perm("incidents.view_component", owner, mine)
    subscribe(owner, components=[foreign])
    happen(foreign)
    tasks.sweep_events()
    assert not receiver.calls


def test_who_may_not_see_updates_is_told_of_none(happen):
    from django.contrib.auth.models import Permission

    who = make.user("All components")
    who.user_permissions.add(Permission.objects.get(codename="view_incident"))
    happen()
    recording.collect()
    assert [one["type"] for one in scope.after(type(who).objects.get(pk=who.pk), 0)] == ["incident.declared"]
    assert scope.after(make.user("All components"), 0) == []


def test_one_reads_on_from_a_number_in_a_constant_number_of_queries(happen, django_assert_max_num_queries):
    anna = make.incident_manager()
    for _n in range(5):
        happen()
    recording.collect()
    assert [one["data"]["number"] for one in scope.after(anna, 3, 4)] == [4, 5, 6, 7]
    assert scope.after(anna, 10) == []
    assert len(scope.after(anna, -5, 10**9)) == 10
    with django_assert_max_num_queries(4):
        scope.after(type(anna).objects.get(pk=anna.pk), 0)


def test_whose_owner_has_left_pauses(subscribe, receiver, happen):
    one = subscribe()
    one.owner.is_active = False
    one.owner.save()
    happen()
    tasks.sweep_events()
    assert not receiver.calls
    assert "cannot log in any more" in again(one).paused_reason


@pytest.mark.parametrize("kind", ["webhook", "sns"])
def test_where_customers_are_written_to_nothing_goes(subscribe, receiver, happen, sns, kind):
    """Drafts, approvals and runbooks are for staff, and a customer's server would be told of them."""
    one = subscribe(kind=kind, **({"target": TOPIC} if kind == "sns" else {}))
    one.clean()
    if kind == "sns":
        make.channel("sns_topic", config={"topic_arn": TOPIC})
    else:
        [person] = make.recipients(1, medium="webhook")
        Recipient.objects.filter(pk=person.pk).update(address=one.target)
    with pytest.raises(ValidationError, match="Customers are written to"):
        one.clean()
    with pytest.raises(Refused, match="Customers are written to"):
        sending.try_out(one)
    happen()
    tasks.sweep_events()
    assert not receiver.calls
    assert not sns.calls
    assert "Customers are written to" in again(one).paused_reason


# ── Trouble ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", [Reply(500), Reply(404), Reply(429), Drop(), Reply(302)])
def test_what_is_not_taken_comes_again_under_the_same_key_before_any_other(
    subscribe, receiver, happen, time_machine, answer
):
    time_machine.move_to(timezone.now(), tick=False)
    one = subscribe()
    happen()
    receiver.script(answer)
    tasks.sweep_events()
    assert numbers(receiver) == [1]
    assert EventDelivery.objects.get().state == "waiting"
    tasks.sweep_events()  # its time has not come
    assert numbers(receiver) == [1]
    time_machine.shift(timedelta(seconds=11))
    tasks.sweep_events()
    assert numbers(receiver) == [1, 1, 2]
    assert receiver.calls[0].headers["webhook-id"] == receiver.calls[1].headers["webhook-id"]
    assert (again(one).tries, again(one).cursor) == (0, 2)


def test_it_waits_longer_each_time_and_then_pauses_with_a_notice(subscribe, receiver, happen, time_machine):
    time_machine.move_to(timezone.now(), tick=False)
    one = subscribe()
    happen()
    receiver.rule = lambda call: Reply(500)
    waits = []
    for _n in range(len(sending.PAUSES)):
        tasks.sweep_events()
        waits.append(again(one).next_try_at - timezone.now())
        time_machine.move_to(again(one).next_try_at, tick=False)
    assert all(most * 0.7 <= wait <= most for wait, most in zip(waits, sending.PAUSES, strict=True))
    assert max(waits) <= timedelta(days=1)
    assert not StaffNotice.objects.exists()
    tasks.sweep_events()
    paused = again(one)
    assert "Event 1 was not taken in 11 tries: 500" in paused.paused_reason
    [notice] = StaffNotice.objects.all()
    assert (notice.user, notice.kind) == (one.owner, "events")
    assert notice.url.endswith(f"/admin/incidents/eventsubscription/{one.pk}/sent/")
    tasks.tell_staff(notice.pk)
    notice.refresh_from_db()
    assert notice.outcome == "sent"
    time_machine.shift(timedelta(days=3))
    tasks.sweep_events()
    assert len(receiver.calls) == 11
    receiver.rule = lambda call: Reply()
    sending.resume(paused)
    tasks.sweep_events()
    assert numbers(receiver)[-2:] == [1, 2]
    with pytest.raises(WrongState):
        sending.resume(again(one))


def test_a_receiver_that_is_gone_is_left_alone_at_once(subscribe, receiver, happen):
    one = subscribe()
    happen()
    receiver.script(Reply(410))
    tasks.sweep_events()
    assert "(410)" in again(one).paused_reason
    assert StaffNotice.objects.count() == 1


def test_a_dead_receiver_holds_up_no_other(subscribe, receiver, happen):
    subscribe(target="https://127.0.0.1:1/dead")
    subscribe()
    happen()
    tasks.sweep_events()
    assert numbers(receiver) == [1, 2]


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}/x", "https://localhost:{port}/x", "https://[::1]:{port}/x"])
def test_an_address_inside_is_never_reached(subscribe, receiver, happen, settings, url):
    """Whatever stood in the form: the address is looked at when it is connected to."""
    one = subscribe(target=url.format(port=receiver.url.rpartition(":")[2]))
    settings.WEBHOOK_NETWORKS = []
    happen()
    tasks.sweep_events()
    assert not receiver.calls
    assert "not a public address" in EventDelivery.objects.get().detail
    assert again(one).tries == 1


def test_plain_http_is_never_spoken(subscribe, receiver, happen):
    subscribe(target=receiver.url.replace("https", "http"))
    happen()
    tasks.sweep_events()
    assert not receiver.calls
    assert "not-https" in EventDelivery.objects.get().detail


def test_without_a_channel_for_webhooks_it_waits_and_counts_no_try(subscribe, receiver, happen):
    one = subscribe()
    Channel.objects.filter(provider="webhook").update(enabled=False)
    happen()
    tasks.sweep_events()
    assert (again(one).tries, EventDelivery.objects.get().state) == (0, "waiting")
    assert "No channel for webhooks" in EventDelivery.objects.get().detail


# ── Workers that die, and two at once ───────────────────────────────────────


@pytest.mark.parametrize("point", ["before it is sent", "after it was sent"])
def test_a_worker_that_dies_loses_nothing(subscribe, receiver, happen, monkeypatch, time_machine, point):
    time_machine.move_to(timezone.now(), tick=False)
    one = subscribe()
    happen()
    recording.collect()
    send = sending._send

    def dies(*args):
        if point == "after it was sent":
            send(*args)
        raise Died

    monkeypatch.setattr(sending, "_send", dies)
    with pytest.raises(Died):
        sending.run(one.pk)
    assert EventDelivery.objects.get().state == "sending"  # what was begun is on record
    monkeypatch.setattr(sending, "_send", send)
    tasks.sweep_events()  # it may still be at work
    assert len(receiver.calls) == (1 if point == "after it was sent" else 0)
    time_machine.shift(sending.LEASE + timedelta(seconds=1))
    tasks.sweep_events()
    wanted = [1, 1, 2] if point == "after it was sent" else [1, 2]
    assert numbers(receiver) == wanted
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 2


def test_a_worker_that_dies_before_it_writes_down_what_it_takes_has_done_nothing(
    subscribe, receiver, happen, monkeypatch
):
    subscribe()
    happen()
    recording.collect()
    monkeypatch.setattr(EventDelivery.objects, "get_or_create", lambda **kwargs: (_ for _ in ()).throw(Died()))
    with pytest.raises(Died):
        tasks.sweep_events()
    monkeypatch.undo()
    one = EventSubscription.objects.get()
    assert (one.leased_until, one.cursor) == (None, 0)


def test_who_comes_back_late_writes_over_nothing(subscribe, receiver, happen, monkeypatch, time_machine):
    """Its lease ran out and another worker sent everything: the cursor does not go back."""
    time_machine.move_to(timezone.now(), tick=False)
    one = subscribe()
    happen()
    recording.collect()
    send = sending._send
    slow = []

    def sends(*args):
        if not slow:
            slow.append(True)
            time_machine.shift(sending.LEASE + timedelta(seconds=1))
            sending.run(one.pk)
            return sending._NoWay("late", "")
        return send(*args)

    monkeypatch.setattr(sending, "_send", sends)
    sending.run(one.pk)
    assert numbers(receiver) == [1, 2]
    assert again(one).cursor == 2
    assert {row.state for row in EventDelivery.objects.all()} == {"sent"}


def test_a_second_worker_finds_nothing_to_do_meanwhile(subscribe, receiver, happen, monkeypatch):
    one = subscribe()
    happen()
    recording.collect()
    send = sending._send

    def sends(*args):
        sending.run(one.pk)
        return send(*args)

    monkeypatch.setattr(sending, "_send", sends)
    sending.run(one.pk)
    assert numbers(receiver) == [1, 2]


def test_a_subscription_deleted_while_it_is_sent_to_harms_nobody(subscribe, receiver, happen, monkeypatch):
    one = subscribe()
    happen()
    recording.collect()
    send = sending._send

    def sends(*args):
        EventSubscription.objects.all().delete()
        return send(*args)

    monkeypatch.setattr(sending, "_send", sends)
    sending.run(one.pk)
    sending.run(one.pk)
    assert len(receiver.calls) == 1


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_four_workers_at_once_send_each_event_once_and_in_order(subscribe, receiver):
    anna = make.incident_manager()
    make.plan(make.channel())
    one = subscribe(anna)
    for _n in range(5):
        make.incident(anna, make.component())
    recording.collect()
    answers = at_once(*[lambda: sending.run(one.pk)] * 4)
    assert answers == [None] * 4
    assert numbers(receiver) == list(range(1, 11))


# ── What a person does ──────────────────────────────────────────────────────


def test_it_is_sent_again_from_an_event_on_under_the_same_keys(subscribe, receiver, happen):
    one = subscribe()
    happen()
    happen()
    tasks.sweep_events()
    keys = [call.headers["webhook-id"] for call in receiver.calls]
    assert sending.replay(again(one), 3) == 2
    tasks.sweep_events()
    assert numbers(receiver) == [1, 2, 3, 4, 3, 4]
    assert [call.headers["webhook-id"] for call in receiver.calls] == [*keys, *keys[2:]]
    assert EventDelivery.objects.get(event=3).tries == 2
    for number in (5, 0, -1):
        with pytest.raises(Refused):
            sending.replay(again(one), number)


def test_an_event_that_is_never_taken_can_be_left_out(subscribe, receiver, happen):
    one = subscribe()
    happen()
    receiver.rule = lambda call: Reply(422 if call.json["data"]["number"] == 1 else 200)
    tasks.sweep_events()
    sending.skip(again(one), 1)
    tasks.sweep_events()
    assert numbers(receiver) == [1, 2]
    assert list(EventDelivery.objects.values_list("state", flat=True)) == ["sent", "skipped"]
    with pytest.raises(WrongState):
        sending.skip(again(one), 1)


def test_a_try_is_no_event(subscribe, receiver):
    one = subscribe()
    assert sending.try_out(one) is None
    [call] = receiver.calls
    assert call.json["type"] == "portal.test"
    Signer(one.secrets["secret"]).verify(call.body, dict(call.headers))
    assert not OutgoingEvent.objects.exists()
    receiver.script(Reply(403, {"error": "who are you"}))
    assert "who are you" in str(sending.try_out(one))


def test_what_was_sent_long_ago_is_forgotten_and_events_are_not(subscribe, receiver, happen, time_machine):
    subscribe()
    happen()
    tasks.sweep_events()
    time_machine.move_to(timezone.now() + sending.KEPT + timedelta(days=1))
    tasks.sweep_events()
    assert not EventDelivery.objects.exists()
    assert OutgoingEvent.objects.count() == 2
    assert len(receiver.calls) == 2


# ── Amazon SNS, a fake of it ────────────────────────────────────────────────


@pytest.fixture
def sns(monkeypatch):
    with fake_aws("sns") as fake:
        fake.answers["Publish"] = {"MessageId": str(uuid.uuid4())}
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", fake.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        yield fake
        assert fake.invalid == []


def test_a_topic_gets_it_with_attributes_to_filter_by(subscribe, happen, sns):
    subscribe(kind="sns", target=TOPIC)
    happen()
    tasks.sweep_events()
    first, second = sns.params("Publish")
    assert first["TopicArn"] == TOPIC
    assert json.loads(first["Message"])["type"] == "incident.declared"
    values = {name: one["StringValue"] for name, one in first["MessageAttributes"].items()}
    assert values == {"type": "incident.declared", "severity": "sev2"}
    assert "MessageGroupId" not in second


def test_a_fifo_topic_gets_it_in_one_group_under_the_event_s_key(subscribe, happen, sns, time_machine):
    time_machine.move_to(timezone.now(), tick=False)
    one = subscribe(kind="sns", target=f"{TOPIC}.fifo")
    happen()
    sns.script("Publish", Fault("InternalError", "later", 500))
    tasks.sweep_events()
    time_machine.shift(timedelta(seconds=11))
    tasks.sweep_events()
    calls = sns.params("Publish")
    assert len({call["MessageDeduplicationId"] for call in calls}) == 2
    assert calls[0]["MessageDeduplicationId"] == calls[1]["MessageDeduplicationId"]
    assert {call["MessageGroupId"] for call in calls} == {f"commsportal-{one.uid}"}


def test_a_topic_that_asks_for_patience_gets_it_and_no_try_is_counted(subscribe, happen, sns):
    one = subscribe(kind="sns", target=TOPIC)
    happen()
    sns.script("Publish", Fault("Throttling", "slow down", 400))
    tasks.sweep_events()
    assert again(one).tries == 0
    assert again(one).next_try_at is not None
    assert len(sns.calls) == 1


def test_a_topic_that_does_not_exist_is_said(subscribe, happen, sns):
    one = subscribe(kind="sns", target=TOPIC)
    happen()
    sns.script("Publish", Fault("NotFound", "Topic does not exist", 404))
    tasks.sweep_events()
    assert again(one).tries == 1
    assert "Topic does not exist" in EventDelivery.objects.get().detail
    assert sending.try_out(one) is None
