"""Plan maintenance, see where its notices stand, cancel it."""

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
from django.utils.translation import gettext_lazy

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
Status = IncidentUpdate.Status


class PlanForm(forms.Form):
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
    reminder = forms.ChoiceField(
        label=gettext_lazy("Reminder"), choices=REMINDERS.items(), initial="24", required=False
    )

    def __init__(self, operable: list[Component], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["components"].queryset = Component.objects.filter(pk__in=[c.pk for c in operable])  # type: ignore[attr-defined]
        self.fields["starts_at"] = WallTimeField(label=_("Start"))
        self.fields["ends_at"] = WallTimeField(label=_("End"))

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

    def chosen(self) -> set[str]:
        return set(self.data.getlist("components")) if self.is_bound else set()  # type: ignore[attr-defined]


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
        "zone": timezone.get_current_timezone_name(),
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


def notices(incident: Incident, updates: list[IncidentUpdate]) -> list[dict[str, Any]]:
    """What maintenance says and will say, by time: label, state in words with its tone, and when."""
    if not incident.maintenance:
        return []
    shown = [u for u in updates if u.status != Status.WITHDRAWN]
    shown.sort(key=lambda u: (u.published_at or u.publish_at or incident.declared_at, u.number))
    return [_notice(u) for u in shown]


def _notice(update: IncidentUpdate) -> dict[str, Any]:
    tone = f"cp-s-{update.status}"
    if glance.why_waits(update):
        tone = "cp-tone-bad"
    when = _("goes out once it is approved and published")
    if update.published_at:
        when = moment(update.published_at)
    elif update.publish_at:
        when = _("goes out on %(time)s") % {"time": moment(update.publish_at, always_day=True)}
    return {"update": update, "label": label(update), "state": glance.plan_state(update), "tone": tone, "when": when}


def label(update: IncidentUpdate) -> str:
    """What kind of notice it is."""
    if update.stage == Stage.SCHEDULED:
        return _("Reminder") if update.publish_at else _("Announcement")
    return str(update.get_stage_display())


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
