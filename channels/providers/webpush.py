"""Notifications to browsers through their makers' push services: RFC 8030, encrypted (8291) and signed (8292)."""

import base64
import binascii
import hashlib
import json
import time
from functools import cached_property
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from py_vapid import Vapid02, VapidException  # type: ignore[import-untyped]
from pywebpush import WebPusher  # type: ignore[import-untyped]

from channels.errors import Permanent, Throttled, Transient, Uncertain

from .base import Addressee, Capabilities, Message, personalise
from .strangers import MAX_BATCH, StrangersProvider, said

MAX_BYTES = 3993  # what is left of the 4,096 that a push service must take (RFC 8291, 4)
TTL = 4 * 3600  # seconds a service keeps it for a browser that is away; what is older is news no more
TOKEN_SECONDS = 12 * 3600  # of the signature; RFC 8292 allows 24 hours
# Only these may ask the whole channel to wait; an endpoint is a customer's word, and anybody can answer 429.
SERVICES = (".googleapis.com", ".push.services.mozilla.com", ".push.apple.com", ".notify.windows.com")


def decode(text: str) -> bytes:
    """Base64 in its form for addresses, padded or not. Raises ValueError."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def check_key(value: str) -> None:
    try:
        good = len(decode(value)) == 32 and bool(Vapid02.from_raw(value.encode()))
    except ValueError:
        good = False
    if not good:
        raise ValidationError(
            _("This is not a VAPID private key: 32 bytes in base64url, 43 characters. Make one as described below.")
        )


class WebPushForm(forms.Form):
    vapid_private_secret = forms.CharField(
        label=gettext_lazy("VAPID private key"),
        widget=forms.PasswordInput,
        max_length=64,
        validators=[check_key],
        help_text=gettext_lazy(
            "To make one: openssl rand -base64 32 | tr '+/' '-_' | tr -d '='. The test shows the public key that "
            "belongs to it; with a new key every browser has to subscribe again."
        ),
    )
    contact_email = forms.EmailField(
        label=gettext_lazy("Contact"),
        help_text=gettext_lazy("Whom the push services write to if something is wrong, as in ops@example.com."),
    )


class WebPush(StrangersProvider):
    label = gettext_lazy("Push: web browsers")
    # Not idempotent: whether a repeated notification is dropped depends on the script in the browser.
    capabilities = Capabilities(form="push", medium="webpush", max_batch=MAX_BATCH, many_servers=True)
    config_form = WebPushForm

    @cached_property
    def vapid(self) -> Vapid02:
        return Vapid02.from_raw(self.config["vapid_private_secret"].encode())

    def hand_over(self, message: Message, one: Addressee) -> str:
        body = _encrypted(_payload(message, one), one)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(TTL),
            "Urgency": "high",
            # A newer update takes the place of one that still waits for the browser; 32 characters are allowed.
            "Topic": _base64url(hashlib.sha256(message.thread.encode()).digest())[:32],
            **self._signature(one.address),
        }
        try:
            status, content, answer = self.post(one.address, body, headers)
        except Throttled as error:
            if (urlsplit(one.address).hostname or "").endswith(SERVICES):
                raise
            raise Transient(error.code, error.detail) from error
        except Uncertain as error:
            # "503 Service Unavailable" says that it was not handled; any other fault may come after it was accepted.
            raise (Transient(error.code, error.detail) if error.code == "503" else error) from error
        if 200 <= status < 300:
            return answer.get("Location") or one.key
        raise Permanent(str(status), said(content), bad_address=status in (404, 410))

    def _signature(self, endpoint: str) -> dict[str, str]:
        try:
            address = urlsplit(endpoint)
            claims = {
                "aud": f"{address.scheme}://{address.netloc}",
                "exp": int(time.time()) + TOKEN_SECONDS,
                "sub": f"mailto:{self.config['contact_email']}",
            }
            return self.vapid.sign(claims)
        except (ValueError, VapidException) as error:
            raise Permanent("bad-address", str(error)) from error

    def public_key(self) -> str:
        return _base64url(self.vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    def probe(self) -> str:
        return _("The public key for browsers (applicationServerKey) is %s") % self.public_key()


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _payload(message: Message, one: Addressee) -> bytes:
    """{"title", "body", "url", "tag", "lang"}: what the script in the browser shows. Raises Permanent if too long."""
    parts = message.parts
    found = {
        "title": personalise(parts["subject"], one.values),
        "body": personalise(parts["text"], one.values),
        "url": parts["url"],
        "tag": message.thread,
        "lang": message.locale,
    }
    raw = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
    if len(raw) > MAX_BYTES:
        text = _("The notification has %(size)d bytes; browsers take %(limit)d. Shorten the SMS text.")
        raise Permanent("too-large", text % {"size": len(raw), "limit": MAX_BYTES})
    return raw


def _encrypted(raw: bytes, one: Addressee) -> bytes:
    """For the eyes of that browser only. Raises Permanent if its keys are none."""
    keys = {name: str(one.attributes.get(name) or "") for name in ("p256dh", "auth")}
    try:
        if len(decode(keys["p256dh"])) != 65 or len(decode(keys["auth"])) != 16:
            raise ValueError
        return WebPusher({"endpoint": one.address, "keys": keys}).encode(raw)["body"]
    except ValueError:
        text = _("The recipient has no usable keys; its attributes need p256dh and auth, as the browser gave them.")
        raise Permanent("bad-keys", text) from None
