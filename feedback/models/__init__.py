"""What customers tell us back, and what managers read."""

from .report import Report
from .survey import QUESTIONS, SurveyAnswer

__all__ = ["QUESTIONS", "Report", "SurveyAnswer"]
