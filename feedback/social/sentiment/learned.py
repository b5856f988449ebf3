"""What can be learned from labelled posts: how words, pairs of words and pieces of words lean.

A logistic regression over three labels, small enough to need no library: weights_en.json and weights_it.json hold it.
It speaks where the rules found nothing. `python -m feedback.social.sentiment.learned` learns anew from the posts that
are for learning (docs/reference/sentiment.md), which takes about a minute.
"""

import csv
import json
import math
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .lexicon import HERE, LANGUAGES

LABELS = ("negative", "neutral", "positive")
POSTS = Path("tests/feedback/social")
TOKEN = re.compile(r"\w+(?:'\w+)?|[?!]|[^\w\s.,;:'\"()-]")
ROUNDS, RATE, DECAY = 10, 0.2, 2e-4
SMALL = 0.03  # weights below are not worth their bytes
Weights = dict[str, list[float]]


def features(plain: str) -> list[str]:
    """Of a text in lower case: words, pairs of neighbours, and pieces of three to five letters within a word."""
    words = TOKEN.findall(plain)
    pairs = [f"{a} {b}" for a, b in zip(["^", *words], [*words, "$"], strict=True)]
    pieces = [
        f"_{text[start : start + size]}"
        for text in (f"<{one}>" for one in words if len(one) > 2)
        for size in (3, 4, 5)
        for start in range(len(text) - size + 1)
    ]
    return sorted({*words, *pairs, *pieces})


def leaning(plain: str, language: str) -> list[float]:
    """How probable each of LABELS is."""
    return _probable(_known(language), features(plain))


def _probable(weights: Weights, found: Sequence[str]) -> list[float]:
    scale = 1 / math.sqrt(len(found) or 1)
    sums = list(weights[""])  # the bias
    for one in found:
        if one in weights:
            sums = [a + scale * b for a, b in zip(sums, weights[one], strict=True)]
    top = max(sums)
    powers = [math.exp(one - top) for one in sums]
    return [one / sum(powers) for one in powers]


@cache
def _known(language: str) -> Weights:
    return json.loads((HERE / f"weights_{language}.json").read_text())


def learn(posts: Sequence[tuple[str, str]]) -> Weights:
    """Weights from (text in lower case, label): AdaGrad, each label as heavy as the others. The same each time."""
    counts = Counter(label for _text, label in posts)
    heavy = {label: len(posts) / len(counts) / n for label, n in counts.items()}
    read = [(features(text), LABELS.index(label), heavy[label]) for text, label in posts]
    often = Counter(one for found, _label, _heavy in read for one in found)
    read = [([one for one in found if often[one] > 1], label, weight) for found, label, weight in read]
    weights: Weights = defaultdict(lambda: [0.0] * 3)
    squares: Weights = defaultdict(lambda: [1e-3] * 3)
    order = random.Random(1)
    for _round in range(ROUNDS):
        order.shuffle(read)
        for found, label, weight in read:
            probable = _probable(weights, found)
            scale = 1 / math.sqrt(len(found) or 1)
            wrong = [weight * (one - (n == label)) for n, one in enumerate(probable)]
            for name, size in [("", 1.0), *((one, scale) for one in found)]:
                mine, past = weights[name], squares[name]
                for n in range(3):
                    slope = size * wrong[n] + DECAY * mine[n]
                    past[n] += slope * slope
                    mine[n] -= RATE * slope / math.sqrt(past[n])
    return {
        name: [round(one, 2) for one in values]
        for name, values in sorted(weights.items())
        if name == "" or max(values) - min(values) > SMALL
    }


def main() -> None:
    from .offline import normalise

    for language in LANGUAGES:
        with (POSTS / f"posts_{language}.csv").open() as file:
            posts = [(normalise(one["text"]), one["label"]) for one in csv.DictReader(file) if one["half"] == "dev"]
        path = HERE / f"weights_{language}.json"
        path.write_text(json.dumps(learn(posts), ensure_ascii=False, separators=(",", ":")) + "\n")
        print(f"{path}: {len(posts)} posts, {path.stat().st_size // 1024} KB", file=sys.stderr)


if __name__ == "__main__":
    main()
