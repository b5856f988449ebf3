"""Alerts arrive: who may tell them, what is turned away and how."""

import hashlib
import hmac
import html
import json
import logging
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import OperationalError
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from channels import own_secrets, sns
from channels.models import ProviderEvent
from incidents.alerts import FORMATS, taking_in
from incidents.errors import Refused
from incidents.models import Alert, AlertSource, Incident, Proposal
from tests.fakes import sns as fake
from tests.fakes.http import FakeHttp, Reply

from .conftest import PROOF, alert, basic, by_sns, post, secret, source, tell

pytestmark = pytest.mark.django_db
# Samples are of 3 November 2026, 14:02; what is older than two weeks would be refused.
ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 3, 14, 3, tzinfo=UTC)


@pytest.fixture(autouse=True)
def on_that_day():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture(autouse=True)
def certificate(on_that_day, monkeypatch):
    """One that is valid on that day: the cached one was made on another."""
    fake.certificate.cache_clear()
    monkeypatch.setattr(sns, "_known", {fake.URL: sns._parsed(fake.certificate())})
    yield
    fake.certificate.cache_clear()


# ── Each kind ──


@pytest.mark.parametrize("kind", FORMATS)
def test_the_sample_of_each_kind_proposes_an_incident_and_declares_none(kind):
    answer = tell(one := source(kind), FORMATS[kind].sample)
    assert (answer.status_code, answer.content) == (200, b"Taken in: 1.\n")
    kept = Alert.objects.get()
    assert (kept.source, kept.state, kept.count) == (one, "firing", 1)
    assert kept.proposal.title == kept.title
    assert kept.proposal.state == "open"
    assert not Incident.objects.exists()


def test_events_of_eventbridge_come_by_sns_or_with_the_secret_and_count_once():
    one = source("eventbridge")
    event = FORMATS["eventbridge"].sample
    assert by_sns(one, event).content == b"Taken in: 1.\n"
    assert tell(one, event).content == b"Taken in before.\n"
    assert Alert.objects.get().count == 1


@pytest.mark.parametrize("kind", ["cloudwatch", "pagerduty", "generic"])
def test_the_same_message_told_again_counts_once(kind):
    one = source(kind)
    body = json.dumps(FORMATS[kind].sample).encode()
    if kind == "cloudwatch":
        message = fake.notification(FORMATS[kind].sample)
        answers = [by_sns(one, message) for _n in range(2)]
    else:
        headers = PROOF[kind](one, body)
        answers = [post(one, body, headers) for _n in range(2)]
    assert [a.content for a in answers] == [b"Taken in: 1.\n", b"Taken in before.\n"]
    assert Alert.objects.get().count == 1
    assert ProviderEvent.objects.get().source == f"alerts:{one.pk}"


def test_alertmanager_says_it_again_and_that_only_counts():
    one = source("alertmanager")
    for _n in range(3):
        tell(one, FORMATS["alertmanager"].sample)
    assert (Alert.objects.get().count, Proposal.objects.count()) == (3, 1)


def test_alertmanager_may_log_in_with_a_name():
    one = source("alertmanager")
    body = json.dumps(FORMATS["alertmanager"].sample).encode()
    assert post(one, body, basic(one)).status_code == 200


# ── Forged ──


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic ###"}])
@pytest.mark.parametrize("kind", ["alertmanager", "eventbridge"])
def test_without_the_secret_nobody_is_believed(kind, headers, caplog):
    answer = post(source(kind), json.dumps(FORMATS[kind].sample).encode(), headers)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert not Alert.objects.exists()
    number = answer.content.decode().rsplit("(", 1)[1].rstrip(")\n")
    assert number in caplog.text
    assert "checkout" not in caplog.text


@pytest.mark.parametrize("kind", ["pagerduty", "generic"])
def test_a_body_that_was_changed_does_not_fit_its_signature(kind):
    one = source(kind)
    body = json.dumps(FORMATS[kind].sample).encode()
    headers = PROOF[kind](one, body)
    assert post(one, body.replace(b"errors", b"errorz"), headers).status_code == 403
    assert post(one, body, {}).status_code == 403
    assert not Alert.objects.exists()
    assert post(one, body, headers).status_code == 200


@pytest.mark.parametrize("shown", ["v1=", "v1=x,", ",,,", "v2=" + "0" * 64, "v1=" + "é" * 64])
def test_an_odd_signature_is_a_wrong_one(shown):
    answer = post(source("pagerduty"), b"{}", {"X-PagerDuty-Signature": shown})
    assert answer.status_code == 403


def test_a_signature_that_is_too_old_is_refused():
    one = source()
    body = json.dumps(alert()).encode()
    headers = PROOF["generic"](one, body)
    with time_machine.travel(NOW + timedelta(minutes=6), tick=False):
        assert post(one, body, headers).status_code == 403


