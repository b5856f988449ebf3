"""How staff are reached, and what they were told."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy
from unfold.admin import StackedInline
from unfold.decorators import display

from commsportal.admin import ReadOnlyAdmin
from commsportal.users import PortalGroupAdmin, PortalUserAdmin
from incidents import roles
from incidents.models import Incident, StaffContact, StaffNotice
from incidents.models.component import OPERATE, VIEW

from . import glance


class ContactInline(StackedInline):
    """Part of the person's page, with its permissions."""

    model = StaffContact
    fields = ["by_email", "phone", "by_slack", "locale"]
    verbose_name_plural = gettext_lazy("How to reach them")
    can_delete = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("auth.view_user") or self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("auth.change_user")


PortalUserAdmin.inlines = [*PortalUserAdmin.inlines, ContactInline]
PortalUserAdmin.group_meanings = PortalGroupAdmin.group_meanings = roles.MEANINGS


@admin.register(StaffNotice)
class StaffNoticeAdmin(ReadOnlyAdmin):
    """What staff were told, when, and whether it went out."""

    list_display = ["created_at", "subject", "to", "medium", "result"]
    list_filter = ["kind", "outcome", "medium"]
    search_fields = ["subject", "user__username", "user__last_name"]
    list_select_related = ["user", "channel"]
    fields = [
        "created_at",
        "kind",
        "incident",
        "proposal",
        "to",
        "medium",
        "subject",
        "text",
        "outcome",
        "tried_at",
        "detail",
    ]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        seen = Q(incident__in=Incident.objects.for_user(request.user).order_by().values("pk"))
        # One notice may name many proposals: who does not see every component sees their own.
        if request.user.has_perm(VIEW) or request.user.has_perm(OPERATE):
            seen |= Q(incident=None)
        return super().get_queryset(request).filter(seen | Q(incident=None, user=request.user))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # No permission of its own: who sees incidents sees what staff were told of them.
        return request.user.has_perm("incidents.view_incident") and self._in_scope(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @display(description=gettext_lazy("to"))
    def to(self, notice: StaffNotice) -> str:
        return glance.name(notice.user) if notice.user else str(notice.channel)

    @display(
        description=gettext_lazy("the message"),
        ordering="outcome",
        label={"sent": "success", "failed": "danger", "unknown": "warning", "waiting": "info", "sending": "info"},
    )
    def result(self, notice: StaffNotice) -> tuple[str, str]:
        return notice.outcome, notice.get_outcome_display()
