"""A runbook as a document of AWS Systems Manager Automation, schema 0.3.

What each kind of step becomes there, and why:

- Asking for approval is `aws:approve`. It waits for a signal, which the portal sends when its own approval is there.
- Waiting is `aws:sleep`, an operation of AWS is `aws:executeAwsApi`, a branch is `aws:branch`: AWS does them by itself.
  A branch goes by the severity and the stage that the incident had when the execution was started: AWS knows no other.
- A webhook is `aws:invokeWebhook`, which posts by an *integration* that an operator has made in AWS. Its address and
  headers stand there, encrypted; the portal's own signature is not on what AWS posts.
- Whatever only the portal can do is `aws:pause`: writing a draft, publishing, telling staff, a checklist, waiting
  until customers are told. AWS has neither the words nor the approvals, and a call from AWS that made the portal
  publish would be a way around them. So AWS waits, the portal does the step by its own rules, and then sends the
  signal to go on.

Sources: "Data elements and parameters", "Properties shared by all actions" and the pages of the six actions in the
user guide of AWS Systems Manager. `automation_schema` checks what comes out.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.utils import translation
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from incidents import rendering
from incidents.errors import Refused
from incidents.models import Incident, RunbookRun
from incidents.runbooks import KINDS
from incidents.runbooks.calls import Webhook

from . import automation_schema, operations

ON_AWS = ("wait", "aws", "branch", "webhook")  # what AWS does by itself; the rest is the portal's
LONGEST_WAIT = 604_800  # seconds that AWS keeps an approval or a pause by default: 7 days
VALUE = 512  # characters of a parameter's value
# What the texts of a runbook may say → the parameter that says it there.
VARIABLES = {
    "organisation": "Organisation",
    "title": "IncidentTitle",
    "components": "Components",
    "severity": "SeverityInWords",
    "stage": "StageInWords",
    "status_url": "StatusUrl",
}


def document(content: Mapping[str, Any], region: str = "", topic: bool = True) -> dict[str, Any]:
    """The document for Runbook.content(), to run in `region`. `topic`: whether a topic of SNS tells the approvers.

    Raises Refused: no steps, or what AWS would not do as the portal does; the message names step, value and fix.
    """
    if not content["steps"]:
        raise Refused(_("The runbook has no steps: add one before you export it."))
    with translation.override(settings.LANGUAGE_CODE):
        made = {
            "schemaVersion": "0.3",
            "description": _("Runbook “%(name)s”, exported by the portal, which does the steps that are paused here.")
            % {"name": _braceless(content["name"])},
            "assumeRole": "{{ AutomationAssumeRole }}",
            "parameters": _parameters(content, topic),
            "mainSteps": _steps(content, region, topic),
        }
    if wrong := automation_schema.problems(made):
        raise Refused(_("AWS would not take this document: %(why)s") % {"why": wrong[0]})
    return made


def text_of(made: Mapping[str, Any]) -> str:
    """As it is handed over: JSON, which is YAML as well."""
    return json.dumps(made, indent=2, ensure_ascii=False)


def hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def name_of(index: int, step: Mapping[str, Any]) -> str:
    """The name of a step there: “step_03_publish”; `index` is from 0."""
    return f"step_{index + 1:02d}_{step['kind']}"


def index_of(name: str) -> int | None:
    """The index of the step with this name."""
    number = name.split("_")[1] if name.startswith("step_") else ""
    return int(number) - 1 if number.isdecimal() and number.isascii() else None


def integration_of(index: int) -> str:
    """The parameter that names the integration by which a webhook is called."""
    return f"Step{index + 1}Integration"


def _is_webhook(step: Mapping[str, Any]) -> bool:
    return isinstance(KINDS.get(step["kind"]), Webhook)


def webhooks(content: Mapping[str, Any]) -> list[int]:
    """Indices of the steps that need an integration."""
    return [index for index, step in enumerate(content["steps"]) if _is_webhook(step)]


def asks(content: Mapping[str, Any]) -> bool:
    """Whether AWS will ask for an approval."""
    return any(step["kind"] == "approval" for step in content["steps"])


def portal_half(content: Mapping[str, Any]) -> dict[str, Any]:
    """The steps of the run in the portal that goes with an execution: what AWS does, it waits for there."""
    steps = []
    for index, step in enumerate(content["steps"]):
        if step["kind"] not in ON_AWS:
            steps.append(step)
            continue
        there = "" if _decides_nothing(content, index) else name_of(index, step)
        steps.append({"kind": "automation", "name": step.get("name", ""), "step": there, "does": words_of(step)})
    return {**content, "steps": steps}


def values(incident: Incident, run: RunbookRun) -> dict[str, list[str]]:
    """What every execution is started with, as StartAutomationExecution takes it."""
    names = [one.component.name for one in incident.incident_components.select_related("component")]
    with translation.override(settings.LANGUAGE_CODE):
        said = {
            "IncidentUid": incident.uid,
            "IncidentTitle": incident.title,
            "PortalUrl": f"{settings.PORTAL_URL}/admin/incidents/incident/{incident.pk}/change/",
            "Run": str(run.pk),
            "Severity": incident.severity,
            "SeverityInWords": str(incident.get_severity_display()),
            "Stage": incident.stage,
            "StageInWords": str(incident.get_stage_display()),
            "Components": get_text_list(names, _("and")) or "—",
            "StatusUrl": rendering.status_url(incident),
            "Organisation": settings.PORTAL_NAME,
        }
    return {name: [_braceless(value)[:VALUE]] for name, value in said.items()}


def _braceless(text: str) -> str:
    """A title may come from outside: `{{ssm:secret}}` in it must name nothing there."""
    return text.replace("{{", "{ {").replace("}}", "} }").replace("{{", "{ {").replace("}}", "} }")


# ── Parts ───────────────────────────────────────────────────────────────────


def _parameters(content: Mapping[str, Any], topic: bool) -> dict[str, Any]:
    def said(text: str, **more: Any) -> dict[str, Any]:
        return {"type": "String", "description": text, **more}

    found = {
        "AutomationAssumeRole": said(_("The role by which AWS does the steps; empty: whoever starts it."), default=""),
        "IncidentUid": said(_("The incident, as the portal knows it."), allowedPattern="^[A-Za-z0-9_-]{1,16}$"),
        "IncidentTitle": said(_("Its title.")),
        "PortalUrl": said(_("Its page in the portal, where the paused steps are done.")),
        "Run": said(_("The number of the run in the portal.")),
        "Severity": said(_("Its severity when the execution is started: branches go by it.")),
        "SeverityInWords": said(_("The same in words.")),
        "Stage": said(_("Its stage when the execution is started: branches go by it.")),
        "StageInWords": said(_("The same in words.")),
        "Components": said(_("The affected components.")),
        "StatusUrl": said(_("The page that customers read.")),
        "Organisation": said(_("The name of our organisation.")),
    }
    if asks(content):
        found["Approvers"] = {
            "type": "StringList",
            "description": _("Who may approve in AWS, the portal’s own role among them: users and roles of IAM."),
            "maxItems": 10,
        }
        if topic:
            pattern = "^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:Automation[A-Za-z0-9_-]*$"
            found["ApprovalTopicArn"] = said(_("The topic of SNS that tells the approvers."), allowedPattern=pattern)
    for index in webhooks(content):
        text = _("The integration that calls the webhook of step %(n)d.") % {"n": index + 1}
        found[integration_of(index)] = said(text)
    return found


def _steps(content: Mapping[str, Any], region: str, topic: bool) -> list[dict[str, Any]]:
    steps = []
    kept = [index for index in range(len(content["steps"])) if not _decides_nothing(content, index)]
    for index in kept:
        step = content["steps"][index]
        make: Any = {
            "approval": _approve,
            "wait": _sleep,
            "aws": _call,
            "branch": _branch,
            "webhook": _webhook,
        }.get(step["kind"], _pause)
        made = {
            "name": name_of(index, step),
            "description": _braceless(_described(step)),
            **make(content, index, step, region, topic),
        }
        if index == kept[-1]:
            made["isEnd"] = True
        steps.append(made)
    if not steps:
        raise Refused(_("The runbook has branches alone: add a step that does something."))
    return steps


def words_of(step: Mapping[str, Any]) -> str:
    """What the step does, in the words of whoever wrote the runbook. No address of a webhook: it may hold a secret."""
    kind = KINDS.get(step["kind"])
    label = str(kind.label) if kind else step["kind"]
    more = kind.in_words(step) if kind and not _is_webhook(step) else ""
    return " — ".join(filter(None, [step.get("name") or label, more]))[:1000]


def _described(step: Mapping[str, Any]) -> str:
    """The same with what is to be ticked off, as the list that the console shows."""
    kind = KINDS.get(step["kind"])
    return "\n- ".join([words_of(step), *(kind.items(step) if kind else ())])[:1000]


def _pause(content: Mapping[str, Any], index: int, step: Mapping[str, Any], *_more: Any) -> dict[str, Any]:
    return {"action": "aws:pause", "timeoutSeconds": LONGEST_WAIT, "onFailure": "Abort", "inputs": {}}


def _approve(
    content: Mapping[str, Any], index: int, step: Mapping[str, Any], region: str, topic: bool
) -> dict[str, Any]:
    text = _("%(runbook)s, step %(n)d: the update of “%(title)s” waits for approval in the portal: %(url)s")
    said = text % {
        "runbook": _braceless(content["name"]),
        "n": index + 1,
        "title": "{{ IncidentTitle }}",
        "url": "{{ PortalUrl }}",
    }
    aside = _("An approval given in AWS lets AWS go on. It publishes nothing.")
    inputs = {
        "Message": f"{said} {aside}",
        # The portal counts the approvals that the plan asks for, and signals once, when all of them are there.
        "MinRequiredApprovals": 1,
        "Approvers": "{{ Approvers }}",
    }
    if topic:
        inputs["NotificationArn"] = "{{ ApprovalTopicArn }}"
    return {"action": "aws:approve", "timeoutSeconds": LONGEST_WAIT, "onFailure": "Abort", "inputs": inputs}


def _sleep(content: Mapping[str, Any], index: int, step: Mapping[str, Any], *_more: Any) -> dict[str, Any]:
    return {"action": "aws:sleep", "onFailure": "Abort", "inputs": {"Duration": f"PT{step['minutes']}M"}}


def _call(content: Mapping[str, Any], index: int, step: Mapping[str, Any], region: str, *_more: Any) -> dict[str, Any]:
    """The operation, held to the same list as in the portal. AWS does the step once, so it needs no token."""
    number = {"n": index + 1}
    if region and step["region"] != region:
        text = _("Step %(n)d calls AWS in %(there)s, and a document works in its own region: register it in %(there)s.")
        raise Refused(text % {**number, "there": step["region"]})
    try:
        operations.check(step["operation"], step["parameters"])
    except Refused as refusal:
        raise Refused(_("Step %(n)d: %(why)s") % {**number, "why": refusal}) from None
    service, _colon, name = step["operation"].partition(":")
    parameters = _referring(step["parameters"])
    if {"Service", "Api"} & set(parameters):
        text = _("Step %(n)d: the operation has a parameter “Service” or “Api”, which a document cannot hand over.")
        raise Refused(text % number)
    return {
        "action": "aws:executeAwsApi",
        "onFailure": "Abort",
        "inputs": {"Service": service, "Api": name, **parameters},
    }


def _referring(value: Any) -> Any:
    """The same with the placeholders of every text in it turned into references to parameters."""
    if isinstance(value, dict):
        return {name: _referring(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_referring(one) for one in value]
    if not isinstance(value, str):
        return value
    return rendering.fill(value, {name: f"{{{{ {there} }}}}" for name, there in VARIABLES.items()})


def _webhook(content: Mapping[str, Any], index: int, step: Mapping[str, Any], *_more: Any) -> dict[str, Any]:
    """No title in its body: AWS puts values into the JSON as they are, and a quotation mark would break it."""
    body = {
        "type": "runbook.step",
        "runbook": _braceless(content["name"]),
        "step": index + 1,
        "name": _braceless(step.get("name", "")),
        "run": "{{ Run }}",
        "incident": "{{ IncidentUid }}",
        "execution": "{{ automation:EXECUTION_ID }}",
    }
    inputs = {"IntegrationName": f"{{{{ {integration_of(index)} }}}}", "Body": json.dumps(body, ensure_ascii=False)}
    return {"action": "aws:invokeWebhook", "onFailure": "Abort", "inputs": inputs}


def _branch(content: Mapping[str, Any], index: int, step: Mapping[str, Any], *_more: Any) -> dict[str, Any]:
    """Where it applies the next step; else the one that it names. Without a default and with isEnd it ends there."""
    conditions = [
        _any_of(variable, chosen)
        for variable, chosen in (("Severity", step["severities"]), ("Stage", step["stages"]))
        if chosen
    ]
    condition: dict[str, Any] = conditions[0] if len(conditions) == 1 else {"And": conditions}
    onward = _at(content, index + 1)
    to = _at(content, max(step["to"] - 1, index + 1)) if step["to"] else None
    inputs: dict[str, Any] = {"Choices": [{**condition, "NextStep": onward}]}
    made: dict[str, Any] = {"action": "aws:branch", "onFailure": "Abort", "inputs": inputs}
    if to:
        inputs["Default"] = to
    else:
        made["isEnd"] = True
    return made


def _any_of(variable: str, chosen: list[str]) -> dict[str, Any]:
    found: list[dict[str, Any]] = [{"Variable": f"{{{{ {variable} }}}}", "StringEquals": one} for one in chosen]
    return found[0] if len(found) == 1 else {"Or": found}


def _at(content: Mapping[str, Any], index: int) -> str | None:
    """The name of the first step from `index` on that the document has; None: there is none any more."""
    steps = content["steps"]
    for at in range(index, len(steps)):
        if not _decides_nothing(content, at):
            return name_of(at, steps[at])
    return None


def _decides_nothing(content: Mapping[str, Any], index: int) -> bool:
    """Whether it is a branch without a condition, or with nothing behind it: the document leaves it out."""
    step = content["steps"][index]
    if step["kind"] != "branch":
        return False
    return not (step["severities"] or step["stages"]) or _at(content, index + 1) is None
