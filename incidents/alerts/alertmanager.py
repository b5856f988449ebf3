"""Alerts of Prometheus Alertmanager (and of Grafana, which writes the same): webhook, version 4.

Source: Prometheus documentation, "Alerting configuration", `<webhook_config>`.
"""

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import verifying
from .signal import (
    SUMMARY,
    TITLE,
    Format,
    Malformed,
    Signal,
    Unknown,
    fingerprint,
    hint,
    labels,
    moment,
    need,
    part,
    text,
)

SAMPLE = {
    "version": "4",
    "groupKey": '{}:{alertname="CheckoutErrors"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "portal",
    "groupLabels": {"alertname": "CheckoutErrors"},
    "commonLabels": {"alertname": "CheckoutErrors", "service": "checkout", "severity": "critical"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example.com:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {
                "alertname": "CheckoutErrors",
                "service": "checkout",
                "severity": "critical",
                "instance": "web-1:8080",
            },
            "annotations": {
                "summary": "More than 5 % of the answers of the checkout are errors",
                "description": "For five minutes, on web-1.",
            },
            "startsAt": "2026-11-03T14:02:10.828Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.com:9090/graph",
            "fingerprint": "1a30ba71cca2921f",
        }
    ],
}


def read(payload: Any) -> list[Signal]:
    """One signal for each alert of the group. Raises Malformed, Unknown."""
    if not isinstance(payload, dict):
        raise Malformed("The body is not an object.")
    # Grafana writes version 1 of its own, with the same fields in its alerts.
    version = need(payload, "version", str)
    if version not in ("4", "1"):
        raise Unknown(f"Version “{text(version, 20)}” of the webhook is unknown; 4 is known.")
    return [_alert(number, one) for number, one in enumerate(need(payload, "alerts", list))]


def _alert(number: int, one: Any) -> Signal:
    where = f"alerts[{number}]."
    named = need(one, "labels", dict, where)
    status = need(one, "status", str, where)
    if status not in ("firing", "resolved"):
        raise Malformed(f"“{where}status” is “{text(status, 40)}”; it is firing or resolved.")
    notes = part(one, "annotations")
    title = text(notes.get("summary"), TITLE) or text(named.get("alertname"), TITLE)
    start, end = moment(one.get("startsAt")), moment(one.get("endsAt"))
    return Signal(
        fingerprint(text(one.get("fingerprint"), 2000) or sorted(map(repr, named.items()))),
        status == "firing",
        title or "?",
        text(notes.get("description"), SUMMARY) or text(notes.get("message"), SUMMARY),
        hint(named.get("severity")),
        labels(named),
        (start if status == "firing" else end) or timezone.now(),
    )


FORMAT = Format(
    label=_("Prometheus Alertmanager, Grafana"),
    read=read,
    verify=verifying.by_key,
    sample=SAMPLE,
    how_to="admin/incidents/alertsource/how/alertmanager.html",
    makes_secret=True,
)
