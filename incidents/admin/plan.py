"""Communication plans: when they apply, what they promise, who holds which role."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import StackedInline, TabularInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from channels.models import Channel
from incidents.models import ApprovalRule, CommunicationPlan, Incident, PlanRole, PlanStage, Role, Severity
from incidents.models.plan import is_staff_chat

from . import coverage, glance
from .history import HistoryAdmin
from .incident import badge
from .plan_version import versions_in_words

NO_ROOM = gettext_lazy(
    "There is no chat to choose yet. Under “Channels”, add one of Slack, Microsoft Teams, Amazon Q Developer or "
    "Apprise for a room that only staff read, and come back. Until then staff are told by email and SMS."
)


class PersonField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return glance.name(obj)


def staff(label: Any) -> PersonField:
    """A choice among the people who can log in here, by their names."""
    people = get_user_model().objects.filter(is_staff=True, is_active=True)
    return PersonField(
        people.order_by("first_name", "last_name", "username"), label=label, widget=UnfoldAdminSelectWidget
    )


class PlanRoleForm(forms.ModelForm):
    def validate_constraints(self) -> None:
        """The formset does, which sees all rows and says who is meant."""


class PlanRoleFormSet(BaseInlineFormSet):
    def clean(self) -> None:
        seen = set()
        for form in self.forms:
            role, user = (form.cleaned_data.get(one) for one in ("role", "user")) if form.is_valid() else (None, None)
            if not role or user is None or form.cleaned_data.get("DELETE"):
                continue
            if (role, user.pk) in seen:
                text = _("%(who)s is named twice as %(role)s: remove one of the two rows.")
                raise forms.ValidationError(text % {"who": glance.name(user), "role": Role(role).label})
            seen.add((role, user.pk))
        super().clean()


class PlanRoleInline(TabularInline):
    model = PlanRole
    form = PlanRoleForm
    formset = PlanRoleFormSet
    extra = 0
    hide_title = True
    fields = ["role", "user", "order"]
    template_after = "admin/incidents/communicationplan/who_appears.html"
    verbose_name_plural = gettext_lazy("Who holds which role")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            return staff(_("Person"))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


def severities_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label=gettext_lazy("Severities"),
        choices=Severity.choices,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("None ticked: all."),
    )


class PlanForm(forms.ModelForm):
    """Severities and languages as boxes to tick; the first language of the stored list is the default."""

    severities = severities_field()
    locales = forms.MultipleChoiceField(
        label=gettext_lazy("Languages"),
        choices=settings.LANGUAGES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        error_messages={"required": gettext_lazy("Tick at least one language.")},
    )
    default_locale = forms.ChoiceField(
        label=gettext_lazy("Default language"),
        choices=settings.LANGUAGES,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("For readers of a language that is not ticked."),
    )

    class Meta:
        model = CommunicationPlan
        fields = [
            "name",
            "component_groups",
            "severities",
            "channels",
            "segments",
            "staff_channels",
            "runbooks",
            "locales",
            "first_update_minutes",
            "update_minutes",
            "survey_delay_minutes",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first = (self.instance.locales or [settings.LANGUAGE_CODE])[0]
        self.fields["default_locale"].initial = first
        if not self.instance.pk:
            self.fields["locales"].initial = [settings.LANGUAGE_CODE]
        if "staff_channels" in self.fields:
            rooms = [one.pk for one in Channel.objects.all() if is_staff_chat(one)]
            self.fields["staff_channels"].queryset = Channel.objects.filter(pk__in=rooms)  # type: ignore[attr-defined]
            if not rooms:
                self.fields["staff_channels"].help_text = NO_ROOM
        for name in ("first_update_minutes", "update_minutes"):
            if name in self.fields:
                self.fields[name].min_value = 1  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        locales, default = data.get("locales"), data.get("default_locale")
        if locales and default:
            if default not in locales:
                self.add_error("default_locale", _("Tick this language above, or choose one that is ticked."))
            data["locales"] = [default, *(x for x in locales if x != default)]
        both = set(data.get("channels") or ()) & set(data.get("staff_channels") or ())
        if both:
            names = ", ".join(sorted(one.name for one in both))
            text = _("Customers are spoken to by %(names)s: staff need a chat of their own.") % {"names": names}
            self.add_error("staff_channels", text)
        for name in ("first_update_minutes", "update_minutes"):
            if data.get(name) == 0:
                self.add_error(name, _("At least one minute."))
        return data


class PartOfPlan:
    """An inline that whoever may change plans may change: a part of the plan, with no permission of its own."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.view_communicationplan") or self._may(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request)

    def _may(self, request: HttpRequest) -> bool:
        return any(request.user.has_perm(f"incidents.{verb}_communicationplan") for verb in ("add", "change"))


