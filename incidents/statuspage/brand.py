"""The operator's logo and colours on the status page, from the settings; checked when the portal starts.

The logo stands in the page itself and the colours in a style sheet of ours, so that a static copy has both.
"""

import base64
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import conditional_page, require_safe

from .caching import cached

MAX_LOGO = 20 * 1024  # bytes: every page carries it, and no page shall pass 50 KB
CONTRAST = 4.5  # WCAG 2.2, 1.4.3, for links and the words on buttons
# What the colour stands on, as status.css has it: the page and its cards, by day and by night.
DAY, NIGHT = ("#f7f8fa", "#ffffff"), ("#0f1216", "#181d24")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_KINDS = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
_BEGINS = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".webp": b"RIFF"}


def is_set() -> bool:
    return bool(_COLOUR.fullmatch(settings.PORTAL_COLOUR))


def css() -> str:
    """The style sheet; empty rules where no colour is set."""
    if not is_set():
        return ""
    night = settings.PORTAL_COLOUR_DARK
    if not _COLOUR.fullmatch(night):
        night = _lighter(settings.PORTAL_COLOUR)
    return (
        f":root {{ --link: {settings.PORTAL_COLOUR}; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ --link: {night}; }} }}\n"
        "body { border-top: .25rem solid var(--link); }\n"
    )


@conditional_page
@require_safe
def view(request: HttpRequest) -> HttpResponse:
    return cached(HttpResponse(css(), content_type="text/css; charset=utf-8"))


def logo() -> str:
    """The logo as a data: address; "" if there is none, or it cannot be read (the check says why)."""
    if not settings.PORTAL_LOGO:
        return ""
    try:
        return _logo(settings.PORTAL_LOGO, Path(settings.PORTAL_LOGO).stat().st_mtime_ns)
    except (OSError, ValueError):
        return ""


@lru_cache(1)
def _logo(path: str, _mtime: int) -> str:
    """Raises OSError, or ValueError with the reason and the fix."""
    suffix = Path(path).suffix.lower()
    if suffix not in _KINDS:
        raise ValueError(f"its name ends in “{suffix}”; use one of {', '.join(_KINDS)}")
    content = Path(path).read_bytes()
    if len(content) > MAX_LOGO:
        size = f"{len(content) // 1024 + 1} KB"
        raise ValueError(f"it has {size}; every page carries it, so make it smaller than {MAX_LOGO // 1024} KB")
    begins = _BEGINS.get(suffix)
    if not (content.startswith(begins) if begins else b"<svg" in content):
        raise ValueError(f"it is no {suffix.lstrip('.').upper()} file, whatever its name says")
    return f"data:{_KINDS[suffix]};base64,{base64.b64encode(content).decode()}"


# ── Checks ──────────────────────────────────────────────────────────────────


@register(Tags.compatibility)
def check_brand(**_kwargs: Any) -> list[CheckMessage]:
    """What every command says of these settings first. A mistake in them stops nothing: the portal must run."""
    found: list[CheckMessage] = []
    if settings.PORTAL_LOGO:
        try:
            _logo(settings.PORTAL_LOGO, 0)
        except OSError as error:
            found.append(
                Warning(f"PORTAL_LOGO={settings.PORTAL_LOGO} cannot be read: {error.strerror}.", id="brand.W001")
            )
        except ValueError as error:
            found.append(Warning(f"PORTAL_LOGO={settings.PORTAL_LOGO}: {error}.", id="brand.W001"))
    for name, grounds in (("PORTAL_COLOUR", DAY), ("PORTAL_COLOUR_DARK", NIGHT)):
        value = getattr(settings, name)
        if not value:
            continue
        if not _COLOUR.fullmatch(value):
            found.append(Warning(f"{name}={value} is no colour: write it as #0b57a4.", id="brand.W002"))
            continue
        worst = min(contrast(value, ground) for ground in grounds)
        if worst < CONTRAST:
            hint = "Take a darker one." if grounds is DAY else "Take a lighter one."
            text = f"{name}={value} is hard to read on the status page: its contrast is {worst:.1f}, not {CONTRAST}."
            found.append(Warning(text, hint=hint, id="brand.W003"))
    return found


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    parts = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _lighter(colour: str) -> str:
    """The same colour mixed with as little white as makes it readable by night."""
    parts = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    for white in range(0, 101, 5):
        mixed = "#" + "".join(f"{round(p + (255 - p) * white / 100):02x}" for p in parts)
        if min(contrast(mixed, ground) for ground in NIGHT) >= CONTRAST:
            return mixed
    return "#ffffff"
