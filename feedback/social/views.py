"""Where others bring posts to an inbox: what its secret signs is believed, nothing else is."""

import json
import logging

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from channels import own_secrets, receipts
from channels.webhooks import refuse, say

from .bringing import Malformed, read
from .models import SocialSource
from .taking_in import take_in

log = logging.getLogger(__name__)
MAX_BODY = 256 * 1024


@csrf_exempt  # nobody's browser is asked: the signature is the key
@require_POST
def take(request: HttpRequest, uid: str) -> HttpResponse:
    """The endpoint of one inbox.

    200 when it was taken in (posts that are known already change nothing), 400 for what cannot be read (field, value,
    fix), 403 for who does not prove to be the source, 404 if there is none, 413 if too long, 503 when to come again.
    """
    source = None
    try:
        source = SocialSource.objects.filter(uid=uid, channel=None).first()
        if source is None:
            return refuse("social inbox ?", 404, "There is no such inbox.")
        return _take(request, source)
    except UnreadablePostError:
        return refuse(_of(source), 400, "The body could not be read.")
    except Malformed as error:
        return refuse(_of(source), 400, str(error))
    except receipts.Refused as error:
        return refuse(_of(source), 403, str(error))
    except (OperationalError, InterfaceError) as error:
        log.error("%s: the database does not answer: %s", _of(source), error)
        return say(503, "The database does not answer just now. Nothing was taken in.")


def _of(source: SocialSource | None) -> str:
    return f"social inbox {source.pk if source else '?'}"


def _take(request: HttpRequest, source: SocialSource) -> HttpResponse:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        return refuse(_of(source), 413, "The body is longer than 256 KB. Send fewer posts at once.")
    if not source.enabled:
        raise receipts.Refused("This inbox is switched off.")
    _verify(source, request)
    try:
        payload = json.loads(request.body)
    except (ValueError, RecursionError):
        raise Malformed("The body is not JSON.") from None
    posts = read(payload)
    kept = take_in(source, posts, heard_at=timezone.now())
    return say(200, f"Taken in: {kept} of {len(posts)}.")


def _verify(source: SocialSource, request: HttpRequest) -> None:
    for secret in own_secrets.in_force(source.secrets):
        try:
            receipts.verify(secret, request.body, request.headers)
            return
        except receipts.Refused:
            continue
    raise receipts.Refused("The signature does not match, or is older than five minutes.")
