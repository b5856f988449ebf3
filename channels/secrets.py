"""What is kept under a key: credentials (JSON encrypted with MultiFernet), hashed addresses, signed ids."""

import base64
import hashlib
import hmac
import json
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


def _fernet() -> MultiFernet:
    return _fernet_of(tuple(settings.FIELD_KEYS), settings.SECRET_KEY)


@lru_cache(1)  # a wave of webhooks reads the secrets of each recipient
def _fernet_of(field_keys: tuple[str, ...], secret_key: str) -> MultiFernet:
    keys = field_keys or [base64.urlsafe_b64encode(hashlib.sha256(b"channel-secrets:" + secret_key.encode()).digest())]
    return MultiFernet([Fernet(key) for key in keys])


def sealed(text: str) -> str:
    """A secret as one token, to be stored."""
    return _fernet().encrypt(text.encode()).decode()


def opened(token: str) -> str:
    """The secret of a stored token. Raises InvalidToken if no key reads it."""
    return _fernet().decrypt(token.encode()).decode()


def rotated(token: str) -> str:
    """A stored token, encrypted anew with the newest key. Raises InvalidToken if no key reads it."""
    return _fernet().rotate(token.encode()).decode()


class EncryptedJSONField(models.TextField):
    """A dict, stored as one Fernet token. An unreadable token (lost key) reads as an empty dict."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> dict[str, Any]:
        if not value:
            return {}
        try:
            return json.loads(_fernet().decrypt(value.encode()))
        except InvalidToken:
            return {}

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: dict[str, Any] | None) -> str:
        return _fernet().encrypt(json.dumps(value).encode()).decode() if value else ""

    def value_to_string(self, obj: models.Model) -> str:
        return ""  # never in a fixture


def address_hash(medium: str, address: str) -> str:
    """A keyed hash of an address: lets a suppression outlive the erased person. Hex, 64 characters."""
    text = f"{medium}:{address.strip().lower()}"
    return hmac.new(b"address:" + settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def network_hash(network: str) -> str:
    """A keyed hash of a reader's network: tells whether two requests came from one. Hex, 64 characters."""
    return hmac.new(b"network:" + settings.SECRET_KEY.encode(), network.encode(), hashlib.sha256).hexdigest()


def key_signature(key: str) -> str:
    """Proves that a delivery's key in a Message-ID is of us when a bounce brings it back. Hex, 16 characters."""
    mac = _message_id_mac(settings.SECRET_KEY).copy()
    mac.update(key.encode())
    return mac.hexdigest()[:16]


@lru_cache(1)  # each message of a million has one, and setting up takes three quarters of it
def _message_id_mac(key: str) -> hmac.HMAC:
    return hmac.new(b"message-id:" + key.encode(), digestmod=hashlib.sha256)
