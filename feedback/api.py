"""Reports for programs: the figures of docs/explanation/reports.md, of each incident that the person may see."""

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest
from ninja import Query, Router, Schema

from incidents.api.access import Bearer, need
from incidents.api.given import Given, Moment, SeverityWord, Uid
from incidents.api.paging import Cursor, Limit, Page, portion

from . import reports
from .models import QUESTIONS, Report
from .reports import IncidentFacts, Reach

router = Router(tags=["reports"])
READ = Bearer("reports:read")


class UpdateFigures(Schema):
    """Seconds. `late` and `kept_promise` are null where nothing was due."""

    number: int
    stage: str
    published_at: datetime
    after: float
    late: bool | None
    kept_promise: bool | None
    waited_for_approval: float


class AwareFigures(Schema):
    """Seconds from the start until a first message had arrived, by receipts, of the people of whom that is known."""

    people: int
    median: float
    p95: float


class ReachFigures(Schema):
    """Messages. `rate` is a share of 1; null where there were none."""

    channel: str
    broadcast: bool
    total: int
    reached: int
    failed: int
    unknown: int
    skipped: int
    waiting: int
    rate: float | None


class SurveyFigures(Schema):
    """Means from 1 to 5, by question."""

    invited: int
    answered: int
    rate: float | None
    means: dict[str, float | None]


class ReportOut(Schema):
    """Times in seconds, shares of 1. Null: not known, or there is nothing to measure."""

    incident: str
    title: str
    severity: str
    stage: str
    maintenance: bool
    imported: bool
    plan: str | None
    components: list[str]
    started_at: datetime
    declared_at: datetime | None
    resolved_at: datetime | None
    duration: float | None
    first_update_from_start: float | None
    first_update_from_declared: float | None
    first_update_allowed: float
    update_every: float
    intervals_assumed: bool
    updates: list[UpdateFigures]
    updates_due: int
    updates_late: int
    gaps_kept: float | None
    longest_gap: float | None
    overdue_now: bool
    aware: AwareFigures | None
    tickets: int
    waited_for_approval: float | None
    reach: ReachFigures
    channels: list[ReachFigures]
    survey: SurveyFigures


class ReportPage(Page):
    items: list[ReportOut]


class Filters(Given):
    severity: SeverityWord | None = None
    started_after: Moment | None = None
    started_before: Moment | None = None
    cursor: Cursor = ""
    limit: Limit = 50


def _rows(request: HttpRequest) -> Any:
    user = need(request, "feedback.view_report", "read reports")
    return Report.objects.for_user(user).not_dismissed()  # type: ignore[attr-defined]


def _reach(one: Reach) -> ReachFigures:
    names = ("channel", "broadcast", "total", "reached", "failed", "unknown", "skipped", "waiting", "rate")
    return ReachFigures(**{name: getattr(one, name) for name in names})


def _shown(one: IncidentFacts, uid: str) -> ReportOut:
    return ReportOut(
        incident=uid,
        title=one.title,
        severity=one.severity,
        stage=one.stage,
        maintenance=one.maintenance,
        imported=one.imported,
        plan=one.plan or None,
        components=list(one.components),
        started_at=one.started_at,
        declared_at=one.declared_at,
        resolved_at=one.resolved_at,
        duration=one.duration,
        first_update_from_start=one.first_from_start,
        first_update_from_declared=one.first_from_declared,
        first_update_allowed=one.first_allowed,
        update_every=one.interval,
        intervals_assumed=one.assumed,
        updates=[
            UpdateFigures(
                number=each.number,
                stage=each.stage,
                published_at=each.at,
                after=each.after,
                late=each.late,
                kept_promise=each.kept_promise,
                waited_for_approval=each.waited,
            )
            for each in one.updates
        ],
        updates_due=one.due,
        updates_late=one.late,
        gaps_kept=one.cadence,
        longest_gap=one.longest_gap,
        overdue_now=one.overdue,
        tickets=one.tickets,
        aware=AwareFigures(people=aware.people, median=aware.median, p95=aware.p95) if (aware := one.aware) else None,
        waited_for_approval=one.waited,
        reach=_reach(one.reach),
        channels=[_reach(each) for each in one.channels],
        survey=SurveyFigures(
            invited=one.survey.invited,
            answered=one.survey.answered,
            rate=one.survey.rate,
            means={question: one.survey.mean(question) for question in QUESTIONS},
        ),
    )


def _gathered(incidents: list[Any]) -> list[ReportOut]:
    uids = {one.pk: one.uid for one in incidents}
    facts = {one.pk: one for one in reports.gather(Report.objects.filter(pk__in=uids))} if uids else {}
    return [_shown(facts[pk], uid) for pk, uid in uids.items()]


@router.get("/reports", response=ReportPage, auth=READ, operation_id="list_reports")
def list_reports(request: HttpRequest, filters: Query[Filters]) -> ReportPage:
    """The reports of incidents that the person may see, the last declared first."""
    found = _rows(request)
    times = {"started_at__gt": filters.started_after, "started_at__lt": filters.started_before}
    wanted = times | {"severity": filters.severity}
    found = found.filter(**{name: value for name, value in wanted.items() if value is not None})
    items, after = portion(found, filters.cursor, filters.limit)
    return ReportPage(items=_gathered(items), next_cursor=after)


@router.get("/reports/{uid}", response=ReportOut, auth=READ, operation_id="get_report")
def get_report(request: HttpRequest, uid: Uid) -> ReportOut:
    """The report of one incident."""
    found = _rows(request).filter(uid=uid).first()
    if found is None:
        raise Http404
    return _gathered([found])[0]
