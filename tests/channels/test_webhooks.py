"""Events of providers come in: over HTTP, signed, and each counts once whatever the order."""

import importlib
import itertools
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from channels import aws_events, delivery, events, reasons, sns
from channels.models import Batch, Channel, Delivery, Dispatch, ProviderEvent, Recipient, Suppression
from channels.progress import progress_of
from channels.secrets import address_hash
from tests import make
from tests.fakes import aws
from tests.fakes import sns as fake

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
_n = itertools.count(1)
AWS = {"region": "eu-south-1", "access_key_id": aws.ACCESS_KEY, "events_topic_arn": fake.TOPIC}
REF = "0102018f-0000-4000-8000-000000000001-000000"


@pytest.fixture(autouse=True)
def certified(monkeypatch):
    monkeypatch.setattr(sns, "_known", {fake.URL: sns._parsed(fake.certificate())})
    monkeypatch.setattr(sns, "fetch", lambda url: pytest.fail("nothing needs fetching"))


@pytest.fixture(scope="module")
def world(shared_world):
    """Two channels. Unguarded, for nobody publishes these deliveries: what is sent is not the matter here."""
    importlib.import_module("incidents.migrations.0002_guards").drop(None, connection.schema_editor())
    make.channel("ses", "Mail", config={**AWS, "from_address": "status@example.org"})
    make.channel("eum_sms", "Texts", config={**AWS})


@pytest.fixture
def ses(db) -> Channel:
    return Channel.objects.get(name="Mail")


@pytest.fixture
def sms(db) -> Channel:
    return Channel.objects.get(name="Texts")


def sent(channel, status="sent", ref=REF, person=None, **changes):
    """One delivery through a channel, as the engine records it."""
    medium = channel.capabilities.medium
    person = person or make.recipients(1, medium=medium)[0]
    dispatch = Dispatch.objects.create(
        source=f"update:{next(_n)}", thread="incident-1", channel=channel, locale="en", content={}, **changes
    )
    return Delivery.objects.create(
        dispatch=dispatch, recipient=person, status=status, provider_ref=ref, at=timezone.now()
    )


def key(row):
    return f"{row.dispatch_id}-{row.recipient_id}"


