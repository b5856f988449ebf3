"""The status page as files, for a server or a bucket that answers even when the portal does not.

<directory>/index.html, incidents/<uid>/index.html, history/index.html   in the default language
<directory>/<language>/…                                                 the same in each language
<directory>/api/v2/….json, history.atom, history.rss, static/portal/status.css, .js and the icon
<directory>/pictures/<sha256>.png or .jpg                                those that these pages show
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import resolve, reverse

from . import api, feeds
from .facts import overview

# A name that no page has: where a file is written before it takes its place.
_UNFINISHED = ".new-"


def publish(directory: Path) -> str:
    """Write everything public into `directory`, and return a hash of it (12 hex digits).

    Each file is replaced at once, so nobody ever reads half of one; unchanged files are left alone. One publication
    at a time: the last to finish is also the last to have read the facts. Raises OSError if it cannot write.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = dict(_files())
        for name, content in files.items():
            _replace(directory / name, content)
        _remove_others(directory, set(files))
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()[:12]


def _files() -> Iterator[tuple[str, bytes]]:
    """Every file: its path below the directory and its bytes, as the live pages would answer."""
    for name in api.DOCUMENTS:
        yield f"api/v2/{name}.json", _get(reverse(f"api-{name}"))
    for kind in feeds.FEEDS:
        yield f"history.{kind}", _get(reverse(f"status-{kind}"))
    shown = overview()
    # Before the pages that show them.
    said = [page for one in shown.incidents for update in one.said for page in update.page.values()]
    for file in sorted({page["picture"]["file"] for page in said if "picture" in page}):
        yield f"pictures/{file}", _get(reverse("status-picture", args=[file]))
    pages = [reverse("status"), reverse("status-history")]
    pages += [reverse("status-incident", args=[one.incident.uid]) for one in shown.incidents]
    for path in pages:
        name = f"{path.lstrip('/')}index.html"
        for language, _label in settings.LANGUAGES:
            yield f"{language}/{name}", _get(path, language)
        yield name, _get(path)
    for name in ("portal/status.css", "portal/status.js", "portal/icon.svg"):
        if found := finders.find(name):
            yield f"static/{name}", Path(str(found)).read_bytes()


class _Reader(HttpRequest):
    """A reader who came by the portal's own address."""

    def get_host(self) -> str:
        return urlsplit(settings.PORTAL_URL).netloc


def _get(path: str, language: str = "") -> bytes:
    """What the live view answers to an anonymous reader. Raises RuntimeError if it is not a page."""
    request = _Reader()
    request.method = "GET"
    request.path = request.path_info = path
    request.GET = QueryDict(f"lang={language}" if language else "")
    match = resolve(path)
    response: HttpResponse = match.func(request, *match.args, **match.kwargs)
    if response.status_code != 200:
        raise RuntimeError(f"{path} answered {response.status_code}")
    return response.content


def _replace(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(unfinished, 0o644)  # a web server of another user reads it
        os.replace(unfinished, path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _remove_others(directory: Path, names: set[str]) -> None:
    """Remove pages that are no longer part of it, and what a crash left behind; nothing that we never write."""
    ours = [directory / "incidents", *(directory / language / "incidents" for language, _label in settings.LANGUAGES)]
    for folder in ours:
        for page in folder.glob("*/index.html"):
            if str(page.relative_to(directory)) not in names:
                page.unlink()
                page.parent.rmdir()
    for picture in (directory / "pictures").glob("*.*"):
        if len(picture.stem) == 64 and str(picture.relative_to(directory)) not in names:
            picture.unlink()
    for leftover in directory.rglob(f"{_UNFINISHED}*"):
        leftover.unlink(missing_ok=True)
