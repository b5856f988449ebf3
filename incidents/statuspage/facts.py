"""What the public may know. The page, the API, the feeds and the snapshot all read it here, so they agree.

Everything is read in a constant number of queries, and only published updates are ever read.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Max, Prefetch, Q, QuerySet
from django.utils import timezone, translation
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from channels.models import Notice
from incidents.models import (
    BADNESS,
    OVER,
    Component,
    ComponentGroup,
    ComponentStatus,
    DashboardLink,
    Incident,
    IncidentComponent,
    IncidentUpdate,
    MetricGraph,
    Stage,
)
from incidents.models.incident import IncidentQuerySet, component_states
from incidents.models.words import ALPHABET

from .scope import EVERYBODY, Scope

RECENT = timedelta(days=14)
UNRESOLVED = (Stage.INVESTIGATING, Stage.IDENTIFIED, Stage.MONITORING)
UPCOMING = (Stage.SCHEDULED,)
ACTIVE = (Stage.IN_PROGRESS, Stage.VERIFYING)
# From best to worst; what the public API calls the indicator.
INDICATORS = ("none", "minor", "major", "critical")
_LEVEL = {ComponentStatus.DEGRADED: 1, ComponentStatus.PARTIAL: 2, ComponentStatus.MAJOR: 3}
_NAMED = 3  # components named in the headline


def code(text: str) -> str:
    """A public identifier of 12 characters that always follows from `text`."""
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:12])


def page_id(scope: Scope = EVERYBODY) -> str:
    """Identifier of this status page: it stays as long as its address does, a private one's as long as that page."""
    return scope.page or code(settings.PORTAL_URL)


# ── One incident ────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Said:
    """A published update as readers see it. `changes` are (component, state before, state after)."""

    id: str
    number: int
    stage: Stage
    at: datetime
    page: dict[str, dict[str, Any]]
    notify: bool
    changes: list[tuple[Component, str, str]]
    expected: datetime | None = None  # when the incident was expected to end

    @property
    def words(self) -> dict[str, Any]:
        """{"subject", "text", "html", "lang"} in the active language, else the default one, else any.

        With "picture" if there is one, as in IncidentUpdate.page.
        """
        for locale in (translation.get_language() or "", settings.LANGUAGE_CODE, *self.page):
            if locale in self.page:
                return {**self.page[locale], "lang": locale}
        return {"subject": "", "text": "", "html": "", "lang": settings.LANGUAGE_CODE}


@dataclass(frozen=True)
class PublicIncident:
    """An incident of which something was published; `said` newest first, never empty."""

    incident: Incident
    said: list[Said]
    components: list[Component]
    scope: Scope = EVERYBODY

    @property
    def stage(self) -> Stage:
        return Stage(self.incident.stage)

    @property
    def is_over(self) -> bool:
        return self.incident.is_over

    @property
    def updated_at(self) -> datetime:
        """When something was last said. Work behind the scenes does not show."""
        return self.said[0].at

    @property
    def url(self) -> str:
        """Absolute and lasting: the short link of the incident."""
        return f"{self.scope.url}/incidents/{self.incident.uid}/"

    @property
    def scheduled_for(self) -> datetime:
        """When maintenance begins. Where only the announcement is on record: when work began."""
        begun = [one.at for one in self.said if one.stage == Stage.IN_PROGRESS]
        if begun and self.incident.started_at <= self.said[-1].at:
            return begun[-1]
        return self.incident.started_at

    @property
    def scheduled_until(self) -> datetime:
        return self.incident.expected_resolution_at or self.incident.resolved_at or self.scheduled_for

    @property
    def expected_before(self) -> list[Said]:
        """Where each earlier expected resolution was first given, oldest first; empty if it never changed.

        It has also changed when it was taken back; that it has ended takes nothing back.
        """
        given = [one for one in reversed(self.said) if one.expected]
        new = [one for n, one in enumerate(given) if n == 0 or one.expected != given[n - 1].expected]
        if self.is_over:
            return new if len(new) > 1 else []
        return new[:-1] if self.said[0].expected else new

    @property
    def level(self) -> int:
        """How bad it is by itself, as an index of INDICATORS; the components it names say the rest."""
        if self.is_over or self.incident.impact not in INDICATORS:
            return 0
        own = INDICATORS.index(self.incident.impact)
        return min(own, 1) if self.components else own


