"""Numbers what happened: reads decisions, broken promises and runs of runbooks, and writes an event for each.

No verb has to think of it, for each of them writes such a row in its own transaction already: what was rolled back is
never told, and what was committed is found, whenever somebody died. Only here it is decided what is an event of what.

A cursor over the rows themselves would lose some. A row has its key before it is committed, so a lower one may become
visible after a higher one was read. So each row that has no event yet is looked for among those of the last day, and a
number is given by one process at a time, which ends its transaction before the next begins. Numbers thus become
visible in their order, and whoever reads them may keep a cursor.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, Max, OuterRef
from django.utils import timezone

from incidents import rendering
from incidents.models import (
    OVER,
    Decision,
    EventMark,
    EventType,
    Incident,
    IncidentUpdate,
    OutgoingEvent,
    PromiseBreach,
    RunbookRun,
    Stage,
)

log = logging.getLogger(__name__)
LOCK = 0x6576656E7473  # “events”: any number that nobody else takes
LATE = timedelta(days=1)  # no transaction takes longer
MOST = 200  # rows of a source at a time
Verb = Decision.Verb
TYPES = {
    Verb.DECLARE: EventType.DECLARED,
    Verb.PLAN: EventType.PLANNED,
    Verb.MOVE: EventType.MOVED,
    Verb.CANCEL: EventType.CANCELLED,
    Verb.SEVERITY: EventType.SEVERITY,
    Verb.DISMISS: EventType.DISMISSED,
    Verb.DRAFT: EventType.DRAFTED,
    Verb.SUBMIT: EventType.SUBMITTED,
    Verb.APPROVE: EventType.APPROVED,
    Verb.PREPARED: EventType.APPROVED,
    Verb.GLASS: EventType.APPROVED,
    Verb.REJECT: EventType.REJECTED,
    Verb.PUBLISH: EventType.PUBLISHED,
    Verb.WITHDRAW: EventType.WITHDRAWN,
}
HOW = {Verb.APPROVE: "person", Verb.PREPARED: "templates", Verb.GLASS: "break_glass"}
DECISION, BREACH, RUN, HALT, END = "decision", "breach", "run", "halt", "end"
# Keys of what these read only grow, so that what is long read need not be looked at again.
GROWING = (DECISION, BREACH, RUN)


def collect() -> int:
    """Write the events of what happened since; how many. Called twice, or by two at once, it writes each once."""
    with transaction.atomic():
        _one_at_a_time()
        marks = dict(EventMark.objects.values_list("source", "upto"))
        found = sorted(_found(marks), key=lambda one: one.at)  # stable: of one moment as they were read
        last = head()
        for number, one in enumerate(found, last + 1):
            one.number = number
        OutgoingEvent.objects.bulk_create(found)
        _remember(marks)
    return len(found)


def head() -> int:
    """The number of the newest event; 0 before the first."""
    return OutgoingEvent.objects.aggregate(last=Max("number"))["last"] or 0


def _one_at_a_time() -> None:
    """On SQLite every transaction is alone anyway (its mode is IMMEDIATE)."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _remember(marks: dict[str, int]) -> None:
    """Pass over what was read so long ago that nothing before it can still appear."""
    old = OutgoingEvent.objects.filter(recorded_at__lt=timezone.now() - LATE)
    for source in GROWING:
        newer = old.filter(source=source, source_id__gt=marks.get(source, 0))
        if upto := newer.aggregate(last=Max("source_id"))["last"]:
            EventMark.objects.update_or_create(source=source, defaults={"upto": upto})


# ── What is an event of what ────────────────────────────────────────────────


def _found(marks: dict[str, int]) -> Iterator[OutgoingEvent]:
    """Events that are not written yet, without their numbers; those of decisions in the order of these."""
    now = timezone.now()
    latest = None
    decisions = Decision.objects.filter(verb__in=TYPES).select_related("incident", "update")
    for decision in _new(decisions, DECISION, marks):
        # Two computers' clocks may differ: an event is never earlier than the decision before it.
        latest = max(filter(None, [latest, decision.at]))
        yield from _checked(_of_decision, decision, latest)
    for breach in _new(PromiseBreach.objects.select_related("incident"), BREACH, marks):
        yield from _checked(_of_breach, breach)
    runs = RunbookRun.objects.select_related("incident")
    for run in _new(runs, RUN, marks):
        yield from _checked(_of_run, run, RUN, EventType.STARTED, run.started_at)
    told = OutgoingEvent.objects.filter(source=HALT, source_id=OuterRef("pk"), nth__gte=OuterRef("halts"))
    for run in _with_incident(runs.filter(~Exists(told), halts__gt=0))[:MOST]:
        yield from _checked(_of_halts, run, now)
    for run in _new(runs.filter(state__in=RunbookRun.OVER), END, marks):
        yield from _checked(_of_run, run, END, EventType.FINISHED, run.finished_at or now)


