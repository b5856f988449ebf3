"""The survey: one invitation, one answer, and no way to break the page."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.core import signing
from django.test import Client
from django.utils import timezone

from channels.models import Batch, Channel, Delivery, Dispatch, Recipient
from feedback import surveys
from feedback.models import SurveyAnswer
from incidents import declaring
from incidents.models import Incident
from incidents.publishing import SURVEY_SALT
from tests import make

GOOD = {"clear": "4", "timely": "5", "useful": "3", "comment": "Quick and honest."}


def resolved() -> Incident:
    """An incident whose two customers have been told and asked."""
    author = make.incident_manager()
    make.plan(make.channel())
    make.recipients(2)
    incident = make.incident(author)
    make.published(incident.updates.get())
    make.deliver()
    make.published(declaring.start_draft(incident, author, "resolved"))
    make.deliver()
    incident.refresh_from_db()
    return incident


@pytest.fixture(scope="module")
def told(shared_world: Path) -> int:
    """The key of an incident whose two customers have been told and asked."""
    return resolved().pk


@pytest.fixture
def incident(told: int, db: None) -> Incident:
    return Incident.objects.get(pk=told)


def link(incident: Incident, recipient: Recipient | None = None) -> str:
    recipient = recipient or Recipient.objects.filter(medium="email").earliest("id")
    return f"/survey/{signing.dumps([incident.pk, recipient.pk], salt=SURVEY_SALT)}/"


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("told")]


def test_the_link_in_the_invitation_opens_the_survey(client, incident, shared_world: Path):
    letters = [json.loads(file.read_text()) for file in (shared_world / "outbox").glob("*.json")]
    text, _other = [letter["parts"]["text"] for letter in letters if "/survey/" in letter["parts"]["text"]]
    [url] = [word for word in text.split() if "/survey/" in word]
    response = client.get("/survey/" + url.split("/survey/")[1])
    assert response.status_code == 200
    assert incident.title in response.content.decode()


def test_an_answer_is_recorded_and_shown(client, incident):
    url = link(incident)
    response = client.post(url, GOOD, follow=True)
    answer = SurveyAnswer.objects.get()
    assert answer.given == {"clear": 4, "timely": 5, "useful": 3}
    assert answer.texts == {"comment": "Quick and honest."}
    assert answer.channel == Channel.objects.get()
    page = response.content.decode()
    assert response.redirect_chain == [(url, 303)]
    assert "Thank you, your answer is recorded" in page
    assert "Quick and honest." in page
    assert all(f"{score} of 5" in page for score in (3, 4, 5))


def test_an_answer_can_be_changed_for_a_while_and_stays_one(client, incident):
    url = link(incident)
    client.post(url, GOOD)
    form = client.get(url + "?change").content.decode()
    assert "Quick and honest.</textarea>" in form
    assert re.search(r'value="5" id="id_timely_4"[^>]* checked', form)
    response = client.post(url, GOOD | {"clear": "1", "comment": "Changed my mind"}, follow=True)
    assert "Changed my mind" in response.content.decode()
    answer = SurveyAnswer.objects.get()
    assert (answer.given["clear"], answer.texts) == (1, {"comment": "Changed my mind"})


def test_after_that_while_an_answer_is_fixed(client, incident):
    url = link(incident)
    client.post(url, GOOD)
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        for response in (client.post(url, GOOD | {"clear": "1"}), client.get(url + "?change")):
            assert response.status_code == 200
            assert "Quick and honest.</dd>" in response.content.decode()
            assert "Change my answer" not in response.content.decode()
    assert SurveyAnswer.objects.get().given["clear"] == 4


def test_an_answer_that_became_fixed_while_it_was_changed_stays(client, incident):
    client.post(link(incident), GOOD)
    late = surveys.read(link(incident).split("/")[2])
    SurveyAnswer.objects.update(fixed_at=timezone.now() - timedelta(seconds=1))
    assert not late.change({"clear": 1}, {}, "en")
    assert SurveyAnswer.objects.get().given["clear"] == 4


def test_it_needs_no_cookie_and_sets_none(incident):
    client = Client(enforce_csrf_checks=True)
    url = link(incident)
    for response in (client.get(url), client.post(url, {}), client.post(url, GOOD), client.get(url)):
        assert not response.cookies
        assert "Cookie" not in response.get("Vary", "")
        assert response["Cache-Control"] == "no-store"
        assert response["Referrer-Policy"] == "no-referrer"


def test_it_loads_nothing_from_elsewhere_and_has_no_script(client, incident):
    page = client.get(link(incident)).content.decode()
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_opening_the_link_records_nothing(client, incident):
    url = link(incident)
    client.get(url)
    client.head(url)
    assert not SurveyAnswer.objects.exists()


def test_it_speaks_the_recipients_language(client, incident):
    Recipient.objects.update(locale="it")
    response = client.get(link(incident), headers={"accept-language": "en"})
    assert response["Content-Language"] == "it"
    assert '<html lang="it">' in response.content.decode()
    client.post(link(incident), GOOD)
    assert SurveyAnswer.objects.get().locale == "it"


def test_a_link_that_names_nobody_speaks_the_browsers_language(client):
    response = client.get("/survey/nonsense/", headers={"accept-language": "it"})
    assert response["Content-Language"] == "it"


def test_each_missing_answer_is_named_and_the_text_is_kept(client, incident):
    response = client.post(link(incident), {"clear": "2", "comment": "Kept <b>text</b>"})
    page = response.content.decode()
    assert response.status_code == 422
    assert page.count("Please choose a number from 1 to 5.") == 4  # two fields, each at its place and at the top
    assert 'value="2" id="id_clear_1" required checked' in page or 'id="id_clear_1" checked' in page
    assert "Kept &lt;b&gt;text&lt;/b&gt;" in page
    assert not SurveyAnswer.objects.exists()


@pytest.mark.parametrize("score", ["0", "6", "-1", "4.5", "five", "", " ", "9" * 400, "\x00", "１", "1e0", "None"])
def test_a_score_outside_the_scale_is_refused(client, score, incident):
    response = client.post(link(incident), GOOD | {"timely": score})
    assert response.status_code == 422
    assert not SurveyAnswer.objects.exists()


def test_hostile_text_stays_inert(client, incident):
    incident.title = "<script>alert(1)</script>{{ 7|add:7 }}"
    incident.save()
    url = link(incident)
    hostile = "</dd><script>alert(2)</script>{% load x %}'\"&\u202e"
    page = client.post(url, GOOD | {"comment": hostile}, follow=True).content.decode()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7|add:7 }}" in page
    assert SurveyAnswer.objects.get().texts["comment"] == hostile


def test_a_comment_loses_its_control_characters_and_keeps_its_lines(client, incident):
    client.post(link(incident), GOOD | {"comment": " a\x00b\r\n\x1b[31mred\x07 "})
    assert SurveyAnswer.objects.get().texts["comment"] == "ab\n[31mred"


def test_a_text_one_character_too_long_is_named_never_cut(client, incident):
    url = link(incident)
    response = client.post(url, GOOD | {"comment": "x" * 2001})
    assert response.status_code == 422
    assert "This text has 2001 characters; at most 2000" in response.content.decode()
    client.post(url, GOOD | {"comment": "🙂" * 2000})
    assert len(SurveyAnswer.objects.get().texts["comment"]) == 2000


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("comment=" + "x" * 1_000_000, "application/x-www-form-urlencoded", 413),
        ("--x\r\nbroken", "multipart/form-data; boundary=x", 422),
        ("--x\r\nbroken", "multipart/form-data", 400),
        ("&".join(f"a{i}=1" for i in range(2000)), "application/x-www-form-urlencoded", 400),
        ("clear=4", "application/x-www-form-urlencoded; charset=utf-16", 400),
        ('{"clear": 4}', "application/json", 422),
        ("clear=%ED%A0%80&timely=%ff", "application/x-www-form-urlencoded", 422),
        ("", "", 422),
    ],
)
def test_a_body_that_is_no_answer_gets_a_page_and_a_4xx(client, body, content_type, status, incident):
    response = client.generic("POST", link(incident), body, content_type)
    assert response.status_code == status
    assert "<h1>" in response.content.decode()
    assert not SurveyAnswer.objects.exists()


@pytest.mark.parametrize("verb", ["put", "delete", "patch"])
def test_other_methods_are_refused(client, verb, incident):
    assert getattr(client, verb)(link(incident)).status_code == 405


@pytest.mark.parametrize(
    "payload", [[1], [1, 2, 3], {"a": 1}, "text", 7, None, [1, "2"], ["1", "2"], [None, None], [1.5, 2]]
)
def test_a_signed_token_of_another_shape_is_not_found(client, payload):
    assert client.get(f"/survey/{signing.dumps(payload, salt=SURVEY_SALT)}/").status_code == 404


@pytest.mark.parametrize("token", ["x", "a:b:c", "🙂", ".eJw:1:2", "%00", "x" * 5000, ":", "::", "a%0ab"])
def test_a_garbled_token_is_not_found(client, token):
    for response in (client.get(f"/survey/{token}/"), client.post(f"/survey/{token}/", GOOD)):
        assert response.status_code == 404
        assert "This link does not work" in response.content.decode()


def test_a_token_signed_for_another_purpose_is_not_found(client, incident):
    token = signing.dumps([incident.pk, Recipient.objects.first().pk], salt="channels.unsubscribe")
    assert client.get(f"/survey/{token}/").status_code == 404


def test_a_changed_signature_is_not_found(client, incident):
    url = link(incident)
    assert client.get(f"{url[:-2]}{'A' if url[-2] != 'A' else 'B'}/").status_code == 404


def test_a_recipient_who_was_never_invited_is_not_found(client, incident):
    [stranger] = make.recipients(1)
    response = client.post(link(incident, stranger), GOOD)
    assert response.status_code == 404
    assert not SurveyAnswer.objects.exists()


def test_an_update_is_not_an_invitation(client, incident):
    Delivery.objects.filter(dispatch__purpose=Dispatch.Purpose.SURVEY).delete()
    assert client.get(link(incident)).status_code == 404


def test_an_invitation_still_in_flight_can_be_answered(client, incident):
    Delivery.objects.filter(dispatch__purpose=Dispatch.Purpose.SURVEY).delete()
    Batch.objects.filter(dispatch__purpose=Dispatch.Purpose.SURVEY).update(done_at=None, done_to=0)
    assert client.get(link(incident)).status_code == 200


def test_an_erased_incident_is_gone(client, incident):
    url = link(incident)
    other = signing.dumps([incident.pk + 1000, Recipient.objects.first().pk], salt=SURVEY_SALT)
    assert client.get(f"/survey/{other}/").status_code == 410
    assert client.get(url).status_code == 200


def test_an_erased_person_is_gone_but_the_answer_stays(client, incident):
    url = link(incident)
    client.post(url, GOOD)
    Recipient.objects.filter(medium="email").earliest("id").delete()
    assert client.get(url).status_code == 410
    assert client.post(url, GOOD).status_code == 410
    answer = SurveyAnswer.objects.get()
    assert (answer.recipient, answer.given["clear"]) == (None, 4)


def test_it_closes_after_its_days(client, incident):
    url = link(incident)
    with time_machine.travel(timezone.now() + timedelta(days=29, hours=23)):
        assert client.get(url).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=30, hours=1)):
        for response in (client.get(url), client.post(url, GOOD)):
            assert response.status_code == 410
            assert "This survey is closed" in response.content.decode()
    assert not SurveyAnswer.objects.exists()


def test_an_answer_is_still_shown_after_it_closes(client, incident):
    url = link(incident)
    client.post(url, GOOD)
    with time_machine.travel(timezone.now() + timedelta(days=90)):
        assert "Thank you" in client.get(url).content.decode()


def test_it_asks_the_database_little(client, django_assert_max_num_queries, incident):
    url = link(incident)
    with django_assert_max_num_queries(5):
        client.get(url)
    with django_assert_max_num_queries(8):
        client.post(url, GOOD)
    with django_assert_max_num_queries(3):
        client.get(url)
