"""Where alerts come from, by which rules they are read, and the list of what was told."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

from commsportal.admin import PortalModelAdmin, ReadOnlyAdmin
from incidents.alerts import taking_in
from incidents.alerts.signal import NAME, VALUE, Malformed, Unknown
from incidents.alerts.views import MAX_BODY, parsed
from incidents.errors import Problem
from incidents.models import Alert, AlertRule, AlertSource, Component, Scenario
from incidents.models.alert import checked_topics
from incidents.models.component import OPERATE, VIEW

from . import glance
from .refusal import refused

MOST_LABELS = 20  # that a rule asks for
STATES = {
    "ready": (gettext_lazy("Ready"), "success"),
    "unknown": (gettext_lazy("Not connected yet"), "warning"),
    "off": (gettext_lazy("Off"), "default"),
}


class LinesField(forms.CharField):
    """Several values, one on each line."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false", "autocapitalize": "off"})


class WholeCompanyAdmin(PortalModelAdmin):
    """What is set up for all components at once: only for those who see every one of them."""

    def _in_scope(self, request: HttpRequest, obj: Any) -> bool:
        user = request.user
        return (user.has_perm(VIEW) or user.has_perm(OPERATE)) and super()._in_scope(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) and self._in_scope(request, None)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and self._in_scope(request, None)


# ── Sources ─────────────────────────────────────────────────────────────────


