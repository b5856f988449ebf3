"""What customers tell us back, and what managers read."""

from .answer import SurveyAnswer, SurveyReading, SurveyUse
from .report import Report
from .survey import QUESTIONS, Survey, SurveyQuestion, SurveyVersion

__all__ = [
    "QUESTIONS",
    "Report",
    "Survey",
    "SurveyAnswer",
    "SurveyQuestion",
    "SurveyReading",
    "SurveyUse",
    "SurveyVersion",
]
