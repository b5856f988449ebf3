"""The clock of each open incident: reminds before a promise breaks, records when it does, and asks deputies.

`tick()` runs with the worker's sweep. Running it twice, or on two machines, tells everybody once.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from . import approving, telling_staff
from .checker import Finding
from .models import Decision, Incident, IncidentUpdate, PromiseBreach, Role, Runbook, StaffNotice, Stage
from .models.decision import name_of
from .rendering import moment

log = logging.getLogger(__name__)
Kind = StaffNotice.Kind


def tick() -> None:
    """Whatever is due by now."""
    published = Q(updates__status=IncidentUpdate.Status.PUBLISHED)
    running = Incident.objects.open().filter(imported_from=None).select_related("plan_version")
    for incident in running.annotate(told_at=Max("updates__published_at", filter=published)):
        try:
            _watch(incident, incident.told_at)  # type: ignore[attr-defined]
        except Exception:  # the others must not wait for it
            log.exception("the clock of incident %s stands still", incident.pk)
    waiting = IncidentUpdate.objects.filter(status=IncidentUpdate.Status.IN_REVIEW)
    for update in waiting.select_related("incident__plan_version", "author"):
        try:
            _watch_approval(update)
        except Exception:
            log.exception("the approval of update %s is not watched", update.pk)


# ── Promises ────────────────────────────────────────────────────────────────


def reminds_at(incident: Incident, due: datetime, told_at: datetime | None) -> datetime:
    """When the last third of a promise begins."""
    start = told_at or incident.published_at or incident.declared_at
    return due - max(due - start, timedelta()) / 3


def _watch(incident: Incident, told_at: datetime | None) -> None:
    from .runbooks import running  # which ask this module who holds a role

    due = incident.due_after(told_at)
    if due is None or (incident.maintenance and incident.stage == Stage.SCHEDULED):
        return
    now = timezone.now()
    if now >= due:
        _record(incident, due)
    elif now >= reminds_at(incident, due, told_at):
        _tell(incident, Kind.REMINDER, due, [Role.COMMUNICATIONS_MANAGER])
        running.trigger(incident, Runbook.Trigger.CLOCK, running.act_for(incident), telling_staff.about(due))


def _record(incident: Incident, due: datetime) -> None:
    with transaction.atomic():
        # An update may have been published since the incidents were read, and a breach is written down for good.
        now = Incident.objects.select_for_update(of=("self",), no_key=True).select_related("plan_version")
        if now.get(pk=incident.pk).update_due_at != due:
            return
        _breach, new = PromiseBreach.objects.get_or_create(
            incident=incident, due_at=due, defaults={"kind": _kind(incident)}
        )
    # Told again each time until it is written down that everybody was: a crash in between leaves nobody out.
    if (
        new
        or not StaffNotice.objects.filter(
            kind=Kind.BREACH, incident=incident, key__contains=telling_staff.about(due)
        ).exists()
    ):
        _tell(incident, Kind.BREACH, due, [Role.INCIDENT_MANAGER, Role.COMMUNICATIONS_MANAGER])


def _kind(incident: Incident) -> str:
    if incident.published_at is None:
        return PromiseBreach.Kind.FIRST
    if incident.maintenance and not incident.next_update_at:
        return PromiseBreach.Kind.WORK
    return PromiseBreach.Kind.NEXT


def _tell(incident: Incident, kind: str, due: datetime, roles: list[Role]) -> None:
    pending = incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).first()
    if pending:
        pending.incident = incident
    stuck = bool(pending and pending.status == IncidentUpdate.Status.IN_REVIEW and approving.blockers(pending))

    def words(advice: str) -> tuple[str, str]:
        what = {"title": incident.title, "time": moment(due)}
        if kind == Kind.BREACH and incident.published_at is None:
            subject = _("First update overdue: %(title)s") % what
            text = _("Customers were to be told by %(time)s, and nothing was published.") % what
        elif kind == Kind.BREACH:
            subject = _("Update overdue: %(title)s") % what
            text = _("Customers were promised an update by %(time)s, and nothing was published.") % what
        else:
            minutes = max(1, round((due - timezone.now()).total_seconds() / 60))
            what["n"] = minutes  # type: ignore[assignment]
            subject = (
                ngettext("Update due in %(n)d min: %(title)s", "Update due in %(n)d min: %(title)s", minutes) % what
            )
            text = _("Customers are to be told by %(time)s.") % what
        return subject, f"{text} {advice}"

    people = list(dict.fromkeys(one for role in roles for one in holders(incident, role)))
    deciding = [one for one in people if pending and approving.waits_for(pending, one)]
    about = f"{incident.pk}:{telling_staff.about(due)}"
    with transaction.atomic():
        if pending and deciding:
            path = approving.link(pending)
            telling_staff.tell_only(deciding, kind, about, lambda: words(_advice_to_decide(stuck)), path, incident)
        others = [one for one in people if one not in deciding]
        path = f"/admin/incidents/incident/{incident.pk}/change/"
        telling_staff.tell(others, kind, about, lambda: words(_advice(incident, pending, stuck)), path, incident)


def _advice_to_decide(stuck: bool) -> str:
    """To those for whose approval an update waits."""
    if stuck:
        return _("An update waits for your approval, but cannot be sent as it stands: send it back.")
    return _("An update waits for your approval.")


def _advice(incident: Incident, pending: IncidentUpdate | None, stuck: bool) -> str:
    """What is to be done so that customers hear in time, by where the next update stands."""
    if pending is None and incident.published_at:
        return _("Nothing new? Say just that: it is one button.")
    if pending is None:
        return _("Nobody is writing an update: begin one.")
    if pending.status == IncidentUpdate.Status.APPROVED:
        return _("An update is approved, and only has to be published.")
    if pending.status == IncidentUpdate.Status.DRAFT:
        return _("A draft is there: finish it, and ask for approval.")
    if stuck:
        return _("An update waits for approval, but cannot be sent as it stands: it must be changed first.")
    return _("An update waits for approval by %(names)s.") % {"names": approving.approvers_in_words(pending)}


def holders(incident: Incident, role: str) -> list[Any]:
    """Who holds a role in the incident; if nobody, whom its plan names first."""
    held = [one.user for one in incident.roles.filter(role=role, user__is_active=True).select_related("user")]
    plan = incident.plan_version
    return held or (plan.people(role)[:1] if plan else [])


# ── Approvals ───────────────────────────────────────────────────────────────


def ask(update: IncidentUpdate) -> None:
    """Tell those whose approval is needed first that it is asked for."""
    needed = approving.missing(update)
    _ask(update, Kind.APPROVAL, approving.approvers(update)[:needed])


def _watch_approval(update: IncidentUpdate) -> None:
    """Ask everybody else who may approve, once it has waited for as long as the plan lets it.

    Where nobody can approve it, its author is told instead: there is nothing for a deputy to do.
    """
    minutes = approving.policy(update)["escalate_minutes"]
    asked = update.decisions.filter(verb=Decision.Verb.SUBMIT).select_related("by").order_by("-pk").first()
    if asked is None:
        return
    now = timezone.now()
    late = bool(minutes) and now >= asked.at + timedelta(minutes=minutes)
    times = (update.next_update_at, update.expected_resolution_at, update.publish_at)
    if not late and not any(at and at <= now for at in times):
        return
    if blocking := approving.blockers(update):
        _tell_stuck(update, asked, blocking)
    elif late:
        _escalate(update, asked)


def _escalate(update: IncidentUpdate, asked: Decision) -> None:
    about = telling_staff.of_decision(update, asked.pk)
    if StaffNotice.objects.filter(kind=Kind.ESCALATED, update=update, key__contains=f":{about}:").exists():
        return
    told = StaffNotice.objects.filter(kind=Kind.APPROVAL, update=update, key__contains=f":{about}:")
    already = set(told.values_list("user", flat=True))
    everybody = approving.approvers(update, most=20, least=20)
    _ask(update, Kind.ESCALATED, [one for one in everybody if one.pk not in already] or everybody)


def _tell_stuck(update: IncidentUpdate, asked: Decision, blocking: list[Finding]) -> None:
    over = any(one.code == "past" for one in blocking)

    def words() -> tuple[str, str]:
        subject = _("Nobody can approve this any more: %(title)s") % {"title": update.incident.title}
        if over:
            return subject, _("The time you promise has passed before anybody approved: set a new one and ask again.")
        return subject, _("It cannot be sent as it stands. See what the checker found, change it and ask again.")

    path = f"{_compose(update)}?edit=1"
    about = telling_staff.of_decision(update, asked.pk)
    telling_staff.tell_only(_writers(update, asked), Kind.STUCK, about, words, path, update.incident, update)


def send_back(update: IncidentUpdate) -> None:
    """Tell whoever wrote it, and asked for approval, that it was sent back and why.

    Where customers are to hear soon, or should have heard, the incident manager is told too.
    """
    back = update.decisions.filter(verb=Decision.Verb.REJECT).select_related("by").order_by("-pk").first()
    asked = update.decisions.filter(verb=Decision.Verb.SUBMIT).select_related("by").order_by("-pk").first()
    if back is None:
        return

    def words() -> tuple[str, str]:
        what = {"title": update.incident.title, "who": name_of(back.by), "why": back.comment}
        text = _("%(who)s sent the update back: “%(why)s” Change it, and ask for approval again.") % what
        return _("Sent back: %(title)s") % what, text

    people = _writers(update, asked)
    if update.publish_at is None and _is_urgent(update.incident):
        people += holders(update.incident, Role.INCIDENT_MANAGER)
    people = [one for one in people if one != back.by]
    about = telling_staff.of_decision(update, back.pk)
    telling_staff.tell_only(people, Kind.RETURNED, about, words, _compose(update), update.incident, update)


def _writers(update: IncidentUpdate, asked: Decision | None) -> list[Any]:
    """Who is to change the words: the author, and whoever asked for approval."""
    found = [update.author, asked.by if asked else None]
    return [one for one in dict.fromkeys(found) if one and one.is_active]


def _is_urgent(incident: Incident) -> bool:
    """Whether the last third of a promise runs, or it is broken."""
    published = incident.updates.filter(status=IncidentUpdate.Status.PUBLISHED)
    told_at = published.aggregate(at=Max("published_at"))["at"]
    due = incident.due_after(told_at)
    return due is not None and timezone.now() >= reminds_at(incident, due, told_at)


def _compose(update: IncidentUpdate) -> str:
    return f"/admin/incidents/incidentupdate/{update.pk}/compose/"


def _ask(update: IncidentUpdate, kind: str, people: list[Any]) -> None:
    asked = update.decisions.filter(verb=Decision.Verb.SUBMIT).select_related("by").order_by("-pk").first()
    if asked is None:
        return

    def words() -> tuple[str, str]:
        what = {"title": update.incident.title, "who": name_of(asked.by), "time": moment(asked.at)}
        if kind == Kind.ESCALATED:
            subject = _("Still waiting for approval: %(title)s") % what
            return subject, _("%(who)s asked for approval at %(time)s, and nobody has decided yet. Can you?") % what
        text = _("%(who)s asks for your approval. The link opens exactly what would be sent; log in to decide.") % what
        return _("Your approval, please: %(title)s") % what, text

    path = approving.link(update)
    about = telling_staff.of_decision(update, asked.pk)
    telling_staff.tell(people, kind, about, words, path, update.incident, update)
