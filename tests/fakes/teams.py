"""How the webhook of a workflow answers on loopback: 202 to a card of the expected shape."""

from typing import Any

from tests.fakes.http import Call, Reply

PATH = "/powerautomate/automations/direct/workflows/abc/triggers/manual/paths/invoke?api-version=1&sig=fake-signature"
RUN = "08584300000000000000000000000CU00"


def workflow(call: Call) -> Reply:
    if call.method != "POST":
        return Reply(404, {"error": {"code": "NotFound", "message": "No such resource."}})
    problem = fault(call.json)
    if problem:
        return Reply(400, {"error": {"code": "TriggerInputSchemaMismatch", "message": problem}})
    return Reply(202, b"", {"x-ms-workflow-run-id": RUN})


def fault(message: Any) -> str:
    """What is wrong with a message; "" if nothing."""
    if message.get("type") != "message" or len(message.get("attachments", [])) != 1:
        return "not a message with one attachment"
    attachment = message["attachments"][0]
    card = attachment["content"]
    if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" or card["type"] != "AdaptiveCard":
        return "not a card"
    for block in card["body"]:
        if block["type"] != "RichTextBlock" or not block["inlines"]:
            return "an empty or unknown block"
        if any(run["type"] != "TextRun" or not run["text"] or "\n" in run["text"] for run in block["inlines"]):
            return "an empty, broken or unknown run"
    return "" if all(one["type"] == "Action.OpenUrl" and one["url"] for one in card["actions"]) else "bad action"


def shown(message: Any) -> list[str]:
    """The lines that people read in the card."""
    return ["".join(run["text"] for run in b["inlines"]) for b in message["attachments"][0]["content"]["body"]]
