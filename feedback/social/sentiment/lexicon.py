"""The word lists of one language, as regular expressions that are ready to search."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
LANGUAGES = ("en", "it")
COMMON = ("intense", "people", "past", "contrast", "neutral")  # words too short to tell a language by


@dataclass(frozen=True)
class Lexicon:
    stop: frozenset[str]
    no_feeling: frozenset[str]
    sections: dict[str, re.Pattern[str]]

    def hits(self, text: str) -> int:
        """How much of what is looked for is in a text in lower case."""
        return sum(bool(one.search(text)) for name, one in self.sections.items() if name not in COMMON)

    def __getitem__(self, name: str) -> re.Pattern[str]:
        return self.sections[name]


@cache
def lexicon(language: str) -> Lexicon:
    raw = tomllib.loads((HERE / f"{language}.toml").read_text())
    parts = raw.pop("parts")
    stop = frozenset(raw.pop("stop").split())
    no_feeling = frozenset(raw.pop("no_feeling", "").split())
    return Lexicon(stop, no_feeling, {name: _compiled(section["find"], parts) for name, section in raw.items()})


def _compiled(found: list[str], parts: dict[str, str]) -> re.Pattern[str]:
    text = "|".join(found)
    for _depth in range(2):  # a part may name another
        for name, part in parts.items():
            text = text.replace(f"{{{name}}}", part if name == "gap" else f"(?:{part})")
    text = re.sub(r"(?<!\\)\((?!\?)", "(?:", text)  # nothing here is asked for by its number
    spaced = text.replace(" ", r"\s+")
    return re.compile(rf"(?<!\w)(?:{spaced})(?!\w)")
