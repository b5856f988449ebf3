"""What every page of readers has in common: their language, and what stands around the words."""

from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import trans_real

from commsportal import zones

from . import brand
from .scope import EVERYBODY, Scope


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


def page_context(request: HttpRequest, scope: Scope = EVERYBODY) -> dict[str, Any]:
    """What the frame of every page shows."""
    chosen = request.GET.get("lang")
    return {
        "scope": scope,
        "logo": brand.logo(),
        "branded": brand.is_set(),
        # Of the others nobody is asked who they are: their pages are the same for all.
        "reader": request.user if scope.private and not scope.by_link else None,
        # Every link keeps the language that was asked for.
        "lang_query": f"?lang={chosen}" if chosen in dict(settings.LANGUAGES) else "",
        "languages": [(code, translation.get_language_info(code)["name_local"]) for code, _n in settings.LANGUAGES],
        "timezone_name": settings.TIME_ZONE,
        # When the page is drawn, in its language.
        "zone_in_words": partial(zones.in_words, settings.TIME_ZONE),
    }