def mail(kind, row, ref=None, old=False, **parts):
    """An event of SES about a delivery; `old` is the format of an identity's notifications, without tags."""
    address = row.recipient.address
    about = {"messageId": row.provider_ref if ref is None else ref, "destination": [address], "source": "x@example.org"}
    if not old:
        about["tags"] = {"dispatch": [f"dispatch-{row.dispatch_id}"], "delivery": [key(row)], "ses:caller": ["x"]}
    bounced = [{"emailAddress": address, "status": "5.1.1", "diagnosticCode": f"smtp; 550 5.1.1 <{address}> unknown"}]
    if kind == "Bounce":
        parts = {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": bounced, **parts}
    word = {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}.get(kind, kind.lower())
    return {"notificationType" if old else "eventType": kind, "mail": about, word: parts}


def phone(kind, row, ref=None, **changes):
    return {
        "eventType": kind,
        "eventVersion": "1.0",
        "isFinal": True,
        "messageId": row.provider_ref if ref is None else ref,
        "destinationPhoneNumber": row.recipient.address,
        "messageStatusDescription": f"About {kind}",
        "context": {"dispatch": f"dispatch-{row.dispatch_id}", "delivery": key(row)},
        **changes,
    }


def post(channel, message, **headers):
    """As SNS posts: text, without a cookie."""
    pk = channel if isinstance(channel, int) else channel.pk
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    client = Client(enforce_csrf_checks=True)
    return client.post(f"/events/sns/{pk}/", body, content_type="text/plain; charset=utf-8", headers=headers)


def tell(channel, event, **changes):
    return post(channel, fake.notification(event, **changes))


def now(row):
    row.refresh_from_db()
    return row.status, row.code


def stopped(row):
    return list(
        Suppression.objects.filter(medium=row.recipient.medium, address_hash=row.recipient.address_hash).values_list(
            "reason", flat=True
        )
    )


# ── Email ──


@pytest.mark.parametrize("old", [False, True], ids=["event destination", "notification"])
@pytest.mark.parametrize(
    ("kind", "parts", "after", "suppressed"),
    [
        ("Delivery", {}, ("delivered", ""), []),
        ("Bounce", {}, ("failed", "bounced"), ["bounced"]),
        ("Bounce", {"bounceSubType": "NoEmail"}, ("failed", "bounced"), ["bounced"]),
        ("Bounce", {"bounceSubType": "OnAccountSuppressionList"}, ("failed", "suppressed"), ["bounced"]),
        ("Bounce", {"bounceType": "Transient"}, ("failed", "transient-bounce"), []),
        ("Bounce", {"bounceType": "Transient", "bounceSubType": "MailboxFull"}, ("failed", "MailboxFull"), []),
        ("Bounce", {"bounceType": "Undetermined"}, ("failed", "undetermined-bounce"), []),
        ("Complaint", {"complaintFeedbackType": "abuse"}, ("delivered", ""), ["complained"]),
        ("Complaint", {"complaintSubType": "OnAccountSuppressionList"}, ("failed", "suppressed"), ["complained"]),
        ("Reject", {"reason": "Bad content"}, ("failed", "Reject"), []),
        ("Rendering Failure", {"errorMessage": "x"}, ("failed", "RenderingFailure"), []),
    ],
)
def test_what_ses_says_is_recorded(ses, kind, parts, after, suppressed, old):
    row = sent(ses)
    answer = tell(ses, mail(kind, row, old=old, **parts))
    assert (answer.status_code, answer.content) == (200, b"Counted.\n")
    assert now(row) == after
    assert stopped(row) == suppressed
    assert ProviderEvent.objects.count() == 1


@pytest.mark.parametrize("kind", ["Send", "DeliveryDelay", "Open", "Click", "Subscription", "Nonsense", ""])
def test_what_changes_nothing_is_acknowledged(ses, kind):
    row = sent(ses)
    assert tell(ses, mail(kind, row)).status_code == 202
    assert now(row) == ("sent", "")
    assert not ProviderEvent.objects.exists()


@pytest.mark.parametrize(
    "event",
    [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        {"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "x"},
        "[" * 100_000,
        [],
        None,
        7,
        {},
        {"eventType": 3, "mail": 3},
        {"eventType": "Bounce", "mail": None, "bounce": None},
        {"eventType": "Delivery", "mail": {"tags": {"delivery": "1-1"}, "destination": "x", "messageId": 9}},
        {"eventType": "Delivery", "mail": {"tags": {"delivery": [["1-1"]]}, "destination": [None]}},
        {"eventType": "Complaint", "mail": {"tags": []}, "complaint": []},
        {"eventType": "TEXT_DELIVERED"},
        {"eventType": "TEXT_DELIVERED", "context": "x", "messageId": None},
        {"originationNumber": 3, "messageBody": ["STOP"]},
        {"eventType": "Delivery", "mail": {"tags": {"delivery": ["999999999999999999-999999999999999999"]}}},
        {"eventType": "Delivery", "mail": {"tags": {"delivery": ["99999999999999999999-1"]}}},
        {"eventType": "Delivery", "mail": {"destination": ["\0\ud800@x"], "messageId": "\0"}},
    ],
)
def test_odd_events_are_answered_and_change_nothing(ses, event):
    row = sent(ses)
    assert tell(ses, event).status_code in (200, 202)
    assert now(row) == ("sent", "")
    assert not Suppression.objects.exists()


def test_what_a_server_said_is_kept_for_people_but_its_address_only_as_a_hash(ses):
    row = sent(ses)
    tell(ses, mail("Bounce", row))
    row.refresh_from_db()
    assert row.detail.startswith("smtp; 550 5.1.1")
    assert row.recipient.address not in Suppression.objects.get().detail


def test_text_that_no_database_takes_is_cleaned(ses):
    row = sent(ses)
    bad = [{"emailAddress": "x", "diagnosticCode": "a\0b\ud800c" + "d" * 600}]
    assert tell(ses, mail("Bounce", row, bouncedRecipients=bad)).status_code == 200
    row.refresh_from_db()
    assert row.detail.startswith("ab?cd")
    assert len(row.detail) == 500


def test_a_receipt_finds_a_message_whose_reply_was_lost(ses):
    row = sent(ses, status="unknown", ref="")
    assert tell(ses, mail("Delivery", row, ref=REF)).status_code == 200
    assert now(row) == ("delivered", "")
    assert row.provider_ref == REF


def test_a_receipt_keeps_when_it_was_sent(ses):
    """The pace of the delivery page is counted by it."""
    row = sent(ses)
    before = row.at
    tell(ses, mail("Delivery", row))
    row.refresh_from_db()
    assert row.at == before


# ── Phones ──


@pytest.mark.parametrize(
    ("kind", "after", "suppressed"),
    [
        ("TEXT_DELIVERED", ("delivered", ""), []),
        ("TEXT_SUCCESSFUL", ("delivered", ""), []),
        ("TEXT_INVALID", ("failed", "TEXT_INVALID"), ["bounced"]),
        ("TEXT_INVALID_MESSAGE", ("failed", "TEXT_INVALID_MESSAGE"), []),
        ("TEXT_UNREACHABLE", ("failed", "TEXT_UNREACHABLE"), []),
        ("TEXT_CARRIER_UNREACHABLE", ("failed", "TEXT_CARRIER_UNREACHABLE"), []),
        ("TEXT_BLOCKED", ("failed", "TEXT_BLOCKED"), []),
        ("TEXT_CARRIER_BLOCKED", ("failed", "TEXT_CARRIER_BLOCKED"), []),
        ("TEXT_SPAM", ("failed", "TEXT_SPAM"), []),
        ("TEXT_TTL_EXPIRED", ("failed", "TEXT_TTL_EXPIRED"), []),
        ("TEXT_PROTECT_BLOCKED", ("failed", "TEXT_PROTECT_BLOCKED"), []),
        ("VOICE_ANSWERED", ("delivered", ""), []),
        ("VOICE_COMPLETED", ("delivered", ""), []),
        ("VOICE_NO_ANSWER", ("failed", "VOICE_NO_ANSWER"), []),
        ("VOICE_BUSY", ("failed", "VOICE_BUSY"), []),
        ("VOICE_FAILED", ("failed", "VOICE_FAILED"), []),
    ],
)
def test_what_the_network_says_is_recorded(sms, kind, after, suppressed):
    row = sent(sms)
    assert tell(sms, phone(kind, row)).status_code == 200
    assert now(row) == after
    assert stopped(row) == suppressed
    assert row.detail == ("" if after[0] == "delivered" else f"About {kind}")


@pytest.mark.parametrize("kind", ["TEXT_SENT", "TEXT_QUEUED", "TEXT_PENDING", "TEXT_UNKNOWN", "VOICE_RINGING"])
def test_what_says_nothing_yet_changes_nothing(sms, kind):
    row = sent(sms)
    assert tell(sms, phone(kind, row)).status_code == 202
    assert now(row) == ("sent", "")


def test_a_failure_that_is_not_final_waits_for_the_end(sms):
    row = sent(sms)
    assert tell(sms, phone("TEXT_CARRIER_UNREACHABLE", row, isFinal=False)).status_code == 202
    assert now(row) == ("sent", "")


def test_without_context_it_is_found_by_number_and_reference(sms):
    row = sent(sms)
    tell(sms, phone("TEXT_DELIVERED", row, context={}))
    assert now(row) == ("delivered", "")


# ── WhatsApp and mobile push ──


@pytest.fixture
def whatsapp():
    return make.channel("eum_whatsapp", config={**AWS})


def meta(row, **value):
    """What Meta says, in the envelope of End User Messaging Social."""
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, **value}
    entry = {"id": "2", "changes": [{"field": "messages", "value": value}]}
    return {
        "context": {"MetaWabaIds": [], "MetaPhoneNumberIds": []},
        "whatsAppWebhookEntry": json.dumps(entry),
        "aws_account_id": "123456789012",
        "message_timestamp": "2026-11-26T08:00:00.271279391Z",
        "messageId": row.provider_ref,
    }


def status(row, word, **more):
    said = {"id": "wamid.HBg", "status": word, "timestamp": "1764144000", **more}
    return meta(row, statuses=[{**said, "recipient_id": row.recipient.address.removeprefix("+")}])


REFUSED = {"code": 131026, "title": "Message undeliverable", "error_data": {"details": "Not a WhatsApp number."}}


@pytest.mark.parametrize(
    ("word", "more", "after", "detail"),
    [
        ("delivered", {}, ("delivered", ""), ""),
        ("read", {}, ("delivered", ""), ""),
        ("failed", {"errors": [REFUSED]}, ("failed", "WhatsApp 131026"), "Not a WhatsApp number."),
        ("failed", {"errors": [{"code": 131000, "title": "Something"}]}, ("failed", "WhatsApp 131000"), "Something"),
        ("failed", {}, ("failed", "failed"), ""),
        ("sent", {}, ("sent", ""), ""),
        ("warning", {}, ("sent", ""), ""),
    ],
)
def test_what_whatsapp_says_is_recorded(whatsapp, word, more, after, detail):
    row = sent(whatsapp)
    assert tell(whatsapp, status(row, word, **more)).status_code == (202 if after[0] == "sent" else 200)
    assert now(row) == after
    assert row.detail == detail


def test_stop_and_start_on_whatsapp_are_obeyed_there_and_not_by_sms(whatsapp):
    row = sent(whatsapp)
    for word, expected in (("Stop.", ["unsubscribed"]), ("hello", ["unsubscribed"]), ("START", [])):
        said = {"from": row.recipient.address.removeprefix("+"), "id": "x", "type": "text", "text": {"body": word}}
        tell(whatsapp, meta(row, messages=[said]))
        assert stopped(row) == expected
        assert not Suppression.objects.exclude(medium="whatsapp").exists()


@pytest.mark.parametrize(
    "entry", ["", "{", "[]", "7", '{"changes": 7}', '{"changes": [{"value": {"statuses": [{}]}}]}', "[" * 99_999, None]
)
def test_an_odd_entry_of_whatsapp_changes_nothing(whatsapp, entry):
    row = sent(whatsapp)
    assert tell(whatsapp, meta(row) | {"whatsAppWebhookEntry": entry}).status_code == 202
    assert now(row) == ("sent", "")


@pytest.mark.parametrize(
    ("kind", "suppressed"),
    [("EndpointDisabled", ["bounced"]), ("InvalidPlatformToken", ["bounced"]), ("PlatformApplicationDisabled", [])],
)
def test_a_phone_that_refuses_a_notification_is_recorded(kind, suppressed):
    channel = make.channel("sns_push", config={**AWS, "application_arn": ""})
    endpoint = "arn:aws:sns:eu-south-1:123456789012:endpoint/GCM/portal/5e3e9847"
    row = sent(channel, person=Recipient.objects.create(medium="push", address=endpoint))
    event = {
        "DeliveryAttempts": 1,
        "EndpointArn": endpoint,
        "EventType": "DeliveryFailure",
        "FailureMessage": "Not taken",
        "FailureType": kind,
        "MessageId": row.provider_ref,
        "Resource": "arn:aws:sns:eu-south-1:123456789012:app/GCM/portal",
        "Service": "SNS",
        "Time": "2026-11-26T08:00:00.000Z",
    }
    assert tell(channel, event).status_code == 200
    assert now(row) == ("failed", kind)
    assert row.detail == "Not taken"
    assert stopped(row) == suppressed


def test_every_event_type_of_aws_is_known():
    said = set(aws.model("pinpoint-sms-voice-v2").shape_for("EventType").enum)
    silent = {"ALL", "INITIATED", "RINGING", "SENT", "PENDING", "QUEUED", "UNKNOWN", "FALLEN_BACK_TO_SMS"}
    read = {one: aws_events.PHONE.fullmatch(one) for one in said - {"ALL"}}
    assert all(read.values())
    assert {found[1] for found in read.values()} == aws_events.ARRIVED | aws_events.NOT_ARRIVED | silent


# ── Replies ──


def reply(body, number="+393331234567"):
    return {
        "originationNumber": number,
        "destinationNumber": "+393399999999",
        "messageKeyword": "KEYWORD",
        "messageBody": body,
        "inboundMessageId": "x",
        "previousPublishedMessageId": "y",
    }


def reasons_of(number="+393331234567"):
    return list(
        Suppression.objects.filter(medium="sms", address_hash=address_hash("sms", number)).values_list(
            "reason", flat=True
        )
    )


@pytest.mark.parametrize(
    "body", ["STOP", "stop", " Stop. ", "STOPALL", "Unsubscribe", "END", "quit", "Cancel!", "Arresta"]
)
def test_stop_stops_the_number(sms, body):
    assert tell(sms, reply(body)).status_code == 200
    assert reasons_of() == ["unsubscribed"]


@pytest.mark.parametrize("body", ["HELP", "INFO", "Don't stop", "stop it please", "", "ok", "🎉", "STOPP"])
def test_other_words_do_nothing(sms, body):
    assert tell(sms, reply(body)).status_code == 202
    assert reasons_of() == []


@pytest.mark.parametrize("body", ["START", "unstop"])
def test_start_lifts_what_stop_did(sms, body):
    tell(sms, reply("STOP"))
    assert tell(sms, reply(body)).status_code == 200
    assert reasons_of() == []


@pytest.mark.parametrize("reason", ["bounced", "complained", "manual"])
def test_start_lifts_nothing_else(sms, reason):
    hashed = address_hash("sms", "+393331234567")
    Suppression.objects.create(medium="sms", address_hash=hashed, reason=reason)
    tell(sms, reply("START"))
    tell(sms, reply("STOP"))
    assert reasons_of() == [reason]


def test_a_start_that_was_late_does_not_undo_a_stop(sms):
    tell(sms, reply("STOP"))
    tell(sms, reply("START"), Timestamp=(datetime.now(UTC) - timedelta(minutes=5)).isoformat())
    assert reasons_of() == ["unsubscribed"]


def test_who_stopped_gets_nothing_more(sms):
    [person] = make.recipients(1, medium="sms")
    tell(sms, reply("STOP", person.address))
    assert not delivery.audience(type(person).objects.all(), sms).exists()


# ── Any order, any number of times ──


@pytest.mark.parametrize("order", list(itertools.permutations(["Delivery", "Bounce", "Complaint"])))
def test_a_bounce_wins_in_any_order(ses, order):
    row = sent(ses)
    for kind in order:
        tell(ses, mail(kind, row))
        tell(ses, mail(kind, row))
    assert now(row) == ("failed", "bounced")
    assert len(stopped(row)) == 1


@pytest.mark.parametrize("order", [("Delivery", "Complaint"), ("Complaint", "Delivery")])
def test_who_complains_was_reached(ses, order):
    row = sent(ses)
    for kind in order:
        tell(ses, mail(kind, row))
    assert now(row) == ("delivered", "")
    assert stopped(row) == ["complained"]


def test_the_same_message_counts_once(ses):
    row = sent(ses)
    message = fake.notification(mail("Bounce", row))
    assert post(ses, message).content == b"Counted.\n"
    Suppression.objects.all().delete()
    Delivery.objects.update(status="sent", code="")
    for _time in range(2):
        answer = post(ses, message)
        assert (answer.status_code, answer.content) == (200, b"Counted before.\n")
    assert now(row) == ("sent", "")
    assert stopped(row) == []


def test_two_channels_may_hear_the_same_topic(ses, sms):
    row, other = sent(ses), sent(sms)
    message = fake.notification(mail("Delivery", row))
    assert [post(sms, message).status_code, post(ses, message).status_code] == [200, 200]
    assert (now(row), now(other)) == (("delivered", ""), ("sent", ""))


def test_what_fails_in_the_middle_is_undone_and_counts_the_next_time(ses, monkeypatch):
    row = sent(ses)
    message = fake.notification(mail("Bounce", row))
    with monkeypatch.context() as broken:
        broken.setattr(events, "_suppress", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            post(ses, message)
    assert now(row) == ("sent", "")
    assert not ProviderEvent.objects.exists()
    assert post(ses, message).content == b"Counted.\n"
    assert now(row) == ("failed", "bounced")


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_what_was_never_sent_stays_so(ses, status):
    row = sent(ses, status=status)
    tell(ses, mail("Delivery", row))
    tell(ses, mail("Reject", row))
    assert now(row) == (status, "")


def test_the_failure_of_an_earlier_attempt_does_not_fail_the_later_one(ses):
    row = sent(ses)
    tell(ses, mail("Bounce", row, ref="earlier", bounceType="Transient"))
    assert now(row) == ("sent", "")
    tell(ses, mail("Bounce", row, bounceType="Transient"))
    assert now(row) == ("failed", "transient-bounce")


def test_the_receipt_of_an_earlier_attempt_means_that_they_have_it(ses):
    row = sent(ses)
    tell(ses, mail("Delivery", row, ref="earlier"))
    assert now(row) == ("delivered", "")
    assert row.provider_ref == REF


def test_what_the_provider_says_outlasts_unsubscribing(ses):
    row = sent(ses)
    Suppression.objects.create(medium="email", address_hash=row.recipient.address_hash, reason="unsubscribed")
    tell(ses, mail("Complaint", row))
    assert stopped(row) == ["complained"]
    tell(ses, mail("Bounce", row))
    assert stopped(row) == ["complained"]


def test_an_erased_person_stays_stopped(ses):
    row = sent(ses)
    event, hashed = mail("Bounce", row), row.recipient.address_hash
    row.recipient.delete()
    assert tell(ses, event).status_code == 200
    assert Suppression.objects.get().address_hash == hashed


# ── Before the outcome is written down ──


def flight(channel, person, done=0, attempted=1, **changes):
    dispatch = Dispatch.objects.create(
        source=f"update:{next(_n)}", thread="incident-1", channel=channel, locale="en", content={}
    )
    Batch.objects.create(
        dispatch=dispatch,
        recipient_ids=[person.pk],
        size=1,
        done_to=done,
        attempted_to=attempted,
        next_try_at=timezone.now(),
        **changes,
    )
    return Delivery(dispatch=dispatch, recipient=person, status="sent", provider_ref=REF, at=timezone.now())


@pytest.mark.parametrize("old", [False, True])
def test_an_event_that_overtakes_the_engine_is_told_again(ses, old):
    row = flight(ses, make.recipients(1)[0])
    message = fake.notification(mail("Bounce", row, old=old))
    answer = post(ses, message)
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) <= 20
    assert not ProviderEvent.objects.exists()
    row.save()
    assert post(ses, message).content == b"Counted.\n"
    assert now(row) == ("failed", "bounced")


def test_so_is_one_about_a_retry_that_is_under_way(ses):
    row = flight(ses, make.recipients(1)[0], repeats=True)
    row.status, row.provider_ref = "failed", "earlier"
    row.save()
    message = fake.notification(mail("Bounce", row, ref="later"))
    assert post(ses, message).status_code == 503
    Delivery.objects.update(status="sent", provider_ref="later")
    assert post(ses, message).status_code == 200
    assert now(row) == ("failed", "bounced")


def test_nothing_waits_for_who_is_not_being_sent_to(ses):
    first, second = make.recipients(2)
    row = flight(ses, first)
    assert tell(ses, mail("Delivery", Delivery(dispatch=row.dispatch, recipient=second))).status_code == 200
    done = flight(ses, first, done=1)
    assert tell(ses, mail("Delivery", done)).status_code == 200
    assert Delivery.objects.count() == 0


# ── Whose delivery ──


def test_another_channels_delivery_is_not_touched(ses):
    other = make.channel("ses", config={**AWS, "from_address": "status@example.org"})
    row = sent(other)
    for old in (False, True):
        assert tell(ses, mail("Bounce", row, old=old)).status_code == 200
    assert now(row) == ("sent", "")
    assert not Suppression.objects.exists()


def test_the_channel_that_took_over_hears_of_it(ses):
    row = sent(make.channel(), via=ses)
    assert tell(ses, mail("Delivery", row)).status_code == 200
    assert now(row) == ("delivered", "")


def test_a_wrong_reference_finds_nobody_without_a_key(ses):
    row = sent(ses)
    tell(ses, mail("Bounce", row, ref="another", old=True))
    tell(ses, mail("Bounce", row, ref="", old=True))
    assert now(row) == ("sent", "")


def test_the_delivery_page_counts_who_was_reached(ses):
    rows = [sent(ses), sent(ses)]
    tell(ses, mail("Delivery", rows[0]))
    tell(ses, mail("Bounce", rows[1]))
    good, bad = progress_of(Dispatch.objects.all())
    assert (good.reached, good.counts) == (1, {"delivered": 1})
    assert (bad.failed, bad.reasons) == (1, {("failed", "bounced"): 1})


def test_the_page_of_an_update_shows_it(ses, monkeypatch):
    channel = make.channel()
    make.plan(channel)
    people = make.recipients(3)
    manager = make.incident_manager()
    update = make.published(make.incident(manager).updates.get())
    make.deliver()
    # What was handed to the outbox is now told of as if it had been SES.
    Channel.objects.filter(pk=channel.pk).update(provider="ses", config=ses.config)
    channel.refresh_from_db()
    rows = {row.recipient_id: row for row in Delivery.objects.filter(dispatch__channel=channel)}
    assert tell(channel, mail("Delivery", rows[people[0].pk])).status_code == 200
    assert tell(channel, mail("Bounce", rows[people[1].pk])).status_code == 200
    page = make.client(manager).get(f"/admin/incidents/incidentupdate/{update.pk}/delivery/")
    assert page.status_code == 200, page
    assert str(reasons.explain("bounced").words) in page.content.decode()


# ── The words of a failure ──


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("bounced", "The address does not exist"),
        ("TEXT_INVALID", "The address does not exist"),
        ("MailboxFull", "The mailbox is full"),
        ("TEXT_UNREACHABLE", "The phone could not be reached"),
        ("TEXT_CARRIER_UNREACHABLE", "The phone could not be reached"),
        ("TEXT_TTL_EXPIRED", "The phone could not be reached"),
        ("VOICE_NO_ANSWER", "The phone could not be reached"),
        ("TEXT_BLOCKED", "The provider refused the message"),
        ("Reject", "The provider refused the message"),
        ("transient-bounce", "The receiving server could not be reached or did not answer"),
        ("WhatsApp 131026", "The phone could not be reached"),
        ("WhatsApp 131050", "The recipient does not want messages from this sender"),
        ("InvalidPlatformToken", "The address does not exist"),
        ("EndpointDisabled", "The address does not exist"),
    ],
)
def test_a_person_can_read_why(code, words):
    assert str(reasons.explain(code).words) == words


