import pytest
from urllib3 import Timeout

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import http
from channels.providers.slack import SlackForm, SlackWebhookForm, content
from tests.fakes import slack as fake
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import FakeHttp, Reply

from .conftest import addressees, make_message

URL = "https://status.example.com/i/9f3k"
WEBHOOK = "https://hooks.slack.com/services/T0/B0/fake"
# What somebody could write or paste, and what must neither notify people nor disappear.
NASTY = "Q&A <b>: <!channel> <!here|x> <@U123> <#C123|c> @channel @here #general &lt;!channel&gt; *bold* :fire: a<b>c"
LONG = "\n\n".join(f"Paragraph {n}. " + "Card payments fail. " * 40 for n in range(12))


@pytest.fixture
def peer(closing):
    peer = FakeHttp(fake.api)
    closing.callback(peer.close)
    return peer


@pytest.fixture
def hook(closing):
    peer = FakeHttp(fake.webhook)
    closing.callback(peer.close)
    return peer


@pytest.fixture
def slack(make_provider, peer):
    provider = make_provider("slack", bot_token=fake.TOKEN, channel=fake.CHANNEL)
    provider.api = peer.url
    return provider


@pytest.fixture
def webhook(make_provider, hook):
    return make_provider("slack_webhook", secret_url=f"{hook.url}/services/T0/B0/fake")


def send(provider, **parts):
    [outcome] = provider.send(make_message(parts={"text": "Card payments fail.", "url": URL, **parts}), addressees(1))
    return outcome


# ── What arrives ──


def test_it_posts_a_header_and_the_words(slack, peer):
    outcome = send(slack, text="Card payments fail.\n\nWe are on it:\nnext at 15:00.")
    assert outcome.error is None
    assert outcome.ref == fake.TS
    [call] = peer.calls
    assert (call.method, call.path) == ("POST", "/chat.postMessage")
    assert call.headers["Content-Type"] == "application/json; charset=utf-8"
    section = f"Card payments fail.\n\nWe are on it:\nnext at 15:00.\n\n<{URL}>"
    assert call.json == {
        "channel": fake.CHANNEL,
        "text": f"Card payments: partial outage\n\n{section}",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "Card payments: partial outage"}},
            {"type": "section", "text": {"type": "mrkdwn", "text": section, "verbatim": True}},
        ],
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "metadata": {"event_type": "incident_update", "event_payload": {"thread": "incident-9f3kabcd"}},
    }


def test_a_webhook_posts_the_same_words(webhook, hook):
    outcome = send(webhook)
    assert outcome.error is None
    assert outcome.ref == "dispatch-42"
    [call] = hook.calls
    assert call.path == "/services/T0/B0/fake"
    assert fake.shown(call.json) == f"Card payments: partial outage\n\nCard payments fail.\n\n{URL}"
    assert "channel" not in call.json


def test_a_webhook_keeps_the_number_of_the_request(webhook, hook):
    hook.script(Reply(200, b"ok", {"x-slack-req-id": "0a1b"}))
    assert send(webhook).ref == "0a1b"


def test_a_message_without_an_address_has_no_link(slack, peer):
    assert send(slack, url="").error is None
    assert fake.shown(peer.calls[0].json).endswith("Card payments fail.")


def test_words_mention_nobody_and_stay_as_they_are(slack, peer):
    assert send(slack, subject=f"About {NASTY}"[:100], text=NASTY).error is None
    message = peer.calls[0].json
    assert fake.mentions(message) == []
    assert fake.shown(message) == f"{f'About {NASTY}'[:100]}\n\n{NASTY}\n\n{URL}"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("See https://x.example/a?b=1&c=2.", "See <https://x.example/a?b=1&amp;c=2>."),
        ("(https://x.example/a), then", "(<https://x.example/a>), then"),
        ("https://x.example/|<!channel>", "<https://x.example/>|&lt;!channel&gt;"),
        ("Write https:// first", "Write https:// first"),
        ("https://x.example/#top https://y.example", "<https://x.example/#top> <https://y.example>"),
    ],
)
def test_addresses_become_links_and_nothing_else(text, sent):
    assert content({"subject": "x", "text": text})["blocks"][1]["text"]["text"] == sent


