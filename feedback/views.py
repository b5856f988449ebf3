"""The survey as customers meet it: no login, no cookie, no JavaScript."""

from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from incidents.rendering import moment

from . import survey_form, surveys

# Three digits and 2,000 characters of any script, form-encoded, with room to spare.
MAX_BODY = 64 * 1024
CHANGE = "change"  # in the query: show the form again, filled with what was answered


# The signed token is the authority and no cookie is read, so a forged request can do nothing that its author could
# not do with the token alone; and the page works where cookies are refused, as mail programs' browsers do.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def survey(request: HttpRequest, token: str) -> HttpResponse:
    try:
        invitation = surveys.read(token)
    except surveys.NoInvitation:
        title = _("This link does not work")
        return say(request, title, _("Part of it may be missing. Please use the link in the message we sent."), 404)
    except surveys.Gone:
        title = _("This survey is no longer available")
        return say(request, title, _("What it was about has been deleted. There is nothing for you to do."), 410)
    except surveys.Closed as closed:
        text = _("It could be answered until %(time)s. Thank you for wanting to help.")
        text %= {"time": moment(closed.at, always_day=True)}
        return say(request, _("This survey is closed"), text, 410)
    with translation.override(language(invitation)):
        if invitation.used:
            text = _("It is kept without your name, so it cannot be found again to be changed: it stays as it is.")
            return say(request, _("Thank you, your answer is recorded"), text, 200)
        if invitation.answer is not None and not (invitation.can_change and _wants_to_change(request)):
            return page(request, "feedback/thanks.html", {"invitation": invitation})
        if request.method == "POST":
            return _answer(request, invitation)
        return _ask(request, invitation, survey_form.form(invitation.version, answer=invitation.answer))


def _wants_to_change(request: HttpRequest) -> bool:
    return request.method == "POST" or CHANGE in request.GET


def language(invitation: surveys.Invitation) -> str:
    """The recipient's language; if we do not speak it, what the browser asks for."""
    known = dict(settings.LANGUAGES)
    return invitation.recipient.locale if invitation.recipient.locale in known else translation.get_language()


def _answer(request: HttpRequest, invitation: surveys.Invitation) -> HttpResponse:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        return say(request, _("This is too long"), _("Please go back and shorten your text."), 413)
    try:
        form = survey_form.form(invitation.version, request.POST)
    except (BadRequest, SuspiciousOperation, MultiPartParserError, UnreadablePostError):
        return say(request, _("This could not be read"), _("Please go back and send it again."), 400)
    if not form.is_valid():
        return _ask(request, invitation, form, 422)
    keep = invitation.record if invitation.answer is None else invitation.change
    keep(form.given(), form.texts(), translation.get_language())
    # To the same address: reloading the thanks sends nothing twice.
    return _private(HttpResponseRedirect(request.path, status=303))


def _ask(request: HttpRequest, invitation: surveys.Invitation, form: survey_form.SurveyForm, status: int = 200) -> Any:
    return page(request, "feedback/survey.html", {"invitation": invitation, "form": form}, status)


def say(request: HttpRequest, title: str, text: str, status: int) -> HttpResponse:
    return page(request, "feedback/notice.html", {"title": title, "text": text}, status)


def page(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    response = _private(render(request, template, context, status=status))
    response["Content-Language"] = translation.get_language()
    return response


def _private(response: HttpResponse) -> Any:
    """The address is personal: not to be stored, indexed or handed on."""
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
