import time

import pytest

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.posts import weighted_length
from channels.providers import x as x_provider
from channels.providers.base import MessagePicture
from tests.fakes.aws import Drop, Hang
from tests.fakes.x import KEYS, Reply
from tests.pictures import file

from .conftest import addressees, make_message

POST = {"text": "Card payments: partial outage. Next update 15:00 CET. https://status.example.com/i/9f3k"}
LONG = {
    "text": " ".join(f"Card payments at checkout {n} fail since 14:30 CET, and we are working on it." for n in range(8))
}


@pytest.fixture
def x(make_x):
    return make_x()


PICTURE = MessagePicture(file(), "image/png", 64, 48, "A map: Milan is red. È così.")


def send(x, parts=POST, picture=None):
    [outcome] = x.send(make_message(parts=parts, picture=picture), addressees(1))
    return outcome


def test_it_posts(x, x_api):
    outcome = send(x)
    assert outcome.error is None
    assert x_api.posts == [{"id": outcome.ref, "text": POST["text"], "parent": None}]


def test_it_makes_a_thread_of_a_long_text(x, x_api):
    outcome = send(x, LONG)
    assert outcome.error is None
    assert len(x_api.posts) == 3
    assert [p["parent"] for p in x_api.posts] == [None, x_api.posts[0]["id"], x_api.posts[1]["id"]]
    assert outcome.ref == x_api.posts[0]["id"]
    assert all(weighted_length(p["text"]) <= 280 for p in x_api.posts)
    assert " ".join(p["text"] for p in x_api.posts).split() == LONG["text"].split()


def test_the_probe_tells_the_account_and_posts_nothing(x, x_api):
    assert "@example_status" in x.probe()
    assert x_api.calls == ["GET /2/users/me"]


@pytest.mark.parametrize("name", list(KEYS))
def test_a_bad_credential_is_raised_and_not_shown(make_x, x_api, name):
    x = make_x(**{name: "wrong-credential"})
    for attempt in (x.probe, lambda: send(x)):
        with pytest.raises(Permanent) as caught:
            attempt()
        assert caught.value.code == "401"
        assert "wrong-credential" not in str(caught.value)
    assert not x_api.posts


def test_an_app_that_may_only_read_is_raised(x, x_api):
    detail = "Your client app is not configured with the appropriate oauth1 app permissions for this endpoint."
    x_api.script(Reply(403, {"title": "Forbidden", "detail": detail}))
    with pytest.raises(Permanent) as caught:
        send(x)
    assert caught.value.code == "403"


def test_used_up_credits_are_raised(x, x_api):
    x_api.script(Reply(402, {"title": "CreditsDepleted", "detail": "No credits left."}))
    with pytest.raises(Permanent):
        send(x)


def test_a_duplicate_fails_this_post_only_and_says_why(x, x_api):
    send(x)
    outcome = send(x)
    assert type(outcome.error) is Permanent
    assert outcome.error.code == "duplicate"
    assert len(x_api.posts) == 1


@pytest.mark.parametrize(
    ("window", "day", "expected"),
    [(3600, None, 3600), (-5, None, 1), (None, None, 900), (-5, 7200, 7200)],
    ids=["the window", "over already", "unknown", "the day"],
)
def test_a_rate_limit_says_how_long(x, x_api, window, day, expected):
    """`window` and `day`: seconds from now until each limit ends, where it is used up."""
    now = int(time.time())
    headers = {"x-rate-limit-reset": str(now + window)} if window is not None else {}
    if day:
        headers |= {"x-user-limit-24hour-remaining": "0", "x-user-limit-24hour-reset": str(now + day)}
    x_api.script(Reply(429, {"title": "Too Many Requests"}, headers))
    with pytest.raises(Throttled) as caught:
        send(x)
    passed = time.time() - now
    assert expected - passed <= caught.value.retry_after <= expected + 1
    assert len(x_api.calls) == 1


def test_a_rate_limit_that_cannot_be_read_is_uncertain(x, x_api):
    x_api.script(Reply(429, {"title": "Too Many Requests"}, {"x-rate-limit-reset": "soon"}))
    assert type(send(x).error) is Uncertain  # tweepy trips over it


@pytest.mark.parametrize(
    "step",
    [Drop(), Hang(), Reply(503, {"title": "Over capacity"}), Reply(201, b"{"), Reply(201, {}), Reply(500, b"[]")],
    ids=["dropped", "silent", "503", "broken", "no id", "odd"],
)
def test_perhaps_posted_is_uncertain_and_never_repeated(x, x_api, monkeypatch, step):
    monkeypatch.setattr(x_provider, "TIMEOUT", (1, 0.3))
    x_api.script(step)
    assert type(send(x).error) is Uncertain
    assert len(x_api.calls) == 1


def test_nobody_listening_means_not_posted(make_x, x_api):
    x = make_x()
    x.client.session.get_adapter("https://").port = 1
    with pytest.raises(Transient):
        send(x)