def test_long_words_are_divided_between_paragraphs_and_never_cut(slack, peer):
    assert send(slack, text=LONG).error is None
    message = peer.calls[0].json
    assert 3 < len(message["blocks"]) < 12
    whole = [p.strip() for p in LONG.split("\n\n")]
    assert fake.shown(message).split("\n\n") == ["Card payments: partial outage", *whole, URL]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"subject": "x" * 151}, "subject-too-long"),
        ({"subject": "&" * 31}, "subject-too-long"),  # five characters each, as Slack counts
        ({"text": "x" * 3001}, "paragraph-too-long"),
        ({"text": "\n\n".join(["x" * 2000] * 21)}, "too-long"),
        ({"text": " \n "}, "empty"),
        ({"subject": ""}, "empty"),
    ],
)
def test_it_refuses_what_slack_would_not_take(slack, peer, parts, code):
    error = send(slack, **parts).error
    assert type(error) is Permanent
    assert error.code == code
    assert not peer.calls


def test_what_just_fits_goes_out_whole(slack, peer):
    assert send(slack, subject="è" * 150, text="è" * 3000).error is None
    assert fake.shown(peer.calls[0].json) == f"{'è' * 150}\n\n{'è' * 3000}\n\n{URL}"


# ── What goes wrong ──


def no(error, **more):
    return Reply(body={"ok": False, "error": error, **more})


@pytest.mark.parametrize(
    ("step", "kind", "said"),
    [
        (no("not_in_channel"), Permanent, "/invite"),
        (no("channel_not_found"), Permanent, "no such channel"),
        (no("is_archived"), Permanent, "is_archived"),
        (no("missing_scope", needed="chat:write"), Permanent, '"needed": "chat:write"'),
        (no("token_revoked"), Permanent, "token_revoked"),
        (no("something_new"), Permanent, "something_new"),
        (Reply(403, b"blocked by a proxy"), Permanent, "403: blocked by a proxy"),
        (no("ratelimited"), Throttled, "ratelimited"),
        (Reply(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "7"}), Throttled, "429"),
    ],
)
def test_what_every_message_would_meet_is_raised(slack, peer, step, kind, said):
    peer.script(step)
    with pytest.raises(kind) as caught:
        send(slack)
    assert said in str(caught.value)
    assert len(peer.calls) == 1


def test_it_waits_as_long_as_slack_says(slack, peer):
    peer.script(Reply(200, {"ok": False, "error": "ratelimited"}, {"Retry-After": "7"}))
    with pytest.raises(Throttled) as caught:
        send(slack)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("code", ["msg_too_long", "msg_blocks_too_long", "invalid_blocks", "no_text"])
def test_what_this_message_meets_is_an_outcome(slack, peer, code):
    peer.script(no(code, response_metadata={"messages": ["[ERROR] too long"]}))
    error = send(slack).error
    assert type(error) is Permanent
    assert error.code == code
    assert "[ERROR] too long" in error.detail


@pytest.mark.parametrize(
    "step",
    [
        Drop(),
        Drop(cut=True),
        Hang(),
        no("fatal_error"),
        no("internal_error"),
        Reply(500, b"oops"),
        Reply(200, b"<html>"),
        Reply(200, []),
        Reply(200, {"ok": True}),
    ],
)
def test_perhaps_posted_is_uncertain_and_never_repeated(slack, peer, monkeypatch, step):
    monkeypatch.setattr(http, "TIMEOUT", Timeout(connect=1, read=0.5))
    peer.script(step)
    assert type(send(slack).error) is Uncertain
    assert len(peer.calls) == 1


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (403, "action_prohibited", Permanent),
        (403, "invalid_token", Permanent),
        (404, "channel_not_found", Permanent),
        (404, "no_service", Permanent),
        (410, "channel_is_archived", Permanent),
        (400, "team_disabled", Permanent),
        (429, "rate_limited", Throttled),
    ],
)
def test_a_webhook_that_does_not_work_is_raised(webhook, hook, status, word, kind):
    hook.script(Reply(status, word.encode()))
    with pytest.raises(kind) as caught:
        send(webhook)
    assert word in str(caught.value)


def test_a_webhook_that_answers_in_no_word_is_raised_by_its_status(webhook, hook):
    hook.script(Reply(404, b"<html>Not found</html>"))
    with pytest.raises(Permanent) as caught:
        send(webhook)
    assert caught.value.code == "404"


