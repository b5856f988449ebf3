import json
import os
import re
import time

import pytest
from django.core import signing
from django.test import Client

from channels import links, mailbox
from channels.models import Suppression
from channels.providers import get
from channels.providers.base import Addressee, Message
from incidents import roles
from tests import make

OUTBOX = "/outbox/"


@pytest.fixture
def demo(settings):
    settings.PORTAL_DEMO = True


def send(provider="outbox_email", *, to="anna@example.com", name="Anna", key="1-1", **parts):
    """What the worker would: one message into the local outbox, by its real provider."""
    parts = parts or {"subject": "Checkout: outage", "text": "Read http://127.0.0.1/i/1", "html": "<p>Hello</p>"}
    message = Message(parts=parts, locale="en", thread="t", reference="dispatch-1")
    [outcome] = get(provider)({}).send(message, [Addressee(to, name, key)])
    return outcome.ref.removesuffix(".json")


def many(folder, count):
    (folder / "outbox").mkdir()
    now = time.time()
    for i in range(count):
        letter = {
            "to": f"p{i}@example.com",
            "name": f"P {i}",
            "form": "email",
            "at": now,
            "parts": {"subject": f"No {i}"},
        }
        path = folder / "outbox" / f"9-{i}.json"
        path.write_text(json.dumps(letter))
        os.utime(path, (now + i, now + i))


# ── The list ──


def test_an_empty_outbox_teaches(client, demo):
    shown = client.get(OUTBOX)
    assert shown.status_code == 200
    assert "No messages yet" in shown.content.decode()


def test_it_lists_the_newest_first_fifty_a_page(client, demo, data_dir):
    many(data_dir, 60)
    first = client.get(OUTBOX).context
    assert [one.name for one in first["letters"]] == [f"9-{i}" for i in range(59, 9, -1)]
    assert first["older"] == 2
    second = client.get(OUTBOX, {"page": 2}).context
    assert [one.name for one in second["letters"]] == [f"9-{i}" for i in range(9, -1, -1)]
    assert (second["newer"], second["older"]) == (1, 0)


def test_it_opens_only_the_files_it_shows(client, demo, data_dir, monkeypatch):
    many(data_dir, 300)
    opened = []
    read = mailbox.read
    monkeypatch.setattr(mailbox, "read", lambda name: opened.append(name) or read(name))
    client.get(OUTBOX)
    assert len(opened) <= 51


def test_it_filters_by_kind_and_searches_by_address(client, demo):
    send(key="1-1")
    send("outbox_sms", to="+393331234567", key="1-2", text="Checkout down")
    send("outbox_post", to="channel:3", name="X", key="1-3", text="Checkout down")
    send(to="bruno@example.com", name="Bruno", key="1-4")

    def found(**query):
        return {one.to for one in client.get(OUTBOX, query).context["letters"]}

    assert found(form="sms") == {"+393331234567"}
    assert found(form="email") == {"anna@example.com", "bruno@example.com"}
    assert found(q="BRUNO@") == {"bruno@example.com"}
    assert found(q="33312", form="sms") == {"+393331234567"}
    assert found(q="nobody") == set()
    assert len(found(form="nonsense")) == 4


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=99999999999999", "page=%C2%B2", "q=%00", "form=%27"]
)
def test_odd_questions_get_a_page(client, demo, query):
    send()
    assert client.get(f"{OUTBOX}?{query}").status_code == 200


@pytest.mark.parametrize("text", ["", "not json", "[]", "null", '{"at": "x"}', '{"at": 1e400}', '{"parts": 3}'])
def test_a_file_it_cannot_read_is_left_out(client, demo, data_dir, text):
    send(key="1-1")
    (data_dir / "outbox" / "2-2.json").write_text(text)
    assert [one.name for one in client.get(OUTBOX).context["letters"]] == ["1-1"]
    assert client.get(f"{OUTBOX}2-2/").status_code == 404


def test_half_written_files_are_left_out(client, demo, data_dir):
    send(key="1-1")
    (data_dir / "outbox" / ".1-2.json.99").write_text("{")
    (data_dir / "outbox" / ".1-3.json").write_text("{}")
    assert len(client.get(OUTBOX).context["letters"]) == 1


# ── One message ──


def test_a_message_is_shown_with_its_parts_and_links(client, demo):
    html = '<a href="https://status.example.com/survey/abc/">the survey</a> <a href="javascript:alert(1)">bad</a>'
    name = send(subject="S <b>", text="Answer: https://status.example.com/survey/abc/", html=html)
    shown = client.get(f"{OUTBOX}{name}/").content.decode()
    assert "S &lt;b&gt;" in shown
    assert re.search(r'<iframe[^>]*sandbox=""[^>]*src="/outbox/1-1/html/"', shown)
    assert '<a href="https://status.example.com/survey/abc/" lang="en">the survey</a>' in shown
    assert "javascript:" not in shown
    text = client.get(f"{OUTBOX}{name}/", {"part": "text"}).content.decode()
    assert 'href="https://status.example.com/survey/abc/"' in text


def test_the_html_part_can_do_nothing_but_be_seen(client, demo):
    name = send(subject="S", text="t", html="<script>alert(1)</script><p>x</p>")
    answer = client.get(f"{OUTBOX}{name}/html/")
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script" not in policy
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert b"<p>x</p>" in answer.content
    assert b"<script>" not in client.get(f"{OUTBOX}{name}/").content


@pytest.mark.parametrize("provider", ["outbox_sms", "outbox_post"])
def test_short_messages_escape_and_link(client, demo, provider):
    name = send(provider, text="<b>Down</b> https://status.example.com/i/1")
    shown = client.get(f"{OUTBOX}{name}/").content.decode()
    assert "&lt;b&gt;Down&lt;/b&gt;" in shown
    assert 'href="https://status.example.com/i/1"' in shown


