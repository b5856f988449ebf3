"""Cards in a channel or chat of Microsoft Teams, through the webhook of a workflow (Power Automate).

Shapes as of adaptivecards.io and learn.microsoft.com: an Adaptive Card in the envelope that the trigger "When a Teams
webhook request is received" expects.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.addresses import TEAMS_HOSTS
from channels.errors import DeliveryError, Permanent, Uncertain

from .base import Addressee, Capabilities, Message, Outcome
from .chat import URL, SecretUrlField, paragraphs
from .http import HttpProvider

# Teams takes about 28 KB as it counts after conversions of its own, and what it refuses is lost without a word: the
# workflow has accepted it already. The margin is for what we cannot count.
MAX_BYTES = 20 * 1024


class TeamsForm(forms.Form):
    secret_url = SecretUrlField(
        label=gettext_lazy("Address of the webhook"),
        hosts=TEAMS_HOSTS,
        help_text=gettext_lazy(
            "Of a workflow made from “Send webhook alerts to a channel”. Whoever knows it can post: keep it secret."
        ),
    )


class Teams(HttpProvider):
    label = gettext_lazy("Chat: Microsoft Teams")
    capabilities = Capabilities(form="chat", medium="broadcast", broadcast=True)
    config_form = TeamsForm

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._outcome(message) for _one in recipients]

    def _outcome(self, message: Message) -> Outcome:
        try:
            body = json.dumps(checked(message), ensure_ascii=False).encode()
        except Permanent as refused:
            return Outcome(error=refused)
        try:
            status, said, headers = self.call(
                "POST", self.config["secret_url"], body, {"Content-Type": "application/json"}
            )
        except Uncertain as error:
            return Outcome(error=error)
        if status == 413:
            return Outcome(error=_refused(status, said))
        if status >= 400:
            raise _refused(status, said)
        return Outcome(ref=headers.get("x-ms-workflow-run-id") or message.reference)

    def probe(self) -> str:
        # Any request to the webhook itself could start the workflow; its host without the path knows no webhook.
        url = urlsplit(self.config["secret_url"])
        try:
            self.call("GET", f"{url.scheme}://{url.netloc}/")
        except DeliveryError as error:
            if not error.code.isdigit():  # any answer at all will do
                raise
        return _(
            "The host of the webhook answers. The webhook itself can only be tested by posting: watch the first one."
        )


def checked(message: Message) -> dict[str, Any]:
    """The envelope of a message. Raises Permanent if Teams might lose it without a word."""
    if not message.parts["subject"].strip() or not paragraphs(message.parts["text"]):
        raise Permanent("empty", _("There is nothing to post."))
    found = envelope(message)
    size = len(json.dumps(found, ensure_ascii=False).encode())
    if size > MAX_BYTES:
        text = _("The message has %(size)d bytes as a card; Teams surely takes %(limit)d. Shorten it.")
        raise Permanent("too-large", text % {"size": size, "limit": MAX_BYTES})
    return found


def envelope(message: Message) -> dict[str, Any]:
    """The message as the workflow takes it: one attachment, the card."""
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": _body(message.parts),
        "actions": _actions(message),
    }
    return {
        "type": "message",
        "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
        ],
    }


def _body(parts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Text runs, which show what they are given: a TextBlock would read Markdown and {{DATE()}} into approved words."""
    title = {"type": "TextRun", "text": parts["subject"], "size": "Large", "weight": "Bolder"}
    blocks: list[dict[str, Any]] = [{"type": "RichTextBlock", "inlines": [title]}]
    for paragraph in paragraphs(parts["text"]):
        # A line break inside a run is lost in some clients: each line is a block.
        for n, line in enumerate(filter(str.strip, paragraph.splitlines())):
            blocks.append({"type": "RichTextBlock", "spacing": "None" if n else "Medium", "inlines": _inlines(line)})
    return blocks


def _inlines(line: str) -> list[dict[str, Any]]:
    return [
        {"type": "TextRun", "text": part} | ({"selectAction": {"type": "Action.OpenUrl", "url": part}} if n % 2 else {})
        for n, part in enumerate(URL.split(line))
        if part
    ]


def _actions(message: Message) -> list[dict[str, str]]:
    if not message.parts.get("url"):
        return []
    with translation.override(message.locale):
        return [{"type": "Action.OpenUrl", "title": _("To the status page"), "url": message.parts["url"]}]


def _refused(status: int, said: Any) -> Permanent:
    """What the workflow says about its webhook: {"error": {"code", "message"}}, as a rule."""
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, dict) and error.get("code"):
        return Permanent(str(error["code"]), str(error.get("message") or ""))
    return Permanent(str(status), str(said))
