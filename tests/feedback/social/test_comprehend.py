"""Posts read by Amazon Comprehend: a fake on botocore's own model. Nothing here was ever tried on AWS."""

from typing import Any

import pytest

from feedback.social.sentiment import read_all
from tests.fakes import aws as fake_aws
from tests.fakes.aws import Drop, Fault
from tests.incidents.aws.conftest import service  # noqa: F401


@pytest.fixture
def comprehend(service, monkeypatch, settings):  # noqa: F811
    settings.SENTIMENT_ENGINE = "comprehend"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", fake_aws.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", fake_aws.SECRET_KEY)
    fake = service("comprehend")
    fake.answers["BatchDetectSentiment"] = answer
    return fake


def result(index: int, sentiment: str, positive: float = 0.1, negative: float = 0.1) -> dict[str, Any]:
    scores = {"Positive": positive, "Negative": negative, "Neutral": 0.1, "Mixed": 0.1}
    return {"Index": index, "Sentiment": sentiment, "SentimentScore": scores}


def answer(params: dict[str, Any]) -> dict[str, Any]:
    """POSITIVE for what has “good” in it, an error for what has “broken” in it."""
    results, errors = [], []
    for index, text in enumerate(params["TextList"]):
        if "broken" in text:
            errors.append({"Index": index, "ErrorCode": "INTERNAL_SERVER_ERROR", "ErrorMessage": "try later"})
        elif "good" in text or "bene" in text:
            results.append(result(index, "POSITIVE", 0.9, 0.05))
        else:
            results.append(result(index, "NEGATIVE", 0.05, 0.9))
    return {"ResultList": results, "ErrorList": errors}


def test_posts_go_by_language_twenty_five_at_a_time(comprehend):
    posts = [(f"the app is good, number {n}", "en") for n in range(30)] + [("va tutto bene", "it")] * 2
    moods = read_all(posts)
    assert {(one.label, one.engine, one.score) for one in moods} == {("positive", "comprehend", 0.85)}
    assert [one.language for one in moods] == ["en"] * 30 + ["it"] * 2
    calls = comprehend.params("BatchDetectSentiment")
    assert [(one["LanguageCode"], len(one["TextList"])) for one in calls] == [("en", 25), ("en", 5), ("it", 2)]
    assert comprehend.invalid == []


def test_what_fails_by_itself_is_read_offline_and_says_so(comprehend):
    good, bad = read_all([("this is good", "en"), ("the app is broken again", "en")])
    assert good.engine == "comprehend"
    assert (bad.engine, bad.label) == ("offline", "negative")
    assert bad.detail == "INTERNAL_SERVER_ERROR: try later"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("InternalServerException", status=500), "InternalServerException"),
        (Fault("ThrottlingException", "slow down"), "ThrottlingException"),
        (Fault("AccessDeniedException", "no"), "AccessDeniedException"),
        (Drop(), "ConnectionClosedError"),
    ],
)
def test_without_comprehend_everything_is_read_offline(comprehend, fault, code):
    comprehend.script("BatchDetectSentiment", fault)
    [mood] = read_all([("Payments are not working", "en")])
    assert (mood.engine, mood.label) == ("offline", "negative")
    assert code in mood.detail


def test_without_credentials_as_well(service, settings):  # noqa: F811
    settings.SENTIMENT_ENGINE = "comprehend"
    service("comprehend")
    [mood] = read_all([("Payments are not working", "en")])
    assert (mood.engine, mood.label) == ("offline", "negative")
    assert "NoCredentialsError" in mood.detail


@pytest.mark.parametrize(
    ("positive", "negative", "label"), [(0.2, 0.7, "negative"), (0.7, 0.2, "positive"), (0.4, 0.4, "neutral")]
)
def test_mixed_feelings_go_to_the_stronger_side(comprehend, positive, negative, label):
    comprehend.answers["BatchDetectSentiment"] = {
        "ResultList": [result(0, "MIXED", positive, negative)],
        "ErrorList": [],
    }
    [mood] = read_all([("good and bad", "en")])
    assert mood.label == label


def test_other_languages_are_read_where_the_network_names_them(comprehend):
    french, unknown = read_all([("L'application est en panne depuis ce matin", "fr"), ("サーバーが落ちた", "")])
    assert (french.engine, french.language, french.label) == ("comprehend", "fr", "negative")
    assert (unknown.engine, unknown.label) == ("offline", "unread")


def test_a_long_text_is_cut_to_what_comprehend_takes(comprehend):
    read_all([("è giù " * 2000, "it")])
    [call] = comprehend.params("BatchDetectSentiment")
    assert len(call["TextList"][0].encode()) <= 5000
