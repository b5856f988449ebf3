"""What customers ask, with the answer that may be given."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from .incident import Incident
from .prepared import PreparedWords
from .template import Scenario
from .words import one_line, plain

MOST_ANSWER = 4000  # characters


class QuestionQuerySet(models.QuerySet["KnownQuestion"]):
    def for_user(self, user: Any) -> "QuestionQuerySet":
        """Those of scenarios, and those of incidents that this person may see."""
        seen = Incident.objects.for_user(user).order_by().values("pk")
        return self.filter(Q(incident=None) | Q(incident__in=seen))

    def about(self, incident: Incident) -> "QuestionQuerySet":
        """Those of the incident and of its scenario, in the order in which they are read."""
        mine = Q(incident=incident)
        if incident.scenario_id:
            mine |= Q(scenario=incident.scenario_id)
        return self.filter(mine).order_by("locale", models.F("incident").asc(nulls_last=True), "position", "pk")


class KnownQuestion(PreparedWords):
    """A question in one language with its answer, for one incident or for every incident of a scenario.

    The answer is said only once a second person approved it; see PreparedWords.
    """

    incident = models.ForeignKey(
        Incident,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="questions",
        verbose_name=_("incident"),
        help_text=_("For this incident alone."),
    )
    scenario = models.ForeignKey(
        Scenario,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="questions",
        verbose_name=_("scenario"),
        help_text=_("For every incident of this kind, prepared beforehand."),
    )
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    question = models.CharField(_("question"), max_length=300, help_text=_("As customers ask it."))
    answer = models.TextField(
        _("answer"),
        validators=[MaxLengthValidator(MOST_ANSWER)],
        help_text=_("Said word for word, so write it as the customer is to hear or read it."),
    )
    position = models.PositiveSmallIntegerField(_("position"), default=0, help_text=_("The lowest number comes first."))
    updated_at = models.DateTimeField(_("last change"), auto_now=True)
    history = HistoricalRecords()

    objects = QuestionQuerySet.as_manager()

    class Meta:
        verbose_name = _("known question")
        verbose_name_plural = _("known questions")
        ordering = ["locale", "position", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(incident__isnull=True) ^ Q(scenario__isnull=True),
                name="question_of_incident_or_scenario",
                violation_error_message=_("Choose an incident or a scenario, and not both."),
            )
        ]

    def __str__(self) -> str:
        return self.question

    def clean(self) -> None:
        self.question, self.answer = one_line(self.question), plain(self.answer)
        for field in ("question", "answer"):
            text = getattr(self, field)
            found = next((mark for mark in ("{{", "{%", "[[") if mark in text), "")
            if found:
                wrong = _t(
                    "“%(mark)s” is not filled in here: an answer is said as it stands. Write the words themselves."
                )
                raise ValidationError({field: wrong % {"mark": found}})

    def said(self) -> list[Any]:
        return [self.incident_id, self.scenario_id, self.locale, self.question, self.answer]

    def may_write(self, user: Any) -> bool:
        """Who writes updates writes answers, of an incident where they may work on all of its components."""
        mine = self.incident is None or self.incident.may_operate(user)
        return user.has_perm("incidents.write_incidentupdate") and mine

    def may_approve(self, user: Any) -> bool:
        return super().may_approve(user) and (self.incident is None or self.incident.may_operate(user))
