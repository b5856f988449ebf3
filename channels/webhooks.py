"""Where providers tell us what became of our messages: verified, counted once, answered in a line.

No session and no cookie: what is signed is believed, and nothing else is.
"""

import json
import logging
import secrets
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from . import aws_events, events, receipts, sns
from .errors import DeliveryError
from .models import Channel

log = logging.getLogger(__name__)
# SNS carries 256 KiB, in which JSON may double every quote and backslash; and the envelope around it.
MAX_BODY = 600 * 1024
MAX_RECEIPT = 64 * 1024
AGAIN_SECONDS = 20


@csrf_exempt  # SNS has no cookie to be tricked with; its signature is the key
@require_POST
def sns_events(request: HttpRequest, channel_id: int) -> HttpResponse:
    """The endpoint of one channel's topic of events.

    200 when it was counted (or was before), 202 when there is nothing to count, 400 for what is no message of SNS,
    403 for what is not of the topic or not signed, 404 if the channel has no topic, 413 if too long. 503 asks SNS to
    come again.
    """
    channel = Channel.objects.filter(pk=channel_id).first()
    topic = channel.config.get("events_topic_arn") if channel else ""
    if not channel or not topic:
        return refuse(_of(channel_id), 404, "No topic of events is set for this channel.")
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY:
        return refuse(_of(channel_id), 413, "The body is too long.")
    if request.headers.get("x-amz-sns-rawdelivery", "").lower() == "true":
        return refuse(_of(channel_id), 400, "Switch raw message delivery off: it has no signature.")
    try:
        note = sns.read(request.body, topic)
        sns.verify(note)
    except sns.Malformed as error:
        return refuse(_of(channel_id), 400, str(error))
    except sns.Forged as error:
        return refuse(_of(channel_id), 403, str(error))
    except sns.Unavailable as error:
        return refuse(_of(channel_id), 503, str(error))
    if note.kind == sns.SUBSCRIPTION:
        return _confirm(channel, note)
    if note.kind == sns.UNSUBSCRIPTION:
        log.warning("channel %s: its topic of events was unsubscribed", channel.pk)
        return say(200, "Noted.")
    return _count(channel, note)


def _confirm(channel: Channel, note: sns.Note) -> HttpResponse:
    """Say yes with the channel's own credentials; the address in the message is never visited."""
    provider = channel.get_provider()
    if not isinstance(provider, sns.Subscriber):
        return refuse(_of(channel.pk), 404, "This channel cannot subscribe to a topic.")
    try:
        provider.confirm_subscription(note.topic, note.token)
    except DeliveryError as error:
        log.error("channel %s: its subscription is not confirmed: %s", channel.pk, channel.mask(str(error)))
        return refuse(_of(channel.pk), 503, "The subscription could not be confirmed.")
    finally:
        provider.close()
    log.info("channel %s: subscribed to its topic of events", channel.pk)
    return say(200, "Confirmed.")


def _count(channel: Channel, note: sns.Note) -> HttpResponse:
    try:
        event = aws_events.read(json.loads(note.text))
    except (ValueError, RecursionError):
        event = None
    if event is None:
        return say(202, "Nothing to count.")
    return _take_in(channel, f"sns:{channel.pk}", note.id, event, note.at)


@csrf_exempt  # signed with the channel's secret, as the messages of SNS with that of AWS
@require_POST
def receipt(request: HttpRequest, channel_id: int) -> HttpResponse:
    """What became of one message of a channel, told by whoever has the channel's secret for receipts.

    Answers as sns_events does; 400 names the field, its value and the fix.
    """
    channel = Channel.objects.filter(pk=channel_id).first()
    secret = channel.secrets.get("receipts_secret") if channel else ""
    if not channel or not secret:
        return refuse(_of(channel_id), 404, "No secret for receipts is set for this channel.")
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_RECEIPT:
        return refuse(_of(channel_id), 413, "The body is too long.")
    try:
        event_id, at = receipts.verify(secret, request.body, request.headers)
    except receipts.Refused as error:
        return refuse(_of(channel_id), 403, str(error))
    can = channel.capabilities
    try:
        event = receipts.read(json.loads(request.body), can.medium if can else "")
    except (ValueError, RecursionError) as error:
        said = "The body is not JSON." if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
        return refuse(_of(channel_id), 400, said)
    return _take_in(channel, f"receipt:{channel.pk}", event_id, event, at)


def _take_in(
    channel: Channel, source: str, event_id: str, event: events.Receipt | events.Reply, at: datetime
) -> HttpResponse:
    try:
        new = events.take_in(channel, source, event_id, event, at)
    except events.TooEarly:
        return refuse(_of(channel.pk), 503, "The message is just being sent.")
    return say(200, "Counted." if new else "Counted before.")


def _of(channel_id: int) -> str:
    return f"events of channel {channel_id}"


def refuse(what: str, status: int, text: str) -> HttpResponse:
    """Say why, and write it down under a number by which the two are found together. Never the body."""
    number = secrets.token_hex(4)
    level = logging.INFO if status == 503 else logging.WARNING
    log.log(level, "%s refused with %s (%s): %s", what, status, number, text)
    return say(status, f"{text} ({number})")


def say(status: int, text: str) -> HttpResponse:
    """An answer for a machine, and for the person who reads its log."""
    response = HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
    if status == 503:
        response["Retry-After"] = str(AGAIN_SECONDS)
    return response
