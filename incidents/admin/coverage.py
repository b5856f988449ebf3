"""The coverage check as a page: what a manager would repeat, what is to be mended, and the matrix."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from channels.models import Channel
from incidents import coverage
from incidents.coverage import Cell, Coverage, Finding, OfPlan
from incidents.models import CommunicationPlan, Component, Scenario, Stage
from incidents.rendering import language_name

from . import glance

MOST_CELLS = 2500  # that are drawn at once; of more plans each has a page of its own
SHOWN = 8  # findings of a kind that stand open


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """GET shows it; `?plan=` looks at one plan. It changes nothing."""
    if not request.user.has_perm("incidents.view_communicationplan"):
        raise PermissionDenied
    plans = list(CommunicationPlan.objects.only("name"))
    chosen = next((one for one in plans if str(one.pk) == request.GET.get("plan")), None)
    found = coverage.check([chosen] if chosen else None)
    if chosen is None:
        coverage.standing(found)
    context = {
        **admin.site.each_context(request),
        "opts": CommunicationPlan._meta,
        "title": _("Coverage of the plans"),
        "coverage": found,
        "sentence": found.headline(Component.objects.for_user(request.user).select_related("group")),
        "plans": plans,
        "chosen": chosen,
        "groups": groups(found, request.user),
        "matrices": [Matrix(one, request.user) for one in found.plans] if found.promised <= MOST_CELLS else [],
    }
    return render(request, "admin/incidents/communicationplan/coverage.html", context)


# ── Findings ────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Row:
    finding: Finding
    way: Any


@dataclass(frozen=True)
class Group:
    """Findings of one kind and weight: the first of them stand open, the others behind a line."""

    heading: str
    is_hole: bool
    rows: list[Row]

    @property
    def first(self) -> list[Row]:
        return self.rows[:SHOWN]

    @property
    def rest(self) -> list[Row]:
        return self.rows[SHOWN:]


def groups(found: Coverage, user: Any) -> list[Group]:
    kinds = groupby(found.findings, key=lambda one: (one.is_hole, one.kind))
    return [
        Group(str(kind.label), hole, [Row(one, one.way(user)) for one in findings]) for (hole, kind), findings in kinds
    ]


# ── Matrix ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Mark:
    """A cell as it is drawn; without `state` the plan promises nothing there."""

    state: str = ""
    text: str = ""
    url: str = ""

    @property
    def sign(self) -> str:
        return {"ready": "✓", "warning": "!", "hole": "✕"}.get(self.state, "–")


class Matrix:
    """A plan's cells as a table: scenario and stage downwards, channel and language across."""

    def __init__(self, one: OfPlan, user: Any) -> None:
        self.plan, self.ready, self.promised, self.score = one.plan, one.ready, len(one.cells), one.score
        self._user = user
        cells = {(c.scenario.pk, c.stage, c.channel.pk, c.locale): c for c in one.cells}
        self.columns = list(dict.fromkeys((c.channel, c.locale) for c in one.cells))
        self.columns.sort(key=lambda column: (column[0].name, column[0].pk))
        self.scenarios: list[tuple[Scenario, list[tuple[str, list[Mark]]]]] = []
        for scenario in dict.fromkeys(c.scenario for c in one.cells):
            rows = [(str(stage.label), self._row(cells, scenario, stage)) for stage in scenario.stages]
            self.scenarios.append((scenario, rows))

    @property
    def heads(self) -> list[tuple[Channel, int]]:
        """Each channel with the number of its languages."""
        return [(channel, len(list(some))) for channel, some in groupby(self.columns, key=lambda column: column[0])]

    @property
    def languages(self) -> list[tuple[str, str]]:
        return [(locale, language_name(locale)) for _channel, locale in self.columns]

    @property
    def width(self) -> int:
        return len(self.columns) + 1

    def _row(self, cells: dict[tuple, Cell], scenario: Scenario, stage: Stage) -> list[Mark]:
        found = (cells.get((scenario.pk, stage, channel.pk, locale)) for channel, locale in self.columns)
        return [self._mark(cell) if cell else Mark(text=_("not promised")) for cell in found]

    def _mark(self, cell: Cell) -> Mark:
        if not cell.troubles:
            return Mark("ready", _("ready"))
        # The gravest first; what is mended here is mostly a template.
        troubles = sorted(cell.troubles, key=lambda one: not one.is_hole)
        way = next(filter(None, (one.way(self._user) for one in troubles)), None)
        return Mark(cell.state, " ".join(one.sentence for one in troubles), way.address if way else "")


def card(user: Any) -> dict[str, Any] | None:
    """For the dashboard: the score, and how much there is to mend. None for whoever may not read plans."""
    if not user.has_perm("incidents.view_communicationplan"):
        return None
    found = coverage.standing()
    url = glance.link("incidents_communicationplan_coverage")
    return {"standing": found, "mend": found.holes + found.warnings, "url": url}
