"""“Was this clear?” as readers meet it: no login, no cookie, no JavaScript. Opening a link records nothing."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from incidents.rendering import moment
from incidents.statuspage.frame import language as asked_language
from incidents.statuspage.subscribe import network_of

from . import surveys, voting
from .views import page, say

log = logging.getLogger(__name__)
MAX_BODY = 1024  # bytes; one word is sent
ANSWERS = {"yes": True, "no": False}


def in_words(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """In the reader's language, and in words whatever goes wrong."""

    # As the survey: no cookie is read, so a forged request can do nothing that its author could not do.
    @csrf_exempt
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with translation.override(asked_language(request)):
            try:
                return view(request, *args, **kwargs)
            except surveys.NoInvitation:
                text = _("Part of it may be missing. Please use the link in the message we sent.")
                return say(request, _("This link does not work"), text, 404)
            except surveys.Gone:
                text = _("What it was about has been deleted. There is nothing for you to do.")
                return say(request, _("This question is no longer open"), text, 410)
            except surveys.Closed as closed:
                text = _("It could be answered until %(time)s. Thank you for wanting to help.")
                text %= {"time": moment(closed.at, always_day=True)}
                return say(request, _("This question is no longer open"), text, 410)
            except voting.TooMany:
                text = _("Many answers came from your network within an hour. Please try again later.")
                return say(request, _("Not counted"), text, 429)
            except (BadRequest, SuspiciousOperation, MultiPartParserError, UnreadablePostError):
                return say(request, _("This could not be read"), _("Please go back and send it again."), 400)
            except (OperationalError, InterfaceError) as error:
                log.error("was this clear: the database does not answer: %s", error)
                text = _("Your answer was not kept; please try again in a few minutes. The status page goes on.")
                response = say(request, _("This does not work just now"), text, 503)
                response["Retry-After"] = "120"
                return response

    return wrapper


@in_words
@require_http_methods(["GET", "HEAD", "POST"])
def by_link(request: HttpRequest, token: str, answer: str = "") -> HttpResponse:
    """GET asks, with the answer of the link chosen already: mail scanners and previews open every link. POST counts."""
    ballot = voting.read(token)
    if answer and answer not in ANSWERS:
        raise surveys.NoInvitation
    locale = ballot.recipient.locale if ballot.recipient.locale in dict(settings.LANGUAGES) else None
    with translation.override(locale or translation.get_language()):
        if request.method == "POST":
            clear = _posted(request)
            if clear is not None:
                ballot.cast(clear, translation.get_language())
                return _thank(request)
        return page(request, "feedback/clear.html", {"update": ballot.update, "chosen": answer})


@in_words
@require_POST
def on_page(request: HttpRequest, uid: str, number: int) -> HttpResponse:
    """What a reader of the status page says of one update."""
    clear = _posted(request)
    if clear is None:
        raise BadRequest
    voting.cast_on_page(uid, number, clear, translation.get_language(), network_of(request))
    return _thank(request)


def _posted(request: HttpRequest) -> bool | None:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise BadRequest
    return ANSWERS.get(request.POST.get("clear", ""))


def _thank(request: HttpRequest) -> HttpResponse:
    return say(request, _("Thank you, your answer is counted"), _("We read how clear every message was."), 200)
