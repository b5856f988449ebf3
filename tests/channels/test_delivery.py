from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from channels import delivery, providers, tasks
from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.models import Batch, Channel, Delivery, Recipient, Suppression
from channels.progress import Progress, progress_of
from channels.providers.base import Capabilities, Outcome, personalise
from channels.secrets import address_hash
from incidents import publishing
from tests import make
from tests.fakes.scripted import Scripted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """An update is published to 45 people on one channel, its audience found, nothing sent yet. Its dispatch's key.

    They want to hear of one component only, and its group has a plan of its own: no other update is theirs.
    """
    component = make.component(group="Cards")
    make.plan(make.channel(), locales=("en",)).component_groups.add(component.group)
    make.recipients(45, component)
    update = make.published(make.incident(None, component).updates.get())
    dispatch = publishing.dispatches(update).get(purpose="update")
    publishing.expand(dispatch)
    return dispatch.pk


@pytest.fixture
def scripted(monkeypatch):
    """Every channel sends through the scripted fake."""

    class Mine(Scripted):
        ledger: list[str] = []
        calls = 0

    real = providers.get
    monkeypatch.setattr(providers, "get", lambda key: Mine if key == "outbox_email" else real(key))
    return Mine


@pytest.fixture
def sending(world, scripted, db):
    """To 45 people on one channel, its audience found, nothing sent yet."""
    return publishing.Dispatch.objects.get(pk=world)


def run(dispatch) -> Progress:
    """Work until nothing is due, letting held and backed-off batches come due at once."""
    for _round in range(30):
        delivery.run_channel(dispatch.channel_id, 30)
        Channel.objects.update(held_until=None)
        if not dispatch.batches.filter(done_at__isnull=True).exists():
            break
        dispatch.batches.update(next_try_at=timezone.now() - timedelta(seconds=1))
    return progress(dispatch)


def progress(dispatch) -> Progress:
    return next(p for p in progress_of(publishing.Dispatch.objects.filter(pk=dispatch.pk)))


def die_in_mid_wave(dispatch) -> Batch:
    """What a SIGKILL leaves: a leased batch, its wave written down as attempted, no outcome."""
    batch = delivery.claim(dispatch.channel_id)
    assert batch
    delivery._commit(batch, attempted_to=20)
    Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    return batch


def test_each_recipient_gets_it_once(sending, scripted):
    assert run(sending).counts == {"sent": 45}
    assert len(scripted.ledger) == len(set(scripted.ledger)) == 45
    assert run(sending).counts == {"sent": 45}
    assert scripted.calls == 5


def test_the_first_batch_is_small_and_the_rest_follow(scripted, settings):
    settings.DELIVERY_FIRST_BATCH_SIZE, settings.DELIVERY_BATCH_SIZE = 5, 20
    make.plan(make.channel(), locales=("en",))
    make.recipients(47)
    update = make.published(make.incident().updates.get())
    dispatch = publishing.dispatches(update).get(purpose="update")
    assert publishing.expand(dispatch) == 47
    assert publishing.expand(dispatch) == 47
    assert list(dispatch.batches.order_by("id").values_list("size", flat=True)) == [5, 20, 20, 2]
    ids = [i for batch in dispatch.batches.all() for i in batch.recipient_ids]
    assert len(ids) == len(set(ids)) == 47


def test_it_finds_the_rest_of_the_audience_after_a_crash_between_the_two_steps(sending, settings):
    settings.DELIVERY_FIRST_BATCH_SIZE = 10
    sending.batches.all().delete()
    publishing.Dispatch.objects.filter(pk=sending.pk).update(expanded_at=None)
    ids = Recipient.objects.filter(medium="email").order_by("id").values("id")
    delivery._insert_batches(sending, ids[:10], 10)
    publishing.expand(sending)
    queued = [i for batch in sending.batches.all() for i in batch.recipient_ids]
    assert len(queued) == len(set(queued)) == 45


