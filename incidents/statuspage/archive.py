"""Pages of what is long over: rendered once, kept on disk, read when somebody asks, and part of every static copy.

A snapshot holds the front of the status page in memory. There can be a thousand incidents behind it, which hardly ever
change: each of their pages is a file of its own in settings.STATUS_DIR, with a key of what it was rendered from.
"""

import fcntl
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Count, Max
from django.urls import reverse
from django.utils import timezone

from incidents.models import OVER, Component

from . import brand
from .facts import RECENT, public, version
from .scope import EVERYBODY
from .snapshot import PICTURES, Page, address, in_all_languages, picture, replace
from .views import archive_pages

log = logging.getLogger(__name__)

FOLDER = "archive"
_INDEX = "index.json"  # path → {"key", "pictures": [file name]} of what is there
_COMPLETE = "complete"  # there while everything is
PREFIXES = ("/incidents/", "/history/")
_SHOWN = re.compile(rf"{PICTURES}([0-9a-f]{{64}}\.(?:png|jpg))".encode())
Index = dict[str, dict[str, Any]]


# ── Which pages there should be ─────────────────────────────────────────────


def wanted() -> dict[str, str]:
    """Path → key of each page that a snapshot leaves out. A handful of queries, however many there are."""
    looks = _looks()
    told = Max("updates__published_at")
    facts = ("uid", "stage", "started_at", "resolved_at", "updated_at", "told")
    rows = list(public(EVERYBODY).annotate(told=told).values(*facts))
    packed = [months for [months] in archive_pages(EVERYBODY)] if rows else []
    since = timezone.now() - RECENT
    by_page: dict[int, list[str]] = {}
    found: dict[str, str] = {}
    for row in rows:
        number = _page_of(row["started_at"], packed)
        key = _hash(row["updated_at"], row["told"], looks)
        by_page.setdefault(number, []).append(f"{row['uid']}{key}")
        recent = row["stage"] not in OVER or (row["resolved_at"] and row["resolved_at"] >= since)
        if number > 1 and not recent:
            found[reverse("status-incident", args=[row["uid"]])] = key
    for number in range(2, len(packed) + 1):
        found[reverse("status-history", args=[number])] = _hash(packed, sorted(by_page.get(number, ())), looks)
    return found


def _page_of(started_at: datetime, packed: list[list[datetime]]) -> int:
    for number, months in enumerate(packed, 1):
        if started_at >= months[-1]:
            return number
    return len(packed)


def _looks() -> str:
    """What every page shows besides its own facts."""
    components = Component.objects.aggregate(n=Count("pk"), at=Max("updated_at"))
    year = timezone.localdate().year
    return _hash(settings.PORTAL_NAME, settings.PORTAL_URL, brand.logo(), brand.css(), year, components)


def _hash(*facts: Any) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


# ── Keep ────────────────────────────────────────────────────────────────────


def refresh(directory: Path, seconds: float = float("inf")) -> bool:
    """Render what is missing or has changed, for so long; whether all is there then.

    Does nothing, and says no, while another process does it. Raises what the database or the disk says.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        complete = _bring_up_to_date(folder, time.monotonic() + seconds)
    (folder / _COMPLETE).touch() if complete else (folder / _COMPLETE).unlink(missing_ok=True)
    return complete


def is_complete(directory: Path) -> bool:
    """Whether the last refresh got to its end."""
    return (directory / FOLDER / _COMPLETE).exists()


def _bring_up_to_date(folder: Path, end: float) -> bool:
    should, there = wanted(), _read_index(folder)
    now = {path: one for path, one in there.items() if path in should}
    for path in there.keys() - now.keys():
        for one in _addresses(path):
            _file(folder, one).unlink(missing_ok=True)
    complete = True
    for path, key in should.items():
        if path in now and now[path]["key"] == key:
            continue
        if time.monotonic() > end:
            complete = False
            break
        now[path] = {"key": key, "pictures": _render(path, folder)}
    if now != there:
        replace(folder / _INDEX, json.dumps(now).encode())
    return complete


def _render(path: str, folder: Path) -> list[str]:
    """Keep a page in all languages; the names of the pictures that it shows, which are kept too."""
    try:
        found = in_all_languages(path)
    except RuntimeError as error:
        version()  # raises if it is the database that is gone
        log.error("the status page goes on without one of its pages: %s", error)
        return []
    pictures = sorted({name.decode() for page in found.values() for name in _SHOWN.findall(page.body)})
    for name in pictures:  # before the pages that show them
        replace(folder.parent / PICTURES.strip("/") / name, picture(name))
    for where, page in found.items():
        written = {"language": page.language, "headers": page.headers, "body": page.body.decode()}
        replace(_file(folder, where), json.dumps(written).encode())
    return pictures


def _read_index(folder: Path) -> Index:
    with suppress(OSError, ValueError):
        return json.loads((folder / _INDEX).read_bytes())
    return {}


def _addresses(path: str) -> list[str]:
    return [address(path, language, asked) for language, _label in settings.LANGUAGES for asked in (False, True)]


def _file(folder: Path, where: str) -> Path:
    return folder / f"{hashlib.sha256(where.encode()).hexdigest()[:32]}.json"


# ── Read ────────────────────────────────────────────────────────────────────


def read(directory: Path, where: str) -> Page | None:
    """The page at an address(), if it is kept."""
    if not where.startswith(PREFIXES):
        return None
    try:
        kept = json.loads(_file(directory / FOLDER, where).read_bytes())
        return Page([(name, value) for name, value in kept["headers"]], kept["body"].encode(), kept["language"])
    except (OSError, ValueError, KeyError):
        return None


def pages(directory: Path) -> Iterator[tuple[str, Page]]:
    """Every page that is kept, with its address."""
    for path in _read_index(directory / FOLDER):
        for where in _addresses(path):
            if page := read(directory, where):
                yield where, page


def pictures(directory: Path) -> dict[str, Path]:
    """File name → where it is, of every picture that these pages show."""
    shown = {name for one in _read_index(directory / FOLDER).values() for name in one["pictures"]}
    return {name: directory / PICTURES.strip("/") / name for name in sorted(shown)}
