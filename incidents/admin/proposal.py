"""What monitoring proposes: cards on the dashboard, a page with the alerts, and a person's decision."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from commsportal.admin import ReadOnlyAdmin
from incidents.errors import NotAllowed, Problem
from incidents.models import BADNESS, AlertSource, ComponentStatus, Incident, Proposal, ProposedComponent
from incidents.models.component import OPERATE, VIEW
from incidents.rendering import moment

from . import glance
from .refusal import refused

SHOWN = 20  # alerts on a page; the list has all of them
MOST_CARDS = 12
LATELY = timedelta(hours=1)  # for which the dashboard says that messages were turned away


@dataclass(frozen=True)
class Card:
    """A proposal as the dashboard and the declare page show it."""

    row: Proposal
    told: str
    over: bool  # nothing of it fires any more
    worst: str
    may_decide: bool

    @property
    def url(self) -> str:
        return glance.link("incidents_proposal_change", self.row.pk)

    @property
    def declare_url(self) -> str:
        return f"{glance.link('incidents_incident_declare')}?proposal={self.row.pk}"


def _with_all(found: QuerySet[Proposal]) -> Any:
    parts = ProposedComponent.objects.select_related("component")
    return found.counted().prefetch_related(Prefetch("proposed", parts))  # type: ignore[attr-defined]


def cards(user: Any, mine: set[int]) -> list[Card]:
    """Those that wait for a decision, as far as this person sees them, the newest first. Two queries.

    One more than MOST_CARDS if there are more.
    """
    waiting = _with_all(Proposal.objects.for_user(user).open()).order_by("-pk")[: MOST_CARDS + 1]
    return [card(one, one.may_decide(user, mine)) for one in waiting]


def card(row: Proposal, may_decide: bool) -> Card:
    """`row` is counted()."""
    states = [one.status for one in row.proposed.all()]
    worst = max(states, key=lambda s: BADNESS[ComponentStatus(s)], default=ComponentStatus.OPERATIONAL)
    firing = row.firing_n  # type: ignore[attr-defined]
    return Card(row, _told(row), not firing, worst if states else "off", may_decide)


def _told(row: Any) -> str:
    """“3 alerts since 14:02 CET; 2 still fire.”"""
    count, firing = row.alerts_n, row.firing_n
    since = moment(row.since or row.opened_at)
    text = ngettext("%(n)d alert since %(time)s", "%(n)d alerts since %(time)s", count) % {"n": count, "time": since}
    if not firing:
        return _("%(alerts)s; all of them are over.") % {"alerts": text}
    if firing == count:
        return f"{text}."
    still = ngettext("%(n)d still fires", "%(n)d still fire", firing) % {"n": firing}
    return f"{text}; {still}."


def turned_away(user: Any) -> list[dict[str, str]]:
    """Sources of which messages were turned away lately, for those who see sources."""
    if not (user.has_perm("incidents.view_alertsource") and (user.has_perm(VIEW) or user.has_perm(OPERATE))):
        return []
    found = AlertSource.objects.filter(dropped_at__gt=timezone.now() - LATELY)
    text = _("%(source)s: too many messages in a minute, the last was turned away at %(time)s (%(n)d so far).")
    return [
        {
            "words": text % {"source": one.name, "time": moment(one.dropped_at), "n": one.dropped},
            "url": glance.link("incidents_alertsource_change", one.pk),
        }
        for one in found
    ]


def alerts_of(thing: Proposal | Incident) -> dict[str, Any]:
    """What fires first, then what was heard last; and how many more there are."""
    rows = list(thing.alerts.select_related("source").order_by("state", "-last_at", "-pk")[: SHOWN + 1])
    more = thing.alerts.count() - SHOWN if len(rows) > SHOWN else 0
    return {"alerts": rows[:SHOWN], "more_alerts": more}


# ── Towards an incident ─────────────────────────────────────────────────────


def of(request: HttpRequest) -> str:
    """The page of the proposal that a request names; the dashboard if it names none."""
    key = (request.POST or request.GET).get("proposal", "")
    return glance.link("incidents_proposal_change", key) if key.isdecimal() else glance.link("index")


def to_declare(request: HttpRequest) -> Proposal | None:
    """The proposal that the declare page begins with, if it names one.

    Raises NotAllowed, WrongState (when it is asked for; when it is sent, `accept` asks again), Http404.
    """
    key = (request.POST or request.GET).get("proposal", "")
    if not key:
        return None
    proposal = visible(request.user, key)
    if not proposal.may_decide(request.user):
        raise NotAllowed(_("You may not declare incidents of all that is proposed here."))
    if request.method != "POST":
        proposal.check_open()
    return proposal


def visible(user: Any, key: str) -> Proposal:
    """A proposal as this person may see it, with counts; one that was joined with another is that other. Http404."""
    mine = _with_all(Proposal.objects.for_user(user)).select_related("scenario", "decided_by", "incident")
    for _step in range(10):
        found = mine.filter(pk=int(key)).first() if key.isdecimal() and len(key) < 19 else None
        if found is None:
            break
        if not found.joined_id:
            return found
        key = str(found.joined_id)
    raise Http404(_("There is no such proposal."))


@admin.register(Proposal)
class ProposalAdmin(ReadOnlyAdmin):
    """Whoever sees incidents sees what could become one."""

    list_display = ["title", "state", "component_names", "alert_count", "opened_at"]
    list_filter = ["state"]
    search_fields = ["title"]
    ordering = ["-pk"]
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Proposal]:
        return _with_all(super().get_queryset(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.view_incident") and self._in_scope(request, obj)

    @admin.display(description=gettext_lazy("components"))
    def component_names(self, row: Proposal) -> str:
        return ", ".join(one.component.name for one in row.proposed.all()) or "—"

    @admin.display(description=gettext_lazy("alerts"))
    def alert_count(self, row: Proposal) -> int:
        return row.alerts_n  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/dismiss/", wrap(self.dismiss_view), name="incidents_proposal_dismiss"),
            path("<int:pk>/reopen/", wrap(self.reopen_view), name="incidents_proposal_reopen"),
        ]
        return [*own, *super().get_urls()]

    def _visible(self, request: HttpRequest, key: Any) -> Proposal:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return visible(request.user, str(key))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """What fires, and what a person can make of it."""
        proposal = self._visible(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Monitoring proposes an incident"),
            "card": card(proposal, proposal.may_decide(request.user)),
            **alerts_of(proposal),
        }
        return render(request, "admin/incidents/proposal/page.html", context)

    def dismiss_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Say that it is no incident, and why."""
        proposal = self._visible(request, pk)
        back = glance.link("incidents_proposal_change", proposal.pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        reason = request.POST.get("reason", "")
        try:
            proposal.dismiss(request.user, reason)
        except Problem as error:
            return refused(request, error, back)
        self.log_change(request, proposal, _("Dismissed: %(reason)s") % {"reason": reason.strip()[:500]})
        messages.success(request, _("Dismissed. Customers were told nothing."))
        return HttpResponseRedirect(back)

    def reopen_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        proposal = self._visible(request, pk)
        back = glance.link("incidents_proposal_change", proposal.pk)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        try:
            proposal.reopen(request.user)
        except Problem as error:
            return refused(request, error, back)
        self.log_change(request, proposal, _("Opened again."))
        messages.success(request, _("It waits for a decision again."))
        return HttpResponseRedirect(back)
