"""What the page of an incident shows of AWS, and the two things that a person can do about it there."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from incidents.aws import calling, coordinating
from incidents.errors import Problem, Refused
from incidents.models import AwsAccount, AwsCall, AwsEvent, DashboardLink, Incident, MetricGraph, MetricImage

from . import glance
from .refusal import refused

EVENTS = 8  # of a timeline that are shown, the newest
State = AwsCall.State


def card(request: HttpRequest, incident: Incident, operates: bool) -> dict[str, Any]:
    """{"aws", "graphs", "dashboards"} for the page of an incident. Six queries at most."""
    return {"aws": _there(request, incident, operates), **_watched(request, incident)}


def _watched(request: HttpRequest, incident: Incident) -> dict[str, Any]:
    """The last picture of each graph, and the shared dashboards, of its components, as far as this person sees them."""
    hit = incident.incident_components.values("component")
    seen = MetricGraph.objects.for_user(request.user).filter(component__in=hit, enabled=True)  # type: ignore[arg-type]
    last: dict[int, MetricImage] = {}
    if not incident.is_over:  # a picture is of now, and later ones say nothing of then
        images = MetricImage.objects.filter(graph__in=seen.order_by().values("pk")).select_related("graph")
        order = ("graph__position", "graph_id", "-taken_at", "-pk")
        for image in images.defer("content", "graph__widget").order_by(*order):
            last.setdefault(image.graph_id, image)
    links = DashboardLink.objects.for_user(request.user).filter(component__in=hit)  # type: ignore[arg-type]
    return {"graphs": list(last.values()), "dashboards": list(links.order_by("title", "pk"))}


def _there(request: HttpRequest, incident: Incident, operates: bool) -> dict[str, Any] | None:
    """What is there of it; None where no account opens incidents."""
    accounts = list(AwsAccount.objects.exclude(opens_in=""))
    records = list(incident.aws_records.select_related("account").order_by("pk"))
    if not accounts and not records:
        return None
    for record in records:
        record.incident = incident
    calls = list(incident.aws_calls.exclude(state=State.SENT).select_related("account").order_by("pk"))
    events = AwsEvent.objects.filter(record__in=records).order_by("-at", "-pk")[:EVENTS] if records else []
    taken = {one.account_id for one in records} | {one.account_id for one in calls}
    may = operates and request.user.has_perm("incidents.declare_incident")
    free = [one for one in accounts if one.enabled and one.pk not in taken]
    return {
        "records": records,
        "events": list(events),
        "failed": [one for one in calls if one.state in (State.FAILED, State.UNKNOWN)],
        "waiting": [one for one in calls if one.state in (State.WAITING, State.SENDING)],
        "free": free if may and not (incident.is_over or incident.maintenance) else [],
        "may": may,
    }


def view(request: HttpRequest, pk: int) -> HttpResponse:
    """POST: `do` is open (at `account`) or again. Leads back to the page of the incident."""
    if not request.user.has_perm("incidents.view_incident"):
        raise PermissionDenied
    incident = Incident.objects.for_user(request.user).filter(pk=pk).first()  # type: ignore[arg-type]
    if incident is None:
        raise Http404(_("There is no such incident."))
    back = glance.link("incidents_incident_change", pk)
    if request.method != "POST":
        return HttpResponseRedirect(back)
    try:
        messages.success(
            request, _again(request, incident) if request.POST.get("do") == "again" else _open(request, incident)
        )
    except Problem as error:
        return refused(request, error, back)
    return HttpResponseRedirect(f"{back}#aws")


def _open(request: HttpRequest, incident: Incident) -> str:
    key = request.POST.get("account", "")
    account = AwsAccount.objects.filter(pk=int(key)).first() if key.isdecimal() and len(key) < 19 else None
    if account is None:
        raise Refused(_("Choose the account at AWS where it is opened."))
    call = coordinating.open_there(account, incident, request.user)
    place = account.get_opens_in_display()
    if call is None:
        return _("It was open in %(place)s already: the two are linked now.") % {"place": place}
    return _("It is being opened in %(place)s.") % {"place": place}


def _again(request: HttpRequest, incident: Incident) -> str:
    n = calling.again(incident, request.user)
    return ngettext("%(n)d call is made again.", "%(n)d calls are made again.", n) % {"n": n}
