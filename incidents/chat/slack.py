"""Slack's Web API: one call, and what its refusals mean.

Methods, errors and limits as of docs.slack.dev/reference/methods. What is refused comes with status 200.
"""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import urllib3
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Throttled, Uncertain

from .wire import TIMEOUT, ask, patience

if TYPE_CHECKING:
    from incidents.models import ChatWorkspace

HURRY = urllib3.Timeout(connect=0.7, read=1.3)  # while Slack itself waits for us, at most three seconds
# What the app needs, and for what.
SCOPES = (
    "chat:write",  # post, and change what was posted
    "commands",  # /incident
    "im:write",  # write to a person
    "im:history",  # find again what was posted before a worker died; so for channels
    "channels:manage",  # make public channels, set their topic, invite, archive
    "channels:read",
    "channels:history",
    "groups:write",  # the same for private ones
    "groups:read",
    "groups:history",
    "pins:write",
    "users:read",  # whose account is being connected
    "users:read.email",
)
THROTTLES = {"ratelimited", "rate_limited", "message_limit_exceeded"}
# "It's possible some aspect of the operation succeeded before the error was raised."
UNSURE = {"fatal_error", "internal_error", "request_timeout", "service_unavailable"}
# The app itself is not let in any more: nothing that it asks will be answered.
LOCKED_OUT = {
    "account_inactive",
    "invalid_auth",
    "no_permission",
    "not_authed",
    "team_access_not_granted",
    "token_expired",
    "token_revoked",
}
HINTS = {
    "account_inactive": gettext_lazy("The app was removed from the workspace; install it again."),
    "channel_not_found": gettext_lazy("Slack knows no such channel, or it is private and the app is not in it."),
    "invalid_auth": gettext_lazy("Slack does not accept the token; copy it again from “OAuth & Permissions”."),
    "is_archived": gettext_lazy("The channel was archived in Slack."),
    "missing_scope": gettext_lazy("The app lacks a scope; add it and install the app again."),
    "restricted_action": gettext_lazy("The workspace does not let apps do this; ask its administrator."),
    "token_revoked": gettext_lazy("The token was revoked; install the app again and copy the new one."),
    "user_not_found": gettext_lazy("Slack knows no such member in this workspace."),
}


class Slack:
    """One app in one workspace. Never retries, never follows a redirect."""

    def __init__(self, token: str, timeout: urllib3.Timeout = TIMEOUT) -> None:
        self._token = token
        self._timeout = timeout

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """What a method answered. Raises Transient, Throttled, Permanent, Uncertain; `code` is Slack's own word."""
        return self._call(method, arguments)[0]

    def _call(self, method: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json; charset=utf-8",
        }
        body = json.dumps(arguments, ensure_ascii=False).encode()
        return _answer(*ask("POST", f"{settings.SLACK_API}/{method}", body, headers, self._timeout))

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The same for methods that read: they take forms and no JSON. Raises as call()."""
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        body = urlencode(arguments).encode()
        return _answer(*ask("POST", f"{settings.SLACK_API}/{method}", body, headers, self._timeout))[0]

    def who(self) -> tuple[dict[str, Any], set[str]]:
        """Which workspace and member the token is of, and its scopes. Raises as call()."""
        said, headers = self._call("auth.test", {})
        return said, set(filter(None, re.split(r"[,\s]+", headers.get("X-OAuth-Scopes", ""))))


def check(workspace: "ChatWorkspace") -> tuple[dict[str, str], list[str]]:
    """What Slack says of a workspace, by its fields, and what is missing, in words. Raises as call()."""
    said, scopes = workspace.slack.who()
    address = str(said.get("url") or "")[:300]
    told = {
        "team": str(said.get("team_id") or "")[:32],
        "team_name": str(said.get("team") or "")[:120],
        "bot": str(said.get("user_id") or "")[:32],
        "address": address if urlsplit(address).scheme == "https" else "",
    }
    if missing := [one for one in SCOPES if one not in scopes]:
        text = _("These scopes are missing: %(names)s. Add them to the app and install it again.")
        return told, [text % {"names": ", ".join(missing)}]
    return told, []


def reply(url: str, message: Mapping[str, Any]) -> None:
    """Answer to where Slack said that it wants the answer. Raises DeliveryError; Permanent if that is not Slack."""
    if not is_slack(url):
        raise Permanent("foreign-url", _("Slack does not ask to be answered there."))
    headers = {"Content-Type": "application/json; charset=utf-8"}
    status, raw, _headers = ask("POST", url, json.dumps(message, ensure_ascii=False).encode(), headers)
    if status >= 400:
        raise Permanent(str(status), raw.decode("utf-8", "replace")[:200])


def is_slack(url: str) -> bool:
    """Whether an address to answer to is of Slack's webhooks: https, that host and nothing before or after it."""
    try:
        parts, base = urlsplit(url), urlsplit(settings.SLACK_API)
        own = parts.scheme == base.scheme and parts.netloc == base.netloc
        return own or (parts.scheme == "https" and parts.netloc == f"hooks.{base.netloc}")
    except ValueError:
        return False


def _answer(status: int, raw: bytes, headers: Mapping[str, str]) -> tuple[dict[str, Any], Mapping[str, str]]:
    try:
        said = json.loads(raw)
    except ValueError:
        said = None
    if isinstance(said, dict) and said.get("ok") is True:
        return said, headers
    if isinstance(said, dict) and said.get("ok") is False:
        raise _refused(said, headers)
    if status >= 400:
        raise Permanent(str(status), raw.decode("utf-8", "replace")[:200])
    raise Uncertain("bad-reply", _("Slack's answer could not be read."))


def _refused(said: Mapping[str, Any], headers: Mapping[str, str]) -> DeliveryError:
    code = str(said.get("error") or "unknown")
    if code in THROTTLES:
        return Throttled(code, retry_after=patience(headers.get("Retry-After", "")))
    more = str(said["needed"]) if said.get("needed") else ""
    detail = " ".join(filter(None, [str(HINTS.get(code, "")), more]))
    return Uncertain(code, detail) if code in UNSURE else Permanent(code, detail)
