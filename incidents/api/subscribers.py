"""Subscribers: list, look at, add with the source of their consent, unsubscribe."""

from datetime import datetime
from typing import Annotated, Any

from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from channels.addresses import normalise
from channels.models import Medium, Recipient, Suppression
from channels.secrets import address_hash
from incidents import enrolling
from incidents.models import Component, Subscription
from incidents.subscriber_file import MEDIA
from incidents.writing import BadField

from .access import Bearer, need
from .given import Day, Flag, Given, Key, Line, Locale, OneOf, SeverityWord, Uid
from .once import KeyHeader, once
from .paging import Cursor, Limit, Page, portion

router = Router(tags=["subscribers"])
READ, WRITE = Bearer("subscribers:read"), Bearer("subscribers:write")
MediumWord = Annotated[str, OneOf(*MEDIA)]
AnyMedium = Annotated[str, OneOf(*(one for one in Medium.values if one != Medium.BROADCAST))]
LongLine = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]


class SubscriptionOut(Schema):
    """To one component, or to one group, or (both null) to everything."""

    component: str | None
    group: str | None
    least_severity: str
    maintenance: bool


class SubscriberOut(Schema):
    """Written to if `confirmed_at` is set and it is not `stopped`. Of components only those that the person sees."""

    id: int
    medium: str
    address: str
    name: str
    locale: str
    time_zone: str
    attributes: dict[str, Any]
    consent_source: str
    confirmed_at: datetime | None
    stopped: bool
    subscriptions: list[SubscriptionOut]
    created_at: datetime


class SubscriberPage(Page):
    items: list[SubscriberOut]


class SubscriberIn(Given):
    """Without components and groups they hear of everything."""

    medium: MediumWord
    address: LongLine
    consent_source: Line
    consent_on: Day
    name: Annotated[Line, Field(max_length=120)] = ""
    locale: Locale | None = None
    time_zone: Annotated[Line, Field(max_length=40)] | None = None
    attributes: Annotated[dict[Line, Line | list[Line]], Field(default_factory=dict, max_length=50)]
    components: Annotated[list[Uid], Field(default_factory=list, max_length=200)]
    groups: Annotated[list[Uid], Field(default_factory=list, max_length=200)]
    least_severity: SeverityWord = "sev4"
    maintenance: Flag = True


class UnsubscribeIn(Given):
    detail: Line = ""


class Filters(Given):
    medium: AnyMedium | None = None
    address: LongLine | None = None
    stopped: bool | None = None
    cursor: Cursor = ""
    limit: Limit = 50


def rows(user: Any) -> QuerySet[Any]:
    """As the list of recipients has them; what a browser's keys are is nobody's to read."""
    seen = Component.objects.for_user(user).order_by().values("pk")
    shown = Subscription.objects.select_related("component", "group").order_by("pk")
    shown = shown.filter(component=None) | shown.filter(component__in=seen)
    people = Recipient.objects.exclude(medium=Medium.BROADCAST).defer("signing")
    return people.annotate(is_stopped=Suppression.of_recipient()).prefetch_related(Prefetch("subscriptions", shown))


def _visible(request: HttpRequest, pk: int) -> Any:
    user = need(request, "channels.view_recipient", "see subscribers")
    found = rows(user).filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def shown(one: Any) -> SubscriberOut:
    return SubscriberOut(
        id=one.pk,
        medium=one.medium,
        address=one.address,
        name=one.name,
        locale=one.locale,
        time_zone=one.time_zone,
        attributes={} if one.medium == Medium.WEBPUSH else one.attributes,
        consent_source=one.consent_source,
        confirmed_at=one.confirmed_at,
        stopped=one.is_stopped,
        subscriptions=[
            SubscriptionOut(
                component=each.component.uid if each.component else None,
                group=each.group.uid if each.group else None,
                least_severity=each.least_severity,
                maintenance=each.maintenance,
            )
            for each in one.subscriptions.all()
        ],
        created_at=one.created_at,
    )


@router.get("/subscribers", response=SubscriberPage, auth=READ, operation_id="list_subscribers")
def list_subscribers(request: HttpRequest, filters: Query[Filters]) -> SubscriberPage:
    """The last added first. `address`: exactly this one, however it is written; needs `medium`."""
    found = rows(need(request, "channels.view_recipient", "see subscribers"))
    if filters.medium:
        found = found.filter(medium=filters.medium)
    if filters.address is not None:
        if not filters.medium:
            raise BadField("medium", "", "Say of which medium the address is.")
        try:
            address = normalise(filters.medium, filters.address)
        except ValueError as error:
            raise BadField("address", filters.address, str(error)) from None
        found = found.filter(address_hash=address_hash(filters.medium, address))
    if filters.stopped is not None:
        found = found.filter(is_stopped=filters.stopped)
    items, after = portion(found, filters.cursor, filters.limit)
    return SubscriberPage(items=[shown(one) for one in items], next_cursor=after)


@router.get("/subscribers/{pk}", response=SubscriberOut, auth=READ, operation_id="get_subscriber")
def get_subscriber(request: HttpRequest, pk: Key) -> SubscriberOut:
    """One subscriber."""
    return shown(_visible(request, pk))


@router.post("/subscribers", response={201: SubscriberOut}, auth=WRITE, operation_id="add_subscriber")
def add(request: HttpRequest, given: SubscriberIn, key: KeyHeader = None) -> HttpResponse:
    """Add somebody who agreed, and say what says so. A known or stopped address is refused (409)."""
    user = need(request, "channels.add_recipient", "add subscribers")
    how = given.model_dump(exclude={"locale", "time_zone"})

    def make() -> Recipient:
        return enrolling.enrol(user, locale=given.locale or "", time_zone=given.time_zone or "", **how)

    return once(request, key, lambda: rows(user), make, lambda one: shown(rows(user).get(pk=one.pk)))


@router.post("/subscribers/{pk}/unsubscribe", response=SubscriberOut, auth=WRITE, operation_id="unsubscribe")
def unsubscribe(request: HttpRequest, pk: Key, given: UnsubscribeIn) -> SubscriberOut:
    """Stop the address, as its owner asked. Only they lift that; doing it again changes nothing."""
    person = _visible(request, pk)
    enrolling.unsubscribe(request.user, person, given.detail)
    return shown(_visible(request, pk))
