"""Tell whom the plan gives a role that an incident was declared: each person once, by what they do in it."""

from collections.abc import Mapping
from typing import Any

from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from . import telling_staff
from .models import Component, ComponentStatus, Incident, Role, StaffNotice
from .models.decision import name_of
from .rendering import moment


def tell(incident: Incident, states: Mapping[Component, str]) -> None:
    """Once for each incident. Whoever declared it knows."""
    mine: dict[Any, list[Role]] = {}
    for one in incident.roles.filter(user__is_active=True).select_related("user"):
        mine.setdefault(one.user, []).append(Role(one.role))
    mine.pop(incident.declared_by, None)
    path = f"/admin/incidents/incident/{incident.pk}/change/"
    for person, roles in mine.items():
        words = _words(incident, states, roles)
        telling_staff.tell_only([person], StaffNotice.Kind.DECLARED, str(incident.pk), words, path, incident)


def _words(incident: Incident, states: Mapping[Component, str], roles: list[Role]) -> telling_staff.Words:
    def words() -> tuple[str, str]:
        named = [f"{one} ({str(ComponentStatus(state).label).lower()})" for one, state in states.items()]
        what = {
            "title": incident.title,
            "severity": incident.get_severity_display(),
            "who": name_of(incident.declared_by),
            "components": ", ".join(named),
            "roles": get_text_list([str(one.label) for one in roles], _("and")),
        }
        text = _("%(who)s declared an incident: %(severity)s. Affected: %(components)s. Your role: %(roles)s.") % what
        if due := incident.update_due_at:
            text += " " + _("Customers are to be told by %(time)s.") % {"time": moment(due)}
        return _("Incident declared: %(title)s") % what, text

    return words
