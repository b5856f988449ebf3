"""How Slack answers on loopback: chat.postMessage, auth.test, an incoming webhook; with the documented limits."""

import re
from typing import Any

from tests.fakes.http import Call, Reply

TOKEN = "xoxb-fake-never-to-be-seen"
CHANNEL = "C0123456789"
TS = "1503435956.000247"


def api(call: Call) -> Reply:
    """The web API: whatever it refuses, it refuses with status 200."""
    if call.headers.get("Authorization") != f"Bearer {TOKEN}":
        return Reply(body={"ok": False, "error": "invalid_auth"})
    if call.path.endswith("/auth.test"):
        answer = {"ok": True, "team": "Example", "user": "portal", "bot_id": "B0123456789"}
        return Reply(body=answer, headers={"X-OAuth-Scopes": "chat:write,channels:read"})
    assert call.path.endswith("/chat.postMessage")
    if call.json["channel"] != CHANNEL:
        return Reply(body={"ok": False, "error": "channel_not_found"})
    error = fault(call.json)
    return Reply(body={"ok": False, "error": error} if error else {"ok": True, "channel": CHANNEL, "ts": TS})


def webhook(call: Call) -> Reply:
    """An incoming webhook: it answers in words."""
    error = fault(call.json)
    return Reply(400 if error else 200, (error or "ok").encode(), {"Content-Type": "text/html"})


def fault(message: dict[str, Any]) -> str:
    """Slack's word for what is wrong with a message; "" if nothing."""
    blocks = message.get("blocks", [])
    if not message.get("text") and not blocks:
        return "no_text"
    if len(message["text"]) > 40_000:
        return "msg_too_long"
    for block in blocks:
        if block["type"] == "context":
            if not 1 <= len(block["elements"]) <= 10:
                return "invalid_blocks"
            continue
        text = block["text"]
        if (block["type"], text["type"]) not in (("header", "plain_text"), ("section", "mrkdwn")):
            return "invalid_blocks"
        if not 1 <= len(text["text"]) <= (150 if block["type"] == "header" else 3000):
            return "invalid_blocks"
    return "" if 1 <= len(blocks) <= 50 else "invalid_blocks"


def mentions(message: dict[str, Any]) -> list[str]:
    """What would notify or link people and channels: <!…>, <@…>, <#…>, and bare names where Slack looks for them."""
    texts = [message["text"], *(block["text"]["text"] for block in _worded(message))]
    found = [one for text in texts for one in re.findall(r"<[!@#][^>]*>", text)]
    parsed = [b["text"]["text"] for b in _worded(message) if b["type"] == "section" and not b["text"].get("verbatim")]
    if message.get("link_names") or message.get("parse") == "full":
        parsed.append(message["text"])
    return found + [one for text in parsed for one in re.findall(r"[@#]\w+", text)]


def shown(message: dict[str, Any]) -> str:
    """The words that people read in the blocks, as one text."""
    text = "\n\n".join(block["text"]["text"] for block in _worded(message))
    text = re.sub(r"<(https?://[^>|]+)>", r"\1", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _worded(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [block for block in message["blocks"] if block["type"] != "context"]
