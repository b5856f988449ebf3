"""Slow clients: who sends a body byte by byte, or goes away in the middle of it, holds up nobody else.

The web server calls us in one of a few threads as soon as it has the headers, and then waits for the body without end.
A proxy that takes in whole requests first keeps that away (nginx does); this is for a portal that has none.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

PLACES = 4  # bodies that a process waits for at a time: fewer than its threads, so that readers always have some
WAIT = 0.1  # seconds for a place
PATIENCE = 20.0  # seconds for a body, and as long as it takes at the slowest pace
SLOWEST = 20_000  # bytes a second
BUSY = b"Too busy just now. Please try again in a minute.\n"


class SlowBodies:
    """WSGI: bounds how many threads wait for bodies, and for how long."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self.places = threading.BoundedSemaphore(PLACES)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()) or int(length) == 0:
            return self.application(environ, start_response)  # without a length Django reads nothing
        if not self.places.acquire(timeout=WAIT):
            log.warning("%s %s refused: too many slow clients", environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(BUSY)))]
            start_response("503 Service Unavailable", [*headers, ("Retry-After", "60")])
            return [BUSY]
        body = Body(environ["wsgi.input"], int(length), self.places.release)
        try:
            return self.application(environ | {"wsgi.input": body}, start_response)
        finally:
            body.leave()


class Body:
    """What a client sends. It gives its place back as soon as it is there in full."""

    def __init__(self, stream: Any, length: int, release: Callable[[], None]) -> None:
        self._stream, self._left, self._release = stream, length, release
        self._end = time.monotonic() + PATIENCE + length / SLOWEST
        self._inside = True

    def leave(self) -> None:
        if self._inside:
            self._inside = False
            self._release()

    def read(self, size: int = -1) -> bytes:
        """Raises TimeoutError, which Django takes for a broken connection."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        if wanted == 0:
            return b""
        found: list[bytes] = []

        def fetch() -> None:
            with suppress(Exception):  # the connection broke: as if nothing more came
                found.append(self._stream.read(wanted))

        # The stream knows no timeout. Left behind, the thread ends with the connection.
        reader = threading.Thread(target=fetch, name="body", daemon=True)
        reader.start()
        reader.join(max(0.0, self._end - time.monotonic()))
        if not found:
            raise TimeoutError(f"{self._left} bytes did not come")
        self._left = self._left - len(found[0]) if found[0] else 0
        if self._left == 0:
            self.leave()
        return found[0]

    def readline(self, size: int = -1) -> bytes:
        raise NotImplementedError("Django reads no body by lines")
