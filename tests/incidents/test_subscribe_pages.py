"""Subscribing by oneself: nobody learns what is known, nobody is flooded, and nothing is sent without a yes."""

import html
import json
import re
from datetime import timedelta

import pytest
import time_machine
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from channels import links, mailbox
from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.models import Channel, Recipient, Suppression
from channels.secrets import address_hash, network_hash
from channels.sms import segments
from incidents import confirming, subscribing, tasks
from incidents.models import Component, SubscriptionRequest
from incidents.statuspage.subscribe import network_of
from incidents.statuspage.subscribe_forms import FORM_SALT
from tests import make
from tests.fakes.browser import Browser

pytestmark = pytest.mark.django_db
ANNA = "Anna@Example.com"


@pytest.fixture
def email(db) -> Channel:
    return make.channel()


def stamp(age: int = 60, reader: str = "") -> str:
    """As a page has it; `reader` is who reads it, where that is known."""
    with time_machine.travel(timezone.now() - timedelta(seconds=age), tick=False):
        return links.signed(FORM_SALT + reader, "form")


def filled(**changes) -> dict:
    """What the form posts."""
    data = {
        "medium": "email",
        "address": ANNA,
        "what": "all",
        "least_severity": "sev4",
        "maintenance": "on",
        "locale": "en",
        "time_zone": "Europe/Rome",
        "website": "",
        "stamp": stamp(),
    }
    return {name: value for name, value in {**data, **changes}.items() if value is not None}


def ask(client: Client | None = None, **changes) -> SubscriptionRequest:
    response = (client or Client()).post("/subscribe/", filled(**changes))
    assert response.status_code == 303, response.content.decode()
    return SubscriptionRequest.objects.latest("pk")


def work() -> None:
    """What a worker finds by itself."""
    tasks.sweep_requests()


def letters(to: str = "Anna@example.com") -> list:
    return [one for one in mailbox.letters("", "", 0, 50) if one.to == to]


def link_in(letter) -> str:
    """The path of the one link in a message."""
    [path] = set(re.findall(r"http://127\.0\.0\.1:8000(/(?:subscribe|subscription)/\S+/)", letter.text))
    return path


def subscribed(address: str = "Anna@example.com", **kwargs) -> Recipient:
    one = Recipient.objects.create(medium="email", address=address, confirmed_at=timezone.now(), **kwargs)
    one.subscriptions.create()
    return one


def suppressed(reason: str, address: str = "Anna@example.com") -> None:
    Suppression.objects.create(medium="email", address_hash=address_hash("email", address), reason=reason)


# ── Double opt-in ──


def test_from_the_form_to_a_subscriber_with_proof(client, email):
    checkout, basket, ledger = (
        make.component("Checkout", "Shop"),
        make.component("Basket", "Shop"),
        make.component("Ledger", "Bank"),
    )
    parts = [f"group-{checkout.group.uid}", f"component-{basket.uid}", f"component-{ledger.uid}"]
    ask(client, what="some", parts=parts, least_severity="sev2", maintenance=None, locale="it", time_zone="Asia/Tokyo")
    assert not Recipient.objects.exists()
    work()
    [letter] = letters()
    assert letter.subject == "Commsportal: Conferma la tua iscrizione"
    assert "Shop e Ledger" in letter.text
    path = link_in(letter)

    shown = client.get(path)
    assert shown.status_code == 200
    assert "A•••@example.com" in shown.content.decode()
    assert not Recipient.objects.exists()

    assert client.post(path).status_code == 303
    person = Recipient.objects.get()
    one = SubscriptionRequest.objects.get()
    assert (person.address, person.locale, person.time_zone) == ("Anna@example.com", "it", "Asia/Tokyo")
    assert person.confirmed_at == one.confirmed_at
    assert person.consent_source == f"Status page, request {one.pk}"
    chosen = {(s.component, s.group, s.least_severity, s.maintenance) for s in person.subscriptions.all()}
    assert chosen == {(None, checkout.group, "sev2", False), (ledger, None, "sev2", False)}
    assert one.address == ""
    assert one.address_hash == person.address_hash
    assert one.wording.startswith("Commsportal will write to this address about its incidents")
    assert one.wording_locale == "en"
    assert one.ip_hash == network_hash("127.0.0.1")
    assert one.outcome == "sent"


