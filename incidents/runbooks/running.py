"""Walks through the steps of each run: one at a time, each written down before it is begun.

`advance` may be called twice, by two workers, or after a worker died: a step is done once.
"""

import logging
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from channels import queue
from incidents.clock import holders
from incidents.errors import NotAllowed, Problem, Refused, WrongState
from incidents.models import Incident, IncidentUpdate, Role, Runbook, RunbookRun, RunbookStepRun
from incidents.models.decision import name_of

from . import KINDS
from .kinds import Calling, lines
from .outcome import Outcome, State, doubtful, failed, waits

log = logging.getLogger(__name__)
LEASE = timedelta(minutes=2)  # longer than any call of a step
SLICE = 5  # seconds that a sweep works for at most
MOST_STEPS = 100
Trigger = Runbook.Trigger


# ── Start ───────────────────────────────────────────────────────────────────


def trigger(incident: Incident, what: str, by: Any, about: str, stage: str = "") -> None:
    """Start the runbooks of the incident's plan that `what` starts. `about` tells this occasion from others.

    Within the caller's transaction: they are there if that comes about. Nothing of it fails the caller.
    """
    plan = incident.plan_version
    for content in plan.runbooks() if plan and by else ():
        if what not in content["triggers"] or not content["steps"]:
            continue
        if what == Trigger.STAGE and content["stages"] and stage not in content["stages"]:
            continue
        if Runbook.objects.filter(pk=content["key"], enabled=False).exists():
            continue
        _begin(incident, content, by, f"{incident.pk}:{content['key']}:{what}:{about}", what)


def start(incident: Incident, runbook: Runbook, by: Any) -> RunbookRun:
    """Start it by hand: as the incident's plan has it, or else as it is now.

    Raises NotAllowed, WrongState (over, or it runs already), Refused (switched off, or without steps).
    """
    check_may(incident, by)
    plan = incident.plan_version
    content = next((one for one in (plan.runbooks() if plan else ()) if one["key"] == runbook.pk), runbook.content())
    return start_as(incident, runbook, content, by)


def start_as(incident: Incident, runbook: Runbook, content: dict[str, Any], by: Any) -> RunbookRun:
    """The same with these steps, for a caller who has checked that `by` may. Raises WrongState, Refused."""
    if not runbook.enabled or not content["steps"]:
        raise Refused(_("“%(name)s” is switched off, or has no steps.") % {"name": runbook})
    with transaction.atomic():
        incident = Incident.objects.select_for_update(no_key=True).get(pk=incident.pk)
        if incident.is_over:
            raise WrongState(_("The incident is over."))
        if incident.runs.filter(runbook=runbook).exclude(state__in=RunbookRun.OVER).exists():
            raise WrongState(_("“%(name)s” runs in this incident already.") % {"name": runbook})
        return _begin(incident, content, by, f"{incident.pk}:{runbook.pk}:by-hand:{incident.runs.count()}")


def _begin(incident: Incident, content: dict[str, Any], by: Any, key: str, what: str = "") -> RunbookRun:
    runbook = Runbook.objects.filter(pk=content["key"]).first()
    run, new = RunbookRun.objects.get_or_create(
        key=key,
        defaults={"incident": incident, "runbook": runbook, "content": content, "by": by, "trigger": what},
    )
    if new:
        queue.enqueue("incidents.tasks.run_runbook", run.pk)
    return run


def check_may(incident: Incident, by: Any) -> None:
    """Raises NotAllowed unless this person may write updates of the incident."""
    if not (by.has_perm("incidents.write_incidentupdate") and incident.may_operate(by)):
        raise NotAllowed(
            _("%(who)s may not run runbooks in this incident: the role or a component is missing.")
            % {"who": name_of(by)}
        )


def wake(incident_id: int) -> None:
    """Something happened that a run may be waiting for: look now, not at the next sweep."""
    live = RunbookRun.objects.filter(incident=incident_id, state__in=RunbookRun.LIVE)
    for pk in live.values_list("pk", flat=True):
        queue.enqueue("incidents.tasks.run_runbook", pk)


def act_for(incident: Incident) -> Any:
    """In whose name a run acts that no person caused: the communications manager's, else the incident manager's."""
    people = [one for role in (Role.COMMUNICATIONS_MANAGER, Role.INCIDENT_MANAGER) for one in holders(incident, role)]
    return next(iter(people), None)


def that_publish(update: IncidentUpdate) -> list[RunbookRun]:
    """The runs that publish this update as soon as it is approved, or once they are resumed."""
    if update.publish_at:
        return []
    going = RunbookRun.objects.filter(incident=update.incident_id).exclude(state__in=RunbookRun.OVER)
    return [
        one
        for one in going.order_by("pk")
        if one.update_id in (update.pk, None) and "publish" in (step["kind"] for step in one.steps[one.position :])
    ]


