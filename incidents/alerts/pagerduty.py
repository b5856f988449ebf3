"""Incidents of PagerDuty: webhooks V3.

Sources: PagerDuty Developer Documentation, "Webhooks Overview" and "Verifying Webhook Signatures".
"""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import verifying
from .signal import TITLE, Format, Signal, Unknown, fingerprint, hint, labels, moment, need, part, text

# Only what says whether it goes on. Notes, responders and the like change nothing.
FIRING = {
    "incident.triggered",
    "incident.acknowledged",
    "incident.unacknowledged",
    "incident.escalated",
    "incident.reopened",
    "incident.priority_updated",
}
URGENCY = {"high": "sev2", "low": "sev3"}
SAMPLE = {
    "event": {
        "id": "5ac64822-4adc-4fda-ade0-410becf0de4f",
        "event_type": "incident.triggered",
        "resource_type": "incident",
        "occurred_at": "2026-11-03T14:02:10.169Z",
        "agent": {"id": "PLH1HKV", "summary": "Monitoring", "type": "service_reference"},
        "client": {"name": "PagerDuty"},
        "data": {
            "id": "PGR0VU2",
            "type": "incident",
            "self": "https://api.pagerduty.com/incidents/PGR0VU2",
            "html_url": "https://acme.pagerduty.com/incidents/PGR0VU2",
            "number": 2,
            "status": "triggered",
            "incident_key": "d3640fbd41094207a1c11e58e46b1662",
            "created_at": "2026-11-03T14:02:10Z",
            "title": "Checkout answers with errors",
            "service": {"id": "PF9KMXH", "summary": "Checkout", "type": "service_reference"},
            "teams": [{"id": "PFCVPS0", "summary": "Payments", "type": "team_reference"}],
            "priority": {"id": "PSO75BM", "summary": "P1", "type": "priority_reference"},
            "urgency": "high",
        },
    }
}


def identity(payload: Any) -> tuple[str, datetime | None]:
    event = part(payload, "event")
    return text(event.get("id"), 100), moment(event.get("occurred_at"))


def read(payload: Any) -> list[Signal]:
    """An incident of theirs that goes on, or is over. Raises Malformed, Unknown."""
    event = need(payload, "event", dict)
    kind = need(event, "event_type", str, "event.")
    if kind not in FIRING and kind != "incident.resolved":
        raise Unknown(f"“{text(kind, 60)}” says nothing of an alert.")
    data = need(event, "data", dict, "event.")
    service, priority = part(data, "service").get("summary"), part(data, "priority").get("summary")
    teams = data.get("teams")
    team = part(teams[0]).get("summary") if isinstance(teams, list) and teams else None
    firing = kind in FIRING
    began = moment(data.get("created_at")) if kind == "incident.triggered" else None
    named = {"service": service, "priority": priority, "urgency": data.get("urgency"), "team": team}
    signal = Signal(
        fingerprint(need(data, "id", str, "event.data.")),
        firing,
        text(data.get("title"), TITLE) or "?",
        text(data.get("html_url")),
        hint(priority) or URGENCY.get(text(data.get("urgency")), ""),
        labels({**named, "number": data.get("number")}),
        began or moment(event.get("occurred_at")) or timezone.now(),
    )
    return [signal]


FORMAT = Format(
    label=_("PagerDuty"),
    read=read,
    verify=verifying.by_pagerduty,
    sample=SAMPLE,
    how_to="admin/incidents/alertsource/how/pagerduty.html",
    identity=identity,
    takes_secret=True,
)
