"""Accounts at AWS that are told of incidents, what is there of each, and every call that is made for it."""

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels.secrets import EncryptedJSONField

from .decision import Decision
from .incident import Incident
from .words import Severity

RESPONSE_PLAN = re.compile(r"arn:aws(-cn|-us-gov)?:ssm-incidents::\d{12}:response-plan/[a-zA-Z0-9_-]{1,200}")
LATELY = timedelta(hours=1)  # for which trouble is shown as such
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")


def default_region() -> str:
    return settings.AWS_REGION


def region_field(**options: Any) -> "models.CharField[str, str]":
    wrong = _("“%(value)s” is not an AWS region; write it as eu-south-1.")
    options |= {"max_length": 32, "validators": [RegexValidator(r"^[a-z]{2,3}(-[a-z]+)+-\d+\Z", wrong)]}
    return models.CharField(_("AWS region"), **options)


# ── The account ─────────────────────────────────────────────────────────────


class AwsAccount(models.Model):
    """An account at AWS: who we are there, and what is done there."""

    class Opens(models.TextChoices):
        INCIDENT_MANAGER = "incident_manager", _("Incident Manager")
        OPS_CENTER = "opscenter", _("OpsCenter")

    name = models.CharField(_("name"), max_length=80, unique=True)
    enabled = models.BooleanField(_("on"), default=True)
    region = region_field(default=default_region)
    access_key_id = models.CharField(
        _("access key ID"),
        max_length=128,
        blank=True,
        validators=[
            RegexValidator(r"^[A-Z0-9]{16,128}\Z", _("An access key ID has 16 or more capitals and digits, no spaces."))
        ],
        help_text=_("Leave both keys empty to use the role of the machine or container, which is safer."),
    )
    secrets = EncryptedJSONField(_("credentials"), default=dict, blank=True, editable=False)  # {"secret_access_key"}
    role_arn = models.CharField(
        _("role to assume"),
        max_length=2048,
        blank=True,
        help_text=_("Optional: the ARN of a role, for example of another account."),
    )
    opens_in = models.CharField(
        _("incidents are opened in"),
        max_length=20,
        choices=Opens,
        blank=True,
        help_text=_(
            "Incident Manager takes no new customers since November 2025. Without it, choose OpsCenter. Empty: nowhere."
        ),
    )
    response_plan_arn = models.CharField(
        _("response plan"),
        max_length=1000,
        blank=True,
        help_text=_("For Incident Manager: the ARN of the plan that says who is called and what is done."),
    )
    opens_from = models.CharField(
        _("opened by itself from"),
        max_length=8,
        choices=Severity,
        blank=True,
        help_text=_(
            "Incidents of this severity or worse are opened there as soon as they are declared. "
            "Empty: only by hand, with a button on the page of the incident."
        ),
    )
    opens_since = models.DateTimeField(default=timezone.now, editable=False)  # what was declared before stays alone
    sends_measures = models.BooleanField(
        _("send the portal’s own measures to CloudWatch"),
        default=False,
        help_text=_("Each minute: open incidents, minutes overdue, messages that wait and that failed."),
    )
    namespace = models.CharField(
        _("namespace of the measures"),
        max_length=255,
        default="Commsportal",
        validators=[
            RegexValidator(
                r"^(?!AWS/)[A-Za-z0-9./_#-]+\Z",
                _("“%(value)s” is no namespace: letters, digits and . / _ # - only, and not AWS/ at the start."),
            )
        ],
    )
    dashboard = models.CharField(
        _("name of the dashboard"),
        max_length=255,
        default="Commsportal",
        validators=[
            RegexValidator(r"^[A-Za-z0-9_-]+\Z", _("“%(value)s”: letters, digits, hyphens and underscores only."))
        ],
        help_text=_("A dashboard of CloudWatch with these measures; “Dashboard” above writes it."),
    )
    # What came of the last check: [{"what", "ok", "words"}]
    report = models.JSONField(default=list, editable=False)
    checked_at = models.DateTimeField(_("last checked"), null=True, blank=True, editable=False)
    held_until = models.DateTimeField(null=True, blank=True, editable=False)  # it did not answer; left alone until then
    trouble = models.CharField(_("last trouble"), max_length=600, blank=True, editable=False)
    trouble_at = models.DateTimeField(null=True, blank=True, editable=False)
    measured_at = models.DateTimeField(_("measures last sent"), null=True, blank=True, editable=False)
    dashboard_at = models.DateTimeField(_("dashboard last written"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("AWS account")
        verbose_name_plural = _("AWS accounts")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """What needs something else to make sense."""
        errors = {}
        if self.role_arn and not ROLE.fullmatch(self.role_arn):
            wrong = _t("“%(value)s” is not the ARN of a role; write it as arn:aws:iam::123456789012:role/name.")
            errors["role_arn"] = wrong % {"value": self.role_arn}
        if self.response_plan_arn and not RESPONSE_PLAN.fullmatch(self.response_plan_arn):
            wrong = _t(
                "“%(value)s” is not the ARN of a response plan; write it as "
                "arn:aws:ssm-incidents::123456789012:response-plan/name."
            )
            errors["response_plan_arn"] = wrong % {"value": self.response_plan_arn}
        elif self.opens_in == self.Opens.INCIDENT_MANAGER and not self.response_plan_arn:
            errors["response_plan_arn"] = _t("Incident Manager opens nothing without a response plan: enter its ARN.")
        if self.opens_from and not self.opens_in:
            errors["opens_in"] = _t(
                "Choose where incidents are opened by themselves, or empty “opened by itself from”."
            )
        if errors:
            raise ValidationError(errors)

    @property
    def config(self) -> dict[str, str]:
        """Who we are, as channels.providers.aws.connect reads it."""
        return {"access_key_id": self.access_key_id, "role_arn": self.role_arn, **self.secrets}

    @property
    def rests(self) -> bool:
        """Whether it did not answer just now, and is left alone for a while."""
        return bool(self.held_until and self.held_until > timezone.now())

    @property
    def health(self) -> str:
        """One of off, unchecked, trouble, well."""
        if not self.enabled:
            return "off"
        if self.checked_at is None:
            return "unchecked"
        lately = self.trouble_at is not None and self.trouble_at > timezone.now() - LATELY
        return "trouble" if lately or not all(one["ok"] for one in self.report) else "well"

    def mask(self, text: str) -> str:
        """`text` without the credentials."""
        for secret in filter(None, self.secrets.values()):
            text = text.replace(str(secret), "•••")
        return text


# ── What is there of an incident ────────────────────────────────────────────


class AwsRecord(models.Model):
    """What an incident is at AWS: an incident of Incident Manager, or an OpsItem. One for each account."""

    class State(models.TextChoices):
        OPEN = "open", _("Open there")
        RESOLVED = "resolved", _("Resolved there")
        GONE = "gone", _("Not there any more")

    account = models.ForeignKey(AwsAccount, on_delete=models.CASCADE, related_name="records")
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="aws_records")
    kind = models.CharField(_("kind"), max_length=20, choices=AwsAccount.Opens)
    ref = models.CharField(max_length=1000)  # ARN, or ID of the OpsItem
    ours = models.BooleanField(default=True)  # opened from here; else it was there first, and an alert told of it
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.OPEN)
    opened_at = models.DateTimeField(_("opened"), default=timezone.now)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)  # when it was last looked at

    class Meta:
        verbose_name = _("record at AWS")
        verbose_name_plural = _("records at AWS")
        constraints = [models.UniqueConstraint(fields=["account", "incident"], name="aws_record_once")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.ref}"

    @property
    def ends_too_early(self) -> bool:
        """Resolved there, while customers were told nothing of the kind."""
        return self.state == self.State.RESOLVED and not self.incident.is_over


