"""Time zones as people call them: “Roma, ora dell’Europa centrale” for Europe/Rome."""

from functools import cache

from babel.core import Locale, UnknownLocaleError
from babel.dates import get_timezone, get_timezone_location, get_timezone_name
from django.utils.translation import get_language


def in_words(name: str) -> str:
    """A zone of the IANA database in the active language. English keeps its name, which is English."""
    return _in_words(name, get_language() or "en")


@cache
def _in_words(name: str, language: str) -> str:
    locale = _locale(language)
    if locale is None or "/" not in name:
        return name
    if name.startswith("Etc/"):  # no place: “UTC” says it all
        return city(name, language)
    called = get_timezone_name(get_timezone(name), locale=locale)
    if not called[1:2].isupper():  # “GMT+00:00” is no word
        called = called[:1].lower() + called[1:]
    return f"{city(name, language)}, {called}"


def city(name: str, language: str) -> str:
    """What a list of a continent's zones calls one: “New York”, “Argentina/Buenos Aires”, in Italian “Londra”."""
    plain = name.partition("/")[2].replace("_", " ") or name
    locale = _locale(language)
    if locale is None:
        return plain
    return get_timezone_location(get_timezone(name), locale=locale, return_city=True) or plain


@cache
def _locale(language: str) -> Locale | None:
    """None for English, and for a language that the tables do not know."""
    try:
        locale = Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError):
        return None
    return None if locale.language == "en" else locale
