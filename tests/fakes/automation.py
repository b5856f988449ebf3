"""A fake of Systems Manager Automation on top of the fake of AWS: documents with versions, and executions with steps.

It goes by the documentation where that says something, and nobody has compared it with AWS: steps that AWS does by
itself succeed at once, `aws:approve` and `aws:pause` wait for their signals, a branch is decided by the parameters.
`SendAutomationSignal` with nothing to signal is refused, as the documentation of its errors has it, and so is
`StopAutomationExecution` of what is over. What is stopped is `Cancelling` when it is next asked after, then
`Cancelled`.
"""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from incidents.aws.automation_schema import problems
from tests.fakes.aws import Drop, FakeAws, Fault

WAITING = {"aws:approve", "aws:pause"}
OVER = {"Success", "Failed", "Rejected", "Cancelled"}
AT = datetime(2026, 11, 27, 3, 0, tzinfo=UTC).timestamp()


@dataclass
class Execution:
    id: str
    document: dict[str, Any]
    parameters: dict[str, list[str]]
    steps: list[dict[str, Any]] = field(default_factory=list)
    status: str = "InProgress"
    failure: str = ""
    at: str | None = None  # the name of the step where it waits


class FakeAutomation:
    """Answers for `aws`, a FakeAws("ssm")."""

    def __init__(self, aws: FakeAws) -> None:
        self.aws = aws
        self.documents: dict[str, list[str]] = {}  # name → contents by version
        self.executions: dict[str, Execution] = {}
        self.by_token: dict[str, str] = {}
        self.fails: dict[str, str] = {}  # name of a step → why it fails
        self.signals: list[dict[str, Any] | Fault] = []  # those that were taken, and what the others were answered
        self.stops: list[dict[str, Any]] = []
        self.stuck = False  # what is being stopped goes on being stopped
        self.deaf = False  # a stop is taken, and nothing comes of it
        self.lost: set[str] = set()  # operations that are done next time, and whose answer gets lost
        answers = {
            "CreateDocument": self.create,
            "UpdateDocument": self.update,
            "GetDocument": self.get_document,
            "StartAutomationExecution": self.start,
            "GetAutomationExecution": self.get,
            "DescribeAutomationStepExecutions": lambda p: {"StepExecutions": self._told(p)["StepExecutions"]},
            "SendAutomationSignal": self.signal,
            "StopAutomationExecution": self.stop,
        }
        aws.answers |= {name: self._losing(name, answer) for name, answer in answers.items()}

    def _losing(self, name: str, answer: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        def answered(params: dict[str, Any]) -> Any:
            found = answer(params)
            if name not in self.lost:
                return found
            self.lost.remove(name)
            return Drop()

        return answered

    # ── Documents ──

    def create(self, params: dict[str, Any]) -> Any:
        if params["Name"] in self.documents:
            return Fault("DocumentAlreadyExists", "The specified document already exists.")
        if wrong := self._wrong(params):
            return wrong
        self.documents[params["Name"]] = [params["Content"]]
        return self._described(params["Name"])

    def update(self, params: dict[str, Any]) -> Any:
        if params["Name"] not in self.documents:
            return Fault("InvalidDocument", "The specified SSM document doesn't exist.")
        if wrong := self._wrong(params):
            return wrong
        if params["Content"] in self.documents[params["Name"]]:
            return Fault("DuplicateDocumentContent", "The content of the document matches another document.")
        self.documents[params["Name"]].append(params["Content"])
        return self._described(params["Name"])

    def get_document(self, params: dict[str, Any]) -> Any:
        contents = self.documents.get(params["Name"])
        if not contents:
            return Fault("InvalidDocument", "The specified SSM document doesn't exist.")
        return {"Name": params["Name"], "DocumentVersion": str(len(contents)), "Content": contents[-1]}

    def _described(self, name: str) -> dict[str, Any]:
        return {"DocumentDescription": {"Name": name, "DocumentVersion": str(len(self.documents[name]))}}

    @staticmethod
    def _wrong(params: dict[str, Any]) -> Fault | None:
        wrong = problems(json.loads(params["Content"]))
        return Fault("InvalidDocumentContent", wrong[0]) if wrong else None

    # ── Executions ──

    def start(self, params: dict[str, Any]) -> Any:
        token = params.get("ClientToken", "")
        if token in self.by_token:
            return {"AutomationExecutionId": self.by_token[token]}
        document = json.loads(self.documents[params["DocumentName"]][int(params["DocumentVersion"]) - 1])
        wanted, given = document["parameters"], params.get("Parameters", {})
        lacking = [name for name, one in wanted.items() if "default" not in one and name not in given]
        if lacking or set(given) - set(wanted):
            return Fault("InvalidAutomationExecutionParametersException", f"{lacking} {set(given) - set(wanted)}")
        for name, values in given.items():
            pattern = wanted[name].get("allowedPattern")
            if pattern and not all(re.search(pattern, value) for value in values):
                return Fault("InvalidAutomationExecutionParametersException", f"{name}: {values}")
        one = Execution(str(uuid.uuid4()), document, given)
        self.executions[one.id] = one
        self.by_token[token] = one.id
        self._go(one, document["mainSteps"][0])
        return {"AutomationExecutionId": one.id}

    def get(self, params: dict[str, Any]) -> Any:
        if params["AutomationExecutionId"] not in self.executions:
            return self._unknown()
        told = self._told(params)
        one = self.executions[params["AutomationExecutionId"]]
        if one.status == "Cancelling" and not self.stuck:  # by the time that it is asked after again it is done
            one.status = "Cancelled"
            if one.at:
                one.steps[-1] = {**one.steps[-1], "StepStatus": "Cancelled", "ExecutionEndTime": AT}
        return {"AutomationExecution": told}

    @staticmethod
    def _unknown() -> Fault:
        return Fault("AutomationExecutionNotFoundException", "There is no automation execution information.")

    def stop(self, params: dict[str, Any]) -> Any:
        one = self.executions.get(params["AutomationExecutionId"])
        if one is None:
            return self._unknown()
        if one.status in OVER:
            return Fault("InvalidAutomationStatusUpdateException", "The specified update status operation isn't valid.")
        self.stops.append(params)
        if not self.deaf:
            one.status = "Cancelling" if params.get("Type", "Cancel") == "Cancel" else "Success"
        return {}

    def _told(self, params: dict[str, Any]) -> dict[str, Any]:
        one = self.executions[params["AutomationExecutionId"]]
        told = {
            "AutomationExecutionId": one.id,
            "AutomationExecutionStatus": one.status,
            "StepExecutions": one.steps,
            "ExecutionStartTime": AT,
        }
        return told | ({"FailureMessage": one.failure} if one.failure else {})

    def _go(self, one: Execution, step: dict[str, Any] | None) -> None:
        """Do steps until one waits, fails or was the last."""
        names = {s["name"]: number for number, s in enumerate(one.document["mainSteps"])}
        while step is not None:
            row = {"StepName": step["name"], "Action": step["action"], "ExecutionStartTime": AT}
            one.steps.append(row)
            if step["name"] in self.fails:
                row |= {"StepStatus": "Failed", "FailureMessage": self.fails[step["name"]]}
                one.status, one.failure = "Failed", self.fails[step["name"]]
                return
            if step["action"] in WAITING:
                row["StepStatus"] = one.status = "Waiting"
                one.at = step["name"]
                return
            row |= {"StepStatus": "Success", "ExecutionEndTime": AT}
            step = self._after(one, step, names)
        one.status, one.at = "Success", None

    def _after(self, one: Execution, step: dict[str, Any], names: dict[str, int]) -> dict[str, Any] | None:
        steps = one.document["mainSteps"]
        if step["action"] == "aws:branch":
            for choice in step["inputs"]["Choices"]:
                if self._holds(one, choice):
                    return steps[names[choice["NextStep"]]]
            if "Default" in step["inputs"]:
                return steps[names[step["inputs"]["Default"]]]
        if step.get("isEnd"):
            return None
        number = names[step["name"]] + 1
        return steps[number] if number < len(steps) else None

    def _holds(self, one: Execution, choice: dict[str, Any]) -> bool:
        if "And" in choice:
            return all(self._holds(one, part) for part in choice["And"])
        if "Or" in choice:
            return any(self._holds(one, part) for part in choice["Or"])
        name = choice["Variable"].strip("{} ")
        return one.parameters[name][0] == choice["StringEquals"]

    def signal(self, params: dict[str, Any]) -> Any:
        one = self.executions[params["AutomationExecutionId"]]
        row = next((s for s in one.steps if s["StepName"] == one.at and s["StepStatus"] == "Waiting"), None)
        kind, payload = params["SignalType"], params.get("Payload", {})
        fits = row and (row["Action"] == "aws:approve") == (kind in ("Approve", "Reject"))
        if not row or not fits or (kind == "Resume" and payload.get("StepName") != [one.at]):
            self.signals.append(Fault("InvalidAutomationSignalException", "The signal isn't valid for the execution."))
            return self.signals[-1]
        self.signals.append(params)
        self.decide(one, kind, "arn:aws:iam::123456789012:role/portal", *payload.get("Comment", []))
        return {}

    def decide(self, one: Execution, kind: str, who: str, comment: str = "") -> None:
        """A signal by this principal, from wherever."""
        row = one.steps[-1]
        row["ExecutionEndTime"] = AT
        if kind == "Resume":
            row["StepStatus"] = "Success"
        else:
            verdict = "Approved" if kind == "Approve" else "Rejected"
            decision = json.dumps({"approver": who, "decision": verdict, "comment": comment})
            row["Outputs"] = {"ApprovalStatus": [verdict], "ApproverDecisions": [decision]}
            row["StepStatus"] = "Success" if kind == "Approve" else "Rejected"
        if kind == "Reject":
            one.status, one.failure, one.at = "Rejected", "The step was rejected.", None
            return
        one.status = "InProgress"
        names = {s["name"]: number for number, s in enumerate(one.document["mainSteps"])}
        steps = one.document["mainSteps"]
        self._go(one, self._after(one, steps[names[row["StepName"]]], names))