class AwsEvent(models.Model):
    """What somebody wrote, or what happened, in the timeline there. For staff: nothing of it is published."""

    record = models.ForeignKey(AwsRecord, on_delete=models.CASCADE, related_name="events")
    event_id = models.CharField(max_length=50)
    kind = models.CharField(max_length=100)
    text = models.TextField(blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["record", "event_id"], name="aws_event_once")]

    def __str__(self) -> str:
        return self.text or self.kind


class AwsCall(models.Model):
    """One call that AWS is to get. Written down before it is made; made again with the same key it counts once."""

    class Verb(models.TextChoices):
        OPEN = "open", _("open the incident there")
        TELL = "tell", _("tell what happened")
        RESOLVE = "resolve", _("resolve it there")
        REOPEN = "reopen", _("open it there again")

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        SENDING = "sending", _("Being made")
        SENT = "sent", _("Done")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Not known whether done")

    account = models.ForeignKey(AwsAccount, on_delete=models.CASCADE, related_name="calls", verbose_name=_("account"))
    incident = models.ForeignKey(
        Incident, on_delete=models.CASCADE, related_name="aws_calls", verbose_name=_("incident")
    )
    decision = models.ForeignKey(Decision, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    by = models.ForeignKey(  # who asked for it, or for it again; nobody: it came about by itself
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("asked for by"),
    )
    verb = models.CharField(_("what"), max_length=12, choices=Verb)
    key = models.CharField(max_length=100, unique=True)
    service = models.CharField(max_length=32)
    operation = models.CharField(_("operation"), max_length=64)
    params = models.JSONField(default=dict)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.WAITING)
    tries = models.PositiveIntegerField(_("attempts"), default=0)
    asked_at = models.DateTimeField(_("since"), default=timezone.now)  # written down, or asked for again by a person
    next_try_at = models.DateTimeField(default=timezone.now)
    tried_at = models.DateTimeField(_("last attempt"), null=True, blank=True)
    uncertain = models.BooleanField(default=False)  # an attempt may have been taken
    ref = models.CharField(max_length=1000, blank=True)  # what AWS calls what came of it
    detail = models.CharField(_("detail"), max_length=600, blank=True)

    class Meta:
        verbose_name = _("call to AWS")
        verbose_name_plural = _("calls to AWS")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["id"], condition=Q(state__in=["waiting", "sending"]), name="aws_call_unsent"),
            models.Index(fields=["account", "incident", "verb"], name="aws_call_of_incident"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} ({self.get_state_display()})"
