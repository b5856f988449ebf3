"""Alerts of anything else that can sign: our own small format, with the signature of Standard Webhooks."""

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import verifying
from .signal import SUMMARY, TITLE, Format, Malformed, Signal, fingerprint, hint, labels, moment, need, part, text

FIELDS = ("fingerprint", "status", "title", "summary", "severity", "labels", "at")
MOST = 500  # alerts in one message
SAMPLE = {
    "alerts": [
        {
            "fingerprint": "checkout-errors",
            "status": "firing",
            "title": "Checkout answers with errors",
            "summary": "More than 5 % for five minutes.",
            "severity": "critical",
            "labels": {"service": "checkout", "site": "Milan"},
            "at": "2026-11-03T14:02:10Z",
        }
    ]
}


def read(payload: Any) -> list[Signal]:
    """Each alert of the list. Raises Malformed, with the field, its value and the fix."""
    alerts = need(payload, "alerts", list)
    if len(alerts) > MOST:
        raise Malformed(f"“alerts” has {len(alerts)} entries; send {MOST} at most in one message.")
    return [_alert(f"alerts[{number}].", one) for number, one in enumerate(alerts)]


def _alert(where: str, one: Any) -> Signal:
    for name in part(one).keys() - set(FIELDS):
        raise Malformed(f"“{where}{text(name, 40)}” is no field of an alert; those are: {', '.join(FIELDS)}.")
    status = need(one, "status", str, where)
    if status not in ("firing", "resolved"):
        raise Malformed(f"“{where}status” is “{text(status, 40)}”; use firing or resolved.")
    said, at = one.get("at"), moment(one.get("at"))
    if said is not None and at is None:
        raise Malformed(f"“{where}at” is “{text(said, 40)}”; write a time as 2026-11-03T14:02:10Z, or leave it out.")
    severity = one.get("severity")
    if severity is not None and not hint(severity):
        raise Malformed(
            f"“{where}severity” is “{text(severity, 40)}”; use critical, major, minor or notice, or leave it out."
        )
    title = text(need(one, "title", str, where), TITLE)
    return Signal(
        fingerprint(need(one, "fingerprint", str, where)),
        status == "firing",
        title or "?",
        text(one.get("summary"), SUMMARY),
        hint(severity),
        labels(one.get("labels")),
        at or timezone.now(),
    )


FORMAT = Format(
    label=_("Signed webhook (Standard Webhooks)"),
    read=read,
    verify=verifying.by_standard_webhooks,
    sample=SAMPLE,
    how_to="admin/incidents/alertsource/how/generic.html",
    makes_secret=True,
)
