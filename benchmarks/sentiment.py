"""Sentiment: how often is a post read as people read it, by each engine and by VADER alone?

The posts are labelled by hand: tests/feedback/social. Those that judge were never tuned on; docs/reference/sentiment.md
tells more. Amazon Comprehend takes part where SENTIMENT_ENGINE=comprehend and the SDK finds credentials.
"""

import csv
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .measure import Options, Wrong, say
from .stage import ROOT, Stage

GOALS = {
    "en_offline_f1_vs_vader": (">=", 1.3),
    "it_offline_f1_vs_vader": (">=", 2.0),
    "en_pointed_not_neutral": (">=", 0.9),
    "it_pointed_not_neutral": (">=", 0.9),
}
LABELS = ("negative", "neutral", "positive")
POINTED = ("sarcasm", "negated")  # what must not be taken for neutral
Post = dict[str, str]


def posts(language: str, half: str = "test") -> list[Post]:
    with Path(ROOT, "tests/feedback/social", f"posts_{language}.csv").open(newline="") as file:
        return [one for one in csv.DictReader(file) if one["half"] == half]


def confusion(rows: Sequence[Post], labels: Sequence[str]) -> Counter[tuple[str, str]]:
    """(as people read it, as it was read) → how often."""
    return Counter((row["label"], str(label)) for row, label in zip(rows, labels, strict=True))


def scores(found: Counter[tuple[str, str]]) -> dict[str, tuple[float, float, float]]:
    """Precision, recall and F1 of each label."""
    result = {}
    for label in LABELS:
        right = found[label, label]
        said = sum(n for (_truth, given), n in found.items() if given == label)
        there = sum(n for (truth, _given), n in found.items() if truth == label)
        precision, recall = right / said if said else 0.0, right / there if there else 0.0
        result[label] = (precision, recall, 2 * right / (said + there) if said + there else 0.0)
    return result


def macro_f1(found: Counter[tuple[str, str]]) -> float:
    return sum(f1 for _precision, _recall, f1 in scores(found).values()) / len(LABELS)


def pointed(rows: Sequence[Post], labels: Sequence[str]) -> float:
    """The share of sarcastic and of negated posts that are not read as neutral."""
    mine = [str(label) for row, label in zip(rows, labels, strict=True) if row["tag"] in POINTED]
    return sum(label != "neutral" for label in mine) / len(mine)


def engines() -> dict[str, Callable[[list[str]], list[str]]]:
    from django.conf import settings

    from feedback.social.sentiment import engines, offline

    found: dict[str, Callable[[list[str]], list[str]]] = {
        "offline": lambda texts: [offline.read(one).label for one in texts],
        "vader": _by_vader,
    }
    if settings.SENTIMENT_ENGINE == engines.COMPREHEND:
        found["comprehend"] = _by_comprehend
    return found


def _by_vader(texts: list[str]) -> list[str]:
    """As its authors say: from 0.05 on, either way."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    moods = [analyzer.polarity_scores(one)["compound"] for one in texts]
    return ["positive" if one >= 0.05 else "negative" if one <= -0.05 else "neutral" for one in moods]


def _by_comprehend(texts: list[str]) -> list[str]:
    from feedback.social.sentiment import engines, read_all

    moods = read_all([(one, "") for one in texts])
    if failed := [one for one in moods if one.engine != engines.COMPREHEND]:
        raise Wrong(f"Comprehend did not read {len(failed)} of {len(moods)} posts: {failed[0].detail}")
    return [one.label for one in moods]


def run(stage: Stage, options: Options) -> dict[str, Any]:
    """Macro-F1 of each engine in each language; --full: of all posts, those that were tuned on as well."""
    result: dict[str, Any] = {}
    f1: dict[tuple[str, str], float] = {}
    for language in ("en", "it"):
        rows = posts(language) + (posts(language, "dev") if options.full else [])
        texts = [one["text"] for one in rows]
        for name, read in engines().items():
            started = time.perf_counter()
            labels = read(texts)
            spent = time.perf_counter() - started
            found = confusion(rows, labels)
            key = f"{language}_{name}"
            f1[language, name] = result[f"{key}_macro_f1"] = round(macro_f1(found), 3)
            result[f"{key}_ms_per_post"] = round(spent / len(rows) * 1000, 2)
            result[f"{key}_pointed_not_neutral"] = round(pointed(rows, labels), 3)
            _tell(f"{language}, {name}, {len(rows)} posts", found)
    result["ratios"] = {
        f"{language}_offline_f1_vs_vader": round(f1[language, "offline"] / f1[language, "vader"], 3)
        for language in ("en", "it")
    } | {
        f"{language}_pointed_not_neutral": result[f"{language}_offline_pointed_not_neutral"]
        for language in ("en", "it")
    }
    return result


def _tell(title: str, found: Counter[tuple[str, str]]) -> None:
    say(title)
    for label, (precision, recall, f1) in scores(found).items():
        row = "  ".join(f"{found[label, given]:>3} read as {given}" for given in LABELS)
        say(f"  {label:<9} precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}   of them {row}")
