"""Graphs of CloudWatch and shared dashboards, by component."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanWidget

from commsportal.admin import PortalModelAdmin
from incidents.aws import graphs
from incidents.models import AwsAccount, Component, DashboardLink, MetricGraph, MetricImage
from incidents.models.component import OPERATE
from incidents.models.metric import LONGEST, widget_of

from . import glance


class OwnComponentAdmin(PortalModelAdmin):
    """What belongs to one component: set up by those who may work on its incidents."""

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "component":
            mine = Component.objects.for_user(request.user, OPERATE)
            kwargs["queryset"] = mine.order_by("group__position", "position", "name")
        if db_field.name == "account":
            kwargs["queryset"] = AwsAccount.objects.order_by("name")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def _operates(self, request: HttpRequest, obj: Any) -> bool:
        return obj is None or Component.objects.for_user(request.user, OPERATE).filter(pk=obj.component_id).exists()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._operates(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._operates(request, obj)


# ── Graphs ──────────────────────────────────────────────────────────────────


class MetricGraphForm(forms.ModelForm):
    widget = forms.CharField(
        label=gettext_lazy("Widget"),
        max_length=LONGEST,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 10, "spellcheck": "false", "autocapitalize": "off"}),
        help_text=gettext_lazy(
            "In CloudWatch, open the metrics that the graph is to show, choose “Source”, and copy all of it here."
        ),
    )

    class Meta:
        model = MetricGraph
        fields = ["title", "component", "account", "region", "widget", "public", "enabled", "position"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["widget"] = json.dumps(self.instance.widget, indent=2, ensure_ascii=False)

    def clean_widget(self) -> dict[str, Any]:
        return widget_of(self.cleaned_data["widget"])


@admin.register(MetricGraph)
class MetricGraphAdmin(OwnComponentAdmin):
    form = MetricGraphForm
    list_display = ["title", "component", "state", "public", "enabled"]
    list_filter = ["public", "enabled"]
    list_select_related = ["component"]
    search_fields = ["title"]
    ordering = ["component__name", "position", "pk"]
    actions_detail = ["try_button"]
    fieldsets = [
        (None, {"fields": ["title", "component", "account", "region", "widget"]}),
        (gettext_lazy("Where it is shown"), {"fields": ["public", "enabled", "position"]}),
    ]

    @display(description=gettext_lazy("state"), label={"well": "success", "error": "danger", "new": "default"})
    def state(self, graph: MetricGraph) -> tuple[str, Any]:
        if graph.error:
            return "error", _("No new picture")
        return ("well", _("Fetched")) if graph.tried_at else ("new", _("Not fetched yet"))

    def save_model(self, request: HttpRequest, obj: MetricGraph, form: Any, change: bool) -> None:
        # Only what the form shows: a worker may be fetching it right now.
        obj.save(update_fields=[*form.cleaned_data, "updated_at"]) if change else obj.save()

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/try/", wrap(self.try_view), name="incidents_metricgraph_try"),
            path("<int:pk>/picture/<str:sha256>/", wrap(picture), name="incidents_metricgraph_picture"),
        ]
        return [*own, *super().get_urls()]

    @action(description=gettext_lazy("See the graph"), icon="show_chart", url_path="to-try")
    def try_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_metricgraph_try", object_id))

    def _graph(self, request: HttpRequest, pk: int) -> MetricGraph:
        if not self.has_view_permission(request):
            raise PermissionDenied
        graph = self.get_object(request, str(pk))
        if graph is None:
            raise Http404
        return graph

    def try_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET shows the last picture, POST fetches one now."""
        graph = self._graph(request, pk)
        if request.method == "POST":
            if not self.has_change_permission(request, graph):
                raise PermissionDenied
            words = graphs.fetch(graph)
            if words:
                messages.error(request, words)
            else:
                messages.success(request, _("Fetched."))
            return HttpResponseRedirect(request.path)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": graph.title,
            "graph": graph,
            "image": graph.images.defer("content").first(),
            "may_change": self.has_change_permission(request, graph),
        }
        return render(request, "admin/incidents/metricgraph/try.html", context)


@require_safe
def picture(request: HttpRequest, pk: int, sha256: str) -> HttpResponse:
    """A picture of a graph, for whoever sees incidents of its component: no permission on graphs is asked for."""
    seen = MetricGraph.objects.for_user(request.user).order_by().values("pk")
    if not request.user.has_perm("incidents.view_incident"):
        raise PermissionDenied
    image = MetricImage.objects.filter(graph=pk, graph__in=seen, sha256=sha256).first()
    if image is None:
        raise Http404
    response = HttpResponse(bytes(image.content), content_type="image/png")
    response["Cache-Control"] = "private, max-age=3600"
    return response


# ── Dashboards ──────────────────────────────────────────────────────────────


class DashboardLinkForm(forms.ModelForm):
    understood = forms.BooleanField(
        label=gettext_lazy("I know what a shared dashboard gives away"),
        required=False,
        widget=UnfoldBooleanWidget,
        help_text=gettext_lazy("As it stands above. Asked for each time that the link is saved."),
    )

    class Meta:
        model = DashboardLink
        fields = ["title", "component", "url", "public"]

    def clean_understood(self) -> bool:
        if not self.cleaned_data["understood"]:
            raise ValidationError(_("Read what a shared dashboard gives away, and tick this to save the link."))
        return True


@admin.register(DashboardLink)
class DashboardLinkAdmin(OwnComponentAdmin):
    form = DashboardLinkForm
    list_display = ["title", "component", "public"]
    list_filter = ["public"]
    list_select_related = ["component"]
    search_fields = ["title"]
    fields = ["title", "component", "url", "public", "understood"]
    change_form_before_template = "admin/incidents/dashboardlink/warning.html"
