"""Links that are one recipient's own, signed: what signing.dumps() makes and signing.loads() reads, for half.

Django derives the key anew for each signature, and makes a JSON encoder for each value; a million links have one key.
"""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from functools import cache, lru_cache
from typing import Any

from django.conf import settings
from django.core.signing import b62_encode

UNSUBSCRIBE_SALT = "channels.unsubscribe"
MANAGE_SALT = "channels.manage"
_encode = json.JSONEncoder(separators=(",", ":")).encode
_stamp = lru_cache(1)(b62_encode)  # of a second


def unsubscribe_url(recipient_id: int) -> str:
    """The one-click address of RFC 8058 for one recipient."""
    return f"{settings.PORTAL_URL}/unsubscribe/{signed(UNSUBSCRIBE_SALT, recipient_id)}/"


def manage_url(recipient_id: int) -> str:
    """Where one recipient changes what they hear about; the page is the status page's."""
    return f"{settings.PORTAL_URL}/subscription/{signed(MANAGE_SALT, recipient_id)}/"


def signed(salt: str, value: Any) -> str:
    """The JSON of `value` with the time and a signature, fit for an address. One salt per purpose."""
    written = str(value) if type(value) is int else _encode(value)  # most are, and the encoder takes nine times as long
    text = f"{_b64(written.encode('latin-1'))}:{_stamp(int(time.time()))}"
    mac = _mac(salt, settings.SECRET_KEY).copy()
    mac.update(text.encode())
    return f"{text}:{_b64(mac.digest())}"


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def _mac(salt: str, key: str) -> hmac.HMAC:
    return hmac.new(hashlib.sha256(f"{salt}signer{key}".encode()).digest(), digestmod=hashlib.sha256)
