"""The coverage check: whether the plans would hold if something failed tonight, found by day.

Each message that a plan promises is a cell of scenario × stage × channel × language; the score is the share of the
cells that are ready. Beside them: people with their training and second factors, approval, readers, and what no plan is
for. Another look is one more function that is called in check().
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from django.core.cache import cache
from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from incidents.models import CommunicationPlan, Component, Severity

from .cells import Cell, Look, cells
from .finding import Finding, Kind, Mend, Notes, Weight
from .known import Known
from .people import people
from .readers import readers
from .scope import channels, uncovered, unprepared, unused

__all__ = ["Cell", "Coverage", "Finding", "Kind", "Mend", "OfPlan", "Standing", "Weight", "check", "standing"]

CACHE_KEY, CACHE_SECONDS = "incidents.coverage", 60


@dataclass
class OfPlan:
    """The messages that one plan promises."""

    plan: CommunicationPlan
    cells: list[Cell]

    @cached_property
    def ready(self) -> int:
        return sum(not one.troubles for one in self.cells)

    @property
    def score(self) -> int:
        return percent(self.ready, len(self.cells))


def percent(ready: int, promised: int) -> int:
    """Rounded down, so that 100 is all of them. Where nothing is promised, nothing is ready."""
    return 100 * ready // promised if promised else 0


@dataclass
class Coverage:
    """What was found. `plans` are those that were looked at."""

    plans: list[OfPlan]
    findings: list[Finding]
    known: Known = field(repr=False)

    @property
    def ready(self) -> int:
        return sum(one.ready for one in self.plans)

    @property
    def promised(self) -> int:
        return sum(len(one.cells) for one in self.plans)

    @property
    def score(self) -> int:
        return percent(self.ready, self.promised)

    @property
    def holes(self) -> list[Finding]:
        return [one for one in self.findings if one.is_hole]

    @property
    def warnings(self) -> list[Finding]:
        return [one for one in self.findings if not one.is_hole]

    @property
    def standing(self) -> "Standing":
        return Standing(self.score, len(self.holes), len(self.warnings))

    @property
    def in_words(self) -> str:
        """What the score means."""
        if not self.promised:
            return _("No plan promises a message yet, so nothing is ready.")
        numbers = {"ready": number(self.ready), "all": number(self.promised)}
        return (
            _("%(ready)s of the %(all)s messages that the plans promise are ready.") % numbers
            + " "
            + _("A message is one scenario at one stage, by one channel, in one language.")
        )

    def headline(self, components: Iterable[Component]) -> str:
        """The sentence to be repeated, with an example among these components: those that the reader may know."""
        holes, n, known = self.holes, len(self.warnings), list(components)
        if not holes:
            look = ngettext("%(n)d thing to look at.", "%(n)d things to look at.", n) % {"n": n} if n else ""
            none = _("No holes: whatever fails tonight, there are words, ways and people.")
            return f"{none} {look}".strip()
        said = ngettext("%(n)d hole.", "%(n)d holes.", len(holes)) % {"n": len(holes)}
        examples = (self._tonight(one, known) for one in holes if one.tonight)
        return f"{said} {next(filter(None, examples), holes[0].sentence)}"

    def _tonight(self, one: Finding, components: list[Component]) -> str:
        """What would be noticed, and when; empty if none of the components is an example."""
        component, severity = self._example(one, components)
        if component is None:
            return ""
        only = ", ".join(filter(None, (severity, one.only)))
        text = _("If %(component)s should fail tonight (%(only)s), %(what)s.")
        if not only:
            text = _("If %(component)s should fail tonight, %(what)s.")
        return text % {"component": component.name, "only": only, "what": one.tonight}

    def _example(self, one: Finding, components: list[Component]) -> tuple[Component | None, str]:
        """A component whose incidents go by a plan of the finding; and at which severity, if not at every."""
        for component in components:
            led = {s: self.known.chosen.get((component.group_id, s)) for s in Severity.values}
            hit = [s for s, plan in led.items() if (plan.pk in one.plans if plan else not one.plans)]
            if hit:
                return component, "" if len(hit) == len(led) else str(Severity(hit[0]).label)
        return None, ""


@dataclass(frozen=True)
class Standing:
    """In one line: the messages that are ready, and the worst of what stands beside them."""

    score: int
    holes: int
    warnings: int

    @property
    def tone(self) -> str:
        """bad, warn or good: the worst that was found counts, whatever the score."""
        if self.holes:
            return "bad"
        return "warn" if self.warnings or self.score < 100 else "good"

    @property
    def in_words(self) -> str:
        said = _("%(score)d %% of the messages ready") % {"score": self.score}
        if self.holes:
            worst = ngettext("%(n)d hole", "%(n)d holes", self.holes) % {"n": self.holes}
            return f"{said} · {worst}"
        if self.warnings:
            worst = ngettext("%(n)d to look at", "%(n)d to look at", self.warnings) % {"n": self.warnings}
            return f"{said} · {worst}"
        return said


def number(n: int) -> str:
    """A count for people: 12,431."""
    return formats.number_format(n, use_l10n=True, force_grouping=True)


def check(plans: Iterable[CommunicationPlan] | None = None) -> Coverage:
    """Look at these plans; without any given, at all, and at what none of them is for."""
    known, notes = Known(), Notes()
    wanted = None if plans is None else {one.pk for one in plans}
    chosen = [one for one in known.plans if wanted is None or one.pk in wanted]
    look = Look(known, notes)
    found = [OfPlan(plan, list(cells(known, plan, look))) for plan in chosen]
    for plan in chosen:
        people(known, plan, notes)
        channels(known, plan, notes)
        unused(known, plan, notes)
    readers(known, chosen, notes)
    unprepared(known, notes)
    if wanted is None:
        uncovered(known, notes)
    return Coverage(found, notes.in_order(), known)


def standing(fresh: Coverage | None = None) -> Standing:
    """Of all plans, at most a minute old; `fresh` is a check of all that was just made."""
    found = None if fresh else cache.get(CACHE_KEY)
    if found is None:
        fresh = fresh or check()
        found = (fresh.standing.score, fresh.standing.holes, fresh.standing.warnings)
        cache.set(CACHE_KEY, found, CACHE_SECONDS)
    return Standing(*found)
