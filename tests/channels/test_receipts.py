"""What became of messages of channels without AWS: signed receipts over HTTP, and bounces by mail."""

import base64
import io
import itertools
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from channels.models import Batch, Delivery, Dispatch, ProviderEvent, Suppression
from channels.providers.base import Addressee, Message
from channels.providers.mail import message_id
from tests import make

# Deliveries that nobody published: what is sent is not the matter here.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unguarded")]
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
SMTP = {"host": "127.0.0.1", "port": 25, "security": "none", "from_address": "status@example.org"}
_n = itertools.count(1)


@pytest.fixture
def channel():
    return make.channel("smtp", config=SMTP, secrets={"receipts_secret": SECRET})


def sent(channel, status="sent", ref=None):
    """One delivery through a channel, as the engine records it."""
    [person] = make.recipients(1, medium=channel.capabilities.medium)
    dispatch = Dispatch.objects.create(
        source=f"update:{next(_n)}", thread="incident-1", channel=channel, locale="en", content={}
    )
    if ref is None:
        message = Message({"subject": "s", "text": "t"}, "en", dispatch.thread, f"dispatch-{dispatch.pk}")
        ref = message_id(message, Addressee(person.address, key=f"{dispatch.pk}-{person.pk}"), "example.org")
    return Delivery.objects.create(
        dispatch=dispatch, recipient=person, status=status, provider_ref=ref.strip("<>"), at=timezone.now()
    )


def key(row):
    return f"{row.dispatch_id}-{row.recipient_id}"


def tell(channel, said, secret=SECRET, at=None, event_id=None, **headers):
    body = said if isinstance(said, str) else json.dumps(said)
    at, event_id = at or datetime.now(UTC), event_id or f"msg_{next(_n)}"
    signed = {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, at, body),
        **headers,
    }
    client = Client(enforce_csrf_checks=True)
    pk = channel if isinstance(channel, int) else channel.pk
    return client.post(f"/events/receipts/{pk}/", body, content_type="application/json", headers=signed)


def now(row):
    row.refresh_from_db()
    return row.status, row.code, row.detail


def stopped(row):
    found = Suppression.objects.filter(medium=row.recipient.medium, address_hash=row.recipient.address_hash)
    return list(found.values_list("reason", flat=True))


# ── Signed receipts ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "after", "suppressed"),
    [
        ({"status": "delivered"}, ("delivered", "", ""), []),
        ({"status": "failed"}, ("failed", "failed", ""), []),
        ({"status": "failed", "code": "4.2.2", "detail": "full"}, ("failed", "4.2.2", "full"), []),
        ({"status": "bounced", "detail": "no such user"}, ("failed", "bounced", "no such user"), ["bounced"]),
        ({"status": "complained"}, ("delivered", "", ""), ["complained"]),
    ],
)
@pytest.mark.parametrize("by", ["delivery", "reference"])
def test_what_is_told_is_recorded(channel, said, after, suppressed, by):
    row = sent(channel)
    about = (
        {"delivery": key(row)}
        if by == "delivery"
        else {"reference": row.provider_ref, "address": row.recipient.address}
    )
    answer = tell(channel, said | about)
    assert (answer.status_code, answer.content) == (200, b"Counted.\n")
    assert now(row) == after
    assert stopped(row) == suppressed


def test_it_counts_once(channel):
    row = sent(channel)
    for expected in (b"Counted.\n", b"Counted before.\n"):
        answer = tell(channel, {"status": "delivered", "delivery": key(row)}, event_id="msg_same")
        assert (answer.status_code, answer.content) == (200, expected)
    assert ProviderEvent.objects.count() == 1


def test_who_unsubscribed_elsewhere_is_stopped_and_who_came_back_is_not(channel):
    row = sent(channel)
    tell(channel, {"status": "unsubscribed", "address": row.recipient.address})
    assert stopped(row) == ["unsubscribed"]
    tell(
        channel,
        {"status": "resubscribed", "address": row.recipient.address},
        at=datetime.now(UTC) + timedelta(seconds=2),
    )
    assert stopped(row) == []


