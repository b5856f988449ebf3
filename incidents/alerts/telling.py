"""Tell those who may declare an incident what monitoring proposes: each proposal once, and a storm in one notice."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from incidents import telling_staff
from incidents.models import CommunicationPlan, Proposal, Role, Severity, StaffNotice
from incidents.models.alert import one_at_a_time

MOST = 5  # people who are told where no plan names an incident manager
TITLES = 5  # that a notice of many proposals names
AT_ONCE = 100
QUIET = timedelta(minutes=5)  # after a notice further proposals wait and are told together, unless they are worse
LATE = timedelta(minutes=30)  # what has waited longer is no news


def tell() -> None:
    """Tell of the open proposals that nobody was told of yet. Running it twice tells nobody twice."""
    now = timezone.now()
    untold = Proposal.objects.open().filter(told_at=None, opened_at__gt=now - LATE)
    if not untold.exists():
        return
    with transaction.atomic():
        one_at_a_time()
        found = {one: whom(one) for one in untold.prefetch_related("proposed__component").order_by("pk")[:AT_ONCE]}
        lately = _told_lately(now - QUIET)
        due = {one: people for one, people in found.items() if not all(_waits(one, who, lately) for who in people)}
        mine: dict[Any, list[Proposal]] = {}
        for one, people in due.items():
            for who in people:
                mine.setdefault(who, []).append(one)
        for who, proposals in mine.items():
            _tell(who, proposals)
        Proposal.objects.filter(pk__in=[one.pk for one in due]).update(told_at=now)


def whom(proposal: Proposal) -> list[Any]:
    """The incident managers of the plan that would apply, who may decide; else a few of those who may."""
    components = [one.component for one in proposal.proposed.all()]
    plan = CommunicationPlan.choose(components, proposal.severity)
    if plan:
        held = plan.roles.filter(role=Role.INCIDENT_MANAGER, user__is_active=True).select_related("user")
        if people := [one.user for one in held if proposal.may_decide(one.user)][:MOST]:
            return people
    backend = "django.contrib.auth.backends.ModelBackend"
    able = get_user_model()._default_manager.with_perm("incidents.declare_incident", backend=backend)
    able = able.filter(is_active=True, is_superuser=False).order_by("pk")
    return [one for one in able[: 10 * MOST] if proposal.may_decide(one)][:MOST]


def _told_lately(since: Any) -> dict[int, str]:
    """By person, the worst severity of what they were told of since then."""
    told = StaffNotice.objects.filter(kind=StaffNotice.Kind.PROPOSAL, created_at__gt=since, user__isnull=False)
    worst: dict[int, str] = {}
    for who, severity in told.values_list("user", "proposal__severity"):
        worst[who] = min(worst.get(who, severity), severity)
    return worst


def _waits(proposal: Proposal, who: Any, lately: dict[int, str]) -> bool:
    """Whether this person was told of something as bad just now, and looks at the dashboard anyway."""
    return who.pk in lately and lately[who.pk] <= proposal.severity


def _tell(who: Any, proposals: list[Proposal]) -> None:
    def words() -> tuple[str, str]:
        n = len(proposals)
        names = [f"{one.title} ({Severity(one.severity).label})" for one in proposals[:TITLES]]
        if n == 1:
            hit = get_text_list([one.component.name for one in proposals[0].proposed.all()], _("and"))
            subject = _("Monitoring proposes an incident: %(title)s") % {"title": names[0]}
            affected = _("Affected: %(components)s.") % {"components": hit} + " " if hit else ""
        else:
            subject = ngettext("Monitoring proposes %(n)d incident", "Monitoring proposes %(n)d incidents", n) % {
                "n": n
            }
            affected = "; ".join(names) + ("; …" if n > TITLES else "") + ". "
        return subject, affected + _("Customers have been told nothing. Declare it, or say that it is no incident.")

    first = min(proposals, key=lambda one: one.severity)
    path = f"/admin/incidents/proposal/{first.pk}/change/"
    if len(proposals) > 1:
        path = "/admin/incidents/proposal/?state__exact=open"
    about = telling_staff.of_proposals([one.pk for one in proposals])
    telling_staff.tell([who], StaffNotice.Kind.PROPOSAL, about, words, path, proposal=first)
