"""Facts for managers: how fast, how regular, how far, how clear. docs/explanation/reports.md defines each figure.

Everything is read in a fixed number of queries, whatever the number of incidents, and counted by the database where
there may be many rows. Durations are seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from django.db.models import Count, F, Min, Q, QuerySet, Sum, Value
from django.db.models.functions import Concat
from django.utils import timezone

from channels import providers
from channels.models import Batch, Channel, Delivery, DeliveryTally, Dispatch, NoticeCount
from incidents.models import OVER, Decision, Incident, IncidentComponent, IncidentTicket, IncidentUpdate, PromiseBreach

from . import awareness
from .awareness import Aware
from .models import QUESTIONS, SurveyAnswer

FIRST_MINUTES = "plan_version__content__first_update_minutes"
UPDATE_MINUTES = "plan_version__content__update_minutes"
# What an incident without a plan (imported history) is measured against.
DEFAULT_MINUTES = 30
# Up to this many days a trend is shown by week, then by month.
WEEKLY_UP_TO_DAYS = 183
# An expected resolution that came true within so many seconds, earlier or later, was right.
RIGHT_WITHIN = 15 * 60


# ── Facts ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class UpdateFact:
    """One published update. `after`: seconds since the previous one; for the first, since the start.

    `late` is None where nothing was due. `kept_promise` is None where the previous update named no time.
    """

    number: int
    stage: str
    at: datetime
    after: float
    late: bool | None
    kept_promise: bool | None
    waited: float
    expected: datetime | None = None  # when it told customers that it would be resolved


@dataclass(frozen=True)
class Breach:
    """A promise that was recorded as broken. `came` is the update, or else the end, that ended it; None: not yet."""

    kind: str  # PromiseBreach.Kind
    due: datetime
    came: datetime | None
    late: float  # until it came, or until now


@dataclass(frozen=True)
class Expectation:
    """When customers were told that it would be resolved, first and last, and how far that was from the truth.

    Seconds by which it was resolved later than told; negative: earlier. None while it is not resolved.
    """

    first: datetime
    last: datetime
    first_off: float | None
    last_off: float | None
    revisions: int  # how often another time was told


@dataclass(frozen=True)
class Accuracy:
    """How right the times were that customers were told, of `count` resolved incidents; seconds, earlier or later."""

    count: int
    median: float | None
    p95: float | None
    within: float | None  # share that was right within RIGHT_WITHIN


@dataclass(frozen=True)
class Reach:
    """What became of messages, counted. `waiting` ones have no outcome yet and are not part of the total.

    `shown` and `closed` are what browsers say of notices in apps: how often, for each notice once in a browser. None
    where nobody says so. `first_shown` is the day (UTC) of the first time, if there was one.
    """

    channel: str = ""
    broadcast: bool = False
    reached: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0
    waiting: int = 0
    shown: int | None = None
    closed: int | None = None
    first_shown: date | None = None

    @property
    def closing_rate(self) -> float | None:
        return min(1.0, (self.closed or 0) / self.shown) if self.shown else None

    @property
    def total(self) -> int:
        return self.reached + self.failed + self.unknown + self.skipped

    @property
    def rate(self) -> float | None:
        return self.reached / self.total if self.total else None


@dataclass(frozen=True)
class Survey:
    """`scores` maps each question to how often each score from 1 to 5 was given."""

    invited: int = 0
    answered: int = 0
    scores: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def rate(self) -> float | None:
        return min(1.0, self.answered / self.invited) if self.invited else None

    @property
    def means(self) -> dict[str, float | None]:
        """Mean score by question."""
        return {question: self.mean(question) for question in QUESTIONS}

    def mean(self, question: str) -> float | None:
        counts = self.scores.get(question, ())
        total = sum(counts)
        return sum(score * n for score, n in enumerate(counts, 1)) / total if total else None


@dataclass(frozen=True)
class IncidentFacts:
    """One incident in figures. `silence` is the running wait for the next update while it is open.

    `promised_at` is when customers were told they would hear again; `promise_passed` whether that is over.
    """

    pk: int
    title: str
    severity: str
    stage: str
    plan: str
    components: tuple[str, ...]
    imported: bool
    maintenance: bool
    started_at: datetime
    declared_at: datetime | None  # not known for imported history
    resolved_at: datetime | None
    first_allowed: float
    interval: float
    assumed: bool  # there is no plan: DEFAULT_MINUTES stand in
    updates: tuple[UpdateFact, ...] = ()
    silence: float | None = None
    promised_at: datetime | None = None
    promise_passed: bool = False
    waits: tuple[float, ...] = ()
    channels: tuple[Reach, ...] = ()
    survey: Survey = Survey()
    breaches: tuple[Breach, ...] = ()
    glass: int = 0  # updates that went out without a second person
    glass_open: int = 0  # of these, how many nobody has reviewed afterwards
    aware: Aware | None = None  # when people knew, where receipts tell
    tickets: int = 0  # of support, that are linked to it
    plan_id: int | None = None

    @property
    def expectation(self) -> Expectation | None:
        """What customers were told of the end; None if no update told a time. Planned work has a plan instead."""
        told = [u.expected for u in self.updates if u.expected and u.stage not in OVER]
        if self.maintenance or not told:
            return None
        return Expectation(
            told[0],
            told[-1],
            _off(told[0], self.resolved_at),
            _off(told[-1], self.resolved_at),
            sum(one != before for before, one in pairwise(told)),
        )

    @property
    def longest_breach(self) -> float | None:
        return max((one.late for one in self.breaches), default=None)

    @property
    def start_known(self) -> bool:
        """Imported history that dates the start at its first update does not say how long customers waited."""
        return not (self.imported and self.updates and self.updates[0].at <= self.started_at)

    @property
    def first_from_start(self) -> float | None:
        return _seconds(self.started_at, self.updates[0].at) if self.updates and self.start_known else None

    @property
    def first_from_declared(self) -> float | None:
        return _seconds(self.declared_at, self.updates[0].at) if self.updates and self.declared_at else None

    @property
    def silence_long(self) -> bool:
        """Whether the running silence is longer than the plan wants."""
        return self.silence is not None and self.silence > (self.interval if self.updates else self.first_allowed)

    @property
    def overdue(self) -> bool:
        """Whether the next update is overdue now, as the dashboard says it: past the promise, else past the plan."""
        return self.promise_passed if self.promised_at else self.silence_long

    @property
    def silence_late(self) -> bool:
        """Whether the running silence counts in the figures: they measure against the plan, but break no promise."""
        return self.overdue and self.silence_long

    @property
    def due(self) -> int:
        """Updates that were due by a time: published ones, and the one that is late by now."""
        return sum(u.late is not None for u in self.updates) + self.silence_late

    @property
    def late(self) -> int:
        return sum(u.late is True for u in self.updates) + self.silence_late

    @property
    def gaps(self) -> list[tuple[float, bool]]:
        """(seconds, kept) between one update and the next that was due; the running one once it is late."""
        found = [(u.after, not u.late) for u in self.updates[1:] if u.late is not None]
        if self.updates and self.silence is not None and self.silence_late:
            found.append((self.silence, False))
        return found

    @property
    def cadence(self) -> float | None:
        return _share(sum(kept for _gap, kept in self.gaps), len(self.gaps))

    @property
    def longest_gap(self) -> float | None:
        return max((gap for gap, _kept in self.gaps), default=None)

    @property
    def duration(self) -> float | None:
        return _seconds(self.started_at, self.resolved_at) if self.resolved_at else None

    @property
    def waited(self) -> float | None:
        return sum(self.waits) if self.waits else None

    @property
    def reach(self) -> Reach:
        return total_reach(self.channels)


@dataclass(frozen=True)
class Summary:
    """Several incidents (or one) in the same figures."""

    incidents: int
    updates: int
    told: int  # incidents with at least one update
    first_from_start: float | None  # medians
    first_from_declared: float | None
    late: int
    due: int
    gaps: int
    cadence: float | None
    longest_gap: float | None
    wait: float | None  # median of single waits
    wait_p95: float | None
    longest_wait: float | None
    duration: float | None  # median
    channels: tuple[Reach, ...]
    reach: Reach
    survey: Survey
    broken: int  # promises
    broken_late: float | None  # median of how late what was promised came
    longest_broken: float | None
    expected_first: Accuracy
    expected_last: Accuracy
    revisions: float | None  # mean for each incident of which a time was told
    glass: int
    glass_open: int
    aware: Aware | None
    tickets: int


def _off(told: datetime, resolved: datetime | None) -> float | None:
    return (resolved - told).total_seconds() if resolved else None


def _seconds(start: datetime, end: datetime) -> float:
    """Never negative: an update may be published before what is later found to be the start."""
    return max(0.0, (end - start).total_seconds())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


# ── Gather: from rows to facts ──────────────────────────────────────────────


def gather(
    incidents: QuerySet[Any], now: datetime | None = None, channel: Channel | None = None
) -> list[IncidentFacts]:
    """The facts of each incident, newest first, in eleven queries; thirteen where notices in apps are counted.

    With `channel`, the reach is that of its messages alone; all other figures are the incident's.
    """
    now = now or timezone.now()
    chosen = incidents.order_by().values("pk")
    rows = incidents.order_by("-started_at", "-pk").values(
        *("pk", "uid", "title", "severity", "stage", "maintenance", "imported_from"),
        *("started_at", "declared_at", "resolved_at", "next_update_at"),
        *("plan_id", "plan__name", FIRST_MINUTES, UPDATE_MINUTES),
    )
    components = _components(chosen)
    published = _published(chosen)
    waits, glass = _decisions(chosen)
    breaches = _breaches(chosen)
    reach, invited = _reach(incidents, channel)
    answers = _answers(chosen)
    aware = awareness.of(chosen)
    linked = IncidentTicket.objects.filter(incident__in=chosen).values_list("incident_id")
    tickets = dict(linked.annotate(n=Count("*")).order_by())
    found = []
    for row in rows:
        thread = Incident(uid=row["uid"]).thread
        survey = Survey(invited[thread], *answers.get(row["pk"], (0, {})))
        pk = row["pk"]
        one = _facts(row, now, components[pk], published[pk], waits[pk], reach[thread], survey)
        found.append(
            replace(
                one,
                aware=aware.get(pk),
                tickets=tickets.get(pk, 0),
                breaches=tuple(_breach(kind, due, one, now) for kind, due in breaches[pk]),
                glass=glass[pk, Decision.Verb.GLASS],
                glass_open=glass[pk, Decision.Verb.GLASS] - glass[pk, Decision.Verb.GLASS_SEEN],
            )
        )
    return found


class _Said(NamedTuple):
    """One published update, as it is read."""

    number: int
    stage: str
    at: datetime
    promised: datetime | None  # the next update
    expected: datetime | None  # the resolution
    pk: int


def _facts(
    row: dict[str, Any],
    now: datetime,
    components: list[str],
    published: list[_Said],
    waits: dict[int, float],
    channels: list[Reach],
    survey: Survey,
) -> IncidentFacts:
    assumed = row[FIRST_MINUTES] is None
    interval = 60.0 * (DEFAULT_MINUTES if assumed else row[UPDATE_MINUTES])
    first_allowed = 60.0 * (DEFAULT_MINUTES if assumed else row[FIRST_MINUTES])
    imported = row["imported_from"] is not None
    declared_at = None if imported else row["declared_at"]
    start, judged = row["started_at"], not row["maintenance"]
    updates: list[UpdateFact] = []
    previous: _Said | None = None
    for one in published:
        number, stage, at, _promised, expected, pk = one
        late = promise = None
        if previous is None:
            after = _seconds(start, at)
            known = judged and not (imported and at <= start)
            late = _seconds(declared_at or start, at) > first_allowed if known else None
        else:
            after = _seconds(previous.at, at)
            if judged and previous.stage not in OVER:
                late = after > interval
                promise = at <= previous.promised if previous.promised else None
        updates.append(UpdateFact(number, stage, at, after, late, promise, waits.get(pk, 0.0), expected))
        previous = one
    silence = promised_at = None
    if judged and not imported and row["stage"] not in OVER:
        silence = _seconds(previous.at if previous else (declared_at or start), now)
        promised_at = row["next_update_at"] if previous else None
    return IncidentFacts(
        pk=row["pk"],
        title=row["title"],
        severity=row["severity"],
        stage=row["stage"],
        plan=row["plan__name"] or "",
        plan_id=row["plan_id"],
        components=tuple(components),
        imported=imported,
        maintenance=row["maintenance"],
        started_at=start,
        declared_at=declared_at,
        resolved_at=row["resolved_at"],
        first_allowed=first_allowed,
        interval=interval,
        assumed=assumed,
        updates=tuple(updates),
        silence=silence,
        promised_at=promised_at,
        promise_passed=promised_at is not None and now > promised_at,
        waits=tuple(waits.values()),
        channels=tuple(channels),
        survey=survey,
    )


def _components(chosen: QuerySet[Any]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    rows = IncidentComponent.objects.filter(incident__in=chosen).order_by("component__position", "component__name")
    for incident, name in rows.values_list("incident_id", "component__name"):
        found[incident].append(name)
    return found


def _published(chosen: QuerySet[Any]) -> dict[int, list[_Said]]:
    """What was published, by incident, oldest first."""
    found: dict[int, list[_Said]] = defaultdict(list)
    rows = IncidentUpdate.objects.filter(
        incident__in=chosen, status=IncidentUpdate.Status.PUBLISHED, published_at__isnull=False
    ).order_by("published_at", "number")
    columns = ("incident_id", "number", "stage", "published_at", "next_update_at", "expected_resolution_at", "id")
    for incident, *one in rows.values_list(*columns):
        found[incident].append(_Said(*one))
    return found


def _decisions(chosen: QuerySet[Any]) -> tuple[dict[int, dict[int, float]], Counter[tuple[int, str]]]:
    """Seconds that each update waited for approval, {incident: {update: seconds}}; and how often the glass was broken
    and that was reviewed, by incident and verb.

    From asking until the answer, approval or refusal, summed where it was asked again; where several people must
    approve, until the last of them did. An edit ends the wait without an answer: that stretch does not count.
    """
    verb = Decision.Verb
    asked: dict[int, tuple[datetime, bool]] = {}  # since when, and whether somebody has approved since it was asked
    found: dict[int, dict[int, float]] = defaultdict(dict)
    glass: Counter[tuple[int, str]] = Counter()
    steps = (verb.SUBMIT, verb.APPROVE, verb.REJECT, verb.EDIT, verb.WITHDRAW, verb.GLASS, verb.GLASS_SEEN)
    rows = Decision.objects.filter(incident__in=chosen, update__isnull=False, verb__in=steps).order_by("at", "id")
    for incident, update, step, at in rows.values_list("incident_id", "update_id", "verb", "at"):
        if step in (verb.GLASS, verb.GLASS_SEEN):
            glass[incident, step] += 1
        since, approved = asked.pop(update, (None, False))
        if step == verb.SUBMIT:
            asked[update] = at, False
        elif since and (step == verb.APPROVE or (step == verb.REJECT and not approved)):
            found[incident][update] = found[incident].get(update, 0.0) + _seconds(since, at)
            if step == verb.APPROVE:
                asked[update] = at, True
    return found, glass


def _breaches(chosen: QuerySet[Any]) -> dict[int, list[tuple[str, datetime]]]:
    """(kind, due) of each promise that was recorded as broken, by incident, oldest first."""
    found: dict[int, list[tuple[str, datetime]]] = defaultdict(list)
    rows = PromiseBreach.objects.filter(incident__in=chosen).order_by("due_at", "id")
    for incident, kind, due in rows.values_list("incident_id", "kind", "due_at"):
        found[incident].append((kind, due))
    return found


def _breach(kind: str, due: datetime, one: IncidentFacts, now: datetime) -> Breach:
    came = next((u.at for u in one.updates if u.at > due), None) or one.resolved_at
    return Breach(kind, due, came, _seconds(due, came or now))


def dispatches(incidents: QuerySet[Any]) -> QuerySet[Dispatch]:
    """Everything that was sent about these."""
    # Incident.thread, said in SQL.
    threads = incidents.order_by().annotate(_thread=Concat(Value("incident-"), F("uid"))).values("_thread")
    return Dispatch.objects.filter(thread__in=threads).order_by()


def _reach(incidents: QuerySet[Any], channel: Channel | None = None) -> tuple[dict[str, list[Reach]], Counter[str]]:
    """By thread: the reach of its updates per channel, and how many people were invited to the survey.

    Added up by the database for each channel: an incident has a message for each update, channel and language.
    """
    sent = dispatches(incidents)
    if channel:
        sent = sent.filter(Q(channel=channel) | Q(purpose=Dispatch.Purpose.SURVEY))
    columns = ("thread", "purpose", "channel_id")
    rows = sent.values_list(*columns, "channel__name", "channel__provider").distinct()
    chosen, of = sent.values("pk"), [f"dispatch__{name}" for name in columns]
    outcomes: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    counted = DeliveryTally.objects.filter(dispatch__in=chosen).values_list(*of, "status").annotate(people=Sum("n"))
    for *key, status, n in counted.order_by():
        outcomes[tuple(key)][status] = n
    queued = Batch.objects.filter(
        dispatch__in=chosen, done_at__isnull=True, repeats=False, dispatch__cancelled_at__isnull=True
    )
    left = queued.values_list(*of).annotate(n=Sum(F("size") - F("done_to"))).order_by()
    waiting = {tuple(key): n for *key, n in left}
    found: dict[str, list[Reach]] = defaultdict(list)
    invited: Counter[str] = Counter()
    telling: dict[tuple[Any, ...], Reach] = {}
    for thread, purpose, pk, name, provider in rows:
        key = (thread, purpose, pk)
        reach = _outcome(name, provider, outcomes.get(key, {}), waiting.get(key, 0))
        if purpose == Dispatch.Purpose.SURVEY:
            invited[thread] += reach.reached
        elif purpose == Dispatch.Purpose.REMINDER:
            pass  # goes to some of those who were invited
        elif _counted(provider):
            telling[key] = replace(reach, shown=0, closed=0)
        else:
            found[thread].append(reach)
    if telling:
        said = _said_by_browsers(sent, {pk for _thread, _purpose, pk in telling})
        for key, reach in telling.items():
            found[key[0]].append(replace(reach, **said.get(key, {})))
    return defaultdict(list, {thread: merge(reaches) for thread, reaches in found.items()}), invited


def _counted(provider: str) -> bool:
    return provider in providers.REGISTRY and providers.get(provider).capabilities.counted


def _said_by_browsers(sent: QuerySet[Dispatch], channels: set[int]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By thread, purpose and channel: how often its notices were shown and closed, and since when."""
    rows = sent.filter(channel__in=channels).values_list("id", "thread", "purpose", "channel_id")
    key_of = {pk: tuple(key) for pk, *key in rows}
    counts: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    days: dict[tuple[Any, ...], date] = {}
    threads = {thread for thread, _purpose, _channel in key_of.values()}
    told = NoticeCount.objects.filter(notice__thread__in=threads).values_list("notice__key", "event")
    for name, event, n, day in told.annotate(n=Sum("count"), day=Min("day")).order_by():
        if key := key_of.get(int(name.partition("-")[0])):
            counts[key][event] += n
            if event == NoticeCount.Event.SHOWN:
                days[key] = min(day, days.get(key, day))
    return {
        key: {"shown": count["shown"], "closed": count["dismissed"], "first_shown": days.get(key)}
        for key, count in counts.items()
    }


