"""Maintenance as a calendar (RFC 5545), for people who plan around it: one event per piece of maintenance."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.http import conditional_page, require_safe
from icalendar import Calendar, Event, vDuration

from incidents.models.words import one_line, plain

from .caching import cached
from .facts import PublicIncident, page_id, public, read
from .private import scoped
from .scope import EVERYBODY, Scope

LATEST = 50
REFRESH = timedelta(hours=1)


def maintenance(scope: Scope = EVERYBODY) -> bytes:
    """The latest maintenance as iCalendar, in the active language. Three queries."""
    calendar = Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", "-//Commsportal//Status page//EN")
    calendar.add("method", "PUBLISH")
    name = _("%(name)s: maintenance") % {"name": scope.title}
    calendar.add("name", name)  # RFC 7986, 5.1; most programs know only the older word
    calendar.add("x-wr-calname", name)
    calendar.add("refresh-interval", vDuration(REFRESH), parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", vDuration(REFRESH))
    for one in read(public(scope).filter(maintenance=True)[:LATEST], scope):
        calendar.add_component(_event(one))
    return bytes(calendar.to_ical())


def _event(one: PublicIncident) -> Event:
    event = Event()
    event.add("uid", f"{one.incident.uid}@{page_id(one.scope)}.commsportal")
    # A program that has the event takes it in again only under a higher number.
    event.add("sequence", len(one.said) - 1)
    event.add("dtstamp", _utc(one.updated_at))
    event.add("last-modified", _utc(one.updated_at))
    event.add("dtstart", _utc(one.scheduled_for))
    if one.scheduled_until > one.scheduled_for:  # RFC 5545, 3.8.2.2: an end is later than its beginning, or not there
        event.add("dtend", _utc(one.scheduled_until))
    event.add("summary", one_line(one.incident.title))
    event.add("description", plain(one.said[0].words["text"]))
    event.add("url", one.url)
    event.add("status", "CANCELLED" if one.incident.was_cancelled else "CONFIRMED")
    event.add("transp", "TRANSPARENT")  # whoever reads it is not busy meanwhile
    return event


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


@conditional_page
@require_safe
@scoped
def view(request: HttpRequest, scope: Scope) -> HttpResponse:
    """Serve /maintenance.ics in the default language."""
    with translation.override(settings.LANGUAGE_CODE):
        response = cached(HttpResponse(maintenance(scope), content_type="text/calendar; charset=utf-8"))
    response["Content-Language"] = settings.LANGUAGE_CODE
    return response