def check_told(update: IncidentUpdate, told: Iterable[int]) -> None:
    """Raises WrongState unless whoever approves was told (keys of runs) of every runbook that then publishes."""
    if untold := [str(one) for one in that_publish(update) if one.pk not in set(told)]:
        text = _("The runbook “%(name)s” publishes this as soon as it is approved: read the page again, then decide.")
        raise WrongState(text % {"name": ", ".join(untold)})


# ── Walk ────────────────────────────────────────────────────────────────────


def advance_due() -> None:
    """Runs that no wake-up reached, whose time has come, or whose worker died."""
    now = timezone.now()
    due = RunbookRun.objects.filter(state__in=RunbookRun.LIVE)
    due = due.filter(Q(wake_at=None) | Q(wake_at__lte=now)).filter(Q(leased_until=None) | Q(leased_until__lte=now))
    end = time.monotonic() + SLICE
    for pk in due.order_by("pk").values_list("pk", flat=True)[:500]:
        if time.monotonic() > end:
            return
        try:
            advance(pk)
        except Exception:  # the others must not wait for it
            log.exception("run %s of a runbook stands still", pk)


def advance(run_id: int) -> None:
    """Go on until a step waits, fails or was the last. What is written down is in the portal's own language."""
    with translation.override(settings.LANGUAGE_CODE):
        for _step in range(MOST_STEPS):
            if not _one_step(run_id):
                return


def _one_step(run_id: int) -> bool:
    """Do the step that is next, or look again at the one that waits; whether there is more to do now."""
    with transaction.atomic():
        run = _locked(run_id)
        now = timezone.now()
        if run.state not in RunbookRun.LIVE or run.is_leased(now):
            return False
        step = run.step
        if step is None:
            run.state, run.finished_at = RunbookRun.State.DONE, now
            run.save()
            return False
        kind = KINDS.get(step["kind"])
        one, new = RunbookStepRun.objects.get_or_create(run=run, index=run.position)
        if not isinstance(kind, Calling):
            return _record(run, one, _do(run, one, step))
        if not new and one.state == State.DOING and not kind.repeats(step):
            return _record(run, one, doubtful(_("It was interrupted while it was being done.")))
        one.state, one.tries = State.DOING, one.tries + 1
        one.save()
        run.leased_until, run.fence = now + LEASE, run.fence + 1
        run.save()
    outcome = _do(run, one, step)
    with transaction.atomic():
        mine = _locked(run_id)
        if mine.fence != run.fence:
            return False  # somebody else took it over: what they write down stands
        mine.leased_until = None
        one.refresh_from_db(fields=["state", "by", "ended_at"])
        if one.state in RunbookStepRun.ENDED:  # a person skipped it meanwhile
            mine.save()
            return mine.state in RunbookRun.LIVE
        return _record(mine, one, outcome)


def _locked(run_id: int) -> RunbookRun:
    runs = RunbookRun.objects.select_for_update(of=("self",))
    return runs.select_related("incident__plan_version", "by", "update").get(pk=run_id)


def _do(run: RunbookRun, one: RunbookStepRun, step: dict[str, Any]) -> Outcome:
    """What a step's kind says. Whatever it changed before it failed is taken back."""
    kind = KINDS.get(step["kind"])
    if kind is None:
        return failed(_("This version of the portal knows no step of the kind “%(kind)s”.") % {"kind": step["kind"]})
    try:
        if isinstance(kind, Calling):
            return kind.do(run, one, step)
        with transaction.atomic():
            return kind.do(run, one, step)
    except Problem as refusal:
        return waits(str(refusal))
    except Exception as error:  # a defect of a step must not keep it from being seen
        log.exception("step %s of run %s failed", one.index, run.pk)
        return failed(_("It failed unexpectedly: %(error)s") % {"error": type(error).__name__})


def _record(run: RunbookRun, one: RunbookStepRun, outcome: Outcome) -> bool:
    """Write down what became of a step; whether the next one can be begun."""
    now = timezone.now()
    one.state, one.note = outcome.state, outcome.note
    run.wake_at, run.reason = outcome.wake_at, ""
    ended = outcome.state in RunbookStepRun.ENDED
    if ended:
        one.ended_at = now
        run.state = RunbookRun.State.RUNNING
        # Forwards only: so it ends.
        run.position = max(outcome.jump or 0, run.position + 1)
    elif outcome.halts:
        run.state, run.reason, run.halts = RunbookRun.State.PAUSED, outcome.note[:500], run.halts + 1
    else:
        run.state = RunbookRun.State.WAITING
    one.save()
    run.save()
    return ended