def _outcome(channel: str, provider: str, counts: Mapping[str, int], waiting: int) -> Reach:
    status = Delivery.Status
    return Reach(
        channel=channel,
        broadcast=provider in providers.REGISTRY and providers.get(provider).capabilities.broadcast,
        reached=sum(counts.get(s, 0) for s in Delivery.REACHED),
        failed=counts.get(status.FAILED, 0),
        unknown=counts.get(status.UNKNOWN, 0),
        skipped=counts.get(status.SKIPPED, 0),
        waiting=waiting,
    )


def merge(reaches: Iterable[Reach]) -> list[Reach]:
    """One for each channel, those that write to people first."""
    groups: dict[tuple[bool, str], list[Reach]] = defaultdict(list)
    for one in reaches:
        groups[one.broadcast, one.channel].append(one)
    return [together(group, channel, broadcast) for (broadcast, channel), group in sorted(groups.items())]


def total_reach(reaches: Iterable[Reach]) -> Reach:
    """All messages to people. A broadcast speaks to everybody by one message, so it is not one of them."""
    return together(one for one in reaches if not one.broadcast)


def together(reaches: Iterable[Reach], channel: str = "", broadcast: bool = False) -> Reach:
    """Their counts added up."""
    group = list(reaches)
    names = ("reached", "failed", "unknown", "skipped", "waiting")
    counts = [sum(getattr(one, name) for one in group) for name in names]
    said = [one for one in group if one.shown is not None]
    found = Reach(channel, broadcast, *counts)
    if not said:
        return found
    shown, closed = sum(one.shown or 0 for one in said), sum(one.closed or 0 for one in said)
    first = min((one.first_shown for one in said if one.first_shown), default=None)
    return replace(found, shown=shown, closed=closed, first_shown=first)


