"""Write an update from a program, the API or a command line: the words and facts that it gives, checked as a form's.

What is written is a draft: nobody is told anything before people have approved it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.models import Channel

from . import declaring
from .errors import Refused, WrongState
from .models import (
    INCIDENT_STAGES,
    MAINTENANCE_STAGES,
    WORDS,
    AudienceSegment,
    Component,
    ComponentStatus,
    Incident,
    IncidentUpdate,
)
from .models.words import one_line, plain

LONGEST = {"subject": 200} | dict.fromkeys((one for one in WORDS if one != "subject"), 10_000)
Words = Mapping[str, Mapping[str, str]]


class BadField(Refused):
    """What was given cannot be taken: in which field, which value, and what to do."""

    def __init__(self, name: str, value: Any, fix: str) -> None:
        said = _("%(field)s: “%(value)s” cannot be taken. %(fix)s")
        super().__init__(said % {"field": name, "value": str(value)[:80], "fix": fix})
        self.name, self.value, self.fix = name, value, fix


def check_began(name: str, at: datetime | None) -> None:
    """Raises BadField if something that has begun is said to begin later."""
    if at and at > timezone.now():
        raise BadField(name, at.isoformat(), _("It is in the future: say when it began."))


@dataclass(frozen=True)
class Wish:
    """What an update is to be. None, or no entry: as it stands. `states` is {component uid: state}.

    `facts` holds columns of IncidentUpdate.edit that may be given as they are: "next_update_at",
    "expected_resolution_at", "notify", "ask_feedback".
    """

    stage: str | None = None
    words: Words = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, datetime | bool | None] = field(default_factory=dict)
    channels: list[int] | None = None
    segments: list[int] | None = None


def start(incident: Incident, by: Any, wish: Wish, no_change: bool = False) -> IncidentUpdate:
    """Begin the next update. `no_change`: in the words that customers read last.

    Raises NotAllowed, WrongState (another update is being written), Refused (BadField names the field).
    """
    with transaction.atomic():
        locked = Incident.objects.select_for_update(no_key=True).get(pk=incident.pk)
        _check_stage(locked.maintenance, wish.stage)
        pending = locked.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).first()
        if pending:
            said = _("Update %(number)s (id %(id)s) is being written: change that one, or withdraw it first.")
            raise WrongState(said % {"number": pending.number, "id": pending.pk})
        begin = declaring.start_no_change if no_change else partial(declaring.start_draft, stage=wish.stage)
        draft = begin(locked, by)
        return change(draft, by, draft.version, wish)


def change(update: IncidentUpdate, by: Any, version: int, wish: Wish) -> IncidentUpdate:
    """Change what is given, and nothing else. An approval that was asked for or given is void afterwards.

    Raises NotAllowed, WrongState (also if `version` is not the current one), Refused (BadField names the field).
    """
    update._check_may("write", by)  # first: who may not write learns nothing of what could be written
    facts: dict[str, Any] = dict(wish.facts)
    if wish.stage is not None and wish.stage != update.stage:
        if update.publish_at:
            raise BadField("stage", wish.stage, _("It is a planned notice, whose stage stays."))
        _check_stage(update.incident.maintenance, wish.stage)
        facts["stage"] = wish.stage
    if wish.states:
        facts["component_states"] = _states(update, wish.states)
    return update.edit(
        by,
        version,
        _words(update, wish.words, wish.stage or update.stage),
        _channels(update, wish.channels),
        _segments(wish.segments),
        **facts,
    )


def _check_stage(maintenance: bool, stage: str | None) -> None:
    stages = MAINTENANCE_STAGES if maintenance else INCIDENT_STAGES
    if stage is not None and stage not in stages:
        raise BadField("stage", stage, _("Use one of: %(names)s.") % {"names": ", ".join(stages)})


def _words(update: IncidentUpdate, given: Words, stage: str) -> dict[str, dict[str, str]]:
    """As they are stored: without control characters, a subject on one line."""
    if not given:
        return {}
    plan = update.incident.plan_version
    known = [*(plan.locales(stage) if plan else [update.default_locale])]
    known += update.renditions.values_list("locale", flat=True)
    found: dict[str, dict[str, str]] = {}
    for locale, texts in given.items():
        if locale not in known:
            names = ", ".join(dict.fromkeys(known))
            raise BadField("words", locale, _("Languages of this update: %(names)s.") % {"names": names})
        for name, text in texts.items():
            place = f"words.{locale}.{name}"
            if name not in WORDS:
                raise BadField(place, name, _("Use one of: %(names)s.") % {"names": ", ".join(WORDS)})
            kept = one_line(text) if name == "subject" else plain(text)
            if len(kept) > LONGEST[name]:
                fix = _("It has %(n)d characters; the most are %(most)d.")
                raise BadField(place, text, fix % {"n": len(kept), "most": LONGEST[name]})
            found.setdefault(locale, {})[name] = kept
    return found


def _states(update: IncidentUpdate, given: Mapping[str, str]) -> dict[str, str]:
    """What is said already, with what is given in its place."""
    ids = [int(key) for key in update.component_states]
    rows = Component.objects.filter(Q(incidents=update.incident_id) | Q(pk__in=ids)).distinct()
    known = {one.uid: str(one.pk) for one in rows}
    states = dict(update.component_states)
    for uid, state in given.items():
        if uid not in known:
            fix = _("Components of this incident: %(names)s.") % {"names": ", ".join(known) or "—"}
            raise BadField("component_states", uid, fix)
        if state not in ComponentStatus.values:
            fix = _("Use one of: %(names)s.") % {"names": ", ".join(ComponentStatus.values)}
            raise BadField(f"component_states.{uid}", state, fix)
        states[known[uid]] = state
    return states


def _channels(update: IncidentUpdate, given: list[int] | None) -> list[Channel] | None:
    """Enabled ones and those that are chosen; a page is no choice, as it shows every update."""
    if given is None:
        return None
    chosen = update.channels.through.objects.filter(incidentupdate=update).values("channel")
    rows = Channel.objects.filter(Q(enabled=True) | Q(pk__in=chosen), pk__in=given)
    found = {one.pk: one for one in rows if not one.is_page}
    if missing := [pk for pk in given if pk not in found]:
        raise BadField("channels", missing[0], _("Name the ids of enabled channels; the plans show them."))
    return list(found.values())


def _segments(given: list[int] | None) -> list[AudienceSegment] | None:
    if given is None:
        return None
    found = AudienceSegment.objects.in_bulk(given)
    if missing := [pk for pk in given if pk not in found]:
        raise BadField("segments", missing[0], _("Name the ids of audience segments; the plans show them."))
    return list(found.values())