def test_the_sentence_agreed_to_is_kept_in_the_language_it_was_shown_in(email):
    assert Client().post("/subscribe/?lang=it", filled()).status_code == 303
    one = SubscriptionRequest.objects.get()
    assert one.wording.startswith("Commsportal scriverà a questo indirizzo")
    assert one.wording_locale == "it"
    page = html.unescape(Client().get("/subscribe/?lang=it").content.decode())
    assert one.wording in page


def test_a_link_confirms_once(client, email):
    ask(client)
    work()
    path = link_in(letters()[0])
    client.post(path)
    suppressed("unsubscribed")
    Recipient.objects.get().subscriptions.all().delete()
    for method in (client.get, client.post):
        answer = method(path)
        assert answer.status_code == 303
        assert answer["Location"].startswith("/subscription/")
    assert Suppression.objects.count() == 1
    assert not Recipient.objects.get().subscriptions.exists()


def test_an_earlier_link_does_not_undo_what_was_chosen_since(client, email):
    ask(client), ask(client)  # a double click
    work()
    one, other = (link_in(letter) for letter in letters())
    client.post(one)
    person = Recipient.objects.get()
    subscribing.change(person, {**subscribing.wanted_by(person), "maintenance": False}, "en", "UTC")
    assert client.get(other).status_code == client.post(other).status_code == 410
    assert not person.subscriptions.get().maintenance


def test_a_link_is_good_for_three_days(client, email):
    ask(client)
    work()
    path = link_in(letters()[0])
    with time_machine.travel(timezone.now() + timedelta(hours=71, minutes=59), tick=False):
        assert client.get(path).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(hours=72, minutes=1), tick=False):
        for method in (client.get, client.post):
            answer = method(path)
            assert answer.status_code == 410
            assert "not good any more" in answer.content.decode()
        assert not Recipient.objects.exists()
        work()
    assert SubscriptionRequest.objects.get().address == ""
    with time_machine.travel(timezone.now() + timedelta(days=31), tick=False):
        work()
        assert not SubscriptionRequest.objects.exists()
        assert client.get(path).status_code == 410


def test_proof_outlives_what_was_never_confirmed(client, email):
    ask(client)
    work()
    client.post(link_in(letters()[0]))
    with time_machine.travel(timezone.now() + timedelta(days=400), tick=False):
        work()
        assert SubscriptionRequest.objects.get().confirmed_at


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a:b:c",
        "%00",
        "²",
        "W10:1abc:" + "x" * 43,
        (links.UNSUBSCRIBE_SALT, 1),
        (subscribing.CONFIRM_SALT, "1"),
        (links.MANAGE_SALT, [1]),
        (FORM_SALT, 1),
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("page", ["/subscribe/confirm/", "/subscription/"])
def test_a_forged_link_or_one_for_another_purpose_is_not_found(client, page, token):
    text = token if isinstance(token, str) else links.signed(*token)
    for method in (client.get, client.post):
        answer = method(f"{page}{text}/")
        assert answer.status_code == 404
        assert "This link does not work" in answer.content.decode()


def test_a_link_that_lost_its_end_is_not_found(client, email):
    one = ask(client)
    path = subscribing.confirm_url(one).removeprefix("http://127.0.0.1:8000")
    for length in range(len("/subscribe/confirm/") + 1, len(path) - 1, 7):
        assert client.get(path[:length] + "/").status_code == 404


def test_what_is_erased_is_gone(client, email):
    assert client.get(f"/subscribe/confirm/{links.signed(subscribing.CONFIRM_SALT, 10**30)}/").status_code in (404, 410)
    assert client.get(f"/subscription/{links.signed(links.MANAGE_SALT, 99)}/").status_code == 410
    ask(client)
    work()
    path = link_in(letters()[0])
    client.post(path)
    Recipient.objects.all().delete()
    assert client.get(path).status_code == 410


