"""Who wrote a request to an alert source. Each way gives what was told, or raises; nothing is believed before."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from channels import receipts, sns

from .signal import Told, Trust


class Refused(Exception):
    """Not signed by whom it must be. HTTP 403."""


class NoKey(Refused):
    """No secret was shown, or a wrong one. HTTP 401."""


class Control(Exception):
    """Not an alert: Amazon SNS about the subscription itself, verified."""

    def __init__(self, note: sns.Note) -> None:
        super().__init__(note.kind)
        self.note = note


def _same(ours: tuple[str, ...], theirs: list[str]) -> bool:
    """Whether any of theirs is one of ours; takes the same time wherever they differ."""
    pairs = [(mine.encode(), one.encode("utf-8", "replace")) for mine in ours for one in theirs[:10]]
    return any([hmac.compare_digest(mine, one) for mine, one in pairs])  # noqa: C419 - all are compared


def by_key(trust: Trust, body: bytes, headers: Mapping[str, str]) -> Told:
    """`Authorization: Bearer SECRET`, or Basic with any name and the secret as its password. Raises NoKey."""
    scheme, _space, shown = headers.get("Authorization", "").partition(" ")
    shown = shown.strip()
    if scheme.lower() == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            shown = ""
    elif scheme.lower() != "bearer":
        raise NoKey("Send the secret of this source in the header Authorization, as Bearer or Basic.")
    if not _same(trust.secrets, [shown]):
        raise NoKey("The secret is not the one of this source.")
    return Told(body)


def by_standard_webhooks(trust: Trust, body: bytes, headers: Mapping[str, str]) -> Told:
    """The three headers of Standard Webhooks, signed within five minutes. Raises Refused."""
    for secret in trust.secrets:
        try:
            event_id, at = receipts.verify(secret, body, headers)
        except receipts.Refused:
            continue
        return Told(body, event_id, at)
    raise Refused("The signature does not match, or is older than five minutes.")


def by_pagerduty(trust: Trust, body: bytes, headers: Mapping[str, str]) -> Told:
    """`X-PagerDuty-Signature: v1=…,v1=…`, one for each secret of theirs. Raises Refused."""
    shown = [one.strip() for one in headers.get("X-PagerDuty-Signature", "").split(",")]
    ours = tuple("v1=" + hmac.new(one.encode(), body, hashlib.sha256).hexdigest() for one in trust.secrets)
    if not _same(ours, shown):
        raise Refused("The signature does not match the secret that PagerDuty showed for this webhook.")
    return Told(body)


def by_sns(trust: Trust, body: bytes, headers: Mapping[str, str]) -> Told:
    """A notification of one of the topics. Raises sns.Malformed, sns.Forged, sns.Unavailable, Control."""
    if headers.get("x-amz-sns-rawdelivery", "").lower() == "true":
        raise sns.Malformed("Switch raw message delivery off: it has no signature.")
    note = sns.read(body, *trust.topics)
    sns.verify(note)
    if note.kind != sns.NOTIFICATION:
        raise Control(note)
    return Told(note.text, note.id, note.at)


def by_sns_or_key(trust: Trust, body: bytes, headers: Mapping[str, str]) -> Told:
    """Whichever way it came: each proves as much."""
    by = by_sns if "x-amz-sns-message-type" in headers else by_key
    return by(trust, body, headers)
