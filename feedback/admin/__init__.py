from feedback.social import admin as social

from . import action, answer, evidence, report, report_mail, review, survey

__all__ = ["action", "answer", "evidence", "report", "report_mail", "review", "social", "survey"]
