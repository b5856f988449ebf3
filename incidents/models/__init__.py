from .alert import Alert, AlertRule, AlertSource, Proposal, ProposedComponent
from .chat import ChatAccount, ChatPost, ChatRequest, ChatRoom, ChatWorkspace
from .component import (
    Component,
    ComponentGroup,
    ComponentGroupObjectPermission,
    ComponentUserObjectPermission,
    Subscription,
)
from .decision import Decision
from .incident import Incident, IncidentComponent, IncidentRole
from .picture import UpdatePicture
from .plan import ApprovalRule, CommunicationPlan, PlanRole, PlanStage, PlanVersion, Role
from .rendition import Rendition
from .segment import AudienceSegment
from .staff_notice import PromiseBreach, StaffContact, StaffNotice
from .status_page import StatusPage
from .subscriber_import import SubscriberImport
from .subscription_request import SubscriptionRequest
from .template import MessageTemplate, Scenario
from .ticket import IncidentTicket
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
    "ApprovalRule",
    "AudienceSegment",
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
    "Decision",
    "Incident",
    "IncidentComponent",
    "IncidentRole",
    "IncidentTicket",
    "IncidentUpdate",
    "MessageTemplate",
    "PlanRole",
    "PlanStage",
    "PlanVersion",
    "PromiseBreach",
    "Proposal",
    "ProposedComponent",
    "Rendition",
    "Role",
    "Scenario",
    "Severity",
    "StaffContact",
    "StaffNotice",
    "Stage",
    "StatusPage",
    "SubscriberImport",
    "Subscription",
    "SubscriptionRequest",
    "UpdatePicture",
]
