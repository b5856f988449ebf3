"""What AWS says of our messages, in the words of `events`. Sources:

- Amazon SES Developer Guide, "Contents of event data that Amazon SES publishes to Amazon SNS", and the older
  "Amazon SNS notification contents" (notificationType, without tags).
- AWS End User Messaging SMS User Guide, "Example event data", "Event types for SMS, MMS, and voice", and "Example of
  a two-way SMS message payload".
- AWS End User Messaging Social User Guide, "Message and event format" and "WhatsApp message status"; inside it, Meta's
  webhook of the field `messages`.
- Amazon SNS Developer Guide, "Mobile app events": DeliveryFailure.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from .events import Receipt, Reply
from .models import Delivery, Suppression

DELIVERED, FAILED = Delivery.Status.DELIVERED, Delivery.Status.FAILED
# Never handed over: the address stands on a list of those that bounced or complained.
LISTED = {"OnAccountSuppressionList", "Suppressed"}
VAGUE = {"", "General", "Undetermined"}

# Kinds of messages of End User Messaging; what follows the underscore is the same for all.
PHONE = re.compile(r"(?:TEXT|MEDIA|VOICE|RCS)_([A-Z_]+)")
ARRIVED = {"DELIVERED", "SUCCESSFUL", "READ", "ANSWERED", "COMPLETED"}
NOT_ARRIVED = {
    "BLOCKED",
    "BUSY",
    "CARRIER_BLOCKED",
    "CARRIER_UNREACHABLE",
    "FAILED",
    "FILE_INACCESSIBLE",
    "FILE_SIZE_EXCEEDED",
    "FILE_TYPE_UNSUPPORTED",
    "INVALID",
    "INVALID_MESSAGE",
    "NO_ANSWER",
    "PROTECT_BLOCKED",
    "SPAM",
    "TTL_EXPIRED",
    "UNREACHABLE",
}
GONE = {"EndpointDisabled", "InvalidPlatformToken"}  # endpoints whose app was removed, or whose token is old
# Words of a whole message. HELP is answered by AWS itself.
STOP = {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "ARRESTA", "ANNULLA", "BASTA", "DISISCRIVIMI"}
START = {"START", "UNSTOP"}


def read(event: Any) -> Receipt | Reply | None:
    """What an event says; None if it says nothing that changes anything here."""
    if not isinstance(event, dict):
        return None
    if "originationNumber" in event and "messageBody" in event:
        return _reply("sms", event["originationNumber"], event["messageBody"])
    if "whatsAppWebhookEntry" in event:
        return _whatsapp(event)
    if event.get("EventType") == "DeliveryFailure":
        return _push(event)
    kind = _text(event.get("eventType") or event.get("notificationType"))
    if "mail" in event:
        return _email(kind, event)
    if found := PHONE.fullmatch(kind):
        return _phone(found[1], kind, event)
    return None


# ── Email ───────────────────────────────────────────────────────────────────


def _email(kind: str, event: Mapping[str, Any]) -> Receipt | None:
    mail = _dict(event.get("mail"))
    about = {
        "key": _text(_first(_dict(mail.get("tags")).get("delivery"))),
        "ref": _text(mail.get("messageId"), 200),
        "address": _text(_first(mail.get("destination")), 400),
    }
    if kind == "Delivery":
        return Receipt(DELIVERED, **about)
    if kind == "Bounce":
        return _bounce(_dict(event.get("bounce")), about)
    if kind == "Complaint":
        said = _dict(event.get("complaint"))
        detail = _text(said.get("complaintFeedbackType"))
        if said.get("complaintSubType") in LISTED:
            return Receipt(FAILED, Suppression.Reason.COMPLAINED, "suppressed", detail, **about)
        # Who complains has got it.
        return Receipt(DELIVERED, Suppression.Reason.COMPLAINED, detail=detail, **about)
    if kind == "Reject":
        return Receipt(FAILED, code="Reject", detail=_text(_dict(event.get("reject")).get("reason")), **about)
    if kind == "Rendering Failure":
        said = _dict(event.get("failure"))
        return Receipt(FAILED, code="RenderingFailure", detail=_text(said.get("errorMessage")), **about)
    return None  # Send, DeliveryDelay, Open, Click, Subscription


def _bounce(bounce: Mapping[str, Any], about: dict[str, str]) -> Receipt:
    kind, more = _text(bounce.get("bounceType")), _text(bounce.get("bounceSubType"), 80)
    server = _dict(_first(bounce.get("bouncedRecipients")))
    detail = _text(server.get("diagnosticCode")) or more
    if kind == "Permanent":
        code = "suppressed" if more in LISTED else "bounced"
        return Receipt(FAILED, Suppression.Reason.BOUNCED, code, detail, **about)
    # SES has given up on it, but the address may work another day.
    code = more if more not in VAGUE else f"{(kind or 'other').lower()}-bounce"[:80]
    return Receipt(FAILED, code=code, detail=detail, **about)


# ── Phones ──────────────────────────────────────────────────────────────────


def _phone(what: str, kind: str, event: Mapping[str, Any]) -> Receipt | None:
    about = {
        "key": _text(_dict(event.get("context")).get("delivery")),
        "ref": _text(event.get("messageId"), 200),
        "address": _text(event.get("destinationPhoneNumber"), 40),
    }
    if what in ARRIVED:
        return Receipt(DELIVERED, **about)
    if what in NOT_ARRIVED and event.get("isFinal") is not False:
        bad = Suppression.Reason.BOUNCED if what == "INVALID" else ""
        return Receipt(FAILED, bad, kind[:80], _text(event.get("messageStatusDescription")), **about)
    return None  # on its way; or UNKNOWN: the network said nothing for 72 hours


def _reply(medium: str, number: Any, words: Any) -> Reply | None:
    word = re.sub(r"[\W_]+", "", _text(words)).upper()
    return Reply(medium, _text(number, 40), stop=word in STOP) if word in STOP | START else None


# ── WhatsApp ────────────────────────────────────────────────────────────────


def _whatsapp(event: Mapping[str, Any]) -> Receipt | Reply | None:
    """Meta's words in AWS's envelope: the one knows the recipient's number, the other the id that SendMessage gave."""
    try:
        entry = json.loads(_text(event["whatsAppWebhookEntry"], 500_000))
    except (ValueError, RecursionError):
        return None
    value = _dict(_dict(_first(_dict(entry).get("changes"))).get("value"))
    if said := _dict(_first(value.get("messages"))):
        return _reply("whatsapp", f"+{_text(said.get('from'), 40)}", _dict(said.get("text")).get("body"))
    status = _dict(_first(value.get("statuses")))
    about = {
        "ref": _text(event.get("messageId"), 200),
        "address": f"+{_text(status.get('recipient_id'), 40)}",
    }
    if status.get("status") in ("delivered", "read"):
        return Receipt(DELIVERED, **about)
    if status.get("status") != "failed":
        return None  # sent: it is on its way
    error = _dict(_first(status.get("errors")))
    code = error.get("code")
    detail = _text(_dict(error.get("error_data")).get("details")) or _text(error.get("title"))
    return Receipt(FAILED, code=f"WhatsApp {code}" if isinstance(code, int) else "failed", detail=detail, **about)


# ── Push ────────────────────────────────────────────────────────────────────


def _push(event: Mapping[str, Any]) -> Receipt:
    """Google or Apple refused for good what SNS had taken."""
    code = _text(event.get("FailureType"), 80)
    bad = Suppression.Reason.BOUNCED if code in GONE else ""
    about = {"ref": _text(event.get("MessageId"), 200), "address": _text(event.get("EndpointArn"), 2000)}
    return Receipt(FAILED, bad, code or "failed", _text(event.get("FailureMessage")), **about)


# ── Whatever a field holds ──────────────────────────────────────────────────


def _text(value: Any, limit: int = 500) -> str:
    """A string that any database takes; "" for anything else."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "").encode("utf-8", "replace").decode()[:limit]


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None
