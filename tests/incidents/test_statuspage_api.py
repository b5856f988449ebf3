import json
import os
from datetime import datetime
from pathlib import Path

import pytest
from django.conf import settings

from incidents.models import Component, Incident, IncidentUpdate
from incidents.statuspage import api
from tests import make

from .test_statuspage import newsroom, say, spread, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
ADDRESSES = [f"/api/v2/{name}.json" for name in api.DOCUMENTS]
UPDATE = {
    "id": str,
    "status": str,
    "body": str,
    "incident_id": str,
    "created_at": str,
    "updated_at": str,
    "display_at": str,
    "affected_components": list,
    "deliver_notifications": bool,
    "custom_tweet": type(None),
    "tweet_id": type(None),
}
INCIDENT = {
    "id": str,
    "name": str,
    "status": str,
    "created_at": str,
    "updated_at": str,
    "monitoring_at": (str, type(None)),
    "resolved_at": (str, type(None)),
    "impact": str,
    "shortlink": str,
    "started_at": str,
    "page_id": str,
    "incident_updates": list,
    "components": list,
}


@pytest.fixture(scope="module")
def world(shared_world: Path) -> None:
    newsroom()


def get(client, name: str) -> dict:
    return client.get(f"/api/v2/{name}.json").json()


def has_shape(found: dict, shape: dict) -> bool:
    return set(found) == set(shape) and all(isinstance(found[key], kind) for key, kind in shape.items())


def maintenance(stage: str, **facts) -> Incident:
    """Maintenance that customers were told of."""
    at = datetime.fromisoformat("2026-11-20T10:00:00+00:00")
    one = Incident.objects.create(
        title=f"Maintenance {stage}",
        maintenance=True,
        severity="sev4",
        stage=stage,
        published_at=at,
        imported_from=f"archive:{Incident.objects.count()}",
        **facts,
    )
    IncidentUpdate.objects.create(
        incident=one,
        number=1,
        stage=stage,
        status="published",
        imported=True,
        published_at=at,
        manifest={"page": {"en": {"subject": "", "text": "Planned.", "html": "<p>Planned.</p>"}}},
    )
    return one


def test_an_empty_portal_answers_every_document_with_lists_not_null(client):
    for address in ADDRESSES:
        found = client.get(address).json()
        assert found["page"]["name"] == settings.PORTAL_NAME
        assert all(value == [] for key, value in found.items() if key not in ("page", "status")), address
    assert get(client, "status")["status"] == {"indicator": "none", "description": "All systems operational"}


def test_it_has_the_fields_of_a_real_summary(client):
    path = Path(os.environ.get("SHARED_DATA", settings.BASE_DIR.parent / "shared/data"))
    path /= "statuspage-summary-github.json"
    if not path.exists():
        pytest.skip("statuspage-summary-github.json is not here: set SHARED_DATA to its folder")
    real = json.loads(path.read_text())
    told(make.component("Checkout"))
    found = get(client, "summary")
    assert set(found) == set(real)
    assert {k: type(v) for k, v in found["page"].items()} == {k: type(v) for k, v in real["page"].items()}
    assert {k: type(v) for k, v in found["status"].items()} == {k: type(v) for k, v in real["status"].items()}
    group, component = found["components"]
    assert set(component) == set(real["components"][0])
    assert set(group) == {*real["components"][0], "components"}
    for key, value in real["components"][0].items():
        if value is not None and component[key] is not None:
            assert type(component[key]) is type(value), key


def test_incidents_and_updates_have_their_shape(client):
    one, other = make.component("Checkout"), make.component("Search")
    incident = told(one, other)
    say(incident, "identified", component_states={str(one.pk): "major_outage", str(other.pk): "operational"})
    found = get(client, "incidents/unresolved")["incidents"]
    assert len(found) == 1
    assert has_shape(found[0], INCIDENT)
    assert all(has_shape(update, UPDATE) for update in found[0]["incident_updates"])
    assert [u["status"] for u in found[0]["incident_updates"]] == ["identified", "investigating"]
    changes = {
        c["name"]: (c["old_status"], c["new_status"]) for c in found[0]["incident_updates"][0]["affected_components"]
    }
    assert changes == {"Checkout": ("partial_outage", "major_outage"), "Search": ("partial_outage", "operational")}
    for key in ("created_at", "updated_at", "started_at"):
        assert datetime.fromisoformat(found[0][key]).utcoffset() is not None
    assert found[0]["shortlink"] == f"{settings.PORTAL_URL}/incidents/{incident.uid}/"


def test_the_body_is_what_the_page_says_in_the_default_language(client):
    incident = told(make.component("Checkout"))
    update = incident.updates.get()
    headers = {"accept-language": "it"}
    body = client.get("/api/v2/incidents.json", headers=headers).json()["incidents"][0]["incident_updates"][0]["body"]
    assert body == update.page["en"]["text"]


