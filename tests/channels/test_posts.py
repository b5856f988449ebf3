import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.posts import graphemes, links, split, weighted_length


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


# ── Other networks ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("abc", 3),
        ("日本", 2),
        ("e\u0301\u0302x", 2),
        ("❤️", 1),
        ("\u0301", 1),
        ("a\n\u0301", 3),
        ("👨‍👩‍👧‍👦", 4),
    ],
)
def test_it_counts_what_a_reader_sees_and_never_too_few(text, count):
    assert graphemes(text) == count


@settings(deadline=None, max_examples=100)
@given(
    st.text(
        alphabet=st.sampled_from("a \n\r日👍🏽👨👩🇮🇹각\u1100\u1161\u0301\u0e33\u0903\u200d\u200c\ufe0f\u20e3\u00ad"),
        max_size=12,
    )
)
def test_it_never_counts_fewer_than_unicode_does(text):
    regex = pytest.importorskip("regex")
    assert graphemes(text) >= len(regex.findall(r"\X", text))


def test_it_finds_the_links_that_name_their_protocol():
    text = "È: https://status.example.com/i/9f3k. (http://a.example.org/x) or example.com, mailto:a@example.com"
    assert [text[a:b] for a, b in links(text)] == ["https://status.example.com/i/9f3k", "http://a.example.org/x"]


def test_it_weighs_as_it_is_told():
    text = "日本 " * 100
    assert [len(post) for post in split(text, 299, len)] == [299]
    assert [len(post) for post in split(text, 150, len)] == [149, 149]


def test_a_link_that_is_too_long_is_not_cut_for_anybody():
    link = "https://status.example.com/" + "a" * 90
    assert split(f"{link} and more", 50, len)[0].startswith(link)


@settings(deadline=None, max_examples=40)
@given(st.text(alphabet=st.sampled_from("ab .\n日é’😀👍🏽👨‍👩\u0301"), max_size=400))
def test_it_loses_nothing_where_graphemes_count(text):
    posts = split(text, 60, graphemes)
    assert all(0 < graphemes(p) <= 60 for p in posts)
    assert "".join("".join(posts).split()) == "".join(unicodedata.normalize("NFC", text).split())
