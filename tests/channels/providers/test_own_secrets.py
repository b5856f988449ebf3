"""Signing secrets of one's own: whose message they verify, how they change, and that they stand nowhere else.

Checked with an implementation of Standard Webhooks of the test's own.
"""

import base64
import hashlib
import hmac
import io
import logging
from datetime import timedelta
from ipaddress import ip_network

import pytest
import time_machine
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from channels import delivery, links, own_secrets
from channels.models import Channel, Recipient
from channels.providers.base import Addressee
from channels.providers.webhook import Webhook, check_secret
from incidents import publishing, subscribing, tasks
from tests import make
from tests.fakes.http import FakeHttp, Reply

pytestmark = pytest.mark.django_db
SHARED = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
OLDER = "whsec_MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="


def verifies(secret: str, call) -> bool:
    """By the words of the specification alone."""
    signed = b".".join([call.headers["webhook-id"].encode(), call.headers["webhook-timestamp"].encode(), call.body])
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = call.headers["webhook-signature"].split(" ")
    return any(hmac.compare_digest(one, f"v1,{expected}") for one in given)


@pytest.fixture
def receiver(closing, vouched, settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    peer = FakeHttp(certificate=str(vouched))
    closing.callback(peer.close)
    return peer


@pytest.fixture
def channel(db) -> Channel:
    return make.channel("webhook", secrets={"signing_secret": SHARED, "previous_secret": OLDER})


def customer(receiver, path: str, **kwargs) -> Recipient:
    one = Recipient.objects.create(
        medium="webhook", address=f"{receiver.url}/{path}", confirmed_at=timezone.now(), **kwargs
    )
    one.subscriptions.create()
    return one


def with_own(receiver, path: str) -> tuple[Recipient, str]:
    """A customer who confirmed, with their secret."""
    one = customer(receiver, path, signing=own_secrets.begun())
    return one, one.signing["secret"]


def publish(channel: Channel):
    """An update to every subscriber, its audience found, nothing sent yet."""
    component = make.component()
    make.plan(channel, locales=("en",)).component_groups.add(component.group)
    update = make.published(make.incident(None, component).updates.get())
    dispatch = publishing.dispatches(update).get(purpose="update")
    publishing.expand(dispatch)
    return dispatch


def told(channel: Channel, receiver) -> dict:
    """An update goes out: the call of each customer, by path."""
    receiver.calls.clear()
    publish(channel)
    assert delivery.run_channel(channel.pk, 30) is False
    return {call.path[1:]: call for call in receiver.calls}


def test_the_secret_of_one_customer_does_not_verify_what_another_gets(channel, receiver):
    _anna, annas = with_own(receiver, "anna")
    _bruno, brunos = with_own(receiver, "bruno")
    customer(receiver, "carla")
    calls = told(channel, receiver)
    mine = {"anna": {annas}, "bruno": {brunos}, "carla": {SHARED, OLDER}}
    for path, secrets in mine.items():
        for secret in (annas, brunos, SHARED, OLDER):
            assert verifies(secret, calls[path]) is (secret in secrets), (path, secret)


def test_the_check_of_this_test_notices_a_change(channel, receiver):
    _anna, secret = with_own(receiver, "anna")
    [call] = told(channel, receiver).values()
    assert verifies(secret, call)
    call.headers["webhook-id"] += "0"
    assert not verifies(secret, call)


def test_while_a_secret_changes_both_sign_for_a_day_newest_first(channel, receiver):
    anna, old = with_own(receiver, "anna")
    anna.renew_secret()
    new = Recipient.objects.get(pk=anna.pk).signing["secret"]
    assert new != old
    call = told(channel, receiver)["anna"]
    assert verifies(new, call)
    assert verifies(old, call)
    assert len(call.headers["webhook-signature"].split(" ")) == 2
    first = call.headers["webhook-signature"].split(" ")[0]
    call.headers["webhook-signature"] = first
    assert verifies(new, call)


def test_a_day_later_the_new_secret_alone_signs(channel, receiver):
    anna, old = with_own(receiver, "anna")
    with time_machine.travel(timezone.now() - timedelta(hours=24, seconds=1)):
        anna.renew_secret()
    call = told(channel, receiver)["anna"]
    assert verifies(anna.signing["secret"], call)
    assert not verifies(old, call)


def test_whoever_had_the_channels_secret_is_signed_with_it_for_another_day(channel, receiver):
    carla = customer(receiver, "carla")
    carla.renew_secret()
    call = told(channel, receiver)["carla"]
    assert all(verifies(secret, call) for secret in (carla.signing["secret"], SHARED, OLDER))
    # Changing the channel's secret in that day is followed, and touches nobody's own.
    channel.secrets = {"signing_secret": OLDER}
    channel.save()
    call = told(channel, receiver)["carla"]
    assert [verifies(one, call) for one in (carla.signing["secret"], OLDER, SHARED)] == [True, True, False]
    Recipient.objects.all().delete()
    carla = customer(receiver, "carla")
    with time_machine.travel(timezone.now() - timedelta(hours=25)):
        carla.renew_secret()
    call = told(channel, receiver)["carla"]
    assert [verifies(one, call) for one in (carla.signing["secret"], OLDER, SHARED)] == [True, False, False]


def test_a_secret_is_32_random_bytes_as_standard_webhooks_wants_them():
    found = {own_secrets.begun()["secret"] for _n in range(20)}
    assert len(found) == 20
    for secret in found:
        check_secret(secret)
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def test_no_more_than_five_sign_at_a_time_and_none_is_dropped_early(receiver):
    anna, first = with_own(receiver, "anna")
    for _n in range(4):
        anna.renew_secret()
    before = Recipient.objects.get(pk=anna.pk).signing
    assert len(own_secrets.in_force(before)) == 5
    assert own_secrets.in_force(before)[-1] == first
    with pytest.raises(own_secrets.TooMany):
        anna.renew_secret()
    assert Recipient.objects.get(pk=anna.pk).signing == before
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        anna.renew_secret()
        assert len(own_secrets.in_force(anna.signing)) == 2


def test_sending_asks_the_database_no_more_for_recipients_with_secrets_of_their_own(channel, receiver):
    def queries(path: str, count: int, **kwargs) -> int:
        Recipient.objects.filter(medium="webhook").delete()
        for n in range(count):
            customer(receiver, f"{path}{n}", **kwargs)
        publish(channel)
        with CaptureQueriesContext(connection) as found:
            delivery.run_channel(channel.pk, 30)
        return len(found)

    queries("a", 1)  # the first one also notes how fast the channel goes
    few, shared, own = queries("b", 2), queries("c", 12), queries("d", 12, signing=own_secrets.begun())
    assert len(receiver.calls) == 27
    assert few == shared == own


def test_the_portals_own_messages_are_signed_with_it_as_well(channel, receiver):
    anna, secret = with_own(receiver, "anna")
    assert delivery.send_test(channel, anna.address).error is None
    assert verifies(secret, receiver.calls[-1])
    assert not verifies(SHARED, receiver.calls[-1])
    subscribing.ask("webhook", anna.address, WANTED, "en", "UTC", ("Yes", "en"), "192.0.2.1")
    tasks.sweep_requests()
    assert b"subscription.known" in receiver.calls[-1].body
    assert verifies(secret, receiver.calls[-1])


WANTED = {"components": [], "groups": [], "least_severity": "sev4", "maintenance": True}


# ── Where it does not stand ──


def stored(person: Recipient) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT signing FROM channels_recipient WHERE id = %s", [person.pk])
        return cursor.fetchone()[0]


def test_it_stands_neither_in_the_table_nor_in_a_dump_an_export_the_admin_or_its_history(receiver, admin_client):
    anna, secret = with_own(receiver, "anna")
    anna.renew_secret()
    new = anna.signing["secret"]
    dump = io.StringIO()
    call_command("dumpdata", "channels.recipient", stdout=dump)
    assert "anna" in dump.getvalue()
    change = f"/admin/channels/recipient/{anna.pk}/change/"
    shown = [stored(anna), dump.getvalue()]
    shown += [
        admin_client.get(address, follow=True).content.decode()
        for address in (change, "/admin/channels/recipient/", change.replace("change", "history"))
    ]
    export = admin_client.get("/admin/channels/recipient/export/")
    assert export.status_code in (200, 302, 405), export.status_code
    shown.append(b"".join(admin_client.post("/admin/channels/recipient/export/")).decode())
    assert "anna" in shown[-1]
    data = {"medium": "webhook", "address": anna.address, "name": "Anna", "locale": "it", "time_zone": "UTC"}
    rows = {"subscriptions-TOTAL_FORMS": 0, "subscriptions-INITIAL_FORMS": 0}
    response = admin_client.post(change, {**data, **rows, "attributes": "{}", "signing": "{}"})
    assert response.status_code == 302, response.context["errors"]
    shown += [str(one.change_message) for one in LogEntry.objects.all()]
    assert LogEntry.objects.exists()
    for text in shown:
        assert secret not in text
        assert new not in text
        assert secret.removeprefix("whsec_") not in text
        assert "whsec_" not in text
    # Saving the form neither loses nor changes it.
    assert Recipient.objects.get(name="Anna").signing == anna.signing


def test_it_stands_in_no_log_and_no_record_also_when_sending_fails(channel, receiver, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    anna, secret = with_own(receiver, "anna")
    receiver.script(Reply(500, b"oops"), Reply(404, b"no"))
    dispatch = publish(channel)
    delivery.run_channel(channel.pk, 30)

    def broken(self, message, one):
        raise ValueError(f"cannot send to {one}")

    monkeypatch.setattr(Webhook, "hand_over", broken)
    dispatch.batches.update(next_try_at=timezone.now() - timedelta(seconds=1))
    delivery.run_channel(channel.pk, 30)
    said = caplog.text + repr(list(dispatch.deliveries.values())) + repr(list(dispatch.batches.values()))
    said += repr(Addressee(anna.address, secrets=(secret,)))
    assert secret not in said


# ── Keys ──


def test_changing_the_key_encrypts_it_anew_and_a_lost_one_is_named(settings, receiver):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    anna, secret = with_own(receiver, "anna")
    customer(receiver, "carla")
    settings.FIELD_KEYS = [new, old]
    out = io.StringIO()
    call_command("rotate_keys", stdout=out)
    assert out.getvalue() == "Encrypted anew: 1.\n"
    settings.FIELD_KEYS = [new]
    assert Recipient.objects.get(pk=anna.pk).signing["secret"] == secret
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    before = stored(anna)
    with pytest.raises(CommandError, match=rf"signing secrets of these recipients: {anna.pk}\."):
        call_command("rotate_keys", stdout=io.StringIO())
    assert stored(anna) == before


# ── The page ──


def link(person: Recipient) -> str:
    return links.manage_url(person.pk).removeprefix("http://127.0.0.1:8000")


def confirmed(address: str = "https://hooks.example.com/in") -> Recipient:
    """A customer who subscribes on the page and confirms."""
    one = subscribing.ask("webhook", address, WANTED, "en", "UTC", ("Yes", "en"), "192.0.2.1")
    type(one).objects.filter(pk=one.pk).update(outcome="sent")
    path = subscribing.confirm_url(one).removeprefix("http://127.0.0.1:8000")
    page = Client().get(path).content.decode()
    assert "under “Signing secret”" in page
    response = Client().post(path)
    assert "done=confirmed" in response["Location"]
    return Recipient.objects.get(medium="webhook", address=address)


def test_confirming_makes_one_that_the_next_page_shows_when_asked():
    person = confirmed()
    secret = person.signing["secret"]
    masked = Client().get(link(person))
    assert "Show the secret" in masked.content.decode()
    assert secret not in masked.content.decode()
    response = Client().post(link(person), {"secret": "show"})
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert secret in response.content.decode()
    assert "Show the secret" not in response.content.decode()
    assert Recipient.objects.get(pk=person.pk).signing == person.signing
    # A choice that is saved is none of its business.
    assert secret not in Client().get(link(person), {"secret": "show"}).content.decode()


def test_confirming_again_changes_no_secret_and_gives_none_to_whoever_uses_the_channels():
    address = "https://hooks.example.com/in"
    person = confirmed(address)
    assert confirmed(address).signing == person.signing
    Recipient.objects.update(signing={})
    assert confirmed(address).signing == {}


def test_a_new_one_is_made_by_post_and_not_again_by_reloading():
    person = confirmed()
    old = person.signing["secret"]
    response = Client().post(link(person), {"secret": "new"})
    assert (response.status_code, response["Location"]) == (303, f"{link(person)}?done=secret")
    assert old not in response["Location"]
    new = Recipient.objects.get(pk=person.pk).signing["secret"]
    assert new != old
    page = Client().get(response["Location"]).content.decode()
    assert "The new secret is made." in page
    assert "messages are signed with the secret before it as well" in page
    assert new not in page
    assert new in Client().post(link(person), {"secret": "show"}).content.decode()
    assert Recipient.objects.get(pk=person.pk).signing["secret"] == new


def test_too_many_new_ones_are_refused_in_words():
    person = confirmed()
    for _n in range(4):
        assert Client().post(link(person), {"secret": "new"}).status_code == 303
    response = Client().post(link(person), {"secret": "new"})
    assert response.status_code == 409
    assert "The next one can be made after" in response.content.decode()


def test_whoever_was_imported_is_offered_one_and_other_media_are_not(receiver):
    page = Client().get(link(customer(receiver, "carla"))).content.decode()
    assert "Make a secret of my own" in page
    assert "Show the secret" not in page
    [anna] = make.recipients(1)
    assert "Signing secret" not in Client().get(link(anna)).content.decode()
    Client().post(link(anna), {"secret": "new"})
    assert Recipient.objects.get(pk=anna.pk).signing == {}


def test_the_page_asks_the_database_the_same_with_and_without(receiver, django_assert_num_queries):
    for person in (confirmed(), customer(receiver, "carla")):
        with django_assert_num_queries(5):
            Client().get(link(person))


def test_a_link_that_is_not_ours_shows_nothing():
    person = confirmed()
    response = Client().post(link(person)[:-3] + "x/", {"secret": "show"})
    assert response.status_code == 404
    assert person.signing["secret"] not in response.content.decode()
