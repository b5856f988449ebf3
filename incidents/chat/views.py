"""Where Slack posts commands and clicks. No session and no cookie: what it signed is believed, nothing else is."""

import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from channels.webhooks import refuse, say
from incidents.models import ChatRequest, ChatWorkspace

from . import clicks, requests, verifying

log = logging.getLogger(__name__)
MAX_BODY = 256 * 1024
Kind = ChatRequest.Kind


class Malformed(Exception):
    """It is signed, but not what Slack sends. HTTP 400."""


@csrf_exempt  # nobody's browser is asked: Slack signs each request
@require_POST
def command(request: HttpRequest, uid: str) -> HttpResponse:
    """`/incident …`: written down and acknowledged; a worker does it and answers to where Slack wants the answer.

    200 with a word for who asked, 400 for what Slack does not send, 403 for what it did not sign, 404 if there is no
    such workspace, 413 if too long, 503 when to come again.
    """
    return _guarded(request, uid, _command)


@csrf_exempt
@require_POST
def interaction(request: HttpRequest, uid: str) -> HttpResponse:
    """A click on a button of ours, or a form that was sent. Answers as command()."""
    return _guarded(request, uid, _interaction)


def _guarded(request: HttpRequest, uid: str, act: Any) -> HttpResponse:
    what = f"chat {uid[:12]}"
    try:
        workspace = ChatWorkspace.objects.filter(uid=uid, service=ChatWorkspace.Service.SLACK).first()
        if workspace is None:
            return refuse(what, 404, "There is no such workspace.")
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > MAX_BODY:
            return refuse(what, 413, "The body is longer than 256 KB.")
        if not workspace.enabled:
            return refuse(what, 403, "This workspace is switched off.")
        proof = verifying.verify(workspace, request.body, request.headers)
        return act(workspace, _form(request.body), proof)
    except verifying.Refused as error:
        return refuse(what, 403, str(error))
    except (Malformed, UnreadablePostError) as error:
        return refuse(what, 400, str(error) or "The body could not be read.")
    except (OperationalError, InterfaceError) as error:
        log.error("%s: the database does not answer: %s", what, error)
        return say(503, "The database does not answer just now. Nothing was done.")


def _form(body: bytes) -> dict[str, str]:
    """The fields of a form; of a repeated one the first."""
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError as error:
        raise Malformed("The body is not a form.") from error
    return {name: values[0].replace("\0", "") for name, values in found.items()}


def _check_team(workspace: ChatWorkspace, team: str) -> None:
    """The app may be installed elsewhere too; its secret is the same there, and the people are others."""
    if team != workspace.team:
        raise verifying.Refused("This comes from another workspace.")


def _command(workspace: ChatWorkspace, form: Mapping[str, str], proof: str) -> HttpResponse:
    if form.get("ssl_check"):
        return HttpResponse()
    _check_team(workspace, form.get("team_id", ""))
    if not form.get("user_id") or not form.get("response_url"):
        raise Malformed("A command has the fields user_id and response_url.")
    asked = {
        "user": form["user_id"][:32],
        "channel": form.get("channel_id", "")[:32],
        "command": form.get("command", "")[:40],
        "text": form.get("text", "")[:8000],
        "response_url": form["response_url"][:500],
    }
    requests.take(workspace, Kind.COMMAND, asked, proof)
    account = requests.person_of(workspace, asked["user"])
    with translation.override(requests.locale_of(account)):
        return JsonResponse({"response_type": "ephemeral", "text": _("One moment: the answer follows.")})


def _interaction(workspace: ChatWorkspace, form: Mapping[str, str], proof: str) -> HttpResponse:
    try:
        payload = json.loads(form.get("payload", ""))
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise Malformed("An interaction has a field payload with JSON.")
    _check_team(workspace, _in(payload, "team", "id"))
    member = _in(payload, "user", "id")[:32]
    account = requests.person_of(workspace, member)
    with translation.override(requests.locale_of(account)):
        if payload.get("type") == "view_submission":
            errors: dict[str, str] = {}
            view = payload.get("view")
            requests.at_once(workspace, Kind.FORM, {}, proof, lambda: clicks.submit(account, view, errors))
            return JsonResponse({"response_action": "errors", "errors": errors}) if errors else HttpResponse()
        asked = clicks.read(payload) if payload.get("type") == "block_actions" else None
        if asked is None:
            return HttpResponse()  # a link was opened, or something that we do not offer
        asked |= {"user": member, "response_url": str(payload.get("response_url") or "")[:500]}
        if asked["action"] == clicks.SEND_BACK:
            requests.at_once(workspace, Kind.CLICK, asked, proof, lambda: clicks.open_form(account, asked))
        else:
            requests.take(workspace, Kind.CLICK, asked, proof)
        return HttpResponse()


def _in(payload: Any, *names: str) -> str:
    """A text inside of a payload; "" if it is not there."""
    for name in names:
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload if isinstance(payload, str) else ""
