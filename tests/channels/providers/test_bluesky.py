import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.posts import split
from channels.providers import http
from channels.providers.base import MessagePicture
from channels.providers.bluesky import LIMIT, BlueskyForm, facets, record_key, weight
from tests.fakes.aws import Drop, Hang
from tests.fakes.bluesky import HANDLE, PASSWORD, TID, FakeBluesky, refusal
from tests.fakes.http import Reply
from tests.pictures import file

from .conftest import addressees, make_message

POST = "Pagamenti: è in corso un guasto. https://status.example.com/i/9f3k, alle 15:00 di più."
LONG = " ".join(f"Card payments at checkout {n} fail since 14:30 CET, and we are working on it." for n in range(9))


@pytest.fixture
def fake(closing):
    fake = FakeBluesky()
    closing.callback(fake.close)
    return fake


@pytest.fixture
def connect(make_provider, fake):
    def make(**config):
        config = {"service": fake.url, "identifier": HANDLE, "app_password": PASSWORD, **config}
        return make_provider("bluesky", **config)

    return make


@pytest.fixture
def provider(connect):
    return connect()


def send(provider, text=POST, locale="it", key="42-0", **changes):
    [outcome] = provider.send(
        make_message(parts={"text": text}, locale=locale, **changes), [addressees(1)[0]._replace(key=key)]
    )
    return outcome


# ── What arrives ────────────────────────────────────────────────────────────


def test_it_posts(provider, fake):
    outcome = send(provider)
    assert outcome.error is None
    [(key, found)] = fake.server.records.items()
    assert outcome.ref == found["uri"]
    assert outcome.ref.endswith(key)
    post = found["value"]
    assert (post["text"], post["langs"]) == (POST, ["it"])
    assert "reply" not in post


def test_a_link_is_marked_by_its_bytes(provider, fake):
    send(provider)
    [post] = fake.posts
    [facet] = post["facets"]
    start, end = facet["index"]["byteStart"], facet["index"]["byteEnd"]
    assert post["text"].encode()[start:end] == b"https://status.example.com/i/9f3k"
    [feature] = facet["features"]
    assert feature == {"$type": "app.bsky.richtext.facet#link", "uri": "https://status.example.com/i/9f3k"}


def test_it_makes_a_thread_of_a_long_text(provider, fake):
    outcome = send(provider, LONG)
    assert outcome.error is None
    records = list(fake.server.records.values())
    first, second, third = [{"uri": one["uri"], "cid": one["cid"]} for one in records]
    assert [one.get("reply") for one in fake.posts] == [
        None,
        {"root": first, "parent": first},
        {"root": first, "parent": second},
    ]
    assert outcome.ref == first["uri"] != third["uri"]
    assert " ".join(one["text"] for one in fake.posts) == LONG


def test_one_log_in_serves_many_posts(provider, fake):
    for n in range(3):
        send(provider, key=f"42-{n}")
    assert fake.server.sessions == 1


# ── Lengths ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "count"),
    [("Ciao è", 6), ("日本", 2), ("e\u0301", 1), ("a" + "\u0301" * 400, 81), ("https://example.com/" + "a" * 90, 110)],
)
def test_it_weighs_as_bluesky_does(text, count):
    assert weight(text) == count


words = st.text(alphabet=st.sampled_from("abè日👍🏽👨‍👩\u0301."), min_size=1, max_size=30)
link = st.just("https://status.example.com/i/9f3k")


@settings(deadline=None, max_examples=15)
@given(st.lists(words | link, min_size=20, max_size=90))
def test_every_post_fits_and_every_link_is_whole(parts):
    text = " ".join(parts)
    posts = split(text, LIMIT, weight)
    assert all(len(post.encode()) <= 3000 and weight(post) <= LIMIT for post in posts)
    marked = [
        post.encode()[one["index"]["byteStart"] : one["index"]["byteEnd"]].decode() == one["features"][0]["uri"]
        for post in posts
        for one in facets(post)
    ]
    assert all(marked)
    assert len(marked) == len(facets(text))


def test_a_link_that_no_post_holds_is_refused(provider, fake):
    outcome = send(provider, "See https://status.example.com/" + "a" * 300)
    assert type(outcome.error) is Permanent
    assert outcome.error.code == "too-long"
    assert not fake.posts


# ── Once ────────────────────────────────────────────────────────────────────


