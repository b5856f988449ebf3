"""Turns, medians, ratios, goals."""

import operator
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

COMPARE = {">=": operator.ge, "<=": operator.le}


class Wrong(Exception):
    """What was measured did not work as it must: a message lost or doubled, a process that died."""


@dataclass(frozen=True)
class Options:
    """How large and how often."""

    full: bool = False
    rounds: int = 3
    size: int | None = None

    def pick(self, small: int, full: int) -> int:
        """The size that was asked for, or the one for this kind of run."""
        return self.size or (full if self.full else small)


def turns(rounds: int, players: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Let each player play once a round and collect what they return; every second round in reverse order."""
    found: dict[str, list[float]] = {name: [] for name in players}
    for n in range(rounds):
        for name, play in list(players.items())[:: -1 if n % 2 else 1]:
            started = time.monotonic()
            found[name].append(play())
            say(f"round {n + 1} of {rounds}: {name} took {time.monotonic() - started:.1f} s")
    return found


def ratio(product: list[float], anchor: list[float]) -> float:
    """The median of what each round gave: rounds share the weather of the machine."""
    return round(median(a / b for a, b in zip(product, anchor, strict=True)), 4)


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def judged(result: dict[str, Any], goals: Mapping[str, tuple[str, float]]) -> dict[str, Any]:
    """`result` with {"goals": {ratio: {"reach": ">= 0.25", "reached": bool}}} for the ratios that it has."""
    result["goals"] = {
        name: {"reach": f"{sign} {bound}", "reached": bool(COMPARE[sign](result["ratios"][name], bound))}
        for name, (sign, bound) in goals.items()
        if name in result["ratios"]
    }
    return result


def say(text: str) -> None:
    """What is going on, for a person who waits."""
    print(f"  … {text}", file=sys.stderr, flush=True)
