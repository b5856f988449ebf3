"""Groups: do twice the workers send twice as much to a provider that takes 50 ms for a call?"""

from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any

from . import portal
from .measure import Options, ratio, turns
from .stage import Stage

GOALS = {"two_vs_one": (">=", 1.8)}
GROUP = 2  # processes
LATENCY = 0.05  # seconds


def run(stage: Stage, options: Options) -> dict[str, Any]:
    """Recipients/s of one group of workers and of two.

    The default sizes are a small first batch and a multiple of four whole ones, so that nobody waits for a last batch.
    """
    count = options.pick(8_100, 64_100)
    last_id = portal.populate(count)
    channel = portal.null_channel(sleep=LATENCY)
    with ExitStack() as stack:
        engines = [stack.enter_context(stage.child("benchmarks.engine")) for _ in range(2 * GROUP)]
        portal.warm_up(channel, engines)

        def groups(n: int) -> Callable[[], float]:
            def play() -> float:
                done = portal.fan_out(channel, last_id, engines[: n * GROUP])
                portal.check_null(done, last_id)
                return count / done.seconds

            return play

        found = turns(options.rounds, {"one group": groups(1), "two groups": groups(2)})
    one, two = found.values()
    return {
        "lost": 0,
        "doubled": 0,
        "processes_per_group": GROUP,
        "one_group_per_s": median(one),
        "two_groups_per_s": median(two),
        "ratios": {"two_vs_one": ratio(two, one)},
    }
