"""A task that only says that it was started. In a module of its own: a worker imports nothing else for it."""

import socket


def noop(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sink:
        sink.sendall(b"NOOP\r\n")
