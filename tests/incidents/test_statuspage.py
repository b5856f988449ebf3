import gzip
import re
from copy import copy
from datetime import datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from incidents import declaring
from incidents.models import Component, Incident, IncidentComponent, IncidentUpdate
from incidents.models.words import new_uid
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
FRONT_QUERIES = 9  # two of them for graphs and dashboards beside what is open


def newsroom() -> None:
    """Who writes, who approves, and their plan: for told() and say(). No channel, as no page depends on one."""
    make.incident_manager(username="author")
    make.communications_manager(username="approver")
    make.plan()
    make.scenario()


def told(*components, stage="investigating", **kwargs) -> Incident:
    """An incident of which customers were told, up to this stage."""
    incident = make.incident(User.objects.get(username="author"), *components, **kwargs)
    make.published(incident.updates.get(), User.objects.get(username="approver"))
    if stage != "investigating":
        say(incident, stage)
    return incident


def say(incident: Incident, stage: str, **changes) -> IncidentUpdate:
    update = declaring.start_draft(incident, incident.declared_by, stage)
    if changes:
        update.edit(incident.declared_by, update.version, **changes)
    return make.published(update, User.objects.get(username="approver"))


def repeat(update: IncidentUpdate, times: int) -> None:
    """The same said so many times more: copies, for a test that is `unguarded`."""
    copies = [copy(update) for _ in range(times)]
    for number, one in enumerate(copies, update.number + 1):
        one.pk, one.number = None, number
    IncidentUpdate.objects.bulk_create(copies)


def spread(incident: Incident, *components: Component) -> None:
    """The same incident, as it stands, on each of these components: copies, for a test that is `unguarded`."""
    [hit] = incident.incident_components.all()
    for component in components:
        one = Incident.objects.get(pk=incident.pk)
        one.pk, one.uid = None, new_uid()
        one.save()
        IncidentComponent.objects.create(incident=one, component=component, status=hit.status)
        updates = list(incident.updates.all())
        for update in updates:
            update.pk, update.incident = None, one
            update.component_states = {str(component.pk): hit.status}
        IncidentUpdate.objects.bulk_create(updates)


@pytest.fixture(scope="module")
def world(shared_world: Path) -> None:
    newsroom()


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, value) for name, value in attrs if name in ("src", "href") and value]


# ── Words first ──


def test_all_is_well_in_words(client):
    make.component("Checkout")
    page = client.get("/").content.decode()
    assert "All systems operational</h1>" in page
    assert "Happening now" not in page


def test_the_headline_names_the_worst_and_where(client):
    told(make.component("Checkout"))
    told(make.component("Search"), state="degraded_performance", severity="sev3")
    assert "Partial outage: Checkout</h1>" in client.get("/").content.decode()


def test_a_long_headline_counts_the_rest(client):
    told(*[make.component(f"Service {i}") for i in range(5)])
    assert "Service 0, Service 1, Service 2 and 2 more</h1>" in client.get("/").content.decode()


def test_an_open_incident_speaks_even_when_every_component_works(client):
    told(make.component("Checkout"), state="operational", title="Old receipts <missing>")
    page = client.get("/").content.decode()
    assert "Investigating: Old receipts &lt;missing&gt;</h1>" in page
    assert "All systems operational" not in page


def test_maintenance_does_not_hide_an_incident(client):
    upkeep = told(make.component("Search"), state="under_maintenance", severity="sev4", title="Upkeep")
    Incident.objects.filter(pk=upkeep.pk).update(maintenance=True, stage="in_progress")
    page = client.get("/").content.decode()
    assert "Under maintenance: Search</h1>" in page
    assert "cp-headline cp-tone-under_maintenance" in page
    told(make.component("Checkout"), state="operational", title="Receipts are late")
    page = client.get("/").content.decode()
    assert "Investigating: Receipts are late</h1>" in page
    assert "cp-headline cp-tone-degraded_performance" in page


