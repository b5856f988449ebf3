"""Private status pages: /private/<key>/…, where the key is a page's uid (its readers log in) or a signed link's."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.contrib import auth
from django.contrib.auth.views import LoginView, redirect_to_login
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import translation
from django.views.decorators.http import require_POST

from incidents.models import StatusPage

from .frame import language, page_context
from .scope import EVERYBODY, Scope

log = logging.getLogger(__name__)
Page = Callable[..., HttpResponse]
R = TypeVar("R", bound=HttpResponseBase)


def scope_of(page: StatusPage, key: str, user: Any = None) -> Scope:
    """One query. `user` is who reads it, where that is known."""
    components = frozenset(page.components.values_list("pk", flat=True))
    by_link = ":" in key
    let_in: dict[str, Any] = {"link": StatusPage.parts_of(key)} if by_link else {"user": user.pk if user else None}
    return Scope(components, page.uid, page.name, f"/private/{key}", by_link=by_link, let_in=let_in)


def scoped(view: Page) -> Page:
    """Calls `view(request, scope, …)` for everybody, or for a private page if the address has its `key`."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, key: str = "", **kwargs: Any) -> HttpResponse:
        if not key:
            return view(request, EVERYBODY, *args, **kwargs)
        try:
            return unshared(_answer(view, request, key, *args, **kwargs))
        except (OperationalError, InterfaceError) as error:
            log.error("a private status page is away: the database does not answer: %s", error)
            response = unshared(_closed(request, "away", 503))
            response["Retry-After"] = "120"
            return response

    return wrapper


def _answer(view: Page, request: HttpRequest, key: str, *args: Any, **kwargs: Any) -> HttpResponse:
    if ":" in key:
        page = StatusPage.by_key(key)
        return view(request, scope_of(page, key), *args, **kwargs) if page else _closed(request, "link")
    if not request.user.is_authenticated:  # also where there is no such page: nobody shall learn it
        return redirect_to_login(request.get_full_path(), reverse("private-login"))
    page = StatusPage.objects.filter(uid=key).first()
    if page is None or not page.may_read(request.user):
        return _closed(request, "login")
    return view(request, scope_of(page, key, request.user), *args, **kwargs)


def unshared(response: R) -> R:
    """Between the portal and one reader: no cache in between keeps it, no search engine lists it."""
    response["Cache-Control"] = "private, no-cache"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response


def _closed(request: HttpRequest, why: str, status: int = 404) -> HttpResponse:
    """`why`: "link" that opens nothing, "login" that does not suffice, or the database is "away"."""
    with translation.override(language(request)):
        context = {**page_context(request), "why": why, "closed": True}
        response = render(request, "statuspage/private_closed.html", context, status=status)
        response["Content-Language"] = translation.get_language()
    return response


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """Back to the public page."""
    auth.logout(request)
    return unshared(HttpResponseRedirect(reverse("status")))


class Login(LoginView):
    """For readers of private pages, staff or not."""

    template_name = "statuspage/private_login.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        chosen = language(request)
        with translation.override(chosen):
            response = super().dispatch(request, *args, **kwargs)
            if hasattr(response, "render"):
                response.render()
        response["Content-Language"] = chosen
        return unshared(response)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), **page_context(self.request), "closed": True}
