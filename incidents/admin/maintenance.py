"""Plan maintenance, see where its notices stand, move it, cancel it."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from commsportal import zones
from incidents import planning
from incidents.errors import NotAllowed, Problem, Refused
from incidents.forms import WallTimeField, which_pass
from incidents.models import CommunicationPlan, Component, Incident, IncidentUpdate, MessageTemplate, Stage
from incidents.models.component import OPERATE
from incidents.rendering import moment

from . import glance
from .refusal import refused

REMINDERS = {
    "": gettext_lazy("No reminder"),
    "1": gettext_lazy("1 hour before"),
    "24": gettext_lazy("24 hours before"),
    "72": gettext_lazy("3 days before"),
}
LABELS = {
    Stage.SCHEDULED: gettext_lazy("Reminder"),
    Stage.IN_PROGRESS: gettext_lazy("Start of the work"),
    Stage.COMPLETED: gettext_lazy("End of the work"),
}
Status = IncidentUpdate.Status


class WindowForm(forms.Form):
    """From when to when, and when to remind of it."""

    reminder = forms.ChoiceField(
        label=gettext_lazy("Reminder"), choices=REMINDERS.items(), initial="24", required=False
    )

    def __init__(self, *args: Any, was: tuple[datetime, datetime | None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        starts_at, ends_at = was or (None, None)
        self.fields["starts_at"] = WallTimeField(label=_("Start"), was=starts_at, initial=starts_at)
        self.fields["ends_at"] = WallTimeField(label=_("End"), was=ends_at, initial=ends_at)

    def _time(self, name: str, missing: str) -> datetime:
        at = self.cleaned_data[name]
        if at is None:
            raise ValidationError(missing)
        return at

    def clean_starts_at(self) -> datetime:
        return self._time("starts_at", _("Say when the work begins."))

    def clean_ends_at(self) -> datetime:
        return self._time("ends_at", _("Say when the work is to end."))

    def clean_reminder(self) -> timedelta | None:
        hours = self.cleaned_data["reminder"]
        return timedelta(hours=int(hours)) if hours else None


class PlanForm(WindowForm):
    """`operable` are the components that this person may work on."""

    components = forms.ModelMultipleChoiceField(
        Component.objects.none(),
        label=gettext_lazy("Components"),
        error_messages={"required": gettext_lazy("Choose at least one component on which you will work.")},
    )
    title = forms.CharField(
        label=gettext_lazy("Title"),
        max_length=200,
        error_messages={"required": gettext_lazy("Give the maintenance a title: customers read it.")},
    )

    def __init__(self, operable: list[Component], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["components"].queryset = Component.objects.filter(pk__in=[c.pk for c in operable])  # type: ignore[attr-defined]

    def chosen(self) -> set[str]:
        return set(self.data.getlist("components")) if self.is_bound else set()  # type: ignore[attr-defined]


class MoveForm(WindowForm):
    """To when the work is moved. `was` says from when; work that has begun keeps its start and has no reminder."""

    reason = forms.CharField(label=gettext_lazy("Why?"), max_length=500, required=False)
    seen = forms.CharField(label="", max_length=80, required=False)  # the times that were on the page

    def __init__(self, incident: Incident, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen_now = _seen(kwargs["was"])
        if incident.stage != Stage.SCHEDULED:
            del self.fields["starts_at"], self.fields["reminder"]

    def clean_seen(self) -> str:
        if self.cleaned_data["seen"] != self.seen_now:
            raise ValidationError(_("Somebody else moved it meanwhile: look at the times again."))
        return self.seen_now


def _seen(window: tuple[datetime, datetime | None]) -> str:
    return "/".join(at.isoformat() if at else "" for at in window)


# ── Plan ────────────────────────────────────────────────────────────────────


def view(model_admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The form; on submit the maintenance and its notices exist, and its page opens."""
    if not request.user.has_perm("incidents.declare_incident"):
        error = NotAllowed(_("Your role does not plan maintenance. Ask an incident manager."))
        return refused(request, error, glance.link("index"))
    operable = list(Component.objects.for_user(request.user, OPERATE).select_related("group"))
    operable.sort(key=lambda component: component.group is None)
    form = PlanForm(operable, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            return _plan(request, form.cleaned_data)
        except Refused as refusal:
            form.add_error(None, str(refusal))
        except NotAllowed as error:
            return refused(request, error, request.path)
    groups: dict[str, list[tuple[Component, bool]]] = defaultdict(list)
    for component in operable:
        name = component.group.name if component.group else _("Other")
        groups[name].append((component, str(component.pk) in form.chosen()))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Plan maintenance"),
        "form": form,
        "groups": list(groups.items()),
        "zone": zones.in_words(timezone.get_current_timezone_name()),
        "has_plan": CommunicationPlan.objects.exists(),
        "has_words": MessageTemplate.objects.filter(scenario__maintenance=True).exists(),
    }
    return render(request, "admin/incidents/incident/plan.html", context, status=422 if form.errors else 200)


