"""Private status pages that links open, kept on disk for the time that the database is away.

In settings.STATUS_DIR, readable by the portal alone, and in no static copy. A page is kept as a link of its own opens
it; who comes by another link gets the same with theirs in it. Whether a link opens it is in its signature, and in what
was known of the page last: one that was withdrawn while nobody could know of it opens it until somebody can.
"""

import hashlib
import json
import logging
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
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
_CHECKED = "checked"  # touched whenever all pages are known to be true
_PATH = re.compile(r"/private/([^/]*:[^/]*)(/.*)")
_KEY = "{the-key-of-the-reader}"  # stands where a link does


# ── Keep ────────────────────────────────────────────────────────────────────


def refresh(directory: Path, known: str, at: float, seconds: float = float("inf")) -> bool:
    """Render pages whose facts have changed, for so long; whether all are there then.

    `known` is facts.version(), asked for at the moment `at` (seconds since 1970).
    Raises what the database or the disk says.
    """
    folder, end = directory / FOLDER, time.monotonic() + seconds
    pages = _pages()
    if not pages and not folder.exists():
        return True
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    heads = _close(folder, pages)
    due = [uid for uid, page in pages.items() if heads.get(uid, {}).get("facts") != _facts(page, known)]
    due.sort(key=lambda uid: heads.get(uid, {}).get("at", 0.0))  # what waits longest comes first
    for uid in due:
        if time.monotonic() > end:
            return False
        _keep(folder, pages[uid], _facts(pages[uid], known), at)
    (folder / _CHECKED).touch(mode=0o600)
    os.utime(folder / _CHECKED, (at, at))
    return True


def _close(folder: Path, pages: dict[str, StatusPage]) -> dict[str, Any]:
    """Remove at once what its readers must not see any more; what is known of the other pages."""
    heads = {}
    for path in folder.glob("*.json"):
        page, head = pages.get(path.stem), _head(path)
        if page and head and [head["link_version"], head["shown"]] == [page.link_version, _shown(page)]:
            heads[path.stem] = head
        else:
            path.unlink(missing_ok=True)
    return heads


def _keep(folder: Path, page: StatusPage, facts: str, at: float) -> None:
    try:
        rows = _render(page)
    except RuntimeError as error:
        log.error("the private page %s is not kept for when the database is away: %s", page.uid, error)
        rows = []
    head = {"facts": facts, "at": at, "link_version": page.link_version, "shown": _shown(page)}
    lines = "".join(f"{json.dumps(one)}\n" for one in (head, *rows))
    replace(folder / f"{page.uid}.json", lines.encode(), mode=0o600)


def _pages() -> dict[str, StatusPage]:
    on: QuerySet[StatusPage] = StatusPage.objects.filter(enabled=True).prefetch_related("components")
    return {page.uid: page for page in on}


def _shown(page: StatusPage) -> list[int]:
    return sorted(one.pk for one in page.components.all())


def _facts(page: StatusPage, known: str) -> str:
    """Changes whenever the page does."""
    facts = [known, page.name, page.link_version, _shown(page), timezone.localdate().isoformat()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _render(page: StatusPage) -> list[list[Any]]:
    """[address below the page, headers, body, language] of each page. Raises RuntimeError if one cannot be rendered."""
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
    return [_without(key, where.removeprefix(scope.base), one) for where, one in found.items()]


def _without(key: str, where: str, page: Page) -> list[Any]:
    headers = [one for one in page.headers if one[0] not in ("ETag", "Content-Length")]
    body = page.body.decode().replace(key, _KEY)
    signature = key.rpartition(":")[2]
    if signature in f"{headers}{body}":  # written in another way than we know: better no page than a stranger's link
        raise RuntimeError(f"{where} of a private page holds the link that it was read by")
    return [where, headers, body, page.language]


# ── Read ────────────────────────────────────────────────────────────────────


def read(directory: Path, path: str, language: str, asked: bool) -> tuple[Page, datetime] | None:
    """The page at the path of a link that opens it, and when it was last known to be true.

    None if it does not open it, or there is none.
    """
    match = _PATH.fullmatch(path)
    if match is None or (uid := StatusPage.uid_of(match[1])) is None:
        return None
    file = directory / FOLDER / f"{uid}.json"
    head = _head(file)
    if head is None or not StatusPage.opens(match[1], uid, head["link_version"]):
        return None
    found = _row(file, address(match[2], language, asked)) or _row(file, address(match[2]))
    if found is None:
        return None
    _where, headers, body, of_language = found
    page = Page([(name, value) for name, value in headers], body.replace(_KEY, match[1]).encode(), of_language)
    return page, datetime.fromtimestamp(max(head["at"], _checked(directory / FOLDER)), UTC)


def _checked(folder: Path) -> float:
    with suppress(OSError):
        return (folder / _CHECKED).stat().st_mtime
    return 0.0


def _head(path: Path) -> dict[str, Any] | None:
    """The first line of a file; None if it is none of ours, or of an earlier release."""
    with suppress(OSError, ValueError), path.open(encoding="utf-8") as file:
        head = json.loads(file.readline())
        return head if "shown" in head else None
    return None


def _row(path: Path, where: str) -> list[Any] | None:
    """One page of a file, without reading the others as JSON."""
    begins = json.dumps([where])[:-1] + ","
    with suppress(OSError, ValueError), path.open(encoding="utf-8") as file:
        for line in file:
            if line.startswith(begins):
                return json.loads(line)
    return None
