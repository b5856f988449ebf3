"""The admin of incidents: where staff declare, write, approve and follow. Thin over the verbs of the models."""

from . import incident, plan, segment, status_page, subscriber, update

__all__ = ["incident", "plan", "segment", "status_page", "subscriber", "update"]
