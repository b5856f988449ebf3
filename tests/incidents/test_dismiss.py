import pytest
from django.urls import reverse

from incidents import declaring, roles
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import Decision, Incident
from tests import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def author(db):
    return make.incident_manager()


@pytest.fixture
def incident(author) -> Incident:
    make.plan(make.channel())
    make.recipients(3)
    return make.incident(author)


def test_a_mistake_is_closed_with_its_draft_and_nobody_hears_of_it(incident, author):
    incident.dismiss(author, "A test alarm.")
    assert incident.was_dismissed
    assert incident.stage_in_words == "Closed: declared by mistake"
    assert incident.updates.get().status == "withdrawn"
    last = incident.decisions.order_by("-id").first()
    assert (last.verb, last.comment) == (Decision.Verb.DISMISS, "A test alarm.")
    assert not Incident.objects.open().exists()
    assert not Incident.objects.public().exists()
    with pytest.raises(WrongState):
        declaring.start_draft(incident, author)
    with pytest.raises(WrongState):
        incident.dismiss(author, "Again.")


def test_what_customers_were_told_is_resolved_in_words(incident, author):
    make.published(incident.updates.get())
    with pytest.raises(WrongState, match="in words"):
        incident.dismiss(author, "A test alarm.")


def test_it_needs_a_reason_and_the_role(incident, author):
    with pytest.raises(Refused):
        incident.dismiss(author, " ")
    with pytest.raises(NotAllowed):
        incident.dismiss(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS), "A test alarm.")
    with pytest.raises(NotAllowed):
        incident.dismiss(make.user(roles.INCIDENT_MANAGERS), "A test alarm.")
    assert incident.updates.get().status == "draft"


def test_the_page_offers_it_until_customers_were_told(incident, author, client):
    client.force_login(author)
    page = reverse("admin:incidents_incident_change", args=[incident.pk])
    dismiss = reverse("admin:incidents_incident_dismiss", args=[incident.pk])
    assert dismiss in client.get(page).content.decode()
    assert client.get(dismiss).status_code == 302
    assert client.post(dismiss, {"reason": ""}).status_code == 422
    assert client.post(dismiss, {"reason": "A test alarm."}).url == page
    text = client.get(page).content.decode()
    assert "Closed: declared by mistake" in text
    assert "A test alarm." in text
    assert dismiss not in text
    assert client.post(dismiss, {"reason": "Again."}).status_code == 409


def test_reports_leave_it_out(incident, author, client):
    client.force_login(author)
    report = reverse("admin:feedback_report_incident", args=[incident.pk])
    assert client.get(report).status_code == 200
    incident.dismiss(author, "A test alarm.")
    assert client.get(report).status_code == 404
    assert incident.title not in client.get(reverse("admin:feedback_report")).content.decode()
