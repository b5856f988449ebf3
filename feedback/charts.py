"""Geometry of the report's charts, in the units of an SVG view box; templates draw them.

Text is left out where it could not wrap: labels of rows are HTML beside the picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from math import ceil

from django.utils import formats, timezone
from django.utils.translation import gettext as _

from .reports import IncidentFacts
from .wording import duration

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24

Values = Sequence[float | None]
Tick = tuple[float, str]


@dataclass(frozen=True)
class Mark:
    """A dot with the words that say what it stands for."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """One series; `paths` are its unbroken stretches, as the points of a polyline."""

    name: str
    paths: list[str]
    marks: list[Mark]


@dataclass(frozen=True)
class Chart:
    """Lines over time. `ticks` are (y, text), `days` (x, text), `rows` the same figures for a table."""

    key: str
    title: str
    description: str
    lines: list[Line]
    ticks: list[tuple[float, str]]
    days: list[tuple[float, str]]
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT

    @property
    def empty(self) -> bool:
        return not any(line.marks for line in self.lines)


def line_chart(
    key: str,
    title: str,
    description: str,
    labels: Sequence[str],
    series: Mapping[str, Values],
    write: Callable[[float | None], str],
    ticks: Sequence[Tick],
) -> Chart:
    """A chart of one or more series over the same days; `ticks` run from the bottom to the top of the scale."""
    low, high = ticks[0][0], ticks[-1][0]
    step = (WIDTH - LEFT - RIGHT) / max(1, len(labels) - 1)

    def x(index: int) -> float:
        return round(LEFT + step * index if len(labels) > 1 else (LEFT + WIDTH - RIGHT) / 2, 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    lines = []
    for name, values in series.items():
        paths: list[list[str]] = [[]]
        marks = []
        for index, value in enumerate(values):
            if value is None:
                paths.append([])
                continue
            paths[-1].append(f"{x(index)},{y(value)}")
            marks.append(Mark(x(index), y(value), f"{labels[index]}: {name}, {write(value)}"))
        lines.append(Line(name, [" ".join(path) for path in paths if len(path) > 1], marks))
    every = max(1, -(-len(labels) // 4))  # more would not fit side by side
    return Chart(
        key=key,
        title=title,
        description=description,
        lines=lines,
        ticks=[(y(value), text) for value, text in ticks],
        days=[(x(index), labels[index]) for index in range(0, len(labels), every)],
        columns=list(series),
        rows=[(label, [write(values[index]) for values in series.values()]) for index, label in enumerate(labels)],
    )


def time_ticks(series: Values) -> list[Tick]:
    """A scale for seconds that begins at zero and ends above the largest, in steps that people count in."""
    top = ceil(max((value for value in series if value is not None), default=0)) or 60
    steps = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]
    step = next((step for step in steps if step * 4 >= top), 86400 * -(-top // (4 * 86400)))
    return [(float(step * n), _time_tick(step * n)) for n in range(-(-top // step) + 1)]


def _time_tick(seconds: int) -> str:
    """A tick in one unit, because it has to be short: “90 min”, “2 h”."""
    for unit, words in ((86400, _("%(n)s d")), (3600, _("%(n)s h")), (60, _("%(n)s min"))):
        if seconds and seconds % unit == 0:
            return words % {"n": seconds // unit}
    return _("%(n)s s") % {"n": seconds}


# ── One incident ────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Stretch:
    """The time between two updates. `state` is kept, late or free (nothing was due)."""

    x: float
    width: float
    state: str
    text: str


@dataclass(frozen=True)
class Timeline:
    stretches: list[Stretch]
    marks: list[Mark]
    start: str
    end: str
    width: int = WIDTH
    height: int = 44


def timeline(one: IncidentFacts, now: datetime) -> Timeline | None:
    """From the start to the last update, or to now while customers wait for the next; None before the start."""
    if not one.updates and one.silence is None:
        return None
    states = {True: "late", False: "kept", None: "free"}
    stops = [(u.at, states[u.late], _("Update %(number)s") % {"number": u.number}) for u in one.updates]
    if one.silence is not None:
        stops.append((now, "late" if one.silence_late else "free", ""))
    start = min(one.started_at, stops[0][0])
    whole = max(1.0, (stops[-1][0] - start).total_seconds())

    def x(at: datetime) -> float:
        return round(8 + (at - start).total_seconds() / whole * (WIDTH - 16), 1)

    words = {"late": _("late"), "kept": _("in time"), "free": _("nothing was due")}
    stretches = [
        Stretch(
            x(begin[0]),
            round(max(0.0, x(end[0]) - x(begin[0])), 1),
            end[1],
            f"{duration((end[0] - begin[0]).total_seconds())}, {words[end[1]]}",
        )
        for begin, end in pairwise([(start, "", ""), *stops])
    ]
    marks = [Mark(x(at), 14, f"{name}, {_clock(at)}") for at, _state, name in stops if name]
    return Timeline(stretches, marks, _clock(start), _clock(stops[-1][0]))


def _clock(at: datetime) -> str:
    return formats.date_format(timezone.localtime(at), _("j M, H:i"))


@dataclass(frozen=True)
class Part:
    """A part of a bar: what it is, how many, and where it lies."""

    key: str
    name: str
    count: int
    x: float
    width: float


@dataclass(frozen=True)
class Bar:
    """Parts of a whole. `label` says whose."""

    label: str
    parts: list[Part] = field(default_factory=list)
    total: int = 0
    width: int = WIDTH


def bar(label: str, parts: Sequence[tuple[str, str, int]]) -> Bar:
    """`parts` are (key, name, count); those of nobody are left out of the picture."""
    total = sum(count for _key, _name, count in parts)
    drawn, x = [], 0.0
    for key, name, count in parts:
        width = count / total * WIDTH if total else 0.0
        if count:
            drawn.append(Part(key, name, count, round(x, 1), round(width, 1)))
        x += width
    return Bar(label, drawn, total)
