"""Hand a role of an incident to somebody."""

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from .errors import NotAllowed, Refused, WrongState
from .models import (
    ComponentGroupObjectPermission,
    ComponentUserObjectPermission,
    Incident,
    IncidentRole,
    Role,
)
from .models.component import OPERATE
from .models.decision import name_of


def hand_over(incident: Incident, by: Any, role: str, person: Any) -> IncidentRole:
    """From now on `person`, one of the candidates, holds the role. Raises NotAllowed, WrongState, Refused."""
    with transaction.atomic():
        me = Incident.objects.select_for_update(of=("self",), no_key=True).select_related("plan_version")
        incident = me.get(pk=incident.pk)
        if not (by.has_perm("incidents.change_incident") and incident.may_operate(by)):
            raise NotAllowed(_("Your role does not hand out roles in this incident."))
        if incident.is_over:
            raise WrongState(_("The incident is over: its roles stay as they were."))
        if role not in Role or person is None or not candidates(incident).filter(pk=person.pk).exists():
            raise Refused(_("Choose a person who may work on the components of this incident."))
        plan = incident.plan_version
        if person == by and plan and any(rule["role"] == role for rule in plan.content["approvals"]):
            raise NotAllowed(_("The plan asks this role for approvals: somebody else must hand it to you."))
        held, _new = IncidentRole.objects.update_or_create(incident=incident, role=role, defaults={"user": person})
        LogEntry.objects.create(
            user_id=by.pk,
            content_type=ContentType.objects.get_for_model(Incident),
            object_id=str(incident.pk),
            object_repr=str(incident)[:200],
            action_flag=CHANGE,
            change_message=_("%(role)s: %(who)s") % {"role": Role(role).label, "who": name_of(person)},
        )
    return held


def candidates(incident: Incident) -> QuerySet[Any]:
    """Staff who may work on at least one component of the incident, by a grant on all or on that one."""
    app, codename = OPERATE.split(".")
    everywhere = Permission.objects.filter(content_type__app_label=app, codename=codename)
    here = {"permission__in": everywhere, "content_object__in": incident.incident_components.values("component")}
    return (
        get_user_model()
        .objects.filter(is_active=True, is_staff=True)
        .filter(
            Q(is_superuser=True)
            | Q(user_permissions__in=everywhere)
            | Q(groups__permissions__in=everywhere)
            | Q(pk__in=ComponentUserObjectPermission.objects.filter(**here).values("user"))
            | Q(groups__in=ComponentGroupObjectPermission.objects.filter(**here).values("group"))
        )
        .distinct()
        .order_by("first_name", "last_name", "username")
    )
