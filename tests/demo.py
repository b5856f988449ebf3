"""A real `./run demo`, started, watched and stopped as a person at a terminal would."""

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.postgres import free_port

ROOT = Path(__file__).parent.parent


class Demo:
    """A demo that is up, on a free port: `said` is what it printed, `address` where it answers."""

    first_incidents: list[str]  # what the very first start showed

    def __init__(self, data: Path) -> None:
        self.data = data
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        command = [sys.executable, ROOT / "run", "demo", "--port", str(port), "--data", data]
        self.process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break
        else:
            self.process.wait()
            raise AssertionError(f"./run demo did not come up:\n{self.said}")

    def get(self, path: str) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.address + path, timeout=20) as response:
            assert response.status == 200
            return response.read().decode()

    def incidents(self) -> list[str]:
        """Their ids, as the public API has them: drawn by lot, so that another company has others."""
        return [incident["id"] for incident in json.loads(self.get("/api/v2/incidents.json"))["incidents"]]

    def until(self, true: Callable[[], object], otherwise: str) -> None:
        """Ask again and again for at most a minute."""
        end = time.monotonic() + 60
        while not true():
            assert time.monotonic() < end, f"{otherwise}:\n{self.said}"
            time.sleep(0.2)

    def until_ready(self) -> None:
        """The worker's first sign of life comes a moment after the pages."""

        def ready() -> bool:
            try:
                return bool(self.get("/readyz"))
            except urllib.error.HTTPError as error:
                error.close()
                return False

        self.until(ready, "the worker never reported")

    def stop(self, how: int = signal.SIGINT) -> list[psutil.Process]:
        """End it with a signal; the processes that should be gone with it and are not."""
        family = self.process.children(recursive=True)
        try:
            self.process.send_signal(how)
            code = self.process.wait(60)
            assert code == 0, f"./run demo ended with {code}:\n{self.said}"
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.stdout.close()
        return psutil.wait_procs(family, timeout=5)[1]


def copy(demo: Demo, folder: Path) -> Path:
    """The data of a demo that was stopped, for another start."""
    return Path(shutil.copytree(demo.data, folder / "data"))