class AlertSourceForm(forms.ModelForm):
    topics = LinesField(
        label=gettext_lazy("SNS topics"),
        required=False,
        max_length=8000,
        help_text=AlertSource._meta.get_field("topics").help_text,  # type: ignore[union-attr]
    )

    class Meta:
        model = AlertSource
        fields = ["name", "kind", "default_severity", "rate", "enabled", "topics"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["topics"] = "\n".join(self.instance.topics)

    def clean_topics(self) -> list[str]:
        try:
            return checked_topics(self.cleaned_data["topics"].splitlines())
        except ValidationError as error:
            raise ValidationError(error.message_dict["topics"]) from None


@admin.register(AlertSource)
class AlertSourceAdmin(WholeCompanyAdmin):
    form = AlertSourceForm
    list_display = ["name", "kind", "health", "heard_at", "dropped"]
    list_filter = ["enabled"]
    search_fields = ["name"]
    actions_detail = ["connect_button", "try_button"]

    @display(description=gettext_lazy("state"), label={key: kind for key, (_word, kind) in STATES.items()})
    def health(self, source: AlertSource) -> tuple[str, Any]:
        state = "ready" if source.can_be_believed else "unknown"
        state = state if source.enabled else "off"
        return state, STATES[state][0]

    def get_fieldsets(self, request: HttpRequest, obj: AlertSource | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": ["name", "kind"], "description": _("How to connect it comes next.")})]
        topics = ["topics"] if obj.format and obj.format.topics else []
        told = ["heard_at", "dropped", "dropped_at"]
        return [
            (None, {"fields": ["name", "kind", *topics, "default_severity", "rate", "enabled"]}),
            (_("What it told"), {"fields": told}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: AlertSource | None = None) -> list[str]:
        return ["kind", "heard_at", "dropped", "dropped_at"] if obj else []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        if not context.get("original"):
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: AlertSource, form: Any, change: bool) -> None:
        # Only what the form shows: alerts may be counted on the row right now.
        obj.save(update_fields=[*form.cleaned_data]) if change else obj.save()

    def response_add(
        self, request: HttpRequest, obj: AlertSource, post_url_continue: str | None = None
    ) -> HttpResponse:
        if IS_POPUP_VAR in request.POST:
            return super().response_add(request, obj, post_url_continue)
        return HttpResponseRedirect(glance.link("incidents_alertsource_connect", obj.pk))

    # ── Connect, and try ──

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/connect/", wrap(self.connect_view), name="incidents_alertsource_connect"),
            path("<int:pk>/try/", wrap(self.try_view), name="incidents_alertsource_try"),
        ]
        return [*own, *super().get_urls()]

    @action(description=gettext_lazy("How to connect"), icon="cable", url_path="to-connect")
    def connect_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_alertsource_connect", object_id))

    @action(description=gettext_lazy("Try a message"), icon="science", url_path="to-try")
    def try_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_alertsource_try", object_id))

    def _source(self, request: HttpRequest, pk: int) -> AlertSource:
        source = self.get_object(request, str(pk))
        if source is None or source.format is None:
            raise Http404
        if not self.has_view_permission(request, source):
            raise PermissionDenied
        return source

    @method_decorator(sensitive_post_parameters("secret"))
    def connect_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET tells the address and how to connect; POST makes the secret, which is shown this once."""
        source = self._source(request, pk)
        shown, error = "", ""
        if request.method == "POST":
            if not self.has_change_permission(request, source):
                raise PermissionDenied
            given = request.POST.get("secret", "").strip()
            error = self._wrong(source, given)
            if not error:
                try:
                    shown = source.renew_secret(given, at_once=bool(request.POST.get("at_once")))
                except Problem as problem:
                    return refused(request, problem, request.path)
                self.log_change(request, source, _("New secret."))
        if shown and source.format.takes_secret:  # type: ignore[union-attr]
            messages.success(request, _("Kept. What is signed with it is believed from now on."))
            return HttpResponseRedirect(request.path)
        context = {
            "shown": shown,
            "error": error,
            "format": source.format,
            "may_change": self.has_change_permission(request, source),
        }
        title = _("Connect “%(name)s”") % {"name": source.name}
        return self._render(request, source, "connect", title, 422 if error else 200, **context)

    def _wrong(self, source: AlertSource, given: str) -> str:
        """What is wrong with a secret that was typed in; the value itself is not repeated."""
        form = source.format
        if form is None or not (form.takes_secret or form.makes_secret):
            return _("Sources of this kind have no secret: SNS signs what it posts.")
        if not form.takes_secret:
            return ""
        if not 16 <= len(given) <= 200 or not given.isascii() or not given.isprintable() or " " in given:
            return _("This is not the secret that PagerDuty showed: it has 16 or more letters and digits, no spaces.")
        return ""

    def try_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What a message would propose just now. Nothing of it is kept, whatever the button."""
        source = self._source(request, pk)
        form = source.format
        assert form is not None
        typed = request.POST.get("payload", "") if request.method == "POST" else ""
        rows: list[Any] = []
        error = ""
        if request.method == "POST":
            try:
                if len(typed) > MAX_BODY:
                    raise Malformed(_("The message is longer than 256 KB."))
                rows = taking_in.preview(source, form.read(parsed(typed)))
            except (Malformed, Unknown) as problem:
                error = str(problem)
        sample = json.dumps(form.sample, indent=2, ensure_ascii=False)
        context = {"payload": typed or sample, "rows": rows, "error": error}
        title = _("Try a message of “%(name)s”") % {"name": source.name}
        return self._render(request, source, "try", title, 422 if error else 200, **context)

    def _render(
        self, request: HttpRequest, source: AlertSource, name: str, title: str, status: int, **context: Any
    ) -> HttpResponse:
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "source": source,
            **context,
        }
        response = render(request, f"admin/incidents/alertsource/{name}.html", shown, status=status)
        response["Cache-Control"] = "no-store"
        return response


# ── Rules ───────────────────────────────────────────────────────────────────


