"""Updates: look at, write as drafts, ask for approval, withdraw.

Approving and publishing need a person who is logged in, so there is no operation for them here.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from incidents import checker, writing
from incidents.models import WORDS, Component, Incident, IncidentUpdate
from incidents.writing import BadField, Wish

from .access import Bearer, need
from .given import Flag, Given, Key, Locale, Moment, OneOf, StageWord, StateWord, StrictKey, Text, Uid, Version
from .incidents import Named, Person
from .incidents import visible as visible_incident
from .once import KeyHeader, once
from .paging import Cursor, Limit, Page, portion

router = Router(tags=["updates"])
READ, WRITE = Bearer("updates:read"), Bearer("updates:write")
StatusWord = Annotated[str, OneOf(*IncidentUpdate.Status.values)]


class Texts(Schema):
    """The words in one language, as a person edits them: placeholders such as {{ components }} stand in them."""

    subject: str
    issue: str
    impact: str
    outlook: str
    action: str
    sms: str
    post: str


class Said(Schema):
    subject: str
    text: str


class UpdateOut(Schema):
    """`said` is what the status page shows or will show, frozen when approval is asked for; empty before."""

    id: int
    incident: str
    number: int
    stage: str
    status: str
    version: int
    author: Person | None
    words: dict[str, Texts]
    said: dict[str, Said]
    component_states: dict[str, str]
    next_update_at: datetime | None
    expected_resolution_at: datetime | None
    notify: bool
    ask_feedback: bool
    channels: list[Named]
    segments: list[Named]
    corrects: int | None
    approvals_needed: int | None
    approvals_from: str | None
    waiver: str | None
    approved_by: Person | None
    approved_at: datetime | None
    publish_at: datetime | None
    published_at: datetime | None
    held_because: str | None
    created_at: datetime
    updated_at: datetime
    imported: bool


class UpdatePage(Page):
    items: list[UpdateOut]


class FindingOut(Schema):
    code: str
    level: str
    locale: str
    field: str
    message: str
    fix: str
    excerpt: str


class TextsIn(Given):
    subject: Text | None = None
    issue: Text | None = None
    impact: Text | None = None
    outlook: Text | None = None
    action: Text | None = None
    sms: Text | None = None
    post: Text | None = None


class Facts(Given):
    """What is left out stays as it is, or as the plan and the template have it."""

    stage: StageWord | None = None
    words: Annotated[dict[Locale, TextsIn], Field(default_factory=dict)]
    component_states: Annotated[dict[Uid, StateWord], Field(default_factory=dict, max_length=200)]
    next_update_at: Moment | None = None
    expected_resolution_at: Moment | None = None
    notify: Flag | None = None
    ask_feedback: Flag | None = None
    channels: Annotated[list[StrictKey], Field(max_length=200)] | None = None
    segments: Annotated[list[StrictKey], Field(max_length=200)] | None = None

    def wish(self) -> Wish:
        """A time that is given as null is taken away; any other null is as if it were left out."""
        facts: dict[str, Any] = {}
        for name in ("next_update_at", "expected_resolution_at"):
            if name in self.model_fields_set:
                facts[name] = getattr(self, name)
        for name in ("notify", "ask_feedback"):
            if getattr(self, name) is not None:
                facts[name] = getattr(self, name)
        words = {locale: texts.model_dump(exclude_none=True) for locale, texts in self.words.items()}
        return Wish(self.stage, words, self.component_states, facts, self.channels, self.segments)


class StartIn(Facts):
    """`no_change`: an update that says that nothing has changed, in the words that customers read last."""

    no_change: Flag = False


class EditIn(Facts):
    """`version` is that of the update which you read; if somebody changed it since, the answer is 409."""

    version: Version


class SubmitIn(Given):
    version: Version | None = None


class WithdrawIn(Given):
    comment: Text = ""


# ── Rows, and how they are shown ────────────────────────────────────────────


def rows(user: Any) -> QuerySet[IncidentUpdate]:
    """What this person may see, with all that is shown of it."""
    return (
        IncidentUpdate.objects.for_user(user)
        .select_related("incident__plan_version", "author", "approved_by")
        .prefetch_related("renditions", "channels", "segments")
    )


def visible(request: HttpRequest, pk: int) -> IncidentUpdate:
    """Raises NotAllowed (no role), Http404 (not theirs)."""
    user = need(request, "incidents.view_incidentupdate", "see updates")
    found = IncidentUpdate.objects.for_user(user).select_related("incident__plan_version").filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def shown(updates: Iterable[IncidentUpdate]) -> list[UpdateOut]:
    """From rows(); one query for the names of all components."""
    updates = list(updates)
    keys = {int(pk) for one in updates for pk in one.component_states}
    uids = {str(pk): uid for pk, uid in Component.objects.filter(pk__in=keys).values_list("pk", "uid")} if keys else {}
    return [_shown(one, uids) for one in updates]


def _shown(one: IncidentUpdate, uids: dict[str, str]) -> UpdateOut:
    policy = one.policy or {}
    return UpdateOut(
        id=one.pk,
        incident=one.incident.uid,
        number=one.number,
        stage=one.stage,
        status=one.status,
        version=one.version,
        author=Person.of(one.author) if one.author else None,
        words={text.locale: Texts(**text.words()) for text in one.renditions.all()},
        said={locale: Said(subject=page["subject"], text=page["text"]) for locale, page in one.page.items()},
        component_states={uids[pk]: state for pk, state in one.component_states.items() if pk in uids},
        next_update_at=one.next_update_at,
        expected_resolution_at=one.expected_resolution_at,
        notify=one.notify,
        ask_feedback=one.ask_feedback,
        channels=[Named.of(channel) for channel in one.channels.all()],
        segments=[Named(id=segment.pk, name=segment.name) for segment in one.segments.all()],
        corrects=one.corrects_id,
        approvals_needed=policy.get("approvers"),
        approvals_from=policy.get("role") or None,
        waiver=one.waiver,
        approved_by=Person.of(one.approved_by) if one.approved_by else None,
        approved_at=one.approved_at,
        publish_at=one.publish_at,
        published_at=one.published_at,
        held_because=one.hold_reason,
        created_at=one.created_at,
        updated_at=one.updated_at,
        imported=one.imported,
    )


def again(user: Any, update: IncidentUpdate) -> UpdateOut:
    return shown([rows(user).get(pk=update.pk)])[0]


# ── Read ────────────────────────────────────────────────────────────────────


class Filters(Given):
    incident: Uid | None = None
    status: StatusWord | None = None
    stage: StageWord | None = None
    updated_after: Moment | None = None
    cursor: Cursor = ""
    limit: Limit = 50


@router.get("/updates", response=UpdatePage, auth=READ, operation_id="list_updates")
def list_updates(request: HttpRequest, filters: Query[Filters]) -> UpdatePage:
    """Those of incidents that the person may see, the last begun first."""
    user = need(request, "incidents.view_incidentupdate", "see updates")
    found = rows(user)
    if filters.incident:
        incident = Incident.objects.for_user(user).filter(uid=filters.incident).first()
        if incident is None:
            raise BadField("incident", filters.incident, "There is no such incident.")
        found = found.filter(incident=incident)
    wanted = {"status": filters.status, "stage": filters.stage, "updated_at__gt": filters.updated_after}
    found = found.filter(**{name: value for name, value in wanted.items() if value is not None})
    items, after = portion(found, filters.cursor, filters.limit)
    return UpdatePage(items=shown(items), next_cursor=after)


@router.get("/updates/{pk}", response=UpdateOut, auth=READ, operation_id="get_update")
def get_update(request: HttpRequest, pk: Key) -> UpdateOut:
    """One update."""
    return again(request.user, visible(request, pk))


@router.get("/updates/{pk}/findings", response=list[FindingOut], auth=READ, operation_id="check_update")
def findings(request: HttpRequest, pk: Key) -> list[FindingOut]:
    """What the checker says of it now; with what is of the level “block” it cannot be sent."""
    update = visible(request, pk)
    names = FindingOut.model_fields
    return [FindingOut(**{name: str(getattr(one, name)) for name in names}) for one in checker.check(update)]


# ── Write ───────────────────────────────────────────────────────────────────


@router.post("/incidents/{uid}/updates", response={201: UpdateOut}, auth=WRITE, operation_id="start_update")
def start(request: HttpRequest, uid: Uid, given: StartIn, key: KeyHeader = None) -> HttpResponse:
    """Begin the next update as a draft, from the template for its stage, with what is given in its place.

    Where another update is being written already it is refused (409): `pending_update` of the incident names it.
    """
    incident, user = visible_incident(request, uid), request.user
    if given.no_change and given.stage:
        raise BadField("stage", given.stage, "Leave it out: where nothing has changed, the stage has not.")

    def make() -> IncidentUpdate:
        return writing.start(incident, user, given.wish(), given.no_change)

    return once(request, key, lambda: IncidentUpdate.objects.for_user(user), make, lambda one: again(user, one))


@router.patch("/updates/{pk}", response=UpdateOut, auth=WRITE, operation_id="edit_update")
def edit(request: HttpRequest, pk: Key, given: EditIn) -> UpdateOut:
    """Change what is given. Any change makes it a draft again, and an approval void."""
    update = visible(request, pk)
    return again(request.user, writing.change(update, request.user, given.version, given.wish()))


@router.post("/updates/{pk}/submit", response=UpdateOut, auth=WRITE, operation_id="submit_update")
def submit(request: HttpRequest, pk: Key, given: SubmitIn) -> UpdateOut:
    """Freeze the content and ask for approval. Nothing is sent: that takes people who are logged in."""
    return again(request.user, visible(request, pk).submit(request.user, given.version))


@router.post("/updates/{pk}/withdraw", response=UpdateOut, auth=WRITE, operation_id="withdraw_update")
def withdraw(request: HttpRequest, pk: Key, given: WithdrawIn) -> UpdateOut:
    """Give up a draft. What is published stays said."""
    return again(request.user, visible(request, pk).withdraw(request.user, given.comment))


assert set(Texts.model_fields) == set(TextsIn.model_fields) == set(WORDS)
