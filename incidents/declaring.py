"""Declare an incident: one form, and the first draft is there."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone, translation
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from channels.models import Channel
from channels.progress import progress_of

from . import rendering
from .errors import NotAllowed, WrongState
from .models import (
    BADNESS,
    OVER,
    AudienceSegment,
    CommunicationPlan,
    Component,
    ComponentStatus,
    Decision,
    Incident,
    IncidentComponent,
    IncidentRole,
    IncidentUpdate,
    PlanVersion,
    Rendition,
    Role,
    Runbook,
    Scenario,
    Stage,
)
from .models.decision import name_of
from .models.words import one_line


def declare(
    by: Any,
    title: str,
    components: Mapping[Component, str],
    severity: str,
    scenario: Scenario | None = None,
    started_at: datetime | None = None,
) -> Incident:
    """Open an incident and write its first draft. `components` maps each to the state to announce.

    Raises NotAllowed. Nothing is public until the draft is approved and published.
    """
    from . import telling_declared
    from .runbooks import running  # which write drafts through this module

    check_may_declare(by, components)
    plan = CommunicationPlan.choose(components, severity)
    with transaction.atomic():
        incident = Incident.objects.create(
            title=one_line(title),
            severity=severity,
            scenario=scenario,
            plan=plan,
            plan_version=plan.current() if plan else None,
            started_at=started_at or timezone.now(),
            declared_by=by,
        )
        IncidentComponent.objects.bulk_create(IncidentComponent(incident=incident, component=c) for c in components)
        fill_roles(incident)
        Decision.objects.create(incident=incident, by=by, verb=Decision.Verb.DECLARE)
        start_draft(incident, by, Stage.INVESTIGATING, {str(c.pk): state for c, state in components.items()})
        telling_declared.tell(incident, components)
        running.trigger(incident, Runbook.Trigger.OPENED, by, "")
    return incident


def and_in_title() -> str:
    with translation.override(settings.LANGUAGE_CODE):
        return _("and")


def suggested_title(components: Mapping[Component, str]) -> str:
    """“Checkout and Payments API: partial outage”: what to call an incident that nobody has named.

    In the portal's language, whatever the declarer's: every customer reads it.
    """
    with translation.override(settings.LANGUAGE_CODE):
        names = [c.name for c in components]
        if len(names) > 3:
            rest = ngettext("%(count)s more", "%(count)s more", len(names) - 2) % {"count": len(names) - 2}
            names = [*names[:2], rest]
        worst = max((ComponentStatus(s) for s in components.values()), key=lambda s: BADNESS[s])
        return f"{get_text_list(names, _('and'))}: {str(worst.label).lower()}"[:200]


def check_may_declare(by: Any, components: Iterable[Component]) -> None:
    """Raises NotAllowed unless the role and every component are there."""
    if not by.has_perm("incidents.declare_incident"):
        raise NotAllowed(_("%(who)s may not declare incidents.") % {"who": name_of(by)})
    mine = set(Component.objects.for_user(by, "incidents.operate_component"))
    if foreign := [str(c) for c in components if c not in mine]:
        raise NotAllowed(
            _("%(who)s may not work on incidents of %(names)s.") % {"who": name_of(by), "names": ", ".join(foreign)}
        )


def check_none_is_open(by: Any, components: Iterable[Component]) -> None:
    """For programs, which look at no list first. Raises WrongState that names the open incidents on these."""
    seen = Incident.objects.for_user(by).open().filter(components__in=list(components)).distinct()
    if names := [f"{one.title} ({one.uid})" for one in seen[:5]]:
        said = _(
            "An incident is open on these components already: %(names)s. If you mean another one, say even_if_open."
        )
        raise WrongState(said % {"names": "; ".join(names)})


def fill_roles(incident: Incident) -> None:
    plan = incident.plan_version
    asked = {role: plan.people(role) for role in Role} if plan else {}
    IncidentRole.objects.bulk_create(
        IncidentRole(incident=incident, role=role, user=people[0]) for role, people in asked.items() if people
    )


def start_draft(
    incident: Incident,
    by: Any,
    stage: str | None = None,
    component_states: dict[str, str] | None = None,
    publish_at: datetime | None = None,
    window: tuple[datetime | None, datetime] | None = None,
) -> IncidentUpdate:
    """Begin the next update from the template for its stage; the pending one if there is one already.

    `stage` defaults to the incident's own. With `publish_at` it is a planned notice, beside the pending one.
    `window`: from when to when maintenance lasts, as this update says, where that is not what customers were told.
    Raises NotAllowed, WrongState.
    """
    with transaction.atomic():
        incident = (
            Incident.objects.select_for_update(of=("self",), no_key=True)
            .select_related("plan_version")
            .get(pk=incident.pk)
        )
        stage = stage or incident.stage
        pending = incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=publish_at).first()
        if pending:
            return pending
        if incident.was_dismissed:
            raise WrongState(_("This incident was closed as declared by mistake; declare a new one."))
        if incident.stage in OVER and stage not in OVER and incident.imported_from:
            raise WrongState(_("This incident was imported and is over; declare a new one."))
        if component_states is None and incident.maintenance:
            component_states = _states_of_work(incident, stage)
        elif component_states is None:
            component_states = _last_states(incident)
            if stage in OVER:
                component_states = dict.fromkeys(component_states, ComponentStatus.OPERATIONAL)
        plan = incident.plan_version
        # A follow-up, or a second resolution, does not ask the same people again.
        asked = incident.updates.filter(status=IncidentUpdate.Status.PUBLISHED, ask_feedback=True).exists()
        update = IncidentUpdate(
            incident=incident,
            number=(incident.updates.aggregate(n=Max("number"))["n"] or 0) + 1,
            stage=stage,
            author=by,
            component_states=component_states,
            next_update_at=None if stage in OVER or incident.maintenance else next_promise(plan),
            expected_resolution_at=window[1] if window else _expected(incident, stage),
            publish_at=publish_at,
            starts_at=window[0] if window else None,
            ask_feedback=stage == Stage.RESOLVED and not asked,
        )
        update._check_may("write", by)
        update.save()
        locales = plan.locales(stage) if plan else [settings.LANGUAGE_CODE]
        if plan:
            update.channels.set(plan.channels(stage))
        update.segments.set(segments(incident, stage))
        rendering.write_draft(update, locales)
        update._record(by, Decision.Verb.DRAFT)
    return update


def start_no_change(incident: Incident, by: Any) -> IncidentUpdate:
    """Begin an update that says that nothing has changed, in the words that customers read last.

    Raises NotAllowed, WrongState (nothing was published yet, it is over, or another update is being written).
    """
    with transaction.atomic():
        incident = Incident.objects.select_for_update(no_key=True).get(pk=incident.pk)
        said = incident.updates.filter(status=IncidentUpdate.Status.PUBLISHED).order_by("-published_at", "-number")
        last = said.first()
        if last is None or incident.is_over:
            raise WrongState(_("There is nothing that could stay as it is: nothing was published, or it is over."))
        if incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).exists():
            raise WrongState(_("Another update is being written: publish or withdraw it first."))
        draft = start_draft(incident, by, last.stage)
        words = {text.locale: _unchanged(text, last) for text in last.renditions.all()}
        return draft.edit(by, draft.version, words, notify=last.notify)


def _unchanged(text: Rendition, last: IncidentUpdate) -> dict[str, str]:
    """The words of `last`, with an outlook and short texts that say that all is as it was then."""
    with translation.override(text.locale):
        since = {"time": rendering.moment(last.published_at), "subject": text.subject}
        outlook = _("Nothing has changed since our update of %(time)s. We write again by {{ next_update }}.") % since
        short = "{{ organisation }}: " + _("{{ components }}: no change since %(time)s.") % since
        short += " " + _("Next update by {{ next_update }}.")
        subject = text.subject if text.subject.startswith(mark := _("No change")) else f"{mark}: {text.subject}"
    own = {"subject": subject[:200], "outlook": outlook, "sms": short, "post": short + " {{ status_url }}"}
    return text.words() | {field: new if getattr(text, field) else "" for field, new in own.items()}


def start_correction(mistaken: IncidentUpdate, by: Any) -> IncidentUpdate:
    """Begin an update that puts a published one right: its words to be mended, for everybody who received it too.

    Raises NotAllowed, WrongState (nothing was published, it is still being sent, or another update is being written).
    """
    from . import publishing  # which needs the status page, and that this module

    with transaction.atomic():
        incident = Incident.objects.select_for_update(no_key=True).get(pk=mistaken.incident_id)
        mistaken = IncidentUpdate.objects.select_related("incident").get(pk=mistaken.pk)
        if mistaken.status != IncidentUpdate.Status.PUBLISHED or mistaken.imported:
            raise WrongState(_("Only what was published from here can be corrected."))
        if incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).exists():
            raise WrongState(_("Another update is being written: publish or withdraw it first."))
        sending = progress_of(publishing.dispatches(mistaken).filter(purpose="update", cancelled_at=None))
        if any(not one.finished for one in sending):  # who gets it afterwards would not get the correction
            raise WrongState(_("It is still being sent: stop the sending first, then correct it."))
        draft = start_draft(incident, by, incident.stage)
        IncidentUpdate.objects.filter(pk=draft.pk).update(corrects=mistaken)
        draft.refresh_from_db()
        channels = [one for one in mistaken.channels.filter(enabled=True) if not one.is_page]
        # Whoever a segment left out then did not read the mistake; whoever was in it is reached as its reader.
        words = {text.locale: _corrected(text) for text in mistaken.renditions.all()}
        return draft.edit(by, draft.version, words, channels, mistaken.segments.all(), notify=mistaken.notify)


def _corrected(text: Rendition) -> dict[str, str]:
    """The words as they were, with a subject and short texts that say that they put something right."""
    with translation.override(text.locale):
        said = {one: _("Correction: %(words)s") % {"words": getattr(text, one)} for one in ("subject", "sms", "post")}
    said["subject"] = said["subject"][:200]
    return text.words() | {one: new if getattr(text, one) else "" for one, new in said.items()}


def _expected(incident: Incident, stage: str) -> datetime | None:
    """When it ends, as customers were told; work that is done goes on saying until when it was planned."""
    return None if stage in OVER and not incident.maintenance else incident.expected_resolution_at


def segments(incident: Incident, stage: str) -> list[AudienceSegment]:
    """Whom the last words were for, so that who heard the beginning hears the end; before that, the plan's.

    Where the plan has segments of their own for the stage, those.
    """
    plan = incident.plan_version
    if plan and plan.differs(stage, "segments"):
        return plan.segments(stage)
    said = incident.updates.filter(status=IncidentUpdate.Status.PUBLISHED, imported=False)
    last = said.order_by("-published_at", "-number").first()
    if last:
        return list(last.segments.all())
    return plan.segments(stage) if plan else []


def ways_at(
    update: IncidentUpdate, stage: str, channels: list[Channel], segments_now: list[AudienceSegment]
) -> tuple[list[Channel], list[AudienceSegment]]:
    """Channels and segments of a draft that moves to another stage: the plan's for that one, where those of the plan
    for the stage before stand untouched; what a person chose stays.
    """
    plan = update.incident.plan_version
    if plan is None or stage == update.stage:
        return channels, segments_now
    if set(channels) == set(plan.channels(update.stage)):
        channels = plan.channels(stage)
    if set(segments_now) == set(segments(update.incident, update.stage)):
        segments_now = segments(update.incident, stage)
    return channels, segments_now


def goes_where_planned(update: IncidentUpdate) -> bool:
    """Whether it goes by no channel, and to no segment, but those with which an update at its stage begins."""
    plan, chosen = update.incident.plan_version, set(update.segments.all())
    planned = set(segments(update.incident, update.stage))
    within = not planned or (bool(chosen) and chosen <= planned)
    channels = {one for one in update.channels.all() if not one.is_page}
    return within and channels <= set(plan.channels(update.stage) if plan else ()) and update.corrects_id is None


def _last_states(incident: Incident) -> dict[str, str]:
    """What customers were last told of each component; before that, what the last draft was going to say."""
    last = incident.updates.order_by("-number").first()
    if incident.published_at is None and last:
        return dict(last.component_states)
    return {str(ic.component_id): ic.status for ic in incident.incident_components.all()}


def _states_of_work(incident: Incident, stage: str) -> dict[str, str]:
    """Under maintenance while the work goes on, operational before and after."""
    under_way = stage in (Stage.IN_PROGRESS, Stage.VERIFYING)
    state = ComponentStatus.MAINTENANCE if under_way else ComponentStatus.OPERATIONAL
    return {str(one.component_id): str(state) for one in incident.incident_components.all()}


def next_promise(plan: PlanVersion | None) -> datetime:
    """When to promise the next update: the plan's interval from now, rounded up to five minutes."""
    at = timezone.now() + timedelta(minutes=plan.update_minutes if plan else 30)
    return (at + timedelta(minutes=5 - at.minute % 5 if at.minute % 5 else 0)).replace(second=0, microsecond=0)
