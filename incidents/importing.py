"""Storing history from elsewhere: what is new is added, what changed is brought up to date, the rest is left alone."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Q

from . import rendering
from .history import DESCRIPTION, History, PastComponent, PastIncident, PastUpdate
from .models import Component, ComponentGroup, Incident, IncidentComponent, IncidentUpdate

CHUNK = 200
# Some pages have a component that only points at their own address; it is no part of a service.
SIGNPOST = re.compile(r"visit www\b", re.IGNORECASE)
_UID = re.compile(r"[a-z0-9]{6,16}")


@dataclass
class Counts:
    """What an import did (or would do)."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    updates: int = 0
    components: list[str] = field(default_factory=list)


class _DryRun(Exception):
    """Ends a transaction without keeping anything."""


def store(
    history: History, dry_run: bool = False, locale: str = "", progress: Callable[[int, int], None] | None = None
) -> Counts:
    """Store everything in one transaction; `progress` hears (done, total) incidents. `locale`: of the words."""
    counts = Counts()
    locale = locale or settings.LANGUAGE_CODE
    try:
        with transaction.atomic():
            components = _components(history, counts)
            total = len(history.incidents)
            for start in range(0, total, CHUNK):
                _store(history.incidents[start : start + CHUNK], components, locale, counts)
                if progress:
                    progress(min(start + CHUNK, total), total)
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return counts


# ── Components ──────────────────────────────────────────────────────────────


def _components(history: History, counts: Counts) -> dict[str, Component]:
    """Name → component for every name in the history; the missing ones are created."""
    wanted = {one.name: one for one in history.components}
    for incident in history.incidents:
        for name in [*incident.components, *(n for update in incident.updates for n in update.states)]:
            wanted.setdefault(name, PastComponent(name, showcase=not SIGNPOST.match(name)))
    known = list(Component.objects.all())
    groups = {group.name: group for group in ComponentGroup.objects.all()}
    taken = {one.uid for one in known} | {group.uid for group in groups.values()}
    position = max((one.position for one in known), default=0)
    found: dict[str, Component] = {}
    new: list[tuple[Component, PastComponent]] = []
    for name, past in wanted.items():
        same = _same(name, known)
        if same is None:
            position += 1
            same = Component(
                name=name,
                description=past.description[:DESCRIPTION],
                group=_group(past.group, groups),
                position=past.position if past.position is not None and 0 <= past.position < 32768 else position,
                showcase=past.showcase,
                **_uid(past.uid, taken),
            )
            new.append((same, past))
            known.append(same)
        elif past.description and not same.description and same.pk:
            same.description = past.description[:DESCRIPTION]
            Component.objects.filter(pk=same.pk).update(description=same.description)
        found[name] = same
    Component.objects.bulk_create([component for component, _past in new])
    for component, past in new:
        if past.created_at:
            at = {"created_at": past.created_at, "updated_at": past.updated_at or past.created_at}
            Component.objects.filter(pk=component.pk).update(**at)
    counts.components = [component.name for component, _past in new]
    return found


def _same(name: str, known: Iterable[Component]) -> Component | None:
    """The component of this name, whatever its case; archives cut some names at their first full stop."""
    lower = name.casefold()
    exact = [one for one in known if one.name.casefold() == lower]
    cut = [one for one in known if one.name.casefold().startswith(f"{lower}.")]
    return next(iter(exact + cut), None)


def _group(name: str, groups: dict[str, ComponentGroup]) -> ComponentGroup | None:
    if not name:
        return None
    if name not in groups:
        last = max((group.position for group in groups.values()), default=0)
        groups[name] = ComponentGroup.objects.create(name=name, position=last + 1)
    return groups[name]


def _uid(wanted: str, taken: set[str]) -> dict[str, str]:
    """The source's own public id, so that links stay good; none (a new one is made) if it is taken or odd."""
    if not _UID.fullmatch(wanted) or wanted in taken or len(wanted) > 12:
        return {}
    taken.add(wanted)
    return {"uid": wanted}


# ── Incidents ───────────────────────────────────────────────────────────────


def _store(chunk: list[PastIncident], components: dict[str, Component], locale: str, counts: Counts) -> None:
    """Store some incidents with a constant number of statements."""
    known = {
        one.imported_from: one
        for one in Incident.objects.filter(imported_from__in=[past.key for past in chunk]).select_for_update()
    }
    said = _said([one.pk for one in known.values()], locale)
    ours = _continued(known.values())
    taken = set(Incident.objects.filter(uid__in=[past.uid for past in chunk]).values_list("uid", flat=True))
    new, changed, write = [], [], []
    for past in chunk:
        incident = known.get(past.key)
        if incident is None:
            incident = Incident(imported_from=past.key, **_uid(past.uid, taken))
            new.append(incident)
            write.append((past, incident))
            _bring_up_to_date(incident, past)
            continue
        updates_differ = said.get(incident.pk, []) != [(u.at, u.stage.value, u.text) for u in past.updates]
        # Where people here have gone on speaking about it, their word stands.
        facts_differ = incident.pk not in ours and _bring_up_to_date(incident, past)
        counts.unchanged += not (updates_differ or facts_differ)
        if updates_differ or facts_differ:
            changed.append(incident)
        if updates_differ:
            write.append((past, incident))
    counts.new += len(new)
    counts.changed += len(changed)
    Incident.objects.bulk_create(new)
    if changed:
        Incident.objects.bulk_update(changed, [*_FACTS, "published_at"])
    _hit([(past, incident) for past, incident in write if incident.pk not in ours], components)
    _write_updates(write, components, locale, counts)
    _keep_times([past for past in chunk if known.get(past.key) in [None, *changed]])


