"""Alerts in: monitoring systems tell the portal what fires, and it proposes incidents. People declare them.

One file for each format, which reads payloads and touches no database; `verifying` knows who wrote them, `taking_in`
decides where they belong, `views` is where they arrive.
"""

from . import alertmanager, cloudwatch, eventbridge, generic, pagerduty
from .signal import Format

FORMATS: dict[str, Format] = {
    "cloudwatch": cloudwatch.FORMAT,
    "eventbridge": eventbridge.FORMAT,
    "alertmanager": alertmanager.FORMAT,
    "pagerduty": pagerduty.FORMAT,
    "generic": generic.FORMAT,
}


def choices() -> list[tuple[str, str]]:
    return [(key, one.label) for key, one in FORMATS.items()]
