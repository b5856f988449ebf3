"""Different people whom an incident reached: at once where they are few, by a worker where they are many."""

import pytest
from django.core.cache import cache
from django.urls import reverse

from channels.models import Delivery, Dispatch
from feedback import people, tasks
from feedback.models import PeopleTold
from tests import make

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def asked(monkeypatch) -> list:
    """What workers were asked to do."""
    found: list = []
    monkeypatch.setattr("feedback.people.queue.enqueue", lambda *task: found.append(task))
    return found


@pytest.fixture
def incident(shared_world):
    cache.clear()
    author, approver = make.incident_manager(), make.communications_manager()
    make.plan(make.channel(), make.channel(name="Second"), locales=("en",))
    component = make.component()
    make.recipients(5, component)
    one = make.incident(author, component)
    make.published(one.updates.get(), approver)
    make.deliver()
    assert Delivery.objects.count() == 10
    return one


def test_a_few_are_counted_at_once(incident, asked, django_assert_num_queries):
    with django_assert_num_queries(2):
        assert people.people(incident) == (5, 5, None)
    assert asked == []


def test_many_are_counted_by_a_worker_who_is_asked_once(incident, asked, monkeypatch):
    monkeypatch.setattr(people, "AT_ONCE", 9)
    assert people.people(incident) == (None, None, None)
    assert people.people(incident) == (None, None, None)
    assert asked == [("feedback.tasks.count_people", incident.pk)]
    tasks.count_people(incident.pk)
    assert people.people(incident) == (5, 5, None)
    assert len(asked) == 1


def test_what_was_counted_holds_until_an_outcome_changes(incident, asked, monkeypatch):
    monkeypatch.setattr(people, "AT_ONCE", 9)
    tasks.count_people(incident.pk)
    counted = PeopleTold.objects.get()
    Delivery.objects.filter(recipient=Delivery.objects.earliest("pk").recipient).update(status="failed")
    reached, everybody, as_of = people.people(incident)
    assert (reached, everybody, as_of) == (5, 5, counted.counted_at)
    assert len(asked) == 1
    tasks.count_people(incident.pk)
    assert people.people(incident) == (4, 5, None)


def test_counting_again_what_still_holds_asks_little(incident, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(people, "AT_ONCE", 9)
    tasks.count_people(incident.pk)
    with django_assert_num_queries(3):
        tasks.count_people(incident.pk)
    tasks.count_people(0)  # an incident that is gone


def test_the_report_says_that_it_is_being_counted_and_as_of_when(incident, asked, monkeypatch):
    monkeypatch.setattr(people, "AT_ONCE", 9)
    reader = make.client(make.user("Managers", "All components"))
    here = reverse("admin:feedback_report_incident", args=[incident.pk])
    assert "is being counted" in reader.get(here).content.decode()
    csv = reader.get(reverse("admin:feedback_report_incident_csv", args=[incident.pk])).content.decode("utf-8-sig")
    assert "Different people reached,,,people" in csv
    tasks.count_people(incident.pk)
    assert "reached 5 of the 5 people" in " ".join(reader.get(here).content.decode().split())
    Dispatch.objects.latest("pk").deliveries.update(status="failed")
    assert "it is being counted again" in reader.get(here).content.decode()