# ── Forgetting ──


def test_old_records_go_and_new_ones_stay(ses):
    old = timezone.now() - timedelta(days=15)
    ProviderEvent.objects.bulk_create(ProviderEvent(source="x", event_id=str(n), received_at=old) for n in range(3))
    ProviderEvent.objects.create(pk=1999, source="x", event_id="young")
    events.forget()
    assert [one.event_id for one in ProviderEvent.objects.all()] == ["young"]


# ── Who is believed ──


def test_it_needs_no_cookie_and_sets_none(ses):
    answer = tell(ses, mail("Delivery", sent(ses)))
    assert answer.status_code == 200
    assert not answer.cookies
    assert answer["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch"])
def test_it_is_only_for_posting(ses, method):
    assert getattr(Client(), method)(f"/events/sns/{ses.pk}/").status_code == 405


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Message": "{}"}, "signature"),
        ({"SignatureVersion": "1"}, "SignatureVersion"),
        ({"TopicArn": fake.TOPIC + "x"}, "topic"),
        ({"SigningCertURL": "https://example.com/a.pem"}, "certificate"),
    ],
)
def test_what_is_forged_is_refused_and_changes_nothing(ses, caplog, changes, said):
    row = sent(ses)
    answer = post(ses, {**fake.notification(mail("Bounce", row)), **changes})
    assert answer.status_code == 403
    assert said in answer.content.decode()
    assert now(row) == ("sent", "")
    assert not ProviderEvent.objects.exists()
    [record] = [one for one in caplog.records if one.name == "channels.webhooks"]
    number = answer.content.decode().rpartition("(")[2].rstrip(")\n")
    assert number in record.getMessage()
    assert row.recipient.address not in caplog.text
    assert "example.com" not in caplog.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"eventType": "Bounce"}', b"\xff"])
