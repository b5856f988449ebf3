import pytest
from standardwebhooks.webhooks import Webhook
from urllib3 import Timeout

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import http
from channels.providers.base import Addressee
from channels.providers.ticket_webhook import MAX_COMMENT, TicketWebhookForm
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import FakeHttp, Reply

from .conftest import make_message

NEW = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
OLD = "whsec_MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="


@pytest.fixture
def peer(closing):
    peer = FakeHttp(lambda _call: Reply(204, b""))
    closing.callback(peer.close)
    return peer


@pytest.fixture
def desk(make_provider, peer):
    return make_provider("ticket_webhook", url=f"{peer.url}/tickets", signing_secret=NEW, previous_secret=OLD)


def send(provider, address="7:HELP-1", **parts):
    [outcome] = provider.send(make_message(parts=parts), [Addressee(address, key="42-0")])
    return outcome


def test_a_signed_request_names_the_ticket_and_carries_the_words(desk, peer):
    outcome = send(desk, text="I pagamenti non funzionano: è un guasto.")
    assert (outcome.error, outcome.ref) == (None, "42-0")
    [call] = peer.calls
    assert (call.method, call.path) == ("POST", "/tickets")
    assert call.json == {
        "ticket": "HELP-1",
        "subject": "Card payments: partial outage",
        "text": "I pagamenti non funzionano: è un guasto.",
        "url": "https://portal.example.com/incidents/9f3kabcd/",
        "language": "en",
    }
    assert call.headers["webhook-id"] == "42-0"
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(call.body, call.headers)


@pytest.mark.parametrize("address", ["7:", "7:a b", "7:" + "x" * 201])
def test_what_is_no_ticket_is_never_sent(desk, peer, address):
    assert send(desk, address).error.code == "bad-ticket"
    assert not peer.calls


def test_it_refuses_what_does_not_fit_and_cuts_nothing(desk, peer):
    assert send(desk, text="x" * MAX_COMMENT).error.code == "too-long"
    assert send(desk, text="").error.code == "empty"
    assert not peer.calls


@pytest.mark.parametrize("status", [404, 409, 410, 422])
def test_what_one_ticket_meets_is_an_outcome(desk, peer, status):
    peer.script(Reply(status, {"error": "the ticket is closed"}))
    error = send(desk).error
    assert (type(error), error.code, error.bad_address) == (Permanent, str(status), False)
    assert "closed" in error.detail


@pytest.mark.parametrize("status", [301, 400, 401, 403])
def test_what_every_ticket_would_meet_is_raised(desk, peer, status):
    peer.script(Reply(status, {"error": "no"}, {"Location": "https://elsewhere.example/"}))
    with pytest.raises(Permanent) as caught:
        send(desk)
    assert caught.value.code == str(status)


def test_a_throttle_is_raised_with_its_patience(desk, peer):
    peer.script(Reply(503, b"", {"Retry-After": "7"}))
    with pytest.raises(Throttled) as caught:
        send(desk)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("step", [Drop(), Hang(), Reply(500)])
def test_perhaps_sent_is_uncertain(desk, peer, monkeypatch, step):
    monkeypatch.setattr(http, "TIMEOUT", Timeout(connect=1, read=0.5))
    peer.script(step)
    assert type(send(desk).error) is Uncertain
    assert desk.capabilities.idempotent  # so that the engine sends it again, with the same webhook-id


def test_nobody_listening_means_not_sent(make_provider):
    provider = make_provider("ticket_webhook", url="http://127.0.0.1:1", signing_secret=NEW)
    with pytest.raises(Transient):
        send(provider)


@pytest.mark.parametrize("status", [204, 401, 404, 405, 429, 501])
def test_the_probe_finds_the_receiver_whatever_it_thinks_of_get(desk, peer, status):
    peer.script(Reply(status, b""))
    assert desk.probe()
    assert [call.method for call in peer.calls] == ["GET"]


@pytest.mark.parametrize(("step", "error"), [(Drop(), Uncertain), (Reply(302, b""), Permanent)])
def test_the_probe_fails_where_there_is_none(desk, peer, step, error):
    peer.script(step)
    with pytest.raises(error):
        desk.probe()


@pytest.mark.parametrize("url", ["http://help.example.org/", "help.example.org", "https://u:p@help.example.org/"])
def test_the_form_takes_a_secure_address_only(url):
    form = TicketWebhookForm({"url": url, "signing_secret": NEW})
    assert list(form.errors) == ["url"]


# ── The page of a ticket ──


def link(form: type = TicketWebhookForm, ticket_url: str = "") -> object:
    one = form({"ticket_url": ticket_url})
    one.is_valid()
    return one


@pytest.mark.parametrize("text", ["https://desk.example.com/t/{ticket}?a=1", ""])
def test_a_link_to_a_ticket_may_be_said(text, make_provider):
    form = link(ticket_url=text)
    assert "ticket_url" not in form.errors
    assert form.cleaned_data["ticket_url"] == text
    url = make_provider("ticket_webhook", ticket_url=text).ticket_url("A/1 &")
    assert url == ("https://desk.example.com/t/A%2F1%20%26?a=1" if text else "")


@pytest.mark.parametrize(
    "text", ["https://desk.example.com/t/", "https://x.example.com/{ticket}/{ticket}", "http://x.example.com/{ticket}",
             "javascript:alert({ticket})", "https://me:pw@x.example.com/{ticket}"]
)  # fmt: skip
def test_a_link_that_is_none_is_refused(text):
    assert "ticket_url" in link(ticket_url=text).errors


def test_a_channel_from_before_has_no_link(desk):
    assert desk.ticket_url("HELP-1") == ""
