"""A loopback server plays the push service over TLS; a browser's keys decrypt what it got."""

import base64
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest
from py_vapid import Vapid02  # type: ignore[import-untyped]
from py_vapid.jwt import decode  # type: ignore[import-untyped]

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import webpush
from channels.providers.base import Addressee
from channels.providers.webpush import MAX_BYTES, WebPushForm
from tests.fakes.aws import Drop
from tests.fakes.browser import Browser, base64url
from tests.fakes.http import FakeHttp, Reply
from tests.postgres import free_port

from .conftest import make_message

KEY = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA"
CONFIG = {"vapid_private_secret": KEY, "contact_email": "ops@example.com"}
BROWSER = Browser()
KEYS = BROWSER.keys
PARTS = {"text": "Example: i pagamenti sono già ripresi.", "url": "https://portal.example.com/incidents/9f3k/"}
MESSAGE = make_message(parts=PARTS)


@pytest.fixture
def service(closing, certificate, settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    peer = FakeHttp(lambda call: Reply(201, b"", {"Location": f"/message{call.path}"}), certificate=str(certificate))
    closing.callback(peer.close)
    return peer


@pytest.fixture
def push(make_provider, vouched):
    return make_provider("webpush", **CONFIG)


def send(provider, address, message=MESSAGE, attributes=KEYS):
    [outcome] = provider.send(message, [Addressee(address, key="42-0", attributes=attributes)])
    return outcome


def test_the_browser_reads_what_was_approved(push, service):
    outcome = send(push, f"{service.url}/send/abc")
    assert (outcome.error, outcome.ref) == (None, "/message/send/abc")
    [call] = service.calls
    assert (call.method, call.path) == ("POST", "/send/abc")
    assert BROWSER.read(call.body) == {
        "title": "Card payments: partial outage",
        "body": PARTS["text"],
        "url": PARTS["url"],
        "tag": "incident-9f3kabcd",
        "lang": "en",
    }


def test_the_service_reads_how_to_keep_it_and_nothing_of_the_words(push, service):
    send(push, service.url)
    [call] = service.calls
    headers = call.headers
    assert headers["Content-Encoding"] == "aes128gcm"
    assert headers["Content-Type"] == "application/octet-stream"
    assert (headers["TTL"], headers["Urgency"]) == ("14400", "high")
    assert b"Card" not in call.body
    assert b"pagamenti" not in call.body


def test_updates_of_an_incident_share_a_topic_and_those_of_others_do_not(push, service):
    for thread in ("incident-1", "incident-1", "incident-2"):
        send(push, service.url, replace(MESSAGE, thread=thread))
    first, again, other = [call.headers["Topic"] for call in service.calls]
    assert first == again != other
    assert len(first) == 32
    assert set(first) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_it_signs_for_that_service_with_the_key_that_the_probe_tells(push, service):
    send(push, f"{service.url}/send/abc")
    [call] = service.calls
    signature = call.headers["Authorization"]
    assert Vapid02.verify(signature)
    token, public = (part.partition("=")[2] for part in signature.removeprefix("vapid ").split(","))
    claims = decode(token, public)
    assert claims["aud"] == service.url
    assert claims["sub"] == "mailto:ops@example.com"
    assert time.time() < claims["exp"] < time.time() + 24 * 3600
    assert public in push.probe()
    assert len(base64.urlsafe_b64decode(public + "=")) == 65
    assert KEY not in push.probe()


def test_it_fills_in_personal_values(push, service):
    one = Addressee(service.url, key="1", values={"name": "Ada"}, attributes=KEYS)
    push.send(make_message(parts={"text": "Hello [[name]]", "url": ""}), [one])
    assert BROWSER.read(service.calls[0].body)["body"] == "Hello Ada"


def test_the_longest_notification_fits_and_a_longer_one_is_refused(push, service):
    frame = len(webpush._payload(make_message(parts=PARTS | {"text": ""}), Addressee("")))
    fits, too_long = ("x" * (MAX_BYTES - frame + more) for more in (0, 1))
    assert send(push, service.url, make_message(parts=PARTS | {"text": fits})).error is None
    assert len(service.calls[0].body) == 4096
    assert BROWSER.read(service.calls[0].body)["body"] == fits
    error = send(push, service.url, make_message(parts=PARTS | {"text": too_long})).error
    assert (type(error), error.code) == (Permanent, "too-large")
    assert str(MAX_BYTES + 1) in error.detail
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    ("step", "kind", "bad"),
    [
        (Reply(404, {"reason": "unknown"}), Permanent, True),
        (Reply(410), Permanent, True),
        (Reply(400), Permanent, False),
        (Reply(401), Permanent, False),
        (Reply(403, b"the VAPID credentials do not correspond"), Permanent, False),
        (Reply(413), Permanent, False),
        (Reply(302), Permanent, False),
        (Reply(503), Transient, False),
        (Reply(500), Uncertain, False),
        (Reply(502), Uncertain, False),
        (Drop(), Uncertain, False),
    ],
)
def test_what_an_endpoint_says_concerns_that_browser_only(push, service, step, kind, bad):
    service.script(step)
    error = send(push, service.url).error
    assert type(error) is kind
    assert getattr(error, "bad_address", False) is bad
    assert len(service.calls) == 1


