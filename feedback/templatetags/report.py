"""How the report's figures are written."""

from django import template

from feedback import wording
from incidents.models import Severity, Stage

register = template.Library()
register.filter("duration", wording.duration)
register.filter("percent", wording.percent)
register.filter("score", wording.score)
register.filter("number", wording.number)


@register.filter
def severity_name(code: str) -> str:
    return str(Severity(code).label)


@register.filter
def stage_name(code: str) -> str:
    return str(Stage(code).label)
