"""A fake of Microsoft Teams on loopback, with one directory and one team: the login, Graph, and the Bot Connector.

It keeps the documented rules of learn.microsoft.com (graph/api/channel-post, -patch, -list, -archive, -post-members,
-list-messages, teamsasyncoperation; bots/how-to/conversations/send-proactive-messages; the client credentials grant) as
far as the portal meets them, and refuses what they do not know. It is a fake: what passes here was never verified on
Teams. `Channel name already existed` is not documented; others report it.
"""

import itertools
import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.aws import Drop, Hang
from tests.fakes.http import Call, FakeHttp, Reply
from tests.fakes.slack_api import Lost

TENANT = "11111111-2222-3333-4444-555555555555"
APP = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
TEAM = "99999999-8888-7777-6666-555555555555"
CLIENT_SECRET = "abc8Q~fake-never-to-be-seen-0123456789"
INTERNAL = "19:team0000000000000000000000000000@thread.tacv2"
CARD = "application/vnd.microsoft.card.adaptive"
GRAPH, BOT = "graph", "bot"
# What an application may do: of all teams, or of the one that installed it.
ALLOWED = {
    "TeamSettings.Read.Group",
    "Channel.Create.Group",
    "ChannelSettings.ReadWrite.Group",
    "ChannelMessage.Read.Group",
    "ChannelSettings.ReadWrite.All",
    "ChannelMember.ReadWrite.All",
    "User.Read.All",
}
FORBIDDEN_IN_NAMES = re.compile(r"[~#%&*{}+/\\:<>?|'\"\x00-\x1f]")


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message

    @property
    def reply(self) -> Reply:
        return Reply(self.status, {"error": {"code": self.code, "message": self.message or self.code}})


