"""Make the calls that were written down.

Each carries a key by which AWS drops a repetition: after a timeout, or a worker's death, it is simply made again.
"""

import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from channels import queue
from incidents.errors import NotAllowed, WrongState
from incidents.models import AwsCall, AwsRecord, Incident
from incidents.models.decision import name_of

from .asking import AwsError, ask, note
from .coordinating import may_open, opening

State, Verb = AwsCall.State, AwsCall.Verb
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=5)
PATIENCE = timedelta(hours=2)  # for which it is tried again by itself
LOST = timedelta(minutes=2)  # a worker that has been calling for this long is gone
SLICE = 15  # seconds after which a sweep begins no new call
UNFINISHED = (State.WAITING, State.SENDING)
# Where the record's own name goes, and where AWS's answer has the name of what came of it.
NAMED = {"CreateTimelineEvent": "incidentRecordArn", "UpdateIncidentRecord": "arn", "UpdateOpsItem": "OpsItemId"}
ANSWERED = {"StartIncident": "incidentRecordArn", "CreateOpsItem": "OpsItemId", "CreateTimelineEvent": "eventId"}


def send_waiting() -> None:
    """What is due by now, in the order in which it was written down."""
    now = timezone.now()
    lost = AwsCall.objects.filter(state=State.SENDING, tried_at__lt=now - LOST)
    lost.update(state=State.WAITING, uncertain=True, detail=_("The worker that made the call is gone."))
    end = time.monotonic() + SLICE
    # Asked anew each time: what is done lets the next one of its incident go.
    while time.monotonic() < end and (pk := _due().order_by("pk").values_list("pk", flat=True).first()):
        send(pk)


def _due() -> QuerySet[AwsCall]:
    """What may be called now: the account answers, the record is there, and nothing written down before it waits."""
    now = timezone.now()
    mine = {"account": OuterRef("account"), "incident": OuterRef("incident")}
    earlier = AwsCall.objects.filter(**mine, pk__lt=OuterRef("pk"), state__in=UNFINISHED)
    record = AwsRecord.objects.filter(**mine)
    return AwsCall.objects.filter(
        Q(account__held_until=None) | Q(account__held_until__lte=now),
        Q(verb=Verb.OPEN) | Q(Exists(record)),
        ~Exists(earlier),
        account__enabled=True,
        state=State.WAITING,
        next_try_at__lte=now,
    )


def send(call_id: int) -> None:
    """Make one call, unless somebody makes or made it, or it has to wait."""
    now = timezone.now()
    # Marked before it is made: a crash leaves evidence.
    claimed = AwsCall.objects.filter(pk__in=_due().filter(pk=call_id).values("pk"), state=State.WAITING)
    if not claimed.update(state=State.SENDING, tried_at=now, tries=F("tries") + 1):
        return
    call = AwsCall.objects.select_related("account", "incident").get(pk=call_id)
    record = AwsRecord.objects.filter(account=call.account_id, incident=call.incident_id).first()
    named = {NAMED[call.operation]: record.ref} if record and call.operation in NAMED else {}
    try:
        answer: dict[str, Any] = ask(call.account, call.service, call.operation, **call.params, **named)
    except AwsError as error:
        if error.code == "OpsItemAlreadyExistsException" and (known := error.answer.get("OpsItemId")):
            answer = {"OpsItemId": known}  # an earlier attempt was taken
        else:
            note(call.account, error)
            _failed(call, record, error)
            return
    note(call.account, None)
    _done(call, record, str(answer.get(ANSWERED.get(call.operation, ""), "")))


def _done(call: AwsCall, record: AwsRecord | None, ref: str) -> None:
    if call.operation in ANSWERED and not ref:  # a reply that was cut short looks like one without content
        _again(call, _("AWS answered without saying what came of it."), uncertain=True)
        return
    with transaction.atomic():
        if call.verb == Verb.OPEN:
            AwsRecord.objects.get_or_create(
                account=call.account, incident=call.incident, defaults={"kind": call.account.opens_in, "ref": ref}
            )
        elif record and call.verb in (Verb.RESOLVE, Verb.REOPEN):
            over = call.verb == Verb.RESOLVE
            AwsRecord.objects.filter(pk=record.pk).update(
                state=AwsRecord.State.RESOLVED if over else AwsRecord.State.OPEN,
                resolved_at=timezone.now() if over else None,
            )
        AwsCall.objects.filter(pk=call.pk).update(state=State.SENT, ref=ref[:1000], detail="")


def _failed(call: AwsCall, record: AwsRecord | None, error: AwsError) -> None:
    words = call.account.mask(error.words())
    if error.again:
        _again(call, words, error.uncertain)
        return
    if record and error.missing:
        AwsRecord.objects.filter(pk=record.pk).update(state=AwsRecord.State.GONE)
    AwsCall.objects.filter(pk=call.pk).update(state=State.FAILED, detail=words[:600])


def _again(call: AwsCall, words: str, uncertain: bool) -> None:
    """It waits for its next turn; after a while a person has to look."""
    now = timezone.now()
    doubtful = call.uncertain or uncertain
    gives_up = now > call.asked_at + PATIENCE
    pause = min(FIRST_PAUSE * 2 ** min(call.tries - 1, 10), LONGEST_PAUSE)
    AwsCall.objects.filter(pk=call.pk).update(
        state=(State.UNKNOWN if doubtful else State.FAILED) if gives_up else State.WAITING,
        next_try_at=now + pause,
        uncertain=doubtful,
        detail=words[:600],
    )


def again(incident: Incident, by: Any) -> int:
    """A person wants what failed to be tried once more, with the settings as they are now; how many calls.

    Raises NotAllowed, WrongState.
    """
    if not may_open(incident, by):
        raise NotAllowed(_("%(who)s may not open this incident at AWS.") % {"who": name_of(by)})
    now = timezone.now()
    with transaction.atomic():
        found = AwsCall.objects.filter(incident=incident, state__in=(State.FAILED, State.UNKNOWN))
        calls = list(found.select_for_update(of=("self",)).select_related("account", "incident").order_by("pk"))
        if not calls:
            raise WrongState(_("Nothing has failed that could be tried again."))
        for call in calls:
            call.state, call.asked_at, call.next_try_at, call.tries = State.WAITING, now, now, 0
            call.by = by
            if call.verb == Verb.OPEN and not call.uncertain and call.account.opens_in:
                # Surely not taken: another response plan may have been chosen since.
                call.service, call.operation, call.params = opening(call.account, incident, call.key)
            call.save()
            queue.enqueue("incidents.tasks.tell_aws", call.pk)
        accounts = {call.account_id for call in calls}
        type(calls[0].account).objects.filter(pk__in=accounts).update(held_until=None)
    return len(calls)
