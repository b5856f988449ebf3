"""The workspaces in whose chat staff work during an incident: who is who there, and what was said and asked there."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels.secrets import EncryptedJSONField
from incidents.errors import NotAllowed, Refused, WrongState

from .incident import Incident
from .staff_notice import StaffNotice, default_locale
from .update import IncidentUpdate
from .words import Severity, new_uid

if TYPE_CHECKING:
    from incidents.chat.slack import Slack
    from incidents.chat.teams import Teams

GUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z"
BUSY = timedelta(seconds=150)  # a worker that has held a row for this long is gone: a task is ended sooner


# ── Workspaces and people ───────────────────────────────────────────────────


class ChatWorkspace(models.Model):
    """A Slack workspace, or a team of Microsoft Teams, in which an app of one's own is installed.

    Credentials go in and never come out.
    """

    class Service(models.TextChoices):
        SLACK = "slack", "Slack"
        TEAMS = "teams", "Microsoft Teams"

    # What has to be there before it can be checked: credentials, and fields.
    SECRETS = {Service.SLACK: ("bot_token", "signing_secret"), Service.TEAMS: ("client_secret",)}
    FIELDS = {Service.SLACK: (), Service.TEAMS: ("tenant", "app", "team")}

    service = models.CharField(_("chat"), max_length=8, choices=Service, default=Service.SLACK)
    uid = models.CharField(max_length=12, unique=True, default=new_uid, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True)
    secrets = EncryptedJSONField(_("credentials"), default=dict, blank=True, editable=False)
    enabled = models.BooleanField(_("on"), default=False)
    locale = models.CharField(
        _("language"),
        max_length=8,
        choices=settings.LANGUAGES,
        default=default_locale,
        help_text=_("Of what is posted in incidents' channels. Each person is answered in their own."),
    )
    rooms_from = models.CharField(
        _("a channel for incidents from"),
        max_length=8,
        choices=Severity,
        blank=True,
        help_text=_("Incidents as bad as this or worse get a channel of their own. Empty: none does."),
    )
    rooms_private = models.BooleanField(
        _("private channels"),
        default=True,
        help_text=_("Off: everybody in the workspace can find and read them."),
    )
    # Of Microsoft Teams; its team is entered too.
    tenant = models.CharField(
        _("directory (tenant) ID"),
        max_length=36,
        blank=True,
        validators=[
            RegexValidator(GUID, _("This is no ID; copy it whole, as in 00000000-0000-0000-0000-000000000000."))
        ],
        help_text=_("From the overview of your app registration in Microsoft Entra."),
    )
    app = models.CharField(
        _("application (client) ID"),
        max_length=36,
        blank=True,
        validators=[
            RegexValidator(GUID, _("This is no ID; copy it whole, as in 00000000-0000-0000-0000-000000000000."))
        ],
        help_text=_("From the same page. The bot in Azure has it too."),
    )
    # As Slack told when it was checked.
    team = models.CharField(_("workspace or team ID"), max_length=64, blank=True)
    team_name = models.CharField(_("workspace"), max_length=120, blank=True, editable=False)
    bot = models.CharField(max_length=32, blank=True, editable=False)  # the member that the app is
    address = models.CharField(max_length=300, blank=True, editable=False)  # https://example.slack.com/
    checked_at = models.DateTimeField(_("last checked"), null=True, blank=True, editable=False)
    problem = models.CharField(_("problem"), max_length=500, blank=True, editable=False)
    held_until = models.DateTimeField(null=True, blank=True, editable=False)  # Slack asked for patience
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("chat workspace")
        verbose_name_plural = _("chat workspaces")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def complete(self) -> bool:
        """Whether all credentials are there (and a key reads them)."""
        service = self.Service(self.service)
        fields = [getattr(self, name) for name in self.FIELDS[service]]
        return all([*fields, *(self.secrets.get(name) for name in self.SECRETS[service])])

    @property
    def usable(self) -> bool:
        """Whether it may be called just now."""
        return self.enabled and self.complete and not (self.held_until and self.held_until > timezone.now())

    @property
    def slack(self) -> "Slack":
        from incidents.chat.slack import Slack

        return Slack(self.secrets.get("bot_token", ""))

    @property
    def teams(self) -> "Teams":
        from incidents.chat.teams import Teams

        return Teams(self.tenant, self.app, self.secrets.get("client_secret", ""))

    def mask(self, text: str) -> str:
        """`text` without any of the credentials."""
        for secret in self.secrets.values():
            if isinstance(secret, str) and len(secret) > 3:
                text = text.replace(secret, "…")
        return text

    def url(self, what: str) -> str:
        """Where Slack is to post "commands" and "interactions"."""
        return f"{settings.PORTAL_URL}/chat/slack/{self.uid}/{what}/"

    def try_out(self) -> list[str]:
        """Ask the chat who we are, and keep its answer; what is missing, in words.

        Raises DeliveryError; Refused if the token is of another workspace than the people connected.
        """
        from incidents.chat.chats import check

        told, missing = check(self)
        with transaction.atomic():
            me = ChatWorkspace.objects.select_for_update().get(pk=self.pk)
            if me.team and me.team != told["team"] and me.accounts.exists():
                text = _t("This token is of the workspace “%(new)s”, but people are connected in “%(old)s”.")
                why = text % {"new": told["team_name"] or told["team"], "old": me.team_name or me.team}
                raise Refused(why + " " + _t("Add it as another workspace."))
            for name, value in told.items():
                setattr(me, name, value)
            me.checked_at, me.problem, me.held_until = timezone.now(), "", None
            me.save(update_fields=[*told, "checked_at", "problem", "held_until"])
        self.refresh_from_db()
        return missing

    def hold(self, seconds: float) -> None:
        """Leave it alone for so long: the chat asked for that."""
        self.held_until = timezone.now() + timedelta(seconds=seconds)
        ChatWorkspace.objects.filter(pk=self.pk).update(held_until=self.held_until)

    def complain(self, problem: str) -> None:
        """Write down what goes wrong, for the page of the workspace; "" once it goes well again."""
        problem = self.mask(problem)[:500]
        if problem != self.problem:
            self.problem = problem
            ChatWorkspace.objects.filter(pk=self.pk).update(problem=problem)


class AccountQuerySet(models.QuerySet["ChatAccount"]):
    def for_user(self, user: User | AnonymousUser) -> "AccountQuerySet":
        """One's own; all for whoever looks after the workspaces."""
        if user.is_active and user.has_perm("incidents.view_chataccount"):  # type: ignore[union-attr]
            return self.all()
        return self.filter(user=user.pk)


