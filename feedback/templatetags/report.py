"""How the report's figures are written."""

from collections.abc import Iterable, Mapping

from django import template

from feedback import wording
from feedback.reports import Reach
from incidents.models import PromiseBreach, Severity, Stage

register = template.Library()
register.filter("duration", wording.duration)
register.filter("percent", wording.percent)
register.filter("score", wording.score)
register.filter("number", wording.number)
register.filter("off", wording.off)
register.filter("mean_estimate", wording.mean_estimate)
register.filter("share_estimate", wording.share_estimate)
register.filter("in_app", wording.in_app)


@register.filter
def at(mapping: Mapping[str, object], key: str) -> object:
    return mapping.get(key)


@register.filter
def counts_apps(channels: Iterable[Reach]) -> bool:
    """Whether the readers' browsers tell of one of them."""
    return any(reach.shown is not None for reach in channels)


@register.filter
def severity_name(code: str) -> str:
    return str(Severity(code).label)


@register.filter
def breach_name(code: str) -> str:
    return str(PromiseBreach.Kind(code).label)


@register.filter
def stage_name(code: str) -> str:
    return str(Stage(code).label)
