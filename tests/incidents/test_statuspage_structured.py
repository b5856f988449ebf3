"""JSON-LD for search engines, and that no word in it becomes a part of the page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from incidents.models import Incident
from tests import make

from .test_statuspage import newsroom, say, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
HOSTILE = "Pay</script><script>window.owned = 1</script><!-- & è"


@pytest.fixture(scope="module")
def world(shared_world: Path) -> None:
    newsroom()


class _Scripts(HTMLParser):
    """What stands in each <script> of JSON-LD, and how many there are of any kind."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.count, self.inside, self.in_main = 0, False, False

    def handle_starttag(self, tag, attrs):
        self.count += tag == "script"
        self.in_main = self.in_main or tag == "main"
        self.inside = tag == "script" and ("type", "application/ld+json") in attrs
        assert not (self.inside and self.in_main), "<main> is replaced when it changes"

    def handle_data(self, data):
        if self.inside:
            self.found.append(data)

    def handle_endtag(self, tag):
        self.inside = False
        self.in_main = self.in_main and tag != "main"


def read(page: str) -> dict[str, Any]:
    scripts = _Scripts()
    scripts.feed(page)
    assert scripts.count == 2  # the other is status.js
    (found,) = scripts.found
    return json.loads(found)


def test_the_front_page_says_its_headline(client):
    make.component("Checkout")
    data = read(client.get("/?lang=it").content.decode())
    assert (data["@type"], data["inLanguage"]) == ("WebPage", "it")
    assert data["description"] == "Tutti i sistemi sono operativi"
    assert data["publisher"]["name"] == settings.PORTAL_NAME


def test_an_incident_tells_its_updates_newest_first(client):
    one = told(make.component("Checkout"))
    address = f"/incidents/{one.uid}/"
    assert "coverageEndTime" not in read(client.get(address).content.decode())
    say(one, "resolved")
    data = read(client.get(address).content.decode())
    assert (data["@type"], data["headline"]) == ("LiveBlogPosting", "Card payments fail")
    first, last = one.updates.order_by("number")
    assert data["datePublished"] == first.published_at.isoformat()
    assert data["dateModified"] == data["coverageEndTime"] == last.published_at.isoformat()
    assert [told["headline"] for told in data["liveBlogUpdate"]] == ["Resolved", "Investigating"]
    assert "Payments with Checkout fail" in data["liveBlogUpdate"][1]["articleBody"]
    assert "about" not in data


def test_maintenance_is_an_event(client):
    one = told(make.component("Checkout"))
    Incident.objects.filter(pk=one.pk).update(maintenance=True, stage="scheduled")
    data = read(client.get(f"/incidents/{one.uid}/").content.decode())
    assert data["about"]["@type"] == "Event"
    assert data["about"]["startDate"] == one.started_at.isoformat()


def test_no_word_ends_the_script(client):
    one = told(make.component("Checkout"), title=HOSTILE, state="operational")
    assert read(client.get(f"/incidents/{one.uid}/").content.decode())["headline"] == HOSTILE
    assert HOSTILE in read(client.get("/").content.decode())["description"]