def _answers(chosen: QuerySet[Any]) -> dict[int, tuple[int, dict[str, tuple[int, ...]]]]:
    """By incident: how many answered, and the distribution of each question that reports count."""
    counts: dict[int, Counter[tuple[str, int]]] = defaultdict(Counter)
    answered: Counter[int] = Counter()
    scores = [f"given__{question}" for question in QUESTIONS]
    rows = SurveyAnswer.objects.filter(incident__in=chosen).values_list("incident_id", *scores)
    for incident, *given, n in rows.annotate(n=Count("*")).order_by():
        answered[incident] += n
        for question, score in zip(QUESTIONS, given, strict=True):
            counts[incident][question, score] += n
    return {
        incident: (n, {q: tuple(counts[incident][q, score] for score in range(1, 6)) for q in QUESTIONS})
        for incident, n in answered.items()
    }


# ── Summaries ───────────────────────────────────────────────────────────────


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def p95(values: Iterable[float]) -> float | None:
    """The smallest of the values that at least 95 % of them do not exceed (nearest rank)."""
    known = sorted(values)
    return awareness.rank(known, 0.95) if known else None


def _accuracy(offs: Iterable[float | None]) -> Accuracy:
    known = [abs(off) for off in offs if off is not None]
    right = sum(off <= RIGHT_WITHIN for off in known)
    return Accuracy(len(known), _median(known), p95(known), _share(right, len(known)))


