"""Incidents: list, look at, declare, call a mistake, hand over roles."""

from datetime import datetime
from typing import Annotated, Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, Max, OuterRef, Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from channels.models import Channel
from incidents import declaring, handing_over
from incidents.models import (
    OVER,
    Component,
    Incident,
    IncidentComponent,
    IncidentUpdate,
    Scenario,
)
from incidents.models.decision import name_of
from incidents.writing import BadField, check_began

from .access import Bearer, need
from .given import Flag, Given, ImpactWord, Line, Moment, RoleWord, SeverityWord, Slug, StageWord, Text, Uid
from .once import KeyHeader, once
from .paging import Cursor, Limit, Page, portion

router = Router(tags=["incidents"])
READ, WRITE = Bearer("incidents:read"), Bearer("incidents:write")


class Named(Schema):
    id: int
    name: str

    @classmethod
    def of(cls, channel: Channel) -> "Named":
        return cls(id=channel.pk, name=channel.name)


class Person(Schema):
    username: str
    name: str

    @classmethod
    def of(cls, user: Any) -> "Person":
        return cls(username=user.get_username(), name=name_of(user))


class PlanRef(Schema):
    id: int
    name: str
    version: int


class Hit(Schema):
    """A component of the incident; `status` is what customers were last told."""

    id: str
    name: str
    status: str


class RoleOut(Schema):
    role: str
    person: Person


class IncidentOut(Schema):
    id: str
    title: str
    severity: str
    impact: str
    stage: str
    maintenance: bool
    scenario: str | None
    plan: PlanRef | None
    components: list[Hit]
    roles: list[RoleOut]
    started_at: datetime
    declared_at: datetime
    declared_by: Person | None
    published_at: datetime | None
    resolved_at: datetime | None
    next_update_at: datetime | None
    update_due_at: datetime | None
    expected_resolution_at: datetime | None
    updated_at: datetime
    dismissed: bool
    imported: bool
    pending_update: int | None  # the id of the update that is being written


class IncidentPage(Page):
    items: list[IncidentOut]


class DeclareIn(Given):
    """`components` maps ids to states. Without a title it is called after its components."""

    components: Annotated[dict[Uid, ImpactWord], Field(min_length=1, max_length=200)]
    severity: SeverityWord = "sev2"
    scenario: Slug | None = None
    title: Annotated[Line, Field(max_length=200)] | None = None
    started_at: Moment | None = None
    even_if_open: Flag = False


class DismissIn(Given):
    reason: Text


class RoleIn(Given):
    username: Annotated[Line, Field(max_length=150)]


# ── Rows, and how they are shown ────────────────────────────────────────────


def rows(user: Any) -> QuerySet[Incident]:
    """What this person may see, with all that is shown of it, in a constant number of queries."""
    pending = IncidentUpdate.objects.filter(status__in=IncidentUpdate.PENDING, publish_at=None).only("pk", "incident")
    told = Max("updates__published_at", filter=Q(updates__status=IncidentUpdate.Status.PUBLISHED))
    return (
        Incident.objects.for_user(user)
        .select_related("plan", "plan_version", "scenario", "declared_by")
        .annotate(told_at=told)
        .prefetch_related(
            "roles__user",
            "incident_components__component",
            Prefetch("updates", pending, to_attr="being_written"),
        )
    )


def visible(request: HttpRequest, uid: str) -> Incident:
    """Raises NotAllowed (no role), Http404 (not theirs)."""
    user = need(request, "incidents.view_incident", "see incidents")
    found = rows(user).filter(uid=uid).first()
    if found is None:
        raise Http404
    return found


def shown(one: Any) -> IncidentOut:
    """`one` comes from rows()."""
    plan = one.plan_version
    return IncidentOut(
        id=one.uid,
        title=one.title,
        severity=one.severity,
        impact=one.impact,
        stage=one.stage,
        maintenance=one.maintenance,
        scenario=one.scenario.slug if one.scenario else None,
        plan=PlanRef(id=one.plan_id, name=plan.content["name"], version=plan.number) if plan else None,
        components=[
            Hit(id=hit.component.uid, name=hit.component.name, status=hit.status)
            for hit in sorted(one.incident_components.all(), key=lambda hit: (hit.component.position, hit.pk))
        ],
        roles=[RoleOut(role=held.role, person=Person.of(held.user)) for held in one.roles.all()],
        started_at=one.started_at,
        declared_at=one.declared_at,
        declared_by=Person.of(one.declared_by) if one.declared_by else None,
        published_at=one.published_at,
        resolved_at=one.resolved_at,
        next_update_at=one.next_update_at,
        update_due_at=one.due_after(one.told_at),
        expected_resolution_at=one.expected_resolution_at,
        updated_at=one.updated_at,
        dismissed=one.was_dismissed,
        imported=one.imported_from is not None,
        pending_update=next((update.pk for update in one.being_written), None),
    )


