"""Figures in words, as a manager would repeat them."""

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .reports import IncidentFacts, Reach, Summary
from .results import Estimate

MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float | None) -> str:
    """Exact to the second below an hour, then to the minute, then to the hour: “9 min 12 s”, “1 h 25 min”."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < MINUTE:
        return _("%(n)s s") % {"n": whole}
    if whole < HOUR:
        return _two(_("%(n)s min"), whole // MINUTE, _("%(n)s s"), whole % MINUTE)
    whole = round(seconds / MINUTE) * MINUTE
    if whole < DAY:
        return _two(_("%(n)s h"), whole // HOUR, _("%(n)s min"), whole % HOUR // MINUTE)
    whole = round(seconds / HOUR) * HOUR
    return _two(_("%(n)s d"), whole // DAY, _("%(n)s h"), whole % DAY // HOUR)


def _two(big: str, first: int, small: str, second: int) -> str:
    text = big % {"n": first}
    return f"{text} {small % {'n': second}}" if second else text


def off(seconds: float | None) -> str:
    """How far what was told was from the truth: “12 min later than told”."""
    if seconds is None:
        return "–"
    if not round(seconds):
        return _("just then")
    words = _("%(time)s later than told") if seconds > 0 else _("%(time)s earlier than told")
    return words % {"time": duration(abs(seconds))}


def about(seconds: float) -> str:
    """To the nearest minute, for a sentence: “9 min”."""
    return duration(seconds if seconds < MINUTE else round(seconds / MINUTE) * MINUTE)


def percent(share: float | None) -> str:
    """A whole number; 100 % only if it is all, 0 % only if it is none."""
    if share is None:
        return "–"
    if 0 < share < 0.01:
        return _("under 1 %")
    whole = round(share * 100)
    if whole == 100 and share < 1:
        return _("over 99 %")
    return _("%(n)s %%") % {"n": whole}


def score(mean: float | None) -> str:
    """A mean score with one decimal, in the reader's notation."""
    return "–" if mean is None else formats.number_format(mean, 1)


def mean_estimate(one: Estimate) -> str:
    """“4.2 (3.9–4.5)”; of fewer than five answers nothing."""
    if one.value is None:
        return _("too few")
    return f"{score(one.value)} ({score(one.low)}–{score(one.high)})"


def share_estimate(one: Estimate) -> str:
    """“82 % (75–88 %)”."""
    if one.value is None:
        return _("too few")
    low, high = round(100 * (one.low or 0)), round(100 * (one.high or 0))
    return _("%(share)s (%(low)s–%(high)s %%)") % {"share": percent(one.value), "low": low, "high": high}


def number(count: int) -> str:
    """A count with its thousands set apart."""
    return formats.number_format(count, 0, use_l10n=True, force_grouping=True)


def in_app(reach: Reach) -> str:
    """“In the app: shown 4,120 times, dismissed 1,030 times (25 %), first on 2 Mar 2026.” These are no people."""
    if not reach.shown:
        return _("In the app: no browser has said yet that it showed a notice.")
    times = ngettext("shown %(n)s time", "shown %(n)s times", reach.shown) % {"n": number(reach.shown)}
    closed = reach.closed or 0
    dismissed = ngettext("dismissed %(n)s time", "dismissed %(n)s times", closed) % {"n": number(closed)}
    words = {"shown": times, "dismissed": dismissed, "rate": percent(reach.closing_rate)}
    if reach.first_shown is None:
        return _("In the app: %(shown)s, %(dismissed)s (%(rate)s).") % words
    words["day"] = formats.date_format(reach.first_shown, _("j M Y"))
    return _("In the app: %(shown)s, %(dismissed)s (%(rate)s), first on %(day)s.") % words


# ── Sentences ───────────────────────────────────────────────────────────────


def incident_sentence(one: IncidentFacts, summary: Summary) -> str:
    """“First update in 9 min, 2 of 5 late, 97 % reached, clarity 4.2/5.”"""
    if one.first_from_start is not None:
        first = _("First update in %(time)s") % {"time": about(one.first_from_start)}
    elif one.updates:
        first = _updates(summary)
    elif one.silence is not None:
        first = _("No update for %(time)s") % {"time": about(one.silence)}
    else:
        first = _("No update was published")
    overdue = _("the next update is overdue") if one.updates and one.overdue else ""
    return _join([first, _late(summary.late, summary.due), overdue, _reached(summary), _clarity(summary)])


def period_sentence(summary: Summary) -> str:
    """The same for several incidents, beginning with how many there were."""
    if not summary.incidents:
        return _("No incidents in this period.")
    count = ngettext("%(n)s incident", "%(n)s incidents", summary.incidents) % {"n": number(summary.incidents)}
    if not summary.told:
        first = _("%(incidents)s: no update was published") % {"incidents": count}
    elif summary.first_from_start is None:
        first = _("%(incidents)s: %(updates)s") % {"incidents": count, "updates": _updates(summary)}
    elif summary.told == 1:
        first = _("%(incidents)s: first update in %(time)s") % {
            "incidents": count,
            "time": about(summary.first_from_start),
        }
    else:
        first = _("%(incidents)s: first update in %(time)s (median)") % {
            "incidents": count,
            "time": about(summary.first_from_start),
        }
    return _join([first, _late(summary.late, summary.due), _reached(summary), _clarity(summary)])


def _updates(summary: Summary) -> str:
    return ngettext("%(n)s update", "%(n)s updates", summary.updates) % {"n": number(summary.updates)}


def _join(parts: list[str]) -> str:
    return ", ".join(part for part in parts if part) + "."


def _late(late: int, due: int) -> str:
    if due == 0:
        return ""
    if due == 1:
        return _("late") if late else _("on time")
    if late == 0:
        return _("all %(n)s updates on time") % {"n": number(due)}
    if late == due:
        return _("all %(n)s updates late") % {"n": number(due)}
    return _("%(late)s of %(due)s late") % {"late": number(late), "due": number(due)}


def _reached(summary: Summary) -> str:
    if summary.reach.rate is not None:
        return _("%(percent)s reached") % {"percent": percent(summary.reach.rate)}
    return _("no messages sent") if summary.updates else ""


def _clarity(summary: Summary) -> str:
    mean = summary.survey.mean("clear")
    if mean is not None:
        return _("clarity %(score)s/5") % {"score": score(mean)}
    if summary.survey.invited:
        return _("no survey answers yet")
    return ""
