"""Microsoft Teams for an app without a user: Graph makes channels, the Bot Connector posts in them.

Graph lets an application post for migrations alone ("Send chatMessage in a channel": Teamwork.Migrate.All), so what is
said goes through the bot that is installed in the team. As of learn.microsoft.com/graph/api/resources/channel,
…/microsoftteams/platform/bots/how-to/conversations/send-proactive-messages and
…/entra/identity-platform/v2-oauth2-client-creds-grant-flow.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Transient, Uncertain

from .wire import ask

if TYPE_CHECKING:
    from incidents.models import ChatWorkspace

BOT_SCOPE = "https://api.botframework.com/.default"
# What the app may do in the one team that installs it ("resource-specific consent"), and for what.
OF_THE_TEAM = (
    "TeamSettings.Read.Group",  # know the team
    "Channel.Create.Group",
    "ChannelSettings.ReadWrite.Group",  # describe channels, and find them again
    "ChannelMessage.Read.Group",  # find again what was posted before a worker died
)
MOST_PAGES = 20
# The app is not let in any more, or was never.
LOCKED_OUT = {
    "BotDisabledByAdmin",
    "BotNotRegistered",
    "InvalidAuthenticationToken",
    "Unauthorized",
    "invalid_client",
    "invalid_request",
    "unauthorized_client",
}
GONE = {"ConversationNotFound", "ItemNotFound", "NotFound", "ResourceNotFound"}  # of a channel or a team
HINTS = {
    "BotDisabledByAdmin": gettext_lazy("An administrator of Teams has blocked the app."),
    "BotNotInConversationRoster": gettext_lazy("The bot is not in this channel: install the app in the team."),
    "BotNotRegistered": gettext_lazy(
        "There is no bot with this application ID: make one in Azure, with the channel Teams."
    ),
    "invalid_client": gettext_lazy("Microsoft does not accept the client secret; make a new one, and copy its value."),
    "unauthorized_client": gettext_lazy("This directory knows no application with this ID; see both IDs."),
    "invalid_request": gettext_lazy("Microsoft knows no directory with this ID."),
}


class Teams:
    """One app in one directory. Never retries. Keeps its tokens for as long as it is used, and writes them nowhere."""

    def __init__(self, tenant: str, app: str, secret: str) -> None:
        self.tenant, self.app = tenant, app
        self._secret = secret
        self._tokens: dict[str, str] = {}

    def graph(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """What Graph answers. Raises Transient, Throttled, Permanent, Uncertain; `code` is Microsoft's own word."""
        return self._call(method, graph_url(path, **query), _graph_scope(), body)[0]

    def every(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All pages of a list. Raises as graph()."""
        found: list[dict[str, Any]] = []
        url = graph_url(path, **query)
        for _page in range(MOST_PAGES):
            said = self._call("GET", url, _graph_scope(), None)[0]
            found += [one for one in said.get("value") or [] if isinstance(one, dict)]
            url = str(said.get("@odata.nextLink") or "")
            if not url.startswith(f"{settings.GRAPH_API}/"):  # the token goes nowhere else
                break
        return found

    def begin(self, path: str, body: Any = None) -> str:
        """Begin what takes a while; the path at which Graph tells how far it is. Raises as graph()."""
        where = self._call("POST", graph_url(path), _graph_scope(), body)[1].get("Location", "")
        return where if where.startswith("/") else urlsplit(where).path.removeprefix(urlsplit(settings.GRAPH_API).path)

    def bot(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What the Bot Connector answers. Raises as graph()."""
        return self._call(method, f"{settings.TEAMS_BOT_API}{path}", BOT_SCOPE, body)[0]

    def _call(self, method: str, url: str, scope: str, body: Any) -> tuple[dict[str, Any], Mapping[str, str]]:
        headers = {"Authorization": f"Bearer {self._token(scope)}", "Accept": "application/json"}
        raw = None
        if body is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
            raw = json.dumps(body, ensure_ascii=False).encode()
        return _answer(*ask(method, url, raw, headers))

    def _token(self, scope: str) -> str:
        """By the client credentials grant."""
        if scope not in self._tokens:
            form = {
                "client_id": self.app,
                "client_secret": self._secret,
                "scope": scope,
                "grant_type": "client_credentials",
            }
            url = f"{settings.MICROSOFT_LOGIN}/{path_of(self.tenant)}/oauth2/v2.0/token"
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            said = _answer(*ask("POST", url, urlencode(form).encode(), kind))[0]
            if not said.get("access_token"):
                raise Uncertain("bad-reply", _("Microsoft answered without a token."))
            self._tokens[scope] = str(said["access_token"])
        return self._tokens[scope]


def path_of(part: str) -> str:
    """One part of a path; IDs of channels hold colons and at signs."""
    return quote(part, safe="")


def graph_url(path: str, **query: Any) -> str:
    """`query` without the dollar signs: select="id"."""
    asked = urlencode({f"${name}": value for name, value in query.items()}, quote_via=quote)
    return f"{settings.GRAPH_API}{path}" + (f"?{asked}" if asked else "")


def _graph_scope() -> str:
    parts = urlsplit(settings.GRAPH_API)
    return f"{parts.scheme}://{parts.netloc}/.default"


def _answer(status: int, raw: bytes, headers: Mapping[str, str]) -> tuple[dict[str, Any], Mapping[str, str]]:
    try:
        said = json.loads(raw) if raw.strip() else {}
    except ValueError:
        said = None
    if status < 300 and isinstance(said, dict):
        return said, headers
    if status < 300:
        raise Uncertain("bad-reply", _("Microsoft's answer could not be read."))
    code, detail = _refusal(said) or (str(status), raw.decode("utf-8", "replace")[:200])
    if status == 412:  # "Please retry": others write in the same conversation
        raise Transient(code, detail)
    if status == 401 and code not in LOCKED_OUT:
        code = "Unauthorized"
    raise Permanent(code, " ".join(filter(None, [str(HINTS.get(code, "")), detail])))


def _refusal(said: Any) -> tuple[str, str] | None:
    """(code, message) in whichever of Microsoft's three forms a refusal comes."""
    if not isinstance(said, dict):
        return None
    error = said.get("error")
    if isinstance(error, dict):  # Graph and the Bot Connector
        return str(error.get("code") or "unknown")[:60], str(error.get("message") or "")[:300]
    if isinstance(error, str):  # the token: an AADSTS code and its sentence, then lines about the request
        return error[:60], str(said.get("error_description") or "").split("\r\n")[0][:300]
    if "errorCode" in said:  # the connector's other form: JSON inside of a text
        try:
            inner = json.loads(str(said.get("message") or "{}"))
        except ValueError:
            inner = {}
        return str(inner.get("subCode") or said["errorCode"])[:60], str(inner.get("details") or "")[:300]
    return None


def check(workspace: "ChatWorkspace") -> tuple[dict[str, str], list[str]]:
    """What Teams says of a team, by the fields of the workspace, and what is missing, in words. Raises as graph().

    It makes and posts nothing, so that the right to make channels shows at the first one alone.
    """
    teams, team = workspace.teams, path_of(workspace.team)
    said = teams.graph("GET", f"/teams/{team}", select="id,displayName,internalId,isArchived")
    missing = []
    if said.get("isArchived"):
        missing.append(_("This team is archived in Teams: nothing can be made or posted in it."))
    try:
        teams.graph("GET", f"/teams/{team}/channels", select="id")
    except Permanent as error:
        missing.append(_("The channels of the team cannot be listed: %(why)s") % {"why": error})
    if workspace.rooms_private:
        try:
            teams.graph("GET", "/users", filter="userPrincipalName eq 'nobody@example.com'", select="id")
        except Permanent as error:
            missing.append(
                _("People cannot be looked up, so that private channels stay empty: %(why)s") % {"why": error}
            )
    try:
        teams.bot("GET", f"/v3/teams/{path_of(str(said.get('internalId') or ''))}")
    except DeliveryError as error:
        missing.append(_("The bot cannot post in this team: %(why)s") % {"why": error})
    return {"team": workspace.team, "team_name": str(said.get("displayName") or "")[:120]}, missing
