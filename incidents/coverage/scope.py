"""Whether there is a plan for everything, and something for every plan; and channels for each."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from incidents.models import INCIDENT_STAGES, CommunicationPlan, Severity

from .finding import Finding, Kind, Mend, Notes, Weight, mend, mend_plan
from .known import Known


def uncovered(known: Known, notes: Notes) -> None:
    """Components and severities for which an incident would have no plan, told by component group."""
    way = mend(_("Write a plan"), "incidents_communicationplan_add", "incidents.add_communicationplan")
    if not known.plans:
        text = _("There is no communication plan: nothing says who tells customers of an incident, and how.")
        one = Finding(Kind.NO_PLAN, Weight.HOLE, text, (way,), tonight=_("no plan says who tells customers"))
        notes.note("no plan", one)
        return
    names = {one.group_id: one.group.name if one.group else _("components without a group") for one in known.components}
    missing: dict[tuple[str, ...], list[str]] = {}
    for group, name in names.items():
        lacks = tuple(one for one in Severity.values if known.chosen[group, one] is None)
        if lacks:
            missing.setdefault(lacks, []).append(name)
    for lacks, groups in missing.items():
        one = _without(lacks, groups, way)
        notes.note(("no plan", lacks), one)


def _without(lacks: tuple[str, ...], groups: list[str], way: Mend) -> Finding:
    levels = ", ".join(str(Severity(one).label) for one in lacks)
    said = {"groups": ", ".join(groups), "levels": levels}
    text = _("No plan is for %(groups)s.")
    if len(lacks) < len(Severity.values):
        text = _("No plan is for %(levels)s of %(groups)s.")
    view = "incidents_communicationplan_changelist"
    ways = (way, mend(_("See the plans"), view, "incidents.view_communicationplan"))
    return Finding(Kind.NO_PLAN, Weight.HOLE, text % said, ways, tonight=_("no plan says who tells customers"))


def unprepared(known: Known, notes: Notes) -> None:
    """There is something to prepare words for."""
    if known.scenarios:
        return
    text = _("There is no scenario, so no words are prepared. manage.py load_templates brings some.")
    way = mend(_("Write a scenario"), "incidents_scenario_add", "incidents.add_scenario")
    tonight = _("somebody begins to write from nothing")
    one = Finding(Kind.TEMPLATE, Weight.HOLE, text, (way,), tonight=tonight, plans={p.pk: p for p in known.plans})
    notes.note("no scenario", one)


def unused(known: Known, plan: CommunicationPlan, notes: Notes) -> None:
    """A plan that no incident would go by: others, as exact, go before it, or what it was written for is gone."""
    if not known.components or any(one is not None and one.pk == plan.pk for one in known.chosen.values()):
        return
    groups = {one.group_id for one in known.covered(plan)}
    levels = plan.severities or Severity.values
    others = {known.chosen[group, level].name for group in groups for level in levels}  # type: ignore[union-attr]
    said = {"plan": plan.name, "others": ", ".join(sorted(others))}
    text = _("%(plan)s is never used: there are no components in its groups.")
    if others:
        text = _("%(plan)s is never used: for all that it covers, %(others)s goes before it.")
    one = Finding(Kind.UNUSED, Weight.WARNING, text % said, (mend_plan(plan),))
    notes.note(("unused", plan.pk), one, plan)


def channels(known: Known, plan: CommunicationPlan, notes: Notes) -> None:
    """Each stage has a channel besides the status page, and none that the plan named has been deleted since."""
    bare = [one for one in INCIDENT_STAGES if all(known.is_page(pk) for pk in known.part(plan, one).channels)]
    if bare:
        said = {"plan": plan.name, "stages": ", ".join(str(one.label) for one in bare)}
        text = _("%(plan)s has no channel: only the status page would change.")
        if len(bare) < len(INCIDENT_STAGES):
            text = _("%(plan)s has no channel for %(stages)s: only the status page would change.")
        tonight = _("nobody is written to, and only the status page changes")
        one = Finding(Kind.NO_CHANNEL, Weight.HOLE, text % said, (mend_plan(plan),), tonight=tonight)
        one.only = said["stages"] if len(bare) < len(INCIDENT_STAGES) else ""
        notes.note(("no channel", plan.pk), one, plan)
    if gone := _deleted(known, plan):
        said = {"plan": plan.name, "number": str(known.versions[plan.pk].number)}
        text = ngettext(
            "%(plan)s named a channel in version %(number)s that was deleted since.",
            "%(plan)s named channels in version %(number)s that were deleted since.",
            len(gone),
        )
        two = Finding(Kind.CHANNEL, Weight.WARNING, text % said, (mend_plan(plan),))
        notes.note(("deleted", plan.pk), two, plan)


def _deleted(known: Known, plan: CommunicationPlan) -> set[int]:
    """Keys of channels that its latest version speaks by and that are gone."""
    version = known.versions.get(plan.pk)
    if version is None:
        return set()
    parts = [version.content, *version.content["stages"].values()]
    return {key for part in parts for key in part["channels"]} - set(known.channels)