def test_confirming_lifts_what_unsubscribing_stopped_and_nothing_else(client, email):
    person = subscribed()
    suppressed("unsubscribed")
    ask(client, locale="it")
    work()
    [letter] = letters()
    client.post(link_in(letter))
    assert not Suppression.objects.exists()
    person.refresh_from_db()
    assert person.locale == "it"
    for reason in ("bounced", "complained", "manual"):
        Suppression.objects.all().delete()
        suppressed(reason)
        one = ask(client, address=f"{reason}@example.com")
        Suppression.objects.update(address_hash=one.address_hash)
        work()
        one.refresh_from_db()
        assert (one.outcome, one.address) == ("suppressed", "")
        assert letters(f"{reason}@example.com") == []


def test_who_wrote_the_address_in_other_letters_is_the_same_person(client, email):
    person = subscribed("anna@example.com")
    Recipient.objects.update(confirmed_at=None)
    ask(client)
    work()
    client.post(link_in(letters()[0]))
    assert Recipient.objects.get().pk == person.pk


def test_a_subscriber_is_told_so_and_led_to_their_choice(client, email):
    person = subscribed()
    ask(client, least_severity="sev1")
    work()
    [letter] = letters()
    assert letter.subject == "Commsportal: You are subscribed already"
    assert link_in(letter).startswith("/subscription/")
    assert client.get(link_in(letter)).status_code == 200
    assert person.subscriptions.get().least_severity == "sev4"


# ── Nobody learns anything ──


def test_every_address_is_answered_with_the_same_bytes_and_the_same_work(email, settings):
    settings.SUBSCRIBE_NETWORK_PER_HOUR = 100
    subscribed("known@example.com")
    suppressed("complained", "stopped@example.com")
    settings.SUBSCRIBE_ADDRESS_PER_DAY = 1
    ask(address="limited@example.com")
    answers, statements = {}, {}
    for name in ("unknown", "known", "stopped", "limited"):
        client = Client()
        seen: list[str] = []
        with connection.execute_wrapper(lambda run, sql, *rest: (seen.append(sql.split()[0]), run(sql, *rest))[1]):  # noqa: B023
            first = client.post("/subscribe/", filled(address=f"{name}@example.com"))
            then = client.get(first["Location"])
        answers[name] = (first.status_code, dict(first.items()), first.content, then.status_code, then.content)
        statements[name] = seen
    assert len({repr(one) for one in answers.values()}) == 1
    assert statements["unknown"] == statements["known"] == statements["stopped"]
    # One that is limited is not put on the queue, where it would stand in the way of incidents; else it is the same.
    assert statements["limited"].count("SELECT") == statements["unknown"].count("SELECT")
    assert "If this address can be written to, a link is on its way." in answers["known"][4].decode()


def test_no_cookie_and_nothing_kept_by_anybody(client, email):
    person = subscribed()
    own = links.manage_url(person.pk).removeprefix("http://127.0.0.1:8000")
    paths = ["/subscribe/", "/subscribe/sent/", "/subscribe/confirm/x/", own]
    for path in paths:
        answer = client.get(path)
        assert answer["Cache-Control"] == "no-store"
        assert answer["Referrer-Policy"] == "no-referrer"
        assert "noindex" in answer["X-Robots-Tag"]
        assert not answer.cookies
        assert "Cookie" not in answer.get("Vary", "")


def test_no_page_names_the_key_of_its_own_address(client, email):
    person = subscribed()
    token = links.manage_url(person.pk).split("/")[-2]
    page = client.get(f"/subscription/{token}/").content.decode()
    assert token not in page
    assert person.address not in page


# ── A browser ──

PUSH = {"vapid_private_secret": "A" * 42 + "E"}
ENDPOINT = "https://fcm.googleapis.com/fcm/send/AbC:d_e-f"


def push_channel() -> Channel:
    return make.channel("webpush", config={"contact_email": "ops@example.com"}, secrets=PUSH)


