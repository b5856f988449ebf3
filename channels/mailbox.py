"""Reads what the local outbox wrote (providers/outbox.py): one JSON file a message, newest first."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings

FORMS = ("email", "sms", "post")


@dataclass(frozen=True)
class Letter:
    """One message. `name` is its file's, without the suffix; `form` one of FORMS; `parts` as in Message.

    `picture` is {"url", "alt", "width", "height"}, or empty; its address holds its bytes.
    """

    name: str
    to: str
    person: str
    form: str
    at: datetime
    locale: str
    parts: dict[str, str] = field(default_factory=dict)
    picture: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def subject(self) -> str:
        return self.parts.get("subject", "")

    @property
    def text(self) -> str:
        return self.parts.get("text", "")

    @property
    def html(self) -> str:
        return self.parts.get("html", "")

    @property
    def line(self) -> str:
        """What a list shows of it."""
        return " ".join((self.subject if self.form == "email" else self.text).split())[:140]

    @property
    def links(self) -> list[tuple[str, str]]:
        """(address, words) of the web links in the HTML part; each address once."""
        finder = _Links()
        finder.feed(self.html)
        return list({href: (href, words.strip() or href) for href, words in finder.found}.values())


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") or ""
        if tag == "a" and href.startswith(("http://", "https://")):
            self.found.append((href, ""))
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            href, words = self.found[-1]
            self.found[-1] = (href, words + data)


def folder() -> Path:
    return Path(settings.DATA_DIR) / "outbox"


def read(name: str) -> Letter | None:
    """The message of this name (letters, digits, - and _ only); None if there is none that can be read."""
    try:
        raw: Any = json.loads((folder() / f"{name}.json").read_bytes())
        parts = {str(key): str(text) for key, text in dict(raw.get("parts") or {}).items()}
        return Letter(
            name=name,
            to=str(raw.get("to", "")),
            person=str(raw.get("name", "")),
            form=str(raw.get("form", "email")),
            at=datetime.fromtimestamp(float(raw.get("at", 0)), UTC),
            locale=str(raw.get("locale", "")),
            parts=parts,
            picture=dict(raw.get("picture") or {}),
        )
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return None


def names() -> list[str]:
    """Names of all messages, newest first, without opening one."""
    found = []
    try:
        with os.scandir(folder()) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    try:
                        found.append((entry.stat().st_mtime_ns, entry.name[:-5]))
                    except FileNotFoundError:  # replaced by a repeat at this moment
                        continue
    except FileNotFoundError:
        return []
    return [name for _mtime, name in sorted(found, reverse=True)]


def letters(form: str = "", query: str = "", start: int = 0, count: int = 50) -> list[Letter]:
    """Up to `count` messages from the `start`-th match on. Opens no more files than it needs.

    `query` is a part of an address or name.
    """
    if not form and not query:
        return [letter for name in names()[start : start + count] if (letter := read(name))]
    return list(islice(_matching(form, query.strip().lower()), start, start + count))


def _matching(form: str, query: str) -> Iterator[Letter]:
    for name in names():
        letter = read(name)
        if letter is None or (form and letter.form != form):
            continue
        if query in letter.to.lower() or query in letter.person.lower():
            yield letter
