"""Runbooks on AWS Systems Manager Automation: what was registered there, what was started, and what was signalled."""

import re
import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from .incident import Incident
from .runbook import Runbook, RunbookRun

RESERVED = ("aws", "amazon", "amzn")  # AWS keeps names that begin so for itself
MOST_APPROVERS = 10
SOON = timedelta(minutes=10)  # by when AWS has to say that it stops what it was told to stop
PRINCIPAL = re.compile(
    r"[\w+=,.@-]{1,64}"
    r"|arn:aws[a-z-]*:iam::\d{12}:(user|role)/[\w+=,.@/-]{1,512}"
    r"|arn:aws[a-z-]*:sts::\d{12}:assumed-role/[\w+=,.@-]{1,64}/[\w+=,.@-]{1,64}"
)
# The words of AWS for the state of an execution or a step → ours.
WORDS = {
    "Pending": _("Not begun"),
    "InProgress": _("Under way"),
    "Waiting": _("Waiting"),
    "Success": _("Done"),
    "TimedOut": _("Took too long"),
    "Cancelling": _("Being stopped"),
    "Cancelled": _("Stopped"),
    "Failed": _("Failed"),
    "PendingApproval": _("Waiting for approval"),
    "Approved": _("Approved"),
    "Rejected": _("Rejected"),
    "Scheduled": _("Planned"),
    "CompletedWithSuccess": _("Done"),
    "CompletedWithFailure": _("Failed"),
    "Exited": _("Ended"),
    # Ours: AWS has not answered with an execution.
    "": _("Being handed to AWS"),
    "NotStarted": _("AWS did not start it"),
    "Unknown": _("Not known whether AWS started it"),
}
GOOD = ("Success", "CompletedWithSuccess", "Approved")
BAD = ("TimedOut", "Cancelled", "Failed", "Rejected", "CompletedWithFailure", "Exited", "NotStarted", "Unknown")


def in_words(status: str) -> str:
    return str(WORDS.get(status, status))


REGION = re.compile(r"[a-z]{2,3}(-[a-z]+)+-\d+")
NAME = re.compile(r"[a-zA-Z0-9_.-]{3,128}")
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}")
TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:Automation[A-Za-z0-9_-]{0,246}")


def check_region(value: str) -> None:
    if not REGION.fullmatch(value):
        raise ValidationError(_t("“%(value)s” is not an AWS region; write it as eu-south-1.") % {"value": value[:80]})


def check_name(value: str) -> None:
    if not NAME.fullmatch(value):
        wrong = _t("“%(value)s” is no name of a document; write 3 or more letters, digits, points, _ and -.")
        raise ValidationError(wrong % {"value": value[:80]})
    if value.lower().startswith(RESERVED):
        raise ValidationError(_t("AWS keeps names that begin with aws, amazon or amzn; begin with another word."))


def check_role(value: str) -> None:
    if not ROLE.fullmatch(value):
        wrong = _t("“%(value)s” is not the ARN of a role; write it as arn:aws:iam::123456789012:role/name.")
        raise ValidationError(wrong % {"value": value[:200]})


def check_topic(value: str) -> None:
    if not TOPIC.fullmatch(value):
        wrong = _t(
            "“%(value)s” is not the ARN of a topic whose name begins with Automation;"
            " write it as arn:aws:sns:eu-south-1:123456789012:AutomationApprovals."
        )
        raise ValidationError(wrong % {"value": value[:200]})


def check_principals(values: Any) -> None:
    if len(values) > MOST_APPROVERS:
        raise ValidationError(_t("These are %(n)d; AWS takes 10 at most.") % {"n": len(values)})
    for one in values:
        if not isinstance(one, str) or not PRINCIPAL.fullmatch(one):
            wrong = _t(
                "“%(value)s” is no user or role of IAM; write a user’s name, or arn:aws:iam::123456789012:role/name."
            )
            raise ValidationError(wrong % {"value": str(one)[:200]})