def labels_of(text: str) -> dict[str, str]:
    """“service = checkout-*” on each line, as a dict. Raises ValidationError that names the line and the fix."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, equals, pattern = (part.strip() for part in line.partition("="))
        if not name or not equals or not pattern:
            wrong = _("Line %(number)d, “%(line)s”: write a label and its value, as in service = checkout-*.")
            raise ValidationError(wrong % {"number": number, "line": line.strip()[:60]})
        if len(name) > NAME or len(pattern) > VALUE:
            raise ValidationError(_("Line %(number)d is too long.") % {"number": number})
        found[name] = pattern
    if len(found) > MOST_LABELS:
        raise ValidationError(_("A rule asks for %d labels at most.") % MOST_LABELS)
    return found


class AlertRuleForm(forms.ModelForm):
    labels = LinesField(
        label=gettext_lazy("Labels"),
        required=False,
        max_length=8000,
        help_text=AlertRule._meta.get_field("labels").help_text,  # type: ignore[union-attr]
    )

    class Meta:
        model = AlertRule
        fields = [
            "name",
            "position",
            "source",
            "title",
            "labels",
            "proposes",
            "components",
            "status",
            "severity",
            "scenario",
            "public_title",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            # In order of their names: PostgreSQL keeps no other.
            self.initial["labels"] = "\n".join(
                f"{name} = {value}" for name, value in sorted(self.instance.labels.items())
            )

    def clean_labels(self) -> dict[str, str]:
        return labels_of(self.cleaned_data["labels"])


@admin.register(AlertRule)
class AlertRuleAdmin(WholeCompanyAdmin):
    form = AlertRuleForm
    list_display = ["position", "name", "fits_in_words", "means", "severity"]
    list_display_links = ["name"]
    list_filter = ["source"]
    search_fields = ["name", "title"]
    ordering = ["position", "pk"]
    fieldsets = [
        (None, {"fields": ["name", "position"]}),
        (gettext_lazy("Which alerts"), {"fields": ["source", "title", "labels"]}),
        (
            gettext_lazy("What they mean for customers"),
            {"fields": ["proposes", "components", "status", "severity", "scenario", "public_title"]},
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        return super().get_queryset(request).select_related("source").prefetch_related("components")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "components":
            kwargs |= {
                "widget": UnfoldAdminCheckboxSelectMultipleWidget,
                "queryset": Component.objects.for_user(request.user).order_by("group__position", "position", "name"),
            }
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "scenario":
            kwargs["queryset"] = Scenario.objects.filter(maintenance=False)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("which alerts"))
    def fits_in_words(self, rule: AlertRule) -> str:
        parts = [rule.source.name] if rule.source else []
        parts += [rule.title] if rule.title else []
        parts += [f"{name} = {value}" for name, value in sorted(rule.labels.items())]
        return "; ".join(parts) or _("all")

    @admin.display(description=gettext_lazy("what they mean"))
    def means(self, rule: AlertRule) -> str:
        if not rule.proposes:
            return _("Nothing is proposed")
        names = ", ".join(one.name for one in rule.components.all())
        return f"{names}: {rule.get_status_display()}" if names else _("No component")


# ── Alerts ──────────────────────────────────────────────────────────────────


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """Everything that was told, as far as it belongs to components that a person may see."""

    list_display = ["title", "shown_state", "source", "count", "first_at", "last_at", "belongs"]
    list_filter = ["state", "source"]
    search_fields = ["title", "fingerprint"]
    ordering = ["-pk"]
    list_per_page = 50
    show_full_result_count = False
    fields = ["title", "state", "summary", "source", "rule", "count", "first_at", "last_at", "shown", "belongs"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return super().get_queryset(request).select_related("source", "rule")

    @display(description=gettext_lazy("state"), label={"firing": "danger", "resolved": "success"})
    def shown_state(self, alert: Alert) -> tuple[str, str]:
        return alert.state, str(alert.get_state_display())

    @admin.display(description=gettext_lazy("labels"))
    def shown(self, alert: Alert) -> SafeString:
        return format_html_join("", "<div>{} = {}</div>", sorted(alert.labels.items()))

    @admin.display(description=gettext_lazy("belongs to"), empty_value="—")
    def belongs(self, alert: Alert) -> SafeString | None:
        """Without names: its incident may be of components that this person does not see."""
        if alert.incident_id:
            url, text = glance.link("incidents_incident_change", alert.incident_id), _("An incident")
        elif alert.proposal_id:
            url, text = glance.link("incidents_proposal_change", alert.proposal_id), _("A proposal")
        else:
            return None
        return format_html('<a href="{}" class="underline">{}</a>', url, text)