def published() -> QuerySet[IncidentUpdate]:
    return IncidentUpdate.objects.filter(status=IncidentUpdate.Status.PUBLISHED)


def public(scope: Scope = EVERYBODY) -> IncidentQuerySet:
    """Incidents of which an update was published to these readers, newest first."""
    return scope.incidents()


def read(incidents: QuerySet[Incident], scope: Scope = EVERYBODY) -> list[PublicIncident]:
    """Read incidents of public() with all that was said, in three queries."""
    # The manifest also holds every message sent; only the words of the page are wanted, and what they promised.
    frozen = {"shown": F("manifest__page"), "expected": F("manifest__expected_resolution_at")}
    updates = published().defer("manifest").annotate(**frozen).order_by("published_at", "number")
    order = ("component__position", "component__name")
    hit = IncidentComponent.objects.select_related("component__group").order_by(*order)
    rows = incidents.prefetch_related(
        Prefetch("updates", queryset=updates, to_attr="public_updates"),
        Prefetch("incident_components", queryset=hit, to_attr="hit"),
    )
    return [_public(incident, scope) for incident in rows if incident.public_updates]


def _public(incident: Any, scope: Scope) -> PublicIncident:
    """Put an incident together from its prefetched rows."""
    shown = {row.component_id: row.component for row in incident.hit if scope.shows(row.component)}
    said, before = [], dict[int, str]()
    for update in incident.public_updates:  # oldest first
        states = {int(key): state for key, state in update.component_states.items() if int(key) in shown}
        said.append(
            Said(
                id=code(f"{incident.uid}/{update.number}"),
                number=update.number,
                stage=Stage(update.stage),
                at=update.published_at,
                page=update.shown or {},
                notify=update.notify and not update.imported,
                changes=[(shown[key], before.get(key, "operational"), state) for key, state in states.items()],
                expected=datetime.fromisoformat(update.expected) if update.expected else None,
            )
        )
        before |= states
    # A component is public once an update named it; what is imported was public where it came from.
    named = shown.values() if incident.imported_from else [shown[key] for key in shown if key in before]
    return PublicIncident(incident, said[::-1], list(named), scope)


# ── The whole board ─────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Board:
    """Components by group with their states. Two queries."""

    components: list[Component]
    states: dict[int, str]
    scope: Scope = EVERYBODY

    def state(self, component: Component) -> ComponentStatus:
        return ComponentStatus(self.states.get(component.pk, ComponentStatus.OPERATIONAL))

    def worst(self, components: Iterable[Component]) -> ComponentStatus:
        return max((self.state(c) for c in components), key=BADNESS.__getitem__, default=ComponentStatus.OPERATIONAL)

    @property
    def groups(self) -> list[tuple[ComponentGroup | None, list[tuple[Component, ComponentStatus]]]]:
        """(group, [(component, state)]) in the order of the page; components without a group come last."""
        found: dict[int | None, tuple[ComponentGroup | None, list[tuple[Component, ComponentStatus]]]] = {}
        for one in sorted(self.components, key=lambda c: c.group_id is None):
            found.setdefault(one.group_id, (one.group, []))[1].append((one, self.state(one)))
        return list(found.values())


def board(scope: Scope = EVERYBODY) -> Board:
    components = scope.shown().select_related("group")
    return Board(
        list(components.order_by("group__position", "group__name", "position", "name")),
        component_states(),
        scope,
    )


