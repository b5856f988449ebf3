"""Whether the people of a plan are there, may do what it asks of them, are trained for it and log in safely."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from commsportal import second_factor
from incidents.models import CommunicationPlan, Component, Role
from incidents.models.decision import name_of
from incidents.models.plan import ApprovalRule
from incidents.models.training import SOON
from incidents.roles import ALL_COMPONENTS

from .finding import Finding, Kind, Notes, Weight, mend, mend_plan
from .known import APPROVE, DECLARE, PUBLISH, WRITE, Known

# What somebody in a role is asked to do.
ASKED = {
    Role.INCIDENT_MANAGER: (DECLARE, WRITE),
    Role.COMMUNICATIONS_MANAGER: (APPROVE, PUBLISH),
    Role.SUPPORT_LEAD: (WRITE,),
}


def people(known: Known, plan: CommunicationPlan, notes: Notes) -> None:
    """Every role has somebody who can fill it and a deputy, and approval can be given by a second person."""
    covered = known.covered(plan)
    able: dict[str, list[int]] = {role: [] for role in Role}
    for held in plan.roles.all():
        here = Person(known, held.user, Role(held.role), covered)
        if not here.lacks():
            able[held.role].append(held.user_id)
        for key, said in [*here.lacks().items(), *here.hard_to_reach().items()]:
            one = _of_person(plan, here, said)
            notes.note(("person", key, here.user.pk, here.role, said), one, plan)
        if here.user.is_active:
            _training(plan, here, notes)
            _second_factor(plan, here, notes)
    for role in Role:
        if len(set(able[role])) < 2:
            one = _thin(known, plan, role, able[role])
            notes.note(("role", plan.pk, role), one, plan)
    _approval(known, plan, able, notes)


@dataclass
class Person:
    """Somebody in a role of a plan, with the components that the plan is for."""

    known: Known
    user: Any
    role: Role
    covered: list[Component] = field(repr=False)

    def lacks(self) -> dict[str, str]:
        """Why the role is as good as empty with them: a key and a sentence each."""
        who = {"who": name_of(self.user), "role": self.role.label}
        if not (self.user.is_active and self.user.is_staff):
            return {"login": _("%(who)s cannot log in here any more (%(role)s).") % who}
        said = {
            DECLARE: _("%(who)s may not declare incidents (%(role)s)."),
            WRITE: _("%(who)s may not write updates (%(role)s)."),
            APPROVE: _("%(who)s may not approve updates (%(role)s)."),
            PUBLISH: _("%(who)s may not publish updates (%(role)s)."),
        }
        found = {one: said[one] % who for one in ASKED[self.role] if self.user.pk not in self.known.may[one]}
        if foreign := self.known.not_theirs(self.user.pk, self.covered):
            # Every member of staff knows the names of groups, but not those of all components.
            groups = {one.group.name if one.group else _("components without a group"): None for one in foreign}
            text = _(
                "%(who)s may not work on all incidents of %(groups)s (%(role)s). Put them into the group “%(all)s”, or "
                "give them these components, on their own page or the component’s."
            )
            found["operate"] = text % (who | {"groups": ", ".join(groups), "all": ALL_COMPONENTS})
        return found

    def hard_to_reach(self) -> dict[str, str]:
        """Nothing that telling_staff could write to."""
        contact = self.known.contacts.get(self.user.pk)
        by_email = self.user.email and (contact is None or contact.by_email)
        by_slack = self.user.pk in self.known.in_slack and (contact is None or contact.by_slack)
        if not self.user.is_active or by_email or by_slack or (contact and contact.phone):
            return {}
        who = {"who": name_of(self.user), "role": self.role.label}
        said = _("%(who)s cannot be told anything: there is neither email nor phone nor Slack (%(role)s).")
        return {"address": said % who}


def _of_person(plan: CommunicationPlan, here: Person, said: str) -> Finding:
    ways = (mend(_("Open the person"), "auth_user_change", "auth.view_user", here.user.pk), mend_plan(plan))
    return Finding(Kind.PERSON, Weight.WARNING, said, ways, person=name_of(here.user))


def _training(plan: CommunicationPlan, here: Person, notes: Notes) -> None:
    """Trained for this role, and for some time to come."""
    until, today = here.known.trained.get((here.user.pk, here.role)), timezone.localdate()
    if until and until > today + timedelta(days=SOON):
        return
    text = _("%(who)s has no training for this role (%(role)s).")
    if until:
        text = _("%(who)s: the training for this role ended on %(day)s (%(role)s).")
        if until >= today:
            text = _("%(who)s: the training for this role ends on %(day)s (%(role)s).")
    said = text % {"who": name_of(here.user), "role": here.role.label, "day": _day(until) if until else ""}
    view = "incidents_training_add"
    record = mend(_("Record training"), view, "incidents.add_training", user=here.user.pk, role=here.role.value)
    one = Finding(Kind.TRAINING, Weight.WARNING, said, (record, mend_plan(plan)), person=name_of(here.user))
    notes.note(("training", here.user.pk, here.role), one, plan)


def _day(on: date) -> str:
    return formats.date_format(on, _("j M Y"))


def _second_factor(plan: CommunicationPlan, here: Person, notes: Notes) -> None:
    """Told once of a person, whatever their roles: they set it up themselves."""
    if here.user.pk in here.known.factored:
        return
    who = {"who": name_of(here.user)}
    said = _("%(who)s has no second factor: whoever gets the password logs in as them.") % who
    ways = (mend(_("Open the person"), "auth_user_change", "auth.view_user", here.user.pk), mend_plan(plan))
    own = (here.user.pk, mend(_("Set it up"), "two_step", ""))
    one = Finding(Kind.SECOND_FACTOR, Weight.WARNING, said, ways, person=who["who"], own=own)
    notes.note(("second factor", here.user.pk), one, plan)


def _approvers_locked_out(known: Known, plan: CommunicationPlan, approvers: set[int], notes: Notes) -> None:
    """Where a second factor is required, who has none approves nothing."""
    if not second_factor.required() or not approvers or approvers & known.factored:
        return
    said = {"plan": plan.name}
    text = _("%(plan)s: none of those who approve has a second factor, without which nothing can be approved here.")
    tonight = _("nobody can approve before they have set up a second factor")
    one = Finding(Kind.APPROVAL, Weight.HOLE, text % said, (mend_plan(plan),), tonight=tonight)
    notes.note(("locked out", plan.pk), one, plan)


def _thin(known: Known, plan: CommunicationPlan, role: Role, able: list[int]) -> Finding:
    """A role that nobody can fill, or one person alone."""
    said = {"plan": plan.name, "role": role.label}
    if not able:
        named = [one for one in plan.roles.all() if one.role == role]
        text = _("%(plan)s: nobody is named as %(role)s.")
        if named:
            text = _("%(plan)s: nobody who is named as %(role)s can do what the role asks.")
        tonight = _("nobody is there as %(role)s") % said
        return Finding(Kind.ROLE, Weight.HOLE, text % said, (mend_plan(plan),), tonight=tonight)
    who = next(name_of(one.user) for one in plan.roles.all() if one.user_id == able[0])
    text = _("%(plan)s: %(who)s alone is %(role)s: there is no deputy.") % (said | {"who": who})
    return Finding(Kind.DEPUTY, Weight.WARNING, text, (mend_plan(plan),), person=who)


def _approval(known: Known, plan: CommunicationPlan, able: dict[str, list[int]], notes: Notes) -> None:
    """Nobody approves their own words: for whoever writes there must be others, as many as the plan asks for."""
    named = {pk for holders in able.values() for pk in holders}
    writers, approvers = named & known.may[WRITE], named & known.may[APPROVE]
    _approvers_locked_out(known, plan, approvers, notes)
    if len(writers | approvers) == 1 and writers and approvers:
        who = next(name_of(one.user) for one in plan.roles.all() if one.user_id in writers)
        said = {"plan": plan.name, "who": who}
        text = _("%(plan)s: %(who)s alone may both write and approve, and nobody approves their own words.") % said
        tonight = _("nobody may approve what %(who)s writes") % said
        one = Finding(Kind.APPROVAL, Weight.HOLE, text, (mend_plan(plan),), person=who, tonight=tonight)
        notes.note(("four_eyes", plan.pk), one, plan)
    for rule in plan.approvals.all():
        there = set(able[rule.role]) & known.may[APPROVE] if rule.role else known.may[APPROVE]
        # Whoever writes does not count: the best that can be is that somebody writes who could not approve.
        most = max((len(there - {writer}) for writer in writers), default=len(there))
        if most < rule.approvers:
            one = _too_few(plan, rule, most)
            notes.note(("rule", plan.pk, rule.pk), one, plan)


def _too_few(plan: CommunicationPlan, rule: ApprovalRule, most: int) -> Finding:
    said = {"plan": plan.name, "n": rule.approvers, "most": most}
    said["role"] = rule.get_role_display() if rule.role else _("whoever may approve")
    text = ngettext(
        "%(plan)s asks for %(n)d approval (%(role)s), but no more than %(most)d can be given.",
        "%(plan)s asks for %(n)d approvals (%(role)s), but no more than %(most)d can be given.",
        rule.approvers,
    )
    tonight = _("what is written waits for an approval that nobody can give")
    return Finding(Kind.APPROVAL, Weight.HOLE, text % said, (mend_plan(plan),), tonight=tonight)
