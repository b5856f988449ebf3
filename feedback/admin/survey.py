"""Surveys as staff design them: how they are sent, their questions in every language, and the page as it will be."""

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import translation
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import slugify
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from commsportal.admin import PortalModelAdmin
from feedback import exports, results, survey_form
from feedback.models import Report, Survey, SurveyAnswer, SurveyQuestion, SurveyVersion
from feedback.models.survey import worded
from feedback.results import Results
from feedback.tiles import SHORT
from incidents.admin.glance import badge
from incidents.models.words import plain

MOST_QUESTIONS = 10
MOST_CHOICES = 8
TEXT = "text_"
CHOICES = "choice__"  # a setting of this kind of question alone: static/portal/kinds.js
LANGUAGES = dict(settings.LANGUAGES)


class SurveyDesignForm(forms.ModelForm):
    class Meta:
        model = Survey
        fields: ClassVar = [
            "name",
            "default",
            "plans",
            "share",
            "anonymous",
            "open_days",
            "remind_days",
            "change_minutes",
        ]

    def _get_validation_exclusions(self) -> Any:
        """The one that was the usual one so far makes room when it is saved."""
        return {*super()._get_validation_exclusions(), "default"}  # type: ignore[misc]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        days, remind = data.get("open_days"), data.get("remind_days")
        if days and remind and remind >= days:
            text = _t("The reminder must come before the survey closes, which is after %(days)s days.")
            self.add_error("remind_days", text % {"days": days})
        taken = Survey.objects.exclude(pk=self.instance.pk).filter(plans__in=data.get("plans") or ())
        for one in taken.distinct().prefetch_related("plans"):
            names = ", ".join(plan.name for plan in one.plans.all() if plan in data["plans"])
            text = _t("%(plans)s: this is asked by “%(survey)s” already. Untick it here, or there.")
            self.add_error("plans", text % {"plans": names, "survey": one.name})
        return data


class QuestionForm(forms.ModelForm):
    """A question with its words in each language; the answers to choose from are one on each line."""

    class Meta:
        model = SurveyQuestion
        fields: ClassVar = ["position", "kind", "required", "key"]
        widgets: ClassVar = {"kind": UnfoldAdminSelectWidget(attrs={"data-cp-kind": ""})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].required = False
        for locale in LANGUAGES:
            self.fields[TEXT + locale].initial = self.instance.text.get(locale, "")
            lines = [one["text"].get(locale, "") for one in self.instance.choices]
            self.fields[CHOICES + locale].initial = "\n".join(lines)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        text = {locale: plain(data.get(TEXT + locale) or "").strip() for locale in LANGUAGES}
        self.instance.text = text
        if not data.get("key"):
            data["key"] = slugify(text.get(settings.LANGUAGE_CODE, ""))[:32].strip("-") or f"question-{self.prefix}"
        self.instance.choices = self._choices(data) if data.get("kind") == SurveyQuestion.Kind.CHOICE else []
        return data

    def _choices(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        lines = {
            locale: [line.strip() for line in plain(data.get(CHOICES + locale) or "").splitlines() if line.strip()]
            for locale in LANGUAGES
        }
        first = next(iter(LANGUAGES))
        for locale, found in lines.items():
            if not 2 <= len(found) <= MOST_CHOICES:
                text = _t("%(n)d answers: write 2 to %(most)d, one on each line.")
                self.add_error(CHOICES + locale, text % {"n": len(found), "most": MOST_CHOICES})
            elif len(set(found)) < len(found):
                self.add_error(CHOICES + locale, _t("An answer stands here twice."))
            elif len(found) != len(lines[first]):
                text = _t("%(n)d answers, and %(other)d in %(language)s: each needs its line in every language.")
                values = {"n": len(found), "other": len(lines[first]), "language": LANGUAGES[first]}
                self.add_error(CHOICES + locale, text % values)
        if self.errors:
            return []
        return [
            {"key": str(number), "text": dict(zip(lines, words, strict=True))}
            for number, words in enumerate(zip(*lines.values(), strict=True), 1)
        ]


def question_form() -> type[QuestionForm]:
    """QuestionForm with a field for the words and the choices in each language."""
    members: dict[str, Any] = {}
    for locale, language in LANGUAGES.items():
        members[TEXT + locale] = forms.CharField(
            label=_("Question in %(language)s") % {"language": language},
            max_length=200,
            widget=UnfoldAdminTextInputWidget(attrs={"lang": locale}),
        )
        members[CHOICES + locale] = forms.CharField(
            label=_("Answers in %(language)s, one on each line") % {"language": language},
            max_length=1000,
            required=False,
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "lang": locale}),
        )
    return type("QuestionForm", (QuestionForm,), members)


