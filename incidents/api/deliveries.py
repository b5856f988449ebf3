"""What became of the messages of an update: counted by channel and language, and for each recipient."""

from datetime import datetime
from typing import Annotated, Any

from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpRequest
from ninja import Query, Router, Schema

from channels.models import Channel, Delivery, Dispatch, Recipient
from channels.progress import progress_of
from channels.reasons import explain
from incidents import publishing
from incidents.models import IncidentUpdate

from .access import Bearer, need
from .given import Given, Key, OneOf
from .incidents import Named
from .paging import Cursor, Limit, Page, portion

router = Router(tags=["deliveries"])
READ = Bearer("deliveries:read")
OutcomeWord = Annotated[str, OneOf(*Delivery.Status.values)]
PurposeWord = Annotated[str, OneOf(*Dispatch.Purpose.values)]


class Reason(Schema):
    status: str
    code: str
    words: str
    people: int


class ProgressOut(Schema):
    """Counts are people. `via`: the channel that took over, if one did."""

    id: int
    channel: Named
    via: Named
    locale: str
    purpose: str
    total: int
    reached: int
    failed: int
    unknown: int
    skipped: int
    waiting: int
    finished: bool
    stopped_at: datetime | None
    last_at: datetime | None
    reasons: list[Reason]


class DeliveriesOut(Schema):
    update: int
    finished: bool
    dispatches: list[ProgressOut]


class OutcomeOut(Schema):
    """`recipient` and `address` are null for somebody who was erased."""

    id: int
    dispatch: int
    channel: Named
    locale: str
    purpose: str
    recipient: int | None
    address: str | None
    status: str
    code: str
    detail: str
    attempts: int
    at: datetime


class OutcomePage(Page):
    items: list[OutcomeOut]


class Filters(Given):
    status: OutcomeWord | None = None
    purpose: PurposeWord | None = None
    cursor: Cursor = ""
    limit: Limit = 50


def _update(request: HttpRequest, pk: int) -> IncidentUpdate:
    """As the delivery page has it."""
    user = need(request, "channels.view_dispatch", "see deliveries")
    found = IncidentUpdate.objects.for_user(user).select_related("incident").filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


@router.get("/updates/{pk}/deliveries", response=DeliveriesOut, auth=READ, operation_id="get_deliveries")
def deliveries(request: HttpRequest, pk: Key) -> DeliveriesOut:
    """How far the sending is; empty before the update is published."""
    found = progress_of(publishing.dispatches(_update(request, pk)))
    return DeliveriesOut(
        update=pk, finished=all(one.finished for one in found), dispatches=[_progress(one) for one in found]
    )


def _progress(one: Any) -> ProgressOut:
    reasons = [
        Reason(status=status, code=code, words=str(explain(code).words), people=people)
        for (status, code), people in sorted(one.reasons.items())
    ]
    return ProgressOut(
        id=one.dispatch.pk,
        channel=Named.of(one.dispatch.channel),
        via=Named.of(one.dispatch.via),
        locale=one.dispatch.locale,
        purpose=one.dispatch.purpose,
        total=one.total,
        reached=one.reached,
        failed=one.failed,
        unknown=one.unknown,
        skipped=one.counts.get(Delivery.Status.SKIPPED, 0),
        waiting=one.waiting,
        finished=one.finished,
        stopped_at=one.dispatch.cancelled_at,
        last_at=one.last_at,
        reasons=reasons,
    )


@router.get("/updates/{pk}/outcomes", response=OutcomePage, auth=READ, operation_id="list_outcomes")
def outcomes(request: HttpRequest, pk: Key, filters: Query[Filters]) -> OutcomePage:
    """What became of each recipient, the last recorded first. Needs the permission to see recipients."""
    update = _update(request, pk)
    need(request, "channels.view_delivery", "see single deliveries")
    need(request, "channels.view_recipient", "see subscribers")
    dispatches = {one.pk: one for one in publishing.dispatches(update)}
    channels = Channel.objects.in_bulk({one.channel_id for one in dispatches.values()})
    wanted = [pk for pk, one in dispatches.items() if filters.purpose in (None, one.purpose)]
    person = Recipient.objects.filter(pk=OuterRef("recipient_id"))
    found = Delivery.objects.filter(dispatch__in=wanted).annotate(address=Subquery(person.values("address")[:1]))
    if filters.status:
        found = found.filter(status=filters.status)
    items, after = portion(found, filters.cursor, filters.limit)
    return OutcomePage(items=[_outcome(one, dispatches[one.dispatch_id], channels) for one in items], next_cursor=after)


def _outcome(one: Any, dispatch: Dispatch, channels: dict[int, Channel]) -> OutcomeOut:
    channel = channels[dispatch.channel_id]
    return OutcomeOut(
        id=one.pk,
        dispatch=dispatch.pk,
        channel=Named.of(channel),
        locale=dispatch.locale,
        purpose=dispatch.purpose,
        recipient=one.recipient_id if one.address is not None else None,
        address=one.address,
        status=one.status,
        code=one.code,
        detail=channel.mask(one.detail),
        attempts=one.attempts,
        at=one.at,
    )
