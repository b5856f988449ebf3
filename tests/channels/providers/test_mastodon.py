from datetime import UTC, datetime, timedelta

import pytest

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import http, mastodon
from channels.providers.base import MessagePicture
from channels.providers.mastodon import MastodonForm, weight
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import Reply
from tests.fakes.mastodon import TOKEN, FakeMastodon
from tests.pictures import file

from .conftest import addressees, make_message

POST = "Card payments: partial outage. Next update 15:00 CET. https://status.example.com/i/9f3k"
LONG = " ".join(f"Card payments at checkout {n} fail since 14:30 CET, and we are working on it." for n in range(15))


@pytest.fixture
def fake(closing):
    fake = FakeMastodon()
    closing.callback(fake.close)
    return fake


@pytest.fixture
def connect(make_provider):
    def make(fake, **config):
        config = {"server": fake.url, "access_token": TOKEN, "visibility": "public", **config}
        return make_provider("mastodon", **config)

    return make


@pytest.fixture
def provider(connect, fake):
    return connect(fake)


def send(provider, text=POST, locale="en", key="42-0", **changes):
    [outcome] = provider.send(
        make_message(parts={"text": text}, locale=locale, **changes), [addressees(1)[0]._replace(key=key)]
    )
    return outcome


# ── What arrives ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("visibility", ["public", "unlisted"])
def test_it_posts(connect, fake, visibility):
    outcome = send(connect(fake, visibility=visibility), locale="pt-br")
    assert outcome.error is None
    assert outcome.ref == "https://social.example.org/@status/900"
    [post] = fake.posts
    assert (post["status"], post["visibility"], post["language"]) == (POST, visibility, "pt")
    assert "in_reply_to_id" not in post


def test_it_makes_a_thread_of_a_long_text(provider, fake):
    outcome = send(provider, LONG)
    assert outcome.error is None
    assert [p.get("in_reply_to_id") for p in fake.posts] == [None, "900", "901"]
    assert outcome.ref.endswith("/900")
    assert " ".join(p["status"] for p in fake.posts) == LONG


@pytest.mark.parametrize(("limit", "count"), [(5000, 1), (300, 5), (None, 3)], ids=["more", "less", "unsaid"])
def test_it_keeps_to_the_limit_of_the_server(closing, connect, limit, count):
    fake = FakeMastodon(limit)
    closing.callback(fake.close)
    assert send(connect(fake), LONG).error is None
    assert len(fake.posts) == count


@pytest.mark.parametrize("said", [{}, {"configuration": None}, {"configuration": {"statuses": {"max_characters": 0}}}])
def test_a_limit_that_cannot_be_read_is_the_usual_one(provider, fake, said):
    fake.script(Reply(200, said))
    assert send(provider, LONG).error is None
    assert len(fake.posts) == 3


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Ciao è", 6),
        ("See https://status.example.com/" + "a" * 90, 27),
        ("a https://a.example.org, b", 28),
        ("Ask @ops@mastodon.example.org.", 9),
        ("Mail ops@example.org", 20),
        ("e\u0301\u0302❤️", 2),
    ],
)
def test_it_weighs_as_mastodon_does(text, count):
    assert weight(text) == count


# ── Once ────────────────────────────────────────────────────────────────────


def test_a_repeated_key_makes_one_post(provider, fake):
    first, second = send(provider), send(provider)
    assert first.ref == second.ref
    assert len(fake.posts) == 1


def test_sending_again_completes_a_thread_and_repeats_nothing(provider, fake):
    fake.script(None, None, Drop())
    assert send(provider, LONG).error.code == "thread-incomplete"
    assert len(fake.posts) == 1
    assert send(provider, LONG).error is None
    assert " ".join(p["status"] for p in fake.posts) == LONG


@pytest.mark.parametrize("change", [{"key": "43-0"}, {"thread": "incident-0000other"}, {"text": "Solved."}])
def test_another_message_is_another_post(provider, fake, change):
    send(provider)
    send(provider, **change)
    assert len({p["key"] for p in fake.posts}) == len(fake.posts) == 2


def test_it_does_not_ask_the_engine_to_repeat():
    """Keys are kept for an hour, and the engine may repeat later."""
    assert not mastodon.Mastodon.capabilities.idempotent


# ── Failures ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_the_next_post_meets_too_is_raised_with_the_fix(provider, fake, status):
    fake.script(None, Reply(status, {"error": "This action is outside the authorized scopes"}))
    with pytest.raises(Permanent) as caught:
        send(provider)
    assert caught.value.code == str(status)
    assert "outside the authorized scopes" in caught.value.detail
    assert ("new access token" if status != 404 else "check the server") in caught.value.detail
    assert TOKEN not in str(caught.value)


def test_a_bad_token_is_raised_and_not_shown(connect, fake):
    provider = connect(fake, access_token="wrong-credential")
    for attempt in (provider.probe, lambda: send(provider)):
        with pytest.raises(Permanent) as caught:
            attempt()
        assert caught.value.code == "401"
        assert "wrong-credential" not in str(caught.value)
    assert not fake.posts


def test_a_refused_text_fails_this_post_only(provider, fake):
    fake.script(None, Reply(422, {"error": "Validation failed: Text can't be blank"}))
    outcome = send(provider)
    assert type(outcome.error) is Permanent
    assert "can't be blank" in outcome.error.detail
    assert send(provider).error is None


