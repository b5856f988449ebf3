"""Who hears of what: by component, group, severity and maintenance, as it was approved."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from channels.models import Dispatch
from incidents import publishing
from incidents.models import ComponentGroup, Incident, Subscription
from tests import make

pytestmark = pytest.mark.django_db


def subscribed(**how):
    [one] = make.recipients(1)
    one.subscriptions.all().delete()
    Subscription.objects.create(recipient=one, **how)
    return one


def heard(chosen) -> set:
    return set(publishing.subscribers(chosen))


def test_a_group_means_all_its_components_also_later_ones():
    checkout = make.component("Checkout", "Shop")
    one = subscribed(group=checkout.group)
    later, elsewhere = make.component("Basket", "Shop"), make.component("Ledger", "Bank")
    for component in (checkout, later):
        assert heard({"components": [component.pk]}) == {one}
    assert heard({"components": [elsewhere.pk]}) == set()


def test_a_component_without_a_group_reaches_nobody_of_a_group():
    component = make.component()
    subscribed(group=component.group)
    component.group = None
    component.save()
    assert heard({"components": [component.pk]}) == set()


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("sev1", {"sev1", "sev2", "sev3", "sev4"}), ("sev2", {"sev2", "sev3", "sev4"}), ("sev4", {"sev4"})],
)
def test_an_incident_at_least_as_severe_as_wished(severity, expected):
    people = {least: subscribed(least_severity=least) for least in ("sev1", "sev2", "sev3", "sev4")}
    found = heard({"components": [], "severity": severity, "maintenance": False})
    assert {least for least, one in people.items() if one in found} == expected


def test_maintenance_has_no_severity_but_can_be_left_out():
    keen, calm = subscribed(least_severity="sev1"), subscribed(maintenance=False)
    assert heard({"components": [], "severity": "sev4", "maintenance": True}) == {keen}
    assert heard({"components": [], "severity": "sev1", "maintenance": False}) == {keen, calm}


def test_a_recipient_is_found_once_however_often_they_subscribed():
    component = make.component()
    one = subscribed(component=component)
    Subscription.objects.create(recipient=one, group=component.group)
    Subscription.objects.create(recipient=one)
    assert publishing.subscribers({"components": [component.pk]}).count() == 1


def test_what_was_approved_before_there_was_a_choice_reaches_everybody_of_the_component():
    component = make.component()
    people = {subscribed(component=component, least_severity="sev1", maintenance=False), subscribed()}
    assert heard({"components": [component.pk]}) == people


def test_a_subscription_is_to_one_thing_and_once():
    component = make.component()
    one = subscribed(group=component.group)
    for wrong in ({"group": component.group}, {"component": component, "group": component.group}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Subscription.objects.create(recipient=one, **wrong)
    with pytest.raises(ValidationError):
        Subscription(recipient=one, component=component, group=component.group).full_clean()
    Subscription.objects.create(recipient=one)
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.create(recipient=one)


def test_what_was_approved_is_what_is_sent():
    """Severity, maintenance and groups as they were when approval was asked for."""
    make.plan(make.channel())
    component = make.component("Checkout", "Shop")
    told = [subscribed(group=component.group), subscribed(least_severity="sev2")]
    subscribed(least_severity="sev1")
    update = make.incident(make.incident_manager(), component).updates.get()
    update.submit(update.author)
    assert update.reach().total == 2
    Incident.objects.update(severity="sev1", maintenance=True)
    component.group = ComponentGroup.objects.create(name="Bank")
    component.save()
    update.refresh_from_db()
    assert update.reach().total == 2
    approver = make.communications_manager()
    update.approve(approver)
    update.publish(approver)
    one = Dispatch.objects.filter(locale="en").get()
    assert one.audience["severity"] == "sev2"
    assert one.audience["maintenance"] is False
    publishing.expand(one)
    assert sorted(pk for batch in one.batches.all() for pk in batch.recipient_ids) == [p.pk for p in told]


def test_counting_is_one_query(django_assert_num_queries):
    component = make.component()
    subscribed(group=component.group)
    with django_assert_num_queries(1):
        assert publishing.subscribers({"components": [component.pk], "severity": "sev2"}).count() == 1
