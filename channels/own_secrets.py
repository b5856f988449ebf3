"""A webhook recipient's own signing secrets, as Standard Webhooks has it: with hers, no customer can sign to another.

They are random and stored. Derived ones would need no storage, but what from? Customers know the channel's secret, and
from it and a `webhook-id` each could work out those of all; a recipient may be written to through two channels; and a
change of SECRET_KEY or FIELD_KEYS would change every customer's secret.

`Recipient.signing` holds {"secret": …, "since": …, "earlier": [[secret, until], …]}; nothing while the channel's secret
is used. One made by an earlier version has no "since".
"""

import base64
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

PREFIX = "whsec_"
SIZE = 32  # bytes
OVERLAP = timedelta(hours=24)  # for which the one before goes on signing
MOST = 5  # at a time: each signs every message
OF_CHANNEL = ""  # in place of a secret: whatever the channel signs with


class TooMany(Exception):
    """So many are good already that there is no room for one more until `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until


def begun() -> dict[str, Any]:
    """The first secret of a recipient to whom nothing was signed before."""
    secret = PREFIX + base64.b64encode(secrets.token_bytes(SIZE)).decode()
    return {"secret": secret, "since": timezone.now().isoformat(), "earlier": []}


def renewed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A new secret; the one before goes on signing for a day. Raises TooMany."""
    earlier = _earlier(stored)
    if len(earlier) + 1 >= MOST:
        raise TooMany(min(until for _secret, until in earlier))
    kept = [(stored.get("secret", OF_CHANNEL), timezone.now() + OVERLAP), *earlier]
    return {**begun(), "earlier": [[secret, until.isoformat()] for secret, until in kept]}


def in_force(stored: Mapping[str, Any]) -> tuple[str, ...]:
    """What messages are signed with now, newest first; nothing if that is the channel's secret alone."""
    if not stored:
        return ()
    return stored["secret"], *(secret for secret, _until in _earlier(stored))


def since(stored: Mapping[str, Any]) -> datetime | None:
    """When the newest was made; None if that is not known, or the channel's secret is used."""
    return datetime.fromisoformat(stored["since"]) if "since" in stored else None


def overlap_ends(stored: Mapping[str, Any]) -> datetime | None:
    """Until when the one before goes on signing; None if it does not."""
    return max((until for _secret, until in _earlier(stored)), default=None)


def _earlier(stored: Mapping[str, Any]) -> list[tuple[str, datetime]]:
    now = timezone.now()
    found = [(secret, datetime.fromisoformat(until)) for secret, until in stored.get("earlier", [])]
    return [(secret, until) for secret, until in found if until > now]