def test_open_incidents_come_before_components_with_the_newest_words_first(client):
    incident = told(make.component("Checkout"))
    say(incident, "identified", words={"en": {"issue": "We found the broken switch."}})
    page = client.get("/").content.decode()
    assert page.index("Card payments fail") < page.index('id="components"')
    assert page.index("We found the broken switch.") < page.index("Payments with Checkout fail")
    assert page.index('role="status"') < page.index("We found the broken switch.")


def test_promises_are_shown_with_their_zone(client):
    with time_machine.travel("2026-11-23T12:00:00+00:00", tick=False):
        incident = told(make.component("Checkout"))
        due = timezone.now() + timedelta(minutes=30)
        say(incident, "identified", next_update_at=due, expected_resolution_at=due + timedelta(hours=2))
        page = client.get("/").content.decode()
    assert '<time datetime="2026-11-23T13:30:00+01:00" data-day="today">13:30 CET</time>' in page
    assert '<time datetime="2026-11-23T15:30:00+01:00" data-day="today">15:30 CET</time>' in page


def test_an_expected_resolution_that_moved_keeps_what_was_said_first(client):
    def page(language: str = "en") -> str:
        html = client.get(f"/incidents/{incident.uid}/?lang={language}").content.decode()
        return " ".join(re.sub("<[^>]+>", " ", re.sub("</?time[^>]*>", "", html)).split())

    with time_machine.travel("2026-11-23T12:00:00+00:00", tick=False) as clock:
        incident = told(make.component("Checkout"))
        due = timezone.now() + timedelta(hours=1)
        for stage in ("identified", "identified"):  # to say the same again is no change
            clock.shift(timedelta(minutes=10))
            say(incident, stage, expected_resolution_at=due)
            assert "First expected by" not in page()
        clock.shift(timedelta(minutes=10))
        say(incident, "identified", expected_resolution_at=due + timedelta(hours=2))
        assert "Expected resolution 16:00 CET First expected by 14:00 CET (said 13:10 CET) Started" in page()
        assert "Prima previsione 14:00 CET (comunicata 13:10 CET)" in page("it")
        assert "First expected by" not in client.get("/").content.decode()
        say(incident, "monitoring", expected_resolution_at=None)  # taken back
        both = "First expected by 14:00 CET (said 13:10 CET); 16:00 CET (said 13:30 CET) Started"
        assert both in page()
        say(incident, "resolved")
        assert both in page()


def test_that_it_ended_does_not_change_what_was_expected(client):
    incident = told(make.component("Checkout"))
    say(incident, "identified", expected_resolution_at=timezone.now() + timedelta(hours=1))
    say(incident, "resolved")
    assert "First expected by" not in client.get(f"/incidents/{incident.uid}/").content.decode()


def test_an_incident_that_ended_stays_for_14_days(client):
    with time_machine.travel(timezone.now() - timedelta(days=13)):
        told(make.component("Checkout"), stage="resolved", title="Recent trouble")
    with time_machine.travel(timezone.now() - timedelta(days=15)):
        told(make.component("Search"), stage="resolved", title="Forgotten trouble")
    page = client.get("/").content.decode()
    assert "All systems operational</h1>" in page
    assert "Recent trouble" in page
    assert "Forgotten trouble" not in page
    assert "Forgotten trouble" in client.get("/history/").content.decode()


# ── Only what was published ──


@pytest.mark.parametrize("step", ["draft", "in_review", "approved"])
def test_nothing_of_an_unpublished_update_is_visible(client, step):
    author = User.objects.get(username="author")
    incident = make.incident(author, make.component("Checkout"), title="Hush hush")
    update = incident.updates.get()
    if step != "draft":
        update.submit(update.author)
    if step == "approved":
        update.approve(User.objects.get(username="approver"), typed_count=update.reach().total)
    for address in (
        "/",
        "/history/",
        "/history.atom",
        "/history.rss",
        "/api/v2/summary.json",
        "/api/v2/incidents.json",
    ):
        body = client.get(address).content.decode()
        assert "Hush" not in body, address
        assert "Partial outage" not in body, address
    missing = client.get(f"/incidents/{incident.uid}/")
    assert missing.status_code == 404
    assert "Hush" not in missing.content.decode()


