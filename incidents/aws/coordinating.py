"""What AWS is to be told of an incident, written down: that it began, what was decided, that it is over.

A sweep finds it: from the decisions and from what was written down already, so that nothing is lost whoever dies, and
nothing is told twice. `calling` then makes the calls.
"""

import json
import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from channels import queue
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import OVER, Alert, AwsAccount, AwsCall, AwsRecord, Decision, Incident
from incidents.models.decision import name_of

from . import RECORD_LABEL, SOURCE

Verb, Opens = AwsCall.Verb, AwsAccount.Opens
TOLD = (Decision.Verb.DECLARE, Decision.Verb.PUBLISH, Decision.Verb.DISMISS)
IMPACT = {"sev1": 1, "sev2": 2, "sev3": 3, "sev4": 4}
RECORD = re.compile(r"arn:aws(-cn|-us-gov)?:ssm-incidents::(\d{12}):incident-record/[a-zA-Z0-9_-]+/[0-9a-f-]{36}")
TITLE, TEXT = 200, 4000  # characters
AT_ONCE = 200  # decisions a sweep
LATE = timedelta(days=7)  # after which nobody works on it there


def write_down() -> None:
    """Whatever is to be told by now and is not yet written down."""
    for account in AwsAccount.objects.filter(enabled=True).exclude(opens_in=""):
        for incident in _from_there(account):
            adopt(account, incident)
        for incident in _to_open(account):
            _write_opening(account, incident)
        _tell(account)


# ── Open there ──────────────────────────────────────────────────────────────


def open_there(account: AwsAccount, incident: Incident, by: Any) -> AwsCall | None:
    """A person opens the incident at AWS; the call, or None where it was found to be open there already.

    Raises NotAllowed, WrongState, Refused.
    """
    if not may_open(incident, by):
        raise NotAllowed(_("%(who)s may not open this incident at AWS.") % {"who": name_of(by)})
    if not account.enabled or not account.opens_in:
        raise Refused(_("The account “%(name)s” opens no incidents: it is off.") % {"name": account.name})
    if incident.maintenance or incident.is_over:
        raise WrongState(_("Only an incident that is open is opened at AWS."))
    if AwsRecord.objects.filter(account=account, incident=incident).exists():
        raise WrongState(_("This incident is open at AWS already."))
    if adopt(account, incident):
        return None
    call = _write_opening(account, incident, by)
    queue.enqueue("incidents.tasks.tell_aws", call.pk)
    return call


def may_open(incident: Incident, user: Any) -> bool:
    return user.has_perm("incidents.declare_incident") and incident.may_operate(user)


def _to_open(account: AwsAccount) -> QuerySet[Incident]:
    """Incidents that open there by themselves: bad enough, and declared since that was set."""
    if not account.opens_from:
        return Incident.objects.none()
    mine = {"account": account, "incident": OuterRef("pk")}
    return (
        Incident.objects.open()
        .filter(
            ~Exists(AwsCall.objects.filter(**mine, verb=Verb.OPEN)),
            ~Exists(AwsRecord.objects.filter(**mine)),
            maintenance=False,
            imported_from=None,
            severity__lte=account.opens_from,
            declared_at__gte=account.opens_since,
        )
        .order_by("pk")
    )


def _write_opening(account: AwsAccount, incident: Incident, by: Any = None) -> AwsCall:
    key = f"commsportal-{incident.uid}-{account.pk}-open"
    service, operation, params = opening(account, incident, key)
    call, _new = AwsCall.objects.get_or_create(
        key=key,
        defaults={
            "account": account,
            "incident": incident,
            "by": by,
            "verb": Verb.OPEN,
            "service": service,
            "operation": operation,
            "params": params,
        },
    )
    return call


def opening(account: AwsAccount, incident: Incident, key: str) -> tuple[str, str, dict[str, Any]]:
    """Service, operation and parameters of the call that opens an incident."""
    with translation.override(settings.LANGUAGE_CODE):
        names = ", ".join(incident.components.values_list("name", flat=True))
        facts = {"title": incident.title, "severity": str(incident.get_severity_display()), "components": names}
        url = page_of(incident)
        if account.opens_in == Opens.INCIDENT_MANAGER:
            raw = json.dumps({**facts, "page": url}, ensure_ascii=False)
            trigger = {"source": SOURCE, "timestamp": incident.started_at.isoformat(), "rawData": raw[:10_000]}
            params: dict[str, Any] = {
                "responsePlanArn": account.response_plan_arn,
                "title": incident.title[:TITLE],
                "impact": IMPACT[incident.severity],
                "triggerDetails": trigger,
                "clientToken": key,
            }
            return "ssm-incidents", "StartIncident", params
        text = _("%(severity)s. Components: %(components)s. Declared in %(portal)s: %(url)s")
        text = text % {**facts, "portal": settings.PORTAL_NAME, "url": url}
    # CreateOpsItem takes no token; what carries the same string is created once while it is open.
    once = {"Type": "SearchableString", "Value": json.dumps({"dedupString": key})}
    params = {
        "Title": incident.title[:TITLE],
        "Description": text[:2048],
        "Source": "Commsportal",
        "Category": "Availability",
        "Severity": str(IMPACT[incident.severity]),
        "Priority": IMPACT[incident.severity],
        "OperationalData": {"/aws/dedup": once, "commsportal/page": {"Type": "String", "Value": url}},
    }
    return "ssm", "CreateOpsItem", params


def page_of(incident: Incident) -> str:
    return f"{settings.PORTAL_URL}/admin/incidents/incident/{incident.pk}/change/"


# ── What was opened there first ─────────────────────────────────────────────


