"""What the portal tells staff: that their approval is asked for, what became of their words, that a promise is about to
break or did, and what monitoring proposes.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from channels.addresses import normalise
from channels.models import Channel, Medium

from .alert import Proposal
from .incident import Incident
from .update import IncidentUpdate


def default_locale() -> str:
    return settings.LANGUAGE_CODE


class StaffContact(models.Model):
    """How one of the staff wants to be told. Without a row: by email, at the address of the login."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="contact")
    by_email = models.BooleanField(_("by email"), default=True)
    by_slack = models.BooleanField(
        _("by Slack"), default=True, help_text=_("A direct message, once they have connected their Slack account.")
    )
    phone = models.CharField(
        _("phone for SMS"), max_length=32, blank=True, help_text=_("As +39 333 1234567; empty: no SMS.")
    )
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES, default=default_locale)

    class Meta:
        verbose_name = _("how to reach them")
        verbose_name_plural = _("how to reach them")

    def __str__(self) -> str:
        return str(self.user)

    def clean(self) -> None:
        if self.phone:
            try:
                self.phone = normalise(Medium.SMS, self.phone)
            except ValueError as error:
                raise ValidationError({"phone": str(error)}) from None


class StaffNotice(models.Model):
    """One message to one of the staff, or to a chat channel of theirs. `key` says what it is about: it is sent once.

    Never to customers: the address is that of a login or its contact, or the channel that a plan names for staff.
    """

    class Kind(models.TextChoices):
        DECLARED = "declared", _("An incident was declared")
        APPROVAL = "approval", _("Approval is asked for")
        ESCALATED = "escalated", _("Approval is late: deputies are asked")
        RETURNED = "returned", _("An update was sent back")
        STUCK = "stuck", _("An update that waits cannot be sent as it stands")
        REMINDER = "reminder", _("A promise is about to break")
        BREACH = "breach", _("A promise is broken")
        RUNBOOK = "runbook", _("A runbook tells something")
        PROPOSAL = "proposal", _("Monitoring proposes an incident")
        EVENTS = "events", _("Events for another system are paused")

    ASKING = (Kind.APPROVAL, Kind.ESCALATED)  # of who is to approve
    DIRECT = "direct"  # a direct message in Slack: no medium of customers
    MEDIA = (*Medium.choices, (DIRECT, _("Slack, to the person")))

    class Outcome(models.TextChoices):
        WAITING = "waiting", _("Waiting to be sent")
        SENDING = "sending", _("Being sent")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Not known whether sent")
        OBSOLETE = "obsolete", _("Not needed any more")

    key = models.CharField(max_length=200, unique=True)
    kind = models.CharField(_("what"), max_length=12, choices=Kind)
    # What it is about: an incident, or a proposal of which there is none yet.
    incident = models.ForeignKey(
        Incident, on_delete=models.CASCADE, null=True, blank=True, related_name="staff_notices"
    )
    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    update = models.ForeignKey(IncidentUpdate, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    medium = models.CharField(_("medium"), max_length=16, choices=MEDIA)
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    subject = models.CharField(_("subject"), max_length=300)
    text = models.TextField(_("text"))
    url = models.CharField(max_length=500)
    created_at = models.DateTimeField(_("when"), default=timezone.now)
    outcome = models.CharField(_("the message"), max_length=12, choices=Outcome, default=Outcome.WAITING)
    tried_at = models.DateTimeField(null=True, blank=True)
    detail = models.CharField(_("detail"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("notice to staff")
        verbose_name_plural = _("notices to staff")
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["id"], condition=models.Q(outcome__in=["waiting", "sending"]), name="staff_notice_unsent"
            )
        ]

    def __str__(self) -> str:
        return self.subject

    @property
    def to(self) -> Any:
        return self.user or self.channel


class PromiseBreach(models.Model):
    """An update that customers, or the plan, were promised and that did not come by then. Recorded once, for good."""

    class Kind(models.TextChoices):
        FIRST = "first", _("First update")
        NEXT = "next", _("Next update")
        WORK = "work", _("End of the work")

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="breaches")
    kind = models.CharField(_("what"), max_length=8, choices=Kind)
    due_at = models.DateTimeField(_("due"))
    noticed_at = models.DateTimeField(_("noticed"), default=timezone.now)

    class Meta:
        verbose_name = _("broken promise")
        verbose_name_plural = _("broken promises")
        ordering = ["due_at"]
        constraints = [models.UniqueConstraint(fields=["incident", "due_at"], name="breach_once")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.due_at:%Y-%m-%d %H:%M}"
