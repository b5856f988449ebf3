"""A real `./run demo` with data of its own, and real Chromium windows that tolerate no error."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.demo import Demo, copy

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


@pytest.fixture(scope="session")
def demo(first_demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo that is up; it is stopped as Ctrl-C would."""
    running = Demo(copy(first_demo, tmp_path_factory.mktemp("walk")))
    try:
        running.until_ready()
        yield running.address
    finally:
        running.stop()


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
