"""Who gets the report over time by email, and what became of each mail."""

from datetime import date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from incidents.models import CommunicationPlan, Component, Severity

HOUR = time(7)  # of the day after a period ended, in the portal's time zone


class ReportSubscription(models.Model):
    """One report that somebody gets regularly, of the incidents that they may see by then."""

    class Every(models.TextChoices):
        WEEK = "week", _("Every week, on Monday")
        MONTH = "month", _("Every month, on its first day")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("reader"), on_delete=models.CASCADE, related_name="+"
    )
    every = models.CharField(_("how often"), max_length=8, choices=Every, default=Every.WEEK)
    severity = models.CharField(_("severity"), max_length=8, choices=Severity, blank=True)
    component = models.ForeignKey(
        Component, verbose_name=_("component"), on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    plan = models.ForeignKey(
        CommunicationPlan, verbose_name=_("plan"), on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    active = models.BooleanField(_("active"), default=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(_("since"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("report by email")
        verbose_name_plural = _("reports by email")
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.user}: {self.get_every_display()}"

    @property
    def filters(self) -> dict[str, str]:
        """What it is about, as the report's form takes it; empty ones left out."""
        known = {"severity": self.severity, "component": self.component_id, "plan": self.plan_id}
        return {name: str(value) for name, value in known.items() if value}

    def period(self, now: datetime) -> tuple[date, date] | None:
        """First and last day of the week or month that ended last, once its report is due; None before."""
        local = timezone.localtime(now)
        if self.every == self.Every.WEEK:
            begun = local.date() - timedelta(days=local.weekday())
            first = begun - timedelta(days=7)
        else:
            begun = local.date().replace(day=1)
            first = (begun - timedelta(days=1)).replace(day=1)
        last = begun - timedelta(days=1)
        due = timezone.make_aware(datetime.combine(begun, HOUR))
        # Nobody gets, on the day of subscribing, what was over by then: that stands on the page.
        return (first, last) if now >= due and timezone.localdate(self.created_at) <= last else None


class ReportMail(models.Model):
    """The mail of one subscription for one period: written down first, sent once, its outcome kept."""

    class Outcome(models.TextChoices):
        WAITING = "waiting", _("Waiting to be sent")
        SENDING = "sending", _("Being sent")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Not known whether sent")
        OBSOLETE = "obsolete", _("Not needed any more")

    subscription = models.ForeignKey(
        ReportSubscription, verbose_name=_("report by email"), on_delete=models.CASCADE, related_name="mails"
    )
    first = models.DateField(_("from"))
    last = models.DateField(_("to"))
    created_at = models.DateTimeField(_("when"), default=timezone.now)
    outcome = models.CharField(_("the message"), max_length=12, choices=Outcome, default=Outcome.WAITING)
    tried_at = models.DateTimeField(_("tried"), null=True, blank=True)
    detail = models.CharField(_("detail"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("report that was sent")
        verbose_name_plural = _("reports that were sent")
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["subscription", "first"], name="report_mail_once_for_each_period"),
            models.CheckConstraint(condition=Q(first__lte=models.F("last")), name="report_mail_period_in_order"),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(outcome__in=["waiting", "sending"]), name="report_mail_unsent")
        ]

    def __str__(self) -> str:
        return f"{self.subscription} {self.first} – {self.last}"


def of(user: Any) -> models.QuerySet[ReportSubscription]:
    """What somebody gets."""
    return ReportSubscription.objects.filter(user=user, active=True).select_related("component", "plan")


def obstacles(user: Any, component: Component | None) -> dict[str, str]:
    """{field: why not}: what keeps somebody from getting a report, with what to do; empty if nothing does."""
    found = {}
    if not user.email:
        found["user"] = _t("%(who)s has no email address: add one first.") % {"who": user}
    elif not user.has_perm("feedback.view_report"):
        found["user"] = _t("%(who)s may not read reports: give the role first.") % {"who": user}
    if component and not Component.objects.for_user(user).filter(pk=component.pk).exists():
        text = _t("%(who)s does not see this component: choose another, or none.")
        found["component"] = text % {"who": user}
    return found
