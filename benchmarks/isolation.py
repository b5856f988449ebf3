"""Isolation: what a dead channel costs another one, with a real worker."""

import socket
import time
from contextlib import ExitStack, closing
from typing import Any

from channels.models import Batch, Channel
from channels.tasks import worker_seen

from .latency import Click, _until, mail_channel
from .measure import Options, percentile, say
from .stage import Stage

GOALS = {"dead_beside_vs_alive": ("<=", 1.1)}
CLICKS = 20  # in one block
WARM_UP = 6


def run(stage: Stage, options: Options) -> dict[str, Any]:
    """Milliseconds from click to first byte on one channel, while each update goes to a second channel too.

    That one answers in one block of clicks; in the next it takes connections and says nothing, as a dead one does, and
    its circuit is closed when the block begins. The 95th percentile of all blocks of a kind.
    """
    with ExitStack() as stack:
        sink, other = (stack.enter_context(stage.child("benchmarks.sinks", "smtp")) for _ in range(2))
        silent = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=1000)))
        alive = Click(sink, mail_channel(other.hello["port"]))
        dead = Click(sink, mail_channel(silent.getsockname()[1]))
        stack.enter_context(stage.worker())
        _until(lambda: worker_seen() is not None, "the worker did not start")
        for _round in range(WARM_UP):
            alive.play()
        beside: dict[str, list[float]] = {"alive": [], "dead": []}
        for n in range(options.rounds):
            for name, click in (("alive", alive), ("dead", dead)):
                say(f"round {n + 1} of {options.rounds}: {CLICKS} clicks beside a channel that is {name}")
                beside[name] += [click.play() for _click in range(CLICKS)]
            _forget(dead.beside)
    result = {
        f"beside_{name}_{p}_ms": percentile(seconds, n) * 1000
        for name, seconds in beside.items()
        for p, n in (("p50", 50), ("p95", 95))
    }
    ratio = round(percentile(beside["dead"], 95) / percentile(beside["alive"], 95), 4)
    return {"lost": 0, "doubled": 0, **result, "ratios": {"dead_beside_vs_alive": ratio}}


def _forget(channel: Channel | None) -> None:
    """Nothing waits for the dead channel any more, nobody tries it, and it counts as one that works."""
    assert channel
    Batch.objects.filter(dispatch__via=channel, done_at=None).update(next_try_at="2100-01-01T00:00:00Z")
    leased = Batch.objects.filter(dispatch__via=channel, lease_until__isnull=False)
    _until(lambda: not leased.exists(), "the dead channel was not let go")
    time.sleep(1)
    Channel.objects.filter(pk=channel.pk).update(failures=0, held_until=None)
