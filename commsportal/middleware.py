import logging
from collections.abc import Callable

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

log = logging.getLogger(__name__)


class PortalCSPMiddleware(CSPMiddleware):
    """One strict policy for the public; the admin's own theme needs a looser one, and only there."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.path.startswith("/admin/") and not hasattr(response, "_csp_replace"):
            response._csp_replace = settings.ADMIN_CSP  # type: ignore[attr-defined]
        return super().process_response(request, response)


class UnstorableDataMiddleware:
    """What the database cannot hold (PostgreSQL: a NUL, a text too long) is the asker's mistake: 400, not 500.

    Verbs run in a transaction, so nothing of the request was saved.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, DataError):
            return None
        log.warning("%s %s refused: %s", request.method, request.path, str(error).split("\n")[0])
        return render(request, "400.html", status=400)
