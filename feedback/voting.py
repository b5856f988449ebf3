"""“Was this clear?” under every email and on the status page: whose answer it is, and that it counts once."""

from dataclasses import dataclass
from datetime import timedelta

from django.core import signing
from django.core.cache import cache
from django.utils import timezone

from channels.models import Dispatch, Recipient
from channels.secrets import network_hash
from incidents.models import IncidentUpdate
from incidents.publishing import CLEAR_SALT

from .models import UpdateVote
from .surveys import Closed, Gone, NoInvitation, sent_to

OPEN = timedelta(days=30)  # after the update was published
PER_NETWORK = 20  # answers from one network in an hour: an office, not a script
HOUR = 3600


class TooMany(Exception):
    """So many answers from one network in so short a time are no readers. HTTP 429."""


@dataclass(frozen=True)
class Ballot:
    """One recipient of one update."""

    update: IncidentUpdate
    recipient: Recipient
    sent: Dispatch

    def cast(self, clear: bool, locale: str) -> None:
        """The last answer counts; there is one for each message however often its links are used."""
        UpdateVote.objects.update_or_create(
            update=self.update,
            recipient=self.recipient,
            defaults={"clear": clear, "locale": locale, "channel_id": self.sent.channel_id, "at": timezone.now()},
        )


def read(token: str) -> Ballot:
    """Whose link it is. Raises NoInvitation, Gone or Closed."""
    try:
        match signing.loads(token, salt=CLEAR_SALT):
            case [int(update_id), int(recipient_id)]:
                pass
            case _:
                raise NoInvitation
    except signing.BadSignature:
        raise NoInvitation from None
    update = IncidentUpdate.objects.filter(pk=update_id).first()
    recipient = Recipient.objects.filter(pk=recipient_id).first()
    if update is None or recipient is None:
        raise Gone
    messages = Dispatch.objects.filter(source=f"update:{update.pk}", purpose=Dispatch.Purpose.UPDATE)
    sent = sent_to(messages, recipient)
    if sent is None:
        raise NoInvitation
    _check_open(update)
    return Ballot(update, recipient, sent)


def _check_open(update: IncidentUpdate) -> None:
    end = (update.published_at or update.created_at) + OPEN
    if end <= timezone.now():
        raise Closed(end)


def cast_on_page(uid: str, number: int, clear: bool, locale: str, network: str) -> None:
    """Count what a reader of the status page says. Raises NoInvitation, Closed or TooMany."""
    said = IncidentUpdate.objects.filter(status=IncidentUpdate.Status.PUBLISHED)
    update = said.filter(incident__uid=uid, number=number).first()
    if update is None:
        raise NoInvitation
    _check_open(update)
    _count(network)
    UpdateVote.objects.create(update=update, clear=clear, locale=locale)


def _count(network: str) -> None:
    key = f"clear:{network_hash(network)}"
    if not cache.add(key, 1, HOUR) and cache.incr(key) > PER_NETWORK:
        raise TooMany
