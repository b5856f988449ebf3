"""Make a thing once, however often a program asks: it names what it asks by the header Idempotency-Key."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Header, Schema
from ninja.responses import NinjaJSONEncoder
from pydantic import StringConstraints

from incidents.models import ApiAnswer

from .problems import Stop

M = TypeVar("M", bound=Model)
CREATED = 201
KeyHeader = Annotated[
    str | None,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[!-~]+$"),
    Header(None, alias="Idempotency-Key", description="The same key with the same body makes nothing twice (24 hours)"),
]


def once(
    request: HttpRequest,
    key: str | None,
    seen: Callable[[], QuerySet[Any]],
    make: Callable[[], M],
    show: Callable[[M], Schema],
) -> HttpResponse:
    """Make it and say so, with 201; asked again, say the same. `seen`: the things of its kind that may be shown.

    What was refused is not kept: asked again, it is tried again. Raises Stop (409: the key was used for something
    else), Http404 (what was made then may not be seen any more), and whatever `make` raises.
    """
    if not key:
        made = make()
        return _response(_plain(show(made)))
    mine = ApiAnswer.objects.filter(token=request.auth, key=key)  # type: ignore[attr-defined]
    print_ = _fingerprint(request)
    try:
        with transaction.atomic():
            if before := mine.first():
                return _again(before, print_, seen)
            # First of all: whoever asks the same at this moment waits here until this is done, or undone.
            kept = ApiAnswer.objects.create(
                token=request.auth,  # type: ignore[attr-defined]
                key=key,
                fingerprint=print_,
                status=CREATED,
                body={},
            )
            made = make()
            kept.about, kept.body = about(made), _plain(show(made))
            kept.save(update_fields=["about", "body"])
    except IntegrityError:
        if before := mine.first():
            return _again(before, print_, seen)
        raise
    return _response(kept.body)


def about(thing: Model) -> str:
    return f"{thing._meta.model_name}:{thing.pk}"


def _fingerprint(request: HttpRequest) -> str:
    """Of what is asked, however its JSON is written."""
    body = json.dumps(json.loads(request.body or b"null"), sort_keys=True)
    return hashlib.sha256(f"{request.method} {request.path}\n{body}".encode()).hexdigest()


def _again(before: ApiAnswer, print_: str, seen: Callable[[], QuerySet[Any]]) -> HttpResponse:
    if before.fingerprint != print_:
        raise Stop(
            409,
            "key_reused",
            "This Idempotency-Key was used for another request in the last 24 hours. Take a new key.",
        )
    pk = before.about.partition(":")[2]
    if not pk or not seen().filter(pk=int(pk)).exists():
        raise Http404
    response = _response(before.body)
    response["Idempotency-Replayed"] = "true"
    return response


def _plain(shown: Schema) -> Any:
    return json.loads(json.dumps(shown.model_dump(), cls=NinjaJSONEncoder))


def _response(body: Any) -> HttpResponse:
    text = json.dumps(body, ensure_ascii=True)
    return HttpResponse(text, status=CREATED, content_type="application/json; charset=utf-8")
