"""Notifications to phones through AWS End User Messaging Push: SendMessages, to 100 device tokens a call."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain

from . import aws
from .base import Addressee, Capabilities, Message, Outcome, personalise

MAX_BATCH = 100  # addresses of one SendMessages
MAX_BYTES = 4096  # of one notification, for Apple as for Google
WRAPPING = 256  # bytes left to what AWS and the platforms put around our words
# A recipient's attribute "platform" → AWS's channel type and the part of the request that carries the words.
PLATFORMS = {
    "gcm": ("GCM", "GCMMessage"),
    "apns": ("APNS", "APNSMessage"),
    "apns_sandbox": ("APNS_SANDBOX", "APNSMessage"),
    "adm": ("ADM", "ADMMessage"),
    "baidu": ("BAIDU", "BaiduMessage"),
}
GONE = re.compile(
    r"un-?registered|not.?registered|invalid.?registration|bad.?device.?token"
    r"|(invalid|expired) (device |registration )?token|token (is |was )?(invalid|not valid|expired)",
    re.I,
)
OURS = re.compile(r"provider|credential|certificate|topic|sender", re.I)  # the token of a provider is our own key


class EumPushForm(aws.AwsForm):
    application_id = forms.RegexField(
        r"^[0-9a-f]{32}\Z",
        label=gettext_lazy("Application ID"),
        help_text=gettext_lazy("The ID of the application (once “project”) whose push channels carry the words."),
        error_messages={"invalid": gettext_lazy("An application ID has 32 digits and letters from a to f.")},
    )
    events_topic_arn = None  # type: ignore[assignment]  # what became of each is in the reply
    field_order = ["application_id"]


class EumPush(aws.AwsProvider):
    label = gettext_lazy("Push: mobile apps through AWS End User Messaging")
    capabilities = Capabilities(form="push", medium="push", max_batch=MAX_BATCH)
    config_form = EumPushForm
    service = "pinpoint"

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        chosen: dict[str, int] = {}
        addresses: dict[str, dict[str, str]] = {}
        for n, one in enumerate(recipients):
            try:
                if one.address in chosen:
                    said = _("Another recipient of this message has the same token; the phone is notified once.")
                    raise Permanent("DUPLICATE", said)
                addresses[one.address] = _address(message, one)
                chosen[one.address] = n
            except Permanent as refused:
                outcomes[n] = Outcome(error=refused)
        if addresses:
            sent = self._send(message, addresses)
            outcomes |= {n: sent[token] for token, n in chosen.items()}
        return [outcomes[n] for n in range(len(recipients))]

    def _send(self, message: Message, addresses: Mapping[str, Mapping[str, str]]) -> dict[str, Outcome]:
        types = {one["ChannelType"] for one in addresses.values()}
        request = {
            "Addresses": addresses,
            "MessageConfiguration": {
                part: _words(message, part) for channel_type, part in PLATFORMS.values() if channel_type in types
            },
            "TraceId": message.reference,
        }
        client = self.client
        try:
            reply = client.send_messages(ApplicationId=self.config["application_id"], MessageRequest=request)
        except aws.SDK_ERRORS as error:
            found = aws.failure(error)
            if isinstance(found, Uncertain) or found.code == "PayloadTooLargeException":
                return dict.fromkeys(addresses, Outcome(error=found))
            raise found from error
        results = (reply.get("MessageResponse") or {}).get("Result") or {}
        return {token: _outcome(results.get(token) or {}) for token in addresses}

    def probe(self) -> str:
        try:
            reply = self.client.get_channels(ApplicationId=self.config["application_id"])
        except aws.SDK_ERRORS as error:
            raise aws.failure(error) from error
        channels = (reply.get("ChannelsResponse") or {}).get("Channels") or {}
        known = {channel_type for channel_type, _part in PLATFORMS.values()}
        enabled = sorted(name for name, one in channels.items() if name in known and one.get("Enabled"))
        if not enabled:
            said = _("No push channel of this application is enabled; enable one on AWS, with its credentials.")
            raise Permanent("no-channel", said)
        return _("Enabled for: %s.") % ", ".join(enabled)


def _words(message: Message, part: str) -> dict[str, str]:
    """The words for one kind of platform; a tap opens the page, if there is one."""
    parts = message.parts
    found = {"Title": parts["subject"], "Body": parts["text"]}
    found |= {"Action": "URL", "Url": parts["url"]} if parts.get("url") else {"Action": "OPEN_APP"}
    return found | ({"ThreadId": message.thread} if part == "APNSMessage" else {})


def _address(message: Message, one: Addressee) -> dict[str, str]:
    """One recipient's entry: what differs from the words for all. Raises Permanent for what cannot be sent."""
    platform = str(one.attributes.get("platform", "gcm")).lower()
    if platform not in PLATFORMS:
        said = _("“%(value)s” is not a platform; write one of %(known)s as the recipient’s attribute “platform”.")
        raise Permanent("bad-platform", said % {"value": platform[:40], "known": ", ".join(PLATFORMS)})
    if one.address.startswith("arn:"):  # of SNS: it would come back as a bad token, and be suppressed
        raise Permanent("not-a-token", _("The address is an ARN; this channel needs the token of the device."))
    channel_type, part = PLATFORMS[platform]
    words = _words(message, part)
    own = {name: personalise(words[name], one.values) for name in ("Title", "Body")}
    # AWS fills in {{…}} with variables of its own, or with nothing.
    if any("{{" in text for text in own.values()):
        raise Permanent("braces", _("AWS would take “{{” for a variable; take it out of subject and SMS text."))
    size = len(json.dumps(words | own, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_BYTES - WRAPPING:
        said = _("The notification has %(size)d bytes; phones take %(limit)d. Shorten the SMS text.")
        raise Permanent("too-large", said % {"size": size, "limit": MAX_BYTES - WRAPPING})
    changed = {f"{name}Override": text for name, text in own.items() if text != words[name]}
    return {"ChannelType": channel_type, **changed}


def _outcome(result: Mapping[str, Any]) -> Outcome:
    """What AWS says of one token."""
    status = result.get("DeliveryStatus") or "missing"
    if status == "SUCCESSFUL":
        return Outcome(ref=result.get("MessageId") or "")
    detail = result.get("StatusMessage") or ""
    error: DeliveryError
    if status == "THROTTLED":
        error = Throttled(status, detail, retry_after=5)
    elif status == "TEMPORARY_FAILURE":
        error = Transient(status, detail)
    elif status == "PERMANENT_FAILURE":
        reason = _reason(detail)
        gone = result.get("StatusCode") == 410 or bool(GONE.search(reason) and not OURS.search(reason))
        error = Permanent(status, detail, bad_address=gone)
    elif status in ("OPT_OUT", "DUPLICATE"):
        error = Permanent(status, detail)
    elif status == "missing":
        error = Uncertain("bad-reply", _("AWS answered without a word on this token."))
    else:
        error = Uncertain(status, detail)
    return Outcome(error=error)


def _reason(said: str) -> str:
    """The platform's own word. AWS may wrap it in JSON, whose keys speak of a “provider” whatever the reason is.

    As in {"errorMessage": "Unregistered or expired token", "pushProviderError": "DeviceTokenNotForTopic", …}.
    """
    try:
        found = json.loads(said)
    except ValueError:
        return said
    return str(found.get("pushProviderError") or found.get("errorMessage") or said) if isinstance(found, dict) else said