@pytest.mark.parametrize("kind", ["pagerduty", "eventbridge"])
def test_an_event_from_so_long_ago_that_its_id_is_forgotten_is_refused(kind):
    one = source(kind)
    with time_machine.travel(NOW + timedelta(days=15), tick=False):
        assert tell(one, FORMATS[kind].sample).status_code == 403
    assert not Alert.objects.exists()


def test_a_source_is_not_believed_with_the_secret_of_another():
    one, other = source(), source()
    body = json.dumps(alert()).encode()
    assert post(one, body, PROOF["generic"](other, body)).status_code == 403


def test_a_topic_that_is_not_on_the_list_is_refused_before_anything_is_fetched(monkeypatch):
    one = source("cloudwatch", topics=["arn:aws:sns:eu-south-1:123456789012:other"])
    monkeypatch.setattr(sns, "verify", lambda note: pytest.fail("its certificate was looked for"))
    assert by_sns(one, FORMATS["cloudwatch"].sample).status_code == 403
    assert by_sns(one, fake.confirmation()).status_code == 403


def test_a_message_of_sns_that_was_changed_is_refused():
    message = fake.notification(FORMATS["cloudwatch"].sample)
    one = source("cloudwatch")
    assert by_sns(one, {**message, "Message": message["Message"].replace("5xx", "6xx")}).status_code == 403
    body = json.dumps(message).encode()
    assert post(one, body, {"x-amz-sns-rawdelivery": "true"}).status_code == 400


# ── Subscribing to a topic ──


@pytest.fixture
def aws(monkeypatch):
    """A stand-in for the API of SNS; nothing here was tried on AWS itself."""
    peer = FakeHttp()
    monkeypatch.setattr(sns, "endpoint", lambda topic, real=sns.endpoint: peer.url)
    monkeypatch.setattr(sns, "_checked_url", lambda note: fake.URL)
    yield peer
    peer.close()


def test_a_subscription_is_confirmed_by_the_api_and_never_by_the_address_in_it(aws):
    answer = by_sns(source("cloudwatch"), fake.confirmation())
    assert (answer.status_code, answer.content) == (200, b"Confirmed.\n")
    (call,) = aws.calls
    assert (call.method, call.path) == ("POST", "/")
    assert call.body == (
        b"Action=ConfirmSubscription&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns%3Aeu-south-1%3A123456789012%3Aevents"
        b"&Token=2336412f37fb687f5d51e6e241d"
    )


@pytest.mark.parametrize(("status", "ours"), [(500, 503), (429, 503), (400, 403), (302, 403)])
def test_what_sns_says_of_a_confirmation_is_handed_on(aws, status, ours):
    aws.script(Reply(status))
    assert by_sns(source("cloudwatch"), fake.confirmation()).status_code == ours
    assert len(aws.calls) == 1


def test_the_end_of_a_subscription_is_noted(aws, caplog):
    assert by_sns(source("cloudwatch"), fake.confirmation("UnsubscribeConfirmation")).status_code == 200
    assert aws.calls == []
    assert "unsubscribed" in caplog.text


# ── What cannot be read ──


def test_malformed_json_is_named_with_its_place():
    answer = tell(source(), b'{"alerts": [}')
    assert answer.status_code == 400
    assert b"line 1, column 13" in answer.content


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b"\xff", b"7", b"null", b'{"alerts": []}'])
def test_what_is_no_message_is_refused(body):
    one = source("alertmanager")
    assert tell(one, body).status_code == 400
    assert not ProviderEvent.objects.exists()


def test_a_mistake_in_one_alert_keeps_all_others_out():
    payload = {"alerts": [*alert("a")["alerts"], *alert("b", status="odd")["alerts"]]}
    answer = tell(source(), payload)
    assert answer.status_code == 400
    assert "alerts[1].status" in answer.content.decode()
    assert not Alert.objects.exists()


def test_what_says_nothing_of_alerts_is_acknowledged_with_a_number(caplog):
    ping = {"event": {"id": "1", "event_type": "pagey.ping", "data": {"message": "Hello"}}}
    answer = tell(source("pagerduty"), ping)
    assert answer.status_code == 202
    assert answer.content.decode().rsplit("(", 1)[1].rstrip(")\n") in caplog.text


def test_a_long_body_is_refused_unread():
    one = source()
    assert tell(one, b" " * (256 * 1024 + 1)).status_code == 413
    assert tell(one, alert() | {"x": ""}).status_code == 200
    answer = Client().generic("POST", f"/alerts/{one.uid}/", b"{}", CONTENT_LENGTH="lots")
    assert answer.status_code == 413


@pytest.mark.parametrize("method", ["get", "put", "delete", "head"])
def test_only_a_post_is_taken(method):
    assert getattr(Client(), method)(f"/alerts/{source().uid}/").status_code == 405


