"""What customers tell us back, and what managers read."""

from .awareness import Awareness
from .people import PeopleTold
from .report import Report
from .survey import QUESTIONS, SurveyAnswer

__all__ = ["QUESTIONS", "Awareness", "PeopleTold", "Report", "SurveyAnswer"]
