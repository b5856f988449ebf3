import pytest
from django.test import Client, RequestFactory
from django.views.defaults import server_error

from incidents import roles
from tests import make


def test_a_wrong_address_is_answered_in_words(client):
    answer = client.get("/no/such/page/")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()


@pytest.mark.django_db
def test_a_denied_page_is_answered_in_words_and_logged_in_a_line(client, caplog):
    client.force_login(make.user(roles.MANAGERS))
    answer = client.get("/admin/channels/channel/")
    assert answer.status_code == 403
    assert "You may not do this" in answer.content.decode()
    [line] = [record for record in caplog.records if record.name == "django.request"]
    assert (line.levelname, line.exc_info) == ("WARNING", None)
    assert "/admin/channels/channel/" in line.getMessage()


@pytest.mark.django_db
def test_a_form_without_its_token_is_answered_in_words():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make.communications_manager())
    answer = client.post("/admin/channels/channel/add/", {"name": "x", "provider": "smtp"})
    assert answer.status_code == 403
    assert "Nothing was changed" in answer.content.decode()


def test_a_crash_is_answered_in_words():
    answer = server_error(RequestFactory().get("/"))
    assert answer.status_code == 500
    assert "on our side" in answer.content.decode()
