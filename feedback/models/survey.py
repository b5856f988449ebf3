"""What customers are asked. What was sent is a version, which stays: answers are to just its questions."""

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from incidents.models import CommunicationPlan, Incident

# What reports count and name, whatever else is asked. A question counts here by its key.
QUESTIONS = {
    "clear": _("Was it clear what was happening and whether it affected you?"),
    "timely": _("Did we tell you in time?"),
    "useful": _("Did it help you decide what to do?"),
}
SCORES = range(1, 6)


class Survey(models.Model):
    """How one survey is sent. Its questions are rows of their own; what goes out is a SurveyVersion."""

    name = models.CharField(_("name"), max_length=120, unique=True, help_text=_("For staff; customers do not see it."))
    default = models.BooleanField(
        _("the usual one"), default=False, help_text=_("Asked after every incident whose plan has no other.")
    )
    plans = models.ManyToManyField(
        CommunicationPlan,
        blank=True,
        related_name="+",
        verbose_name=_("instead of the usual one, for these plans"),
    )
    share = models.PositiveSmallIntegerField(
        _("asked of (%)"),
        default=100,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_("The share of those who were told. Who is asked is drawn by lot for each incident."),
    )
    anonymous = models.BooleanField(
        _("anonymous"),
        default=False,
        help_text=_("An answer is kept without who gave it, and with the day only. It cannot be changed."),
    )
    open_days = models.PositiveSmallIntegerField(
        _("closes after (days)"), default=30, validators=[MinValueValidator(1), MaxValueValidator(365)]
    )
    remind_days = models.PositiveSmallIntegerField(
        _("remind once after (days)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(364)],
        help_text=_("Only those who have not answered. Empty: never."),
    )
    change_minutes = models.PositiveIntegerField(
        _("answers can be changed for (minutes)"),
        default=60,
        validators=[MaxValueValidator(60 * 24 * 30)],
        help_text=_("0: never."),
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("survey")
        verbose_name_plural = _("surveys")
        ordering = ["-default", "name"]
        constraints = [
            models.UniqueConstraint(fields=["default"], condition=Q(default=True), name="survey_one_default"),
            models.CheckConstraint(condition=Q(share__range=(1, 100)), name="survey_share_in_percent"),
            models.CheckConstraint(
                condition=Q(remind_days__isnull=True) | Q(remind_days__lt=models.F("open_days")),
                name="survey_reminds_before_it_closes",
                violation_error_message=_("The reminder must come before the survey closes."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def choose(cls, incident: Incident) -> "Survey | None":
        """The one for the incident's plan, or else the usual one. None if there is neither."""
        own = cls.objects.filter(plans=incident.plan_id) if incident.plan_id else cls.objects.none()
        return own.order_by("pk").first() or cls.objects.filter(default=True).first()

    def content(self) -> dict[str, Any]:
        """What it says now, as plain JSON: SurveyVersion.content."""
        return {
            "name": self.name,
            "share": self.share,
            "anonymous": self.anonymous,
            "open_days": self.open_days,
            "remind_days": self.remind_days,
            "change_minutes": self.change_minutes,
            "questions": [one.content() for one in self.questions.all()],
        }

    def current(self, by: Any = None) -> "SurveyVersion | None":
        """The version that says what it says now, written by `by` if there is none yet. None without a question."""
        with transaction.atomic():
            me = Survey.objects.select_for_update(no_key=True).get(pk=self.pk)
            last, content = me.versions.first(), me.content()
            if not content["questions"]:
                return None
            if last is not None and last.content == content:
                return last
            return SurveyVersion.objects.create(
                survey=me, number=last.number + 1 if last else 1, content=content, by=by
            )


class SurveyQuestion(models.Model):
    """One question in every language. `text` is {language: words}, `choices` [{"key", "text": {language: words}}]."""

    class Kind(models.TextChoices):
        SCALE = "scale", _("Scale from 1 to 5")
        CHOICE = "choice", _("Choice of one")
        TEXT = "text", _("Free text")

    survey = models.ForeignKey(Survey, on_delete=models.CASCADE, related_name="questions")
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    key = models.SlugField(
        _("key"),
        max_length=32,
        help_text=_("Its name in files. Reports count “clear”, “timely” and “useful”: keep these for what they mean."),
    )
    kind = models.CharField(_("kind"), max_length=8, choices=Kind, default=Kind.SCALE)
    required = models.BooleanField(_("must be answered"), default=True)
    text = models.JSONField(default=dict)
    choices = models.JSONField(default=list)

    class Meta:
        verbose_name = _("question")
        verbose_name_plural = _("questions")
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["survey", "key"], name="survey_question_key_once")]

    def __str__(self) -> str:
        return self.text.get(settings.LANGUAGE_CODE) or self.key

    def content(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "kind": self.kind,
            "required": self.required,
            "text": self.text,
            **({"choices": self.choices} if self.kind == self.Kind.CHOICE else {}),
        }


class SurveyVersion(models.Model):
    """A survey as it was sent. Append-only: the database refuses to change a row, or to delete one with answers.

    `content` is Survey.content(): {"name", "share", "anonymous", "open_days", "remind_days", "change_minutes",
    "questions": [{"key", "kind", "required", "text": {language: words}, "choices": [{"key", "text"}] of a choice}]}.
    """

    survey = models.ForeignKey(Survey, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    content = models.JSONField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField(_("when"), default=timezone.now)

    class Meta:
        verbose_name = _("version of a survey")
        verbose_name_plural = _("versions of surveys")
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["survey", "number"], name="survey_version_once")]

    def __str__(self) -> str:
        return _t("%(survey)s · version %(number)s") % {"survey": self.content["name"], "number": self.number}

    @property
    def anonymous(self) -> bool:
        return self.content["anonymous"]

    @property
    def questions(self) -> list[dict[str, Any]]:
        return self.content["questions"]

    @property
    def scales(self) -> list[dict[str, Any]]:
        return [one for one in self.questions if one["kind"] == SurveyQuestion.Kind.SCALE]


def worded(text: dict[str, str], locale: str) -> str:
    """Words in a language; in another one if this was no language of ours when they were written."""
    return text.get(locale) or text.get(settings.LANGUAGE_CODE) or next(iter(text.values()), "")
