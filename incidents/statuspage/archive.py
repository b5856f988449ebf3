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
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone

from incidents.models import OVER, IncidentComponent

from . import brand
from .facts import RECENT, public, version
from .scope import EVERYBODY
from .snapshot import PICTURES, Page, address, in_all_languages, picture, replace
from .views import archive_pages

log = logging.getLogger(__name__)

FOLDER = "archive"
_INDEX = "index.json"  # path → {"key", "told", "pictures": [file name]} of what is there
_COMPLETE = "complete"  # there while everything is
PREFIXES = ("/incidents/", "/history/")
_SHOWN = re.compile(rf"{PICTURES}([0-9a-f]{{64}}\.(?:png|jpg))".encode())
Index = dict[str, dict[str, Any]]


# ── Which pages there should be ─────────────────────────────────────────────


@dataclass(frozen=True)
class Wanted:
    """A page that should be there."""

    key: str  # of all that it is rendered from
    told: list[str]  # of each incident that it shows: a hash of what is public of it


def wanted() -> dict[str, Wanted]:
    """Path → each page that a snapshot leaves out. A handful of queries, however many there are."""
    looks, hit = _looks(), _components()
    told = Max("updates__published_at")
    facts = ("pk", "uid", "stage", "started_at", "resolved_at", "updated_at", "told")
    rows = list(public(EVERYBODY).annotate(told=told).values(*facts))
    packed = [months for [months] in archive_pages(EVERYBODY)] if rows else []
    since = timezone.now() - RECENT
    by_page: dict[int, list[str]] = {}
    found: dict[str, Wanted] = {}
    for row in rows:
        number = _page_of(row["started_at"], packed)
        known = _hash(row["uid"], row["updated_at"], row["told"], hit.get(row["pk"]))
        by_page.setdefault(number, []).append(known)
        recent = row["stage"] not in OVER or (row["resolved_at"] and row["resolved_at"] >= since)
        if number > 1 and not recent:
            found[reverse("status-incident", args=[row["uid"]])] = Wanted(_hash(known, looks), [known])
    for number in range(2, len(packed) + 1):
        listed = sorted(by_page.get(number, ()))
        found[reverse("status-history", args=[number])] = Wanted(_hash(packed, listed, looks), listed)
    return found


def _page_of(started_at: datetime, packed: list[list[datetime]]) -> int:
    for number, months in enumerate(packed, 1):
        if started_at >= months[-1]:
            return number
    return len(packed)


def _components() -> dict[int, list[tuple[Any, ...]]]:
    """Key of an incident → what its page may say of the components that it hit."""
    facts = ("component", "component__name", "component__private", "component__showcase", "component__position")
    found: dict[int, list[tuple[Any, ...]]] = {}
    for incident, *one in IncidentComponent.objects.order_by("pk").values_list("incident", *facts):
        found.setdefault(incident, []).append(tuple(one))
    return found


def _looks() -> str:
    """What every page shows besides its own facts."""
    year = timezone.localdate().year
    words = (settings.PORTAL_NAME, settings.PORTAL_URL, settings.TIME_ZONE, settings.LANGUAGES)
    return _hash(_release(), *words, brand.logo(), brand.css(), year)


@cache
def _release() -> str:
    """A hash of what renders the pages: an upgrade may change how each of them looks."""
    here = Path(__file__).parent
    files = [*here.glob("*.py"), *Path(settings.BASE_DIR).glob("templates/statuspage/*")]
    files += Path(settings.BASE_DIR).glob("locale/*/LC_MESSAGES/django.mo")
    return _hash(*(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)))


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
    public_now = {one for page in should.values() for one in page.told}
    # What merely looks old stays until its turn comes. What tells of something that is public no more, or otherwise
    # now, is gone at once: whoever asks meanwhile is answered by Django.
    now = {path: one for path, one in there.items() if path in should and public_now.issuperset(one["told"])}
    _remove_others(folder, now)
    complete = True
    for path, page in should.items():
        if path in now and now[path]["key"] == page.key:
            continue
        if time.monotonic() > end:
            complete = False
            break
        now[path] = {"key": page.key, "told": page.told, "pictures": _render(path, folder)}
    if now != there:
        replace(folder / _INDEX, json.dumps(now).encode())
    return complete


def _remove_others(folder: Path, index: Index) -> None:
    """Remove files that the index does not know, also those that a crash left behind."""
    known = {_INDEX, *(_file(folder, one).name for path in index for one in _addresses(path))}
    for path in folder.glob("*.json"):
        if path.name not in known:
            path.unlink(missing_ok=True)


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
    """Nothing where there is none that can be read, or one of an earlier release."""
    with suppress(OSError, ValueError):
        index = json.loads((folder / _INDEX).read_bytes())
        return {path: one for path, one in index.items() if "told" in one}
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
