"""The admin of incidents: where staff declare, write, approve and follow. Thin over the verbs of the models."""

from . import (
    alert,
    aws,
    component,
    incident,
    metric,
    plan,
    proposal,
    segment,
    staff,
    status_page,
    subscriber,
    template,
    update,
)

__all__ = [
    "alert",
    "aws",
    "component",
    "incident",
    "metric",
    "plan",
    "proposal",
    "segment",
    "staff",
    "status_page",
    "subscriber",
    "template",
    "update",
]
