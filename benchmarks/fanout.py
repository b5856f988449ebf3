"""Fan-out: one message to many, through the whole engine, against what the parts cost bare and against its peers."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from django.db import connection

from channels.models import Channel

from . import portal, world
from .measure import Options, Wrong, ratio, turns
from .stage import Child, Stage

GOALS = {
    "null_vs_copy": (">=", 0.25),
    "ses_bulk_vs_raw": (">=", 0.8),
    "smtp_vs_raw": (">=", 1.2),
    "smtp_vs_post_office": (">=", 8),
    "smtp_vs_django_mailer": (">=", 30),
}
DELIVERY = "dispatch_id, recipient_id, status, code, detail, provider_ref, attempts, at"
BLOCK = 1 << 18


def run(stage: Stage, options: Options) -> dict[str, Any]:
    """Every part in turn. Rates are recipients/s, from expansion to the last outcome recorded."""
    result: dict[str, Any] = {"lost": 0, "doubled": 0, "ratios": {}}
    for part in PARTS:
        figures = part(stage, options)
        result["ratios"] |= figures.pop("ratios", {})
        result |= figures
    return result


# ── Null provider: the engine and the database alone ────────────────────────


def through_null(stage: Stage, options: Options) -> dict[str, Any]:
    """One and two processes against COPY of the very rows that they wrote, into the same table and its indexes."""
    count = options.pick(20_000, 1_000_000)
    last_id = portal.populate(count)
    channel = portal.null_channel()
    expanding: list[float] = []
    rows: list[bytes] = []

    with ExitStack() as stack:
        engines = [stack.enter_context(stage.child("benchmarks.engine")) for _ in range(2)]
        portal.warm_up(channel, engines)

        def engine(processes: int) -> Callable[[], float]:
            def play() -> float:
                done = portal.fan_out(channel, last_id, engines[:processes])
                portal.check_null(done, last_id)
                expanding.append(done.expand_seconds)
                if not rows:
                    rows.extend(_export())
                return count / done.seconds

            return play

        def copy() -> float:
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE channels_delivery")
                started = time.monotonic()
                with cursor.copy(f"COPY channels_delivery ({DELIVERY}) FROM STDIN") as into:
                    for block in rows:
                        into.write(block)
                seconds = time.monotonic() - started
                cursor.execute("SELECT count(*) FROM channels_delivery")
                [found] = cursor.fetchone()
            if found != count:
                raise Wrong(f"COPY wrote {found} rows instead of {count}.")
            return count / seconds

        found = turns(options.rounds, {"null, 1 process": engine(1), "null, 2 processes": engine(2), "COPY": copy})
    one, two, anchor = found.values()
    return {
        "null_recipients": count,
        "null_1_process_per_s": median(one),
        "null_2_processes_per_s": median(two),
        "null_expand_per_s": count / median(expanding),
        "copy_per_s": median(anchor),
        "ratios": {"null_vs_copy": ratio(two, anchor), "null_1_process_vs_copy": ratio(one, anchor)},
    }


def _export() -> list[bytes]:
    """The deliveries as COPY wants them back, in blocks."""
    blocks, block = [], bytearray()
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY (SELECT {DELIVERY} FROM channels_delivery) TO STDOUT") as out,
    ):
        for row in out:
            block += row
            if len(block) >= BLOCK:
                blocks.append(bytes(block))
                block = bytearray()
    return [*blocks, bytes(block)]


# ── SMTP ────────────────────────────────────────────────────────────────────


def through_smtp(stage: Stage, options: Options, peers: bool = True) -> dict[str, Any]:
    """One and two processes against one bare connection, django-post-office and django-mailer, on one sink."""
    count = options.pick(40_000, 100_000)  # with fewer, how two processes share the last batches decides
    last_id = portal.populate(count)
    # The peers are slow: fewer messages say as much of a rate.
    few, fewer = max(count // 5, min(count, 200)), max(count // 20, min(count, 100))

    with ExitStack() as stack:
        sink = stack.enter_context(stage.child("benchmarks.sinks", "smtp"))
        port = sink.hello["port"]
        config = {"host": "127.0.0.1", "port": port, "security": "none", "from_address": world.SENDER, "timeout": 10}
        channel = portal.make_channel("smtp", **config)
        engines = [stack.enter_context(stage.child("benchmarks.engine")) for _ in range(2)]
        portal.warm_up(channel, engines)
        raw = stack.enter_context(stage.child("benchmarks.peers.raw_smtp", str(port)))
        players = {
            "smtp, 1 process": _judged(sink, count, partial(_seconds, channel, last_id, engines[:1])),
            "smtp, 2 processes": _judged(sink, count, partial(_seconds, channel, last_id, engines)),
            "bare smtplib": _judged(sink, count, partial(_ask, raw, count=count)),
        }
        if peers:
            office, mailer = (
                stack.enter_context(
                    stage.child(
                        f"benchmarks.peers.{name}",
                        DATABASE_URL=stage.scratch(),
                        SINK_PORT=str(port),
                        DJANGO_SETTINGS_MODULE=f"benchmarks.peers.{name}_settings",
                    )
                )
                for name in ("post_office", "mailer")
            )
            for n, label in ((1, "1 process"), (2, "2 processes")):
                send = partial(_ask, office, count=few, processes=n)
                players[f"django-post-office, {label}"] = _judged(sink, few, send)
            players["django-mailer"] = _judged(sink, fewer, partial(_ask, mailer, count=fewer))
        found = turns(options.rounds, players)

    one, two, bare, *others = found.values()
    result: dict[str, Any] = {
        "smtp_recipients": count,
        "smtp_1_process_per_s": median(one),
        "smtp_2_processes_per_s": median(two),
        "smtp_raw_per_s": median(bare),
        "ratios": {"smtp_vs_raw": ratio(two, bare), "smtp_1_process_vs_raw": ratio(one, bare)},
    }
    if others:
        office_one, office_two, slow = others
        best = max(office_one, office_two, key=median)
        result |= {
            "post_office_1_process_per_s": median(office_one),
            "post_office_2_processes_per_s": median(office_two),
            "django_mailer_per_s": median(slow),
        }
        result["ratios"] |= {"smtp_vs_post_office": ratio(two, best), "smtp_vs_django_mailer": ratio(two, slow)}
    return result


def _seconds(channel: Channel, last_id: int, engines: list[Child]) -> float:
    return portal.fan_out(channel, last_id, engines).seconds


def _ask(child: Child, **order: int) -> float:
    return child.ask(do="send", **order)["seconds"]


def _judged(sink: Child, count: int, send: Callable[[], float]) -> Callable[[], float]:
    """`send` as a player: its rate, once the sink has seen everybody exactly once."""

    def play() -> float:
        sink.ask(do="report")
        seconds = send()
        seen = sink.ask(do="report")
        lost, doubled = count - seen["distinct"], seen["total"] - seen["distinct"]
        if lost or doubled:
            raise Wrong(f"Of {count} recipients {lost} were lost and {doubled} messages doubled: the sink counted.")
        return count / seconds

    return play


# ── SES ─────────────────────────────────────────────────────────────────────


def through_ses(stage: Stage, options: Options) -> dict[str, Any]:
    """Bulk sending with one and two processes against as many bare boto3 loops, on one fake of SES."""
    count = options.pick(60_000, 200_000)  # see through_smtp
    last_id = portal.populate(count)
    with ExitStack() as stack:
        sink = stack.enter_context(stage.child("benchmarks.sinks", "ses"))
        port = str(sink.hello["port"])
        here = {"AWS_ENDPOINT_URL_SESV2": f"http://127.0.0.1:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
        channel = portal.make_channel("ses", region="eu-south-1", from_address=world.SENDER, mode="bulk")
        channel.secrets = {"access_key_id": "AKIABENCHMARK0000000", "secret_access_key": "none"}
        channel.save()
        engines = [stack.enter_context(stage.child("benchmarks.engine", **here)) for _ in range(2)]
        portal.warm_up(channel, engines)
        raws = [stack.enter_context(stage.child("benchmarks.peers.raw_ses", port)) for _ in range(2)]

        def bare(processes: int) -> float:
            share = count // processes
            for n, one in enumerate(raws[:processes]):
                one.tell(do="send", first=n * share, count=share if n + 1 < processes else count - n * share)
            return max(one.answer()["seconds"] for one in raws[:processes])

        players = {}
        for n, label in ((1, "1 process"), (2, "2 processes")):
            players[f"ses bulk, {label}"] = _judged(sink, count, partial(_seconds, channel, last_id, engines[:n]))
            players[f"bare boto3, {label}"] = _judged(sink, count, partial(bare, n))
        one, bare_one, two, bare_two = turns(options.rounds, players).values()
    return {
        "ses_recipients": count,
        "ses_bulk_1_process_per_s": median(one),
        "ses_bulk_2_processes_per_s": median(two),
        "ses_raw_1_process_per_s": median(bare_one),
        "ses_raw_2_processes_per_s": median(bare_two),
        "ratios": {"ses_bulk_vs_raw": ratio(two, bare_two), "ses_bulk_1_process_vs_raw": ratio(one, bare_one)},
    }


PARTS: tuple[Callable[[Stage, Options], dict[str, Any]], ...] = (through_null, through_smtp, through_ses)
