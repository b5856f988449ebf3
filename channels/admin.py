"""Channels, recipients and what went through: the administrator's side of the ways out."""

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import display

from commsportal.admin import PortalModelAdmin, ReadOnlyAdmin

from . import delivery, providers
from .addresses import normalise
from .forms import (
    PREFIX,
    ChannelForm,
    NewChannelForm,
    RecipientForm,
    SendTestForm,
    SuppressionForm,
    channel_form,
    provider_of,
    settings_complete,
)
from .models import Batch, Channel, Delivery, Dispatch, Medium, Recipient, Suppression
from .secrets import address_hash

# The queue's own admin runs any dotted callable, and raw object permissions are nobody's page.
for _app in ("django_q", "guardian", "simple_history"):
    for _model in apps.get_app_config(_app).get_models():
        if admin.site.is_registered(_model):
            admin.site.unregister(_model)

HEALTH = {
    "well": (_("Working"), "success"),
    "unreachable": (_("Not reachable: trying again"), "danger"),
    "held": (_("Slowed down by the provider"), "warning"),
    "paused": (_("Paused: needs attention"), "danger"),
    "untested": (_("Not tested"), "default"),
    "off": (_("Off"), "default"),
}


@admin.register(Channel)
class ChannelAdmin(PortalModelAdmin):
    """A way out: chosen provider, its settings, a test that must succeed before it is used."""

    list_display = ["name", "provider_label", "health", "verified_at", "enabled"]
    list_filter = ["enabled", "provider"]
    search_fields = ["name"]
    change_form_before_template = "admin/channels/channel/state.html"

    @display(description=_("provider"), ordering="provider")
    def provider_label(self, channel: Channel) -> str:
        return channel.get_provider_display()

    @display(description=_("health"), label={key: kind for key, (_word, kind) in HEALTH.items()})
    def health(self, channel: Channel) -> tuple[str, Any]:
        return channel.health, HEALTH[channel.health][0]

    # ── Who may ──

    def _in_scope(self, request: HttpRequest, obj: Any) -> bool:
        """What only a superuser may set up, others see in the list and cannot open."""
        provider = provider_of(obj) if obj else None
        closed = provider is not None and provider.superuser_only and not request.user.is_superuser
        return not closed and super()._in_scope(request, obj)

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "provider":
            kwargs["choices"] = [("", _t("Select value")), *providers.choices(request.user.is_superuser)]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    # ── Form ──

    def get_form(self, request: HttpRequest, obj: Channel | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = channel_form(provider_of(obj)) if obj else NewChannelForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Channel | None = None) -> Any:
        if obj is None:
            help_text = _t("The provider's settings are asked for on the next page.")
            return [(None, {"fields": ["name", "provider"], "description": help_text})]
        form: Any = channel_form(provider_of(obj))
        names = list(form.base_fields)
        own = [name for name in names if name.startswith(PREFIX)]
        broadcast = form.provider_class is None or form.provider_class.capabilities.broadcast
        way = ["rate"] if broadcast else ["fallback", "rate"]
        first = ["name", "provider", *(n for n in names if n == "locales"), "enabled", *way]
        note = _t("A change here switches the channel off until a test succeeds again.")
        if not self.has_change_permission(request, obj):
            return [(None, {"fields": first})]
        return [(None, {"fields": first}), *([(_t("Settings"), {"fields": own, "description": note})] if own else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: Channel | None = None) -> list[str]:
        return ["provider"] if obj else []

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return super().changeform_view(request, *args, **kwargs)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        channel = context.get("original")
        if channel:
            context |= self._state(request, channel)
        else:
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Channel, form: Any, change: bool) -> None:
        if not change:
            obj.save()
            return
        # Only what the form owns: a worker may be writing `held_until` or `paused_at` right now.
        fields = ["name", "enabled", "locales", "fallback", "rate"]
        if isinstance(form, ChannelForm) and form.changed_settings:
            fields += ["config", "secrets", "verified_at", "test_error", "granted_rate"]
            self.message_user(
                request,
                _t("The settings changed, so the channel is off until a test succeeds."),
                messages.WARNING,
            )
        obj.save(update_fields=fields)

    def response_add(self, request: HttpRequest, obj: Channel, post_url_continue: str | None = None) -> HttpResponse:
        if IS_POPUP_VAR in request.POST:
            return super().response_add(request, obj, post_url_continue)
        form: Any = channel_form(provider_of(obj))
        if any(name.startswith(PREFIX) for name in form.base_fields):
            self.message_user(request, _t("Now fill in its settings, then send a test."), messages.INFO)
            return HttpResponseRedirect(reverse("admin:channels_channel_change", args=[obj.pk]))
        return HttpResponseRedirect(reverse("admin:channels_channel_test", args=[obj.pk]))

    def response_change(self, request: HttpRequest, obj: Channel) -> HttpResponse:
        plain = not {"_continue", "_addanother", IS_POPUP_VAR} & set(request.POST)
        if plain and not obj.verified_at and settings_complete(obj) and self.has_test_permission(request):
            return HttpResponseRedirect(reverse("admin:channels_channel_test", args=[obj.pk]))
        return super().response_change(request, obj)

    # ── Test ──

    def has_test_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("channels.test_channel")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:object_id>/test/", wrap(self.test_view), name="channels_channel_test"),
            *super().get_urls(),
        ]

    def test_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Ask for an address, send one test there; once it worked, switch the channel on. POST does, GET shows."""
        channel = self.get_queryset(request).filter(pk=object_id).first()
        if channel is None:
            raise Http404
        if not self.has_view_permission(request, channel) or not self.has_test_permission(request):
            raise PermissionDenied
        provider = provider_of(channel)
        if provider is None:
            self.message_user(request, _t("The provider of this channel is not installed any more."), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:channels_channel_change", args=[channel.pk]))
        medium = provider.capabilities.medium
        own = {"address": getattr(request.user, "email", "") if medium == Medium.EMAIL else ""}
        sending = request.method == "POST" and "enable" not in request.POST
        form = SendTestForm(medium, request.POST if sending else None, initial=own)
        if request.method == "POST" and not sending:
            return self._enable(request, channel)
        if sending and settings_complete(channel) and form.is_valid():
            return self._send_test(request, channel, form.cleaned_data.get("address", ""))
        context = {
            **self.admin_site.each_context(request),
            **self._state(request, channel),
            "title": _t("Test of %(channel)s") % {"channel": channel.name},
            "opts": self.opts,
            "form": form,
            "on_test_page": True,
            "broadcast": medium == Medium.BROADCAST,
            "complete": settings_complete(channel),
        }
        status = 422 if sending else 200
        return TemplateResponse(request, "admin/channels/channel/test.html", context, status=status)

    def _send_test(self, request: HttpRequest, channel: Channel, address: str) -> HttpResponse:
        outcome = delivery.send_test(channel, address)
        if outcome.error is None:
            words = _t("The test succeeded.") if not address else _t("The test was sent to %(address)s.")
            self.log_change(request, channel, _t("Sent a test that succeeded."))
            self.message_user(request, words % {"address": address}, messages.SUCCESS)
            if outcome.note:
                self.message_user(request, outcome.note, messages.INFO)
        else:
            self.log_change(request, channel, _t("Sent a test that failed."))
            self.message_user(request, _t("The test failed. The channel is off; see below why."), messages.ERROR)
        return HttpResponseRedirect(reverse("admin:channels_channel_test", args=[channel.pk]))

    def _enable(self, request: HttpRequest, channel: Channel) -> HttpResponse:
        if not self.has_change_permission(request, channel):
            raise PermissionDenied
        # Asked in the same statement, for somebody else's test may have failed in the meantime.
        if Channel.objects.filter(pk=channel.pk, verified_at__isnull=False).update(enabled=True):
            self.log_change(request, channel, _t("Enabled."))
            self.message_user(request, _t("%(channel)s is on.") % {"channel": channel.name}, messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:channels_channel_changelist"))
        self.message_user(request, _t("Send a test that succeeds before you enable this channel."), messages.ERROR)
        return HttpResponseRedirect(reverse("admin:channels_channel_test", args=[channel.pk]))

    def _state(self, request: HttpRequest, channel: Channel) -> dict[str, Any]:
        """What the state panel shows, masked."""
        return {
            "channel": channel,
            "channel_health": channel.health,
            "channel_waits": bool(channel.held_until and channel.held_until > timezone.now()),
            "channel_health_words": HEALTH[channel.health][0],
            "test_error": channel.mask(channel.test_error),
            "paused_reason": channel.mask(channel.paused_reason),
            "may_test": self.has_test_permission(request),
            "may_change": self.has_change_permission(request, channel),
        }


@admin.register(Recipient)
class RecipientAdmin(PortalModelAdmin):
    form = RecipientForm
    list_display = ["address", "name", "medium", "locale", "consent"]
    list_filter = ["medium", "locale", ("confirmed_at", admin.EmptyFieldListFilter)]
    search_fields = ["address", "name"]
    search_help_text = _("Address or name")
    ordering = ["-id"]
    show_full_result_count = False
    list_per_page = 50
    fieldsets = [
        (None, {"fields": ["medium", "address", "name", "locale", "time_zone"]}),
        (_("Consent"), {"fields": ["confirmed_at", "consent_source"]}),
        (_("More"), {"fields": ["attributes"], "classes": ["collapse"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recipient]:
        # The one that stands for everybody on a broadcast channel is no person.
        people = super().get_queryset(request).exclude(medium=Medium.BROADCAST)
        # What is not loaded is not written back: saving the form must not undo a secret made meanwhile.
        return people.annotate(is_stopped=Suppression.of_recipient()).defer("signing")

    @display(description=_("may be written to"), label={"yes": "success", "no": "warning", "stopped": "danger"})
    def consent(self, person: Any) -> tuple[str, Any]:
        if person.is_stopped:
            return "stopped", _("Stopped")
        return ("yes", _("Confirmed")) if person.confirmed_at else ("no", _("Not confirmed"))


@admin.register(Suppression)
class SuppressionAdmin(PortalModelAdmin):
    """Addresses that are never written to. Deleting one lifts it."""

    form = SuppressionForm
    list_display = ["short_hash", "medium", "reason", "detail", "created_at"]
    list_filter = ["medium", "reason"]
    search_fields = ["detail"]
    search_help_text = _("A whole address, for example name@example.com")
    ordering = ["-id"]
    show_full_result_count = False

    @display(description=_("address (hash)"))
    def short_hash(self, row: Suppression) -> str:
        return f"{row.address_hash[:12]}…"

    def get_fieldsets(self, request: HttpRequest, obj: Suppression | None = None) -> Any:
        shown = ["medium", "address", "detail"] if obj is None else ["medium", "reason", "detail", "created_at"]
        return [(None, {"fields": shown})]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        found, distinct = super().get_search_results(request, queryset, search_term)
        if search_term.strip():
            hashes = [address_hash(medium, _canonical(medium, search_term)) for medium in Medium.values]
            found = found | queryset.filter(address_hash__in=hashes)
        return found, distinct

    def delete_model(self, request: HttpRequest, obj: Suppression) -> None:
        super().delete_model(request, obj)
        self.message_user(request, _t("The address may be written to again."), messages.INFO)


def _canonical(medium: str, text: str) -> str:
    try:
        return normalise(medium, text)
    except ValueError:
        return text


class RawRecordAdmin(ReadOnlyAdmin):
    """Records across all incidents: only for those who may see every component's.

    Everybody else reads them on the delivery page of an update, within their own components.
    """

    show_full_result_count = False
    ordering = ["-id"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("channels.view_dispatch") and request.user.has_perm("incidents.operate_component")


@admin.register(Dispatch)
class DispatchAdmin(RawRecordAdmin):
    list_display = ["id", "thread", "purpose", "channel", "locale", "created_at", "expanded_at", "cancelled_at"]
    list_filter = ["purpose", "channel", "locale"]
    list_select_related = ["channel"]
    search_fields = ["thread", "source"]


@admin.register(Batch)
class BatchAdmin(RawRecordAdmin):
    list_display = ["id", "dispatch_id", "size", "done_to", "tries", "next_try_at", "done_at", "last_error"]
    list_filter = ["repeats", ("done_at", admin.EmptyFieldListFilter)]
    exclude = ["recipient_ids"]
    search_fields = ["dispatch__thread"]


@admin.register(Delivery)
class DeliveryAdmin(RawRecordAdmin):
    list_display = ["id", "dispatch_id", "address", "status", "code", "detail", "attempts", "at"]
    list_filter = ["status"]
    search_fields = ["dispatch__thread", "code", "provider_ref"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        # A join would drop the rows of erased people.
        person = Recipient.objects.filter(pk=OuterRef("recipient_id")).values("address")[:1]
        return super().get_queryset(request).annotate(address=Subquery(person))

    @display(description=_("recipient"))
    def address(self, row: Any) -> str:
        return row.address or _t("erased")
