"""Planned maintenance: announced, reminded of, begun and ended by notices that go out by themselves once approved.

It can be moved: that voids every notice that waits, so that nothing goes out with the old times, and writes new ones.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from . import declaring, publishing, rendering
from .errors import NotAllowed, Problem, Refused, WrongState
from .models import (
    CommunicationPlan,
    Component,
    Decision,
    Incident,
    IncidentComponent,
    IncidentUpdate,
    Scenario,
    Severity,
    Stage,
)
from .models.decision import name_of
from .models.words import one_line

AHEAD = timedelta(days=90)
LONGEST = timedelta(days=7)
# A notice that is later than this is not sent any more: what it says may be wrong by now.
PATIENCE = timedelta(minutes=15)
log = logging.getLogger(__name__)
Status = IncidentUpdate.Status


# ── Plan ────────────────────────────────────────────────────────────────────


def plan_maintenance(
    by: Any,
    title: str,
    components: Iterable[Component],
    starts_at: datetime,
    ends_at: datetime,
    reminder: timedelta | None = None,
) -> Incident:
    """Plan work and write its notices: announcement, reminder, start and end. Times are aware.

    The announcement is an ordinary draft; the others have a time at which they go out by themselves, once approved.
    A reminder whose time is past is left out. Raises NotAllowed, Refused.
    """
    chosen = list(components)
    declaring.check_may_declare(by, chosen)
    _check_subject(chosen, title)
    _check_window(starts_at, ends_at, reminder)
    scenario = Scenario.objects.filter(maintenance=True).first()
    plan = CommunicationPlan.choose(chosen, Severity.SEV4)
    with transaction.atomic():
        incident = Incident.objects.create(
            title=one_line(title),
            severity=Severity.SEV4,
            scenario=scenario,
            plan=plan,
            plan_version=plan.current() if plan else None,
            maintenance=True,
            stage=Stage.SCHEDULED,
            started_at=starts_at,
            expected_resolution_at=ends_at,
            declared_by=by,
        )
        IncidentComponent.objects.bulk_create(IncidentComponent(incident=incident, component=c) for c in chosen)
        declaring.fill_roles(incident)
        Decision.objects.create(incident=incident, by=by, verb=Decision.Verb.PLAN)
        declaring.start_draft(incident, by, Stage.SCHEDULED)
        _write_notices(incident, by, starts_at, ends_at, reminder)
    return incident


def _write_notices(
    incident: Incident,
    by: Any,
    starts_at: datetime,
    ends_at: datetime,
    reminder: timedelta | None,
    window: tuple[datetime, datetime] | None = None,
) -> list[IncidentUpdate]:
    """The drafts that go out by themselves. `window`: as for start_draft."""
    found = []
    if reminder and starts_at - reminder > timezone.now():
        at = starts_at - reminder
        found.append(declaring.start_draft(incident, by, Stage.SCHEDULED, publish_at=at, window=window))
        _say_that_it_reminds(found[0])
    found.append(declaring.start_draft(incident, by, Stage.IN_PROGRESS, publish_at=starts_at, window=window))
    found.append(declaring.start_draft(incident, by, Stage.COMPLETED, publish_at=ends_at, window=window))
    return found


def _say_that_it_reminds(update: IncidentUpdate) -> None:
    """The words are those of the announcement; the subject says that they come again."""
    for one in update.renditions.exclude(subject=""):
        with translation.override(one.locale):
            one.subject = (_("Reminder: %(subject)s") % {"subject": one.subject})[:200]
        one.save(update_fields=["subject"])


def _check_subject(components: list[Component], title: str) -> None:
    if not components:
        raise Refused(_("Choose at least one component on which you will work."))
    if not one_line(title):
        raise Refused(_("Give the maintenance a title: customers read it."))
    if len(one_line(title)) > 200:
        raise Refused(_("The title has %(count)s characters (limit 200).") % {"count": len(one_line(title))})


def _check_window(starts_at: datetime, ends_at: datetime, reminder: timedelta | None) -> None:
    now, when = timezone.now(), rendering.moment
    if starts_at <= now:
        raise Refused(_("The start, %(time)s, is past: choose a time ahead.") % {"time": when(starts_at)})
    if starts_at > now + AHEAD:
        raise Refused(
            _("The start, %(time)s, is more than %(days)s days ahead: plan it later.")
            % {"time": when(starts_at), "days": AHEAD.days}
        )
    if ends_at <= starts_at:
        raise Refused(
            _("The end, %(end)s, is not after the start, %(start)s.") % {"end": when(ends_at), "start": when(starts_at)}
        )
    _check_length(starts_at, ends_at)
    if reminder is not None and reminder <= timedelta():
        raise Refused(_("A reminder comes before the start: choose how long before."))


def _check_length(starts_at: datetime, ends_at: datetime) -> None:
    if ends_at - starts_at > LONGEST:
        raise Refused(
            _("The end, %(end)s, is more than %(days)s days after the start: plan it in parts.")
            % {"end": rendering.moment(ends_at), "days": LONGEST.days}
        )


# ── Go out by themselves ────────────────────────────────────────────────────


def publish_due() -> int:
    """Publish each approved notice whose time has come, in the name of whoever let it go; how many.

    One that may not go out is held, with the reason, and left to a person. Harmless to repeat and to run twice at once.
    """
    due = IncidentUpdate.objects.filter(
        status=Status.APPROVED, publish_at__lte=timezone.now(), hold_reason__isnull=True
    ).order_by("publish_at", "number")
    count = 0
    for pk, incident in due.values_list("pk", "incident"):
        try:
            count += _publish_one(pk, incident)
        except Exception:  # the others must not wait for it; once it is too late, it is held
            log.exception("planned notice %s cannot be published", pk)
    return count


def _publish_one(pk: int, incident: int) -> bool:
    with transaction.atomic(), translation.override(settings.LANGUAGE_CODE):
        Incident.objects.select_for_update(no_key=True).get(pk=incident)  # in the order in which publish() locks
        update = (
            IncidentUpdate.objects.select_for_update(of=("self",))
            .select_related("incident__plan_version", "released_by")
            .filter(pk=pk, status=Status.APPROVED, publish_at__lte=timezone.now(), hold_reason__isnull=True)
            .first()
        )
        if update is None:
            return False  # another worker, or a person, was faster
        reason = why_held(update)
        if not reason:
            try:
                update.publish(update.released_by)
            except Problem as error:
                reason = " ".join([str(error), *(finding.message for finding in getattr(error, "findings", []))])
        if reason:
            IncidentUpdate.objects.filter(pk=pk).update(hold_reason=reason)
        return not reason


def why_held(update: IncidentUpdate) -> str:
    """Why an approved notice whose time has come does not go out by itself; empty if it does."""
    incident, late = update.incident, timezone.now() - (update.publish_at or timezone.now())
    if update.released_by_id is None:
        return _("Nobody who may publish has let it go out by itself.")
    if incident.is_over:
        return _("The maintenance is over already.")
    if incident.stage == Stage.SCHEDULED and update.starts_at and update.starts_at != incident.started_at:
        return _("Customers were not told that the work was moved to %(time)s: publish that first.") % {
            "time": rendering.moment(update.starts_at)
        }
    if update.stage == Stage.SCHEDULED and incident.started_at <= timezone.now():
        return _("The work was to begin at %(time)s: a reminder comes too late.") % {
            "time": rendering.moment(incident.started_at)
        }
    if update.stage == Stage.SCHEDULED and incident.stage != Stage.SCHEDULED:
        return _("The work has begun: a reminder comes too late.")
    if late > PATIENCE:
        minutes = int(late.total_seconds()) // 60
        return _("It is %(minutes)s minutes late: nothing was sent by then. Was the worker down?") % {
            "minutes": minutes
        }
    if incident.published_at is None:
        return _("Customers were never told of this maintenance: its announcement is not published.")
    if update.stage == Stage.IN_PROGRESS and incident.stage != Stage.SCHEDULED:
        return _("The start was published already.")
    expected = incident.expected_resolution_at
    if update.stage != Stage.COMPLETED and expected != update.expected_resolution_at:
        return _("Customers were told of another end since: %(time)s.") % {"time": rendering.moment(expected)}
    if update.stage == Stage.COMPLETED:
        if incident.stage not in (Stage.IN_PROGRESS, Stage.VERIFYING):
            return _("The start of the work was never published.")
        if expected and update.publish_at and expected > update.publish_at:
            return _("Customers were told since that the work lasts until %(time)s.") % {
                "time": rendering.moment(expected)
            }
    return ""


# ── Move ────────────────────────────────────────────────────────────────────


def planned_window(incident: Incident) -> tuple[datetime, datetime | None]:
    """From when to when the work is planned: as its waiting notices say, else as customers were told."""
    waiting = list(incident.updates.filter(status__in=IncidentUpdate.PENDING).order_by("-number"))
    starts = (u.starts_at for u in waiting if u.starts_at and incident.stage == Stage.SCHEDULED)
    starts_at = next(starts, incident.started_at)
    ends = (u.publish_at for u in waiting if u.publish_at and u.stage == Stage.COMPLETED)
    return starts_at, next(ends, incident.expected_resolution_at)


def unsaid_move(incident: Incident, updates: Iterable[IncidentUpdate]) -> IncidentUpdate | None:
    """A notice of a time to which the work was moved, while customers still read the old one; the first of them."""
    waiting = (
        u for u in updates if u.status in IncidentUpdate.PENDING and u.starts_at and u.starts_at != incident.started_at
    )
    return min(waiting, key=lambda u: u.number, default=None) if incident.stage == Stage.SCHEDULED else None


def check_may_move(incident: Incident, by: Any) -> None:
    """Raises NotAllowed, WrongState."""
    if not incident.maintenance or incident.is_over or incident.imported_from:
        raise WrongState(_("Only maintenance that is not over can be moved."))
    if not incident.may_dismiss(by):
        raise NotAllowed(_("%(who)s may not move this maintenance.") % {"who": name_of(by)})


def check_move(incident: Incident, starts_at: datetime, ends_at: datetime, reminder: timedelta | None = None) -> None:
    """Whether the work may be moved to this time: once it has begun, its end alone, to a later time. Raises Refused."""
    was, when = planned_window(incident), rendering.moment
    if incident.stage == Stage.SCHEDULED:
        _check_window(starts_at, ends_at, reminder)
        if (starts_at, ends_at) == was:
            raise Refused(_("It is planned for that time already."))
        return
    if starts_at != incident.started_at:
        raise Refused(_("The work has begun: only its end can be moved."))
    if ends_at <= timezone.now():
        raise Refused(_("The end, %(time)s, is past: choose a time ahead.") % {"time": when(ends_at)})
    if was[1] and ends_at <= was[1]:
        raise Refused(
            _("The end, %(time)s, is not later than now planned, %(was)s. Done earlier? Then publish the end by hand.")
            % {"time": when(ends_at), "was": when(was[1])}
        )
    _check_length(starts_at, ends_at)


def people_to_tell(incident: Incident) -> int:
    """How many people the notice of another time goes to, as the plan of the incident stands."""
    if incident.published_at is None:
        return 0
    plan = incident.plan_version
    channels = plan.channels(incident.stage) if plan else []
    states = {str(pk): "" for pk in incident.incident_components.values_list("component", flat=True)}
    draft = IncidentUpdate(incident=incident, stage=incident.stage, component_states=states)
    locales = plan.locales(incident.stage) if plan else [settings.LANGUAGE_CODE]
    return publishing.reach(draft, channels, locales, declaring.segments(incident, incident.stage)).total


def move_maintenance(
    incident: Incident,
    by: Any,
    starts_at: datetime,
    ends_at: datetime,
    reminder: timedelta | None = None,
    reason: str = "",
    seen: tuple[datetime, datetime | None] | None = None,
) -> IncidentUpdate | None:
    """Plan the work for another time; once it has begun, a later end. `seen`: from when to when it was on the page.

    Every notice that waits is withdrawn, whoever approved it, and new ones are written, which need approval as any
    other. Returns the one that tells customers of the new time: until it is published the others are held, and the
    status page goes on showing the old time. Who was told nothing yet gets the announcement instead; if it is moved
    back to what customers read, there is nothing to tell, and None is returned.
    Raises NotAllowed, WrongState, Refused.
    """
    with transaction.atomic():
        me = (
            Incident.objects.select_for_update(of=("self",), no_key=True)
            .select_related("plan_version")
            .get(pk=incident.pk)
        )
        check_may_move(me, by)
        was = planned_window(me)
        if seen is not None and seen != was:
            raise WrongState(
                _("Somebody else moved it meanwhile: it is planned from %(start)s to %(end)s now. Look again.")
                % {"start": rendering.moment(was[0]), "end": rendering.moment(was[1])}
            )
        check_move(me, starts_at, ends_at, reminder)
        waiting = list(me.updates.filter(status__in=IncidentUpdate.PENDING).order_by("number"))
        for update in waiting:
            update.withdraw(by)
        moved = f"{_span(*was)} → {_span(starts_at, ends_at)}"
        Decision.objects.create(
            incident=me, by=by, verb=Decision.Verb.MOVE, comment="\n".join(filter(None, [moved, reason.strip()]))
        )
        if me.stage == Stage.SCHEDULED:
            draft, notices = _plan_anew(me, by, starts_at, ends_at, reminder)
        else:
            draft, notices = _plan_longer(me, by, ends_at)
        _choose_as_before(notices, waiting)
    incident.refresh_from_db()
    return draft


def _plan_anew(
    incident: Incident, by: Any, starts_at: datetime, ends_at: datetime, reminder: timedelta | None
) -> tuple[IncidentUpdate | None, list[IncidentUpdate]]:
    """The notice of the new time, and those that go out by themselves."""
    if incident.published_at is None:  # nobody was told another time
        incident.started_at, incident.expected_resolution_at = starts_at, ends_at
        incident.save()
        draft = declaring.start_draft(incident, by, Stage.SCHEDULED)
        return draft, _write_notices(incident, by, starts_at, ends_at, reminder)
    window = (starts_at, ends_at)
    if window == (incident.started_at, incident.expected_resolution_at):
        return None, _write_notices(incident, by, starts_at, ends_at, reminder)
    draft = _say(declaring.start_draft(incident, by, Stage.SCHEDULED, window=window), by, _rescheduled)
    return draft, _write_notices(incident, by, starts_at, ends_at, reminder, window)


def _plan_longer(incident: Incident, by: Any, ends_at: datetime) -> tuple[IncidentUpdate, list[IncidentUpdate]]:
    """The notice of the later end, and the one that goes out by itself then."""
    window = (None, ends_at)
    draft = _say(declaring.start_draft(incident, by, incident.stage, window=window), by, _takes_longer)
    return draft, [declaring.start_draft(incident, by, Stage.COMPLETED, publish_at=ends_at, window=window)]


def _span(starts_at: datetime, ends_at: datetime | None) -> str:
    """For the record, which people of every language read."""
    start, end = timezone.localtime(starts_at), ends_at and timezone.localtime(ends_at)
    last = "?" if end is None else f"{end:%H:%M %Z}" if end.date() == start.date() else f"{end:%Y-%m-%d %H:%M %Z}"
    return f"{start:%Y-%m-%d %H:%M %Z} – {last}"


def _choose_as_before(notices: Iterable[IncidentUpdate], before: Iterable[IncidentUpdate]) -> None:
    """Each notice goes to whom the withdrawn one of its stage was to go."""
    old = {update.stage: update for update in before if update.publish_at}
    for one in notices:
        if then := old.get(one.stage):
            one.channels.set(then.channels.all())
            one.segments.set(then.segments.all())
            IncidentUpdate.objects.filter(pk=one.pk).update(notify=then.notify)


def _say(draft: IncidentUpdate, by: Any, words: Callable[[IncidentUpdate, str], dict[str, str]]) -> IncidentUpdate:
    return draft.edit(by, draft.version, words={r.locale: words(draft, r.locale) for r in draft.renditions.all()})


def _rescheduled(update: IncidentUpdate, locale: str) -> dict[str, str]:
    """Words that say that the work takes place at another time; the rest are those of the announcement."""
    with translation.override(locale):
        what = _known(update, locale) | {"before": rendering.moment(update.incident.started_at, always_day=True)}
        said = _(
            "The maintenance of %(components)s planned for %(before)s was moved. It takes place from {{ begins }} to "
            "{{ ends }}."
        )
        return {
            "subject": _("New time for planned maintenance: %(components)s, {{ begins }}") % what,
            "issue": said % what,
            "sms": f"{settings.PORTAL_NAME}: {said % what} {what['url']}",
            "post": f"{said % what} {what['url']}",
        }


def _takes_longer(update: IncidentUpdate, locale: str) -> dict[str, str]:
    """Words that say that the work lasts longer; the rest are those of its start."""
    with translation.override(locale):
        what = _known(update, locale)
        said = _("The planned maintenance of %(components)s takes longer. New planned end: {{ ends }}.") % what
        return {
            "subject": _("Planned maintenance takes longer: %(components)s, until {{ ends }}") % what,
            "issue": said,
            "sms": f"{settings.PORTAL_NAME}: {said} {what['url']}",
            "post": f"{said} {what['url']}",
        }


def _known(update: IncidentUpdate, locale: str) -> dict[str, str]:
    known = rendering.values(update, locale)
    return {"components": known["components"], "begins": known["begins"], "url": known["status_url"]}


# ── Cancel ──────────────────────────────────────────────────────────────────


def cancel_maintenance(incident: Incident, by: Any, reason: str) -> IncidentUpdate | None:
    """Give up planned work that has not begun: its notices are withdrawn.

    Customers who were told get it in words: returns the draft that says so, which needs approval as any other.
    If they were told nothing, it is closed, and None is returned. Raises NotAllowed, WrongState, Refused (no reason).
    """
    with transaction.atomic():
        me = (
            Incident.objects.select_for_update(of=("self",), no_key=True)
            .select_related("plan_version")
            .get(pk=incident.pk)
        )
        if not me.may_dismiss(by):
            raise NotAllowed(_("%(who)s may not cancel this maintenance.") % {"who": name_of(by)})
        if not me.maintenance or me.stage != Stage.SCHEDULED:
            raise WrongState(_("Only maintenance that has not begun can be cancelled."))
        if not reason.strip():
            raise Refused(_("Say why it is cancelled, for whoever reads this later."))
        if me.published_at is None:
            me.dismiss(by, reason)
            return None
        for update in me.updates.filter(status__in=IncidentUpdate.PENDING):
            update.withdraw(by)
        Decision.objects.create(incident=me, by=by, verb=Decision.Verb.CANCEL, comment=reason.strip())
        draft = declaring.start_draft(me, by, Stage.COMPLETED)
        draft.incident = me
        return _say(draft, by, _cancelled)


def _cancelled(update: IncidentUpdate, locale: str) -> dict[str, str]:
    """Words that say that the planned work does not take place."""
    what = _known(update, locale)
    with translation.override(locale):
        said = _("The maintenance of %(components)s planned for %(begins)s does not take place.") % what
        return {
            "subject": _("Cancelled, planned maintenance: %(components)s") % what,
            "issue": said,
            "impact": _("Nothing changes for you: the service stays available at that time."),
            "outlook": _("If we plan the work for another time, we will announce it again."),
            "action": _("There is nothing that you have to do."),
            "sms": f"{settings.PORTAL_NAME}: {said} {what['url']}",
            "post": f"{said} {what['url']}",
        }
