"""How the status page writes times and states."""

import json
from datetime import datetime
from typing import Any

from django import template
from django.utils import formats, timezone, translation
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from incidents.rendering import CAPITAL_MONTHS, moment

register = template.Library()
# As json_script of Django writes them: HTML ends a script at "</script", whatever a string of JSON is.
_IN_SCRIPT = {ord(one): f"\\u{ord(one):04X}" for one in "<>&"}


@register.simple_tag
def when(at: datetime | None) -> SafeString:
    """A <time> with day, clock and zone: “23 November, 14:30 CET”; with the year unless it is this one."""
    if at is None:
        return SafeString("")
    local = timezone.localtime(at)
    day = formats.date_format(local, "j F" if local.year == timezone.localtime().year else "j F Y")
    if not (translation.get_language() or "en").startswith(CAPITAL_MONTHS):
        day = day.lower()
    text = f"{day}, {formats.date_format(local, 'H:i')} {local.tzname()}"
    return format_html('<time datetime="{}">{}</time>', local.isoformat(timespec="seconds"), text)


@register.simple_tag
def clock(at: datetime | None) -> SafeString:
    """A <time> as the messages write a promise: “14:30 CET”, with its day unless that is today."""
    if at is None:
        return SafeString("")
    local = timezone.localtime(at)
    day = SafeString(' data-day="today"' if local.date() == timezone.localdate() else "")
    return format_html('<time datetime="{}"{}>{}</time>', local.isoformat(timespec="seconds"), day, moment(at))


@register.filter
def entry(found: dict[int, Any], key: int) -> Any:
    """What a dictionary holds under a key that a variable names; None if nothing."""
    return found.get(key)


@register.simple_tag
def lasted(start: datetime, end: datetime | None) -> str:
    """“2 hours, 5 minutes” in the active language; empty without an end, or when it took no time."""
    return timesince(start, end) if end and (end - start).total_seconds() >= 60 else ""


@register.simple_tag
def json_ld(data: dict[str, Any]) -> SafeString:
    """A <script> of JSON-LD, which no browser runs and no word in it can end."""
    text = json.dumps(data, ensure_ascii=False).translate(_IN_SCRIPT)
    return format_html('<script type="application/ld+json">{}</script>', SafeString(text))
