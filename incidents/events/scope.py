"""What a person may be told of the stream, and how an event is written for them: CloudEvents 1.0 in JSON."""

import uuid
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from incidents.models import Component, EventSubscription, Incident, IncidentComponent, OutgoingEvent
from incidents.models.component import OPERATE, VIEW
from incidents.models.event import TEST

MOST = 500
# What it takes to be told of events whose names begin so, besides seeing incidents.
NEEDS = {"update.": "incidents.view_incidentupdate", "runbook.": "incidents.view_runbook"}


def visible(user: Any) -> QuerySet[OutgoingEvent]:
    """The events of incidents that this person may see now, whatever they might when it happened."""
    found = OutgoingEvent.objects.order_by("number")
    if not user.is_active or not user.has_perm("incidents.view_incident"):
        return found.none()
    for begins, permission in NEEDS.items():
        if not user.has_perm(permission):
            found = found.exclude(type__startswith=begins)
    if not sees_all(user):
        found = found.filter(incident__in=Incident.objects.for_user(user).order_by().values("pk"))
    return found


def wanted(subscription: EventSubscription) -> QuerySet[OutgoingEvent]:
    """Those that a subscription is told: what it chose, of what its owner may see."""
    found = visible(subscription.owner)
    if subscription.types:
        found = found.filter(type__in=subscription.types)
    if chosen := [one.pk for one in subscription.components.all()]:
        hit = IncidentComponent.objects.filter(component__in=chosen).order_by().values("incident")
        found = found.filter(incident__in=hit)
    return found


def sees_all(user: Any) -> bool:
    return user.has_perm(VIEW) or user.has_perm(OPERATE)


def components_of(user: Any) -> set[int] | None:
    """Keys of the components that this person may be told of; None if that is all."""
    if sees_all(user):
        return None
    return set(Component.objects.for_user(user).order_by().values_list("pk", flat=True))


def after(user: Any, number: int, limit: int = 100) -> list[dict[str, Any]]:
    """The next events after this number that a person may see, oldest first, MOST at most. Changes nothing.

    Each has its number in `data`: the last one's is the next `number`. A constant number of queries.
    """
    mine = components_of(user)
    found = visible(user).filter(number__gt=max(0, number))[: max(1, min(limit, MOST))]
    return [body(one, mine) for one in found]


def body(event: OutgoingEvent, mine: set[int] | None) -> dict[str, Any]:
    """An event as it is sent; of its components those of `mine` alone (None: all).

    `sequence` is that of the CloudEvents extension: texts in the order of the numbers.
    """
    components = [
        {name: value for name, value in one.items() if name != "key"}
        for one in event.components
        if mine is None or one["key"] in mine
    ]
    return {
        "specversion": "1.0",
        "id": event.uid,
        "source": settings.PORTAL_URL,
        "type": event.type,
        "subject": f"incidents/{event.data['incident']}",
        "time": event.at.isoformat(),
        "datacontenttype": "application/json",
        "sequence": f"{event.number:018d}",
        "data": {"number": event.number, **event.data, "components": components},
    }


def test_body(subscription: EventSubscription) -> dict[str, Any]:
    """What “Try it” sends: of no incident, and in no place of the stream."""
    return {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,
        "source": settings.PORTAL_URL,
        "type": TEST,
        "subject": f"subscriptions/{subscription.uid}",
        "time": timezone.now().isoformat(),
        "datacontenttype": "application/json",
        "data": {"subscription": subscription.name},
    }


def for_subscription(event: OutgoingEvent, subscription: EventSubscription) -> dict[str, Any]:
    return body(event, components_of(subscription.owner))
