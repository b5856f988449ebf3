"""Private status pages that links open, kept on disk for the time that the database is away.

In settings.STATUS_DIR, readable by the portal alone, and in no static copy. A page is kept as a link of its own opens
it; who comes by another link gets the same with theirs in it. Whether a link opens it is in its signature, and in what
was known of the page last: one that was withdrawn while nobody could know of it opens it until somebody can.
"""

import hashlib
import json
import logging
import re
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from incidents.models import StatusPage

from . import api, feeds
from .facts import overview
from .private import scope_of
from .snapshot import Page, address, in_all_languages, page_at, replace
from .views import archive, archive_pages

log = logging.getLogger(__name__)

FOLDER = "private"
_PATH = re.compile(r"/private/([^/]*:[^/]*)(/.*)")
_KEY = "{the-key-of-the-reader}"  # stands where a link does


# ── Keep ────────────────────────────────────────────────────────────────────


def refresh(directory: Path, known: str, seconds: float = float("inf")) -> bool:
    """Render pages whose facts have changed, for so long; whether all are there then. `known` is facts.version().

    Raises what the database or the disk says.
    """
    folder, end = directory / FOLDER, time.monotonic() + seconds
    pages = _pages()
    if not pages and not folder.exists():
        return True
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        if path.stem not in pages:
            path.unlink(missing_ok=True)
    for uid, page in pages.items():
        facts = _facts(page, known)
        path = folder / f"{uid}.json"
        if (kept := _load(path)) and kept["facts"] == facts:
            continue
        if time.monotonic() > end:
            return False
        try:
            pages_of = _render(page)
        except RuntimeError as error:
            log.error("the private page %s is not kept for when the database is away: %s", uid, error)
            pages_of = {}
        replace(path, json.dumps({"facts": facts, "link_version": page.link_version, "pages": pages_of}).encode())
        path.chmod(0o600)
    return True


def _pages() -> dict[str, StatusPage]:
    on: QuerySet[StatusPage] = StatusPage.objects.filter(enabled=True).prefetch_related("components")
    return {page.uid: page for page in on}


def _facts(page: StatusPage, known: str) -> str:
    """Changes whenever the page does."""
    shown = sorted(one.pk for one in page.components.all())
    facts = [known, page.name, page.link_version, shown, timezone.localdate().isoformat()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _render(page: StatusPage) -> dict[str, Any]:
    key = page.key(timezone.now() + timedelta(minutes=2))  # should it stand anywhere by mistake, it opens nothing
    scope = scope_of(page, key)
    past = archive(scope, archive_pages(scope).get_page(1).object_list)
    incidents = {one.incident.uid for one in [*overview(scope).incidents, *past]}
    found: dict[str, Page] = {}
    for path in ("/", "/history/", *(f"/incidents/{uid}/" for uid in sorted(incidents))):
        found |= in_all_languages(f"{scope.base}{path}")
    # Not the calendar: its lines are folded, also within a link.
    for path in [f"/api/v2/{name}.json" for name in api.DOCUMENTS] + [f"/history.{kind}" for kind in feeds.FEEDS]:
        found[address(f"{scope.base}{path}")] = page_at(f"{scope.base}{path}")
    kept = {}
    for where, one in found.items():
        body = one.body.decode().replace(key, _KEY)
        if key.rpartition(":")[2] in body:  # written in another way than we know: better no page than a stranger's link
            raise RuntimeError(f"{where.removeprefix(scope.base)} of a private page holds the link that it was read by")
        kept[where.removeprefix(scope.base)] = [one.headers, body, one.language]
    return kept


def _load(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        return json.loads(path.read_bytes())
    return None


# ── Read ────────────────────────────────────────────────────────────────────


def read(directory: Path, path: str, language: str, asked: bool) -> Page | None:
    """The page at the path of a link that opens it, as it was known last; None if it does not, or there is none."""
    match = _PATH.fullmatch(path)
    if match is None or (uid := StatusPage.uid_of(match[1])) is None:
        return None
    kept = _load(directory / FOLDER / f"{uid}.json")
    if kept is None or not StatusPage.opens(match[1], uid, kept["link_version"]):
        return None
    for where in (address(match[2], language, asked), address(match[2])):
        if where in kept["pages"]:
            headers, body, of_language = kept["pages"][where]
            headers = [(name, value) for name, value in headers if name not in ("ETag", "Content-Length")]
            return Page(headers, body.replace(_KEY, match[1]).encode(), of_language)
    return None
