"""Every operation of the OpenAPI document, asked with what it describes and with what it does not: never a 500.

What is generated follows the document itself, so that a new operation is tried as soon as it is described.
`HOSTILE=all` tries many more.
"""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from commsportal.api import api
from incidents.models import Component, Incident
from tests import hostile, make

from .program import Program
from .world import build, calls, operations

pytestmark = pytest.mark.django_db
DOCUMENT = json.loads(json.dumps(api.get_openapi_schema()))
SCHEMAS = DOCUMENT["components"]["schemas"]
HOSTILE = hostile.strings()[: hostile.PLAIN]
EXAMPLES = 400 if os.environ.get("HOSTILE") == "all" else 40
NUMBERS = [0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1.5, float("nan"), float("inf"), -0.0]
TIMES = ["2026-01-05T10:00:00Z", "2026-01-05T10:00:00+23:59", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00Z"]
TIMES += ["2026-01-05", "2026-W01-1", "24:00", "2026-02-30T00:00:00Z", "2050-01-01T00:00:00Z", ""]
scalar = st.one_of(
    st.none(), st.booleans(), st.sampled_from(NUMBERS), st.integers(), st.sampled_from(HOSTILE), st.sampled_from(TIMES)
)
JUNK = st.recursive(
    scalar,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(HOSTILE), inner, max_size=3)),
)


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return SCHEMAS[schema["$ref"].rsplit("/", 1)[1]]
    return {**schema["allOf"][0], **schema} if "allOf" in schema and "$ref" not in schema["allOf"][0] else schema


def of(schema: dict[str, Any], keys: list[Any], spoilt: bool) -> st.SearchStrategy[Any]:
    """Values that fit a schema; `keys` are ids that there are. `spoilt`: here and there something else."""
    fit = fitting(resolve(schema), keys, spoilt)
    return st.one_of(fit, fit, fit, JUNK) if spoilt else fit


def fitting(schema: dict[str, Any], keys: list[Any], spoilt: bool) -> st.SearchStrategy[Any]:
    if "anyOf" in schema:
        return st.one_of(*(of(one, keys, spoilt) for one in schema["anyOf"]))
    if "allOf" in schema:
        return of(schema["allOf"][0], keys, spoilt)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "string":
        return strings(schema, keys)
    if kind == "integer":
        low, high = schema.get("minimum", -(2**70)), schema.get("maximum", 2**70)
        ids = [one for one in keys if isinstance(one, int)]
        return st.one_of(st.integers(low, high), st.integers(low, min(high, low + 5)), st.sampled_from(ids))
    if kind == "boolean":
        return st.booleans()
    if kind == "null":
        return st.none()
    if kind == "array":
        return st.lists(of(schema["items"], keys, spoilt), max_size=4)
    assert kind == "object", schema
    return objects(schema, keys, spoilt)


def strings(schema: dict[str, Any], keys: list[Any]) -> st.SearchStrategy[str]:
    names = [one for one in keys if isinstance(one, str)]
    if schema.get("format") in ("date-time", "date"):
        length = 25 if schema["format"] == "date-time" else 10
        return st.sampled_from([one[:length] for one in TIMES])
    found = [st.sampled_from([*names, "author", "outage", "Europe/Rome", "zoe@example.com", "support_lead"]), st.text()]
    if schema.get("pattern"):
        found.append(st.from_regex(schema["pattern"], fullmatch=False))
    return st.one_of(*found, st.sampled_from(HOSTILE))


