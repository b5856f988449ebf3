"""Erasing a person everywhere. What stays is a keyed hash that keeps the address stopped, and counts without a name.

It is stopped as if its owner had unsubscribed: nobody but they, with a new proof that it is theirs, lift that.

Each app says in its `ready` what it holds of a recipient: `erases(function)`.
"""

import json
from collections.abc import Callable

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import QuerySet

from . import mailbox
from .models import Batch, Channel, Delivery, Dispatch, Recipient, Suppression

# Called with a recipient that is still there, within the transaction.
_ERASERS: list[Callable[[Recipient], None]] = []


def erases(eraser: Callable[[Recipient], None]) -> None:
    """Have `eraser` called for each person that is erased. Told twice, it is called once."""
    if eraser not in _ERASERS:
        _ERASERS.append(eraser)


def deliveries_of(recipient_id: int) -> QuerySet[Delivery]:
    """What was sent to one recipient.

    Deliveries have no index by recipient, which each insert would pay for. There are few dispatches, and each has one
    look-up in the unique index of (dispatch, recipient).
    """
    return Delivery.objects.filter(recipient_id=recipient_id, dispatch__in=Dispatch.objects.order_by().values("pk"))


def erase(person: Recipient, by: User) -> int:
    """Erase a person for good; the address stays stopped, also for later imports. Returns how many deliveries stay.

    One transaction, then the files of the local outbox. The log names who did it and the number of the recipient.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")  # or what is deleted stays in free pages of the file
    with transaction.atomic():
        me = Recipient.objects.select_for_update().get(pk=person.pk)
        address, medium = me.address, me.medium
        for eraser in _ERASERS:
            eraser(me)
        # A reason that is there already stays; its words may quote the address.
        Suppression.objects.get_or_create(
            medium=medium, address_hash=me.address_hash, defaults={"reason": Suppression.Reason.UNSUBSCRIBED}
        )
        Suppression.objects.filter(medium=medium, address_hash=me.address_hash).update(detail="Erased")
        kept = deliveries_of(me.pk).update(detail="", provider_ref="")
        _unquote(address)
        _log(me, by)
        me.delete()
    _empty_outbox(address)
    return kept


def _unquote(address: str) -> None:
    """Providers like to quote an address in their errors."""
    Batch.objects.filter(last_error__icontains=address).update(last_error="")
    Channel.objects.filter(test_error__icontains=address).update(test_error="")
    Channel.objects.filter(paused_reason__icontains=address).update(paused_reason="")
    Dispatch.objects.filter(via_reason__icontains=address).update(via_reason="")


def _log(person: Recipient, by: User) -> None:
    kind = ContentType.objects.get_for_model(Recipient)
    nameless = f"#{person.pk}"
    LogEntry.objects.filter(content_type=kind, object_id=str(person.pk)).update(object_repr=nameless)
    LogEntry.objects.create(
        user_id=by.pk,
        content_type=kind,
        object_id=str(person.pk),
        object_repr=nameless,
        action_flag=3,  # deletion
        change_message=json.dumps([{"deleted": {}}]),
    )


def _empty_outbox(address: str) -> None:
    """Delete the copies in the local outbox that went to this address."""
    for name in mailbox.names():
        letter = mailbox.read(name)
        if letter and letter.to.lower() == address.lower():
            (mailbox.folder() / f"{name}.json").unlink(missing_ok=True)
