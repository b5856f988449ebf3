"""A private page that a link opens outlives the database; the link decides as ever, and nobody gets another's."""

import itertools
import json
import os
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from incidents.models import StatusPage
from incidents.statuspage import copies, live, private_copies
from tests import make
from tests.incidents.test_live import Web
from tests.incidents.test_private_subscribing import private
from tests.incidents.test_statuspage import newsroom, told

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> StatusPage:
    newsroom()
    one = StatusPage.objects.create(name="Acme")
    one.components.set([private("Acme cluster")])
    told(one.components.get(), title="Acme's nodes are slow")
    return one


@pytest.fixture
def web(acme, tmp_path, settings) -> Web:
    settings.STATUS_DIR = tmp_path / "live"
    one = Web(settings.STATUS_DIR)
    one.look()
    return one


def link(page: StatusPage, hours: float = 1) -> str:
    return f"/private/{page.key(timezone.now() + timedelta(hours=hours))}"


def away(web: Web, seconds: float = live.UNSURE + 1) -> None:
    """The database does not answer, and nobody could look into it for so long."""

    def without_database(_environ, start_response):
        web.asked += 1
        start_response("503 Service Unavailable", [])
        return [b"away"]

    web.asked = 0
    web.layer.application = without_database
    web.age(seconds)
    then = time.time() - seconds
    os.utime(web.directory / "private" / "checked", (then, then))


def test_it_answers_with_what_was_known_last_while_the_database_is_away(web, acme):
    base = link(acme)
    assert web.get(f"{base}/").body == b"beyond"  # Django answers as long as it can
    away(web)
    page = web.get(f"{base}/")
    assert page.status == 200
    assert "Acme's nodes are slow" in page.text.replace("&#x27;", "'")
    assert "cp-as-of" in page.text
    assert page.headers["Cache-Control"].startswith("private")
    assert 'lang="it"' in web.get(f"{base}/?lang=it").text
    uid = acme.components.get().incidents.get().uid
    assert web.get(f"{base}/incidents/{uid}/").status == 200
    for path in ("/history/", "/api/v2/summary.json", "/history.atom"):
        assert web.get(f"{base}{path}").status == 200, path
    assert web.get(f"{base}/incidents/nobody/").body == b"away"


def test_django_decides_as_long_as_the_database_answers_however_late_the_last_look_is(web, acme):
    base = link(acme)
    web.age(3600)
    assert web.get(f"{base}/").body == b"beyond"
    away(web, 1)
    assert "cp-as-of" in web.get(f"{base}/").text  # also a second after it went


def test_a_database_that_is_away_is_not_asked_again_for_each_reader(web, acme):
    base = link(acme)
    away(web)
    for _n in range(3):
        assert web.get(f"{base}/").status == 200
    assert web.asked == 1
    web.layer.away_until = 0.0
    web.layer.application = web.beyond
    assert web.get(f"{base}/").body == b"beyond"


def test_the_note_names_when_this_page_was_known_to_be_true(web, acme, monkeypatch):
    base = link(acme)
    then = timezone.now() - timedelta(hours=2)
    for one in ("checked", f"{acme.uid}.json"):
        os.utime(web.directory / "private" / one, (then.timestamp(), then.timestamp()))
    path = web.directory / "private" / f"{acme.uid}.json"
    head, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps(json.loads(head) | {"at": then.timestamp()}) + "\n" + rest)
    told(make.component("Checkout"), title="Card payments fail")
    monkeypatch.setattr(live, "ARCHIVING", -1)  # the public page is true again; for this one no time was left
    web.look()
    web.layer.application = lambda _environ, start: start("503 Service Unavailable", []) or [b"away"]
    page = web.get(f"{base}/").text
    assert "cp-as-of-old" in page
    assert f"{timezone.localtime(then):%H:%M}" in page


@pytest.mark.parametrize("what", ["withdrawn", "another component"])
def test_what_readers_must_not_see_any_more_goes_at_once_however_little_time_there_is(web, acme, monkeypatch, what):
    base = link(acme)
    monkeypatch.setattr(live, "ARCHIVING", -1)
    if what == "withdrawn":
        acme.withdraw_links()
    else:
        acme.components.set([private("Another")])
    web.look()
    away(web)
    assert web.get(f"{base}/").body == b"away"


