"""What a person sees of an incident at a glance: its clocks, its last words, and what is expected of whom."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from incidents import approving
from incidents.models import (
    BADNESS,
    Component,
    ComponentStatus,
    Decision,
    Incident,
    IncidentUpdate,
    Role,
    Stage,
)
from incidents.models.component import OPERATE
from incidents.models.decision import name_of as name

# ── Clocks ──────────────────────────────────────────────────────────────────


def span(seconds: float) -> str:
    """A length of time in at most two units: “2 h 14 min”. static/portal/admin.js says it the same way."""
    minutes = int(abs(seconds)) // 60
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if not minutes:
        return _("less than 1 min")
    if days:
        return f"{days} {_('d')} {hours} {_('h')}"
    if hours:
        return f"{hours} {_('h')} {rest} {_('min')}"
    return f"{rest} {_('min')}"


@dataclass(frozen=True)
class Clock:
    """Time since `at` (kind "since"), or until the promise `at` made at `start` (kind "until")."""

    kind: str
    at: datetime
    start: datetime
    label: str = ""

    @property
    def seconds(self) -> float:
        return (self.at - timezone.now()).total_seconds()

    @property
    def state(self) -> str:
        """calm; soon in the last third before the promise; late once it is broken."""
        if self.kind == "since":
            return "calm"
        if self.seconds < 0:
            return "late"
        return "soon" if self.seconds < (self.at - self.start).total_seconds() / 3 else "calm"

    @property
    def text(self) -> str:
        if self.kind == "since":
            return span(self.seconds)
        return (_("late by {}") if self.state == "late" else _("in {}")).replace("{}", span(self.seconds))


def since(incident: Incident) -> Clock:
    """How long it has lasted; for planned work that has not begun, how long until then."""
    ahead = incident.started_at > timezone.now()
    if incident.maintenance and (ahead or (incident.stage == Stage.SCHEDULED and not incident.imported_from)):
        return Clock("until", incident.started_at, incident.declared_at, _("the work begins"))
    return Clock("since", incident.started_at, incident.started_at, _("since it began"))


def promise(incident: Incident, last_told: datetime | None) -> Clock | None:
    """When customers must hear (again); None if nothing is promised. `last_told`: the last publication."""
    due = incident.due_after(last_told)
    if due is None or (incident.maintenance and incident.stage == Stage.SCHEDULED):  # since() tells of its start
        return None
    label = _("next update due") if incident.published_at else _("first update due")
    if incident.maintenance and not incident.next_update_at:
        label = _("planned end")
    return Clock("until", due, last_told or incident.published_at or incident.declared_at, label)


# ── People and words ────────────────────────────────────────────────────────


def words(update: IncidentUpdate) -> dict[str, str]:
    """Subject, text and html as customers read them, in the reader's language if it was written; {} before review."""
    page = update.page
    return page.get(get_language() or "") or next(iter(page.values()), {})


def said_before(update: IncidentUpdate) -> QuerySet[IncidentUpdate]:
    """What was published about the incident before this update, the latest first."""
    found = IncidentUpdate.objects.filter(incident=update.incident_id, status=IncidentUpdate.Status.PUBLISHED)
    if update.published_at:  # not by number alone: a planned notice has its number long before it is said
        same = Q(published_at=update.published_at, number__lt=update.number)
        found = found.filter(Q(published_at__lt=update.published_at) | same)
    return found.exclude(pk=update.pk).order_by("-published_at", "-number")


# ── Incidents with what is needed to show them, in a constant number of queries ──


