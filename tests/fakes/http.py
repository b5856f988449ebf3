"""A fake HTTP peer on loopback: keeps what it was sent, and answers by a rule or by the next step of a script."""

import json
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.aws import Drop, Hang


@dataclass(frozen=True)
class Reply:
    """An answer: JSON unless the body is bytes."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]  # tells connections apart

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, Any]:
        """The fields of multipart/form-data: text as str, a file as (content type, bytes)."""
        return form(self.headers["Content-Type"], self.body)


def form(content_type: str, body: bytes) -> dict[str, Any]:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    found: dict[str, Any] = {}
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        found[name] = (part.get_content_type(), content) if part.get_filename() else content.decode()
    return found


class FakeHttp:
    """`rule(call)` answers; `script()` queues what the next calls meet instead (None: the rule)."""

    def __init__(
        self, rule: Callable[[Call], Reply | Drop | Hang] = lambda call: Reply(), certificate: str = ""
    ) -> None:
        self.rule = rule
        self.calls: list[Call] = []
        self.steps: deque[Reply | Drop | Hang | None] = deque()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.002,), daemon=True)
        self._thread.start()

    def script(self, *steps: Reply | Drop | Hang | None) -> None:
        self.steps.extend(steps)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 makes who comes sixth wait for a second


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHttp
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = Call(self.command, self.path, dict(self.headers.items()), body, self.client_address)
        self.fake.calls.append(call)
        step = (self.fake.steps.popleft() if self.fake.steps else None) or self.fake.rule(call)
        if isinstance(step, Hang):
            self.fake.closing.wait(60)
            step = Drop()
        if isinstance(step, Drop):
            if step.cut:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        raw = step.body if isinstance(step.body, bytes) else json.dumps(step.body).encode()
        self.send_response(step.status)
        kind = {} if "Content-Type" in step.headers else {"Content-Type": "application/json"}
        for name, value in {**kind, **step.headers, "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, *_args: Any) -> None:
        pass
