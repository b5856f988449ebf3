"""Runbooks on AWS Systems Manager Automation: registers documents, starts executions, follows them, sends signals.

Each call is written down before it is made, and made outside a transaction. What got lost on the way is tried again:
CreateDocument and UpdateDocument by comparing what is there, StartAutomationExecution by its ClientToken, and
SendAutomationSignal only after AWS was asked whether the step still waits. StopAutomationExecution is repeated until
AWS says that it stops.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from channels import queue
from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain
from channels.providers.aws import SDK_ERRORS, connect, failure
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import (
    AutomationDocument,
    AutomationExecution,
    AutomationSignal,
    Decision,
    Incident,
    RunbookRun,
    RunbookStepRun,
)
from incidents.models.automation import GOOD
from incidents.models.decision import name_of
from incidents.runbooks import running

from . import automation_document as documents

log = logging.getLogger(__name__)
BUSY = "TooManyUpdates"
LIMIT = "AutomationExecutionLimitExceededException"
NOT_NOW = (
    "InvalidAutomationSignalException",
    "AutomationStepNotFoundException",
    "InvalidAutomationStatusUpdateException",
)
LEASE = timedelta(minutes=3)  # longer than all calls of one look
PAUSE = timedelta(seconds=15)  # before a call is repeated; twice as long before each further one
LONGEST_PAUSE = timedelta(minutes=5)
MOST_TRIES = 12
LOOK = timedelta(seconds=5)  # after something happened; twice as long after each look that finds nothing new
RARELY = timedelta(minutes=1)
LONGEST = timedelta(days=60)  # an execution that nobody touches ends long before
SLICE = 5  # seconds that a sweep works for at most
OF_REGISTRATION = [
    "version", "content", "text", "content_hash", "state", "detail", "registered_at", "tries", "try_at",
]  # fmt: skip
State, Kind = AutomationSignal.State, AutomationSignal.Kind
Registration = AutomationDocument.State


def _check_may(by: Any) -> None:
    if not by.has_perm("incidents.change_runbook"):
        raise NotAllowed(_("%(who)s may not change runbooks, and so not hand them to AWS.") % {"who": name_of(by)})


@contextmanager
def _ssm(region: str) -> Iterator[Any]:
    client = connect("ssm", {}, region)
    try:
        yield client
    finally:
        client.close()


def _pause(tries: int) -> timedelta:
    return min(PAUSE * 2 ** min(tries, 10), LONGEST_PAUSE)


def _told(error: DeliveryError) -> str:
    return " ".join(filter(None, [error.code, error.detail]))[:500]


# ── Register ────────────────────────────────────────────────────────────────


def text_now(document: AutomationDocument) -> str:
    """What would be registered now. Raises Refused."""
    return documents.text_of(
        documents.document(document.runbook.content(), document.region, topic=bool(document.topic_arn))
    )


def missing(document: AutomationDocument, content: dict[str, Any]) -> str:
    """What has to be filled in before AWS can run these steps, in words; empty if nothing."""
    if documents.asks(content) and not document.approvers:
        return _("The runbook asks for approval: name who may approve in AWS, the portal’s own role among them.")
    for index in documents.webhooks(content):
        if not document.integrations.get(str(index + 1)):
            return _("Step %(n)d calls a webhook: name the integration in AWS that calls it.") % {"n": index + 1}
    return ""


def register(document: AutomationDocument, by: Any, seen_hash: str | None = None) -> None:
    """Ask for the runbook, as it is now, to be registered: as a new document, or as a new version of it.

    `seen_hash`: of the text that was shown. Raises NotAllowed, WrongState (it is, or just being, registered, or has
    changed since it was shown), Refused (what AWS would not take, or something is not filled in).
    """
    _check_may(by)
    with transaction.atomic():
        me = AutomationDocument.objects.select_for_update(of=("self",)).select_related("runbook").get(pk=document.pk)
        content = me.runbook.content()
        text = text_now(me)
        if lacking := missing(me, content):
            raise Refused(lacking)
        if me.state == Registration.ASKED:
            raise WrongState(_("It is being registered already."))
        if me.state == Registration.REGISTERED and me.content_hash == documents.hash_of(text):
            raise WrongState(_("The runbook is registered as it is now."))
        if seen_hash is not None and seen_hash != documents.hash_of(text):
            raise WrongState(_("The runbook changed after you opened this page. Read it again before you register it."))
        now = timezone.now()
        me.state, me.detail, me.tries, me.try_at = Registration.ASKED, "", 0, None
        me.asked, me.asked_text, me.asked_by, me.asked_at = content, text, by, now
        me.save()
        queue.enqueue("incidents.tasks.register_automation", me.pk)


def hand_over_due() -> None:
    """Registrations that no wake-up reached, or whose turn to be tried again has come."""
    now = timezone.now()
    due = AutomationDocument.objects.filter(state=Registration.ASKED).filter(Q(try_at=None) | Q(try_at__lte=now))
    for pk in due.values_list("pk", flat=True)[:20]:
        hand_over(pk)


def hand_over(document_id: int) -> None:
    """Register what was asked for, unless somebody does."""
    now = timezone.now()
    mine = AutomationDocument.objects.filter(pk=document_id, state=Registration.ASKED)
    if not mine.filter(Q(try_at=None) | Q(try_at__lte=now)).update(try_at=now + LEASE):
        return
    one = AutomationDocument.objects.get(pk=document_id)
    with translation.override(settings.LANGUAGE_CODE):
        try:
            with _ssm(one.region) as client:
                version = _handed_over(one, client)
        except SDK_ERRORS as error:
            _try_later(one, failure(error))
        except DeliveryError as error:
            _try_later(one, error)
        else:
            one.version, one.content, one.text = version, one.asked, one.asked_text
            one.content_hash = documents.hash_of(one.text)
            one.state, one.detail, one.registered_at, one.try_at = Registration.REGISTERED, "", timezone.now(), None
    one.save(update_fields=OF_REGISTRATION)  # settings may be changed meanwhile


def _try_later(one: AutomationDocument, error: DeliveryError) -> None:
    one.detail, one.tries = _told(error), one.tries + 1
    may_come = isinstance(error, Transient | Throttled | Uncertain) or error.code == BUSY
    if may_come and one.tries < MOST_TRIES:
        one.try_at = timezone.now() + _pause(one.tries - 1)
    else:
        one.state, one.try_at = Registration.FAILED, None


def _handed_over(one: AutomationDocument, client: Any) -> str:
    """The version that AWS gave it. A call that got lost is found again by what is there. Raises DeliveryError."""
    given = {"Name": one.name, "Content": one.asked_text, "DocumentFormat": "JSON"}
    if one.version:
        try:
            return _version(client.update_document(**given, DocumentVersion="$LATEST").get("DocumentDescription"))
        except client.exceptions.DuplicateDocumentContent:
            return _there(one, client)
        except client.exceptions.InvalidDocument:
            pass  # somebody deleted it in AWS: it is made anew
    try:
        return _version(client.create_document(**given, DocumentType="Automation").get("DocumentDescription"))
    except client.exceptions.DocumentAlreadyExists:
        return _there(one, client)


def _there(one: AutomationDocument, client: Any) -> str:
    """The version of the document that AWS has, if it says just what we want it to. Raises Permanent."""
    found = client.get_document(Name=one.name, DocumentVersion="$LATEST", DocumentFormat="JSON")
    try:
        same = json.loads(found.get("Content", "")) == json.loads(one.asked_text)
    except ValueError:
        same = False
    if not same:
        text = _(
            "A document of this name with other content is there already: choose another name, or delete it in AWS."
        )
        raise Permanent("DocumentAlreadyExists", text)
    return _version(found)


def _version(told: dict[str, Any] | None) -> str:
    """The SDK takes a reply cut short for one without content."""
    version = (told or {}).get("DocumentVersion", "")
    if not version:
        raise Uncertain("bad-reply", _("AWS answered without the version of the document."))
    return version


# ── Start ───────────────────────────────────────────────────────────────────


def start(document: AutomationDocument, incident: Incident, by: Any) -> AutomationExecution:
    """Start what is registered in this incident: an execution in AWS, and the portal's half of it as a run.

    Raises NotAllowed, WrongState (the incident is over, or the runbook runs in it already), Refused.
    """
    _check_may(by)
    running.check_may(incident, by)
    content = document.content
    if not document.version or not content:
        raise Refused(_("It is not registered in AWS yet."))
    if lacking := missing(document, content):
        raise Refused(lacking)
    wanted = json.loads(document.text)["parameters"]
    if "ApprovalTopicArn" in wanted and not document.topic_arn:
        raise Refused(_("It was registered with a topic for approvers: name the topic, or register it anew."))
    with transaction.atomic():
        run = running.start_as(incident, document.runbook, documents.portal_half(content), by)
        parameters = documents.values(incident, run)
        if document.role_arn:
            parameters["AutomationAssumeRole"] = [document.role_arn]
        if "Approvers" in wanted:
            parameters["Approvers"] = document.approvers
        if "ApprovalTopicArn" in wanted:
            parameters["ApprovalTopicArn"] = [document.topic_arn]
        for index in documents.webhooks(content):
            parameters[documents.integration_of(index)] = [document.integrations[str(index + 1)]]
        execution = AutomationExecution.objects.create(
            incident=incident,
            document=document,
            run=run,
            by=by,
            region=document.region,
            document_name=document.name,
            document_version=document.version,
            parameters=parameters,
        )
        queue.enqueue("incidents.tasks.follow_automation", execution.pk)
    return execution


def _begin(one: AutomationExecution, client: Any) -> None:
    """Start it. The token makes a repeated start the same execution."""
    if one.incident.is_over and not one.doubtful:
        _give_up(one, _("The incident was over before AWS took it."))
        return
    if _stopped(one):
        # A start that got lost is not repeated for the sake of its ID: it might begin just what nobody wants any more.
        lost = _("It was stopped before AWS answered. Look in AWS whether it runs, and stop it there.")
        _give_up(one, lost if one.doubtful else _("It was stopped before AWS took it."))
        return
    try:
        reply = client.start_automation_execution(
            DocumentName=one.document_name,
            DocumentVersion=one.document_version,
            Parameters=one.parameters,
            ClientToken=str(one.token),
        )
    except SDK_ERRORS as error:
        found = failure(error)
        one.doubtful = one.doubtful or isinstance(found, Uncertain)
        may_come = isinstance(found, Transient | Throttled | Uncertain) or found.code == LIMIT
        if may_come and one.tries < MOST_TRIES:
            _later(one, found)
        else:
            _give_up(one, _told(found))
        return
    if not reply.get("AutomationExecutionId"):
        one.doubtful = True
        _later(one, Uncertain("bad-reply", _("AWS answered without the ID of the execution.")))
        return
    one.execution_id = reply["AutomationExecutionId"]
    one.status, one.tries, one.trouble = "Pending", 0, ""
    one.save(update_fields=["execution_id", "status", "tries", "trouble"])


def _give_up(one: AutomationExecution, why: str) -> None:
    one.status, one.trouble = "Unknown" if one.doubtful else "NotStarted", why[:500]
    one.ended_at, one.look_at = timezone.now(), None
    one.save(update_fields=["status", "trouble", "ended_at", "look_at", "doubtful"])
    _wake_run(one)


def _later(one: AutomationExecution, error: DeliveryError) -> None:
    one.tries, one.trouble = one.tries + 1, _told(error)
    one.look_at = timezone.now() + _pause(one.tries - 1)
    one.save(update_fields=["tries", "trouble", "look_at", "doubtful"])


# ── Follow ──────────────────────────────────────────────────────────────────


def follow_due() -> None:
    """Executions that no wake-up reached, and whose turn to be looked at has come."""
    now = timezone.now()
    due = AutomationExecution.objects.filter(look_at__lte=now).filter(Q(leased_until=None) | Q(leased_until__lte=now))
    end = time.monotonic() + SLICE
    for pk in due.order_by("look_at").values_list("pk", flat=True)[:200]:
        if time.monotonic() > end:
            return
        try:
            follow(pk)
        except Exception:  # the others must not wait for it
            log.exception("execution %s cannot be followed", pk)


def wake(run_id: int) -> None:
    """The portal's half may have gone on: AWS may be waiting for just that."""
    live = AutomationExecution.objects.filter(run=run_id, look_at__isnull=False)
    for pk in live.values_list("pk", flat=True):
        queue.enqueue("incidents.tasks.follow_automation", pk)