def test_what_is_no_message_is_a_clear_400(ses, body):
    assert post(ses, body).status_code == 400


def test_raw_delivery_is_refused_with_the_fix(ses):
    answer = post(ses, mail("Bounce", sent(ses)), **{"x-amz-sns-rawdelivery": "true"})
    assert answer.status_code == 400
    assert b"raw message delivery off" in answer.content


def test_too_long_is_413_and_the_longest_message_of_sns_is_taken(ses):
    assert post(ses, b"x" * (600 * 1024 + 1)).status_code == 413
    assert tell(ses, '"' * (256 * 1024)).status_code == 202


def test_a_channel_without_a_topic_or_none_at_all_is_404(db):
    message = fake.notification("x")
    assert post(make.channel("ses", config={}), message).status_code == 404
    assert post(999_999, message).status_code == 404
    assert post(99999999999999999999999, message).status_code == 404


def test_a_certificate_that_cannot_be_had_asks_to_come_again(ses, monkeypatch):
    def broken(url):
        raise sns.Unavailable("The certificate could not be fetched.")

    monkeypatch.setattr(sns, "_known", {})
    monkeypatch.setattr(sns, "fetch", broken)
    row = sent(ses)
    assert tell(ses, mail("Bounce", row)).status_code == 503
    assert now(row) == ("sent", "")


