"""What is wrong with the words of one language, without looking at any data."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from . import reading
from .finding import Finding, Level

PROSE = ("subject", "issue", "impact", "outlook", "action", "sms", "post")
BODY = ("issue", "impact", "outlook", "action")
LONG_SUBJECT = 78
LONG_SENTENCE = 32  # words
SHORT_TEXT = 15  # words: below that no index of readability means anything
# What a reader needs: years of school for English, Gulpease for Italian.
HARDEST = {"en": ("coleman_liau", 14.5), "it": ("gulpease", 42)}
# Placeholders, personal tokens, links and addresses are no prose.
NOT_PROSE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\[\[\w+\]\]|https?://\S+|\S+@\S+|`[^`]*`", re.S)

WHY_VAGUE = {
    "who": gettext_lazy("Readers cannot tell whether they are meant."),
    "when": gettext_lazy("Every reader understands another time."),
    "what": gettext_lazy("This does not say what fails."),
    "often": gettext_lazy("This does not say how often it fails."),
    "hedge": gettext_lazy("This leaves readers to find out for themselves."),
    "empty": gettext_lazy("This sentence tells readers nothing that they can use."),
}
FIX_VAGUE = {
    "who": gettext_lazy("Say which customers, or how many: “customers who pay by card”, “about 1 in 5”."),
    "when": gettext_lazy("Give a time, or say when you will speak again: “Next update by 14:30”."),
    "what": gettext_lazy("Name what customers cannot do: “Card payments fail”."),
    "often": gettext_lazy("Say how often: “about 1 in 10 attempts fails”."),
    "hedge": gettext_lazy("Say what happens: “Customers see an error at checkout”."),
    "empty": gettext_lazy("Say what is wrong or what you are doing: “We are restarting card payments”."),
}
WHY_MANNER = {
    "apology": gettext_lazy("A stock phrase reads as if nobody meant it."),
    "passive": gettext_lazy("Nobody takes responsibility in this sentence."),
    "blame": gettext_lazy("Customers hold us responsible, whoever failed behind us."),
}
FIX_MANNER = {
    "apology": gettext_lazy("Be sorry for what really happened: “We are sorry that payments failed this morning.”"),
    "passive": gettext_lazy("Say who did what: “We made a mistake in a change at 9:10.”"),
    "blame": gettext_lazy("Say what we do about it."),
}


@dataclass(frozen=True)
class Lexicon:
    """The word lists of one language."""

    jargon: tuple[tuple[re.Pattern[str], str], ...]
    vague: tuple[tuple[str, re.Pattern[str]], ...]
    empty: re.Pattern[str]  # whole sentences
    manner: tuple[tuple[str, re.Pattern[str]], ...]
    generic: re.Pattern[str]
    promise: re.Pattern[str]
    about: re.Pattern[str]  # words near which a time is a promise


def _whole(*phrases: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.I)


@cache
def lexicon(locale: str) -> Lexicon | None:
    """The word lists of a language; None if there are none (the structural checks still hold)."""
    path = Path(__file__).with_name(f"{locale}.toml")
    if not path.exists():
        return None
    data = tomllib.loads(path.read_text())
    return Lexicon(
        jargon=tuple((_whole(phrase), plain) for phrase, plain in data["jargon"].items()),
        vague=tuple((kind, _whole(*phrases)) for kind, phrases in data["vague"].items()),
        empty=_whole(*data["sentences"]["empty"]),
        manner=tuple((kind, _whole(*phrases)) for kind, phrases in data["manner"].items()),
        generic=_whole(*data["subject"]["generic"]),
        promise=_whole(*data["promise"]["words"]),
        about=re.compile("|".join(data["promise"]["about"]), re.I),
    )


def plain(text: str, names: tuple[str, ...] = ()) -> str:
    """The text with everything that is no prose blanked out, of the same length, so that offsets stay true.

    `names` (of components, of the organisation) are proper names and no jargon.
    """

    def blank(match: re.Match[str]) -> str:
        return "\n" if match[0] == "\n" else "\x00" * len(match[0])

    text = NOT_PROSE.sub(blank, text)
    for name in names:
        text = re.sub(re.escape(name), blank, text)
    return text


def prose(words: Mapping[str, str], locale: str, names: tuple[str, ...] = ()) -> list[Finding]:
    """Findings in the words of one language: {field of WORDS: text as edited}."""
    lists = lexicon(locale)
    texts = {field: plain(words.get(field, ""), names) for field in PROSE}
    found: list[Finding] = []
    for field, text in texts.items():
        if lists:
            found += _phrases(lists, words.get(field, ""), text, locale, field)
        found += _shouting(text, locale, field)
    found += _subject(words.get("subject", ""), texts["subject"], lists, locale)
    found += _reading(texts, locale)
    return found


def _phrases(lists: Lexicon, raw: str, text: str, locale: str, field: str) -> Iterator[Finding]:
    def at(match: re.Match[str], code: str, message: str, fix: str, level: Level) -> Finding:
        start, end = match.span()
        return Finding(code, locale, field, message, fix, raw[start:end], level, start, end)

    taken: list[tuple[int, int]] = []
    for pattern, simple in lists.jargon:
        match = pattern.search(text)
        if match and not any(a < match.end() and match.start() < b for a, b in taken):
            taken.append(match.span())
            message = _("“%(term)s” is a word of engineers: many customers do not know it.") % {"term": match[0]}
            yield at(match, "jargon", message, _("For instance: “%(plain)s”.") % {"plain": simple}, Level.WARN)
    vague = [(kind, match) for kind, pattern in lists.vague if (match := pattern.search(text))]
    # Of a subject, _subject says it.
    match = None if field == "subject" else _empty(lists, text)
    # A vague word inside is reason enough, and says more.
    if match and not any(match.start() <= other.start() < match.end() for _kind, other in vague):
        vague.append(("empty", match))
    for kind, match in vague:
        yield at(match, "vague", str(WHY_VAGUE[kind]), str(FIX_VAGUE[kind]), Level.WARN)
    for kind, pattern in lists.manner:
        if match := pattern.search(text):
            yield at(match, "manner", str(WHY_MANNER[kind]), str(FIX_MANNER[kind]), Level.HINT)


def _empty(lists: Lexicon, text: str) -> re.Match[str] | None:
    """The first sentence that says that there is a problem, or that somebody works at it, and nothing else."""
    for start, sentence in reading.sentences(text):
        if match := lists.empty.fullmatch(text, start, start + len(sentence.rstrip(" .!?…"))):
            return match
    return None


SHOUTED = re.compile(r"(?<!\w)(?:[A-ZÀ-Ý]{4,}(?:\s+[A-ZÀ-Ý]{4,})+|[A-ZÀ-Ý]{9,})(?!\w)|!(?:\s*[!?])+")


def _shouting(text: str, locale: str, field: str) -> Iterator[Finding]:
    if match := SHOUTED.search(text):
        message = _("Capitals and rows of exclamation marks read as shouting.")
        fix = _("Write it as you would say it calmly.")
        yield Finding("shouting", locale, field, message, fix, match[0], Level.WARN, *match.span())


def _subject(raw: str, text: str, lists: Lexicon | None, locale: str) -> Iterator[Finding]:
    bare = re.sub(r"[\W\d_]+", " ", text).strip()
    if raw.strip() and lists and "\x00" not in text and lists.generic.fullmatch(bare):
        yield Finding(
            "empty_subject",
            locale,
            "subject",
            _("This subject does not say what fails, so nobody knows whether to open it."),
            _("Name the service and what is wrong: “Card payments fail in Italy”."),
            raw,
        )
    if len(raw) > LONG_SUBJECT and "{{" not in raw:
        yield Finding(
            "long_subject",
            locale,
            "subject",
            _("The subject has %(count)s characters; phones show about %(limit)s.")
            % {"count": len(raw), "limit": LONG_SUBJECT},
            _("Put what fails first and leave the rest to the text."),
            raw[LONG_SUBJECT:],
            Level.HINT,
            LONG_SUBJECT,
            len(raw),
        )


def _reading(texts: Mapping[str, str], locale: str) -> Iterator[Finding]:
    """The reading level of the whole, or else a sentence that is too long by itself. Names the longest sentence."""
    every = [
        (len(reading.words(sentence)), field, start, sentence)
        for field in BODY
        for start, sentence in reading.sentences(texts[field].replace("\x00", "x"))
    ]
    if not every:
        return
    count, field, start, _sentence = max(every, key=lambda one: one[0])
    end = start + len(_sentence)
    excerpt = texts[field][start:end].replace("\x00", "…")
    excerpt = re.sub("…+", "…", excerpt)
    # Names and placeholders say nothing about how hard the words around them are.
    body = "\n".join(texts[f].replace("\x00", "") for f in BODY)
    where = {"count": count}
    if len(reading.words(body)) >= SHORT_TEXT and _too_hard(body, locale):
        message = _("Hard to read in a hurry. The longest sentence has %(count)s words.") % where
        fix = _("One thought a sentence, short everyday words.")
        yield Finding("hard", locale, field, message, fix, excerpt, Level.WARN, start, end)
    elif count > LONG_SENTENCE:
        message = _("This sentence has %(count)s words.") % where
        yield Finding("long_sentence", locale, field, message, _("Make two of it."), excerpt, Level.HINT, start, end)


def _too_hard(text: str, locale: str) -> bool:
    if locale not in HARDEST:
        return False
    index, limit = HARDEST[locale]
    if index == "gulpease":
        return reading.gulpease(text) < limit
    return reading.coleman_liau(text) > limit
