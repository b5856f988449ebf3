"""The account at AWS that is told of incidents, and how."""

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels.secrets import EncryptedJSONField

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
        _("by itself from"),
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
            errors["opens_in"] = _t("Choose where incidents are opened by themselves, or empty “by itself from”.")
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
