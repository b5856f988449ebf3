"""What readers see. No login, no cookie, no script; the language comes from ?lang= or the browser."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from itertools import groupby
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Count
from django.db.models.functions import TruncMonth
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import trans_real
from django.views.decorators.http import conditional_page, require_safe

from incidents.models import IncidentUpdate, UpdatePicture
from incidents.models.incident import component_states

from . import structured
from .caching import cached
from .facts import Board, PublicIncident, overview, public, read
from .uptime import read_uptime

# Months are put together on one page of the archive until they hold this many incidents.
PER_PAGE = 20


def language(request: HttpRequest) -> str:
    """The reader's language: ?lang=, else Accept-Language, else the default. Never a cookie: pages are shared."""
    if (asked := request.GET.get("lang")) in dict(settings.LANGUAGES):
        return str(asked)
    return accepted_language(request.headers.get("Accept-Language", ""))


def accepted_language(header: str) -> str:
    """The first language of an Accept-Language header that there is, else the default."""
    for code, _weight in trans_real.parse_accept_lang_header(header):
        try:
            return translation.get_supported_language_variant(code)
        except LookupError:
            continue
    return settings.LANGUAGE_CODE


def public_page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page for everybody: in the reader's language, cacheable, answered with 304 while nothing changed."""

    @conditional_page
    @require_safe
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        chosen = language(request)
        with translation.override(chosen):
            response = cached(view(request, *args, **kwargs))
        response["Content-Language"] = chosen
        patch_vary_headers(response, ["Accept-Language"])
        return response

    return wrapper


def page_context(request: HttpRequest) -> dict[str, Any]:
    """What the frame of every page shows."""
    chosen = request.GET.get("lang")
    return {
        # Every link keeps the language that was asked for.
        "lang_query": f"?lang={chosen}" if chosen in dict(settings.LANGUAGES) else "",
        "languages": [(code, translation.get_language_info(code)["name_local"]) for code, _n in settings.LANGUAGES],
        "timezone_name": settings.TIME_ZONE,
    }


def _render(request: HttpRequest, name: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    return render(request, f"statuspage/{name}.html", {**page_context(request), **context}, status=status)


@public_page
def index(request: HttpRequest) -> HttpResponse:
    """The state of everything, open incidents first."""
    shown = overview()
    context = {
        "overview": shown,
        "uptimes": read_uptime(shown.board.components),
        "shown_updates": ":5",
        "brief": True,
        "structured": structured.front_page(shown),
        "address": "/",
    }
    return _render(request, "index", context)


@public_page
def incident(request: HttpRequest, uid: str) -> HttpResponse:
    """One incident with all that was said. What was never published does not exist here: 404."""
    found = read(public().filter(uid=uid))
    if not found:
        return _render(request, "missing", {"address": f"/incidents/{uid}/"}, status=404)
    one = found[0]
    context = {
        "one": one,
        "board": Board(one.components, component_states()),
        "shown_updates": ":",
        "structured": structured.incident_page(one),
        "address": f"/incidents/{uid}/",
    }
    return _render(request, "incident", context)


@conditional_page
@require_safe
def picture(request: HttpRequest, name: str) -> HttpResponse:
    """A picture of a published update. Its name is its content, so that it may be kept for ever."""
    sha256 = name.partition(".")[0]
    published = UpdatePicture.objects.filter(picture=sha256, update__status=IncidentUpdate.Status.PUBLISHED)
    shown = published.select_related("picture").first()
    if shown is None or shown.picture.filename != name:
        raise Http404
    response = HttpResponse(bytes(shown.picture.content), content_type=shown.picture.content_type)
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["ETag"] = f'"{sha256}"'
    return response


@public_page
def history(request: HttpRequest) -> HttpResponse:
    """The archive, newest first: whole months, as many as make a page."""
    counted = public().annotate(month=TruncMonth("started_at")).values_list("month")
    pages = Paginator(_pack(list(counted.annotate(count=Count("pk")).order_by("-month"))), 1)
    page = pages.get_page(request.GET.get("page"))
    months = [month for packed in page.object_list for month in packed]
    found = read(public().filter(started_at__gte=months[-1], started_at__lt=_after(months[0]))) if months else []
    context = {
        "page": page,
        "months": [(month, list(rows)) for month, rows in groupby(found, key=_month)],
        "years": _years(pages),
        "address": "/history/",
    }
    return _render(request, "history", context)


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
