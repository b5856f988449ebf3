from .alert import Alert, AlertRule, AlertSource, Proposal, ProposedComponent
from .api_token import ApiAnswer, ApiToken, Scope
from .automation import AutomationDocument, AutomationExecution, AutomationSignal
from .aws import AwsAccount, AwsCall, AwsEvent, AwsRecord
from .chat import ChatAccount, ChatPost, ChatRequest, ChatRoom, ChatWorkspace
from .component import (
    Component,
    ComponentGroup,
    ComponentGroupObjectPermission,
    ComponentUserObjectPermission,
    Subscription,
)
from .decision import Decision
from .event import EventDelivery, EventMark, EventSubscription, EventType, OutgoingEvent
from .incident import Incident, IncidentComponent, IncidentRole
from .metric import DashboardLink, MetricGraph, MetricImage
from .picture import UpdatePicture
from .plan import ApprovalRule, CommunicationPlan, PlanRole, PlanStage, PlanVersion, Role
from .question import KnownQuestion
from .rendition import Rendition
from .runbook import Runbook, RunbookRun, RunbookStep, RunbookStepRun
from .segment import AudienceSegment
from .staff_notice import PromiseBreach, StaffContact, StaffNotice
from .status_page import StatusPage
from .subscriber_import import SubscriberImport
from .subscription_request import SubscriptionRequest
from .template import MessageTemplate, Scenario
from .ticket import IncidentTicket
from .training import Training
from .update import IncidentUpdate
from .words import (
    BADNESS,
    INCIDENT_STAGES,
    MAINTENANCE_STAGES,
    NOTICE_STAGES,
    OVER,
    WORDS,
    ComponentStatus,
    Severity,
    Stage,
)

__all__ = [
    "BADNESS",
    "INCIDENT_STAGES",
    "MAINTENANCE_STAGES",
    "NOTICE_STAGES",
    "OVER",
    "WORDS",
    "Alert",
    "AlertRule",
    "AlertSource",
    "ApiAnswer",
    "ApiToken",
    "ApprovalRule",
    "AudienceSegment",
    "AutomationDocument",
    "AutomationExecution",
    "AutomationSignal",
    "AwsAccount",
    "AwsCall",
    "AwsEvent",
    "AwsRecord",
    "ChatAccount",
    "ChatPost",
    "ChatRequest",
    "ChatRoom",
    "ChatWorkspace",
    "CommunicationPlan",
    "Component",
    "ComponentGroup",
    "ComponentGroupObjectPermission",
    "ComponentStatus",
    "ComponentUserObjectPermission",
    "DashboardLink",
    "Decision",
    "EventDelivery",
    "EventMark",
    "EventSubscription",
    "EventType",
    "Incident",
    "IncidentComponent",
    "IncidentRole",
    "IncidentTicket",
    "IncidentUpdate",
    "KnownQuestion",
    "MessageTemplate",
    "MetricGraph",
    "MetricImage",
    "OutgoingEvent",
    "PlanRole",
    "PlanStage",
    "PlanVersion",
    "PromiseBreach",
    "Proposal",
    "ProposedComponent",
    "Rendition",
    "Role",
    "Runbook",
    "RunbookRun",
    "RunbookStep",
    "RunbookStepRun",
    "Scenario",
    "Scope",
    "Severity",
    "StaffContact",
    "StaffNotice",
    "Stage",
    "StatusPage",
    "SubscriberImport",
    "Subscription",
    "SubscriptionRequest",
    "Training",
    "UpdatePicture",
]