_FACTS = (
    "title",
    "severity",
    "maintenance",
    "stage",
    "started_at",
    "monitoring_at",
    "resolved_at",
    "expected_resolution_at",
)


def _bring_up_to_date(incident: Incident, past: PastIncident) -> bool:
    """Put the source's facts in place; whether any was different."""
    different = [name for name in _FACTS if getattr(incident, name) != getattr(past, name)]
    for name in different:
        setattr(incident, name, getattr(past, name))
    incident.published_at = past.updates[0].at
    return bool(different)


def _said(incident_ids: list[int], locale: str) -> dict[int, list[tuple[Any, str, str]]]:
    """Incident id → [(time, stage, text)] of what was imported before, oldest first."""
    rows = (
        IncidentUpdate.objects.filter(incident__in=incident_ids, imported=True)
        .order_by("number")
        .values_list("incident_id", "published_at", "stage", f"manifest__page__{locale}__text")
    )
    found: dict[int, list[tuple[Any, str, str]]] = {}
    for incident_id, at, stage, text in rows:
        found.setdefault(incident_id, []).append((at, stage, text))
    return found


def _continued(incidents: Iterable[Incident]) -> set[int]:
    """Ids of imported incidents about which something was published here since."""
    own = IncidentUpdate.objects.filter(incident__in=list(incidents), imported=False, status="published")
    return set(own.values_list("incident_id", flat=True))


def _hit(pairs: list[tuple[PastIncident, Incident]], components: dict[str, Component]) -> None:
    """Bring the affected components of these incidents to what the source says."""
    rows = {
        (incident.pk, components[name].pk): IncidentComponent(
            incident=incident, component=components[name], status=state
        )
        for past, incident in pairs
        for name, state in _states(past).items()
    }
    IncidentComponent.objects.bulk_create(
        rows.values(), update_conflicts=True, unique_fields=["incident", "component"], update_fields=["status"]
    )


def _states(past: PastIncident) -> dict[str, str]:
    """Name → state now of every component that the source connects with it."""
    named = {name: "operational" for update in past.updates for name in update.states}
    return named | dict(past.components)


def _write_updates(
    pairs: list[tuple[PastIncident, Incident]], components: dict[str, Component], locale: str, counts: Counts
) -> None:
    """Replace what was imported for these incidents. A published row is final, so a changed one is a new row."""
    old = IncidentUpdate.objects.filter(incident__in=[incident for _past, incident in pairs])
    numbers: dict[int, list[int]] = {}
    for incident_id, number in old.filter(imported=True).order_by("number").values_list("incident_id", "number"):
        numbers.setdefault(incident_id, []).append(number)
    last = dict(old.order_by().values_list("incident_id").annotate(Max("number")))
    old.filter(imported=True).delete()
    rows = []
    for past, incident in pairs:
        # The numbers stay, so that the public ids that follow from them stay as well.
        kept = numbers.get(incident.pk, [])
        highest = last.get(incident.pk, 0)
        fresh = range(highest + 1, highest + 1 + max(len(past.updates) - len(kept), 0))
        for number, update in zip([*kept, *fresh], past.updates, strict=False):
            rows.append(_update(incident, number, past, update, components, locale))
    IncidentUpdate.objects.bulk_create(rows, batch_size=500)
    counts.updates += len(rows)
    ids = Q(incident__in=[incident for _past, incident in pairs], imported=True)
    IncidentUpdate.objects.filter(ids).update(created_at=F("published_at"), updated_at=F("published_at"))


def _update(
    incident: Incident,
    number: int,
    past: PastIncident,
    update: PastUpdate,
    components: dict[str, Component],
    locale: str,
) -> IncidentUpdate:
    html = rendering.markdown(update.text)
    return IncidentUpdate(
        incident=incident,
        number=number,
        stage=update.stage,
        status=IncidentUpdate.Status.PUBLISHED,
        imported=True,
        notify=False,
        component_states={str(components[name].pk): state for name, state in update.states.items()},
        manifest={"page": {locale: {"subject": past.title, "text": update.text, "html": html}}},
        published_at=update.at,
    )


def _keep_times(pasts: list[PastIncident]) -> None:
    """Give the columns that the ORM fills with the present moment their own times."""
    rows = {one.imported_from: one for one in Incident.objects.filter(imported_from__in=[past.key for past in pasts])}
    for past in pasts:
        rows[past.key].declared_at = past.updates[0].at
        rows[past.key].updated_at = past.updates[-1].at
    Incident.objects.bulk_update(rows.values(), ["declared_at", "updated_at"])
