"""Where monitoring systems tell what fires. No session and no cookie: what is proven is believed, nothing else is."""

import json
import logging
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from channels import sns
from channels.events import REMEMBERED
from channels.webhooks import refuse, say
from incidents.models import AlertSource

from . import taking_in, verifying
from .signal import Format, Malformed, Told, Unknown

log = logging.getLogger(__name__)
MAX_BODY = 256 * 1024
# What went wrong → how HTTP says it. The first that fits.
STATUS: list[tuple[type[Exception], int]] = [
    (verifying.NoKey, 401),
    (verifying.Refused, 403),
    (sns.Forged, 403),
    (sns.Malformed, 400),
    (Malformed, 400),
    (UnreadablePostError, 400),
    (sns.Unavailable, 503),
    (Unknown, 202),
]


@csrf_exempt  # nobody's browser is asked: what the source proves is the key
@require_POST
def take(request: HttpRequest, uid: str) -> HttpResponse:
    """The endpoint of one source.

    200 when it was taken in (or was before), 202 for what says nothing of alerts, 400 for what cannot be read (field,
    value, fix), 401 or 403 for who does not prove to be the source, 404 if there is none, 413 if too long, 429 if too
    many came, 503 when to come again.
    """
    source = None
    try:
        source = AlertSource.objects.filter(uid=uid).first()
        return _take(request, source)
    except tuple(kind for kind, _status in STATUS) as error:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        response = refuse(_of(source), status, str(error) or "The body could not be read.")
        if status == 401:
            response["WWW-Authenticate"] = "Bearer"
        return response
    except (OperationalError, InterfaceError) as error:
        log.error("%s: the database does not answer: %s", _of(source), error)
        return say(503, "The database does not answer just now. Nothing was taken in.")


def _of(source: AlertSource | None) -> str:
    return f"alert of source {source.pk if source else '?'}"


def _take(request: HttpRequest, source: AlertSource | None) -> HttpResponse:
    form = source.format if source else None
    if source is None or form is None:
        return refuse(_of(source), 404, "There is no such source of alerts.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        return refuse(_of(source), 413, "The body is longer than 256 KB. Send fewer alerts at once.")
    if not source.enabled:
        raise verifying.Refused("This source is switched off.")
    if not source.can_be_believed:
        raise verifying.Refused("This source has no secret and no topic yet, so nobody can prove to be it.")
    try:
        told = form.verify(source.trust, request.body, request.headers)
    except verifying.Control as control:
        return _subscription(source, control.note)
    if not source.admit():
        return _too_many(source)
    return _read(source, form, told)


def _subscription(source: AlertSource, note: sns.Note) -> HttpResponse:
    """A topic of the list wants to post to us, or was told to stop."""
    if note.kind == sns.UNSUBSCRIPTION:
        log.warning("alert source %s: %s was unsubscribed", source.pk, note.topic)
        return say(200, "Noted.")
    sns.confirm(note)
    log.info("alert source %s: subscribed to %s", source.pk, note.topic)
    return say(200, "Confirmed.")


def _too_many(source: AlertSource) -> HttpResponse:
    response = refuse(_of(source), 429, f"More than {source.rate} messages came in this minute.")
    response["Retry-After"] = str(60 - int(timezone.now().timestamp()) % 60)
    return response


def _read(source: AlertSource, form: Format, told: Told) -> HttpResponse:
    payload = parsed(told.body)
    own_id, own_time = form.identity(payload)
    _check_age(own_time or told.at)
    taken = taking_in.take_in(source, own_id or told.id, form.read(payload))
    return say(200, "Taken in before." if taken is None else f"Taken in: {taken}.")


def parsed(body: str | bytes) -> Any:
    """The JSON in a body. Raises Malformed."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Malformed(f"The body is not JSON{where}.") from None


def _check_age(at: datetime | None) -> None:
    """What was signed so long ago that its id may be forgotten is not taken in: it may be an old one, told again."""
    if at and at < timezone.now() - REMEMBERED:
        raise verifying.Refused(f"This is from {at.isoformat()}, which is too long ago to be told now.")