def test_a_temporary_failure_of_some_is_tried_again_for_those_only(sending, scripted):
    def script(call, people):
        if call == 0:
            return [Outcome(error=Transient("421", "busy")) if n < 3 else Outcome() for n in range(len(people))]
        return None

    scripted.script = script
    assert run(sending).counts == {"sent": 45}
    assert max(Counter(scripted.ledger).values()) == 1


def test_a_temporary_failure_that_stays_is_given_up_and_named(sending, scripted, settings):
    settings.DELIVERY_MAX_TRIES = 3
    scripted.script = lambda call, people: [Outcome(error=Transient("451", "greylisted"))] * len(people)
    found = run(sending)
    assert found.counts == {"failed": 45}
    assert found.reasons == {("failed", "451"): 45}
    assert found.finished


def test_an_outage_of_the_provider_holds_the_batch_and_loses_nobody(sending, scripted):
    def script(call, people):
        if call < 2:
            raise Transient("connect", "connection refused")

    scripted.script = script
    delivery.run_channel(sending.channel_id, 5)
    assert progress(sending).counts == {}
    assert "connection refused" in sending.batches.first().last_error
    assert not delivery.due().exists()
    assert run(sending).counts == {"sent": 45}


def test_a_throttle_holds_the_whole_channel_and_uses_up_no_try(sending, scripted):
    def script(call, people):
        if call == 1:
            raise Throttled("429", retry_after=120)

    scripted.script = script
    delivery.run_channel(sending.channel_id, 5)
    channel = Channel.objects.get(pk=sending.channel_id)
    assert channel.health == "held"
    assert timedelta(seconds=110) < channel.held_until - timezone.now() <= timedelta(seconds=121)
    assert scripted.calls == 2
    batch = sending.batches.get()
    assert (batch.tries, batch.done_to, batch.attempted_to) == (0, 10, 10)
    assert run(sending).counts == {"sent": 45}
    assert max(Counter(scripted.ledger).values()) == 1


def test_a_throttle_in_the_middle_of_a_call_holds_the_channel_and_repeats_nobody(sending, scripted):
    def script(call, people):
        if call == 1:
            throttled = Outcome(error=Throttled("454", retry_after=120))
            return [Outcome(ref="a")] * 4 + [throttled] * (len(people) - 4)

    scripted.script = script
    delivery.run_channel(sending.channel_id, 5)
    assert Channel.objects.get(pk=sending.channel_id).health == "held"
    assert scripted.calls == 2
    batch = sending.batches.get()
    assert (batch.tries, batch.done_to, batch.attempted_to) == (0, 14, 14)
    assert run(sending).counts == {"sent": 45}
    assert max(Counter(scripted.ledger).values()) == 1


def test_a_permanent_refusal_pauses_the_channel_until_a_test_succeeds(sending, scripted):
    def script(call, people):
        if call == 0:
            raise Permanent("535", "authentication failed")

    scripted.script = script
    delivery.run_channel(sending.channel_id, 5)
    channel = Channel.objects.get(pk=sending.channel_id)
    assert channel.health == "paused"
    assert "535" in channel.paused_reason
    assert not delivery.due().exists()
    assert delivery.send_test(channel, "me@example.com").error is None
    assert channel.health == "well"
    assert run(sending).counts == {"sent": 45}


def test_a_bad_address_fails_and_is_not_written_to_again(sending, scripted):
    scripted.script = lambda call, people: [
        Outcome(error=Permanent("550", "no such user", bad_address=n == 0)) for n in range(len(people))
    ]
    assert run(sending).counts == {"failed": 45}
    assert Suppression.objects.count() == 5  # the first of each call


def test_a_timeout_is_never_repeated_and_left_to_a_person(sending, scripted):
    def script(call, people):
        if call == 0:
            raise Uncertain("timeout", "no reply after DATA")

    scripted.script = script
    found = run(sending)
    assert found.counts == {"unknown": 10, "sent": 35}
    assert scripted.calls == 5
    assert delivery.retry([sending]) == 0
    assert delivery.retry([sending], [Delivery.Status.UNKNOWN]) == 10
    assert run(sending).counts == {"sent": 45}


