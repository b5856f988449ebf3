"""The versions of a plan in words: what each changed, and which incidents go by it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.utils.translation import gettext as _

from channels.models import Channel
from incidents.models import (
    ApprovalRule,
    AudienceSegment,
    CommunicationPlan,
    ComponentGroup,
    Incident,
    PlanVersion,
    Role,
    Severity,
    Stage,
)

from . import glance

MOST = 20  # versions that are listed


@dataclass(frozen=True)
class Row:
    version: PlanVersion
    by: str
    changes: list[str]
    incidents: list[Incident]  # open ones that the reader may see
    closed: int


def versions_in_words(plan: CommunicationPlan, user: Any) -> list[Row]:
    """The latest versions, the newest first. A constant number of queries."""
    found = list(plan.versions.select_related("by")[: MOST + 1])
    names = Names(found)
    going_on: dict[int, list[Incident]] = {}
    for one in Incident.objects.open().for_user(user).filter(plan_version__in=found):
        going_on.setdefault(one.plan_version_id or 0, []).append(one)
    over = Incident.objects.for_user(user).filter(plan_version__in=found, resolved_at__isnull=False)
    closed: dict[int, int] = {}
    for pk in over.values_list("plan_version", flat=True):
        closed[pk] = closed.get(pk, 0) + 1
    before = {version.pk: older.content for version, older in pairwise(found)}
    return [
        Row(
            version,
            glance.name(version.by) if version.by else "",
            differences(before[version.pk], version.content, names) if version.pk in before else [],
            going_on.get(version.pk, []),
            closed.get(version.pk, 0),
        )
        for version in found[:MOST]
    ]


class Names:
    """What the keys in versions stand for; what is gone since says so."""

    def __init__(self, versions: Iterable[PlanVersion]) -> None:
        kept = [version.content for version in versions]
        parts = [part for content in kept for part in (content, *content["stages"].values())]
        self._known: dict[str, dict[int, Any]] = {
            "groups": _named(ComponentGroup, {key for content in kept for key in content["groups"]}),
            "channels": _named(
                Channel, {key for part in parts for key in (*part["channels"], *part.get("staff_channels", ()))}
            ),
            "segments": _named(AudienceSegment, {key for part in parts for key in part["segments"]}),
            "people": _named(get_user_model(), {key for content in kept for _role, key in content["roles"]}),
        }

    def of(self, kind: str, key: int) -> str:
        found = self._known[kind].get(key)
        if found is None:
            return _("one that is deleted")
        return glance.name(found) if kind == "people" else str(found)


def _named(model: type[Model], keys: set[int]) -> dict[int, Any]:
    return model._default_manager.in_bulk(keys) if keys else {}


def differences(before: dict[str, Any], after: dict[str, Any], names: Names) -> list[str]:
    """What changed from one content to the next, in sentences."""
    labels = {
        "name": _("name"),
        "first_update_minutes": _("first update within (minutes)"),
        "update_minutes": _("then every (minutes)"),
        "survey_delay_minutes": _("survey after resolution (minutes)"),
    }
    found = [
        _("%(what)s: %(then)s → %(now)s") % {"what": label, "then": before[key], "now": after[key]}
        for key, label in labels.items()
        if before[key] != after[key]
    ]
    found += _listed(_("severities"), before["severities"], after["severities"], lambda one: str(Severity(one).label))
    found += _listed(_("component groups"), before["groups"], after["groups"], lambda one: names.of("groups", one))
    found += _ways("", before, after, names)
    rooms = (before["staff_channels"], after["staff_channels"])
    found += _listed(_("chat for staff"), *rooms, lambda one: names.of("channels", one))
    for stage in dict.fromkeys([*before["stages"], *after["stages"]]):
        nothing: dict[str, list] = {"channels": [], "segments": [], "locales": []}
        at = f"{Stage(stage).label}, "
        found += _ways(at, before["stages"].get(stage, nothing), after["stages"].get(stage, nothing), names)
    for role in Role:
        found += _listed(str(role.label), _held(before, role), _held(after, role), lambda one: names.of("people", one))
    if before["approvals"] != after["approvals"]:
        found.append(_("approval: %(rules)s") % {"rules": "; ".join(map(rule_in_words, after["approvals"])) or usual()})
    return found


def usual() -> str:
    return _("one person who may approve")


def rule_in_words(rule: dict[str, Any]) -> str:
    """“SEV 1, if people are written to: 2 × Communications manager”."""
    when = [str(Severity(one).label) for one in rule["severities"]]
    if rule["audience"]:
        when.append(str(ApprovalRule.Audience(rule["audience"]).label))
    who = str(Role(rule["role"]).label) if rule["role"] else _("whoever may approve")
    said = f"{', '.join(when) or _('always')}: {rule['approvers']} × {who}"
    return f"{said}, {_('approved templates suffice')}" if rule["prepared"] else said


def _held(content: dict[str, Any], role: str) -> list[int]:
    return [user for one, user in content["roles"] if one == role]


def _ways(at: str, before: dict[str, Any], after: dict[str, Any], names: Names) -> list[str]:
    """Channels, segments and languages, of the plan or at one stage."""
    languages = dict(settings.LANGUAGES)
    return [
        *_listed(at + _("channels"), before["channels"], after["channels"], lambda one: names.of("channels", one)),
        *_listed(at + _("segments"), before["segments"], after["segments"], lambda one: names.of("segments", one)),
        *_listed(at + _("languages"), before["locales"], after["locales"], lambda one: str(languages.get(one, one))),
    ]


def _listed(what: str, before: list, after: list, name: Any) -> list[str]:
    """“Channels: + SMS, − Email”; where only the order changed, the new order."""
    plus = [f"+ {name(one)}" for one in after if one not in before]
    minus = [f"− {name(one)}" for one in before if one not in after]
    if not plus and not minus:
        if before == after:
            return []
        plus = [name(one) for one in after]
    return [f"{what}: {', '.join([*plus, *minus])}"]
