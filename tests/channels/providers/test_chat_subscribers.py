"""Over real TLS to loopback servers that answer as Slack and Microsoft Teams do."""

from ipaddress import ip_network

import pytest

from channels.addresses import normalise
from channels.errors import Permanent, Transient, Uncertain
from channels.providers.base import Addressee
from tests.fakes import slack, teams
from tests.fakes.http import FakeHttp, Reply

from .conftest import make_message

STOP = "https://portal.example.com/unsubscribe/abc/"
KINDS = {"slack_subscribers": slack.webhook, "teams_subscribers": teams.workflow}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def peer(kind, closing, vouched, settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    found = FakeHttp(KINDS[kind], certificate=str(vouched))
    closing.callback(found.close)
    return found


def send(make_provider, kind, peer, path="/services/T0/B0/x", **changes):
    [outcome] = make_provider(kind).send(
        make_message(**changes), [Addressee(peer.url + path, key="42-0", values={"unsubscribe_url": STOP, "name": "A"})]
    )
    return outcome


def test_each_subscribers_channel_gets_the_words_and_a_way_to_stop(make_provider, kind, peer):
    assert send(make_provider, kind, peer, locale="it").error is None
    [call] = peer.calls
    assert "Card payments fail since 14:30 CET." in call.body.decode()
    assert STOP in call.body.decode()
    assert "Interrompi questi messaggi" in call.body.decode()


def test_nobody_is_mentioned(make_provider, peer, kind):
    words = {"subject": "<!channel> down", "text": "Ask @channel or <@U123>."}
    assert send(make_provider, kind, peer, parts=words).error is None
    if kind == "slack_subscribers":
        assert slack.mentions(peer.calls[0].json) == []


@pytest.mark.parametrize(
    ("reply", "error", "bad"),
    [
        (Reply(404, b"no_service"), Permanent, True),
        (Reply(410, b"channel_is_archived"), Permanent, True),
        (Reply(403, b"action_prohibited"), Permanent, False),
        (Reply(429, b"", {"Retry-After": "60"}), Transient, False),
        (Reply(503, b"", {"Retry-After": "60"}), Transient, False),
        (Reply(500, b"rollup_error"), Uncertain, False),
    ],
)
def test_what_one_webhook_says_concerns_nobody_else(make_provider, kind, peer, reply, error, bad):
    peer.script(reply)
    found = send(make_provider, kind, peer).error
    assert type(found) is error
    assert getattr(found, "bad_address", False) is bad


def test_what_does_not_fit_is_refused_and_nothing_is_cut(make_provider, kind, peer):
    found = send(make_provider, kind, peer, parts={"text": "word " * 10_000}).error
    assert isinstance(found, Permanent)
    assert peer.calls == []


@pytest.mark.parametrize(
    ("medium", "address"),
    [
        ("slack", "https://hooks.slack.com/services/T0/B0/secret"),
        ("teams", "https://prod-1.westeurope.logic.azure.com/workflows/abc?sig=secret"),
    ],
)
def test_an_address_of_a_webhook_is_kept_as_it_is(medium, address):
    assert normalise(medium, f" {address} ") == address


@pytest.mark.parametrize(
    ("medium", "address"),
    [
        ("slack", "https://example.com/services/T0/B0/secret"),
        ("slack", "https://hooks.slack.com.example.com/services/secret"),
        ("slack", "http://hooks.slack.com/services/secret"),
        ("slack", "https://hooks.slack.com/"),
        ("slack", "https://user:pw@hooks.slack.com/services/secret"),
        ("slack", "https://hooks.slack.com:8443/services/secret"),
        ("teams", "https://logic.azure.com/secret"),
        ("teams", "https://x.logic.azure.com/secret\r\nHost: a"),
        ("teams", "javascript:alert(1)"),
    ],
)
def test_any_other_address_is_refused_without_repeating_it(medium, address):
    with pytest.raises(ValueError, match="copy it whole") as caught:
        normalise(medium, address)
    assert "secret" not in str(caught.value)
