"""What the providers that speak plain HTTP share: one pool of connections, and what its failures mean."""

import ipaddress
import json
import socket
import time
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, ClassVar

import urllib3
from django.utils import timezone
from django.utils.translation import gettext as _
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from channels.addresses import is_reachable
from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain

from .base import Provider
from .tls import HTTP, trusted

CONNECT_SECONDS = 5
TIMEOUT = urllib3.Timeout(connect=CONNECT_SECONDS, read=15)
MAX_REPLY = 64 * 1024  # bytes; what a stranger's server says beyond that is of no interest
LONGEST_PATIENCE = 24 * 3600  # seconds
# Where servers say when they listen again; the first of these that is there counts.
PATIENCE = ("Retry-After", "RateLimit-Reset", "X-RateLimit-Reset")


class HttpProvider(Provider):
    """A provider that speaks HTTP by itself. Never follows a redirect, never retries."""

    # Whether the addresses come from customers: then nothing inside our own network may be reached.
    strangers: ClassVar[bool] = False

    @cached_property
    def pool(self) -> urllib3.PoolManager:
        pool = urllib3.PoolManager(num_pools=50, maxsize=4, timeout=TIMEOUT, retries=False, ssl_context=trusted(HTTP))
        if self.strangers:
            pool.pool_classes_by_scheme = {"http": _GuardedHttpPool, "https": _GuardedHttpsPool}
        return pool

    def load(self) -> None:
        trusted(HTTP)

    def close(self) -> None:
        if "pool" in self.__dict__:
            self.pool.clear()
            del self.pool

    def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        longest: int = MAX_REPLY,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """One request, with a JSON `body` (bytes are sent as they are): status, JSON or text, headers.

        Of a reply only the first `longest` bytes are read. Raises DeliveryError: Transient if it surely was not sent;
        Throttled on 429 and on 503 with Retry-After; Uncertain on a lost reply and other 5xx; Permanent on a redirect.
        What a 4xx means the provider knows better.
        """
        data = body if isinstance(body, bytes | None) else json.dumps(body, ensure_ascii=False).encode()
        known = {"User-Agent": "Commsportal", **({"Content-Type": "application/json"} if data else {})}
        try:
            reply = self.pool.request(
                method, url, body=data, headers={**known, **(headers or {})}, redirect=False, preload_content=False
            )
            try:
                raw = reply.read(longest, decode_content=True)
                if not reply.closed and reply.read(1):
                    reply.close()  # longer than anybody needs: this connection is not used again
            finally:
                reply.release_conn()
        except HTTPError as error:
            raise unanswered(error) from error
        raise_for(reply.status, reply.headers, raw)
        return reply.status, _content(raw), reply.headers


def raise_for(status: int, headers: Mapping[str, str], raw: bytes) -> None:
    """Raise what a status means whoever says it; 2xx and 4xx other than 429 pass."""
    said = " ".join(raw.decode("utf-8", "replace").split())[:300]
    if status == 429 or (status == 503 and "Retry-After" in headers):
        wait = next((headers[name] for name in PATIENCE if name in headers), "")
        raise Throttled(str(status), said, retry_after=patience(wait))
    if status >= 500:
        raise Uncertain(str(status), said)
    if 300 <= status < 400:
        text = _("It redirects to %(where)s; enter the final address.")
        raise Permanent(str(status), text % {"where": headers.get("Location", "—")[:200]})


def patience(value: str, default: float = 30.0) -> float:
    """Seconds to wait by one of the headers in PATIENCE.

    It is a number of seconds or a date (RFC 9110, 10.2.3), a moment in Unix time (Bluesky) or in ISO 8601 (Mastodon).
    """
    try:
        seconds = float(value)
        if seconds > 1e9:
            seconds -= time.time()
    except ValueError:
        moment = _moment(value)
        if moment is None:
            return default
        seconds = (moment - timezone.now()).total_seconds()
    return min(max(seconds, 1.0), LONGEST_PATIENCE) if seconds == seconds else default


def _moment(value: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(value)
        except ValueError:
            continue
        if moment.tzinfo:
            return moment
    return None


def unanswered(error: HTTPError) -> DeliveryError:
    """What it means that no answer came."""
    name = type(error).__name__
    if isinstance(error, Forbidden | LocationValueError):
        return Permanent(name, str(error), bad_address=isinstance(error, Forbidden))
    if isinstance(error, NewConnectionError | NameResolutionError | ConnectTimeoutError | SSLError):
        return Transient(name, str(error))
    return Uncertain(name, str(error))


def _content(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


# ── Addresses of strangers ──────────────────────────────────────────────────


class Forbidden(HTTPError):
    """The host is, or resolves to, an address that no customer's server has."""


def public_addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """What `host` resolves to, as socket.getaddrinfo gives it. Raises Forbidden if any of it is not public.

    settings.WEBHOOK_NETWORKS lists networks of one's own that may be reached all the same.
    """
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    for *_kind, address in found:
        one = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if not is_reachable(one):
            text = _("%(host)s is at %(address)s, which is not a public address.")
            raise Forbidden(text % {"host": host, "address": one})
    return list(found)


class _Guarded:
    """Connects to the very address that was checked: a name that changes between check and use gains nothing."""

    def _new_conn(self) -> socket.socket:
        host, port = self._dns_host, self.port  # type: ignore[attr-defined]
        try:
            found = public_addresses(host, port)
        except OSError as error:
            raise NameResolutionError(host, self, error) from error  # type: ignore[arg-type]
        reason: OSError | None = None
        for family, kind, protocol, _name, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(CONNECT_SECONDS)
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                reason = error
        raise NewConnectionError(self, f"{host}: {reason}") from reason  # type: ignore[arg-type]


class _GuardedHttp(_Guarded, HTTPConnection):
    pass


class _GuardedHttps(_Guarded, HTTPSConnection):
    pass


class _GuardedHttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _GuardedHttp


class _GuardedHttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _GuardedHttps
