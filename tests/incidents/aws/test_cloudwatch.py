"""Graphs, measures and dashboards of CloudWatch. The other end is a fake on the loopback, never AWS."""

import json
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm
from PIL import Image

from channels.models import Delivery
from incidents import declaring, roles, tasks
from incidents.aws import graphs, measuring
from incidents.models import AwsAccount, Component, DashboardLink, MetricGraph, MetricImage
from incidents.statuspage import live, snapshot
from incidents.statuspage.facts import version
from tests import make
from tests.fakes.aws import Drop, FakeAws, Fault

pytestmark = pytest.mark.django_db
WIDGET = {
    "metrics": [["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "LoadBalancer", "app/x/1"]],
    "view": "timeSeries",
}
NUMBERS = iter(range(1, 250))


def png(size: tuple[int, int] = (60, 40), colour: int | None = None) -> bytes:
    """A picture that no other is like."""
    file = BytesIO()
    Image.new("RGB", size, (next(NUMBERS) if colour is None else colour, 10, 10)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def watch(service) -> FakeAws:
    fake = service("cloudwatch")
    fake.answers["GetMetricWidgetImage"] = lambda _asked: {"MetricWidgetImage": png()}
    yield fake
    assert fake.invalid == []


@pytest.fixture
def marta(db) -> User:
    return make.incident_manager(username="marta", first_name="Marta", last_name="Rinaldi")


@pytest.fixture
def anna(db) -> User:
    return make.communications_manager()


@pytest.fixture
def component(db) -> Component:
    return make.component("Card payments")


@pytest.fixture
def graph(make_account, component) -> MetricGraph:
    return MetricGraph.objects.create(title="Errors", component=component, account=make_account(), widget=WIDGET)


def due_now() -> None:
    MetricGraph.objects.update(tried_at=None)
    AwsAccount.objects.update(held_until=None)


def change(incident) -> str:
    return f"/admin/incidents/incident/{incident.pk}/change/"


# ── The picture ──


def test_a_graph_is_fetched_while_an_incident_of_its_component_is_open(graph, component, marta, anna, watch):
    tasks.sweep_cloudwatch()
    assert watch.calls == []
    incident = make.incident(marta, component)
    tasks.sweep_cloudwatch()
    tasks.sweep_cloudwatch()
    [asked] = watch.params("GetMetricWidgetImage")  # once a minute
    assert asked["OutputFormat"] == "png"
    widget = json.loads(asked["MetricWidget"])
    assert widget == {**WIDGET, "width": 600, "height": 300, "region": "eu-south-1"}
    image = MetricImage.objects.get()
    assert (image.width, image.height) == (60, 40)
    make.published(incident.updates.get(), anna)
    make.published(declaring.start_draft(incident, marta, "resolved"), anna)
    due_now()
    tasks.sweep_cloudwatch()
    assert len(watch.calls) == 1


def test_only_the_last_few_pictures_are_kept(graph, watch):
    for _time in range(8):
        assert graphs.fetch(graph) == ""
    assert graph.images.count() == 5


def test_the_same_picture_is_kept_once_and_is_as_of_now(graph, watch):
    watch.answers["GetMetricWidgetImage"] = {"MetricWidgetImage": png(colour=200)}
    graphs.fetch(graph)
    MetricImage.objects.update(taken_at=timezone.now() - timedelta(hours=2))
    graphs.fetch(graph)
    assert MetricImage.objects.get().taken_at > timezone.now() - timedelta(minutes=1)


def test_another_region_is_asked_where_it_is(graph, watch):
    graph.region = "eu-west-1"
    graphs.fetch(graph)
    assert json.loads(watch.params("GetMetricWidgetImage")[0]["MetricWidget"])["region"] == "eu-west-1"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "neither a PNG nor a JPEG"),
        (b"<html>no</html>", "neither a PNG nor a JPEG"),
        (png()[:60], "damaged"),
        (png((1, 1)), "choose a larger one"),
    ],
)
def test_what_is_no_picture_is_not_kept(graph, watch, answer, words):
    watch.answers["GetMetricWidgetImage"] = {"MetricWidgetImage": answer}
    assert words in graphs.fetch(graph)
    graph.refresh_from_db()
    assert words in graph.error
    assert not MetricImage.objects.exists()


