"""The in-app script in a real browser, on a page of another origin that allows as little as a page can."""

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from channels import counting
from channels.counting import Tally
from channels.models import Notice, NoticeCount
from tests.fakes.http import Call, FakeHttp, Reply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CARDS, LOGIN = "bcdf2345ghjk", "mnpq6789rstv"
URL = "https://status.example.com/incidents/9f3kabcd/"
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=1</script>'
# What a careless page does to everything within it.
CSS = "h1 { font-size: 31px } body * { display: none !important; color: red !important; font-size: 50px !important }"
WATCH = """
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
  window.before = new Set(["before", ...Object.getOwnPropertyNames(window)]);
"""


def noticed(name: str, *components: str, ago: int = 0, **changes: Any) -> Notice:
    facts = {"components": list(components), "stage": "identified", "impact": "major", "over": False}
    words = {"subject": f"Trouble with {name}", "text": "Card payments fail.", "url": URL, "locale": "en"}
    facts |= {key: changes.pop(key) for key in facts.keys() & changes.keys()}
    words |= {"key": f"{name}-{Notice.objects.count()}", "thread": f"incident-{name}"} | changes
    return Notice.objects.create(facts=facts, at=timezone.now() - timedelta(seconds=ago), **words)


@pytest.fixture
def product(live_server: Any) -> Iterator[Callable[..., str]]:
    """A customer's product on a server of its own: `product(attributes, html=…)` is the address of a page of it."""
    pages: dict[str, bytes] = {}

    def answer(call: Call) -> Reply:
        if call.path == "/host.css":
            return Reply(body=CSS.encode(), headers={"Content-Type": "text/css"})
        policy = (
            f"default-src 'none'; script-src {live_server.url}; connect-src {live_server.url}; style-src 'self'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy,
            "Cross-Origin-Embedder-Policy": "require-corp",
        }
        return Reply(body=pages.get(call.path, b""), headers=headers)

    def page(attributes: str = "", html: str = 'lang="en"', css: bool = False) -> str:
        sheet = '<link rel="stylesheet" href="/host.css">' if css else ""
        script = f"<script src='{live_server.url}/in-app.js' {attributes} defer></script>"
        body = f"<h1>Shop</h1><button>Buy</button>{script}"
        viewport = '<meta name="viewport" content="width=device-width">'
        head = f"<head>{viewport}{sheet}</head>"
        pages["/shop"] = f"<!doctype html><html {html}>{head}<body>{body}</body></html>".encode()
        return f"{server.url}/shop"

    server = FakeHttp(answer)
    yield page
    server.close()


@pytest.fixture
def reader(chromium: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Open windows; at the end none of them may have met an error or a violation of the page's policy."""
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes that for an asynchronous view.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr(counting, "tally", Tally())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        windows = []

        def open_window(init: str = "", **options: Any) -> Any:
            context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, **options})
            context.set_default_timeout(10_000)
            page: Any = context.new_page()
            page.problems = []
            page.on("console", lambda said: page.problems.append(said.text) if is_problem(said) else None)
            page.on("pageerror", lambda error: page.problems.append(str(error)))
            page.add_init_script(WATCH + init)
            page.clock.install()
            windows.append(page)
            return page

        yield open_window
        found = [page.problems + page.evaluate("window.violations") for page in windows]
        browser.close()
    assert found == [[] for _page in found]


def is_problem(said: Any) -> bool:
    """An error, but for the line that the browser itself writes of an answer which a test made fail."""
    return said.type == "error" and "status of 503" not in said.text


def until_told(page: Any, act: Callable[[], Any]) -> None:
    """Do something that is counted, and wait until it is."""
    with page.expect_response(lambda answer: "/in-app/seen" in answer.url):
        act()


def until_asked(page: Any, act: Callable[[], Any]) -> None:
    """Do something after which the script asks for news, and wait for the answer."""
    with page.expect_response(lambda answer: "/api/in-app.json" in answer.url):
        act()


def later(page: Any) -> None:
    until_asked(page, lambda: page.clock.fast_forward(75_000))


def shot(page: Any, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"in-app-{name}.png"))


def counts() -> dict[tuple[str, str], int]:
    counting.tally.write()
    rows = NoticeCount.objects.values_list("notice__thread", "event", "count")
    return {(thread, event): count for thread, event, count in rows}


def banner(page: Any) -> Any:
    return page.get_by_role("region", name="Service notices").get_by_role("status")