class StageForm(forms.ModelForm):
    locales = forms.MultipleChoiceField(
        label=gettext_lazy("Languages"),
        choices=settings.LANGUAGES,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("None ticked: those of the plan."),
    )

    class Meta:
        model = PlanStage
        fields = ["stage", "channels", "segments", "locales"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors and not any(data.get(one) for one in ("channels", "segments", "locales")):
            self.add_error("channels", _("Say what is different at this stage, or remove the row."))
        return data


class PlanStageInline(PartOfPlan, StackedInline):
    """Rows for the stages at which we speak otherwise than the plan says."""

    model = PlanStage
    form = StageForm
    extra = 0
    verbose_name = gettext_lazy("stage")
    verbose_name_plural = gettext_lazy("What is different at a stage")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None:
            field.help_text = _("None ticked: those of the plan.")
        return field


class ApprovalRuleForm(forms.ModelForm):
    severities = severities_field()

    class Meta:
        model = ApprovalRule
        fields = ["position", "severities", "audience", "approvers", "role", "escalate_minutes", "prepared"]


class ApprovalRuleInline(PartOfPlan, StackedInline):
    """Who must approve. Without a row that fits: one person who may."""

    model = ApprovalRule
    form = ApprovalRuleForm
    extra = 0
    verbose_name = gettext_lazy("approval rule")
    verbose_name_plural = gettext_lazy("Who must approve")


@admin.register(CommunicationPlan)
class CommunicationPlanAdmin(HistoryAdmin):
    """Every change is a new version; incidents that are open keep theirs."""

    form = PlanForm
    change_form_after_template = "admin/incidents/communicationplan/versions.html"
    list_display = ["name", "covers", "promise", "languages", "roles_held"]
    search_fields = ["name"]
    inlines = [PlanRoleInline, PlanStageInline, ApprovalRuleInline]
    actions_list = ["coverage_button"]
    fieldsets = [
        (None, {"fields": ["name"]}),
        (gettext_lazy("When it applies"), {"fields": ["component_groups", "severities"]}),
        (
            gettext_lazy("What it promises"),
            {"fields": ["first_update_minutes", "update_minutes", "survey_delay_minutes"]},
        ),
        (gettext_lazy("How we speak"), {"fields": ["channels", "segments", "locales", "default_locale"]}),
        (gettext_lazy("How staff are told"), {"fields": ["staff_channels"]}),
        (gettext_lazy("What runs by itself"), {"fields": ["runbooks"]}),
    ]
    # For whoever may read it only: sentences instead of the stored lists.
    read_fields = (
        "name",
        "covers",
        "promise",
        "channels",
        "segments",
        "staff_channels",
        "runbooks",
        "languages",
        "roles_held",
    )

    def get_urls(self) -> list[URLPattern]:
        own = path("coverage/", self.admin_site.admin_view(coverage.page), name="incidents_communicationplan_coverage")
        return [own, *super().get_urls()]

    @action(description=gettext_lazy("Coverage"), icon="grid_on", permissions=["view"], url_path="to-coverage")
    def coverage_button(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_communicationplan_coverage"))

    def get_fieldsets(self, request: HttpRequest, obj: CommunicationPlan | None = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return [(None, {"fields": list(self.read_fields)})]
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: CommunicationPlan | None = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return list(self.read_fields)
        return super().get_readonly_fields(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None:
            field.help_text = db_field.help_text  # without "hold down Control": these are boxes
        return field

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        plan = form.instance
        version = plan.current(request.user)
        others = Incident.objects.open().filter(plan=plan).exclude(plan_version=version).count()
        if change and version.number > 1 and others:
            text = ngettext(
                "This is version %(number)s now. %(n)d open incident goes on with the version that it began with.",
                "This is version %(number)s now. %(n)d open incidents go on with the version that they began with.",
                others,
            )
            messages.info(request, text % {"number": version.number, "n": others})
        for rule in plan.approvals.exclude(role=""):
            if len(people := version.people(rule.role)) < rule.approvers:
                text = _(
                    "“%(rule)s”: people whom the plan names for this role: %(n)d. Name more, or ask for fewer "
                    "approvals: what this rule fits cannot be approved."
                )
                messages.warning(request, text % {"rule": rule, "n": len(people)})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        plan = self.get_object(request, object_id) if object_id else None
        shown = {"versions": versions_in_words(plan, request.user) if plan else []}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def get_queryset(self, request: HttpRequest) -> QuerySet[CommunicationPlan]:
        return super().get_queryset(request).prefetch_related("component_groups", "roles__user")

    @admin.display(description=gettext_lazy("covers"))
    def covers(self, plan: CommunicationPlan) -> str:
        groups = ", ".join(g.name for g in plan.component_groups.all()) or _("all components")
        severities = ", ".join(str(Severity(s).label) for s in plan.severities if s in Severity) or _("all severities")
        return f"{groups}; {severities}"

    @admin.display(description=gettext_lazy("promises"), ordering="first_update_minutes")
    def promise(self, plan: CommunicationPlan) -> str:
        times = {"first": plan.first_update_minutes, "then": plan.update_minutes}
        return _("first within %(first)s min, then every %(then)s min") % times

    @admin.display(description=gettext_lazy("languages"))
    def languages(self, plan: CommunicationPlan) -> str:
        names = dict(settings.LANGUAGES)
        return ", ".join(str(names.get(x, x)) for x in plan.locales)

    @admin.display(description=gettext_lazy("roles"))
    def roles_held(self, plan: CommunicationPlan) -> str:
        missing = [str(r.label) for r in Role if r not in {one.role for one in plan.roles.all()}]
        if not missing:
            return badge("well", _("all three held"))
        return badge("held", _("nobody: %(roles)s") % {"roles": ", ".join(missing)})
