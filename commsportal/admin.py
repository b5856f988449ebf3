"""The admin's base: theme and object permissions. Imports no app."""

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin


class PortalModelAdmin(ModelAdmin):
    """Every model admin of the portal.

    A role (a permission on the model) says *what* a person may do; where the model's manager has `for_user`, it
    says *with which objects*. Both hold in lists, pages, actions, autocompletes and exports, because all of them
    start from `get_queryset` and `has_*_permission`.
    """

    list_filter_submit = False
    compressed_fields = True
    warn_unsaved_form = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset = super().get_queryset(request)
        return queryset.for_user(request.user) if hasattr(queryset, "for_user") else queryset

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            return super().get_changelist_instance(request)
        except OverflowError as error:  # a date filter asked for a year beyond all calendars
            raise IncorrectLookupParameters(error) from error

    def _in_scope(self, request: HttpRequest, obj: Model | None) -> bool:
        return obj is None or obj.pk is None or self.get_queryset(request).filter(pk=obj.pk).exists()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and self._in_scope(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._in_scope(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._in_scope(request, obj)


class ReadOnlyAdmin(PortalModelAdmin):
    """For what is a record: published content, dispatches, deliveries, decisions."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
