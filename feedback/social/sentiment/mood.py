"""What a post is taken for."""

from dataclasses import dataclass

from django.db import models
from django.utils.translation import gettext_lazy as _


class Label(models.TextChoices):
    NEGATIVE = "negative", _("negative")
    NEUTRAL = "neutral", _("neutral")
    POSITIVE = "positive", _("positive")
    UNREAD = "unread", _("not read")  # in a language that the engine does not know


@dataclass(frozen=True)
class Mood:
    """`score` runs from −1 (surely negative) to 1 (surely positive). `engine` is who says so."""

    label: str
    score: float
    language: str
    engine: str
    detail: str = ""  # why another engine than the chosen one has read it
