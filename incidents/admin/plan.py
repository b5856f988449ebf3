"""Communication plans: when they apply, what they promise, who holds which role."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from incidents.models import CommunicationPlan, PlanRole, Role, Severity

from . import glance
from .history import HistoryAdmin
from .incident import badge


class PersonField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return glance.name(obj)


def staff(label: Any) -> PersonField:
    """A choice among the people who can log in here, by their names."""
    people = get_user_model().objects.filter(is_staff=True, is_active=True)
    return PersonField(
        people.order_by("first_name", "last_name", "username"), label=label, widget=UnfoldAdminSelectWidget
    )


class PlanRoleInline(TabularInline):
    model = PlanRole
    extra = 0
    hide_title = True
    fields = ["role", "user", "order"]
    verbose_name_plural = gettext_lazy("Who holds which role")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            return staff(_("Person"))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class PlanForm(forms.ModelForm):
    """Severities and languages as boxes to tick; the first language of the stored list is the default."""

    severities = forms.MultipleChoiceField(
        label=gettext_lazy("Severities"),
        choices=Severity.choices,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("None ticked: all."),
    )
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
        for name in ("first_update_minutes", "update_minutes"):
            if data.get(name) == 0:
                self.add_error(name, _("At least one minute."))
        return data


@admin.register(CommunicationPlan)
class CommunicationPlanAdmin(HistoryAdmin):
    form = PlanForm
    list_display = ["name", "covers", "promise", "languages", "roles_held"]
    search_fields = ["name"]
    inlines = [PlanRoleInline]
    fieldsets = [
        (None, {"fields": ["name"]}),
        (gettext_lazy("When it applies"), {"fields": ["component_groups", "severities"]}),
        (
            gettext_lazy("What it promises"),
            {"fields": ["first_update_minutes", "update_minutes", "survey_delay_minutes"]},
        ),
        (gettext_lazy("How we speak"), {"fields": ["channels", "segments", "locales", "default_locale"]}),
    ]
    # For whoever may read it only: sentences instead of the stored lists.
    read_fields = ("name", "covers", "promise", "channels", "segments", "languages", "roles_held")

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
