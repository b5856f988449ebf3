"""The engine and a real mail server together: from an approved update to what lies in mailboxes."""

import pytest

from channels import delivery
from channels.models import Channel, Delivery, Suppression
from channels.progress import progress_of
from incidents import publishing
from tests import make
from tests.fakes.smtp import DROP, PASSWORD, USER

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(smtp_server):
    return smtp_server(auth=True)


@pytest.fixture
def channel(server):
    config = {"host": "127.0.0.1", "port": server.port, "security": "none", "user": USER, "timeout": 5}
    return make.channel("smtp", config={**config, "from_address": "status@example.org"}, secrets={"password": PASSWORD})


@pytest.fixture
def dispatch(channel):
    make.plan(channel, locales=("en",))
    make.recipients(30)
    update = make.published(make.incident().updates.get())
    one = publishing.dispatches(update).get(purpose="update")
    publishing.expand(one)
    return one


def counts(dispatch):
    return progress_of(publishing.Dispatch.objects.filter(pk=dispatch.pk))[0].counts


def test_customers_get_the_approved_words_once(dispatch, server):
    delivery.run_channel(dispatch.channel_id, 30)
    assert counts(dispatch) == {"sent": 30}
    mails = server.mailbox.messages
    assert len({m["Message-ID"] for m in mails}) == len({m["To"] for m in mails}) == 30
    assert server.mailbox.connections == 1
    assert {m["References"] for m in mails} == {f"<{dispatch.thread}@example.org>"}
    body = mails[0].get_body(("plain",)).get_content()
    assert (
        dispatch.content["parts"]["text"].split("[[")[0].splitlines()
        == body.split("http://127.0.0.1:8000/clear/")[0].splitlines()
    )
    assert f"<{body.split('Unsubscribe: ')[1].split()[0]}>" == mails[0]["List-Unsubscribe"]
    refs = set(Delivery.objects.values_list("provider_ref", flat=True))
    assert refs == {m["Message-ID"].strip("<>") for m in mails}


def test_each_failure_ends_where_it_belongs(dispatch, server):
    server.mailbox.script("RCPT", None, "550 5.1.1 no such user", "550 5.7.1 blocked by policy")
    server.mailbox.script("DATA", None, "552 5.3.4 too big", DROP)
    delivery.run_channel(dispatch.channel_id, 30)
    dispatch.batches.update(next_try_at=dispatch.created_at)
    delivery.run_channel(dispatch.channel_id, 30)
    assert counts(dispatch) == {"sent": 26, "failed": 3, "unknown": 1}
    assert len(server.mailbox.raw) == len({to for to, _data in server.mailbox.raw}) == 26
    assert Suppression.objects.get().detail.startswith("550 5.1.1")
    codes = set(Delivery.objects.exclude(status="sent").values_list("code", flat=True))
    assert codes == {"550 5.1.1", "550 5.7.1", "552 5.3.4", "no-reply-after-data"}


def test_a_throttle_in_mid_call_holds_the_channel_and_nobody_gets_it_twice(dispatch, server):
    server.mailbox.script("DATA", *[None] * 4, "454 Throttling failure: Maximum sending rate exceeded")
    delivery.run_channel(dispatch.channel_id, 30)
    assert Channel.objects.get().health == "held"
    assert counts(dispatch) == {"sent": 4}
    Channel.objects.update(held_until=None)
    delivery.run_channel(dispatch.channel_id, 30)
    assert counts(dispatch) == {"sent": 30}
    assert len(server.mailbox.raw) == len({to for to, _data in server.mailbox.raw}) == 30


def test_a_password_that_no_longer_works_pauses_the_channel_and_fails_nobody(dispatch, channel, server):
    channel.secrets = {"password": "changed-elsewhere"}
    channel.save()
    delivery.run_channel(dispatch.channel_id, 30)
    channel.refresh_from_db()
    assert channel.health == "paused"
    assert channel.paused_reason.startswith("535")
    assert "changed-elsewhere" not in channel.paused_reason
    assert counts(dispatch) == {}
    channel.secrets = {"password": PASSWORD}
    channel.save()
    assert delivery.send_test(channel, "me@example.com").error is None
    delivery.run_channel(dispatch.channel_id, 30)
    assert counts(dispatch) == {"sent": 30}


def test_the_static_page_shows_what_was_published(tmp_path):
    channel = make.channel("statuspage", config={"directory": str(tmp_path / "status")})
    make.plan(channel, locales=("en", "it"))
    update = make.published(make.incident(title="Card payments fail").updates.get())
    make.deliver()
    done = publishing.dispatches(update)
    assert {row.status for row in Delivery.objects.filter(dispatch__in=done)} == {"sent"}
    assert "Card payments fail" in (tmp_path / "status" / "index.html").read_text()


def test_an_unwritable_directory_pauses_the_page_channel(tmp_path):
    (tmp_path / "file").write_text("")
    channel = make.channel("statuspage", config={"directory": str(tmp_path / "file")})
    make.plan(channel, locales=("en",))
    make.published(make.incident().updates.get())
    make.deliver()
    channel.refresh_from_db()
    assert channel.health == "paused"
    assert str(tmp_path / "file") in channel.paused_reason
