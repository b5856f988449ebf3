"""Private components and status pages: who sees what, and that nobody else ever does."""

import json
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.core import signing
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from channels.models import Delivery
from incidents import publishing
from incidents.errors import Refused, WrongState
from incidents.models import Component, IncidentUpdate, StatusPage, Subscription
from incidents.models.status_page import LINK_SALT
from incidents.statuspage import copies, facts
from tests import make
from tests.incidents.test_statuspage import FRONT_QUERIES, newsroom, told

pytestmark = pytest.mark.django_db
# What everybody can ask for, and what must not be in any of it.
PUBLIC = ["/", "/history/", "/history.atom", "/history.rss", "/maintenance.ics", "/badge.svg", "/in-app.json"]
PUBLIC += [f"/api/v2/{name}.json" for name in ("summary", "status", "components", "incidents", "incidents/unresolved")]


@pytest.fixture
def world():
    newsroom()


@pytest.fixture
def cluster(world) -> Component:
    """A private component."""
    one = make.component("Dedicated cluster of Acme")
    Component.objects.filter(pk=one.pk).update(private=True)
    one.refresh_from_db()
    return one


@pytest.fixture
def page(cluster) -> StatusPage:
    one = StatusPage.objects.create(name="Acme")
    one.components.set([cluster])
    return one


def link(page: StatusPage, until=None) -> str:
    return f"/private/{page.key(until)}"


def reader(*groups: Group, **kwargs) -> User:
    one = User.objects.create_user("anna", password="secret", **kwargs)
    one.groups.set(groups)
    return one


def test_nobody_reads_in_public_of_private_components_alone(client, cluster):
    public = told(make.component("Checkout"), title="Card payments fail")
    hidden = told(cluster, title="Acme's nodes are slow")
    for path in PUBLIC:
        body = client.get(path).content.decode()
        assert "Acme" not in body, path
        assert hidden.uid not in body, path
    assert public.uid in client.get("/").content.decode()
    assert client.get(f"/incidents/{hidden.uid}/").status_code == 404
    assert client.get(f"/badge/{cluster.uid}.svg").status_code == 404


def test_no_static_copy_and_no_snapshot_holds_it(cluster, page, tmp_path):
    hidden = told(cluster, title="Acme's nodes are slow")
    copies.publish(tmp_path)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert b"Acme" not in file.read_bytes(), file
            assert hidden.uid not in str(file)


def test_an_incident_that_hits_both_is_public_without_the_private_component(client, cluster, page):
    both = told(make.component("Checkout"), cluster)
    shown = client.get(f"/incidents/{both.uid}/").content.decode()
    assert "Checkout" in shown
    assert "Acme" not in shown
    private = client.get(f"{link(page)}/incidents/{both.uid}/").content.decode()
    assert "Dedicated cluster of Acme" in private


def test_the_page_shows_its_components_and_their_incidents_alone(client, cluster, page):
    other = told(make.component("Checkout"), title="Card payments fail")
    mine = told(cluster, title="Acme's nodes are slow")
    base = link(page)
    front = client.get(f"{base}/").content.decode()
    assert "<title>" in front
    assert "Dedicated cluster of Acme" in front
    assert mine.title.replace("'", "&#x27;") in front
    assert "Checkout" not in front
    assert other.title not in front
    assert client.get(f"{base}/incidents/{mine.uid}/").status_code == 200
    assert client.get(f"{base}/incidents/{other.uid}/").status_code == 404
    assert other.uid not in client.get(f"{base}/history/").content.decode()


def test_every_link_of_the_page_stays_on_it(client, cluster, page):
    one = told(cluster)
    base = link(page)
    for path in ("/", "/history/", f"/incidents/{one.uid}/"):
        body = client.get(base + path).content.decode()
        own = [part.split('"')[0] for part in body.split('href="')[1:]]
        away = {to for to in own if to.startswith("/") and not to.startswith((base, "/static/"))}
        assert away == set(), path


