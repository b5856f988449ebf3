"""What an app of one's own is told: the newest notice of each thread (docs/reference/in-app.md)."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.translation import get_supported_language_variant
from django.views.decorators.http import conditional_page, require_safe

from .models import Notice

# The languages of one update are stored one after the other; what is further apart is another update.
ONE_UPDATE = timedelta(minutes=2)


def newest(locale: str) -> list[Notice]:
    """The newest notice of each thread of the last IN_APP_HOURS, newest first.

    In the asked language, else in the default one, which also wins where it alone has later news.
    """
    since = timezone.now() - timedelta(hours=settings.IN_APP_HOURS)
    found: dict[str, dict[str, Notice]] = {}
    for one in Notice.objects.filter(at__gte=since, locale__in={locale, settings.LANGUAGE_CODE}).order_by("-at", "-pk"):
        found.setdefault(one.thread, {}).setdefault(one.locale, one)
    chosen = [_better(by_locale.get(locale), by_locale.get(settings.LANGUAGE_CODE)) for by_locale in found.values()]
    return sorted(chosen, key=lambda one: (one.at, one.pk), reverse=True)


def _better(asked: Notice | None, default: Notice | None) -> Notice:
    if asked and (not default or default.at - asked.at <= ONE_UPDATE):
        return asked
    assert default
    return default


def document(locale: str) -> dict[str, Any]:
    return {
        "language": locale,
        "notices": [
            {
                "thread": one.thread,
                "language": one.locale,
                "subject": one.subject,
                "text": one.text,
                "url": one.url,
                "at": timezone.localtime(one.at).isoformat(timespec="milliseconds"),
            }
            for one in newest(locale)
        ],
    }


def view(request: HttpRequest) -> HttpResponse:
    """Serve the notices to anybody, from any site; ?lang= asks for a language."""
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
    locale = _language(request.GET.get("lang", ""))
    response = JsonResponse(document(locale), json_dumps_params={"ensure_ascii": False})
    response["Cache-Control"] = "public, max-age=5"
    response["Content-Language"] = locale
    return response


def _language(asked: str) -> str:
    """The language that is spoken here and fits best: it for it-CH, the default one for what is not known."""
    try:
        return get_supported_language_variant(asked.lower())
    except LookupError:
        return settings.LANGUAGE_CODE
