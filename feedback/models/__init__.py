"""What customers tell us back, and what managers read."""

from .action import ActionStep, ImprovementAction
from .answer import SurveyAnswer, SurveyReading, SurveyUse
from .awareness import Awareness
from .people import PeopleTold
from .report import Report
from .survey import QUESTIONS, Survey, SurveyQuestion, SurveyVersion
from .vote import UpdateVote

from feedback.social.models import SocialPost, SocialSource, WatchTerm  # isort: skip

__all__ = [
    "QUESTIONS",
    "ActionStep",
    "Awareness",
    "ImprovementAction",
    "PeopleTold",
    "Report",
    "SocialPost",
    "SocialSource",
    "Survey",
    "SurveyAnswer",
    "SurveyQuestion",
    "SurveyReading",
    "SurveyUse",
    "SurveyVersion",
    "UpdateVote",
    "WatchTerm",
]