def follow(execution_id: int) -> None:
    """Start it if it is not, see how far it is, and signal what it waits for. Unless somebody is at it."""
    now = timezone.now()
    mine = AutomationExecution.objects.filter(pk=execution_id, look_at__isnull=False)
    if not mine.filter(Q(leased_until=None) | Q(leased_until__lte=now)).update(leased_until=now + LEASE):
        return
    try:
        one = AutomationExecution.objects.select_related("incident", "run__update").get(pk=execution_id)
        with translation.override(settings.LANGUAGE_CODE):
            try:
                with _ssm(one.region) as client:
                    _follow(one, client)
            except SDK_ERRORS as error:
                _later(one, failure(error))
            except DeliveryError as error:  # logging in failed
                _later(one, error)
    finally:
        AutomationExecution.objects.filter(pk=execution_id).update(leased_until=None)


def _follow(one: AutomationExecution, client: Any) -> None:
    if not one.execution_id:
        _begin(one, client)
    if one.execution_id and _look(one, client) and (signal := _wanted(one)):
        _send(one, signal, client)


def _look(one: AutomationExecution, client: Any) -> bool:
    """Ask AWS how far it is, and write that down; whether it goes on. Raises the SDK's errors."""
    told = client.get_automation_execution(AutomationExecutionId=one.execution_id).get("AutomationExecution") or {}
    if not told.get("AutomationExecutionStatus"):
        _later(one, Uncertain("bad-reply", _("AWS answered without the state of the execution.")))
        return False
    found = told.get("StepExecutions", [])
    if told.get("StepExecutionsTruncated"):
        pages = client.get_paginator("describe_automation_step_executions")
        found = [
            step
            for page in pages.paginate(AutomationExecutionId=one.execution_id, PaginationConfig={"PageSize": 50})
            for step in page["StepExecutions"]
        ]
    steps = [_step(step) for step in found]
    status = told["AutomationExecutionStatus"]
    fresh = (status, steps) != (one.status, one.steps)
    now = timezone.now()
    one.status, one.steps, one.failure = status, steps, told.get("FailureMessage", "")[:4000]
    one.looked_at, one.tries, one.trouble = now, 0, ""
    one.quiet = 0 if fresh else min(one.quiet + 1, 10)
    one.look_at = now + min(LOOK * 2**one.quiet, RARELY)
    if one.is_over or now - one.asked_at > LONGEST:
        one.look_at, one.ended_at = None, told.get("ExecutionEndTime") or now
    with transaction.atomic():
        one.save()
        _settle(one)
        if fresh:
            _wake_run(one)
    return not one.is_over


