"""Reading incident history from elsewhere: Statuspage v2 documents and JSON-lines archives.

A file is checked as a whole before anything is stored; importing.py stores what this module read.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from .models import OVER, ComponentStatus, Severity, Stage
from .models.words import IMPLIED

T = TypeVar("T")

SEVERITIES = {
    "critical": Severity.SEV1,
    "major": Severity.SEV2,
    "minor": Severity.SEV3,
    "none": Severity.SEV4,
    "maintenance": Severity.SEV4,
}
MAINTENANCE = (Stage.SCHEDULED, Stage.IN_PROGRESS, Stage.VERIFYING, Stage.COMPLETED)
# “Update” is what archives call a message that leaves the stage as it was.
SAME_STAGE = "update"
TITLE, NAME, DESCRIPTION = 200, 80, 200
YEARS = range(1990, 2101)


class BadHistory(Exception):
    """The file is refused as a whole; `problems` are (line, what is wrong), in order."""

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        self.problems = problems
        super().__init__("\n".join(_("Line %(line)s: %(what)s") % {"line": n, "what": what} for n, what in problems))


class _Bad(Exception):
    """What is wrong with one record."""


@dataclass(frozen=True)
class PastUpdate:
    """`states` is {component name: state} where the source says so."""

    at: datetime
    stage: Stage
    text: str
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PastIncident:
    """One incident of a file. `key` names it for ever; `components` is {name: state now}; `updates` oldest first."""

    key: str
    uid: str
    title: str
    severity: Severity
    maintenance: bool
    stage: Stage
    started_at: datetime
    monitoring_at: datetime | None
    resolved_at: datetime | None
    expected_resolution_at: datetime | None
    components: Mapping[str, str]
    updates: tuple[PastUpdate, ...]


@dataclass(frozen=True)
class PastComponent:
    name: str
    uid: str = ""
    description: str = ""
    group: str = ""
    position: int | None = None
    showcase: bool = True
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class History:
    incidents: list[PastIncident]
    components: list[PastComponent] = field(default_factory=list)

    @property
    def updates(self) -> int:
        return sum(len(one.updates) for one in self.incidents)


def read(content: bytes) -> History:
    """Read a file of any known form. Raises BadHistory naming every line that is wrong."""
    text = _decode(content)
    records = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not records:
        raise BadHistory([(1, _("the file is empty."))])
    if _is_lines(records):
        incidents = _each(records, lambda line: _archived(Record(_parse(line))))
        return History(_latest(incidents))
    return _document(text)


# ── Text and JSON ───────────────────────────────────────────────────────────


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = _("byte 0x%(byte)02x is not UTF-8; save the file as UTF-8.") % {"byte": content[error.start]}
        raise BadHistory([(line, what)]) from error


def _is_lines(records: list[tuple[int, str]]) -> bool:
    """Whether every line is a record of its own, rather than the file one document."""
    if sum(line.startswith("{") for _number, line in records) > 1:
        return True
    try:
        first = json.loads(records[0][1])
    except (ValueError, RecursionError):
        return False
    return not isinstance(first, dict) or not ({"page", "incidents", "scheduled_maintenances"} & set(first))


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise _Bad(_("this is not JSON (%(reason)s).") % {"reason": error}) from error
    except RecursionError as error:
        raise _Bad(_("this is not JSON (nested too deeply).")) from error


class _Located(dict[str, Any]):
    """A JSON object that knows its line."""

    line = 1


class _Decoder(json.JSONDecoder):
    """A decoder whose objects know their line, so that a problem can be pointed at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        starts = [0, *(match.end() for match in re.finditer("\n", text))]
        parse = self.parse_object  # type: ignore[has-type]

        def located(state: tuple[str, int], *args: Any) -> tuple[_Located, int]:
            found, end = parse(state, *args)
            one = _Located(found)
            one.line = bisect_right(starts, state[1] - 1)
            return one, end

        self.parse_object = located
        self.scan_once = py_make_scanner(self)