def test_a_channel_that_is_off_still_hears_of_what_it_sent(ses):
    row = sent(ses)
    Channel.objects.update(enabled=False)
    assert tell(ses, mail("Delivery", row)).status_code == 200
    assert now(row) == ("delivered", "")


def test_it_takes_few_queries(ses, django_assert_max_num_queries):
    row = sent(ses)
    with django_assert_max_num_queries(9):
        tell(ses, mail("Delivery", row))


# ── Subscribing ──


@pytest.fixture
def topic_api(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with aws.fake_aws("sns") as api:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", api.url)
        yield api


@pytest.fixture
def keyed(ses):
    ses.secrets = {"secret_access_key": aws.SECRET_KEY}
    ses.save()
    return ses


def test_a_subscription_is_confirmed_with_the_channels_credentials(keyed, topic_api):
    message = fake.confirmation()
    answer = post(keyed, message)
    assert (answer.status_code, answer.content) == (200, b"Confirmed.\n")
    [params] = topic_api.params("ConfirmSubscription")
    assert params == {"TopicArn": fake.TOPIC, "Token": message["Token"], "AuthenticateOnUnsubscribe": "true"}


def test_a_forged_confirmation_is_not_confirmed(keyed, topic_api):
    assert post(keyed, {**fake.confirmation(), "Token": "another"}).status_code == 403
    assert post(keyed, fake.confirmation(TopicArn=fake.TOPIC + "x")).status_code == 403
    assert topic_api.calls == []


@pytest.mark.parametrize(
    "fault", [aws.Fault("AuthorizationError", "no", 403), aws.Fault("Throttling", "slow"), aws.Drop()]
)
def test_a_confirmation_that_fails_is_told_again_and_keeps_the_secret(keyed, topic_api, fault, caplog):
    caplog.set_level(logging.INFO, "channels")
    topic_api.script("ConfirmSubscription", fault)
    assert post(keyed, fake.confirmation()).status_code == 503
    assert "not confirmed" in caplog.text
    assert aws.SECRET_KEY not in caplog.text
    assert post(keyed, fake.confirmation()).status_code == 200


def test_the_end_of_a_subscription_is_written_down(keyed, topic_api, caplog):
    assert post(keyed, fake.confirmation("UnsubscribeConfirmation")).status_code == 200
    assert "unsubscribed" in caplog.text
    assert topic_api.calls == []


def test_a_provider_without_topics_confirms_nothing(topic_api):
    odd = make.channel("outbox_email", config={"events_topic_arn": fake.TOPIC})
    assert post(odd, fake.confirmation()).status_code == 404
    assert topic_api.calls == []


@pytest.mark.parametrize("arn", ["events", "arn:aws:sns:x:1:x", fake.TOPIC.replace("sns", "sqs"), f"{fake.TOPIC}\n x"])
def test_a_topic_is_named_by_its_arn(ses, arn):
    form_class = type(ses.get_provider()).config_form
    form = form_class({**ses.config, "events_topic_arn": arn})
    assert "is not the ARN of a topic" in str(form.errors["events_topic_arn"])
    good = form_class({**ses.config, "access_key_id": "", "events_topic_arn": f" {fake.TOPIC} "})
    assert good.is_valid(), good.errors
    assert good.cleaned_data["events_topic_arn"] == fake.TOPIC
