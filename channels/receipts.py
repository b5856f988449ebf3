"""What anybody but AWS says of our messages, in the words of `events`: a signed receipt, or a bounce by mail.

Sources: Standard Webhooks (standardwebhooks.com) for the signature; RFC 3461, 3464 and 6522 for mail.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from .events import KEY, Receipt, Reply
from .models import Delivery, Suppression
from .reasons import BAD_ADDRESS
from .secrets import key_signature

# What the status of a receipt means: the delivery's, and why the address is stopped.
MEANS = {
    "delivered": (Delivery.Status.DELIVERED, ""),
    "failed": (Delivery.Status.FAILED, ""),
    "bounced": (Delivery.Status.FAILED, Suppression.Reason.BOUNCED),
    "complained": (Delivery.Status.DELIVERED, Suppression.Reason.COMPLAINED),  # who complains has got it
}
REPLIES = {"unsubscribed": True, "resubscribed": False}
# What a receipt may hold, and how many characters of it.
FIELDS = {"delivery": 40, "reference": 200, "address": 2000, "status": 20, "code": 80, "detail": 500}


class Refused(Exception):
    """Not signed with the channel's secret, or not now."""


# ── A signed receipt ────────────────────────────────────────────────────────


def verify(secret: str, body: bytes, headers: Mapping[str, str]) -> tuple[str, datetime]:
    """The id of the message, and when it was signed. `headers` are found whatever their case. Raises Refused."""
    if len(headers.get("webhook-id", "")) > 100:
        raise Refused("The webhook-id is longer than 100 characters.")
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError, TypeError, OverflowError):
        raise Refused("The signature does not match, or is older than five minutes.") from None
    return headers["webhook-id"], datetime.fromtimestamp(float(headers["webhook-timestamp"]), UTC)


def read(said: Any, medium: str) -> Receipt | Reply:
    """The receipt in the parsed body of a request. Raises ValueError with a sentence: field, value, fix."""
    if not isinstance(said, dict):
        raise ValueError("The body is not a JSON object.")
    for name in said.keys() - FIELDS.keys():
        raise ValueError(f"“{name[:40]}” is no field of a receipt; those are: {', '.join(FIELDS)}.")
    fields = {name: _field(said.get(name, ""), name) for name in FIELDS}
    status = fields["status"]
    if status in REPLIES:
        if not fields["address"]:
            raise ValueError(f"“address” is missing: who {status}?")
        return Reply(medium, fields["address"], stop=REPLIES[status])
    if status not in MEANS:
        known = ", ".join([*MEANS, *REPLIES])
        raise ValueError(f"“status” is “{status}”; use one of: {known}.")
    key, reference, address = fields["delivery"], fields["reference"], fields["address"]
    if key and not KEY.fullmatch(key):
        raise ValueError(f"“delivery” is “{key}”; give it back as we sent it, as in 42-1001.")
    if not key and not (reference and address):
        raise ValueError("Say which message: “delivery”, or “reference” and “address”.")
    outcome, stop = MEANS[status]
    code = fields["code"] or (status if outcome == Delivery.Status.FAILED else "")
    return Receipt(outcome, stop, code, fields["detail"], key, reference, address)


def _field(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"“{name}” is not a text.")
    if len(value) > FIELDS[name]:
        raise ValueError(f"“{name}” has {len(value)} characters; the limit is {FIELDS[name]}.")
    if not all(one.isprintable() or one in "\n\t" for one in value):  # half of a surrogate pair is not printable
        raise ValueError(f"“{name}” holds a character that is not text.")
    return value


# ── A bounce by mail ────────────────────────────────────────────────────────


def read_bounce(mail: Message) -> tuple[str, list[Receipt]]:
    """The id of a report of a mail server, and what it says of our messages: nothing for mail of any other kind.

    Only a Message-ID that we signed counts: everybody can send mail to the bounce address.
    """
    original = _original_id(mail)
    key = _key_of(original)
    if not key or mail.get_content_type() != "multipart/report":
        return "", []
    receipts = [one for fields in _recipients(mail) if (one := _about(fields, key, original))]
    told = mail.get("Message-ID", "") + "".join(f"{one.status}{one.code}{one.detail}" for one in receipts)
    return f"{key} {hashlib.sha256(told.encode('utf-8', 'replace')).hexdigest()[:32]}", receipts


def _key_of(message_id: str) -> str:
    """The Addressee.key in a Message-ID that we signed; "" in any other."""
    found = re.fullmatch(r"([\w-]+)\.[\w-]+\.([0-9a-f]{16})@\S+", message_id, re.A)
    return found[1] if found and hmac.compare_digest(found[2], key_signature(found[1])) else ""


def _original_id(mail: Message) -> str:
    for part in mail.walk():
        kind = part.get_content_type()
        if kind == "message/rfc822" and part is not mail:
            inner = part.get_payload()
            return _message_id(inner[0]) if isinstance(inner, list) and isinstance(inner[0], Message) else ""
        if kind == "text/rfc822-headers":
            text = part.get_payload(decode=True)
            headers = message_from_bytes(text if isinstance(text, bytes) else b"")
            return _message_id(headers)
    return ""


def _message_id(headers: Message) -> str:
    return str(headers["Message-ID"] or "").strip().strip("<>")


def _recipients(mail: Message) -> list[Message]:
    """The groups of fields of message/delivery-status after the first, which is of the message as a whole."""
    for part in mail.walk():
        if part.get_content_type() == "message/delivery-status":
            groups = part.get_payload()
            return [one for one in groups if isinstance(one, Message)][1:] if isinstance(groups, list) else []
    return []


def _about(fields: Message, key: str, reference: str) -> Receipt | None:
    action = str(fields["Action"] or "").strip().lower()
    if action == "delivered":
        return Receipt(Delivery.Status.DELIVERED, key=key, ref=reference)
    if action != "failed":
        return None  # delayed: it is still on its way; relayed and expanded: nobody will tell more
    code = str(fields["Status"] or "").strip()[:80]
    detail = " ".join(str(fields["Diagnostic-Code"] or "").split())[:500]
    stop = Suppression.Reason.BOUNCED if code in BAD_ADDRESS else ""
    return Receipt(Delivery.Status.FAILED, stop, "bounced" if stop else code or "bounced", detail, key, reference)