def test_a_key_is_a_tid_of_the_past():
    alphabet = "234567abcdefghijklmnopqrstuvwxyz"
    for n in range(50):
        key = record_key("incident-9f3kabcd", "42-7", str(n))
        assert TID.fullmatch(key)
        number = 0
        for one in key:
            number = number * 32 + alphabet.index(one)
        assert 1_672_531_200 <= (number >> 10) / 1e6 < 1_767_225_600
    assert record_key("a", "b") == record_key("a", "b") != record_key("a", "c")


def test_a_repeated_key_makes_one_post(provider, fake):
    assert provider.capabilities.idempotent
    first, second = send(provider), send(provider)
    assert first.error is second.error is None
    assert first.ref == second.ref
    assert len(fake.posts) == 1


def test_repeating_what_was_lost_finds_the_post(provider, fake):
    made = fake.rule
    lost = []

    def lose_the_first_answer(call):
        reply = made(call)
        if "putRecord" in call.path and not lost:
            lost.append(call)
            return Reply(502, {"error": "UpstreamFailure"})
        return reply

    fake.rule = lose_the_first_answer
    assert type(send(provider).error) is Uncertain
    assert send(provider).error is None
    assert len(fake.posts) == 1


@pytest.mark.parametrize("step", [Drop(), refusal(400, "ExpiredToken", "Token has expired"), Reply(429)])
def test_repeating_completes_a_thread(provider, fake, step):
    fake.script(None, None, step)
    outcome = send(provider, LONG)
    assert type(outcome.error) is Uncertain
    assert outcome.error.code == "thread-incomplete"
    assert "1 of 3 posts" in outcome.error.detail
    assert next(iter(fake.server.records.values()))["uri"] in outcome.error.detail
    again = send(provider, LONG)
    assert again.error is None
    assert again.ref == outcome.ref
    assert " ".join(one["text"] for one in fake.posts) == LONG


@pytest.mark.parametrize("change", [{"key": "43-0"}, {"thread": "incident-0000other"}, {"text": "Solved."}])
def test_another_message_is_another_post(provider, fake, change):
    send(provider)
    send(provider, **change)
    assert len(fake.posts) == 2


def test_a_post_that_is_there_but_cannot_be_read_is_uncertain(provider, fake):
    fake.script(None, refusal(400, "InvalidSwap", "Record was at bafy"))  # and deleted by now
    assert type(send(provider).error) is Uncertain


# ── Failures ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("change", [{"app_password": "wrong-credential"}, {"identifier": "nobody.example.org"}])
def test_a_bad_log_in_is_raised_and_not_shown(connect, fake, change):
    provider = connect(**change)
    for attempt in (provider.probe, lambda: send(provider)):
        with pytest.raises(Permanent) as caught:
            attempt()
        assert caught.value.code == "AuthenticationRequired"
        assert "make a new app password" in caught.value.detail
        assert "wrong-credential" not in str(caught.value)
    assert not fake.posts


def test_a_handle_that_is_refused_is_the_channels_fault(provider, fake):
    fake.script(refusal(400, "InvalidRequest", "Input/identifier must be a string"))
    with pytest.raises(Permanent):
        send(provider)


def test_a_session_that_ended_is_begun_anew_next_time(provider, fake):
    send(provider)
    fake.server.expire()
    with pytest.raises(Transient) as caught:
        send(provider, key="43-0")
    assert caught.value.code == "ExpiredToken"
    assert len(fake.posts) == 1
    assert send(provider, key="43-0").error is None
    assert fake.server.sessions == 2


def test_a_refused_text_fails_this_post_only(provider, fake):
    fake.script(None, refusal(400, "InvalidRequest", "Invalid app.bsky.feed.post record"))
    outcome = send(provider)
    assert type(outcome.error) is Permanent
    assert "Invalid app.bsky.feed.post record" in outcome.error.detail


@pytest.mark.parametrize("step", [refusal(400, "InvalidToken", "Bad token scope"), refusal(403, "Forbidden", "")])
def test_what_the_next_post_meets_too_is_raised(provider, fake, step):
    fake.script(None, step)
    with pytest.raises(Permanent) as caught:
        send(provider)
    assert caught.value.code == step.body["error"]


@pytest.mark.parametrize("before", [[], [None]], ids=["log-in", "post"])
def test_a_rate_limit_says_how_long(provider, fake, before):
    headers = {"RateLimit-Limit": "30", "RateLimit-Remaining": "0", "RateLimit-Reset": str(int(time.time()) + 300)}
    fake.script(*before, Reply(429, {"error": "RateLimitExceeded", "message": "Rate Limit Exceeded"}, headers))
    with pytest.raises(Throttled) as caught:
        send(provider)
    assert 295 <= caught.value.retry_after <= 300
    assert not fake.posts


