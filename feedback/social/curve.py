"""What was said along an incident, beside what we told: how much, and in which mood. Templates draw it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Avg, Count
from django.db.models.functions import TruncMinute
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from feedback.charts import Mark
from incidents.models import Incident

from .models import SocialPostQuerySet
from .sentiment import Label

WIDTH, HEIGHT = 340, 150
LEFT, RIGHT, TOP, BOTTOM = 30, 10, 14, 22
MOST_BARS = 40
# A bar is as long as people count in: minutes.
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440, 2880, 10080)
# From the bottom of a bar to its top; what could not be read counts as said, and has no mood.
PARTS = (Label.NEGATIVE, Label.NEUTRAL, Label.UNREAD, Label.POSITIVE)


@dataclass(frozen=True)
class Part:
    key: str
    y: float
    height: float
    text: str


@dataclass(frozen=True)
class Bar:
    """What was said in one stretch of time. `mean` is the mean score, None where nothing with a mood was said."""

    x: float
    at: datetime
    counts: tuple[int, ...]  # in the order of PARTS
    mean: float | None
    parts: tuple[Part, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Curve:
    bars: list[Bar]
    updates: list[Mark]
    ticks: list[tuple[float, str]]
    times: list[tuple[float, str]]
    mood: list[str]  # the unbroken stretches of the mean score, as the points of a polyline
    middle: float  # where the mean score is zero
    description: str
    bar_width: float
    negative: int
    total: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def columns(self) -> list[str]:
        return [str(one.label) for one in PARTS]


def curve(
    incident: Incident, posts: SocialPostQuerySet, updates: Sequence[tuple[datetime, str]], now: datetime
) -> Curve | None:
    """`posts` are those that the reader may see; `updates` when we told customers, and what to call it. One query.

    None where nobody said anything.
    """
    hour = timedelta(hours=1)
    start = incident.started_at - hour
    end = max((incident.resolved_at + hour) if incident.resolved_at else now, start + hour)
    minutes = (end - start).total_seconds() / 60
    step = next((one for one in STEPS if minutes / one <= MOST_BARS), STEPS[-1])
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    scores: dict[int, float] = defaultdict(float)
    rows = posts.of_incident(incident).annotate(minute=TruncMinute("at")).values("minute", "label")
    for row in rows.annotate(n=Count("pk"), mean=Avg("score")).order_by():
        slot = max(0, int((row["minute"] - start).total_seconds() / 60 // step))
        counts[slot][row["label"]] += row["n"]
        scores[slot] += row["n"] * row["mean"]
    if not counts:
        return None
    slots = max(int(minutes // step) + 1, max(counts) + 1)
    top = max(sum(one.values()) for one in counts.values())
    bar_width = (WIDTH - LEFT - RIGHT) / slots

    def y(n: float) -> float:
        return round(HEIGHT - BOTTOM - n / top * (HEIGHT - BOTTOM - TOP), 1)

    bars = []
    for slot in range(slots):
        at = start + timedelta(minutes=slot * step)
        found = tuple(counts[slot][label] if slot in counts else 0 for label in PARTS)
        read = sum(found) - found[PARTS.index(Label.UNREAD)]
        parts, below = [], 0
        for label, n in zip(PARTS, found, strict=True):
            if n:
                text = _("%(time)s: %(n)d %(mood)s") % {"time": _clock(at), "n": n, "mood": label.label}
                parts.append(Part(label.value, y(below + n), round(y(below) - y(below + n), 1), text))
            below += n
        mean = scores[slot] / read if read else None
        bars.append(Bar(round(LEFT + slot * bar_width, 1), at, found, mean, tuple(parts)))

    def x(at: datetime) -> float:
        return round(LEFT + (at - start).total_seconds() / 60 / step * bar_width, 1)

    total = sum(one.total for one in bars)
    negative = sum(one.counts[0] for one in bars)
    every = max(1, -(-slots // 3))
    return Curve(
        bars=bars,
        updates=[Mark(x(at), TOP - 6, f"{name}, {_clock(at)}") for at, name in updates if start <= at <= end],
        ticks=[(y(n), str(n)) for n in sorted({0, top // 2, top})],
        times=[(bars[n].x, _clock(bars[n].at)) for n in range(0, slots - every // 2, every)],
        mood=_mood(bars, bar_width),
        middle=_height(0),
        description=_described(bars, total, negative),
        bar_width=round(max(bar_width - 0.6, 0.5), 1),
        negative=negative,
        total=total,
    )


def _height(score: float) -> float:
    return round(TOP + (1 - score) / 2 * (HEIGHT - BOTTOM - TOP), 1)


def _mood(bars: Sequence[Bar], width: float) -> list[str]:
    paths: list[list[str]] = [[]]
    for one in bars:
        if one.mean is None:
            paths.append([])
        else:
            paths[-1].append(f"{round(one.x + width / 2, 1)},{_height(one.mean)}")
    return [" ".join([*path, path[0]] if len(path) == 1 else path) for path in paths if path]


def _described(bars: Sequence[Bar], total: int, negative: int) -> str:
    peak = max(bars, key=lambda one: one.total)
    said = ngettext(
        "%(total)d post, %(negative)d of them negative; most at %(time)s (%(n)d).",
        "%(total)d posts, %(negative)d of them negative; most at %(time)s (%(n)d).",
        total,
    )
    return said % {"total": total, "negative": negative, "time": _clock(peak.at), "n": peak.total}


def _clock(at: datetime) -> str:
    return formats.date_format(timezone.localtime(at), _("j M, H:i"))
