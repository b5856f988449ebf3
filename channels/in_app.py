"""What an app of one's own is told: the newest notice of each thread, and the script that shows it.

docs/reference/in-app.md describes both.
"""

import gzip
from collections.abc import Collection
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.translation import get_supported_language_variant
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import conditional_page, require_POST, require_safe

from . import counting
from .models import Notice

SCRIPT = settings.BASE_DIR / "static/portal/in-app.js"
MAX_COMPONENTS = 100  # of one query

# The languages of one update are stored one after the other; what is further apart is another update.
ONE_UPDATE = timedelta(minutes=2)


def newest(locale: str, components: Collection[str] = ()) -> list[Notice]:
    """The newest notice of each thread of the last IN_APP_HOURS, newest first.

    In the asked language, else in the default one, which also wins where it alone has later news. With `components`
    (public ids) only what is about one of them, or names none.
    """
    found: dict[str, dict[str, Notice]] = {}
    for one in Notice.current().filter(locale__in={locale, settings.LANGUAGE_CODE}).order_by("-at", "-pk"):
        found.setdefault(one.thread, {}).setdefault(one.locale, one)
    chosen = [_better(by_locale.get(locale), by_locale.get(settings.LANGUAGE_CODE)) for by_locale in found.values()]
    wanted = [one for one in chosen if _concerns(one, components)]
    return sorted(wanted, key=lambda one: (one.at, one.pk), reverse=True)


def _concerns(one: Notice, components: Collection[str]) -> bool:
    named = one.facts.get("components", ())
    return not components or not named or any(uid in components for uid in named)


def _better(asked: Notice | None, default: Notice | None) -> Notice:
    if asked and (not default or default.at - asked.at <= ONE_UPDATE):
        return asked
    assert default
    return default


def document(locale: str, components: Collection[str] = ()) -> dict[str, Any]:
    return {
        "version": 1,
        "language": locale,
        "notices": [
            {
                "id": one.key,
                "thread": one.thread,
                "language": one.locale,
                "subject": one.subject,
                "text": one.text,
                "url": one.url,
                "at": timezone.localtime(one.at).isoformat(timespec="milliseconds"),
                "components": one.facts.get("components", []),
                "stage": one.facts.get("stage", ""),
                "impact": one.facts.get("impact", ""),
                "over": one.facts.get("over", False),
            }
            for one in newest(locale, components)
        ],
    }


def view(request: HttpRequest) -> HttpResponse:
    """Serve the notices to anybody, from any site; ?lang= asks for a language, ?components= for those about these."""
    response = _preflight() if request.method == "OPTIONS" else _feed(request)
    # On a 304 as well: a script that sent If-None-Match by itself would not be told of it otherwise.
    response["Access-Control-Allow-Origin"] = "*"
    response["Access-Control-Expose-Headers"] = "ETag"
    return response


def _preflight() -> HttpResponse:
    response = HttpResponse(status=204)
    response["Access-Control-Allow-Methods"] = "GET, HEAD, OPTIONS"
    response["Access-Control-Allow-Headers"] = "If-None-Match, Content-Type"
    response["Access-Control-Max-Age"] = "86400"
    return response


@conditional_page
@require_safe
def _feed(request: HttpRequest) -> HttpResponse:
    counting.tally.write_if_due()
    locale = _language(request.GET.get("lang", ""))
    components = frozenset(filter(None, request.GET.get("components", "").split(",", MAX_COMPONENTS)[:MAX_COMPONENTS]))
    response = JsonResponse(document(locale, components), json_dumps_params={"ensure_ascii": False})
    response["Cache-Control"] = "public, max-age=5"
    response["Content-Language"] = locale
    return response


def _language(asked: str) -> str:
    """The language that is spoken here and fits best: it for it-CH, the default one for what is not known."""
    try:
        return get_supported_language_variant(asked.lower())
    except LookupError:
        return settings.LANGUAGE_CODE


# ── The script ──────────────────────────────────────────────────────────────


def script(request: HttpRequest) -> HttpResponse:
    """Serve static/portal/in-app.js to pages of other sites. It needs no database."""
    response = _script_response(request)
    response["Access-Control-Allow-Origin"] = "*"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


@conditional_page
@require_safe
def _script_response(request: HttpRequest) -> HttpResponse:
    plain, zipped, digest = _script(SCRIPT.stat().st_mtime_ns)
    as_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
    response = HttpResponse(zipped if as_gzip else plain, content_type="text/javascript; charset=utf-8")
    if as_gzip:
        response["Content-Encoding"] = "gzip"
    response["ETag"] = f'"{digest}{"-gz" if as_gzip else ""}"'
    response["Cache-Control"] = "public, max-age=300, stale-while-revalidate=86400, stale-if-error=604800"
    response["X-Content-Type-Options"] = "nosniff"
    patch_vary_headers(response, ["Accept-Encoding"])
    return response


@lru_cache(1)
def _script(_modified: int) -> tuple[bytes, bytes, str]:
    plain = SCRIPT.read_bytes()
    return plain, gzip.compress(plain, 9, mtime=0), sha256(plain).hexdigest()[:32]


@require_safe
def product(request: HttpRequest) -> HttpResponse:
    """In the demo: a page of an imaginary customer that includes the script."""
    if not settings.PORTAL_DEMO:
        raise Http404
    return render(request, "channels/product.html")


# ── What it tells us ────────────────────────────────────────────────────────


@csrf_exempt  # it comes from other sites, without a cookie, and changes nothing but a number
@require_POST
def seen(request: HttpRequest) -> HttpResponse:
    """POST {"event": "shown" or "dismissed", "ids": [id, …]}: count it. The answer is always the same."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isdecimal() and int(length) <= counting.MAX_BODY and counting.tally.may_hear():
        counting.tally.hear(request.read(counting.MAX_BODY))
    response = HttpResponse(status=204)
    response["Access-Control-Allow-Origin"] = "*"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response
