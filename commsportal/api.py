"""The whole REST API: what each app has of it. incidents/ must not know of feedback/, so they are joined here."""

from feedback.api import router as reports
from incidents.api import api

api.add_router("", reports)

__all__ = ["api"]
