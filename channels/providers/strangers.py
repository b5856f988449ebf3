"""What the providers share whose every recipient is a server of its own: one that is slow holds up no other."""

import json
import socket
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import Any

import urllib3
from django.utils.translation import gettext as _
from urllib3.exceptions import NewConnectionError

from channels.errors import DeliveryError, Permanent, Transient, Uncertain

from .base import Addressee, Message, Outcome
from .http import CONNECT_SECONDS, HttpProvider, _GuardedHttps, _GuardedHttpsPool
from .tls import HTTP, trusted

THREADS = 32
MAX_BATCH = 2 * THREADS  # all dead, they take two rounds of LIMIT: well within a worker's lease
TIMEOUT = urllib3.Timeout(connect=CONNECT_SECONDS, read=10)
LIMIT = 15.0  # seconds for one recipient, from looking up its name to the end of its answer
TICK = 0.2  # seconds between two looks at who is late


class StrangersProvider(HttpProvider):
    """Speaks HTTPS to the recipients' own servers, several at once. Never raises: what fails, fails for one of them.

    A timeout of the socket starts anew with every byte, and looking up a name has none. So each call has a limit of
    its own, after which its connection is cut.
    """

    strangers = True

    @abstractmethod
    def hand_over(self, message: Message, one: Addressee) -> str:
        """Send to one recipient; a reference. Runs in several threads at once. Raises DeliveryError."""

    @cached_property
    def pool(self) -> urllib3.PoolManager:
        pool = urllib3.PoolManager(
            num_pools=50, maxsize=THREADS, timeout=TIMEOUT, retries=False, ssl_context=trusted(HTTP)
        )
        pool.pool_classes_by_scheme = {"https": _CuttablePool}
        return pool

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS)

    def close(self) -> None:
        if "threads" in self.__dict__:
            self.threads.shutdown(wait=False, cancel_futures=True)
            del self.threads
        super().close()

    def post(self, address: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:
        """One POST, as `call`. An address that may not be reached is not suppressed: its name may move again."""
        if not address.startswith("https://"):
            raise Permanent("not-https", _("The address is not secure; enter one that begins with https://."))
        try:
            return self.call("POST", address, body, headers)
        except Permanent as error:
            raise Permanent(error.code, error.detail) from error
        except UnicodeError as error:  # a name that DNS cannot hold
            raise Permanent("bad-address", str(error)) from error

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        lines = [_Line() for _one in recipients]
        tasks = [
            self.threads.submit(copy_context().run, self._send_one, message, one, line)
            for one, line in zip(recipients, lines, strict=True)
        ]
        end = monotonic() + LIMIT * -(-len(tasks) // THREADS)
        found: dict[Future[Outcome], Outcome] = {}
        while waiting := [task for task in tasks if task not in found]:
            found |= {task: task.result() for task in wait(waiting, TICK).done}
            now = monotonic()
            for task, line in zip(tasks, lines, strict=True):
                if task not in found and (now > end or now - line.began > LIMIT):
                    task.cancel()
                    found[task] = Outcome(error=line.cut())
        return [found[task] for task in tasks]

    def _send_one(self, message: Message, one: Addressee, line: "_Line") -> Outcome:
        _current.set(line)
        line.began = monotonic()
        try:
            return Outcome(ref=self.hand_over(message, one))
        except DeliveryError as error:
            # urllib3 calls an unfinished handshake a read timeout; nothing was said by then.
            unsaid = isinstance(error, Uncertain) and not line.spoke
            return Outcome(error=Transient(error.code, error.detail) if unsaid else error)
        except Exception as error:  # a bug that one recipient met must not lose track of the others
            return Outcome(error=Uncertain(type(error).__name__, str(error)))
        finally:
            line.close()


def said(content: Any) -> str:
    """What a refusal says, on one line."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return " ".join(text.split())[:300]


class _Line:
    """The connection of one call. Another thread can cut it at any time, in the middle of a read as well."""

    def __init__(self) -> None:
        self.began = float("inf")
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self.spoke = self._over = False

    def take(self, connection: "_Cuttable", sock: socket.socket, speaks: bool = False) -> None:
        """Hold on to `sock`, over which a request is about to go if it `speaks`. Raises if the call is over."""
        with self._lock:
            if self._over:
                raise NewConnectionError(connection, "too late")
            self.spoke |= speaks
            # A handle of its own, as TLS takes the first one over.
            self._socket = self._socket or socket.fromfd(sock.fileno(), sock.family, sock.type)

    def cut(self) -> DeliveryError:
        """End the call; what it means that it had no answer."""
        with self._lock:
            self._over = True
            if self._socket:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        text = _("No answer within %d seconds.") % LIMIT
        return Uncertain("timeout", text) if self.spoke else Transient("timeout", text)

    def close(self) -> None:
        with self._lock:
            self._over = True
            if self._socket:
                self._socket.close()
                self._socket = None


_current: ContextVar[_Line | None] = ContextVar("line", default=None)


class _Cuttable(_GuardedHttps):
    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if line := _current.get():
            try:
                line.take(self, sock)
            except NewConnectionError:
                sock.close()
                raise
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if line := _current.get():
            line.take(self, self.sock, speaks=True)
        super().request(*args, **kwargs)


class _CuttablePool(_GuardedHttpsPool):
    ConnectionCls = _Cuttable
