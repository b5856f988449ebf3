import logging
import sys

import pytest
from django.urls import reverse

from channels import providers
from channels.errors import Permanent, Uncertain
from channels.models import Channel
from channels.providers import any_apprise
from channels.providers.any_apprise import MOST, AnyAppriseForm
from tests import make
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import FakeHttp, Reply

from .conftest import addressees, make_message

URL = "https://status.example.com/i/9f3k"
CANARY = "canary7c1fnevertobeseen"
NASTY = "A&B <b>x</b> @channel **bold** _it_ [x](https://evil.example) :smile: \\n `a`"
LIST = "/admin/channels/channel/"


@pytest.fixture
def start(closing):
    """Start a service that Apprise posts JSON to."""

    def one(step=None):
        peer = FakeHttp()
        closing.callback(peer.close)
        peer.script(*[step] * bool(step))
        return peer

    return one


@pytest.fixture
def peer(start):
    return start()


def at(peer, query=""):
    return f"{peer.url.replace('http', 'json')}/{CANARY}{query}"


@pytest.fixture
def any_of(make_provider):
    def make(*urls):
        return make_provider("apprise", secret_url=" ".join(urls))

    return make


def send(provider, **parts):
    [outcome] = provider.send(make_message(parts={"text": "Card payments fail.", "url": URL, **parts}), addressees(1))
    return outcome


# ── Sending ──


def test_it_sends_to_each_service(any_of, start):
    peers = [start(), start()]
    outcome = send(any_of(*map(at, peers)))
    assert (outcome.error, outcome.ref) == (None, "dispatch-42")
    for peer in peers:
        [call] = peer.calls
        assert call.json["title"] == "Card payments: partial outage"
        assert call.json["message"] == f"Card payments fail.\n\n{URL}"


def test_the_address_is_not_said_twice(any_of, peer):
    send(any_of(at(peer)), text=f"See {URL}.")
    send(any_of(at(peer)), url="")
    assert [call.json["message"] for call in peer.calls] == [f"See {URL}.", "Card payments fail."]


def test_words_stay_as_they_are(any_of, peer):
    assert send(any_of(at(peer)), subject=NASTY, text=NASTY, url="").error is None
    assert (peer.calls[0].json["title"], peer.calls[0].json["message"]) == (NASTY, NASTY)


@pytest.mark.parametrize("step", [Reply(400), Reply(401), Reply(429), Reply(500), Drop(), Drop(cut=True)])
def test_any_failure_is_uncertain_and_nothing_is_repeated(any_of, peer, step):
    peer.script(step)
    error = send(any_of(at(peer, "?retry=5&wait=0&optional=yes"))).error
    assert (type(error), error.code) == (Uncertain, "apprise")
    assert "JSON: failure" in error.detail
    assert len(peer.calls) == 1


def test_a_part_that_failed_is_named(any_of, start):
    error = send(any_of(at(start()), at(start(Reply(500))))).error
    assert "JSON: success, JSON: failure" in error.detail


def test_a_service_that_hangs_is_given_up(any_of, peer, monkeypatch):
    monkeypatch.setattr(any_apprise, "READ_SECONDS", 0.05)
    peer.script(Hang())
    assert type(send(any_of(at(peer, "?rto=60"))).error) is Uncertain


def test_what_it_raises_is_uncertain_too_and_not_quoted(any_of, peer, monkeypatch):
    def fails(*_args, **_kwargs):
        raise RuntimeError(CANARY)

    monkeypatch.setattr("apprise.Apprise.notify", fails)
    error = send(any_of(at(peer))).error
    assert (type(error), str(error)) == (Uncertain, "RuntimeError")


@pytest.mark.parametrize(
    ("parts", "said"), [({"text": "è" * 32769}, "32769 characters; JSON"), ({"subject": "è" * 251}, "251 characters")]
)
def test_what_is_too_long_is_refused_and_nothing_is_cut(any_of, peer, parts, said):
    error = send(any_of(at(peer, "?overflow=truncate")), **{"url": "", **parts}).error
    assert (type(error), error.code) == (Permanent, "too-long")
    assert said in error.detail
    assert not peer.calls
    most = {name: text[:-1] for name, text in parts.items()}
    assert send(any_of(at(peer, "?overflow=truncate")), **{"url": "", **most}).error is None
    assert {peer.calls[0].json["title"], peer.calls[0].json["message"]} > set(most.values())


def test_a_title_counts_where_it_goes_before_the_text(any_of):
    provider = any_of("ntfy://localhost/incidents")
    provider.services[0].title_maxlen, provider.services[0].body_maxlen = 0, 40
    assert "50 characters" in send(provider, subject="t" * 20, text="x" * 28, url="").error.detail


def test_lines_that_a_service_would_drop_are_refused(any_of, peer):
    provider = any_of(at(peer))
    provider.services[0].body_max_line_count = 2
    assert "3 lines" in send(provider).error.detail
    assert not peer.calls