def test_a_browser_is_asked_like_any_other_address(client, email):
    channel, browser = push_channel(), Browser()
    page = client.get("/subscribe/").content.decode()
    assert f'data-push-key="{channel.get_provider().public_key()}"' in page
    assert 'value="webpush"' not in page
    one = ask(client, medium="webpush", address=ENDPOINT, **browser.keys)
    assert (one.domain, one.wanted["keys"]) == ("fcm.googleapis.com", browser.keys)
    parts = confirming.words(one, "push", None)
    assert parts["subject"] == "Commsportal: Confirm your subscription"
    assert not Recipient.objects.exists()
    path = parts["url"].removeprefix("http://127.0.0.1:8000")
    assert "https://fcm.googleapis.com/•••" in client.get(path).content.decode()
    client.post(path)
    person = Recipient.objects.get()
    assert (person.medium, person.address, person.attributes) == ("webpush", ENDPOINT, browser.keys)
    one.refresh_from_db()
    assert "keys" not in one.wanted


def test_a_browser_may_be_the_only_way(client):
    push_channel()
    page = client.get("/subscribe/").content.decode()
    assert 'name="address"' not in page
    assert "<noscript>" in page


@pytest.mark.parametrize(
    "keys", [{}, {"p256dh": "AAAA"}, {"auth": "not base64!"}, {"auth": "A" * 101}, {"p256dh": "²" * 87}]
)
def test_a_browser_without_its_keys_is_refused(client, email, keys):
    push_channel()
    given = ({} if not keys else Browser().keys) | keys
    answer = client.post("/subscribe/", filled(medium="webpush", address=ENDPOINT, **given))
    assert answer.status_code == 422
    assert not SubscriptionRequest.objects.exists()


@pytest.mark.parametrize("address", ["http://fcm.googleapis.com/x", "https://u:p@example.com/x", "javascript:alert(1)"])
def test_the_address_of_a_browser_is_a_secure_one(client, address):
    push_channel()
    answer = client.post("/subscribe/", filled(medium="webpush", address=address, **Browser().keys))
    assert answer.status_code == 422


def test_a_channel_whose_credentials_are_lost_takes_nothing_else_away(client, email):
    make.channel("webpush", config={"contact_email": "ops@example.com"}, secrets={})
    page = client.get("/subscribe/")
    assert page.status_code == 200
    assert "subscribe.js" not in page.content.decode()


def test_a_browser_is_not_offered_without_a_channel(client, email):
    answer = client.post("/subscribe/", filled(medium="webpush", address=ENDPOINT, **Browser().keys))
    assert answer.status_code == 422
    assert "subscribe.js" not in client.get("/subscribe/").content.decode()


# ── Limits ──


def outcomes() -> list[str]:
    return list(SubscriptionRequest.objects.order_by("pk").values_list("outcome", flat=True))


def test_an_address_is_written_to_three_times_a_day(email, settings):
    settings.SUBSCRIBE_NETWORK_PER_HOUR = 100
    for _n in range(5):
        ask()
        work()
    assert outcomes() == ["sent"] * 3 + ["limited"] * 2
    assert len(letters()) == 3
    assert set(SubscriptionRequest.objects.filter(outcome="limited").values_list("address", flat=True)) == {""}
    with time_machine.travel(timezone.now() + timedelta(hours=24, minutes=1), tick=False):
        ask()
        work()
        assert len(letters()) == 4


def test_requests_of_one_network_are_limited_by_the_hour(email):
    for n in range(12):
        ask(Client(REMOTE_ADDR="192.0.2.1"), address=f"p{n}@d{n}.example.com")
    ask(Client(REMOTE_ADDR="192.0.2.2"), address="other@elsewhere.example.com")
    assert outcomes() == ["waiting"] * 10 + ["limited"] * 2 + ["waiting"]
    with time_machine.travel(timezone.now() + timedelta(minutes=61), tick=False):
        assert ask(Client(REMOTE_ADDR="192.0.2.1"), address="late@example.com").outcome == "waiting"


