"""The declare page: components with their state, and the plan answers the rest."""

from collections import defaultdict
from datetime import datetime, tzinfo
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from commsportal import zones
from incidents import declaring
from incidents.declaring import and_in_title, suggested_title
from incidents.errors import NotAllowed, Problem, WrongState
from incidents.forms import WALL, exists, skipped, which_pass
from incidents.models import (
    CommunicationPlan,
    Component,
    ComponentStatus,
    Incident,
    IncidentComponent,
    MessageTemplate,
    Proposal,
    Scenario,
    Severity,
)
from incidents.models.component import OPERATE
from incidents.rendering import moment

from . import glance
from . import proposal as proposals
from .refusal import refused

# One word each, so that four fit on a phone beside each other; the full state is read out.
STATES = {
    ComponentStatus.OPERATIONAL: gettext_lazy("Fine"),
    ComponentStatus.DEGRADED: gettext_lazy("Degraded"),
    ComponentStatus.PARTIAL: gettext_lazy("Partial"),
    ComponentStatus.MAJOR: gettext_lazy("Major"),
}


def local_time(text: str, zone: tzinfo) -> datetime:
    """A wall-clock time of `zone` ("2026-03-29T03:00") as an aware time that has begun.

    An hour that happens twice means its later pass unless that is still to come. Raises ValidationError for a
    time that is unreadable, skipped when the clocks go forward, or in the future; it names the zone and a way out.
    """
    try:
        wall = datetime.fromisoformat(text).replace(tzinfo=None, second=0, microsecond=0)
    except ValueError:
        raise ValidationError(_("“%(text)s” is not a date and time.") % {"text": text[:40]}) from None
    now = timezone.now()
    if not 2000 <= wall.year <= now.year + 1:
        raise ValidationError(_("The year %(year)s cannot be right.") % {"year": wall.year})
    if not exists(wall, zone):
        raise skipped(wall, zone)
    for fold in (1, 0):
        at = wall.replace(tzinfo=zone, fold=fold)
        if at <= now:
            return at
    raise ValidationError(
        _("%(time)s is in the future in %(zone)s, where it is %(now)s now.")
        % {
            "time": f"{wall:%d.%m.%Y %H:%M}",
            "zone": zones.in_words(str(zone)),
            "now": f"{now.astimezone(zone):%d.%m.%Y %H:%M}",
        }
    )


class DeclareForm(forms.Form):
    """Only the components are needed. `operable` are those this person may work on."""

    scenario = forms.ModelChoiceField(
        Scenario.objects.filter(maintenance=False),
        label=gettext_lazy("What is it like?"),
        required=False,
        empty_label=gettext_lazy("None"),
    )
    severity = forms.ChoiceField(label=gettext_lazy("Severity"), choices=Severity.choices, initial=Severity.SEV2)
    title = forms.CharField(label=gettext_lazy("Title"), max_length=200, required=False)
    started_at = forms.CharField(label=gettext_lazy("Started"), max_length=40)
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, operable: list[Component], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.operable = operable
        self.fields["scenario"].empty_label = _("Something else: I write the words myself")  # type: ignore[attr-defined]
        self.fields["started_at"].initial = timezone.localtime().strftime(WALL)
        for component in operable:
            self.fields[self.key(component)] = forms.ChoiceField(
                choices=[(s.value, str(s.label)) for s in STATES], initial=ComponentStatus.OPERATIONAL, required=False
            )

    @staticmethod
    def key(component: Component) -> str:
        return f"component_{component.pk}"

    def clean_started_at(self) -> datetime:
        return local_time(self.cleaned_data["started_at"], timezone.get_current_timezone())

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        chosen = {c: data.get(self.key(c)) or ComponentStatus.OPERATIONAL for c in self.operable}
        data["components"] = {c: state for c, state in chosen.items() if state != ComponentStatus.OPERATIONAL}
        if not data["components"]:
            raise ValidationError(_("Choose at least one component that is affected, and how."))
        data["title"] = data.get("title", "").strip() or suggested_title(data["components"])
        return data

    def state(self, component: Component) -> str:
        """The state to show as chosen."""
        return self[self.key(component)].value() or ComponentStatus.OPERATIONAL


