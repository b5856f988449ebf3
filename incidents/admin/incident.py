"""Incidents in the admin: the list, the page of one incident, and the start of the next update."""

from collections.abc import Iterable
from heapq import merge
from operator import itemgetter
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import formats, timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from channels.models import Dispatch
from channels.progress import Progress, progress_of
from commsportal.admin import ReadOnlyAdmin
from incidents import declaring, linking, rendering, telling_staff
from incidents.errors import Problem, Refused
from incidents.handing_over import candidates, hand_over
from incidents.models import (
    INCIDENT_STAGES,
    MAINTENANCE_STAGES,
    OVER,
    Component,
    ComponentStatus,
    Decision,
    Incident,
    IncidentTicket,
    IncidentUpdate,
    PromiseBreach,
    Role,
    Severity,
    Stage,
)

from . import aws_card, chat, declare, glance, maintenance, proposal, runbook_run, support, timeline
from .glance import badge
from .refusal import refused


class OpenFilter(admin.SimpleListFilter):
    title = gettext_lazy("open or over")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", _("Open")), ("no", _("Over"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Incident]) -> QuerySet[Incident]:
        if self.value() == "yes":
            return queryset.exclude(stage__in=OVER)
        return queryset.filter(stage__in=OVER) if self.value() == "no" else queryset


