"""Components, their states, and the communication plans."""

from datetime import datetime
from typing import Any

from django.db.models import Max, QuerySet
from django.http import Http404, HttpRequest
from ninja import Query, Router, Schema

from incidents.models import CommunicationPlan, Component, ComponentStatus
from incidents.models.component import OPERATE
from incidents.models.incident import component_states

from .access import Bearer, need
from .given import Given, Key, Uid
from .incidents import Named, Person
from .paging import Cursor, Limit, Page, portion

router = Router()
READ, PLANS = Bearer("components:read"), Bearer("plans:read")


class GroupOut(Schema):
    id: str
    name: str


class ComponentOut(Schema):
    """`status` is what customers were last told; `may_work_on`: whether the person may work on its incidents."""

    id: str
    name: str
    description: str
    group: GroupOut | None
    status: str
    public: bool
    private: bool
    may_work_on: bool
    updated_at: datetime


class ComponentPage(Page):
    items: list[ComponentOut]


class PlanRoleOut(Schema):
    role: str
    order: int
    person: Person


class PlanStageOut(Schema):
    """What differs at one stage; an empty list: as everywhere in the plan."""

    stage: str
    channels: list[Named]
    segments: list[Named]
    languages: list[str]


class ApprovalOut(Schema):
    """The first rule that fits an update holds. `role` empty: whoever may approve."""

    severities: list[str]
    audience: str
    approvers: int
    role: str
    escalate_minutes: int
    approved_templates_suffice: bool


class PlanOut(Schema):
    """An empty list of groups or severities: any."""

    id: int
    name: str
    version: int | None
    groups: list[GroupOut]
    severities: list[str]
    languages: list[str]
    channels: list[Named]
    segments: list[Named]
    first_update_minutes: int
    update_minutes: int
    roles: list[PlanRoleOut]
    stages: list[PlanStageOut]
    approvals: list[ApprovalOut]


class PlanPage(Page):
    items: list[PlanOut]


class Filters(Given):
    cursor: Cursor = ""
    limit: Limit = 50


# ── Components ──────────────────────────────────────────────────────────────


def _shown(user: Any, components: list[Component]) -> list[ComponentOut]:
    states = component_states()
    keys = [one.pk for one in components]
    mine = set(Component.objects.for_user(user, OPERATE).filter(pk__in=keys).values_list("pk", flat=True))
    return [
        ComponentOut(
            id=one.uid,
            name=one.name,
            description=one.description,
            group=GroupOut(id=one.group.uid, name=one.group.name) if one.group else None,
            status=states.get(one.pk, ComponentStatus.OPERATIONAL),
            public=one.is_public,
            private=one.private,
            may_work_on=one.pk in mine,
            updated_at=one.updated_at,
        )
        for one in components
    ]


@router.get("/components", response=ComponentPage, auth=READ, tags=["components"], operation_id="list_components")
def list_components(request: HttpRequest, filters: Query[Filters]) -> ComponentPage:
    """Those that the person was given, the last made first."""
    found = Component.objects.for_user(request.user).select_related("group")
    items, after = portion(found, filters.cursor, filters.limit)
    return ComponentPage(items=_shown(request.user, items), next_cursor=after)


@router.get("/components/{uid}", response=ComponentOut, auth=READ, tags=["components"], operation_id="get_component")
def get_component(request: HttpRequest, uid: Uid) -> ComponentOut:
    """One component."""
    found = Component.objects.for_user(request.user).select_related("group").filter(uid=uid).first()
    if found is None:
        raise Http404
    return _shown(request.user, [found])[0]


# ── Plans ───────────────────────────────────────────────────────────────────


def _plans(request: HttpRequest) -> QuerySet[CommunicationPlan]:
    need(request, "incidents.view_communicationplan", "see communication plans")
    parts = ("component_groups", "channels", "segments", "roles__user", "approvals")
    found = CommunicationPlan.objects.annotate(last_version=Max("versions__number")).prefetch_related(*parts)
    return found.prefetch_related("stages__channels", "stages__segments")


def _plan(plan: Any) -> PlanOut:
    return PlanOut(
        id=plan.pk,
        name=plan.name,
        version=plan.last_version,
        groups=[GroupOut(id=one.uid, name=one.name) for one in plan.component_groups.all()],
        severities=plan.severities,
        languages=plan.locales,
        channels=[Named.of(one) for one in plan.channels.all()],
        segments=[Named(id=one.pk, name=one.name) for one in plan.segments.all()],
        first_update_minutes=plan.first_update_minutes,
        update_minutes=plan.update_minutes,
        roles=[PlanRoleOut(role=one.role, order=one.order, person=Person.of(one.user)) for one in plan.roles.all()],
        stages=[
            PlanStageOut(
                stage=one.stage,
                channels=[Named.of(channel) for channel in one.channels.all()],
                segments=[Named(id=segment.pk, name=segment.name) for segment in one.segments.all()],
                languages=one.locales,
            )
            for one in plan.stages.all()
        ],
        approvals=[
            ApprovalOut(
                severities=one.severities,
                audience=one.audience,
                approvers=one.approvers,
                role=one.role,
                escalate_minutes=one.escalate_minutes,
                approved_templates_suffice=one.prepared,
            )
            for one in plan.approvals.all()
        ],
    )


@router.get("/plans", response=PlanPage, auth=PLANS, tags=["plans"], operation_id="list_plans")
def list_plans(request: HttpRequest, filters: Query[Filters]) -> PlanPage:
    """The communication plans as they stand; an incident is led by the version that it was declared under."""
    items, after = portion(_plans(request), filters.cursor, filters.limit)
    return PlanPage(items=[_plan(one) for one in items], next_cursor=after)


@router.get("/plans/{pk}", response=PlanOut, auth=PLANS, tags=["plans"], operation_id="get_plan")
def get_plan(request: HttpRequest, pk: Key) -> PlanOut:
    """One communication plan."""
    found = _plans(request).filter(pk=pk).first()
    if found is None:
        raise Http404
    return _plan(found)