def test_a_notice_is_shown_closed_and_remembered_on_a_page_that_allows_nothing_else(reader, product):
    noticed("cards", CARDS, subject=HOSTILE, text=HOSTILE, url="javascript:document.title=1")
    page = reader()
    until_told(page, lambda: page.goto(product(f'data-components="{CARDS}"')))
    banner(page).get_by_text(HOSTILE).first.wait_for()
    assert page.locator("commsportal-notices a").count() == 1
    assert page.locator("commsportal-notices a").get_attribute("href") is None
    assert page.locator("commsportal-notices img").count() == 0

    until_told(page, page.get_by_role("button", name="Close").click)
    bell = page.get_by_role("button", name="Service notices", exact=True)  # nothing unread
    bell.wait_for()
    assert banner(page).inner_text() == ""
    assert page.evaluate("document.activeElement.shadowRoot.activeElement.className") == "bell"

    until_asked(page, page.reload)
    bell.wait_for()
    assert banner(page).inner_text() == ""
    assert page.title() == ""
    assert page.context.cookies() == []
    names = "Object.getOwnPropertyNames(window).filter((one) => !before.has(one) && one !== '__pwClock')"
    assert page.evaluate(names) == []
    assert list(page.evaluate("({ ...localStorage })")) == ["commsportal-notices"]
    assert counts() == {("incident-cards", "shown"): 1, ("incident-cards", "dismissed"): 1}


def test_the_drawer_is_worked_by_keyboard(reader, product):
    noticed("cards", CARDS, ago=60, text=f"Card payments fail. Next update by 15:00 CET. {URL}")
    noticed("login", LOGIN, subject="Login works again", stage="resolved", over=True)
    page = reader(timezone_id="America/New_York")
    page.goto(product('data-banner="off"'))
    bell = page.get_by_role("button", name="Service notices, 2 unread")
    bell.wait_for()
    assert banner(page).inner_text() == ""
    page.keyboard.press("Tab")  # Buy
    page.keyboard.press("Tab")
    until_told(page, lambda: page.keyboard.press("Enter"))
    drawer = page.get_by_role("dialog", name="Service notices")
    drawer.wait_for()
    assert drawer.get_by_role("heading", level=3).all_inner_texts() == ["Login works again", "Trouble with cards"]
    assert "Over" in drawer.get_by_role("listitem").first.inner_text()
    assert drawer.get_by_role("link").first.get_attribute("href") == URL
    last = drawer.get_by_role("listitem").last.inner_text()
    assert "Next update by 15:00 CET." in last
    assert URL not in last  # it is behind the link
    assert re.search(r"\d (AM|PM) E[DS]T", last)
    inside = "Boolean(document.querySelector('commsportal-notices').shadowRoot.activeElement?.closest('dialog'))"
    for _n in range(8):
        page.keyboard.press("Tab")
        # Past its last link the browser's own controls are reached, but nothing of the page.
        assert page.evaluate(f"{inside} || document.activeElement === document.body")
    shot(page, "drawer")
    page.keyboard.press("Escape")
    drawer.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.shadowRoot.activeElement.className") == "bell"
    page.get_by_role("button", name="Service notices", exact=True).wait_for()  # all read

    page.evaluate("document.dispatchEvent(new Event('commsportal:open'))")
    drawer.wait_for()
    assert counts() == {("incident-cards", "shown"): 1, ("incident-login", "shown"): 1}


def test_news_come_by_themselves_and_an_incident_that_is_over_turns_green(reader, product):
    noticed("cards", CARDS, ago=60)
    page = reader()
    until_asked(page, lambda: page.goto(product(f'data-components="{CARDS}"')))
    banner(page).get_by_text("Trouble with cards").wait_for()
    noticed("login", LOGIN)  # not a component of this product
    noticed("cards", CARDS, subject="Cards work again", stage="resolved", over=True)
    later(page)
    banner(page).get_by_text("Cards work again").wait_for()
    assert page.locator("commsportal-notices section.over").count() == 1
    assert page.get_by_text("Trouble").count() == 0
    until_asked(page, page.reload)  # who comes now has nothing to be told
    page.get_by_role("button", name="Service notices").wait_for()
    assert banner(page).inner_text() == ""


def test_quiet_when_there_is_nothing_to_say(reader, product):
    page = reader()
    until_asked(page, lambda: page.goto(product()))
    page.evaluate("null")
    assert page.locator("commsportal-notices").count() == 0
    noticed("cards", CARDS)
    later(page)
    banner(page).get_by_text("Trouble with cards").wait_for()


