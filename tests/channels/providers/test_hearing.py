"""What others say on a network: all of it, each once, wherever it stopped in between."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from channels.errors import Permanent, Throttled
from channels.providers import REGISTRY, get
from channels.providers.base import Hearing
from channels.providers.mastodon import plain
from channels.providers.x import _queries
from tests.fakes import bluesky as fake_bluesky
from tests.fakes import mastodon as fake_mastodon
from tests.fakes.http import Reply
from tests.fakes.x import Reply as XReply

TERMS = ["#examplepay", "example pay app"]


def at(number: int) -> str:
    return (datetime(2026, 11, 3, 12, tzinfo=UTC) + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class OnX:
    """Says things, and is the provider that hears them."""

    def __init__(self, request):
        self.api = request.getfixturevalue("x_api")
        self.provider = request.getfixturevalue("make_x")()

    def say(self, number, words, own=False):
        who = "1" if own else "42"
        self.api.said.append(
            {
                "id": str(number),
                "edit_history_tweet_ids": [str(number)],
                "text": words,
                "author_id": who,
                "created_at": at(number),
                "lang": "en",
            }
        )

    def refuse(self, status, headers):
        self.api.script(XReply(status, {"title": "no", "detail": "no"}, headers))


class OnMastodon:
    def __init__(self, request):
        self.fake = fake_mastodon.FakeMastodon()
        request.getfixturevalue("closing").callback(self.fake.close)
        config = {"server": self.fake.url, "access_token": fake_mastodon.TOKEN, "visibility": "public"}
        self.provider = request.getfixturevalue("make_provider")("mastodon", **config)

    def say(self, number, words, own=False):
        self.fake.server.said.append(fake_mastodon.said(number, words, at(number), "1" if own else "9"))

    def refuse(self, status, headers):
        self.fake.script(Reply(status, {"error": "no"}, headers))


class OnBluesky:
    def __init__(self, request):
        self.fake = fake_bluesky.FakeBluesky()
        request.getfixturevalue("closing").callback(self.fake.close)
        config = {
            "service": self.fake.url,
            "identifier": fake_bluesky.HANDLE,
            "app_password": fake_bluesky.PASSWORD,
        }
        self.provider = request.getfixturevalue("make_provider")("bluesky", **config)
        self.provider.session  # noqa: B018 - logged in

    def say(self, number, words, own=False):
        author = fake_bluesky.DID if own else "did:plc:somebody"
        self.fake.server.said.append(fake_bluesky.said(number, words, at(number), author))

    def refuse(self, status, headers):
        self.fake.script(Reply(status, {"error": "no", "message": "no"}, headers))


@pytest.fixture(params=[OnX, OnMastodon, OnBluesky], ids=["x", "mastodon", "bluesky"])
def network(request):
    return request.param(request)


def all_heard(network, cursor, terms=TERMS, most=50):
    """Everything that is new, page by page, and where to go on."""
    found = []
    for _page in range(most):
        page = network.provider.hear(terms, cursor)
        found += page.heard
        cursor = page.cursor
        if not page.more:
            return found, cursor
    pytest.fail("it never ends")


def test_those_that_hear_say_so_and_no_others():
    hearing = {key for key in REGISTRY if get(key).capabilities.hears}
    assert hearing == {key for key in REGISTRY if issubclass(get(key), Hearing)} == {"x", "mastodon", "bluesky"}


def test_it_tells_what_was_said_and_nothing_twice(network):
    network.say(1, "the #examplepay is down")
    network.say(2, "does the example pay app work for you?")
    network.say(3, "nothing of interest")
    heard, cursor = all_heard(network, {})
    assert sorted(one.text for one in heard) == ["does the example pay app work for you?", "the #examplepay is down"]
    assert {(one.language, one.own) for one in heard} == {("en", False)}
    assert all(one.id and one.author and one.url.startswith("https://") for one in heard)
    assert {one.at for one in heard} == {datetime.fromisoformat(at(1)), datetime.fromisoformat(at(2))}
    known = {one.id for one in heard}
    again, cursor = all_heard(network, cursor)
    # Bluesky looks back a little: who keeps posts knows them by their ids.
    assert {one.id for one in again} <= known
    network.say(100, "#examplepay again")
    more, cursor = all_heard(network, cursor)
    assert [one.text for one in more if one.id not in known] == ["#examplepay again"]


def test_own_posts_are_told_apart(network):
    network.say(1, "#examplepay: we are working on it", own=True)
    network.say(2, "#examplepay is down")
    heard, _cursor = all_heard(network, {})
    assert {one.text: one.own for one in heard} == {
        "#examplepay: we are working on it": True,
        "#examplepay is down": False,
    }


def test_a_storm_is_heard_to_the_last_post(network):
    """More than a page holds, with a stop between any two pages."""
    network.say(1, "#examplepay is up")
    _heard, cursor = all_heard(network, {})
    for number in range(100, 360):
        network.say(number, f"#examplepay is down, says {number}")
    more, _cursor = all_heard(network, cursor)
    found = {one.text for one in more}
    assert {f"#examplepay is down, says {number}" for number in range(100, 360)} <= found


def test_what_is_said_between_two_pages_is_not_lost(network):
    network.say(1, "#examplepay is up")
    _heard, cursor = all_heard(network, {})
    numbers = count(100)
    for _n in range(150):
        network.say(next(numbers), "#examplepay down")
    first = network.provider.hear(TERMS, cursor)
    late = next(numbers)
    network.say(late, "#examplepay, said in between")
    rest, cursor = all_heard(network, first.cursor)
    last, _cursor = all_heard(network, cursor)
    assert "#examplepay, said in between" in {one.text for one in [*first.heard, *rest, *last]}


def test_the_network_says_for_how_long_to_wait(network):
    network.refuse(429, {"Retry-After": "120", "x-rate-limit-reset": str(int(datetime.now(UTC).timestamp()) + 119)})
    with pytest.raises(Throttled) as caught:
        network.provider.hear(TERMS, {})
    assert 100 <= caught.value.retry_after <= 125


def test_a_refusal_is_told(network):
    network.refuse(403, {})
    with pytest.raises(Permanent):
        network.provider.hear(TERMS, {})


def test_without_words_nobody_is_asked(network):
    assert network.provider.hear([], {}).heard == []


def test_a_break_of_more_than_a_week_on_x(request):
    network = OnX(request)
    network.say(10, "#examplepay is down")
    _heard, cursor = all_heard(network, {})
    network.api.oldest = 500
    network.say(600, "#examplepay is down once more")
    heard, _cursor = all_heard(network, cursor)
    assert [one.text for one in heard] == ["#examplepay is down once more"]


def test_many_words_become_several_queries_on_x():
    terms = [f"some words of component number {n}" for n in range(40)]
    queries = _queries(terms)
    assert len(queries) > 1
    assert all(len(one) <= 512 for one in queries)
    assert all(sum(f'"{term}"' in one for one in queries) == 1 for term in terms)


def test_the_words_of_a_post_on_mastodon():
    assert plain('<p>Down &amp; out<br>again</p><p>see <a href="https://a.example">a.example</a></p>') == (
        "Down & out\nagain\nsee a.example"
    )
