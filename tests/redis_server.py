"""A real Redis, on a port and in a directory of its own."""

import shutil
import subprocess
import time
from pathlib import Path

import redis

from tests.postgres import free_port

PROGRAM = shutil.which("redis-server")


class RedisServer:
    """Close it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port)
        self.start()

    def start(self) -> None:
        """Serve; returns when it answers. It keeps nothing from one start to the next."""
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "save": "", "appendonly": "no"}
        command = [str(PROGRAM), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < end, "Redis did not start"
                time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def close(self) -> None:
        self.client.close()
        self.stop()
