"""Scale: does a recipient cost more, or a worker grow, when the audience does? One fresh process for each size."""

from collections.abc import Callable
from statistics import median
from typing import Any

from . import portal
from .measure import Options, ratio, turns
from .stage import Stage

GOALS = {
    "cost_1m_vs_100k": ("<=", 1.15),
    "rss_1m_vs_10k": ("<=", 1.1),
    "cost_100k_vs_10k": ("<=", 1.15),
    "rss_100k_vs_10k": ("<=", 1.1),
}
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
FULL = SIZES | {"1m": 1_000_000}


def run(stage: Stage, options: Options) -> dict[str, Any]:
    """Microseconds a recipient, expansion included, and the peak memory of the worker process in MB."""
    sizes = FULL if options.full else SIZES
    if options.size:
        sizes = {"tenth": max(1, options.size // 10), "whole": options.size}
    last_ids = {label: portal.populate(count) for label, count in sizes.items()}
    channel = portal.null_channel()
    memory: dict[str, list[float]] = {label: [] for label in sizes}

    def sized(label: str) -> Callable[[], float]:
        def play() -> float:
            with stage.child("benchmarks.engine") as engine:
                portal.warm_up(channel, [engine])
                done = portal.fan_out(channel, last_ids[label], [engine])
            portal.check_null(done, last_ids[label])
            memory[label].append(done.peak_rss / 1e6)
            return done.seconds / sizes[label] * 1e6

        return play

    cost = turns(options.rounds, {label: sized(label) for label in sizes})
    *_smaller, before, largest = sizes
    base = "10k" if "10k" in sizes else before
    return {
        "lost": 0,
        "doubled": 0,
        **{f"us_per_recipient_{label}": median(found) for label, found in cost.items()},
        **{f"rss_mb_{label}": median(found) for label, found in memory.items()},
        "ratios": {
            f"cost_{largest}_vs_{before}": ratio(cost[largest], cost[before]),
            f"rss_{largest}_vs_{base}": ratio(memory[largest], memory[base]),
        },
    }
