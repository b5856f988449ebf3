"""Which queue the environment asks for: the meaning of QUEUE_URL. Read by settings.py, so it imports no app."""

import re
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")
QUEUE = re.compile(r"[A-Za-z0-9_-]{1,80}")


def broker(url: str) -> dict[str, Any]:
    """The part of Q_CLUSTER that names the broker. Raises ImproperlyConfigured, which tells no password."""
    if not url:
        return {"orm": "default"}
    scheme, rest = url.partition("://")[::2]
    if scheme in ("redis", "rediss"):
        return {"broker_class": "channels.brokers.redis.Redis", "redis": _redis(url)}
    if scheme == "sqs":
        return {"broker_class": "channels.brokers.sqs.Sqs", "sqs": _sqs(url, rest)}
    raise _bad(url, "it must be empty (the database) or begin with redis://, rediss:// or sqs://")


def _redis(url: str) -> str:
    try:
        parts = urlsplit(url)
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete:
        raise _bad(url, "host or port cannot be read; write redis://host:6379/0, with %-escapes in a password")
    if not re.fullmatch(r"(/\d*)?", parts.path):
        raise _bad(url, f"{parts.path[1:]!r} is not the number of a database; write redis://host:6379/0")
    if parts.query or parts.fragment:
        raise _bad(url, "it has options behind ? or #, which are not read; leave them out")
    return url


def _sqs(url: str, rest: str) -> dict[str, str]:
    region, _slash, queue = rest.partition("/")
    if not REGION.fullmatch(region):
        raise _bad(url, f"{region!r} is not an AWS region; write sqs://eu-south-1/commsportal")
    if queue.endswith(".fifo"):
        raise _bad(url, f"{queue!r} is a FIFO queue; make a standard queue, and name that")
    if not QUEUE.fullmatch(queue):
        raise _bad(url, f"{queue!r} is not the name of a queue (1 to 80 letters, digits, - and _)")
    return {"region": region, "queue": queue}


def _bad(url: str, why: str) -> ImproperlyConfigured:
    shown = re.sub(r"//.*@", "//…@", url, flags=re.S)  # what stands before the @ is a credential
    return ImproperlyConfigured(f"QUEUE_URL={shown} cannot be used: {why}.")
