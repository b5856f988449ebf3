"""Improvement actions: mine, what is late, and the way to move one on."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils import formats, timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from commsportal.admin import PortalModelAdmin
from feedback import improving
from feedback.models import ActionStep, ImprovementAction, SurveyAnswer
from incidents.admin import glance
from incidents.admin.dashboard import dashboard as of_incidents
from incidents.admin.plan import staff
from incidents.admin.refusal import refused
from incidents.errors import NotAllowed, Problem
from incidents.models import Incident

# Where each state may go: verb, the words of its button, and whether a reason must be given.
VERBS: dict[str, list[tuple[str, Any, bool]]] = {
    "open": [("start", _("Start"), False), ("finish", _("Done"), False), ("drop", _("Drop it"), True)],
    "in_progress": [("finish", _("Done"), False), ("drop", _("Drop it"), True)],
    "done": [("reopen", _("Open it again"), False)],
    "dropped": [("reopen", _("Open it again"), False)],
}
TONES = {"open": "held", "in_progress": "held", "done": "well", "dropped": "off"}


class WhoseFilter(admin.SimpleListFilter):
    title = _("whose")
    parameter_name = "whose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("mine", _("mine"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ImprovementAction]) -> QuerySet[ImprovementAction]:
        return queryset.filter(owner_id=request.user.pk) if self.value() == "mine" else queryset


class WhenFilter(admin.SimpleListFilter):
    title = _("to be done")
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("live", _("still to be done")), ("overdue", _("overdue"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> QuerySet[ImprovementAction]:
        return {"live": queryset.live, "overdue": queryset.overdue}.get(self.value() or "", queryset.all)()


class ActionForm(forms.ModelForm):
    class Meta:
        model = ImprovementAction
        fields: ClassVar = ["title", "why", "owner", "due_on", "incident", "plan"]

    def clean_due_on(self) -> Any:
        due = self.cleaned_data["due_on"]
        if "due_on" in self.changed_data and due < timezone.localdate():
            raise forms.ValidationError(_t("%(day)s is over: choose a day from today on."), params={"day": due})
        return due


def done(request: HttpRequest, make: Any) -> HttpResponse:
    """POST makes an action, and leads to it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        action = make()
    except Problem as error:
        return refused(request, error)
    text = _t("This is yours, until %(day)s. Say what is to be done, and hand it over if it is somebody else’s.")
    messages.success(request, text % {"day": formats.date_format(action.due_on, _t("j M Y"))})
    return HttpResponseRedirect(glance.link("feedback_improvementaction_change", action.pk))


@admin.register(ImprovementAction)
class ImprovementActionAdmin(PortalModelAdmin):
    """Fields are edited in the form; the state moves by buttons below it, and everything leaves a step."""

    form = ActionForm
    change_form_after_template = "admin/feedback/improvementaction/moves.html"
    list_display = ["title", "owner_name", "due", "state_badge", "incident"]
    list_filter = [WhoseFilter, WhenFilter, "state", "plan"]
    list_select_related = ["owner", "incident"]
    search_fields = ["title", "why", "incident__title"]
    fields: ClassVar = ["title", "why", ("owner", "due_on"), "incident", "plan"]

    def get_urls(self) -> list[URLPattern]:
        def view(method: Any) -> Any:
            return self.admin_site.admin_view(method)

        return [
            path("from-answer/<int:pk>/", view(self.from_answer), name="feedback_improvementaction_from_answer"),
            path("from-incident/<int:pk>/", view(self.from_incident), name="feedback_improvementaction_from_incident"),
            path("<int:pk>/move/<slug:verb>/", view(self.move), name="feedback_improvementaction_move"),
            *super().get_urls(),
        ]

    # ── One click ──

    def from_answer(self, request: HttpRequest, pk: int) -> HttpResponse:
        answers = SurveyAnswer.objects.for_user(request.user).select_related("incident__plan", "version")
        answer = get_object_or_404(answers, pk=pk)
        if not request.user.has_perm("feedback.view_surveyanswer"):  # type: ignore[union-attr]
            return refused(request, NotAllowed(_t("You may not read what customers answered.")))
        return done(request, lambda: improving.from_answer(answer, request.user))

    def from_incident(self, request: HttpRequest, pk: int) -> HttpResponse:
        incident = get_object_or_404(Incident.objects.for_user(request.user), pk=pk)
        if not request.user.has_perm("feedback.view_report"):  # type: ignore[union-attr]
            return refused(request, NotAllowed(_t("You may not read reports.")))
        return done(request, lambda: improving.from_incident(incident, request.user))

    def move(self, request: HttpRequest, pk: int, verb: str) -> HttpResponse:
        """POST moves it on. Its owner may, without any permission but to be of the staff."""
        action = get_object_or_404(ImprovementAction.objects.for_user(request.user), pk=pk)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        known = {one for verbs in VERBS.values() for one, _words, _asks in verbs}
        back = glance.link("feedback_improvementaction_change", pk)
        try:
            if verb not in known:
                raise NotAllowed(_t("There is no such step: “%(verb)s”.") % {"verb": verb})
            getattr(action, verb)(request.user, request.POST.get("comment", "")[:2000])
        except Problem as error:
            return refused(request, error, back)
        messages.success(request, _t("It is “%(state)s” now.") % {"state": action.get_state_display()})
        return HttpResponseRedirect(back)

    # ── The form ──

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        mine = obj is not None and obj.owner_id == request.user.pk
        return mine or super().has_view_permission(request, obj)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "owner":
            field = staff(_t("Owner"))
            field.initial = request.user.pk
            return field
        if db_field.name == "incident":
            kwargs["queryset"] = Incident.objects.for_user(request.user).order_by("-started_at")
            kwargs["widget"] = UnfoldAdminSelectWidget()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ImprovementAction, form: Any, change: bool) -> None:
        before = ImprovementAction.objects.select_related("owner").get(pk=obj.pk).facts() if change else None
        super().save_model(request, obj, form, change)
        if before is None:
            obj.steps.create(by=request.user, verb=ActionStep.Verb.MAKE)  # type: ignore[misc]
        else:
            obj.record_change(request.user, before)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        action = self.get_object(request, object_id) if object_id else None
        shown: dict[str, Any] = {}
        if action:
            shown = {
                "improvement": action,
                "verbs": VERBS[action.state] if action.may_move(request.user) else [],
                "steps": [(one, glance.name(one.by)) for one in action.steps.select_related("by")],
                "source_url": improving.source_url(action),
            }
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    # ── The list ──

    @admin.display(description=_("owner"), ordering="owner__first_name")
    def owner_name(self, action: ImprovementAction) -> str:
        return glance.name(action.owner)

    @admin.display(description=_("due on"), ordering="due_on")
    def due(self, action: ImprovementAction) -> Any:
        day = formats.date_format(action.due_on, _t("j M Y"))
        return glance.badge("paused", _t("%(day)s, overdue") % {"day": day}) if action.is_overdue else day

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, action: ImprovementAction) -> str:
        return glance.badge(TONES[action.state], action.get_state_display())


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """UNFOLD["DASHBOARD_CALLBACK"]: that of incidents, and one's own late actions. One query more."""
    late = ImprovementAction.objects.overdue().filter(owner_id=request.user.pk).order_by("due_on")
    return of_incidents(request, context) | {"late_actions": late}