def test_a_timeout_is_repeated_where_the_receiver_drops_duplicates(sending, scripted):
    scripted.capabilities = Capabilities(form="email", medium="email", max_batch=10, idempotent=True)

    def script(call, people):
        if call == 0:
            raise Uncertain("timeout", "no reply")

    scripted.script = script
    assert run(sending).counts == {"sent": 45}


def test_a_bug_in_a_provider_loses_track_of_nobody(sending, scripted):
    def script(call, people):
        if call == 1:
            raise ZeroDivisionError("division by zero")

    scripted.script = script
    assert run(sending).counts == {"unknown": 10, "sent": 35}


def test_what_was_in_flight_when_a_worker_died_is_unknown_and_the_rest_is_sent(sending, scripted):
    die_in_mid_wave(sending)
    found = run(sending)
    assert found.counts == {"unknown": 20, "sent": 25}
    assert found.reasons == {("unknown", "worker-stopped"): 20}
    assert len(scripted.ledger) == len(set(scripted.ledger)) == 25


def test_what_was_in_flight_is_sent_again_where_the_receiver_drops_duplicates(sending, scripted):
    scripted.capabilities = Capabilities(form="email", medium="email", max_batch=10, idempotent=True)
    die_in_mid_wave(sending)
    assert run(sending).counts == {"sent": 45}


def test_a_batch_that_kills_every_worker_is_stopped_and_shown(sending, settings):
    settings.DELIVERY_MAX_TRIES = 3
    for _death in range(3):
        batch = delivery.claim(sending.channel_id)
        Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    found = run(sending)
    assert found.reasons == {("failed", "too-many-tries"): 45}


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_wave_of_which_every_worker_dies_is_doubtful_and_the_rest_goes_on(sending, scripted, settings, idempotent):
    scripted.capabilities = Capabilities(form="email", medium="email", max_batch=10, idempotent=idempotent)
    settings.DELIVERY_MAX_TRIES = 3
    for _death in range(4):
        die_in_mid_wave(sending)
        if not idempotent:
            break
    if not idempotent:
        sending.batches.update(tries=3)
    found = run(sending)
    assert found.counts == {"unknown": 20, "sent": 25}
    assert found.reasons == {("unknown", "worker-stopped"): 20}


