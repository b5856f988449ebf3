"""The admin of incidents: where staff declare, write, approve and follow. Thin over the verbs of the models."""

from . import (
    alert,
    chat,
    component,
    incident,
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
    "chat",
    "component",
    "incident",
    "plan",
    "proposal",
    "segment",
    "staff",
    "status_page",
    "subscriber",
    "template",
    "update",
]
