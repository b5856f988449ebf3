"""The engine that needs nobody else: word lists and a few rules of grammar for English and Italian.

General word lists fail on posts about outages: “payments are not working” holds no emotional word, and “great job” is
seldom praise there. So it is looked for what people tell (it does not do what it should; it does again; nobody is told
anything), for what they feel, and for how both stand together. docs/reference/sentiment.md tells the rules and what
they were measured at.
"""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from . import learned
from .language import language_of
from .learned import LABELS
from .lexicon import LANGUAGES, Lexicon, lexicon
from .mood import Label, Mood

NAME = "offline"
# In this order, and what one has taken the next ones do not see: “not working again” is no recovery. With what it
# weighs; below zero is bad.
SECTIONS = {
    "neutral": 0.0,
    "idioms_positive": 3.0,
    "courtesy": 3.0,
    "unfixed": -3.0,
    "fixed": 3.0,
    "cleared": 2.5,
    "negated": -3.0,
    "idioms_negative": -2.5,
    "broken": -2.5,
    "anger": -2.5,
    "faults": -1.8,
    "waits": -1.2,
    "praise": 1.8,
    "topic": -1.2,
}
TROUBLE = ("unfixed", "idioms_negative", "negated", "broken", "anger", "faults")  # what surely is one
NAMED = ("faults", "topic", "waits")  # what may only be named, by those who thank for how it was dealt with
HISTORY = ("negated", "broken", *NAMED, "idioms_negative")  # what a recovery makes a thing of the past
GOOD = ("courtesy", "fixed", "cleared", "praise")  # what a negation before it turns
WARM = ("idioms_positive", "courtesy", "praise")
ENOUGH = 1.0  # from here on the rules are sure that it is not neutral
MOST, INDIFFERENT, LEARNED = 3.0, 0.7, 0.7  # the most that rules say, what speaks for neutral, what learning counts
LONGEST = 2000  # characters that are read: more has no post, and an article is none
SURE = 2.5  # at which the score is about 0.7

LINK = re.compile(r"https?://\S+|www\.\S+|\S+@\S+\.\S+")
MENTION = re.compile(r"@[\w.]+(@[\w.-]+)?")
HASHTAG = re.compile(r"#(\w+)")
CAMEL = re.compile(r"(?<=[a-zà-ù])(?=[A-Z])")
NOT_ONLY = re.compile(r"not (only|just|to mention)|non (solo|soltanto)|no (doubt|wonder)|senza dubbio|niente di")
PAUSE = re.compile(r"[.,;:!?\n]|\b(?:but|and|ma|però|e|now|ora)\b")
LENGTHENED = re.compile(r"(\w)\1{2,}")
QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "«": '"', "»": '"', "…": "..."})
GOOD_FACES = set("👍❤🧡💚💙💜😊🎉🙏😍🥰💪🙌😀😁😃😄🥳😌🤗💯✅🚀⭐🌟🤩😇♥")
BAD_FACES = set("😡🤬😠😤😭😢😞😩😫🤦💩🤮🤢👎😒💀😱💔☹😕😣🙁😖😓😔😑😐🤯🔥❌🚨😬🖕⚠")
DRY_FACES = set("🙃👏😂🤣🙄😅🤡🥴👌😏🫠")  # what praise with trouble is not meant with


@dataclass
class Reading:
    """What was found in one post: by section, where each finding begins."""

    text: str
    found: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def has(self, *sections: str) -> bool:
        return any(self.found[one] for one in sections)

    def last(self, *sections: str) -> int:
        return max((at for one in sections for at in self.found[one]), default=-1)

    def first(self, *sections: str) -> int:
        return min((at for one in sections for at in self.found[one]), default=len(self.text) + 1)


def read(text: str, said: str = "") -> Mood:
    """The mood of one post; `said` is the language that the network gives, where it does."""
    text = text[:LONGEST]
    language = language_of(text, said)
    if language not in LANGUAGES:
        return Mood(Label.UNREAD, 0.0, language, NAME)
    plain = normalise(text)
    label, lean = _decide(weigh(text, language), learned.leaning(plain, language))
    return Mood(label, round(lean / (lean**2 + SURE**2) ** 0.5, 3), language, NAME)


def _decide(total: float, probable: Sequence[float]) -> tuple[str, float]:
    """The label, and how far it leans to the good: what the rules weigh, and what is learned, where they say little."""
    total = max(-MOST, min(MOST, total))
    says = (max(0.0, -total), INDIFFERENT, max(0.0, total))
    sums = [one + LEARNED * math.log(max(part, 0.05)) for one, part in zip(says, probable, strict=True)]
    best = LABELS[sums.index(max(sums))]
    lean = total + LEARNED * (probable[2] - probable[0])
    if best == Label.NEUTRAL:
        return best, max(-0.6, min(0.6, lean))
    return best, max(lean, 0.7) if best == Label.POSITIVE else min(lean, -0.7)