def again(user: Any, incident: Incident) -> IncidentOut:
    """As it stands now; also for who declared it and may not list incidents."""
    return shown(rows(user).get(pk=incident.pk))


# ── Read ────────────────────────────────────────────────────────────────────


class Filters(Given):
    open: bool | None = None
    severity: SeverityWord | None = None
    stage: StageWord | None = None
    component: Uid | None = None
    maintenance: bool | None = None
    started_after: Moment | None = None
    started_before: Moment | None = None
    updated_after: Moment | None = None
    cursor: Cursor = ""
    limit: Limit = 50


@router.get("/incidents", response=IncidentPage, auth=READ, operation_id="list_incidents")
def list_incidents(request: HttpRequest, filters: Query[Filters]) -> IncidentPage:
    """Those that the person may see, the last declared first."""
    user = need(request, "incidents.view_incident", "see incidents")
    found = rows(user)
    if filters.open is not None:
        found = found.exclude(stage__in=OVER) if filters.open else found.filter(stage__in=OVER)
    if filters.component:
        hit = IncidentComponent.objects.filter(incident=OuterRef("pk"), component=_component(user, filters.component))
        found = found.filter(Exists(hit))
    same = {name: getattr(filters, name) for name in ("severity", "stage", "maintenance")}
    times = {
        "started_at__gt": filters.started_after,
        "started_at__lt": filters.started_before,
        "updated_at__gt": filters.updated_after,
    }
    found = found.filter(**{name: value for name, value in (same | times).items() if value is not None})
    items, after = portion(found, filters.cursor, filters.limit)
    return IncidentPage(items=[shown(one) for one in items], next_cursor=after)


def _component(user: Any, uid: str) -> Component:
    found = Component.objects.for_user(user).filter(uid=uid).first()
    if found is None:
        raise BadField("component", uid, "There is no such component.")
    return found


@router.get("/incidents/{uid}", response=IncidentOut, auth=READ, operation_id="get_incident")
def get_incident(request: HttpRequest, uid: Uid) -> IncidentOut:
    """One incident."""
    return shown(visible(request, uid))


# ── Write ───────────────────────────────────────────────────────────────────


@router.post("/incidents", response={201: IncidentOut}, auth=WRITE, operation_id="declare_incident")
def declare(request: HttpRequest, given: DeclareIn, key: KeyHeader = None) -> HttpResponse:
    """Declare an incident, whose first draft is written from the template. Customers hear nothing yet.

    Where an incident is open on one of the components already it is refused (409), unless `even_if_open`.
    """
    user = need(request, "incidents.declare_incident", "declare incidents")

    def make() -> Incident:
        return _declare(user, given)

    return once(request, key, lambda: Incident.objects.for_user(user), make, lambda one: again(user, one))


def _declare(user: Any, given: DeclareIn) -> Incident:
    found = {one.uid: one for one in Component.objects.for_user(user).filter(uid__in=given.components)}
    if unknown := [uid for uid in given.components if uid not in found]:
        raise BadField("components", unknown[0], "There is no such component.")
    components = {found[uid]: state for uid, state in given.components.items()}
    declaring.check_may_declare(user, components)
    scenario = Scenario.objects.filter(slug=given.scenario, maintenance=False).first() if given.scenario else None
    if given.scenario and scenario is None:
        names = ", ".join(Scenario.objects.filter(maintenance=False).values_list("slug", flat=True))
        raise BadField("scenario", given.scenario, f"Use one of: {names or '—'}.")
    check_began("started_at", given.started_at)
    if not given.even_if_open:
        declaring.check_none_is_open(user, components)
    title = (given.title or "").strip() or declaring.suggested_title(components)
    return declaring.declare(user, title, components, given.severity, scenario, given.started_at)


@router.post("/incidents/{uid}/dismiss", response=IncidentOut, auth=WRITE, operation_id="dismiss_incident")
def dismiss(request: HttpRequest, uid: Uid, given: DismissIn) -> IncidentOut:
    """Close what was declared by mistake, before customers were told of it. Its draft is withdrawn."""
    incident = visible(request, uid)
    incident.dismiss(request.user, given.reason)
    return again(request.user, incident)


@router.put("/incidents/{uid}/roles/{role}", response=IncidentOut, auth=WRITE, operation_id="hand_over_role")
def hand_over(request: HttpRequest, uid: Uid, role: RoleWord, given: RoleIn) -> IncidentOut:
    """Hand a role to somebody who may work on the incident."""
    incident = visible(request, uid)
    person = get_user_model().objects.filter(username=given.username).first()
    handing_over.hand_over(incident, request.user, role, person)
    return again(request.user, incident)


__all__ = ["Named", "Person", "again", "router", "rows", "shown", "visible"]
