"""A real SMTP server (aiosmtpd) whose replies can be scripted."""

import asyncio
import ssl
import threading
import warnings
from collections import defaultdict, deque
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = "portal", "smtp-password-never-to-be-seen"
DROP = "drop"  # instead of a reply: the connection ends
HANG = "hang"  # instead of a reply: silence


class Mailbox:
    """What arrived, and what the next commands meet ("MAIL", "RCPT", "DATA": the reply to the final dot)."""

    pipelining = False  # whether RFC 2920 is advertised

    def __init__(self) -> None:
        self.raw: list[tuple[str, bytes]] = []  # (recipient, message)
        self.senders: list[str] = []  # of the envelopes
        self.connections = 0
        self.scripts: dict[str, deque[str | None]] = defaultdict(deque)

    def script(self, command: str, *replies: str | None) -> None:
        """None stands for a success in between."""
        self.scripts[command].extend(replies)

    @property
    def messages(self) -> list[EmailMessage]:
        return [BytesParser(policy=policy.default).parsebytes(data) for _to, data in self.raw]  # type: ignore[misc]

    async def _reply(self, server: SMTP, command: str) -> str | None:
        script = self.scripts[command]
        reply = script.popleft() if script else None
        if reply == DROP:
            server.transport.abort()  # type: ignore[union-attr]
        if reply == HANG:
            await asyncio.sleep(3600)  # cancelled when the connection ends
        return reply

    async def handle_EHLO(self, server: SMTP, session: Any, envelope: Any, hostname: str, responses: list[str]) -> Any:
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]] if self.pipelining else responses

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        reply = await self._reply(server, "MAIL")
        if reply:
            return reply
        envelope.mail_from = address
        self.senders.append(address)
        return "250 2.1.0 OK"

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        reply = await self._reply(server, "RCPT")
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        reply = await self._reply(server, "DATA")
        if reply:
            return reply
        self.raw.append((envelope.rcpt_tos[0], envelope.original_content))
        return "250 2.0.0 queued"


class SmtpServer:
    """`tls` with `implicit` speaks TLS from the start, without it offers STARTTLS. `auth` requires the login."""

    def __init__(
        self, mailbox: Mailbox, tls: ssl.SSLContext | None = None, implicit: bool = False, auth: bool = False
    ) -> None:
        self.mailbox = mailbox
        self.options: dict[str, Any] = {"hostname": "fake.example.com", "tls_context": None if implicit else tls}
        if auth:
            self.options |= {"authenticator": _authenticate, "auth_required": True, "auth_require_tls": False}
        self._loop = asyncio.new_event_loop()
        listening = self._loop.create_server(self._accept, "127.0.0.1", 0, ssl=tls if implicit else None)
        self._server = self._loop.run_until_complete(listening)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _accept(self) -> SMTP:
        self.mailbox.connections += 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS", UserWarning)
            return SMTP(self.mailbox, loop=self._loop, **self.options)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _authenticate(server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and data == LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)