@pytest.mark.parametrize("word", ["invalid_payload", "invalid_blocks", "too_many_attachments"])
def test_a_message_that_a_webhook_refuses_is_an_outcome(webhook, hook, word):
    hook.script(Reply(400, word.encode()))
    assert type(send(webhook).error) is Permanent


@pytest.mark.parametrize("step", [Drop(), Reply(500, b"rollup_error"), Reply(200, b"<html>"), Reply(200, {})])
def test_what_a_webhook_perhaps_posted_is_uncertain(webhook, hook, step):
    hook.script(step)
    assert type(send(webhook).error) is Uncertain
    assert len(hook.calls) == 1


def test_nobody_listening_means_not_posted(make_provider):
    webhook = make_provider("slack_webhook", secret_url="http://127.0.0.1:1/services/T0/B0/fake-never-seen")
    for attempt in (webhook.probe, lambda: send(webhook)):
        with pytest.raises(Transient) as caught:
            attempt()
        assert "never-seen" not in str(caught.value)


# ── Testing and settings ──


def test_the_probe_tells_workspace_and_bot_and_posts_nothing(slack, peer):
    said = slack.probe()
    assert "“Example” as @portal" in said
    assert [call.path for call in peer.calls] == ["/auth.test"]


def test_the_probe_finds_a_token_that_may_not_post(slack, peer):
    peer.script(Reply(200, {"ok": True, "team": "Example", "user": "portal"}, {"X-OAuth-Scopes": "channels:read"}))
    with pytest.raises(Permanent) as caught:
        slack.probe()
    assert caught.value.code == "missing_scope"


def test_the_probe_refuses_a_wrong_token_and_does_not_show_it(make_provider, peer):
    slack = make_provider("slack", bot_token="xoxb-wrong", channel=fake.CHANNEL)
    slack.api = peer.url
    with pytest.raises(Permanent) as caught:
        slack.probe()
    assert caught.value.code == "invalid_auth"
    assert "xoxb-wrong" not in str(caught.value)


@pytest.mark.parametrize("word", ["no_text", "invalid_payload", "missing_text_or_fallback_or_attachments"])
def test_the_probe_of_a_webhook_posts_nothing(webhook, hook, word):
    hook.script(Reply(400, word.encode()))
    assert "Nothing was posted" in webhook.probe()
    [call] = hook.calls
    assert call.json == {}


@pytest.mark.parametrize("step", [Reply(404, b"no_service"), Reply(403, b"invalid_token"), Reply(200, b"ok")])
def test_the_probe_of_a_webhook_finds_what_is_wrong(webhook, hook, step):
    hook.script(step)
    with pytest.raises(Permanent):
        webhook.probe()


@pytest.mark.parametrize(
    "value",
    [
        "http://hooks.slack.com/services/T0/B0/hush",
        "https://hooks.slack.com.evil.example/services/T0/B0/hush",
        "https://evilhooks.slack.com/services/T0/B0/hush",
        "https://user@hooks.slack.com/services/T0/B0/hush",
        "https://hooks.slack.com:8443/services/T0/B0/hush",
        "https://hooks.slack.com:port/services/T0/B0/hush",
        "https://hooks.slack.com/triggers/T0/1/hush",
        "https://hooks.slack.com/services/",
        "https://hooks.slack.com/services/T0/B0/hu sh",
        "https://[hooks.slack.com/services/hush",
        "hush",
    ],
)
def test_the_address_of_a_webhook_is_checked_and_never_repeated(value):
    form = SlackWebhookForm({"secret_url": value})
    assert "https://hooks.slack.com/services/" in str(form.errors)
    assert "hush" not in str(form.errors)


def test_a_webhook_of_slack_is_taken():
    assert SlackWebhookForm({"secret_url": WEBHOOK}).is_valid()
    assert not SlackWebhookForm({"secret_url": ""}).is_valid()


def test_the_settings_are_explained_without_the_token():
    form = SlackForm({"bot_token": "xoxp-a-user-token", "channel": "#general"})
    assert "begins with xoxb-" in str(form.errors)
    assert "user-token" not in str(form.errors)
    assert "“#general” is not the ID of a channel" in str(form.errors)
