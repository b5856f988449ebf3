"""Messages that Amazon SNS posts to us: read them, and make sure that SNS wrote them.

Source: Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages". Only signature version 2
(RSA with SHA-256) counts; version 1 rests on SHA-1.
"""

import base64
import binascii
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import urllib3
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from urllib3.exceptions import HTTPError

NOTIFICATION = "Notification"
SUBSCRIPTION = "SubscriptionConfirmation"
UNSUBSCRIPTION = "UnsubscribeConfirmation"
# What is signed, in this order. Of a notification the subject may be missing.
SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    UNSUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
OPTIONAL = {"Subject"}
CERTIFICATE_PATH = re.compile(r"/[A-Za-z0-9_.-]{1,200}\.pem")
CERTIFICATE_NAME = re.compile(r"sns[a-z0-9.-]*\.amazonaws\.com(\.cn)?")
TIMEOUT = urllib3.Timeout(connect=3, read=5)  # seconds; SNS itself waits 15 for our answer
MAX_CERTIFICATE = 32 * 1024  # bytes


class Malformed(Exception):
    """No message of SNS at all."""


class Forged(Exception):
    """Not from our topic, or not written by SNS."""


class Unavailable(Exception):
    """Cannot be checked just now; worth telling us again."""


@runtime_checkable
class Subscriber(Protocol):
    """A provider that can say yes to the subscription of a topic."""

    def confirm_subscription(self, topic_arn: str, token: str) -> None:
        """Raises a DeliveryError."""


@dataclass(frozen=True)
class Note:
    """One message of a topic. `token` confirms a subscription; it is "" in a notification."""

    kind: str  # NOTIFICATION, SUBSCRIPTION or UNSUBSCRIPTION
    id: str  # the same each time that it is told
    topic: str  # ARN
    text: str
    at: datetime
    token: str
    signed: bytes
    signature: bytes
    certificate_url: str


def read(raw: bytes, *topics: str) -> Note:
    """The message in the body of a request, which must be of one of `topics` (ARNs). Nothing of it is trusted yet.

    Raises Malformed, or Forged for another topic.
    """
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        raise Malformed("The body is not JSON.") from None
    if not isinstance(fields, dict) or "Type" not in fields or "TopicArn" not in fields:
        raise Malformed("This is no message of SNS. If raw message delivery is on, switch it off: it has no signature.")
    if fields["TopicArn"] not in topics:
        raise Forged("This topic is not one that is set here.")
    kind = fields["Type"]
    if not isinstance(kind, str) or kind not in SIGNED:
        raise Malformed("The type of the message is unknown.")
    if fields.get("SignatureVersion") != "2":
        raise Forged("Set the attribute SignatureVersion of the topic to 2.")
    try:
        return _note(kind, fields)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise Malformed("A field of the message is missing or is not as SNS writes it.") from None


def _note(kind: str, fields: Mapping[str, Any]) -> Note:
    names = [name for name in SIGNED[kind] if name not in OPTIONAL or fields.get(name) is not None]
    if not all(isinstance(fields[name], str) for name in names):
        raise TypeError
    # A line break in here could pass for the next field of what is signed.
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", fields["MessageId"]):
        raise ValueError
    at = parse_datetime(fields["Timestamp"])
    if at is None or at.tzinfo is None:
        raise ValueError
    return Note(
        kind=kind,
        id=fields["MessageId"],
        topic=fields["TopicArn"],
        text=fields["Message"],
        at=at,
        token=fields["Token"] if kind != NOTIFICATION else "",
        signed="".join(f"{name}\n{fields[name]}\n" for name in names).encode(),
        signature=base64.b64decode(fields["Signature"], validate=True),
        certificate_url=str(fields["SigningCertURL"]),
    )