def _plan(request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
    incident = planning.plan_maintenance(
        request.user, data["title"], data["components"], data["starts_at"], data["ends_at"], data["reminder"]
    )
    count = incident.updates.count()
    messages.success(
        request, _("Planned. %(count)s notices are written: read each, and ask for its approval.") % {"count": count}
    )
    if data["reminder"] and count < 4:
        messages.info(request, _("No reminder: its time is past already."))
    for at in (incident.started_at, incident.expected_resolution_at):
        if chosen := which_pass(at):
            messages.info(request, f"{moment(at)}. {chosen}")
    return HttpResponseRedirect(glance.link("incidents_incident_change", incident.pk))


# ── Move ────────────────────────────────────────────────────────────────────


def move(model_admin: ModelAdmin, request: HttpRequest, incident: Incident) -> HttpResponse:
    """The form; on submit old and new time with how many people will be told; on confirmation it is moved."""
    back = glance.link("incidents_incident_change", incident.pk)
    was = planning.planned_window(incident)
    form = MoveForm(incident, request.POST or None, was=was, initial={"reminder": _reminder(incident)})
    confirm, new = False, was
    try:
        planning.check_may_move(incident, request.user)
        if request.method == "POST" and form.is_valid():
            data = form.cleaned_data
            times = (data.get("starts_at", was[0]), data["ends_at"], data.get("reminder"))
            if request.POST.get("do") == "move":
                return _move(request, incident, times, data["reason"], was)
            planning.check_move(incident, *times)
            confirm = request.POST.get("do") != "edit"
            new = times[:2]
    except Refused as refusal:
        form.add_error(None, str(refusal))
    except Problem as error:
        return refused(request, error, back)
    waiting = [u for u in incident.updates.order_by("number") if u.status in IncidentUpdate.PENDING]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Extend the maintenance") if incident.stage != Stage.SCHEDULED else _("Move the maintenance"),
        "incident": incident,
        "begun": incident.stage != Stage.SCHEDULED,
        "form": form,
        "zone": zones.in_words(timezone.get_current_timezone_name()),
        "was": _in_words(was),
        "new": _in_words(new),
        "as_public": new == (incident.started_at, incident.expected_resolution_at),
        "waiting": [(label(u), glance.plan_state(u)) for u in waiting],
        "confirm": confirm,
        "people": planning.people_to_tell(incident) if confirm else 0,
        "back": back,
    }
    return render(request, "admin/incidents/incident/move.html", context, status=422 if form.errors else 200)


def _move(
    request: HttpRequest,
    incident: Incident,
    times: tuple[datetime, datetime, timedelta | None],
    reason: str,
    seen: tuple[datetime, datetime | None],
) -> HttpResponse:
    draft = planning.move_maintenance(incident, request.user, *times, reason=reason, seen=seen)
    for at in times[:2]:
        if chosen := which_pass(at):
            messages.info(request, f"{moment(at)}. {chosen}")
    if draft is None:
        messages.success(request, _("Moved back to the time that customers read. Its notices need approval again."))
        return HttpResponseRedirect(glance.link("incidents_incident_change", incident.pk))
    if incident.published_at is None:
        messages.success(request, _("Moved. Its notices are written anew: read each, and ask for its approval."))
        return HttpResponseRedirect(glance.link("incidents_incident_change", incident.pk))
    messages.warning(request, _("Moved. Now tell customers: until this is published they read the old time."))
    return HttpResponseRedirect(glance.link("incidents_incidentupdate_compose", draft.pk))


def _in_words(window: tuple[datetime, datetime | None]) -> str:
    start, end = (moment(at, always_day=True) for at in window)
    return _("%(start)s to %(end)s") % {"start": start, "end": end or _("an unknown time")}


def _reminder(incident: Incident) -> str:
    """The choice of REMINDERS by which a reminder waits now; none if none does, and 24 hours if one is out already."""
    starts_at, _ends_at = planning.planned_window(incident)
    reminders = incident.updates.filter(stage=Stage.SCHEDULED, publish_at__isnull=False)
    found = reminders.exclude(status=Status.WITHDRAWN).order_by("-number").first()
    if found is None:
        return ""
    hours = f"{(starts_at - found.publish_at).total_seconds() / 3600:.0f}" if found.publish_at else ""
    return hours if hours in REMINDERS else "24"


# ── Cancel ──────────────────────────────────────────────────────────────────


