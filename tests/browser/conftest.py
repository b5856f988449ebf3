"""A real `./run demo` on a free port with data of its own, and real Chromium windows that tolerate no error."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo that is up; it is stopped as Ctrl-C would."""
    port, folder = free_port(), tmp_path_factory.mktemp("demo")
    address = f"http://127.0.0.1:{port}"
    log = folder / "run.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "run"), "demo", "--port", str(port), "--data", str(folder / "data")],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        end = time.monotonic() + 110
        while True:
            try:
                with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"./run demo did not come up:\n{log.read_text()}")
            time.sleep(0.2)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(45) == 0, log.read_text()
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Window:
    """One person's browser. `problems` are console errors, failed requests and requests to elsewhere."""

    page: Page
    context: BrowserContext
    address: str
    problems: list[str]

    def go(self, path: str) -> Page:
        self.page.goto(path if path.startswith("http") else self.address + path)
        return self.page

    def log_in(self, name: str) -> Page:
        self.go("/admin/login/")
        self.page.fill("input[name=username]", name)
        self.page.fill("input[name=password]", "commsportal-demo")
        self.page.click("button[type=submit]")
        self.page.wait_for_url("**/admin/")
        return self.page

    def shot(self, name: str) -> None:
        """Keep a picture, if SCREENSHOTS names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.fixture
def window(demo: str, chromium: Browser) -> Iterator[Callable[..., Window]]:
    """Open windows; at the end none of them may have met a problem."""
    windows: list[Window] = []

    def open_window(**options: object) -> Window:
        context = chromium.new_context(**{"locale": "en-GB", "viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(20_000)
        page = context.new_page()
        one = Window(page, context, demo, [])

        def console(message: ConsoleMessage) -> None:
            if message.type == "error":
                one.problems.append(f"{page.url}: {message.text}")

        def request(sent: Request) -> None:
            if not sent.url.startswith((demo, "data:", "blob:", "about:")):
                one.problems.append(f"{page.url} asked for {sent.url}")

        page.on("console", console)
        page.on("pageerror", lambda error: one.problems.append(f"{page.url}: {error}"))
        context.on("request", request)
        windows.append(one)
        return one

    yield open_window
    problems = [problem for one in windows for problem in one.problems]
    for one in windows:
        one.context.close()
    assert problems == []
