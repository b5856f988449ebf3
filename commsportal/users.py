"""People and groups in the admin, in the portal's theme. Apps may add `inlines`; this file knows none of them."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from .admin import PortalModelAdmin

# Django's own admins register themselves when their module is imported, which the lines above have done.
admin.site.unregister([User, Group])


@admin.register(User)
class PortalUserAdmin(UserAdmin, PortalModelAdmin):
    """Somebody who may edit people cannot make anybody, or become, more than they are: that is for superusers."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "first_name", "last_name", "email", "group_names", "is_active"]
    list_filter = ["is_active", "is_staff", "groups"]
    filter_horizontal = ["groups", "user_permissions"]
    inlines: ClassVar[list[Any]] = []

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description=_("groups"))
    def group_names(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all())

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


@admin.register(Group)
class PortalGroupAdmin(GroupAdmin, PortalModelAdmin):
    inlines: ClassVar[list[Any]] = []
