"""Who was trained for which role of the plans, and until when that counts."""

from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from .plan import Role

SOON = 30  # days before the end from which it is told


class TrainingQuerySet(models.QuerySet["Training"]):
    def for_user(self, user: Any) -> "TrainingQuerySet":
        """One's own; all for whoever keeps the records."""
        return self.all() if user.has_perm("incidents.view_training") else self.filter(user=user.pk)

    def current(self) -> "TrainingQuerySet":
        """What counts today, its last day included."""
        return self.filter(valid_until__gte=timezone.localdate())

    def in_state(self, state: str) -> "TrainingQuerySet":
        """Those of this Training.state."""
        today = timezone.localdate()
        soon = today + timedelta(days=SOON)
        return {
            "current": self.filter(valid_until__gt=soon),
            "soon": self.filter(valid_until__gte=today, valid_until__lte=soon),
            "expired": self.filter(valid_until__lt=today),
        }[state]


class Training(models.Model):
    """One record that somebody was trained for a role, and who wrote it down."""

    class State(models.TextChoices):
        CURRENT = "current", _("Current")
        SOON = "soon", _("Ends soon")
        EXPIRED = "expired", _("Not valid any more")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="trainings", verbose_name=_("person")
    )
    role = models.CharField(_("role"), max_length=32, choices=Role, help_text=_("For which role of the plans."))
    completed_on = models.DateField(_("completed on"))
    valid_until = models.DateField(
        _("valid until"), blank=True, help_text=_("Its last day. Empty: as long as is usual here.")
    )
    what = models.CharField(
        _("where, and what"), max_length=200, blank=True, help_text=_("As “Workshop in Milan: writing under pressure”.")
    )
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("recorded by"),
    )
    recorded_at = models.DateTimeField(_("recorded"), default=timezone.now, editable=False)
    history = HistoricalRecords()

    objects = TrainingQuerySet.as_manager()

    class Meta:
        verbose_name = _("training record")
        verbose_name_plural = _("training records")
        ordering = ["-completed_on", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "role", "completed_on"],
                name="training_once",
                violation_error_message=_("This training of this person on this day is recorded already."),
            ),
            models.CheckConstraint(
                condition=Q(valid_until__gte=F("completed_on")),
                name="training_ends_after_it",
                violation_error_message=_("“Valid until” lies before the day on which it was completed."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()}: {self.user}"

    def clean(self) -> None:
        if self.completed_on and self.completed_on > timezone.localdate():
            text = _t("%(day)s has not come yet: write the day on which it was completed.")
            raise ValidationError({"completed_on": text % {"day": self.completed_on.isoformat()}})
        if self.completed_on and not self.valid_until:
            self.valid_until = usual_end(self.completed_on)

    @property
    def state(self) -> str:
        today = timezone.localdate()
        if self.valid_until < today:
            return self.State.EXPIRED
        return self.State.SOON if self.valid_until <= today + timedelta(days=SOON) else self.State.CURRENT


def usual_end(completed_on: date) -> date:
    """The last day on which training of that day counts, where nothing else is written down."""
    return completed_on + timedelta(days=settings.TRAINING_VALID_DAYS)
