"""What is believed of what arrives from Slack, and that each thing is done once whatever dies."""

import json
import time
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from incidents.chat import commands, requests, slack
from incidents.models import ChatRequest, ChatWorkspace, Incident
from tests import make
from tests.fakes.aws import Drop
from tests.fakes.http import Reply

pytestmark = pytest.mark.django_db
DECLARE = 'declare sev2 "Card payments fail" Checkout'


@pytest.fixture
def marta(connected):
    make.component("Checkout")
    return connected(make.incident_manager(first_name="Marta"))


# ── Signatures ──────────────────────────────────────────────────────────────


def test_what_slack_signed_is_acknowledged_at_once_and_done_by_a_worker(fake, chat, marta):
    response = chat.post("commands", fake.command(marta, DECLARE))
    assert response.status_code == 200
    assert response.json() == {"response_type": "ephemeral", "text": "One moment: the answer follows."}
    assert not Incident.objects.exists()
    chat.work()
    assert Incident.objects.get().title == "Card payments fail"


@pytest.mark.parametrize("path", ["commands", "interactions"])
@pytest.mark.parametrize("wrong", ["secret", "old", "future", "no time", "no signature", "body", "time", "empty", "v1"])
def test_what_slack_did_not_sign_is_refused(fake, chat, marta, path, wrong):
    body = fake.command(marta, DECLARE)
    headers = fake.signed(body)
    if wrong == "secret":
        headers = fake.signed(body, secret="another-secret")
    elif wrong in ("old", "future"):
        headers = fake.signed(body, at=time.time() + (-301 if wrong == "old" else 302))
    elif wrong == "no time":
        del headers["X-Slack-Request-Timestamp"]
    elif wrong == "no signature":
        del headers["X-Slack-Signature"]
    elif wrong == "body":
        body += "&text=more"
    elif wrong == "time":
        headers["X-Slack-Request-Timestamp"] = str(int(headers["X-Slack-Request-Timestamp"]) + 1)
    elif wrong == "empty":
        headers["X-Slack-Signature"] = ""
    else:
        headers["X-Slack-Signature"] = headers["X-Slack-Signature"].replace("v0=", "v1=")
    assert chat.post(path, body, headers).status_code == 403
    assert not ChatRequest.objects.exists()


@pytest.mark.parametrize("stamp", ["²", "1e9", "-5", "9" * 30, "", " 5"])
def test_a_time_that_is_none_is_refused(fake, chat, marta, stamp):
    headers = fake.signed(body := fake.command(marta, "list")) | {"X-Slack-Request-Timestamp": stamp}
    assert chat.post("commands", body, headers).status_code == 403


def test_a_workspace_without_a_secret_believes_nobody(fake, chat, workspace, marta):
    ChatWorkspace.objects.update(secrets={})
    body = fake.command(marta, "list")
    assert chat.post("commands", body, fake.signed(body, secret="")).status_code == 403


def test_the_same_request_again_is_refused(fake, chat, marta):
    body = fake.command(marta, DECLARE)
    headers = fake.signed(body)
    assert chat.post("commands", body, headers).status_code == 200
    assert chat.post("commands", body, headers).status_code == 403
    chat.work()
    assert Incident.objects.count() == 1


def test_what_another_workspace_sends_through_the_same_app_is_refused(fake, chat, marta):
    body = fake.command(marta, "list", team_id="T0ANOTHER")
    assert chat.post("commands", body).status_code == 403
    payload = {"type": "block_actions", "team": {"id": "T0ANOTHER"}, "user": {"id": marta}, "actions": []}
    assert chat.post("interactions", urlencode({"payload": json.dumps(payload)})).status_code == 403


def test_a_workspace_that_is_off_or_unknown_hears_nothing(fake, chat, workspace, marta):
    body = fake.command(marta, "list")
    assert Client().post("/chat/slack/nobody/commands/").status_code == 404
    assert Client().get(f"/chat/slack/{workspace.uid}/commands/").status_code == 405
    ChatWorkspace.objects.update(enabled=False)
    assert chat.post("commands", body).status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("commands", "", 403),
        ("commands", "team_id=T0123456789", 400),
        ("commands", "ssl_check=1&token=x", 200),
        ("commands", "&".join(f"a{n}=1" for n in range(80)), 400),
        ("commands", "%ff=\x00&team_id=T0123456789", 400),
        ("interactions", "payload=", 400),
        ("interactions", "payload={", 400),
        ("interactions", "payload=[]", 400),
        ("interactions", "payload=" + "[" * 20000, 400),
        ("interactions", urlencode({"payload": '{"team": {"id": "T0123456789"}}'}), 200),
        ("interactions", urlencode({"payload": '{"team": {"id": "T0123456789"}, "type": "block_actions"}'}), 200),
        (
            "interactions",
            urlencode({"payload": '{"team": {"id": "T0123456789"}, "user": 7, "type": "view_submission", "view": []}'}),
            200,
        ),
        (
            "interactions",
            urlencode({"payload": '{"team": {"id": "T0123456789"}, "type": "block_actions", "actions": [[]]}'}),
            200,
        ),
    ],
)
def test_odd_bodies_never_break_it(chat, workspace, path, body, status):
    assert chat.post(path, body).status_code == status


