"""One request to a chat's API, and what it means if no answer comes. Never retries, never follows a redirect."""

from collections.abc import Mapping
from typing import Any

import urllib3
from django.utils.translation import gettext as _
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain

TIMEOUT = urllib3.Timeout(connect=3, read=10)  # seconds
MAX_REPLY = 2 * 1024 * 1024  # bytes; a page of a list of channels is far shorter
Answer = tuple[int, bytes, Mapping[str, str]]


def ask(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: urllib3.Timeout = TIMEOUT
) -> Answer:
    """(status, body, headers) of an answer below 500. Raises Transient, Throttled, Uncertain, and Permanent for 3xx."""
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            got = pool.request(
                method,
                url,
                body=body,
                headers={"User-Agent": "Commsportal", **headers},
                redirect=False,
                preload_content=False,
            )
            raw = got.read(MAX_REPLY)
            got.close()
    except (HTTPError, OSError) as error:
        raise _unanswered(error) from error
    waits = got.headers.get("Retry-After", "")
    if got.status == 429 or (got.status == 503 and waits):
        raise Throttled("ratelimited", retry_after=patience(waits))
    if got.status >= 500:
        raise Uncertain(str(got.status), raw.decode("utf-8", "replace")[:200])
    if 300 <= got.status < 400:
        raise Permanent(str(got.status), _("%(url)s redirects elsewhere; see the settings.") % {"url": url[:100]})
    return got.status, raw, got.headers


def patience(value: Any) -> float:
    """Seconds to wait, of a header Retry-After."""
    text = str(value)
    return float(min(max(int(text), 1), 3600)) if text.isascii() and text.isdecimal() and len(text) < 6 else 30.0


def _unanswered(error: Exception) -> DeliveryError:
    name = type(error).__name__
    if isinstance(error, NewConnectionError | NameResolutionError | ConnectTimeoutError | SSLError):
        return Transient(name, str(error))
    return Uncertain(name, str(error))
