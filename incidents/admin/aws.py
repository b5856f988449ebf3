"""What is set up at AWS, a check that says in words whether it would work, and the calls that were made."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import action, display
from unfold.widgets import INPUT_CLASSES

from commsportal.admin import ReadOnlyAdmin
from incidents.aws import checking, measuring
from incidents.aws.asking import AwsError
from incidents.models import AwsAccount, AwsCall, Incident

from . import aws_card, glance
from .alert import WholeCompanyAdmin

STATES = {
    "well": (gettext_lazy("Checked"), "success"),
    "trouble": (gettext_lazy("Trouble"), "danger"),
    "unchecked": (gettext_lazy("Not checked yet"), "warning"),
    "off": (gettext_lazy("Off"), "default"),
}
# What a change of makes an earlier check worthless.
IDENTITY = {"region", "access_key_id", "role_arn", "opens_in", "response_plan_arn"}


class AwsAccountForm(forms.ModelForm):
    secret_access_key = forms.CharField(
        label=gettext_lazy("Secret access key"),
        required=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"class": " ".join(INPUT_CLASSES), "autocomplete": "new-password"}),
    )

    class Meta:
        model = AwsAccount
        fields = [
            "name",
            "enabled",
            "region",
            "access_key_id",
            "role_arn",
            "opens_in",
            "response_plan_arn",
            "opens_from",
            "sends_measures",
            "namespace",
            "dashboard",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.new_secret = ""
        if self.instance.secrets and "secret_access_key" in self.fields:
            self.fields["secret_access_key"].widget.attrs["placeholder"] = _("Stored. Leave empty to keep it.")

    def clean_secret_access_key(self) -> str:
        given = self.cleaned_data["secret_access_key"].strip()
        if given and (not given.isascii() or not given.isprintable() or " " in given):
            raise ValidationError(
                _("A secret access key has no spaces and no accents: copy it again, the whole of it.")
            )
        return given

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        key, secret = data.get("access_key_id", ""), data.get("secret_access_key", "")
        # A stored secret belongs to the key that it was entered with.
        kept = bool(self.instance.secrets) and "access_key_id" not in self.changed_data
        if secret and not key and "access_key_id" not in self.errors:
            self.add_error("access_key_id", _("Enter the ID of this access key, or empty both."))
        if key and not secret and not kept and "secret_access_key" not in self.errors:
            self.add_error("secret_access_key", _("Enter the secret of this access key, or empty both."))
        return data

    def save(self, commit: bool = True) -> AwsAccount:
        account = self.instance
        secret = self.cleaned_data.get("secret_access_key", "")
        if not account.access_key_id:
            account.secrets = {}
        elif secret:
            account.secrets = {"secret_access_key": secret}
        changed = {name for name, value in self.cleaned_data.items() if value != self.initial.get(name, "")}
        if changed & {*IDENTITY, "secret_access_key"}:
            account.checked_at, account.report, account.held_until = None, [], None
            account.trouble, account.trouble_at = "", None
        if changed & {"opens_in", "opens_from", "enabled"}:
            account.opens_since = timezone.now()
        return super().save(commit)


@admin.register(AwsAccount)
class AwsAccountAdmin(WholeCompanyAdmin):
    form = AwsAccountForm
    list_display = ["name", "region", "state", "opens", "checked_at"]
    list_filter = ["enabled"]
    search_fields = ["name"]
    change_form_before_template = "admin/incidents/awsaccount/state.html"
    actions_detail = ["check_button", "dashboard_button"]

    @display(description=gettext_lazy("state"), label={key: kind for key, (_word, kind) in STATES.items()})
    def state(self, account: AwsAccount) -> tuple[str, Any]:
        return account.health, STATES[account.health][0]

    @admin.display(description=gettext_lazy("incidents are opened in"))
    def opens(self, account: AwsAccount) -> str:
        if not account.opens_in:
            return "—"
        if not account.opens_from:
            return _("%(place)s, by hand") % {"place": account.get_opens_in_display()}
        return _("%(place)s, from %(severity)s on") % {
            "place": account.get_opens_in_display(),
            "severity": account.get_opens_from_display(),
        }

    def get_fieldsets(self, request: HttpRequest, obj: AwsAccount | None = None) -> Any:
        who = ["name", "enabled", "region", "access_key_id", "role_arn"]
        if self.has_change_permission(request, obj) or obj is None:
            who.insert(4, "secret_access_key")
        return [
            (None, {"fields": who}),
            (_("Incidents"), {"fields": ["opens_in", "response_plan_arn", "opens_from"]}),
            (_("Measures"), {"fields": ["sends_measures", "namespace", "dashboard"]}),
        ]

    @method_decorator(sensitive_post_parameters("secret_access_key"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return super().changeform_view(request, *args, **kwargs)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        account = context.get("original")
        context["account"] = account
        context["health_words"] = STATES[account.health][0] if account else ""
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: AwsAccount, form: Any, change: bool) -> None:
        if not change:
            obj.save()
            return
        # Only what the form owns: a worker may be writing `trouble` or `measured_at` right now.
        own = [name for name in form.cleaned_data if name != "secret_access_key"]
        fields = [*own, "secrets", "opens_since"]
        if obj.checked_at is None:
            fields += ["checked_at", "report", "held_until", "trouble", "trouble_at"]
        obj.save(update_fields=fields)

    # ── Check it ──

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/check/", wrap(self.check_view), name="incidents_awsaccount_check"),
            path("<int:pk>/dashboard/", wrap(self.dashboard_view), name="incidents_awsaccount_dashboard"),
        ]
        return [*own, *super().get_urls()]

    def has_check_permission(self, request: HttpRequest, *_object: Any) -> bool:
        return self.has_change_permission(request)  # of this very account: the view asks

    @action(description=gettext_lazy("Check it"), icon="fact_check", permissions=["check"], url_path="to-check")
    def check_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_awsaccount_check", object_id))

    @action(description=gettext_lazy("Dashboard"), icon="dashboard", permissions=["check"], url_path="to-dashboard")
    def dashboard_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_awsaccount_dashboard", object_id))

    def _account(self, request: HttpRequest, pk: int) -> AwsAccount:
        account = self.get_object(request, str(pk))
        if account is None or not self.has_view_permission(request, account):
            raise Http404
        if not self.has_change_permission(request, account):
            raise PermissionDenied
        return account

    def check_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET shows what was found last, POST asks AWS now."""
        account = self._account(request, pk)
        if request.method == "POST":
            found = checking.check(account)
            if all(one.ok for one in found):
                messages.success(request, _("AWS answers, and all that was tried works."))
            else:
                messages.error(request, _("Not all of it works; see below why."))
            self.log_change(request, account, _("Checked."))
            return HttpResponseRedirect(request.path)
        return self._render(request, account, "check", _("Check “%(name)s”") % {"name": account.name})

    def dashboard_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET shows what would be written, POST writes it."""
        account = self._account(request, pk)
        error = ""
        if request.method == "POST":
            try:
                remarks = measuring.put_dashboard(account)
            except AwsError as problem:
                error = account.mask(problem.words())
            else:
                self.log_change(request, account, _("Wrote the dashboard “%(name)s”.") % {"name": account.dashboard})
                messages.success(request, _("The dashboard is written."))
                for one in remarks:
                    messages.warning(request, _("CloudWatch remarks: %(text)s") % {"text": one})
                return HttpResponseRedirect(request.path)
        title = _("Dashboard of “%(name)s”") % {"name": account.name}
        shown = {"body": measuring.dashboard(account), "error": error}
        return self._render(request, account, "dashboard", title, 422 if error else 200, **shown)

    def _render(
        self, request: HttpRequest, account: AwsAccount, name: str, title: str, status: int = 200, **context: Any
    ) -> HttpResponse:
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "account": account,
            "health_words": STATES[account.health][0],
            **context,
        }
        return render(request, f"admin/incidents/awsaccount/{name}.html", shown, status=status)


@admin.register(AwsCall)
class AwsCallAdmin(ReadOnlyAdmin):
    """What AWS was told of incidents, when, and what became of it."""

    list_display = ["asked_at", "incident", "verb", "operation", "result", "tries", "account"]
    list_filter = ["state", "verb", "account"]
    search_fields = ["incident__title"]
    list_select_related = ["incident", "account"]
    fields = [
        "asked_at",
        "account",
        "incident",
        "verb",
        "operation",
        "by",
        "state",
        "tries",
        "tried_at",
        "detail",
        "ref",
    ]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        seen = Incident.objects.for_user(request.user).order_by().values("pk")  # type: ignore[arg-type]
        return super().get_queryset(request).filter(incident__in=seen)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # No permission of its own: who sees incidents sees what was told of them.
        return request.user.has_perm("incidents.view_incident") and self._in_scope(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @display(
        description=gettext_lazy("state"),
        ordering="state",
        label={"sent": "success", "failed": "danger", "unknown": "warning", "waiting": "info", "sending": "info"},
    )
    def result(self, call: AwsCall) -> tuple[str, str]:
        return call.state, call.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [path("incident/<int:pk>/", wrap(aws_card.view), name="incidents_awscall_incident")]
        return [*own, *super().get_urls()]
