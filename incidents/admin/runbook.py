"""Runbooks as staff write them: what starts them, and their steps, each with the settings of its kind."""

import copy
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import StackedInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from channels.forms import dressed
from commsportal.admin import PortalModelAdmin
from incidents.errors import Refused
from incidents.models import Runbook, RunbookStep
from incidents.models.runbook import STAGES
from incidents.runbooks import KINDS, ready

from . import glance
from .glance import badge

BETWEEN = "__"  # a kind and one of its settings, in the name of a field
MOST_STEPS = 50


class RunbookForm(forms.ModelForm):
    triggers = forms.MultipleChoiceField(
        label=gettext_lazy("Starts by itself when"),
        choices=Runbook.Trigger.choices,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("In incidents of the plans that name it. None ticked: it is started by hand only."),
    )
    stages = forms.MultipleChoiceField(
        label=gettext_lazy("At the stages"),
        choices=STAGES,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("If it starts when customers are told of a stage. None ticked: of any."),
    )

    class Meta:
        model = Runbook
        fields = ["name", "description", "enabled", "triggers", "stages"]
        widgets: ClassVar = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 2})}


class StepForm(forms.ModelForm):
    """A step with the settings of every kind; those of the chosen one count, and the script hides the others."""

    kind = forms.ChoiceField(
        label=gettext_lazy("What to do"),
        choices=[(key, one.label) for key, one in KINDS.items() if one.offered],
        widget=UnfoldAdminSelectWidget(attrs={"data-cp-kind": ""}),
    )

    class Meta:
        model = RunbookStep
        fields = ["position", "kind", "name"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in (self.instance.config or {}).items():
            if (field := f"{self.instance.kind}{BETWEEN}{name}") in self.fields:
                self.fields[field].initial = value

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        chosen = KINDS.get(data.get("kind", ""))
        config: dict[str, Any] = {}
        for name, field in (chosen.fields if chosen else {}).items():
            full = f"{data['kind']}{BETWEEN}{name}"
            try:
                raw = self.fields[full].widget.value_from_datadict(self.data, self.files, self.add_prefix(full))
                config[name] = field.clean(raw)
            except forms.ValidationError as error:
                self.add_error(full, error)
        if chosen and not self.errors:
            try:
                chosen.check(config)
            except Refused as refusal:
                self.add_error(f"{data['kind']}{BETWEEN}{next(reversed(chosen.fields))}", str(refusal))
        self.instance.config = config
        return data


def _unasked(field: forms.Field) -> forms.Field:
    """A setting of a kind as a field that asks for nothing: which kind is chosen is known only when it is sent."""
    one = copy.deepcopy(field)
    one.required = False
    one.validators = []
    one.clean = lambda value: value  # type: ignore[method-assign]
    if isinstance(one, forms.MultipleChoiceField):
        one.widget = UnfoldAdminCheckboxSelectMultipleWidget(choices=one.choices)
        return one
    return dressed(one)


def step_form() -> type[StepForm]:
    """StepForm with a field for each setting of each kind, as "kind__setting"."""
    members = {
        f"{key}{BETWEEN}{name}": _unasked(field) for key, kind in KINDS.items() for name, field in kind.fields.items()
    }
    return type("StepForm", (StepForm,), members)


class StepFormSet(forms.BaseInlineFormSet):
    """Steps in the order of their numbers, which are made 1, 2, 3 …; a branch leads to a later one."""

    def clean(self) -> None:
        super().clean()
        kept = [one for one in self.forms if self._is_kept(one)]
        kept.sort(key=lambda one: one.cleaned_data.get("position") or one.instance.position or MOST_STEPS)
        if len(kept) > MOST_STEPS:
            raise forms.ValidationError(_("A runbook has %(n)d steps at most.") % {"n": MOST_STEPS})
        for number, form in enumerate(kept, 1):
            if form.instance.position != number:
                form.instance.position = number
                form.has_changed = lambda: True  # type: ignore[method-assign]
            to = form.instance.config.get("to") if form.instance.kind == "branch" else None
            if to and not number < to <= len(kept):
                text = _("This is step %(n)d, and there are %(all)d: enter the number of a later one, or 0.")
                form.add_error(f"branch{BETWEEN}to", text % {"n": number, "all": len(kept)})

    def _is_kept(self, form: forms.ModelForm) -> bool:
        """Also one with an error: it counts among the steps as whoever writes them sees them."""
        if form.cleaned_data.get("DELETE"):
            return False
        return form.has_changed() or form.instance.pk is not None


class StepInline(StackedInline):
    model = RunbookStep
    form = step_form()
    formset = StepFormSet
    extra = 0
    verbose_name = gettext_lazy("step")
    verbose_name_plural = gettext_lazy("Steps")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.view_runbook") or self._may(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def _may(self, request: HttpRequest) -> bool:
        return any(request.user.has_perm(f"incidents.{verb}_runbook") for verb in ("add", "change"))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        settings = [name for name in self.form.base_fields if BETWEEN in name]
        return [(None, {"fields": [("position", "kind"), "name", *settings]})]


@admin.register(Runbook)
class RunbookAdmin(PortalModelAdmin):
    """A change is for later incidents: those that are open keep the steps of their plan's version."""

    form = RunbookForm
    list_display = ["name", "starts", "step_count", "in_use", "plans"]
    search_fields = ["name", "description"]
    inlines = [StepInline]
    actions_list = ["ready_button"]
    fieldsets = [
        (None, {"fields": ["name", "description", "enabled"]}),
        (gettext_lazy("What starts it"), {"fields": ["triggers", "stages"]}),
    ]
    read_fields: ClassVar = ["name", "description", "in_use", "starts", "plans", "steps_in_words"]

    class Media:
        js = ("portal/kinds.js",)

    # ── What comes with the portal ──

    def get_urls(self) -> list[URLPattern]:
        own = path("ready/", self.admin_site.admin_view(self.ready_view), name="incidents_runbook_ready")
        return [own, *super().get_urls()]

    @action(
        description=gettext_lazy("Ready-made runbooks"), icon="library_add", permissions=["add"], url_path="to-ready"
    )
    def ready_button(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_runbook_ready"))

    def ready_view(self, request: HttpRequest) -> HttpResponse:
        """GET shows what would be brought in, POST does it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        back = glance.link("incidents_runbook_changelist")
        if request.method == "POST":
            found = ready.add()
            for one in found:
                self.log_addition(request, one, _("Brought in."))
            text = ngettext("%(n)d runbook was brought in.", "%(n)d runbooks were brought in.", len(found))
            messages.success(request, text % {"n": len(found)} + " " + _("Name them in the plans that shall run them."))
            return HttpResponseRedirect(back)
        have = set(Runbook.objects.values_list("name", flat=True))
        rows = [
            {
                **one,
                "starts": starts_in_words(one),
                "titles": [title_of(step) for step in one["steps"]],
                "there": str(one["name"]) in have,
            }
            for one in ready.READY
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Ready-made runbooks"),
            "rows": rows,
            "some": not all(row["there"] for row in rows),
            "back": back,
        }
        return render(request, "admin/incidents/runbook/ready.html", context)

    # ── The list ──

    def get_queryset(self, request: HttpRequest) -> QuerySet[Runbook]:
        found = super().get_queryset(request).annotate(n=Count("steps", distinct=True))
        return found.prefetch_related("communicationplan_set")

    def _reads_only(self, request: HttpRequest, obj: Runbook | None) -> bool:
        return obj is not None and not self.has_change_permission(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: Runbook | None = None) -> Any:
        if self._reads_only(request, obj):
            return [(None, {"fields": self.read_fields})]
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Runbook | None = None) -> Any:
        return self.read_fields if self._reads_only(request, obj) else []

    def get_inlines(self, request: HttpRequest, obj: Runbook | None) -> Any:
        return [] if self._reads_only(request, obj) else self.inlines

    @admin.display(description=gettext_lazy("starts"))
    def starts(self, one: Runbook) -> str:
        return starts_in_words(one.content() if one.stages else {"triggers": one.triggers, "stages": []})

    @admin.display(description=gettext_lazy("steps"), ordering="n")
    def step_count(self, one: Runbook) -> int:
        return one.n  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("in use"), ordering="enabled")
    def in_use(self, one: Runbook) -> str:
        if not one.enabled:
            return badge("off", _("Off"))
        return badge("well", _("In use")) if one.n else badge("held", _("No steps yet"))  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("plans"))
    def plans(self, one: Runbook) -> str:
        return ", ".join(plan.name for plan in one.communicationplan_set.all()) or _("none: by hand only")

    @admin.display(description=gettext_lazy("steps"))
    def steps_in_words(self, one: Runbook) -> str:
        rows = [
            (title_of(step), KINDS[step["kind"]].in_words(step), _listed(KINDS[step["kind"]].items(step)))
            for step in one.content()["steps"]
            if step["kind"] in KINDS
        ]
        return format_html(
            '<ol style="list-style: decimal; padding-left: 1.25rem">{}</ol>',
            format_html_join("", "<li>{} <span class='cp-subtle'>{}</span>{}</li>", rows),
        )


def _listed(items: list[str]) -> str:
    html = '<ul class="cp-subtle" style="list-style: disc; padding-left: 1.25rem">{}</ul>'
    return format_html(html, format_html_join("", "<li>{}</li>", ([one] for one in items))) if items else ""


def starts_in_words(content: dict[str, Any]) -> str:
    """“An incident is declared or its severity changes”; “by hand”."""
    names = []
    for one in Runbook.Trigger:
        if one.value not in content["triggers"]:
            continue
        text = str(one.label)
        if one == Runbook.Trigger.STAGE and content["stages"]:
            stages = [str(label) for value, label in STAGES if value in content["stages"]]
            text = _("Customers are told: %(stages)s") % {"stages": get_text_list(stages, _("or"))}
        names.append(text)
    return "; ".join(names) or _("by hand")


def title_of(step: dict[str, Any]) -> str:
    """What a step does, in the words of whoever wrote it or else of its kind."""
    kind = KINDS.get(step["kind"])
    return step.get("name") or str(kind.label if kind else step["kind"])
