"""What customers tell us back, and what managers read."""

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from channels.models import Recipient
from incidents.models import Incident

QUESTIONS = {
    "clear": _("Was it clear what was happening and whether it affected you?"),
    "timely": _("Did we tell you in time?"),
    "useful": _("Did it help you decide what to do?"),
}


class SurveyAnswerQuerySet(models.QuerySet["SurveyAnswer"]):
    def for_user(self, user: Any) -> "SurveyAnswerQuerySet":
        """Answers about the incidents that this person may see."""
        return self.filter(incident__in=Incident.objects.for_user(user).order_by().values("pk"))


class SurveyAnswer(models.Model):
    """One customer's answer about one incident. Scores run from 1 (no) to 5 (yes)."""

    incident = models.ForeignKey(
        Incident, verbose_name=_("incident"), on_delete=models.CASCADE, related_name="survey_answers"
    )
    # No database constraint: the answer outlives an erased person.
    recipient = models.ForeignKey(
        Recipient, on_delete=models.SET_NULL, null=True, db_constraint=False, related_name="+"
    )
    clear = models.PositiveSmallIntegerField(
        QUESTIONS["clear"], validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    timely = models.PositiveSmallIntegerField(
        QUESTIONS["timely"], validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    useful = models.PositiveSmallIntegerField(
        QUESTIONS["useful"], validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    comment = models.TextField(_("anything else?"), max_length=2000, blank=True)
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    at = models.DateTimeField(_("when"), auto_now_add=True)

    objects = SurveyAnswerQuerySet.as_manager()

    class Meta:
        verbose_name = _("survey answer")
        verbose_name_plural = _("survey answers")
        ordering = ["-at"]
        constraints = [
            models.UniqueConstraint(fields=["incident", "recipient"], name="survey_once_per_invitation"),
            models.CheckConstraint(
                condition=Q(clear__range=(1, 5)) & Q(timely__range=(1, 5)) & Q(useful__range=(1, 5)),
                name="survey_scores_from_1_to_5",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.incident}: {self.clear}/{self.timely}/{self.useful}"

    @property
    def scores(self) -> list[tuple[str, int]]:
        """Question and score, in the order they were asked."""
        return [(str(question), getattr(self, name)) for name, question in QUESTIONS.items()]


class Report(Incident):
    """An incident as a manager reads it: no rows of its own, but an address and a permission in the admin."""

    class Meta:
        proxy = True
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        default_permissions = ("view",)


from .evidence_models import EvidenceKey, EvidencePack  # noqa: E402, F401 - models are found here
from .report_mail_models import ReportMail, ReportSubscription  # noqa: E402, F401
from .review_models import CommunicationReview  # noqa: E402, F401
