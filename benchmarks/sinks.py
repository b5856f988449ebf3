"""Servers on the loopback that accept everything and keep a ledger by recipient: the judge of lost and doubled.

`python -m benchmarks.sinks smtp|ses` says {"port": …}; {"do": "report"} tells the ledger and empties it.
"""

import asyncio
import json
import re
import sys
import threading
import time
from collections import Counter
from typing import Any

from .answering import answer_lines

RCPT = re.compile(rb"RCPT TO:\s*<([^>]*)>", re.I)
EHLO = b"250-sink.example.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 10485760\r\n"
END = b"\r\n.\r\n"


class Ledger:
    """Who was written to how often, and when: monotonic seconds, the same clock in every process."""

    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        self.seen: Counter[str] = Counter()
        self.first_byte = 0.0
        self.first_message = 0.0

    def touch(self) -> None:
        if not self.first_byte:
            self.first_byte = time.monotonic()

    def enter(self, recipient: str) -> None:
        if not self.first_message:
            self.first_message = time.monotonic()
        self.seen[recipient] += 1

    def peek(self) -> dict[str, Any]:
        return {
            "total": self.seen.total(),
            "distinct": len(self.seen),
            "first_byte": self.first_byte,
            "first_message": self.first_message,
        }

    def report(self) -> dict[str, Any]:
        said = self.peek()
        self.empty()
        return said


ledger = Ledger()


class Smtp(asyncio.Protocol):
    """ESMTP with pipelining; one write for all replies to what came together."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""
        self.in_data = False
        self.recipients: list[str] = []
        transport.write(b"220 sink.example.com ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        ledger.touch()
        self.buffer += data
        replies = []
        while True:
            if self.in_data:
                end = self.buffer.find(END)
                if end < 0:
                    break
                self.buffer = self.buffer[end + len(END) :]
                self.in_data = False
                for one in self.recipients:
                    ledger.enter(one)
                self.recipients = []
                replies.append(b"250 2.0.0 Ok: queued\r\n")
                continue
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                break
            self.buffer = rest
            replies.append(self.obey(line))
        if replies:
            self.transport.write(b"".join(replies))
        if replies and replies[-1].startswith(b"221"):
            self.transport.close()

    def obey(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"RCPT":
            found = RCPT.match(line)
            if not found:
                return b"501 5.5.4 Syntax\r\n"
            self.recipients.append(found[1].decode())
            return b"250 2.1.5 Ok\r\n"
        if verb == b"DATA":
            self.in_data = bool(self.recipients)
            return b"354 Go on\r\n" if self.in_data else b"503 5.5.1 Need RCPT\r\n"
        if verb in (b"MAIL", b"RSET"):
            self.recipients = []
            return b"250 2.1.0 Ok\r\n"
        if verb == b"EHLO":
            return EHLO
        return b"221 2.0.0 Bye\r\n" if verb == b"QUIT" else b"250 2.0.0 Ok\r\n"


class Ses(asyncio.Protocol):
    """SESv2 SendEmail and SendBulkEmail, as far as these benchmarks need them: HTTP/1.1, kept alive."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        ledger.touch()
        self.buffer += data
        while True:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])  # type: ignore[index]
            if re.search(rb"(?i)expect: *100-continue", head) and not rest:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            body = json.dumps(self.accept(json.loads(rest[:length]))).encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            self.transport.write(answer + body)

    def accept(self, request: dict[str, Any]) -> dict[str, Any]:
        entries = request.get("BulkEmailEntries")
        if entries is None:
            ledger.enter(_plain(request["Destination"]))
            return {"MessageId": f"0100-{len(ledger.seen)}"}
        for one in entries:
            ledger.enter(_plain(one["Destination"]))
        start = len(ledger.seen)
        return {
            "BulkEmailEntryResults": [
                {"Status": "SUCCESS", "MessageId": f"0100-{start}-{n}"} for n in range(len(entries))
            ]
        }


def _plain(destination: dict[str, Any]) -> str:
    return destination["ToAddresses"][0].rpartition("<")[2].rstrip(">")


def main() -> None:
    protocol = {"smtp": Smtp, "ses": Ses}[sys.argv[1]]
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(protocol, "127.0.0.1", 0, backlog=512))
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def on_loop(what: Any) -> Any:
        async def call() -> Any:
            return what()

        return lambda: asyncio.run_coroutine_threadsafe(call(), loop).result()

    verbs = {"report": on_loop(ledger.report), "peek": on_loop(ledger.peek)}
    answer_lines(verbs, {"port": server.sockets[0].getsockname()[1]})


if __name__ == "__main__":
    main()
