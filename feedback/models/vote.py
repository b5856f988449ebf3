"""“Was this clear?”: one tap about one update, in a message or on the status page."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from channels.models import Channel, Recipient
from incidents.models import IncidentUpdate


class UpdateVote(models.Model):
    """Whether an update was clear to one reader. From the status page, nobody knows to whom."""

    update = models.ForeignKey(IncidentUpdate, on_delete=models.CASCADE, related_name="votes")
    clear = models.BooleanField(_("clear"))
    # Both null: from the status page. No database constraint: the vote outlives an erased person.
    recipient = models.ForeignKey(
        Recipient, on_delete=models.SET_NULL, null=True, db_constraint=False, related_name="+"
    )
    channel = models.ForeignKey(Channel, on_delete=models.SET_NULL, null=True, related_name="+")
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    at = models.DateTimeField(_("when"), default=timezone.now)

    class Meta:
        verbose_name = _("vote on an update")
        verbose_name_plural = _("votes on updates")
        constraints = [models.UniqueConstraint(fields=["update", "recipient"], name="vote_once_per_message")]

    def __str__(self) -> str:
        return f"{self.update}: {self.clear}"