@pytest.mark.parametrize(
    "step",
    [Drop(), Hang(), Reply(502, {"error": "UpstreamFailure"}), Reply(200, b"{"), Reply(200, {}), Reply(200, [])],
    ids=["dropped", "silent", "502", "broken", "no uri", "odd"],
)
def test_perhaps_posted_is_uncertain(provider, fake, monkeypatch, step):
    monkeypatch.setattr(http, "TIMEOUT", 0.2)
    fake.script(None, step)
    assert type(send(provider).error) is Uncertain
    assert len(fake.calls) == 2


@pytest.mark.parametrize("step", [Drop(), Reply(500)])
def test_before_the_post_nothing_is_uncertain(provider, fake, step):
    fake.script(step)
    with pytest.raises(Transient):
        send(provider)


def test_nothing_to_say_is_not_posted(provider, fake):
    assert send(provider, " ").error.code == "empty"
    assert not fake.posts


# ── With a picture ──────────────────────────────────────────────────────────

PICTURE = MessagePicture(file(), "image/png", 64, 48, "Una mappa: Milano è rossa.")


def test_a_picture_goes_up_and_the_post_says_what_it_shows(provider, fake):
    assert send(provider, picture=PICTURE).error is None
    assert fake.server.blobs == {"bafkrei0": ("image/png", PICTURE.content)}
    [post] = fake.posts
    [image] = post["embed"]["images"]
    assert image["alt"] == PICTURE.alt
    assert image["aspectRatio"] == {"width": 64, "height": 48}
    assert (image["image"]["mimeType"], image["image"]["size"]) == ("image/png", len(PICTURE.content))


def test_the_first_post_of_a_thread_has_the_picture(provider, fake):
    assert send(provider, LONG, picture=PICTURE).error is None
    assert ["embed" in post for post in fake.posts] == [True, False, False]
    assert send(provider, LONG, picture=PICTURE).error is None  # sent again, nothing is doubled
    assert len(fake.posts) == 3


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Drop(), Transient),
        (Hang(), Transient),
        (Reply(502, {"error": "UpstreamFailure"}), Transient),
        (Reply(200, b"{"), Transient),
        (Reply(200, {}), Transient),
        (refusal(400, "ExpiredToken", "Token has expired"), Transient),
        (Reply(429, {"error": "RateLimitExceeded"}), Throttled),
        (refusal(400, "InvalidToken", "Bad token scope"), Permanent),
    ],
    ids=["dropped", "silent", "502", "broken", "no blob", "expired", "429", "token"],
)
def test_a_picture_that_did_not_go_up_is_never_uncertain(provider, fake, monkeypatch, step, expected):
    monkeypatch.setattr(http, "TIMEOUT", 0.2)
    fake.script(None, step)
    with pytest.raises(expected) as caught:
        send(provider, picture=PICTURE)
    assert type(caught.value) is expected
    assert not fake.posts
    if expected is Transient:
        assert send(provider, picture=PICTURE).error is None


@pytest.mark.parametrize(
    "step", [refusal(400, "BlobTooLarge", "This file is too large"), refusal(413, "InvalidRequest", "too large")]
)
def test_a_picture_that_is_not_taken_fails_this_post_only(provider, fake, step):
    fake.script(None, step)
    outcome = send(provider, picture=PICTURE)
    assert type(outcome.error) is Permanent
    assert "too large" in outcome.error.detail
    assert not fake.posts


# ── Settings ────────────────────────────────────────────────────────────────


def test_the_probe_logs_in_anew_and_tells_the_account(provider, fake):
    send(provider)
    assert provider.probe() == f"Posts appear as @{HANDLE}."
    assert fake.server.sessions == 2
    assert len(fake.posts) == 1


@pytest.mark.parametrize("step", [Reply(200, b"<html>"), Reply(200, {}), Reply(404, b"<html>"), Reply(200, [])])
def test_the_probe_tells_what_is_no_such_server(provider, fake, step):
    fake.script(step)
    with pytest.raises(Permanent) as caught:
        provider.probe()
    assert "not a server of the AT Protocol" in caught.value.detail


def test_its_form_takes_a_handle_with_its_at():
    form = BlueskyForm({"service": "bsky.social", "identifier": " @status.example.org", "app_password": "x"})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["identifier"] == HANDLE
    assert form.cleaned_data["service"] == "https://bsky.social"
