"""A file of subscribers between its dry run and the decision: in the database, as web servers may be several."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class SubscriberImport(models.Model):
    """Its content is here until it is applied, thrown away, an hour old, or somebody is erased; the record stays."""

    OPEN_HOURS = 1

    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("by"))
    filename = models.CharField(_("file"), max_length=120)
    content = models.BinaryField()  # zlib; empty: gone
    sha256 = models.CharField(max_length=64)  # of the file as it was uploaded
    consent_source = models.CharField(_("source of consent"), max_length=120)
    consent_on = models.DateField(_("date of consent"))
    created_at = models.DateTimeField(_("uploaded"), default=timezone.now, db_index=True)
    applied_at = models.DateTimeField(_("imported"), null=True, blank=True)
    counts: Any = models.JSONField(default=dict)  # subscriber_import.Counts, once applied

    class Meta:
        verbose_name = _("import of subscribers")
        verbose_name_plural = _("imports of subscribers")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.filename} ({self.created_at:%Y-%m-%d %H:%M})"

    @property
    def is_open(self) -> bool:
        return bool(self.content) and timezone.now() < self.created_at + timedelta(hours=self.OPEN_HOURS)
