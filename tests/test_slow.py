"""Bodies that come slowly, or never, or are far too long: of the layer itself, and of a real web server."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as portal

from commsportal import slow
from tests import make
from tests.postgres import free_port
from tests.workers import database_url, until


class Never:
    """A stream on which nothing comes before `gone` is set."""

    def __init__(self) -> None:
        self.gone = threading.Event()

    def read(self, _size: int) -> bytes:
        self.gone.wait(30)
        return b""


@pytest.fixture
def never() -> Iterator[Never]:
    stream = Never()
    yield stream
    stream.gone.set()


def echo(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


def call(layer: slow.SlowBodies, stream: Any, length: str) -> tuple[str, bytes]:
    said: list[str] = []
    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": length, "wsgi.input": stream}
    body = b"".join(layer(environ, lambda status, _headers: said.append(status)))  # type: ignore[arg-type, return-value]
    return said[0], body


def test_a_body_comes_through_as_it_is():
    layer = slow.SlowBodies(echo)
    for _round in range(slow.PLACES * 2):  # each gives its place back
        assert call(layer, BytesIO(b"medium=email" * 1000 + b"more"), "12000") == ("200 OK", b"medium=email" * 1000)


@pytest.mark.parametrize("length", ["", "0", "-1", "x", "²"])
def test_without_a_length_nothing_is_waited_for(length):
    def seen(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"untouched" if environ["wsgi.input"] is None else b"wrapped"]

    assert call(slow.SlowBodies(seen), None, length) == ("200 OK", b"untouched")


def test_who_sends_nothing_is_given_up(monkeypatch, never):
    monkeypatch.setattr(slow, "PATIENCE", 0.05)
    layer = slow.SlowBodies(echo)
    for _round in range(slow.PLACES * 2):
        with pytest.raises(TimeoutError, match="10 bytes did not come"):
            call(layer, never, "10")


def test_a_connection_that_breaks_is_no_crash_of_the_reading_thread():
    class Broken:
        def read(self, _size: int) -> bytes:
            raise RuntimeError("gone")

    with pytest.raises(TimeoutError):
        call(slow.SlowBodies(echo), Broken(), "10")


def test_where_too_many_are_waited_for_others_are_told_at_once(never):
    layer = slow.SlowBodies(echo)
    waiting = [threading.Thread(target=call, args=(layer, never, "10")) for _n in range(slow.PLACES)]
    for one in waiting:
        one.start()
    until(lambda: not layer.places.acquire(blocking=False) or layer.places.release())
    assert call(layer, BytesIO(b"x"), "1")[0] == "503 Service Unavailable"
    never.gone.set()
    for one in waiting:
        one.join()
    assert call(layer, BytesIO(b"x"), "1") == ("200 OK", b"x")


# ── A real web server ──


@pytest.fixture
def server(transactional_db: None, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Its port and its log; started as deploy/commsportal-web.service starts it, with one process."""
    unit = (portal.BASE_DIR / "deploy/commsportal-web.service").read_text()
    threads = re.search(r"--blocking-threads (\d+)", unit)
    assert threads
    assert int(threads[1]) > slow.PLACES
    make.channel()
    port = free_port()
    env = os.environ | {"DATABASE_URL": database_url(), "DATA_DIR": str(tmp_path), "SECRET_KEY": portal.SECRET_KEY}
    (tmp_path / "static").mkdir()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "commsportal.wsgi:application", "--http", "1"]
    command += ["--no-ws", "--blocking-threads", threads[1], "--port", str(port), "--working-dir", str(portal.BASE_DIR)]
    log = tmp_path / "web.log"
    with log.open("wb") as out:
        web = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        until(lambda: said(port, b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == 200)
        yield port, log
    finally:
        web.terminate()
        web.wait(20)


def opened(port: int, request: bytes) -> socket.socket:
    talk = socket.create_connection(("127.0.0.1", port), timeout=20)
    talk.sendall(request)
    return talk


def said(port: int, request: bytes) -> int:
    """The status of the answer to these very bytes; 0 if there is none."""
    try:
        with opened(port, request) as talk:
            found = re.match(rb"HTTP/1\.[01] (\d{3}) ", talk.recv(1000))
    except OSError:
        return 0
    return int(found[1]) if found else 0


def get(address: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET " + address + b" HTTP/1.1", b"Host: 127.0.0.1", *headers, b"", b""])


def post(address: bytes, length: object, body: bytes = b"", *headers: bytes) -> bytes:
    head = [b"POST " + address + b" HTTP/1.1", b"Host: 127.0.0.1", b"Content-Length: " + str(length).encode(), *headers]
    return b"\r\n".join([*head, b"Content-Type: application/x-www-form-urlencoded", b"", body])


@pytest.mark.once
def test_a_real_server_answers_what_is_broken_too_long_or_slow_and_others_meanwhile(server):
    port, log = server
    long = b"a=" + b"x" * 3_000_000
    for address, status in (
        (b"/subscribe/", 413),
        (b"/survey/x/", 404),
        (b"/unsubscribe/x/", 404),
        (b"/in-app/seen", 204),
        (b"/admin/login/", 403),
        (b"/i18n/setlang/", 403),
    ):
        assert said(port, post(address, len(long), long)) == status, address
        assert said(port, post(address, len(long), b"a=")) == status, address  # it is not waited for
    # A cookie and its token, so that the body is read.
    token = b"x" * 32
    signed = post(b"/admin/login/", len(long), long, b"Cookie: csrftoken=" + token)
    assert said(port, signed) in (400, 403)

    chunked = b"Transfer-Encoding: chunked"
    for request, expected in (
        (post(b"/subscribe/", -5), {400}),
        (post(b"/subscribe/", "5\r\nContent-Length: 6", b"a=bcde"), {400}),
        (get(b"/", b"X: a\0b"), {400}),
        (get(b"/", b"Accept-Language: it\r\n X-Evil: 1"), {400}),
        (get(b"/", b"Accept-Language: it\rX-Evil: 1"), {400}),
        (get(b"/", b"Accept-Language: \xff\xfe\xed\xa0\x80"), {200}),
        (get(b"/", b"X: " + b"x" * 600_000), {431, 0}),
        (get(b"/subscribe?" + b"x" * 20_000), {400}),
        (get(b"/subscribe/?" + b"x" * 600_000), {414, 431, 0}),
        (get(b"/incidents/%zz%e0%80%00/"), {400, 404}),
        (get(b"/%ff%fe/\xff"), {400, 404}),
        (get(b"/subscribe/?lang=%00%ed%a0%80&%ff=%fe"), {200}),
        (b"<SCRIPT> / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {400}),
        (b"BREW /subscribe/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {405}),
        (b"GET /subscribe/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", {400}),
        (
            b"POST /subscribe/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" + chunked + b"\r\n\r\n5\r\na=bcd\r\n0\r\n\r\n",
            {422, 400},
        ),
    ):
        assert said(port, request) in expected, request[:200]
    for address in (b"/subscribe/", b"/survey/x/", b"/in-app/seen", b"/admin/login/"):
        opened(port, post(address, 1000, b"a=")).close()  # gone in the middle

    slow_ones = [opened(port, post(b"/subscribe/", 1000, b"a=")) for _n in range(30)]
    until(lambda: "too many slow clients" in log.read_text())
    began = time.monotonic()
    assert said(port, get(b"/")) == said(port, get(b"/livez")) == 200
    assert time.monotonic() - began < 10
    for one in slow_ones:
        one.close()
    until(lambda: said(port, post(b"/subscribe/", 3, b"a=b")) == 422)
    assert "Traceback" not in log.read_text()