def test_a_domain_is_limited_unless_its_people_confirm(email, settings):
    settings.SUBSCRIBE_NETWORK_PER_HOUR = 100
    settings.SUBSCRIBE_DOMAIN_PER_HOUR = 4
    for n in range(6):
        ask(address=f"p{n}@Victim.example.com")
    assert outcomes() == ["waiting"] * 4 + ["limited"] * 2
    SubscriptionRequest.objects.filter(outcome="waiting").update(confirmed_at=timezone.now())
    assert ask(address="p7@victim.example.com").outcome == "waiting"


def test_what_came_through_together_is_limited_by_the_worker(email, settings):
    """Two web servers may have counted before either had written."""
    settings.SUBSCRIBE_ADDRESS_PER_DAY = 3
    one = ask()
    for _n in range(4):
        one.pk = None
        one.save()
    work()
    assert outcomes() == ["sent"] * 3 + ["limited"] * 2
    assert len(letters()) == 3


def test_a_flood_does_not_fill_the_queue(email, settings, monkeypatch):
    settings.SUBSCRIBE_NETWORK_PER_HOUR = 100
    queued = []
    monkeypatch.setattr("channels.queue.put", lambda task, *args: queued.append(args))
    for n in range(25):
        ask(address=f"p{n}@d{n}.example.com")
    assert len(queued) == subscribing.ENOUGH
    work()
    assert outcomes() == ["sent"] * 25


@pytest.mark.parametrize(
    ("meta", "proxied", "found"),
    [
        ({"REMOTE_ADDR": "192.0.2.7", "HTTP_X_FORWARDED_FOR": "198.51.100.1"}, False, "192.0.2.7"),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.1.1.1, 198.51.100.1"}, True, "198.51.100.1"),
        ({"REMOTE_ADDR": "127.0.0.1"}, True, "127.0.0.1"),
        ({"REMOTE_ADDR": "2001:db8:1:2:3:4:5:6"}, False, "2001:db8:1:2::/64"),
        ({"REMOTE_ADDR": "::ffff:192.0.2.7"}, False, "192.0.2.7"),
        ({"REMOTE_ADDR": ""}, False, ""),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "<script>"}, True, ""),
    ],
)
def test_only_a_proxy_of_ours_is_believed_where_a_reader_sits(rf, settings, meta, proxied, found):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if proxied else None
    request = rf.get("/subscribe/")
    request.META |= meta
    assert network_of(request) == found


# ── Sending ──


def test_a_crash_in_mid_send_never_sends_twice(email):
    one = ask()
    SubscriptionRequest.objects.update(outcome="sending", sent_at=timezone.now())
    work()
    assert letters() == []
    with time_machine.travel(timezone.now() + timedelta(minutes=11), tick=False):
        work()
        tasks.confirm(one.pk)
    assert outcomes() == ["unknown"]
    assert letters() == []


def test_a_task_that_runs_twice_sends_once(email):
    one = ask()
    tasks.confirm(one.pk)
    (mailbox.folder() / f"subscription-{one.pk}.json").unlink()
    tasks.confirm(one.pk)
    tasks.confirm(10**9)
    assert letters() == []


@pytest.mark.parametrize(
    ("error", "outcome", "kept"),
    [
        (Transient("421", "later"), "waiting", True),
        (Throttled("429", "slowly"), "waiting", True),
        (Permanent("550", "no such user", bad_address=True), "failed", False),
        (Uncertain("no-reply"), "unknown", True),
        (RuntimeError("a bug"), "unknown", True),
    ],
)
def test_what_a_provider_says_decides(email, monkeypatch, error, outcome, kept):
    def send(self, message, recipients):
        raise error

    monkeypatch.setattr(type(email.get_provider()), "send", send)
    one = ask()
    work()
    one.refresh_from_db()
    assert (one.outcome, bool(one.address)) == (outcome, kept)
    assert not Suppression.objects.exists()
    monkeypatch.undo()
    with time_machine.travel(timezone.now() + timedelta(minutes=2), tick=False):
        work()
        assert len(letters()) == (outcome == "waiting")


