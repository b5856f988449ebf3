"""The status page while everything else is down: the outermost layer of the web server answers readers from memory.

A reader costs no query. Once a second one process of each machine asks the database whether anything public changed;
if so, it renders all public pages anew into one file (`settings.STATUS_DIR`), and every process of the machine answers
from that file at once. With the database gone the last pages stay, and say as of when they are.
"""

import fcntl
import gzip
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.conf import settings
from django.db import connection

from channels import counting

from . import archive, private_copies, snapshot
from .facts import version
from .frame import accepted_language

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two looks
RENEW = 60.0  # seconds after which pages are rendered anew though nothing changed: they name today and the last days
LINGER = 3600.0  # seconds for which a picture stays on the disk that no page shows: a graph has a new one each minute
UNSURE = 5.0  # seconds without a look after which a page says as of when it is
ARCHIVING = 0.5  # seconds of a look that go into pages of what is long over
PATIENCE = 3.0  # seconds that the first request of a process waits for the first look
HISTORY, PRIVATE = "/history/", "/private/"
CACHED = {"Cache-Control", "Content-Language", "Vary", "ETag", "Last-Modified"}
CACHED |= {"Access-Control-Allow-Origin", "Access-Control-Expose-Headers"}


# ── What a process holds in memory ──────────────────────────────────────────


@dataclass
class Ready:
    """One page as it goes out, and the same compressed; without `zipped` it is not worth it."""

    headers: list[tuple[str, str]]
    body: bytes
    etag: str
    last_modified: str = ""
    zipped: bytes = b""
    noted: bool = False  # whether it says as of when it is


def _ready(page: snapshot.Page, body: bytes, noted: bool = False) -> Ready:
    kept = [one for one in page.headers if one[0] not in ("Content-Length", "ETag", "Vary")]
    vary = ("Vary", "Accept-Language, Accept-Encoding" if page.language else "Accept-Encoding")
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    zipped = gzip.compress(body, 6, mtime=0)
    return Ready([*kept, vary], body, etag, dict(kept).get("Last-Modified", ""), zipped, noted)


class Loaded:
    """The pages of one snapshot file, with the file's identity."""

    def __init__(self, path: str) -> None:
        """Raises OSError or ValueError if there is no such file, or it is none of ours."""
        self.identity = _identity(path)
        self.taken = snapshot.load(Path(path))
        self.ready = {where: _ready(page, snapshot.without_note(page.body)) for where, page in self.taken.pages.items()}
        self._noted: dict[tuple[str, int, bool], Ready] = {}

    def page(self, address: str, checked_at: float | None) -> Ready | None:
        """The page at an address; with a note of when it was last known to be true, if that is said."""
        if checked_at is None or address not in self.ready:
            return self.ready.get(address)
        at = datetime.fromtimestamp(checked_at, UTC)
        old = time.time() - checked_at > snapshot.OLD
        key = (address, int(checked_at), old)
        if key not in self._noted:
            if len(self._noted) > 500:
                self._noted.clear()
            page = self.taken.pages[address]
            self._noted[key] = _ready(page, snapshot.with_note(page, at, old), noted=True)
        return self._noted[key]


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns


# ── The layer ───────────────────────────────────────────────────────────────


