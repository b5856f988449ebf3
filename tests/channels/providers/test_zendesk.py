import base64

import pytest
from urllib3 import Timeout

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import http
from channels.providers.base import Addressee
from channels.providers.zendesk import MAX_COMMENT, ZendeskForm
from tests.fakes import zendesk as fake
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import FakeHttp, Reply

from .conftest import make_message

CONFIG = {"subdomain": "example", "email": "agent@example.org", "api_token": fake.TOKEN}


@pytest.fixture
def peer(closing):
    peer = FakeHttp(fake.api)
    closing.callback(peer.close)
    return peer


@pytest.fixture
def zendesk(make_provider, peer):
    provider = make_provider("zendesk", **CONFIG)
    provider.api = peer.url
    return provider


def send(provider, address="7:12345", **parts):
    [outcome] = provider.send(make_message(parts=parts), [Addressee(address, key="42-0")])
    return outcome


def test_the_update_becomes_a_public_comment_of_the_ticket(zendesk, peer):
    outcome = send(zendesk, text="Card payments fail.\n\nNext update 15:00 CET.")
    assert (outcome.error, outcome.ref) == (None, "17345")
    [call] = peer.calls
    assert (call.method, call.path) == ("PUT", "/api/v2/tickets/12345.json")
    assert call.json == {
        "ticket": {
            "comment": {
                "body": "Card payments: partial outage\n\nCard payments fail.\n\nNext update 15:00 CET.\n\n"
                "https://portal.example.com/incidents/9f3kabcd/",
                "public": True,
            }
        }
    }
    assert base64.b64decode(call.headers["Authorization"].removeprefix("Basic ")).decode() == fake.LOGIN


def test_its_address_is_that_of_the_help_desk(make_provider):
    assert make_provider("zendesk", **CONFIG).api == "https://example.zendesk.com"


def test_a_test_may_name_the_ticket_alone(zendesk, peer):
    assert send(zendesk, "12345").error is None
    assert peer.calls[0].path == "/api/v2/tickets/12345.json"


@pytest.mark.parametrize("address", ["7:", "7:../users/1", "7:12a", "7:１２", "7:12345\n"])
def test_what_is_no_ticket_is_never_asked_for(zendesk, peer, address):
    error = send(zendesk, address).error
    assert (type(error), error.code) == (Permanent, "bad-ticket")
    assert "12345" in error.detail
    assert not peer.calls


def test_it_refuses_what_does_not_fit_and_cuts_nothing(zendesk, peer):
    assert send(zendesk, text="x" * MAX_COMMENT).error.code == "too-long"
    assert send(zendesk, text="  ").error.code == "empty"
    assert not peer.calls


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_one_ticket_meets_is_an_outcome(zendesk, peer, status):
    peer.script(Reply(status, {"error": "RecordInvalid", "description": "Status: closed prevents ticket update"}))
    error = send(zendesk).error
    assert (type(error), error.code, error.bad_address) == (Permanent, str(status), False)
    assert ("12345" if status == 404 else "closed prevents") in error.detail


@pytest.mark.parametrize("status", [401, 403, 405])
def test_what_every_ticket_would_meet_is_raised(zendesk, peer, status):
    peer.script(Reply(status, {"error": "no"}))
    with pytest.raises(Permanent) as caught:
        send(zendesk)
    assert caught.value.code == str(status)


def test_a_ticket_that_changes_in_the_same_moment_is_tried_again_later(zendesk, peer):
    peer.script(Reply(409, {"error": "Conflict"}))
    assert type(send(zendesk).error) is Transient


def test_a_throttle_is_raised_with_its_patience(zendesk, peer):
    peer.script(Reply(429, b"Rate limit exceeded", {"Retry-After": "93"}))
    with pytest.raises(Throttled) as caught:
        send(zendesk)
    assert caught.value.retry_after == 93


@pytest.mark.parametrize("step", [Drop(), Drop(cut=True), Hang(), Reply(500), Reply(200, b"<html>"), Reply(200, {})])
def test_perhaps_sent_is_uncertain_and_not_repeated(zendesk, peer, monkeypatch, step):
    monkeypatch.setattr(http, "TIMEOUT", Timeout(connect=1, read=0.5))
    peer.script(step)
    assert type(send(zendesk).error) is Uncertain
    assert len(peer.calls) == 1


def test_nobody_listening_means_not_sent(make_provider):
    provider = make_provider("zendesk", **CONFIG)
    provider.api = "http://127.0.0.1:1"
    with pytest.raises(Transient):
        send(provider)


def test_the_probe_names_the_agent_and_writes_nothing(zendesk, peer):
    assert "Agent Smith" in zendesk.probe()
    assert [(call.method, call.path) for call in peer.calls] == [("GET", "/api/v2/users/me.json")]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(401, {"error": "no"}), "401"),
        (Reply(404, b"no help desk"), "404"),
        (Reply(200, {"user": {"id": None, "role": "end-user"}}), "401"),
        (Reply(200, {"user": {"id": 3, "role": "end-user"}}), "not-an-agent"),
        (Reply(200, b"<html>"), "401"),
    ],
)
def test_the_probe_refuses_who_cannot_comment(zendesk, peer, reply, code):
    peer.script(reply)
    with pytest.raises(Permanent) as caught:
        zendesk.probe()
    assert caught.value.code == code
    assert fake.TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "subdomain", ["https://example.zendesk.com", "example.zendesk.com", "a b", "-x", "evil/", "x\n"]
)
def test_the_form_takes_a_subdomain_only(subdomain):
    form = ZendeskForm(CONFIG | {"subdomain": subdomain})
    if subdomain == "x\n":  # what a paste leaves behind
        assert form.is_valid()
    else:
        [error] = form.errors["subdomain"]
        assert subdomain in error
        assert "example.zendesk.com" in error


def test_the_form_repeats_no_token():
    form = ZendeskForm(CONFIG | {"api_token": "a token"})
    assert "a token" not in str(form.errors["api_token"])
