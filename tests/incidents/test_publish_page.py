"""Sending and withdrawing: asked by GET, done by POST, and never twice."""

import pytest
from django.urls import reverse

from channels.models import Dispatch
from incidents import roles
from incidents.models import IncidentUpdate
from tests import make

pytestmark = pytest.mark.django_db


def url(update: IncidentUpdate, name: str) -> str:
    return reverse(f"admin:incidents_incidentupdate_{name}", args=[update.pk])


@pytest.fixture
def update() -> IncidentUpdate:
    make.plan(make.channel())
    make.recipients(7)
    return make.incident(make.incident_manager(username="anna")).updates.get()


@pytest.fixture
def approved(update) -> IncidentUpdate:
    update.submit(update.author)
    return update.approve(make.communications_manager(username="paolo"))


def test_it_asks_with_the_number_of_people_and_changes_nothing_by_get(approved):
    html = make.client(approved.author).get(url(approved, "publish")).content.decode()
    assert "Sends to 7 people at once" in html
    assert "cannot be called back" in html
    approved.refresh_from_db()
    assert approved.status == "approved"


def test_it_sends_by_post_and_goes_to_the_delivery_page(approved):
    answer = make.client(approved.author).post(url(approved, "publish"))
    assert answer.status_code == 302
    assert "/delivery/" in answer.url
    approved.refresh_from_db()
    assert approved.status == "published"


def test_sending_twice_is_refused_naming_who_was_first(approved):
    make.client(approved.author).post(url(approved, "publish"))
    page = make.client(make.communications_manager()).post(url(approved, "publish"))
    assert page.status_code == 409
    assert "anna" in page.content.decode()
    assert Dispatch.objects.filter(source=f"update:{approved.pk}", locale="en").count() == 1


def test_a_draft_is_not_sent(update):
    browser = make.client(update.author)
    assert "Only an approved update can be sent." in browser.get(url(update, "publish")).content.decode()
    assert browser.post(url(update, "publish")).status_code == 409
    assert not Dispatch.objects.exists()


def test_an_audience_that_grew_since_the_approval_is_refused(approved):
    make.recipients(200)
    page = make.client(approved.author).post(url(approved, "publish"))
    assert page.status_code == 409
    assert "from 7 to 207 people" in page.content.decode()


def test_a_support_lead_sends_nothing(approved):
    lead = make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS)
    html = make.client(lead).get(url(approved, "publish")).content.decode()
    assert "Your role does not send updates" in html
    assert make.client(lead).post(url(approved, "publish")).status_code == 403
    approved.refresh_from_db()
    assert approved.status == "approved"


def test_withdrawing_asks_first_and_keeps_the_comment(update):
    browser = make.client(update.author)
    assert "given up for good, and nothing is sent" in browser.get(url(update, "withdraw")).content.decode()
    update.refresh_from_db()
    assert update.status == "draft"
    answer = browser.post(url(update, "withdraw"), {"comment": "False alarm"})
    assert answer.status_code == 302
    update.refresh_from_db()
    assert update.status == "withdrawn"
    assert update.decisions.get(verb="withdraw").comment == "False alarm"


def test_what_is_published_cannot_be_withdrawn(approved):
    approved.publish(approved.author)
    page = make.client(approved.author).post(url(approved, "withdraw"), {"comment": "Oh no"})
    assert page.status_code == 409
    assert "correct it by a new update" in page.content.decode()


def test_a_manager_withdraws_nothing(update):
    manager = make.user(roles.MANAGERS, roles.ALL_COMPONENTS)
    assert make.client(manager).post(url(update, "withdraw")).status_code == 403
    update.refresh_from_db()
    assert update.status == "draft"


def test_the_change_page_of_a_published_update_leads_to_its_delivery(approved):
    approved.publish(approved.author)
    answer = make.client(approved.author).get(url(approved, "change"))
    assert "/delivery/" in answer.url
    assert "/delivery/" in make.client(approved.author).get(url(approved, "review")).content.decode()


def test_each_page_shows_every_update_whatever_was_chosen_and_whoever_is_told(update, tmp_path):
    page = make.channel("statuspage", config={"directory": str(tmp_path)})
    off = make.channel("statuspage", config={"directory": str(tmp_path / "off")}, enabled=False)
    update.channels.clear()
    make.published(update.edit(update.author, update.version, notify=False))
    update.refresh_from_db()
    assert {message["channel"] for message in update.manifest["messages"]} == {page.pk}
    assert not Dispatch.objects.filter(channel=off).exists()
