"""Posts that others bring: signed, or as a file; read strictly, all of them or none."""

import json
from datetime import UTC, datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from feedback.models import SocialPost
from tests import make

from .world import inbox, watched

pytestmark = pytest.mark.django_db
POST = {"id": "forum-1", "text": "#examplepay is down", "at": "2026-11-03T14:02:10Z", "author": "ann"}


@pytest.fixture
def source():
    watched()
    one = inbox()
    one.renew_secret()
    return one


def send(source, payload, secret=None, headers=None):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    now = datetime.now(UTC)
    signed = Webhook(secret or source.secrets["secret"]).sign("msg_1", now, body.decode())
    known = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signed}
    return Client().post(
        f"/social/{source.uid}/", body, content_type="application/json", headers=known if headers is None else headers
    )


def test_what_is_signed_is_taken_in_once(source):
    answer = send(source, {"posts": [POST, {**POST, "id": "forum-2", "text": "of something else"}]})
    assert (answer.status_code, answer.content) == (200, b"Taken in: 1 of 2.\n")
    assert send(source, {"posts": [POST]}).status_code == 200
    [post] = SocialPost.objects.all()
    assert (post.text, post.network, post.label) == ("#examplepay is down", "inbox", "negative")
    assert "ann" not in str(vars(post))
    source.refresh_from_db()
    assert source.heard_at


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"{", "The body is not JSON."),
        ([], "“posts” is missing"),
        ({"posts": []}, "“posts” is missing"),
        ({"posts": ["x"]}, "“posts[0]” is no object"),
        ({"posts": [{**POST, "mood": "bad"}]}, "posts[0]: “mood” is no field"),
        ({"posts": [POST, {**POST, "at": "yesterday"}]}, "posts[1]: “at” is “yesterday”; write a time"),
        ({"posts": [{**POST, "at": "2026-11-03T14:02:10"}]}, "with its zone"),
        ({"posts": [{**POST, "at": "2100-01-01T00:00:00Z"}]}, "still to come"),
        ({"posts": [{**POST, "text": " "}]}, "“text” is missing"),
        ({"posts": [{**POST, "text": 7}]}, "“text” is not a text"),
        ({"posts": [{**POST, "text": "x" * 4001}]}, "“text” has 4001 characters; the limit is 4000"),
        ({"posts": [{**POST, "url": "javascript:alert(1)"}]}, "“url” is “javascript:alert(1)”; write an address"),
        ({"posts": [POST] * 501}, "send 500 at most"),
    ],
)
def test_what_cannot_be_read_is_refused_whole(source, payload, message):
    answer = send(source, payload)
    assert answer.status_code == 400
    assert message in answer.content.decode()
    assert not SocialPost.objects.exists()


def test_who_does_not_prove_to_be_the_source_is_refused(source):
    other = inbox()
    other.renew_secret()
    assert send(source, {"posts": [POST]}, secret=other.secrets["secret"]).status_code == 403
    assert send(source, {"posts": [POST]}, headers={}).status_code == 403
    source.enabled = False
    source.save()
    assert send(source, {"posts": [POST]}).status_code == 403
    assert Client().get(f"/social/{source.uid}/").status_code == 405
    assert Client().post("/social/nobody/", b"{}", content_type="application/json").status_code == 404
    assert not SocialPost.objects.exists()


def test_a_long_body_is_refused(source):
    assert send(source, b" " * (256 * 1024 + 1)).status_code == 413


def test_the_secret_before_is_good_for_a_day(source):
    before = source.secrets["secret"]
    source.renew_secret()
    assert send(source, {"posts": [POST]}, secret=before).status_code == 200
    source.renew_secret(at_once=True)
    assert send(source, {"posts": [POST]}, secret=before).status_code == 403


# ── A file ──────────────────────────────────────────────────────────────────


@pytest.fixture
def staff():
    return make.client(make.communications_manager())


def upload(staff, source, content):
    content = content if isinstance(content, bytes) else content.encode()
    return staff.post(
        f"/admin/feedback/socialsource/{source.pk}/inbox/",
        {"file": SimpleUploadedFile("posts.csv", content), "upload": "1"},
    )


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_file_is_taken_in(staff, source, separator):
    rows = [["id", "text", "at", "language"], ["1", '"#examplepay, still down"', "2026-11-03T14:02:10+01:00", "en"]]
    answer = upload(staff, source, "\ufeff" + "\n".join(separator.join(row) for row in rows))
    assert answer.status_code == 302
    assert SocialPost.objects.get().text == "#examplepay, still down"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,text\n1,#examplepay", "Row 1: the columns at are missing."),
        ("id,text,at,mood\n1,a,b,c", "Row 1: “mood” is no column of posts"),
        ("id,text,at\n1,#examplepay,2026-11-03T14:02:10Z\n2,#examplepay,soon", "Row 3: “at” is “soon”; write a time"),
        ("id,text,at\n,#examplepay,2026-11-03T14:02:10Z", "Row 2: “id” is missing."),
        ("id,text,at\n1,2,3,4", "more cells than the heading"),
        ("id,text,at\n", "There is no row below the heading."),
        ("", "the columns id, text, at are missing"),
        (b"id,text,at\n1,\xff,3", "not UTF-8 at byte 13"),
        ('id,text,at\n1,"<script>alert(1)</script>,x', "cannot be read as CSV"),
        ("id,text,at\n1,a,<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    ],
)
def test_a_file_with_a_mistake_is_refused_whole(staff, source, content, message):
    answer = upload(staff, source, content)
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert b"<script>alert" not in answer.content
    assert not SocialPost.objects.exists()


def test_the_secret_is_shown_once(staff, source):
    path = f"/admin/feedback/socialsource/{source.pk}/inbox/"
    shown = staff.post(path).content.decode()
    source.refresh_from_db()
    assert source.secrets["secret"] in shown
    assert source.secrets["secret"] not in staff.get(path).content.decode()


def test_times_are_not_ahead_of_the_clock(source):
    send(source, {"posts": [{**POST, "at": timezone.now().isoformat()}]})
    assert SocialPost.objects.get().at <= timezone.now()
