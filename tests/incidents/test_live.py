"""The layer outside of Django that answers readers, also while the database is gone."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from gzip import decompress
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.db import OperationalError
from django.utils import timezone

from channels.models import Notice
from incidents.models import Component
from incidents.statuspage import facts, live, snapshot
from tests import make

from .test_statuspage import newsroom, say, told

pytestmark = pytest.mark.django_db


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


class Web:
    """A web server's process with its layer, whose Django answers nothing but “beyond”."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layer = live.LivePage(self.beyond)
        self.layer.keeper = live.Keeper(directory)  # not started: the test looks itself
        self.layer.keeper.looked.set()

    @staticmethod
    def beyond(_environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("299 Beyond", [])
        return [b"beyond"]

    def get(self, address: str, method: str = "GET", **headers: str) -> Answer:
        path, _mark, query = address.partition("?")
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
        environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        environ["wsgi.input"] = BytesIO()
        setup_testing_defaults(environ)
        answer = Answer()

        def start_response(status: str, sent: list[tuple[str, str]]) -> None:
            answer.status, answer.headers = int(status[:3]), dict(sent)

        answer.body = b"".join(self.layer(environ, start_response))  # type: ignore[arg-type]
        return answer

    def look(self) -> None:
        live.look(self.directory, at_once=True)

    def age(self, seconds: float) -> None:
        """As if nobody could check the page for so long."""
        then = time.time() - seconds
        os.utime(self.directory / snapshot.CHECKED, (then, then))


@pytest.fixture(scope="module")
def world(shared_world: Path) -> None:
    newsroom()
    told(make.component("Checkout"), title="Card payments fail")


@pytest.fixture
def web(world: None, settings: Any, tmp_path: Path) -> Web:
    settings.STATUS_DIR = tmp_path / "live"
    found = Web(settings.STATUS_DIR)
    found.look()
    return found


@pytest.mark.parametrize(
    ("address", "accepts"),
    [
        ("/", "en"),
        ("/", "it"),
        ("/?lang=it", "en"),
        ("/history/", "it"),
        ("/api/v2/summary.json", ""),
        ("/history.atom", ""),
        ("/api/in-app.json", "it"),
        ("/api/in-app.json?lang=it", "en"),
    ],
)
def test_it_answers_what_django_would(web, client, address, accepts, django_assert_num_queries):
    theirs = client.get(address, headers={"Accept-Language": accepts})
    with django_assert_num_queries(0):
        ours = web.get(address, accept_language=accepts)
    assert ours.status == 200
    assert ours.body == snapshot.without_note(theirs.content)
    same = set(theirs.headers) - {"Vary", "ETag", "Content-Length"}
    assert {name: ours.headers[name] for name in same} == {name: theirs.headers[name] for name in same}
    assert "Content-Security-Policy" in same
    assert int(ours.headers["Content-Length"]) == len(ours.body)


def test_what_apps_ask_for_outlives_the_database_too(web):
    assert json.loads(web.get("/api/in-app.json?lang=it").text)["notices"] == []
    facts = {"components": ["c"], "over": False}
    Notice.objects.create(
        key="1-1-it", thread="incident-a", locale="it", subject="Pagamenti", text="", at=timezone.now(), facts=facts
    )
    web.look()
    some = "/api/in-app.json?lang=it&components=c"
    assert web.get(some).status == 299  # Django chooses
    web.age(live.UNSURE + 1)
    for address in ("/api/in-app.json?lang=it", some):  # now the app has to choose
        [notice] = json.loads(web.get(address).text)["notices"]
        assert notice["subject"] == "Pagamenti"


def test_where_an_older_page_of_the_archive_stood_once_django_says_where_it_is_now(web):
    assert web.get("/history/?page=2&lang=it").status == 299
    web.age(live.UNSURE + 1)
    assert web.get("/history/?page=2&lang=it").status == 299  # it asks no database for that


def test_a_page_of_an_incident_is_there_in_both_languages(web):
    [one] = facts.read(facts.public())
    assert 'lang="en"' in web.get(f"/incidents/{one.incident.uid}/").text
    italian = web.get(f"/incidents/{one.incident.uid}/?lang=it")
    assert 'lang="it"' in italian.text
    assert 'href="/?lang=it"' in italian.text, "links keep the language that was asked for"


@pytest.mark.parametrize("address", ["/admin/", "/history/?page=2", "/incidents/nobody/", "/livez", "/pictures/no.png"])
def test_the_rest_is_left_to_django(web, address):
    assert web.get(address).body == b"beyond"


def test_other_methods_are_left_to_django(web):
    assert web.get("/", method="POST").body == web.get("/api/v2/summary.json", method="OPTIONS").body == b"beyond"


def test_who_comes_by_http_is_left_to_django_where_it_would_redirect(web, settings):
    settings.SECURE_SSL_REDIRECT, settings.SECURE_PROXY_SSL_HEADER = True, ("HTTP_X_FORWARDED_PROTO", "https")
    assert web.get("/").body == b"beyond"
    assert web.get("/", x_forwarded_proto="https").status == 200
    settings.SECURE_PROXY_SSL_HEADER = None
    assert web.get("/").body == b"beyond"


def test_head_and_gzip_and_not_modified(web):
    page = web.get("/")
    head = web.get("/", method="HEAD")
    assert (head.status, head.body, head.headers) == (200, b"", page.headers)
    zipped = web.get("/", accept_encoding="br, gzip")
    assert decompress(zipped.body) == page.body
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert zipped.headers["ETag"] != page.headers["ETag"]
    for known in (page.headers["ETag"], f'"other", W/{page.headers["ETag"]}', "*"):
        again = web.get("/", if_none_match=known)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == page.headers["ETag"]
        assert "Content-Length" not in again.headers
    assert web.get("/", if_none_match='"other"').status == 200
    feed = web.get("/history.atom")
    assert web.get("/history.atom", if_modified_since=feed.headers["Last-Modified"]).status == 304
    assert web.get("/history.atom", if_none_match='"x"', if_modified_since=feed.headers["Last-Modified"]).status == 200


def test_what_is_said_is_there_after_the_next_look(web):
    [one] = facts.read(facts.public())
    say(one.incident, "identified")
    assert "Identified" not in web.get("/").text
    web.look()
    assert "Identified" in web.get("/").text
    assert web.get("/api/v2/summary.json").text.count('"identified"') >= 1


def test_one_page_that_cannot_be_rendered_does_not_hold_up_the_others(web, monkeypatch):
    [one] = facts.read(facts.public())
    broken, real = f"/incidents/{one.incident.uid}/", snapshot._get

    def get(path: str, *how: Any) -> Any:
        if path == broken:
            raise RuntimeError(f"{path} answered 500")
        return real(path, *how)

    monkeypatch.setattr(snapshot, "_get", get)
    say(one.incident, "identified")
    web.look()
    assert "Identified" in web.get("/").text
    assert web.get(broken).body == b"beyond"


def test_a_database_that_goes_away_meanwhile_leaves_the_old_pages(web, monkeypatch):
    [one] = facts.read(facts.public())
    say(one.incident, "identified")
    before = (web.directory / snapshot.FILE).read_bytes()
    real, calls = facts.version, []

    def version() -> str:
        calls.append(1)
        if len(calls) > 1:
            raise OperationalError("gone")
        return real()

    real_get = snapshot._get

    def get(path: str, *how: Any) -> Any:
        if path == f"/incidents/{one.incident.uid}/":
            raise RuntimeError(f"{path} answered 500")
        return real_get(path, *how)

    monkeypatch.setattr(snapshot, "_get", get)
    monkeypatch.setattr(snapshot, "version", version)
    monkeypatch.setattr(live, "version", version)
    with pytest.raises(OperationalError):
        web.look()
    assert (web.directory / snapshot.FILE).read_bytes() == before


def test_a_look_renders_only_what_changed(web, monkeypatch, django_assert_num_queries):
    taken = []
    real = snapshot.take
    monkeypatch.setattr(snapshot, "take", lambda version: taken.append(version) or real(version))
    with django_assert_num_queries(8):
        web.look()
    assert taken == []
    Component.objects.get().save()  # its name, its place: whatever it was
    web.look()
    assert len(taken) == 1
    monkeypatch.setattr(live, "RENEW", 0)  # yesterday's “today”
    web.look()
    assert len(taken) == 2


def test_of_many_processes_one_looks(web, django_assert_num_queries):
    web.age(0)
    with django_assert_num_queries(0):
        assert live.look(web.directory), "another one looked just now"
    web.age(5)
    with (web.directory / ".lock").open("w") as lock:
        live.fcntl.flock(lock, live.fcntl.LOCK_EX)
        with django_assert_num_queries(0):
            assert not live.look(web.directory), "another one is looking"
    with django_assert_num_queries(8):
        assert live.look(web.directory)


def test_a_page_that_nobody_could_check_says_as_of_when(web):
    fresh = web.get("/")
    assert "As of" not in fresh.text
    web.age(60)
    late = web.get("/")
    assert "As of <time" in late.text
    assert "may be out of date" not in late.text
    assert late.headers["ETag"] != fresh.headers["ETag"], "a cache must not keep the one for the other"
    web.age(snapshot.OLD + 5)
    assert "This page may be out of date: it shows what we knew on <time" in web.get("/").text
    italian = web.get("/", accept_language="it").text
    assert "potrebbe non essere aggiornata" in italian
    assert "{at}" not in italian
    web.look()
    assert web.get("/").text == fresh.text


def test_a_clock_set_back_is_no_freshness(web):
    web.age(-3600)
    assert "As of" in web.get("/").text


def test_every_process_answers_from_the_same_file_at_once(web):
    other = Web(web.directory)
    first = other.get("/").text
    say(facts.read(facts.public())[0].incident, "monitoring")
    web.look()
    assert first != other.get("/").text == web.get("/").text


def test_a_file_that_is_none_of_ours_leaves_readers_to_django(settings, tmp_path):
    settings.STATUS_DIR = tmp_path
    (tmp_path / snapshot.FILE).write_text('{"something": "else"}\n')
    assert Web(tmp_path).get("/").body == b"beyond"
    with pytest.raises(ValueError, match="is not a snapshot of a status page"):
        snapshot.load(tmp_path / snapshot.FILE)


def test_what_is_saved_is_what_is_loaded(web, tmp_path):
    taken = snapshot.take()
    snapshot.save(taken, tmp_path)
    found = snapshot.load(tmp_path / snapshot.FILE)
    assert (found.version, found.at, found.pages) == (taken.version, taken.at, taken.pages)


def test_the_files_can_be_written_from_what_was_kept(web, tmp_path, django_assert_num_queries):
    from django.core.management import call_command

    with django_assert_num_queries(0):
        call_command("publish_status", tmp_path / "kept", from_file=web.directory / snapshot.FILE)
    call_command("publish_status", tmp_path / "now")
    kept = {path.relative_to(tmp_path / "kept"): path.read_bytes() for path in (tmp_path / "kept").rglob("*.*")}
    now = {path.relative_to(tmp_path / "now"): path.read_bytes() for path in (tmp_path / "now").rglob("*.*")}
    assert kept == now
    assert Path("it/index.html") in kept