def test_the_page_and_the_api_state_the_same_facts(client):
    told(make.component("Checkout"), state="major_outage", severity="sev1")
    told(make.component("Search", "Shop"), state="degraded_performance", severity="sev3", title="Slow search")
    make.component("Accounts", "Shop")
    page = client.get("/").content.decode()
    found = get(client, "summary")
    assert f">{found['status']['description']}</h1>".replace(">", "</span>", 1) in page
    assert found["status"]["indicator"] == "critical"
    assert get(client, "status")["status"] == found["status"]
    assert get(client, "components")["components"] == found["components"]
    assert get(client, "incidents/unresolved")["incidents"] == found["incidents"]
    labels = {"operational": "Operational", "major_outage": "Major outage", "degraded_performance": "Degraded"}
    for component in found["components"]:
        if not component["group"]:
            row = page[page.index(f'<span class="cp-component">{component["name"]}') :]
            assert labels[component["status"]] in row[: row.index("</li>")]
    for incident in found["incidents"]:
        assert incident["name"] in page
        assert incident["shortlink"].removeprefix(settings.PORTAL_URL) in page
        assert datetime.fromisoformat(incident["started_at"]).isoformat(timespec="seconds") in page


def test_a_group_is_a_component_with_children_and_their_worst_state(client):
    broken, fine = make.component("Checkout"), make.component("Wallet")
    told(broken, state="major_outage")
    group, *children = get(client, "components")["components"]
    assert group["group"] is True
    assert group["status"] == "major_outage"
    assert set(group["components"]) == {broken.uid, fine.uid}
    assert {c["group_id"] for c in children} == {group["id"]}


@pytest.mark.parametrize(
    ("state", "severity", "indicator"),
    [
        ("operational", "sev1", "minor"),
        ("degraded_performance", "sev1", "minor"),
        ("partial_outage", "sev3", "major"),
        ("major_outage", "sev2", "critical"),
        ("under_maintenance", "sev4", "none"),
    ],
)
def test_the_indicator_follows_the_components(client, state, severity, indicator):
    told(make.component("Checkout"), state=state, severity=severity)
    assert get(client, "status")["status"]["indicator"] == indicator


def test_maintenance_is_listed_apart_by_its_stage(client):
    for stage in ("scheduled", "in_progress", "verifying", "completed"):
        maintenance(stage)
    told(make.component("Checkout"))

    def names(document: str) -> set[str]:
        return {one["status"] for one in get(client, document)["scheduled_maintenances"]}

    assert names("scheduled-maintenances") == {"scheduled", "in_progress", "verifying", "completed"}
    assert names("scheduled-maintenances/upcoming") == {"scheduled"}
    assert names("scheduled-maintenances/active") == {"in_progress", "verifying"}
    assert names("summary") == {"scheduled", "in_progress", "verifying"}
    assert [one["impact"] for one in get(client, "incidents")["incidents"]] == ["major"]
    one = get(client, "scheduled-maintenances/upcoming")["scheduled_maintenances"][0]
    assert has_shape(one, {**INCIDENT, "scheduled_for": str, "scheduled_until": str})


def test_anybody_anywhere_may_read_it(client):
    for address in ADDRESSES:
        response = client.get(address, headers={"origin": "https://elsewhere.example"})
        assert response["Access-Control-Allow-Origin"] == "*"
        assert "max-age" in response["Cache-Control"]
        assert client.head(address).status_code == 200
    assert client.options(ADDRESSES[0])["Access-Control-Allow-Origin"] == "*"
    assert client.get("/api/v2/secrets.json").status_code == 404


def test_identifiers_stay_the_same(client, settings):
    told(make.component("Checkout"))
    first, again = get(client, "summary"), get(client, "summary")
    assert first == again
    assert len(first["page"]["id"]) == 12
    settings.PORTAL_URL = "https://status.example.com"
    assert get(client, "summary")["page"]["id"] != first["page"]["id"]


def test_the_number_of_queries_does_not_grow(unguarded, client, django_assert_num_queries):
    # Board 2, incidents 3, time of the last change 1.
    expected = {"components": 3}
    incident = told(make.component("Checkout"))
    for name in api.DOCUMENTS:
        with django_assert_num_queries(expected.get(name, 6 if "scheduled" not in name else 4)):
            get(client, name)
    say(incident, "monitoring")
    incident.refresh_from_db()
    spread(incident, *(make.component(f"More {i}", f"Group {i}") for i in range(3)))
    for stage in ("scheduled", "in_progress"):
        maintenance(stage)
        maintenance(stage)
    for name in api.DOCUMENTS:
        with django_assert_num_queries(expected.get(name, 6)):
            get(client, name)
    assert Component.objects.count() == 4
