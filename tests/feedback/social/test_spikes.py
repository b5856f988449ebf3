"""Far more complaints than usual propose an incident; nothing is declared, and nobody is told twice."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from feedback import tasks
from feedback.models import SocialPost
from feedback.social import spikes
from feedback.social.taking_in import take_in
from incidents.models import Alert, AlertSource, Incident, Proposal
from tests import make

from .world import heard, inbox, watched

pytestmark = pytest.mark.django_db


@pytest.fixture
def component():
    return watched()


def complain(count, minutes_ago=1.0, words="#examplepay is not working", author=""):
    at = timezone.now() - timedelta(minutes=minutes_ago)
    source = inbox()
    take_in(source, [heard(words, at, author) for _n in range(count)])


def test_a_spike_proposes_an_incident_once(component):
    complain(10)
    tasks.sweep_social()
    tasks.sweep_social()
    [proposal] = Proposal.objects.all()
    assert proposal.state == Proposal.State.OPEN
    assert proposal.title == "Many complain about Example Pay"
    assert [(one.component, one.status) for one in proposal.proposed.all()] == [(component, "degraded_performance")]
    [alert] = Alert.objects.all()
    assert (alert.count, alert.summary) == (2, "10 negative posts in 10 minutes.")
    assert not Incident.objects.exists()


@pytest.mark.parametrize(
    ("count", "words", "author"),
    [
        (7, "#examplepay is not working", ""),  # too few
        (30, "#examplepay is not working", "the same one"),  # one person with a grudge
        (30, "#examplepay works fine, thank you", ""),
        (30, "where is the office of #examplepay?", ""),
    ],
)
def test_what_is_no_spike_proposes_nothing(component, count, words, author):
    complain(count, words=words, author=author)
    spikes.look()
    assert not Proposal.objects.exists()


def test_praise_for_the_greater_part_is_no_spike(component):
    complain(10)
    complain(15, words="#examplepay works fine, thank you")
    spikes.look()
    assert not Proposal.objects.exists()


def test_what_is_usual_is_no_spike(component):
    for window in range(1, 144):
        complain(8 if window % 2 else 12, minutes_ago=10 * window + 5)
    complain(13)
    spikes.look()
    assert not Proposal.objects.exists()
    complain(25)
    spikes.look()
    assert Proposal.objects.exists()


def test_a_spike_of_this_morning_hides_none_of_the_afternoon(component):
    complain(200, minutes_ago=6 * 60)
    complain(10)
    spikes.look()
    assert Proposal.objects.exists()


def test_an_open_incident_of_the_component_takes_it(component):
    incident = make.incident(None, component)
    complain(10)
    spikes.look()
    assert not Proposal.objects.exists()
    assert Alert.objects.get().incident == incident


def test_it_is_over_when_they_no_longer_complain(component):
    complain(10, minutes_ago=1)
    spikes.look()
    spikes.look(timezone.now() + timedelta(minutes=30))
    assert Alert.objects.get().state == Alert.State.RESOLVED
    assert Proposal.objects.get().state == Proposal.State.OPEN  # a person decides


def test_whoever_wants_none_of_it_switches_its_source_off(component):
    complain(10)
    spikes.look()
    Proposal.objects.all().delete()
    Alert.objects.all().delete()
    AlertSource.objects.update(enabled=False)
    spikes.look()
    assert not Proposal.objects.exists()


def test_nobody_can_post_alerts_in_its_name(component, client):
    complain(10)
    spikes.look()
    source = AlertSource.objects.get()
    assert client.post(f"/alerts/{source.uid}/", b"{}", content_type="application/json").status_code == 404


def test_posts_that_could_not_be_read_count_for_nothing(component):
    words = "#examplepay: la aplicación no funciona desde hoy y nadie contesta"
    take_in(inbox(), [replace(heard(words), language="es") for _n in range(30)])
    assert set(SocialPost.objects.values_list("label", flat=True)) == {"unread"}
    spikes.look()
    assert not Proposal.objects.exists()
