"""The sidebar: what a person may open, and nothing else."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _

from incidents.models import Component
from incidents.models.api_token import MAY_HOLD
from incidents.models.component import OPERATE, VIEW

from . import glance


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """UNFOLD["SIDEBAR"]["navigation"]: groups of links; a group without links is left out."""
    user = request.user

    here = request.path
    declaring = here in (glance.link("incidents_incident_declare"), glance.link("incidents_incident_plan"))

    def item(title: str, icon: str, view: str, permission: str = "", query: str = "") -> dict[str, Any] | None:
        if permission and not user.has_perm(permission):
            return None
        url = glance.link(view)
        # The declare page lies below the list of incidents, and every page below the dashboard.
        active = here == url if declaring or view == "index" else here.startswith(url)
        return {"title": title, "icon": icon, "link": url + query, "active": active}

    sees_all = user.has_perm(VIEW) or user.has_perm(OPERATE)
    sees_components = user.has_perm("incidents.add_component") or (
        user.is_active and Component.objects.for_user(user).exists()
    )
    groups = [
        (
            "",
            [
                item(_("Dashboard"), "dashboard", "index"),
                item(_("Declare an incident"), "add_alert", "incidents_incident_declare", "incidents.declare_incident"),
                item(_("Plan maintenance"), "event", "incidents_incident_plan", "incidents.declare_incident"),
                item(_("Incidents"), "crisis_alert", "incidents_incident_changelist", "incidents.view_incident"),
                item(
                    _("Waiting for approval"),
                    "how_to_reg",
                    "incidents_incidentupdate_changelist",
                    "incidents.view_incidentupdate",
                    "?status__exact=in_review",
                ),
                item(_("Proposed incidents"), "lightbulb", "incidents_proposal_changelist", "incidents.view_incident"),
                item(_("Alerts"), "notifications_active", "incidents_alert_changelist", "incidents.view_alert"),
                item(
                    _("Runs of runbooks"), "playlist_play", "incidents_runbookrun_changelist", "incidents.view_incident"
                ),
                item(_("Social posts"), "tag", "feedback_socialpost_changelist", "feedback.view_socialpost"),
                item(_("Reports"), "monitoring", "feedback_report", "feedback.view_report"),
                item(
                    _("Improvement actions"),
                    "task_alt",
                    "feedback_improvementaction_changelist",
                    "feedback.view_improvementaction",
                    "?when=live",
                ),
            ],
        ),
        (
            _("Plan"),
            [
                item(
                    _("Plans"),
                    "assignment",
                    "incidents_communicationplan_changelist",
                    "incidents.view_communicationplan",
                ),
                item(
                    _("Templates"),
                    "description",
                    "incidents_messagetemplate_changelist",
                    "incidents.view_messagetemplate",
                ),
                item(_("Runbooks"), "checklist", "incidents_runbook_changelist", "incidents.view_runbook"),
                item(
                    _("Known questions"),
                    "contact_support",
                    "incidents_knownquestion_changelist",
                    "incidents.view_incident",
                ),
                item(_("Surveys"), "rate_review", "feedback_survey_changelist", "feedback.view_survey"),
                item(_("Scenarios"), "category", "incidents_scenario_changelist", "incidents.view_scenario"),
                item(_("Components"), "widgets", "incidents_component_changelist") if sees_components else None,
                item(
                    _("Component groups"),
                    "folder",
                    "incidents_componentgroup_changelist",
                    "incidents.change_componentgroup",
                ),
                item(
                    _("Runbooks on AWS"),
                    "cloud_sync",
                    "incidents_automationdocument_changelist",
                    "incidents.view_runbook",
                ),
                item(
                    _("Executions on AWS"),
                    "cloud_done",
                    "incidents_automationexecution_changelist",
                    "incidents.view_runbook",
                ),
                item(_("Alert sources"), "sensors", "incidents_alertsource_changelist", "incidents.view_alertsource")
                if sees_all
                else None,
                item(_("Alert rules"), "rule", "incidents_alertrule_changelist", "incidents.view_alertrule")
                if sees_all
                else None,
                item(_("Social sources"), "hearing", "feedback_socialsource_changelist", "feedback.view_socialsource")
                if sees_all
                else None,
                item(_("Watched words"), "saved_search", "feedback_watchterm_changelist", "feedback.view_watchterm"),
                item(_("AWS accounts"), "cloud", "incidents_awsaccount_changelist", "incidents.view_awsaccount")
                if sees_all
                else None,
                item(_("Graphs"), "show_chart", "incidents_metricgraph_changelist", "incidents.view_metricgraph"),
                item(
                    _("Shared dashboards"),
                    "share",
                    "incidents_dashboardlink_changelist",
                    "incidents.view_dashboardlink",
                ),
                item(
                    _("Slack and Teams"), "forum", "incidents_chatworkspace_changelist", "incidents.view_chatworkspace"
                )
                if sees_all
                else None,
                item(
                    _("Private status pages"),
                    "lock",
                    "incidents_statuspage_changelist",
                    "incidents.view_statuspage",
                ),
            ],
        ),
        (
            _("Channels"),
            [
                item(_("Channels"), "send", "channels_channel_changelist", "channels.view_channel"),
                item(_("Recipients"), "contacts", "channels_recipient_changelist", "channels.view_recipient"),
                item(
                    _("Audience segments"),
                    "groups",
                    "incidents_audiencesegment_changelist",
                    "incidents.view_audiencesegment",
                ),
                item(_("Stopped addresses"), "block", "channels_suppression_changelist", "channels.view_suppression"),
                item(
                    _("Event subscriptions"),
                    "webhook",
                    "incidents_eventsubscription_changelist",
                    "incidents.view_eventsubscription",
                ),
            ],
        ),
        (
            _("People"),
            [
                item(_("Users"), "person", "auth_user_changelist", "auth.view_user"),
                item(_("Training"), "school", "incidents_training_changelist"),
                item(_("Notices to staff"), "campaign", "incidents_staffnotice_changelist", "incidents.view_incident"),
                item(_("Slack accounts"), "alternate_email", "incidents_chataccount_changelist"),
                item(_("Groups"), "group", "auth_group_changelist", "auth.view_group"),
                item(_("API tokens"), "key", "incidents_apitoken_changelist", MAY_HOLD),
            ],
        ),
        (_("Outside"), _outside()),
    ]
    shown = [(title, [i for i in items if i]) for title, items in groups]
    return [{"title": title, "separator": bool(title), "items": items} for title, items in shown if items]


def _outside() -> list[dict[str, Any] | None]:
    """What customers see. Never the active page, although its address is the start of every other."""
    links = [{"title": _("Status page"), "icon": "public", "link": "/", "active": False}]
    if settings.PORTAL_DEMO:
        links.append({"title": _("Outbox (demo)"), "icon": "inbox", "link": "/outbox/", "active": False})
        shop = {"title": _("A customer’s shop (demo)"), "icon": "storefront", "link": "/demo/product/", "active": False}
        links.append(shop)
    return list(links)