def _step(told: dict[str, Any]) -> dict[str, str]:
    def moment(at: datetime | None) -> str:
        return at.isoformat() if at else ""

    outputs = told.get("Outputs", {})
    return {
        "name": told.get("StepName", ""),
        "action": told.get("Action", ""),
        "status": told.get("StepStatus", "Pending"),
        "message": (told.get("FailureMessage") or told.get("WarningMessage") or "")[:1000],
        "began": moment(told.get("ExecutionStartTime")),
        "ended": moment(told.get("ExecutionEndTime")),
        "approval": ", ".join(outputs.get("ApprovalStatus", []))[:40],
        # Its form is not documented: it is kept and shown as it came.
        "decisions": "; ".join(outputs.get("ApproverDecisions", []))[:2000],
    }


def _wake_run(one: AutomationExecution) -> None:
    if one.run_id:
        queue.enqueue("incidents.tasks.run_runbook", one.run_id)


# ── Signals ─────────────────────────────────────────────────────────────────


def _settle(one: AutomationExecution) -> None:
    """What became of signals whose step waits no more, and which approvals were given in AWS."""
    waiting = one.waiting_step
    for signal in one.signals.filter(origin=AutomationSignal.Origin.PORTAL, state=State.WAITING):
        stop = signal.kind == Kind.STOP
        if one.stops or one.is_over if stop else waiting is None or waiting["name"] != signal.step:
            # With sent_at it was on its way when we last heard of it.
            signal.state = State.SENT if signal.sent_at else State.MOOT
            signal.save(update_fields=["state"])
    for step in one.steps:
        if step["action"] != "aws:approve":
            continue
        rejected = step["status"] == "Rejected" or "Reject" in step["approval"]
        if not rejected and step["status"] not in GOOD:
            continue
        if one.signals.filter(step=step["name"], origin=AutomationSignal.Origin.PORTAL, state=State.SENT).exists():
            continue
        AutomationSignal.objects.get_or_create(
            execution=one,
            step=step["name"],
            origin=AutomationSignal.Origin.AWS,
            defaults={
                "kind": Kind.REJECT if rejected else Kind.APPROVE,
                "state": State.GIVEN,
                "who": step["decisions"],
            },
        )


