"""docs/reference/event.schema.json is a promise to other people's programs: what is really sent keeps it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from channels.models import Dispatch
from incidents import rendering
from incidents.models import ComponentStatus, Severity, Stage
from incidents.models.words import IMPACT
from tests import make

REFERENCE = Path(__file__).parents[2] / "docs/reference"
SCHEMA = json.loads((REFERENCE / "event.schema.json").read_text())
PARTS = SCHEMA["properties"]


def closed(schema: Any) -> Any:
    """The schema that knows no other fields than those it names, nor leaves one of them out."""
    if isinstance(schema, dict) and "properties" in schema:
        assert set(schema["required"]) == set(schema["properties"])
        schema = {**schema, "additionalProperties": False}
    if isinstance(schema, dict):
        return {key: closed(value) for key, value in schema.items()}
    return schema


def check(event: Any) -> None:
    Draft202012Validator(closed(SCHEMA), format_checker=Draft202012Validator.FORMAT_CHECKER).validate(event)


def event(update, locale="en"):
    words = rendering.final_words(update.renditions.get(locale=locale), update)
    return json.loads(rendering.event(update, words, locale))


@pytest.fixture
def update(db):
    make.plan(make.channel())
    return make.incident(None, make.component("Card payments"), make.component("Checkout")).updates.get()


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("locale", ["en", "it"])
def test_what_a_channel_carries_keeps_to_it(db, locale):
    topic = make.channel(
        "sns_topic", config={"topic_arn": "arn:aws:sns:eu-south-1:123456789012:incidents"}, locales=[locale]
    )
    make.plan(topic)
    make.published(make.incident(None, make.component("Card payments")).updates.get())
    [dispatch] = Dispatch.objects.filter(channel=topic)
    sent = json.loads(dispatch.content["parts"]["json"])
    check(sent)
    assert sent["locale"] == locale
    assert [one["name"] for one in sent["components"]] == ["Card payments"]


def test_known_and_unknown_times_keep_to_it(update):
    check(event(update))
    update.next_update_at = update.expected_resolution_at = timezone.localtime()
    check(event(update))
    update.next_update_at = update.expected_resolution_at = None
    said = event(update)
    check(said)
    assert said["update"]["next_update_at"] is None


def test_an_update_about_no_component_keeps_to_it(update):
    update.component_states = {}
    said = event(update)
    check(said)
    assert said["components"] == []


def test_its_words_are_ours():
    assert PARTS["update"]["properties"]["status"]["enum"] == Stage.values
    assert PARTS["components"]["items"]["properties"]["status"]["enum"] == ComponentStatus.values
    impacts = PARTS["incident"]["properties"]["impact"]["enum"]
    assert set(impacts) == {IMPACT[Severity(one)] for one in Severity.values} | {"maintenance"}


def test_the_page_about_it_has_a_true_example_and_names_every_field():
    page = (REFERENCE / "event.md").read_text()
    check(json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0]))
    told = set(re.findall(r"^\| `([\w.\[\]]+)` \|", page, re.MULTILINE))
    fields = {"version", "type", "locale", "components[]"}
    fields |= {f"{part}.{name}" for part in ("incident", "update") for name in PARTS[part]["properties"]}
    fields |= {f"components[].{name}" for name in PARTS["components"]["items"]["properties"]}
    assert told == fields


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "2"),
        (("incident", "started_at"), "yesterday"),
        (("update", "number"), 0),
        (("update", "status"), "fine"),
        (("update", "outlook"), None),
        (("components", 0, "status"), "broken"),
    ],
)
def test_the_schema_notices_what_is_wrong(update, path, value):
    said = event(update)
    check(said)
    inner = said
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert not Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid(said)
