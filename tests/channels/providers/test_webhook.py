"""Over real TLS to a loopback server, whose certificate the provider is told to trust."""

import socket
import ssl
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_network
from threading import Event, Thread

import pytest
import time_machine
import urllib3
from django.utils import timezone
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from channels.errors import Permanent, Transient, Uncertain
from channels.providers import http, strangers
from channels.providers.base import Addressee
from channels.providers.webhook import WebhookForm
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import FakeHttp, Reply
from tests.postgres import free_port

from .conftest import make_message

NEW = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
OLD = "whsec_MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
BODY = '{"version": "1",  "type": "incident.update", "update": {"subject": "Pagamenti già ripresi"}}'
MESSAGE = make_message(parts={"json": BODY})


@pytest.fixture
def receiver(closing, certificate, settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    peer = FakeHttp(certificate=str(certificate))
    closing.callback(peer.close)
    return peer


@pytest.fixture
def make_webhook(make_provider, vouched):
    return lambda **config: make_provider("webhook", **{"signing_secret": NEW, **config})


@pytest.fixture
def webhook(make_webhook):
    return make_webhook()


def send(provider, *addresses):
    return provider.send(MESSAGE, [Addressee(one, key=f"42-{n}") for n, one in enumerate(addresses)])


def failure(provider, address):
    [outcome] = send(provider, address)
    return outcome.error


def test_it_delivers_the_very_bytes_signed(webhook, receiver):
    [outcome] = send(webhook, f"{receiver.url}/hook?a=b")
    assert (outcome.error, outcome.ref) == (None, "42-0")
    [call] = receiver.calls
    assert (call.method, call.path) == ("POST", "/hook?a=b")
    assert call.body == BODY.encode()
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["webhook-id"] == "42-0"
    assert Webhook(NEW).verify(call.body, call.headers)["type"] == "incident.update"


def test_a_signature_is_of_one_body_one_id_and_one_secret(webhook, receiver):
    send(webhook, receiver.url)
    [call] = receiver.calls
    for secret, body, headers in (
        (OLD, call.body, call.headers),
        (NEW, call.body + b" ", call.headers),
        (NEW, call.body, {**call.headers, "webhook-id": "42-1"}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)


def test_a_repetition_has_the_same_id_and_a_time_of_its_own(webhook, receiver):
    later = timezone.now() + timedelta(hours=1)
    send(webhook, receiver.url)
    with time_machine.travel(later, tick=False):
        send(webhook, receiver.url)
        first, second = receiver.calls
        assert Webhook(NEW).verify(second.body, second.headers)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert second.headers["webhook-timestamp"] == str(int(later.timestamp()))


def test_while_secrets_change_both_sign_newest_first(make_webhook, receiver):
    provider = make_webhook(previous_secret=OLD)
    assert "two signatures" in provider.probe()
    send(provider, receiver.url)
    [call] = receiver.calls
    signatures = call.headers["webhook-signature"].split(" ")
    assert len(signatures) == 2
    for secret, signature in zip((NEW, OLD), signatures, strict=True):
        assert Webhook(secret).verify(call.body, {**call.headers, "webhook-signature": signature})
        assert Webhook(secret).verify(call.body, call.headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_is_one(webhook, receiver, status):
    receiver.script(Reply(status, b"ok" if status != 204 else b""))
    assert failure(webhook, receiver.url) is None


@pytest.mark.parametrize(
    ("step", "kind", "code"),
    [
        (Reply(400, {"error": "bad"}), Permanent, "400"),
        (Reply(401), Permanent, "401"),
        (Reply(404), Permanent, "404"),
        (Reply(301, headers={"Location": "https://example.com/"}), Permanent, "301"),
        (Reply(307, headers={"Location": "http://127.0.0.1/"}), Permanent, "307"),
        (Reply(429, headers={"Retry-After": "3600"}), Transient, "429"),
        (Reply(503, headers={"Retry-After": "3600"}), Transient, "503"),
        (Reply(500), Uncertain, "500"),
        (Reply(502), Uncertain, "502"),
        (Drop(), Uncertain, "ProtocolError"),
        (Drop(cut=True), Uncertain, "ProtocolError"),
    ],
)
def test_what_one_server_says_concerns_that_customer_only(webhook, receiver, step, kind, code):
    receiver.script(step)
    error = failure(webhook, receiver.url)
    assert type(error) is kind
    assert error.code == code
    assert not getattr(error, "bad_address", False)
    assert len(receiver.calls) == 1


def test_gone_means_that_the_address_is_to_be_left_alone(webhook, receiver):
    receiver.script(Reply(410, b"We  have\nleft."))
    error = failure(webhook, receiver.url)
    assert (error.code, error.detail, error.bad_address) == ("410", "We have left.", True)


def test_a_silent_server_is_uncertain(webhook, receiver):
    webhook.pool.connection_pool_kw["timeout"] = urllib3.Timeout(connect=1, read=0.5)
    receiver.script(Hang())
    assert type(failure(webhook, receiver.url)) is Uncertain


def test_nobody_there_is_transient(webhook, receiver):
    assert type(failure(webhook, f"https://127.0.0.1:{free_port()}/")) is Transient


def test_a_certificate_nobody_vouches_for_is_transient(make_provider, receiver):
    assert type(failure(make_provider("webhook", signing_secret=NEW), receiver.url)) is Transient
    assert receiver.calls == []


def test_it_never_speaks_in_the_clear(webhook, closing, settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    peer = FakeHttp()
    closing.callback(peer.close)
    error = failure(webhook, peer.url)
    assert type(error) is Permanent
    assert error.code == "not-https"
    assert peer.calls == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "[::ffff:10.0.0.1]"]
)
def test_what_is_not_public_is_not_reached_and_not_suppressed(webhook, receiver, settings, host):
    settings.WEBHOOK_NETWORKS = []
    error = failure(webhook, f"https://{host}:{receiver.url.rpartition(':')[2]}/")
    assert type(error) is Permanent
    assert "not a public address" in error.detail
    assert not error.bad_address
    assert receiver.calls == []


@pytest.mark.parametrize("address", ["https://[::1/", "https:///x", "nonsense", f"https://{'a' * 64}.example/"])
def test_an_address_that_is_none_fails_alone(webhook, receiver, address):
    bad, good = send(webhook, address, receiver.url)
    assert type(bad.error) is Permanent
    assert good.error is None


def test_a_bug_met_by_one_is_uncertain_for_that_one(webhook, receiver, monkeypatch):
    def call(method, url, *rest):
        return {}["oops"] if url.endswith("/bug") else real(method, url, *rest)

    real = webhook.call
    monkeypatch.setattr(webhook, "call", call)
    bad, good = send(webhook, f"{receiver.url}/bug", receiver.url)
    assert (type(bad.error), bad.error.code) == (Uncertain, "KeyError")
    assert good.error is None


def test_it_keeps_the_order_and_every_failure_to_itself(webhook, receiver):
    receiver.rule = lambda call: Reply(410 if call.path.endswith("3") else 200)
    addresses = [f"{receiver.url}/{n}" for n in range(6)]
    addresses[1] = f"https://127.0.0.1:{free_port()}/"
    outcomes = send(webhook, *addresses)
    assert [type(one.error) for one in outcomes] == [type(None), Transient, type(None), Permanent, *[type(None)] * 2]
    assert [one.ref for one in outcomes if not one.error] == ["42-0", "42-2", "42-4", "42-5"]
    assert {call.headers["webhook-id"]: call.path for call in receiver.calls} == {
        f"42-{n}": f"/{n}" for n in (0, 2, 3, 4, 5)
    }


def test_it_keeps_connections_until_it_is_closed(webhook, receiver):
    for _n in range(3):
        assert failure(webhook, receiver.url) is None
    assert len({call.peer for call in receiver.calls}) == 1
    webhook.close()
    assert failure(webhook, receiver.url) is None
    assert len({call.peer for call in receiver.calls}) == 2


# ── Slow servers ────────────────────────────────────────────────────────────


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(strangers, "LIMIT", 0.15)
    monkeypatch.setattr(strangers, "TICK", 0.02)


@pytest.fixture
def serve(closing):
    """Start a server that treats its one connection as `talk` says; its address."""

    def start(talk):
        listener, over = socket.create_server(("127.0.0.1", 0)), Event()

        def run():
            connection, _peer = listener.accept()
            with suppress(OSError), connection:
                talk(connection, over)

        thread = Thread(target=run)
        thread.start()
        closing.callback(lambda: (over.set(), thread.join(), listener.close()))
        return f"https://127.0.0.1:{listener.getsockname()[1]}/"

    return start


@pytest.fixture
def dripping(serve, certificate):
    """It answers a byte at a time, for ever: each is in time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(connection, over):
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(b"HTTP/1.1 200 ")
            while not over.wait(0.02):
                secure.sendall(b"O")

    return serve(talk)


@pytest.fixture
def mute(serve):
    """It takes the connection and never says a word."""
    return serve(lambda _connection, over: over.wait(10))


def test_one_that_drips_its_answer_is_cut_off_and_holds_nobody_up(webhook, receiver, impatient, dripping, monkeypatch):
    monkeypatch.setattr(strangers, "LIMIT", 0.6)  # the good one must do it on a busy machine, too
    slow, good = send(webhook, dripping, receiver.url)
    assert type(slow.error) is Uncertain
    assert slow.error.code == "timeout"
    assert good.error is None
    webhook.threads.shutdown()  # waits: the server still drips, but nobody listens


def test_one_that_never_ends_the_handshake_got_nothing(webhook, receiver, impatient, mute):
    error = failure(webhook, mute)
    assert (type(error), error.code) == (Transient, "timeout")
    webhook.threads.shutdown()


def test_a_handshake_that_is_not_answered_is_transient(webhook, receiver, mute, monkeypatch):
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.1)
    error = failure(webhook, mute)
    assert (type(error), error.code) == (Transient, "ReadTimeoutError")


def test_a_name_that_takes_long_to_look_up_gets_nothing_later(webhook, receiver, impatient, monkeypatch):
    go, real = Event(), http.public_addresses

    def slow(_host, port):
        go.wait(10)
        return real("127.0.0.1", port)

    monkeypatch.setattr(http, "public_addresses", slow)
    assert type(failure(webhook, receiver.url.replace("127.0.0.1", "localhost"))) is Transient
    go.set()
    webhook.threads.shutdown()
    assert receiver.calls == []


# ── Settings ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("hunter2-hunter2-hunter2", "does not begin with whsec_"),
        ("whsec_not base64 at all", "not base64"),
        ("whsec_aHVudGVyMg==", "7 bytes"),
        ("whsec_" + "QUFB" * 22, "66 bytes"),
    ],
)
def test_a_secret_that_is_none_is_explained_and_not_shown(secret, said):
    for form in (
        WebhookForm({"signing_secret": secret}),
        WebhookForm({"signing_secret": NEW, "previous_secret": secret}),
    ):
        assert not form.is_valid()
        [[error]] = form.errors.values()
        assert said in error
        assert secret not in str(form.errors)
        assert secret not in form.as_div()


@pytest.mark.parametrize(("previous", "kept"), [(OLD, OLD), ("-", ""), ("", ""), (NEW, "")])
def test_a_sign_ends_the_change_of_secrets(previous, kept):
    form = WebhookForm({"signing_secret": NEW, "previous_secret": previous})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["previous_secret"] == kept
