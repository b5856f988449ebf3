"""Buttons below what is to be approved: approve, or send back with a reason. The verbs are those of the page."""

from typing import Any

from django.conf import settings
from django.core import signing
from django.urls import reverse
from django.utils.translation import gettext as _

from channels import queue
from channels.errors import DeliveryError
from incidents import approving, rendering
from incidents.errors import Problem, Refused, WrongState
from incidents.models import ChatAccount, IncidentUpdate
from incidents.models.decision import name_of

from . import blocks
from .slack import HURRY, Slack

APPROVE, SEND_BACK, OPEN = "approve", "send_back", "open"
SALT = "incidents.chat.click"
SECONDS = 7 * 24 * 3600
MAX_REASON = 3000  # characters that Slack's form takes
BY = "Slack"  # the comment of an approval: whoever reads the record sees where it was given


def value(update: IncidentUpdate) -> str:
    """What a button carries: the exact content that it was shown with, signed."""
    return signing.dumps([update.pk, update.content_hash], salt=SALT)


def page(update: IncidentUpdate) -> str:
    return f"{settings.PORTAL_URL}{reverse('admin:incidents_incidentupdate_review', args=[update.pk])}"


def read(payload: dict[str, Any]) -> dict[str, Any] | None:
    """The click in an interaction: {"action", "value", "trigger"}; None if it is none that changes anything."""
    actions = payload.get("actions")
    first = actions[0] if isinstance(actions, list) and actions else None
    if not isinstance(first, dict) or first.get("action_id") not in (APPROVE, SEND_BACK):
        return None
    shown, trigger = first.get("value"), payload.get("trigger_id")
    return {"action": first["action_id"], "value": str(shown or "")[:2000], "trigger": str(trigger or "")[:200]}


def key(asked: dict[str, Any]) -> int | None:
    """The update of a click; None if the button is not whole."""
    try:
        return signing.loads(asked["value"], salt=SALT)[0]
    except (signing.BadSignature, TypeError, ValueError, LookupError):
        return None


def run(account: ChatAccount, asked: dict[str, Any]) -> dict[str, Any]:
    """Do it; the answer for who clicked. Raises Problem."""
    update, seen = _meant(account, asked["value"])
    if asked["action"] == SEND_BACK:  # the form could not be opened
        _check(update, seen)
        text = _("Slack could not show the form. Send it back on the page: %(url)s") % {"url": page(update)}
        return {"text": blocks.linked(text)}
    try:
        update.approve(account.user, BY, seen_hash=seen)
    except Refused as error:
        where = _("Decide on the page: %(url)s") % {"url": page(update)}
        raise Refused(f"{error} {where}", error.findings) from None
    return {"text": blocks.linked(_approved(update)), "update": update.pk}


def _approved(update: IncidentUpdate) -> str:
    """What came of an approval."""
    if update.status == IncidentUpdate.Status.IN_REVIEW:
        names = ", ".join(name_of(one) for one in approving.approvers(update)[: approving.missing(update)])
        return _("Approved by you. It waits for approval by %(names)s too.") % {"names": names or _("somebody else")}
    if update.goes_by_itself:
        when = rendering.moment(update.publish_at, always_day=True)
        return _("Approved. It goes out by itself: %(time)s.") % {"time": when}
    return _("Approved. It is not sent yet.") + " " + page(update)


def _meant(account: ChatAccount, shown: str) -> tuple[IncidentUpdate, str]:
    """The update of a button and the content that was seen. Raises Refused."""
    try:
        pk, seen = signing.loads(shown, salt=SALT, max_age=SECONDS)
    except (signing.BadSignature, TypeError, ValueError):
        raise Refused(_("This button is over a week old, or not whole. Decide on the page.")) from None
    update = IncidentUpdate.objects.for_user(account.user).select_related("incident").filter(pk=pk).first()
    if update is None:
        raise Refused(_("There is no such update, or it is not of your components."))
    return update, seen


def _check(update: IncidentUpdate, seen: str) -> None:
    """Raises WrongState unless these very words still wait."""
    if update.status != IncidentUpdate.Status.IN_REVIEW or update.content_hash != seen:
        raise WrongState(_("This has moved on since: these words do not wait for approval any more."))


# ── Send back ───────────────────────────────────────────────────────────────


def open_form(account: ChatAccount | None, asked: dict[str, Any]) -> bool:
    """Ask for the reason, while Slack waits; whether the form is open."""
    if account is None:
        return False
    try:
        update, seen = _meant(account, asked["value"])
        _check(update, seen)
        slack = Slack(account.workspace.secrets.get("bot_token", ""), HURRY)
        slack.call("views.open", trigger_id=asked["trigger"], view=_form(update, asked["value"]))
    except (Problem, DeliveryError):
        return False  # run() says why
    return True


def _form(update: IncidentUpdate, shown: str) -> dict[str, Any]:
    def plain(text: Any, most: int) -> dict[str, Any]:
        return {"type": "plain_text", "text": str(text)[:most], "emoji": False}

    return {
        "type": "modal",
        "callback_id": SEND_BACK,
        "private_metadata": shown,
        "title": plain(_("Send back"), 24),
        "submit": plain(_("Send back"), 24),
        "close": plain(_("Cancel"), 24),
        "blocks": [
            blocks.line(f"*{blocks.safe(update.incident.title)}*"),
            {
                "type": "input",
                "block_id": "reason",
                "label": plain(_("What should change?"), 2000),
                "element": {
                    "type": "plain_text_input",
                    "action_id": "reason",
                    "multiline": True,
                    "max_length": MAX_REASON,
                },
                "hint": plain(_("The author reads it. Nothing is sent to customers."), 2000),
            },
        ],
    }


def submit(account: ChatAccount | None, view: Any, errors: dict[str, str]) -> bool:
    """Send it back with the reason that was typed; what is wrong goes to `errors`, which the form shows."""
    view = view if isinstance(view, dict) and view.get("callback_id") == SEND_BACK else {}
    try:
        if account is None:
            raise Refused(_("The portal does not know who you are here. Write /incident to connect your account."))
        update, seen = _meant(account, str(view.get("private_metadata") or ""))
        update.reject(account.user, _typed(view), seen_hash=seen)
    except Problem as error:
        errors["reason"] = str(error)[:2000]
    else:
        queue.enqueue("incidents.tasks.close_chat", update.pk)
    return True


def _typed(view: dict[str, Any]) -> str:
    found: Any = view
    for name in ("state", "values", "reason", "reason", "value"):
        found = found.get(name) if isinstance(found, dict) else None
    return found.replace("\0", "")[:MAX_REASON] if isinstance(found, str) else ""
