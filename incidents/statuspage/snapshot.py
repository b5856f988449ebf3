"""The front of the status page at one moment, in the order of its making: take() renders it, save() and load() keep it
in one file, from which the live page answers. copies.py makes files of it, archive.py keeps what is long over.
"""

import json
import logging
import os
import re
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone, translation

from commsportal.one_moment import one_moment
from incidents.templatetags.statuspage import when

from . import api, badges, brand, feeds, graphs
from .facts import Board, PublicIncident, overview, version
from .scope import EVERYBODY
from .views import archive, archive_pages

log = logging.getLogger(__name__)

FILE = "snapshot.jsonl"  # in settings.STATUS_DIR
CHECKED = "checked"  # beside it: touched whenever it is known to be true
PICTURES = "/pictures/"
OLD = 120  # seconds after which a page that nobody could check warns its reader
# What a page says of its age, ready to be shown by whoever knows it: templates/statuspage/_as_of.html.
_NOTE = re.compile(rb"<!--as-of(-old)?:(.*?)-->", re.S)
# A name that no page has: where a file is written before it takes its place.
UNFINISHED = ".new-"


@dataclass(frozen=True)
class Page:
    """What the portal answers at one address. `language` is empty for what has only one."""

    headers: list[tuple[str, str]]
    body: bytes
    language: str = ""


@dataclass(frozen=True)
class Head:
    """Which facts a snapshot was taken of (facts.version), and when."""

    version: str
    at: datetime


@dataclass(frozen=True)
class Snapshot(Head):
    pages: dict[str, Page] = field(repr=False)  # by address()
    pictures: dict[str, bytes] = field(repr=False)  # by file name; as loaded, the names alone


def address(path: str, language: str = "", asked: bool = False) -> str:
    """Where a page stands: by language, and whether that was asked for (`?lang=`), which its links then repeat."""
    return f"{path} {language}{'?' if asked else ''}"


# ── Take ────────────────────────────────────────────────────────────────────


def take(of_version: str | None = None) -> Snapshot:
    """Render everything public, as one moment knows it. Raises RuntimeError if a page cannot be rendered.

    But for the page of one incident: what is wrong with it must not keep the front page from telling of the others.
    """
    at = timezone.now()
    with one_moment():  # where that is not to be had, the next look mends it
        known = of_version or version()
        shown = overview()
        pages: dict[str, Page] = {}
        documents = [reverse(f"api-{name}") for name in api.DOCUMENTS]
        documents += [reverse(f"status-{kind}") for kind in feeds.FEEDS]
        documents += [reverse("status-calendar"), reverse("status-brand")]
        for path in documents:
            pages[address(path)] = page_at(path)
        for path in (reverse("in_app"), reverse("status-badge")):
            pages |= _by_choice(path)
        pages |= _component_badges(shown.board, pages)
        for path in (reverse("status"), reverse("status-history")):
            pages |= in_all_languages(path)
        for one in shown.incidents:
            path = reverse("status-incident", args=[one.incident.uid])
            try:
                pages |= in_all_languages(path)
            except RuntimeError as error:
                version()  # raises if it is the database that is gone
                log.error("the status page goes on without one of its pages: %s", error)
        # Whatever the first page of the archive links to is there too; archive.py keeps the rest.
        known_already = {one.incident.pk for one in shown.incidents}
        older = archive(EVERYBODY, archive_pages(EVERYBODY).get_page(1).object_list)
        older = [one for one in older if one.incident.pk not in known_already]
        pages |= _older(older)
        said = [page for one in [*shown.incidents, *older] for update in one.said for page in update.page.values()]
        names = {page["picture"]["file"] for page in said if "picture" in page}
        names |= {image.filename for one in graphs.beside(shown.incidents).values() for image in one.graphs}
        pictures = {name: picture(name) for name in sorted(names)}
    return Snapshot(known, at, pages, pictures)


_kept: dict[str, tuple[Any, dict[str, Page]]] = {}


def _older(incidents: list[PublicIncident]) -> dict[str, Page]:
    """Pages of what is long over. Nothing changes them, mostly: this process renders each once."""
    looks = (settings.PORTAL_NAME, settings.PORTAL_URL, brand.logo(), brand.css(), timezone.localdate().year)
    found: dict[str, tuple[Any, dict[str, Page]]] = {}
    for one in incidents:
        path = reverse("status-incident", args=[one.incident.uid])
        key = (one.incident.updated_at, one.updated_at, *(part.updated_at for part in one.components), looks)
        before = _kept.get(path)
        try:
            found[path] = before if before and before[0] == key else (key, in_all_languages(path))
        except RuntimeError as error:
            version()  # as above
            log.error("the status page goes on without one of its pages: %s", error)
    _kept.clear()
    _kept.update(found)
    return {where: page for _key, pages in found.values() for where, page in pages.items()}


def in_all_languages(path: str) -> dict[str, Page]:
    wanted = [(language, asked) for language, _label in settings.LANGUAGES for asked in (False, True)]
    return {address(path, *one): page_at(path, *one) for one in wanted}


