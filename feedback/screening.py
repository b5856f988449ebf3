"""Personal data in what customers write, masked before anybody reads it in a list, a report or a file.

It errs on the side of masking: a number that could be somebody's telephone goes, even if it is of an order. Names and
street addresses are not found: no rule knows them from other words.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import phonenumbers
from django.utils.translation import gettext_lazy as _

from .models import SurveyAnswer

# What stands in the place of each kind.
MASKS = {
    "url": _("[address with an access code]"),
    "email": _("[email address]"),
    "iban": _("[bank account]"),
    "tax": _("[tax code]"),
    "card": _("[card number]"),
    "ip": _("[IP address]"),
    "phone": _("[phone number]"),
}
# Where a number without a country code may be from, by the language of the text.
REGIONS = {"it": ("IT",), "en": ("IT", "GB", "US")}

URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"]+", re.I)
# What lets in whoever has it: a query, a fragment, a login, or a part that nobody would make up to be read.
ACCESS = re.compile(r"[?#@]|[A-Za-z0-9_\-.:=]{24,}(?:/|$)")
AT = r"(?:@|\s*[\[({]\s*(?:at|chiocciola)\s*[\])}]\s*)"
EMAIL = re.compile(rf"[\w.+'%-]+{AT}[\w-]+(?:\.[\w-]+)+", re.I)
JWT = re.compile(r"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ \-.]?[A-Z0-9]){11,30}", re.I)
IBAN_WHOLE = re.compile(r"\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b")
DIGIT = "[0-9LMNPQRSTUV]"  # some people's have letters for digits, so that no two are alike
TAX = re.compile(
    rf"\b[A-Z]{{3}}[ \-]?[A-Z]{{3}}[ \-]?{DIGIT}{{2}}[A-EHLMPRST]{DIGIT}{{2}}[ \-]?[A-Z]{DIGIT}{{3}}[ \-]?[A-Z]\b", re.I
)
CARD = re.compile(r"(?<![\w])\d(?:[ \-.]?\d){12,18}(?!\w)")
IP4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w])(?!\.\d)")
IP6 = re.compile(r"(?<![\w:])[0-9A-F:]*:[0-9A-F:]*:[0-9A-F:.]*(?![\w:])", re.I)


@dataclass(frozen=True)
class Screened:
    """A text that may be shown, and what was taken out of it: keys of MASKS."""

    text: str
    found: frozenset[str]

    @property
    def masked(self) -> bool:
        return bool(self.found)


def screen(text: str, locale: str = "en") -> Screened:
    """`text` with its personal data masked; `locale` is the language that it is written in."""
    text = _plain(text)
    spans = sorted((start, -end, kind) for kind, start, end in _find(text, locale))
    parts, kinds, at = [], set(), 0
    for start, minus_end, kind in spans:
        if start >= at:
            parts += [text[at:start], str(MASKS[kind])]
            kinds.add(kind)
        elif -minus_end <= at:
            continue
        at = -minus_end
    return Screened("".join([*parts, text[at:]]), frozenset(kinds))


def screened(answer: SurveyAnswer) -> dict[str, str]:
    """What somebody wrote, by question, fit to be shown."""
    return {key: screen(text, answer.locale).text for key, text in answer.texts.items()}


def _plain(text: str) -> str:
    """Without what hides data from us and not from a reader: invisible signs, letters and digits of double width."""
    shown = "".join(one for one in text if unicodedata.category(one) != "Cf")
    return "".join(chr(ord(one) - 0xFEE0) if "！" <= one <= "～" else one for one in shown)


def _find(text: str, locale: str) -> Iterator[tuple[str, int, int]]:
    for match in URL.finditer(text):
        if ACCESS.search(match[0].split("://", 1)[-1]):
            yield "url", *match.span()
    patterns: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
        ("url", JWT, bool),
        ("email", EMAIL, bool),
        ("iban", IBAN_WHOLE, bool),
        ("tax", TAX, bool),
        ("card", CARD, _luhn),
        ("ip", IP4, _is_ip),
        ("ip", IP6, _is_ip),
    )
    for kind, pattern, holds in patterns:
        yield from ((kind, *match.span()) for match in pattern.finditer(text) if holds(match[0]))
    for match in IBAN.finditer(text):
        if length := _iban_length(match[0]):
            yield "iban", match.start(), match.start() + length
    for region in REGIONS.get(locale, ("IT",)):
        for found in phonenumbers.PhoneNumberMatcher(text, region):
            yield "phone", found.start, found.end


def _luhn(text: str) -> bool:
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [sum(divmod(2 * one, 10)) for one in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_ip(text: str) -> bool:
    try:
        ip_address(text.rstrip(".:") if "::" not in text[-2:] else text.rstrip("."))
    except ValueError:
        return False
    return any(one.isdigit() for one in text)


def _iban_length(text: str) -> int:
    """How much of it is an account number by its check digits; what follows it may look as if it belonged to it."""
    best, signs = 0, ""
    for at, one in enumerate(text, 1):
        if one.isalnum():
            signs += one.upper()
            if len(signs) >= 15 and int("".join(str(int(s, 36)) for s in signs[4:] + signs[:4])) % 97 == 1:
                best = at
    return best
