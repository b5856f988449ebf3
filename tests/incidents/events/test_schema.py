"""docs/reference/events.schema.json is a promise to other systems: every event keeps it, and nothing more is in it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]

from incidents import declaring
from incidents.events import recording, scope
from incidents.models import ComponentStatus, EventType, OutgoingEvent, PromiseBreach, RunbookRun, Severity, Stage
from incidents.runbooks import running
from tests import make
from tests.incidents.test_runbooks import runbook

REFERENCE = Path(__file__).parents[3] / "docs/reference"
SCHEMA = json.loads((REFERENCE / "events.schema.json").read_text())
DATA = SCHEMA["properties"]["data"]["properties"]


def closed(schema: Any) -> Any:
    """The schema that knows no other fields than those it names."""
    if isinstance(schema, dict):
        found = {key: closed(value) for key, value in schema.items()}
        return {"additionalProperties": False, **found} if "properties" in schema else found
    return [closed(one) for one in schema] if isinstance(schema, list) else schema


def check(event: Any) -> None:
    Draft202012Validator(closed(SCHEMA), format_checker=Draft202012Validator.FORMAT_CHECKER).validate(event)


@pytest.fixture
def told(db) -> dict[str, Any]:
    """The last event of each kind that a life brings about."""
    anna, marta = make.incident_manager(), make.communications_manager()
    plan = make.plan(make.channel())
    plan.runbooks.add(runbook({"kind": "ask", "items": "Look", "role": "incident_manager"}))
    incident = make.incident(anna, make.component("Card payments"))
    incident.change_severity(anna, "sev1")
    update = incident.updates.get().submit(anna)
    update.reject(marta, "Vague.")
    make.published(update)
    make.published(declaring.start_draft(incident, anna, "resolved"))
    PromiseBreach.objects.create(incident=incident, kind="next", due_at=timezone.now())
    run = RunbookRun.objects.get()
    running.pause(run, anna)
    running.stop(run, anna, "Over.")
    make.incident(anna).dismiss(anna, "A test.")
    recording.collect()
    return {one.type: scope.body(one, None) for one in OutgoingEvent.objects.all()}


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def test_what_happens_keeps_to_it(told):
    assert {one for one in EventType.values if not one.startswith("maintenance.")} == set(told)
    for event in told.values():
        check(json.loads(json.dumps(event)))
    with pytest.raises(ValidationError):
        check({**told["incident.declared"], "title": "Cards fail"})


def test_it_names_what_the_portal_knows():
    assert SCHEMA["properties"]["type"]["enum"] == EventType.values
    assert DATA["severity"]["enum"] == Severity.values
    assert sorted(SCHEMA["$defs"]["stage"]["enum"]) == sorted(Stage.values)
    states = DATA["components"]["items"]["properties"]["status"]["enum"]
    assert sorted(states) == sorted(ComponentStatus.values)


def test_the_example_in_the_words_keeps_to_it():
    [example] = re.findall(r"```json\n(.*?)```", (REFERENCE / "events.md").read_text(), re.S)
    check(json.loads(example))


def test_the_words_name_every_event():
    words = (REFERENCE / "events.md").read_text()
    rows = [line for line in words.splitlines() if line.startswith("| `")]
    for one in EventType.values:
        area, what = one.split(".")
        assert any(f"`{one}`" in row or (f"`{area}." in row and f"`.{what}`" in row) for row in rows), one
