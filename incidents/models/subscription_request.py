"""Somebody asked for messages to an address. Nothing else goes there until its owner says yes."""

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from channels.models import Medium


def default_wanted() -> dict[str, Any]:
    return {"components": [], "groups": [], "least_severity": "sev4", "maintenance": True}


class SubscriptionRequest(models.Model):
    """A subscription asked for on the status page, and once it is confirmed the proof that its owner agreed.

    The address is here only while it is needed; what stays is its keyed hash, as in Suppression.
    """

    class Outcome(models.TextChoices):
        WAITING = "waiting", _("Waiting to be sent")
        SENDING = "sending", _("Being sent")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Not known whether sent")
        SUPPRESSED = "suppressed", _("Not sent: the address is stopped")
        LIMITED = "limited", _("Not sent: asked for too often")

    OPEN_HOURS = 72  # that a link can be confirmed

    medium = models.CharField(_("medium"), max_length=16, choices=Medium)
    address = models.CharField(_("address"), max_length=2000, blank=True)
    address_hash = models.CharField(max_length=64)
    domain = models.CharField(_("domain"), max_length=255)  # whose servers a flood would hit: subscribing.domain_of
    ip_hash = models.CharField(max_length=64)
    # {"components": [key], "groups": [key], "least_severity", "maintenance"}; neither of the first two: everything.
    # Of a browser also {"keys": {"p256dh", "auth"}}, until it is confirmed. Of one that let an address be written to
    # again {"lifted": {"reason", "detail", "since"}}: the suppression that is gone.
    wanted = models.JSONField(_("wanted"), default=default_wanted)
    locale = models.CharField(_("language"), max_length=8)
    time_zone = models.CharField(_("time zone"), max_length=40)
    wording = models.TextField(_("what they agreed to"))  # the sentence as it was shown
    wording_locale = models.CharField(max_length=8)
    created_at = models.DateTimeField(_("asked"), default=timezone.now)
    outcome = models.CharField(_("the message"), max_length=12, choices=Outcome, default=Outcome.WAITING)
    detail = models.CharField(_("detail"), max_length=500, blank=True)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    confirmed_at = models.DateTimeField(_("confirmed"), null=True, blank=True)

    class Meta:
        verbose_name = _("subscription request")
        verbose_name_plural = _("subscription requests")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["address_hash", "created_at"], name="request_by_address"),
            models.Index(fields=["ip_hash", "created_at"], name="request_by_ip"),
            models.Index(fields=["domain", "created_at"], name="request_by_domain"),
            models.Index(fields=["created_at"], condition=~Q(address=""), name="request_with_address"),
            models.Index(fields=["created_at"], condition=Q(confirmed_at__isnull=True), name="request_unconfirmed"),
            models.Index(fields=["id"], condition=Q(outcome__in=["waiting", "sending"]), name="request_unsent"),
        ]

    def __str__(self) -> str:
        return f"{self.get_medium_display()} {self.address_hash[:8]}… ({self.created_at:%Y-%m-%d %H:%M})"

    @property
    def closes_at(self) -> datetime:
        return self.created_at + timedelta(hours=self.OPEN_HOURS)

    @property
    def is_open(self) -> bool:
        return not self.confirmed_at and bool(self.address) and timezone.now() < self.closes_at
