"""The workspaces in whose chat staff work, and who is who there."""

import json
from collections.abc import Callable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.core.validators import RegexValidator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import action, display
from unfold.widgets import INPUT_CLASSES, UnfoldAdminRadioSelectWidget

from channels.errors import DeliveryError
from commsportal.admin import PortalModelAdmin
from incidents.chat import connecting, rooms, slack, teams
from incidents.errors import Problem
from incidents.models import ChatAccount, ChatRoom, ChatWorkspace, Incident
from incidents.models.chat import GUID

from . import glance
from .alert import WholeCompanyAdmin
from .refusal import refused

SECRETS = [name for names in ChatWorkspace.SECRETS.values() for name in names]
WRONG_TEAM = gettext_lazy("This is no ID of a team; copy it whole, as in 00000000-0000-0000-0000-000000000000.")
STATES = {
    "on": (gettext_lazy("On"), "success"),
    "problem": (gettext_lazy("On, with a problem"), "danger"),
    "new": (gettext_lazy("Not checked yet"), "warning"),
    "off": (gettext_lazy("Off"), "default"),
}


def _secret(label: Any, help_text: Any, pattern: str, wrong: Any) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"class": " ".join(INPUT_CLASSES), "autocomplete": "new-password"})
    return forms.CharField(
        label=label,
        required=False,
        max_length=255,
        widget=widget,
        help_text=help_text,
        validators=[RegexValidator(pattern, wrong)],
    )


