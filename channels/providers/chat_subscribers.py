"""Customers' own channels in Slack and Microsoft Teams: each recipient is the webhook of one of them."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from django import forms
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import Permanent, Throttled, Transient, Uncertain

from . import slack, teams
from .base import Addressee, Capabilities, Message, personalise
from .strangers import MAX_BATCH, StrangersProvider, said

# Said of the webhook itself: it was removed, or its channel or workspace is gone.
GONE = {"no_service", "no_service_id", "no_active_hooks", "channel_is_archived", "channel_not_found", "team_disabled"}


class NoForm(forms.Form):
    """Nothing to set up: whoever subscribes brings the address."""


class _Subscribers(StrangersProvider):
    config_form = NoForm
    ok: ClassVar[str | None] = None  # what the other end answers if it took the message; None: any success

    @abstractmethod
    def body(self, message: Message, stop_url: str) -> Mapping[str, Any]:
        """The message as that chat takes it, with a way to stop. Raises Permanent if it does not fit."""

    def hand_over(self, message: Message, one: Addressee) -> str:
        own = replace(message, parts={name: personalise(text, one.values) for name, text in message.parts.items()})
        with translation.override(message.locale):
            content = self.body(own, one.values.get("unsubscribe_url", ""))
        data = json.dumps(content, ensure_ascii=False).encode()
        try:
            status, answer, _headers = self.post(one.address, data, {"Content-Type": "application/json"})
        except Throttled as error:
            # One customer's webhook is not a provider that all share: the others need not wait for it.
            raise Transient(error.code, error.detail) from error
        if status >= 400:
            gone = status in (404, 410) or str(answer) in GONE
            raise Permanent(str(status), said(answer), bad_address=gone)
        if self.ok is not None and answer != self.ok:
            raise Uncertain("bad-reply", _("The answer could not be read."))
        return one.key


class SlackSubscribers(_Subscribers):
    label = gettext_lazy("Chat: Slack of subscribers")
    capabilities = Capabilities(
        form="chat", medium="slack", max_batch=MAX_BATCH, many_servers=True, max_subject=slack.MAX_HEADER
    )
    ok = "ok"

    def body(self, message: Message, stop_url: str) -> Mapping[str, Any]:
        found = slack.content(message.parts)
        if stop_url:
            text = f"<{stop_url}|{_('Stop these messages')}>"
            found["blocks"].append({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]})
        return found


class TeamsSubscribers(_Subscribers):
    label = gettext_lazy("Chat: Microsoft Teams of subscribers")
    capabilities = Capabilities(form="chat", medium="teams", max_batch=MAX_BATCH, many_servers=True)

    def body(self, message: Message, stop_url: str) -> Mapping[str, Any]:
        found = teams.checked(message)
        if stop_url:
            [attachment] = found["attachments"]
            stop = {"type": "Action.OpenUrl", "title": _("Stop these messages"), "url": stop_url}
            attachment["content"]["actions"].append(stop)
        return found