def test_it_has_the_api_the_feeds_and_the_calendar_too(client, cluster, page):
    one = told(cluster, title="Acme's nodes are slow")
    base = link(page)
    summary = client.get(f"{base}/api/v2/summary.json")
    data = json.loads(summary.content)
    assert data["page"]["id"] == page.uid
    assert data["page"]["name"] == "Acme"
    assert [row["name"] for row in data["components"] if not row["group"]] == ["Dedicated cluster of Acme"]
    assert [row["id"] for row in data["incidents"]] == [one.uid]
    assert data["incidents"][0]["shortlink"].endswith(f"{base}/incidents/{one.uid}/")
    assert one.title in client.get(f"{base}/history.atom").content.decode().replace("&#x27;", "'")
    assert client.get(f"{base}/history.rss").status_code == 200
    assert client.get(f"{base}/maintenance.ics")["Content-Type"].startswith("text/calendar")


def test_no_cache_in_between_keeps_it_and_no_search_engine_lists_it(client, page):
    answer = client.get(f"{link(page)}/")
    assert "private" in answer["Cache-Control"]
    assert "s-maxage" not in answer["Cache-Control"]
    assert "noindex" in answer["X-Robots-Tag"]
    body = answer.content.decode()
    assert 'name="robots" content="noindex' in body
    assert 'rel="canonical"' not in body
    assert "application/ld+json" not in body
    again = client.get(f"{link(page)}/", headers={"If-None-Match": answer["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("bad", ["cut", "another salt", "turned off", "withdrawn", "over", "of nobody"])
def test_a_link_that_is_not_good_opens_nothing(client, cluster, page, bad):
    told(cluster, title="Acme's nodes are slow")
    base = link(page, timezone.now() + timedelta(days=1))
    assert client.get(f"{base}/").status_code == 200
    if bad == "cut":
        base = base[:-3]
    elif bad == "another salt":
        base = f"/private/{signing.dumps([page.uid, 1, 0], salt='another')}"
    elif bad == "turned off":
        StatusPage.objects.update(enabled=False)
    elif bad == "withdrawn":
        page.withdraw_links()
    elif bad == "of nobody":
        base = f"/private/{signing.dumps(['nobody', 1, 0], salt=LINK_SALT)}"
    with time_machine.travel(timezone.now() + timedelta(days=2 if bad == "over" else 0), tick=False):
        for path in ("/", "/history/", "/history.atom", "/api/v2/summary.json", "/maintenance.ics"):
            answer = client.get(base + path)
            assert answer.status_code == 404
            assert b"Acme" not in answer.content


@pytest.mark.parametrize("odd", ["%00", ":::", "a:b:c", "é:x:y", "x" * 5000, "W10:1:1"])
def test_odd_keys_are_no_pages(client, world, odd):
    assert client.get(f"/private/{odd}/").status_code in (302, 404)


def test_readers_log_in_and_only_those_of_its_groups_get_in(client, cluster, page):
    told(cluster, title="Acme's nodes are slow")
    group = Group.objects.create(name="Acme people")
    page.groups.set([group])
    reader(group)
    User.objects.create_user("berta", password="secret")
    asked = client.get(f"/private/{page.uid}/history/", follow=False)
    assert asked.status_code == 302
    assert asked["Location"].startswith("/private/login/?next=")
    form = client.get(asked["Location"])
    assert form.status_code == 200
    assert "Acme" not in form.content.decode()
    wrong = client.post(asked["Location"], {"username": "anna", "password": "no"})
    assert "No account has this name and password" in wrong.content.decode()
    right = client.post(asked["Location"], {"username": "anna", "password": "secret", "next": f"/private/{page.uid}/"})
    assert right["Location"] == f"/private/{page.uid}/"
    shown = client.get(right["Location"]).content.decode()
    assert "Dedicated cluster of Acme" in shown
    assert "Log out" in shown

    other = Client()
    other.force_login(User.objects.get(username="berta"))
    refused = other.get(f"/private/{page.uid}/")
    assert refused.status_code == 404
    assert "Acme" not in refused.content.decode()

    client.post("/private/logout/")
    assert client.get(f"/private/{page.uid}/").status_code == 302


def test_whether_there_is_such_a_page_is_told_to_nobody(client, page):
    there, not_there = (client.get(f"/private/{uid}/") for uid in (page.uid, "abcdefghijkl"))
    assert there.status_code == not_there.status_code == 302
    other = make.client(reader())
    there, not_there = (other.get(f"/private/{uid}/") for uid in (page.uid, "abcdefghijkl"))
    assert (there.status_code, there.content) == (not_there.status_code, not_there.content) or (
        there.content.count(b"csrf") == not_there.content.count(b"csrf") and there.status_code == 404
    )


def test_nobody_is_sent_elsewhere_after_login(client, page):
    reader()
    answer = client.post("/private/login/?next=https://evil.example/", {"username": "anna", "password": "secret"})
    assert "evil" not in answer["Location"]


def test_staff_read_it_only_if_they_may_see_all_its_components(client, cluster, page):
    told(cluster)
    assert make.client(make.communications_manager()).get(f"/private/{page.uid}/").status_code == 200
    from incidents import roles

    limited = make.client(make.user(roles.COMMUNICATIONS_MANAGERS))
    assert limited.get(f"/private/{page.uid}/").status_code == 404
    assert "Acme" not in limited.get("/admin/incidents/statuspage/").content.decode()
    assert limited.get(f"/admin/incidents/statuspage/{page.pk}/change/").status_code in (302, 404)


def test_the_front_page_costs_a_fixed_number_of_queries(client, cluster, page, django_assert_num_queries):
    base = link(page)
    client.get(f"{base}/")
    told(cluster)
    for _round in range(2):
        with django_assert_num_queries(FRONT_QUERIES + 2):  # the page, and its components
            client.get(f"{base}/")
        told(cluster)


def test_without_a_database_it_says_so_and_leaves_no_traceback(client, page, monkeypatch, caplog):
    def away(*_args, **_kwargs):
        raise OperationalError("connection refused")

    monkeypatch.setattr(StatusPage, "by_key", away)
    answer = client.get(f"{link(page)}/?lang=it")
    assert answer.status_code == 503
    assert answer["Retry-After"] == "120"
    assert "non può essere mostrata" in answer.content.decode()
    assert not any(record.exc_info for record in caplog.records if record.name.startswith("incidents"))


# ── What is said ──


def test_only_those_are_told_who_are_subscribed_to_the_very_component(cluster, page):
    everything, group, own = (make.recipients(1, *some)[0] for some in ((), (cluster,), (cluster,)))
    Subscription.objects.filter(recipient=group).update(component=None, group=cluster.group)
    channel = make.channel()
    incident = make.incident(User.objects.get(username="author"), cluster)
    update = incident.updates.get()
    update.edit(update.author, update.version, channels=[channel])
    make.published(IncidentUpdate.objects.get(pk=update.pk))
    make.deliver()
    reached = set(Delivery.objects.filter(dispatch__purpose="update").values_list("recipient", flat=True))
    assert reached == {own.pk}
    assert everything.pk not in reached


def test_what_everybody_reads_cannot_carry_it(cluster, page):
    channels = [make.channel("outbox_post", name="Our account"), make.channel("in_app", name="In the app")]
    for channel in channels:
        incident = make.incident(User.objects.get(username="author"), cluster)
        update = incident.updates.get()
        update.edit(update.author, update.version, channels=[channel])
        with pytest.raises(Refused, match=channel.name):
            IncidentUpdate.objects.get(pk=update.pk).submit(update.author)


def test_a_component_that_changes_sides_voids_what_was_asked_for(cluster, page):
    incident = make.incident(User.objects.get(username="author"), cluster)
    update = incident.updates.get()
    update.edit(update.author, update.version, channels=[make.channel()])
    update.refresh_from_db()
    update.submit(update.author)
    Component.objects.filter(pk=cluster.pk).update(private=False)
    approver = User.objects.get(username="approver")
    with pytest.raises(WrongState, match="private"):
        update.approve(approver, typed_count=update.reach().total)


def test_messages_link_to_the_private_page_and_name_private_components_only_there(cluster, page):
    alone = make.incident(User.objects.get(username="author"), cluster)
    assert f"/private/{page.uid}/incidents/{alone.uid}/" in _text(alone.updates.get())
    both = make.incident(User.objects.get(username="author"), make.component("Checkout"), cluster)
    text = _text(both.updates.get())
    assert "Acme" not in text
    assert f"/incidents/{both.uid}/" in text
    assert "/private/" not in text


def _text(update: IncidentUpdate) -> str:
    update.edit(update.author, update.version, channels=[make.channel(), make.channel("webhook", config={})])
    return json.dumps(publishing.build_manifest(IncidentUpdate.objects.get(pk=update.pk)))


def test_what_was_imported_stays_public(cluster):
    one = told(cluster)
    type(one).objects.filter(pk=one.pk).update(imported_from="elsewhere")
    assert facts.public().filter(pk=one.pk).exists()


# ── Admin ──


def test_a_link_is_made_shown_once_and_withdrawn(cluster, page):
    admin = make.client(make.communications_manager())
    here = f"/admin/incidents/statuspage/{page.pk}"
    assert admin.get(f"{here}/link/").status_code == 200
    made = admin.post(f"{here}/link/", {"lasts": "30", "whom": "Rossi of Acme"}).content.decode()
    url = made.split('readonly value="')[1].split('"')[0].partition("/private/")[2]
    assert Client().get(f"/private/{url}").status_code == 200
    assert "Rossi of Acme" in admin.get(f"{here}/history/").content.decode() or page.history.exists()
    assert admin.get(f"{here}/withdraw/").status_code == 200
    assert Client().get(f"/private/{url}").status_code == 200  # a look changes nothing
    assert admin.post(f"{here}/withdraw/").status_code == 302
    assert Client().get(f"/private/{url}").status_code == 404


@pytest.mark.parametrize("lasts", ["", "-1", "2", "x"])
def test_a_link_that_lasts_oddly_is_not_made(page, lasts):
    admin = make.client(make.communications_manager())
    answer = admin.post(f"/admin/incidents/statuspage/{page.pk}/link/", {"lasts": lasts})
    assert answer.status_code == 422
    assert "/private/" not in answer.content.decode().replace("/admin/incidents/statuspage/", "")


def test_who_only_looks_makes_no_links(page):
    admin = make.client(make.incident_manager())
    assert admin.get("/admin/incidents/statuspage/").status_code == 200
    assert admin.post(f"/admin/incidents/statuspage/{page.pk}/link/", {"lasts": "30"}).status_code == 403
    assert admin.post(f"/admin/incidents/statuspage/{page.pk}/withdraw/").status_code == 403


def test_a_page_needs_a_component(world):
    admin = make.client(make.communications_manager())
    answer = admin.post("/admin/incidents/statuspage/add/", {"name": "Empty", "enabled": "on"})
    assert "Tick at least one component" in answer.content.decode()
    assert not StatusPage.objects.exists()


def test_the_past_of_a_private_component_is_not_revealed_in_passing(cluster, page):
    told(cluster)
    root = User.objects.create_superuser("root", password="pw")
    admin = make.client(root)
    here = f"/admin/incidents/component/{cluster.pk}/change/"
    form = {"name": cluster.name, "description": "", "group": cluster.group_id, "position": 0, "showcase": "on"}
    for prefix in ("componentuserobjectpermission", "componentgroupobjectpermission"):
        for model in (f"{prefix}_set", prefix):
            form |= {f"{model}-TOTAL_FORMS": 0, f"{model}-INITIAL_FORMS": 0}
    assert "Show its past" in admin.get(here).content.decode()
    assert "Show its past" not in admin.get("/admin/incidents/component/add/").content.decode()
    refused = admin.post(here, form).content.decode()
    assert "1 incident of this component would be shown to everybody" in refused
    assert Component.objects.get(pk=cluster.pk).private
    assert admin.post(here, form | {"reveal": "on"}).status_code == 302
    assert not Component.objects.get(pk=cluster.pk).private


def test_a_copy_of_the_page_is_no_public_channel(cluster, page):
    """A static copy shows by itself only what is everybody's, so it stops nobody."""
    make.channel("statuspage", config={"directory": "/tmp/nowhere"})
    incident = make.incident(User.objects.get(username="author"), cluster)
    update = incident.updates.get()
    update.submit(update.author)
    assert update.status == "in_review"