class ChatAccount(models.Model):
    """A member of a workspace who is known to be one of the staff: who was logged in here confirmed it."""

    workspace = models.ForeignKey(
        ChatWorkspace, on_delete=models.CASCADE, related_name="accounts", verbose_name=_("workspace")
    )
    member = models.CharField(_("member ID"), max_length=32)
    name = models.CharField(_("name there"), max_length=120, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="chat_accounts", verbose_name=_("person")
    )
    made_at = models.DateTimeField(_("connected"), default=timezone.now)

    objects = AccountQuerySet.as_manager()

    class Meta:
        verbose_name = _("Slack account")
        verbose_name_plural = _("Slack accounts")
        ordering = ["workspace", "user"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "member"], name="chat_member_once"),
            models.UniqueConstraint(fields=["workspace", "user"], name="chat_user_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name or self.member} ({self.workspace})"


# ── What is asked there ─────────────────────────────────────────────────────


class ChatRequest(models.Model):
    """A command or a click that Slack signed. Written down before anything is done: each is done once.

    `answer` is written together with what the command did, so that a worker that dies between the two answers later
    and does nothing twice.
    """

    class Kind(models.TextChoices):
        COMMAND = "command"
        CLICK = "click"
        FORM = "form"

    workspace = models.ForeignKey(ChatWorkspace, on_delete=models.CASCADE, related_name="requests")
    proof = models.CharField(max_length=64, unique=True)  # a hash of the signature: who replays it is refused
    kind = models.CharField(max_length=8, choices=Kind)
    asked = EncryptedJSONField(default=dict, blank=True)  # it holds the address to answer to, which is a credential
    answer = models.JSONField(null=True, blank=True)
    at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True, blank=True)
    busy_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("request from a chat")
        verbose_name_plural = _("requests from a chat")
        indexes = [models.Index(fields=["id"], condition=Q(done_at__isnull=True), name="chat_request_undone")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


# ── What is said there ──────────────────────────────────────────────────────


class ChatRoom(models.Model):
    """The channel of an incident in a workspace. What is wanted is written first; what is there, after each call."""

    workspace = models.ForeignKey(ChatWorkspace, on_delete=models.CASCADE, related_name="rooms")
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="chat_rooms")
    name = models.CharField(max_length=80)
    channel = models.CharField(max_length=120, blank=True)  # its ID, once it is there
    link = models.CharField(max_length=1000, blank=True)  # where people open it, if the chat told that
    asked_at = models.DateTimeField(null=True, blank=True)  # when this very name was first asked for
    topic = models.CharField(max_length=250, blank=True)
    invited = models.JSONField(default=list, blank=True)  # members that were asked in; of Teams, people here
    archive_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    archive_at = models.DateTimeField(null=True, blank=True)  # when somebody asked to put it away
    archiving = models.CharField(max_length=400, blank=True)  # what puts it away right now, as the chat calls it
    archived_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=500, blank=True)
    made_at = models.DateTimeField(default=timezone.now)
    busy_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("channel of an incident")
        verbose_name_plural = _("channels of incidents")
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["incident", "workspace"], name="chat_room_once")]

    def __str__(self) -> str:
        return f"#{self.name}"

    @property
    def url(self) -> str:
        """Where people open it; empty while it is not there."""
        if self.link:
            return self.link
        base = self.workspace.address
        return f"{base}archives/{self.channel}" if base and self.channel else ""

    def archive(self, by: Any) -> None:
        """Ask for it to be put away; a worker does it. Raises NotAllowed, WrongState."""
        with transaction.atomic():
            me = ChatRoom.objects.select_for_update(of=("self",)).select_related("incident").get(pk=self.pk)
            if not (by.has_perm("incidents.write_incidentupdate") and me.incident.may_operate(by)):
                raise NotAllowed(_t("You may not archive this channel: the role or a component is missing."))
            if me.archive_at:
                raise WrongState(_t("It was archived already, or is about to be."))
            me.archive_at, me.archive_by = timezone.now(), by
            me.save(update_fields=["archive_at", "archive_by"])
        self.refresh_from_db()