def test_the_next_draft_does_not_leak_from_a_public_incident(client):
    incident = told(make.component("Checkout"))
    extra = make.component("Payroll secrets")
    update = declaring.start_draft(incident, incident.declared_by, "resolved")
    update.edit(
        incident.declared_by,
        update.version,
        words={"en": {"issue": "Unfinished sentence"}},
        component_states={**update.component_states, str(extra.pk): "major_outage"},
    )
    for address in ("/", f"/incidents/{incident.uid}/", "/api/v2/summary.json", "/history.atom"):
        body = client.get(address).content.decode()
        assert "Unfinished sentence" not in body, address
        assert "ajor outage" not in body, address


def test_a_component_that_is_not_for_the_page_is_on_none(client):
    hidden = make.component("Back office")
    Component.objects.filter(pk=hidden.pk).update(showcase=False)
    told(make.component("Checkout"), hidden)
    for address in ("/", "/api/v2/components.json", "/api/v2/summary.json"):
        names = client.get(address).content.decode()
        assert "Checkout" in names
        assert '"Back office"' not in names
        assert ">Back office<" not in names


def test_an_unknown_incident_is_a_page_that_says_so(client):
    response = client.get("/incidents/nosuchthing/")
    assert response.status_code == 404
    assert "See the current status" in response.content.decode()


# ── Languages ──


def test_the_language_comes_from_the_browser_or_the_address_and_stays_in_links(client):
    incident = told(make.component("Checkout"))
    say(incident, "identified", words={"it": {"issue": "Trovato il guasto."}, "en": {"issue": "Found the fault."}})
    english = client.get("/", headers={"accept-language": "en"}).content.decode()
    italian = client.get("/", headers={"accept-language": "it-CH,it;q=0.9,en;q=0.5"}).content.decode()
    asked = client.get("/?lang=it", headers={"accept-language": "en"})
    assert "Found the fault." in english
    assert "Trovato il guasto." not in english
    assert '<html lang="it"' in italian
    assert "Trovato il guasto." in italian
    assert "Trovato il guasto." in asked.content.decode()
    assert f'href="/incidents/{incident.uid}/?lang=it"' in asked.content.decode()
    assert asked["Content-Language"] == "it"


def test_words_missing_in_a_language_are_shown_in_another_and_marked(client):
    make.plan(*[], locales=("en",), severities=["sev1"])
    told(make.component("Checkout"), severity="sev1")
    page = client.get("/?lang=it").content.decode()
    assert "Payments with Checkout fail" in page
    assert '<div lang="en">' in page


@pytest.mark.parametrize("lang", ["xx", "", "../../etc", "it\0", "<script>"])
def test_a_language_that_we_do_not_speak_is_ignored(client, lang):
    response = client.get("/", {"lang": lang})
    assert response.status_code == 200
    assert "<script>" not in response.content.decode()


def test_a_cookie_does_not_choose_the_language_of_a_shared_page(client):
    client.cookies["django_language"] = "it"
    assert '<html lang="en"' in client.get("/").content.decode()


# ── For caches, phones and careful readers ──


def test_no_cookie_is_set_and_unchanged_pages_are_not_sent_again(client):
    told(make.component("Checkout"))
    seen = {}
    for address in ("/", "/history/", "/history.atom", "/history.rss", "/api/v2/summary.json"):
        first = client.get(address)
        assert not first.cookies, address
        assert "Cookie" not in first.get("Vary", ""), address
        seen[address] = first["ETag"]
        again = client.get(address, headers={"if-none-match": first["ETag"]})
        assert again.status_code == 304, address
        assert not again.content, address
    told(make.component("Search"), title="Search is down")
    for address, etag in seen.items():
        assert client.get(address, headers={"if-none-match": etag}).status_code == 200, address


