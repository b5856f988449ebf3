"""Two people, or two workers, at the same moment. On PostgreSQL: SQLite has one writer."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connection, connections

from channels import delivery, providers
from channels.models import Batch, Delivery, Dispatch
from incidents import publishing
from incidents.errors import WrongState
from incidents.models import Decision
from tests import make
from tests.fakes.scripted import Scripted

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="races need PostgreSQL: SQLite has one writer"),
]
assert connection


def at_once(*jobs: Callable[[], object]) -> list[object]:
    """Run jobs in threads released together; their results or exceptions, in order."""
    gate = threading.Barrier(len(jobs))
    results: list[object] = [None] * len(jobs)

    def run(n: int) -> None:
        try:
            gate.wait(10)
            results[n] = jobs[n]()
        except Exception as error:
            results[n] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.fixture
def update():
    make.plan(make.channel())
    make.recipients(300)
    author = make.incident_manager()
    return make.incident(author).updates.get().submit(author)


def fresh(update):
    return type(update).objects.get(pk=update.pk)


def test_of_two_approvers_one_wins_and_the_other_learns_who(update):
    people = [make.communications_manager() for _n in range(4)]
    results = at_once(*(lambda who=who: fresh(update).approve(who) for who in people))
    lost = [r for r in results if isinstance(r, WrongState)]
    assert len(lost) == 3
    assert update.decisions.filter(verb=Decision.Verb.APPROVE).count() == 1
    assert fresh(update).approved_by.username in str(lost[0])


def test_approve_and_edit_never_send_unapproved_words(update):
    approver = make.communications_manager()
    author, version = update.author, update.version
    at_once(
        lambda: fresh(update).approve(approver),
        lambda: fresh(update).edit(author, version, {"en": {"issue": "Other words."}}),
    )
    found = fresh(update)
    assert (found.status, found.approved_hash) in {("draft", ""), ("approved", found.content_hash)}
    if found.status == "approved":
        pytest.fail("an edit was lost")


def test_a_double_publish_sends_once(update):
    approver = make.communications_manager()
    update.approve(approver)
    results = at_once(*(lambda: fresh(update).publish(approver) for _n in range(4)))
    assert Counter(type(r).__name__ for r in results) == {"IncidentUpdate": 1, "WrongState": 3}
    assert Dispatch.objects.count() == 2
    assert publishing.sent_hash(fresh(update)) == fresh(update).approved_hash


def test_two_workers_share_the_work_and_double_nothing(update, monkeypatch, settings):
    settings.DELIVERY_BATCH_SIZE = settings.DELIVERY_FIRST_BATCH_SIZE = 20
    settings.DELIVERY_WAVE_SIZE = 10

    class Mine(Scripted):
        ledger: list[str] = []

    monkeypatch.setattr(providers, "get", lambda key: Mine)
    update.approve(make.communications_manager())
    update.publish(update.author)
    one = publishing.dispatches(update).get(locale="en")
    at_once(*(lambda: publishing.expand(Dispatch.objects.get(pk=one.pk)) for _n in range(3)))
    assert sum(one.batches.values_list("size", flat=True)) == 300
    at_once(*(lambda: delivery.run_channel(one.channel_id, 30) for _n in range(4)))
    assert Delivery.objects.filter(dispatch=one, status="sent").count() == 300
    assert max(Counter(Mine.ledger).values()) == 1
    assert len(Mine.ledger) == 300


def test_of_those_who_retry_the_failed_one_does_and_nobody_is_queued_twice(update):
    approver = make.communications_manager()
    update.approve(approver, typed_count=update.reach().total)
    update.publish(approver)
    make.deliver()
    failed = list(Delivery.objects.values_list("pk", flat=True)[:40])
    Delivery.objects.filter(pk__in=failed).update(status="failed", code="554")
    people = [make.incident_manager() for _n in range(3)]
    results = at_once(*(lambda who=who: fresh(update).retry(who, update.channels.get()) for who in people))
    assert sorted(map(type, results), key=str) == sorted([int, WrongState, WrongState], key=str)
    assert [r for r in results if isinstance(r, int)] == [40]
    queued = [i for ids in Batch.objects.filter(repeats=True).values_list("recipient_ids", flat=True) for i in ids]
    assert len(queued) == len(set(queued)) == 40
    assert update.decisions.filter(verb=Decision.Verb.RETRY).count() == 1