def view(model_admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The form; on submit the incident and its first draft exist, and the draft opens."""
    if not request.user.has_perm("incidents.declare_incident"):
        error = NotAllowed(_("Your role does not declare incidents. Ask an incident manager."))
        return refused(request, error, glance.link("index"))
    operable = list(Component.objects.for_user(request.user, OPERATE).select_related("group"))
    # Those without a group, for instance from imported history, after the company's own: databases disagree on it.
    operable.sort(key=lambda component: component.group is None)
    try:
        proposal = proposals.to_declare(request)
    except Problem as error:
        return refused(request, error, proposals.of(request))
    form = DeclareForm(operable, request.POST or None, initial=_proposed(proposal) if proposal else None)
    already = _open_incidents(request, operable)
    duplicates: list[Incident] = []
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        found = {i.pk: i for c in data["components"] for i in already.get(c.pk, [])}
        duplicates = list(found.values())
        if not duplicates or data["confirmed"]:
            try:
                return _declare(request, data, proposal)
            except NotAllowed as error:
                return refused(request, error, request.path)
            except WrongState as error:  # somebody decided about the proposal meanwhile; what was typed stays
                form.add_error(None, str(error))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Declare an incident"),
        "and_in_title": and_in_title(),
        "form": form,
        "groups": _grouped(form, already),
        "severities": Severity.choices,
        "zone": timezone.localtime().tzname(),
        "zone_name": zones.in_words(timezone.get_current_timezone_name()),
        "duplicates": duplicates,
        "proposal": proposals.card(proposal, True) if proposal else None,
        "has_plan": CommunicationPlan.objects.exists(),
        "has_templates": MessageTemplate.objects.exists(),
    }
    return render(request, "admin/incidents/incident/declare.html", context, status=422 if form.errors else 200)


def _proposed(proposal: Proposal) -> dict[str, Any]:
    """What monitoring proposes, as the form begins with it. An alert's own title is for staff, so it is not in it."""
    states = {f"component_{one.component_id}": one.status for one in proposal.proposed.all()}
    began = proposal.since or proposal.opened_at  # type: ignore[attr-defined]
    return states | {
        "title": proposal.public_title,
        "severity": proposal.severity,
        "scenario": proposal.scenario_id,
        "started_at": timezone.localtime(began).strftime(WALL),
    }


def _open_incidents(request: HttpRequest, components: list[Component]) -> dict[int, list[Incident]]:
    """Open incidents by component, as far as this person may see them."""
    visible = Incident.objects.for_user(request.user).open()
    rows = IncidentComponent.objects.filter(component__in=components, incident__in=visible).select_related("incident")
    found = defaultdict(list)
    for row in rows:
        found[row.component_id].append(row.incident)
    return found


def _grouped(form: DeclareForm, already: dict[int, list[Incident]]) -> list[tuple[str, list[dict[str, Any]]]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with translation.override(settings.LANGUAGE_CODE):
        in_title = {s: str(s.label).lower() for s in STATES}  # the page shows the title that would be made
    for component in form.operable:
        chosen = form.state(component)
        states = [(s.value, short, s.label, s.value == chosen, in_title[s]) for s, short in STATES.items()]
        row = {"component": component, "key": form.key(component), "states": states, "open": already.get(component.pk)}
        groups[component.group.name if component.group else _("Other")].append(row)
    return list(groups.items())


def _declare(request: HttpRequest, data: dict[str, Any], proposal: Proposal | None) -> HttpResponse:
    with transaction.atomic():
        incident = declaring.declare(
            request.user, data["title"], data["components"], data["severity"], data["scenario"], data["started_at"]
        )
        if proposal:
            proposal.accept(request.user, incident)
    if plan := incident.plan_version:
        held = "; ".join(f"{role}: {who}" for role, who in glance.held_roles(incident))
        told = _("Declared. First update within %(minutes)s minutes (plan “%(plan)s”).") % {
            "minutes": plan.first_update_minutes,
            "plan": incident.plan,
        }
        messages.success(request, f"{told} {held or _('The plan names nobody for the roles.')}")
    else:
        text = _("Declared, but no plan covers these components: no roles, no channels and no promised times are set.")
        plans = glance.link("incidents_communicationplan_changelist")
        messages.warning(request, format_html('{} <a href="{}"><u>{}</u></a>', text, plans, _("See the plans")))
    if chosen := which_pass(incident.started_at):
        messages.info(request, _("Started at %(time)s.") % {"time": moment(incident.started_at)} + " " + chosen)
    draft = incident.updates.get()
    return HttpResponseRedirect(glance.link("incidents_incidentupdate_compose", draft.pk))
