"""Other systems that are told of events: set up, connected, and followed. Thin over incidents.events.sending."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from channels import delivery, own_secrets
from channels.models import Medium
from commsportal.admin import PortalModelAdmin
from incidents.errors import Problem
from incidents.events import recording, scope, sending
from incidents.models import Component, EventSubscription, EventType

from . import glance
from .refusal import refused

SHOWN = 50  # of what was sent, the newest
STATES = {
    "ready": (gettext_lazy("Ready"), "success"),
    "unknown": (gettext_lazy("Not connected yet"), "warning"),
    "trying": (gettext_lazy("Not taken: trying again"), "warning"),
    "paused": (gettext_lazy("Paused"), "danger"),
    "off": (gettext_lazy("Off"), "default"),
}
TONES = {"sent": "good", "waiting": "warn", "sending": "quiet", "skipped": "quiet"}


class EventSubscriptionForm(forms.ModelForm):
    types = forms.MultipleChoiceField(
        label=gettext_lazy("Which events"),
        choices=EventType.choices,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=EventSubscription._meta.get_field("types").help_text,  # type: ignore[union-attr]
    )

    class Meta:
        model = EventSubscription
        fields = ["name", "kind", "target", "types", "components", "owner", "enabled"]


@admin.register(EventSubscription)
class EventSubscriptionAdmin(PortalModelAdmin):
    form = EventSubscriptionForm
    list_display = ["name", "kind", "state", "owner", "sent_at"]
    list_filter = ["enabled", "kind"]
    search_fields = ["name"]
    actions_detail = ["sent_button", "connect_button"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[EventSubscription]:
        return super().get_queryset(request).select_related("owner")

    @display(description=gettext_lazy("state"), label={key: kind for key, (_word, kind) in STATES.items()})
    def state(self, one: EventSubscription) -> tuple[str, Any]:
        found = state_of(one)
        return found, STATES[found][0]

    def get_fieldsets(self, request: HttpRequest, obj: EventSubscription | None = None) -> Any:
        what = (_("What it is told"), {"fields": ["types", "components"]})
        if obj is None:
            said = {"fields": ["name", "kind", "target"], "description": _("How to connect it comes next.")}
            return [(None, said), what]
        return [(None, {"fields": ["name", "kind", "target", "owner", "enabled"]}), what]

    def get_readonly_fields(self, request: HttpRequest, obj: EventSubscription | None = None) -> list[str]:
        return ["kind"] if obj else []

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "components":
            kwargs |= {
                "widget": UnfoldAdminCheckboxSelectMultipleWidget,
                "queryset": Component.objects.for_user(request.user).order_by("group__position", "position", "name"),
            }
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if field := form.base_fields.get("owner"):
            # It carries its owner's permissions: nobody lends out those of somebody else.
            keys = {request.user.pk, obj.owner_id if obj else None}
            field.queryset = get_user_model().objects.filter(pk__in=keys - {None})
        for name in {"owner", "components"} & set(form.base_fields):
            widget = form.base_fields[name].widget
            widget.can_add_related = widget.can_change_related = False
            widget.can_delete_related = widget.can_view_related = False
        return form

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        if not context.get("original"):
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: EventSubscription, form: Any, change: bool) -> None:
        if change:
            # Only what the form shows: events may be sent on the row right now.
            obj.save(update_fields=[name for name in form.cleaned_data if name != "components"])
            return
        obj.owner_id = request.user.pk  # type: ignore[assignment]
        obj.cursor = recording.head()  # what happened before is news to nobody
        obj.save()

    def response_add(
        self, request: HttpRequest, obj: EventSubscription, post_url_continue: str | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_eventsubscription_connect", obj.pk))

    # ── Connect ──

    def get_urls(self) -> list[URLPattern]:
        wrap, name = self.admin_site.admin_view, "incidents_eventsubscription"
        own = [
            path("<int:pk>/connect/", wrap(self.connect_view), name=f"{name}_connect"),
            path("<int:pk>/try/", wrap(self.try_view), name=f"{name}_try"),
            path("<int:pk>/sent/", wrap(self.sent_view), name=f"{name}_sent"),
            path("<int:pk>/resume/", wrap(self.resume_view), name=f"{name}_resume"),
            path("<int:pk>/skip/<int:number>/", wrap(self.skip_view), name=f"{name}_skip"),
            path("<int:pk>/again/<int:number>/", wrap(self.again_view), name=f"{name}_again"),
        ]
        return [*own, *super().get_urls()]

    @action(description=gettext_lazy("What was sent"), icon="outbox", url_path="to-sent")
    def sent_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_eventsubscription_sent", object_id))

    @action(description=gettext_lazy("How to connect"), icon="cable", url_path="to-connect")
    def connect_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_eventsubscription_connect", object_id))

    def _one(self, request: HttpRequest, pk: int, change: bool = False) -> EventSubscription:
        one = self.get_object(request, str(pk))
        if one is None:
            raise Http404
        may = self.has_change_permission if change else self.has_view_permission
        if not may(request, one):
            raise PermissionDenied
        return one

    def connect_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET tells what comes and how to believe it; POST makes the secret, which is shown this once."""
        one = self._one(request, pk, change=request.method == "POST")
        shown = ""
        if request.method == "POST":
            if one.kind != EventSubscription.Kind.WEBHOOK:
                raise Http404
            try:
                shown = one.renew_secret(at_once=bool(request.POST.get("at_once")))
            except Problem as problem:
                return refused(request, problem, request.path)
            self.log_change(request, one, _("New secret."))
        context = {
            "shown": shown,
            "overlap": own_secrets.overlap_ends(one.secrets),
            "webhook": one.kind == EventSubscription.Kind.WEBHOOK,
            "no_way": one.kind == EventSubscription.Kind.WEBHOOK and delivery.way_to(Medium.WEBHOOK) is None,
        }
        return self._render(request, one, "connect", _("Connect “%(name)s”") % {"name": one.name}, **context)

    def try_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a test event, and say what came of it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        one = self._one(request, pk, change=True)
        try:
            error = sending.try_out(one)
        except Problem as problem:
            return refused(request, problem, glance.link("incidents_eventsubscription_connect", one.pk))
        if error is None:
            self.log_change(request, one, _("Sent a test that succeeded."))
            self.message_user(request, _("The test event was taken."), messages.SUCCESS)
        else:
            self.log_change(request, one, _("Sent a test that failed."))
            text = _("The test event was not taken: %(error)s") % {"error": error}
            self.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(glance.link("incidents_eventsubscription_sent", one.pk))

    # ── Follow ──

    def sent_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What was sent of late, as far as this person may see it, and what is wrong."""
        one = self._one(request, pk)
        visible = scope.visible(request.user).order_by().values("pk")
        found = one.deliveries.filter(event__in=visible).select_related("event__incident")[:SHOWN]
        # Whether it is the one that waits, or one that was dealt with: each has a button of its own.
        rows = [(row, TONES[row.state], row.event_id <= one.cursor, row.state == "waiting") for row in found]
        state = state_of(one)
        context = {"rows": rows, "most": SHOWN, "state": state, "state_in_words": STATES[state][0]}
        return self._render(request, one, "sent", _("Events for “%(name)s”") % {"name": one.name}, **context)

    def resume_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return self._do(request, pk, sending.resume, _("Let it go on."), _("It goes on with the event that waits."))

    def skip_view(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        log = _("Left out event %(number)d.") % {"number": number}
        said = _("Event %(number)d is left out. “Send again from here” still sends it.") % {"number": number}
        return self._do(request, pk, lambda one: sending.skip(one, number), log, said)

    def again_view(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        """GET shows how many would be sent again, POST does it."""
        one = self._one(request, pk, change=True)
        if request.method == "POST":
            log = _("Sent again from event %(number)d on.") % {"number": number}
            return self._do(request, pk, lambda one: sending.replay(one, number), log, _("They are sent again now."))
        count = sending.to_replay(one, number)
        if not count:
            raise Http404
        text = ngettext("Send %(count)d event again", "Send %(count)d events again", count) % {"count": count}
        return self._render(request, one, "again", text, number=number)

    def _do(self, request: HttpRequest, pk: int, verb: Any, log: str, said: str) -> HttpResponse:
        one = self._one(request, pk, change=True)
        back = glance.link("incidents_eventsubscription_sent", one.pk)
        try:
            verb(one)
        except Problem as problem:
            return refused(request, problem, back)
        self.log_change(request, one, log)
        self.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(back)

    def _render(
        self, request: HttpRequest, one: EventSubscription, name: str, title: str, **context: Any
    ) -> HttpResponse:
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "one": one,
            "may_change": self.has_change_permission(request, one),
            "now": timezone.now(),
            **context,
        }
        response = render(request, f"admin/incidents/eventsubscription/{name}.html", shown)
        response["Cache-Control"] = "no-store"
        return response


def state_of(one: EventSubscription) -> str:
    """A key of STATES."""
    if not one.enabled:
        return "off"
    if one.paused_reason:
        return "paused"
    if not one.is_connected:
        return "unknown"
    return "trying" if one.tries else "ready"
