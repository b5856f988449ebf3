"""What a monitoring system says, in our words: read from JSON that anybody may have written, whoever signed it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

TITLE, SUMMARY, NAME, VALUE, MOST_LABELS = 200, 1000, 100, 300, 40  # characters, and labels
FINGERPRINT = 64
# How loud systems call it → our severity. Whatever else they say is no hint.
HINTS = {
    "sev1": ("critical", "emergency", "fatal", "page", "p1", "sev1"),
    "sev2": ("error", "major", "high", "p2", "sev2"),
    "sev3": ("warning", "warn", "minor", "medium", "p3", "sev3"),
    "sev4": ("info", "information", "notice", "low", "p4", "p5", "sev4"),
}


class Malformed(ValueError):
    """A field is missing or of another kind. The message names it, its value and the fix."""


class Unknown(Exception):
    """Of a kind that is nothing to us."""


@dataclass(frozen=True)
class Signal:
    """One thing that fires, or has stopped firing. All of one `fingerprint` are the same thing."""

    fingerprint: str
    firing: bool
    title: str
    summary: str = ""
    severity_hint: str = ""  # a Severity, or "" where the system says none
    labels: dict[str, str] = field(default_factory=dict)
    at: datetime = field(default_factory=timezone.now)  # since when, as the system says; never in the future


@dataclass(frozen=True)
class Told:
    """What a request brought, once it is known who wrote it."""

    body: str | bytes  # JSON
    id: str = ""  # the same each time that it is told; "" if the way has no such thing
    at: datetime | None = None


@dataclass(frozen=True)
class Trust:
    """By what the sender is known: the secrets that are in force, and the topics that may speak."""

    secrets: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """How one kind of monitoring system speaks, and by what it is believed."""

    label: Any
    # The signals in a payload. Raises Malformed, Unknown.
    read: Callable[[Any], list[Signal]]
    # What came, if it is of whom it says: (trust, body, headers). Raises what `verifying` says.
    verify: Callable[[Trust, bytes, Mapping[str, str]], Told]
    sample: dict[str, Any]  # a payload to try
    how_to: str  # a template that tells how to connect it
    # The payload's own id and time, where it has them: (id, at).
    identity: Callable[[Any], tuple[str, datetime | None]] = lambda payload: ("", None)
    topics: bool = False  # comes through topics of Amazon SNS
    makes_secret: bool = False  # we make the secret, and it is typed in there
    takes_secret: bool = False  # they make the secret, and it is typed in here


# ── Fields ──────────────────────────────────────────────────────────────────


def text(value: Any, most: int = VALUE) -> str:
    """A text in one line that any database takes, cut at `most` characters; numbers as they are written."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        said = str(value)
    except ValueError:  # a number with thousands of digits
        return ""
    printable = "".join(one if one.isprintable() else " " for one in said[: 4 * most])
    return " ".join(printable.split())[:most]


def need(payload: Any, name: str, kind: type, path: str = "") -> Any:
    """A field that must be there. Raises Malformed."""
    value = payload.get(name) if isinstance(payload, dict) else None
    if not isinstance(value, kind) or value in ("", {}, []):
        kinds: dict[type, str] = {str: "a text", dict: "an object", list: "a list"}
        raise Malformed(f"“{path}{name}” is missing or empty, or not {kinds[kind]}.")
    return value


def part(payload: Any, *names: str) -> dict[str, Any]:
    """An object within objects; an empty one if there is none."""
    for name in names:
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload if isinstance(payload, dict) else {}


def labels(*found: Any) -> dict[str, str]:
    """Names with values from these objects: so many, and so long, as a person may want to read."""
    kept: dict[str, str] = {}
    for one in found:
        for name, value in list(one.items())[:MOST_LABELS] if isinstance(one, dict) else ():
            name, said = text(name, NAME), text(value)
            if name and said and len(kept) < MOST_LABELS:
                kept[name] = said
    return kept


def moment(value: Any) -> datetime | None:
    """A time that has begun; None for anything else, for instance the year 1 that stands for “not yet”."""
    try:
        at = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if at is None or at.year < 2000 or at.year > 9000:
        return None
    if timezone.is_naive(at):
        at = timezone.make_aware(at)
    return min(at, timezone.now())


def fingerprint(*parts: Any) -> str:
    """What these texts have in common with no others. 64 characters at most, of any kind of key."""
    plain = str(parts[0]) if len(parts) == 1 else ""
    if plain.isascii() and plain.isprintable() and 0 < len(plain) <= FINGERPRINT:
        return plain
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()


def hint(word: Any) -> str:
    """The severity that a word means; "" for none."""
    said = text(word).lower()
    return next((severity for severity, words in HINTS.items() if said in words), "")