def with_story(incidents: Any) -> Any:
    """Incidents with plan, roles, components, `told_at` and `talk`: the pending update and the last published one."""
    published = IncidentUpdate.objects.filter(status=IncidentUpdate.Status.PUBLISHED)
    last = published.filter(incident=OuterRef("incident")).order_by("-published_at", "-number").values("pk")[:1]
    talk = IncidentUpdate.objects.filter(Q(status__in=IncidentUpdate.PENDING) | Q(pk=Subquery(last)))
    return (
        incidents.select_related("plan", "plan_version", "scenario")
        .annotate(told_at=Max("updates__published_at", filter=Q(updates__status=IncidentUpdate.Status.PUBLISHED)))
        .prefetch_related(
            "roles__user",
            "incident_components__component",
            Prefetch("updates", talk.select_related("author", "approved_by").order_by("-number"), to_attr="talk"),
            Prefetch("talk__decisions", Decision.objects.select_related("by").order_by("id"), to_attr="steps"),
        )
    )


def pending(updates: Iterable[IncidentUpdate]) -> IncidentUpdate | None:
    """The update that is being written; planned notices stand beside it."""
    return next((u for u in updates if u.status in IncidentUpdate.PENDING and u.publish_at is None), None)


def held(updates: Iterable[IncidentUpdate]) -> list[IncidentUpdate]:
    """Planned notices that did not go out at their time and wait for a person, the earliest first."""
    found = [u for u in updates if u.status in IncidentUpdate.PENDING and u.publish_at and why_waits(u)]
    for one in found:
        one.why_waits = why_waits(one)  # type: ignore[attr-defined]
    return sorted(found, key=lambda u: u.publish_at)  # type: ignore[arg-type, return-value]


def why_waits(update: IncidentUpdate) -> str:
    """Why a planned notice whose time has come is not out; empty while all is well."""
    if update.hold_reason:
        return update.hold_reason
    if update.publish_at and update.publish_at <= timezone.now() and update.status != IncidentUpdate.Status.APPROVED:
        return _("Its time has passed without an approval.")
    return ""


def plan_state(update: IncidentUpdate) -> str:
    """Where a planned notice stands, in words."""
    if why_waits(update):
        return _("Not sent")
    if update.goes_by_itself:
        return _("Approved")
    if update.status == IncidentUpdate.Status.APPROVED:
        return _("Approved, nobody has let it go yet")
    return str(update.get_status_display())


def operable(user: Any) -> set[int]:
    """Ids of the components whose incidents this person may work on."""
    return set(Component.objects.for_user(user, OPERATE).order_by().values_list("pk", flat=True))


def may_operate(user: Any, incident: Incident, mine: set[int]) -> bool:
    """Incident.may_operate without queries, from prefetched components and operable()."""
    own = {ic.component_id for ic in incident.incident_components.all()}
    return user.has_perm(OPERATE) or (bool(own) and own <= mine)


def worst_state(incident: Incident) -> str:
    """The worst that customers are told, or are about to be told, of a component; needs `talk`."""
    said = [ic.status for ic in incident.incident_components.all()]
    if not incident.published_at and (update := pending(incident.talk)):  # type: ignore[attr-defined]
        said = list(update.component_states.values())
    if incident.maintenance and not incident.is_over:
        said.append(ComponentStatus.MAINTENANCE)  # its colour, also before it begins
    return max(said, key=lambda s: BADNESS[ComponentStatus(s)], default=ComponentStatus.OPERATIONAL)


def held_roles(incident: Incident) -> list[tuple[str, str]]:
    """Role and person, in the order in which the practice names them."""
    held = {r.role: r.user for r in incident.roles.all()}
    return [(str(role.label), name(held[role])) for role in Role if role in held]


# ── The next step ───────────────────────────────────────────────────────────


def badge(value: str, label: str) -> str:
    return format_html('<span class="cp-badge cp-s-{}">{}</span>', value, label)


def link(view: str, *args: Any) -> str:
    """The address of an admin page."""
    return reverse(f"admin:{view}", args=args)


@dataclass(frozen=True)
class Step:
    """What can be done next, as one button: a link, or a POST where it starts something."""

    label: str
    url: str
    post: bool = False
    stage: str = ""
    no_change: bool = False
    primary: bool = True