class WorkspaceForm(forms.ModelForm):
    """Credentials go in and never come out; other ones switch the workspace off until they are checked.

    Of Microsoft Teams that is so of the IDs too, though they are no secret.
    """

    bot_token = _secret(
        gettext_lazy("Bot token"),
        gettext_lazy("From “OAuth & Permissions” of your app. It begins with xoxb-."),
        r"^xoxb-[\w-]+\Z",
        gettext_lazy("A bot token begins with xoxb-; copy it whole."),
    )
    signing_secret = _secret(
        gettext_lazy("Signing secret"),
        gettext_lazy("From “Basic Information” of your app. By it the portal knows that Slack is asking."),
        r"^[0-9A-Za-z_-]{16,128}\Z",
        gettext_lazy("This is not a signing secret; copy it whole from “Basic Information”."),
    )

    client_secret = _secret(
        gettext_lazy("Client secret"),
        gettext_lazy("The value of a secret from “Certificates & secrets” of your app registration."),
        r"^(?![0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\Z)[\x21-\x7e]{16,128}\Z",
        gettext_lazy("This is no client secret; copy its value, not its ID, from “Certificates & secrets”."),
    )

    class Meta:
        model = ChatWorkspace
        fields = ["name", "service", "enabled", "locale", "tenant", "app", "team", "rooms_from", "rooms_private"]
        widgets = {"service": UnfoldAdminRadioSelectWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.changed_secrets = False
        for name in SECRETS:
            if name in self.fields and self.instance.secrets.get(name):
                self.fields[name].widget.attrs["placeholder"] = _("Stored. Leave empty to keep it.")
        if "service" in self.fields:
            self.fields["service"].required = False  # then it is the first
        if "team" in self.fields:
            self.fields["team"].label = _("ID of the team")
            self.fields["team"].validators.append(RegexValidator(GUID, WRONG_TEAM))
            self.fields["team"].help_text = _("In Teams: “Get link to team”; what stands behind groupId=.")
        if "rooms_private" in self.fields and ChatWorkspace.FIELDS[ChatWorkspace.Service(self.instance.service)]:
            self.fields["rooms_private"].help_text = _(
                "Off: the whole team reads them. On: only who holds a role, and Teams lets the app write in a channel"
                " only once a person has added it there."
            )

    def clean_service(self) -> str:
        return self.cleaned_data["service"] or ChatWorkspace.Service.SLACK.value

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        given = {name: data[name] for name in SECRETS if data.get(name)}
        kept = self.instance.secrets
        others = any(name in self.changed_data for name in ("tenant", "app", "team"))
        self.changed_secrets = others or any(kept.get(name) != value for name, value in given.items())
        if self.changed_secrets:
            data["enabled"] = False
        elif data.get("enabled") and not self.instance.checked_at:
            self.add_error("enabled", _("Check it before you switch it on."))
        self._secrets = {**kept, **given}
        return data

    def save(self, commit: bool = True) -> ChatWorkspace:
        if self.changed_secrets:
            self.instance.secrets = self._secrets  # type: ignore[assignment]
            self.instance.enabled = False
            self.instance.checked_at = None
            self.instance.problem = ""
        return super().save(commit)


@admin.register(ChatWorkspace)
class ChatWorkspaceAdmin(WholeCompanyAdmin):
    form = WorkspaceForm
    list_display = ["name", "service", "state", "team_name", "rooms_from", "checked_at"]
    search_fields = ["name"]
    actions_detail = ["set_up_button"]

    @display(description=gettext_lazy("state"), label={key: kind for key, (_word, kind) in STATES.items()})
    def state(self, workspace: ChatWorkspace) -> tuple[str, Any]:
        key = "on" if workspace.enabled else "off" if workspace.checked_at else "new"
        key = "problem" if workspace.enabled and workspace.problem else key
        return key, STATES[key][0]

    def get_fieldsets(self, request: HttpRequest, obj: ChatWorkspace | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": ["name", "service"], "description": _("How to make the app there comes next.")})]
        note = _("Other credentials switch the workspace off until they are checked.")
        service = ChatWorkspace.Service(obj.service)
        fields = ChatWorkspace.FIELDS[service]
        secrets = [*fields, *ChatWorkspace.SECRETS[service]]
        told = [name for name in ("team_name", "team", "checked_at", "problem") if name not in fields]
        shown = self.has_change_permission(request, obj)
        return [
            (None, {"fields": ["name", "enabled", "locale"]}),
            *([(_("Credentials"), {"fields": secrets, "description": note})] if shown else []),
            (_("A channel for each incident"), {"fields": ["rooms_from", "rooms_private"]}),
            (_("What %(chat)s said") % {"chat": obj.get_service_display()}, {"fields": told}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: ChatWorkspace | None = None) -> list[str]:
        """What was made in a team stays there: another team is another workspace."""
        entered = bool(obj and ChatWorkspace.FIELDS[ChatWorkspace.Service(obj.service)])
        fixed = ["team"] if obj and (not entered or obj.rooms.exists()) else []
        return ["team_name", "checked_at", "problem", *fixed]

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return super().changeform_view(request, *args, **kwargs)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        if not context.get("original"):
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: ChatWorkspace, form: Any, change: bool) -> None:
        if not change:
            # Teams lets an app write in standard channels; private ones are the exception there.
            obj.rooms_private = not ChatWorkspace.FIELDS[ChatWorkspace.Service(obj.service)]
            obj.save()
            return
        # Only what the form shows: a worker may be writing `held_until` or `problem` right now.
        fields = ["name", "enabled", "locale", "rooms_from", "rooms_private"]
        if form.changed_secrets:
            fields += ["secrets", "checked_at", "problem", "tenant", "app", "team"]
            self.message_user(request, _("The credentials changed: check them, then switch it on."), messages.WARNING)
        obj.save(update_fields=fields)

    def response_add(
        self, request: HttpRequest, obj: ChatWorkspace, post_url_continue: str | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_chatworkspace_set_up", obj.pk))

    def response_change(self, request: HttpRequest, obj: ChatWorkspace) -> HttpResponse:
        if obj.complete and not obj.checked_at and "_continue" not in request.POST:
            return HttpResponseRedirect(glance.link("incidents_chatworkspace_set_up", obj.pk))
        return super().response_change(request, obj)

    # ── Set up, and check ──

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.set_up_view)
        return [path("<int:pk>/set-up/", view, name="incidents_chatworkspace_set_up"), *super().get_urls()]

    @action(description=gettext_lazy("Set up and check"), icon="cable", url_path="to-set-up")
    def set_up_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_chatworkspace_set_up", object_id))

    def set_up_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET tells how to make the app; POST checks the token (`check`), or switches it on (`enable`)."""
        workspace = self.get_object(request, str(pk))
        if workspace is None:
            raise Http404
        if not self.has_view_permission(request, workspace):
            raise PermissionDenied
        if request.method == "POST":
            if not self.has_change_permission(request, workspace):
                raise PermissionDenied
            self._enable(request, workspace) if "enable" in request.POST else self._check(request, workspace)
            return HttpResponseRedirect(request.path)
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Set up “%(name)s”") % {"name": workspace.name},
            "workspace": workspace,
            "steps": f"admin/incidents/chatworkspace/{workspace.service}.html",
            "manifest": json.dumps(MANIFESTS[workspace.service](workspace), indent=2, ensure_ascii=False),
            "may_change": self.has_change_permission(request, workspace),
            "accounts": workspace.accounts.count(),
            "local": not settings.PORTAL_URL.startswith("https://"),
        }
        return render(request, "admin/incidents/chatworkspace/set_up.html", shown)

    def _check(self, request: HttpRequest, workspace: ChatWorkspace) -> None:
        if not workspace.complete:
            messages.error(request, _("Enter the credentials first."))
            return
        try:
            missing = workspace.try_out()
        except DeliveryError as error:
            workspace.complain(str(error))
            text = _("%(chat)s does not take it: %(why)s")
            why = workspace.mask(str(error))
            messages.error(request, text % {"chat": workspace.get_service_display(), "why": why})
            return
        except Problem as error:
            messages.error(request, str(error))
            return
        self.log_change(request, workspace, _("Checked."))
        text = _("%(chat)s knows the app in “%(team)s”.")
        messages.success(request, text % {"chat": workspace.get_service_display(), "team": workspace.team_name})
        for one in missing:
            messages.warning(request, workspace.mask(one))

    def _enable(self, request: HttpRequest, workspace: ChatWorkspace) -> None:
        # Asked in the same statement: somebody may have changed the credentials in the meantime.
        ready = ChatWorkspace.objects.filter(pk=workspace.pk, checked_at__isnull=False)
        if workspace.complete and ready.update(enabled=True):
            self.log_change(request, workspace, _("Enabled."))
            messages.success(request, ON[Service(workspace.service)] % {"name": workspace.name})
        else:
            messages.error(request, _("Check it before you switch it on."))


def slack_manifest(workspace: ChatWorkspace) -> dict[str, Any]:
    """The Slack app, as “Create an app from a manifest” takes it."""
    name = f"{settings.PORTAL_NAME}"[:35]
    return {
        "display_information": {"name": name, "description": "Communication during incidents"},
        "features": {
            "bot_user": {"display_name": name, "always_online": True},
            "app_home": {"messages_tab_enabled": True, "messages_tab_read_only_enabled": True},
            "slash_commands": [
                {
                    "command": "/incident",
                    "url": workspace.url("commands"),
                    "description": "Incidents: list, clock, declare, stage, draft",
                    "usage_hint": "help",
                    "should_escape": False,
                }
            ],
        },
        "oauth_config": {"scopes": {"bot": list(slack.SCOPES)}},
        "settings": {
            "interactivity": {"is_enabled": True, "request_url": workspace.url("interactions")},
            "org_deploy_enabled": False,
            "socket_mode_enabled": False,
            "token_rotation_enabled": False,
        },
    }


def teams_manifest(workspace: ChatWorkspace) -> dict[str, Any]:
    """The app for Teams, as the file manifest.json of its package has it. Rights hold for the team that installs it."""
    name, app = f"{settings.PORTAL_NAME}", workspace.app or "00000000-0000-0000-0000-000000000000"
    return {
        "$schema": "https://developer.microsoft.com/en-us/json-schemas/teams/v1.16/MicrosoftTeams.schema.json",
        "manifestVersion": "1.16",
        "version": "1.0.0",
        "id": app,
        "developer": {
            "name": name[:32],
            "websiteUrl": settings.PORTAL_URL,
            "privacyUrl": settings.PORTAL_URL,
            "termsOfUseUrl": settings.PORTAL_URL,
        },
        "name": {"short": name[:30], "full": name[:100]},
        "description": {
            "short": "Communication during incidents",
            "full": "Makes a channel for each incident and posts in it what customers are told.",
        },
        "icons": {"color": "color.png", "outline": "outline.png"},
        "accentColor": "#0B57A4",
        "bots": [{"botId": app, "scopes": ["team"], "isNotificationOnly": True}],
        "webApplicationInfo": {"id": app, "resource": settings.PORTAL_URL},
        "authorization": {
            "permissions": {"resourceSpecific": [{"name": one, "type": "Application"} for one in teams.OF_THE_TEAM]}
        },
    }


Service = ChatWorkspace.Service
MANIFESTS: dict[str, Callable[[ChatWorkspace], dict[str, Any]]] = {
    Service.SLACK: slack_manifest,
    Service.TEAMS: teams_manifest,
}
ON = {
    Service.SLACK: gettext_lazy("%(name)s is on. Staff connect themselves: each writes /incident once."),
    Service.TEAMS: gettext_lazy("%(name)s is on. Incidents from the severity in the settings on get a channel."),
}


# ── Accounts ────────────────────────────────────────────────────────────────


@admin.register(ChatAccount)
class ChatAccountAdmin(PortalModelAdmin):
    """Everybody sees their own; who looks after the workspaces sees all. They are made by their owners alone."""

    list_display = ["person", "workspace", "name", "member", "made_at"]
    list_select_related = ["user", "workspace"]
    search_fields = ["user__username", "user__last_name", "name", "member"]
    fields = ["user", "workspace", "name", "member", "made_at"]
    readonly_fields = fields

    @admin.display(description=gettext_lazy("person"), ordering="user")
    def person(self, account: ChatAccount) -> str:
        return glance.name(account.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_staff

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request) and self._in_scope(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One's own at any time: that ends what the chat may do in one's name."""
        if not self.has_view_permission(request, obj):
            return False
        own = obj is not None and obj.user_id == request.user.pk
        return own or request.user.has_perm("incidents.delete_chataccount")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.connect_view)
        return [path("connect/<str:token>/", view, name="incidents_chataccount_connect"), *super().get_urls()]

    def connect_view(self, request: HttpRequest, token: str) -> HttpResponse:
        """From the link in the chat. GET shows who would be connected to whom, POST does it."""
        error = ""
        try:
            invitation = connecting.read(token)
        except (signing.BadSignature, ChatWorkspace.DoesNotExist, TypeError, ValueError):
            text = _("This link is over 15 minutes old, or not whole. Write /incident in Slack for a new one.")
            messages.warning(request, text)
            return HttpResponseRedirect(glance.link("incidents_chataccount_changelist"))
        if request.method == "POST":
            try:
                account = connecting.connect(invitation, request.user, sure=bool(request.POST.get("sure")))
            except Problem as problem:
                error = str(problem)
            else:
                self.log_addition(request, account, _("Connected."))
                messages.success(request, _("Connected. What you write in Slack now counts as yours: try /incident."))
                return HttpResponseRedirect(glance.link("incidents_chataccount_changelist"))
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Connect your Slack account?"),
            "invitation": invitation,
            "other_address": invitation.is_of(request.user) is False,
            "error": error,
        }
        response = render(request, "admin/incidents/chataccount/connect.html", shown, status=422 if error else 200)
        response["Cache-Control"] = "no-store"
        return response


# ── The channel of an incident ──────────────────────────────────────────────


def of(request: HttpRequest, incident: Incident, operates: bool) -> dict[str, Any]:
    """What the page of an incident shows of its channels. One query."""
    may = operates and request.user.has_perm("incidents.write_incidentupdate")
    return {"rooms": rooms.of(incident), "may_archive": may}


def archive(request: HttpRequest, incident: Incident) -> HttpResponse:
    """POST puts the channel `room` of an incident away."""
    back = glance.link("incidents_incident_change", incident.pk)
    if request.method != "POST":
        return HttpResponseRedirect(back)
    pk = request.POST.get("room", "")
    room = ChatRoom.objects.filter(incident=incident, pk=int(pk) if pk.isdecimal() and len(pk) < 12 else 0).first()
    if room is None:
        raise Http404
    try:
        room.archive(request.user)
    except Problem as error:
        return refused(request, error, back)
    rooms.wake(room)
    messages.success(request, _("%(channel)s is archived in a moment. It can still be read.") % {"channel": room})
    return HttpResponseRedirect(back)
