"""Alarms of Amazon CloudWatch, as they come through a topic of Amazon SNS.

Source: Amazon CloudWatch User Guide, "Notifying users on alarm changes".
"""

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import verifying
from .signal import SUMMARY, TITLE, Format, Signal, Unknown, fingerprint, labels, moment, need, part, text

SAMPLE = {
    "AlarmName": "checkout-5xx",
    "AlarmDescription": "More than 5 % of the answers of the checkout are errors.",
    "AWSAccountId": "123456789012",
    "AlarmConfigurationUpdatedTimestamp": "2026-10-02T09:11:00.000+0000",
    "NewStateValue": "ALARM",
    "NewStateReason": "Threshold Crossed: 3 out of the last 3 datapoints were greater than the threshold (5.0).",
    "StateChangeTime": "2026-11-03T14:02:10.000+0000",
    "Region": "EU (Milan)",
    "AlarmArn": "arn:aws:cloudwatch:eu-south-1:123456789012:alarm:checkout-5xx",
    "OldStateValue": "OK",
    "Trigger": {
        "MetricName": "HTTPCode_Target_5XX_Count",
        "Namespace": "AWS/ApplicationELB",
        "Dimensions": [{"name": "LoadBalancer", "value": "app/checkout/50dc6c495c0c9188"}],
    },
}


def read(alarm: Any) -> list[Signal]:
    """An alarm that went off or went quiet. Missing data is neither. Raises Malformed, Unknown."""
    if not isinstance(alarm, dict) or "AlarmName" not in alarm:
        raise Unknown("This is no alarm of CloudWatch.")
    name, state = need(alarm, "AlarmName", str), need(alarm, "NewStateValue", str)
    if state not in ("ALARM", "OK"):
        raise Unknown(f"The state “{text(state, 40)}” says nothing of an alarm.")
    trigger = part(alarm, "Trigger")
    dimensions = trigger.get("Dimensions")
    named = {
        text(one.get("name")): one.get("value")
        for one in (dimensions if isinstance(dimensions, list) else [])
        if isinstance(one, dict)
    }
    own = {
        "alarm": name,
        "account": alarm.get("AWSAccountId"),
        "region": alarm.get("Region"),
        "namespace": trigger.get("Namespace"),
        "metric": trigger.get("MetricName"),
    }
    signal = Signal(
        fingerprint(text(alarm.get("AlarmArn"), 2000) or f"{alarm.get('AWSAccountId')}/{alarm.get('Region')}/{name}"),
        state == "ALARM",
        text(name, TITLE),
        text(alarm.get("AlarmDescription"), SUMMARY) or text(alarm.get("NewStateReason"), SUMMARY),
        labels=labels(own, named),
        at=moment(alarm.get("StateChangeTime")) or timezone.now(),
    )
    return [signal]


FORMAT = Format(
    label=_("Amazon CloudWatch, through SNS"),
    read=read,
    verify=verifying.by_sns,
    sample=SAMPLE,
    how_to="admin/incidents/alertsource/how/cloudwatch.html",
    topics=True,
)
