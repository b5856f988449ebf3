import json

import pytest
from urllib3 import Timeout

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import http
from channels.providers.teams import MAX_BYTES, TeamsForm
from tests.fakes import teams as fake
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import FakeHttp, Reply

from .conftest import addressees, make_message

URL = "https://status.example.com/i/9f3k"
HOST = "default0.e2.environment.api.powerplatform.com"
NASTY = "A&B <at>All</at> <!channel> @channel **bold** _it_ [x](https://evil.example) {{DATE(2026-01-01,SHORT)}} `a`\\*"


@pytest.fixture
def peer(closing):
    peer = FakeHttp(fake.workflow)
    closing.callback(peer.close)
    return peer


@pytest.fixture
def teams(make_provider, peer):
    return make_provider("teams", secret_url=f"{peer.url}{fake.PATH}")


def send(provider, locale="en", **parts):
    message = make_message(parts={"text": "Card payments fail.", "url": URL, **parts}, locale=locale)
    [outcome] = provider.send(message, addressees(1))
    return outcome


def card(peer):
    return peer.calls[-1].json["attachments"][0]["content"]


def test_it_posts_a_card(teams, peer):
    outcome = send(teams, text="Card payments fail.\n\nWe are on it:\nnext at 15:00.")
    assert outcome.error is None
    assert outcome.ref == fake.RUN
    [call] = peer.calls
    assert (call.method, call.path) == ("POST", fake.PATH)
    assert call.headers["Content-Type"] == "application/json"
    assert fake.shown(call.json) == [
        "Card payments: partial outage",
        "Card payments fail.",
        "We are on it:",
        "next at 15:00.",
    ]
    assert card(peer)["version"] == "1.4"
    assert [block.get("spacing") for block in card(peer)["body"]] == [None, "Medium", "Medium", "None"]
    assert card(peer)["actions"] == [{"type": "Action.OpenUrl", "title": "To the status page", "url": URL}]


def test_its_button_speaks_the_language_of_the_message(teams, peer):
    send(teams, locale="it")
    assert card(peer)["actions"][0]["title"] == "Vai alla pagina di stato"


def test_a_message_without_an_address_has_no_button(teams, peer):
    assert send(teams, url="").error is None
    assert card(peer)["actions"] == []


def test_a_workflow_that_names_no_run_is_fine_too(teams, peer):
    peer.script(Reply(200, b""))
    assert send(teams).ref == "dispatch-42"


def test_words_mention_nobody_and_stay_as_they_are(teams, peer):
    assert send(teams, subject=NASTY, text=NASTY).error is None
    assert fake.shown(peer.calls[0].json) == [NASTY, NASTY]
    assert "entities" not in card(peer)["msteams"]
    assert {block["type"] for block in card(peer)["body"]} == {"RichTextBlock"}


def test_addresses_can_be_followed(teams, peer):
    send(teams, text="See https://x.example/a?b=1&c=2.")
    runs = card(peer)["body"][1]["inlines"]
    assert [run["text"] for run in runs] == ["See ", "https://x.example/a?b=1&c=2", "."]
    assert runs[1]["selectAction"] == {"type": "Action.OpenUrl", "url": "https://x.example/a?b=1&c=2"}


