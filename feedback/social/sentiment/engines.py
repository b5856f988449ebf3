"""Who reads the posts: the engine of settings.SENTIMENT_ENGINE, and the offline one wherever that fails."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from django.conf import settings

from channels.errors import DeliveryError
from incidents.aws import comprehending

from . import offline
from .language import language_of
from .mood import Label, Mood

log = logging.getLogger(__name__)
COMPREHEND = "comprehend"
NAMES = (offline.NAME, COMPREHEND)
CLEAR = 0.2  # by so much one side must outweigh the other in what Comprehend calls mixed


def read_all(posts: Sequence[tuple[str, str]]) -> list[Mood]:
    """The mood of each (text, language that the network gives, or ""), in order."""
    if settings.SENTIMENT_ENGINE == COMPREHEND:
        return _by_comprehend(posts)
    return [offline.read(text, said) for text, said in posts]


def _by_comprehend(posts: Sequence[tuple[str, str]]) -> list[Mood]:
    """What fails is read offline, and says so."""
    groups: dict[str, list[int]] = defaultdict(list)
    found: list[Mood | None] = [None] * len(posts)
    for index, (text, said) in enumerate(posts):
        language = language_of(text, said)
        spoken = said.lower().partition("-")[0] if language == "other" else language
        if spoken in comprehending.LANGUAGES and text.strip():
            groups[spoken].append(index)
        else:
            found[index] = offline.read(text, said)
    for language, indexes in groups.items():
        try:
            answers = comprehending.moods([posts[index][0] for index in indexes], language)
        except DeliveryError as error:
            log.warning("Comprehend did not read %d posts in %s: %s", len(indexes), language, error)
            answers = [comprehending.Answer(error=comprehending.words(error))] * len(indexes)
        for index, answer in zip(indexes, answers, strict=True):
            if answer.error:
                found[index] = replace(offline.read(*posts[index]), detail=answer.error)
            else:
                found[index] = _mood(answer, language)
    return [one for one in found if one is not None]


def _mood(answer: comprehending.Answer, language: str) -> Mood:
    score = answer.positive - answer.negative
    label = {"POSITIVE": Label.POSITIVE, "NEGATIVE": Label.NEGATIVE}.get(answer.sentiment, Label.NEUTRAL)
    if answer.sentiment == "MIXED" and abs(score) >= CLEAR:
        label = Label.POSITIVE if score > 0 else Label.NEGATIVE
    return Mood(label, round(score, 3), language, COMPREHEND)
