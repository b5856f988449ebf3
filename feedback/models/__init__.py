"""What customers tell us back, and what managers read."""

from .action import ActionStep, ImprovementAction
from .answer import SurveyAnswer, SurveyReading, SurveyUse
from .report import Report
from .survey import QUESTIONS, Survey, SurveyQuestion, SurveyVersion
from .vote import UpdateVote

__all__ = [
    "QUESTIONS",
    "ActionStep",
    "ImprovementAction",
    "Report",
    "Survey",
    "SurveyAnswer",
    "SurveyQuestion",
    "SurveyReading",
    "SurveyUse",
    "SurveyVersion",
    "UpdateVote",
]
