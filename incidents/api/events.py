"""The stream of events, for programs that ask instead of being told."""

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from incidents.events import scope

from .access import Bearer, need
from .given import BIG, Given

router = Router(tags=["events"])
READ = Bearer("incidents:read")


class EventsOut(Schema):
    """`items`: CloudEvents 1.0, oldest first. `after`: what to ask for next, whether or not there are more."""

    items: list[dict[str, Any]]
    after: int


class Since(Given):
    after: Annotated[int, Field(ge=0, le=BIG)] = 0
    limit: Annotated[int, Field(ge=1, le=scope.MOST)] = 100


@router.get("/events", response=EventsOut, auth=READ, operation_id="list_events")
def list_events(request: HttpRequest, filters: Query[Since]) -> EventsOut:
    """What happened after an event's number, as far as the person may see it."""
    need(request, "incidents.view_incident", "see incidents")
    found = scope.after(request.user, filters.after, filters.limit)
    return EventsOut(items=found, after=found[-1]["data"]["number"] if found else filters.after)
