"""Planned maintenance: announced, reminded of, begun and ended by notices that go out by themselves once approved."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from . import declaring, rendering
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
    _check_window(chosen, title, starts_at, ends_at, reminder)
    scenario = Scenario.objects.filter(maintenance=True).first()
    with transaction.atomic():
        incident = Incident.objects.create(
            title=one_line(title),
            severity=Severity.SEV4,
            scenario=scenario,
            plan=CommunicationPlan.choose(chosen, Severity.SEV4),
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
        if reminder and starts_at - reminder > timezone.now():
            _say_that_it_reminds(declaring.start_draft(incident, by, Stage.SCHEDULED, publish_at=starts_at - reminder))
        declaring.start_draft(incident, by, Stage.IN_PROGRESS, publish_at=starts_at)
        declaring.start_draft(incident, by, Stage.COMPLETED, publish_at=ends_at)
    return incident


def _say_that_it_reminds(update: IncidentUpdate) -> None:
    """The words are those of the announcement; the subject says that they come again."""
    for one in update.renditions.exclude(subject=""):
        with translation.override(one.locale):
            one.subject = (_("Reminder: %(subject)s") % {"subject": one.subject})[:200]
        one.save(update_fields=["subject"])


def _check_window(
    components: list[Component], title: str, starts_at: datetime, ends_at: datetime, reminder: timedelta | None
) -> None:
    now, when = timezone.now(), rendering.moment
    if not components:
        raise Refused(_("Choose at least one component on which you will work."))
    if not one_line(title):
        raise Refused(_("Give the maintenance a title: customers read it."))
    if len(one_line(title)) > 200:
        raise Refused(_("The title has %(count)s characters (limit 200).") % {"count": len(one_line(title))})
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
    if ends_at - starts_at > LONGEST:
        raise Refused(
            _("The end, %(end)s, is more than %(days)s days after the start: plan it in parts.")
            % {"end": when(ends_at), "days": LONGEST.days}
        )
    if reminder is not None and reminder <= timedelta():
        raise Refused(_("A reminder comes before the start: choose how long before."))


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
            .select_related("incident__plan", "released_by")
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


# ── Cancel ──────────────────────────────────────────────────────────────────


def cancel_maintenance(incident: Incident, by: Any, reason: str) -> IncidentUpdate | None:
    """Give up planned work that has not begun: its notices are withdrawn.

    Customers who were told get it in words: returns the draft that says so, which needs approval as any other.
    If they were told nothing, it is closed, and None is returned. Raises NotAllowed, WrongState, Refused (no reason).
    """
    with transaction.atomic():
        me = Incident.objects.select_for_update(of=("self",), no_key=True).select_related("plan").get(pk=incident.pk)
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
        words = {r.locale: _cancelled(draft, r.locale) for r in draft.renditions.all()}
        return draft.edit(by, draft.version, words=words)


def _cancelled(update: IncidentUpdate, locale: str) -> dict[str, str]:
    """Words that say that the planned work does not take place."""
    known = rendering.values(update, locale)
    what = {
        "components": known["components"],
        "begins": known["begins"],
        "organisation": settings.PORTAL_NAME,
        "url": known["status_url"],
    }
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
