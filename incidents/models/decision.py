from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _


def name_of(user: Any) -> str:
    """A person's full name, or the login where there is none."""
    return (user.get_full_name() or user.get_username()) if user else _t("somebody")


class Decision(models.Model):
    """Who did what, when, to which exact content. Append-only: the database refuses to change or delete a row.

    The database also refuses an approval by anybody who wrote a word of the update.
    """

    class Verb(models.TextChoices):
        DECLARE = "declare", _("declared the incident")
        PLAN = "plan", _("planned the maintenance")
        DRAFT = "draft", _("started a draft")
        EDIT = "edit", _("edited the draft")
        SUBMIT = "submit", _("asked for approval")
        APPROVE = "approve", _("approved")
        REJECT = "reject", _("sent back")
        PUBLISH = "publish", _("published")
        WITHDRAW = "withdraw", _("withdrew the draft")
        RETRY = "retry", _("retried failed deliveries")
        DISMISS = "dismiss", _("closed it as declared by mistake")
        STOP = "stop", _("stopped the sending")
        RELEASE = "release", _("let it go out by itself at its time")
        CANCEL = "cancel", _("cancelled the maintenance")
        MOVE = "move", _("moved the maintenance")
        GLASS = "glass", _("broke the glass: let it out without a second person")
        GLASS_SEEN = "glass_seen", _("reviewed afterwards what went out without a second person")
        PREPARED = "prepared", _("let it out by approved templates")
        SEVERITY = "severity", _("changed the severity")

    WRITING = (Verb.DRAFT, Verb.EDIT)
    # After these a runbook that waits may go on.
    MOVES = (Verb.SUBMIT, Verb.APPROVE, Verb.REJECT, Verb.PUBLISH, Verb.WITHDRAW, Verb.GLASS, Verb.PREPARED)

    incident = models.ForeignKey("incidents.Incident", on_delete=models.PROTECT, related_name="decisions")
    update = models.ForeignKey(
        "incidents.IncidentUpdate", on_delete=models.PROTECT, null=True, blank=True, related_name="decisions"
    )
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    verb = models.CharField(_("what"), max_length=12, choices=Verb)
    comment = models.TextField(_("comment"), blank=True)
    content_hash = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField(_("when"), default=timezone.now)

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.by} {self.get_verb_display()}"