def test_a_rate_limit_says_how_long(provider, fake):
    reset = (datetime.now(UTC) + timedelta(minutes=10)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    fake.script(None, Reply(429, {"error": "Too many requests"}, {"X-RateLimit-Reset": reset}))
    with pytest.raises(Throttled) as caught:
        send(provider)
    assert 595 <= caught.value.retry_after <= 600
    assert not fake.posts


@pytest.mark.parametrize(
    "step",
    [Drop(), Hang(), Reply(503, b"busy"), Reply(500), Reply(200, b"{"), Reply(200, {}), Reply(200, [])],
    ids=["dropped", "silent", "503", "500", "broken", "no id", "odd"],
)
def test_perhaps_posted_is_uncertain_and_never_repeated(provider, fake, monkeypatch, step):
    monkeypatch.setattr(http, "TIMEOUT", 0.2)
    fake.script(None, step)
    assert type(send(provider).error) is Uncertain
    assert len(fake.calls) == 2


@pytest.mark.parametrize("step", [Drop(), Reply(500)])
def test_before_the_post_nothing_is_uncertain(provider, fake, step):
    fake.script(step)
    with pytest.raises(Transient):
        send(provider)
    assert not fake.posts


@pytest.mark.parametrize("step", [Drop(), Reply(429), Reply(403), Reply(422)])
def test_half_a_thread_is_left_to_a_person(provider, fake, step):
    fake.script(None, None, step)
    outcome = send(provider, LONG)
    assert type(outcome.error) is Uncertain
    assert outcome.error.code == "thread-incomplete"
    assert "1 of 3 posts" in outcome.error.detail
    assert "https://social.example.org/@status/900" in outcome.error.detail
    assert len(fake.calls) == 3


def test_nothing_to_say_is_not_posted(provider, fake):
    assert send(provider, " ").error.code == "empty"
    assert not fake.posts


# ── With a picture ──────────────────────────────────────────────────────────

PICTURE = MessagePicture(file(), "image/png", 64, 48, "Una mappa: Milano è rossa.")
ASKED, UPLOADED, LOOKED, POSTED = "/api/v2/instance", "/api/v2/media", "/api/v1/media/700", "/api/v1/statuses"


def paths(fake):
    return [call.path for call in fake.calls]


def test_a_picture_goes_up_with_what_it_shows_before_the_post_names_it(provider, fake):
    assert send(provider, picture=PICTURE).error is None
    assert paths(fake) == [ASKED, UPLOADED, POSTED]
    assert fake.server.media == {"700": {"description": PICTURE.alt, "file": ("image/png", PICTURE.content)}}
    assert [post["media_ids"] for post in fake.posts] == [["700"]]


def test_the_first_post_of_a_thread_has_the_picture(provider, fake):
    assert send(provider, LONG, picture=PICTURE).error is None
    assert [post.get("media_ids") for post in fake.posts] == [["700"], None, None]


@pytest.mark.parametrize(("slow", "posted"), [(1, True), (2, False)])
def test_a_server_that_works_on_it_is_asked_once_more(provider, fake, slow, posted):
    fake.server.slow = slow
    if posted:
        assert send(provider, picture=PICTURE).error is None
    else:
        with pytest.raises(Transient) as caught:
            send(provider, picture=PICTURE)
        assert caught.value.code == "media-processing"
    assert paths(fake) == [ASKED, UPLOADED, LOOKED] + [POSTED] * posted


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Drop(), Transient),
        (Hang(), Transient),
        (Reply(503, b"busy"), Transient),
        (Reply(200, b"{"), Transient),
        (Reply(200, {}), Transient),
        (Reply(429), Throttled),
        (Reply(401, {"error": "The access token is invalid"}), Permanent),
        (Reply(403, {"error": "This action is outside the authorized scopes"}), Permanent),
    ],
    ids=["dropped", "silent", "503", "broken", "no id", "429", "401", "403"],
)
def test_a_picture_that_did_not_go_up_is_never_uncertain(provider, fake, monkeypatch, step, expected):
    monkeypatch.setattr(http, "TIMEOUT", 0.2)
    fake.script(None, step)
    with pytest.raises(expected) as caught:
        send(provider, picture=PICTURE)
    assert type(caught.value) is expected
    if expected is Permanent:
        assert "write:media" in caught.value.detail
    assert not fake.posts


@pytest.mark.parametrize("status", [413, 422])
def test_a_picture_that_is_not_taken_fails_this_post_only(provider, fake, status):
    fake.script(None, Reply(status, {"error": "Validation failed: File is too large"}))
    outcome = send(provider, picture=PICTURE)
    assert type(outcome.error) is Permanent
    assert "too large" in outcome.error.detail
    assert not fake.posts


# ── Settings ────────────────────────────────────────────────────────────────


def test_the_probe_tells_account_and_limit_and_posts_nothing(provider, fake):
    said = provider.probe()
    assert said == f"Posts appear as @status@{fake.url.removeprefix('http://')}; one post holds 500 characters."
    assert {call.method for call in fake.calls} == {"GET"}


@pytest.mark.parametrize("step", [Reply(200, b"<html>"), Reply(200, {}), Reply(404, b"<html>")])
def test_the_probe_tells_what_is_no_mastodon(provider, fake, step):
    fake.script(step)
    with pytest.raises(Permanent) as caught:
        provider.probe()
    assert "not a Mastodon server" in caught.value.detail


def test_its_form_asks_for_https():
    form = MastodonForm({"server": "http://mastodon.social", "access_token": "x", "visibility": "private"})
    assert set(form.errors) == {"server", "visibility"}
