"""A fake of AWS services on loopback, built on botocore's own service models.

It checks requests as the models say (required, type, length, range, enum, pattern) and answers typed shapes. Errors,
throttles, silences and dropped replies are scripted. It is a fake: what passes here was never verified on AWS.
"""

import base64
import json
import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.validate import ParamValidator

ACCESS_KEY = "AKIAFAKEFAKEFAKEFAKE"
SECRET_KEY = "fake-secret-never-to-be-seen"


@dataclass(frozen=True)
class Fault:
    """An error answer."""

    code: str
    message: str = ""
    status: int = 400
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Drop:
    """The request was read, then the connection ends without a reply, or (`cut`) in the middle of one."""

    cut: bool = False


@dataclass(frozen=True)
class Hang:
    """The request was read, and nothing comes back until the fake is closed."""


@dataclass(frozen=True)
class Call:
    operation: str
    params: dict[str, Any]
    peer: tuple[str, int]  # tells connections apart


@cache
def model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


class FakeAws:
    """One service. `script()` queues what the next calls of an operation meet; otherwise they succeed."""

    def __init__(self, service: str) -> None:
        self.model = model(service)
        self.calls: list[Call] = []
        self.invalid: list[str] = []
        self.answers: dict[str, Any] = {}  # operation → what it answers, or a function of its parameters
        self.keys = {ACCESS_KEY}
        self.closing = threading.Event()
        self._scripts: dict[str, deque[Any]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.002,), daemon=True)
        self._thread.start()

    def script(self, operation: str, *steps: Fault | Drop | Hang | None) -> None:
        """None stands for a success in between."""
        self._scripts[operation].extend(steps)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def params(self, operation: str) -> list[dict[str, Any]]:
        return [c.params for c in self.calls if c.operation == operation]

    # ── What the handler asks ──

    def accept(self, operation: OperationModel, params: dict[str, Any], peer: tuple[str, int]) -> Any:
        """A Fault, Drop or Hang; or the answer."""
        with self._lock:
            self.calls.append(Call(operation.name, params, peer))
            problems = list(problems_of(params, operation.input_shape))
            if problems:
                self.invalid += problems
                return Fault(self._validation_code(), "; ".join(problems))
            script = self._scripts[operation.name]
            step = script.popleft() if script else None
            if step is not None:
                return step
            answer = self.answers.get(operation.name) or example(operation.output_shape, len(self.calls))
            answer = answer(params) if callable(answer) else answer
            if isinstance(answer, Fault | Drop | Hang):
                return answer
            wrong = list(problems_of(answer, operation.output_shape))
            assert not wrong, f"the fake's own answer does not fit the model: {wrong}"
            return answer

    def _validation_code(self) -> str:
        return {"sesv2": "BadRequestException", "sns": "InvalidParameter"}.get(
            self.model.service_name, "ValidationException"
        )


def example(shape: Shape | None, number: int) -> dict[str, Any]:
    """The string members of an answer, filled in."""
    members = getattr(shape, "members", {})
    return {name: f"fake-{name.lower()}-{number}" for name, one in members.items() if one.type_name == "string"}


def problems_of(value: Any, shape: Shape | None) -> Iterator[str]:
    """Whatever of a value does not fit the model."""
    if shape is None:
        return
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        yield report.generate_report()
    yield from _finer(value, shape, shape.name)


