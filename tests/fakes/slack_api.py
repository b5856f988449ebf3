"""A fake of Slack's Web API on loopback, with one workspace: members, conversations, messages, pins, forms.

It keeps the documented rules of docs.slack.dev/reference (arguments, names, blocks, errors, what comes twice) as far as
the portal meets them. It is a fake: what passes here was never verified on Slack.
"""

import hashlib
import hmac
import itertools
import json
import re
import time
from collections import defaultdict, deque
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tests.fakes.aws import Drop, Hang
from tests.fakes.http import Call, FakeHttp, Reply

TOKEN = "xoxb-fake-never-to-be-seen"
SIGNING_SECRET = "0123456789abcdef-never-to-be-seen"
TEAM, BOT = "T0123456789", "U0BOT0000"
# What needs which scope; one of them is enough.
NEEDS = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "conversations.open": "im:write",
    "conversations.history": "im:history channels:history groups:history",
    "conversations.create": "channels:manage groups:write",
    "conversations.setTopic": "channels:manage groups:write",
    "conversations.invite": "channels:manage groups:write",
    "conversations.archive": "channels:manage groups:write",
    "conversations.list": "channels:read groups:read",
    "pins.add": "pins:write",
    "users.info": "users:read",
    "views.open": "",
    "auth.test": "",
}
READS = {"conversations.history", "conversations.list", "users.info"}  # these take forms and no JSON


class Refusal(Exception):
    """A word of Slack."""


