"""People and groups in the admin, in the portal's theme. Apps may add `inlines`; this file knows none of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import action
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelect2MultipleWidget

from . import second_factor
from .admin import PortalModelAdmin

# Django's own admins register themselves when their module is imported, which the lines above have done. Those of
# allauth show secrets, and what is not used here.
admin.site.unregister([User, Group, Authenticator, EmailAddress])


# What has no page here, so that a permission on it opens nothing.
WITHOUT_PAGES = ("account", "django_q", "guardian", "mfa", "sessions")


def choosable() -> QuerySet[Permission]:
    """The permissions that a page of the portal asks for."""
    ours = Permission.objects.exclude(content_type__app_label__in=WITHOUT_PAGES)
    return ours.exclude(content_type__model__startswith="historical").select_related("content_type")


class PermissionsField(forms.ModelMultipleChoiceField):
    """One field to search in, which fits into a narrow window."""

    widget = UnfoldAdminSelect2MultipleWidget

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choosable(), required=False, **kwargs)


class GroupsField(forms.ModelMultipleChoiceField):
    """Boxes to tick, each with what the group is for; `meanings` maps a group's name to that sentence."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def __init__(self, meanings: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(Group.objects.order_by("name"), required=False, **kwargs)
        self.meanings = meanings

    def label_from_instance(self, obj: Group) -> str:
        meaning = self.meanings.get(obj.name)
        name = format_html("<b>{}</b>", obj.name)
        return format_html("{}: {}", name, meaning) if meaning else name


class SecondFactorFilter(admin.SimpleListFilter):
    title = _("second factor")
    parameter_name = "second_factor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Has one")), ("no", _("Has none"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = {"yes": True, "no": False}.get(self.value() or "")
        return queryset if wanted is None else queryset.filter(factored=wanted)


@admin.register(User)
class PortalUserAdmin(UserAdmin, PortalModelAdmin):
    """Somebody who may edit people cannot make anybody, or become, more than they are: that is for superusers."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = [
        "username",
        "first_name",
        "last_name",
        "email",
        "group_names",
        "is_staff",
        "is_active",
        "second_factor",
    ]
    list_filter = ["is_active", "is_staff", SecondFactorFilter, "groups"]
    filter_horizontal = ()
    names: ClassVar[Any] = ("first_name", "last_name")
    password: ClassVar[Any] = ("usable_password", "password1", "password2")
    add_fieldsets = [(None, {"fields": ["username", names, "email", *password, "is_staff", "groups"]})]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        (_("Personal info"), {"fields": [names, "email"]}),
        (_("Permissions"), {"fields": ["is_active", "is_staff", "is_superuser", "groups"]}),
        (
            _("Single permissions, beside those of the groups"),
            {"classes": ["collapse"], "fields": ["user_permissions"]},
        ),
        (_("Important dates"), {"fields": ["last_login", "date_joined"]}),
    ]
    group_meanings: ClassVar[dict[str, Any]] = {}
    inlines: ClassVar[list[Any]] = []
    actions_detail: ClassVar[list[Any]] = ["reset_button"]

    def get_queryset(self, request: HttpRequest) -> Any:
        found = super().get_queryset(request).prefetch_related("groups")
        return found.annotate(factored=second_factor.there_is())

    @admin.display(description=_("second factor"), boolean=True, ordering="factored")
    def second_factor(self, user: User) -> bool:
        return user.factored  # type: ignore[attr-defined]

    @admin.display(description=_("groups"))
    def group_names(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all())

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        found = super().get_fieldsets(request, obj)
        if request.user.is_superuser:
            return found
        return [one for one in found if "user_permissions" not in one[1]["fields"]]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        # Nobody else can log in here, hold a role in a plan, or be told of incidents.
        return {"is_staff": True, **super().get_changeform_initial_data(request)}

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            help_text = _("What somebody may do.")
            return GroupsField(self.group_meanings, label=_("Groups"), help_text=help_text)
        if db_field.name == "user_permissions":
            return PermissionsField(label=_("Permissions"))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_inlines(self, request: HttpRequest, obj: User | None = None) -> list[Any]:
        return self.inlines if obj else []

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))
        if request.user.is_superuser:
            return fields
        own = ["groups", "is_staff"] if obj and obj.pk == request.user.pk else []
        return [*fields, "is_superuser", "user_permissions", *own]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_delete_permission(request, obj)

    # ── Lost second factors ──

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.reset_view)
        return [path("<int:pk>/second-factors/", view, name="auth_user_second_factors"), *super().get_urls()]

    def has_reset_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Of whom one may change, where there is something to remove; one's own are removed on one's own page."""
        user = self.get_object(request, str(object_id)) if object_id else None
        if user is None or user.pk == request.user.pk or not user.factored:
            return False
        return self.has_change_permission(request, user)

    @action(
        description=_("Remove second factors"),
        icon="phonelink_erase",
        url_path="to-second-factors",
        permissions=["reset"],
    )
    def reset_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:auth_user_second_factors", args=[object_id]))

    def reset_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET says whose and which, POST removes them."""
        user = self.get_object(request, str(pk))
        if user is None:
            raise Http404
        if not self.has_change_permission(request, user):
            raise PermissionDenied
        if user.pk == request.user.pk:
            return HttpResponseRedirect(reverse("admin:two_step"))
        back = reverse("admin:auth_user_change", args=[user.pk])
        if request.method == "POST":
            n = second_factor.reset(user, request.user)
            text = ngettext("%(n)d second factor removed.", "%(n)d second factors removed.", n) % {"n": n}
            messages.success(request, text)
            return HttpResponseRedirect(back)
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _t("Remove second factors"),
            "who": user.get_full_name() or user.get_username(),
            "names": [second_factor.name(one) for one in second_factor.of(user)],
            "must_have": second_factor.must_have(user),
            "back": back,
        }
        return render(request, "admin/two_step/reset.html", shown)


@admin.register(Group)
class PortalGroupAdmin(GroupAdmin, PortalModelAdmin):
    list_display = ["name", "meaning"]
    fields = ["name", "permissions"]
    filter_horizontal = ()
    group_meanings: ClassVar[dict[str, Any]] = {}
    inlines: ClassVar[list[Any]] = []

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "permissions":
            return PermissionsField(label=_("Permissions"))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @admin.display(description=_("what it is for"))
    def meaning(self, group: Group) -> str:
        return str(self.group_meanings.get(group.name, ""))