# ── What a person does ──────────────────────────────────────────────────────


def pause(run: RunbookRun, by: Any) -> None:
    """Nothing more is begun until it is resumed. Raises NotAllowed, WrongState."""
    with transaction.atomic():
        me = _mine(run, by)
        if me.state not in RunbookRun.LIVE:
            raise WrongState(_("It is “%(state)s” now.") % {"state": me.get_state_display()})
        me.state, me.reason = RunbookRun.State.PAUSED, _("Paused by %(who)s.") % {"who": name_of(by)}
        me.halts += 1
        me.save()


def resume(run: RunbookRun, by: Any) -> None:
    """Go on with the step at which it stands, doing it again if it failed. Raises NotAllowed, WrongState."""
    with transaction.atomic():
        me = _mine(run, by)
        if me.state != RunbookRun.State.PAUSED:
            raise WrongState(_("It is “%(state)s” now.") % {"state": me.get_state_display()})
        me.log.filter(index=me.position, state__in=[State.FAILED, State.UNKNOWN]).update(
            state=State.WAITING, tries=0, by=by
        )
        _go_on(me)


def skip(run: RunbookRun, by: Any, index: int, reason: str) -> None:
    """Leave out the step at which it stands. Raises NotAllowed, WrongState (it has moved on), Refused (no reason)."""
    with transaction.atomic():
        me = _mine(run, by)
        if me.is_over or me.position != index or me.step is None:
            raise WrongState(_("The runbook has moved on: that step is not the one at which it stands."))
        if not reason.strip():
            raise Refused(_("Say why the step is left out, for whoever reads this later."))
        now = timezone.now()
        note = {"state": State.SKIPPED, "note": reason.strip()[:500], "by": by, "ended_at": now}
        RunbookStepRun.objects.update_or_create(run=me, index=index, defaults=note)
        me.position += 1
        me.leased_until, me.fence = None, me.fence + 1
        _go_on(me)


def stop(run: RunbookRun, by: Any, reason: str) -> None:
    """End it for good, on AWS too. Raises NotAllowed, WrongState (it is over), Refused (no reason)."""
    with transaction.atomic():
        me = _mine(run, by)
        if me.is_over:
            raise WrongState(_("It is “%(state)s” now.") % {"state": me.get_state_display()})
        if not reason.strip():
            raise Refused(_("Say why it is stopped, for whoever reads this later."))
        me.state, me.finished_at, me.fence = RunbookRun.State.STOPPED, timezone.now(), me.fence + 1
        me.reason = _("Stopped by %(who)s: %(reason)s") % {"who": name_of(by), "reason": reason.strip()[:400]}
        me.save()
        under_way = me.log.filter(index=me.position)
        under_way.filter(state=State.WAITING).update(state=State.SKIPPED, note="", by=by, ended_at=me.finished_at)
        under_way.filter(state=State.DOING).update(state=State.UNKNOWN, by=by)
        queue.enqueue("incidents.tasks.run_runbook", me.pk)  # which wakes what runs on AWS: it is to stop too


def answer(run: RunbookRun, by: Any, index: int, ticked: Iterable[int], comment: str = "") -> None:
    """Say that everything on a checklist is done. `ticked` are indices of its lines.

    Raises NotAllowed, WrongState (it is not asked for now), Refused (something is not ticked).
    """
    with transaction.atomic():
        me = _mine(run, by)
        step = me.step
        asked = me.log.filter(index=index, state=State.WAITING).first()
        if me.state not in RunbookRun.LIVE or me.position != index or not step or step["kind"] != "ask" or not asked:
            raise WrongState(_("This checklist is not asked for now."))
        items, given = lines(step["items"]), set(ticked)
        if open_ones := [text for number, text in enumerate(items) if number not in given]:
            raise Refused(_("Not everything is ticked: tick the rest, or skip the step and say why."), open_ones)
        asked.state, asked.by, asked.ended_at = State.DONE, by, timezone.now()
        asked.note = " — ".join(filter(None, [_("Checked by %(who)s.") % {"who": name_of(by)}, comment.strip()[:500]]))
        asked.save()
        me.position += 1
        _go_on(me)


def _mine(run: RunbookRun, by: Any) -> RunbookRun:
    me = _locked(run.pk)
    check_may(me.incident, by)
    return me


def _go_on(run: RunbookRun) -> None:
    run.state, run.reason, run.wake_at = RunbookRun.State.RUNNING, "", None
    run.save()
    queue.enqueue("incidents.tasks.run_runbook", run.pk)