@pytest.mark.parametrize(
    ("fault", "words", "rests"),
    [
        (Fault("AccessDenied", "no policy", 403), "lack the permission cloudwatch:GetMetricWidgetImage", False),
        (Fault("Throttling", "slow down"), "asks for patience", True),
        (Fault("InternalServiceFault", "x", 500), "did not answer in time", True),
        (Drop(), "did not answer in time", True),
    ],
)
def test_a_fault_is_told_and_the_picture_before_stays(graph, component, marta, watch, fault, words, rests):
    graphs.fetch(graph)
    make.incident(marta, component)
    watch.script("GetMetricWidgetImage", fault)
    tasks.sweep_cloudwatch()
    graph.refresh_from_db()
    assert words in graph.error
    assert graph.images.count() == 1
    assert graph.account.rests is rests
    due_now()
    tasks.sweep_cloudwatch()
    graph.refresh_from_db()
    assert graph.error == ""


def test_an_account_that_does_not_answer_is_asked_once_for_many_graphs(graph, component, marta, watch):
    for n in range(3):
        MetricGraph.objects.create(title=f"g{n}", component=component, account=graph.account, widget=WIDGET)
    make.incident(marta, component)
    watch.script("GetMetricWidgetImage", Drop())
    tasks.sweep_cloudwatch()
    assert len(watch.calls) == 1


# ── Staff ──


def test_staff_see_it_on_the_page_of_the_incident(graph, component, marta, watch):
    incident = make.incident(marta, component)
    tasks.sweep_cloudwatch()
    client = make.client(marta)
    html = client.get(change(incident)).content.decode()
    image = MetricImage.objects.get()
    address = reverse("admin:incidents_metricgraph_picture", args=[graph.pk, image.sha256])
    assert address in html
    response = client.get(address)
    assert (response["Content-Type"], response.content[:4]) == ("image/png", b"\x89PNG")
    assert client.post(address).status_code == 405


def test_a_graph_of_a_component_that_one_does_not_see_is_not_there(graph, component, marta, watch):
    other = make.component("Login")
    incident = make.incident(marta, component, other)
    graphs.fetch(graph)
    DashboardLink.objects.create(title="Zebra board", component=component, url="https://cloudwatch.amazonaws.com/x")
    limited = make.user(roles.INCIDENT_MANAGERS)
    assign_perm("incidents.operate_component", limited, other)
    client = make.client(limited)
    html = client.get(change(incident)).content.decode()
    assert "Zebra board" not in html
    address = reverse("admin:incidents_metricgraph_picture", args=[graph.pk, MetricImage.objects.get().sha256])
    assert address not in html
    assert client.get(address).status_code == 404
    for name in ("change", "try"):
        assert client.get(reverse(f"admin:incidents_metricgraph_{name}", args=[graph.pk])).status_code in (302, 404)