def test_who_is_not_there_switched_off_or_has_no_proof_is_told_so():
    assert post("nobodyknows", b"{}").status_code == 404
    assert tell(source(enabled=False), alert()).status_code == 403
    bare = source(secrets={})
    assert post(bare, b"{}").status_code == 403
    gone = source()
    AlertSource.objects.filter(pk=gone.pk).update(kind="telegraph")
    assert post(gone, b"{}").status_code == 404


def test_while_the_database_is_away_it_asks_to_come_again(monkeypatch):
    one = source()
    monkeypatch.setattr(taking_in, "take_in", lambda *args: (_ for _ in ()).throw(OperationalError("gone")))
    answer = tell(one, alert())
    assert (answer.status_code, answer["Retry-After"]) == (503, "20")


def test_nothing_of_a_body_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    tell(one := source(), alert("a", title="Quiet words", at="never"))
    tell(one, alert("a", title="Quiet words"))
    assert "Quiet words" not in caplog.text
    assert secret(one) not in caplog.text


# ── Too many ──


def test_more_than_so_many_a_minute_are_turned_away_and_counted():
    one = source(rate=3)
    answers = [tell(one, alert(str(n))) for n in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert answers[-1]["Retry-After"] == "60"
    one.refresh_from_db()
    assert (one.dropped, one.dropped_at) == (2, timezone.now())
    assert Alert.objects.count() == 3
    with time_machine.travel(NOW + timedelta(minutes=1), tick=False):
        assert tell(one, alert("6")).status_code == 200


def test_who_proves_nothing_uses_up_no_ones_share():
    one = source(rate=1)
    for _n in range(3):
        assert post(one, b"{}").status_code == 403
    assert tell(one, alert()).status_code == 200


# ── Secrets ──


def test_a_new_secret_leaves_the_one_before_a_day():
    one = source("alertmanager")
    old = AlertSource.objects.get(pk=one.pk)
    fresh = one.renew_secret()
    assert fresh == secret(one) != secret(old)
    assert [tell(a, FORMATS["alertmanager"].sample).status_code for a in (one, old)] == [200, 200]
    with time_machine.travel(NOW + timedelta(hours=25), tick=False):
        answers = [
            post(one, json.dumps(FORMATS["alertmanager"].sample).encode(), PROOF["alertmanager"](a, b""))
            for a in (one, old)
        ]
    assert [a.status_code for a in answers] == [200, 401]


def test_a_secret_that_leaked_ends_at_once():
    one = source("alertmanager")
    old = AlertSource.objects.get(pk=one.pk)
    one.renew_secret(at_once=True)
    assert tell(old, FORMATS["alertmanager"].sample).status_code == 401


def test_secrets_do_not_pile_up():
    one = source()
    for _n in range(4):
        one.renew_secret()
    with pytest.raises(Refused, match="Five"):
        one.renew_secret()


def test_pagerduty_makes_the_secret_itself():
    one = source("pagerduty", secrets={})
    one.renew_secret("theirs")
    body = json.dumps(FORMATS["pagerduty"].sample).encode()
    right = hmac.new(b"theirs", body, hashlib.sha256).hexdigest()
    assert post(one, body, {"X-PagerDuty-Signature": f"v1={right}"}).status_code == 200


def test_secrets_are_encrypted_at_rest(django_db_blocker):
    from django.db import connection

    one = source()
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM incidents_alertsource WHERE id = %s", [one.pk])
        (stored,) = cursor.fetchone()
    assert stored
    assert own_secrets.PREFIX not in stored
    assert secret(one) not in stored


# ── The guide ──


@pytest.mark.parametrize("where", ["guide", "page"])
def test_the_example_that_people_copy_is_believed(where):
    """Its lines are run as they stand, but for curl, which says what it would have posted."""
    one = source()
    if where == "guide":
        page = (ROOT / "docs/reference/alerts.md").read_text()
        lines = page.split("```sh\n")[1].split("```")[0].partition("\n")[2]
    else:
        page = render_to_string(FORMATS["generic"].how_to, {"source": one})
        lines = html.unescape(page.split("<pre")[1].partition(">")[2].split("</pre>")[0])
    # Of the clock on that day, and not of the machine's.
    now = int(NOW.timestamp())
    stand_ins = f"curl() {{ printf '%s\\0' \"$@\"; }}\ndate() {{ echo {now}; }}\nSECRET={secret(one)}\n"
    script = stand_ins + lines
    said = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True, timeout=20).stdout
    _address, *options = said.split("\0")
    pairs = list(zip(options[::2], options[1::2], strict=False))
    headers = dict(value.split(": ", 1) for option, value in pairs if option == "-H")
    (body,) = [value for option, value in pairs if option == "--data-binary"]
    answer = post(one, body.encode(), headers)
    assert (answer.status_code, answer.content) == (200, b"Taken in: 1.\n")
