"""What HTTP itself says, for every provider that speaks it; and what strangers' addresses may not reach."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network

import pytest
from django import forms

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import http
from channels.providers.base import Capabilities
from channels.providers.http import HttpProvider, patience, public_addresses
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import FakeHttp, Reply
from tests.postgres import free_port


class Plain(HttpProvider):
    label = "Plain (a fake)"
    capabilities = Capabilities(form="event", medium="webhook")
    config_form = forms.Form

    def send(self, message, recipients):
        raise NotImplementedError


class Strange(Plain):
    strangers = True


@pytest.fixture
def peer(closing):
    peer = FakeHttp()
    closing.callback(peer.close)
    return peer


@pytest.fixture
def plain(closing):
    provider = Plain({})
    closing.callback(provider.close)
    return provider


@pytest.fixture
def strange(closing):
    provider = Strange({})
    closing.callback(provider.close)
    return provider


def test_it_sends_json_and_reads_json(plain, peer):
    peer.script(Reply(201, {"id": 7}, {"X-Thing": "yes"}))
    status, said, headers = plain.call("POST", f"{peer.url}/a?b=c", {"text": "è"}, {"Authorization": "Bearer x"})
    assert (status, said, headers["X-Thing"]) == (201, {"id": 7}, "yes")
    [call] = peer.calls
    assert (call.method, call.path, call.json) == ("POST", "/a?b=c", {"text": "è"})
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["Authorization"] == "Bearer x"


def test_it_keeps_one_connection(plain, peer):
    for _n in range(3):
        plain.call("POST", peer.url, {})
    assert len({call.peer for call in peer.calls}) == 1


@pytest.mark.parametrize(
    ("step", "kind", "code"),
    [
        (Reply(500, b"oh"), Uncertain, "500"),
        (Reply(503), Uncertain, "503"),
        (Reply(503, headers={"Retry-After": "7"}), Throttled, "503"),
        (Reply(429), Throttled, "429"),
        (Reply(302, headers={"Location": "http://127.0.0.1/b"}), Permanent, "302"),
        (Drop(), Uncertain, "ProtocolError"),
        (Drop(cut=True), Uncertain, "ProtocolError"),
        (Hang(), Uncertain, "ReadTimeoutError"),
    ],
)
def test_it_says_what_became_of_a_request(plain, peer, monkeypatch, step, kind, code):
    monkeypatch.setattr(http, "TIMEOUT", http.urllib3.Timeout(connect=5, read=0.3))
    peer.script(step)
    with pytest.raises(kind) as caught:
        plain.call("POST", peer.url, {"a": 1})
    assert caught.value.code == code
    assert len(peer.calls) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_what_a_4xx_means_the_provider_knows(plain, peer, status):
    peer.script(Reply(status, {"error": "no"}))
    assert plain.call("POST", peer.url, {})[:2] == (status, {"error": "no"})


def test_nobody_there_is_transient(plain):
    with pytest.raises(Transient):
        plain.call("POST", f"http://127.0.0.1:{free_port()}/", {})


def test_a_name_that_does_not_exist_is_transient(plain, monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Transient):
        plain.call("POST", "http://nowhere.example/", {})


def test_a_certificate_nobody_vouches_for_is_transient(plain, closing, certificate):
    peer = FakeHttp(certificate=str(certificate))
    closing.callback(peer.close)
    with pytest.raises(Transient):
        plain.call("POST", peer.url, {})
    assert peer.calls == []


def test_it_reads_no_endless_answer(plain, peer):
    peer.script(Reply(200, b"x" * 1_000_000))
    _status, said, _headers = plain.call("POST", peer.url, {})
    assert len(said) == http.MAX_REPLY
    assert plain.call("POST", peer.url, {})[0] == 200


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *[("7", 7), ("0", 1), ("", 30), ("soon", 30), ("nan", 30), ("999999999", 86400)],
        *[("Thu, 01 Jan 1970 00:00:00 GMT", 1), ("1700000000", 1), ("2023-11-14T22:13:20.000Z", 1)],
        *[("2023-11-14T22:13:20", 30), ("2023-11-14", 30), ("inf", 86400)],
    ],
)
def test_it_reads_how_long_to_wait(value, seconds):
    assert patience(value) == seconds


@pytest.mark.parametrize("write", [lambda t: str(int(t.timestamp())), lambda t: t.isoformat(), format_datetime])
def test_it_reads_until_when_to_wait(write):
    assert 118 <= patience(write(datetime.now(UTC) + timedelta(minutes=2))) <= 120


@pytest.mark.parametrize("name", ["Retry-After", "RateLimit-Reset", "X-RateLimit-Reset", "x-ratelimit-reset"])
def test_it_looks_for_the_wait_where_servers_say_it(plain, peer, name):
    peer.script(Reply(429, headers={name: "77"}))
    with pytest.raises(Throttled) as caught:
        plain.call("GET", peer.url)
    assert caught.value.retry_after == 77


# ── Addresses of strangers ──────────────────────────────────────────────────


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
        ),
        *("::1", "fe80::1", "fd00::1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "ff02::1"),
    ],
)
def test_what_is_not_public_cannot_be_reached(strange, address):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Permanent) as caught:
        strange.call("POST", f"http://{host}/", {})
    assert caught.value.code == "Forbidden"
    assert caught.value.bad_address


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost"])
def test_no_way_of_writing_it_helps(strange, host):
    with pytest.raises(Permanent, match="not a public address"):
        strange.call("POST", f"http://{host}/", {})


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    with pytest.raises(http.Forbidden):
        public_addresses("two-faced.example", 443)


def test_it_connects_to_the_address_that_was_checked(strange, peer, monkeypatch, settings):
    """A name that is public when asked first and private when asked again (DNS rebinding) is asked only once."""
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    port = int(peer.url.rpartition(":")[2])
    asked = []

    def resolve(host, *_args, **_kwargs):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert strange.call("POST", f"http://hook.example:{port}/", {})[0] == 200
    assert asked == ["hook.example"]
    assert peer.calls[0].headers["Host"] == f"hook.example:{port}"


def test_ones_own_networks_can_be_allowed(strange, peer, settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    assert strange.call("POST", peer.url, {})[0] == 200
    settings.WEBHOOK_NETWORKS = [ip_network("10.0.0.0/8")]
    strange.close()
    with pytest.raises(Permanent):
        strange.call("POST", peer.url, {})


def test_nobody_there_is_transient_for_strangers_too(strange, settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    with pytest.raises(Transient):
        strange.call("POST", f"http://127.0.0.1:{free_port()}/", {})
