"""A provider's own word for a failure, as a sentence for people."""

import re
from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Reason(NamedTuple):
    """What happened, and the way out."""

    words: str | Promise
    way_out: str | Promise
    again: bool = True  # whether trying again can help


# RFC 3463: no such mailbox, host or syntax, moved away, null MX; mailbox disabled.
BAD_ADDRESS = ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1")

_AGAIN = _("Try again; it may work now.")
_ADDRESS = _("Trying again will not help: the address has to be corrected.")
_CHANNEL = _("Correct the channel's settings and send a test, then try again.")

# By the code as it is written (SMTP replies, AWS exceptions and states, HTTP statuses, our own words); first match.
_RULES: list[tuple[str, Reason]] = [
    (r"^stopped$", Reason(_("Unsubscribed, or erased, in the meantime"), _("Nothing to do: this is as it should be."))),
    (r"^worker-stopped$", Reason(_("The worker was stopped while it handed these over"), _AGAIN)),
    (r"^too-many-tries$", Reason(_("Tried several times, without success"), _AGAIN)),
    (
        r"opted.?out|suppress|^WhatsApp 131050$",
        Reason(_("The recipient does not want messages from this sender"), _ADDRESS, False),
    ),
    (
        r"^(TEXT|MEDIA)_(CARRIER_)?UNREACHABLE$|_TTL_EXPIRED$|^VOICE_(BUSY|NO_ANSWER|FAILED)$|^WhatsApp 131026$",
        Reason(_("The phone could not be reached"), _AGAIN),
    ),
    (
        r"^bounced$|^TEXT_INVALID$|\b5\.1\.|\b5\.2\.1\b|invalid.?(phone|destination|number|address)|bad-syntax|unreachable"
        r"|^EndpointDisabled$|^InvalidPlatformToken$",
        Reason(_("The address does not exist"), _ADDRESS, False),
    ),
    (r"mailbox.?full|\b[45]\.2\.2\b|\b[45]52\b", Reason(_("The mailbox is full"), _AGAIN)),
    (
        r"throttl|too.?many|quota|\b429\b|limit.?exceeded|\b421\b",
        Reason(_("The provider asked us to send more slowly"), _AGAIN),
    ),
    (
        r"\b53[0-9]\b|access.?denied|unauthori|credential|signature|\b40[13]\b|not.?verified|paused|suspended|token"
        r"|certificate|not-supported",
        Reason(_("The provider does not accept our account or its settings"), _CHANNEL),
    ),
    (
        r"^55[0134]\b",
        Reason(_("The receiving server refused the message"), _("Read what it said below, then try again.")),
    ),
    (
        r"time.?out|no-reply|connection|no-connection|unavailable|\b5\d\d$|^4\d\d\b|internal|transient",
        Reason(_("The receiving server could not be reached or did not answer"), _AGAIN),
    ),
    (r"reject|refus|invalid|blocked", Reason(_("The provider refused the message"), _("Read what it said below."))),
]
_OTHER = Reason(_("The provider reported a problem"), _("Read what it said below, then try again."))


def explain(code: str) -> Reason:
    """What a `Delivery.code` means and what can be done; never empty."""
    for pattern, reason in _RULES:
        if re.search(pattern, code, re.IGNORECASE):
            return reason
    return _OTHER
