"""Addresses in their canonical form, or a sentence that says what is wrong and how to write it."""

import re
import unicodedata
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

import phonenumbers
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator, validate_email
from django.utils.translation import gettext as _

# Where the webhooks of chats are; a name with a leading dot stands for any below it.
SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
SLACK_PATH = "/services/"
TEAMS_HOSTS = (".api.powerplatform.com", ".logic.azure.com", ".powerautomate.com", ".flow.microsoft.com")

# Medium → hosts, path and an example.
CHATS = {
    "slack": (SLACK_HOSTS, SLACK_PATH, "https://hooks.slack.com/services/T…/B…/…"),
    "teams": (TEAMS_HOSTS, "/", "https://….api.powerplatform.com/…"),
}

NAT64 = ip_network("64:ff9b::/96")
# What a screen does not show beside controls and format characters: joiners, fillers, blanks, selectors, tags.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
# A phone number as people write it.
PLAIN = re.compile(r"[\d\s().\-/\u2010-\u2015]+")
# Numbers that cost whoever writes to them, or that no message reaches.
_Kind = phonenumbers.PhoneNumberType
COSTLY = (_Kind.PREMIUM_RATE, _Kind.SHARED_COST)
UNREACHABLE = (_Kind.PAGER, _Kind.VOICEMAIL)


def normalise(medium: str, address: str) -> str:
    """The address as it is stored: email with a lower-case domain, phone number in E.164, https address.

    Raises ValueError with a message for people, which quotes the value.
    """
    text = _seen(address)
    if medium == "email":
        return _email(text)
    if medium in ("sms", "voice", "whatsapp"):
        return _phone(text)
    if medium in ("webhook", "webpush"):
        return _public(https_url(text))
    if medium in CHATS:
        return _chat(text, *CHATS[medium])
    if not text:
        raise ValueError(_("The address is empty."))
    return text


def is_webhook(text: str, hosts: Sequence[str], path: str = "/") -> bool:
    """Whether `text` is an https address on one of `hosts`, at the standard port, below `path`."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    host = url.hostname or ""
    return (
        url.scheme == "https"
        and re.fullmatch(r"[!-~]+", text) is not None  # ASCII without white space
        and any(host == one or (one.startswith(".") and host.endswith(one)) for one in hosts)
        and port in (None, 443)
        and "@" not in url.netloc
        and url.path.startswith(path)
        and len(url.path) > len(path)
    )


def _chat(text: str, hosts: Sequence[str], path: str, example: str) -> str:
    """The address of a webhook as it is. Whoever knows it can post: no error repeats it."""
    if not is_webhook(text, hosts, path):
        text = _("This is not the address of such a webhook; copy it whole. It looks like %(example)s")
        raise ValueError(text % {"example": example})
    return text


def https_url(text: str) -> str:
    """A secure address of the web, with its host in lower case. Raises ValueError as normalise() does."""
    try:
        URLValidator(schemes=["https"])(text)
    except ValidationError:
        raise ValueError(
            _("“%(value)s” is not a secure web address; write it as https://example.com/hook.") % {"value": text[:80]}
        ) from None
    host = urlsplit(text).netloc
    rest = text[text.index("://") + 3 + len(host) :]
    if "@" in host:
        raise ValueError(_("“%(value)s” has a login in it; write the address without.") % {"value": host[:80]})
    return f"https://{host.lower()}{rest}"


def _public(url: str) -> str:
    """The same, unless its host is plainly none of the internet's. A name is looked up when it is written to."""
    host = urlsplit(url).hostname or ""
    try:
        one = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return url
    if not is_reachable(one):
        text = _("“%(value)s” is inside a private network; write an address that can be reached from the internet.")
        raise ValueError(text % {"value": host[:80]})
    return url


def is_reachable(one: IPv4Address | IPv6Address) -> bool:
    """Whether a subscriber's server may be at this address: it is public, or in one of settings.WEBHOOK_NETWORKS."""
    return _is_public(one) or any(one in network for network in settings.WEBHOOK_NETWORKS)


