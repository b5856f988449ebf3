"""Links that are one recipient's own, signed: what signing.dumps() makes and signing.loads() reads, for less than half.

Django derives the signer's key anew for each signature, and makes a JSON encoder for each value; a million links have
one key.
"""

import hashlib
import hmac
import json
from functools import cache
from typing import Any

from django.conf import settings
from django.core import signing

UNSUBSCRIBE_SALT = "channels.unsubscribe"
_encode = json.JSONEncoder(separators=(",", ":")).encode


def unsubscribe_url(recipient_id: int) -> str:
    """The one-click address of RFC 8058 for one recipient."""
    return f"{settings.PORTAL_URL}/unsubscribe/{signed(UNSUBSCRIBE_SALT, recipient_id)}/"


def signed(salt: str, value: Any) -> str:
    """The JSON of `value` with the time and a signature, fit for an address. One salt per purpose."""
    return _signer(salt, settings.SECRET_KEY).sign_object(value, serializer=_Json)


class _Json(signing.JSONSerializer):
    def dumps(self, obj: Any) -> bytes:
        return _encode(obj).encode("latin-1")


class _Signer(signing.TimestampSigner):
    def __init__(self, salt: str, key: str) -> None:
        super().__init__(key=key, salt=salt)
        self._mac = hmac.new(hashlib.sha256(f"{salt}signer{key}".encode()).digest(), digestmod=hashlib.sha256)

    def signature(self, value: str | bytes, key: Any = None) -> str:
        mac = self._mac.copy()
        mac.update(value.encode() if isinstance(value, str) else value)
        return signing.b64_encode(mac.digest()).decode()


@cache
def _signer(salt: str, key: str) -> _Signer:
    return _Signer(salt, key)