def cancel(request: HttpRequest, incident: Incident) -> HttpResponse:
    """POST gives the maintenance up; the draft that tells customers opens, if they had been told of it."""
    back = glance.link("incidents_incident_change", incident.pk)
    if request.method != "POST":
        return HttpResponseRedirect(back)
    try:
        draft = planning.cancel_maintenance(incident, request.user, request.POST.get("reason", ""))
    except Problem as error:
        return refused(request, error, back)
    if draft is None:
        messages.success(request, _("Cancelled. Customers were told nothing."))
        return HttpResponseRedirect(back)
    messages.warning(request, _("Its notices are withdrawn. Now tell customers that it does not take place."))
    return HttpResponseRedirect(glance.link("incidents_incidentupdate_compose", draft.pk))


# ── Notices ─────────────────────────────────────────────────────────────────


def waits(update: IncidentUpdate) -> bool:
    """Whether this is a planned notice that is still to go out: it has its place in the list of notices."""
    return bool(update.publish_at) and update.status in IncidentUpdate.PENDING


def summary(incident: Incident, updates: list[IncidentUpdate]) -> dict[str, Any]:
    """What the page of maintenance says of its notices."""
    if not incident.maintenance:
        return {}
    drafts = sum(u.status == Status.DRAFT for u in updates)
    to_do = ngettext(
        "%(count)s notice is a draft: read it, and ask for its approval.",
        "%(count)s notices are drafts: read each, and ask for its approval.",
        drafts,
    ) % {"count": drafts}
    unsaid = planning.unsaid_move(incident, updates)
    return {
        "notices": notices(incident, updates),
        "to_do": to_do if drafts and not incident.is_over else "",
        "unsaid_move": unsaid,
        "unsaid_move_label": label(unsaid) if unsaid else "",
    }


def notices(incident: Incident, updates: list[IncidentUpdate]) -> list[dict[str, Any]]:
    """What maintenance says and will say, by time: label, state in words with its tone, and when."""
    shown = [u for u in updates if u.status != Status.WITHDRAWN]
    shown.sort(key=lambda u: (u.published_at or u.publish_at or timezone.now(), u.number))
    return [_notice(u) for u in shown]


def _notice(update: IncidentUpdate) -> dict[str, Any]:
    tone = f"cp-s-{update.status}"
    if glance.why_waits(update):
        tone = "cp-tone-bad"
    when = _("goes out once it is approved and published")
    if update.published_at:
        when = moment(update.published_at)
    elif update.publish_at:
        by_itself = update.goes_by_itself
        when = (_("goes out by itself on %(time)s") if by_itself else _("to go out on %(time)s")) % {
            "time": moment(update.publish_at, always_day=True)
        }
    return {"update": update, "label": label(update), "state": glance.plan_state(update), "tone": tone, "when": when}


def label(update: IncidentUpdate) -> str:
    """What kind of notice it is."""
    if update.publish_at:
        return str(LABELS.get(Stage(update.stage), update.get_stage_display()))
    if update.stage == Stage.SCHEDULED:
        return str(_("New time") if update.starts_at else _("Announcement"))
    return str(update.get_stage_display())


def next_notice(update: IncidentUpdate, user: Any) -> dict[str, Any] | None:
    """Another notice of the same maintenance that waits for this person: for approval, else a draft."""
    if not update.incident.maintenance:
        return None
    others = list(update.incident.updates.filter(status__in=(Status.DRAFT, Status.IN_REVIEW)).exclude(pk=update.pk))
    found = {Status.IN_REVIEW: _("The next one waits for your approval:"), Status.DRAFT: _("The next one is a draft:")}
    for status, say in found.items():
        for one in sorted((u for u in others if u.status == status), key=lambda u: u.number):
            may = update.may("write", user) if status == Status.DRAFT else update.may("approve", user)
            if may and (status == Status.DRAFT or user.pk not in one.writers()):
                return {"update": one, "label": label(one), "say": say}
    return None


def will_go(update: IncidentUpdate, user: Any) -> bool:
    """Whether an approval by this person is all that it needs to go out by itself."""
    return bool(update.publish_at and update.publish_at > timezone.now() and update.may("publish", user))


def goes_out(update: IncidentUpdate, user: Any = None) -> str:
    """When a planned notice goes out, and on what that depends; empty for any other."""
    if update.publish_at is None or update.status not in IncidentUpdate.PENDING:
        return ""
    when = {"time": moment(update.publish_at, always_day=True)}
    if update.publish_at <= timezone.now():
        return _("It was to go out on %(time)s. That has passed: it has to be sent by hand.") % when
    if update.goes_by_itself:
        return _("It goes out by itself on %(time)s.") % when
    if update.status == Status.APPROVED:
        return _("Approved for %(time)s. Somebody who may publish has still to let it go.") % when
    if user is not None and not update.may("publish", user):
        return _("It goes out on %(time)s, once approved and let go by somebody who may publish.") % when
    return _("Once approved, it goes out by itself on %(time)s.") % when
