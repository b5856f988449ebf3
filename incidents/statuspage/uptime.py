"""How each component fared over the last 90 days, as the published updates said.

An update's states hold until the next published update of its incident; of overlapping incidents the worst counts.
A partial outage counts 30 % of a major one (as Instatus, for one, documents of its own); degraded performance and
maintenance count nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from itertools import groupby

from django.db.models import Min, Q
from django.utils import timezone

from incidents.models import BADNESS, OVER, Component, ComponentStatus, IncidentComponent, IncidentUpdate, Stage
from incidents.models.words import IMPLIED

from .facts import public, published
from .scope import EVERYBODY, Scope

DAYS = 90
STEP = timedelta(minutes=10)  # what is going on counts until the end of these: a page that changes by itself is no news
_WEIGHT = {ComponentStatus.MAJOR: 10, ComponentStatus.PARTIAL: 3}  # tenths
_UP = ComponentStatus.OPERATIONAL
# How tall the bar of a day is, of 32; the same as in status.css.
HEIGHT = {
    "unknown": 2,
    "operational": 16,
    "under_maintenance": 20,
    "degraded_performance": 24,
    "partial_outage": 28,
    "major_outage": 32,
}


@dataclass(frozen=True)
class Row:
    """A published update: `states` is {component id: state}."""

    incident: int
    at: datetime
    stage: str
    states: dict[int, str]


@dataclass(frozen=True)
class Day:
    """A day in the portal's zone. `seconds` of each state that occurred; empty if nothing is known of that day."""

    date: date
    seconds: dict[ComponentStatus, int]

    @property
    def worst(self) -> ComponentStatus | None:
        """None if nothing is known."""
        return max(self.seconds, key=BADNESS.__getitem__, default=None)

    @property
    def minutes(self) -> dict[ComponentStatus, int]:
        """Whole minutes of each state; what was shorter than one still counts as one."""
        return {state: max(1, seconds // 60) for state, seconds in self.seconds.items()}

    @property
    def trouble(self) -> list[tuple[ComponentStatus, int]]:
        """State and minutes of all but operation, the worst first."""
        found = [(state, n) for state, n in self.minutes.items() if state != _UP]
        return sorted(found, key=lambda pair: BADNESS[pair[0]], reverse=True)


@dataclass(frozen=True)
class Uptime:
    """The days of a component, oldest first."""

    days: list[Day]

    @property
    def since(self) -> date | None:
        """The first day of which anything is known; None if that is the first of all, or there is none."""
        first = next((day.date for day in self.days if day.seconds), None)
        return None if first == self.days[0].date else first

    @property
    def troubled(self) -> list[Day]:
        """Days that were not operational throughout, newest first."""
        return [day for day in reversed(self.days) if day.worst not in (None, _UP)]

    @property
    def bars(self) -> list[tuple[str, str]]:
        """[(state, or "unknown", path)]: a dashed line per state, a dash of 3 and a gap of 1 for each day.

        The worse the state, the taller: each line stands on the floor at 32, status.css says how wide it is.
        """
        lines: dict[str, str] = defaultdict(str)
        worst = [day.worst.value if day.worst else "unknown" for day in self.days]
        for state, run in groupby(enumerate(worst), key=lambda pair: pair[1]):
            found = [number for number, _state in run]
            lines[state] += f"M{found[0] * 4} {32 - HEIGHT[state] / 2:g}h{len(found) * 4 - 1}"
        return list(lines.items())

    @property
    def percent(self) -> Decimal | None:
        """With two decimals, rounded down, so that 100.00 says that there was no outage. None if nothing is known."""
        observed = sum(sum(day.seconds.values()) for day in self.days)
        if not observed:
            return None
        down = sum(_WEIGHT.get(state, 0) * n for day in self.days for state, n in day.seconds.items())
        return Decimal(10_000 * (10 * observed - down) // (10 * observed)) / 100


def measure(
    rows: Iterable[Row], known: dict[int, datetime], now: datetime, zone: tzinfo, days: int = DAYS
) -> dict[int, Uptime]:
    """Component id → its last `days` days up to `now`. `known` says since when each component is observed."""
    edges = midnights(now, zone, days)
    spans = _spans(rows, now)
    return {pk: _one(spans.get(pk, []), since, edges, now, zone) for pk, since in known.items()}


def midnights(now: datetime, zone: tzinfo, days: int = DAYS) -> list[datetime]:
    """When each of the last `days` days began, in UTC: a day may have 23 or 25 hours."""
    today = now.astimezone(zone).date()
    dates = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    return [datetime.combine(one, time(), zone).astimezone(UTC) for one in dates]


def _spans(rows: Iterable[Row], now: datetime) -> dict[int, list[tuple[datetime, datetime, ComponentStatus]]]:
    """Component id → [(from, until, state)] of what was not operational."""
    spans = defaultdict(list)
    open_since: dict[tuple[int, int], tuple[datetime, ComponentStatus]] = {}
    for row in sorted(rows, key=lambda row: row.at):
        hit = [pk for incident, pk in open_since if incident == row.incident]
        states = dict.fromkeys([*hit, *row.states], _UP.value) if row.stage in OVER else row.states
        for pk, state in states.items():
            begun = open_since.pop((row.incident, pk), None)
            if begun:
                spans[pk].append((begun[0], row.at, begun[1]))
            if state != _UP:
                open_since[row.incident, pk] = (row.at, ComponentStatus(state))
    for (_incident, pk), (begin, state) in open_since.items():
        spans[pk].append((begin, now, state))
    return spans


def _one(
    spans: Sequence[tuple[datetime, datetime, ComponentStatus]],
    since: datetime,
    edges: list[datetime],
    now: datetime,
    zone: tzinfo,
) -> Uptime:
    found: dict[date, Counter[ComponentStatus]] = {edge.astimezone(zone).date(): Counter() for edge in edges}
    for begin, end, state in _pieces(spans, max(since, edges[0]), now, edges):
        found[begin.astimezone(zone).date()][state] += round((end - begin).total_seconds())
    return Uptime([Day(day, {state: n for state, n in seconds.items() if n}) for day, seconds in found.items()])


def _pieces(
    spans: Sequence[tuple[datetime, datetime, ComponentStatus]], since: datetime, now: datetime, edges: list[datetime]
) -> Iterator[tuple[datetime, datetime, ComponentStatus]]:
    """Time from `since` to `now` in pieces within one day and of one state, the worst there was."""
    turns: dict[datetime, list[tuple[ComponentStatus, int]]] = defaultdict(list)
    for edge in (since, now, *edges):
        turns[edge] = []
    for begin, end, state in spans:
        turns[begin].append((state, 1))
        turns[end].append((state, -1))
    going: Counter[ComponentStatus] = Counter()
    before = since
    for at in sorted(turns):
        if since <= before < min(at, now):
            yield before, min(at, now), max(going, key=BADNESS.__getitem__, default=_UP)
        for state, change in turns[at]:
            going[state] += change
        going = +going
        before = max(at, since)


def _with_implied(rows: list[Row]) -> Iterator[Row]:
    """The same, where an imported incident that names components but no states has those that its impact implies."""
    bare = {row.incident for row in rows} - {row.incident for row in rows if row.states}
    implied: dict[int, dict[int, str]] = defaultdict(dict)
    if bare:
        hit = IncidentComponent.objects.filter(incident__in=bare, incident__imported_from__isnull=False)
        for one in hit.select_related("incident"):
            if state := IMPLIED.get(one.incident.impact):
                implied[one.incident_id][one.component_id] = state.value
    for row in rows:  # the first of each incident says it; they stand in the order of time
        states = {} if row.stage == Stage.SCHEDULED else implied.pop(row.incident, {})
        yield replace(row, states=states) if states else row


def read_uptime(components: Iterable[Component], scope: Scope = EVERYBODY) -> dict[int, Uptime]:
    """Component id → how it fared. Two queries, and one more where incidents came from elsewhere without states."""
    now, zone = timezone.now(), timezone.get_default_timezone()
    now += STEP - timedelta(minutes=now.minute % 10, seconds=now.second, microseconds=now.microsecond)
    start = midnights(now, zone)[0]
    heard = published().filter(published_at__gte=start).values("incident")
    shown: Iterable[IncidentUpdate] = (
        published()
        .filter(incident__in=public(scope).filter(~Q(stage__in=OVER) | Q(pk__in=heard)).values("pk"))
        .only("incident_id", "published_at", "stage", "component_states")
        .order_by("published_at", "number")
    )
    rows = [
        Row(one.incident_id, one.published_at, one.stage, {int(pk): s for pk, s in one.component_states.items()})
        for one in shown
        if one.published_at
    ]
    rows = list(_with_implied(rows))
    # Incidents, imported ones for the most part, tell of the time before the component was entered here.
    hit = IncidentComponent.objects.filter(incident__in=public(scope).values("pk")).values_list("component_id")
    first = dict(hit.annotate(at=Min("incident__started_at")).values_list("component_id", "at"))
    known = {one.pk: min(one.created_at, first.get(one.pk) or one.created_at) for one in components}
    return measure(rows, known, now, zone)