def test_try_fetches_one_now_by_post_alone(graph, marta, watch):
    client = make.client(marta)
    page = reverse("admin:incidents_metricgraph_try", args=[graph.pk])
    assert "It was not fetched yet" in client.get(page).content.decode()
    assert watch.calls == []
    assert "Fetched." in client.post(page, follow=True).content.decode()
    watch.script("GetMetricWidgetImage", Fault("InvalidParameterValue", "bad metrics"))
    assert "bad metrics" in client.post(page, follow=True).content.decode()
    reader = make.client(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    assert reader.post(page).status_code == 403


FORM = {"title": "Errors", "region": "", "enabled": "on", "position": "0"}


def test_a_graph_is_set_up_with_what_cloudwatch_shows_as_source(graph, component, marta):
    client = make.client(marta)
    dashboard_has = {"type": "metric", "x": 0, "properties": WIDGET}
    form = {**FORM, "component": component.pk, "account": graph.account.pk, "widget": json.dumps(dashboard_has)}
    assert client.post("/admin/incidents/metricgraph/add/", form).status_code == 302
    assert MetricGraph.objects.latest("pk").widget == WIDGET
    page = reverse("admin:incidents_metricgraph_change", args=[graph.pk])
    client.post(page, {**form, "title": "Renamed", "public": "on"})
    graph.refresh_from_db()
    assert (graph.title, graph.public) == ("Renamed", True)


@pytest.mark.parametrize(
    ("widget", "words"),
    [
        ("", "required"),
        ("{", "It is no JSON"),
        ("[1]", "It is no object"),
        ("{}", "“metrics” is missing"),
        ('{"metrics": []}', "“metrics” is missing"),
        ('{"metrics": ["x"]}', "is no metric"),
        ('{"metrics": [[]]}', "is no metric"),
        (json.dumps({"metrics": [["a", "b"]] * 101}), "1 to 100"),
        ('{"metrics": [["a", "b"]], "width": 5000}', "“width” is 5000"),
        ('{"metrics": [["a", "b"]], "height": "tall"}', "“height” is tall"),
        ('{"metrics": [["a", "b"]], "height": true}', "“height” is True"),
        ('{"metrics": [["a", NaN]]}', "It is no JSON"),
        ('{"metrics": [["a", "\\u0000"]]}', "character that is none"),
        ('{"widgets": []}', "a whole dashboard"),
        ("[" * 10_000, "nested too deeply"),
        ('{"metrics": [["' + "x" * 20_000 + '"]]}', "20000"),
    ],
)
def test_a_widget_that_is_none_is_refused_in_words(graph, component, marta, widget, words):
    form = {**FORM, "component": component.pk, "account": graph.account.pk, "widget": widget}
    response = make.client(marta).post("/admin/incidents/metricgraph/add/", form)
    assert response.status_code == 200
    assert words in str(response.context["adminform"].form.errors["widget"])
    assert MetricGraph.objects.count() == 1


# ── Customers ──


@pytest.fixture
def shown(graph, component, marta, anna, watch):
    """An incident that customers know of, with a graph that they may see: the incident."""
    MetricGraph.objects.update(public=True)
    incident = make.incident(marta, component)
    make.published(incident.updates.get(), anna)
    tasks.sweep_cloudwatch()
    return incident


def front(client) -> str:
    return client.get("/").content.decode()


def test_customers_see_it_as_a_file_of_ours_with_its_time(client, shown):
    image = MetricImage.objects.get()
    for html in (front(client), client.get(f"/incidents/{shown.uid}/").content.decode()):
        assert f'src="/pictures/{image.filename}"' in html
        assert "Errors, as of" in " ".join(html.split())
        assert "amazonaws" not in html
    response = client.get(f"/pictures/{image.filename}")
    assert (response.status_code, response["Content-Type"]) == (200, "image/png")
    assert client.get(f"/pictures/{image.sha256}.jpg").status_code == 404


def test_what_is_not_ticked_is_never_shown(client, shown):
    MetricGraph.objects.update(public=False)
    image = MetricImage.objects.get()
    assert image.filename not in front(client)
    assert client.get(f"/pictures/{image.filename}").status_code == 404


@pytest.mark.parametrize("changes", [{"enabled": False}])
def test_what_is_off_is_not_shown(client, shown, changes):
    MetricGraph.objects.update(**changes)
    assert MetricImage.objects.get().filename not in front(client)
    assert client.get(f"/pictures/{MetricImage.objects.get().filename}").status_code == 404


def test_what_was_drawn_before_the_incident_or_long_ago_is_not_shown(client, shown):
    image = MetricImage.objects.get()
    MetricImage.objects.update(taken_at=shown.declared_at - timedelta(seconds=1))
    assert image.filename not in front(client)
    type(shown).objects.update(declared_at=timezone.now() - timedelta(hours=5))
    MetricImage.objects.update(taken_at=timezone.now() - timedelta(hours=2))
    assert image.filename not in front(client)
    MetricImage.objects.update(taken_at=timezone.now())
    assert image.filename in front(client)


def test_it_goes_when_the_incident_is_over(client, shown, marta, anna):
    make.published(declaring.start_draft(shown, marta, "resolved"), anna)
    assert MetricImage.objects.get().filename not in client.get(f"/incidents/{shown.uid}/").content.decode()


def test_a_private_component_shows_it_to_its_readers_alone(client, shown, component):
    Component.objects.update(private=True)
    assert MetricImage.objects.get().filename not in front(client)


def test_the_page_from_memory_and_the_static_copy_carry_it(shown, watch, tmp_path: Path):
    image = MetricImage.objects.get()
    taken = snapshot.take()
    assert taken.pictures[image.filename] == bytes(image.content)
    snapshot.save(taken, tmp_path)
    assert (tmp_path / "pictures" / image.filename).read_bytes()[:4] == b"\x89PNG"


def test_the_page_from_memory_follows_each_new_picture(shown, graph, watch):
    before = version()
    due_now()
    tasks.sweep_cloudwatch()
    after = version()
    assert after != before
    MetricGraph.objects.update(public=False)
    assert version() != after


def test_pictures_that_no_page_shows_leave_the_disk_after_a_while(tmp_path: Path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("shown.png", "old.png"):
        (folder / name).write_bytes(b"x")
    now = (folder / "old.png").stat().st_mtime
    live._forget_pictures(tmp_path, {"shown.png"}, now + 60)
    assert len(list(folder.iterdir())) == 2
    live._forget_pictures(tmp_path, {"shown.png"}, now + live.LINGER + 1)
    assert [one.name for one in folder.iterdir()] == ["shown.png"]


def test_the_page_costs_the_same_for_one_graph_and_for_many(client, shown, graph, django_assert_max_num_queries):
    found = []
    for n in range(2):
        with django_assert_max_num_queries(20) as captured:
            front(client)
        found.append(len(captured))
        for m in range(3):
            one = MetricGraph.objects.create(
                title=f"g{n}{m}", component=graph.component, account=graph.account, widget=WIDGET, public=True
            )
            assert graphs.fetch(one) == ""
    assert found[0] == found[1]


# ── Shared dashboards ──

LINK = "https://cloudwatch.amazonaws.com/dashboard.html?dashboard=Customers&context=abc"


def test_a_shared_dashboard_is_kept_only_by_who_knows_what_it_gives_away(client, component, marta, shown):
    staff = make.client(marta)
    add = "/admin/incidents/dashboardlink/add/"
    form = {"title": "All of payments", "component": component.pk, "url": LINK}
    response = staff.post(add, form)
    assert "tick this to save" in str(response.context["adminform"].form.errors["understood"])
    assert "can query all metrics of the AWS account" in response.content.decode()
    assert not DashboardLink.objects.exists()
    assert staff.post(add, {**form, "understood": "on"}).status_code == 302
    assert LINK.replace("&", "&amp;") in staff.get(change(shown)).content.decode()
    assert "All of payments" not in front(client)
    before = version()
    DashboardLink.objects.update(public=True)
    assert version() != before
    assert "All of payments" in front(client)


@pytest.mark.parametrize(
    "url",
    [
        "http://cloudwatch.amazonaws.com/dashboard.html",
        "https://evil.example.com/dashboard.html",
        "https://amazonaws.com.evil.example/",
        "https://notamazonaws.com/",
        "https://user@cloudwatch.amazonaws.com/",
        "javascript:alert(1)",
    ],
)
def test_another_address_is_refused(component, marta, url):
    form = {"title": "x", "component": component.pk, "url": url, "understood": "on"}
    response = make.client(marta).post("/admin/incidents/dashboardlink/add/", form)
    assert response.status_code == 200
    assert "url" in response.context["adminform"].form.errors
    assert not DashboardLink.objects.exists()


# ── Measures ──


def test_the_measures_say_what_is_promised_and_what_waits(component, marta, anna):
    make.plan(make.channel())
    make.recipients(4, component)
    assert set(measuring.measure().values()) == {0}
    incident = make.incident(marta, component)
    make.published(incident.updates.get(), anna)
    type(incident).objects.update(next_update_at=timezone.now() - timedelta(minutes=7, seconds=30))
    tasks.sweep()
    found = measuring.measure()
    assert (found["OpenIncidents"], found["MinutesOverdue"], found["MessagesWaiting"]) == (1, 7, 4)
    make.deliver()
    Delivery.objects.filter(pk=Delivery.objects.first().pk).update(status="failed")
    found = measuring.measure()
    assert (found["MessagesWaiting"], found["MessagesFailed"], found["OldestMessageSeconds"]) == (0, 1, 0)
    Delivery.objects.update(at=timezone.now() - timedelta(minutes=6))
    assert measuring.measure()["MessagesFailed"] == 0


def test_they_are_put_once_a_minute_where_they_are_wanted(make_account, watch, settings):
    settings.PORTAL_URL = "https://status.example.com"
    make_account(name="Quiet")
    make_account(name="Loud", sends_measures=True, namespace="Status/Page")
    tasks.sweep_cloudwatch()
    tasks.sweep_cloudwatch()
    [asked] = watch.params("PutMetricData")
    assert asked["Namespace"] == "Status/Page"
    assert {one["MetricName"] for one in asked["MetricData"]} == set(measuring.MEASURES)
    assert asked["MetricData"][0]["Dimensions"] == [{"Name": "Portal", "Value": "status.example.com"}]
    AwsAccount.objects.update(measured_at=timezone.now() - timedelta(seconds=61))
    tasks.sweep_cloudwatch()
    assert len(watch.params("PutMetricData")) == 2


def test_measures_that_are_refused_are_told_and_lost(make_account, watch):
    account = make_account(sends_measures=True)
    watch.script("PutMetricData", Fault("AccessDenied", "no policy", 403))
    tasks.sweep_cloudwatch()
    account.refresh_from_db()
    assert "lack the permission cloudwatch:PutMetricData" in account.trouble
    assert account.health == "unchecked"


def test_measuring_takes_the_same_queries_for_one_and_for_many(component, marta, django_assert_num_queries):
    for _time in range(3):
        make.incident(marta, component)
        with django_assert_num_queries(3):
            measuring.measure()


# ── The dashboard ──


def test_the_dashboard_is_shown_first_and_written_by_post(make_account, watch, settings):
    settings.PORTAL_URL = "https://status.example.com"
    boss = make.client(User.objects.create_superuser("boss"))
    account = make_account(namespace="Status/Page", dashboard="Customers")
    page = reverse("admin:incidents_awsaccount_dashboard", args=[account.pk])
    html = boss.get(page).content.decode()
    assert "If there is one of this name, it is replaced." in html
    assert "The measures are not sent at the moment" in html
    assert watch.calls == []
    remark = {"DataPath": "/widgets/0", "Message": "Odd, but taken"}
    watch.answers["PutDashboard"] = {"DashboardValidationMessages": [remark]}
    html = boss.post(page, follow=True).content.decode()
    assert "The dashboard is written." in html
    assert "Odd, but taken" in html
    [asked] = watch.params("PutDashboard")
    assert asked["DashboardName"] == "Customers"
    body = json.loads(asked["DashboardBody"])
    metrics = [one["properties"]["metrics"][0] for one in body["widgets"] if one["type"] == "metric"]
    assert metrics[0] == ["Status/Page", "OpenIncidents", "Portal", "status.example.com"]
    assert len(metrics) == len(measuring.MEASURES)
    watch.script("PutDashboard", Fault("DashboardInvalidInputError", "no such view"))
    response = boss.post(page)
    assert response.status_code == 422
    assert "no such view" in response.content.decode()


def test_only_an_administrator_writes_it(make_account, watch, marta):
    page = reverse("admin:incidents_awsaccount_dashboard", args=[make_account().pk])
    assert make.client(marta).post(page).status_code == 403
    assert watch.calls == []