class FakeSlack:
    """`api` is the base for settings.SLACK_API. `fail()` scripts what the next call of a method meets."""

    def __init__(self) -> None:
        self.http = FakeHttp(self._rule)
        self.api = f"{self.http.url}/api"
        self.scopes = [*" ".join(NEEDS.values()).split(), "commands", "users:read.email"]
        self.members = {BOT: {"id": BOT, "name": "portal", "profile": {"real_name": "Portal"}}}
        self.conversations: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)  # by conversation
        self.pins: list[tuple[str, str]] = []
        self.triggers = {"trigger-1", "trigger-2", "trigger-3"}  # each opens one form
        self.forms: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []  # to response_url
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._faults: dict[str, deque[Any]] = defaultdict(deque)
        self._n = itertools.count(1)

    def close(self) -> None:
        self.http.close()

    @property
    def response_url(self) -> str:
        return f"{self.http.url}/commands/T0123456789/1/secret"

    def member(self, name: str, email: str = "") -> str:
        """A new member; the ID."""
        pk = f"U{next(self._n):09d}"
        self.members[pk] = {"id": pk, "name": name.lower(), "profile": {"real_name": name, "email": email}}
        return pk

    def fail(self, method: str, *faults: Any) -> None:
        """A word is refused with it; a number of seconds asks for patience; Lost() does it and loses the reply."""
        self._faults[method].extend(faults)

    def count(self, method: str) -> int:
        return sum(one == method for one, _arguments in self.calls)

    def channel(self, name: str, creator: str = "U0SOMEBODY") -> str:
        """A channel that is there already."""
        pk = f"C{next(self._n):09d}"
        self.conversations[pk] = {
            "id": pk,
            "name": name,
            "creator": creator,
            "created": int(time.time()),
            "is_private": False,
            "is_archived": False,
            "topic": "",
            "members": [creator],
        }
        return pk

    # ── The other direction ──

    def signed(self, body: str, at: float | None = None, secret: str = SIGNING_SECRET) -> dict[str, str]:
        """The headers by which Slack proves that it wrote `body`."""
        stamp = str(int(time.time() if at is None else at))
        mac = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={mac}"}

    def command(self, member: str, text: str, **more: str) -> str:
        """The body of `/incident text`."""
        fields = {
            "team_id": TEAM,
            "team_domain": "example",
            "channel_id": "C0ELSEWHERE",
            "user_id": member,
            "user_name": "somebody",
            "command": "/incident",
            "text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
            "response_url": self.response_url,
            "trigger_id": f"command-{next(self._n)}",  # a new one for each request
            "api_app_id": "A0123",
        }
        return urlencode(fields | more)

    def click(self, member: str, value: str, action: str, trigger: str = "trigger-1") -> str:
        payload = {
            "type": "block_actions",
            "team": {"id": TEAM, "domain": "example"},
            "user": {"id": member, "team_id": TEAM},
            "trigger_id": trigger,
            "response_url": self.response_url,
            "container": {"type": "message", "message_ts": "1.1", "channel_id": "D1"},
            "actions": [{"action_id": action, "block_id": "x", "type": "button", "value": value}],
        }
        return urlencode({"payload": json.dumps(payload)})

    def submission(self, member: str, form: dict[str, Any], reason: str | None) -> str:
        values = {"reason": {"reason": {"type": "plain_text_input", "value": reason}}}
        payload = {
            "type": "view_submission",
            "team": {"id": TEAM},
            "user": {"id": member, "team_id": TEAM},
            "view": {**form, "id": "V1", "state": {"values": values}},
        }
        return urlencode({"payload": json.dumps(payload)})

    # ── The API ──

    def _rule(self, call: Call) -> Reply | Drop | Hang:
        if not call.path.startswith("/api/"):
            self.answers.append(json.loads(call.body))
            return Reply(body=b"ok", headers={"Content-Type": "text/plain"})
        method = call.path.removeprefix("/api/")
        arguments = self._arguments(method, call)
        self.calls.append((method, arguments))
        fault = self._faults[method].popleft() if self._faults[method] else None
        if isinstance(fault, int):
            return Reply(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(fault)})
        if isinstance(fault, Drop | Hang | Reply):
            return fault
        if isinstance(fault, str):
            return Reply(body={"ok": False, "error": fault})
        try:
            said = self._do(method, arguments, call.headers.get("Authorization", ""))
        except Refusal as error:
            more = {"needed": NEEDS[method], "provided": ",".join(self.scopes)} if str(error) == "missing_scope" else {}
            return Reply(body={"ok": False, "error": str(error), **more})
        if isinstance(fault, Lost):
            return Drop()
        return Reply(body={"ok": True, **said}, headers={"X-OAuth-Scopes": ",".join(self.scopes)})

    def _arguments(self, method: str, call: Call) -> dict[str, Any]:
        kind = call.headers.get("Content-Type", "")
        if kind.startswith("application/json"):
            assert method not in READS, f"{method} takes no JSON"
            return call.json
        return dict(parse_qsl(call.body.decode()))

    def _do(self, method: str, arguments: dict[str, Any], authorization: str) -> dict[str, Any]:
        if method not in NEEDS:
            raise Refusal("unknown_method")
        if authorization != f"Bearer {TOKEN}":
            raise Refusal("invalid_auth")
        if NEEDS[method] and not set(NEEDS[method].split()) & set(self.scopes):
            raise Refusal("missing_scope")
        return getattr(self, method.replace(".", "_"))(**arguments)

    def auth_test(self) -> dict[str, Any]:
        return {
            "url": "https://example.slack.com/",
            "team": "Example",
            "team_id": TEAM,
            "user": "portal",
            "user_id": BOT,
            "bot_id": "B0123",
        }

    def users_info(self, user: str) -> dict[str, Any]:
        if user not in self.members:
            raise Refusal("user_not_found")
        found = json.loads(json.dumps(self.members[user]))
        if "users:read.email" not in self.scopes:
            found["profile"].pop("email", None)
        return {"user": found}

    def conversations_open(self, users: str) -> dict[str, Any]:
        if users not in self.members:
            raise Refusal("user_not_found")
        pk = f"D{users[1:]}"
        self.conversations[pk] = {"id": pk, "is_im": True, "is_archived": False, "members": [BOT, users]}
        return {"channel": {"id": pk}}

    def conversations_create(self, name: str, is_private: bool = False) -> dict[str, Any]:
        if not name:
            raise Refusal("invalid_name_required")
        if len(name) > 80:
            raise Refusal("invalid_name_maxlength")
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise Refusal("invalid_name_specials")
        if any(one.get("name") == name for one in self.conversations.values()):  # of archived ones too
            raise Refusal("name_taken")
        pk = self.channel(name, BOT)
        self.conversations[pk]["is_private"] = is_private
        return {"channel": self.conversations[pk]}

    def conversations_list(
        self, types: str = "public_channel", exclude_archived: str = "false", limit: str = "100", cursor: str = ""
    ) -> dict[str, Any]:
        able = [
            one
            for one in self.conversations.values()
            if one.get("name")
            and ("private_channel" if one["is_private"] else "public_channel") in types.split(",")
            and not (exclude_archived == "true" and one["is_archived"])
        ]
        start, end = int(cursor or 0), int(cursor or 0) + min(int(limit), 2)  # a page may be shorter than asked
        following = str(end) if end < len(able) else ""
        return {"channels": able[start:end], "response_metadata": {"next_cursor": following}}

    def _open(self, channel: str) -> dict[str, Any]:
        if channel not in self.conversations:
            raise Refusal("channel_not_found")
        if self.conversations[channel]["is_archived"]:
            raise Refusal("is_archived")
        return self.conversations[channel]

    def conversations_setTopic(self, channel: str, topic: str) -> dict[str, Any]:
        found = self._open(channel)
        if len(topic) > 250:
            raise Refusal("too_long")
        found["topic"] = topic
        return {"channel": found}

    def conversations_invite(self, channel: str, users: str) -> dict[str, Any]:
        found = self._open(channel)
        for one in users.split(","):
            if one not in self.members:
                raise Refusal("user_not_found")
            if one in found["members"]:
                raise Refusal("already_in_channel")
            found["members"].append(one)
        return {"channel": found}

    def conversations_archive(self, channel: str) -> dict[str, Any]:
        if channel in self.conversations and self.conversations[channel]["is_archived"]:
            raise Refusal("already_archived")
        self._open(channel)["is_archived"] = True
        return {}

    def conversations_history(
        self, channel: str, oldest: str = "0", limit: str = "100", include_all_metadata: str = "false"
    ) -> dict[str, Any]:
        if channel not in self.conversations:
            raise Refusal("channel_not_found")
        found = [one for one in self.messages[channel] if float(one["ts"]) > float(oldest)]
        if include_all_metadata != "true":
            found = [{k: v for k, v in one.items() if k != "metadata"} for one in found]
        return {"messages": found[::-1][: int(limit)]}

    def chat_postMessage(self, channel: str, **message: Any) -> dict[str, Any]:
        self._open(channel)
        check_message(message)
        ts = f"{time.time():.0f}.{next(self._n):06d}"
        self.messages[channel].append({"ts": ts, "type": "message", "user": BOT, **message})
        return {"channel": channel, "ts": ts}

    def chat_update(self, channel: str, ts: str, **message: Any) -> dict[str, Any]:
        self._open(channel)
        check_message(message)
        found = next((one for one in self.messages[channel] if one["ts"] == ts), None)
        if found is None:
            raise Refusal("message_not_found")
        found.update(message)
        return {"channel": channel, "ts": ts}

    def pins_add(self, channel: str, timestamp: str) -> dict[str, Any]:
        self._open(channel)
        if not any(one["ts"] == timestamp for one in self.messages[channel]):
            raise Refusal("message_not_found")
        if (channel, timestamp) in self.pins:
            raise Refusal("already_pinned")
        self.pins.append((channel, timestamp))
        return {}

    def views_open(self, trigger_id: str, view: dict[str, Any]) -> dict[str, Any]:
        if trigger_id not in self.triggers:
            raise Refusal("expired_trigger_id")
        self.triggers.remove(trigger_id)
        for name in ("title", "submit", "close"):
            check_text(view[name], 24, "plain_text")
        if len(view["private_metadata"]) > 3000 or not 1 <= len(view["blocks"]) <= 100:
            raise Refusal("invalid_arguments")
        for block in view["blocks"]:
            check_block(block)
        self.forms.append(view)
        return {"view": {**view, "id": "V1"}}