def test_what_cannot_be_sent_for_an_hour_is_given_up(email):
    ask()
    Channel.objects.update(enabled=False)
    work()
    assert outcomes() == ["waiting"]
    with time_machine.travel(timezone.now() + timedelta(minutes=61), tick=False):
        work()
    one = SubscriptionRequest.objects.get()
    assert (one.outcome, one.address) == ("failed", "")


@pytest.mark.parametrize("locale", ["en", "it"])
@pytest.mark.parametrize("known", [False, True])
def test_an_sms_takes_one_segment(settings, locale, known):
    settings.PORTAL_NAME, settings.PORTAL_URL = "Example Bank", "https://status.example.com"
    person = make.recipients(1, medium="sms")[0] if known else None
    one = SubscriptionRequest(pk=123456, medium="sms", address="+393331234567", locale=locale)
    text = confirming.words(one, "sms", person)["text"]
    assert "https://status.example.com/" in text
    assert (segments(text).encoding, segments(text).count) == ("GSM-7", 1)


def test_a_webhook_gets_an_event_to_confirm_by(client):
    make.channel("webhook", secrets={"signing_secret": "whsec_" + "A" * 40})
    one = ask(client, medium="webhook", address="https://Hooks.example.com/in")
    assert (one.domain, one.address) == ("hooks.example.com", "https://hooks.example.com/in")
    said = json.loads(confirming.words(one, "event", None)["json"])
    assert said["type"] == "subscription.confirmation"
    assert said["subscription"]["expires_at"] == one.closes_at.isoformat()
    path = said["subscription"]["url"].removeprefix("http://127.0.0.1:8000")
    assert client.post(path, b"", content_type="application/json").status_code == 303
    assert Recipient.objects.get().medium == "webhook"


@pytest.mark.parametrize(
    ("provider", "medium", "address"),
    [
        ("slack_subscribers", "slack", "https://hooks.slack.com/services/T0/B0/x"),
        ("teams_subscribers", "teams", "https://x.api.powerplatform.com/workflows/1"),
    ],
)
def test_a_channel_of_ones_own_chat_is_asked_there(client, provider, medium, address):
    channel = make.channel(provider)
    one = ask(client, medium=medium, address=address)
    parts = confirming.words(one, channel.capabilities.form, None)
    assert set(parts) == {"subject", "text", "url"}
    assert parts["url"] not in parts["text"]
    page = client.get(parts["url"].removeprefix("http://127.0.0.1:8000")).content.decode()
    assert address not in page
    assert client.post(parts["url"].removeprefix("http://127.0.0.1:8000")).status_code == 303
    assert Recipient.objects.get().medium == medium


def test_an_email_has_no_unsubscribe_link_yet(email):
    ask()
    work()
    [letter] = letters()
    assert "unsubscribe" not in (letter.html + letter.text).lower()
    assert "[[" not in letter.html + letter.text


# ── The form ──


