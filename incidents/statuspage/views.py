"""What readers see. No login, no cookie, no script; the language comes from ?lang= or the browser."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from itertools import groupby
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Count
from django.db.models.functions import TruncMonth
from django.http import Http404, HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import conditional_page, require_safe

from incidents.models import IncidentUpdate, UpdatePicture
from incidents.models.incident import component_states

from . import graphs, structured
from .caching import cached
from .facts import Board, PublicIncident, overview, public, read
from .frame import language, page_context
from .private import scoped
from .scope import Scope
from .uptime import read_uptime

# Months are put together on one page of the archive until they hold this many incidents.
PER_PAGE = 20


def public_page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page as `view(request, scope, …)` answers it: in the reader's language, with 304 while nothing changed.

    Everybody's is cacheable, a private one is not.
    """

    @conditional_page
    @require_safe
    @scoped
    @wraps(view)
    def wrapper(request: HttpRequest, scope: Scope, *args: Any, **kwargs: Any) -> HttpResponse:
        chosen = language(request)
        with translation.override(chosen):
            response = cached(view(request, scope, *args, **kwargs))
        response["Content-Language"] = chosen
        patch_vary_headers(response, ["Accept-Language"])
        return response

    return wrapper


def _render(request: HttpRequest, scope: Scope, name: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    return render(request, f"statuspage/{name}.html", {**page_context(request, scope), **context}, status=status)


@public_page
def index(request: HttpRequest, scope: Scope) -> HttpResponse:
    """The state of everything, open incidents first."""
    shown = overview(scope)
    context = {
        "overview": shown,
        "uptimes": read_uptime(shown.board.components, scope),
        "shown_updates": ":5",
        "brief": True,
        "beside": graphs.beside(shown.incidents),
        "structured": None if scope.private else structured.front_page(shown),
        "address": "/",
    }
    return _render(request, scope, "index", context)


@public_page
def incident(request: HttpRequest, scope: Scope, uid: str) -> HttpResponse:
    """One incident with all that was said. What was never published does not exist here: 404."""
    found = read(public(scope).filter(uid=uid), scope)
    if not found:
        return _render(request, scope, "missing", {"address": f"/incidents/{uid}/"}, status=404)
    one = found[0]
    context = {
        "one": one,
        "board": Board(one.components, component_states(), scope),
        "shown_updates": ":",
        "beside": graphs.beside([one]),
        "structured": None if scope.private else structured.incident_page(one),
        "address": f"/incidents/{uid}/",
    }
    return _render(request, scope, "incident", context)


@conditional_page
@require_safe
def picture(request: HttpRequest, name: str) -> HttpResponse:
    """A picture of a published update, or of a graph. Its name is its content, so that it may be kept for ever."""
    sha256 = name.partition(".")[0]
    published = UpdatePicture.objects.filter(picture=sha256, update__status=IncidentUpdate.Status.PUBLISHED)
    shown = published.select_related("picture").first()
    if shown and shown.picture.filename == name:
        response = HttpResponse(bytes(shown.picture.content), content_type=shown.picture.content_type)
    elif drawn := graphs.content(name):
        response = HttpResponse(drawn, content_type="image/png")
    else:
        raise Http404
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["ETag"] = f'"{sha256}"'
    return response


@public_page
def history(request: HttpRequest, scope: Scope, number: int = 1) -> HttpResponse:
    """The archive, newest first: whole months, as many as make a page. Of a number that there is not, the nearest."""
    if "page" in request.GET or request.path.endswith("/history/1/"):
        return _history_moved(request, scope)
    pages = archive_pages(scope)
    page = pages.get_page(number)
    found = archive(scope, page.object_list)
    context = {
        "page": page,
        "months": [(month, list(rows)) for month, rows in groupby(found, key=_month)],
        "years": _years(pages),
        "address": f"/history/{page.number}/" if page.number > 1 else "/history/",
    }
    return _render(request, scope, "history", context)


def _history_moved(request: HttpRequest, scope: Scope) -> HttpResponse:
    """?page=2 is /history/2/, so that a file can stand there."""
    asked, chosen = request.GET.get("page", ""), request.GET.get("lang")
    known = asked.isascii() and asked.isdecimal() and len(asked) < 10 and int(asked) > 1
    path = reverse("status-history", args=[int(asked)] if known else [])
    rest = f"?lang={chosen}" if chosen in dict(settings.LANGUAGES) else ""
    return HttpResponsePermanentRedirect(f"{scope.base}{path}{rest}")


def archive_pages(scope: Scope) -> Paginator:
    """Of the archive, newest first; what each holds is for archive()."""
    counted = public(scope).annotate(month=TruncMonth("started_at")).values_list("month")
    return Paginator(_pack(list(counted.annotate(count=Count("pk")).order_by("-month"))), 1)


def archive(scope: Scope, packed: Iterable[list[datetime]]) -> list[PublicIncident]:
    """What a page of the archive shows."""
    months = [month for part in packed for month in part]
    if not months:
        return []
    shown = public(scope).filter(started_at__gte=months[-1], started_at__lt=_after(months[0]))
    return read(shown, scope)


def _month(one: PublicIncident) -> datetime:
    return timezone.localtime(one.incident.started_at).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _after(month: datetime) -> datetime:
    """The beginning of the next month, in the zone of `month`."""
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def _pack(counts: list[tuple[datetime, int]]) -> list[list[datetime]]:
    """Months, newest first, put together until each page holds at least PER_PAGE incidents."""
    pages: list[list[datetime]] = []
    room = 0
    for month, count in counts:
        if room <= 0:
            pages.append([])
            room = PER_PAGE
        pages[-1].append(month)
        room -= count
    return pages


def _years(pages: Paginator) -> list[tuple[int, list[tuple[datetime, int]]]]:
    """[(year, [(month, number of its page)])] for jumping."""
    months = [(month, number) for number, packed in enumerate(pages.object_list, 1) for month in packed]
    return [(year, list(rows)) for year, rows in groupby(months, key=lambda row: row[0].year)]