class QuestionFormSet(forms.BaseInlineFormSet):
    def clean(self) -> None:
        kept = [
            one for one in self.forms if not one.cleaned_data.get("DELETE") and (one.has_changed() or one.instance.pk)
        ]
        if not kept:
            raise forms.ValidationError(_t("A survey needs a question."))
        if len(kept) > MOST_QUESTIONS:
            raise forms.ValidationError(_t("A survey has %(n)d questions at most.") % {"n": MOST_QUESTIONS})
        keys = [one.cleaned_data.get("key") for one in kept]
        for one in kept:
            if (key := one.cleaned_data.get("key")) and keys.count(key) > 1:
                one.add_error("key", _t("“%(key)s” is the key of another question, too.") % {"key": key})
        super().clean()


class QuestionInline(StackedInline):
    model = SurveyQuestion
    form = question_form()
    formset = QuestionFormSet
    extra = 0
    verbose_name = _("question")
    verbose_name_plural = _("Questions")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("feedback.view_survey") or self._may(request)  # type: ignore[union-attr]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def _may(self, request: HttpRequest) -> bool:
        return any(request.user.has_perm(f"feedback.{verb}_survey") for verb in ("add", "change"))  # type: ignore[union-attr]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        texts, choices = [TEXT + one for one in LANGUAGES], [CHOICES + one for one in LANGUAGES]
        return [(None, {"fields": [("position", "kind"), *texts, *choices, "required", "key"]})]


