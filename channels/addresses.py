"""Addresses in their canonical form, or a sentence that says what is wrong and how to write it."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import phonenumbers
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


def normalise(medium: str, address: str) -> str:
    """The address as it is stored: email with a lower-case domain, phone number in E.164, https address.

    Raises ValueError with a message for people, which quotes the value.
    """
    text = address.strip()
    if medium == "email":
        try:
            validate_email(text)
        except ValidationError:
            raise ValueError(
                _("“%(value)s” is not an email address; write it as name@example.com.") % {"value": text[:80]}
            ) from None
        local, _at, domain = text.rpartition("@")
        return f"{local}@{domain.lower()}"
    if medium in ("sms", "voice", "whatsapp"):
        return _phone(text)
    if medium in ("webhook", "webpush"):
        return _https(text)
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


def _https(text: str) -> str:
    try:
        URLValidator(schemes=["https"])(text)
    except ValidationError:
        raise ValueError(
            _("“%(value)s” is not a secure web address; write it as https://example.com/hook.") % {"value": text[:80]}
        ) from None
    _scheme, _slashes, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    if "@" in host:
        raise ValueError(_("“%(value)s” has a login in it; write the address without.") % {"value": host[:80]})
    return f"https://{host.lower()}{slash}{path}"


def _phone(text: str) -> str:
    fix = _("use E.164, for example +442071234567.")
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        raise ValueError(_("“%(value)s” is not a phone number; ") % {"value": text[:40]} + fix) from None
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason == phonenumbers.ValidationResult.TOO_SHORT:
        raise ValueError(_("“%(value)s” is too short; ") % {"value": text[:40]} + fix)
    if reason == phonenumbers.ValidationResult.TOO_LONG:
        raise ValueError(_("“%(value)s” is too long; ") % {"value": text[:40]} + fix)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise ValueError(_("“%(value)s” is not a possible number; ") % {"value": text[:40]} + fix)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
