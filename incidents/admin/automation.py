"""Runbooks on AWS: what would be registered, what is, and each execution with its steps and signals."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display

from commsportal.admin import PortalModelAdmin, ReadOnlyAdmin
from incidents.aws import automation
from incidents.aws import automation_document as documents
from incidents.errors import Problem, Refused, WrongState
from incidents.models import AutomationDocument, AutomationExecution, AutomationSignal, Incident
from incidents.models.automation import BAD, GOOD, in_words

from . import glance
from .alert import LinesField
from .refusal import refused

MOST_INCIDENTS = 50
TONES = {"new": "quiet", "asked": "warn", "registered": "good", "failed": "bad"}
DOES = {
    "aws:approve": gettext_lazy("Approval: the portal’s is signalled to AWS"),
    "aws:pause": gettext_lazy("The portal does it; AWS waits"),
}


def tone(status: str) -> str:
    return "good" if status in GOOD else "bad" if status in BAD else "warn" if status == "Waiting" else "quiet"


def lines_of(text: str) -> list[str]:
    return [one.strip() for one in text.splitlines() if one.strip()]


class AutomationDocumentForm(forms.ModelForm):
    approvers = LinesField(
        label=gettext_lazy("Who may approve in AWS"),
        required=False,
        max_length=8000,
        help_text=AutomationDocument._meta.get_field("approvers").help_text,  # type: ignore[union-attr]
    )
    integrations = LinesField(
        label=gettext_lazy("Integrations of webhooks"),
        required=False,
        max_length=8000,
        help_text=AutomationDocument._meta.get_field("integrations").help_text,  # type: ignore[union-attr]
    )

    class Meta:
        model = AutomationDocument
        fields = ["runbook", "region", "name", "role_arn", "topic_arn", "approvers", "integrations"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["approvers"] = "\n".join(self.instance.approvers)
            given = sorted(self.instance.integrations.items(), key=lambda one: int(one[0]))
            self.initial["integrations"] = "\n".join(f"{step} = {name}" for step, name in given)

    def clean_approvers(self) -> list[str]:
        return lines_of(self.cleaned_data["approvers"])

    def clean_integrations(self) -> dict[str, str]:
        found = {}
        for number, line in enumerate(lines_of(self.cleaned_data["integrations"]), 1):
            step, _equals, name = (part.strip() for part in line.partition("="))
            if not (step.isascii() and step.isdecimal() and 0 < int(step[:4]) < 1000 and name) or len(name) > 200:
                wrong = _("Line %(number)d, “%(line)s”: write the number of a step and a name, as in 3 = bank.")
                raise ValidationError(wrong % {"number": number, "line": line[:60]})
            found[str(int(step))] = name
        return found


@admin.register(AutomationDocument)
class AutomationDocumentAdmin(PortalModelAdmin):
    """Who may change runbooks hands them to AWS; who may see them sees what became of it."""

    form = AutomationDocumentForm
    fields = AutomationDocumentForm.Meta.fields
    list_display = ["name", "runbook", "region", "shown_state", "version", "registered_at"]
    list_filter = ["region", "state"]
    search_fields = ["name", "runbook__name"]
    list_select_related = ["runbook"]
    change_form_before_template = "admin/incidents/automation/state.html"

    @display(
        description=gettext_lazy("state"),
        label={"new": "default", "asked": "warning", "registered": "success", "failed": "danger"},
    )
    def shown_state(self, one: AutomationDocument) -> tuple[str, str]:
        return one.state, str(one.get_state_display())

    # ── Who may ──

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = request.user
        return user.has_perm("incidents.view_runbook") or user.has_perm("incidents.change_runbook")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.change_runbook")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.change_runbook")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.change_runbook")

    # ── Settings ──

    def get_readonly_fields(self, request: HttpRequest, obj: AutomationDocument | None = None) -> list[str]:
        """What AWS has been told does not move to another place."""
        return ["runbook", "region", "name"] if obj and (obj.version or obj.state == "asked") else []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        one = context.get("original")
        if one:
            context |= self._state(request, one)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: AutomationDocument, form: Any, change: bool) -> None:
        # Only what the form shows: a worker may be registering it right now.
        obj.save(update_fields=[*form.cleaned_data]) if change else obj.save()

    def _state(self, request: HttpRequest, one: AutomationDocument) -> dict[str, Any]:
        text, error = self._text(one)
        lacking = "" if error else automation.missing(one, one.runbook.content())
        return {
            "document": one,
            "tone": TONES[one.state],
            "lacking": lacking,
            "error": error,
            "differs": bool(one.version and not error and documents.hash_of(text) != one.content_hash),
            "may_register": self.has_change_permission(request) and one.state != "asked",
            "registered_now": one.state == "registered" and documents.hash_of(text) == one.content_hash,
        }

    @staticmethod
    def _text(one: AutomationDocument) -> tuple[str, str]:
        """What would be registered now, or why that cannot be."""
        try:
            return automation.text_now(one), ""
        except Refused as refusal:
            return "", str(refusal)

    # ── Export, register, start ──

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/document/", wrap(self.document_view), name="incidents_automationdocument_document"),
            path("<int:pk>/download/", wrap(self.download_view), name="incidents_automationdocument_download"),
            path("<int:pk>/register/", wrap(self.register_view), name="incidents_automationdocument_register"),
            path("<int:pk>/start/", wrap(self.start_view), name="incidents_automationdocument_start"),
        ]
        return [*own, *super().get_urls()]

    def _document(self, request: HttpRequest, pk: int) -> AutomationDocument:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = AutomationDocument.objects.select_related("runbook").filter(pk=pk).first()
        if found is None:
            raise Http404(_("There is no such runbook on AWS."))
        return found

    def _page(self, request: HttpRequest, name: str, title: str, **context: Any) -> HttpResponse:
        page = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return render(request, f"admin/incidents/automation/{name}.html", page)

    def document_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The exported document: who does what, and the text itself."""
        one = self._document(request, pk)
        state = self._state(request, one)
        text = self._text(one)[0]
        title = _("“%(name)s” for AWS") % {"name": one.runbook}
        return self._page(request, "document", title, **state, text=text, steps=steps_of(one) if text else [])

    def download_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        one = self._document(request, pk)
        text, error = self._text(one)
        if error:
            return refused(request, Refused(error), glance.link("incidents_automationdocument_change", pk))
        response = HttpResponse(text, content_type="application/json; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{one.name}.json"'
        response["X-Content-Type-Options"] = "nosniff"
        return response

    def register_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET shows what is registered, where; POST asks for it."""
        one = self._document(request, pk)
        if not self.has_change_permission(request):
            raise PermissionDenied
        back = glance.link("incidents_automationdocument_change", pk)
        if request.method == "POST":
            try:
                automation.register(one, request.user, request.POST.get("seen", ""))
            except Problem as error:
                return refused(request, error, back)
            self.log_change(request, one, _("Registration on AWS was asked for."))
            messages.success(request, _("It is being registered. This page tells what AWS says."))
            return HttpResponseRedirect(back)
        state = self._state(request, one)
        if why := state["error"] or state["lacking"]:
            return refused(request, Refused(why), back)
        if state["registered_now"]:
            return refused(request, WrongState(_("The runbook is registered as it is now.")), back)
        title = _("Register “%(name)s” on AWS?") % {"name": one.runbook}
        seen = documents.hash_of(self._text(one)[0])
        return self._page(request, "register", title, **state, seen=seen, steps=steps_of(one), back=back)

    def start_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET asks in which incident, then shows what will happen; POST starts it."""
        one = self._document(request, pk)
        if not self.has_change_permission(request):
            raise PermissionDenied
        back = glance.link("incidents_automationdocument_change", pk)
        key = (request.POST or request.GET).get("incident", "")
        mine = Incident.objects.open().for_user(request.user)
        incident = mine.filter(pk=int(key)).first() if key.isdecimal() and len(key) < 19 else None
        if key and incident is None:
            raise Http404(_("There is no such open incident."))
        if request.method == "POST" and incident:
            try:
                execution = automation.start(one, incident, request.user)
            except Problem as error:
                return refused(request, error, back)
            self.log_change(request, one, _("Started in “%(incident)s”.") % {"incident": incident})
            messages.success(request, _("It is being handed to AWS. This page tells how far it is."))
            return HttpResponseRedirect(glance.link("incidents_automationexecution_change", execution.pk))
        if not one.version:
            return refused(request, Refused(_("It is not registered in AWS yet.")), back)
        title = _("Start “%(name)s” on AWS?") % {"name": one.runbook}
        incidents = [] if incident else list(mine.order_by("-pk")[:MOST_INCIDENTS])
        state = self._state(request, one)
        return self._page(
            request,
            "start",
            title,
            **state,
            incident=incident,
            incidents=incidents,
            steps=steps_of(one, registered=True),
            back=back,
        )


def steps_of(one: AutomationDocument, registered: bool = False) -> list[dict[str, str]]:
    """Who does what: [{"words", "who", "action"}], of what is registered or of the runbook as it is now.

    Raises Refused, for the latter.
    """
    text = one.text if registered else automation.text_now(one)
    return [
        {
            "words": step["description"],
            "action": step["action"],
            "who": str(DOES.get(step["action"], _("AWS does it"))),
        }
        for step in json.loads(text)["mainSteps"]
    ]


# ── Executions ──────────────────────────────────────────────────────────────


@admin.register(AutomationExecution)
class AutomationExecutionAdmin(ReadOnlyAdmin):
    """What was started on AWS, in incidents that a person sees."""

    list_display = ["document_name", "incident", "shown_status", "asked_at", "looked_at"]
    list_filter = ["region"]
    search_fields = ["document_name", "execution_id"]
    list_select_related = ["incident"]
    ordering = ["-pk"]
    list_per_page = 50

    @display(
        description=gettext_lazy("state"),
        label={"good": "success", "bad": "danger", "warn": "warning", "quiet": "default"},
    )
    def shown_status(self, one: AutomationExecution) -> tuple[str, str]:
        return tone(one.status), one.status_in_words

    def get_queryset(self, request: HttpRequest) -> QuerySet[AutomationExecution]:
        mine = Incident.objects.for_user(request.user).order_by().values("pk")
        return super().get_queryset(request).filter(incident__in=mine)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = request.user
        sees = user.has_perm("incidents.view_runbook") or user.has_perm("incidents.change_runbook")
        return sees and user.has_perm("incidents.view_incident") and self._in_scope(request, obj)

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "<int:pk>/again/",
                self.admin_site.admin_view(self.again_view),
                name="incidents_automationexecution_again",
            )
        ]
        return [*own, *super().get_urls()]

    def _execution(self, request: HttpRequest, key: str) -> AutomationExecution:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = self.get_queryset(request).select_related("incident", "run__update", "document", "by")
        found = rows.filter(pk=int(key)).first() if key.isdecimal() and len(key) < 19 else None
        if found is None:
            raise Http404(_("There is no such execution."))
        return found

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """How far it is, step by step, and every signal."""
        one = self._execution(request, object_id)
        signals = list(one.signals.all())
        half = dict(enumerate(one.run.steps)) if one.run else {}
        names: dict[str, str] = {}
        for step in one.steps:
            index = documents.index_of(step["name"])
            here = half.get(index) if index is not None else None
            names[step["name"]] = here.get("does") or documents.words_of(here) if here else step["name"]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": one.document_name,
            "one": one,
            "tone": tone(one.status),
            "steps": [shown(step, names[step["name"]]) for step in one.steps],
            "signals": [(signal, names.get(signal.step, signal.step)) for signal in signals],
            "refused": any(signal.state == AutomationSignal.State.FAILED for signal in signals),
            "runs_on": one.runs_on,
            "waits": self._waits(one, names),
            "here": one.run.log.order_by("-index").first() if one.run else None,
            "may": request.user.has_perm("incidents.change_runbook") and one.incident.may_operate(request.user),
        }
        return render(request, "admin/incidents/automation/execution.html", context)

    @staticmethod
    def _waits(one: AutomationExecution, names: dict[str, str]) -> str:
        """What AWS waits for, and whose turn it is."""
        step = one.waiting_step
        if step is None or one.runs_on:
            return ""
        if step["action"] == "aws:approve":
            return _("AWS waits for the approval that the portal asks for.")
        return _("AWS waits until the portal has done this step: %(step)s") % {"step": names[step["name"]]}

    def again_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Look now, and send anew what AWS refused."""
        one = self._execution(request, str(pk))
        back = glance.link("incidents_automationexecution_change", one.pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        try:
            automation.again(one, request.user)
        except Problem as error:
            return refused(request, error, back)
        self.log_change(request, one, _("Asked AWS again."))
        messages.success(request, _("AWS is being asked."))
        return HttpResponseRedirect(back)


def shown(step: dict[str, str], words: str) -> dict[str, Any]:
    """A step as its page shows it."""
    return {
        **step,
        "words": words,
        "tone": tone(step["status"]),
        "in_words": in_words(step["status"]),
        "who": str(DOES.get(step["action"], _("AWS does it"))),
        "began_at": parse_datetime(step["began"]) if step["began"] else None,
        "ended_at": parse_datetime(step["ended"]) if step["ended"] else None,
    }
