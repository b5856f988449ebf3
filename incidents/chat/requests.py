"""What Slack asked for: written down, done once, answered.

A worker may die anywhere. What a command does and its answer are one transaction; the answer goes out afterwards, and
again if that is not known to have happened.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from channels import queue
from channels.errors import DeliveryError, Throttled, Transient
from incidents.errors import Problem
from incidents.models import ChatAccount, ChatRequest, ChatWorkspace
from incidents.models.chat import BUSY

from . import blocks, clicks, commands, connecting, direct, slack, verifying

log = logging.getLogger(__name__)
LATE = timedelta(minutes=10)  # who asked that long ago has found another way by now
KEPT = timedelta(days=1)  # far longer than a signature is good for
Kind = ChatRequest.Kind


def take(workspace: ChatWorkspace, kind: str, asked: Mapping[str, Any], proof: str) -> None:
    """Write down what was asked and wake a worker. Raises verifying.Refused if this very request came before."""
    with transaction.atomic():
        one = _written(workspace, kind, asked, proof)
        queue.enqueue("incidents.tasks.chat_request", one.pk)


def at_once(workspace: ChatWorkspace, kind: str, asked: Mapping[str, Any], proof: str, act: Callable[[], bool]) -> None:
    """Write it down and do it right here, while Slack waits; what `act` cannot do is left to a worker.

    Raises verifying.Refused if this very request came before.
    """
    one = _written(workspace, kind, asked, proof, busy_until=timezone.now() + BUSY)
    mine = ChatRequest.objects.filter(pk=one.pk)
    if act():
        mine.update(done_at=timezone.now(), busy_until=None)
        return
    with transaction.atomic():
        mine.update(busy_until=None)
        queue.enqueue("incidents.tasks.chat_request", one.pk)


def _written(workspace: ChatWorkspace, kind: str, asked: Mapping[str, Any], proof: str, **more: Any) -> ChatRequest:
    try:
        with transaction.atomic():
            one = ChatRequest(workspace=workspace, kind=kind, proof=proof, **more)
            one.asked = dict(asked)  # type: ignore[assignment]
            one.save()
            return one
    except IntegrityError:
        raise verifying.Refused("This request was taken in before.") from None


def person_of(workspace: ChatWorkspace, member: str) -> ChatAccount | None:
    """The account of a member who may work here."""
    known = ChatAccount.objects.filter(workspace=workspace, member=member, user__is_active=True, user__is_staff=True)
    return known.select_related("user", "workspace").first()


def locale_of(account: ChatAccount | None) -> str:
    """The language that this person chose, else the portal's."""
    contact = getattr(account.user, "contact", None) if account else None
    return contact.locale if contact else settings.LANGUAGE_CODE


def handle(pk: int) -> None:
    """Do what was asked, unless somebody has or is about to, and answer."""
    now = timezone.now()
    mine = ChatRequest.objects.filter(pk=pk, done_at=None).filter(Q(busy_until=None) | Q(busy_until__lt=now))
    if not mine.update(busy_until=now + BUSY):
        return
    one = ChatRequest.objects.select_related("workspace").get(pk=pk)
    if one.answer is None:
        _do(one)
    _answer(one)


def handle_waiting() -> None:
    """What no worker was woken for, or was not finished; and forget what is long done."""
    now = timezone.now()
    for pk in ChatRequest.objects.filter(done_at=None).order_by("pk").values_list("pk", flat=True)[:100]:
        handle(pk)
    old = ChatRequest.objects.filter(at__lt=now - KEPT).order_by("pk").values_list("pk", flat=True)[:1000]
    ChatRequest.objects.filter(pk__in=list(old)).delete()


# ── Do ──────────────────────────────────────────────────────────────────────


def _do(one: ChatRequest) -> None:
    account = person_of(one.workspace, str(one.asked.get("user", "")))
    with translation.override(locale_of(account)):
        try:
            with transaction.atomic():
                row = ChatRequest.objects.select_for_update(of=("self",)).get(pk=one.pk)
                if row.answer is None:
                    row.answer = _result(one, account)
                    row.save(update_fields=["answer"])
        except DatabaseError:
            raise  # nothing was done: it is tried again
        except Exception:
            log.exception("request %s from the chat failed", one.pk)
            text = _("This failed here. Nothing was changed; do it in the portal: %(url)s")
            answer = {"text": text % {"url": f"{settings.PORTAL_URL}/admin/"}}
            ChatRequest.objects.filter(pk=one.pk, answer__isnull=True).update(answer=answer)
    one.refresh_from_db(fields=["answer"])


def _result(one: ChatRequest, account: ChatAccount | None) -> dict[str, Any]:
    """The answer: {"text"}, with the "update" that was decided about; {"connect": True} for who is not known."""
    if one.at < timezone.now() - LATE:
        return {"text": _("This was asked too long ago to be done now; nothing was changed. Ask again.")}
    if account is None:
        return {"connect": True}
    act = commands.run if one.kind == Kind.COMMAND else clicks.run
    try:
        with transaction.atomic():
            return act(account, one.asked)
    except Problem as error:
        # Its buttons may be out of date: they go, where that is so.
        about = clicks.key(one.asked) if one.kind == Kind.CLICK else None
        return {"text": explained(error), "update": about}


def explained(error: Problem) -> str:
    """Why a verb was refused, with what the checker found."""
    findings = [f"• {blocks.safe(one.message)}" for one in getattr(error, "findings", [])]
    return "\n".join([blocks.linked(error), *findings])


# ── Answer ──────────────────────────────────────────────────────────────────


def _answer(one: ChatRequest) -> None:
    answer = one.answer or {}
    account = person_of(one.workspace, str(one.asked.get("user", "")))
    with translation.override(locale_of(account)):
        if answer.get("connect"):
            answer = {"text": _invitation(one)}
        message = blocks.message([blocks.line(part) for part in blocks.pieces(answer["text"])], answer["text"])
    try:
        said = {"response_type": "ephemeral", "replace_original": False, **message}
        slack.reply(str(one.asked.get("response_url", "")), said)
    except (Transient, Throttled) as error:
        log.info("request %s from the chat: not answered yet: %s", one.pk, error)
        if one.at > timezone.now() - LATE:
            ChatRequest.objects.filter(pk=one.pk).update(busy_until=None)
            return
    except DeliveryError as error:  # it was done all the same; and Slack's own page shows that no answer came
        log.warning("request %s from the chat could not be answered: %s", one.pk, error)
    ChatRequest.objects.filter(pk=one.pk).update(done_at=timezone.now(), busy_until=None)
    if answer.get("update"):
        direct.close_decided(answer["update"])


def _invitation(one: ChatRequest) -> str:
    text = _("The portal does not know who you are here. Open this within 15 minutes, log in, and say that it is you:")
    where = connecting.link(one.workspace, str(one.asked.get("user", "")))
    label, warning = _("Connect my account"), _("Do not pass this link on: it is about you.")
    return f"{text} {blocks.link(where, label)}\n{warning}"
