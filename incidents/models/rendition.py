from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from .template import MessageTemplate
from .update import IncidentUpdate
from .words import WordsModel


class Rendition(WordsModel):
    """The words of an update in one language, as a person edits them. {{ placeholders }} are filled at review."""

    update = models.ForeignKey(IncidentUpdate, on_delete=models.CASCADE, related_name="renditions")
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    # Where the words came from, for "what did I change?" and for scores by template version.
    template = models.ForeignKey(MessageTemplate, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        verbose_name = _("text")
        verbose_name_plural = _("texts")
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["update", "locale"], name="rendition_once_per_language")]

    def __str__(self) -> str:
        return f"{self.update} · {self.locale}"