def _new(rows: Any, source: str, marks: dict[str, int]) -> Any:
    written = OutgoingEvent.objects.filter(source=source, source_id=OuterRef("pk"))
    return _with_incident(rows.filter(~Exists(written), pk__gt=marks.get(source, 0)))[:MOST]


def _with_incident(rows: Any) -> Any:
    return rows.order_by("pk").prefetch_related("incident__incident_components__component")


def _checked(make: Any, row: Any, *args: Any) -> list[OutgoingEvent]:
    """Its events, or none for now: a defect that one row meets must not keep back those of all others."""
    try:
        return list(make(row, *args))
    except Exception:
        log.exception("no event can be made of %s %s", type(row).__name__, row.pk)
        return []


def _of_decision(decision: Decision, at: datetime) -> Iterator[OutgoingEvent]:
    incident, update = decision.incident, decision.update
    data: dict[str, Any] = {}
    if update:
        data["update"] = {"number": update.number}
    if decision.verb in HOW:
        data["approval"] = HOW[Verb(decision.verb)]
    if decision.verb == Verb.PUBLISH and update:
        data["update"] |= _approved(update)
    yield _event(incident, TYPES[Verb(decision.verb)], DECISION, decision.pk, at, data)
    if decision.verb == Verb.PUBLISH and update and _ends(update, decision):
        yield _event(incident, EventType.RESOLVED, DECISION, decision.pk, at, {"update": {"number": update.number}})


def _approved(update: IncidentUpdate) -> dict[str, Any]:
    """What a published update says for good: of a draft nobody is told more than that it is there."""
    return {
        "stage": update.stage,
        "subject": {locale: words.get("subject", "") for locale, words in sorted(update.page.items())},
        "url": rendering.status_url(update.incident),
    }


def _ends(update: IncidentUpdate, decision: Decision) -> bool:
    """Whether this was the word that ended it, and no follow-up to what was over."""
    if update.stage not in OVER or update.stage == Stage.POSTMORTEM:
        return False
    before = Decision.objects.filter(incident=decision.incident_id, verb=Verb.PUBLISH, pk__lt=decision.pk)
    last = before.order_by("-pk").values_list("update__stage", flat=True).first()
    return last not in OVER


def _of_breach(breach: PromiseBreach) -> Iterator[OutgoingEvent]:
    data = {"promise": {"kind": breach.kind, "due_at": breach.due_at.isoformat()}}
    yield _event(breach.incident, EventType.BROKEN, BREACH, breach.pk, breach.noticed_at, data)


def _of_run(run: RunbookRun, source: str, what: str, at: datetime) -> Iterator[OutgoingEvent]:
    runbook = _told_of(run) | ({"state": run.state} if source == END else {})
    yield _event(run.incident, what, source, run.pk, at, {"runbook": runbook})


def _of_halts(run: RunbookRun, now: datetime) -> Iterator[OutgoingEvent]:
    """It may have gone on since: each halt is told all the same."""
    written = OutgoingEvent.objects.filter(source=HALT, source_id=run.pk).aggregate(last=Max("nth"))["last"] or 0
    for nth in range(written + 1, run.halts + 1):
        yield _event(run.incident, EventType.HALTED, HALT, run.pk, now, {"runbook": _told_of(run)}, nth)


def _told_of(run: RunbookRun) -> dict[str, Any]:
    return {"run": run.pk, "name": run.content["name"]}


def _event(
    incident: Incident, what: str, source: str, key: int, at: datetime, data: dict[str, Any], nth: int = 1
) -> OutgoingEvent:
    """Its facts are those of now, some seconds later. No title: it is approved by nobody."""
    facts = {
        "incident": incident.uid,
        "url": f"{settings.PORTAL_URL}/admin/incidents/incident/{incident.pk}/change/",
        "maintenance": incident.maintenance,
        "severity": incident.severity,
        "stage": incident.stage,
        "public": incident.published_at is not None,
    }
    components = [
        {"key": one.component_id, "id": one.component.uid, "name": one.component.name, "status": one.status}
        for one in incident.incident_components.all()
    ]
    return OutgoingEvent(
        type=what,
        incident=incident,
        source=source,
        source_id=key,
        nth=nth,
        data=facts | data,
        components=components,
        at=at,
    )
