"""Who was trained for which role: kept by those who look after people, and seen by each of one's own."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import display

from incidents.models import Training

from . import glance
from .history import HistoryAdmin
from .plan import staff

TONES = {"current": "success", "soon": "warning", "expired": "danger"}


class StateFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Training.State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.in_state(self.value()) if self.value() in Training.State.values else queryset  # type: ignore[attr-defined]


@admin.register(Training)
class TrainingAdmin(HistoryAdmin):
    list_display = ["person", "role", "state", "completed_on", "valid_until", "what"]
    list_filter = [StateFilter, "role"]
    list_select_related = ["user"]
    search_fields = ["user__username", "user__first_name", "user__last_name", "what"]
    fields = ["user", "role", "completed_on", "valid_until", "what"]

    def get_fields(self, request: HttpRequest, obj: Training | None = None) -> list[str]:
        return [*self.fields, "recorded_by", "recorded_at"] if obj else list(self.fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Training | None = None) -> list[str]:
        return ["recorded_by", "recorded_at"] if obj else []

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            return staff(_("Person"))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "valid_until":
            n = settings.TRAINING_VALID_DAYS
            text = ngettext("Its last day. Empty: after %(n)d day.", "Its last day. Empty: after %(n)d days.", n)
            field.help_text = text % {"n": n}
        return field

    def save_model(self, request: HttpRequest, obj: Training, form: Any, change: bool) -> None:
        if not change:
            obj.recorded_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)

    @admin.display(description=gettext_lazy("person"), ordering="user__first_name")
    def person(self, one: Training) -> str:
        return glance.name(one.user)

    @display(description=gettext_lazy("state"), label=TONES)
    def state(self, one: Training) -> tuple[str, Any]:
        return one.state, Training.State(one.state).label

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_staff

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Everybody sees their own; which those are, the queryset says."""
        return self.has_module_permission(request) and self._in_scope(request, obj)
