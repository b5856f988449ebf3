"""What the figures of a period say could be done better, plan by plan and channel by channel.

Rules, not opinions: each suggestion names the figure that it comes from, and stays silent where there is too little to
say anything. docs/explanation/reports.md lists them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from .reports import IncidentFacts, Summary, summarise
from .wording import about, number, percent, score

FEWEST = 2  # incidents of a plan, for it may have been chance
OFTEN = 1 / 3  # of the incidents of a plan
SLOW_APPROVAL = 10 * 60  # seconds, median
LEAST_MESSAGES, GOOD_REACH = 100, 0.95  # of a channel
LEAST_ANSWERS, GOOD_SCORE = 5, 3.5  # of a survey, of 5
LEAST_TOLD, GOOD_TIMES = 3, 0.5  # resolutions that were told, and the share that came true


@dataclass(frozen=True)
class Suggestion:
    """`what` to do and `why`. `key` says what it is about, so that it is not taken up twice; at most 60 characters."""

    key: str
    what: str
    why: str
    plan: int | None = None


@dataclass(frozen=True)
class OfPlan:
    """The incidents of a period that went by one plan."""

    plan: int
    name: str
    facts: Sequence[IncidentFacts]
    summary: Summary


def suggestions(facts: Sequence[IncidentFacts], summary: Summary) -> list[Suggestion]:
    """Those of these incidents (and of their summary), in the order of what comes first in an incident. No queries."""
    by_plan: dict[int, list[IncidentFacts]] = defaultdict(list)
    for one in facts:
        if one.plan_id and one.updates and not one.imported:
            by_plan[one.plan_id].append(one)
    plans = [OfPlan(plan, mine[0].plan, mine, summarise(mine)) for plan, mine in sorted(by_plan.items())]
    return [
        *(found for rule in RULES for plan in plans if len(plan.facts) >= FEWEST for found in rule(plan)),
        *_channels(summary),
    ]


def _first(plan: OfPlan) -> Iterator[Suggestion]:
    late = [one for one in plan.facts if one.updates[0].late]
    if len(late) >= FEWEST and len(late) >= OFTEN * len(plan.facts):
        yield Suggestion(
            f"first-late:{plan.plan}",
            _("Plan “%(plan)s”: approve the templates of the first message beforehand, or promise it later")
            % {"plan": plan.name},
            _("The first update came late in %(late)s of %(all)s incidents; the median was %(time)s after the start.")
            % {"late": number(len(late)), "all": number(len(plan.facts)), "time": _time(plan.summary.first_from_start)},
            plan.plan,
        )


def _approval(plan: OfPlan) -> Iterator[Suggestion]:
    wait = plan.summary.wait
    if wait is not None and wait > SLOW_APPROVAL:
        yield Suggestion(
            f"slow-approval:{plan.plan}",
            _("Plan “%(plan)s”: name more approvers, or let it be escalated to the deputies sooner")
            % {"plan": plan.name},
            _("Updates waited %(time)s for approval (median).") % {"time": about(wait)},
            plan.plan,
        )


def _promises(plan: OfPlan) -> Iterator[Suggestion]:
    broken = sum(bool(one.breaches) for one in plan.facts)
    if broken >= FEWEST and broken >= OFTEN * len(plan.facts):
        yield Suggestion(
            f"promises:{plan.plan}",
            _("Plan “%(plan)s”: promise updates less often, or remind earlier") % {"plan": plan.name},
            _("A promise was broken in %(broken)s of %(all)s incidents, by %(time)s in the median.")
            % {"broken": number(broken), "all": number(len(plan.facts)), "time": _time(plan.summary.broken_late)},
            plan.plan,
        )


def _expected(plan: OfPlan) -> Iterator[Suggestion]:
    told = plan.summary.expected_first
    if told.count >= LEAST_TOLD and told.within is not None and told.within < GOOD_TIMES:
        yield Suggestion(
            f"expected:{plan.plan}",
            _("Plan “%(plan)s”: tell a time of resolution only once the cause is known") % {"plan": plan.name},
            _("Of %(n)s times that were told first, %(share)s came true within 15 minutes.")
            % {"n": number(told.count), "share": percent(told.within)},
            plan.plan,
        )


def _scores(plan: OfPlan) -> Iterator[Suggestion]:
    """What customers answered, question by question of the survey that the portal brings."""
    asked = {
        "clear": (
            _("Plan “%(plan)s”: make the templates clearer: who is affected, and what they can do"),
            _("Customers found it unclear: %(score)s of 5, of %(n)s answers."),
        ),
        "timely": (
            _("Plan “%(plan)s”: write sooner and more often"),
            _("Customers found it late: %(score)s of 5, of %(n)s answers."),
        ),
        "useful": (
            _("Plan “%(plan)s”: say in the templates what customers can do meanwhile"),
            _("It helped customers little: %(score)s of 5, of %(n)s answers."),
        ),
    }
    for question, (what, why) in asked.items():
        mean, n = plan.summary.survey.mean(question), sum(plan.summary.survey.scores.get(question, ()))
        if mean is not None and n >= LEAST_ANSWERS and mean < GOOD_SCORE:
            words = {"score": score(mean), "n": number(n)}
            yield Suggestion(f"{question}:{plan.plan}", what % {"plan": plan.name}, why % words, plan.plan)


def _glass(plan: OfPlan) -> Iterator[Suggestion]:
    used = sum(one.glass for one in plan.facts)
    if used >= FEWEST:
        yield Suggestion(
            f"glass:{plan.plan}",
            _("Plan “%(plan)s”: see to it that a second person can be reached") % {"plan": plan.name},
            _("%(n)s updates went out without a second person.") % {"n": number(used)},
            plan.plan,
        )


RULES: tuple[Callable[[OfPlan], Iterator[Suggestion]], ...] = (_first, _approval, _promises, _glass, _expected, _scores)


def _channels(summary: Summary) -> Iterator[Suggestion]:
    for one in summary.channels:
        if not one.broadcast and one.total >= LEAST_MESSAGES and one.rate is not None and one.rate < GOOD_REACH:
            yield Suggestion(
                f"reach:{one.channel[:50]}",
                _("%(channel)s: look at why messages fail, and give it a fallback") % {"channel": one.channel},
                _("%(share)s of %(n)s messages reached somebody.")
                % {"share": percent(one.rate), "n": number(one.total)},
            )


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else about(seconds)