class Record:
    """A JSON object being read: each method takes one key out, or says what is wrong with it."""

    def __init__(self, data: Any, where: str = "") -> None:
        if not isinstance(data, dict):
            raise _Bad(_("%(where)s is not a JSON object.") % {"where": where or _("the line")})
        self.data: dict[str, Any] = data
        self.where = where

    def _name(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _value(self, key: str, kind: type, needed: bool) -> Any:
        value = self.data.get(key)
        if value is None:
            if needed and key not in self.data:
                raise _Bad(_("“%(key)s” is missing.") % {"key": self._name(key)})
            if needed:
                raise _Bad(_("“%(key)s” is empty.") % {"key": self._name(key)})
            return None
        if not isinstance(value, kind):
            kinds = {str: _("a text"), list: _("a list"), int: _("a number")}
            raise _Bad(_("“%(key)s” is not %(kind)s.") % {"key": self._name(key), "kind": kinds[kind]})
        return value

    def text(self, key: str, limit: int | None = None, needed: bool = True) -> str:
        """A text without surrounding space; "" if it is not needed and missing."""
        value = self._value(key, str, needed)
        text = (value or "").strip()
        if needed and not text:
            raise _Bad(_("“%(key)s” is empty.") % {"key": self._name(key)})
        # No database can hold these.
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise _Bad(_("“%(key)s” has a character that is not text.") % {"key": self._name(key)})
        if limit and len(text) > limit:
            raise _Bad(
                _("“%(key)s” has %(count)s characters; the limit is %(limit)s.")
                % {"key": self._name(key), "count": len(text), "limit": limit}
            )
        return text

    def time(self, key: str) -> datetime:
        """A moment with its offset, e.g. 2026-11-23T14:30:00Z."""
        text = self.text(key)
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise _Bad(
                _("“%(key)s” is not a time: “%(value)s”; write it as 2026-11-23T14:30:00Z.")
                % {"key": self._name(key), "value": text[:40]}
            ) from error
        if at.tzinfo is None:
            raise _Bad(
                _("“%(key)s” has no offset: “%(value)s”; write it as 2026-11-23T14:30:00Z.")
                % {"key": self._name(key), "value": text}
            )
        if at.year not in YEARS:
            raise _Bad(_("“%(key)s” is out of range: “%(value)s”.") % {"key": self._name(key), "value": text})
        return at

    def maybe_time(self, key: str) -> datetime | None:
        return self.time(key) if self.data.get(key) is not None else None

    def number(self, key: str) -> int | None:
        return self._value(key, int, False)

    def items(self, key: str, needed: bool = True) -> list[Any]:
        return self._value(key, list, needed) or []

    def records(self, key: str, needed: bool = True) -> list["Record"]:
        return [Record(one, f"{self._name(key)}[{i}]") for i, one in enumerate(self.items(key, needed))]

    def one_of(self, key: str, known: Mapping[str, T], default: str | None = None) -> T:
        """The meaning of a word; an unknown one is named together with those that are known."""
        text = self.text(key, needed=default is None) or (default or "")
        try:
            return known[text.lower().replace(" ", "_")]
        except KeyError:
            raise _Bad(
                _("“%(key)s” is “%(value)s”; known are: %(known)s.")
                % {"key": self._name(key), "value": text[:40], "known": ", ".join(known)}
            ) from None


def _each(rows: list[tuple[int, Any]], build: Callable[[Any], T]) -> list[T]:
    """Build every row, or refuse all, naming every line that is wrong."""
    built, problems = [], []
    for line, row in rows:
        try:
            built.append(build(row))
        except _Bad as error:
            problems.append((line, str(error)))
    if problems:
        raise BadHistory(problems)
    return built


def _latest(incidents: list[PastIncident]) -> list[PastIncident]:
    """An incident that the file holds more than once: as it was said last."""
    return list({one.key: one for one in incidents}.values())


# ── JSON lines ──────────────────────────────────────────────────────────────


def _archived(record: Record) -> PastIncident:
    """One line of an archive: updates as {at, status, message}, components as names."""
    impact = record.one_of("impact", {word: word for word in SEVERITIES}, "none")
    rows = record.records("updates")
    moments = [(row.time("at"), row.one_of("status", _STAGES), row.text("message")) for row in rows]
    maintenance = impact == "maintenance" or any(stage in MAINTENANCE for _at, stage, _text in moments)
    stage = Stage.SCHEDULED if maintenance else Stage.INVESTIGATING
    updates = []
    for at, said, text in sorted(moments, key=lambda row: row[0]):
        stage = said or stage
        updates.append(PastUpdate(at, stage, text))
    resolved_at = record.maybe_time("resolved_at")
    if resolved_at and stage not in OVER:
        stage = Stage.COMPLETED if maintenance else Stage.RESOLVED
    address = urlsplit(record.text("url", needed=False))
    own_id = record.text("id", 100)
    code = address.path.rstrip("/").rsplit("/", 1)[-1] or own_id
    names = record.items("components", needed=False)
    if not all(isinstance(name, str) and 0 < len(name.strip()) <= NAME for name in names):
        raise _Bad(_("“components” must be a list of names of at most %(limit)s characters.") % {"limit": NAME})
    state = _state(impact, stage)
    return _incident(
        record,
        updates,
        key=f"{address.netloc or 'archive'}/{code}",
        uid=code,
        title=record.text("title", TITLE),
        severity=SEVERITIES[impact],
        maintenance=maintenance,
        stage=stage,
        started_at=record.time("started_at"),
        resolved_at=resolved_at,
        components={name.strip(): state for name in names},
    )


_STAGES: dict[str, Stage | None] = {**{stage.value: stage for stage in Stage}, SAME_STAGE: None}


def _state(impact: str, stage: Stage) -> str:
    """What an impact means for a component, where the source does not say."""
    if stage in OVER or stage == Stage.SCHEDULED:
        return ComponentStatus.OPERATIONAL
    return IMPLIED.get(impact, ComponentStatus.OPERATIONAL)


def _incident(record: Record, updates: list[PastUpdate], **facts: Any) -> PastIncident:
    """Check what both forms have in common, and fill the times that follow from the updates."""
    if not updates:
        raise _Bad(_("“%(key)s” has no update: nobody was told anything.") % {"key": facts["title"]})
    over = facts["stage"] in OVER
    resolved_at = facts.pop("resolved_at", None) or next((u.at for u in updates if u.stage in OVER), None)
    if over and resolved_at and resolved_at < facts["started_at"]:
        if not facts["maintenance"]:
            raise _Bad(_("“resolved_at” is before “started_at”."))
        # Maintenance that was called off ends before it would have begun.
        facts["started_at"] = min(updates[0].at, resolved_at)
    facts.setdefault("monitoring_at", None)
    facts["monitoring_at"] = facts["monitoring_at"] or next(
        (u.at for u in updates if u.stage == Stage.MONITORING), None
    )
    facts.setdefault("expected_resolution_at", None)
    return PastIncident(resolved_at=resolved_at if over else None, updates=tuple(updates), **facts)


# ── Statuspage v2 ───────────────────────────────────────────────────────────


def _document(text: str) -> History:
    """incidents.json, scheduled-maintenances.json, summary.json and their like."""
    try:
        data = _Decoder(text).decode(text)
    except json.JSONDecodeError as error:
        raise BadHistory([(error.lineno, _("this is not JSON (%(reason)s).") % {"reason": error.msg})]) from error
    except RecursionError as error:
        raise BadHistory([(1, _("this is not JSON (nested too deeply)."))]) from error
    try:
        record = Record(data)
        page = Record(record.data.get("page", {}), "page")
        host = urlsplit(page.text("url", needed=False)).netloc or page.text("id", 100, needed=False) or "statuspage"
        lists = {key: record.items(key, False) for key in ("incidents", "scheduled_maintenances", "components")}
    except _Bad as error:
        raise BadHistory([(1, str(error))]) from error
    if not any(key in record.data for key in lists):
        raise BadHistory([(1, _("neither “incidents” nor “scheduled_maintenances” nor “components” is here."))])
    rows = [row for key in ("incidents", "scheduled_maintenances") for row in _numbered(key, lists[key])]
    incidents = _each(rows, lambda row: _statuspage(Record(row[1], row[0]), host))
    groups = {
        one["id"]: one.get("name")
        for one in lists["components"]
        if isinstance(one, dict) and one.get("group") and isinstance(one.get("id"), str)
    }
    own = [row for row in _numbered("components", lists["components"]) if not _is_group(row[1][1])]
    return History(_latest(incidents), _each(own, lambda row: _component(Record(row[1], row[0]), groups)))


def _numbered(key: str, rows: list[Any]) -> Iterator[tuple[int, tuple[str, Any]]]:
    """(line, (where, object)) of each row."""
    for i, row in enumerate(rows):
        yield getattr(row, "line", 1), (f"{key}[{i}]", row)


def _is_group(row: Any) -> bool:
    return isinstance(row, dict) and row.get("group") is True


_STATES = {state.value: state.value for state in ComponentStatus}


def _statuspage(record: Record, host: str) -> PastIncident:
    impact = record.one_of("impact", {word: word for word in SEVERITIES}, "none")
    stage = record.one_of("status", {stage.value: stage for stage in Stage})
    updates = []
    # Newest first in the document; a stable sort keeps the order of those said at the same time.
    for row in reversed(record.records("incident_updates")):
        states = {
            change.text("name", NAME): change.one_of("new_status", _STATES)
            for change in row.records("affected_components", needed=False)
        }
        at = row.time("display_at" if row.data.get("display_at") else "created_at")
        updates.append(PastUpdate(at, row.one_of("status", _KNOWN), row.text("body"), states))
    updates.sort(key=lambda one: one.at)
    code = record.text("id", 100)
    maintenance = impact == "maintenance" or stage in MAINTENANCE or "scheduled_for" in record.data
    states = {c.text("name", NAME): c.one_of("status", _STATES) for c in record.records("components", needed=False)}
    if stage in OVER or stage == Stage.SCHEDULED:
        states = dict.fromkeys(states, ComponentStatus.OPERATIONAL.value)
    begun = "scheduled_for" if record.data.get("scheduled_for") else "started_at"
    return _incident(
        record,
        updates,
        key=f"{host}/{code}",
        uid=code,
        title=record.text("name", TITLE),
        severity=SEVERITIES[impact],
        maintenance=maintenance,
        stage=stage,
        started_at=record.time(begun if record.data.get(begun) else "created_at"),
        monitoring_at=record.maybe_time("monitoring_at"),
        resolved_at=record.maybe_time("resolved_at"),
        expected_resolution_at=record.maybe_time("scheduled_until"),
        components=states,
    )


_KNOWN = {stage.value: stage for stage in Stage}


def _component(record: Record, groups: Mapping[str, Any]) -> PastComponent:
    group = groups.get(record.text("group_id", needed=False))
    return PastComponent(
        name=record.text("name", NAME),
        uid=record.text("id", 100),
        description=record.text("description", needed=False),
        group=str(group or "")[:NAME],
        position=record.number("position"),
        showcase=record.data.get("showcase") is not False,
        created_at=record.maybe_time("created_at"),
        updated_at=record.maybe_time("updated_at"),
    )
