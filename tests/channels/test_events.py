"""Events beside the engine itself: while it sends, after it died, and several at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.utils import timezone

from channels import delivery, events, providers
from channels.events import Receipt
from channels.models import Batch, Channel, Delivery, ProviderEvent, Suppression
from incidents import publishing
from tests import make
from tests.fakes.scripted import Scripted

BOUNCE = {"status": "failed", "suppress": "bounced", "code": "bounced"}


@pytest.fixture
def scripted(monkeypatch):
    class Mine(Scripted):
        ledger: list[str] = []
        calls = 0

    real = providers.get
    monkeypatch.setattr(providers, "get", lambda key: Mine if key == "outbox_email" else real(key))
    return Mine


def sending():
    """A published update to five people, its audience found, nothing sent yet."""
    make.plan(make.channel(), locales=("en",))
    make.recipients(5)
    update = make.published(make.incident().updates.get())
    dispatch = publishing.dispatches(update).get(purpose="update")
    publishing.expand(dispatch)
    return dispatch


def tell(dispatch, key, event_id="", **said):
    """An event about one message; the scripted provider's references are its keys."""
    receipt = Receipt(key=key, ref=key, **said)
    return events.take_in(dispatch.channel, "test", event_id or key, receipt, timezone.now())


def statuses(dispatch):
    return sorted(dispatch.deliveries.values_list("status", flat=True))


@pytest.mark.django_db
def test_events_that_overtake_the_engine_lose_nothing(scripted):
    """The provider tells of a message before the worker could write down that it was handed over."""
    dispatch, early = sending(), []

    def script(number, recipients):
        for one in recipients:
            with pytest.raises(events.TooEarly):
                tell(dispatch, one.key, **BOUNCE)
            early.append(one.key)

    scripted.script = staticmethod(script)
    delivery.run_channel(dispatch.channel_id, 30)
    assert len(early) == 5
    assert statuses(dispatch) == ["sent"] * 5
    assert all(tell(dispatch, key, **BOUNCE) for key in early)
    assert statuses(dispatch) == ["failed"] * 5
    assert Suppression.objects.count() == 5


@pytest.mark.django_db
def test_a_receipt_tells_what_a_dead_worker_could_not(scripted):
    dispatch = sending()
    batch = delivery.claim(dispatch.channel_id)
    Batch.objects.filter(pk=batch.pk).update(attempted_to=2, lease_until=timezone.now())
    sent, other = (f"{dispatch.pk}-{pk}" for pk in batch.recipient_ids[:2])
    with pytest.raises(events.TooEarly):
        tell(dispatch, sent, status="delivered")
    delivery.run_channel(dispatch.channel_id, 30)
    assert statuses(dispatch) == ["sent"] * 3 + ["unknown"] * 2
    assert tell(dispatch, sent, status="delivered")
    assert statuses(dispatch) == ["delivered", "sent", "sent", "sent", "unknown"]
    # Asking for the unknown again leaves alone who has it.
    assert delivery.retry([dispatch], ["unknown"]) == 1
    delivery.run_channel(dispatch.channel_id, 30)
    assert dispatch.deliveries.get(provider_ref=other).status == "sent"
    assert dispatch.deliveries.get(provider_ref=sent).status == "delivered"


@pytest.mark.django_db
def test_a_late_outcome_of_the_engine_does_not_take_a_receipt_back(scripted):
    """As after a lost lease: both the old and the new worker write down what they know."""
    dispatch = sending()
    delivery.run_channel(dispatch.channel_id, 30)
    row = dispatch.deliveries.first()
    tell(dispatch, row.provider_ref, status="delivered")
    for late in ("unknown", "sent"):
        delivery._upsert(dispatch, [delivery._row(row.recipient_id, late)])
    row.refresh_from_db()
    assert row.status == "delivered"


@pytest.mark.django_db(transaction=True)
def test_told_several_times_at_once_it_counts_once(scripted):
    dispatch = sending()
    delivery.run_channel(dispatch.channel_id, 30)
    key = dispatch.deliveries.first().provider_ref
    at_once(lambda: tell(dispatch, key, **BOUNCE), 6, expect=[False] * 5 + [True])
    assert ProviderEvent.objects.count() == Suppression.objects.count() == 1
    assert statuses(dispatch) == ["failed"] + ["sent"] * 4


@pytest.mark.django_db(transaction=True)
def test_a_receipt_and_a_bounce_at_once_end_as_a_bounce(scripted):
    dispatch = sending()
    delivery.run_channel(dispatch.channel_id, 30)
    row = dispatch.deliveries.first()
    key = row.provider_ref
    for n in range(5):
        Delivery.objects.filter(pk=row.pk).update(status="sent", code="")
        order = iter([{"status": "delivered"}, BOUNCE, {"status": "delivered"}, {"suppress": "complained"}])
        numbers = iter(range(4))
        lock = threading.Lock()

        def one(n=n, order=order, numbers=numbers, lock=lock):
            with lock:
                said, number = next(order), next(numbers)
            return tell(dispatch, key, event_id=f"{n}-{number}", **said)

        at_once(one, 4, expect=[True] * 4)
        row.refresh_from_db()
        assert (row.status, row.code) == ("failed", "bounced")
    assert Suppression.objects.count() == 1


def at_once(call, count, expect):
    """Run a call in several threads that begin together; their results, sorted."""
    gate = threading.Barrier(count)

    def run(_n):
        try:
            gate.wait(10)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        assert sorted(pool.map(run, range(count))) == expect


@pytest.mark.django_db
def test_finding_by_person_and_reference_reads_no_whole_table(scripted):
    """References have no index, on purpose: among the few messages of one person none is needed."""
    dispatch = sending()
    delivery.run_channel(dispatch.channel_id, 30)
    channel = Channel.objects.get(pk=dispatch.channel_id)
    row = dispatch.deliveries.select_related("recipient").first()
    found = events._wanted(channel, Receipt(ref=row.provider_ref, address=row.recipient.address))
    assert found.get() == row
    if connection.vendor == "sqlite":  # PostgreSQL reads a small table whole, indexes or not
        assert "SCAN channels_delivery" not in found.explain()
