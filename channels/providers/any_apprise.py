"""Any service that the Apprise library knows, by its Apprise URL. An optional package, and for superusers."""

import logging
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Uncertain

from .base import Addressee, Capabilities, Message, Outcome, Provider

if TYPE_CHECKING:
    from apprise import AppriseResult, NotifyBase

MOST = 10  # services of one channel
CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0  # of one service
ALL_SECONDS = 30.0  # of all of them; who has not answered by then is given up


def _library() -> ModuleType:
    """Apprise. Raises Permanent if it is not installed."""
    try:
        import apprise
    except ImportError as error:
        text = _("The package “apprise” is not installed. Install it beside the portal, or delete this channel.")
        raise Permanent("not-installed", text) from error
    # Whatever it says in more detail holds URLs, and with them credentials.
    logging.getLogger("apprise").setLevel(logging.WARNING)
    return apprise


def _service(url: str) -> "NotifyBase | None":
    """What an Apprise URL stands for, under our own rules instead of the URL's; None if it stands for nothing."""
    apprise = _library()
    asset = apprise.AppriseAsset(app_id="Commsportal", async_mode=False, service_timeout=0)
    one = apprise.Apprise.instantiate(url, asset=asset)
    if one is not None:
        one.socket_connect_timeout, one.socket_read_timeout = CONNECT_SECONDS, READ_SECONDS
        one.retry = 0
        one.optional = False  # or a failure would count as success
        one.overflow_mode = apprise.OverflowMode.UPSTREAM  # never cut: what is too long is refused before
    return one


class AnyAppriseForm(forms.Form):
    secret_url = forms.CharField(
        label=gettext_lazy("Apprise URLs"),
        max_length=8000,
        widget=forms.PasswordInput,
        help_text=gettext_lazy("As in discord://ID/TOKEN; separate several by spaces. They hold credentials."),
    )

    def clean_secret_url(self) -> str:
        urls = self.cleaned_data["secret_url"].split()
        if len(urls) > MOST:
            text = _("These are %(count)d URLs; one channel takes %(limit)d. Make a second channel.")
            raise forms.ValidationError(text % {"count": len(urls), "limit": MOST})
        for number, url in enumerate(urls, 1):
            if not self._fits(url):
                scheme = url.partition("://")[0][:20] + "://…" if "://" in url else "…"
                text = _("URL %(number)d (%(scheme)s) is not one that Apprise understands; look its form up there.")
                raise forms.ValidationError(text % {"number": number, "scheme": scheme})
        return " ".join(urls)

    def _fits(self, url: str) -> bool:
        if url.count("://") != 1:  # two that ran into one another would be read as one
            return False
        try:
            return _service(url) is not None
        except Permanent:
            return True  # not installed: the test says so


class AnyApprise(Provider):
    """A channel of it can make the portal speak to any host with any scheme, so that only a superuser sets it up."""

    label = gettext_lazy("Chat: any service through Apprise")
    capabilities = Capabilities(form="chat", medium="broadcast", broadcast=True)
    config_form = AnyAppriseForm
    superuser_only = True
    needs = "apprise"

    @cached_property
    def services(self) -> list["NotifyBase"]:
        """Raises Permanent if there are none, or one is not understood."""
        found = [_service(url) for url in self.config["secret_url"].split()]
        known = [one for one in found if one is not None]
        if not known or len(known) < len(found):
            raise Permanent("bad-url", _("Apprise does not understand one of the URLs; enter all of them anew."))
        return known

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._outcome(message) for _one in recipients]

    def _outcome(self, message: Message) -> Outcome:
        title, body = message.parts["subject"], message.parts["text"]
        url = message.parts.get("url", "")
        if url and url not in body:
            body = f"{body.rstrip()}\n\n{url}"
        for refused in self._refusals(title, body):
            return Outcome(error=refused)
        apprise = _library()
        everybody = apprise.Apprise(self.services, asset=self.services[0].asset)
        try:
            result = everybody.notify(body, title, body_format=apprise.NotifyFormat.TEXT, timeout=ALL_SECONDS)
        except Exception as error:  # of whichever of its many services; what it says may hold a URL
            return Outcome(error=Uncertain(type(error).__name__))
        return Outcome(ref=message.reference) if result else Outcome(error=_unknown(result))

    def _refusals(self, title: str, body: str) -> Iterator[Permanent]:
        """What a service surely does not take whole."""
        for one in self.services:
            length, limit = len(body), one.body_maxlen
            if one.title_maxlen <= 0:  # the title goes before the text
                length += len(title) + 2
            elif len(title) > one.title_maxlen:
                length, limit = len(title), one.title_maxlen
            if length > limit > 0:
                text = _("The message has %(length)d characters; %(service)s takes %(limit)d. Shorten it.")
                yield Permanent("too-long", text % {"length": length, "service": one.service_name, "limit": limit})
            lines = len(re.split(r"\r*\n", body)) + (one.title_maxlen <= 0)
            if lines > one.body_max_line_count > 0:
                text = _("The message has %(lines)d lines; %(service)s takes %(limit)d. Shorten it.")
                values = {"lines": lines, "service": one.service_name, "limit": one.body_max_line_count}
                yield Permanent("too-long", text % values)

    def probe(self) -> str:
        names = ", ".join(str(one.service_name) for one in self.services)
        return _("Apprise can check nothing without sending, so watch the first message. It goes to: %s") % names


def _unknown(result: "AppriseResult") -> DeliveryError:
    """It tells that a service failed, not why nor how far it came."""
    said = ", ".join(f"{one.name}: {one.status.name.lower()}" for one in result)
    return Uncertain("apprise", _("Apprise does not tell whether it was sent (%s). The worker's log may.") % said)
