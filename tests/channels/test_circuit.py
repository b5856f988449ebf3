"""A dead provider is left alone, and what it has not sent goes through the fallback, once."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import Error, connection, transaction
from django.utils import timezone, translation
from django_q.models import OrmQ

from channels import circuit, delivery, providers, tasks
from channels.errors import Permanent, Transient, Uncertain
from channels.models import Channel, Delivery, Dispatch
from channels.progress import progress_of
from channels.providers.base import Capabilities
from incidents import publishing
from incidents.admin.board import board
from tests import make
from tests.fakes.scripted import Scripted

pytestmark = pytest.mark.django_db


@pytest.fixture
def fakes(monkeypatch):
    """Two providers that do as they are told: "smtp" is the first, "ses" the second, "x" speaks in public."""

    class First(Scripted):
        ledger: list[str] = []
        calls = 0

    class Second(Scripted):
        ledger: list[str] = []
        calls = 0

    class Public(Scripted):
        capabilities = Capabilities(form="post", medium="broadcast", broadcast=True, max_weight=280)

    known = {"smtp": First, "ses": Second, "x": Public}
    real = providers.get
    monkeypatch.setattr(providers, "get", lambda key: known.get(key) or real(key))
    return First, Second


@pytest.fixture
def pair(fakes):
    second = make.channel("ses", "Second")
    return make.channel("smtp", "First", fallback=second), second


@pytest.fixture
def dispatch(pair):
    make.plan(pair[0], locales=("en",))
    make.recipients(45)
    update = make.published(make.incident().updates.get())
    one = publishing.dispatches(update).get(purpose="update")
    publishing.expand(one)
    return one


def work(channel, rounds: int = 1) -> Channel:
    """Let the channel be worked on, as if each pause were over."""
    for _round in range(rounds):
        Channel.objects.update(held_until=None)
        Dispatch.objects.get().batches.update(next_try_at=timezone.now() - timedelta(seconds=1))
        delivery.run_channel(channel.pk, 5)
    channel.refresh_from_db()
    return channel


def gone(call, people):
    raise Transient("connect", "connection refused")


def refused(call, people):
    raise Permanent("535", "authentication failed")


def test_three_lost_connections_in_a_row_open_the_circuit(pair, dispatch, fakes):
    first = pair[0]
    Channel.objects.update(fallback=None)
    fakes[0].script = gone
    assert work(first, 2).health == "well"
    assert work(first).health == "unreachable"
    assert timedelta(seconds=5) < first.held_until - timezone.now() <= timedelta(seconds=10)
    pauses = [work(first).held_until - timezone.now() for _n in range(3)]
    assert timedelta(seconds=50) < pauses[-1] <= timedelta(seconds=80)


def test_one_answer_closes_it_again(pair, dispatch, fakes):
    first = pair[0]
    Channel.objects.update(fallback=None)
    fakes[0].script = gone
    work(first, 3)
    fakes[0].script = None
    assert work(first).failures == 0
    assert first.health == "well"
    assert progress_of(Dispatch.objects.all())[0].counts == {"sent": 45}


def test_while_it_is_open_one_worker_at_a_time_tries(pair, dispatch, fakes, settings):
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": 4}
    Channel.objects.update(fallback=None, failures=5)
    batch = dispatch.batches.get()
    for _n in range(3):  # more work than one worker has
        batch.pk = None
        batch.save()
    OrmQ.objects.all().delete()
    tasks.sweep()
    assert OrmQ.objects.count() == 1


@pytest.mark.parametrize(("script", "rounds"), [(refused, 1), (gone, 3)])
def test_the_fallback_carries_the_rest_and_nobody_gets_it_twice(pair, dispatch, fakes, script, rounds):
    first, second = pair
    fakes[0].script = lambda call, people: None if call == 0 else script(call, people)
    work(first, rounds)
    dispatch.refresh_from_db()
    assert dispatch.channel == first
    assert dispatch.via == second
    assert ("535" if script is refused else "connection refused") in dispatch.via_reason
    work(second)
    assert len(fakes[0].ledger) == 10
    assert len(fakes[1].ledger) == 35
    assert not set(fakes[0].ledger) & set(fakes[1].ledger)
    assert Delivery.objects.filter(dispatch=dispatch, status="sent").count() == 45


def test_what_is_published_while_the_channel_is_down_goes_over_at_once(pair, fakes):
    first, second = pair
    Channel.objects.filter(pk=first.pk).update(paused_at=timezone.now(), paused_reason="535")
    make.plan(first, locales=("en",))
    make.recipients(5)
    update = make.published(make.incident().updates.get())
    make.deliver()
    assert len(fakes[1].ledger) == 5
    assert publishing.dispatches(update).get(purpose="update").via == second


def test_once_the_pause_is_over_the_channel_gets_its_chance(pair, fakes):
    first, _second = pair
    Channel.objects.filter(pk=first.pk).update(failures=3, held_until=timezone.now() - timedelta(seconds=1))
    make.plan(first, locales=("en",))
    make.recipients(5)
    make.published(make.incident().updates.get())
    make.deliver()
    assert len(fakes[0].ledger) == 5
    first.refresh_from_db()
    assert first.health == "well"


def test_it_goes_over_once_and_not_on_and_on(pair, dispatch, fakes):
    first, second = pair
    third = make.channel("ses", "Third")
    Channel.objects.filter(pk=second.pk).update(fallback=third)
    fakes[0].script = fakes[1].script = refused
    work(first)
    assert work(second).health == "paused"
    circuit.relieve()
    dispatch.refresh_from_db()
    assert dispatch.via == second


@pytest.mark.parametrize("state", [{"enabled": False}, {"paused_at": timezone.now()}, {"failures": 3}])
def test_a_fallback_that_is_down_itself_takes_nothing(pair, dispatch, fakes, state):
    first, second = pair
    Channel.objects.filter(pk=second.pk).update(**state)
    fakes[0].script = refused
    work(first)
    dispatch.refresh_from_db()
    assert dispatch.via == first


def test_a_dispatch_that_somebody_stopped_does_not_go_over(pair, dispatch, fakes):
    Dispatch.objects.update(cancelled_at=timezone.now())
    assert circuit.hand_over(pair[0], "535") == 0


def test_only_the_same_words_to_the_same_kind_of_address_stand_in(fakes):
    mail, other = make.channel("smtp"), make.channel("ses")
    text, post = make.channel("outbox_sms"), make.channel("x")
    assert other.can_stand_in_for(mail)
    assert not text.can_stand_in_for(mail)
    assert not mail.can_stand_in_for(mail)
    assert not post.can_stand_in_for(make.channel("x"))  # a public post is never made twice


def test_the_database_allows_no_other_move(pair, dispatch):
    first, second = pair
    stranger = make.channel("ses", "Stranger")
    for way in (stranger, second):
        Dispatch.objects.filter(via=first).update(via=first)
        if way is stranger:
            with pytest.raises(Error), transaction.atomic():
                Dispatch.objects.update(via=stranger)
        else:
            Dispatch.objects.update(via=second)
    with pytest.raises(Error), transaction.atomic():
        Dispatch.objects.update(via=first)
    # The fallback may be changed later without getting in the way of what is under way.
    Channel.objects.filter(pk=first.pk).update(fallback=None)
    Dispatch.objects.update(expanded_at=timezone.now())
    assert connection.vendor in ("sqlite", "postgresql")


def test_the_delivery_page_says_so(pair, dispatch, fakes):
    first, second = pair
    fakes[0].script = refused
    work(first)
    update = publishing.IncidentUpdate.objects.get()
    with translation.override("en"):
        [row] = board(update).rows
    assert row.way == second
    assert "through Second, the fallback: 535" in row.detour
    assert not row.blocked


def test_a_successful_test_closes_the_circuit(pair, dispatch, fakes):
    first = pair[0]
    Channel.objects.filter(pk=first.pk).update(failures=7, held_until=timezone.now() + timedelta(seconds=300))
    first.refresh_from_db()
    assert delivery.send_test(first, "me@example.com").error is None
    assert (first.health, first.held_until) == ("well", None)


# ── One tries it ──


def hushed(call, people):
    raise Uncertain("timeout", "no reply")


def test_of_a_channel_that_did_not_answer_lately_one_worker_tries_whether_it_does(pair):
    key = pair[0].pk
    with circuit.admitted(key) as first, circuit.admitted(key) as second, circuit.admitted(pair[1].pk) as elsewhere:
        assert (first, second, elsewhere) == (True, False, True)
    with circuit.admitted(key) as third:
        assert third
    Channel.objects.update(answered_at=timezone.now())
    with circuit.admitted(key) as first, circuit.admitted(key) as second:
        assert (first, second) == (True, True)
    Channel.objects.update(failures=1)
    with circuit.admitted(key) as first, circuit.admitted(key) as second:
        assert (first, second) == (True, False)


def test_who_died_while_trying_is_not_waited_for(pair):
    Channel.objects.update(tried_until=timezone.now() - timedelta(seconds=1))
    with circuit.admitted(pair[0].pk) as admitted:
        assert admitted


def test_the_others_send_nothing_while_one_tries(pair, dispatch, fakes):
    with circuit.admitted(pair[0].pk):
        assert delivery.run_channel(pair[0].pk, 5) is False
    assert fakes[0].calls == 0
    delivery.run_channel(pair[0].pk, 5)
    assert len(fakes[0].ledger) == 45


def test_its_answer_calls_the_others(pair, fakes, settings):
    settings.DELIVERY_BATCH_SIZE = settings.DELIVERY_FIRST_BATCH_SIZE = 5
    make.plan(pair[0], locales=("en",))
    make.recipients(45)
    publishing.expand(publishing.dispatches(make.published(make.incident().updates.get())).get(purpose="update"))
    OrmQ.objects.all().delete()
    tasks.sweep()
    assert OrmQ.objects.count() == 1
    delivery.run_channel(pair[0].pk, 5)
    assert len(fakes[0].ledger) == 45
    assert OrmQ.objects.count() == 1 + settings.Q_CLUSTER["workers"] - 2
    assert Channel.objects.get(pk=pair[0].pk).answered_at


def test_a_provider_that_takes_and_does_not_answer_leaves_few_in_doubt(pair, dispatch, fakes):
    Channel.objects.update(fallback=None)
    fakes[0].script = hushed
    channel = work(pair[0])
    assert channel.health == "unreachable"
    assert Delivery.objects.filter(status="unknown").count() == Delivery.objects.count() == 3 * 10
    fakes[0].script = None
    channel = work(channel)
    assert (channel.health, len(fakes[0].ledger)) == ("well", 15)


def test_a_silent_server_says_nothing_of_other_peoples_servers(pair, dispatch, fakes):
    fakes[0].capabilities = replace(Scripted.capabilities, many_servers=True)
    fakes[0].script = hushed
    channel = work(pair[0])
    assert channel.health == "well"
    assert Delivery.objects.filter(status="unknown").count() == 45
