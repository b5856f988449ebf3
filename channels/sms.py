"""How many segments a text message takes, and which characters make it take more."""

from collections.abc import Iterable
from dataclasses import dataclass

# GSM 03.38: the basic table, and the extension table whose characters need an escape before them.
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
# Encoding → units in a message of one segment, and in each segment of a longer one (a header takes the rest).
SIZES = {"GSM-7": (160, 153), "UCS-2": (70, 67)}


@dataclass(frozen=True)
class Segments:
    """What a text costs. Units are septets for GSM-7 and 16-bit words for UCS-2."""

    encoding: str  # "GSM-7" or "UCS-2"
    units: int
    count: int  # segments; 0 for an empty text
    per_segment: int  # units that fit into each segment of a message this long
    offending: tuple[str, ...]  # the characters that force UCS-2, each once, in order of appearance

    @property
    def left(self) -> int:
        """Units still free before the message takes one more segment."""
        return self.per_segment * max(self.count, 1) - self.units


def segments(text: str) -> Segments:
    """Encoding and segments of a text as operators count them.

    Neither an escaped character nor a surrogate pair is ever split between two segments, so that a long message
    may take one segment more than its units suggest.
    """
    offending = tuple(dict.fromkeys(c for c in text if c not in BASIC and c not in EXTENSION))
    encoding = "UCS-2" if offending else "GSM-7"
    widths = [_width(c, encoding) for c in text]
    single, several = SIZES[encoding]
    units = sum(widths)
    if units <= single:
        return Segments(encoding, units, 1 if text else 0, single, offending)
    return Segments(encoding, units, _pack(widths, several), several, offending)


def _width(character: str, encoding: str) -> int:
    if encoding == "UCS-2":
        return 2 if ord(character) > 0xFFFF else 1
    return 2 if character in EXTENSION else 1


def _pack(widths: Iterable[int], size: int) -> int:
    count, used = 1, 0
    for width in widths:
        if used + width > size:
            count, used = count + 1, 0
        used += width
    return count
