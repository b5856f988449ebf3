"""Whose approval an update needs, by the plan of its incident, and whose it has."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core import signing
from django.db.models import Q
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from channels import links

from .checker.finding import Finding
from .errors import NotAllowed, WrongState
from .models import Decision, IncidentUpdate, Role
from .models.component import OPERATE
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


def waits_for(update: IncidentUpdate, person: Any) -> bool:
    """Whether it waits for approval, and this person's would count."""
    if update.status != IncidentUpdate.Status.IN_REVIEW or not update.may("approve", person):
        return False
    return person.pk not in update.writers() and counts(update, person)


def blockers(update: IncidentUpdate) -> list[Finding]:
    """Why nobody can approve or publish it as it stands, which may begin by itself: a time in it has passed, say."""
    from .checker import check

    return [finding for finding in check(update) if finding.blocks]


def in_words(update: IncidentUpdate) -> str:
    """What the plan asks for, where it is more than one approval of anybody: “2 approvals: Communications manager”."""
    wanted = policy(update)
    role = str(Role(wanted["role"]).label) if wanted["role"] else ""
    if wanted["approvers"] > 1:
        many = _("%(n)d people must approve this") % {"n": wanted["approvers"]}
        return f"{many} ({role})" if role else many
    return _("The plan asks for the approval of: %(role)s") % {"role": role} if role else ""


def approvers(update: IncidentUpdate, most: int = 4, least: int | None = None) -> list[Any]:
    """People who may approve it and have not, and wrote none of it, in the order in which to ask them.

    Those of the role that the plan asks for, where it does; else first those of the incident and its plan, then others
    where there are fewer than `least` of these: without it, than must still approve.
    """
    people, backend = get_user_model()._default_manager, "django.contrib.auth.backends.ModelBackend"
    able = people.with_perm("incidents.approve_incidentupdate", backend=backend).filter(is_active=True)
    able = able.exclude(pk__in=update.writers()).exclude(pk__in=[one.by_id for one in approvals(update)])
    by_role = bool(policy(update)["role"])
    named = [one.pk for one in asked(update)] if by_role else _of_the_incident(update)
    order = {pk: n for n, pk in reversed(list(enumerate(named)))}
    found = [one for one in able.filter(pk__in=order) if update.incident.may_operate(one)]
    found.sort(key=lambda one: order[one.pk])
    if by_role or len(found) >= (missing(update) if least is None else least):
        return found[:most]
    everywhere = Q(pk__in=people.with_perm(OPERATE, backend=backend).values("pk"))
    others = able.filter(everywhere, is_superuser=False).exclude(pk__in=[one.pk for one in found])
    return [*found, *others.order_by("pk")[:most]][:most]


def approvers_in_words(update: IncidentUpdate) -> str:
    """“Paolo Neri or Giulia Rossi”; “and” where each of them is needed."""
    names = [name_of(person) for person in approvers(update)]
    if not names:
        # Where the plan asks for a role that nobody else holds, there is nobody to wait for.
        return _("nobody") if policy(update)["role"] else _("somebody who may approve")
    if len(names) == 1:
        return names[0]
    if missing(update) >= len(names):
        return get_text_list(names, _("and"))
    return _("%(first)s or %(last)s") % {"first": ", ".join(names[:-1]), "last": names[-1]}


def _of_the_incident(update: IncidentUpdate) -> list[int]:
    """Keys of the people of the incident, then of its plan: the communications manager first."""
    rank = [Role.COMMUNICATIONS_MANAGER, Role.INCIDENT_MANAGER, Role.SUPPORT_LEAD]
    held = sorted(update.incident.roles.values_list("role", "user"), key=lambda one: rank.index(Role(one[0])))
    plan = update.incident.plan_version
    named = sorted(plan.content["roles"] if plan else (), key=lambda one: rank.index(Role(one[0])))
    return [key for _role, key in [*held, *named]]


# ── The link in a message ───────────────────────────────────────────────────

LINK_SALT = "incidents.approval"
LINK_SECONDS = 7 * 24 * 3600


def link(update: IncidentUpdate) -> str:
    """The path that opens, after the login, exactly the content for which approval is asked now."""
    return f"/approve/{links.signed(LINK_SALT, [update.pk, update.content_hash])}/"


def read_link(token: str) -> tuple[int, str]:
    """Key of the update and hash of its content. Raises django.core.signing.BadSignature."""
    pk, content_hash = signing.loads(token, salt=LINK_SALT, max_age=LINK_SECONDS)
    return pk, content_hash