def _by_choice(path: str) -> dict[str, Page]:
    """What is in the default language for everybody who asks for no other."""
    asked = {address(path, one, asked=True): page_at(path, one, asked=True) for one, _label in settings.LANGUAGES}
    return {address(path): page_at(path), **asked}


def _component_badges(board: Board, pages: dict[str, Page]) -> dict[str, Page]:
    """As /badge.svg goes out, which is among `pages`: to ask for each would take longer than everything else."""
    found = {}
    for language in ("", *dict(settings.LANGUAGES)):
        model = pages[address(reverse("status-badge"), language, asked=bool(language))]
        headers = [one for one in model.headers if one[0] not in ("Content-Length", "ETag")]
        with translation.override(language or settings.LANGUAGE_CODE):
            for one in board.components:
                where = address(reverse("status-component-badge", args=[one.uid]), language, asked=bool(language))
                found[where] = Page(headers, badges.of_component(one, board).encode(), language)
    return found


class _Reader(HttpRequest):
    """A reader who came by the portal's own address."""

    def __init__(self, path: str, language: str, asked: bool) -> None:
        super().__init__()
        self.method = "GET"
        self.path = self.path_info = path
        self.META = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "HTTP_ACCEPT_LANGUAGE": language}
        self.GET = QueryDict(f"lang={language}" if asked else "")

    def get_host(self) -> str:
        return urlsplit(settings.PORTAL_URL).netloc

    def _get_scheme(self) -> str:
        return urlsplit(settings.PORTAL_URL).scheme

    @property
    def scheme(self) -> str:  # whatever a proxy would say
        return self._get_scheme()


@cache
def _handler() -> BaseHandler:
    handler = BaseHandler()
    handler.load_middleware()
    return handler


def _get(path: str, language: str = "", asked: bool = False) -> HttpResponseBase:
    """What the portal answers to an anonymous reader, its middleware included. Raises RuntimeError if it is no page."""
    with translation.override(None):  # a request leaves its language to its thread
        response = _handler().get_response(_Reader(path, language, asked))
    if response.status_code != 200:
        raise RuntimeError(f"{path} answered {response.status_code}")
    return response


def page_at(path: str, language: str = "", asked: bool = False) -> Page:
    response = _get(path, language, asked)
    return Page(list(response.items()), _body(response), language)


def picture(name: str) -> bytes:
    """A picture that the page shows. Raises RuntimeError if it does not."""
    return _body(_get(reverse("status-picture", args=[name])))


def _body(response: HttpResponseBase) -> bytes:
    return b"".join(response)  # type: ignore[arg-type]


# ── Keep ────────────────────────────────────────────────────────────────────


def save(taken: Snapshot, directory: Path) -> None:
    """Write the file that load() reads; whoever reads meanwhile sees the old one. Raises OSError."""
    for name, content in taken.pictures.items():  # before the pages that show them
        replace(directory / "pictures" / name, content)
    lines: list[Any] = [{"version": taken.version, "at": taken.at.isoformat(), "pictures": sorted(taken.pictures)}]
    for where, page in taken.pages.items():
        one = {"address": where, "language": page.language, "headers": page.headers, "body": page.body.decode()}
        lines.append(one)
    replace(directory / FILE, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
    for leftover in directory.rglob(f"{UNFINISHED}*"):
        leftover.unlink(missing_ok=True)


def load(path: Path, with_pictures: bool = False) -> Snapshot:
    """What save() wrote; of the pictures the names alone, or what is in them too.

    Raises OSError, or ValueError if the file is nothing of ours.
    """
    try:
        with path.open(encoding="utf-8") as file:
            head = json.loads(file.readline())
            rows = [json.loads(line) for line in file]
        pages = {
            row["address"]: Page([(n, v) for n, v in row["headers"]], row["body"].encode(), row["language"])
            for row in rows
        }
        folder = path.parent / "pictures"
        pictures = {name: (folder / name).read_bytes() if with_pictures else b"" for name in head["pictures"]}
        return Snapshot(head["version"], datetime.fromisoformat(head["at"]), pages, pictures)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a snapshot of a status page: {error!r}") from error


def read_head(path: Path) -> Head:
    """Of which facts the snapshot in a file was taken. Raises OSError, or ValueError if it is nothing of ours."""
    with path.open(encoding="utf-8") as file:
        line = file.readline()
    try:
        head = json.loads(line)
        return Head(head["version"], datetime.fromisoformat(head["at"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a snapshot of a status page: {error!r}") from error


# ── What a page says of its age ─────────────────────────────────────────────


def without_note(body: bytes) -> bytes:
    """A page that is known to be true."""
    return _NOTE.sub(b"", body)


def with_note(page: Page, at: datetime, old: bool) -> bytes:
    """A page that nobody could check since `at`; it warns its reader once it is `old`."""
    with translation.override(page.language or settings.LANGUAGE_CODE):
        moment = when(at).encode()
    return _NOTE.sub(lambda found: found[2].replace(b"{at}", moment) if bool(found[1]) is old else b"", page.body)


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file at once, so that nobody ever reads half of it; one that says this already is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(unfinished, mode)  # by default a web server of another user reads it
        os.replace(unfinished, path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
