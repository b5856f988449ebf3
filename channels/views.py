"""Pages outside the admin: the local outbox, and unsubscribing in one click."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from . import mailbox
from .links import UNSUBSCRIBE_SALT, manage_url
from .models import Recipient, Suppression

PAGE = 50
# What a message's own HTML may do when it is looked at: be seen.
LETTER_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


# ── The local outbox ────────────────────────────────────────────────────────


def _readers_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The demo shows its mailbox to everybody; else it holds customers' addresses and is for staff."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.PORTAL_DEMO:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            # It holds the messages of every component, with their readers' own links: as RawRecordAdmin.
            needed = ("channels.view_dispatch", "incidents.operate_component")
            if not request.user.is_staff or not request.user.has_perms(needed):
                return notice(request, _("Not for you"), _("The outbox is for staff who may see deliveries."), 403)
        return view(request, *args, **kwargs)

    return checked


def notice(request: HttpRequest, title: str, text: str, status: int) -> HttpResponse:
    """A page that says one thing."""
    return render(request, "channels/notice.html", {"title": title, "text": text}, status=status)


@require_safe
@never_cache
@_readers_only
def outbox(request: HttpRequest, name: str = "") -> HttpResponse:
    """The list of messages and, with a name, that message beside it."""
    form = request.GET.get("form", "")
    form = form if form in mailbox.FORMS else ""
    query = request.GET.get("q", "")[:200]
    page = request.GET.get("page", "")
    number = max(1, int(page)) if page.isdecimal() and len(page) < 7 else 1
    found = mailbox.letters(form, query, (number - 1) * PAGE, PAGE + 1)
    letter = mailbox.read(name) if name else None
    context = {
        "letters": found[:PAGE],
        "letter": letter,
        "missing": bool(name) and letter is None,
        "form": form,
        "forms": [("", _("All")), ("email", _("Email")), ("sms", _("SMS")), ("post", _("Posts"))],
        "query": query,
        "page": number,
        "newer": number - 1,
        "older": number + 1 if len(found) > PAGE else 0,
        "as_text": request.GET.get("part") == "text" or bool(letter and not letter.html),
        "sender": settings.DEFAULT_FROM_EMAIL,
    }
    return render(request, "channels/outbox.html", context, status=404 if context["missing"] else 200)


@require_safe
@never_cache
@_readers_only
def outbox_html(request: HttpRequest, name: str) -> HttpResponse:
    """The HTML part alone, for the frame: no script, no form, nothing from anywhere."""
    letter = mailbox.read(name)
    if letter is None:
        return notice(request, _("Not here"), _("This message is not in the outbox any more."), 404)
    response = HttpResponse(letter.html)
    response["Content-Security-Policy"] = LETTER_CSP
    return response


# ── One-click unsubscribe (RFC 8058) ────────────────────────────────────────


@csrf_exempt  # the receiver's mail server posts here without a cookie; the signed token is the key
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """GET asks and changes nothing; POST stops the address, or with `again` lets it be written to again."""
    try:
        pk = signing.loads(token, salt=UNSUBSCRIBE_SALT)
        if type(pk) is not int:  # as in every link of ours; int() takes the digits of any script
            raise TypeError
    except (signing.BadSignature, ValueError, TypeError):
        text = _("Open it again from the message, or copy the whole address: a part of it seems to be missing.")
        return notice(request, _("This link does not work"), text, 404)
    person = Recipient.objects.filter(pk=pk).first()
    with translation.override(person.locale if person else translation.get_language()):
        if person is None:
            text = _("This address is not on our list any more. You will get no messages from us.")
            return notice(request, _("Nothing left to do"), text, 200)
        done = ""
        if request.method == "POST":
            done = _resume(person) if "again" in request.POST else _stop(person)
        stopped = Suppression.objects.filter(medium=person.medium, address_hash=person.address_hash).first()
        context = {
            "address": veiled(person.address),
            "done": done,
            "stopped": stopped,
            "manage_url": manage_url(person.pk).removeprefix(settings.PORTAL_URL) if person.confirmed_at else "",
            "may_resume": stopped and stopped.reason == Suppression.Reason.UNSUBSCRIBED,
        }
        response = render(request, "channels/unsubscribe.html", context)
        response["Content-Language"] = translation.get_language() or settings.LANGUAGE_CODE
        return response


def _stop(person: Recipient) -> str:
    Suppression.objects.get_or_create(
        medium=person.medium,
        address_hash=person.address_hash,
        defaults={"reason": Suppression.Reason.UNSUBSCRIBED},
    )
    return "stopped"


def _resume(person: Recipient) -> str:
    """Undo one's own unsubscribing; an address that bounced or complained stays stopped."""
    Suppression.objects.filter(
        medium=person.medium, address_hash=person.address_hash, reason=Suppression.Reason.UNSUBSCRIBED
    ).delete()
    return "resumed"


def veiled(address: str) -> str:
    """Enough of an address to recognise one's own: n•••@example.com, •••4567, https://example.com/•••."""
    scheme, is_web, rest = address.partition("://")
    if is_web:
        return f"{scheme}://{rest.partition('/')[0]}/•••"
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}" if at else f"•••{address[-4:]}"
