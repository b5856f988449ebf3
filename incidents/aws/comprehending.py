"""The mood of texts by Amazon Comprehend: up to 25 of one language in a call, each with its own answer or error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from channels.errors import DeliveryError
from channels.providers.aws import SDK_ERRORS, connect, failure

MOST = 25  # texts in a call
LONGEST = 5000  # bytes of one text; Comprehend says 5 KB
LANGUAGES = {"ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "pt", "zh"}


@dataclass(frozen=True)
class Answer:
    """What Comprehend says of one text: a sentiment with its scores (each from 0 to 1), or an error."""

    sentiment: str = ""  # POSITIVE, NEGATIVE, NEUTRAL or MIXED
    positive: float = 0.0
    negative: float = 0.0
    error: str = ""


def moods(texts: Sequence[str], language: str) -> list[Answer]:
    """One answer for each text, in order. Raises DeliveryError if a call as a whole comes to nothing.

    The region is settings.AWS_REGION; the credentials are those that the SDK finds.
    """
    if not texts:
        return []
    client = connect("comprehend", {}, settings.AWS_REGION)
    try:
        found: list[Answer] = []
        for start in range(0, len(texts), MOST):
            found += _batch(client, [_cut(one) for one in texts[start : start + MOST]], language)
        return found
    finally:
        client.close()


def _batch(client: Any, texts: list[str], language: str) -> list[Answer]:
    try:
        said = client.batch_detect_sentiment(TextList=texts, LanguageCode=language)
    except SDK_ERRORS as error:
        raise failure(error) from error
    answers = [Answer(error="no answer") for _one in texts]
    for one in said.get("ResultList", []):
        scores = one["SentimentScore"]
        answers[one["Index"]] = Answer(one["Sentiment"], scores["Positive"], scores["Negative"])
    for one in said.get("ErrorList", []):
        answers[one["Index"]] = Answer(error=f"{one.get('ErrorCode', '')}: {one.get('ErrorMessage', '')}"[:200])
    return answers


def words(error: DeliveryError) -> str:
    """Why nothing came of it, in short."""
    return f"{error.code}: {error.detail}"[:200]


def _cut(text: str) -> str:
    """As much as is read of a text; Comprehend refuses an empty one."""
    return text.encode()[:LONGEST].decode("utf-8", "ignore") or " "