class LivePage:
    """WSGI: answers GET and HEAD of public pages from the snapshot; hands everything else to `application`."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self.directory = Path(settings.STATUS_DIR)
        # As text: to put a path together costs more than the rest of an answer.
        self.file, self.checked = str(self.directory / snapshot.FILE), str(self.directory / snapshot.CHECKED)
        self.keeper: Keeper | None = None
        self.loaded: Loaded | None = None
        self.away_until = 0.0  # on the monotonic clock; the database did not answer just now

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") or _wants_https(environ):
            return self.application(environ, start_response)
        path = environ.get("PATH_INFO", "")
        if path.startswith(snapshot.PICTURES):
            return self._picture(path, environ, start_response)
        keeper = self._keeper()
        if path.startswith(PRIVATE):
            return self._private(path, environ, start_response)
        addresses, exact = _addresses(path, environ.get("QUERY_STRING", ""), environ.get("HTTP_ACCEPT_LANGUAGE", ""))
        page = self._page(addresses)
        if page and page.noted and not keeper.looked.is_set():  # the first request after a start: a look is under way
            keeper.looked.wait(PATIENCE)
            page = self._page(addresses)
        # While the database is away, a feed with all components is better than none.
        if page is None or not (exact or page.noted):
            return self.application(environ, start_response)
        return _answer(page, environ, start_response)

    def _private(self, path: str, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """A private page as Django answers it: a link may be withdrawn at any moment, which only the database knows.

        Where that is away, what a link opens is answered from what is kept, for UNSURE seconds without asking again.
        """
        if time.monotonic() < self.away_until and (page := self._kept_private(path, environ)):
            return _answer(page, environ, start_response)
        said: list[Any] = []

        def begin(*given: Any) -> Callable[[bytes], object]:
            said[:] = given
            return said.append  # as WSGI asks for; Django writes nothing by it

        answer = self.application(environ, begin)
        if str(said[0]).startswith("503") and (page := self._kept_private(path, environ)):
            self.away_until = time.monotonic() + UNSURE
            getattr(answer, "close", lambda: None)()
            return _answer(page, environ, start_response)
        start_response(*said)
        return answer

    def _kept_private(self, path: str, environ: WSGIEnvironment) -> Ready | None:
        language, asked = _reader(environ.get("QUERY_STRING", ""), environ.get("HTTP_ACCEPT_LANGUAGE", ""))
        found = private_copies.read(self.directory, path, language, asked)
        if found is None:
            return None
        page, at = found
        old = time.time() - at.timestamp() > snapshot.OLD
        return _ready(page, snapshot.with_note(page, at, old), noted=True)

    def _keeper(self) -> "Keeper":
        """The keeper of this process, started at its first request: a server may fork after loading us."""
        if self.keeper is None or self.keeper.process != os.getpid():
            self.keeper = Keeper(self.directory)
            self.keeper.start()
        return self.keeper

    def _page(self, addresses: list[str]) -> Ready | None:
        """What is ready at the first of `addresses` that there is; noted if it is not known to be true now."""
        loaded = self._load()
        if loaded is None:
            return None
        checked = _modified(self.checked) or loaded.taken.at.timestamp()
        late = abs(time.time() - checked) > UNSURE
        found = (loaded.page(one, checked if late else None) for one in addresses)
        return next(filter(None, found), None) or self._kept(addresses, checked if late else None)

    def _kept(self, addresses: list[str], checked: float | None) -> Ready | None:
        """The same of what is long over, which is read from the disk."""
        page = next(filter(None, (archive.read(self.directory, one) for one in addresses)), None)
        if page is None or checked is None:
            return _ready(page, snapshot.without_note(page.body)) if page else None
        at, old = datetime.fromtimestamp(checked, UTC), time.time() - checked > snapshot.OLD
        return _ready(page, snapshot.with_note(page, at, old), noted=True)

    def _load(self) -> Loaded | None:
        loaded = self.loaded
        try:
            if loaded is None or loaded.identity != _identity(self.file):
                loaded = self.loaded = Loaded(self.file)
        except OSError:
            pass  # none was taken yet, or its disk is away
        except ValueError as error:
            log.error("the status page cannot be read: %s", error)
        return loaded

    def _picture(self, path: str, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name = path.removeprefix(snapshot.PICTURES)
        loaded = self._load()
        if loaded is None or not (name in loaded.taken.pictures or name in archive.pictures(self.directory)):
            return self.application(environ, start_response)
        try:
            content = (self.directory / "pictures" / name).read_bytes()
        except OSError:
            return self.application(environ, start_response)
        kind = "image/png" if name.endswith(".png") else "image/jpeg"
        headers = [
            ("Content-Type", kind),
            ("Cache-Control", "public, max-age=31536000, immutable"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        return _answer(Ready(headers, content, f'"{name.partition(".")[0]}"'), environ, start_response)


def _wants_https(environ: WSGIEnvironment) -> bool:
    """Whether Django would send this reader to HTTPS first."""
    if not settings.SECURE_SSL_REDIRECT:
        return False
    if settings.SECURE_PROXY_SSL_HEADER:
        name, value = settings.SECURE_PROXY_SSL_HEADER
        return environ.get(name, "").split(",")[0].strip() != value
    return environ.get("wsgi.url_scheme") != "https"


def _addresses(path: str, query: str, accepted: str) -> tuple[list[str], bool]:
    """Where in a snapshot the page may stand, and whether it is just what was asked for: Django knows more of some."""
    exact = True
    if query:
        given = parse_qs(query)
        exact = "components" not in given
        if "page" in given and path == HISTORY:  # as older pages of the archive were asked for once: Django redirects
            return [], True
    language, asked = _reader(query, accepted)
    return [snapshot.address(path, language, asked), snapshot.address(path)], exact


def _reader(query: str, accepted: str) -> tuple[str, bool]:
    """The language of the reader, and whether they asked for it."""
    asked = parse_qs(query).get("lang", [""])[-1] if query else ""
    if asked in dict(settings.LANGUAGES):
        return asked, True
    return _language(accepted[:200]), False


_language = lru_cache(1000)(accepted_language)


def _answer(page: Ready, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    zip_it = page.zipped and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "")
    etag = f'{page.etag[:-1]}-gz"' if zip_it else page.etag
    headers = [*page.headers, ("ETag", etag)]
    if _is_known(environ, page, etag):
        start_response("304 Not Modified", [one for one in headers if one[0] in CACHED])
        return []
    body = page.zipped if zip_it else page.body
    if zip_it:
        headers.append(("Content-Encoding", "gzip"))
    headers.append(("Content-Length", str(len(body))))
    start_response("200 OK", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _is_known(environ: WSGIEnvironment, page: Ready, etag: str) -> bool:
    """RFC 9110, 13.2.2: If-None-Match comes first, by weak comparison; If-Modified-Since only without it."""
    known = environ.get("HTTP_IF_NONE_MATCH")
    if known is not None:
        return known.strip() == "*" or etag in [one.strip().removeprefix("W/") for one in known.split(",")]
    return bool(page.last_modified) and environ.get("HTTP_IF_MODIFIED_SINCE") == page.last_modified


def _modified(path: str | Path) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


# ── The keeper ──────────────────────────────────────────────────────────────


_keepers: list["Keeper"] = []


def look_again() -> None:
    """Something public changed in this process: do not wait for the next look."""
    for one in _keepers:
        one.poked.set()


class Keeper:
    """A thread that sees to it that the snapshot is true. Of all processes of a machine one at a time looks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = os.getpid()
        self.poked = threading.Event()
        self.looked = threading.Event()  # once, whatever came of it
        self._complained = False
        _keepers[:] = [self]

    def start(self) -> None:
        threading.Thread(target=self._keep, name="status page", daemon=True).start()

    def _keep(self) -> None:
        while True:
            poked = self.poked.is_set()
            self.poked.clear()
            try:
                counting.tally.write_if_due()
                look(self.directory, at_once=poked)
                self._complained = False
            except Exception as error:
                if not self._complained:  # once for each time that it is away
                    log.error("the status page stays as it was: %s: %s", type(error).__name__, error)
                self._complained = True
            finally:
                connection.close_if_unusable_or_obsolete()
                self.looked.set()
            self.poked.wait(INTERVAL)


