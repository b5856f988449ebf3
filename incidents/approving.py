"""Whose approval an update needs, by the plan of its incident, and whose it has."""

from typing import Any

from django.utils.translation import gettext as _

from .errors import NotAllowed, WrongState
from .models import Decision, IncidentUpdate, Role
from .models.decision import name_of
from .models.plan import USUAL_APPROVAL


def policy(update: IncidentUpdate) -> dict[str, Any]:
    """What its plan asks for: {"approvers", "role", "escalate_minutes", "prepared"}; frozen where it waits already."""
    if update.policy:
        return update.policy
    plan = update.incident.plan_version
    return plan.approval(update.incident.severity, update.notify) if plan else dict(USUAL_APPROVAL)


def approvals(update: IncidentUpdate) -> list[Decision]:
    """Whose approval it has since it was last asked for, a decision a person; from `steps`, if there are."""
    steps = getattr(update, "steps", None)
    if steps is None:
        steps = list(update.decisions.select_related("by").order_by("pk"))
    found: dict[int, Decision] = {}
    for one in steps:
        if one.verb == Decision.Verb.SUBMIT:
            found.clear()
        elif one.verb == Decision.Verb.APPROVE and one.content_hash == update.content_hash:
            found.setdefault(one.by_id, one)
    return list(found.values())


def missing(update: IncidentUpdate) -> int:
    """How many more people must approve it."""
    return max(0, policy(update)["approvers"] - len(approvals(update)))


def asked(update: IncidentUpdate) -> list[Any]:
    """Holders of the role from which its approval must come, in the order of asking; empty where any role will do."""
    role = policy(update)["role"]
    if not role:
        return []
    plan, held = update.incident.plan_version, update.incident.roles.filter(role=role, user__is_active=True)
    people = [one.user for one in held.select_related("user")] + (plan.people(role) if plan else [])
    return list(dict.fromkeys(people))


def _asked_keys(update: IncidentUpdate) -> set[int]:
    """The same as keys, without a query where the incident's roles are there."""
    role, plan = policy(update)["role"], update.incident.plan_version
    held = {one.user_id for one in update.incident.roles.all() if one.role == role}
    return held | {key for one, key in (plan.content["roles"] if plan else ()) if one == role}


def check_approver(update: IncidentUpdate, by: Any) -> None:
    """Raises NotAllowed unless the plan counts this person, WrongState if it has counted them already."""
    wanted = policy(update)["role"]
    if wanted and by not in (people := asked(update)):
        who = {"role": Role(wanted).label, "who": ", ".join(name_of(one) for one in people) or _("nobody")}
        raise NotAllowed(_("The plan asks for the approval of: %(role)s (%(who)s).") % who)
    if by.pk in {one.by_id for one in approvals(update)}:
        raise WrongState(_("You approved this already: it waits for somebody else."))


def counts(update: IncidentUpdate, person: Any) -> bool:
    """Whether an approval by this person, who may approve and wrote none of it, would count and is not there yet."""
    if policy(update)["role"] and person.pk not in _asked_keys(update):
        return False
    return person.pk not in {one.by_id for one in approvals(update)}


def in_words(update: IncidentUpdate) -> str:
    """What the plan asks for, where it is more than one approval of anybody: “2 approvals: Communications manager”."""
    wanted = policy(update)
    role = str(Role(wanted["role"]).label) if wanted["role"] else ""
    if wanted["approvers"] > 1:
        many = _("%(n)d people must approve this") % {"n": wanted["approvers"]}
        return f"{many} ({role})" if role else many
    return _("The plan asks for the approval of: %(role)s") % {"role": role} if role else ""
