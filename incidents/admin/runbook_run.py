"""A runbook that runs in an incident: how far it is, why it stands still, and what a person can do about it."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from commsportal.admin import ReadOnlyAdmin
from incidents.errors import Problem, Refused
from incidents.models import Incident, Runbook, RunbookRun, RunbookStepRun, StaffNotice
from incidents.models.decision import name_of
from incidents.rendering import moment
from incidents.runbooks import KINDS, running

from . import glance
from .refusal import refused
from .runbook import starts_in_words, title_of

TONES = {
    RunbookStepRun.State.DONE: "cp-tone-good",
    RunbookStepRun.State.SKIPPED: "cp-tone-off",
    RunbookStepRun.State.FAILED: "cp-tone-bad",
    RunbookStepRun.State.UNKNOWN: "cp-tone-bad",
    RunbookStepRun.State.WAITING: "cp-tone-warn",
    RunbookStepRun.State.DOING: "cp-tone-warn",
}
RUN_TONES = {
    RunbookRun.State.RUNNING: "cp-tone-warn",
    RunbookRun.State.WAITING: "cp-tone-warn",
    RunbookRun.State.PAUSED: "cp-tone-bad",
    RunbookRun.State.DONE: "cp-tone-good",
    RunbookRun.State.STOPPED: "cp-tone-off",
}


@dataclass(frozen=True)
class Given:
    """What somebody sent that was refused: shown again as it was, with the error beside it."""

    do: str
    reason: str
    ticked: list[int]
    error: Refused


@dataclass(frozen=True)
class Line:
    """A step as the page of a run shows it."""

    number: int
    title: str
    detail: str
    log: RunbookStepRun | None
    current: bool
    jumped: bool  # a branch led past it
    stopped: bool  # it was under way when the run was stopped
    items: list[str]  # of a checklist
    asked: bool  # its items may be ticked now, by whoever reads this

    @property
    def tone(self) -> str:
        return TONES[RunbookStepRun.State(self.log.state)] if self.log else "cp-tone-off"

    @property
    def state(self) -> str:
        if self.stopped:
            return str(RunbookRun.State.STOPPED.label)
        return self.log.get_state_display() if self.log else ""


def lines_of(run: RunbookRun, may_act: bool) -> list[Line]:
    """Two queries."""
    log = {one.index: one for one in run.log.select_related("by")}
    told = _told(run)
    found = []
    for index, step in enumerate(run.steps):
        kind = KINDS.get(step["kind"])
        items = kind.items(step) if kind else []
        current = index == run.position and not run.is_over
        if "text" in step and index in told:
            step = {**step, "text": told[index]}
        found.append(
            Line(
                number=index + 1,
                title=title_of(step),
                detail=kind.in_words(step) if kind else "",
                log=log.get(index),
                current=current,
                jumped=index < run.position and index not in log,
                stopped=index in log and was_stopped(run, log[index]),
                items=items,
                asked=bool(items) and current and may_act and run.state in RunbookRun.LIVE,
            )
        )
    return found


def was_stopped(run: RunbookRun, one: RunbookStepRun) -> bool:
    """Whether the step ended because the run was stopped. Whoever skips a step moves the run past it."""
    at_it = run.state == RunbookRun.State.STOPPED and one.index == run.position
    return at_it and one.state == RunbookStepRun.State.SKIPPED


def _told(run: RunbookRun) -> dict[int, str]:
    """What each step that told somebody really said: as this reader's language has it, else as it went out first."""
    notices = StaffNotice.objects.filter(kind=StaffNotice.Kind.RUNBOOK, key__startswith=f"runbook:{run.pk}:")
    found: dict[int, str] = {}
    for key, locale, text in notices.order_by("pk").values_list("key", "locale", "text"):
        index = int(key.split(":")[2])
        if index not in found or locale == get_language():
            found[index] = text
    return found


def cards(incident: Incident, runs: list[RunbookRun], user: Any, operates: bool) -> dict[str, Any]:
    """For the page of the incident: its runs, and the runbooks that could be started. One query."""
    may = operates and not incident.is_over and user.has_perm("incidents.write_incidentupdate")
    going = {one.runbook_id for one in runs if not one.is_over}
    ready = [one for one in Runbook.objects.filter(enabled=True) if one.pk not in going] if may else []
    return {
        "runs": [
            {
                "run": one,
                "tone": RUN_TONES[RunbookRun.State(one.state)],
                "started": _started(one),
                "step": title_of(one.step) if one.step and not one.is_over else "",
                "at": min(one.position + 1, len(one.steps)),
                "of": len(one.steps),
            }
            for one in runs[:20]
        ],
        "runbooks": ready,
    }