def test_what_is_too_large_is_refused_and_nothing_is_cut(teams, peer):
    error = send(teams, text="è" * (MAX_BYTES // 2)).error
    assert type(error) is Permanent
    assert error.code == "too-large"
    assert not peer.calls
    assert send(teams, text="è" * (MAX_BYTES // 2 - 500)).error is None
    assert MAX_BYTES - 1000 < len(peer.calls[0].body) <= MAX_BYTES
    assert fake.shown(peer.calls[0].json)[1] == "è" * (MAX_BYTES // 2 - 500)


def fault(status, code, message="No."):
    return Reply(status, {"error": {"code": code, "message": message}})


@pytest.mark.parametrize(
    ("step", "kind", "code"),
    [
        (fault(400, "WorkflowTriggerIsNotEnabled"), Permanent, "WorkflowTriggerIsNotEnabled"),
        (fault(401, "DirectApiAuthorizationRequired"), Permanent, "DirectApiAuthorizationRequired"),
        (fault(404, "WorkflowNotFound"), Permanent, "WorkflowNotFound"),
        (Reply(403, b"Forbidden"), Permanent, "403"),
        (Reply(410, {"error": "gone"}), Permanent, "410"),
        (Reply(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": "9"}), Throttled, "429"),
        (Reply(302, b"", {"Location": "https://login.example/"}), Permanent, "302"),
    ],
)
def test_what_every_message_would_meet_is_raised(teams, peer, step, kind, code):
    peer.script(step)
    with pytest.raises(kind) as caught:
        send(teams)
    assert caught.value.code == code
    assert "fake-signature" not in str(caught.value)
    assert len(peer.calls) == 1


def test_too_large_for_teams_is_an_outcome(teams, peer):
    peer.script(fault(413, "RequestEntityTooLarge"))
    assert type(send(teams).error) is Permanent


@pytest.mark.parametrize("parts", [{"subject": " "}, {"text": "\n \n"}])
def test_nothing_to_say_is_not_posted(teams, peer, parts):
    assert send(teams, **parts).error.code == "empty"
    assert not peer.calls


def test_odd_line_breaks_leave_no_empty_block(teams, peer):
    assert send(teams, text="One\r\ntwo\u2028\u2028three\r\n\r\nfour\x0b").error is None
    assert fake.shown(peer.calls[0].json)[1:] == ["One", "two", "three", "four"]


@pytest.mark.parametrize("step", [Drop(), Drop(cut=True), Hang(), fault(500, "Internal"), fault(502, "NoResponse")])
def test_perhaps_posted_is_uncertain_and_never_repeated(teams, peer, monkeypatch, step):
    monkeypatch.setattr(http, "TIMEOUT", Timeout(connect=1, read=0.5))
    peer.script(step)
    assert type(send(teams).error) is Uncertain
    assert len(peer.calls) == 1


def test_nobody_listening_means_not_posted(make_provider):
    teams = make_provider("teams", secret_url=f"http://127.0.0.1:1{fake.PATH}")
    for attempt in (teams.probe, lambda: send(teams)):
        with pytest.raises(Transient) as caught:
            attempt()
        assert "fake-signature" not in str(caught.value)


@pytest.mark.parametrize("step", [None, Reply(200), Reply(302), Reply(403), Reply(503, b"", {"Retry-After": "1"})])
def test_the_probe_asks_the_host_alone_and_starts_nothing(teams, peer, step):
    peer.script(step)
    assert "watch the first one" in teams.probe()
    assert [(call.method, call.path) for call in peer.calls] == [("GET", "/")]


@pytest.mark.parametrize(
    "host", [f"{HOST}:443", "prod-12.westeurope.logic.azure.com", "x.powerautomate.com", "x.flow.microsoft.com"]
)
def test_the_webhook_of_a_workflow_is_taken(host):
    assert TeamsForm({"secret_url": f"https://{host}{fake.PATH}"}).is_valid()


@pytest.mark.parametrize(
    "start",
    [f"http://{HOST}", "https://logic.azure.com.evil.example", "https://evillogic.azure.com", f"https://u:p@{HOST}"],
)
def test_another_address_is_refused_and_never_repeated(start):
    form = TeamsForm({"secret_url": f"{start}{fake.PATH}"})
    assert "copy it whole" in str(form.errors)
    assert "fake-signature" not in str(form.errors)
    assert "https://….logic.azure.com/" in str(form.errors)


def test_a_card_is_json_in_utf_8(teams, peer):
    send(teams, text="È così 🙂")
    assert "È così 🙂".encode() in peer.calls[0].body
    assert json.loads(peer.calls[0].body)
