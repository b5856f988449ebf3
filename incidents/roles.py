"""What each role may do. Groups of these names exist after every `migrate`; people are put into them.

A role says *what*; *which components* is granted to a person (or group) on the component, or on all of them by
the permission `incidents.operate_component` on the model, which the last group carries.
"""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.utils.translation import gettext_lazy as _

INCIDENT_MANAGERS = "Incident managers"
COMMUNICATIONS_MANAGERS = "Communications managers"
SUPPORT_LEADS = "Support leads"
MANAGERS = "Managers"
ALL_COMPONENTS = "All components"

_SEE = [
    "incidents.view_incident",
    "incidents.view_incidentupdate",
    "incidents.view_incidentcomponent",
    "incidents.view_incidentrole",
    "incidents.view_decision",
    "incidents.view_communicationplan",
    "incidents.view_planrole",
    "incidents.view_messagetemplate",
    "incidents.view_scenario",
    "incidents.view_componentgroup",
    "incidents.view_statuspage",
    "incidents.view_audiencesegment",
    "incidents.view_alert",
    "incidents.view_alertsource",
    "incidents.view_alertrule",
    "incidents.view_runbook",
    "feedback.view_socialpost",
    "feedback.view_socialsource",
    "feedback.view_watchterm",
    "channels.view_channel",
    "channels.view_dispatch",
    "channels.view_delivery",
]
_SPEAK = ["incidents.declare_incident", "incidents.write_incidentupdate"]
_IMPROVE = [f"feedback.{verb}_improvementaction" for verb in ("view", "add", "change")]
_EVIDENCE = ["feedback.view_evidencepack", "feedback.take_evidencepack"]
_DECIDE = [
    "incidents.approve_incidentupdate",
    "incidents.publish_incidentupdate",
    "channels.retry_dispatch",
    "feedback.view_report",
    "feedback.view_survey",
    "feedback.view_surveyanswer",
    *_IMPROVE,
    *_EVIDENCE,
    "feedback.view_communicationreview",
    "feedback.change_communicationreview",
]
_PLAN = [
    f"incidents.{verb}_{model}"
    for verb in ("add", "change", "delete")
    for model in ("messagetemplate", "scenario", "communicationplan", "planrole", "audiencesegment", "runbook")
] + ["feedback.add_survey", "feedback.change_survey"]
_MONITOR = [
    f"incidents.{verb}_{model}" for verb in ("add", "change", "delete") for model in ("alertsource", "alertrule")
]
_LISTEN = [
    f"feedback.{verb}_{model}" for verb in ("add", "change", "delete") for model in ("socialsource", "watchterm")
]
_AUTOMATE = ["incidents.own_apitoken"]
_GRAPHS = [
    f"incidents.{verb}_{model}"
    for verb in ("view", "add", "change", "delete")
    for model in ("metricgraph", "dashboardlink")
]
_TRAIN = [f"incidents.{verb}_training" for verb in ("view", "add", "change", "delete")]
# Whoever sets a workspace up could sign in anybody's name, an approver's too: that is for administrators alone.
_CHAT = ["incidents.view_chatworkspace", "incidents.view_chataccount", "incidents.delete_chataccount"]
PERMISSIONS = {
    INCIDENT_MANAGERS: [
        *_SEE,
        *_SPEAK,
        *_DECIDE,
        *_MONITOR,
        *_AUTOMATE,
        *_GRAPHS,
        "incidents.view_awsaccount",  # which administrators alone set up
        "incidents.change_incident",
        "incidents.break_glass",
        "incidents.view_eventsubscription",
        *_CHAT,
    ],
    COMMUNICATIONS_MANAGERS: [
        *_SEE,
        *_SPEAK,
        *_DECIDE,
        *_PLAN,
        *_LISTEN,
        *_AUTOMATE,
        *_CHAT,
        *_GRAPHS,
        "incidents.view_training",
        "incidents.add_statuspage",
        "incidents.change_statuspage",
        "incidents.delete_statuspage",
        "feedback.read_surveytext",
        "channels.view_recipient",
        "channels.add_recipient",
        "channels.change_recipient",
        "channels.view_suppression",
        "channels.add_suppression",
        "channels.delete_suppression",
        "channels.test_channel",
        "channels.change_channel",
        "channels.add_channel",
    ],
    SUPPORT_LEADS: [*_SEE, *_AUTOMATE, "incidents.write_incidentupdate", "channels.view_recipient"],
    MANAGERS: [
        "incidents.view_incident",
        "incidents.view_incidentupdate",
        "feedback.view_report",
        "feedback.view_communicationreview",
        *_TRAIN,
        *_IMPROVE,
        *_EVIDENCE,
    ],
    ALL_COMPONENTS: ["incidents.operate_component"],
}
# What each is for, where people are put into them.
MEANINGS = {
    INCIDENT_MANAGERS: _(
        "declare and lead incidents, write, approve and publish updates, look after monitoring. Needs components too: "
        "the group “All components”, or single ones."
    ),
    COMMUNICATIONS_MANAGERS: _(
        "write, approve and publish updates, and prepare plans, templates, recipients, channels and status pages. "
        "Needs components too: the group “All components”, or single ones."
    ),
    SUPPORT_LEADS: _(
        "write updates for others to approve, and see what customers are told. Needs components too: the group “All "
        "components”, or single ones."
    ),
    MANAGERS: _("read reports, record training, follow improvement actions. They send nothing."),
    ALL_COMPONENTS: _("see and work on the incidents of every component. Adds to one of the other groups."),
}


def create_groups(**_signal: Any) -> None:
    """Create missing groups with their permissions; a group that exists keeps what an administrator made of it."""
    for name, wanted in PERMISSIONS.items():
        group, created = Group.objects.get_or_create(name=name)
        if not created:
            continue
        for permission in wanted:
            app, codename = permission.split(".")
            found = Permission.objects.filter(content_type__app_label=app, codename=codename)
            group.permissions.add(*found)