def test_neither_spoils_the_other_s_looks(reader, product):
    noticed("cards", CARDS)
    page = reader()
    page.goto(product(css=True))
    banner(page).get_by_text("Trouble with cards").wait_for()
    style = "(one) => { const found = getComputedStyle(one); return [found.color, found.fontSize, found.display] }"
    assert page.locator("commsportal-notices strong").evaluate(style) == ["rgb(23, 32, 42)", "16px", "block"]
    assert page.locator("h1").evaluate(style) == ["rgb(255, 0, 0)", "50px", "none"]
    assert page.evaluate("document.adoptedStyleSheets.length + document.styleSheets.length") == 1


def test_it_works_where_nothing_can_be_remembered(reader, product):
    noticed("cards", CARDS)
    page = reader("Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('blocked') } });")
    page.goto(product())
    banner(page).get_by_text("Trouble with cards").wait_for()
    page.get_by_role("button", name="Close").click()
    later(page)
    assert banner(page).inner_text() == ""


@pytest.mark.parametrize("kept", ["7", "null", "[1]", '"x"', "{", '{"cards-0": "x", "__proto__": 4}'])
def test_what_another_script_left_in_its_place_does_no_harm(reader, product, kept):
    noticed("cards", CARDS)
    page = reader(f"localStorage.setItem('commsportal-notices', {json.dumps(kept)});")
    page.goto(product())
    banner(page).get_by_text("Trouble with cards").wait_for()


def test_a_hidden_tab_asks_for_nothing(reader, product):
    noticed("cards", CARDS)
    page = reader("window.away = true; Object.defineProperty(document, 'hidden', { get: () => away });")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    page.goto(product())
    page.clock.fast_forward(600_000)
    page.evaluate("null")
    assert asked == []
    page.evaluate("before.add('away'); window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    banner(page).get_by_text("Trouble with cards").wait_for()
    assert len(asked) == 1


def test_while_there_is_no_answer_it_asks_less_and_less_and_says_nothing(reader, product):
    page = reader()
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.route("**/api/in-app.json*", lambda route: route.fulfill(status=503, body="<h1>Down</h1>"))
    until_asked(page, lambda: page.goto(product('data-interval="1"')))  # taken for 30
    for seconds in (73, 145, 289):  # twice as long each time, and up to a fifth more
        page.evaluate("null")
        page.clock.fast_forward((seconds - 2) * 1000 // 2)
        until_asked(page, lambda seconds=seconds: page.clock.fast_forward(seconds * 1000))
    assert errors == []


def test_included_twice_it_is_there_once(reader, product, live_server):
    noticed("cards", CARDS)
    page = reader()
    page.goto(product(f"></script><script src='{live_server.url}/in-app.js'"))
    banner(page).get_by_text("Trouble with cards").wait_for()
    assert page.locator("commsportal-notices").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_italian_and_in_a_page_from_right_to_left(reader, product, scheme):
    text = "Fiumara Pay: i pagamenti con carta non riescono. Prossimo aggiornamento alle 15:00. " * 3
    words = {"locale": "it", "text": text + "x" * 200}
    noticed("carte", CARDS, subject="Pagamenti con carta: interruzione parziale", impact="critical", **words)
    page = reader(viewport={"width": 360, "height": 740}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(product('data-lang="it-CH" data-position="bottom"', html='lang="ar" dir="rtl"'))
    region = page.get_by_role("region", name="Avvisi sul servizio")
    region.get_by_text("interruzione parziale").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for one in (region, page.get_by_role("button", name="Avvisi sul servizio, 1 da leggere")):
        box = one.bounding_box()
        assert 0 <= box["x"] <= 360 - box["width"]
    assert box["x"] < 100  # the bell stands where a line ends
    assert region.evaluate("(one) => getComputedStyle(one).animationName") == "none"
    dark = region.evaluate("(one) => getComputedStyle(one).backgroundColor") == "rgb(27, 34, 41)"
    assert dark == (scheme == "dark")
    shot(page, f"phone-{scheme}")
    page.get_by_role("button", name="Avvisi sul servizio").click()
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shot(page, f"phone-drawer-{scheme}")


def test_axe_finds_nothing(reader, product):
    from axe_playwright_python.sync_playwright import Axe

    noticed("cards", CARDS)
    noticed("login", LOGIN, ago=60, subject="Login works again", over=True)
    page = reader()
    page.emulate_media(reduced_motion="reduce")
    page.goto(product())
    banner(page).get_by_text("Trouble with cards").wait_for()
    shot(page, "banner")
    only = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    for act in (lambda: None, lambda: page.get_by_role("button", name="Service notices").click()):
        act()
        found = Axe().run(page, context="commsportal-notices", options=only).response["violations"]
        assert [(one["id"], one["nodes"]) for one in found] == []
