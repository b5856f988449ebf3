"""The admin as one site: its login, and what stands before every page of it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth import REDIRECT_FIELD_NAME, logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from unfold.sites import UnfoldAdminSite

from . import login, second_factor, two_step

# What is no page, and changes nothing but the session.
ALWAYS = ("logout", "jsi18n")


class PortalAdminSite(UnfoldAdminSite):
    @method_decorator(never_cache)
    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """As Django's, which logs in by the password alone."""
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        context = {
            **self.each_context(request),
            "title": _("Log in"),
            "subtitle": None,
            "app_path": request.get_full_path(),
            "username": request.user.get_username(),
            **(extra_context or {}),
        }
        if REDIRECT_FIELD_NAME not in request.GET and REDIRECT_FIELD_NAME not in request.POST:
            context[REDIRECT_FIELD_NAME] = reverse("admin:index")
        request.current_app = self.name  # type: ignore[attr-defined]
        view = login.Login.as_view(
            extra_context=context, authentication_form=self.login_form, template_name="admin/login.html"
        )
        return view(request)

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        """Every page of the admin passes here: who must have a second factor does nothing without."""

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            name = request.resolver_match.url_name if request.resolver_match else ""
            where = "" if name in ALWAYS else second_factor.detour(request, name in two_step.NAMES)
            return self._detour(request, where) if where else view(request, *args, **kwargs)

        return super().admin_view(guarded, cacheable)

    def _detour(self, request: HttpRequest, where: str) -> HttpResponse:
        if where == "log in":  # a session from elsewhere, which has not taken the second step
            logout(request)
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        return HttpResponseRedirect(reverse("admin:two_step"))

    def extra_urls(self) -> list[URLPattern]:
        """The theme puts them before its own."""
        step = path("login/second-step/", login.second_step, name="second_step")
        return [step, *two_step.urls(self.admin_view)]


def account_links(request: HttpRequest) -> list[dict[str, Any]]:
    """UNFOLD["ACCOUNT"]["navigation"]: the menu of whoever is logged in."""
    if not request.user.is_authenticated:  # the login page has the same frame
        return []
    links = [{"title": _("Two-step login"), "link": reverse("admin:two_step")}]
    if request.user.has_usable_password():
        links.append({"title": _("Change password"), "link": reverse("admin:password_change")})
    return links