def verify(note: Note) -> None:
    """Raises Forged if SNS did not sign this, Unavailable if its certificate cannot be had just now."""
    certificate = _certificate(_checked_url(note))
    if not certificate.not_valid_before_utc <= timezone.now() <= certificate.not_valid_after_utc:
        raise Forged("The certificate is not valid at this time.")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
        raise Forged("The certificate's key is not one of SNS.")
    try:
        key.verify(note.signature, note.signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise Forged("The signature does not match.") from None


def endpoint(topic: str) -> str:
    """Where SNS is in the region of a topic."""
    _arn, partition, _sns, region, *_rest = topic.split(":")
    return f"https://sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"


def confirm(note: Note) -> None:
    """Say yes to a verified SubscriptionConfirmation where there are no credentials. Raises Unavailable, Forged.

    ConfirmSubscription takes a call without a signature unless it asks for AuthenticateOnUnsubscribe ("Amazon SNS API
    Reference"); the token proves enough. The address in the message is never visited.
    """
    fields = {
        "Action": "ConfirmSubscription",
        "Version": "2010-03-31",
        "TopicArn": note.topic,
        "Token": note.token,
    }
    try:
        with urllib3.PoolManager(timeout=TIMEOUT, retries=False) as pool:
            reply = pool.request("POST", endpoint(note.topic), fields=fields, encode_multipart=False, redirect=False)
            status = reply.status
    except (HTTPError, OSError) as error:
        raise Unavailable(f"The subscription could not be confirmed: {type(error).__name__}.") from error
    if status >= 500 or status == 429:
        raise Unavailable(f"The subscription could not be confirmed: status {status}.")
    if status != 200:
        raise Forged(f"SNS does not confirm this subscription: status {status}. Ask it for a new confirmation.")


def _checked_url(note: Note) -> str:
    """The certificate's address, if it is where the topic's region keeps its certificates."""
    start = endpoint(note.topic)
    # Compared as text: what a parser would make of a user, a port or a query cannot matter.
    if not note.certificate_url.startswith(f"{start}/"):
        raise Forged("The certificate is not where SNS keeps those of this region.")
    if not CERTIFICATE_PATH.fullmatch(note.certificate_url.removeprefix(start)):
        raise Forged("The address of the certificate is not one of SNS.")
    return note.certificate_url


# ── Certificates ────────────────────────────────────────────────────────────

_known: dict[str, x509.Certificate] = {}  # by address; each is for good, a new one has a new address
_fetching = threading.Lock()


def _certificate(url: str) -> x509.Certificate:
    if url in _known:
        return _known[url]
    # Anybody can name addresses that do not exist: they may keep one thread of us waiting, not all.
    if not _fetching.acquire(blocking=False):
        raise Unavailable("A certificate is being fetched.")
    try:
        found = _parsed(fetch(url))
    finally:
        _fetching.release()
    if len(_known) >= 32:
        _known.clear()
    _known[url] = found
    return found


def _parsed(raw: bytes) -> x509.Certificate:
    try:
        found = x509.load_pem_x509_certificate(raw)
        names = [str(one.value) for one in found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    except (ValueError, binascii.Error):
        raise Forged("What lies at the certificate's address is no certificate.") from None
    if not any(CERTIFICATE_NAME.fullmatch(name) for name in names):
        raise Forged("The certificate is not one of SNS.")
    return found


def fetch(url: str) -> bytes:
    """What lies at `url`; one attempt, no redirect. Raises Unavailable, or Forged if there is nothing.

    The address may well be a private one: that of a VPC endpoint. TLS proves that it is SNS.
    """
    try:
        with urllib3.PoolManager(timeout=TIMEOUT, retries=False) as pool:
            reply = pool.request("GET", url, redirect=False, preload_content=False)
            raw = reply.read(MAX_CERTIFICATE + 1)
            reply.close()
    except (HTTPError, OSError) as error:
        raise Unavailable(f"The certificate could not be fetched: {type(error).__name__}.") from error
    if reply.status >= 500 or reply.status == 429:
        raise Unavailable(f"The certificate could not be fetched: status {reply.status}.")
    if reply.status != 200 or len(raw) > MAX_CERTIFICATE:
        raise Forged("There is no certificate at its address.")
    return raw