def _is_public(one: IPv4Address | IPv6Address) -> bool:
    if not one.is_global or one.is_multicast:
        return False
    if isinstance(one, IPv4Address):
        return True
    # An IPv4 address may hide in one of version 6: as mapped, of 6to4, or of NAT64 (RFC 6052).
    translated = IPv4Address(int(one) & 0xFFFFFFFF) if one in NAT64 else None
    hidden = one.ipv4_mapped or one.sixtofour or translated
    return hidden is None or _is_public(hidden)


def _seen(address: str) -> str:
    """Without the spaces and invisible characters at both ends, which come along when text is copied.

    Raises ValueError for one in the middle: what is written to would not be what is read.
    """
    marks = [one.isspace() or _is_unseen(one) for one in address]
    if all(marks):
        return ""
    first, last = marks.index(False), len(marks) - marks[::-1].index(False)
    for place in range(first, last):
        if marks[place] and not address[place].isspace():
            text = _(
                "Character %(place)s (U+%(code)s) is invisible. Delete it, or type the address instead of pasting it."
            )
            raise ValueError(text % {"place": place + 1, "code": f"{ord(address[place]):04X}"})
    return address[first:last]


def _is_unseen(one: str) -> bool:
    return unicodedata.category(one) in ("Cc", "Cf", "Co", "Cs") or _UNSEEN.match(one) is not None


def _email(text: str) -> str:
    local, _at, domain = text.rpartition("@")
    # As a mail server reads it: “ｅxample.com” in full-width letters is the same place.
    domain = unicodedata.normalize("NFKC", domain).lower()
    try:
        validate_email(f"{local}@{domain}")
        if not _is_mail_domain(domain) or '"' in local or len(text) > 254:
            raise ValidationError("")
    except ValidationError:
        raise ValueError(
            _("“%(value)s” is not an email address; write it as name@example.com.") % {"value": text[:80]}
        ) from None
    return f"{local}@{domain}"


def _is_mail_domain(domain: str) -> bool:
    """Whether it is a name of the internet: no machine's number, no “localhost”, nothing that only looks like one."""
    if "." not in domain or not all(one in ".-" or unicodedata.category(one)[0] in "LMN" for one in domain):
        return False
    try:
        return bool(domain.encode("idna"))
    except UnicodeError:
        return False


def _phone(text: str) -> str:
    """A number in E.164; “00” for the “+” is understood."""
    fix = _("write it with + and the country code, for example +442071234567.")
    quoted = {"value": text[:40]}
    try:
        number = phonenumbers.parse(re.sub(r"^\(?00", "+", text), None)
    except phonenumbers.NumberParseException as error:
        bare = error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE and PLAIN.fullmatch(text)
        wrong = _("“%(value)s” has no country code; ") if bare else _("“%(value)s” is not a phone number; ")
        raise ValueError(wrong % quoted + fix) from None
    if number.extension:
        raise ValueError(_("“%(value)s” has an extension, which no message reaches; leave it out.") % quoted)
    if not PLAIN.fullmatch(unicodedata.normalize("NFKC", text).removeprefix("+")):
        raise ValueError(_("“%(value)s” is not a phone number; ") % quoted + fix)
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason == phonenumbers.ValidationResult.TOO_SHORT:
        raise ValueError(_("“%(value)s” is too short; ") % quoted + fix)
    if reason == phonenumbers.ValidationResult.TOO_LONG:
        raise ValueError(_("“%(value)s” is too long; ") % quoted + fix)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise ValueError(_("“%(value)s” is not a possible number; ") % quoted + fix)
    kind = phonenumbers.number_type(number)
    if kind in COSTLY:
        raise ValueError(_("“%(value)s” is a number with a surcharge; write that of a mobile phone.") % quoted)
    if kind in UNREACHABLE:
        raise ValueError(_("“%(value)s” is a pager or a voice mailbox; write that of a mobile phone.") % quoted)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
