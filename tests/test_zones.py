"""Time zones are called as people call them, in the language of the page."""

import pytest
from django.test import override_settings
from django.utils import translation

from commsportal import zones
from incidents.statuspage.subscribe_forms import time_zones
from tests import make


@pytest.mark.parametrize(
    ("language", "name", "words"),
    [
        ("en", "Europe/Rome", "Europe/Rome"),
        ("it", "Europe/Rome", "Roma, ora dell’Europa centrale"),
        ("it", "America/New_York", "New York, ora orientale USA"),
        ("it", "UTC", "UTC"),
        ("it", "Etc/UTC", "UTC"),
        ("xx", "Europe/Rome", "Europe/Rome"),  # a language that nobody knows
    ],
)
def test_a_zone_in_words(language, name, words):
    with translation.override(language):
        assert zones.in_words(name) == words


def test_an_abbreviation_keeps_its_capitals(monkeypatch):
    monkeypatch.setattr(zones, "get_timezone_name", lambda *_args, **_kwargs: "GMT+00:00")
    with translation.override("it"):
        assert zones._in_words.__wrapped__("Europe/London", "it") == "Londra, GMT+00:00"


def test_the_list_of_zones_is_in_the_language_of_the_page_and_in_its_order():
    with translation.override("en"):
        english = dict(time_zones())
    with translation.override("it"):
        italian = dict(time_zones())
        assert "Europa" in [str(region) for region in italian]

    def cities(found):
        return dict(next(rows for region, rows in found.items() if str(region) == "Europe"))

    assert cities(english)["Europe/London"] == "London"
    assert cities(italian)["Europe/London"] == "Londra"
    assert cities(english).keys() == cities(italian).keys()
    names = list(cities(italian).values())
    assert names == sorted(names)
    assert names.index("Londra") < names.index("Roma")


@pytest.mark.django_db
def test_the_foot_of_the_status_page_names_its_zone_in_its_language(client):
    make.component("Checkout")
    italian = client.get("/?lang=it").content.decode()
    assert "Fuso orario: Roma, ora dell’Europa centrale</p>" in italian
    assert 'data-zone="Europe/Rome"' in italian  # for the script
    assert "Time zone: Europe/Rome</p>" in client.get("/?lang=en").content.decode()


@pytest.mark.django_db
@override_settings(LANGUAGE_CODE="it")
def test_staff_read_it_in_their_language_too():
    client = make.client(make.incident_manager())
    page = client.get("/admin/incidents/incident/declare/", headers={"accept-language": "it"}).content.decode()
    assert "Roma, ora dell’Europa centrale" in page