def test_a_link_is_withdrawn_also_while_the_public_page_cannot_be_rendered(web, acme, monkeypatch):
    base = link(acme)

    def broken(_version):
        raise RuntimeError("/ answered 500")

    told(make.component("Checkout"), title="Card payments fail")
    monkeypatch.setattr(live.snapshot, "take", broken)
    acme.withdraw_links()
    with pytest.raises(RuntimeError):
        web.look()
    away(web)
    assert web.get(f"{base}/").body == b"away"


def test_pages_take_turns_where_time_is_short(web, acme, monkeypatch):
    for name in ("Bolt", "Cask"):
        StatusPage.objects.create(name=name).components.set([private(f"{name} cluster")])
    rendered = []
    monkeypatch.setattr(private_copies, "_render", lambda page: rendered.append(page.name) or [])
    clock = itertools.count()  # each look at the clock is a second later: there is time for one page
    monkeypatch.setattr(private_copies.time, "monotonic", lambda: next(clock))
    for n in range(3):
        private_copies.refresh(web.directory, f"facts {n}", time.time() + n, 1.5)
    assert sorted(rendered) == ["Acme", "Bolt", "Cask"]


def test_a_file_of_an_earlier_release_is_replaced(web, acme):
    path = web.directory / "private" / f"{acme.uid}.json"
    path.write_text(json.dumps({"facts": "", "link_version": 1, "pages": {}}))
    web.look()
    away(web)
    assert "Acme&#x27;s nodes are slow" in web.get(f"{link(acme)}/").text


def test_whoever_reads_it_finds_their_own_link_in_it_and_no_other(web, acme):
    base, other = link(acme), link(acme, 2)
    away(web)
    page = web.get(f"{base}/").text
    assert f'href="{base}/history/"' in page
    assert other not in page
    kept = (web.directory / "private" / f"{acme.uid}.json").read_text()
    assert "/private/{the-key-of-the-reader}/history/" in kept
    assert base.removeprefix("/private/").split(":")[0] not in kept


@pytest.mark.parametrize("why", ["over", "forged", "of another page", "withdrawn", "off", "by login"])
def test_it_opens_to_nobody_else(web, acme, why):
    base = link(acme)
    if why == "over":
        base = link(acme, -1)
    elif why == "forged":
        base = base[:-1] + ("A" if base[-1] != "A" else "B")
    elif why == "of another page":
        base = link(StatusPage.objects.create(name="Bolt"))
    elif why == "by login":
        base = f"/private/{acme.uid}"
    elif why == "withdrawn":
        acme.withdraw_links()
        web.look()
    else:
        StatusPage.objects.update(enabled=False)
        web.look()
    away(web)
    assert web.get(f"{base}/").body == b"away"


def test_nobody_but_the_portal_reads_the_files_and_no_copy_holds_them(web, acme, tmp_path):
    folder = web.directory / "private"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / f"{acme.uid}.json").stat().st_mode & 0o077 == 0
    copies.publish(tmp_path / "copy")
    assert not any(
        "Acme" in path.read_text()
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file() and path.suffix != ".png"
    )
    assert not any(b"Acme" in content for _name, content in copies.current())


def test_what_changed_is_rendered_again_and_what_is_gone_is_removed(web, acme, monkeypatch):
    rendered = []
    real = private_copies._render
    monkeypatch.setattr(private_copies, "_render", lambda page: rendered.append(page.uid) or real(page))
    web.look()
    assert rendered == []
    told(make.component("Checkout"), title="Card payments fail")
    web.look()
    acme.components.add(make.component("Search"))
    web.look()
    assert rendered == [acme.uid] * 2
    acme.delete()
    web.look()
    assert list((web.directory / "private").glob("*.json")) == []


def test_a_page_that_would_tell_the_link_it_was_read_by_is_not_kept(web, acme, monkeypatch):
    real = private_copies.page_at

    def leaking(path):
        page = real(path)
        signature = path.split("/")[2].rpartition(":")[2]
        return type(page)(page.headers, page.body + signature.encode(), page.language)

    monkeypatch.setattr(private_copies, "page_at", leaking)
    told(make.component("Checkout"), title="Card payments fail")
    web.look()
    away(web)
    assert web.get(f"{link(acme)}/").body == b"away"
