"""What is long over is kept on disk: it outlives the database, and is part of every static copy."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from incidents.models import Component, Incident, IncidentUpdate
from incidents.statuspage import archive, copies, facts, live, snapshot, views
from tests import make
from tests.incidents.test_live import Web

pytestmark = pytest.mark.django_db


def long_ago(months: int, count: int = 3) -> list[Incident]:
    """Imported incidents that were over `months` ago, all in one month."""
    at = (timezone.now() - timedelta(days=31 * months)).replace(day=10)
    rows = [
        Incident(
            title=f"Search was slow, {months}-{n}",
            stage="resolved",
            started_at=at,
            published_at=at,
            resolved_at=at,
            imported_from=f"x:{months}:{n}",
        )
        for n in range(count)
    ]
    Incident.objects.bulk_create(rows)
    words = {lang: {"subject": "", "text": "Over.", "html": "<p>Over.</p>"} for lang in ("en", "it")}
    IncidentUpdate.objects.bulk_create(
        IncidentUpdate(
            incident=one,
            number=1,
            stage="resolved",
            status="published",
            imported=True,
            published_at=at,
            manifest={"page": words},
        )
        for one in rows
    )
    return rows


@pytest.fixture
def old(monkeypatch) -> list[Incident]:
    """3 on the first page of the archive, 3 on the second, 2 on the third: these last are returned."""
    monkeypatch.setattr(views, "PER_PAGE", 2)
    long_ago(1)
    long_ago(2)
    return long_ago(3, 2)


@pytest.fixture
def web(tmp_path, settings) -> Web:
    settings.STATUS_DIR = tmp_path / "live"
    one = Web(settings.STATUS_DIR)
    one.look()
    return one


def test_older_pages_and_their_incidents_outlive_the_database(old, web):
    while not archive.is_complete(web.directory):
        web.look()
    for address in ("/history/3/", "/history/3/?lang=it", f"/incidents/{old[0].uid}/"):
        assert "Search was slow, 3-0" in web.get(address).text
    assert "as-of" not in web.get("/history/3/").text
    web.age(live.UNSURE + 1)
    assert "cp-as-of" in web.get("/history/3/").text
    assert 'lang="it"' in web.get(f"/incidents/{old[0].uid}/?lang=it").text
    assert web.get("/history/4/").body == b"beyond"


def test_a_look_spends_little_time_on_them_and_the_next_ones_do_the_rest(old, web, monkeypatch):
    directory = web.directory
    for path in archive.wanted():
        for one in archive._addresses(path):
            archive._file(directory / archive.FOLDER, one).unlink(missing_ok=True)
    (directory / archive.FOLDER / "index.json").unlink(missing_ok=True)
    assert not archive.refresh(directory, seconds=-1)
    assert not archive.is_complete(directory)
    assert archive.refresh(directory)
    assert archive.is_complete(directory)


def test_only_what_changed_is_rendered_again(old, web, monkeypatch):
    archive.refresh(web.directory)
    rendered = []
    real = archive.in_all_languages
    monkeypatch.setattr(archive, "in_all_languages", lambda path: rendered.append(path) or real(path))
    archive.refresh(web.directory)
    assert rendered == []
    old[0].title = "Search was wrong"
    old[0].save()
    archive.refresh(web.directory)
    assert set(rendered) == {f"/incidents/{old[0].uid}/", "/history/3/"}
    assert "Search was wrong" in web.get("/history/3/").text
    rendered.clear()
    make.component("A new component")
    archive.refresh(web.directory)
    assert rendered == []  # none of these pages names it
    monkeypatch.setattr(archive, "_release", lambda: "the next one")
    archive.refresh(web.directory)
    assert len(rendered) == len(archive.wanted()) == 3 + 2 + 2


def test_what_tells_of_what_became_private_is_gone_before_anything_is_rendered(old, web):
    cluster = make.component("Acme cluster")
    old[0].incident_components.create(component=cluster)
    archive.refresh(web.directory)
    where = f"/incidents/{old[0].uid}/"
    assert "Acme cluster" in web.get(where).text
    Component.objects.filter(pk=cluster.pk).update(private=True)
    archive.refresh(web.directory, seconds=-1)
    assert web.get(where).body == b"beyond"
    assert web.get("/history/3/").body == b"beyond"
    assert "Search was slow, 2-0" in web.get("/history/2/").text
    archive.refresh(web.directory)
    assert "Acme cluster" not in web.get(where).text


def test_what_only_looks_old_stays_until_its_turn_comes(old, web, monkeypatch):
    archive.refresh(web.directory)
    monkeypatch.setattr(archive, "_release", lambda: "the next one")
    assert not archive.refresh(web.directory, seconds=-1)
    assert "Search was slow, 3-0" in web.get("/history/3/").text


def test_a_file_that_no_index_knows_is_removed(old, web):
    archive.refresh(web.directory)
    where = snapshot.address(f"/incidents/{old[0].uid}/", "en")
    assert archive.read(web.directory, where)
    folder = web.directory / archive.FOLDER
    (folder / "index.json").unlink()  # as after a crash between a page and the index
    archive.refresh(web.directory, seconds=-1)
    assert archive.read(web.directory, where) is None


def test_what_is_public_no_more_is_gone(old, web):
    archive.refresh(web.directory)
    assert archive.read(web.directory, snapshot.address("/history/3/", "en"))
    for one in old:
        one.imported_from = None
        one.save()
        hidden = make.component()
        Component.objects.filter(pk=hidden.pk).update(private=True)
        one.incident_components.create(component=hidden)
    assert not facts.public().filter(pk__in=[one.pk for one in old]).exists()
    archive.refresh(web.directory)
    assert archive.read(web.directory, snapshot.address("/history/3/", "en")) is None
    assert web.get(f"/incidents/{old[0].uid}/").body == b"beyond"
    files = [
        json.loads(path.read_text())["body"]
        for path in (web.directory / archive.FOLDER).glob("*.json")
        if path.name != "index.json"
    ]
    assert not any("3-0" in body for body in files)


def test_all_of_it_is_in_the_static_copies(old, tmp_path, settings):
    settings.STATUS_DIR = tmp_path / "live"
    copies.publish(tmp_path / "copy")
    for name in ("history/3/index.html", "it/history/3/index.html", f"it/incidents/{old[0].uid}/index.html"):
        assert "Search was slow, 3-0" in (tmp_path / "copy" / name).read_text()
    assert dict(copies.current()).keys() >= {"history/2/index.html", "history/3/index.html"}
    IncidentUpdate.objects.filter(incident__in=old).delete()
    Incident.objects.filter(pk__in=[one.pk for one in old]).delete()
    copies.publish(tmp_path / "copy")
    assert not (tmp_path / "copy/history/3").exists()
    assert not (tmp_path / "copy/incidents" / old[0].uid).exists()


def test_a_copy_from_the_file_alone_has_it_too(old, web, tmp_path, monkeypatch):
    archive.refresh(web.directory)
    for name in ("take", "version"):
        monkeypatch.setattr(snapshot, name, None)  # nothing is asked of the database
    call_command("publish_status", tmp_path / "copy", f"--from-file={web.directory / snapshot.FILE}")
    assert "Search was slow, 3-0" in (tmp_path / "copy/history/3/index.html").read_text()
    assert (tmp_path / "copy/index.html").exists()


def test_an_unreadable_file_is_left_to_django(old, web):
    archive.refresh(web.directory)
    for path in (web.directory / archive.FOLDER).glob("*.json"):
        path.write_text("{")
    assert web.get("/history/3/").body == b"beyond"
    assert list(archive.pages(web.directory)) == []
    archive.refresh(web.directory)
    assert "Search was slow, 3-0" in web.get("/history/3/").text


def test_which_pages_there_should_be_is_asked_in_few_queries(old, django_assert_num_queries):
    with django_assert_num_queries(3):
        assert len(archive.wanted()) == 3 + 2 + 2