def _wanted(one: AutomationExecution) -> AutomationSignal | None:
    """The signal that AWS waits for and the portal can give, written down; None: there is none to send.

    Once the portal's half was stopped there is none but to stop.
    """
    if stopped := _stopped(one):
        return None if one.stops else _written(one, "", Kind.STOP, stopped.reason)
    step = one.waiting_step
    index = documents.index_of(step["name"]) if step else None
    if step is None or index is None or one.run is None:
        return None
    here = one.run.log.filter(index=index).first()
    said = _signal_for(step["action"], one, here) if here else None
    if said is None:
        return None
    return _written(one, step["name"], *said)


def _written(one: AutomationExecution, step: str, kind: str, comment: str) -> AutomationSignal | None:
    """The signal as it stands in the database, if it is still to be sent."""
    signal, _new = AutomationSignal.objects.get_or_create(
        execution=one,
        step=step,
        origin=AutomationSignal.Origin.PORTAL,
        defaults={"kind": kind, "comment": comment[:500]},
    )
    return signal if signal.state == State.WAITING else None


def _stopped(one: AutomationExecution) -> RunbookRun | None:
    """The portal's half if somebody has stopped it, perhaps while AWS was being asked."""
    return RunbookRun.objects.filter(automation=one, state=RunbookRun.State.STOPPED).first()


