"""How many different people an incident's updates reached.

Counting a few thousand takes no time. Millions take seconds: a worker counts those, and what it found holds as long as
no delivery has another outcome since.
"""

from datetime import datetime
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from channels import providers, queue, tally
from channels.models import Delivery, Dispatch
from incidents.models import Incident

from .models import PeopleTold

AT_ONCE = 50_000  # deliveries that a page counts itself
ASK_AGAIN_SECONDS = 60
COUNT_PEOPLE = "feedback.tasks.count_people"


class People(NamedTuple):
    """`reached` of `all` to whom something was sent; `as_of` where that is not of this moment.

    None for both while they are being counted for the first time.
    """

    reached: int | None
    all: int | None
    as_of: datetime | None = None


def people(incident: Incident) -> People:
    """Those of one incident. Asks a worker to count where there are very many, in at most four queries."""
    standing = _standing(incident)
    if standing["total"] <= AT_ONCE:
        return People(*count_now(incident))
    known = PeopleTold.objects.filter(incident=incident).first()
    if known and _of(known) == standing:
        return People(known.reached, known.people)
    # Whoever reloads the page does not fill the queue.
    if cache.add(f"people:{incident.pk}", True, ASK_AGAIN_SECONDS):
        queue.enqueue(COUNT_PEOPLE, incident.pk)
    return People(known.reached, known.people, known.counted_at) if known else People(None, None)


def count(incident_id: int) -> None:
    """Count and remember, unless what is known still holds. Running it twice is harmless."""
    incident = Incident.objects.filter(pk=incident_id).first()
    if incident is None:
        return
    # Read first: what is recorded meanwhile makes it be counted again.
    standing, now = _standing(incident), timezone.now()
    known = PeopleTold.objects.filter(incident=incident).first()
    if standing["total"] <= AT_ONCE or (known and _of(known) == standing):
        return
    reached, everybody = count_now(incident)
    with transaction.atomic():
        PeopleTold.objects.update_or_create(
            incident=incident, defaults=standing | {"people": everybody, "reached": reached, "counted_at": now}
        )


def _dispatches(incident: Incident) -> QuerySet[Dispatch]:
    """Its messages to people; one that speaks to everybody at once is to nobody in particular."""
    broadcast = [key for key in providers.REGISTRY if providers.get(key).capabilities.broadcast]
    found = Dispatch.objects.filter(thread=incident.thread, purpose=Dispatch.Purpose.UPDATE).order_by()
    return found.exclude(channel__provider__in=broadcast)


def _standing(incident: Incident) -> dict[str, Any]:
    """What changes whenever an outcome does: how many there are, how many of them reached, and the last."""
    rows = list(tally.counted(_dispatches(incident).values("pk")))
    return {
        "total": sum(one.people for one in rows),
        "reached_total": sum(one.people for one in rows if one.status in Delivery.REACHED),
        "last_at": max((one.last_at for one in rows if one.last_at), default=None),
    }


def _of(known: PeopleTold) -> dict[str, Any]:
    return {"total": known.total, "reached_total": known.reached_total, "last_at": known.last_at}


def count_now(incident: Incident) -> tuple[int, int]:
    """(reached, everybody), however long that takes."""
    found = Delivery.objects.filter(dispatch__in=_dispatches(incident).values("pk")).aggregate(
        reached=Count("recipient_id", distinct=True, filter=Q(status__in=Delivery.REACHED)),
        all=Count("recipient_id", distinct=True),
    )
    return found["reached"], found["all"]
