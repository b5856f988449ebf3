import re
from pathlib import Path

import pytest
from django.core.management import call_command

from incidents.statuspage import brand, copies

pytestmark = pytest.mark.django_db
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="20"><rect width="80" height="20"/></svg>'


@pytest.fixture
def logo(tmp_path, settings) -> Path:
    path = tmp_path / "logo.svg"
    path.write_bytes(SVG)
    settings.PORTAL_LOGO = str(path)
    return path


def test_without_settings_there_is_nothing_of_it(client):
    body = client.get("/").content.decode()
    assert "brand.css" not in body
    assert "cp-logo" not in body
    assert client.get("/brand.css").content == b""
    assert brand.check_brand() == []


def test_the_logo_stands_for_the_name_and_says_it(client, settings, logo):
    settings.PORTAL_NAME = "Rossi & Co"
    body = client.get("/").content.decode()
    assert re.search(r'<img class="cp-logo" src="data:image/svg\+xml;base64,[^"]+" alt="Rossi &amp; Co">', body)


def test_the_colours_are_a_style_sheet_of_ours_in_every_copy(client, settings, tmp_path):
    settings.PORTAL_COLOUR = "#7a1fa2"
    assert '<link rel="stylesheet" href="/brand.css">' in client.get("/").content.decode()
    sheet = client.get("/brand.css")
    assert sheet["Content-Type"].startswith("text/css")
    assert b"--link: #7a1fa2" in sheet.content
    copies.publish(tmp_path / "copy")
    assert (tmp_path / "copy" / "brand.css").read_bytes() == sheet.content


@pytest.mark.parametrize("colour", ["#000000", "#7a1fa2", "#0b57a4", "#b3202c", "#004400"])
def test_by_night_the_colour_is_made_as_light_as_it_must_be(settings, colour):
    settings.PORTAL_COLOUR = colour
    night = brand.css().split("dark")[1].split("--link: ")[1][:7]
    assert min(brand.contrast(night, ground) for ground in brand.NIGHT) >= brand.CONTRAST


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", "#000; } body { display: none", "#0b57a4\n"])
def test_what_is_no_colour_reaches_no_page_and_is_named(client, settings, colour):
    settings.PORTAL_COLOUR = colour
    assert client.get("/brand.css").content == b""
    [warning] = brand.check_brand()
    assert "PORTAL_COLOUR=" in warning.msg
    assert "write it as" in warning.msg


def test_a_colour_that_is_hard_to_read_is_named_with_its_contrast(settings):
    settings.PORTAL_COLOUR, settings.PORTAL_COLOUR_DARK = "#ffcc00", "#222222"
    day, night = brand.check_brand()
    assert "its contrast is 1.4" in day.msg
    assert "darker" in day.hint
    assert "lighter" in night.hint


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("logo.gif", b"GIF89a", "its name ends in"),
        ("logo.png", b"<svg/>", "no PNG file"),
        ("logo.svg", b"hello", "no SVG file"),
        ("logo.svg", b"<svg>" + b" " * 30_000, "make it smaller than 20 KB"),
        ("missing.svg", None, "cannot be read"),
    ],
)
def test_a_logo_that_cannot_be_used_is_named_and_the_name_stays(client, settings, tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    settings.PORTAL_LOGO = str(path)
    [warning] = brand.check_brand()
    assert reason in warning.msg
    assert "cp-logo" not in client.get("/").content.decode()


def test_a_mistake_does_not_keep_the_portal_from_starting(settings):
    settings.PORTAL_COLOUR = "red"
    call_command("check")


def test_contrast_is_that_of_wcag():
    assert round(brand.contrast("#000000", "#ffffff"), 2) == 21
    assert round(brand.contrast("#777777", "#ffffff"), 2) == 4.48
