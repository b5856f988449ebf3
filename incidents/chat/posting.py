"""Post a message once: what is to be posted is written down, and what a lost worker posted is found again."""

from collections.abc import Callable, Container
from datetime import timedelta
from typing import Any

from django.utils import timezone

from channels.errors import DeliveryError, Permanent, Throttled
from incidents.models import ChatPost, ChatWorkspace

from .slack import LOCKED_OUT

EVENT = "commsportal_message"
MARGIN = timedelta(seconds=60)  # between our clock and Slack's
GONE = {"channel_not_found", "is_archived", "not_in_channel"}  # of a conversation
NO_ENTRY = {*LOCKED_OUT, "missing_scope"}
# The message itself cannot be changed any more.
FIXED = {"message_not_found", "cant_update_message", "edit_window_closed", *GONE}


def post(one: ChatPost, message: dict[str, Any]) -> None:
    """Post `message` in Slack where `one` says, unless it is there already. Raises DeliveryError."""

    def send() -> str:
        metadata = {"event_type": EVENT, "event_payload": {"key": one.key}}
        said = one.workspace.slack.call("chat.postMessage", channel=one.place, metadata=metadata, **message)
        return str(said.get("ts") or "")

    once(one, send, found)


def once(one: ChatPost, send: Callable[[], str], look: Callable[[ChatPost], str]) -> None:
    """Send a message whose ID `send` gives, unless it was; `look` finds one that was sent and not written down."""
    if one.ts:
        return
    if one.tried_at is None:
        one.tried_at = timezone.now()
        one.save(update_fields=["tried_at"])
    else:
        one.ts = look(one)
    if not one.ts:
        one.ts = send()
    one.save(update_fields=["ts"])


def found(one: ChatPost) -> str:
    """Slack's ID of a message that was posted and not written down; "" if it is not there. Raises DeliveryError."""
    assert one.tried_at
    try:
        said = one.workspace.slack.ask(
            "conversations.history",
            channel=one.place,
            oldest=f"{(one.tried_at - MARGIN).timestamp():.6f}",
            limit=100,
            include_all_metadata="true",
        )
    except Permanent as error:
        if error.code == "missing_scope":  # then it is posted twice, which harms less than never
            return ""
        raise
    for message in said.get("messages") or []:
        metadata = message.get("metadata") or {}
        if metadata.get("event_type") == EVENT and (metadata.get("event_payload") or {}).get("key") == one.key:
            return str(message.get("ts") or "")
    return ""


def change(one: ChatPost, message: dict[str, Any]) -> None:
    """Put `message` in the place of what was posted. Raises DeliveryError."""
    one.workspace.slack.call("chat.update", channel=one.place, ts=one.ts, **message)


def heed(workspace: ChatWorkspace, error: DeliveryError, locked_out: Container[str] = NO_ENTRY) -> None:
    """What a failure means for everything else that is to be said in this workspace."""
    if isinstance(error, Throttled):
        workspace.hold(error.retry_after)
    elif error.code in locked_out:
        workspace.complain(str(error))
