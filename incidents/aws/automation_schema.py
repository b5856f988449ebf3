"""What AWS documents of an Automation document (schema 0.3), as far as the portal's documents go.

AWS checks a document only when it is registered; this says before what it would refuse. From the user guide of AWS
Systems Manager: "Data elements and parameters", "Properties shared by all actions", "Automation system variables", and
the page of each action below. It knows the actions that the portal writes and refuses every other.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from incidents.models.automation import PRINCIPAL

MOST_BYTES = 64 * 1024
NAME = re.compile(r"[a-zA-Z0-9_]{3,128}")  # narrower than AWS asks: a reference may be made to it
PARAMETER = re.compile(r"[a-zA-Z][a-zA-Z0-9]{0,49}")
TYPES = {"String", "StringList", "Boolean", "Integer", "MapList", "StringMap"}
TOP = {"schemaVersion", "description", "assumeRole", "parameters", "mainSteps", "outputs", "variables", "files"}
SHARED = {
    "name", "action", "description", "maxAttempts", "timeoutSeconds", "onFailure", "onCancel", "isEnd", "isCritical",
    "nextStep", "inputs", "outputs",
}  # fmt: skip
OF_PARAMETER = {
    "type", "description", "default", "allowedValues", "allowedPattern", "displayType", "minItems", "maxItems",
    "minChars", "maxChars",
}  # fmt: skip
OPERATORS = {
    "StringEquals", "EqualsIgnoreCase", "StartsWith", "EndsWith", "Contains", "NumericEquals", "NumericGreater",
    "NumericLesser", "NumericGreaterOrEquals", "NumericLesserOrEquals", "BooleanEquals",
}  # fmt: skip
SYSTEM = {
    "automation:EXECUTION_ID", "global:DATE", "global:DATE_TIME", "global:REGION", "global:ACCOUNT_ID",
    "global:AWS_PARTITION",
}  # fmt: skip
REFERENCE = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
DURATION = re.compile(r"P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:Automation[A-Za-z0-9_-]*")
LONGEST_SLEEP = 604_800  # seconds
LONGEST_APPROVAL = 2_592_000
Inputs = Mapping[str, Any]


def problems(document: Any) -> list[str]:
    """Whatever AWS would refuse, each with the place; empty if nothing."""
    if not isinstance(document, dict):
        return ["the document is not an object"]
    return list(_problems(document))


def _problems(document: dict[str, Any]) -> Iterator[str]:
    if unknown := set(document) - TOP:
        yield f"unknown elements: {', '.join(sorted(unknown))}"
    if document.get("schemaVersion") != "0.3":
        yield f"schemaVersion: {document.get('schemaVersion')!r} is not '0.3'"
    size = len(json.dumps(document, indent=2, ensure_ascii=False).encode())
    if size > MOST_BYTES:
        yield f"{size} bytes are more than {MOST_BYTES}"
    parameters = document.get("parameters", {})
    for name, one in parameters.items():
        yield from _of_parameter(name, one)
    steps = document.get("mainSteps")
    if not isinstance(steps, list) or not steps:
        yield "mainSteps: at least one step is needed"
        return
    names = [step.get("name") for step in steps if isinstance(step, dict)]
    for name in sorted({str(name) for name in names if names.count(name) > 1}):
        yield f"mainSteps: the name {name} is there twice"
    for number, step in enumerate(steps):
        yield from _of_step(step, names, number)
    known = SYSTEM | set(parameters)
    for text in _texts({"mainSteps": steps, "assumeRole": document.get("assumeRole", "")}):
        for reference in REFERENCE.findall(text):
            if reference not in known:
                yield f"{{{{ {reference} }}}} is neither a parameter nor a system variable"
        if "{{" in REFERENCE.sub("", text):
            yield f"braces that are not closed: {text[:80]!r}"


def _of_parameter(name: str, one: Any) -> Iterator[str]:
    place = f"parameters.{name}"
    if not PARAMETER.fullmatch(name):
        yield f"{place}: the name is not made of 1 to 50 letters and digits"
    if not isinstance(one, dict) or one.get("type") not in TYPES:
        yield f"{place}: its type is not one of {', '.join(sorted(TYPES))}"
        return
    if unknown := set(one) - OF_PARAMETER:
        yield f"{place}: unknown: {', '.join(sorted(unknown))}"
    if "allowedPattern" in one:
        try:
            re.compile(one["allowedPattern"])
        except re.error as error:
            yield f"{place}.allowedPattern: {error}"
    if "default" in one and isinstance(one["default"], list) != (one["type"] in ("StringList", "MapList")):
        yield f"{place}.default: not a {one['type']}"


def _of_step(step: Any, names: list[Any], number: int) -> Iterator[str]:
    if not isinstance(step, dict):
        yield f"mainSteps[{number}] is not an object"
        return
    place = f"mainSteps.{step.get('name')}"
    if not isinstance(step.get("name"), str) or not NAME.fullmatch(step["name"]):
        yield f"{place}: the name is not made of 3 to 128 letters, digits and _"
    if unknown := set(step) - SHARED:
        yield f"{place}: unknown: {', '.join(sorted(unknown))}"
    for key in ("isEnd", "isCritical"):
        if key in step and not isinstance(step[key], bool):
            yield f"{place}.{key}: not true or false"
    for key in ("maxAttempts", "timeoutSeconds"):
        if key in step and not _is_number(step[key]):
            yield f"{place}.{key}: not a whole number above 0"
    failure = step.get("onFailure", "Abort")
    target = failure.removeprefix("step:") if isinstance(failure, str) and failure.startswith("step:") else None
    if failure not in ("Abort", "Continue") and target not in names:
        yield f"{place}.onFailure: {failure!r} is neither Abort, Continue nor step:NAME of a step"
    if "nextStep" in step and step["nextStep"] not in names:
        yield f"{place}.nextStep: there is no step {step['nextStep']!r}"
    if "nextStep" in step and step.get("isEnd"):
        yield f"{place}: it ends there, and has a next step"
    check = ACTIONS.get(step.get("action", ""))
    if check is None:
        yield f"{place}.action: {step.get('action')!r} is not known here"
    elif not isinstance(step.get("inputs"), dict):
        yield f"{place}.inputs: not an object"
    else:
        yield from (f"{place}.{one}" for one in check(step["inputs"], step, names))


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _only(inputs: Inputs, *known: str) -> Iterator[str]:
    if unknown := set(inputs) - set(known):
        yield f"inputs: unknown: {', '.join(sorted(unknown))}"


def _approve(inputs: Inputs, step: Inputs, names: list[Any]) -> Iterator[str]:
    yield from _only(inputs, "NotificationArn", "Message", "MinRequiredApprovals", "Approvers")
    topic = inputs.get("NotificationArn")
    if topic is not None and not (isinstance(topic, str) and (_is_reference(topic) or TOPIC.fullmatch(topic))):
        yield f"inputs.NotificationArn: {topic!r} is not the ARN of a topic whose name begins with Automation"
    message = inputs.get("Message", "")
    if not isinstance(message, str) or len(message) > 4096:
        yield "inputs.Message: not a text of at most 4096 characters"
    approvers = inputs.get("Approvers")
    given = approvers if isinstance(approvers, list) else []
    if not given and not _is_reference(approvers):
        yield "inputs.Approvers: nobody"
    if len(given) > 10:
        yield f"inputs.Approvers: {len(given)} are more than 10"
    for one in given:
        if not isinstance(one, str) or not (_is_reference(one) or PRINCIPAL.fullmatch(one)):
            yield f"inputs.Approvers: {one!r} is no user or role of IAM"
    least = inputs.get("MinRequiredApprovals", 1)
    if not _is_number(least) or (given and least > len(given)):
        yield f"inputs.MinRequiredApprovals: {least!r} is not a number from 1 to that of the approvers"
    if step.get("timeoutSeconds", 1) > LONGEST_APPROVAL:
        yield f"timeoutSeconds: {step['timeoutSeconds']} is more than {LONGEST_APPROVAL}"


def _pause(inputs: Inputs, step: Inputs, names: list[Any]) -> Iterator[str]:
    yield from _only(inputs)


def _sleep(inputs: Inputs, step: Inputs, names: list[Any]) -> Iterator[str]:
    yield from _only(inputs, "Duration", "Timestamp")
    if ("Duration" in inputs) == ("Timestamp" in inputs):
        yield "inputs: either Duration or Timestamp"
    if "Duration" in inputs:
        found = DURATION.fullmatch(str(inputs["Duration"]))
        days, hours, minutes, seconds = (int(one or 0) for one in found.groups()) if found else (0, 0, 0, 0)
        if not found:
            yield f"inputs.Duration: {inputs['Duration']!r} is no duration of ISO 8601"
        elif ((days * 24 + hours) * 60 + minutes) * 60 + seconds > LONGEST_SLEEP:
            yield f"inputs.Duration: {inputs['Duration']} is longer than 7 days"


def _call(inputs: Inputs, step: Inputs, names: list[Any]) -> Iterator[str]:
    for key in ("Service", "Api"):
        if not isinstance(inputs.get(key), str) or not inputs[key]:
            yield f"inputs.{key}: missing"


def _webhook(inputs: Inputs, step: Inputs, names: list[Any]) -> Iterator[str]:
    yield from _only(inputs, "IntegrationName", "Body")
    if not isinstance(inputs.get("IntegrationName"), str) or not inputs["IntegrationName"]:
        yield "inputs.IntegrationName: missing"
    if not isinstance(inputs.get("Body", ""), str):
        yield "inputs.Body: not a text"


def _branch(inputs: Inputs, step: Inputs, names: list[Any]) -> Iterator[str]:
    yield from _only(inputs, "Choices", "Default")
    choices = inputs.get("Choices")
    if not isinstance(choices, list) or not choices:
        yield "inputs.Choices: at least one is needed"
        return
    for choice in choices:
        if choice.get("NextStep") not in names:
            yield f"inputs.Choices: there is no step {choice.get('NextStep')!r}"
        yield from _condition({key: value for key, value in choice.items() if key != "NextStep"})
    if "Default" in inputs and inputs["Default"] not in names:
        yield f"inputs.Default: there is no step {inputs['Default']!r}"


def _condition(one: Any) -> Iterator[str]:
    if not isinstance(one, dict):
        yield "inputs.Choices: a condition is not an object"
    elif len(one) == 1 and (key := next(iter(one))) in ("And", "Or", "Not"):
        parts = [one[key]] if key == "Not" else one[key]
        if not isinstance(parts, list) or not parts:
            yield f"inputs.Choices: {key} joins nothing"
            return
        for part in parts:
            yield from _condition(part)
    elif set(one) - {"Variable"} - OPERATORS or len(one) != 2 or not _is_reference(one.get("Variable")):
        yield f"inputs.Choices: not a variable with one comparison: {sorted(one)}"


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield str(name)
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value


ACTIONS: dict[str, Callable[[Inputs, Inputs, list[Any]], Iterator[str]]] = {
    "aws:approve": _approve,
    "aws:pause": _pause,
    "aws:sleep": _sleep,
    "aws:executeAwsApi": _call,
    "aws:invokeWebhook": _webhook,
    "aws:branch": _branch,
}