def _signal_for(action: str, one: AutomationExecution, here: RunbookStepRun) -> tuple[str, str] | None:
    """(kind, comment) for the step at which the portal stands so.

    A step of approval that was skipped in the portal approves nothing: AWS goes on waiting.
    """
    if action == "aws:pause":
        return (Kind.RESUME, "") if here.state in RunbookStepRun.ENDED else None
    if here.state == RunbookStepRun.State.DONE:
        return Kind.APPROVE, here.note or _("Approved in the portal.")
    update = one.run.update if one.run else None
    if update is None or here.state == RunbookStepRun.State.SKIPPED:
        return None
    sent_back = update.decisions.filter(verb=Decision.Verb.REJECT, at__gte=here.began_at).order_by("-id").first()
    if sent_back is None or update.status in (update.Status.APPROVED, update.Status.PUBLISHED):
        return None
    text = _("%(who)s sent it back in the portal: %(comment)s")
    return Kind.REJECT, text % {"who": name_of(sent_back.by), "comment": sent_back.comment}


def _send(one: AutomationExecution, signal: AutomationSignal, client: Any) -> None:
    """Send it. AWS was asked just before whether its step waits: what got lost is sent again after the next look."""
    signal.sent_at, signal.tries = timezone.now(), signal.tries + 1
    signal.save(update_fields=["sent_at", "tries"])
    try:
        _call(one, signal, client)
    except SDK_ERRORS as error:
        found = failure(error)
        signal.detail = _told(found)
        if isinstance(found, Throttled | Transient):
            signal.sent_at = None
        # What AWS calls not valid now may be valid at the next look; what got lost is seen there.
        passing = isinstance(found, Throttled | Transient | Uncertain) or found.code in NOT_NOW
        if not passing or signal.tries >= MOST_TRIES:
            signal.state = State.FAILED
    else:
        signal.state, signal.detail = State.SENT, ""
    signal.save(update_fields=["state", "sent_at", "detail"])
    one.quiet, one.look_at = 0, timezone.now() + (LOOK if signal.state == State.SENT else _pause(signal.tries - 1))
    one.save(update_fields=["quiet", "look_at"])


def _call(one: AutomationExecution, signal: AutomationSignal, client: Any) -> None:
    """Raises the SDK's errors."""
    if signal.kind == Kind.STOP:
        client.stop_automation_execution(AutomationExecutionId=one.execution_id, Type="Cancel")
        return
    if signal.kind == Kind.RESUME:
        payload = {"StepName": [signal.step]}
    else:
        payload = {"Comment": [signal.comment]} if signal.comment else {}
    given: dict[str, Any] = {"Payload": payload} if payload else {}
    client.send_automation_signal(AutomationExecutionId=one.execution_id, SignalType=signal.kind, **given)


def again(execution: AutomationExecution, by: Any) -> None:
    """Send what AWS refused once more, and look now: whoever was missing a permission in AWS has it now.

    Raises NotAllowed, WrongState (it is over).
    """
    _check_may(by)
    running.check_may(execution.incident, by)
    with transaction.atomic():
        me = AutomationExecution.objects.select_for_update().get(pk=execution.pk)
        if me.look_at is None:
            raise WrongState(_("It is “%(state)s” now.") % {"state": me.status_in_words})
        me.signals.filter(state=State.FAILED).update(state=State.WAITING, tries=0, sent_at=None)
        me.tries, me.quiet, me.look_at = 0, 0, timezone.now()
        me.save(update_fields=["tries", "quiet", "look_at"])
        queue.enqueue("incidents.tasks.follow_automation", me.pk)
