"""Components and their groups, and who works on them."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldBooleanWidget

from commsportal.admin import PortalModelAdmin
from commsportal.users import PortalGroupAdmin, PortalUserAdmin
from incidents.models import (
    Component,
    ComponentGroup,
    ComponentGroupObjectPermission,
    ComponentUserObjectPermission,
)

from .plan import staff

# What a person may be given on one component, in words.
GRANTS = {
    "operate_component": gettext_lazy("may see and work on its incidents"),
    "view_component": gettext_lazy("may see its incidents"),
}


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

    def get_fields(self, request: HttpRequest, obj: Component | None = None) -> list[str]:
        # Asked only where there is something that could be revealed.
        return [one for one in self.fields if one != "reveal" or (obj and obj.private)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Component]:
        grants = Count("componentuserobjectpermission__user", distinct=True)
        return super().get_queryset(request).select_related("group").annotate(people=grants)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Given on the component itself, so there is no permission on the model to ask for.
        mine = Component.objects.for_user(request.user)
        if obj is not None and obj.pk:
            return mine.filter(pk=obj.pk).exists()
        return (
            request.user.has_perm("incidents.add_component") or mine.exists()
        )  # the first has to be added by somebody

    @admin.display(description=gettext_lazy("people with this component"))
    def people(self, component: Component) -> int:
        return component.people  # type: ignore[attr-defined]


@admin.register(ComponentGroup)
class ComponentGroupAdmin(PortalModelAdmin):
    list_display = ["name", "position"]
    search_fields = ["name"]
    fields = ["name", "position"]
