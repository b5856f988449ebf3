"""What customers tell us back, and what managers read."""

from .people import PeopleTold
from .report import Report
from .survey import QUESTIONS, SurveyAnswer

__all__ = ["QUESTIONS", "PeopleTold", "Report", "SurveyAnswer"]
