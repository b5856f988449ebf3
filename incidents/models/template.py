"""The words that were prepared before the event."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from .prepared import PreparedWords
from .words import INCIDENT_STAGES, NOTICE_STAGES, Stage, WordsModel


class Scenario(models.Model):
    """A kind of impairment that we have words for."""

    slug = models.SlugField(_("key"), unique=True)
    name = models.CharField(_("name"), max_length=120)
    description = models.CharField(_("when to use it"), max_length=300, blank=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    maintenance = models.BooleanField(
        _("planned maintenance"), default=False, help_text=_("Its words announce planned work, its start and its end.")
    )

    class Meta:
        verbose_name = _("scenario")
        verbose_name_plural = _("scenarios")
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that want words."""
        return NOTICE_STAGES if self.maintenance else INCIDENT_STAGES


class MessageTemplate(PreparedWords, WordsModel):
    """The words for one scenario at one stage in one language, with {{ placeholders }} (rendering.VARIABLES).

    Once approved, a plan may let them out unchanged without a second look.
    """

    scenario = models.ForeignKey(
        Scenario, on_delete=models.CASCADE, related_name="templates", verbose_name=_("scenario")
    )
    stage = models.CharField(
        _("stage"), max_length=16, choices=[(s.value, s.label) for s in (*INCIDENT_STAGES, *NOTICE_STAGES)]
    )
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords()

    class Meta:
        verbose_name = _("message template")
        verbose_name_plural = _("message templates")
        ordering = ["scenario__position", "scenario__name", "stage", "locale"]
        constraints = [
            models.UniqueConstraint(fields=["scenario", "stage", "locale"], name="template_once_per_stage_and_language")
        ]

    def __str__(self) -> str:
        return f"{self.scenario} · {self.get_stage_display()} · {self.locale}"

    def clean(self) -> None:
        from incidents.rendering import problems

        errors = {field: found for field, text in self.words().items() if (found := problems(text))}
        if errors:
            raise ValidationError(errors)

    def said(self) -> list[Any]:
        return [self.scenario_id, self.stage, self.locale, self.words()]
