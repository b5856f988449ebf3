"""Subscribing on the status page: no login, no cookie, no script; every address is answered alike."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from channels import links, own_secrets
from channels.models import Medium, Recipient, Suppression
from channels.views import veiled
from incidents import confirming, subscribing

from .frame import language, page_context
from .private import scoped
from .scope import EVERYBODY, Scope
from .subscribe_forms import ChoiceForm, Offer, SubscribeForm, offered

log = logging.getLogger(__name__)
MAX_BODY = 64 * 1024  # bytes; a box of each of a thousand components, with room to spare
View = Callable[..., HttpResponse]


class TooLong(Exception):
    """More than any form of ours sends."""


# ── What these pages have in common ─────────────────────────────────────────


def private_page(view: View) -> View:
    """In the reader's language; not to be stored, indexed or handed on; and in words whatever goes wrong."""

    # No cookie is read, but on a private page with a login, whose form has a stamp for its reader (subscribe_forms.py).
    # Elsewhere a forged request can do nothing that its author could not do without the reader's browser.
    @csrf_exempt
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with translation.override(language(request)):
            try:
                response = view(request, *args, **kwargs)
            except subscribing.NoRequest:
                text = _("Open it again from the message, or copy the whole address: a part of it seems to be missing.")
                response = _say(request, _("This link does not work"), text, 404)
            except subscribing.Gone:
                text = _("It could be used for a few days, or what it was about is erased. You can ask for a new one.")
                response = _say(request, _("This link is not good any more"), text, 410)
            except TooLong:
                response = _say(request, _("This is too long"), _("Please go back and shorten your text."), 413)
            except (BadRequest, SuspiciousOperation, MultiPartParserError, UnreadablePostError):
                response = _say(request, _("This could not be read"), _("Please go back and send it again."), 400)
            except (OperationalError, InterfaceError) as error:
                log.error(
                    "%s: the database does not answer: %s",
                    request.resolver_match and request.resolver_match.view_name,
                    error,
                )
                text = _("Nothing was changed. The status page itself goes on; please try again in a few minutes.")
                response = _say(request, _("Subscribing is not possible just now"), text, 503)
                response["Retry-After"] = "120"
            response.setdefault("Content-Language", translation.get_language())
        response["Cache-Control"] = "no-store"
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex, nofollow"
        return response

    return wrapper


