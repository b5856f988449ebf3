"""The engine and customers' servers together: from an approved update to what their programs and browsers read."""

from ipaddress import ip_network

import pytest
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from channels import delivery
from channels.forms import SendTestForm
from channels.models import Delivery, Recipient, Suppression
from incidents import publishing
from incidents.models import Subscription
from tests import make
from tests.fakes.browser import Browser
from tests.fakes.http import FakeHttp, Reply

pytestmark = pytest.mark.django_db
SECRET = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
VAPID_KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE"


@pytest.fixture
def server(closing, vouched, settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    peer = FakeHttp(certificate=str(vouched))
    closing.callback(peer.close)
    return peer


@pytest.fixture
def webhook():
    return make.channel("webhook", secrets={"signing_secret": SECRET})


@pytest.fixture
def webpush():
    return make.channel(
        "webpush", config={"contact_email": "ops@example.com"}, secrets={"vapid_private_secret": VAPID_KEY}
    )


def subscribe(medium, address, **attributes):
    one = Recipient.objects.create(
        medium=medium, address=address, locale="it", confirmed_at=timezone.now(), attributes=attributes
    )
    Subscription.objects.create(recipient=one)
    return one


def publish(channel):
    make.plan(channel)
    update = make.published(make.incident().updates.get())
    for one in publishing.dispatches(update):
        publishing.expand(one)
    delivery.run_channel(channel.pk, 30)
    return publishing.dispatches(update)


def outcomes():
    return dict(Delivery.objects.values_list("recipient__address", "status"))


def test_programs_get_the_approved_event_in_their_language(webhook, server):
    one = subscribe("webhook", f"{server.url}/a")
    dispatch = publish(webhook).get(locale="it")
    [call] = server.calls
    assert outcomes() == {one.address: "sent"}
    assert call.body.decode() == dispatch.content["parts"]["json"]
    assert Webhook(SECRET).verify(call.body, call.headers)["locale"] == "it"
    assert Delivery.objects.get().provider_ref == call.headers["webhook-id"] == f"{dispatch.pk}-{one.pk}"


def test_a_lost_answer_is_repeated_under_the_same_id_and_a_farewell_is_heeded(webhook, server):
    lost, gone = (subscribe("webhook", server.url + path) for path in ("/lost", "/gone"))
    server.rule = lambda call: Reply(410) if call.path == "/gone" else Reply(500 if len(tries(server)) < 2 else 200)
    [dispatch] = [one for one in publish(webhook) if one.locale == "it"]
    dispatch.batches.update(next_try_at=dispatch.created_at)
    delivery.run_channel(webhook.pk, 30)
    assert outcomes() == {lost.address: "sent", gone.address: "failed"}
    assert len(tries(server)) == 2
    assert len({call.headers["webhook-id"] for call in tries(server)}) == 1
    assert Suppression.objects.get().address_hash == gone.address_hash
    webhook.refresh_from_db()
    assert (webhook.paused_at, webhook.held_until) == (None, None)


def tries(server):
    return [call for call in server.calls if call.path == "/lost"]


def test_a_browser_reads_the_approved_words(webpush, server):
    browser = Browser()
    one = subscribe("webpush", f"{server.url}/send/abc", **browser.keys)
    dispatch = publish(webpush).get(locale="it")
    [call] = server.calls
    assert outcomes() == {one.address: "sent"}
    said = browser.read(call.body)
    parts = dispatch.content["parts"]
    assert said == {
        "title": parts["subject"],
        "body": parts["text"],
        "url": parts["url"],
        "tag": dispatch.thread,
        "lang": "it",
    }


def test_a_browser_that_is_a_recipient_can_be_sent_a_test(webpush, server):
    browser = Browser()
    address = f"{server.url}/{'x' * 600}"
    form = SendTestForm("webpush", {"address": address})
    assert form.is_valid(), form.errors
    assert delivery.send_test(webpush, address).error.code == "bad-keys"
    subscribe("webpush", address, **browser.keys)
    outcome = delivery.send_test(webpush, form.cleaned_data["address"])
    assert outcome.error is None
    assert "applicationServerKey" in outcome.note
    assert "test" in browser.read(server.calls[0].body)["title"].lower()
