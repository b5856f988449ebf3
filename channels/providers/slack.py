"""Messages in a channel of Slack: by an app of one's own, or through an incoming webhook.

Shapes and errors as of docs.slack.dev: reference/methods/chat.postMessage, messaging/sending-messages-using-incoming-
webhooks, reference/block-kit/blocks.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, ClassVar

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.addresses import SLACK_HOSTS, SLACK_PATH
from channels.errors import DeliveryError, Permanent, Throttled, Uncertain

from .base import Addressee, Capabilities, Message, Outcome
from .chat import URL, SecretUrlField, paragraphs
from .http import HttpProvider, patience

MAX_HEADER = 150  # characters of a header block
MAX_SECTION = 3000  # characters of a section block
MAX_TEXT = 40_000  # characters of `text`; Slack cuts what is longer
# Said about one message; everything else that Slack refuses, it would refuse again.
OF_ONE = {
    "empty",
    "subject-too-long",
    "paragraph-too-long",
    "too-long",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_payload",
    "markdown_text_conflict",
    "metadata_too_large",
    "msg_blocks_too_long",
    "msg_too_long",
    "no_text",
    "too_many_attachments",
}
THROTTLES = {"ratelimited", "rate_limited", "message_limit_exceeded"}
# "It's possible some aspect of the operation succeeded before the error was raised."
UNSURE = {"fatal_error", "internal_error", "request_timeout", "service_unavailable"}
HINTS = {
    "channel_not_found": gettext_lazy("Slack knows no such channel, or it is private and the app is not in it."),
    "invalid_auth": gettext_lazy("Slack does not accept the token; copy it again from “OAuth & Permissions”."),
    "missing_scope": gettext_lazy("The app lacks the scope chat:write; add it and install the app again."),
    "no_service": gettext_lazy("The webhook was removed or switched off; make a new one."),
    "not_in_channel": gettext_lazy("The app is not in the channel; write /invite there."),
}
# How Slack refuses a request without any text, once it has found the webhook.
TEXTLESS = {"invalid_payload", "missing_text_or_fallback_or_attachments", "no_text"}


class _Chat(HttpProvider):
    capabilities = Capabilities(form="chat", medium="broadcast", broadcast=True, max_subject=MAX_HEADER)

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._outcome(message) for _one in recipients]

    def _outcome(self, message: Message) -> Outcome:
        try:
            return Outcome(ref=self._post(content(message.parts), message))
        except DeliveryError as error:
            if isinstance(error, Uncertain) or error.code in OF_ONE:
                return Outcome(error=error)
            raise

    @abstractmethod
    def _post(self, body: dict[str, Any], message: Message) -> str:
        """Post once; a reference. Raises DeliveryError."""


class SlackForm(forms.Form):
    bot_token = forms.CharField(
        label=gettext_lazy("Bot token"),
        widget=forms.PasswordInput,
        max_length=255,
        help_text=gettext_lazy("From “OAuth & Permissions” of your app; it needs the scope chat:write."),
        validators=[RegexValidator(r"^xoxb-[\w-]+$", gettext_lazy("A bot token begins with xoxb-; copy it whole."))],
    )
    channel = forms.CharField(
        label=gettext_lazy("Channel"),
        max_length=32,
        help_text=gettext_lazy("Its ID, at the end of the channel's details, as in C0123456789. Invite the app there."),
        validators=[
            RegexValidator(
                r"^[CG][A-Z0-9]{7,}$",
                gettext_lazy("“%(value)s” is not the ID of a channel; write it as C0123456789."),
            )
        ],
    )


class Slack(_Chat):
    label = gettext_lazy("Chat: Slack")
    config_form = SlackForm
    api: ClassVar[str] = "https://slack.com/api"

    def _post(self, body: dict[str, Any], message: Message) -> str:
        # For whoever gathers the messages of an incident: Slack's own threads hang on a message we do not know.
        metadata = {"event_type": "incident_update", "event_payload": {"thread": message.thread}}
        said, _headers = self._call(
            "chat.postMessage", {**body, "channel": self.config["channel"], "metadata": metadata}
        )
        if not said.get("ts"):
            raise Uncertain("bad-reply", _("Slack answered without the ID of the message."))
        return str(said["ts"])

    def probe(self) -> str:
        said, headers = self._call("auth.test", {})
        scopes = headers.get("X-OAuth-Scopes")
        if scopes is not None and "chat:write" not in re.split(r"[,\s]+", scopes):
            raise Permanent("missing_scope", str(HINTS["missing_scope"]))
        text = _(
            "Posts appear in the workspace “%(team)s” as @%(user)s. The channel is not tested: nothing was posted."
        )
        return text % {"team": said.get("team", ""), "user": said.get("user", "")}

    def _call(self, method: str, body: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
        """What a method answered, and the headers. Raises DeliveryError."""
        headers = {
            "Authorization": f"Bearer {self.config['bot_token']}",
            "Content-Type": "application/json; charset=utf-8",
        }
        status, said, received = self.call("POST", f"{self.api}/{method}", body, headers)
        if isinstance(said, dict) and said.get("ok") is True:
            return said, received
        if isinstance(said, dict) and said.get("ok") is False:
            raise _refused(said, received)
        if status >= 400:
            raise Permanent(str(status), str(said))
        raise Uncertain("bad-reply", _("Slack's answer could not be read."))


class SlackWebhookForm(forms.Form):
    secret_url = SecretUrlField(
        label=gettext_lazy("Address of the webhook"),
        hosts=SLACK_HOSTS,
        path=SLACK_PATH,
        help_text=gettext_lazy("From “Incoming Webhooks” of your app. Whoever knows it can post: keep it secret."),
    )


class SlackWebhook(_Chat):
    label = gettext_lazy("Chat: Slack (webhook)")
    config_form = SlackWebhookForm

    def _post(self, body: dict[str, Any], message: Message) -> str:
        status, said, headers = self.call("POST", self.config["secret_url"], body)
        if status >= 400:
            raise _unposted(status, said)
        if said != "ok":
            raise Uncertain("bad-reply", _("Slack's answer could not be read."))
        return headers.get("x-slack-req-id") or message.reference

    def probe(self) -> str:
        # An empty request is refused by the webhook if there is one, and posts nothing.
        status, said, _headers = self.call("POST", self.config["secret_url"], {})
        if said not in TEXTLESS:
            raise _unposted(status, said)
        return _("Slack knows this webhook. Nothing was posted, so that the channel it posts to is not tested.")


def content(parts: Mapping[str, str]) -> dict[str, Any]:
    """A message as Slack takes it. Raises Permanent if it is too long: nothing is ever cut."""
    subject, words = escape(parts["subject"].strip(), quote=False), paragraphs(parts["text"])
    if not subject or not words:
        raise Permanent("empty", _("There is nothing to post."))
    if len(subject) > MAX_HEADER:
        text = _("The subject has %(length)d characters; Slack takes %(limit)d. Shorten it.")
        raise Permanent("subject-too-long", text % {"length": len(subject), "limit": MAX_HEADER})
    texts = [_mrkdwn(one) for one in [*words, parts.get("url", "")] if one]
    longest = max(map(len, texts))
    if longest > MAX_SECTION:
        text = _("A paragraph has %(length)d characters; Slack takes %(limit)d. Divide it.")
        raise Permanent("paragraph-too-long", text % {"length": longest, "limit": MAX_SECTION})
    everything = "\n\n".join([subject, *texts])
    if len(everything) > MAX_TEXT:
        text = _("The message has %(length)d characters; Slack takes %(limit)d. Shorten it.")
        raise Permanent("too-long", text % {"length": len(everything), "limit": MAX_TEXT})
    header = {"type": "header", "text": {"type": "plain_text", "text": subject}}
    return {
        "text": everything,  # what notifications show and screen readers read
        # Verbatim: no @name and no #name of the text becomes a mention.
        "blocks": [header, *({"type": "section", "text": _verbatim(one)} for one in _sections(texts))],
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _mrkdwn(text: str) -> str:
    """Escapes the three characters that Slack reads as control, and marks addresses as links."""
    parts = (escape(part, quote=False) for part in URL.split(text))
    return "".join(f"<{part}>" if n % 2 else part for n, part in enumerate(parts))


def _sections(texts: Sequence[str]) -> list[str]:
    """As few sections as hold the paragraphs whole."""
    sections = [texts[0]]
    for one in texts[1:]:
        joined = f"{sections[-1]}\n\n{one}"
        if len(joined) > MAX_SECTION:
            sections.append(one)
        else:
            sections[-1] = joined
    return sections


def _verbatim(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _refused(said: Mapping[str, Any], headers: Mapping[str, str]) -> DeliveryError:
    """What an answer with "ok": false means."""
    code = str(said.get("error") or "unknown")
    more = {name: said[name] for name in ("needed", "response_metadata") if said.get(name)}
    detail = " ".join(filter(None, [str(HINTS.get(code, "")), json.dumps(more, ensure_ascii=False) if more else ""]))
    if code in THROTTLES:
        return Throttled(code, detail, retry_after=patience(headers.get("Retry-After", "")))
    return Uncertain(code, detail) if code in UNSURE else Permanent(code, detail)


def _unposted(status: int, said: Any) -> DeliveryError:
    """What a webhook's answer other than "ok" means: a word, as a rule."""
    code = said if isinstance(said, str) and re.fullmatch(r"[a-z_]{1,80}", said) else str(status)
    return Permanent(code, str(HINTS.get(code) or f"HTTP {status}"))