def _from_there(account: AwsAccount) -> QuerySet[Incident]:
    """Open incidents of which an alert says that they are open there, and of which we keep no record."""
    if account.opens_in != Opens.INCIDENT_MANAGER:
        return Incident.objects.none()
    told = Alert.objects.filter(incident=OuterRef("pk"), labels__has_key=RECORD_LABEL)
    known = AwsRecord.objects.filter(account=account, incident=OuterRef("pk"))
    begun = AwsCall.objects.filter(account=account, incident=OuterRef("pk"), verb=Verb.OPEN)
    return Incident.objects.open().filter(Exists(told), ~Exists(known), ~Exists(begun))


def adopt(account: AwsAccount, incident: Incident) -> AwsRecord | None:
    """Link the incident with what was opened there, if an alert of it told of that."""
    if account.opens_in != Opens.INCIDENT_MANAGER:
        return None
    number = account.response_plan_arn.split(":")[4]
    for labels in incident.alerts.filter(labels__has_key=RECORD_LABEL).order_by("pk").values_list("labels", flat=True):
        found = RECORD.fullmatch(labels[RECORD_LABEL])
        if found and found[2] == number:  # another account's is not ours to change
            record, _new = AwsRecord.objects.get_or_create(
                account=account,
                incident=incident,
                defaults={"kind": Opens.INCIDENT_MANAGER, "ref": found[0], "ours": False},
            )
            return record
    return None


# ── Tell what was decided ───────────────────────────────────────────────────


def _tell(account: AwsAccount) -> None:
    mine = {"account": account, "incident": OuterRef("incident")}
    linked = Q(Exists(AwsRecord.objects.filter(**mine))) | Q(Exists(AwsCall.objects.filter(**mine, verb=Verb.OPEN)))
    told = AwsCall.objects.filter(account=account, decision=OuterRef("pk"))
    verbs = TOLD if account.opens_in == Opens.INCIDENT_MANAGER else TOLD[1:]  # an OpsItem begins with the declaration
    since = timezone.now() - LATE
    waiting = (
        Decision.objects.filter(linked, ~Exists(told), verb__in=verbs, at__gte=since)
        .select_related("by", "update", "incident")
        .order_by("pk")
    )
    for decision in waiting[:AT_ONCE]:
        for call in _calls(account, decision):
            AwsCall.objects.get_or_create(key=call.pop("key"), defaults=call)


def _calls(account: AwsAccount, decision: Decision) -> list[dict[str, Any]]:
    """What is to be called because of a decision, in this order."""
    key = f"commsportal-{decision.incident.uid}-{account.pk}-{decision.pk}"
    call: dict[str, Any] = {"account": account, "incident": decision.incident, "decision": decision}
    text, change = in_words(decision), _change(account, decision)
    if account.opens_in == Opens.OPS_CENTER:
        data = {"commsportal/latest": {"Type": "String", "Value": text}}
        status = {"Status": "Resolved" if change == Verb.RESOLVE else "Open"} if change else {}
        params: dict[str, Any] = {"OperationalData": data, **status}
        to_ops = {"service": "ssm", "operation": "UpdateOpsItem", "params": params}
        return [{**call, **to_ops, "key": key, "verb": change or Verb.TELL}]
    event = {
        "eventType": "Custom Event",
        "eventTime": decision.at.isoformat(),
        "eventData": json.dumps(text, ensure_ascii=False),  # as in AWS's own examples: JSON, here a string
        "clientToken": key,
    }
    to_timeline = {"service": "ssm-incidents", "operation": "CreateTimelineEvent", "params": event}
    found = [{**call, **to_timeline, "key": key, "verb": Verb.TELL}]
    if change:
        state = {"status": "RESOLVED" if change == Verb.RESOLVE else "OPEN", "clientToken": f"{key}-state"}
        to_record = {"service": "ssm-incidents", "operation": "UpdateIncidentRecord", "params": state}
        found.append({**call, **to_record, "key": f"{key}-state", "verb": change})
    return found


def _change(account: AwsAccount, decision: Decision) -> AwsCall.Verb | None:
    """Whether this decision ends the incident, or opens it again."""
    changes = AwsCall.objects.filter(account=account, incident=decision.incident, verb__in=(Verb.RESOLVE, Verb.REOPEN))
    last = changes.order_by("-pk").values_list("verb", flat=True).first()
    stage = decision.update.stage if decision.update else None
    if decision.verb == Decision.Verb.DISMISS or stage in OVER:
        return None if last == Verb.RESOLVE else Verb.RESOLVE
    return Verb.REOPEN if last == Verb.RESOLVE else None


def in_words(decision: Decision) -> str:
    """What was decided, for those who read the timeline there; in the portal's own language."""
    incident, update = decision.incident, decision.update
    with translation.override(settings.LANGUAGE_CODE):
        what = {"who": name_of(decision.by), "title": incident.title, "comment": decision.comment}
        if decision.verb == Decision.Verb.DECLARE:
            text = _("%(who)s declared it in the portal: %(title)s") % what
        elif decision.verb == Decision.Verb.DISMISS:
            text = _("%(who)s closed it as declared by mistake: %(comment)s") % what
        else:
            pages: dict[str, dict[str, str]] = (update.manifest or {}).get("page", {}) if update else {}
            page: dict[str, str] = pages.get(settings.LANGUAGE_CODE) or next(iter(pages.values()), {})
            what |= {"stage": update.get_stage_display() if update else "", "subject": page.get("subject", "")}
            text = _("%(who)s published to customers (%(stage)s): %(subject)s") % what
            text = f"{text}\n\n{page.get('text', '')}"
    link = page_of(incident)
    return f"{text[: TEXT - len(link) - 2].rstrip()}\n\n{link}"