def test_offered_is_what_an_enabled_channel_writes_to(client):
    page = client.get("/subscribe/").content.decode()
    assert "history.atom" in page
    assert 'name="address"' not in page
    assert client.post("/subscribe/", filled()).status_code == 422
    make.channel()
    make.channel("outbox_sms", enabled=False)
    make.channel("outbox_post")
    page = client.get("/subscribe/").content.decode()
    assert 'type="email"' in page
    assert "SMS" not in page
    Channel.objects.update(enabled=True)
    assert "SMS: +442071234567" in client.get("/subscribe/").content.decode()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"address": ""}, "Write the address"),
        ({"address": "nobody"}, "“nobody” is not an email address"),
        ({"address": "a@example.com\r\nBcc: b@example.com"}, "is not an email address"),
        ({"address": "a@example.com\nBcc: b@example.com"}, "is not an email address"),
        ({"address": "an\0na@example.com"}, "Character 3 (U+0000) is invisible"),
        ({"address": "an\u200bna@example.com"}, "Character 3 (U+200B) is invisible"),
        ({"address": "<script>alert(1)</script>@example.com"}, "is not an email address"),
        ({"address": "x" * 2001}, "at most 2000 can be kept"),
        ({"medium": "broadcast"}, "is not offered"),
        ({"medium": "sms"}, "is not offered"),
        ({"what": "some"}, "Nothing is chosen"),
        ({"what": "some", "parts": ["component-nope"]}, "is not in the list any more"),
        ({"locale": "xx"}, "is not in the list any more"),
        ({"time_zone": "../../etc/passwd"}, "is not in the list any more"),
        ({"least_severity": "sev9"}, "is not in the list any more"),
        ({"what": "neither"}, "is not in the list any more"),
        *[({name: None}, "Choose one from the list.") for name in ("medium", "what", "least_severity", "locale")],
        ({"stamp": ""}, "open for too long"),
        ({"stamp": "forged"}, "open for too long"),
        ({"stamp": "ImZvcm0i:1xWbM5:Z87SmwXw-pc71ANW2LX9cErGJr0h6MW8aRA25_olstc"}, "open for too long"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_kept(client, email, changes, said):
    answer = client.post("/subscribe/", filled(**changes))
    page = html.unescape(answer.content.decode())
    assert answer.status_code == 422
    assert said in page
    assert "<script>alert" not in answer.content.decode()
    assert not SubscriptionRequest.objects.exists()


def stamp_in(page: str) -> str:
    return re.search(r'name="stamp" value="([^"]+)"', page)[1]


def test_who_is_quick_is_asked_to_press_once_more_and_finds_all_they_wrote(client, email):
    quick = client.post("/subscribe/", filled(stamp=stamp(0), least_severity="sev2"))
    page = quick.content.decode()
    assert quick.status_code == 422
    assert "Please press the button once more" in page
    assert f'value="{ANNA}"' in page
    assert '<option value="sev2" selected>' in page
    assert not SubscriptionRequest.objects.exists()
    ask(client, stamp=stamp_in(page))


def test_who_mends_a_mistake_is_never_too_quick(client, email):
    page = client.post("/subscribe/", filled(stamp=stamp(0), address="anna")).content.decode()
    assert "is not an email address" in page
    assert "press the button" not in page
    ask(client, stamp=stamp_in(page))


def test_a_form_is_good_for_a_day(client, email):
    late = client.post("/subscribe/", filled(stamp=stamp(25 * 3600)))
    assert late.status_code == 422
    ask(client, stamp=stamp_in(late.content.decode()))


def test_the_trap_is_answered_like_everybody_and_keeps_nothing(client, email):
    answer = client.post("/subscribe/", filled(website="https://spam.example"))
    assert (answer.status_code, answer["Location"]) == (303, "/subscribe/sent/")
    assert not SubscriptionRequest.objects.exists()


def test_an_oversized_body_is_refused(client, email):
    assert client.post("/subscribe/", filled(junk="x" * 70_000)).status_code == 413
    many = "&".join(f"f{n}=" for n in range(1500))
    assert client.post("/subscribe/", many, content_type="application/x-www-form-urlencoded").status_code == 400
    broken = client.post("/subscribe/", b"--x\r\nbroken", content_type="multipart/form-data; boundary=x")
    assert broken.status_code in (400, 422)


def test_what_is_not_public_is_not_offered(client, email):
    secret = make.component("Secret")
    secret.showcase = False
    secret.save()
    assert "Secret" not in client.get("/subscribe/").content.decode()
    answer = client.post("/subscribe/", filled(what="some", parts=[f"component-{secret.uid}"]))
    assert answer.status_code == 422


def test_the_number_of_queries_does_not_grow(client, email, django_assert_num_queries):
    for n in range(30):
        make.component(f"C{n}", f"Group {n % 5}")
    person = subscribed()
    path = links.manage_url(person.pk).removeprefix("http://127.0.0.1:8000")
    with django_assert_num_queries(2):
        client.get("/subscribe/")
    with django_assert_num_queries(0):
        client.get("/subscribe/sent/")
    with django_assert_num_queries(5):
        client.get(path)
    chosen = Component.objects.select_related("group")
    parts = [f"group-{chosen[0].group.uid}", f"component-{chosen[29].uid}"]
    one = ask(client, what="some", parts=parts)
    with django_assert_num_queries(3):
        client.get(subscribing.confirm_url(one).removeprefix("http://127.0.0.1:8000"))


def test_the_form_is_light(client, email):
    for n in range(30):
        make.component(f"C{n}", f"Group {n % 5}")
    assert len(client.get("/subscribe/").content) < 50_000


# ── Changing ──


def test_a_subscriber_changes_what_they_hear_about(client, email):
    checkout, hidden = make.component("Checkout", "Shop"), make.component("Hidden", "Shop")
    hidden.showcase = False
    hidden.save()
    person = subscribed(locale="it", time_zone="Pacific/Auckland")
    person.subscriptions.create(component=hidden)
    path = links.manage_url(person.pk).removeprefix("http://127.0.0.1:8000")
    page = client.get(path).content.decode()
    assert "La tua iscrizione" in page
    assert '<option value="Pacific/Auckland" selected>' in page
    data = {
        "what": "some",
        "parts": [f"component-{checkout.uid}"],
        "least_severity": "sev1",
        "locale": "en",
        "time_zone": "UTC",
    }
    answer = client.post(path, data)
    assert (answer.status_code, answer["Location"]) == (303, f"{path}?done=saved")
    assert "Saved." in client.get(answer["Location"]).content.decode()
    person.refresh_from_db()
    assert (person.locale, person.time_zone) == ("en", "UTC")
    found = {(s.component, s.least_severity, s.maintenance) for s in person.subscriptions.all()}
    assert found == {(checkout, "sev1", False), (hidden, "sev4", True)}
    page = client.get(path).content.decode()
    assert re.search(rf'value="component-{checkout.uid}" checked', page)
    assert client.post(path, data | {"what": "some", "parts": []}).status_code == 422


def test_the_unsubscribe_page_leads_to_the_choice_and_back(client, email):
    person = subscribed()
    stop = links.unsubscribe_url(person.pk).removeprefix("http://127.0.0.1:8000")
    page = client.get(stop).content.decode()
    [manage] = re.findall(r'href="(/subscription/[^"]+)"', page)
    page = client.get(manage).content.decode()
    [back] = re.findall(r'href="(/unsubscribe/[^"]+)"', page)
    client.post(back)
    assert "this address is unsubscribed" in client.get(manage).content.decode()


# ── While the database is away ──


@pytest.mark.parametrize("path", ["/subscribe/", "/subscribe/confirm/{confirm}/", "/subscription/{manage}/"])
def test_without_a_database_it_says_so_in_words(client, email, path):
    tokens = {"confirm": links.signed(subscribing.CONFIRM_SALT, 1), "manage": links.signed(links.MANAGE_SALT, 1)}

    def away(*_args):
        raise OperationalError("gone")

    with connection.execute_wrapper(away):
        for method in (client.get, client.post):
            answer = method(path.format(**tokens), headers={"accept-language": "it"})
            assert answer.status_code == 503
            assert "Ora non è possibile iscriversi" in answer.content.decode()
            assert answer["Retry-After"]
        assert client.get("/subscribe/sent/").status_code == 200


def test_a_static_copy_leads_to_the_portal_itself(client, settings):
    settings.PORTAL_URL = "https://status.example.com"
    page = client.get("/").content.decode()
    assert 'href="https://status.example.com/subscribe/"' in page


def test_who_was_stopped_for_another_reason_is_not_told_to_subscribe_again(client, email):
    person = subscribed()
    path = links.manage_url(person.pk).removeprefix("http://127.0.0.1:8000")
    stop = {"medium": person.medium, "address_hash": person.address_hash}
    one = Suppression.objects.create(reason=Suppression.Reason.UNSUBSCRIBED, **stop)
    assert "Subscribe it again" in client.get(path).content.decode()
    one.reason = Suppression.Reason.BOUNCED
    one.save()
    page = client.get(path).content.decode()
    assert "Subscribe it again" not in page
    assert "stopped for another reason" in page