@dataclass(frozen=True)
class Standing:
    """Where the words of an incident stand: a sentence, the comment that sent them back, and steps open to a person."""

    sentence: str
    comment: str = ""
    steps: tuple[Step, ...] = ()


def sent_back(update: IncidentUpdate) -> Decision | None:
    """The rejection that the draft still has to answer. Needs `steps` (with_story) or queries once."""
    steps = getattr(update, "steps", None)
    if steps is None:
        steps = list(update.decisions.select_related("by").order_by("id"))
    back = [d for d in steps if d.verb not in Decision.WRITING]
    if update.status != IncidentUpdate.Status.DRAFT or not back or back[-1].verb != Decision.Verb.REJECT:
        return None
    return back[-1]


def writers(update: IncidentUpdate) -> set[int]:
    """IncidentUpdate.writers() from prefetched `steps`."""
    steps = getattr(update, "steps", None)
    if steps is None:
        return update.writers()
    return {d.by_id for d in steps if d.verb in Decision.WRITING} | {update.author_id or 0}


def standing(incident: Incident, update: IncidentUpdate | None, user: Any, operates: bool) -> Standing:
    """What is going on with the next update, and what this person may do about it."""

    def may(verb: str) -> bool:
        return operates and user.has_perm(f"incidents.{verb}_incidentupdate")

    if update is None:
        return _nothing_pending(incident, may("write"))
    page = f"incidents_incidentupdate_{'compose' if update.status == IncidentUpdate.Status.DRAFT else 'review'}"
    url = link(page, update.pk)
    mine = update.author_id == user.pk
    if update.status == IncidentUpdate.Status.DRAFT:
        steps = (Step(_("Continue draft"), url),) if may("write") else ()
        if back := sent_back(update):
            return Standing(_("%(who)s sent the draft back") % {"who": name(back.by)}, back.comment, steps)
        sentence = _("You are writing an update") if mine else _("%(who)s is writing an update")
        return Standing(sentence % {"who": name(update.author)}, steps=steps)
    if update.status == IncidentUpdate.Status.IN_REVIEW:
        if may("approve") and user.pk not in writers(update) and approving.counts(update, user):
            sentence = _("Waiting for your approval, written by %(who)s")
            return Standing(sentence % {"who": name(update.author)}, steps=(Step(_("Review"), url),))
        sentence = _("Waiting for somebody else's approval") if mine else _("Waiting for approval, written by %(who)s")
        return Standing(sentence % {"who": name(update.author)}, steps=(Step(_("See review"), url, primary=False),))
    sentence = _("Approved by %(who)s, not yet sent") % {"who": name(update.approved_by)}
    if update.waiver:
        sentence = _("Words of approved templates, not yet sent")
    step = Step(_("Publish"), url) if may("publish") else Step(_("See review"), url, primary=False)
    return Standing(sentence, steps=(step,))


def _nothing_pending(incident: Incident, may_write: bool) -> Standing:
    if incident.is_over:
        sentence = ""  # its stage says it
        label = _("Write a follow-up")
    else:
        sentence = "" if incident.published_at else _("Customers have been told nothing yet")
        label = _("Write update")
    if not may_write or incident.was_dismissed:
        return Standing(sentence)
    url = link("incidents_incident_write", incident.pk)
    # Planned work speaks by its notices: an update between is the exception.
    planned = incident.maintenance and incident.stage == Stage.SCHEDULED
    steps = [Step(label, url, post=True, primary=not (incident.is_over or planned))]
    if incident.published_at and not (incident.is_over or planned):
        steps.append(Step(_("Nothing new"), url, post=True, no_change=True, primary=False))
    if not incident.is_over:
        last = Step(_("Resolve"), url, post=True, stage=Stage.RESOLVED, primary=False)
        if incident.maintenance:
            last = Step(_("Complete"), url, post=True, stage=Stage.COMPLETED, primary=False)
        if not planned:
            steps.append(last)
    return Standing(sentence, steps=tuple(steps))
