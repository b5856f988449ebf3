"""The portal's own measures: put into CloudWatch each minute, and a dashboard that shows them."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import F, Max, Min, Q, Sum
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.models import Batch, Delivery
from incidents.models import AwsAccount, Incident, IncidentUpdate

from .asking import AwsError, ask, note

EVERY = timedelta(seconds=60)
FAILED_WITHIN = timedelta(minutes=5)
SENT_WITHIN = timedelta(days=1)  # messages that are looked at: older ones fail no more, or nobody waits for them
# Name → unit of CloudWatch, title.
MEASURES: dict[str, tuple[str, Any]] = {
    "OpenIncidents": ("Count", gettext_lazy("Open incidents")),
    "MinutesOverdue": ("Count", gettext_lazy("Minutes that the latest update is overdue")),
    "MessagesWaiting": ("Count", gettext_lazy("Messages that wait")),
    "MessagesFailed": ("Count", gettext_lazy("Messages that failed in the last 5 minutes")),
    "OldestMessageSeconds": ("Seconds", gettext_lazy("For how long the oldest message has waited")),
}


def measure() -> dict[str, float]:
    """Each measure as it is now. Four queries, however much there is."""
    now = timezone.now()
    told = Max("updates__published_at", filter=Q(updates__status=IncidentUpdate.Status.PUBLISHED))
    running = Incident.objects.open().filter(imported_from=None, maintenance=False)
    incidents = list(running.select_related("plan_version").annotate(told_at=told))
    due = [one.due_after(one.told_at) for one in incidents]  # type: ignore[attr-defined]
    late = max(((now - at).total_seconds() for at in due if at), default=0)
    waiting = Batch.objects.filter(done_at=None, dispatch__cancelled_at=None, dispatch__not_before__lte=now).aggregate(
        n=Sum(F("size") - F("done_to")), since=Min("dispatch__not_before")
    )
    failed = Delivery.objects.filter(
        dispatch__created_at__gte=now - SENT_WITHIN, status=Delivery.Status.FAILED, at__gte=now - FAILED_WITHIN
    )
    return {
        "OpenIncidents": len(incidents),
        "MinutesOverdue": max(late, 0) // 60,
        "MessagesWaiting": waiting["n"] or 0,
        "MessagesFailed": failed.count(),
        "OldestMessageSeconds": round((now - waiting["since"]).total_seconds()) if waiting["since"] else 0,
    }


def send() -> None:
    """Put the measures where they are wanted, once a minute; by one worker. One that cannot be put is lost."""
    now = timezone.now()
    due = AwsAccount.objects.filter(
        Q(measured_at=None) | Q(measured_at__lte=now - EVERY),
        Q(held_until=None) | Q(held_until__lte=now),
        enabled=True,
        sends_measures=True,
    )
    for account in due.order_by("pk"):
        mine = AwsAccount.objects.filter(pk=account.pk, measured_at=account.measured_at)
        if not mine.update(measured_at=now):
            continue
        data = [
            {
                "MetricName": name,
                "Value": float(value),
                "Unit": MEASURES[name][0],
                "Timestamp": now,
                "Dimensions": where_we_are(),
            }
            for name, value in measure().items()
        ]
        try:
            ask(account, "cloudwatch", "PutMetricData", Namespace=account.namespace, MetricData=data)
            note(account, None)
        except AwsError as error:
            note(account, error)


def where_we_are() -> list[dict[str, str]]:
    """Tells this portal from others in the same account."""
    return [{"Name": "Portal", "Value": urlsplit(settings.PORTAL_URL).netloc or "portal"}]


# ── The dashboard ───────────────────────────────────────────────────────────


def dashboard(account: AwsAccount) -> str:
    """The body of the dashboard, as JSON that a person can read; in the portal's own language."""
    [where] = where_we_are()
    with translation.override(settings.LANGUAGE_CODE):
        note_of = _("%(portal)s: what customers were promised, and what is on its way to them. %(url)s")
        widgets: list[dict[str, Any]] = [
            {
                "type": "text",
                "x": 0,
                "y": 0,
                "width": 24,
                "height": 2,
                "properties": {
                    "markdown": note_of % {"portal": settings.PORTAL_NAME, "url": f"{settings.PORTAL_URL}/admin/"}
                },
            }
        ]
        for n, (name, (_unit, title)) in enumerate(MEASURES.items()):
            properties = {
                "title": str(title),
                "metrics": [[account.namespace, name, where["Name"], where["Value"]]],
                "region": account.region,
                "view": "timeSeries",
                "stat": "Maximum",
                "period": 60,
                "yAxis": {"left": {"min": 0}},
            }
            place = {"x": 8 * (n % 3), "y": 2 + 6 * (n // 3), "width": 8, "height": 6}
            widgets.append({"type": "metric", **place, "properties": properties})
    return json.dumps({"widgets": widgets}, indent=2, ensure_ascii=False)


def put_dashboard(account: AwsAccount) -> list[str]:
    """Write the dashboard, over one of this name; what CloudWatch remarks about it. Raises AwsError."""
    body = dashboard(account)
    answer = ask(account, "cloudwatch", "PutDashboard", DashboardName=account.dashboard, DashboardBody=body)
    note(account, None)
    AwsAccount.objects.filter(pk=account.pk).update(dashboard_at=timezone.now())
    return [account.mask(one.get("Message", "")) for one in answer.get("DashboardValidationMessages", ())]
