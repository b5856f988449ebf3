from feedback.social import admin as social

from . import action, answer, report, survey

__all__ = ["action", "answer", "report", "social", "survey"]