def weigh(text: str, language: str) -> float:
    """How good (above zero) or bad (below) it is."""
    words = lexicon(language)
    plain = normalise(text)
    reading = _search(plain, words)
    faces = set(text)
    good, bad, dry = (len(faces & known) for known in (GOOD_FACES, BAD_FACES, DRY_FACES))
    ironic = bool(words["irony_sure"].search(plain))
    weights = {name: _sum(reading, name) for name in SECTIONS}

    if _only_reports(plain, reading, words) and not (good or bad or dry or ironic):
        return 0.0
    _let_bygones_be(reading, weights)
    _hear_contrast(plain, reading, weights, words)
    if reading.has("courtesy", "idioms_positive"):
        for name in NAMED:
            weights[name] *= 0.3
    if reading.has("fixed", "cleared"):
        weights["waits"] = 0.0
    trouble = sum(weights[one] for one in TROUBLE) <= -1
    total = sum(weights.values())
    warm = sum(max(weights[one], 0) for one in WARM)
    recovered = weights["fixed"] + weights["cleared"]
    if ironic and not recovered and (trouble or not reading.has("courtesy")):
        total -= warm + 2.5
    elif ironic and trouble:
        total -= warm + 1.5
    elif warm and (trouble or (reading.has("topic") and not reading.has("courtesy", "idioms_positive"))):
        total -= _unmeant(plain, reading, words, warm, recovered, bool(dry))
    total += 1.2 * good - 2.0 * bad
    if dry and total < 0:
        total -= 0.5
    elif dry and reading.has("topic"):
        total -= 1.5
    if plain.rstrip().endswith("?") and total > 0 and not reading.has("fixed", "cleared", "courtesy"):
        total *= 0.3  # “is it reliable?” praises nobody
    if not reading.has(*SECTIONS) and not (good or bad):
        total += _general(text, language)
    if abs(total) >= ENOUGH:
        total *= 1 + 0.1 * min(len(words["intense"].findall(plain)) + text.count("!"), 4)
    return total


def normalise(text: str) -> str:
    """Lower case without links and names; hashtags as words, lengthened letters (sooo) as one."""
    said = unicodedata.normalize("NFC", text).translate(QUOTES)
    said = MENTION.sub(" ", LINK.sub(" ", said))
    said = HASHTAG.sub(lambda tag: CAMEL.sub(" ", tag[1]).replace("_", " "), said)
    return LENGTHENED.sub(r"\1", said.lower()) if text else ""


def _search(plain: str, words: Lexicon) -> Reading:
    reading = Reading(plain)
    left = plain
    for name in SECTIONS:
        if name not in words.sections:
            continue

        def take(match: Any, name: str = name) -> str:
            turned = name in GOOD and _negated(plain, match.start(), words)
            reading.found["negated" if turned else name].append(match.start())
            return "\x00" * len(match[0])

        left = words[name].sub(take, left)
    return reading


def _negated(plain: str, at: int, words: Lexicon) -> bool:
    """Whether one of the three words before is a negation, with no comma between."""
    before = re.split(r"[.,;:!?\n]", plain[max(0, at - 40) : at])[-1].split()[-3:]
    found = " ".join(before)
    return bool(words["negation"].search(found)) and not NOT_ONLY.search(found)


def _sum(reading: Reading, name: str) -> float:
    """The second finding of a kind says half as much as the first, and so on."""
    return SECTIONS[name] * sum(0.5**n for n in range(min(len(reading.found[name]), 4)))


def _only_reports(plain: str, reading: Reading, words: Lexicon) -> bool:
    """Whether somebody tells news: no word of themselves, none to us, no feeling and no exclamation."""
    signs = len(words["news"].findall(plain)) + len(words["planned"].findall(plain))
    return bool(
        signs > reading.has("broken")
        and not words["people"].search(plain)
        and not reading.has("anger", "unfixed", "idioms_negative", "praise", "courtesy", "idioms_positive", "cleared")
        and (signs >= 3 or not reading.has("fixed"))  # customers tell of a recovery, too
        and not (reading.has("negated") and not words["planned"].search(plain))
        and "!" not in plain
        and not plain.rstrip().endswith("?")
    )


def _let_bygones_be(reading: Reading, weights: dict[str, float]) -> None:
    """What was wrong before it was put right is history; what is told after that is not."""
    if not reading.has("fixed") or reading.has("unfixed"):
        if reading.has("unfixed"):
            weights["fixed"] *= 0.2
        return
    righted = reading.last("fixed")
    told = PAUSE.search(reading.text, righted)
    end = told.start() if told else len(reading.text)  # of what was said to be right: “they fixed my double charge”
    for name in HISTORY:
        if reading.last(name) < end:
            weights[name] *= 0.15
        elif reading.first(name) > end:
            weights["fixed"] *= 0.5


def _hear_contrast(plain: str, reading: Reading, weights: dict[str, float], words: Lexicon) -> None:
    """What stands behind a “but” counts; what stands before it counts less."""
    marks = [match.start() for match in words["contrast"].finditer(plain)]
    if not marks:
        return
    turn = marks[-1]
    sides = {name: [at > turn for at in found] for name, found in reading.found.items() if SECTIONS[name]}
    if not any(True in one for one in sides.values()) or not any(False in one for one in sides.values()):
        return
    for name, after in sides.items():
        if after:
            share = sum(after) / len(after)
            weights[name] *= 1.4 * share + 0.35 * (1 - share)


def _unmeant(plain: str, reading: Reading, words: Lexicon, warm: float, recovered: float, dry: bool) -> float:
    """By how much praise beside trouble is turned: all of it where it sounds ironic, none where it is balanced."""
    if recovered:
        return 0.0
    cue = dry or bool(words["irony"].search(plain))
    if words["contrast"].search(plain):
        return 0.0
    past = bool(words["past"].search(plain))
    if past and reading.has("courtesy", "idioms_positive"):
        return 0.0
    if cue:
        return 1.6 * warm
    return 0.0 if past else warm


@cache
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    for word in lexicon("en").no_feeling:
        analyzer.lexicon.pop(word, None)
    return analyzer


def _general(text: str, language: str) -> float:
    """The general mood of an English post in which nothing of ours was found."""
    if language != "en":
        return 0.0
    mood = _vader().polarity_scores(text)["compound"]
    return 2.2 * mood if abs(mood) >= 0.45 else 0.0
