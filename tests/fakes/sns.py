"""A stand-in for Amazon SNS: a key of its own, and messages signed by it as SNS signs."""

import base64
import itertools
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

TOPIC = "arn:aws:sns:eu-south-1:123456789012:events"
URL = "https://sns.eu-south-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
ORDER = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")
_n = itertools.count(1)


@cache
def key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def certificate(name: str = "sns-signing.eu-south-1.amazonaws.com", days: int = 30, other: Any = None) -> bytes:
    """A self-signed certificate in PEM; `days` from now until it ends, `other` for another key than key()."""
    own = other or key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    end = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=60))
        .not_valid_after(end)
        .sign(own, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def sign(fields: dict[str, Any], by: rsa.RSAPrivateKey | None = None, hashed: Any = None) -> dict[str, Any]:
    """The same message with a signature that fits."""
    text = "".join(f"{name}\n{fields[name]}\n" for name in ORDER if fields.get(name) is not None)
    made = (by or key()).sign(text.encode(), padding.PKCS1v15(), hashed or hashes.SHA256())
    return {**fields, "Signature": base64.b64encode(made).decode()}


def notification(event: Any, **changes: Any) -> dict[str, Any]:
    """A signed notification that carries `event` (JSON, or text as it is)."""
    fields = {
        "Type": "Notification",
        "MessageId": f"00000000-0000-4000-8000-{next(_n):012}",
        "TopicArn": TOPIC,
        "Message": event if isinstance(event, str) else json.dumps(event),
        "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "SignatureVersion": "2",
        "SigningCertURL": URL,
        "UnsubscribeURL": "https://sns.eu-south-1.amazonaws.com/?Action=Unsubscribe",
    }
    return sign(fields | changes)


def confirmation(kind: str = "SubscriptionConfirmation", **changes: Any) -> dict[str, Any]:
    more = {
        "Type": kind,
        "Token": "2336412f37fb687f5d51e6e241d",
        # Whoever visits this instead of asking the API is caught by the tests' block of other hosts.
        "SubscribeURL": "https://sns.eu-south-1.amazonaws.com/?Action=ConfirmSubscription",
    }
    return notification("You have chosen to subscribe to the topic.", **{**more, **changes})
