"""The figures of a period as tiles: on the page of the report, and in the mail."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from . import wording
from .reports import Summary

SHORT = {"clear": _("Clear"), "timely": _("Timely"), "useful": _("Useful")}


def tiles(now: Summary, before: Summary | None) -> list[dict[str, str]]:
    """Each figure in words, with what it was in the period before."""
    figures: list[tuple[Any, Any, Any]] = [
        (_("Incidents"), lambda s: s.incidents, str),
        (_("First update after the start, median"), lambda s: s.first_from_start, wording.duration),
        (_("First update after declaring, median"), lambda s: s.first_from_declared, wording.duration),
        (_("People knew after the start, median"), lambda s: s.aware and s.aware.median, wording.duration),
        (_("People knew, 95 of 100 within"), lambda s: s.aware and s.aware.p95, wording.duration),
        (_("Gaps between updates kept"), lambda s: s.cadence, wording.percent),
        (_("Longest gap"), lambda s: s.longest_gap, wording.duration),
        (_("Promises broken"), lambda s: s.broken, str),
        (_("What was promised came late by, median"), lambda s: s.broken_late, wording.duration),
        (_("Waiting for approval, median"), lambda s: s.wait, wording.duration),
        (_("Waiting for approval, 95 of 100 within"), lambda s: s.wait_p95, wording.duration),
        (_("Sent without a second person"), lambda s: s.glass, str),
        (_("Resolved within 15 min of the time first told"), lambda s: s.expected_first.within, wording.percent),
        (_("Resolved within 15 min of the time last told"), lambda s: s.expected_last.within, wording.percent),
        (_("Off the time last told, median"), lambda s: s.expected_last.median, wording.duration),
        (_("Off the time last told, 95 of 100 within"), lambda s: s.expected_last.p95, wording.duration),
        (_("Messages that reached people"), lambda s: s.reach.rate, wording.percent),
        (_("Support tickets linked"), lambda s: s.tickets, str),
        (_("Survey: answered"), lambda s: s.survey.rate, wording.percent),
        *((label, lambda s, q=q: s.survey.mean(q), wording.score) for q, label in SHORT.items()),
        (_("Duration, median"), lambda s: s.duration, wording.duration),
    ]
    return [
        {"label": str(label), "value": write(get(now)), "before": write(get(before)) if before else ""}
        for label, get, write in figures
    ]
