"""What is decided before the event: components and who works on them, plans, scenarios, templates."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget, UnfoldBooleanWidget

from commsportal.admin import PortalModelAdmin
from commsportal.users import PortalGroupAdmin, PortalUserAdmin
from incidents import rendering
from incidents.errors import NotAllowed
from incidents.models import (
    OVER,
    WORDS,
    CommunicationPlan,
    Component,
    ComponentGroup,
    ComponentGroupObjectPermission,
    ComponentUserObjectPermission,
    MessageTemplate,
    PlanRole,
    Role,
    Scenario,
    Severity,
)

from . import glance
from .incident import badge
from .refusal import refused

# What a person may be given on one component, in words.
GRANTS = {
    "operate_component": gettext_lazy("may see and work on its incidents"),
    "view_component": gettext_lazy("may see its incidents"),
}


class HistoryAdmin(SimpleHistoryAdmin, PortalModelAdmin):
    """Keeps who changed what. Going back is a new edit, seen by whoever reads the history: nothing is reverted."""

    def revert_disabled(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # The library only hides the button: a POST would still write the old version back.
        if request.method != "GET":
            error = NotAllowed(
                _("An old version is not put back. Copy its words into a new edit, which the history shows.")
            )
            return refused(request, error, request.path)
        return super().history_form_view(request, *args, **kwargs)


# ── Components ──────────────────────────────────────────────────────────────


class GrantField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Permission) -> str:
        return str(GRANTS.get(obj.codename, obj.name))


class GrantInline(TabularInline):
    """Rows of guardian: who may do what on one component. Only those who may change grants see them."""

    extra = 0
    hide_title = True

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "permission":
            grants = Permission.objects.filter(content_type__app_label="incidents", codename__in=GRANTS)
            return GrantField(
                grants.order_by("codename"),
                label=_("What"),
                initial=grants.filter(codename="operate_component").first(),
                empty_label=None,
                widget=UnfoldAdminSelectWidget,
            )
        if db_field.name == "user":
            return staff(_("Person"))
        if db_field.name == "content_object":
            kwargs |= {"queryset": Component.objects.for_user(request.user), "label": _("Component")}
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class ComponentPeople(GrantInline):
    model = ComponentUserObjectPermission
    verbose_name = gettext_lazy("person")
    verbose_name_plural = gettext_lazy("People who may work on this")


class ComponentTeams(GrantInline):
    model = ComponentGroupObjectPermission
    verbose_name = gettext_lazy("group")
    verbose_name_plural = gettext_lazy("Groups who may work on this")


class PersonComponents(GrantInline):
    """The same rows from the person's side; commsportal's user page carries it."""

    model = ComponentUserObjectPermission
    fk_name = "user"
    verbose_name = gettext_lazy("component")
    verbose_name_plural = gettext_lazy("Components this person may work on")


class TeamComponents(GrantInline):
    model = ComponentGroupObjectPermission
    fk_name = "group"
    verbose_name = gettext_lazy("component")
    verbose_name_plural = gettext_lazy("Components this group may work on")


PortalUserAdmin.inlines = [PersonComponents]
PortalGroupAdmin.inlines = [TeamComponents]


class ComponentForm(forms.ModelForm):
    reveal = forms.BooleanField(
        label=gettext_lazy("Show its past to everybody"),
        required=False,
        widget=UnfoldBooleanWidget,
        help_text=gettext_lazy("Only asked for when a component stops being private."),
    )

    def clean(self) -> dict[str, Any]:
        """What only some have read is not shown to all by a tick that was taken away in passing."""
        data = super().clean() or {}
        if self.initial.get("private") and not data.get("private") and not data.get("reveal"):
            past = self.instance.incidents.filter(published_at__isnull=False).count()
            if past:
                text = ngettext(
                    "%(n)d incident of this component would be shown to everybody, with all that was said. "
                    "Tick “Show its past to everybody” to go on, or leave it private.",
                    "%(n)d incidents of this component would be shown to everybody, with all that was said. "
                    "Tick “Show its past to everybody” to go on, or leave it private.",
                    past,
                )
                self.add_error("private", text % {"n": past})
        return data


@admin.register(Component)
class ComponentAdmin(PortalModelAdmin):
    """Who is given a component sees it here. Who gives, and edits, is an administrator: change_component."""

    form = ComponentForm
    list_display = ["name", "group", "showcase", "private", "people"]
    list_filter = ["group", "showcase", "private"]
    search_fields = ["name", "description"]
    fields = ["name", "description", "group", "position", "showcase", "private", "reveal"]
    inlines = [ComponentPeople, ComponentTeams]
    ordering = ["group__position", "position", "name"]  # counting people would drop the model's own

    def get_queryset(self, request: HttpRequest) -> QuerySet[Component]:
        grants = Count("componentuserobjectpermission__user", distinct=True)
        return super().get_queryset(request).select_related("group").annotate(people=grants)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Given on the component itself, so there is no permission on the model to ask for.
        mine = Component.objects.for_user(request.user)
        return mine.filter(pk=obj.pk).exists() if obj is not None and obj.pk else mine.exists()

    @admin.display(description=gettext_lazy("people with this component"))
    def people(self, component: Component) -> int:
        return component.people  # type: ignore[attr-defined]


@admin.register(ComponentGroup)
class ComponentGroupAdmin(PortalModelAdmin):
    list_display = ["name", "position"]
    search_fields = ["name"]
    fields = ["name", "position"]


# ── Plans ───────────────────────────────────────────────────────────────────


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


# ── Scenarios and templates ─────────────────────────────────────────────────


@admin.register(Scenario)
class ScenarioAdmin(PortalModelAdmin):
    list_display = ["name", "description", "templates_written"]
    search_fields = ["name", "description"]
    prepopulated_fields = {"slug": ["name"]}
    fields = ["name", "slug", "description", "maintenance", "position"]
    ordering = ["position", "name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scenario]:
        return super().get_queryset(request).annotate(written=Count("templates"))

    @admin.display(description=gettext_lazy("templates"), ordering="written")
    def templates_written(self, scenario: Scenario) -> str:
        of = len(scenario.stages) * len(settings.LANGUAGES)
        return _("%(written)s of %(of)s") % {"written": scenario.written, "of": of}  # type: ignore[attr-defined]


@admin.register(MessageTemplate)
class MessageTemplateAdmin(HistoryAdmin):
    """The words, with what may stand in {{ }} beside them and how they read on sample values below."""

    list_display = ["scenario", "stage", "locale", "subject", "updated_at"]
    list_display_links = ["scenario", "subject"]
    list_filter = ["scenario", "stage", "locale"]
    search_fields = ["subject", "issue", "impact", "scenario__name"]
    list_select_related = ["scenario"]
    readonly_fields = ["placeholders", "sample"]
    fieldsets = [
        (None, {"fields": ["scenario", "stage", "locale"]}),
        (gettext_lazy("Placeholders"), {"fields": ["placeholders"]}),
        (gettext_lazy("Words"), {"fields": list(WORDS)}),
        (gettext_lazy("As customers would read it"), {"fields": ["sample"]}),
    ]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in WORDS and db_field.name != "subject":
            field.widget.attrs["rows"] = 3
        return field

    @admin.display(description=gettext_lazy("what you may write"))
    def placeholders(self, template: MessageTemplate) -> SafeString:
        rows = ((name, meaning) for name, meaning in rendering.VARIABLES.items())
        listed = format_html_join("", "<dt><code>{{{{ {} }}}}</code></dt><dd>{}</dd>", rows)
        return format_html('<dl class="cp-facts cp-small cp">{}</dl>', listed)

    @admin.display(description=gettext_lazy("saved words on sample values"))
    def sample(self, template: MessageTemplate) -> SafeString | str:
        if not template.pk:
            return _("Save it to see it on sample values.")
        filled = {field: rendering.fill(text, sample_values()) for field, text in template.words().items()}
        found = rendering.sections(filled, template.locale, over=template.stage in OVER)
        parts = [(heading, rendering.markdown(body)) for heading, body in found]
        body = format_html_join("", "<h4>{}</h4>{}", ((heading, SafeString(html)) for heading, html in parts))
        short = [(WORDS[f], filled[f]) for f in ("sms", "post") if filled[f]]
        rest = format_html_join("", "<h4>{}</h4><p>{}</p>", short)
        return format_html(
            '<div class="cp-words cp"><p class="cp-strong">{}</p>{}{}</div>', filled["subject"], body, rest
        )


def sample_values() -> dict[str, str]:
    """A value for each placeholder, for a template that belongs to no incident yet."""
    return {
        "organisation": settings.PORTAL_NAME,
        "title": _("Checkout: partial outage"),
        "components": _("Checkout and Payments API"),
        "state": _("partial outage"),
        "started": "14:05 CET",
        "resolved": "16:20 CET",
        "next_update": "15:00 CET",
        "expected_resolution": "16:30 CET",
        "begins": _("12 December, 22:00 CET"),
        "ends": _("13 December, 02:00 CET"),
        "status_url": f"{settings.PORTAL_URL}/incidents/…/",
    }
