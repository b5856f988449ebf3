"""The admin of incidents: where staff declare, write, approve and follow. Thin over the verbs of the models."""

from . import component, incident, plan, segment, staff, status_page, subscriber, template, update

__all__ = ["component", "incident", "plan", "segment", "staff", "status_page", "subscriber", "template", "update"]
