"""Events of Amazon EventBridge: through a topic of SNS, or an API destination that shows the source's secret.

Sources: Amazon EventBridge Events Reference, "Amazon CloudWatch events" and "AWS Systems Manager Incident Manager
events" (which come by way of CloudTrail); AWS Health User Guide, "Reference: AWS Health events Amazon EventBridge
schema".
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from incidents.aws import RECORD_LABEL, SOURCE

from . import verifying
from .signal import SUMMARY, TITLE, Format, Malformed, Signal, Unknown, fingerprint, labels, moment, need, part, text

SAMPLE = {
    "version": "0",
    "id": "c4c1c1c9-6542-e61b-6ef0-8c4d36933a92",
    "detail-type": "CloudWatch Alarm State Change",
    "source": "aws.cloudwatch",
    "account": "123456789012",
    "time": "2026-11-03T14:02:10Z",
    "region": "eu-south-1",
    "resources": ["arn:aws:cloudwatch:eu-south-1:123456789012:alarm:checkout-5xx"],
    "detail": {
        "alarmName": "checkout-5xx",
        "configuration": {"description": "More than 5 % of the answers of the checkout are errors."},
        "previousState": {"value": "OK", "timestamp": "2026-11-03T13:02:10.000+0000"},
        "state": {
            "value": "ALARM",
            "reason": "Threshold Crossed: 3 datapoints were greater than the threshold (5.0).",
            "timestamp": "2026-11-03T14:02:10.000+0000",
        },
    },
}


def identity(event: Any) -> tuple[str, datetime | None]:
    """EventBridge may tell the same event twice, by whatever way."""
    return text(part(event).get("id"), 100), moment(part(event).get("time"))


def read(event: Any) -> list[Signal]:
    """What an event says that fires or stops. Raises Malformed, Unknown."""
    kind, detail = need(event, "detail-type", str), part(event, "detail")
    if not detail:
        raise Malformed("“detail” is missing or empty, or not an object. Let the rule pass on the whole event.")
    reader = READERS.get(kind)
    if reader is None:
        return [_any(event, kind, detail)]
    return [reader(event, detail)]


def _about(event: dict[str, Any]) -> dict[str, Any]:
    resources = event.get("resources")
    first = resources[0] if isinstance(resources, list) and resources else None
    return {
        "source": event.get("source"),
        "detail-type": event.get("detail-type"),
        "account": event.get("account"),
        "region": event.get("region"),
        "resource": first,
    }


def _alarm(event: dict[str, Any], detail: dict[str, Any]) -> Signal:
    name, state = need(detail, "alarmName", str, "detail."), part(detail, "state")
    if state.get("value") not in ("ALARM", "OK"):
        raise Unknown(f"The state “{text(state.get('value'), 40)}” says nothing of an alarm.")
    about = _about(event)
    return Signal(
        fingerprint(text(about["resource"], 2000) or f"{about['account']}/{about['region']}/{name}"),
        state["value"] == "ALARM",
        text(name, TITLE),
        text(part(detail, "configuration").get("description"), SUMMARY) or text(state.get("reason"), SUMMARY),
        labels=labels({"alarm": name}, about, part(detail, "alarmTags")),
        at=moment(state.get("timestamp")) or moment(event.get("time")) or timezone.now(),
    )


def _health(event: dict[str, Any], detail: dict[str, Any]) -> Signal:
    """Only what fails at AWS: its notices and planned work are no alerts."""
    arn, category = need(detail, "eventArn", str, "detail."), detail.get("eventTypeCategory")
    if category != "issue":
        raise Unknown(f"An event of AWS Health of the category “{text(category, 40)}” is no alert.")
    own = {name: detail.get(name) for name in ("service", "eventTypeCode", "eventRegion")}
    said = detail.get("eventDescription")
    words = said[0] if isinstance(said, list) and said else {}
    closed = detail.get("statusCode") == "closed"
    times = [detail.get("endTime")] if closed else [detail.get("startTime")]
    return Signal(
        fingerprint(arn),
        not closed,
        text(f"AWS {text(own['service'], 60)}: {text(own['eventTypeCode'], 120)}", TITLE),
        text(part(words).get("latestDescription"), SUMMARY),
        labels=labels(own, _about(event)),
        at=next(filter(None, map(moment, [*times, event.get("time")])), None) or timezone.now(),
    )


def _call(event: dict[str, Any], detail: dict[str, Any]) -> Signal:
    """A call to AWS, as CloudTrail saw it: an incident that Incident Manager opened or resolved; else any event."""
    if detail.get("eventSource") != "ssm-incidents.amazonaws.com":
        return _any(event, event["detail-type"], detail)
    name, asked = text(detail.get("eventName"), 60), part(detail, "requestParameters")
    if detail.get("errorCode"):
        raise Unknown(f"{name} was refused: {text(detail['errorCode'], 60)}.")
    at = moment(detail.get("eventTime")) or moment(event.get("time")) or timezone.now()
    if name == "UpdateIncidentRecord" and asked.get("status") == "RESOLVED":
        arn = need(asked, "arn", str, "detail.requestParameters.")
        return Signal(fingerprint(arn), False, text(asked.get("title"), TITLE) or "Incident Manager", at=at)
    if name != "StartIncident":
        raise Unknown(f"{name} neither opens nor resolves an incident.")
    if part(asked, "triggerDetails").get("source") == SOURCE:
        raise Unknown("It was opened from this portal.")
    arn = need(part(detail, "responseElements"), "incidentRecordArn", str, "detail.responseElements.")
    plan = text(asked.get("responsePlanArn"))
    return Signal(
        fingerprint(arn),
        True,
        text(asked.get("title"), TITLE) or f"Incident Manager: {plan.rpartition('/')[2] or arn.split('/')[-1]}",
        severity_hint=IMPACTS.get(text(asked.get("impact")), ""),
        labels=labels({RECORD_LABEL: arn, "response_plan": plan}, _about(event)),
        at=at,
    )


def _any(event: dict[str, Any], kind: str, detail: dict[str, Any]) -> Signal:
    """Any other event fires; the portal cannot know what would end it."""
    about = _about(event)
    simple = {name: value for name, value in detail.items() if isinstance(value, str | int | float)}
    return Signal(
        fingerprint(about["source"], kind, about["account"], about["region"], about["resource"]),
        True,
        text(f"{kind}: {text(about['resource'], 120) or text(about['source'], 60)}", TITLE),
        labels=labels(about, simple),
        at=moment(event.get("time")) or timezone.now(),
    )


READERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], Signal]] = {
    "CloudWatch Alarm State Change": _alarm,
    "AWS Health Event": _health,
    "AWS API Call via CloudTrail": _call,
}
IMPACTS = {"1": "sev1", "2": "sev2", "3": "sev3", "4": "sev4", "5": "sev4"}  # of Incident Manager
FORMAT = Format(
    label=_("Amazon EventBridge"),
    read=read,
    verify=verifying.by_sns_or_key,
    sample=SAMPLE,
    how_to="admin/incidents/alertsource/how/eventbridge.html",
    identity=identity,
    topics=True,
    makes_secret=True,
)