def _merge_surveys(surveys: Iterable[Survey]) -> Survey:
    invited = answered = 0
    scores = {question: [0] * 5 for question in QUESTIONS}
    for one in surveys:
        invited += one.invited
        answered += one.answered
        for question, counts in one.scores.items():
            scores[question] = [a + b for a, b in zip(scores[question], counts, strict=True)]
    return Survey(invited, answered, {question: tuple(counts) for question, counts in scores.items()})  # type: ignore[misc]


def summarise(facts: Sequence[IncidentFacts]) -> Summary:
    """The figures of these incidents together: medians of times, shares of all gaps and messages and answers."""
    gaps = [gap for one in facts for gap in one.gaps]
    waits = [wait for one in facts for wait in one.waits]
    channels = tuple(merge(reach for one in facts for reach in one.channels))
    broken = [breach.late for one in facts for breach in one.breaches]
    expected = [found for one in facts if (found := one.expectation)]
    return Summary(
        incidents=len(facts),
        updates=sum(len(one.updates) for one in facts),
        told=sum(bool(one.updates) for one in facts),
        first_from_start=_median(one.first_from_start for one in facts),
        first_from_declared=_median(one.first_from_declared for one in facts),
        late=sum(one.late for one in facts),
        due=sum(one.due for one in facts),
        gaps=len(gaps),
        cadence=_share(sum(kept for _gap, kept in gaps), len(gaps)),
        longest_gap=max((gap for gap, _kept in gaps), default=None),
        wait=_median(waits),
        wait_p95=p95(waits),
        longest_wait=max(waits, default=None),
        duration=_median(one.duration for one in facts),
        channels=channels,
        reach=total_reach(channels),
        survey=_merge_surveys(one.survey for one in facts),
        broken=len(broken),
        broken_late=_median(broken),
        longest_broken=max(broken, default=None),
        expected_first=_accuracy(one.first_off for one in expected),
        expected_last=_accuracy(one.last_off for one in expected),
        revisions=_share(sum(one.revisions for one in expected), len(expected)),
        glass=sum(one.glass for one in facts),
        glass_open=sum(one.glass_open for one in facts),
        aware=awareness.together(one.aware for one in facts if one.aware),
        tickets=sum(one.tickets for one in facts),
    )


@dataclass(frozen=True)
class Point:
    """One week (from Monday) or month of a trend."""

    start: date
    summary: Summary


def trend(facts: Sequence[IncidentFacts], first: date, last: date) -> tuple[bool, list[Point]]:
    """(by week rather than month, a point for every week or month from `first` to `last`, empty ones too)."""
    weekly = (last - first).days <= WEEKLY_UP_TO_DAYS

    def bucket(day: date) -> date:
        return day - timedelta(days=day.weekday()) if weekly else day.replace(day=1)

    groups: dict[date, list[IncidentFacts]] = defaultdict(list)
    for one in facts:
        groups[bucket(timezone.localdate(one.started_at))].append(one)
    points, day = [], bucket(first)
    while day <= last:
        points.append(Point(day, summarise(groups[day])))
        day = bucket(day + timedelta(days=7 if weekly else 31))
    return weekly, points