def objects(schema: dict[str, Any], keys: list[Any], spoilt: bool) -> st.SearchStrategy[dict[str, Any]]:
    known = {name: of(one, keys, spoilt) for name, one in schema.get("properties", {}).items()}
    needed = {name: known[name] for name in schema.get("required", [])}
    free = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), None)
    if isinstance(free, dict):
        names = schema.get("propertyNames", {}).get("enum") or [one for one in keys if isinstance(one, str)]
        some = st.one_of(st.sampled_from(names), st.sampled_from(HOSTILE)) if spoilt else st.sampled_from(names)
        return st.dictionaries(some, of(free, keys, spoilt), max_size=3)
    whole = st.fixed_dictionaries(needed, optional={name: one for name, one in known.items() if name not in needed})
    if not spoilt:
        return whole
    extra = st.dictionaries(st.sampled_from([*HOSTILE, *known]), JUNK, max_size=1)
    return st.builds(lambda a, b: a | b, whole, extra)


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@st.composite
def requests(draw: Any, name: str, right: tuple[Any, Any], keys: list[Any]) -> tuple[str, str, bytes, dict[str, str]]:
    """(method, address, body, headers) of one operation: a right call, one that is changed here and there, or none."""
    method, path = operations()[name]
    one = DOCUMENT["paths"][path][method.lower()]
    how = draw(st.sampled_from(["right", "changed", "changed", "fit", "spoilt", "spoilt"]))
    spoilt = how in ("changed", "spoilt")
    query, headers = [], {}
    for parameter in one["parameters"]:
        inside = parameter["in"] == "path"
        if not inside and (how == "right" or draw(st.booleans())):
            continue
        value = text_of(draw(of(parameter["schema"], keys, spoilt))).encode("utf-8", "replace").decode()
        if inside and how in ("right", "changed"):
            value = "support_lead" if parameter["name"] == "role" else str(right[0])
        if inside:
            path = path.replace("{%s}" % parameter["name"], quote(value, safe=""))
        elif parameter["in"] == "query":
            query.append(f"{quote(parameter['name'])}={quote(value, safe='')}")
        else:
            headers[parameter["name"].replace("-", "_")] = value.encode("latin-1", "replace").decode("latin-1")
    if spoilt and draw(st.integers(0, 9)) == 0:
        query.append(quote(draw(st.sampled_from(HOSTILE)).encode("utf-8", "replace")))
    body = b""
    if "requestBody" in one:
        schema = one["requestBody"]["content"]["application/json"]["schema"]
        given = draw(of(schema, keys, spoilt))
        if how == "right":
            given = right[1]
        elif how == "changed" and isinstance(given, dict):
            some = draw(st.lists(st.sampled_from(sorted(given)), max_size=2)) if given else []
            given = right[1] | {part: given[part] for part in some}
        body = json.dumps(given).encode()
        if spoilt and draw(st.integers(0, 9)) == 0:
            body = draw(st.one_of(st.binary(max_size=50), st.just(body[:-1]), st.just(b"[" * 2000)))
    return method, path + ("?" + "&".join(query) if query else ""), body, headers


@pytest.fixture(scope="module")
def world(shared_world) -> tuple[dict[str, int], list[Any]]:
    """The world's keys, and ids that there are, of every kind."""
    made = build("Word")
    User.objects.create_superuser("boss", "boss@example.com", "pw")
    make.component("Another")
    uids = [*Component.objects.values_list("uid", flat=True), *Incident.objects.values_list("uid", flat=True)]
    return made, [*uids, *made.values()]


def check(name: str, response: Any) -> None:
    """No 500; a refusal is a problem; what is shown is as the document says."""
    assert response.status_code < 500, response.content
    if response.status_code >= 400:
        assert response["Content-Type"] == "application/problem+json", response.content
        schema: dict[str, Any] = SCHEMAS["Problem"]
    else:
        method, path = operations()[name]
        answers = DOCUMENT["paths"][path][method.lower()]["responses"]
        schema = answers[str(response.status_code)]["content"]["application/json"]["schema"]
    OAS31Validator({**schema, "components": {"schemas": SCHEMAS}}).validate(response.json())


@pytest.mark.parametrize("name", operations())
def test_no_request_breaks_it(world, name):
    boss = Program(User.objects.get(username="boss"))
    made, keys = world
    right = calls(made)[name]
    seen: set[int] = set()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(request=requests(name, right, keys))
    def ask(request: tuple[str, str, bytes, dict[str, str]]) -> None:
        method, address, body, headers = request
        with transaction.atomic(), override_settings(API_PER_MINUTE=10**6):
            response = boss.ask(method, address, body, **headers)
            transaction.set_rollback(True)
        check(name, response)
        seen.add(response.status_code)

    ask()
    assert seen & {200, 201}, "nothing that is right was tried"
    assert seen & {400, 404, 422} or name == "get_token"


def test_the_document_is_valid():
    from openapi_spec_validator import validate

    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1")


def test_the_committed_document_is_the_one_that_is_served(client):
    """After a change: manage.py openapi > docs/reference/openapi.json"""
    written = json.loads((Path(__file__).parents[3] / "docs/reference/openapi.json").read_text())
    assert written == DOCUMENT == client.get("/api/v1/openapi.json").json()


def test_the_check_would_notice():
    """A broken answer is found."""

    class Answer:
        status_code, content = 200, b""

        def json(self) -> Any:
            return {"id": 7}

    with pytest.raises(Exception, match=r"required|is not"):
        check("get_incident", Answer())