def _started(run: RunbookRun) -> str:
    """When, and by whom or what."""
    what = {"time": moment(run.started_at), "why": run.get_trigger_display(), "who": name_of(run.by)}
    if run.trigger:
        return _("Started %(time)s (%(why)s), in the name of %(who)s.") % what
    return _("Started %(time)s by %(who)s.") % what


@admin.register(RunbookRun)
class RunbookRunAdmin(ReadOnlyAdmin):
    list_display = ["runbook_name", "incident", "state", "trigger_in_words", "started_at", "finished_at"]
    list_filter = ["state"]
    list_select_related = ["incident"]
    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.view_incident") and self._in_scope(request, obj)

    @admin.display(description=gettext_lazy("runbook"))
    def runbook_name(self, run: RunbookRun) -> str:
        return str(run)

    @admin.display(description=gettext_lazy("started by"))
    def trigger_in_words(self, run: RunbookRun) -> str:
        return run.get_trigger_display() or _("by hand")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("start/<int:pk>/", wrap(self.start_view), name="incidents_runbookrun_start"),
            path("<int:pk>/act/", wrap(self.act_view), name="incidents_runbookrun_act"),
        ]
        return [*own, *super().get_urls()]

    def _visible(self, request: HttpRequest, key: Any) -> RunbookRun:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = self.get_queryset(request).select_related("incident__plan_version", "by", "update", "automation")
        run = found.filter(pk=int(key)).first() if str(key).isdecimal() and len(str(key)) < 19 else None
        if run is None:
            raise Http404(_("There is no such run."))
        return run

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Its steps in order, with what became of each."""
        return self._page(request, self._visible(request, object_id))

    def _page(self, request: HttpRequest, run: RunbookRun, given: Given | None = None) -> HttpResponse:
        operates = run.incident.may_operate(request.user)
        may_act = operates and not run.is_over and request.user.has_perm("incidents.write_incidentupdate")
        context = {
            **self.admin_site.each_context(request),
            "title": str(run),
            "run": run,
            "tone": RUN_TONES[RunbookRun.State(run.state)],
            "started": run.get_trigger_display() or _("by hand"),
            "starts": starts_in_words(run.content),
            "there": getattr(run, "automation", None),
            "sees_there": any(request.user.has_perm(f"incidents.{one}_runbook") for one in ("view", "change")),
            "lines": lines_of(run, may_act),
            "may_act": may_act,
            "live": run.state in RunbookRun.LIVE,
            "given": given,
        }
        return render(
            request, "admin/incidents/runbookrun/page.html", context, status=given.error.status if given else 200
        )

    # ── What a person does here, by POST ──

    def start_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Start the `runbook` in the incident of this key."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        incident = Incident.objects.for_user(request.user).filter(pk=pk).select_related("plan_version").first()
        if incident is None:
            raise Http404(_("There is no such incident."))
        back = glance.link("incidents_incident_change", pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        key = request.POST.get("runbook", "")
        try:
            runbook = Runbook.objects.filter(pk=int(key)).first() if key.isdecimal() and len(key) < 19 else None
            if runbook is None:
                raise Refused(_("Choose a runbook."))
            run = running.start(incident, runbook, request.user)
        except Problem as error:
            return refused(request, error, back)
        messages.success(request, _("“%(name)s” was started.") % {"name": run})
        return HttpResponseRedirect(glance.link("incidents_runbookrun_change", run.pk))

    def act_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """`do`: pause, resume, skip, stop or answer; `index` of the step and `reason` where they are needed."""
        run = self._visible(request, pk)
        back = glance.link("incidents_runbookrun_change", pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        given, reason = request.POST.get("index", ""), request.POST.get("reason", "")
        index = int(given) if given.isdecimal() and len(given) < 4 else -1
        ticked = [int(one) for one in request.POST.getlist("ticked") if one.isdecimal() and len(one) < 4]
        do = request.POST.get("do", "")
        try:
            match do:
                case "pause":
                    running.pause(run, request.user)
                case "resume":
                    running.resume(run, request.user)
                case "skip":
                    running.skip(run, request.user, index, reason)
                case "stop":
                    running.stop(run, request.user, reason)
                case "answer":
                    running.answer(run, request.user, index, ticked, reason)
                case _other:
                    raise Refused(_("There is nothing called “%(what)s” to do here.") % {"what": do[:40]})
        except Problem as error:
            if isinstance(error, Refused) and do in ("answer", "skip", "stop"):
                return self._page(request, run, Given(do, reason, ticked, error))
            return refused(request, error, back)
        return HttpResponseRedirect(back)