def look(directory: Path, at_once: bool = False) -> bool:
    """Render the snapshot anew if anything public changed; whether it is known to be true now.

    Does nothing where another process looked within INTERVAL, or is looking. Raises what the database or the disk says.
    """
    checked = directory / snapshot.CHECKED
    if not at_once and (seen := _modified(checked)) and 0 <= time.time() - seen < INTERVAL * 0.9:
        return True
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if at_once else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        began = time.time()
        now = version()
        try:
            _bring_up_to_date(directory, now, began)
        finally:  # also where the public page cannot be rendered: a link may have been withdrawn
            private_copies.refresh(directory, now, began, ARCHIVING)
    return True


def _bring_up_to_date(directory: Path, now: str, began: float) -> None:
    """The public page. `now` is facts.version(), asked for at the moment `began`."""
    changed = False
    try:
        taken = snapshot.read_head(directory / snapshot.FILE)
    except (OSError, ValueError):
        taken = None
    if taken is None or taken.version != now or began - taken.at.timestamp() > RENEW:
        fresh = snapshot.take(now)
        snapshot.save(fresh, directory)
        _forget_pictures(directory, {*fresh.pictures, *archive.pictures(directory)}, began)
        changed = True
    checked = directory / snapshot.CHECKED
    checked.touch()
    os.utime(checked, (began, began))
    if changed or not archive.is_complete(directory):
        archive.refresh(directory, ARCHIVING)


def _forget_pictures(directory: Path, shown: set[str], now: float) -> None:
    for path in (directory / "pictures").glob("*.*"):
        written = _modified(path)
        if path.name not in shown and written and now - written > LINGER:
            path.unlink(missing_ok=True)