@pytest.mark.parametrize(
    "path",
    [
        "..%2F..%2Fsecret",
        "../secret",
        "%2e%2e%2fsecret",
        "..\\secret",
        "1-1.json",
        "1-1%00",
        "/etc/passwd",
        "nothing-here",
    ],
)
def test_no_name_leads_out_of_the_folder(client, demo, data_dir, path):
    send(key="1-1")
    (data_dir / "secret.json").write_text(json.dumps({"to": "x", "parts": {"text": "TOP SECRET"}}))
    for url in (f"{OUTBOX}{path}/", f"{OUTBOX}{path}/html/"):
        answer = client.get(url)
        assert answer.status_code == 404
        assert b"TOP SECRET" not in answer.content


# ── Who may ──


@pytest.mark.django_db
def test_outside_the_demo_it_is_for_staff_who_may_see_deliveries(client):
    name = send()
    urls = (OUTBOX, f"{OUTBOX}{name}/", f"{OUTBOX}{name}/html/")
    for url in urls:
        answer = client.get(url)
        assert answer.status_code == 302
        assert answer.url.startswith("/admin/login/")
    client.force_login(make.user(roles.MANAGERS))
    assert [client.get(url).status_code for url in urls] == [403, 403, 403]
    assert b"anna@example.com" not in client.get(OUTBOX).content
    client.force_login(make.incident_manager())
    assert [client.get(url).status_code for url in urls] == [200, 200, 200]


def test_it_is_only_for_reading(client, demo):
    assert client.post(OUTBOX).status_code == 405


# ── Unsubscribe ──


@pytest.fixture
def person(db):
    return make.recipients(1)[0]


@pytest.fixture
def link(person):
    return re.sub(r"^https?://[^/]+", "", links.unsubscribe_url(person.pk))


def stopped(person):
    return Suppression.objects.filter(medium=person.medium, address_hash=person.address_hash).count()


def test_looking_changes_nothing(client, person, link):
    answer = client.get(link)
    assert answer.status_code == 200
    assert 'method="post"' in answer.content.decode()
    assert person.address not in answer.content.decode()  # only enough of it to recognise one's own
    assert client.head(link).status_code == 200
    assert stopped(person) == 0


def test_one_click_needs_no_cookie_no_token_and_is_not_redirected(person, link):
    mail_server = Client(enforce_csrf_checks=True)
    for _again in range(2):
        answer = mail_server.post(link, "List-Unsubscribe=One-Click", content_type="application/x-www-form-urlencoded")
        assert answer.status_code == 200
        assert not answer.cookies
        assert "you are unsubscribed" in answer.content.decode()
    assert stopped(person) == 1
    assert Suppression.objects.get().reason == "unsubscribed"


def test_it_counts_at_the_next_message(person, link, client):
    channel = make.channel()
    make.plan(channel)
    client.post(link)
    assert make.incident().updates.get().reach().total == 0


def test_a_mistake_is_undone(client, person, link):
    client.post(link)
    assert "subscribe again" in client.get(link).content.decode()
    answer = client.post(link, {"again": "1"})
    assert "subscribed again" in answer.content.decode()
    assert stopped(person) == 0
    assert client.post(link, {"again": "1"}).status_code == 200


def test_an_address_that_was_stopped_for_another_reason_stays_stopped(client, person, link):
    Suppression.objects.create(medium="email", address_hash=person.address_hash, reason="complained")
    shown = client.get(link).content.decode()
    assert "subscribe again" not in shown
    client.post(link, {"again": "1"})
    assert Suppression.objects.get().reason == "complained"


def test_it_speaks_the_recipients_language(client, db):
    [person] = make.recipients(1, locale="it")
    url = re.sub(r"^https?://[^/]+", "", links.unsubscribe_url(person.pk))
    for answer in (client.get(url, HTTP_ACCEPT_LANGUAGE="en"), client.post(url, HTTP_ACCEPT_LANGUAGE="en")):
        assert 'lang="it"' in answer.content.decode()
        assert answer["Content-Language"] == "it"


def test_an_erased_person_is_told_that_nothing_is_left_to_do(client, person, link):
    person.delete()
    for answer in (client.get(link), client.post(link)):
        assert answer.status_code == 200
        assert "not on our list" in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a:b:c",
        "%00",
        "ünïcode",
        "x" * 2000,
        signing.dumps(1, salt="another.purpose"),
        signing.dumps("one", salt=links.UNSUBSCRIBE_SALT),
        signing.dumps([1], salt=links.UNSUBSCRIBE_SALT),
    ],
    # A signature holds the time: by its text each process of a parallel run would name the test differently.
    ids=["one letter", "not signed", "a zero", "not ASCII", "too long", "other purpose", "a word", "a list"],
)
def test_a_forged_or_broken_link_is_a_clear_404(client, token):
    make.recipients(1)
    for answer in (client.get(f"/unsubscribe/{token}/"), client.post(f"/unsubscribe/{token}/")):
        assert answer.status_code == 404
        assert "This link does not work" in answer.content.decode()
    assert not Suppression.objects.exists()


def test_a_changed_token_is_refused(client, person, link):
    head, tail = link[:-8], link[-8:]
    assert client.post(head + tail.swapcase()).status_code == 404
    assert stopped(person) == 0


def test_it_takes_few_queries(client, link, django_assert_max_num_queries):
    with django_assert_max_num_queries(2):
        client.get(link)
    with django_assert_max_num_queries(6):
        client.post(link)
