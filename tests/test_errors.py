import logging

import pytest
from django.conf import settings
from django.test import Client, RequestFactory
from django.utils.module_loading import import_string
from django.views.defaults import server_error

from commsportal.logs import NoTraceOfBadInput
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


@pytest.mark.parametrize(
    ("address", "host"), [("/subscribe?" + "x" * 20_000, "testserver"), ("/subscribe/sent/", "evil.example")]
)
def test_what_somebody_else_did_wrong_is_logged_in_a_line(client, caplog, address, host):
    """Django would tell where in its code it noticed."""
    answer = client.get(address, HTTP_HOST=host)
    assert answer.status_code == 400
    assert "We could not read this" in answer.content.decode()
    [record] = [one for one in caplog.records if one.name.startswith("django.security.")]
    [shown] = [one for handler in settings.LOGGING["handlers"].values() for one in handler["filters"]]
    build = settings.LOGGING["filters"][shown]["()"]
    assert import_string(build)().filter(record)
    assert (record.exc_info, record.exc_text) == (None, None)


def test_what_we_did_wrong_keeps_its_traceback():
    for status in (500, None):
        record = logging.makeLogRecord({"exc_info": (ValueError, ValueError(), None)})
        if status:
            record.status_code = status
        assert NoTraceOfBadInput().filter(record)
        assert record.exc_info