def test_a_delivery_of_another_channel_is_left_alone(channel):
    row = sent(make.channel("smtp", config=SMTP))
    assert tell(channel, {"status": "failed", "delivery": key(row)}).status_code == 200
    assert now(row)[0] == "sent"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"secret": "whsec_" + base64.b64encode(b"x" * 32).decode()}, "signature does not match"),
        ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, "older than five minutes"),
        ({"webhook-timestamp": "now"}, "signature does not match"),
        ({"webhook-signature": "v1"}, "signature does not match"),
        ({"webhook-signature": "v1,é"}, "signature does not match"),
        ({"webhook-id": ""}, "signature does not match"),
        ({"event_id": "m" * 101}, "longer than 100"),
    ],
)
def test_what_is_not_signed_changes_nothing(channel, changes, says):
    row = sent(channel)
    answer = tell(channel, {"status": "failed", "delivery": key(row)}, **changes)
    assert answer.status_code == 403
    assert says in answer.content.decode()
    assert now(row)[0] == "sent"
    assert not ProviderEvent.objects.exists()


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("not json", "not JSON"),
        ("[" * 60_000, "not JSON"),
        ([], "not a JSON object"),
        ({"status": "delivered"}, "Say which message"),
        ({"status": "delivered", "reference": "x"}, "Say which message"),
        ({"status": "arrived", "delivery": "1-1"}, "“status” is “arrived”; use one of: delivered, failed"),
        ({"status": "delivered", "delivery": "1"}, "“delivery” is “1”; give it back as we sent it"),
        ({"status": "delivered", "delivery": 1}, "“delivery” is not a text"),
        ({"status": "failed", "delivery": "1-1", "detail": "x" * 501}, "“detail” has 501 characters; the limit is 500"),
        ({"status": "failed", "delivery": "1-1", "code": "a\0b"}, "“code” holds a character that is not text"),
        ({"status": "failed", "delivery": "1-1", "code": "\ud800"}, "“code” holds a character that is not text"),
        ({"status": "failed", "delivery": "1-1", "why": "x"}, "“why” is no field of a receipt"),
        ({"status": "unsubscribed"}, "“address” is missing"),
    ],
)
def test_a_bad_receipt_is_refused_with_field_value_and_fix(channel, said, says):
    answer = tell(channel, said)
    assert answer.status_code == 400
    assert says in answer.content.decode()
    assert not ProviderEvent.objects.exists()


def test_a_channel_without_a_secret_has_no_endpoint(channel):
    assert tell(make.channel("smtp", config=SMTP), {"status": "delivered"}).status_code == 404
    assert tell(10**9, {"status": "delivered"}).status_code == 404
    assert Client().get(f"/events/receipts/{channel.pk}/").status_code == 405


def test_a_long_body_is_not_read(channel):
    assert tell(channel, "x" * (64 * 1024 + 1)).status_code == 413


# ── Bounces by mail ─────────────────────────────────────────────────────────

# As Postfix writes them (its bounce(8) daemon); RFC 3464.
REPORT = """\
Return-Path: <>
Date: Thu, 26 Nov 2026 08:00:00 +0000 (UTC)
From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: status@example.org
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="A1/mx.example.net"
Message-Id: <20261126080000.A1@mx.example.net>

This is a MIME-encapsulated message.

--A1/mx.example.net
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--A1/mx.example.net
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net
X-Postfix-Queue-ID: A1
Arrival-Date: Thu, 26 Nov 2026 07:59:58 +0000 (UTC)

Final-Recipient: rfc822; {address}
Original-Recipient: rfc822;{address}
Action: {action}
Status: {status}
Remote-MTA: dns; mail.example.com
Diagnostic-Code: smtp; 550 {status} <{address}>:
    Recipient address rejected

--A1/mx.example.net
Content-Description: Undelivered Message
Content-Type: {kind}

From: status@example.org
To: {address}
Subject: Card payments fail
Message-ID: <{ref}>

--A1/mx.example.net--
"""