def test_pages_stay_small_and_load_nothing_from_elsewhere(unguarded, client):
    components = [make.component(f"Component number {i}", f"Group {i % 4}") for i in range(30)]
    incident = told(components[0], title="Trouble 0")
    repeat(say(incident, "identified"), 1)
    repeat(say(incident, "monitoring"), 3)
    incident.refresh_from_db()
    spread(incident, *components[1:6])
    Component.objects.update(created_at=timezone.now() - timedelta(days=100))  # each has its bars
    page = client.get("/").content
    files = ["portal/status.css", "portal/status.js"]
    loads = [page, *((Path(settings.BASE_DIR) / "static" / name).read_bytes() for name in files)]
    assert sum(len(gzip.compress(one)) for one in loads) < 50_000
    assert sum(map(len, loads)) < 64_000  # for who takes it unpacked
    assert page.decode().count("All 7 updates") == 6
    links = _Links()
    links.feed(page.decode())
    loaded = [value for tag, value in links.found if tag in ("script", "img", "iframe") or value.endswith(".css")]
    assert loaded == [f"/static/{name}" for name in files]


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_readers_only_read(client, method):
    for address in ("/", "/history/", "/api/v2/summary.json", "/history.atom"):
        assert getattr(client, method)(address).status_code == 405


def test_the_number_of_queries_does_not_grow(unguarded, client, django_assert_num_queries):
    def measure(front: int, one: int, archive: int) -> None:
        with django_assert_num_queries(front):
            client.get("/")
        with django_assert_num_queries(one):
            client.get(f"/incidents/{incident.uid}/")
        with django_assert_num_queries(archive):
            client.get("/history/")

    incident = told(make.component("Checkout"))
    measure(FRONT_QUERIES, 6, 4)
    last = say(incident, "monitoring")
    incident.refresh_from_db()
    spread(incident, *(make.component(f"More {i}", f"Group {i}") for i in range(4)))
    repeat(last, 3)
    measure(FRONT_QUERIES, 6, 4)


# ── History ──


def test_the_archive_goes_by_month_and_turns_pages(client):
    days = {f"Past {month}-{i}": f"2026-0{month}-10T10:00Z" for month in (1, 2, 3) for i in range(12)}
    # The last minute of January in Rome is still January there.
    days["New Year in Rome"] = "2025-12-31T23:30Z"
    at = {title: datetime.fromisoformat(day) for title, day in days.items()}
    past = Incident.objects.bulk_create(
        Incident(
            title=title,
            stage="resolved",
            started_at=day,
            published_at=day,
            resolved_at=day,
            imported_from=f"archive:{title}",
        )
        for title, day in at.items()
    )
    IncidentUpdate.objects.bulk_create(
        IncidentUpdate(
            incident=incident,
            number=1,
            stage="resolved",
            status="published",
            imported=True,
            published_at=incident.published_at,
            manifest={"page": {"en": {"subject": "", "text": "Over.", "html": "<p>Over.</p>"}}},
        )
        for incident in past
    )
    first, second = (client.get(path).content.decode() for path in ("/history/", "/history/2/"))
    assert "March 2026" in first
    assert first.count("<article") == 24
    assert 'href="/history/2/"' in first
    assert 'href="/history/2/?lang=it"' in client.get("/history/?lang=it").content.decode()
    assert "January 2026" in second
    assert second.count("<article") == 13
    assert "December" not in second
    assert client.get("/history/99/").content.decode().count("<article") == 13
    assert 'rel="canonical" href="http://127.0.0.1:8000/history/2/"' in client.get("/history/99/").content.decode()


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/history/?page=2", "/history/2/"),
        ("/history/?page=2&lang=it", "/history/2/?lang=it"),
        ("/history/?page=1", "/history/"),
        ("/history/?page=abc&lang=it", "/history/?lang=it"),
        (f"/history/?page={'9' * 5000}", "/history/"),
        ("/history/1/", "/history/"),
    ],
)
def test_pages_of_the_archive_have_one_address_each(client, asked, path):
    response = client.get(asked)
    assert (response.status_code, response["Location"]) == (301, path)
    assert client.get(f"/history/{'9' * 5000}/").status_code == 404


def test_an_empty_archive_says_what_it_is_for(client):
    assert "Nothing has happened yet" in client.get("/history/").content.decode()


def test_headings_leave_out_no_level(client):
    incident = told(make.component("Search"))
    for path in ("/", f"/incidents/{incident.uid}/", "/history/"):
        page = client.get(path).content.decode()
        levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels)), (path, levels)