def _finer(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """What botocore's own validator leaves out: maximum, enum, pattern."""
    if isinstance(value, dict) and shape.type_name == "structure":
        for name, one in value.items():
            if name in shape.members:
                yield from _finer(one, shape.members[name], f"{path}.{name}")
    elif isinstance(value, dict) and shape.type_name == "map":
        for name, one in value.items():
            yield from _finer(name, shape.key, f"{path} key")
            yield from _finer(one, shape.value, f"{path}.{name}")
    elif isinstance(value, list) and shape.type_name == "list":
        for n, one in enumerate(value):
            yield from _finer(one, shape.member, f"{path}[{n}]")
    size = value if isinstance(value, int | float) else len(value) if isinstance(value, str | list | dict) else 0
    if "max" in shape.metadata and size > shape.metadata["max"]:
        yield f"{path}: {size} is more than {shape.metadata['max']}"
    if isinstance(value, str) and shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield f"{path}: {value!r} is not one of {shape.enum}"
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            yield f"{path}: {value!r} does not match {pattern}"


class _Handler(BaseHTTPRequestHandler):
    fake: FakeAws
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write a reply

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request", self.headers.get("Authorization", ""))
        if not found or found[1] not in self.fake.keys:
            code = "InvalidClientTokenId" if self._protocol == "query" else "UnrecognizedClientException"
            self._fault(Fault(code, "The security token included in the request is invalid.", 403))
            return
        if found[1] == ACCESS_KEY and not self._is_signed(body, found[2], found[3]):
            self.fake.invalid.append("the signature does not match")
            self._fault(Fault("SignatureDoesNotMatch", "The request signature we calculated does not match.", 403))
            return
        operation, params = self._parse(body)
        step = self.fake.accept(operation, params, self.client_address)
        if isinstance(step, Fault):
            self._fault(step)
        elif isinstance(step, Drop):
            if step.cut:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
                self.wfile.flush()
            self.close_connection = True
        elif isinstance(step, Hang):
            self.fake.closing.wait(60)
            self.close_connection = True
        else:
            self._answer(operation, step)

    do_GET = do_PUT = do_DELETE = do_POST

    def _is_signed(self, body: bytes, region: str, service: str) -> bool:
        """Whether the signature (version 4) is the one of these headers and this body."""
        said = dict(re.findall(r"(\w+)=([^,]+)", self.headers["Authorization"]))
        headers = {name: self.headers[name] for name in said["SignedHeaders"].split(";")}
        request = AWSRequest(self.command, f"http://{self.headers['Host']}{self.path}", headers, body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), service, region)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return signer.signature(text, request) == said["Signature"]

    @property
    def _protocol(self) -> str:
        return self.fake.model.resolved_protocol  # of several, the one that the SDK speaks

    def _parse(self, body: bytes) -> tuple[OperationModel, dict[str, Any]]:
        service = self.fake.model
        if self._protocol == "json":
            name = self.headers["X-Amz-Target"].rpartition(".")[2]
            return service.operation_model(name), json.loads(body or b"{}")
        if self._protocol == "query":
            flat = dict(parse_qsl(body.decode(), keep_blank_values=True))
            operation = service.operation_model(flat.pop("Action"))
            flat.pop("Version")
            return operation, _nested(flat, operation.input_shape, "")
        path, _mark, query = self.path.partition("?")
        for name in service.operation_names:
            operation = service.operation_model(name)
            template = operation.http["requestUri"].partition("?")[0]
            found = re.fullmatch(re.sub(r"\\\{.*?\\\}", "([^/]+)", re.escape(template)), path)
            if found and operation.http["method"] == self.command:
                named = dict(zip(re.findall(r"\{([\w-]+)", template), map(unquote, found.groups()), strict=True))
                outside = named | dict(parse_qsl(query)) | dict(self.headers.items())
                return operation, _gathered(operation, body, outside)
        raise AssertionError(f"no operation of {service.service_name} at {self.command} {path}")

    def _answer(self, operation: OperationModel, answer: dict[str, Any]) -> None:
        if self._protocol == "query":
            inner = "".join(_xml(name, value) for name, value in answer.items())
            name = operation.name
            self._write(200, f"<{name}Response><{name}Result>{inner}</{name}Result></{name}Response>")
        else:
            shape = operation.output_shape
            members = shape.members if shape else {}
            place = {name: members[name].serialization.get("location") for name in answer}
            [status] = [answer[name] for name in answer if place[name] == "statusCode"] or [200]
            headers = {members[n].serialization["name"]: answer[n] for n in answer if place[n] == "header"}
            payload = shape.serialization.get("payload") if shape else None
            said = answer[payload] if payload else {name: answer[name] for name in answer if not place[name]}
            self._write(status, said if isinstance(said, bytes) else json.dumps(said, default=_as_text), headers)

    def _fault(self, fault: Fault) -> None:
        if self._protocol == "query":
            inner = _xml("Type", "Sender") + _xml("Code", fault.code) + _xml("Message", fault.message)
            self._write(fault.status, f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>")
        else:
            body = {"__type": fault.code, "message": fault.message, "Message": fault.message, **fault.extra}
            self._write(fault.status, json.dumps(body), {"x-amzn-ErrorType": fault.code, **fault.headers})

    def _write(self, status: int, text: str | bytes, headers: Mapping[str, str] | None = None) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        known = {"Content-Length": str(len(data)), "x-amzn-RequestId": f"fake-request-{len(self.fake.calls)}"}
        for name, value in {**known, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


def _as_text(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def _gathered(operation: OperationModel, body: bytes, outside: dict[str, str]) -> dict[str, Any]:
    """Parameters of a REST protocol: from the body, from the path, from the query and from the headers."""
    shape = operation.input_shape
    members = {one.serialization.get("name", name): name for name, one in shape.members.items()}
    payload = shape.serialization.get("payload")
    blob = payload and shape.members[payload].type_name == "blob"
    found: Any = body if blob else json.loads(body or b"{}")
    inside: dict[str, Any] = {payload: found} if payload else found
    for name, value in outside.items():
        member = members.get(name)
        if member and shape.members[member].serialization.get("location"):
            number = shape.members[member].type_name == "integer"
            inside = {**inside, member: int(value) if number else value}
    return inside


def _nested(flat: dict[str, str], shape: Shape, prefix: str) -> Any:
    """Parameters of the query protocol, as a structure again (structures and maps of strings, as SNS has them)."""
    if shape.type_name == "structure":
        return {
            name: _nested(flat, one, f"{prefix}{name}")
            for name, one in shape.members.items()
            if any(key == f"{prefix}{name}" or key.startswith(f"{prefix}{name}.") for key in flat)
        }
    if shape.type_name == "map":
        key, value = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
        found, n = {}, 1
        while f"{prefix}.entry.{n}.{key}" in flat:
            below = {k: v for k, v in flat.items() if k.startswith(f"{prefix}.entry.{n}.{value}")}
            found[flat[f"{prefix}.entry.{n}.{key}"]] = _nested(below, shape.value, f"{prefix}.entry.{n}.{value}.")
            n += 1
        return found
    return flat[prefix]


def _xml(name: str, value: Any) -> str:
    if isinstance(value, dict):
        entries = (f"<entry><key>{escape(k)}</key><value>{escape(v)}</value></entry>" for k, v in value.items())
        return f"<{name}>{''.join(entries)}</{name}>"
    return f"<{name}>{escape(str(value).lower() if isinstance(value, bool) else str(value))}</{name}>"


@contextmanager
def fake_aws(service: str) -> Iterator[FakeAws]:
    fake = FakeAws(service)
    try:
        yield fake
    finally:
        fake.close()
