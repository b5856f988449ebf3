"""The tally of deliveries is what counting them would say, whatever happens to them."""

import threading
from collections import Counter

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels import tally
from channels.delivery import _upsert
from channels.models import Delivery, DeliveryTally, Dispatch, Recipient
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unguarded")]
STATUSES = ("sent", "delivered", "failed", "unknown", "skipped")
CODES = ("", "timeout", "no_such_address")


def a_dispatch(number: int = 0) -> Dispatch:
    channel = make.channel()
    return Dispatch.objects.create(
        source=f"update:{number}", thread="t", channel=channel, locale="en", content={}, approved_hash="0" * 64
    )


def by_counting() -> dict:
    return dict(Counter(Delivery.objects.values_list("dispatch_id", "status", "code")))


def by_tally() -> dict:
    found = tally.counted(Dispatch.objects.values("pk"))
    return {(one.dispatch_id, one.status, one.code): one.people for one in found}


outcome = st.tuples(st.integers(0, 7), st.sampled_from(STATUSES), st.sampled_from(CODES))
step = st.one_of(
    st.tuples(
        st.just("record"), st.integers(0, 1), st.lists(outcome, min_size=1, max_size=8, unique_by=lambda o: o[0])
    ),
    st.tuples(st.just("event"), st.integers(0, 7), st.sampled_from(STATUSES)),
    st.tuples(st.just("move"), st.sampled_from(STATUSES), st.sampled_from(CODES)),
    st.tuples(st.just("remove"), st.integers(0, 7), st.none()),
    st.tuples(st.just("lost"), st.integers(0, 7), st.none()),
    st.tuples(st.just("fold"), st.none(), st.none()),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, max_size=12))
def test_it_is_what_counting_says(steps):
    with transaction.atomic():
        dispatches = [a_dispatch(0), a_dispatch(1)]
        people = make.recipients(8)
        for name, first, second in steps:
            play(name, first, second, dispatches, people)
            assert by_tally() == by_counting(), name
        transaction.set_rollback(True)


def play(name, first, second, dispatches: list[Dispatch], people: list[Recipient]) -> None:
    if name == "record":
        _upsert(dispatches[first], [(people[n].pk, status, code, "", "") for n, status, code in second])
    elif name == "event":
        Delivery.objects.filter(recipient=people[first]).update(status=second)
    elif name == "move":
        Delivery.objects.filter(status=first).update(code=second, at=timezone.now())
    elif name == "remove":
        Delivery.objects.filter(recipient=people[first]).delete()
    elif name == "lost":
        with transaction.atomic():
            Delivery.objects.update_or_create(
                dispatch=dispatches[0],
                recipient=people[first],
                defaults={"status": "unknown", "at": timezone.now()},
            )
            transaction.set_rollback(True)
    else:
        tally.fold()


def test_folding_leaves_one_row_for_each_outcome():
    one = a_dispatch()
    people = make.recipients(4)
    for person in people:
        _upsert(one, [(person.pk, "failed", "timeout", "", "")])
    _upsert(one, [(people[0].pk, "sent", "", "", "")])
    tally.fold()
    tally.fold()
    rows = DeliveryTally.objects.filter(n__gt=0).order_by("status").values_list("status", "code", "n")
    assert list(rows) == [("failed", "timeout", 3), ("sent", "", 1)]
    assert {one.last_at for one in tally.counted([one.pk])} == set(
        Delivery.objects.exclude(recipient=people[0]).values_list("at", flat=True).order_by("-at")[:1]
    ) | set(Delivery.objects.filter(recipient=people[0]).values_list("at", flat=True))


def test_reading_it_is_one_query(django_assert_num_queries):
    one = a_dispatch()
    _upsert(one, [(person.pk, "sent", "", "", "") for person in make.recipients(3)])
    with django_assert_num_queries(1):
        [found] = tally.counted([one.pk])
    assert (found.people, found.status) == (3, "sent")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_workers_who_record_and_fold_at_once_lose_no_count():
    one = a_dispatch()
    people = make.recipients(200)
    failed: list[BaseException] = []

    def record(part: int) -> None:
        try:
            for person in people[part::4]:
                _upsert(one, [(person.pk, "sent", "", "", "")])
                if part == 0:
                    tally.fold()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=record, args=(part,)) for part in (0, 1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    tally.fold()
    assert by_tally() == by_counting() == {(one.pk, "sent", ""): 200}
    assert DeliveryTally.objects.count() == 1