def test_it_keeps_credentials_to_itself(any_of, peer, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    provider = any_of(at(peer))
    peer.script(Reply(500))
    said = [provider.probe(), str(send(provider).error), str(send(any_of(f"json://127.0.0.1:1/{CANARY}")).error)]
    assert not [text for text in [*said, caplog.text, *capsys.readouterr()] if CANARY in text]


# ── Setting up ──


def test_the_probe_names_the_services_and_sends_nothing(any_of, peer):
    assert "JSON, ntfy" in any_of(at(peer), "ntfy://localhost/incidents").probe()
    assert not peer.calls


def test_stored_urls_that_are_not_understood_any_more_are_said(any_of):
    for urls in ([], ["nosuch://x"], ["json://localhost", "nosuch://x"]):
        with pytest.raises(Permanent) as caught:
            any_of(*urls).probe()
        assert caught.value.code == "bad-url"


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (f"json://localhost {CANARY}", "URL 2 (…)"),
        (f"nosuch://{CANARY}", "URL 1 (nosuch://…)"),
        (f"tgram://{CANARY}", "URL 1 (tgram://…)"),
        (f"json://a/{CANARY}json://b", "URL 1 (json://…)"),
        (" ".join(["json://localhost"] * (MOST + 1)), f"These are {MOST + 1} URLs"),
    ],
)
def test_the_form_names_which_url_is_bad_and_no_credential(urls, said, caplog):
    caplog.set_level(logging.DEBUG)
    errors = str(AnyAppriseForm({"secret_url": urls}).errors)
    assert said in errors
    assert CANARY not in errors + caplog.text


def test_the_form_takes_urls_by_lines_as_well():
    form = AnyAppriseForm({"secret_url": " json://a \n ntfy://localhost/b"})
    assert form.is_valid()
    assert form.cleaned_data["secret_url"] == "json://a ntfy://localhost/b"


# ── Without the library ──


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)


def test_without_its_library_it_is_not_offered(missing):
    offered = [key for key, _label in providers.choices()]
    assert "apprise" not in offered
    assert "smtp" in offered


def test_without_its_library_a_stored_channel_says_so(missing, any_of):
    assert AnyAppriseForm({"secret_url": "json://a"}).is_valid()
    for act in (any_of("json://a").probe, lambda: send(any_of("json://a"))):
        with pytest.raises(Permanent) as caught:
            act()
        assert caught.value.code == "not-installed"
        assert "“apprise” is not installed" in caught.value.detail


# ── Who may ──


@pytest.fixture
def stored(db):
    return make.channel("apprise", name="Apprise", secrets={"secret_url": f"json://127.0.0.1:1/{CANARY}"})


def page(channel, name="change"):
    return reverse(f"admin:channels_channel_{name}", args=[channel.pk])


def test_others_are_not_offered_it_and_cannot_choose_it(db):
    client = make.client(make.communications_manager())
    assert 'value="smtp"' in client.get(LIST + "add/").content.decode()
    assert 'value="apprise"' not in client.get(LIST + "add/").content.decode()
    assert client.post(LIST + "add/", {"name": "Any", "provider": "apprise"}).status_code == 200
    assert not Channel.objects.exists()


@pytest.mark.parametrize("name", ["change", "test", "delete", "history"])
def test_others_cannot_open_one(stored, name):
    client = make.client(make.communications_manager())
    assert client.get(page(stored, name)).status_code == 403
    assert client.post(page(stored, name), {"name": "Mine", "enable": "1"}).status_code == 403
    stored.refresh_from_db()
    assert (stored.name, stored.enabled) == ("Apprise", True)


def test_others_see_that_there_is_one(stored):
    assert "Apprise" in make.client(make.communications_manager()).get(LIST).content.decode()


def test_others_cannot_delete_it_from_the_list(stored):
    client = make.client(make.communications_manager())
    asked = {"action": "delete_selected", "_selected_action": [stored.pk], "post": "yes"}
    client.post(LIST, asked)
    assert Channel.objects.filter(pk=stored.pk).exists()


def test_a_superuser_sets_it_up(db, peer):
    client = make.client(make.user(is_superuser=True))
    assert 'value="apprise"' in client.get(LIST + "add/").content.decode()
    client.post(LIST + "add/", {"name": "Any", "provider": "apprise"})
    channel = Channel.objects.get()
    answer = client.post(page(channel), {"name": "Any", "setting_secret_url": at(peer)})
    assert answer.url == page(channel, "test")
    client.post(page(channel, "test"))
    channel.refresh_from_db()
    assert channel.verified_at
    assert channel.secrets == {"secret_url": at(peer)}
    assert CANARY not in client.get(page(channel)).content.decode()


def test_without_its_library_its_page_still_opens_and_its_test_says_why(stored, missing):
    client = make.client(make.user(is_superuser=True))
    assert client.get(page(stored)).status_code == 200
    assert client.get(LIST).status_code == 200
    shown = client.post(page(stored, "test"), follow=True).content.decode()
    assert "“apprise” is not installed" in shown
    stored.refresh_from_db()
    assert not stored.enabled
