"""Feeds and the snapshot."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
import time_machine
from django.conf import settings
from django.utils import timezone

from incidents.models import Incident
from incidents.statuspage import copies, snapshot
from tests import make

from .test_statuspage import newsroom, say, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture(scope="module")
def world(shared_world: Path) -> None:
    newsroom()


def atom(client) -> ElementTree.Element:
    response = client.get("/history.atom")
    assert response["Content-Type"].startswith("application/atom+xml")
    return ElementTree.fromstring(response.content)


def test_an_entry_keeps_its_id_while_it_is_updated(client, django_assert_max_num_queries):
    incident = told(make.component("Checkout"), title="Payments & <refunds> fail")
    first = atom(client).findall(f"{ATOM}entry")
    say(incident, "resolved")
    told(make.component("Search"))
    with django_assert_max_num_queries(3):
        feed = atom(client)
    entry = next(e for e in feed.findall(f"{ATOM}entry") if e.findtext(f"{ATOM}title") == "Payments & <refunds> fail")
    assert entry.findtext(f"{ATOM}id") == first[0].findtext(f"{ATOM}id")
    assert entry.findtext(f"{ATOM}updated") >= first[0].findtext(f"{ATOM}updated")
    assert "Resolved" in entry.findtext(f"{ATOM}summary")
    assert entry.find(f"{ATOM}link").get("href") == f"{settings.PORTAL_URL}/incidents/{incident.uid}/"


def test_rss_says_the_same(client):
    told(make.component("Checkout"))
    feed = ElementTree.fromstring(client.get("/history.rss").content)
    (item,) = feed.iter("item")
    assert item.findtext("title") == "Card payments fail"
    assert item.find("guid").get("isPermaLink") == "false"
    assert item.findtext("guid") == atom(client).find(f"{ATOM}entry").findtext(f"{ATOM}id")


@time_machine.travel(datetime(2026, 3, 2, 10, 5, tzinfo=UTC), tick=False)  # what goes on counts in steps of ten minutes
def test_the_snapshot_is_what_the_live_pages_say(client, tmp_path):
    incident = told(make.component("Checkout"))
    folder = tmp_path / "public"
    reference = copies.publish(folder)
    assert len(reference) == 12
    for name, address in {
        "index.html": "/",
        "it/index.html": "/?lang=it",
        "history/index.html": "/history/",
        f"incidents/{incident.uid}/index.html": f"/incidents/{incident.uid}/",
        f"it/incidents/{incident.uid}/index.html": f"/incidents/{incident.uid}/?lang=it",
        "api/v2/summary.json": "/api/v2/summary.json",
        "api/v2/incidents/unresolved.json": "/api/v2/incidents/unresolved.json",
        "history.atom": "/history.atom",
    }.items():
        assert (folder / name).read_bytes() == client.get(address).content, name
    assert all((folder / f"static/portal/{name}").stat().st_size for name in ("status.css", "status.js", "icon.svg"))


def test_the_reference_changes_with_the_content_only(tmp_path):
    incident = told(make.component("Checkout"))
    folder = tmp_path / "public"
    first = copies.publish(folder)
    before = (folder / "index.html").stat()
    assert copies.publish(folder) == first
    assert (folder / "index.html").stat().st_ino == before.st_ino, "an unchanged file is left alone"
    say(incident, "identified")
    assert copies.publish(folder) != first


def test_what_is_no_longer_recent_goes_and_foreign_files_stay(tmp_path):
    folder = tmp_path / "public"
    old = folder / "incidents/long-ago"
    old.mkdir(parents=True)
    (old / "index.html").write_text("old")
    (folder / "robots.txt").write_text("theirs")
    (folder / ".new-crashed").write_text("half a pa")
    copies.publish(folder)
    assert not old.exists()
    assert not (folder / ".new-crashed").exists()
    assert (folder / "robots.txt").read_text() == "theirs"


def test_what_the_archive_links_to_is_there_however_old_and_rendered_once(tmp_path, monkeypatch):
    old = told(make.component("Search"), title="Search was slow")
    say(old, "resolved")
    Incident.objects.filter(pk=old.pk).update(resolved_at=timezone.now() - timedelta(days=40))
    folder, page = tmp_path / "public", f"incidents/{old.uid}/index.html"
    copies.publish(folder)
    assert "Search was slow" not in (folder / "index.html").read_text()
    assert f"/incidents/{old.uid}/" in (folder / "history/index.html").read_text()
    assert "Search was slow" in (folder / page).read_text()
    assert (folder / "it" / page).exists()

    rendered, real = [], snapshot._get
    monkeypatch.setattr(snapshot, "_get", lambda path, *how: rendered.append(path) or real(path, *how))
    copies.publish(folder)
    assert f"/incidents/{old.uid}/" not in rendered
    Incident.objects.get(pk=old.pk).components.get().save()  # as a new name would
    copies.publish(folder)
    assert f"/incidents/{old.uid}/" in rendered


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    folder = tmp_path / "public"
    copies.publish(folder)
    stop, torn = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            content = (folder / "api/v2/summary.json").read_bytes()
            try:
                json.loads(content)
            except ValueError:
                torn.append(content)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for i in range(6):
            monkeypatch.setattr(settings, "PORTAL_NAME", f"Portal {i}" * (1 + i % 3))
            copies.publish(folder)
    finally:
        stop.set()
        reader.join()
    assert not torn


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OSError, match="exists"):
        copies.publish(blocked)


def test_it_works_at_an_address_that_the_server_does_not_serve(tmp_path, settings):
    settings.PORTAL_URL = "https://status.elsewhere.example"
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    told(make.component("Checkout"))
    copies.publish(tmp_path / "public")
    assert "https://status.elsewhere.example/incidents/" in (tmp_path / "public/history.atom").read_text()
