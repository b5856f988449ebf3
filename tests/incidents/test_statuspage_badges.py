"""Badges, read by a parser of XML."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.conf import settings

from incidents.models import Component, ComponentStatus
from incidents.statuspage import badges, copies, snapshot
from tests import make

from .test_statuspage import newsroom, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def world(shared_world: Path) -> None:
    newsroom()


def drawn(response) -> ElementTree.Element:
    """The picture, once what it says agrees everywhere."""
    assert response["Content-Type"] == "image/svg+xml"
    svg = ElementTree.fromstring(response.content)
    assert svg.get("role") == "img"
    words = [text.text for text in svg.iter(f"{SVG}text")]
    assert svg.get("aria-label") == svg.findtext(f"{SVG}title") == ": ".join(words)
    return svg


def says(client, address: str) -> str | None:
    return drawn(client.get(address)).get("aria-label")


def colours(svg: ElementTree.Element) -> set[str | None]:
    return {rect.get("fill") for rect in svg.iter(f"{SVG}rect")} - {None}


def test_a_badge_says_the_state_of_everything_or_of_one_component(client, django_assert_num_queries):
    checkout, search = make.component("Checkout"), make.component("Search")
    assert says(client, "/badge.svg") == f"{settings.PORTAL_NAME}: Operational"
    told(checkout, state="major_outage", severity="sev1")
    with django_assert_num_queries(5):
        assert says(client, "/badge.svg") == f"{settings.PORTAL_NAME}: Major outage"
    with django_assert_num_queries(2):
        assert says(client, f"/badge/{checkout.uid}.svg") == "Checkout: Major outage"
    assert says(client, f"/badge/{search.uid}.svg") == "Search: Operational"


def test_the_language_is_asked_for_not_guessed(client):
    one = make.component("Checkout")
    italian = client.get(f"/badge/{one.uid}.svg?lang=it")
    assert drawn(italian).get("aria-label") == "Checkout: Operativo"
    assert drawn(italian).get("lang") == italian["Content-Language"] == "it"
    other = client.get(f"/badge/{one.uid}.svg?lang=xx", headers={"Accept-Language": "it"})
    assert drawn(other).get("aria-label") == "Checkout: Operational"
    assert other["Content-Language"] == "en"


def test_a_hostile_name_stays_a_name(client):
    name = "</title><script>alert(1)</script>\"' & \x07\ufffe{0}"
    one = make.component(name)
    svg = drawn(client.get(f"/badge/{one.uid}.svg"))
    assert svg.findtext(f"{SVG}title") == "</title><script>alert(1)</script>\"' & {0}: Operational"
    assert not list(svg.iter(f"{SVG}script"))


def test_other_sites_may_show_it_and_caches_keep_it(client):
    first = client.get("/badge.svg")
    assert "s-maxage=5" in first["Cache-Control"]
    assert first["Access-Control-Allow-Origin"] == "*"
    assert first["X-Content-Type-Options"] == "nosniff"
    assert client.get("/badge.svg", headers={"If-None-Match": first["ETag"]}).status_code == 304
    told(make.component())
    assert client.get("/badge.svg", headers={"If-None-Match": first["ETag"]}).status_code == 200


def test_what_is_not_shown_is_unknown(client):
    hidden = make.component("Internal ledger")
    Component.objects.update(showcase=False)
    for uid in (hidden.uid, "nothing"):
        response = client.get(f"/badge/{uid}.svg")
        assert response.status_code == 404
        assert drawn(response).get("aria-label") == f"{settings.PORTAL_NAME}: Unknown"
        assert colours(drawn(response)) == {badges.NAME, badges.UNKNOWN}


def test_the_colours_are_those_of_the_page_by_day():
    css = Path(settings.BASE_DIR, "static/portal/status.css").read_text()
    for state in ComponentStatus:
        assert re.search(rf"--{state}: (#\w+);", css).group(1) == badges.COLOURS[state]


def test_badges_are_in_the_static_copy_in_each_language_as_long_as_their_component(client, tmp_path):
    told(one := make.component("Checkout"), state="major_outage", severity="sev1")
    name = f"badge/{one.uid}.svg"
    copies.publish(tmp_path)
    for file, address in {
        "badge.svg": "/badge.svg",
        "it/badge.svg": "/badge.svg?lang=it",
        name: f"/{name}",
        f"it/{name}": f"/{name}?lang=it",
    }.items():
        assert (tmp_path / file).read_bytes() == client.get(address).content, file
    live = client.get(f"/{name}?lang=it")
    kept = [(header, live[header]) for header in live.headers if header not in ("Content-Length", "ETag")]
    assert sorted(snapshot.take().pages[f"/{name} it?"].headers) == sorted(kept)
    Component.objects.update(showcase=False)
    copies.publish(tmp_path)
    assert not (tmp_path / name).exists()
    assert not (tmp_path / f"it/{name}").exists()
    assert (tmp_path / "it/badge.svg").exists()
