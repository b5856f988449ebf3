"""What customers answered, and that they did."""

import secrets
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone, translation
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels.models import Channel, Recipient
from incidents.models import Incident

from .survey import SurveyQuestion, SurveyVersion, worded

LOW = 2  # a score up to this is one to act on


def random_key() -> int:
    """A key that tells no order, and that every program reads as a whole number."""
    return secrets.randbelow(2**52 - 1) + 1


class SurveyAnswerQuerySet(models.QuerySet["SurveyAnswer"]):
    def for_user(self, user: Any) -> "SurveyAnswerQuerySet":
        """Answers about the incidents that this person may see."""
        return self.filter(incident__in=Incident.objects.for_user(user).order_by().values("pk"))


class SurveyAnswer(models.Model):
    """One customer's answer about one incident.

    `given` is {key of a question: a score from 1 (no) to 5 (yes), or the key of a choice}; `texts` {key: free text},
    which may name people: show it by feedback.screening. Of an anonymous survey there is no recipient, and of the
    time the day alone; that the invitation was used is a SurveyUse, and nothing leads from one to the other.
    """

    id = models.BigIntegerField(primary_key=True, default=random_key, editable=False)
    incident = models.ForeignKey(
        Incident, verbose_name=_("incident"), on_delete=models.CASCADE, related_name="survey_answers"
    )
    version = models.ForeignKey(
        SurveyVersion, verbose_name=_("survey"), on_delete=models.PROTECT, related_name="answers"
    )
    # No database constraint: the answer outlives an erased person.
    recipient = models.ForeignKey(
        Recipient, on_delete=models.SET_NULL, null=True, db_constraint=False, related_name="+"
    )
    channel = models.ForeignKey(
        Channel, verbose_name=_("channel"), on_delete=models.SET_NULL, null=True, related_name="+"
    )
    given = models.JSONField(default=dict)
    texts = models.JSONField(default=dict)
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    at = models.DateTimeField(_("when"), default=timezone.now)
    fixed_at = models.DateTimeField(null=True)  # until then whoever gave it may change it; null: it is fixed

    objects = SurveyAnswerQuerySet.as_manager()

    class Meta:
        verbose_name = _("survey answer")
        verbose_name_plural = _("survey answers")
        ordering = ["-at"]
        permissions = [("read_surveytext", "Can read what customers wrote, unscreened")]
        constraints = [
            models.UniqueConstraint(fields=["incident", "recipient"], name="survey_once_per_invitation"),
        ]

    def __str__(self) -> str:
        scores = "/".join(str(self.given.get(one["key"], "–")) for one in self.version.scales)
        return f"{self.incident}: {scores}"

    @property
    def can_change(self) -> bool:
        return self.fixed_at is not None and self.fixed_at > timezone.now()

    @property
    def lowest(self) -> int | None:
        """Its lowest score."""
        scores = [self.given[one["key"]] for one in self.version.scales if one["key"] in self.given]
        return min(scores, default=None)

    @property
    def is_low(self) -> bool:
        """Whether it is one to act on: a low score, and words that say why."""
        return bool(self.texts) and self.lowest is not None and self.lowest <= LOW

    def in_words(self, texts: dict[str, str] | None = None) -> list[tuple[str, str, bool]]:
        """Question, answer, and whether that is free text, as it was asked; `texts` stand in for its own."""
        found, texts = [], self.texts if texts is None else texts
        locale = translation.get_language() or settings.LANGUAGE_CODE
        for question in self.version.questions:
            key, kind = question["key"], question["kind"]
            if kind == SurveyQuestion.Kind.TEXT:
                said = texts.get(key, "")
            elif kind == SurveyQuestion.Kind.CHOICE:
                chosen = (one["text"] for one in question["choices"] if one["key"] == self.given.get(key))
                said = worded(next(chosen, {}), locale)
            else:
                said = _t("%(score)s of 5") % {"score": self.given[key]} if key in self.given else ""
            if said:
                found.append((worded(question["text"], locale), said, kind == SurveyQuestion.Kind.TEXT))
        return found


class SurveyUse(models.Model):
    """That somebody answered an anonymous survey about an incident: no time, no order, and not what.

    Its key is drawn by lot, as the answer's is, so that neither table tells in which order its rows came.
    """

    id = models.BigIntegerField(primary_key=True, default=random_key, editable=False)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="+")
    recipient = models.ForeignKey(Recipient, on_delete=models.CASCADE, db_constraint=False, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["incident", "recipient"], name="survey_used_once")]

    def __str__(self) -> str:
        return f"{self.incident_id}: {self.recipient_id}"


class SurveyReading(models.Model):
    """That somebody of the staff read what a customer wrote, unscreened. The database refuses to change a row."""

    answer = models.ForeignKey(SurveyAnswer, on_delete=models.CASCADE, related_name="readings")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(_("when"), default=timezone.now)

    class Meta:
        verbose_name = _("reading of an answer")
        verbose_name_plural = _("readings of answers")
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.answer_id}: {self.by}"
