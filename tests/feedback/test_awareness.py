"""When people knew: by hand, to the second; of several incidents within a step of 2 %."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from channels import events
from channels.models import Delivery
from feedback import awareness, reports, tasks
from feedback.models import Awareness
from incidents.models import Incident
from tests import make


def told(seconds: list[float | None], **kwargs) -> Incident:
    """A published incident whose people have receipts that many seconds after its start; None: no receipt."""
    people = [make.incident_manager(), make.communications_manager()]
    make.plan(make.channel(), locales=("en",))
    component = make.component()
    make.recipients(len(seconds), component)
    one = make.incident(people[0], component)
    make.published(one.updates.get(), people[1])
    make.deliver()
    mine = list(Delivery.objects.filter(dispatch__thread=one.thread).order_by("recipient_id"))
    for delivery, after in zip(mine, seconds, strict=True):
        if after is not None:
            key = f"{delivery.dispatch_id}-{delivery.recipient_id}"
            receipt = events.Receipt(Delivery.Status.DELIVERED, key=key)
            at = one.started_at + timedelta(seconds=after)
            events.take_in(delivery.dispatch.via, "test", key, receipt, at)
    return one


def look() -> None:
    cache.clear()
    tasks.sweep_awareness()


def of(incident: Incident) -> awareness.Aware | None:
    [one] = reports.gather(Incident.objects.filter(pk=incident.pk))
    return one.aware


@pytest.mark.django_db
def test_it_agrees_with_an_incident_counted_by_hand(django_assert_max_num_queries):
    incident = told([90, 30, 600, 61.5, None, 45, 7200, 80])
    assert of(incident) is None
    look()
    found = of(incident)
    assert (found.people, found.median, found.p95) == (7, 80, 7200)
    counted = Awareness.objects.get().counted_at
    with django_assert_max_num_queries(6):
        look()
    assert Awareness.objects.get().counted_at == counted  # nothing new came


@pytest.mark.django_db
def test_of_two_messages_the_first_counts_and_a_late_receipt_is_taken_in():
    incident = told([100, None])
    look()
    assert (of(incident).people, of(incident).median) == (1, 100)
    late = Delivery.objects.get(status="sent")
    key = f"{late.dispatch_id}-{late.recipient_id}"
    receipt = events.Receipt(Delivery.Status.DELIVERED, key=key)
    events.take_in(late.dispatch.via, "test", key, receipt, incident.started_at + timedelta(seconds=500))
    look()
    assert (of(incident).people, of(incident).p95) == (2, 500)
    # Bounced after all: nobody knew by it.
    bounced = events.Receipt(Delivery.Status.FAILED, key=key, code="bounced")
    events.take_in(late.dispatch.via, "test", "again", bounced, timezone.now())
    look()
    assert (of(incident).people, of(incident).p95) == (1, 100)


@pytest.mark.django_db
def test_an_incident_of_long_ago_is_not_looked_at():
    incident = told([100])
    Incident.objects.filter(pk=incident.pk).update(resolved_at=timezone.now() - timedelta(days=31))
    look()
    assert of(incident) is None


seconds = st.lists(st.floats(1, 10_000_000), min_size=1, max_size=60)


def kept(values: list[float]) -> awareness.Aware:
    values = sorted(values)
    steps = [awareness.step_of(one) for one in values]
    ranks = awareness.rank(values, 0.5), awareness.rank(values, 0.95)
    return awareness.Aware(len(values), *ranks, {step: steps.count(step) for step in steps})


@given(first=seconds, second=seconds)
def test_several_are_added_up_within_a_step(first, second):
    found = awareness.together([kept(first), kept(second)])
    exact = kept(first + second)
    assert found.people == exact.people
    for figure, true in ((found.median, exact.median), (found.p95, exact.p95)):
        assert true / 1.0001 <= figure <= true * awareness.STEP * 1.0001


@given(st.floats(0, 10_000_000))
def test_a_step_is_the_first_that_is_not_less(value):
    step = awareness.step_of(value)
    assert value <= awareness.STEP**step * 1.0001
    assert step == 0 or value > awareness.STEP ** (step - 1) / 1.0001