@pytest.mark.parametrize(
    "step",
    [Drop(), Reply(429, {}, {"x-rate-limit-reset": "1"}), Reply(403, {"detail": "no"}), Reply(400, {"detail": "no"})],
)
def test_half_a_thread_is_left_to_a_person(x, x_api, step):
    x_api.script(None, step)
    outcome = send(x, LONG)
    assert type(outcome.error) is Uncertain
    assert outcome.error.code == "thread-incomplete"
    assert "1 of 3 posts" in outcome.error.detail
    assert x_api.posts[0]["id"] in outcome.error.detail
    assert len(x_api.calls) == 2


# ── With a picture ──────────────────────────────────────────────────────────

UPLOAD, METADATA, TWEET = "POST /2/media/upload", "POST /2/media/metadata", "POST /2/tweets"


def test_a_picture_goes_up_with_what_it_shows_before_the_post_names_it(x, x_api):
    outcome = send(x, picture=PICTURE)
    assert outcome.error is None
    assert x_api.calls == [UPLOAD, METADATA, TWEET]
    [(number, media)] = x_api.media.items()
    assert media == {
        "media": ("image/png", PICTURE.content),
        "media_category": "tweet_image",
        "alt": "A map: Milan is red. È così.",
    }
    assert x_api.posts == [{"id": outcome.ref, "text": POST["text"], "parent": None, "media": [number]}]


def test_the_first_post_of_a_thread_has_the_picture(x, x_api):
    assert send(x, LONG, PICTURE).error is None
    assert x_api.calls == [UPLOAD, METADATA, TWEET, TWEET, TWEET]
    assert [post.get("media") for post in x_api.posts] == [["5000"], None, None]


@pytest.mark.parametrize("before", [[], [None]], ids=["the picture", "what it shows"])
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Drop(), Transient),
        (Hang(), Transient),
        (Reply(503, {"title": "Over capacity"}), Transient),
        (Reply(500, b"[]"), Transient),
        (Reply(429, {"title": "Too Many Requests"}, {"x-rate-limit-reset": "1"}), Throttled),
        (Reply(401, {"title": "Unauthorized"}), Permanent),
        (Reply(403, {"title": "Forbidden", "detail": "no"}), Permanent),
        (Reply(302, {}, {"Location": "https://elsewhere.example.org/"}), Permanent),
    ],
    ids=["dropped", "silent", "503", "odd", "429", "401", "403", "redirected"],
)
def test_a_picture_that_did_not_go_up_is_never_uncertain_and_nothing_is_posted(
    x, x_api, monkeypatch, before, step, expected
):
    monkeypatch.setattr(x_provider, "MEDIA_TIMEOUT", (1, 0.3))
    x_api.script(*before, step)
    with pytest.raises(expected) as caught:
        send(x, picture=PICTURE)
    assert type(caught.value) is expected
    assert x_api.calls == [UPLOAD, METADATA][: len(before) + 1]
    assert not x_api.posts


@pytest.mark.parametrize("step", [Reply(200, b"{"), Reply(200, b""), Reply(200, {}), Reply(200, {"data": []})])
def test_an_upload_without_an_id_is_tried_again_later(x, x_api, step):
    x_api.script(step)
    with pytest.raises(Transient):
        send(x, picture=PICTURE)
    assert x_api.calls == [UPLOAD]


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize("before", [[], [None]], ids=["the picture", "what it shows"])
def test_a_picture_that_x_does_not_take_fails_this_post_only(x, x_api, before, status):
    x_api.script(*before, Reply(status, {"title": "Invalid Request", "detail": "Your media is not supported."}))
    outcome = send(x, picture=PICTURE)
    assert type(outcome.error) is Permanent
    assert outcome.error.code == str(status)
    assert "not supported" in outcome.error.detail
    assert not x_api.posts


def test_a_post_that_got_no_answer_is_uncertain_with_a_picture_too(x, x_api):
    x_api.script(None, None, Drop())
    assert type(send(x, picture=PICTURE).error) is Uncertain
    assert x_api.calls == [UPLOAD, METADATA, TWEET]


def test_a_bad_credential_is_refused_at_the_upload(make_x, x_api):
    with pytest.raises(Permanent) as caught:
        send(make_x(access_token_secret="wrong-credential"), picture=PICTURE)
    assert caught.value.code == "401"
    assert "wrong-credential" not in str(caught.value)
    assert not x_api.media


def test_nobody_listening_means_that_the_picture_did_not_go_up(make_x, x_api):
    x = make_x()
    x.client.session.get_adapter("https://").port = 1
    with pytest.raises(Transient):
        send(x, picture=PICTURE)


def test_nothing_to_say_is_not_posted(x, x_api):
    assert send(x, {"text": " "}).error.code == "empty"
    assert not x_api.calls


def test_a_request_without_a_timeout_gets_one(make_provider):
    adapter = make_provider("x", **KEYS).client.session.get_adapter("https://api.twitter.com/2/tweets")
    assert isinstance(adapter, x_provider._WithTimeout)
    assert adapter.max_retries.total == 0