def bounce(
    monkeypatch, row, action="failed", status="5.1.1", kind="message/rfc822", ref=None, text=REPORT, channel=None
):
    mail = text.format(
        address=row.recipient.address, action=action, status=status, kind=kind, ref=ref or row.provider_ref
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mail.encode())))
    out = io.StringIO()
    call_command("take_bounces", channel or row.dispatch.channel_id, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers"])
@pytest.mark.parametrize(
    ("action", "status", "after", "suppressed"),
    [
        ("failed", "5.1.1", ("failed", "bounced"), ["bounced"]),
        ("failed", "5.7.1", ("failed", "5.7.1"), []),
        ("failed", "4.4.7", ("failed", "4.4.7"), []),
        ("delivered", "2.0.0", ("delivered", ""), []),
        ("delayed", "4.4.1", ("sent", ""), []),
        ("relayed", "2.0.0", ("sent", ""), []),
    ],
)
def test_a_mail_servers_report_is_recorded(monkeypatch, channel, kind, action, status, after, suppressed):
    row = sent(channel)
    said = bounce(monkeypatch, row, action, status, kind)
    assert said == ("Counted: 0.\n" if after[0] == "sent" else "Counted: 1.\n")
    assert now(row)[:2] == after
    assert stopped(row) == suppressed
    if after[0] == "failed":
        assert row.detail == f"smtp; 550 {status} <{row.recipient.address}>: Recipient address rejected"
        assert "@" not in "".join(Suppression.objects.values_list("detail", flat=True))


def test_the_same_report_counts_once(monkeypatch, channel):
    row = sent(channel)
    bounce(monkeypatch, row)
    bounce(monkeypatch, row)
    assert ProviderEvent.objects.count() == 1


def test_nobody_can_bounce_a_message_that_they_did_not_get(monkeypatch, channel):
    mine, other = sent(channel), sent(channel)
    guess = other.provider_ref.replace(other.provider_ref.split(".")[2][:16], mine.provider_ref.split(".")[2][:16])
    assert guess != other.provider_ref
    for ref in (guess, f"{key(other)}@example.org", f"{key(other)}.incident-1@example.org", "", "x" * 5000):
        assert bounce(monkeypatch, other, ref=ref or " ") == "Counted: 0.\n"
    assert now(other)[0] == "sent"
    assert stopped(other) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Subject: I am away\n\nUntil Monday.",
        "Message-ID: <{ref}>\n\nOf ours, and no report.",
        REPORT.replace("message/delivery-status", "text/plain"),
        REPORT.replace("Action: {action}", "Reaction: {action}"),
        "Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/rfc822\n\n--x--",
    ],
    ids=["nothing", "absence", "quoted", "no status", "no action", "cut off"],
)
def test_other_mail_changes_nothing(monkeypatch, channel, text):
    row = sent(channel)
    assert bounce(monkeypatch, row, text=text) == "Counted: 0.\n"
    assert now(row)[0] == "sent"


def test_a_wrong_channel_is_named(monkeypatch, channel):
    with pytest.raises(CommandError, match="no channel 999999"):
        bounce(monkeypatch, sent(channel), channel=999_999)


def test_a_channel_does_not_count_the_bounces_of_another(monkeypatch, channel):
    row = sent(channel)
    bounce(monkeypatch, row, channel=make.channel("smtp", config=SMTP).pk)
    assert now(row)[0] == "sent"


def test_a_report_that_overtakes_the_engine_is_kept_by_the_mail_server(monkeypatch, channel):
    row = sent(channel)
    waiting = {"recipient_ids": [row.recipient_id], "size": 1, "attempted_to": 1, "next_try_at": timezone.now()}
    Batch.objects.create(dispatch=row.dispatch, **waiting)
    Delivery.objects.all().delete()
    with pytest.raises(CommandError, match="just being sent") as caught:
        bounce(monkeypatch, row)
    assert caught.value.returncode == 75  # EX_TEMPFAIL
    assert not ProviderEvent.objects.exists()
    assert tell(channel, {"status": "delivered", "delivery": key(row)}).status_code == 503
