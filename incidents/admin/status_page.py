"""Private status pages in the admin: which components, who reads, and the links that open them."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import action
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from incidents.models import Component, StatusPage
from incidents.statuspage.private import scope_of

from . import glance
from .history import HistoryAdmin

# Days that a link opens a page; 0 is for ever.
LASTS = [
    (1, gettext_lazy("1 day")),
    (7, gettext_lazy("7 days")),
    (30, gettext_lazy("30 days")),
    (90, gettext_lazy("90 days")),
    (365, gettext_lazy("1 year")),
    (0, gettext_lazy("Until all links are withdrawn")),
]


class LinkForm(forms.Form):
    lasts = forms.TypedChoiceField(
        label=gettext_lazy("How long it opens the page"), choices=LASTS, coerce=int, initial=90
    )
    whom = forms.CharField(
        label=gettext_lazy("For whom"),
        max_length=120,
        required=False,
        help_text=gettext_lazy("Optional, for the record: who gets this link."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "cp-input"


class ComponentsField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, obj: Component) -> str:
        return _("%(name)s (private)") % {"name": obj.name} if obj.private else obj.name


@admin.register(StatusPage)
class StatusPageAdmin(HistoryAdmin):
    list_display = ["name", "shows", "read_by", "enabled"]
    list_filter = ["enabled"]
    search_fields = ["name"]
    fields = ["name", "components", "groups", "enabled"]
    actions_detail = ["open_button", "link_button", "withdraw_button"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[StatusPage]:
        found = super().get_queryset(request)
        return found.annotate(n=Count("components", distinct=True)).prefetch_related("groups")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        widget = UnfoldAdminCheckboxSelectMultipleWidget
        if db_field.name == "components":
            mine = Component.objects.for_user(request.user).order_by("group__position", "position", "name")
            errors = {"required": _("Tick at least one component: a page of nothing says nothing.")}
            help_text = db_field.help_text
            return ComponentsField(
                mine, label=_("Components"), widget=widget, error_messages=errors, help_text=help_text
            )
        kwargs |= {"widget": widget, "queryset": Group.objects.order_by("name")}
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("components"), ordering="n")
    def shows(self, page: StatusPage) -> int:
        return page.n  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("readers"))
    def read_by(self, page: StatusPage) -> SafeString | str:
        names = ", ".join(group.name for group in page.groups.all())
        return names or _("by link only")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/link/", wrap(self.link_view), name="incidents_statuspage_link"),
            path("<int:pk>/withdraw/", wrap(self.withdraw_view), name="incidents_statuspage_withdraw"),
        ]
        return [*own, *super().get_urls()]

    # ── Links ──

    def has_link_permission(self, request: HttpRequest, *_object: Any) -> bool:
        return self.has_change_permission(request)  # of this very page: its views ask

    @action(description=gettext_lazy("Open the page"), icon="visibility", url_path="to-page")
    def open_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        page = self._page(request, object_id)
        return HttpResponseRedirect(f"{scope_of(page, page.uid).base}/")

    @action(description=gettext_lazy("Make a link"), icon="link", permissions=["link"], url_path="to-link")
    def link_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_statuspage_link", object_id))

    @action(description=gettext_lazy("Withdraw all links"), icon="link_off", permissions=["link"], url_path="to-end")
    def withdraw_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_statuspage_withdraw", object_id))

    def _page(self, request: HttpRequest, pk: Any) -> StatusPage:
        page = self.get_object(request, str(pk))
        if page is None:
            raise Http404
        return page

    def _changeable(self, request: HttpRequest, pk: int) -> StatusPage:
        page = self._page(request, pk)
        if not self.has_change_permission(request, page):
            raise PermissionDenied
        return page

    def link_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET asks for how long, POST shows the link. Nothing keeps it: it is signed, and can be made again."""
        page = self._changeable(request, pk)
        form = LinkForm(request.POST or None)
        context: dict[str, Any] = {"form": form, "link": ""}
        if request.method == "POST" and form.is_valid():
            days = form.cleaned_data["lasts"]
            until = timezone.now() + timedelta(days=days) if days else None
            context |= {"link": f"{scope_of(page, page.key(until)).url}/", "until": until}
            said = _("Made a link that stays valid until links are withdrawn.")
            if until:
                said = _("Made a link that is valid until %s.") % timezone.localtime(until).isoformat(" ", "minutes")
            if whom := form.cleaned_data["whom"]:
                said = f"{said} {_('For whom')}: {whom}"
            self.log_change(request, page, said)
        status = 422 if form.errors else 200
        return self._render(request, page, "link", _("A link to “%s”") % page, status, **context)

    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        page = self._changeable(request, pk)
        if request.method == "POST":
            page.withdraw_links()
            self.log_change(request, page, _("Withdrew all links."))
            messages.success(request, _("No link opens “%s” any more. Readers who log in are not affected.") % page)
            return HttpResponseRedirect(glance.link("incidents_statuspage_change", page.pk))
        return self._render(request, page, "withdraw", _("Withdraw all links to “%s”?") % page)

    def _render(
        self, request: HttpRequest, page: StatusPage, name: str, title: str, status: int = 200, **context: Any
    ) -> HttpResponse:
        shown = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, "page": page, **context}
        return render(request, f"admin/incidents/statuspage/{name}.html", shown, status=status)
