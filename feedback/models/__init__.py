"""What customers tell us back, and what managers read."""

from .action import ActionStep, ImprovementAction
from .answer import SurveyAnswer, SurveyReading, SurveyUse
from .awareness import Awareness
from .evidence import EvidenceKey, EvidencePack
from .people import PeopleTold
from .report import Report
from .report_mail import ReportMail, ReportSubscription
from .review import CommunicationReview
from .survey import QUESTIONS, Survey, SurveyQuestion, SurveyVersion
from .vote import UpdateVote

from feedback.social.models import SocialPost, SocialSource, WatchTerm  # isort: skip

__all__ = [
    "QUESTIONS",
    "ActionStep",
    "Awareness",
    "CommunicationReview",
    "EvidenceKey",
    "EvidencePack",
    "ImprovementAction",
    "PeopleTold",
    "Report",
    "ReportMail",
    "ReportSubscription",
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
