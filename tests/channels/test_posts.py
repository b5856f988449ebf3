import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.posts import split, weighted_length


@pytest.mark.parametrize(
    ("text", "weight"),
    [("", 0), ("abc", 3), ("日本", 4), ("👨‍👩‍👧‍👦", 2), ("https://example.com/" + "a" * 90, 23), ("e\u0301", 1)],
)
def test_it_weighs_as_x_does(text, weight):
    assert weighted_length(text) == weight


def test_it_leaves_a_short_text_alone():
    assert split("Card payments fail.") == ["Card payments fail."]
    assert split("  ") == []


def test_it_cuts_a_long_text_after_a_sentence():
    sentence = "Card payments with the checkout fail since 14:30 CET."
    posts = split(" ".join([sentence] * 12))
    assert len(posts) == 3
    assert all(p.endswith("CET.") for p in posts)


def test_it_cuts_between_words_where_no_sentence_ends():
    posts = split("payments " * 100)
    assert all(set(p.split()) == {"payments"} for p in posts)


def test_it_does_not_give_a_tiny_sentence_a_post_of_its_own():
    assert len(split("Sorry. " + "payments " * 60)[0]) > 200


def test_it_never_cuts_a_link():
    link = "https://status.example.com/incidents/" + "a" * 60
    posts = split("支払いは現在できません。" * 20 + link + " " + "payments " * 40 + link)
    assert sum(p.count(link) for p in posts) == 2


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet=st.sampled_from("ab .\n日é’😀👍🏽\u0301"), max_size=900))
def test_it_loses_nothing_and_every_post_fits(text):
    posts = split(text)
    assert all(0 < weighted_length(p) <= 280 for p in posts)
    assert "".join("".join(posts).split()) == "".join(unicodedata.normalize("NFC", text).split())