def test_a_body_that_is_too_long_is_not_read(fake, chat, marta):
    assert chat.post("commands", "text=" + "x" * 300_000).status_code == 413


# ── Answers ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "well"),
    [
        ("https://hooks.slack.com/commands/T1/2/x", True),
        ("http://hooks.slack.com/commands/T1/2/x", False),
        ("https://hooks.slack.com.evil.example/x", False),
        ("https://hooks.slack.com@evil.example/x", False),
        ("https://evil.example/hooks.slack.com", False),
        ("https://hooks.slack.com:8443/x", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("//hooks.slack.com/x", False),
        ("https://[hooks.slack.com/x", False),
        ("", False),
    ],
)
def test_answers_go_to_slack_alone(settings, url, well):
    settings.SLACK_API = "https://slack.com/api"
    assert slack.is_slack(url) is well


def test_where_slack_does_not_answer_nothing_is_posted(fake, chat, marta):
    assert chat.post("commands", fake.command(marta, DECLARE, response_url="http://127.0.0.1:1/x")).status_code == 200
    chat.work()
    assert Incident.objects.count() == 1  # it was asked for by somebody whom Slack vouches for
    assert fake.answers == []
    assert ChatRequest.objects.get().done_at


def test_the_address_of_the_answer_is_encrypted(fake, chat, marta):
    from django.db import connection

    chat.post("commands", fake.command(marta, "list"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT asked FROM incidents_chatrequest")
        assert "http" not in cursor.fetchone()[0]


# ── Once ────────────────────────────────────────────────────────────────────


def test_a_worker_that_dies_before_the_answer_does_nothing_twice(fake, chat, marta, monkeypatch):
    chat.post("commands", fake.command(marta, DECLARE))
    with monkeypatch.context() as patch:
        patch.setattr(requests, "_answer", lambda one: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            chat.work()
    assert Incident.objects.count() == 1
    chat.work()  # the lease of the dead one holds
    assert fake.answers == []
    ChatRequest.objects.update(busy_until=timezone.now() - timedelta(seconds=1))
    requests.handle_waiting()
    assert Incident.objects.count() == 1
    assert "Declared" in chat.answer()


def test_a_worker_that_dies_in_the_middle_leaves_nothing_half_done(fake, chat, marta, monkeypatch):
    chat.post("commands", fake.command(marta, DECLARE))
    declare = commands.declaring.declare

    def die(*args, **kwargs):
        declare(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(commands.declaring, "declare", die)
        with pytest.raises(KeyboardInterrupt):
            chat.work()
    assert not Incident.objects.exists()
    ChatRequest.objects.update(busy_until=None)
    chat.work()
    assert Incident.objects.count() == 1


def test_two_workers_do_it_once(fake, chat, marta):
    chat.post("commands", fake.command(marta, DECLARE))
    pk = ChatRequest.objects.get().pk
    requests.handle(pk)
    requests.handle(pk)
    assert Incident.objects.count() == 1
    assert len(fake.answers) == 1


def test_an_answer_that_slack_could_not_take_is_given_again(fake, chat, marta, settings):
    chat.post("commands", fake.command(marta, DECLARE))
    fake.http.script(Reply(429, {}, {"Retry-After": "1"}))
    chat.work()
    assert fake.answers == []
    requests.handle_waiting()
    assert "Declared" in chat.answer()
    assert Incident.objects.count() == 1


def test_an_answer_that_was_lost_is_not_given_twice(fake, chat, marta):
    chat.post("commands", fake.command(marta, DECLARE))
    fake.http.script(Drop())
    chat.work()
    requests.handle_waiting()
    assert ChatRequest.objects.get().done_at
    assert fake.answers == []


def test_what_was_asked_long_ago_is_not_done_any_more(fake, chat, marta, time_machine):
    chat.post("commands", fake.command(marta, DECLARE))
    time_machine.move_to(timezone.now() + timedelta(minutes=11))
    requests.handle_waiting()
    assert not Incident.objects.exists()
    assert "too long ago" in chat.answer()


def test_a_failure_of_ours_is_told_and_undone(fake, chat, marta, monkeypatch):
    declare = commands.declaring.declare

    def fail(*args, **kwargs):
        declare(*args, **kwargs)
        raise RuntimeError("a mistake")

    monkeypatch.setattr(commands.declaring, "declare", fail)
    assert "Nothing was changed" in chat.says(marta, DECLARE)
    assert not Incident.objects.exists()


def test_a_database_that_is_away_is_no_answer(fake, chat, marta, monkeypatch):
    chat.post("commands", fake.command(marta, "list"))

    def away(*args, **kwargs):
        raise OperationalError("away")

    monkeypatch.setattr(commands, "run", away)
    with pytest.raises(OperationalError):
        chat.work()
    assert ChatRequest.objects.get().answer is None


def test_requests_are_forgotten_after_a_day(fake, chat, marta, time_machine):
    chat.says(marta, "list")
    time_machine.move_to(timezone.now() + timedelta(days=2))
    requests.handle_waiting()
    assert not ChatRequest.objects.exists()