class Lost:
    """The call is done, and its reply never comes."""


# ── What a message may be ───────────────────────────────────────────────────


def check_message(message: dict[str, Any]) -> None:
    blocks = message.get("blocks", [])
    if not message.get("text") and not blocks:
        raise Refusal("no_text")
    if len(blocks) > 50:
        raise Refusal("invalid_blocks")
    if len(json.dumps(blocks)) > 40_000:
        raise Refusal("msg_blocks_too_long")
    for block in blocks:
        check_block(block)


def check_text(text: Any, most: int, *kinds: str) -> None:
    if not isinstance(text, dict) or text.get("type") not in kinds or not 1 <= len(text.get("text", "")) <= most:
        raise Refusal("invalid_blocks")
    if (text["type"] == "plain_text" and "verbatim" in text) or (text["type"] == "mrkdwn" and "emoji" in text):
        raise Refusal("invalid_blocks")


def check_block(block: dict[str, Any]) -> None:
    kind = block.get("type")
    if kind == "header":
        check_text(block["text"], 150, "plain_text")
    elif kind == "section":
        check_text(block["text"], 3000, "plain_text", "mrkdwn")
    elif kind == "context":
        if not 1 <= len(block["elements"]) <= 10:
            raise Refusal("invalid_blocks")
        for one in block["elements"]:
            check_text(one, 3000, "plain_text", "mrkdwn")
    elif kind == "actions":
        if not 1 <= len(block["elements"]) <= 25 or len({e["action_id"] for e in block["elements"]}) < len(
            block["elements"]
        ):
            raise Refusal("invalid_blocks")
        for one in block["elements"]:
            check_button(one)
    elif kind == "input":
        check_text(block["label"], 2000, "plain_text")
        if block["element"]["type"] != "plain_text_input" or block["element"].get("max_length", 1) > 3000:
            raise Refusal("invalid_blocks")
    elif kind != "divider":
        raise Refusal("invalid_blocks")


def check_button(button: dict[str, Any]) -> None:
    check_text(button["text"], 75, "plain_text")
    if len(button.get("value", "")) > 2000 or len(button.get("url", "")) > 3000:
        raise Refusal("invalid_blocks")
    if button.get("style") not in (None, "primary", "danger"):
        raise Refusal("invalid_blocks")
    if question := button.get("confirm"):
        check_text(question["title"], 100, "plain_text")
        check_text(question["text"], 300, "plain_text", "mrkdwn")
        check_text(question["confirm"], 30, "plain_text")
        check_text(question["deny"], 30, "plain_text")


def texts(message: dict[str, Any]) -> str:
    """All words that people read in a message, unescaped."""
    found = []
    for block in message.get("blocks", []):
        for one in [block.get("text"), *block.get("elements", [])]:
            if isinstance(one, dict):
                text = one.get("text")
                found.append(text["text"] if isinstance(text, dict) else text)
    shown = "\n".join(filter(None, found))
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def buttons(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The buttons of a message by action_id."""
    return {
        one["action_id"]: one
        for block in message.get("blocks", [])
        if block["type"] == "actions"
        for one in block["elements"]
    }
