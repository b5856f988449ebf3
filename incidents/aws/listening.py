"""Look at what became of an incident at AWS: whether it is resolved there, and what its timeline says.

Staff see it on the page of the incident. Nothing of it is published, and nothing here ends an incident.
"""

import json
import time
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from incidents.models import OVER, AwsAccount, AwsCall, AwsEvent, AwsRecord
from incidents.models.words import plain

from .asking import AwsError, ask, note

EVERY = timedelta(seconds=60)
SLICE = 15  # seconds after which a sweep looks at no other record
MOST_EVENTS = 20  # whose words are asked for at a time; each is a call of its own
WRITTEN = ("Custom Event", "Note")  # by people; of all others the name says enough
TEXT = 2000  # characters


def listen() -> None:
    """Look at each record whose incident is open, once a minute; by one worker."""
    now = timezone.now()
    open_ones = AwsRecord.objects.exclude(incident__stage__in=OVER).exclude(state=AwsRecord.State.GONE)
    due = open_ones.filter(
        Q(seen_at=None) | Q(seen_at__lt=now - EVERY),
        Q(account__held_until=None) | Q(account__held_until__lte=now),
        account__enabled=True,
    )
    end = time.monotonic() + SLICE
    silent: set[int] = set()  # accounts that did not answer just now
    for record in due.select_related("account").order_by("seen_at", "pk"):
        if time.monotonic() > end:
            return
        mine = AwsRecord.objects.filter(pk=record.pk, seen_at=record.seen_at)
        if record.account_id in silent or not mine.update(seen_at=now):  # or another worker looks
            continue
        try:
            look(record)
            note(record.account, None)
        except AwsError as error:
            note(record.account, error)
            if error.again:
                silent.add(record.account_id)
            if error.missing:
                AwsRecord.objects.filter(pk=record.pk).update(state=AwsRecord.State.GONE)


def look(record: AwsRecord) -> None:
    """Bring a record to what AWS says of it. Raises AwsError."""
    if record.kind == AwsAccount.Opens.OPS_CENTER:
        item = ask(record.account, "ssm", "GetOpsItem", OpsItemId=record.ref).get("OpsItem", {})
        _state(record, item.get("Status") in ("Resolved", "Closed"), item.get("LastModifiedTime"))
        return
    found = ask(record.account, "ssm-incidents", "GetIncidentRecord", arn=record.ref).get("incidentRecord", {})
    _state(record, found.get("status") == "RESOLVED", found.get("resolvedTime"))
    _timeline(record)


def _state(record: AwsRecord, resolved: bool, at: Any) -> None:
    # What we have just asked for ourselves is not news from there.
    waiting = (AwsCall.State.WAITING, AwsCall.State.SENDING)
    ours = AwsCall.objects.filter(account=record.account, incident=record.incident_id, state__in=waiting)
    if ours.filter(verb__in=(AwsCall.Verb.RESOLVE, AwsCall.Verb.REOPEN)).exists():
        return
    state = AwsRecord.State.RESOLVED if resolved else AwsRecord.State.OPEN
    moment = (at or timezone.now()) if resolved else None
    AwsRecord.objects.filter(pk=record.pk).exclude(state=state).update(state=state, resolved_at=moment)


def _timeline(record: AwsRecord) -> None:
    arn: dict[str, Any] = {"incidentRecordArn": record.ref}
    page = ask(
        record.account,
        "ssm-incidents",
        "ListTimelineEvents",
        **arn,
        sortBy="EVENT_TIME",
        sortOrder="DESCENDING",
        maxResults=100,
    )
    known = set(record.events.values_list("event_id", flat=True))
    told = AwsCall.objects.filter(account=record.account, incident=record.incident_id, verb=AwsCall.Verb.TELL)
    known |= set(told.values_list("ref", flat=True))  # those are ours
    fresh = [one for one in page.get("eventSummaries", ()) if one["eventId"] not in known]
    asked = 0
    for one in fresh:
        text = ""
        if one["eventType"] in WRITTEN:
            if asked == MOST_EVENTS:
                continue  # next time
            asked += 1
            event = ask(record.account, "ssm-incidents", "GetTimelineEvent", **arn, eventId=one["eventId"])
            text = said(event.get("event", {}).get("eventData", ""))
        AwsEvent.objects.get_or_create(
            record=record,
            event_id=one["eventId"],
            defaults={"kind": one["eventType"], "at": one["eventTime"], "text": text},
        )


def said(data: str) -> str:
    """The words in an event's data, which may be JSON."""
    try:
        found = json.loads(data)
    except ValueError:
        found = data
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return plain(text)[:TEXT]
