"""How posts are read. The posts themselves, labelled by hand, stand beside this file."""

import csv
import json
import time
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from benchmarks.sentiment import confusion, macro_f1, pointed, posts
from feedback.social.sentiment import Label, learned, offline
from feedback.social.sentiment.language import language_of
from feedback.social.sentiment.offline import read

HERE = Path(__file__).parent
LANGUAGES = ["en", "it"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_labelled_set_is_large_and_varied(language):
    with (HERE / f"posts_{language}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({one["text"] for one in rows}) == len(rows) >= 1300
    assert {one["half"] for one in rows} == {"dev", "test"}
    for label in ("negative", "neutral", "positive"):
        assert sum(one["label"] == label for one in rows) >= 200
    assert {"sarcasm", "negated", "question", "news", "resolved", "thanks", "offtopic", "mixed"} <= {
        one["tag"] for one in rows
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_posts_that_were_never_learned_from_are_read_as_people_read_them(language):
    rows = posts(language)
    labels = [read(one["text"]).label for one in rows]
    assert len(rows) >= 150
    assert macro_f1(confusion(rows, labels)) >= 0.8
    assert pointed(rows, labels) >= 0.92


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_that_was_learned_comes_from_the_posts_that_judge(language):
    """The weights are what the posts for learning give, and nothing else."""
    rows = [(offline.normalise(one["text"]), one["label"]) for one in posts(language, "dev")]
    known = json.loads((learned.HERE / f"weights_{language}.json").read_text())
    assert learned.learn(rows) == known


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Payments are not working", "negative"),
        ("the app won't load", "negative"),
        ("can't log in since this morning", "negative"),
        ("Great job, down again", "negative"),
        ("Thanks for ruining my weekend", "negative"),
        ("is it down for anyone?", "negative"),
        ("It was down, now it's back", "positive"),
        ("They say it's fixed but I still can't pay", "negative"),
        ("no problems here", "positive"),
        ("thanks for the quick update about the outage", "positive"),
        ("Planned maintenance tonight at 22:00", "neutral"),
        ("Where do I find my invoice?", "neutral"),
        ("I PAGAMENTI NON FUNZIONANO!!!", "negative"),
        ("il sito non va", "negative"),
        ("non riesco a entrare nell'app", "negative"),
        ("complimenti, di nuovo tutto fermo", "negative"),
        ("ottimo lavoro come sempre, app bloccata", "negative"),
        ("era giù, ora di nuovo online", "positive"),
        ("nessun problema qui", "positive"),
        ("manutenzione programmata stanotte alle 22", "neutral"),
        ("grazie per gli aggiornamenti sul disservizio", "positive"),
    ],
)
def test_what_posts_about_outages_are_like(text, label):
    assert read(text).label == label


def test_the_score_leans_as_the_label_does():
    for language in LANGUAGES:
        for one in posts(language):
            mood = read(one["text"])
            assert -1 <= mood.score <= 1
            assert {"negative": mood.score < 0, "positive": mood.score > 0, "neutral": abs(mood.score) < 0.3}[
                mood.label
            ]


@pytest.mark.parametrize(
    ("text", "said", "language"),
    [
        ("the app is down", "", "en"),
        ("l'app è giù", "", "it"),
        ("server down", "it", "it"),
        ("La aplicación no funciona desde hoy y nadie contesta", "", "other"),
        ("Die App geht heute nicht und keiner ist da", "", "other"),
        ("L'application est en panne depuis ce matin", "fr", "other"),
        ("サーバーが落ちた", "", "other"),
        # Networks take the language of the account: the words know better.
        ("non riesco a pagare perché la app della banca è ferma", "en", "it"),
        ("the app is still down and I can not pay for it", "it-IT", "en"),
    ],
)
def test_the_language_is_known_by_its_words(text, said, language):
    assert language_of(text, said) == language


def test_what_cannot_be_read_is_not_called_neutral():
    mood = read("La aplicación no funciona desde hoy y nadie contesta")
    assert (mood.label, mood.score, mood.language) == (Label.UNREAD, 0.0, "other")


@pytest.mark.parametrize("language", LANGUAGES)
def test_labels_come_out_the_same_if_the_language_is_told(language):
    rows = posts(language)
    assert [read(one["text"], language).label for one in rows] == [read(one["text"]).label for one in rows]


@pytest.mark.parametrize("text", ["", " ", "\x00", "🙃" * 300, "@a @b https://example.com", "#", "?" * 500, "a" * 9000])
def test_odd_texts_are_read_as_well(text):
    assert read(text).label in Label.values


@pytest.mark.parametrize(
    "text",
    ["not ", "non ", "the app is ", "thanks for the ", "grazie per la ", "!?", "è ", "back ", "no no more longer "],
)
def test_nobody_keeps_the_engine_busy_with_one_post(text):
    started = time.perf_counter()
    read(text * 3000)
    assert time.perf_counter() - started < 5


def test_an_engine_that_does_not_exist_is_refused(monkeypatch):
    import importlib

    from commsportal import settings

    monkeypatch.setenv("SENTIMENT_ENGINE", "crystal-ball")
    with pytest.raises(ImproperlyConfigured, match="“crystal-ball”; use offline or comprehend"):
        importlib.reload(settings)
    monkeypatch.undo()
    importlib.reload(settings)
