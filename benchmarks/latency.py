"""Latency: from the click that approves an update to the first byte at the mail server, with a real worker."""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from django_q.tasks import async_task

from channels import delivery
from channels.models import Channel, Delivery
from channels.tasks import wake, worker_seen
from incidents.models import IncidentUpdate

from . import portal, world
from .measure import Options, Wrong, percentile, say
from .stage import Child, Stage

GOALS = {"click_to_provider_vs_noop": ("<=", 2), "busy_click_to_provider_vs_noop": ("<=", 2)}
AUDIENCE = 20
WARM_UP = 6  # rounds in which each process of the worker loads what it needs at first use
PATIENCE = 90  # seconds


def run(stage: Stage, options: Options) -> dict[str, Any]:
    """Milliseconds at the 50th and 95th percentile; `noop` is the start of a task that does nothing but knock.

    With --full also while another channel sends a million: against a no-op in turns with it, as it must be, and against
    the no-op of the idle worker too.
    """
    rounds = max(60 if options.full else 20, options.rounds)  # the 95th percentile of 20 is the worst but one
    with ExitStack() as stack:
        sink = stack.enter_context(stage.child("benchmarks.sinks", "smtp"))
        click = Click(sink)
        stack.enter_context(stage.worker())
        _until(lambda: worker_seen() is not None, "the worker did not start")
        for _round in range(WARM_UP):
            click.play(), knock(sink)
        say(f"{rounds} rounds of a click and a no-op, idle")
        click.committed.clear()
        clicks, knocks = [], []
        for _round in range(rounds):
            clicks.append(click.play())
            knocks.append(knock(sink))
        result: dict[str, Any] = _figures("click_to_provider", clicks) | _figures("noop_start", knocks)
        result |= _figures("click_to_commit", click.committed)
        result["ratios"] = {"click_to_provider_vs_noop": _vs(clicks, knocks)}
        if options.full:
            click.committed.clear()
            busy, busy_knocks = _while_sending(stage, stack, click, rounds, options.size or 1_000_000)
            result |= _figures("busy_click_to_commit", click.committed)
            result |= _figures("busy_click_to_provider", busy) | _figures("busy_noop_start", busy_knocks)
            result["busy_rounds"] = len(busy)
            result["ratios"]["busy_click_to_provider_vs_noop"] = _vs(busy, busy_knocks)
            result["ratios"]["busy_click_to_provider_vs_idle_noop"] = _vs(busy, knocks)
    return {"lost": 0, "doubled": 0, **result}


def _figures(name: str, seconds: list[float]) -> dict[str, float]:
    return {f"{name}_{p}_ms": percentile(seconds, n) * 1000 for p, n in (("p50", 50), ("p95", 95))}


def _vs(clicks: list[float], knocks: list[float]) -> float:
    return round(percentile(clicks, 95) / percentile(knocks, 95), 4)


class Click:
    """An update that waits for approval, and a person who approves and publishes it."""

    def __init__(self, sink: Child, beside: Channel | None = None) -> None:
        """`sink` gets the mail; each update goes to the channel `beside` too, for which nobody waits."""
        from tests import make

        self.sink, self.beside = sink, beside
        self.committed: list[float] = []  # seconds that approving and publishing took, before any worker can know
        self.channel = mail_channel(sink.hello["port"])
        self.component = make.component()
        self.manager = make.incident_manager()
        self.approver = make.communications_manager()
        for one in (self.manager, self.approver):  # staff are told nothing here: the sink counts customers' mail
            one.email = ""
            one.save()
        make.recipients(AUDIENCE, self.component)
        make.plan(self.channel, locales=("en",))

    def play(self) -> float:
        """Seconds from the click to the first byte. Returns when everybody was written to."""
        from tests import make

        update: IncidentUpdate = make.incident(self.manager, self.component).updates.get()
        update.channels.set(filter(None, (self.channel, self.beside)))
        update.submit(self.manager)
        _random_pause()
        self.sink.ask(do="report")
        started = time.monotonic()
        update.approve(self.approver)
        update.publish(self.approver)
        self.committed.append(time.monotonic() - started)
        source = f"update:{update.pk}"
        reached = Delivery.objects.filter(
            dispatch__source=source, dispatch__channel=self.channel, status__in=Delivery.REACHED
        )
        _until(lambda: reached.count() == AUDIENCE, "an update was not delivered")
        seen = self.sink.ask(do="report")
        if seen["total"] != AUDIENCE or seen["distinct"] != AUDIENCE:
            raise Wrong(f"Of {AUDIENCE} recipients {seen['distinct']} got {seen['total']} messages.")
        return seen["first_byte"] - started


def knock(sink: Child) -> float:
    """Seconds until a worker starts a task that does nothing: its first byte comes to the same place."""
    _random_pause()
    sink.ask(do="report")
    started = time.monotonic()
    async_task("benchmarks.noop.noop", sink.hello["port"])
    _until(lambda: sink.ask(do="peek")["first_byte"], "a task was not started")
    return sink.ask(do="report")["first_byte"] - started


def _while_sending(
    stage: Stage, stack: ExitStack, click: Click, rounds: int, count: int
) -> tuple[list[float], list[float]]:
    """Clicks and no-ops while the same worker sends to `count` others on another channel, as long as that lasts."""
    from channels.models import Recipient

    crowd = stack.enter_context(stage.child("benchmarks.sinks", "smtp"))
    channel = mail_channel(crowd.hello["port"])
    portal.populate(count)
    dispatch = portal.make_dispatch(channel)
    delivery.expand(dispatch, delivery.audience(Recipient.objects.all(), channel))
    wake(channel.pk)
    _until(lambda: crowd.ask(do="peek")["total"] > 1000, "the large dispatch did not begin")
    say(f"{rounds} rounds of a click and a no-op while {count:,} messages go out")
    found: list[tuple[float, float]] = []
    for _round in range(rounds):
        found.append((click.play(), knock(click.sink)))
        if not dispatch.batches.filter(done_at__isnull=True).exists():
            found.pop()  # either may have met an idle worker
            say("the large dispatch is over: no more rounds")
            break
    if not found:
        raise Wrong("The large dispatch was over before a single click: use more recipients.")
    channel.enabled = False
    channel.save()
    clicks, knocks = map(list, zip(*found, strict=True))
    return clicks, knocks


def mail_channel(port: int) -> Channel:
    config: dict[str, Any] = {"host": "127.0.0.1", "port": port, "security": "none", "timeout": 10}
    return portal.make_channel("smtp", from_address=world.SENDER, **config)


def _random_pause() -> None:
    """So that no round can fall in step with the poll of the queue."""
    time.sleep(random.uniform(0.05, 0.3))


def _until(true: Callable[[], object], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise Wrong(f"Within {PATIENCE} seconds {otherwise}.")
        time.sleep(0.02)
