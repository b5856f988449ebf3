"""The REST API, below /api/v1/: the verbs of the admin, for programs, with the permissions of the person they act as.

Every operation loads, calls one verb and shows what came of it. What the admin asks a person to confirm before
customers read it, approving and publishing, has no operation here.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from django.urls import URLPattern, re_path
from ninja import NinjaAPI
from ninja.errors import ValidationError

from . import access, components, deliveries, events, incidents, problems, subscribers, token, updates

VERSION = "1.0"
MAX_BODY = 256 * 1024
DESCRIPTION = (
    "Incidents and what is said about them, for programs. A token acts as a member of staff, and never does more than "
    "they may. What is written is a draft: approving and publishing take people who are logged in."
)


class PortalAPI(NinjaAPI):
    """Answers every refusal as RFC 9457 has it, and describes that in its document."""

    _document: dict[str, Any] | None = None

    def _get_urls(self) -> list[Any]:
        urls = [*super()._get_urls(), re_path(r"^[\s\S]*$", _nowhere, name="nowhere")]
        for one in urls:
            assert isinstance(one, URLPattern)
            one.callback = guarded(one.callback)
        return urls

    def validation_error_from_error_contexts(self, error_contexts: list[Any]) -> ValidationError:
        """As ninja makes it, with the values, which a message names."""
        found = super().validation_error_from_error_contexts(error_contexts)
        given = [one for context in error_contexts for one in context.pydantic_validation_error.errors()]
        for error, origin in zip(found.errors, given, strict=True):
            error["input"] = origin.get("input")
        return found

    def get_openapi_schema(self, **kwargs: Any) -> Any:
        """The document, which is the same for everybody and made once."""
        if self._document is None:
            self._document = described(super().get_openapi_schema(**kwargs), self)
        return self._document


def described(document: Any, api: PortalAPI) -> Any:
    """With the scope that each operation needs, and how all of them refuse."""
    schema = problems.ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= schema.pop("$defs")
    document["components"]["schemas"]["Problem"] = schema
    refusal = {
        "description": "Refused: RFC 9457",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    scopes = {
        operation.operation_id: getattr(operation.auth_callbacks[0], "scope", "")
        for bound in api._get_bound_routers()
        for view in bound.path_operations.values()
        for operation in view.operations
    }
    for methods in document["paths"].values():
        for one in methods.values():
            scope = scopes[one["operationId"]]
            one["summary"] = one["description"].partition("\n")[0].rstrip(".")
            one["security"] = [{"Bearer": [scope] if scope else []}]
            one["responses"] = {str(status): answer for status, answer in one["responses"].items()}
            one["responses"]["default"] = refusal
    return document


def guarded(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """What holds for every address of the API, also for one that is none."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = _answered(view, request, *args, **kwargs)
        if response.status_code == 405:
            allowed = response["Allow"]
            response = problems.answer(405, "method_not_allowed", f"This address takes {allowed}.")
            response["Allow"] = allowed
        response["Cache-Control"] = "no-store"
        return response

    checked.csrf_exempt = True  # type: ignore[attr-defined]  # no cookie is looked at: a token is the key
    return checked


def _answered(view: Callable[..., HttpResponseBase], request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or len(length) > 12 or int(length) > MAX_BODY:
        return problems.answer(413, "too_long", f"The body is longer than {MAX_BODY // 1024} KB.")
    if int(length) and request.content_type != "application/json":
        return problems.answer(415, "not_json", "Send JSON, and say so: Content-Type: application/json.")
    try:
        access.refuse_in_address(request)
        return view(request, *args, **kwargs)
    except problems.Stop as stop:
        return problems.stopped(request, stop)
    except Http404 as error:
        return problems.missing(request, error)
    except (SuspiciousOperation, UnreadablePostError) as error:
        return problems.unreadable(request, error)


def _nowhere(request: HttpRequest) -> HttpResponse:
    return problems.missing(request, Http404())


def _known_only(run: Any) -> Any:
    """Refuse what is not known in an address: a filter that is misspelt must not show everything."""
    models = run.__self__.models
    names = {name for one in models if one.__ninja_param_source__ == "query" for name in one.__ninja_flatten_map__}

    @wraps(run)
    def checked(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        unknown = sorted(set(request.GET) - names)
        if not unknown:
            return run(request, **kwargs)
        fix = f"Use: {', '.join(sorted(names))}." if names else "Leave it out: this address takes none."
        wrong = [
            problems.Wrong("query", problems.shown(one), problems.shown(request.GET[one]), "Not known here.", fix)
            for one in unknown
        ]
        return problems.answer(422, "invalid", f"{wrong[0].field}: not known here.", wrong)

    return checked


api = PortalAPI(
    title="Commsportal API",
    version=VERSION,
    description=DESCRIPTION,
    urls_namespace="api-v1",
    docs_url=None,  # ninja's page would load its script from another host
)
problems.handle(api)
api.add_decorator(_known_only, mode="view")
for module in (token, incidents, updates, components, subscribers, deliveries, events):
    api.add_router("", module.router)
