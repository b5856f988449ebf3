"""One rate for all workers, by the database's clock."""

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from channels import delivery, pace, providers
from channels.errors import Throttled
from channels.models import Channel, Delivery, Dispatch, Pace
from incidents import publishing
from tests import make
from tests.fakes.scripted import Scripted
from tests.incidents.test_races import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture
def naps(monkeypatch):
    """Nobody sleeps; how long somebody would have, in seconds."""
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


def test_without_a_rate_nobody_waits(naps):
    meter = pace.Meter(make.channel())
    meter.take(1000, 1000)
    assert (naps, meter.most(50), meter.wave(200)) == ([], 50, 100)
    assert not Pace.objects.exists()


def test_tokens_are_used_up_one_after_the_other():
    channel = make.channel(rate=100)
    assert pace.lease(channel.pk, 100, 50) == pytest.approx(0, abs=0.01)
    assert pace.lease(channel.pk, 100, 40) == pytest.approx(0.5, abs=0.1)
    assert pace.lease(channel.pk, 100, 100) == pytest.approx(0.9, abs=0.1)
    with pytest.raises(pace.Crowded):
        pace.lease(channel.pk, 100, 1)
    # Whoever was turned away has reserved nothing.
    before = Pace.objects.get().free_at
    with pytest.raises(pace.Crowded):
        pace.lease(channel.pk, 100, 1)
    assert Pace.objects.get().free_at == before


def test_idle_time_is_not_saved_up():
    channel = make.channel(rate=100)
    pace.lease(channel.pk, 100, 1)
    Pace.objects.update(free_at=timezone.now() - timedelta(hours=1))
    assert pace.lease(channel.pk, 100, 100) == 0
    assert pace.lease(channel.pk, 100, 1) == pytest.approx(1.0, abs=0.1)


def test_the_smaller_rate_counts():
    assert make.channel(rate=5, granted_rate=14).effective_rate == 5
    assert make.channel(rate=50, granted_rate=14).effective_rate == 14
    assert make.channel(granted_rate=14).effective_rate == 14
    assert make.channel().effective_rate is None


def test_waves_grow_while_they_are_quick_and_shrink_when_they_are_not():
    meter = pace.Meter(make.channel())
    sizes = []
    for seconds in (0.1, 0.1, 0.1, 0.7, 3.0, 3.0):
        sizes.append(meter.wave(300))
        meter.took(seconds)
    assert sizes == [100, 200, 300, 300, 300, 150]


def test_no_call_holds_more_than_a_second_of_the_rate():
    meter = pace.Meter(make.channel(rate=14))
    assert (meter.most(50), meter.wave(200)) == (14, 28)
    meter = pace.Meter(make.channel(rate=0.5))
    assert (meter.most(50), meter.wave(200)) == (1, 1)


def test_a_throttle_halves_it_and_it_recovers_slowly():
    channel = make.channel(rate=100)
    pace.lease(channel.pk, 100, 1)
    pace.slow_down(channel)
    assert Pace.objects.get().rate == pytest.approx(50, abs=1)
    Pace.objects.update(changed_at=timezone.now() - timedelta(seconds=10))
    pace.lease(channel.pk, 100, 1)
    assert Pace.objects.get().rate == pytest.approx(70, abs=2)
    Pace.objects.update(changed_at=timezone.now() - timedelta(hours=1))
    pace.lease(channel.pk, 100, 1)
    assert Pace.objects.get().rate == 100


@pytest.fixture
def slow_channel(monkeypatch):
    class Mine(Scripted):
        ledger: list[str] = []
        calls = 0

    real = providers.get
    monkeypatch.setattr(providers, "get", lambda key: Mine if key == "outbox_email" else real(key))
    return Mine


def publish(channel: Channel, people: int) -> Dispatch:
    make.plan(channel, locales=("en",))
    make.recipients(people)
    one = publishing.dispatches(make.published(make.incident().updates.get())).get(purpose="update")
    publishing.expand(one)
    return one


def test_the_engine_waits_for_each_block(slow_channel, naps):
    channel = make.channel(rate=40)
    publish(channel, 45)
    delivery.run_channel(channel.pk, 30)
    # Without real sleep the reservations run ahead of the clock, until a second of them is reserved: 40 people and a
    # block, and then the worker leaves, with nothing lost and no try used up.
    assert 0.9 <= max(naps) <= 1.0
    sent = len(slow_channel.ledger)
    assert 40 <= sent < 45 or sent == 45
    batch = Dispatch.objects.get().batches.get()
    assert (batch.tries, batch.done_to, batch.lease_until) == (0, sent, None) or batch.done_at
    Pace.objects.update(free_at=timezone.now())
    delivery.run_channel(channel.pk, 30)
    assert Delivery.objects.filter(status="sent").count() == 45


def test_a_throttled_channel_goes_on_at_half_the_rate(slow_channel, naps):
    def script(call, people):
        if call == 0:
            raise Throttled("429", retry_after=60)

    slow_channel.script = script
    channel = make.channel(rate=40)
    publish(channel, 5)
    delivery.run_channel(channel.pk, 30)
    assert Pace.objects.get().rate == pytest.approx(20, abs=1)
    channel.refresh_from_db()
    assert channel.health == "held"


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_ten_workers_obey_one_rate():
    channel = make.channel(rate=200)
    taken: list[tuple[float, int]] = []

    def worker():
        for _n in range(5):
            try:
                wait = pace.lease(channel.pk, 200, 10)
            except pace.Crowded:
                time.sleep(0.2)
                continue
            taken.append((time.monotonic() + wait, 10))
        connection.close()

    began = time.monotonic()
    at_once(*[worker] * 10)
    last = max(at for at, _n in taken)
    people = sum(n for _at, n in taken)
    assert people > 100
    # All but the first block had to wait for those before it.
    assert people - 10 <= 200 * (last - began) * 1.05
