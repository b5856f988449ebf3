from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from commsportal.admin import ReadOnlyAdmin
from incidents.models import IncidentUpdate

from . import compose, delivery, picture, review

View = Callable[["IncidentUpdateAdmin", HttpRequest, int], HttpResponse]
PAGES: dict[str, View] = {
    "compose": compose.compose,
    "preview": compose.fragment,
    "picture": picture.picture,
    "review": review.review,
    "publish": review.publish,
    "release": review.release,
    "glass": review.glass,
    "glass_seen": review.glass_seen,
    "withdraw": review.withdraw,
}
Status = IncidentUpdate.Status


@admin.register(IncidentUpdate)
class IncidentUpdateAdmin(ReadOnlyAdmin):
    """What was said and is about to be said; every change goes through a verb of the update."""

    list_display = ["subject", "incident_link", "number", "stage", "status_label", "author", "updated_at"]
    list_display_links = ["subject"]
    list_filter = ["status", "stage"]
    search_fields = ["incident__title", "renditions__subject", "author__username"]
    list_select_related = ["incident", "author"]
    ordering = ["-updated_at"]
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return (
            super()
            .get_queryset(request)
            .select_related("incident__plan_version", "author")
            .prefetch_related("renditions")
        )

    def scoped(self, request: HttpRequest, pk: int) -> IncidentUpdate:
        """The update, if this person may know of it. Raises PermissionDenied (no role) or Http404 (not theirs)."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        # Without the list's prefetch: the pages read renditions again after a verb has changed them.
        rows = self.get_queryset(request).prefetch_related(None).filter(pk=pk)
        found = rows.select_related("pictured__picture").defer("pictured__picture__content").first()
        if found is None:
            raise Http404
        return found

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<int:pk>/{name}/",
                self.admin_site.admin_view(partial(view, self)),
                name=f"incidents_incidentupdate_{name}",
            )
            for name, view in PAGES.items()
        ]
        file = path(
            "<int:pk>/picture/<slug:sha256>/",
            self.admin_site.admin_view(partial(picture.file, self)),
            name="incidents_incidentupdate_picture_file",
        )
        return [*own, file, *delivery.urls(self), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is no form of columns: the way leads to the page that fits the state."""
        if not object_id.isdecimal():
            raise Http404
        update = self.scoped(request, int(object_id))
        if update.status == Status.DRAFT and update.may("write", request.user):
            return HttpResponseRedirect(compose.url("compose", update))
        if update.status == Status.PUBLISHED:
            return HttpResponseRedirect(compose.url("delivery", update))
        return HttpResponseRedirect(compose.url("review", update))

    @display(description=_("Subject"))
    def subject(self, obj: IncidentUpdate) -> str:
        texts = [r.subject for r in obj.renditions.all() if r.subject]
        frozen = [one["subject"] for one in obj.page.values() if one["subject"]]
        return next(iter(frozen or texts), str(obj))

    @display(description=_("Incident"), ordering="incident__title")
    def incident_link(self, obj: IncidentUpdate) -> str:
        return obj.incident.title

    @display(
        description=_("Status"),
        ordering="status",
        label={
            Status.DRAFT: "default",
            Status.IN_REVIEW: "warning",
            Status.APPROVED: "info",
            Status.PUBLISHED: "success",
            Status.WITHDRAWN: "default",
        },
    )
    def status_label(self, obj: IncidentUpdate) -> tuple[str, str]:
        return obj.status, obj.get_status_display()