@dataclass(frozen=True)
class Overview:
    """Everything the front page says. Five queries, however much there is to say."""

    board: Board
    incidents: list[PublicIncident] = field(default_factory=list)

    @cached_property
    def open(self) -> list[PublicIncident]:
        """Under way now: unresolved incidents, and maintenance that has begun."""
        return [one for one in self.incidents if not one.is_over and one.stage not in UPCOMING]

    @cached_property
    def planned(self) -> list[PublicIncident]:
        """Announced maintenance, the next one first."""
        return sorted((one for one in self.incidents if one.stage in UPCOMING), key=lambda one: one.incident.started_at)

    @cached_property
    def recent(self) -> list[PublicIncident]:
        return [one for one in self.incidents if one.is_over]

    @cached_property
    def worst(self) -> ComponentStatus:
        return self.board.worst(self.board.components)

    @cached_property
    def level(self) -> int:
        return max([_LEVEL.get(self.worst, 0), *(one.level for one in self.open)])

    @property
    def indicator(self) -> str:
        """none, minor, major or critical."""
        return INDICATORS[self.level]

    @property
    def tone(self) -> str:
        """The component state whose colour fits the headline."""
        upkeep = self.worst == ComponentStatus.MAINTENANCE or any(one.incident.maintenance for one in self.open)
        if upkeep and self.level == 0:
            return ComponentStatus.MAINTENANCE
        return ("operational", "degraded_performance", "partial_outage", "major_outage")[self.level]

    @property
    def headline(self) -> str:
        """The state of everything in one sentence, in the active language."""
        # Maintenance hides behind any incident, also one that leaves every component working.
        hidden = self.worst == ComponentStatus.MAINTENANCE and self.level > 0
        if self.worst != ComponentStatus.OPERATIONAL and not hidden:
            names = [c.name for c in self.board.components if self.board.state(c) == self.worst]
            return _("%(state)s: %(names)s") % {"state": self.worst.label, "names": _listed(names)}
        if self.open:
            first = max(self.open, key=lambda one: one.level)
            return _("%(state)s: %(names)s") % {"state": first.stage.label, "names": first.incident.title}
        return _("All systems operational")


def _listed(names: list[str]) -> str:
    """“A”, “A and B”, “A, B, C and 2 more”."""
    more = len(names) - _NAMED
    if more <= 0:
        return get_text_list(names, _("and"))
    rest = ngettext("%(count)s more", "%(count)s more", more) % {"count": more}
    return get_text_list([*names[:_NAMED], rest], _("and"))


def overview(scope: Scope = EVERYBODY) -> Overview:
    """The board with open incidents, and those that ended in the last 14 days."""
    since = timezone.now() - RECENT
    return Overview(board(scope), read(public(scope).filter(~Q(stage__in=OVER) | Q(resolved_at__gte=since)), scope))


def version() -> str:
    """Changes whenever anything public does; what changes with the clock alone aside. Seven small queries."""
    found = [
        published().aggregate(n=Count("pk"), at=Max("published_at")),
        Notice.objects.aggregate(n=Count("pk"), at=Max("at")),
        *(
            model.objects.aggregate(n=Count("pk"), at=Max("updated_at"))
            for model in (Incident, Component, ComponentGroup)
        ),
        *(
            model.objects.filter(public=True).aggregate(n=Count("pk"), at=Max("updated_at"))
            for model in (MetricGraph, DashboardLink)
        ),
    ]
    return ",".join(f"{one['n']}@{one['at'].isoformat() if one['at'] else ''}" for one in found)


def changed_at(components: Iterable[Component], scope: Scope = EVERYBODY) -> datetime:
    """When anything that these readers see last changed; one query."""
    last = (
        published().filter(incident__in=public(scope).order_by().values("pk")).aggregate(at=Max("published_at"))["at"]
    )
    times = [c.updated_at for c in components] + ([last] if last else [])
    return max(times, default=datetime(2000, 1, 1, tzinfo=timezone.get_default_timezone()))
