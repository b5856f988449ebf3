import copy
import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils.dateparse import parse_datetime

from incidents import declaring
from incidents.models import Component, ComponentGroup, Incident, IncidentComponent, IncidentUpdate
from incidents.models.incident import component_states
from incidents.statuspage import api
from tests import make

pytestmark = pytest.mark.django_db
LINE: dict[str, Any] = {
    "id": "9632825",
    "title": "Incident with <Codespaces>",
    "url": "https://status.example.org/incidents/5jfkz8q1mlql",
    "started_at": "2022-03-26T01:43:00Z",
    "resolved_at": "2022-03-26T03:35:00Z",
    "impact": "minor",
    "components": ["Codespaces", "Actions"],
    "updates": [
        {"at": "2022-03-26T01:43:00Z", "status": "Investigating", "message": "We investigate <1% of errors."},
        {"at": "2022-03-26T02:20:00Z", "status": "Update", "message": "Still looking & trying."},
        {"at": "2022-03-26T02:20:00Z", "status": "Monitoring", "message": "A fix is in place."},
        {"at": "2022-03-26T03:00:00Z", "status": "Update", "message": "It holds."},
        {"at": "2022-03-26T03:35:00Z", "status": "Resolved", "message": "This incident has been resolved."},
    ],
}
DOCUMENT: dict[str, Any] = {
    "page": {"id": "kctbh9vrtdwd", "name": "Example", "url": "https://status.example.org"},
    "incidents": [
        {
            "id": "p31zjtct2jer",
            "name": "Checkout is slow",
            "status": "identified",
            "created_at": "2026-08-01T10:00:00.000Z",
            "updated_at": "2026-08-01T10:20:00.000Z",
            "monitoring_at": None,
            "resolved_at": None,
            "impact": "major",
            "shortlink": "https://stspg.example/x",
            "started_at": "2026-08-01T09:55:00.000+02:00",
            "incident_updates": [
                {
                    "id": "b",
                    "status": "identified",
                    "body": "Found it.",
                    "display_at": "2026-08-01T10:20:00Z",
                    "affected_components": [{"code": "c", "name": "Checkout", "new_status": "major_outage"}],
                },
                {"id": "a", "status": "investigating", "body": "Looking.", "created_at": "2026-08-01T10:00:00Z"},
            ],
            "components": [{"id": "c", "name": "Checkout", "status": "major_outage"}],
        }
    ],
}