@pytest.mark.parametrize("step", [Reply(429, headers={"Retry-After": "60"}), Reply(503, headers={"Retry-After": "60"})])
def test_only_a_known_service_can_hold_the_channel(push, service, monkeypatch, step):
    service.script(step, step)
    assert type(send(push, service.url).error) is Transient
    monkeypatch.setattr(webpush, "SERVICES", (".0.0.1",))
    error = send(push, service.url).error
    assert type(error) is Throttled
    assert error.retry_after == 60


def test_nobody_there_is_transient(push, service):
    assert type(send(push, f"https://127.0.0.1:{free_port()}/").error) is Transient


def test_an_endpoint_inside_our_network_is_not_reached(push, service, settings):
    settings.WEBHOOK_NETWORKS = []
    error = send(push, service.url).error
    assert (type(error), error.bad_address) == (Permanent, False)
    assert service.calls == []


@pytest.mark.parametrize("endpoint", ["http://example.com/", "https://[::1/", "https:///x", "nonsense"])
def test_an_endpoint_that_is_none_fails_alone(push, service, endpoint):
    assert type(send(push, endpoint).error) is Permanent


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"p256dh": KEYS["p256dh"]},
        {"p256dh": KEYS["p256dh"], "auth": "c2hvcnQ"},
        {"p256dh": "not base64!", "auth": KEYS["auth"]},
        {"p256dh": base64url(b"\4" + bytes(64)), "auth": KEYS["auth"]},
        {"p256dh": 7, "auth": None},
    ],
)
def test_keys_that_are_none_are_named(push, service, attributes):
    error = send(push, service.url, attributes=attributes).error
    assert (type(error), error.code) == (Permanent, "bad-keys")
    assert not error.bad_address
    assert service.calls == []


def test_keys_may_be_padded(push, service):
    padded = {name: value + "=" * (-len(value) % 4) for name, value in KEYS.items()}
    assert send(push, service.url, attributes=padded).error is None
    assert BROWSER.read(service.calls[0].body)["tag"] == "incident-9f3kabcd"


@pytest.mark.parametrize("key", ["hunter2hunter2", "not base64 not base64 not base64 not base64", "AA" * 22, "é" * 43])
def test_a_key_that_is_none_is_explained_and_not_shown(key):
    form = WebPushForm(CONFIG | {"vapid_private_secret": key})
    assert set(form.errors) == {"vapid_private_secret"}
    assert "43 characters" in str(form.errors)
    assert key not in str(form.errors)


def test_the_form_names_a_contact_that_is_none():
    assert set(WebPushForm(CONFIG | {"contact_email": "ops"}).errors) == {"contact_email"}
