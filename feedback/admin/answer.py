"""Survey answers to read: what they wrote is screened, and who reads it as it was written leaves a trace."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from commsportal.admin import ReadOnlyAdmin
from feedback import screening
from feedback.models import ImprovementAction, SurveyAnswer, SurveyReading
from feedback.models.answer import LOW
from incidents.admin.refusal import refused
from incidents.errors import NotAllowed


class LowFilter(admin.SimpleListFilter):
    """Those to act on: a low score."""

    title = _("score")
    parameter_name = "score"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("low", _("how clear: 1 or 2"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[SurveyAnswer]) -> QuerySet[SurveyAnswer]:
        return queryset.filter(given__clear__lte=LOW) if self.value() == "low" else queryset


@admin.register(SurveyAnswer)
class SurveyAnswerAdmin(ReadOnlyAdmin):
    list_display = ["at", "incident", "scores", "channel", "locale", "said"]
    list_filter = [LowFilter, "version", "channel", "locale", "incident__severity", "at"]
    list_select_related = ["incident", "version", "channel"]
    # Not by what they wrote: who searches for a number would learn who left it.
    search_fields = ["incident__title"]
    date_hierarchy = "at"
    change_form_after_template = "admin/feedback/surveyanswer/read.html"
    # The person is left out: an answer is about the message, not about who gave it.
    fields = ["incident", "version", "answered", "channel", "locale", "at"]
    readonly_fields = ["answered"]

    def get_urls(self) -> list[URLPattern]:
        read = path("<int:pk>/read/", self.admin_site.admin_view(self.read), name="feedback_surveyanswer_read")
        return [read, *super().get_urls()]

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        answer = self.get_object(request, object_id) if object_id else None
        masked = answer is not None and any(
            screening.screen(text, answer.locale).masked for text in answer.texts.values()
        )
        shown: dict[str, Any] = {"answer": answer, "masked": masked, "may_read": self._may_read(request)}
        if answer and request.user.has_perm("feedback.view_improvementaction"):  # type: ignore[union-attr]
            shown["actions"] = ImprovementAction.objects.for_user(request.user).filter(source=f"answer:{answer.pk}")
            shown["may_act"] = request.user.has_perm("feedback.add_improvementaction")  # type: ignore[union-attr]
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def _may_read(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("feedback.read_surveytext")  # type: ignore[union-attr]

    def read(self, request: HttpRequest, pk: int) -> HttpResponse:
        """POST shows what was written as it was written, and writes down who read it."""
        answer = get_object_or_404(self.get_queryset(request).select_related("version", "incident"), pk=pk)
        if not self._may_read(request):
            text = _t("You may not read answers unscreened. Ask an administrator for this permission.")
            return refused(request, NotAllowed(text))
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        with transaction.atomic():
            SurveyReading.objects.create(answer=answer, by=request.user)  # type: ignore[misc]
        context = {
            **self.admin_site.each_context(request),
            "title": _t("As it was written"),
            "answer": answer,
            "readings": answer.readings.select_related("by")[:20],
        }
        response = render(request, "admin/feedback/surveyanswer/text.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @display(description=_("scores"))
    def scores(self, answer: SurveyAnswer) -> str:
        return "/".join(str(answer.given.get(one["key"], "–")) for one in answer.version.scales) or "–"

    @display(description=_("what they wrote"))
    def said(self, answer: SurveyAnswer) -> str:
        return Truncator(" · ".join(screening.screened(answer).values())).chars(120)

    @display(description=_("answers"))
    def answered(self, answer: SurveyAnswer) -> SafeString:
        rows = answer.in_words(screening.screened(answer))
        return format_html_join(
            "",
            '<p class="cp-subtle">{}</p><p class="cp-prewrap">{}</p>',
            ((asked, said) for asked, said, _free in rows),
        )
