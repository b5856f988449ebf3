"""Private status pages: /private/<key>/…, where the key is a page's uid (its readers log in) or a signed link's."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.contrib import auth
from django.contrib.auth.views import LoginView, redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import translation
from django.views.decorators.http import require_POST

from incidents.models import StatusPage

from .frame import language, page_context
from .scope import EVERYBODY, Scope

Page = Callable[..., HttpResponse]
R = TypeVar("R", bound=HttpResponseBase)


def scope_of(page: StatusPage, key: str) -> Scope:
    """One query."""
    components = frozenset(page.components.values_list("pk", flat=True))
    return Scope(components, page.uid, page.name, f"/private/{key}", by_link=":" in key)


def scoped(view: Page) -> Page:
    """Calls `view(request, scope, …)` for everybody, or for a private page if the address has its `key`."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, key: str = "", **kwargs: Any) -> HttpResponse:
        if not key:
            return view(request, EVERYBODY, *args, **kwargs)
        by_link = ":" in key
        page = StatusPage.by_key(key) if by_link else StatusPage.objects.filter(uid=key).first()
        if not by_link and not request.user.is_authenticated:  # also where there is no such page: nobody shall learn it
            return unshared(redirect_to_login(request.get_full_path(), reverse("private-login")))
        if page is None or not (by_link or page.may_read(request.user)):
            return unshared(_closed(request, by_link))
        return unshared(view(request, scope_of(page, key), *args, **kwargs))

    return wrapper


def unshared(response: R) -> R:
    """Between the portal and one reader: no cache in between keeps it, no search engine lists it."""
    response["Cache-Control"] = "private, no-cache"
    response["X-Robots-Tag"] = "noindex, nofollow"
    response["Referrer-Policy"] = "same-origin"
    return response


def _closed(request: HttpRequest, by_link: bool) -> HttpResponse:
    chosen = language(request)
    with translation.override(chosen):
        context = {**page_context(request, EVERYBODY), "by_link": by_link, "closed": True}
        return render(request, "statuspage/private_closed.html", context, status=404)


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """Back to the public page."""
    auth.logout(request)
    return unshared(HttpResponseRedirect(reverse("status")))


class Login(LoginView):
    """For readers of private pages, staff or not."""

    template_name = "statuspage/private_login.html"
    redirect_authenticated_user = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        chosen = language(request)
        with translation.override(chosen):
            response = super().dispatch(request, *args, **kwargs)
            if hasattr(response, "render"):
                response.render()
        response["Content-Language"] = chosen
        return unshared(response)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), **page_context(self.request, EVERYBODY), "closed": True}
