"""The admin of incidents: where staff declare, write, approve and follow. Thin over the verbs of the models."""

from . import (
    alert,
    api_token,
    component,
    event,
    incident,
    plan,
    proposal,
    question,
    runbook,
    runbook_run,
    segment,
    staff,
    status_page,
    subscriber,
    template,
    update,
)

__all__ = [
    "alert",
    "api_token",
    "component",
    "event",
    "incident",
    "plan",
    "proposal",
    "question",
    "runbook",
    "runbook_run",
    "segment",
    "staff",
    "status_page",
    "subscriber",
    "template",
    "update",
]