def test_a_stale_worker_cannot_overwrite_the_batch_but_what_it_sent_counts(sending, scripted):
    stale = delivery.claim(sending.channel_id)

    def script(call, people):
        if call == 0:  # while the first worker is still sending, its lease runs out and another takes over
            Batch.objects.filter(pk=stale.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
            delivery.run_channel(sending.channel_id, 30)

    scripted.script = script
    with pytest.raises(delivery.LeaseLost):
        delivery.deliver(stale, scripted({}))
    assert progress(sending).counts == {"sent": 45}
    assert max(Counter(scripted.ledger).values()) == 1


def test_a_leased_batch_is_nobody_elses(sending):
    assert delivery.claim(sending.channel_id)
    assert delivery.claim(sending.channel_id) is None


def test_somebody_who_unsubscribes_during_the_sending_is_left_out(sending, scripted):
    last = sending.batches.get().recipient_ids[-1]
    person = Recipient.objects.get(pk=last)
    Suppression.objects.create(
        medium="email", address_hash=address_hash("email", person.address), reason=Suppression.Reason.UNSUBSCRIBED
    )
    assert run(sending).counts == {"sent": 44, "skipped": 1}
    assert person.address not in scripted.ledger


def test_an_erased_person_is_left_out(sending, scripted):
    Recipient.objects.get(pk=sending.batches.get().recipient_ids[0]).delete()
    assert run(sending).counts == {"sent": 44, "skipped": 1}


def test_unconfirmed_and_suppressed_addresses_are_no_audience(scripted):
    channel = make.channel()
    make.plan(channel, locales=("en",))
    people = make.recipients(5)
    Recipient.objects.filter(pk=people[0].pk).update(confirmed_at=None)
    Suppression.objects.create(medium="email", address_hash=people[1].address_hash, reason="bounced")
    assert make.incident().updates.get().reach().total == 3


def test_a_retry_replaces_only_what_failed(sending, scripted):
    scripted.script = lambda call, people: (
        [Outcome(error=Permanent("554", "rejected"))] * len(people) if call == 0 else None
    )
    assert run(sending).counts == {"failed": 10, "sent": 35}
    assert delivery.retry([sending]) == 10
    assert delivery.retry([sending]) == 0  # they are waiting already
    waiting = progress(sending)
    assert (waiting.total, waiting.waiting) == (45, 10)
    found = run(sending)
    assert found.counts == {"sent": 45}
    assert found.total == 45
    assert Delivery.objects.filter(attempts=2).count() == 10


def test_a_disabled_channel_sends_nothing(sending, scripted):
    Channel.objects.filter(pk=sending.channel_id).update(enabled=False)
    assert run(sending).counts == {}


def test_a_stopped_dispatch_sends_nothing(sending, scripted):
    publishing.Dispatch.objects.filter(pk=sending.pk).update(cancelled_at=timezone.now())
    assert run(sending).counts == {}


def test_stopping_reaches_a_worker_in_the_middle_of_its_batch(sending, scripted, settings):
    settings.DELIVERY_WAVE_SIZE = 10

    def script(call, people):
        publishing.Dispatch.objects.filter(pk=sending.pk).update(cancelled_at=timezone.now())

    scripted.script = script
    delivery.run_channel(sending.channel_id, 30)
    assert progress(sending).counts == {"sent": 10}
    batch = sending.batches.get()
    assert (batch.done_to, batch.attempted_to, batch.tries, batch.lease_until) == (10, 10, 0, None)


@pytest.mark.parametrize("idempotent", [True, False])
def test_what_a_killed_worker_had_in_flight_is_doubtful_also_when_the_rest_is_stopped(sending, scripted, idempotent):
    scripted.capabilities = Capabilities(form="email", medium="email", max_batch=10, idempotent=idempotent)
    die_in_mid_wave(sending)
    publishing.Dispatch.objects.filter(pk=sending.pk).update(cancelled_at=timezone.now())
    tasks.sweep()
    tasks.sweep()
    found = progress(sending)
    assert found.reasons == {("unknown", "worker-stopped"): 20}
    assert (found.total, found.waiting, scripted.ledger) == (45, 25, [])


def test_a_worker_that_is_still_sending_is_not_settled(sending):
    batch = delivery.claim(sending.channel_id)
    delivery._commit(batch, attempted_to=20)
    publishing.Dispatch.objects.filter(pk=sending.pk).update(cancelled_at=timezone.now())
    tasks.sweep()
    assert progress(sending).counts == {}


def test_a_channel_switched_off_stops_a_worker_in_the_middle_and_goes_on_later(sending, scripted, settings):
    settings.DELIVERY_WAVE_SIZE = 10

    def script(call, people):
        if call == 0:
            Channel.objects.filter(pk=sending.channel_id).update(enabled=False)

    scripted.script = script
    delivery.run_channel(sending.channel_id, 30)
    assert progress(sending).counts == {"sent": 10}
    Channel.objects.filter(pk=sending.channel_id).update(enabled=True)
    assert run(sending).counts == {"sent": 45}
    assert max(Counter(scripted.ledger).values()) == 1


def test_a_channel_whose_provider_is_gone_is_paused_and_loses_nobody(sending):
    Channel.objects.filter(pk=sending.channel_id).update(provider="uninstalled")
    assert delivery.run_channel(sending.channel_id, 5) is False
    channel = Channel.objects.get(pk=sending.channel_id)
    assert "uninstalled" in channel.paused_reason
    assert (sending.batches.get().tries, sending.batches.get().lease_until) == (0, None)
    Channel.objects.filter(pk=channel.pk).update(provider="outbox_email", paused_at=None)
    assert run(sending).counts == {"sent": 45}


@pytest.mark.parametrize("error", [Transient, Permanent, Throttled])
def test_a_long_reply_of_any_bytes_is_cut_and_holds_the_batch(sending, scripted, error):
    def script(call, people):
        if call == 0:
            raise error("502", "<html>\0" * 400)

    scripted.script = script
    delivery.run_channel(sending.channel_id, 5)
    batch = sending.batches.get()
    assert batch.last_error.startswith("502: <html><html>")
    assert (batch.lease_until, len(batch.last_error)) == (None, 600)


def test_the_outcomes_of_a_wave_survive_any_bytes_of_a_server(sending, scripted):
    def script(call, people):
        bad = Permanent("550\0", "no such user \0" * 90, bad_address=True)
        return [Outcome(error=bad), *[Outcome(ref="a\0b")] * (len(people) - 1)]

    scripted.script = script
    assert run(sending).counts == {"failed": 5, "sent": 40}


def test_a_dispatch_that_cannot_be_expanded_does_not_hold_up_the_others(scripted, caplog):
    lost, fine = make.channel("outbox_sms"), make.channel()
    make.plan(lost, fine, locales=("en",))
    make.recipients(3)
    make.recipients(3, medium="sms")
    update = make.published(make.incident().updates.get())
    Channel.objects.filter(pk=lost.pk).update(provider="uninstalled")
    make.deliver()
    assert publishing.dispatches(update).get(channel=fine).deliveries.count() == 3
    assert "cannot be expanded" in caplog.text


def test_a_worker_stops_at_the_end_of_its_time_and_gives_the_try_back(sending, settings, scripted):
    settings.DELIVERY_WAVE_SIZE = 10
    batch = delivery.claim(sending.channel_id)
    delivery.deliver(batch, scripted({}), end=0.0)
    batch.refresh_from_db()
    assert (batch.tries, batch.lease_until, batch.done_to) == (0, None, 0)
    assert run(sending).counts == {"sent": 45}


def test_progress_takes_three_queries_whatever_the_audience(sending, django_assert_num_queries):
    run(sending)
    with django_assert_num_queries(3):
        progress_of(publishing.Dispatch.objects.all())


def test_a_test_that_fails_takes_the_channel_out_of_service(scripted):
    channel = make.channel()

    def script(call, people):
        raise Permanent("535", "bad password")

    scripted.script = script
    outcome = delivery.send_test(channel, "me@example.com")
    assert outcome.error.code == "535"
    assert (channel.enabled, channel.verified_at, channel.test_error) == (False, None, "535: bad password")


def test_a_test_says_what_the_probe_found(scripted, monkeypatch):
    monkeypatch.setattr(scripted, "probe", lambda self: "The account is in the sandbox.")
    assert delivery.send_test(make.channel(), "me@example.com").note == "The account is in the sandbox."


def test_a_test_closes_the_provider_even_when_the_probe_fails(scripted, monkeypatch):
    closed = []
    monkeypatch.setattr(scripted, "probe", lambda self: 1 / 0)
    monkeypatch.setattr(scripted, "close", lambda self: closed.append(True))
    assert delivery.send_test(make.channel(), "me@example.com").error.code == "ZeroDivisionError"
    assert closed


def test_a_test_never_posts_to_the_public(scripted):
    scripted.capabilities = Capabilities(form="post", medium="broadcast", broadcast=True)
    assert delivery.send_test(make.channel(), "").error is None
    assert scripted.calls == 0


def test_personal_values_are_escaped_in_html_only():
    values = {"name": "<b>Ann & Bob</b>"}
    assert personalise("Hi [[name]] [[other]]", values) == "Hi <b>Ann & Bob</b> [[other]]"
    assert personalise("Hi [[name]]", values, html=True) == "Hi &lt;b&gt;Ann &amp; Bob&lt;/b&gt;"


def test_a_provider_that_breaks_is_logged_without_its_credentials(sending, scripted, caplog):
    Channel.objects.update(secrets={"key": "canary-51c"})

    def break_down(_number, _people):
        raise RuntimeError("bad key canary-51c")

    scripted.script = staticmethod(break_down)
    make.deliver()
    assert "bad key •••" in caplog.text
    assert "canary-51c" not in caplog.text + "".join(Delivery.objects.values_list("detail", flat=True))
    # After three calls it is left alone: those who come later shall not be in doubt as well.
    assert Delivery.objects.filter(status="unknown").count() == Delivery.objects.count() == 30
