"""Known questions in the admin: who writes updates writes them, somebody else approves them."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from incidents.errors import Problem
from incidents.models import Incident, KnownQuestion

from . import glance
from .history import HistoryAdmin
from .refusal import refused


class QuestionForm(forms.ModelForm):
    class Meta:
        model = KnownQuestion
        fields = ["incident", "scenario", "locale", "question", "answer", "position"]

    def clean_incident(self) -> Incident | None:
        incident = self.cleaned_data.get("incident")
        # Seeing it is not enough: what stands there is said to customers of all its components.
        if incident and not incident.may_operate(self.user):  # type: ignore[attr-defined]
            raise ValidationError(_("You may not work on all components of “%(title)s”.") % {"title": incident.title})
        return incident


@admin.register(KnownQuestion)
class KnownQuestionAdmin(HistoryAdmin):
    form = QuestionForm
    list_display = ["question", "about", "locale", "approved", "updated_at"]
    list_filter = ["locale", "scenario"]
    search_fields = ["question", "answer", "incident__title"]
    list_select_related = ["incident", "scenario"]
    autocomplete_fields = ["incident"]  # there may be thousands
    ordering = ["-updated_at"]
    fieldsets = [
        (gettext_lazy("What customers ask"), {"fields": ["locale", "question", "answer", "position"]}),
        (gettext_lazy("Where it holds: choose one"), {"fields": ["incident", "scenario"]}),
    ]
    change_form_after_template = "admin/incidents/knownquestion/approval.html"

    # ── Who may: no permission of its own, but that of writing updates ──

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.view_incident") and self._in_scope(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.write_incidentupdate")

    def has_change_permission(self, request: HttpRequest, obj: KnownQuestion | None = None) -> bool:
        if obj is not None and obj.pk:
            return self._in_scope(request, obj) and obj.may_write(request.user)
        return self.has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: KnownQuestion | None = None) -> bool:
        return obj is not None and self.has_change_permission(request, obj)

    # ── Form ──

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.user = request.user
        return form

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "incident":
            kwargs["queryset"] = Incident.objects.for_user(request.user).order_by("-started_at")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("for"))
    def about(self, question: KnownQuestion) -> str:
        return str(question.incident or question.scenario)

    @admin.display(description=gettext_lazy("may be said"), boolean=True)
    def approved(self, question: KnownQuestion) -> bool:
        return question.is_approved

    def response_post_save_add(self, request: HttpRequest, obj: KnownQuestion) -> HttpResponse:
        return self._back(obj) or super().response_post_save_add(request, obj)

    def response_post_save_change(self, request: HttpRequest, obj: KnownQuestion) -> HttpResponse:
        return self._back(obj) or super().response_post_save_change(request, obj)

    def _back(self, question: KnownQuestion) -> HttpResponse | None:
        if not question.incident_id:
            return None
        return HttpResponseRedirect(glance.link("incidents_incident_support", question.incident_id))

    # ── Approval ──

    def get_urls(self) -> list[URLPattern]:
        approve = path(
            "<int:pk>/approve/", self.admin_site.admin_view(self.approve_view), name="incidents_knownquestion_approve"
        )
        return [approve, *super().get_urls()]

    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """POST approves the answer as it was shown. `incident`: whose support brief to go back to."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        question = self.get_queryset(request).filter(pk=pk).first()
        if question is None:
            raise Http404
        back = glance.link("incidents_knownquestion_change", pk)
        if (brief := request.POST.get("incident", "")).isdecimal() and len(brief) < 19:
            back = glance.link("incidents_incident_support", int(brief))
        if request.method == "POST":
            try:
                question.approve(request.user, request.POST.get("seen_hash", ""))
            except Problem as error:
                return refused(request, error, back)
            self.log_change(request, question, _("Approved."))
            messages.success(request, _("Approved: this may be said now."))
        return HttpResponseRedirect(back)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        question = self.get_object(request, object_id) if object_id else None
        shown = {
            "question": question,
            "approver": glance.name(question.approved_by) if question and question.approved_by else "",
            "may_approve": question is not None
            and not question.is_approved
            and question.may_approve(request.user)
            and request.user not in question.writers(),
        }
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})