class AutomationDocument(models.Model):
    """A runbook as a document of AWS in one region. Each change is registered as a new version of it."""

    class State(models.TextChoices):
        NEW = "new", _("Not registered")
        ASKED = "asked", _("Being registered")
        REGISTERED = "registered", _("Registered")
        FAILED = "failed", _("AWS refused it")

    runbook = models.ForeignKey(
        Runbook, on_delete=models.CASCADE, related_name="automation_documents", verbose_name=_("runbook")
    )
    region = models.CharField(_("AWS region"), max_length=32, validators=[check_region])
    name = models.CharField(
        _("name in AWS"),
        max_length=128,
        validators=[check_name],
        help_text=_("No document of yours may have it already."),
    )
    role_arn = models.CharField(
        _("role of the execution"),
        max_length=2048,
        blank=True,
        validators=[check_role],
        help_text=_("The ARN of the role by which AWS does the steps. Empty: by the portal’s own role."),
    )
    topic_arn = models.CharField(
        _("topic for approvers"),
        max_length=400,
        blank=True,
        validators=[check_topic],
        help_text=_("Optional: the ARN of an SNS topic that tells them; its name begins with Automation."),
    )
    approvers = models.JSONField(
        _("who may approve in AWS"),
        default=list,
        blank=True,
        validators=[check_principals],
        help_text=_("Users and roles of IAM, one a line, 10 at most; the portal’s own role among them."),
    )
    integrations = models.JSONField(
        _("integrations of webhooks"),
        default=dict,
        blank=True,
        help_text=_("The integration in AWS that calls the webhook of a step, one a line: 3 = name."),
    )
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.NEW, editable=False)
    detail = models.CharField(_("what AWS said"), max_length=500, blank=True, editable=False)
    # What is being registered, written down before: Runbook.content() and the text made of it.
    asked = models.JSONField(null=True, editable=False)
    asked_text = models.TextField(blank=True, editable=False)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    asked_at = models.DateTimeField(null=True, editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    try_at = models.DateTimeField(null=True, editable=False)
    # What is registered.
    content = models.JSONField(null=True, editable=False)
    text = models.TextField(blank=True, editable=False)
    content_hash = models.CharField(max_length=64, blank=True, editable=False)
    version = models.CharField(_("version"), max_length=20, blank=True, editable=False)
    registered_at = models.DateTimeField(_("registered"), null=True, editable=False)

    class Meta:
        verbose_name = _("runbook on AWS")
        verbose_name_plural = _("runbooks on AWS")
        ordering = ["name", "region"]
        constraints = [
            models.UniqueConstraint(
                fields=["region", "name"],
                name="automation_document_once",
                violation_error_message=_("This name is taken in this region: choose another."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.region})"

    @property
    def is_registered(self) -> bool:
        return bool(self.version)


class AutomationExecution(models.Model):
    """One execution in AWS, written down before it is started; `token` makes a repeated start the same one.

    `run` is the portal's half: what AWS leaves to the portal, and where it waits for AWS.
    """

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="automations")
    document = models.ForeignKey(AutomationDocument, on_delete=models.SET_NULL, null=True, related_name="executions")
    run = models.OneToOneField(RunbookRun, on_delete=models.SET_NULL, null=True, related_name="automation")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    region = models.CharField(_("AWS region"), max_length=32)
    document_name = models.CharField(_("document"), max_length=128)
    document_version = models.CharField(_("version"), max_length=20)
    parameters = models.JSONField(default=dict)  # as StartAutomationExecution takes them
    token = models.UUIDField(unique=True, default=uuid.uuid4)
    execution_id = models.CharField(_("execution"), max_length=36, blank=True)
    status = models.CharField(_("state"), max_length=40, blank=True)  # a key of WORDS
    failure = models.TextField(_("why it ended"), blank=True)
    # [{"name", "action", "status", "message", "began", "ended", "decisions"}], as AWS told when it was last asked
    steps = models.JSONField(default=list)
    asked_at = models.DateTimeField(_("started"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    looked_at = models.DateTimeField(_("last looked"), null=True)
    look_at = models.DateTimeField(null=True, default=timezone.now)  # when it is looked at again; null: never more
    quiet = models.PositiveSmallIntegerField(default=0)  # looks in a row that found nothing new
    tries = models.PositiveSmallIntegerField(default=0)  # calls in a row that failed
    doubtful = models.BooleanField(default=False)  # a start got lost on the way: it may be running there
    trouble = models.CharField(_("what went wrong"), max_length=500, blank=True)
    leased_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("execution on AWS")
        verbose_name_plural = _("executions on AWS")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["look_at"], condition=Q(look_at__isnull=False), name="automation_live"),
        ]

    def __str__(self) -> str:
        return self.document_name

    @property
    def is_over(self) -> bool:
        return self.status in GOOD or self.status in BAD

    @property
    def stops(self) -> bool:
        """Whether AWS says that it is about to be stopped there, or is."""
        return self.status in ("Cancelling", "Cancelled")

    @property
    def runs_on(self) -> str:
        """Of what was stopped here and is not in AWS: "asked", or "left" if a person has to stop it there; else ""."""
        if self.run is None or self.run.state != RunbookRun.State.STOPPED or self.stops or self.is_over:
            return ""
        told = self.signals.filter(kind=AutomationSignal.Kind.STOP).first()
        lost = told and (told.state == AutomationSignal.State.FAILED or told.at < timezone.now() - SOON)
        return "left" if lost else "asked"

    @property
    def status_in_words(self) -> str:
        return in_words(self.status)

    @property
    def waiting_step(self) -> dict[str, Any] | None:
        """The step at which AWS waits for a signal."""
        waits = ("Waiting", "InProgress") if self.status == "Waiting" else ("Waiting",)
        signalled = ("aws:approve", "aws:pause")
        return next((one for one in self.steps if one["status"] in waits and one["action"] in signalled), None)

    def step(self, name: str) -> dict[str, Any] | None:
        return next((one for one in self.steps if one["name"] == name), None)


class AutomationSignal(models.Model):
    """A signal of ours to an execution, written down before it is sent and sent once; or one that was given in AWS.

    To stop is one too, though another call: whoever stops the portal's half stops what runs on AWS. What was given in
    AWS is information. It approves nothing in the portal.
    """

    class Kind(models.TextChoices):
        APPROVE = "Approve", _("Approved")
        REJECT = "Reject", _("Rejected")
        RESUME = "Resume", _("Go on")
        STOP = "Stop", _("Stop")  # of no step: StopAutomationExecution

    class Origin(models.TextChoices):
        PORTAL = "portal", _("by the portal")
        AWS = "aws", _("in AWS")

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting to be sent")
        SENT = "sent", _("Sent")
        MOOT = "moot", _("Not needed any more")
        FAILED = "failed", _("AWS refused it")
        GIVEN = "given", _("Given in AWS")

    execution = models.ForeignKey(AutomationExecution, on_delete=models.CASCADE, related_name="signals")
    step = models.CharField(_("step"), max_length=128)
    kind = models.CharField(_("signal"), max_length=8, choices=Kind)
    origin = models.CharField(_("given"), max_length=6, choices=Origin, default=Origin.PORTAL)
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.WAITING)
    comment = models.CharField(_("comment"), max_length=500, blank=True)
    who = models.TextField(_("who"), blank=True)  # as AWS told it
    at = models.DateTimeField(_("when"), default=timezone.now)
    sent_at = models.DateTimeField(null=True)  # written down before: with it, AWS may have it already
    tries = models.PositiveSmallIntegerField(default=0)
    detail = models.CharField(_("what AWS said"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("signal to AWS")
        verbose_name_plural = _("signals to AWS")
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["execution", "step", "origin"], name="automation_signal_once")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.step}"
