"""The way in for staff: the password, and then the second step for whoever has set it up."""

import struct
from typing import Any

from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.totp.internal.auth import validate_totp_code
from allauth.mfa.utils import decrypt
from allauth.mfa.webauthn.forms import AuthenticateWebAuthnForm
from allauth.mfa.webauthn.internal.auth import begin_authentication
from cryptography.fernet import InvalidToken
from django import forms
from django.contrib import admin, messages
from django.contrib.auth import login
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from . import second_factor

# What pastes of passwords bring along. Django speaks of “null characters”, which helps nobody.
UNTYPED = _("This has a character that cannot be typed. Delete it, and write it again.")
# What the library raises, besides its own errors, on an answer that no browser has made.
NONSENSE = (AttributeError, LookupError, TypeError, ValueError, struct.error)


class LoginForm(AuthenticationForm):
    """The theme's, in words of ours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.error_messages["null_characters_not_allowed"] = UNTYPED


class Login(LoginView):
    """Logs in by the password alone only who has no second factor."""

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        if second_factor.has(user):
            second_factor.ask(self.request, user, self.get_success_url())
            return HttpResponseRedirect(reverse("admin:second_step"))
        response = super().form_valid(form)
        self.request.session.pop(second_factor.PASSED, None)
        second_factor.sure(self.request)
        return response


class CodeForm(AuthenticateForm):
    """A code of the app, or a recovery code. Tries are limited by allauth, for each person and each network."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["code"]
        field.max_length = 40
        field.widget = forms.TextInput(
            {
                "autocomplete": "one-time-code",
                "inputmode": "numeric",
                "autofocus": "",
                "class": " ".join(BASE_INPUT_CLASSES),
            }
        )
        field.error_messages["null_characters_not_allowed"] = UNTYPED

    def clean_code(self) -> str:
        try:
            return super().clean_code()
        except forms.ValidationError as error:
            if error.code == "incorrect_code" and self._was_right():
                text = _t("This code was used already. Wait for the next one: the app shows it within half a minute.")
                raise forms.ValidationError(text, code=error.code) from None
            raise
        except InvalidToken:
            text = _t("The portal cannot read this factor any more. Ask an administrator to remove it.")
            raise forms.ValidationError(text) from None

    def _was_right(self) -> bool:
        """The app shows this very code, so that it was only refused because it has opened once. It opens nothing again:
        allauth remembers it for as long as it could be right."""
        apps = [one for one in second_factor.of(self.user) if one.type == second_factor.Type.TOTP]
        return any(validate_totp_code(decrypt(one.data["secret"]), self.cleaned_data["code"]) for one in apps)


class PasskeyForm(AuthenticateWebAuthnForm):
    """What the browser answered for a passkey."""

    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()
        except NONSENSE:
            raise forms.ValidationError(_t("The passkey was not accepted. Try again.")) from None


@never_cache
@sensitive_post_parameters()
def second_step(request: HttpRequest) -> HttpResponse:
    """Between password and session: GET asks for the code or the passkey, POST takes either and logs in."""
    asked = second_factor.pending(request)
    if asked is None:
        request.session.pop(second_factor.PENDING, None)
        messages.warning(request, _t("The login took too long, or was not begun here. Please log in again."))
        return HttpResponseRedirect(reverse("admin:login"))
    user, then = asked
    by_passkey = "credential" in request.POST
    data = request.POST if request.method == "POST" else None
    code = CodeForm(user=user, data=None if by_passkey else data)
    passkey = PasskeyForm(user=user, data=data if by_passkey else None)
    given = passkey if by_passkey else code
    if data is not None and given.is_valid():
        given.save()  # records its use
        login(request, user, user.backend)
        second_factor.passed(request)
        second_factor.sure(request)
        return HttpResponseRedirect(then)
    kinds = {one.type for one in second_factor.of(user)}
    has_passkey = second_factor.Type.WEBAUTHN in kinds
    shown = {
        **admin.site.each_context(request),
        "has_permission": False,
        "title": _t("Second step"),
        "code": code,
        "passkey": passkey,
        "has_app": second_factor.Type.TOTP in kinds,
        "has_passkey": has_passkey,
        "options": {"request_options": begin_authentication(user)} if has_passkey else None,
    }
    return render(request, "admin/second_step.html", shown)