def _posted(request: HttpRequest) -> QueryDict:
    """What was sent, within bounds. Raises TooLong, or what Django says of an unreadable body."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise TooLong
    return request.POST


def _render(
    request: HttpRequest, name: str, context: dict[str, Any], status: int = 200, scope: Scope = EVERYBODY
) -> HttpResponse:
    # No page names its own address: a link in it is somebody's key.
    context = page_context(request, scope) | {"address": reverse("subscribe"), **context}
    response = render(request, f"statuspage/{name}.html", context, status=status)
    response["Content-Language"] = translation.get_language()
    return response


def _say(request: HttpRequest, title: str, text: str, status: int) -> HttpResponse:
    return _render(request, "subscribe_notice", {"title": title, "text": text}, status)


def _see(address: str, request: HttpRequest, **query: str) -> HttpResponse:
    """On to a page, in the language that was asked for. By GET: reloading it sends nothing twice."""
    asked = request.GET.get("lang")
    given = QueryDict(mutable=True)
    given.update(({"lang": asked} if asked in dict(settings.LANGUAGES) else {}) | query)
    return HttpResponseRedirect(f"{address}?{given.urlencode()}" if given else address, status=303)


def network_of(request: HttpRequest) -> str:
    """Where the reader sits: an IPv4 address, or the /64 of an IPv6 one; "" if that is not known.

    Only behind a proxy (BEHIND_PROXY) a header is believed, and of it only the address that the proxy itself added.
    """
    text = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER:
        text = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip() or text
    try:
        found = ip_address(text)
    except ValueError:
        return ""
    if found.version == 6:
        mapped = found.ipv4_mapped
        return str(mapped) if mapped else str(ip_network((int(found), 64), strict=False))
    return str(found)


# ── The pages ───────────────────────────────────────────────────────────────


@private_page
@require_http_methods(["GET", "HEAD", "POST"])
@scoped
def subscribe(request: HttpRequest, scope: Scope) -> HttpResponse:
    """The form. What was sent is answered alike for every address, and an address is asked before anything else.

    On a private page it offers that page's components; whoever confirms must then still be let in.
    """
    offer = offered()
    if scope.private:  # a browser's notifications are of the whole portal: its worker knows of no page
        offer = replace(offer, push_key="")
    if request.method != "POST":
        initial = {"locale": translation.get_language(), "time_zone": settings.TIME_ZONE}
        form = SubscribeForm(offer=offer, initial=initial, zone=settings.TIME_ZONE, scope=scope)
        return _form(request, form, offer)
    form = SubscribeForm(_posted(request), offer=offer, zone=settings.TIME_ZONE, scope=scope)
    sent_page = f"{scope.base}{reverse('subscribe-sent')}"
    if form.trapped:
        return _see(sent_page, request)
    if not form.is_valid():
        return _form(request, form, offer, 422)
    data = form.cleaned_data
    subscribing.ask(
        data["medium"],
        data["address"],
        form.wanted() | ({"page": scope.page, "let_in": scope.let_in} if scope.private else {}),
        data["locale"],
        data["time_zone"],
        (consent(), translation.get_language() or settings.LANGUAGE_CODE),
        network_of(request),
    )
    return _see(sent_page, request)


def consent() -> str:
    """What a subscriber agrees to, as it stands over the button."""
    return _(
        "%(name)s will write to this address about its incidents and maintenance, as chosen above, and for nothing "
        "else. You can stop it at any time."
    ) % {"name": settings.PORTAL_NAME}


def _form(request: HttpRequest, form: SubscribeForm, offer: Offer, status: int = 200) -> HttpResponse:
    only_email = offer.media == [Medium.EMAIL]
    context = {"form": form, "consent": consent(), "only_email": only_email, "offer": offer}
    return _render(request, "subscribe", context, status, form.scope)


@require_safe
def push_worker(request: HttpRequest) -> HttpResponse:
    """The script that shows notifications. From the root, as a browser gives it only what lies below its address."""
    found = finders.find("portal/push-worker.js")
    response = HttpResponse(Path(str(found)).read_bytes(), content_type="text/javascript; charset=utf-8")
    response["Cache-Control"] = "no-cache"
    return response


@private_page
@require_safe
@scoped
def sent(request: HttpRequest, scope: Scope) -> HttpResponse:
    """The same for everybody."""
    return _render(request, "subscribe_sent", {"hours": subscribing.SubscriptionRequest.OPEN_HOURS}, scope=scope)


@private_page
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """GET asks and changes nothing, as programs that look for viruses open links too; POST confirms."""
    one = subscribing.read(token)
    with translation.override(_asked(request) or one.locale):
        if request.method == "POST" or one.confirmed_at:
            person = subscribing.confirm(one)
            return _see(links.manage_url(person.pk).removeprefix(settings.PORTAL_URL), request, done="confirmed")
        context = {
            "shown": veiled(one.address),
            "wanted": confirming.in_words(subscribing.agreed_to(one)),
            "wording": one.wording,
            "signed": one.medium == Medium.WEBHOOK,
        }
        return _render(request, "subscribe_confirm", context)


@private_page
@require_http_methods(["GET", "HEAD", "POST"])
def manage(request: HttpRequest, token: str) -> HttpResponse:
    """Where a subscriber changes what they hear about."""
    person = subscribing.subscriber(token)
    with translation.override(_asked(request) or person.locale):
        if request.method != "POST":
            return _choice(request, person, _present(person))
        if person.medium == Medium.WEBHOOK and (verb := _posted(request).get("secret")):
            return _secret(request, person, verb)
        form = ChoiceForm(_posted(request), zone=person.time_zone, own=subscribing.private_of(person))
        if not form.is_valid():
            return _choice(request, person, form, 422)
        data = form.cleaned_data
        subscribing.change(person, form.wanted(), data["locale"], data["time_zone"])
        return _see(request.path, request, done="saved")


def _present(person: Recipient) -> ChoiceForm:
    """What they hear about now."""
    initial = {"locale": person.locale, "time_zone": person.time_zone}
    form = ChoiceForm(initial=initial, zone=person.time_zone, own=subscribing.private_of(person))
    form.show(subscribing.wanted_by(person))
    return form


def _secret(request: HttpRequest, person: Recipient, verb: str) -> HttpResponse:
    """Show the secret that a webhook's messages are signed with, or (`new`) make one: a reload makes no other."""
    if verb != "new":
        return _choice(request, person, _present(person), secret=person.signing.get("secret", ""))
    try:
        person.renew_secret()
    except own_secrets.TooMany as full:
        return _choice(request, person, _present(person), 409, room_at=full.until)
    return _see(request.path, request, done="secret")


def _choice(request: HttpRequest, person: Recipient, form: ChoiceForm, status: int = 200, **said: Any) -> HttpResponse:
    stop = Suppression.objects.filter(medium=person.medium, address_hash=person.address_hash).first()
    context = {
        "webhook": person.medium == Medium.WEBHOOK,
        "own_secret": bool(person.signing),
        "overlap_ends": own_secrets.overlap_ends(person.signing),
        **said,
        "form": form,
        "shown": veiled(person.address),
        "stopped": stop is not None,
        "may_resume": stop is not None and stop.reason == Suppression.Reason.UNSUBSCRIBED,
        "unsubscribe_url": links.unsubscribe_url(person.pk).removeprefix(settings.PORTAL_URL),
        "done": request.GET.get("done", ""),
    }
    return _render(request, "subscribe_manage", context, status)


def _asked(request: HttpRequest) -> str:
    """The language in the address, if we speak it."""
    asked = request.GET.get("lang", "")
    return asked if asked in dict(settings.LANGUAGES) else ""