class ComponentFilter(admin.SimpleListFilter):
    """Only components that this person may see: a filter must not tell the names of the others."""

    title = gettext_lazy("component")
    parameter_name = "component"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(c.pk), c.name) for c in Component.objects.for_user(request.user)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Incident]) -> QuerySet[Incident]:
        value = self.value()
        if value and value.isdecimal():
            return queryset.filter(incident_components__component=int(value))
        return queryset


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    """What an incident says to customers changes by its updates only, so nothing here is a form of its columns."""

    list_display = ["title", "severity_badge", "stage_words", "component_names", "began", "first_told"]
    list_filter = [OpenFilter, "severity", ComponentFilter]
    search_fields = ["title", "uid"]
    date_hierarchy = "started_at"
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Incident]:
        return super().get_queryset(request).prefetch_related("incident_components__component")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.declare_incident")

    @admin.display(description=gettext_lazy("severity"), ordering="severity")
    def severity_badge(self, incident: Incident) -> str:
        if incident.maintenance:
            return badge(ComponentStatus.MAINTENANCE, _("Maintenance"))
        return badge(incident.severity, incident.get_severity_display())

    @admin.display(description=gettext_lazy("stage"), ordering="stage")
    def stage_words(self, incident: Incident) -> str:
        kind = "over" if incident.is_over else "open"
        return format_html('<span class="cp-badge cp-stage-{}">{}</span>', kind, incident.stage_in_words)

    @admin.display(description=gettext_lazy("components"))
    def component_names(self, incident: Incident) -> str:
        return ", ".join(ic.component.name for ic in incident.incident_components.all())

    @admin.display(description=gettext_lazy("started"), ordering="started_at")
    def began(self, incident: Incident) -> str:
        when = formats.date_format(timezone.localtime(incident.started_at), _("j M Y, H:i"))
        return format_html('<span class="cp-nowrap">{}</span>', when)

    @admin.display(description=gettext_lazy("customers told after"), ordering="published_at", empty_value="—")
    def first_told(self, incident: Incident) -> str | None:
        if incident.published_at is None:
            return None
        after = (incident.published_at - incident.started_at).total_seconds()
        # Maintenance is announced ahead, and imported history dates the start at the first update: no delay is known.
        if incident.maintenance or after < 0 or (after == 0 and incident.imported_from):
            return None
        return glance.span(after)

    # ── Pages ──

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("declare/", wrap(self.declare_view), name="incidents_incident_declare"),
            path("plan/", wrap(self.plan_view), name="incidents_incident_plan"),
            path("<int:pk>/move/", wrap(self.move_view), name="incidents_incident_move"),
            path("<int:pk>/cancel/", wrap(self.cancel_view), name="incidents_incident_cancel"),
            path("<int:pk>/write/", wrap(self.write_view), name="incidents_incident_write"),
            path("<int:pk>/dismiss/", wrap(self.dismiss_view), name="incidents_incident_dismiss"),
            path("<int:pk>/severity/", wrap(self.severity_view), name="incidents_incident_severity"),
            path("<int:pk>/role/", wrap(self.role_view), name="incidents_incident_role"),
            path("<int:pk>/tickets/", wrap(self.tickets_view), name="incidents_incident_tickets"),
            path("<int:pk>/support/", wrap(self.support_view), name="incidents_incident_support"),
            path("<int:pk>/support/changed/", wrap(self.support_changed), name="incidents_incident_support_changed"),
            path("<int:pk>/support/accounts/", wrap(self.accounts_view), name="incidents_incident_accounts"),
            path("<int:pk>/archive-room/", wrap(self.archive_room_view), name="incidents_incident_archive_room"),
        ]
        return [*own, *super().get_urls()]

    def _visible(self, request: HttpRequest, pk: Any) -> Incident:
        """The incident, or 404 as if it did not exist."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not str(pk).isdecimal() or not (found := self.get_queryset(request).filter(pk=int(pk)).first()):
            raise Http404(_("There is no such incident."))
        return found

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_incident_declare"))

    def declare_view(self, request: HttpRequest) -> HttpResponse:
        return declare.view(self, request)

    def plan_view(self, request: HttpRequest) -> HttpResponse:
        return maintenance.view(self, request)

    def move_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return maintenance.move(self, request, self._visible(request, pk))

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return maintenance.cancel(request, self._visible(request, pk))

    def support_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return support.page(self, request, self._visible(request, pk))

    def support_changed(self, request: HttpRequest, pk: int) -> HttpResponse:
        return support.changed(request, self._visible(request, pk))

    def accounts_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return support.affected(self, request, self._visible(request, pk))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """The incident as a story, newest first."""
        self._visible(request, object_id)
        incident = glance.with_story(Incident.objects.filter(pk=object_id)).get()
        operates = glance.may_operate(request.user, incident, glance.operable(request.user))
        pending = glance.pending(incident.talk)
        updates = list(incident.updates.select_related("author", "approved_by").prefetch_related("renditions"))
        runs, broken = timeline.runs_of(incident), list(incident.breaches.all())
        asked = timeline.asked(runs)
        story = [entry(u, ds, ps, asked) for u, ds, ps in self._story(incident, updates) if not maintenance.waits(u)]
        by_itself = timeline.happenings(incident, runs, broken)
        context = {
            **self.admin_site.each_context(request),
            "title": incident.title,
            "opts": None,
            "incident": incident,
            "since": None if incident.is_over else glance.since(incident),
            "lasted": glance.span((incident.resolved_at - incident.started_at).total_seconds())
            if incident.resolved_at and not (incident.maintenance and incident.resolved_at < incident.started_at)
            else "",
            "promise": glance.promise(incident, incident.told_at),
            "worst": glance.worst_state(incident),
            "standing": glance.standing(incident, pending, request.user, operates),
            "untold": telling_staff.untold(pending) if pending else [],
            "held": [] if incident.is_over else glance.held(updates),
            **maintenance.summary(incident, updates),
            "may_move": incident.maintenance
            and not (incident.is_over or incident.imported_from)
            and incident.may_dismiss(request.user),
            "begun": incident.stage != Stage.SCHEDULED,
            "may_cancel": incident.maintenance
            and incident.stage == Stage.SCHEDULED
            and incident.may_dismiss(request.user),
            # Each of the two keeps its own order.
            "story": list(merge(story, by_itself, key=itemgetter("at"), reverse=True)),
            "steps": incident.decisions.filter(update=None).select_related("by").order_by("-id"),
            "may_dismiss": not (incident.maintenance or incident.published_at or incident.is_over)
            and incident.may_dismiss(request.user),
            "breaches": breaches(incident, broken, updates),
            "severities": self._severities(incident, request.user, operates),
            "roles": self._roles(request, incident, operates),
            **self._tickets(request, incident, pending, operates),
            **proposal.alerts_of(incident),
            **runbook_run.cards(incident, runs, request.user, operates),
            **aws_card.card(request, incident, operates),
            "chat": chat.of(request, incident, operates),
            "sees_deliveries": request.user.has_perm("channels.view_dispatch"),
            "report": glance.link("feedback_report_incident", incident.pk)
            if request.user.has_perm("feedback.view_report")
            else "",
        }
        return render(request, "admin/incidents/incident/page.html", context)

    def _story(self, incident: Incident, updates: list[IncidentUpdate]) -> Iterable[tuple[IncidentUpdate, list, list]]:
        """Each update, newest first, with its decisions and the progress of its dispatches."""
        decisions: dict[int | None, list[Decision]] = {}
        for decision in incident.decisions.select_related("by").order_by("id"):
            decisions.setdefault(decision.update_id, []).append(decision)
        progress: dict[str, list[Progress]] = {}
        for one in progress_of(Dispatch.objects.filter(thread=incident.thread)):
            progress.setdefault(one.dispatch.source, []).append(one)
        for update in updates:
            update.incident = incident
            yield update, decisions.get(update.pk, []), progress.get(f"update:{update.pk}", [])

    def _severities(self, incident: Incident, user: Any, operates: bool) -> list[tuple[str, str]]:
        """What it could be changed to by this person."""
        if incident.is_over or incident.maintenance or incident.imported_from:
            return []
        if not (operates and user.has_perm("incidents.declare_incident")):
            return []
        if any(one.status in ("in_review", "approved") for one in incident.talk):  # type: ignore[attr-defined]  # made for the present severity
            return []
        return [(value, str(label)) for value, label in Severity.choices if value != incident.severity]

    def _roles(self, request: HttpRequest, incident: Incident, operates: bool) -> list[dict[str, Any]]:
        held = {r.role: r.user for r in incident.roles.all()}
        change = operates and not incident.is_over and request.user.has_perm("incidents.change_incident")
        people = [(u.pk, glance.name(u)) for u in candidates(incident)] if change else []
        return [{"role": r, "label": r.label, "user": held.get(r), "people": people} for r in Role]

    def _tickets(
        self, request: HttpRequest, incident: Incident, pending: IncidentUpdate | None, operates: bool
    ) -> dict[str, Any]:
        """The linked tickets by help desk, and the help desks that have a channel.

        A desk is `idle` if the update being written, or else the plan, does not go out by its channel.
        """
        desks = linking.help_desks()
        by_pk = {desk.pk: desk for desk in desks}
        linked: dict[int, list[IncidentTicket]] = {}
        for one in incident.tickets.select_related("recipient"):
            linked.setdefault(one.channel_id if one.channel_id in by_pk else 0, []).append(one)
        plan = incident.plan_version
        used: set[int] = set()
        if linked and pending:
            used = set(pending.channels.values_list("pk", flat=True))
        elif linked and plan:
            used = {one.pk for one in plan.channels(incident.stage)}
        rows = [
            {"name": by_pk[pk].name if pk else _("A help desk that is gone"), "tickets": found, "idle": pk not in used}
            for pk, found in linked.items()
        ]
        may = operates and request.user.has_perm("incidents.write_incidentupdate")
        return {"tickets": rows, "help_desks": desks, "may_link": may}

    # ── What a person does here, by POST ──

    def write_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Start the next update, or open the one that is being written. `stage`: what it should announce."""
        incident = self._visible(request, pk)
        back = glance.link("incidents_incident_change", pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        stage = request.POST.get("stage") or None
        try:
            if stage and stage not in (MAINTENANCE_STAGES if incident.maintenance else INCIDENT_STAGES):
                raise Refused(_("There is no stage “%(stage)s”.") % {"stage": stage[:40]})
            if request.POST.get("no_change"):
                draft = declaring.start_no_change(incident, request.user)
            else:
                draft = declaring.start_draft(incident, request.user, stage)
        except Problem as error:
            return refused(request, error, back)
        page = "compose" if draft.status == IncidentUpdate.Status.DRAFT else "review"
        return HttpResponseRedirect(glance.link(f"incidents_incidentupdate_{page}", draft.pk))

    def archive_room_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return chat.archive(request, self._visible(request, pk))

    def dismiss_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Close an incident that was declared by mistake and of which customers never heard."""
        incident = self._visible(request, pk)
        back = glance.link("incidents_incident_change", pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        try:
            incident.dismiss(request.user, request.POST.get("reason", ""))
        except Problem as error:
            return refused(request, error, back)
        messages.success(request, _("Closed. Customers were told nothing."))
        return HttpResponseRedirect(back)

    def severity_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Call it more or less severe."""
        incident = self._visible(request, pk)
        back = glance.link("incidents_incident_change", pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        try:
            incident.change_severity(request.user, request.POST.get("severity", ""), request.POST.get("reason", ""))
        except Problem as error:
            return refused(request, error, back)
        messages.success(request, _("It is %(severity)s now.") % {"severity": incident.get_severity_display()})
        return HttpResponseRedirect(back)

    def role_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Hand a role of this incident to somebody."""
        incident = self._visible(request, pk)
        back = glance.link("incidents_incident_change", pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        try:
            role, who = request.POST.get("role", ""), request.POST.get("user", "")
            person = candidates(incident).filter(pk=int(who)).first() if who.isdecimal() else None
            hand_over(incident, request.user, role, person)
        except Problem as error:
            return refused(request, error, back)
        messages.success(request, _("%(role)s: %(who)s") % {"role": Role(role).label, "who": glance.name(person)})
        return HttpResponseRedirect(back)

    def tickets_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Link the `tickets` of a `help_desk`, or `remove` one."""
        incident = self._visible(request, pk)
        back = glance.link("incidents_incident_change", pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        desk, remove = request.POST.get("help_desk", ""), request.POST.get("remove", "")
        try:
            if remove.isdecimal():
                name = linking.unlink(incident, request.user, int(remove))
                text = _("Ticket %(ticket)s gets no further updates.") % {"ticket": name}
            else:
                channel = next((one for one in linking.help_desks() if str(one.pk) == desk), None)
                if channel is None:
                    raise Refused(_("Choose the help desk of these tickets."))
                new = linking.link(incident, request.user, channel, request.POST.get("tickets", ""))
                text = ngettext("%(n)d ticket linked.", "%(n)d tickets linked.", new) % {"n": new}
        except Problem as error:
            return refused(request, error, back)
        self.log_change(request, incident, text)
        messages.success(request, text)
        return HttpResponseRedirect(back)


def breaches(incident: Incident, broken: list[PromiseBreach], updates: list[IncidentUpdate]) -> list[str]:
    """The promises that were broken, in words: when an update was due, and how late it came."""
    told = sorted(one.published_at for one in updates if one.published_at)
    found = []
    for one in broken:
        came = next((at for at in told if at > one.due_at), None) or incident.resolved_at
        late = glance.span(((came or timezone.now()) - one.due_at).total_seconds())
        text = _("due %(time)s, %(late)s late") if came else _("due %(time)s, late by %(late)s so far")
        when = text % {"time": rendering.moment(one.due_at), "late": late}
        found.append(f"{one.get_kind_display()}: {when}")
    return found


def entry(
    update: IncidentUpdate, decisions: list[Decision], progress: list[Progress], asked: dict[int, str]
) -> dict[str, Any]:
    """One update of the timeline: its words, who did what, and how far the sending is.

    `asked`: what is told of a decision that a runbook made.
    """
    told = [p for p in progress if p.dispatch.purpose == Dispatch.Purpose.UPDATE]
    return {
        "update": update,
        "at": update.published_at or update.updated_at,
        "words": glance.words(update) or _draft_words(update),
        "decisions": [(one, asked.get(one.pk, "")) for one in decisions],
        "delivery": glance.link("incidents_incidentupdate_delivery", update.pk) if told else "",
        "reached": sum(p.reached for p in told),
        "total": sum(p.total for p in told),
        "failed": sum(p.failed + p.unknown for p in told),
        "stopped": any(p.dispatch.cancelled_at for p in told),
        "finished": all(p.finished or p.dispatch.cancelled_at for p in told),
    }


def _draft_words(update: IncidentUpdate) -> dict[str, str]:
    """What a draft says so far; for one that will not be published, as it was written."""
    renditions = {r.locale: r for r in update.renditions.all()}
    own = renditions.get(translation.get_language() or "") or next(iter(renditions.values()), None)
    if own is None:
        return {}
    pending = update.status in IncidentUpdate.PENDING
    return rendering.page(rendering.final_words(own, update) if pending else own.words(), update, own.locale)
