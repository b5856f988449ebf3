from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from channels.models import Recipient

from .incident import Incident


class IncidentTicket(models.Model):
    """A ticket of a help desk that gets the updates of an incident as comments."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="tickets")
    recipient = models.ForeignKey(Recipient, on_delete=models.CASCADE, related_name="+", verbose_name=_("ticket"))
    added_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("linked ticket")
        verbose_name_plural = _("linked tickets")
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["incident", "recipient"], name="incident_ticket_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """As its help desk shows it, without the number of the channel."""
        return self.recipient.address.partition(":")[2]

    @property
    def channel_id(self) -> int:
        """The channel of its help desk, which may be gone by now."""
        return int(self.recipient.address.partition(":")[0])
