"""API tokens: people make and revoke their own; a superuser sees everybody's."""

import secrets
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from unfold.decorators import display

from commsportal.admin import ReadOnlyAdmin
from incidents.errors import Problem
from incidents.models import ApiToken, Scope
from incidents.models.api_token import MAY_HOLD

from . import glance
from .refusal import refused

LASTS = [
    (7, gettext_lazy("7 days")),
    (30, gettext_lazy("30 days")),
    (90, gettext_lazy("90 days")),
    (366, gettext_lazy("1 year")),
]
STATES = {
    "good": (gettext_lazy("Good"), "success"),
    "expired": (gettext_lazy("Expired"), "default"),
    "revoked": (gettext_lazy("Revoked"), "default"),
    "closed": (gettext_lazy("Its owner may use it no more"), "warning"),
}


class OwnerField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return glance.name(obj)


class TokenForm(forms.Form):
    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=80,
        help_text=gettext_lazy("Which program uses it, for example: deploy bot."),
    )
    owner = OwnerField(
        get_user_model().objects.none(),
        label=gettext_lazy("Acts as"),
        help_text=gettext_lazy("You, or an account that nobody can log in to."),
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("What it may be used for"),
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Tick at least one: a token that may do nothing is of no use.")},
        help_text=gettext_lazy("It never may do more than the person it acts as. Tick only what the program needs."),
    )
    days = forms.TypedChoiceField(label=gettext_lazy("Good for"), choices=LASTS, coerce=int, initial=90)

    def __init__(self, who: Any, data: Any = None) -> None:
        super().__init__(data, initial={"owner": who.pk})
        people = get_user_model().objects
        # Whoever has a password makes their own: a token of theirs would write in their name.
        accounts = people.filter(is_active=True, is_staff=True, password__startswith=UNUSABLE_PASSWORD_PREFIX)
        owners = people.filter(pk=who.pk) | accounts
        if who.is_superuser and accounts.exists():
            self.fields["owner"].queryset = owners.order_by("username")  # type: ignore[attr-defined]
        else:
            del self.fields["owner"]
        for name in ("name", "owner"):
            if name in self.fields:
                self.fields[name].widget.attrs["class"] = "cp-input"
        self.fields["days"].widget.attrs["class"] = "cp-select"


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    list_display = ["name", "begins", "who", "may", "state", "last_used_at", "expires_at"]
    search_fields = ["name", "prefix", "owner__username"]
    list_select_related = ["owner"]
    ordering = ["-pk"]

    @display(description=gettext_lazy("begins with"), ordering="prefix")
    def begins(self, token: ApiToken) -> str:
        return f"{token.prefix}…"

    @display(description=gettext_lazy("acts as"), ordering="owner__username")
    def who(self, token: ApiToken) -> str:
        return glance.name(token.owner)

    @display(description=gettext_lazy("may"))
    def may(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @display(description=gettext_lazy("state"), label={key: kind for key, (_word, kind) in STATES.items()})
    def state(self, token: ApiToken) -> tuple[str, Any]:
        return token.state, STATES[token.state][0]

    # ── Who may ──

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Who may make none any more must still be able to revoke what there is.
        mine = request.user.has_perm(MAY_HOLD) or ApiToken.objects.for_user(request.user).exists()
        return mine and self._in_scope(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(MAY_HOLD)

    # ── Pages ──

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [path("<int:pk>/revoke/", wrap(self.revoke_view), name="incidents_apitoken_revoke")]
        return [*own, *super().get_urls()]

    def _page(self, request: HttpRequest, name: str, title: str, status: int = 200, **context: Any) -> HttpResponse:
        page = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return render(request, f"admin/incidents/apitoken/{name}.html", page, status=status)

    @method_decorator(never_cache)
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """GET asks what it is for; POST makes it, and its answer shows the secret this once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.user, request.POST or None)
        if request.method != "POST" or not form.is_valid():
            status = 422 if request.method == "POST" else 200
            return self._page(request, "add", _("Make an API token"), status, form=form, once=secrets.token_urlsafe(12))
        data = form.cleaned_data
        # Loading the answer anew would make a second one, which nobody knows of.
        if not cache.add(f"api-token:{request.user.pk}:{request.POST.get('once', '')[:40]}", 1, timeout=24 * 3600):
            messages.warning(request, _("This token was made already. Its secret is not shown a second time."))
            return HttpResponseRedirect(glance.link("incidents_apitoken_changelist"))
        try:
            token, secret = ApiToken.make(
                request.user, data.get("owner") or request.user, data["name"], data["scopes"], data["days"]
            )
        except Problem as error:
            return refused(request, error, request.path)
        self.log_addition(request, token, _("Made: %(scopes)s.") % {"scopes": ", ".join(token.scopes)})
        return self._page(request, "shown", _("The new API token"), token=token, secret=secret)

    def _token(self, request: HttpRequest, pk: Any) -> ApiToken:
        if not self.has_view_permission(request):
            raise PermissionDenied
        token = self.get_object(request, str(pk))
        if token is None:
            raise Http404
        return token

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        token = self._token(request, object_id)
        state, tone = token.state, "good" if token.state == "good" else "quiet"
        return self._page(request, "page", token.name, token=token, state=STATES[state][0], tone=tone)

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET says what ends, POST ends it."""
        token = self._token(request, pk)
        if request.method != "POST":
            return self._page(request, "revoke", _("Revoke this token?"), token=token)
        try:
            token.revoke(request.user)
        except Problem as error:
            return refused(request, error, glance.link("incidents_apitoken_change", pk))
        self.log_change(request, token, _("Revoked."))
        messages.success(request, _("Revoked. Whoever uses it is refused from now on."))
        return HttpResponseRedirect(glance.link("incidents_apitoken_changelist"))
