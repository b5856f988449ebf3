"""One's own second factors: an authenticator app, passkeys, and recovery codes for when they are lost.

To change any of it takes a password that was typed a moment ago: a screen that was left open must not be enough.
"""

import base64
from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import Any

from allauth.core import ratelimit
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal import flows as recovery
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal import flows as totp
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from allauth.mfa.webauthn.internal import auth as webauthn
from cryptography.fernet import InvalidToken
from django import forms
from django.contrib import admin, messages
from django.core.validators import MaxLengthValidator
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from . import second_factor
from .login import NONSENSE, UNTYPED

MOST_PASSKEYS = 20
FEW_CODES = 3
View = Callable[..., HttpResponse]


def urls(wrap: Callable[[View], Any]) -> list[URLPattern]:
    pages: list[tuple[str, View, str]] = [
        ("", page, "two_step"),
        ("confirm/", confirm, "two_step_confirm"),
        ("app/", add_app, "two_step_app"),
        ("passkey/", add_passkey, "two_step_passkey"),
        ("codes/", codes, "two_step_codes"),
        ("<int:pk>/remove/", remove, "two_step_remove"),
    ]
    return [path(f"two-step/{below}", wrap(never_cache(view)), name=name) for below, view, name in pages]


NAMES = {"two_step", "two_step_confirm", "two_step_app", "two_step_passkey", "two_step_codes", "two_step_remove"}


def sure(view: View) -> View:
    """Asks for the password first, unless it was typed within ten minutes."""

    @wraps(view)
    def asked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if second_factor.is_sure(request):
            return view(request, *args, **kwargs)
        return HttpResponseRedirect(f"{reverse('admin:two_step_confirm')}?next={request.path}")

    return asked


def _shown(request: HttpRequest, name: str, title: str, **found: Any) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": title, **found}
    return render(request, f"admin/two_step/{name}.html", context)


def _back() -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:two_step"))


# ── What there is ──


def page(request: HttpRequest) -> HttpResponse:
    found = second_factor.of(request.user)
    left = _codes_of(request) if found else []
    return _shown(
        request,
        "page",
        _("Two-step login"),
        factors=[(one, second_factor.name(one)) for one in found],
        has_app=any(one.type == second_factor.Type.TOTP for one in found),
        codes_left=len(left),
        few_codes=len(left) <= FEW_CODES,
        required=second_factor.must_have(request.user),
        passkeys_work=_passkeys_work(request),
        may_add_passkey=len(found) < MOST_PASSKEYS,
    )


def _codes_of(request: HttpRequest) -> list[str]:
    """Recovery codes that are left; none where no key reads them any more."""
    kept = Authenticator.objects.filter(user=request.user, type=second_factor.Type.RECOVERY_CODES).first()
    try:
        return kept.wrap().get_unused_codes() if kept else []
    except InvalidToken:
        return []


def _passkeys_work(request: HttpRequest) -> bool:
    """Browsers make passkeys for names alone, over HTTPS or on the machine itself."""
    host = request.get_host().rpartition(":")[0] or request.get_host()
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return request.is_secure() or host == "localhost" or host.endswith(".localhost")
    return False


# ── The password again ──


class PasswordForm(forms.Form):
    password = forms.CharField(
        label=gettext_lazy("Password"),
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput({"autocomplete": "current-password", "class": "cp-input", "autofocus": ""}),
        error_messages={"null_characters_not_allowed": UNTYPED},
    )

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_password(self) -> str:
        typed = self.cleaned_data["password"]
        if not ratelimit.consume(self.request, action="reauthenticate"):
            raise forms.ValidationError(_("Too many tries. Wait a minute, then try again."))
        if not self.request.user.check_password(typed):
            raise forms.ValidationError(_("This is not your password."))
        return typed


@sensitive_post_parameters()
def confirm(request: HttpRequest) -> HttpResponse:
    then = request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(then, allowed_hosts=None) or not then.startswith("/"):
        then = reverse("admin:two_step")
    form = PasswordForm(request.POST if request.method == "POST" else None, request=request)
    if form.is_valid():
        second_factor.sure(request)
        return HttpResponseRedirect(then)
    return _shown(request, "confirm", _("Is it you?"), form=form)


# ── Add ──