class FakeTeams:
    """`fail()` scripts what the next call of an operation meets: create, list, patch, member, post, archive …"""

    def __init__(self) -> None:
        self.http = FakeHttp(self._rule)
        self.login, self.graph, self.bot = (f"{self.http.url}/{one}" for one in ("login", "v1.0", "teams"))
        self.allowed = set(ALLOWED)
        self.installed = True  # the bot, in the team
        self.private_bots = False  # whether a bot may write in private channels; a person adds it to each
        self.users: dict[str, dict[str, Any]] = {}
        self.team_members: set[str] = set()
        self.channels: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.operations: dict[str, dict[str, Any]] = {}
        self.archiving_fails = False
        self.calls: list[tuple[str, Any]] = []
        self.tokens: dict[str, str] = {}
        self._faults: dict[str, deque[Any]] = defaultdict(deque)
        self._n = itertools.count(1)

    def close(self) -> None:
        self.http.close()

    def fail(self, operation: str, *faults: Any) -> None:
        """A number of seconds asks for patience; Lost() does it and loses the reply; a Reply is given instead."""
        self._faults[operation].extend(faults)

    def count(self, operation: str) -> int:
        return sum(one == operation for one, _body in self.calls)

    def user(self, email: str, upn: str = "", in_team: bool = True) -> str:
        pk = f"00000000-0000-0000-0000-{next(self._n):012d}"
        self.users[pk] = {"id": pk, "mail": email, "userPrincipalName": upn or email}
        if in_team:
            self.team_members.add(pk)
        return pk

    def channel(self, name: str, description: str = "", **more: Any) -> str:
        pk = f"19:{next(self._n):032d}@thread.tacv2"
        self.channels[pk] = {
            "id": pk,
            "displayName": name,
            "description": description,
            "membershipType": "standard",
            "createdDateTime": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "webUrl": f"https://teams.microsoft.com/l/channel/{pk}?groupId={TEAM}&tenantId={TENANT}",
            "isArchived": False,
            "members": {},
            "deleted": False,
            **more,
        }
        return pk

    # ── HTTP ──

    def _rule(self, call: Call) -> Reply | Drop | Hang:
        url = urlsplit(call.path)
        parts = [unquote(one) for one in url.path.strip("/").split("/")]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            if parts[0] == "login":
                return self._met("token", lambda: self._token(parts, call))
            side = GRAPH if parts[0] == "v1.0" else BOT
            self._authorize(side, call)
            if call.body:
                assert call.headers["Content-Type"].startswith("application/json"), call.headers
            operation, act = self._operation(side, call.method, parts[1:])
            body = call.json if call.body else None
            self.calls.append((operation, body))
            return self._met(operation, lambda: act(parts[1:], body, query))
        except Refusal as refusal:
            return refusal.reply

    def _met(self, operation: str, act: Callable[[], Reply]) -> Reply | Drop | Hang:
        fault = self._faults[operation].popleft() if self._faults[operation] else None
        if isinstance(fault, int):
            return Reply(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": str(fault)})
        if isinstance(fault, Drop | Hang | Reply):
            return fault
        found = act()
        return Drop() if isinstance(fault, Lost) else found

    def _token(self, parts: list[str], call: Call) -> Reply:
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        self.calls.append(("token", form["scope"]))
        assert parts[2:] == ["oauth2", "v2.0", "token"]
        assert form["grant_type"] == "client_credentials"
        assert call.headers["Content-Type"] == "application/x-www-form-urlencoded"
        if parts[1] != TENANT:
            said = f"AADSTS90002: Tenant '{parts[1]}' not found.\r\nTrace ID: 0"
            return Reply(400, {"error": "invalid_request", "error_description": said})
        if form["client_id"] != APP:
            said = "AADSTS700016: Application was not found in the directory.\r\nTrace ID: 0"
            return Reply(400, {"error": "unauthorized_client", "error_description": said})
        if form["client_secret"] != CLIENT_SECRET:
            said = "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 0"
            return Reply(401, {"error": "invalid_client", "error_description": said})
        sides = {f"{self.http.url}/.default": GRAPH, "https://api.botframework.com/.default": BOT}
        token = f"token-{next(self._n)}"
        self.tokens[token] = sides[form["scope"]]
        return Reply(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": token})

    def _authorize(self, side: str, call: Call) -> None:
        token = call.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token) != side:
            raise Refusal(401, "InvalidAuthenticationToken" if side == GRAPH else "Unauthorized")

    def _operation(self, side: str, method: str, parts: list[str]) -> tuple[str, Any]:
        shape = "/".join("*" if n in (1, 3) else one for n, one in enumerate(parts))
        known = {
            (GRAPH, "GET", "teams/*"): ("team", self._team),
            (GRAPH, "GET", "teams/*/channels"): ("list", self._list),
            (GRAPH, "POST", "teams/*/channels"): ("create", self._create),
            (GRAPH, "GET", "teams/*/channels/*"): ("get", self._get),
            (GRAPH, "PATCH", "teams/*/channels/*"): ("patch", self._patch),
            (GRAPH, "POST", "teams/*/channels/*/members"): ("member", self._member),
            (GRAPH, "GET", "teams/*/channels/*/members"): ("members", self._members),
            (GRAPH, "GET", "teams/*/channels/*/messages"): ("messages", self._messages),
            (GRAPH, "POST", "teams/*/channels/*/archive"): ("archive", self._archive),
            (GRAPH, "GET", "teams/*/operations/*"): ("operation", self._progress),
            (GRAPH, "GET", "users"): ("users", self._users),
            (BOT, "GET", "v3/*/" + (parts[2] if len(parts) > 2 else "")): ("bot_team", self._bot_team),
            (BOT, "POST", "v3/*"): ("post", self._post),
        }
        if (side, method, shape) not in known:
            raise Refusal(405, "MethodNotAllowed", f"{method} {'/'.join(parts)}")
        return known[side, method, shape]

    def _need(self, *rights: str) -> None:
        if not self.allowed & set(rights):
            one_of = ", ".join(rights)
            text = f"Missing role permissions on the request. API requires one of '{one_of}'."
            raise Refusal(403, "Forbidden", text)

    # ── Graph ──

    def _of_team(self, parts: list[str]) -> None:
        if parts[1] != TEAM:
            raise Refusal(404, "NotFound", f"No team found with Group Id {parts[1]}")

    def _of_channel(self, parts: list[str]) -> dict[str, Any]:
        self._of_team(parts)
        found = self.channels.get(parts[3])
        if found is None or found["deleted"]:
            raise Refusal(404, "NotFound", "NotFound")
        return found

    def _team(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("TeamSettings.Read.Group", "Team.ReadBasic.All")
        self._of_team(parts)
        return Reply(200, {"id": TEAM, "displayName": "Operations", "internalId": INTERNAL, "isArchived": False})

    def _list(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("ChannelSettings.ReadWrite.Group", "ChannelSettings.ReadWrite.All", "Channel.ReadBasic.All")
        self._of_team(parts)
        able = [one for one in self.channels.values() if not one["deleted"]]
        start = int(query.get("$skiptoken", 0))
        said: dict[str, Any] = {"value": [selected(one, query) for one in able[start : start + 2]]}
        if start + 2 < len(able):
            said["@odata.nextLink"] = f"{self.graph}/teams/{TEAM}/channels?$skiptoken={start + 2}" + (
                f"&$select={query['$select']}" if "$select" in query else ""
            )
        return Reply(200, said)

    def _create(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("Channel.Create.Group", "Channel.Create")
        self._of_team(parts)
        if set(body) - {"displayName", "description", "membershipType", "members"}:
            raise Refusal(400, "BadRequest", "Invalid property.")
        name = body["displayName"]
        if not name.strip() or len(name.encode("utf-16-le")) > 100:
            raise Refusal(400, "BadRequest", "Channel name must be between 1 and 50 characters.")
        if FORBIDDEN_IN_NAMES.search(name) or name[0] in "_." or name[-1] == ".":
            raise Refusal(400, "BadRequest", "Channel name has characters that are not allowed.")
        if len(body["description"]) > 1024:
            raise Refusal(400, "BadRequest", "Description is too long.")
        if any(one["displayName"].casefold() == name.casefold() for one in self.channels.values()):
            raise Refusal(400, "BadRequest", "Channel name already existed, please use other name.")
        members = {self._bound(one): one["roles"] for one in body.get("members", [])}
        private = body["membershipType"] == "private"
        if private and ["owner"] not in members.values():
            raise Refusal(400, "BadRequest", "A private channel needs an owner.")
        if not private and (members or body["membershipType"] != "standard"):
            raise Refusal(400, "BadRequest", "Members are for private channels.")
        pk = self.channel(name, body["description"], membershipType=body["membershipType"], members=members)
        return Reply(201, selected(self.channels[pk], {}))

    def _bound(self, member: dict[str, Any]) -> str:
        assert member["@odata.type"] == "#microsoft.graph.aadUserConversationMember"
        found = re.fullmatch(re.escape(self.graph) + r"/users\('([^']+)'\)", member["user@odata.bind"])
        if not found or found[1] not in self.users or member["roles"] not in ([], ["owner"]):
            raise Refusal(400, "BadRequest", "Bad member.")
        if found[1] not in self.team_members:
            raise Refusal(400, "BadRequest", "The user is not a member of the team.")
        return found[1]

    def _get(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("ChannelSettings.ReadWrite.Group", "ChannelSettings.ReadWrite.All", "Channel.ReadBasic.All")
        return Reply(200, selected(self._of_channel(parts), query))

    def _patch(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("ChannelSettings.ReadWrite.Group", "ChannelSettings.ReadWrite.All")
        found = self._of_channel(parts)
        self._writable(found)
        if set(body) - {"displayName", "description"} or len(body.get("description", "")) > 1024:
            raise Refusal(400, "BadRequest", "Invalid property.")
        found |= body
        return Reply(204, b"")

    @staticmethod
    def _writable(channel: dict[str, Any]) -> None:
        if channel["isArchived"]:
            raise Refusal(403, "Forbidden", "The channel is archived.")

    def _member(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("ChannelMember.ReadWrite.All")
        found = self._of_channel(parts)
        if found["membershipType"] != "private":
            raise Refusal(400, "BadRequest", "The operation is allowed for private channels alone.")
        user = self._bound(body)
        if user in found["members"]:
            raise Refusal(400, "BadRequest", "The user is in the channel already.")
        found["members"][user] = body["roles"]
        return Reply(201, {"id": "x", "roles": body["roles"]})

    def _members(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("ChannelMember.ReadWrite.All", "ChannelMember.Read.All")
        members = self._of_channel(parts)["members"]
        return Reply(200, {"value": [{"userId": user, "roles": roles} for user, roles in members.items()]})

    def _users(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("User.Read.All", "User.ReadBasic.All")
        wanted = [
            re.fullmatch(r"(mail|userPrincipalName) eq '((?:[^']|'')*)'", one) for one in query["$filter"].split(" or ")
        ]
        if not all(wanted):
            raise Refusal(400, "Request_UnsupportedQuery", query["$filter"])
        able = [(one[1], one[2].replace("''", "'").lower()) for one in wanted if one]
        found = [one for one in self.users.values() if any(str(one[name]).lower() == value for name, value in able)]
        return Reply(200, {"value": [selected(one, query) for one in found]})

    def _messages(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("ChannelMessage.Read.Group", "ChannelMessage.Read.All")
        self._of_channel(parts)
        if set(query) - {"$top", "$expand"} or int(query.get("$top", 20)) > 50:
            raise Refusal(400, "BadRequest", "Query option is not allowed.")
        return Reply(200, {"value": self.messages[parts[3]][::-1][: int(query.get("$top", 20))]})

    def _archive(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._need("ChannelSettings.ReadWrite.All")
        found = self._of_channel(parts)
        pk = f"00000000-aaaa-0000-0000-{next(self._n):012d}"
        self.operations[pk] = {"id": pk, "status": "inProgress", "channel": found["id"], "asked": 0}
        return Reply(202, b"", {"Location": f"/teams/{TEAM}/operations/{pk}"})

    def _progress(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        self._of_team(parts)
        one = self.operations[parts[3]]
        one["asked"] += 1
        if one["asked"] > 1:  # the first look is too early
            one["status"] = "failed" if self.archiving_fails else "succeeded"
            self.channels[one["channel"]]["isArchived"] = not self.archiving_fails
        error = {"code": "Conflict", "message": "The channel has no owner."} if one["status"] == "failed" else None
        return Reply(200, {"id": one["id"], "operationType": "archiveChannel", "status": one["status"], "error": error})

    # ── The Bot Connector ──

    def _bot_team(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        if parts[1] != "teams" or parts[2] != INTERNAL:
            raise Refusal(404, "ConversationNotFound")
        self._roster()
        return Reply(200, {"id": INTERNAL, "name": "Operations", "aadGroupId": TEAM})

    def _roster(self) -> None:
        if not self.installed:
            raise Refusal(403, "BotNotInConversationRoster", "The bot is not part of the conversation roster.")

    def _post(self, parts: list[str], body: Any, query: dict[str, str]) -> Reply:
        if parts[1] != "conversations":
            raise Refusal(404, "NotFound")
        bad = Refusal(400, "BadSyntax", "Incorrect conversation creation parameters")
        channel = ((body.get("channelData") or {}).get("channel") or {}).get("id")
        if body.get("isGroup") is not True or not body.get("activity") or not channel or body.get("tenantId") != TENANT:
            raise bad
        if body.get("bot", {}).get("id") != f"28:{APP}":
            raise bad
        self._roster()
        found = self.channels.get(channel)
        if found is None or found["deleted"]:
            raise Refusal(404, "ConversationNotFound")
        if found["membershipType"] == "private" and not self.private_bots:
            raise Refusal(403, "BotNotInConversationRoster", "The bot is not part of the conversation roster.")
        self._writable(found)
        if len(json.dumps(body["activity"]).encode()) > 100 * 1024:
            raise Refusal(413, "MessageSizeTooBig")
        if wrong := fault(body["activity"]):
            raise Refusal(400, "BadArgument", wrong)
        pk = str(int((time.time() + next(self._n)) * 1000))
        contents = [{**one, "content": json.dumps(one["content"])} for one in body["activity"]["attachments"]]
        message = {"id": pk, "from": {"application": {"id": APP}}, "attachments": contents}
        self.messages[channel].append(message)
        return Reply(201, {"id": f"{channel};messageid={pk}", "activityId": pk})


def selected(one: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
    names = query["$select"].split(",") if "$select" in query else [n for n in one if n not in ("members", "deleted")]
    return {name: one[name] for name in names}


def fault(activity: dict[str, Any]) -> str:
    """What is wrong with a message; "" if nothing."""
    if activity.get("type") != "message" or len(activity.get("attachments", [])) != 1:
        return "not a message with one attachment"
    card = activity["attachments"][0]["content"]
    if activity["attachments"][0]["contentType"] != CARD or card["type"] != "AdaptiveCard":
        return "not a card"
    ids = [one["id"] for one in card["body"] if "id" in one]
    if not card["body"] or len(ids) != len(set(ids)):
        return "an empty card, or an ID twice"
    for block in card["body"]:
        if block["type"] != "RichTextBlock" or not block["inlines"]:
            return "an empty or unknown block"
        if any(run["type"] != "TextRun" or not run["text"] or "\n" in run["text"] for run in block["inlines"]):
            return "an empty, broken or unknown run"
    good = all(one["type"] == "Action.OpenUrl" and one["url"].startswith("http") for one in card["actions"])
    return "" if good else "bad action"


def texts(message: dict[str, Any]) -> str:
    """All words that people read in a message."""
    card = json.loads(message["attachments"][0]["content"])
    lines = ["".join(run["text"] for run in block["inlines"]) for block in card["body"]]
    return "\n".join([*lines, *(f"{one['title']} {one['url']}" for one in card["actions"])])