@admin.register(Survey)
class SurveyAdmin(PortalModelAdmin):
    """Every change is a new version; what was sent keeps its own. None is deleted: what was asked stays readable."""

    form = SurveyDesignForm
    change_form_after_template = "admin/feedback/survey/preview.html"
    list_display = ["name", "asked", "sent_to", "question_count", "closes"]
    search_fields = ["name"]
    inlines = [QuestionInline]
    fieldsets = [
        (None, {"fields": ["name"]}),
        (_("When it is asked"), {"fields": ["default", "plans"]}),
        (_("Who is asked, and until when"), {"fields": [("share", "open_days"), ("remind_days", "change_minutes")]}),
        (_("Whose answer it is"), {"fields": ["anonymous"]}),
    ]
    read_fields: ClassVar = ["name", "asked", "sent_to", "closes", "anonymous", "questions_in_words"]

    class Media:
        js = ("portal/kinds.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Survey]:
        return super().get_queryset(request).annotate(n=Count("questions", distinct=True)).prefetch_related("plans")

    def get_urls(self) -> list[URLPattern]:
        return [
            path("<int:pk>/results/", self.admin_site.admin_view(self.results_page), name="feedback_survey_results"),
            path("<int:pk>/results/csv/", self.admin_site.admin_view(self.results_csv), name="feedback_survey_csv"),
            *super().get_urls(),
        ]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # ── Results ──

    def results_page(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What was answered to one version (?version=2; else the last that somebody answered), as far as one sees."""
        found = self._results(request, pk)
        locale = translation.get_language() or settings.LANGUAGE_CODE
        context = {
            **self.admin_site.each_context(request),
            "title": _t("Results of a survey"),
            "survey": found.version.survey,
            "found": found,
            "versions": found.version.survey.versions.all(),
            "questions": headings(found.version),
            "groups": table(found),
            "choices": found.choices(locale),
        }
        return render(request, "admin/feedback/survey/results.html", context)

    def results_csv(self, request: HttpRequest, pk: int) -> HttpResponse:
        found = self._results(request, pk)
        locale = translation.get_language() or settings.LANGUAGE_CODE
        return exports.survey(f"survey-{pk}-version-{found.version.number}", found, locale)

    def _results(self, request: HttpRequest, pk: int) -> Results:
        if not self.has_view_permission(request) or not request.user.has_perm("feedback.view_report"):  # type: ignore[union-attr]
            raise PermissionDenied
        versions = SurveyVersion.objects.filter(survey=pk).select_related("survey")
        wanted = request.GET.get("version", "")
        if wanted.isdecimal() and len(wanted) < 9:
            version = get_object_or_404(versions, number=int(wanted))
        else:
            answered = versions.filter(Exists(SurveyAnswer.objects.filter(version=OuterRef("pk"))))
            version = answered.first() or get_object_or_404(versions[:1])
        return results.of_survey(version, Report.objects.for_user(request.user).not_dismissed())  # type: ignore[attr-defined]

    def _reads_only(self, request: HttpRequest, obj: Survey | None) -> bool:
        return obj is not None and not self.has_change_permission(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: Survey | None = None) -> Any:
        return (
            [(None, {"fields": self.read_fields})]
            if self._reads_only(request, obj)
            else super().get_fieldsets(request, obj)
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Survey | None = None) -> Any:
        return self.read_fields if self._reads_only(request, obj) else []

    def get_inlines(self, request: HttpRequest, obj: Survey | None) -> Any:
        return [] if self._reads_only(request, obj) else self.inlines

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None:
            field.help_text = db_field.help_text
        return field

    def save_model(self, request: HttpRequest, obj: Survey, form: Any, change: bool) -> None:
        if obj.default:
            Survey.objects.filter(default=True).exclude(pk=obj.pk).update(default=False)
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        version = form.instance.current(request.user)
        if version and version.number > 1 and version.by_id == request.user.pk:
            text = _t("This is version %(number)s now. What was sent before, or approved, keeps the version of then.")
            messages.info(request, text % {"number": version.number})
        if not Survey.objects.filter(default=True).exists():
            text = _t("No survey is the usual one: nobody is asked after incidents whose plan has none of its own.")
            messages.warning(request, text)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        survey = self.get_object(request, object_id) if object_id else None
        shown = {"previews": previews(survey) if survey else [], "survey": survey}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    # ── In words ──

    @admin.display(description=_("asked"))
    def asked(self, survey: Survey) -> str:
        plans = ", ".join(plan.name for plan in survey.plans.all())
        if survey.default:
            return badge("well", _t("after every incident"))
        return badge("held", plans) if plans else badge("off", _t("not in use"))

    @admin.display(description=_("sent to"), ordering="share")
    def sent_to(self, survey: Survey) -> str:
        if survey.share == 100:
            return _t("all who were told")
        return _t("%(share)s %% of those who were told") % {"share": survey.share}

    @admin.display(description=_("questions"), ordering="n")
    def question_count(self, survey: Survey) -> int:
        return survey.n  # type: ignore[attr-defined]

    @admin.display(description=_("closes after"), ordering="open_days")
    def closes(self, survey: Survey) -> str:
        if survey.remind_days:
            return _t("%(days)s days, reminder after %(remind)s") % {
                "days": survey.open_days,
                "remind": survey.remind_days,
            }
        return _t("%(days)s days") % {"days": survey.open_days}

    @admin.display(description=_("questions"))
    def questions_in_words(self, survey: Survey) -> SafeString:
        locale = translation.get_language() or settings.LANGUAGE_CODE
        rows = ((worded(one.text, locale), one.get_kind_display()) for one in survey.questions.all())
        return format_html_join("", '<p>{} <span class="cp-subtle">{}</span></p>', rows)


# What heads a column for a question that everybody knows by a word.


def table(found: Results) -> list[tuple[str, list[dict[str, Any]]]]:
    """Groups of rows under their names, each with (heading, estimate) for each question with a scale."""
    heads, scales = headings(found.version), found.version.scales
    return [
        (name, [{"row": row, "means": list(zip(heads, row.means(scales), strict=True))} for row in rows])
        for name, rows in results.grouped(found.rows)
    ]


def headings(version: SurveyVersion) -> list[str]:
    locale = translation.get_language() or settings.LANGUAGE_CODE
    return [str(SHORT.get(one["key"]) or worded(one["text"], locale)) for one in version.scales]


def previews(survey: Survey) -> list[dict[str, str]]:
    """The public page of the saved survey in each language: {"locale", "language", "html"}."""
    version = SurveyVersion(survey=survey, content=survey.content())
    found = []
    for locale, language in LANGUAGES.items():
        with translation.override(locale):
            context = {
                "invitation": {"version": version, "incident": {"title": _t("Checkout: partial outage")}},
                "form": survey_form.form(version),
                "portal_name": settings.PORTAL_NAME,
            }
            html = render_to_string("feedback/survey.html", context)
        found.append({"locale": locale, "language": str(language), "html": html})
    return found