class ChatPost(models.Model):
    """One message of ours in a chat: direct to a person (`notice` is what it tells), or in the channel of an incident.

    `key` is what it is about: it is posted once. It travels along, so that what a lost worker posted is found again.
    """

    workspace = models.ForeignKey(ChatWorkspace, on_delete=models.CASCADE, related_name="posts")
    key = models.CharField(max_length=200, unique=True)
    notice = models.OneToOneField(
        StaffNotice, on_delete=models.CASCADE, null=True, blank=True, related_name="chat_post"
    )
    room = models.ForeignKey(ChatRoom, on_delete=models.CASCADE, null=True, blank=True, related_name="posts")
    update = models.ForeignKey(IncidentUpdate, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    content_hash = models.CharField(max_length=64, blank=True)  # of what it asks approval for
    place = models.CharField(max_length=120, blank=True)  # the ID of the conversation
    ts = models.CharField(
        max_length=32, blank=True
    )  # the chat's ID of the message there; empty: not known to be posted
    tried_at = models.DateTimeField(null=True, blank=True)  # when it was first handed over
    pinned_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)  # its buttons are gone
    failed = models.CharField(max_length=300, blank=True)  # why it will never be posted

    class Meta:
        verbose_name = _("message in a chat")
        verbose_name_plural = _("messages in a chat")
        indexes = [
            models.Index(
                fields=["id"], condition=Q(closed_at__isnull=True) & ~Q(content_hash=""), name="chat_post_open"
            )
        ]

    def __str__(self) -> str:
        return self.key
