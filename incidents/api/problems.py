"""Why a request was refused, as RFC 9457 has it: {"type", "title", "status", "detail", "code", "errors"}.

`code` is a word for programs and stays; `detail` is for people. Each error names the field, its value and the fix.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI, Schema
from ninja.errors import HttpError, ValidationError

from incidents.errors import NotAllowed, Problem, Refused, WrongState
from incidents.writing import BadField

log = logging.getLogger(__name__)
SHOWN = 80  # characters of a value
CODES: dict[type[Problem], str] = {NotAllowed: "not_allowed", WrongState: "wrong_state", Refused: "refused"}
# What pydantic calls it → what to do.
FIXES = {
    "missing": "Give it.",
    "extra_forbidden": "Leave it out: it is not known here.",
    "string_type": "Write a text.",
    "string_unicode": "Write a text of whole characters.",
    "string_pattern_mismatch": "Leave out what does not belong there.",
    "bool_type": "Write true or false.",
    "int_type": "Write a whole number.",
    "model_type": "Write an object.",
    "model_attributes_type": "Write an object.",
    "dict_type": "Write an object.",
    "list_type": "Write a list.",
}
# What pydantic says too much like a program.
MESSAGES = {"extra_forbidden": "There is no such field.", "missing": "It is needed."}


@dataclass(frozen=True)
class Wrong:
    """One field that cannot be taken. `place`: body, query, path or header."""

    place: str
    field: str
    value: str
    message: str
    fix: str


class Stop(Exception):
    """The request ends here, with this answer."""

    def __init__(self, status: int, code: str, detail: str, errors: Iterable[Wrong] = (), **headers: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors = status, code, detail, list(errors)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class FieldError(Schema):
    place: str
    field: str
    value: str
    message: str
    fix: str


class ProblemOut(Schema):
    """RFC 9457, as application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError]


def answer(status: int, code: str, detail: str, errors: Iterable[Wrong] = ()) -> HttpResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [asdict(one) for one in errors],
    }
    text = json.dumps(body, ensure_ascii=True)
    return HttpResponse(text, status=status, content_type="application/problem+json")


def stopped(_request: HttpRequest, stop: Stop) -> HttpResponse:
    response = answer(stop.status, stop.code, stop.detail, stop.errors)
    for name, value in stop.headers.items():
        response[name] = value
    return response


def shown(value: Any) -> str:
    """Enough of a value to recognise it."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text[:SHOWN].encode("utf-8", "replace").decode()


def missing(_request: HttpRequest, _error: Exception) -> HttpResponse:
    return answer(404, "not_found", "There is no such thing, or it is not yours to see.")


def refused(_request: HttpRequest, error: Problem) -> HttpResponse:
    """A verb said no, in its own words."""
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), "refused")
    wrong: list[Wrong] = []
    if isinstance(error, BadField):
        wrong.append(Wrong("body", error.name, shown(error.value), str(error), error.fix))
    for one in getattr(error, "findings", []):
        place = ".".join(part for part in ("words" if one.locale else "", one.locale, one.field) if part)
        wrong.append(Wrong("body", place, shown(one.excerpt), one.message, one.fix or "Change what stands there."))
    return answer(error.status, code, str(error), wrong)


def invalid(_request: HttpRequest, error: ValidationError) -> HttpResponse:
    """What was given is not what the document says. What cannot be an id is one of nothing."""
    if any(one["loc"][0] == "path" for one in error.errors):
        return missing(_request, error)
    wrong = [_wrong(one) for one in error.errors]
    return answer(422, "invalid", "; ".join(f"{one.field or one.place}: {one.message}" for one in wrong[:5]), wrong)


def _wrong(one: dict[str, Any]) -> Wrong:
    place, *inner = one["loc"]
    # The name of the function's parameter stands before the fields of a body.
    names = [str(part) for part in (inner[1:] if place == "body" else inner)]
    fix = (one.get("ctx") or {}).get("fix") or FIXES.get(one["type"]) or f"{one['msg']}."
    value = "" if one["type"] == "missing" else shown(one.get("input"))
    message = MESSAGES.get(one["type"], one["msg"])
    return Wrong(str(place), ".".join(names), value, message, fix)


def http_error(_request: HttpRequest, error: HttpError) -> HttpResponse:
    return answer(error.status_code, "unreadable", "The body is not JSON. Send one object, as UTF-8.")


def unstorable(request: HttpRequest, error: DataError) -> HttpResponse:
    log.warning("%s %s refused: %s", request.method, request.path, str(error).split("\n")[0])
    return answer(422, "unstorable", "A text has characters that cannot be kept, or is too long.")


def unreadable(_request: HttpRequest, _error: Exception) -> HttpResponse:
    return answer(400, "unreadable", "The request could not be read to its end.")


def away(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("%s %s: the database does not answer: %s", request.method, request.path, error)
    response = answer(503, "away", "The database does not answer just now. Nothing was changed.")
    response["Retry-After"] = "5"
    return response


HANDLERS: dict[type[Exception], Any] = {
    Stop: stopped,
    Problem: refused,
    ValidationError: invalid,
    HttpError: http_error,
    Http404: missing,
    DataError: unstorable,
    UnreadablePostError: unreadable,
    SuspiciousOperation: unreadable,
    OperationalError: away,
    InterfaceError: away,
}


def handle(api: NinjaAPI) -> None:
    for kind, handler in HANDLERS.items():
        api.add_exception_handler(kind, handler)
