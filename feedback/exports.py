"""Reports as CSV.

UTF-8 with a byte order mark, times in ISO 8601, units in the header, cells that stay inert in a spreadsheet.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from commsportal.spreadsheet import inert
from incidents.models import PromiseBreach, Severity, Stage

from .models import QUESTIONS, SurveyAnswer
from .models.survey import worded
from .people import People
from .reports import IncidentFacts, Reach, Summary, together
from .results import KIND_NAMES, Results
from .screening import screened


def cell(value: Any) -> str:
    """One value as text: seconds and counts without decimals, shares and scores with two, times with their zone."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(timespec="seconds")
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, int):
        return str(value)  # also below zero: a number is no formula
    return inert(str(value))


def _response(name: str, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> HttpResponse:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([cell(one) for one in header])
    writer.writerows([cell(one) for one in row] for row in rows)
    response = HttpResponse(out.getvalue().encode("utf-8-sig"), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def over_time(name: str, facts: Sequence[IncidentFacts]) -> HttpResponse:
    """One row for each incident."""
    columns: list[tuple[str, Any]] = [
        (_("Incident"), lambda f: f.pk),
        (_("Title"), lambda f: f.title),
        (_("Severity"), lambda f: Severity(f.severity).label),
        (_("Stage"), lambda f: Stage(f.stage).label),
        (_("Components"), lambda f: ", ".join(f.components)),
        (_("Plan"), lambda f: f.plan),
        (_("Imported"), lambda f: f.imported),
        (_("Started"), lambda f: f.started_at),
        (_("Declared"), lambda f: f.declared_at),
        (_("Resolved"), lambda f: f.resolved_at),
        (_("Duration (s)"), lambda f: _whole(f.duration)),
        (_("First update after start (s)"), lambda f: _whole(f.first_from_start)),
        (_("First update after declaration (s)"), lambda f: _whole(f.first_from_declared)),
        (_("Half of the people knew after (s)"), lambda f: f.aware and _whole(f.aware.median)),
        (_("95 of 100 people knew after (s)"), lambda f: f.aware and _whole(f.aware.p95)),
        (_("People of whom it is known"), lambda f: f.aware and f.aware.people),
        (_("First update allowed within (s)"), lambda f: _whole(f.first_allowed)),
        (_("Update every (s)"), lambda f: _whole(f.interval)),
        (_("Interval assumed, no plan"), lambda f: f.assumed),
        (_("Updates"), lambda f: len(f.updates)),
        (_("Updates due"), lambda f: f.due),
        (_("Updates late"), lambda f: f.late),
        (_("Gaps kept (%)"), lambda f: _percent(f.cadence)),
        (_("Longest gap (s)"), lambda f: _whole(f.longest_gap)),
        (_("Waiting for approval (s)"), lambda f: _whole(f.waited)),
        (_("Promises broken"), lambda f: len(f.breaches)),
        (_("Promises broken: late, together (s)"), lambda f: _whole(sum(one.late for one in f.breaches))),
        (_("Promises broken: longest (s)"), lambda f: _whole(f.longest_breach)),
        (_("Expected resolution, first told"), lambda f: f.expectation and f.expectation.first),
        (_("Resolved later than first told (s)"), lambda f: f.expectation and _whole(f.expectation.first_off)),
        (_("Expected resolution, last told"), lambda f: f.expectation and f.expectation.last),
        (_("Resolved later than last told (s)"), lambda f: f.expectation and _whole(f.expectation.last_off)),
        (_("Expected resolution, times changed"), lambda f: f.expectation and f.expectation.revisions),
        (_("Sent without a second person"), lambda f: f.glass),
        (_("Sent without a second person, not reviewed"), lambda f: f.glass_open),
        (_("Support tickets linked"), lambda f: f.tickets),
        (_("Messages"), lambda f: f.reach.total),
        (_("Reached"), lambda f: f.reach.reached),
        (_("Failed"), lambda f: f.reach.failed),
        (_("Not known whether sent"), lambda f: f.reach.unknown),
        (_("Not sent"), lambda f: f.reach.skipped),
        (_("Reached (%)"), lambda f: _percent(f.reach.rate)),
        (_("In the app: times shown"), lambda f: _in_app(f).shown),
        (_("In the app: times dismissed"), lambda f: _in_app(f).closed),
        (_("In the app: dismissed (%)"), lambda f: _percent(_in_app(f).closing_rate)),
        (_("In the app: first shown (UTC)"), lambda f: _in_app(f).first_shown),
        (_("Invited to the survey"), lambda f: f.survey.invited),
        (_("Answered"), lambda f: f.survey.answered),
        (_("Answered (%)"), lambda f: _percent(f.survey.rate)),
        (_("Clear (1–5)"), lambda f: f.survey.mean("clear")),
        (_("Timely (1–5)"), lambda f: f.survey.mean("timely")),
        (_("Useful (1–5)"), lambda f: f.survey.mean("useful")),
    ]
    return _response(name, [title for title, _get in columns], ([get(f) for _title, get in columns] for f in facts))


def _in_app(one: IncidentFacts) -> Reach:
    """What browsers say of its notices on all channels that they tell of."""
    return together(reach for reach in one.channels if reach.shown is not None)


Row = tuple[Any, Any, Any, Any]


def incident(
    name: str, one: IncidentFacts, summary: Summary, people: People, answers: Iterable[SurveyAnswer]
) -> HttpResponse:
    """One row for each figure: what, of what, how much, in which unit."""
    s = _("seconds")
    rows: list[Row] = [
        (_("Title"), "", one.title, ""),
        (_("Severity"), "", Severity(one.severity).label, ""),
        (_("Stage"), "", Stage(one.stage).label, ""),
        (_("Components"), "", ", ".join(one.components), ""),
        (_("Plan"), "", one.plan, ""),
        (_("Started"), "", one.started_at, _("time")),
        (_("Declared"), "", one.declared_at, _("time")),
        (_("Resolved"), "", one.resolved_at, _("time")),
        (_("Duration"), "", _whole(one.duration), s),
        (_("First update after start"), "", _whole(one.first_from_start), s),
        (_("First update after declaration"), "", _whole(one.first_from_declared), s),
        (_("First update allowed within"), "", _whole(one.first_allowed), s),
        (_("Update every"), _("assumed, no plan") if one.assumed else "", _whole(one.interval), s),
        (_("Updates"), "", len(one.updates), _("updates")),
        (_("Updates due"), "", one.due, _("updates")),
        (_("Updates late"), "", one.late, _("updates")),
        (_("Gaps kept"), "", _percent(one.cadence), "%"),
        (_("Longest gap"), "", _whole(one.longest_gap), s),
        (_("Half of the people knew after"), "", one.aware and _whole(one.aware.median), s),
        (_("95 of 100 people knew after"), "", one.aware and _whole(one.aware.p95), s),
        (_("People of whom it is known"), "", one.aware and one.aware.people, _("people")),
        (_("Waiting for approval"), "", _whole(one.waited), s),
        (_("Promises broken"), "", len(one.breaches), _("promises")),
        *_breaches(one),
        *_expectation(one),
        (_("Sent without a second person"), "", one.glass, _("updates")),
        (_("Sent without a second person, not reviewed"), "", one.glass_open, _("updates")),
        (_("Support tickets linked"), "", one.tickets, _("tickets")),
        (_("Different people reached"), "", people.reached, _("people")),
        (_("Different people written to"), "", people.all, _("people")),
        *_updates(one),
        *(row for reach in one.channels for row in _reach(reach)),
        (_("Reached"), _("all messages to people"), _percent(summary.reach.rate), "%"),
        *_survey(one),
        *((_("Comment"), answer.at, text, "") for answer in answers for text in screened(answer).values()),
    ]
    return _response(name, [_("Figure"), _("Of"), _("Value"), _("Unit")], rows)


def survey(name: str, found: Results, locale: str) -> HttpResponse:
    """One row for each group and question with a scale, and for each answer of a choice."""
    rows: list[tuple[Any, ...]] = []
    for row in found.rows:
        group = (KIND_NAMES[row.kind], row.name, row.invited, row.answered, _percent(row.rate))
        for question, one in zip(found.version.scales, row.means(found.version.scales), strict=True):
            rows.append((*group, worded(question["text"], locale), one.n, one.value, one.low, one.high, _("1 to 5")))
    for asked, lines in found.choices(locale):
        for answer, one in lines:
            numbers = (_percent(one.value), _percent(one.low), _percent(one.high))
            rows.append((KIND_NAMES[""], "", None, None, None, f"{asked} {answer}", one.n, *numbers, "%"))
    header = [_("Group"), _("Of"), _("Asked"), _("Answered"), _("Answered (%)"), _("Question"), _("Answers")]
    return _response(name, [*header, _("Value"), _("From"), _("To"), _("Unit")], rows)


def _breaches(one: IncidentFacts) -> Iterable[Row]:
    for number, breach in enumerate(one.breaches, 1):
        of = _("promise %(number)s: %(what)s") % {"number": number, "what": PromiseBreach.Kind(breach.kind).label}
        yield _("Promised for"), of, breach.due, _("time")
        yield _("Kept at"), of, breach.came, _("time")
        yield _("Late by"), of, _whole(breach.late), _("seconds")


def _expectation(one: IncidentFacts) -> Iterable[Row]:
    """Later than told is a positive number, earlier a negative one."""
    if (told := one.expectation) is None:
        return
    for of, at, off in ((_("first told"), told.first, told.first_off), (_("last told"), told.last, told.last_off)):
        yield _("Expected resolution"), of, at, _("time")
        yield _("Resolved later than told"), of, _whole(off), _("seconds")
    yield _("Expected resolution"), _("times changed"), told.revisions, _("changes")


def _updates(one: IncidentFacts) -> Iterable[Row]:
    for u in one.updates:
        of = _("update %(number)s") % {"number": u.number}
        yield _("Published"), of, u.at, _("time")
        yield _("After the previous update, or the start"), of, _whole(u.after), _("seconds")
        yield _("Late"), of, u.late, ""
        yield _("Waiting for approval"), of, _whole(u.waited), _("seconds")


def _reach(reach: Reach) -> Iterable[Row]:
    counts = {
        _("Messages"): reach.total,
        _("Reached"): reach.reached,
        _("Failed"): reach.failed,
        _("Not known whether sent"): reach.unknown,
        _("Not sent"): reach.skipped,
        _("Waiting"): reach.waiting,
    }
    for title, count in counts.items():
        yield title, reach.channel, count, _("messages")
    yield _("Reached"), reach.channel, _percent(reach.rate), "%"
    if reach.shown is not None:
        yield _("Shown in the app"), reach.channel, reach.shown, _("times, by browsers")
        yield _("Dismissed in the app"), reach.channel, reach.closed, _("times, by browsers")
        yield _("Dismissed in the app"), reach.channel, _percent(reach.closing_rate), "%"
        yield _("First shown in the app"), reach.channel, reach.first_shown, _("day (UTC)")


def _survey(one: IncidentFacts) -> Iterable[Row]:
    survey = one.survey
    yield _("Invited to the survey"), "", survey.invited, _("people")
    yield _("Answered"), "", survey.answered, _("people")
    yield _("Answered"), "", _percent(survey.rate), "%"
    for question, words in QUESTIONS.items():
        yield _("Mean score"), words, survey.mean(question), _("1 to 5")
        for score, count in enumerate(survey.scores.get(question, ()), 1):
            yield _("Answers with %(score)s of 5") % {"score": score}, words, count, _("people")