@pytest.fixture
def write(tmp_path):
    def write(*lines: Any, name: str = "history.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
        return path

    return write


def load(path: Path, **options: Any) -> str:
    out = StringIO()
    call_command("import_history", str(path), stdout=out, **options)
    return out.getvalue()


def refused(path: Path) -> str:
    """What the command says when it refuses the file; nothing may have been stored."""
    with pytest.raises(CommandError) as caught:
        load(path)
    assert not Incident.objects.exists()
    assert not Component.objects.exists()
    return str(caught.value)


def shared(name: str) -> Path:
    path = Path(os.environ.get("SHARED_DATA", settings.BASE_DIR.parent / "shared/data")) / name
    if not path.exists():
        pytest.skip(f"{name} is not here: set SHARED_DATA to its folder")
    return path


# ── The real archive ──


def test_the_real_archive_imports_whole_and_only_once(client, django_assert_max_num_queries):
    path = shared("github-incidents-2022-2026.jsonl")
    assert "819 new, 0 changed, 0 unchanged; 4570 updates" in load(path)
    assert Incident.objects.public().count() == 819
    assert IncidentUpdate.objects.count() == 4570
    ids = set(IncidentUpdate.objects.values_list("pk", flat=True))
    assert "0 new, 0 changed, 819 unchanged; 0 updates" in load(path)
    assert set(IncidentUpdate.objects.values_list("pk", flat=True)) == ids
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    stored = {one.imported_from: one for one in Incident.objects.prefetch_related("updates", "components")}
    for row in rows:
        one = stored[row["url"].removeprefix("https://").replace("/incidents/", "/")]
        assert one.uid == row["url"].rsplit("/", 1)[1]
        assert one.title == row["title"].strip()
        assert one.impact == row["impact"]
        assert one.started_at == parse_datetime(row["started_at"])
        assert one.resolved_at == parse_datetime(row["resolved_at"])
        assert one.declared_at == parse_datetime(row["updates"][0]["at"])
        assert one.updated_at == parse_datetime(row["updates"][-1]["at"])
        assert sorted(c.name for c in one.components.all()) == sorted(row.get("components", []))
        said = sorted(one.updates.all(), key=lambda update: update.number)
        assert [update.page["en"]["text"] for update in said] == [u["message"].strip() for u in row["updates"]]
        assert [update.published_at for update in said] == [parse_datetime(u["at"]) for u in row["updates"]]
    assert component_states() == {}
    one = Incident.objects.first()
    assert one is not None
    addresses = ["/", "/history/", "/history/20/", f"/incidents/{one.uid}/", "/history.atom", "/history.rss"]
    for address in addresses + [f"/api/v2/{name}.json" for name in api.DOCUMENTS]:
        with django_assert_max_num_queries(6):
            assert client.get(address).status_code == 200
    assert len(client.get("/api/v2/incidents.json").json()["incidents"]) == 50


def test_the_real_summary_brings_its_components(client):
    path = shared("statuspage-summary-github.json")
    load(path)
    load(path)
    real = [one for one in json.loads(path.read_text())["components"] if one["showcase"]]
    found = client.get("/api/v2/components.json").json()["components"]
    assert [one["id"] for one in found] == [one["id"] for one in real]
    for one, other in zip(found, real, strict=True):
        for key in ("name", "description", "position", "status"):
            assert one[key] == other[key]
        assert parse_datetime(one["updated_at"]) == parse_datetime(other["updated_at"])


# ── What becomes of a line ──


def test_an_update_keeps_the_stage_before_it(write):
    load(write(LINE))
    stages = list(IncidentUpdate.objects.order_by("number").values_list("stage", flat=True))
    assert stages == ["investigating", "investigating", "monitoring", "monitoring", "resolved"]
    one = Incident.objects.get()
    assert one.stage == "resolved"
    assert one.monitoring_at == parse_datetime("2022-03-26T02:20:00Z")


def test_text_is_escaped_and_never_markup(write, client):
    load(write(LINE))
    page = client.get("/incidents/5jfkz8q1mlql/").content.decode()
    assert "We investigate &lt;1% of errors." in page
    assert "Incident with &lt;Codespaces&gt;" in page


def test_an_open_incident_stays_open(write, client):
    line = {**LINE, "resolved_at": None, "updates": LINE["updates"][:3]}
    load(write(line))
    assert Incident.objects.get().stage == "monitoring"
    assert set(component_states().values()) == {"degraded_performance"}
    assert client.get("/api/v2/status.json").json()["status"]["indicator"] == "minor"


def test_maintenance_is_maintenance(write, client):
    updates = [
        {"at": "2022-03-25T17:35:00Z", "status": "Scheduled", "message": "We will."},
        {"at": "2022-03-28T12:01:00Z", "status": "In progress", "message": "We do."},
        {"at": "2022-03-28T15:02:00Z", "status": "Completed", "message": "We did."},
    ]
    times = {"started_at": updates[0]["at"], "resolved_at": updates[-1]["at"]}
    line = {**LINE, **times, "impact": "maintenance", "updates": updates}
    load(write(line))
    assert client.get("/api/v2/incidents.json").json()["incidents"] == []
    (one,) = client.get("/api/v2/scheduled-maintenances.json").json()["scheduled_maintenances"]
    assert one["status"] == "completed"
    assert parse_datetime(one["scheduled_for"]) == parse_datetime("2022-03-28T12:01:00Z")


@pytest.mark.parametrize(("impact", "severity"), [("critical", "sev1"), ("major", "sev2"), ("none", "sev4")])
def test_impact_becomes_severity(write, impact, severity):
    load(write({**LINE, "impact": impact}))
    assert Incident.objects.get().severity == severity


def test_known_components_are_used_and_others_made(write):
    own = make.component("codespaces")
    load(write({**LINE, "components": ["Codespaces", "Visit www"]}))
    assert set(Incident.objects.get().components.values_list("name", "showcase")) == {
        (own.name, True),
        ("Visit www", False),
    }


def test_what_a_line_leaves_out_is_not_needed(write):
    line = {key: LINE[key] for key in ("id", "title", "started_at", "updates")}
    load(write(line))
    one = Incident.objects.get()
    assert (one.imported_from, one.impact, one.components.count()) == ("archive/9632825", "none", 0)
    assert one.resolved_at == parse_datetime("2022-03-26T03:35:00Z")


def test_the_last_of_two_lines_about_one_incident_counts(write):
    load(write(LINE, {**LINE, "title": "Corrected title"}))
    assert Incident.objects.get().title == "Corrected title"


def test_both_forms_of_one_incident_are_one(write):
    document = copy.deepcopy(DOCUMENT)
    document["incidents"][0]["id"] = "5jfkz8q1mlql"
    load(write(LINE))
    assert "0 new, 1 changed" in load(write(document, name="incidents.json"))


# ── Statuspage documents ──


def test_a_statuspage_document_is_imported(write, client):
    load(write(DOCUMENT, name="incidents.json"))
    (found,) = client.get("/api/v2/incidents/unresolved.json").json()["incidents"]
    assert (found["id"], found["name"], found["impact"]) == ("p31zjtct2jer", "Checkout is slow", "major")
    assert parse_datetime(found["started_at"]) == parse_datetime("2026-08-01T07:55:00Z")
    assert parse_datetime(found["updated_at"]) == parse_datetime("2026-08-01T10:20:00Z")
    assert [update["body"] for update in found["incident_updates"]] == ["Found it.", "Looking."]
    assert found["incident_updates"][0]["affected_components"][0]["new_status"] == "major_outage"
    assert [component["status"] for component in found["components"]] == ["major_outage"]


def test_what_the_portal_publishes_it_can_import(write, client):
    make.plan(make.channel())
    make.recipients(1)
    make.published(make.incident(None, make.component("Checkout"), make.component("Cart", "Shop")).updates.get())
    summary = client.get("/api/v2/summary.json").json()
    summary["page"]["url"] = "https://elsewhere.example"
    assert "1 new" in load(write(summary, name="summary.json"))
    assert Component.objects.count() == 2
    assert ComponentGroup.objects.count() == 2
    copies = client.get("/api/v2/incidents.json").json()["incidents"]
    assert copies[0]["incident_updates"][0]["body"] == copies[1]["incident_updates"][0]["body"]


# ── Again ──


def test_what_the_source_added_or_corrected_is_brought_up_to_date(write, client):
    open_line = {**LINE, "resolved_at": None, "updates": LINE["updates"][:3]}
    load(write(open_line))
    before = {u["body"]: u["id"] for u in _updates(client)}
    changed = copy.deepcopy(LINE)
    changed["updates"][1]["message"] = "Corrected words."
    assert "0 new, 1 changed, 0 unchanged; 5 updates" in load(write(changed))
    after = {u["body"]: u["id"] for u in _updates(client)}
    assert len(after) == 5
    assert after["A fix is in place."] == before["A fix is in place."]
    assert after["Corrected words."] == before["Still looking & trying."]
    assert Incident.objects.get().stage == "resolved"
    assert component_states() == {}


def _updates(client) -> list[dict]:
    return client.get("/api/v2/incidents.json").json()["incidents"][0]["incident_updates"]


def test_words_published_here_stand_when_the_source_is_imported_again(write):
    load(write({**LINE, "resolved_at": None, "updates": LINE["updates"][:3]}))
    make.plan(make.channel())
    make.recipients(1)
    incident = Incident.objects.get()
    draft = declaring.start_draft(incident, make.incident_manager(), "identified")
    own = make.published(draft.edit(draft.author, draft.version, words={"en": make.WORDS}))
    load(write(LINE))
    incident.refresh_from_db()
    assert incident.stage == "identified"
    assert IncidentUpdate.objects.get(pk=own.pk).number == 4
    assert list(incident.updates.order_by("number").values_list("number", flat=True)) == [1, 2, 3, 4, 5, 6]


def test_a_dry_run_keeps_nothing(write):
    assert "It would be: 1 new" in load(write(LINE), dry_run=True)
    assert not Incident.objects.exists()
    assert not Component.objects.exists()


def test_the_texts_may_be_italian(write, client):
    load(write(LINE), language="it")
    assert '<div lang="it">' in client.get("/incidents/5jfkz8q1mlql/?lang=en").content.decode()


# ── Refused whole ──


def _without(key: str) -> dict[str, Any]:
    return {name: value for name, value in LINE.items() if name != key}


def _update(**changes: Any) -> dict[str, Any]:
    line = copy.deepcopy(LINE)
    line["updates"][1] |= changes
    return line


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ('{"id": "1", "title": \n', "this is not JSON"),
        ("[1, 2]\n", "not a JSON object"),
        (_without("title"), "“title” is missing"),
        (_without("updates"), "“updates” is missing"),
        (_without("started_at"), "“started_at” is missing"),
        ({**LINE, "title": "  "}, "“title” is empty"),
        ({**LINE, "title": "x" * 201}, "201 characters; the limit is 200"),
        ({**LINE, "title": 5}, "“title” is not a text"),
        ({**LINE, "title": "nul \0"}, "a character that is not text"),
        ({**LINE, "title": "half \ud800"}, "a character that is not text"),
        ({**LINE, "updates": {}}, "“updates” is not a list"),
        ({**LINE, "updates": []}, "has no update"),
        ({**LINE, "updates": [3]}, "updates[0] is not a JSON object"),
        ({**LINE, "impact": "awful"}, "“impact” is “awful”; known are: critical, major"),
        ({**LINE, "components": "Actions"}, "“components” is not a list"),
        ({**LINE, "components": [None]}, "“components” must be a list of names"),
        ({**LINE, "started_at": "yesterday"}, "“started_at” is not a time: “yesterday”"),
        ({**LINE, "started_at": "2022-02-30T00:00:00Z"}, "“started_at” is not a time"),
        ({**LINE, "started_at": "2022-03-26T01:43:00"}, "has no offset"),
        ({**LINE, "started_at": "0001-01-01T00:00:00Z"}, "out of range"),
        ({**LINE, "resolved_at": "2022-03-25T00:00:00Z"}, "“resolved_at” is before “started_at”"),
        (_update(at="soon"), "“updates[1].at” is not a time"),
        (_update(status="Frobnicated"), "“updates[1].status” is “Frobnicated”; known are: investigating"),
        (_update(message=""), "“updates[1].message” is empty"),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_imported(write, bad, says):
    message = refused(write(LINE, "\n", bad, {**LINE, "id": "2", "url": "https://x.example/incidents/other"}))
    assert "Line 3: " in message
    assert says in message


def test_every_bad_line_is_named(write):
    message = refused(write(_without("title"), LINE, {**LINE, "impact": "awful"}))
    assert "Line 1: “title” is missing" in message
    assert "Line 3: “impact”" in message


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    path = tmp_path / "latin1.jsonl"
    path.write_bytes(json.dumps(LINE).encode() + b'\n{"title": "caff\xe8"}\n')
    assert "Line 2: byte 0xe8 is not UTF-8" in refused(path)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(write, content):
    assert "the file is empty" in refused(write(content))


def test_a_missing_file_is_one_clear_line(tmp_path):
    assert "cannot be read: No such file" in refused(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one: one.pop("name"), "“incidents[0].name” is missing"),
        (lambda one: one.update(status="on fire"), "“incidents[0].status” is “on fire”"),
        (lambda one: one["incident_updates"][1].update(created_at="never"), "incident_updates[1].created_at"),
        (lambda one: one["components"][0].update(status="odd"), "“incidents[0].components[0].status” is “odd”"),
    ],
)
def test_a_malformed_document_is_named_by_line(write, change, says):
    document = copy.deepcopy(DOCUMENT)
    change(document["incidents"][0])
    text = json.dumps(document, indent=2)
    line = text[: text.index('"p31zjtct2jer"')].count("\n")  # the brace above its id
    message = refused(write(text, name="incidents.json"))
    assert f"Line {line}: " in message
    assert says in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{\n"page": {},\n"incidents": [\n', "Line 4: this is not JSON"),
        ('{"page": {}, "things": []}', "neither “incidents” nor"),
        ('{"page": {}, "incidents": {}}', "“incidents” is not a list"),
        ('{"page": 3, "incidents": []}', "page is not a JSON object"),
        ('{"page": {}, "incidents": [7]}', "incidents[0] is not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ("not json at all", "Line 1: this is not JSON"),
    ],
)
def test_a_document_of_another_kind_is_refused(write, text, says):
    assert says in refused(write(text, name="x.json"))


def test_the_states_of_an_import_are_rows_once(write):
    load(write(LINE))
    load(write(LINE))
    assert IncidentComponent.objects.count() == 2