class AppForm(ActivateTOTPForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["code"]
        field.label, field.max_length = _("The code that the app shows"), 40
        field.error_messages["null_characters_not_allowed"] = UNTYPED
        attrs = {"autocomplete": "one-time-code", "inputmode": "numeric", "class": "cp-input", "autofocus": ""}
        field.widget = forms.TextInput(attrs)


@sure
def add_app(request: HttpRequest) -> HttpResponse:
    """The secret lives in the session until a code shows that the app has it."""
    if any(one.type == second_factor.Type.TOTP for one in second_factor.of(request.user)):
        messages.warning(request, _("You have an authenticator app already. Remove it before you add another."))
        return _back()
    form = AppForm(request.POST if request.method == "POST" else None, user=request.user)
    if form.is_valid():
        try:
            with transaction.atomic():
                _factor, fresh_codes = totp.activate_totp(request, form)
        except IntegrityError:  # two tabs at once: one app is enough
            return _back()
        second_factor.added(request, _("authenticator app"))
        messages.success(request, _("The authenticator app is set up: the next login asks for its code."))
        return _to_codes(bool(fresh_codes))
    adapter = get_adapter()
    drawn = adapter.build_totp_svg(adapter.build_totp_url(request.user, form.secret))
    return _shown(
        request,
        "app",
        _("Add an authenticator app"),
        form=form,
        picture="data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode(),
        secret=" ".join(form.secret[n : n + 4] for n in range(0, len(form.secret), 4)),
    )


class NewPasskeyForm(AddWebAuthnForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["initial"] = {"name": _("Passkey")}
        super().__init__(*args, **kwargs)
        field = self.fields["name"]
        field.label, field.max_length = _("Name"), 80
        field.help_text = _("To tell it from others: where it is kept, say.")
        field.error_messages["null_characters_not_allowed"] = UNTYPED
        field.validators.append(MaxLengthValidator(80))
        field.widget = forms.TextInput({"class": "cp-input", "maxlength": 80})

    def clean(self) -> Any:
        try:
            return super().clean()
        except NONSENSE:
            raise forms.ValidationError(_("The passkey was not accepted. Try again.")) from None


@sure
def add_passkey(request: HttpRequest) -> HttpResponse:
    if len(second_factor.of(request.user)) >= MOST_PASSKEYS:
        messages.warning(request, _("You have very many already. Remove one first."))
        return _back()
    form = NewPasskeyForm(request.POST if request.method == "POST" else None, user=request.user)
    if form.is_valid():
        made = form.cleaned_data
        with transaction.atomic():
            factor = webauthn.WebAuthn.add(request.user, made["name"], made["credential"]).instance
            fresh_codes = recovery.auto_generate_recovery_codes(request)
        second_factor.added(request, second_factor.name(factor))
        messages.success(request, _("The passkey is set up: the next login asks for it."))
        return _to_codes(bool(fresh_codes))
    options = {"creation_options": webauthn.begin_registration(request.user, False)}
    works = _passkeys_work(request)
    return _shown(request, "passkey", _("Add a passkey"), form=form, options=options, passkeys_work=works)


def _to_codes(fresh: bool) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:two_step_codes" if fresh else "admin:two_step"))


# ── Recovery codes ──


@sure
def codes(request: HttpRequest) -> HttpResponse:
    """GET shows those that are left, POST makes new ones; the old ones are worth nothing then."""
    if not second_factor.has(request.user):
        messages.warning(request, _("Recovery codes come with the first app or passkey. Add one."))
        return _back()
    if request.method == "POST":
        recovery.generate_recovery_codes(request)
        second_factor.record(request.user, request.user, _("New recovery codes made."))
        messages.success(request, _("These are new codes. The old ones are worth nothing any more."))
        return HttpResponseRedirect(request.path)
    return _shown(request, "codes", _("Recovery codes"), codes=_codes_of(request))


# ── Remove ──


@sure
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """GET says what will be, POST does it."""
    factor = get_object_or_404(second_factor.factors(), pk=pk, user=request.user)
    if request.method == "POST":
        if second_factor.remove(request, factor):
            text = _("Removed: %(what)s.") % {"what": second_factor.name(factor)}
            messages.success(request, text)
        else:
            messages.error(request, _("You must have a second factor, and this is the last: add another one first."))
        return _back()
    last = len(second_factor.of(request.user)) == 1
    return _shown(request, "remove", _("Remove a factor"), what=second_factor.name(factor), last=last)
