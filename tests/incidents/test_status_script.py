"""The status page in a real browser: what is published shows without reloading."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests import make

from .test_statuspage import newsroom, say, told

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture
def page(chromium: str, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A reader in New York."""
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes that for an asynchronous view.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page: Any = browser.new_context(locale="en-US", timezone_id="America/New_York").new_page()
        page.problems = []
        page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        yield page
        browser.close()


def ask(page: Any) -> None:
    """What the page does by itself when its time has come, or the reader is online again."""
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch"):
        page.evaluate("window.dispatchEvent(new Event('online'))")


def test_news_come_without_reloading_and_take_nothing_from_the_reader(page, live_server):
    newsroom()
    incident = told(make.component("Checkout"), title="Card payments fail")
    page.goto(live_server.url)
    page.evaluate("window.stays = true")
    link = page.get_by_role("link", name="Card payments fail")
    link.wait_for()
    assert page.locator("#news").inner_text() == ""
    zones = page.locator("#zone").inner_text()
    assert "in your time zone, America/New York (Eastern Time);" in zones
    assert "inside our messages are in Europe/Rome (Central European Time)." in zones

    ask(page)  # nothing new: nothing is touched
    page.evaluate("document.querySelector('#main h1').dataset.touched = 'no'")
    ask(page)
    assert page.locator("#main h1[data-touched=no]").count() == 1

    say(incident, "identified")
    ask(page)
    page.get_by_text("Identified").first.wait_for()
    assert "EST" in page.locator("#main time").first.inner_text()  # in the reader's own zone, as before
    assert page.locator("#news").inner_text().startswith("This page was updated.")
    assert page.evaluate("window.stays") is True

    say(incident, "resolved")
    ask(page)
    page.get_by_role("heading", name="All systems operational").wait_for()
    assert page.title().startswith("All systems operational")
    assert page.locator("#main").get_attribute("data-refresh") == "60"
    assert page.problems == []


def test_what_is_being_read_stays_where_it_is(page, live_server):
    newsroom()
    incident = told(make.component("Checkout"), title="Card payments fail")
    for n in range(12):
        make.component(f"Service {n}", "More")
    page.set_viewport_size({"width": 390, "height": 500})
    page.goto(live_server.url)
    link = page.get_by_role("link", name="All past incidents")
    link.focus()
    link.scroll_into_view_if_needed()
    before = link.bounding_box()["y"]

    say(incident, "identified")
    ask(page)
    page.get_by_text("Identified").first.wait_for(state="attached")
    assert abs(link.bounding_box()["y"] - before) < 2
    assert page.evaluate("document.activeElement.textContent") == "All past incidents"


def test_the_reader_keeps_the_page_while_we_are_away(page, live_server):
    newsroom()
    told(make.component("Checkout"), title="Card payments fail")
    page.goto(live_server.url)
    page.route("**/*", lambda route: route.fulfill(status=503, body="<h1>Down</h1>"))
    ask(page)
    assert page.get_by_role("link", name="Card payments fail").is_visible()


def test_the_policy_lets_structured_data_be_and_no_word_runs(page, live_server):
    newsroom()
    title = "Pay</script><script>window.owned = 1</script><!-- & è"
    incident = told(make.component("Checkout"), title=title, state="operational")
    page.add_init_script(
        "window.refused = []; "
        "addEventListener('securitypolicyviolation', (event) => window.refused.push(event.violatedDirective))"
    )
    for address in ("/", f"/incidents/{incident.uid}/"):
        answer = page.goto(live_server.url + address)
        assert "script-src" in answer.headers["content-security-policy"]
        data = page.evaluate("JSON.parse(document.querySelector('script[type=\"application/ld+json\"]').textContent)")
        assert title in (data.get("headline") or data["description"])
        assert page.evaluate("window.owned") is None
        assert page.evaluate("window.refused") == []
    page.evaluate("document.head.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))")
    assert page.evaluate("window.refused") == ["script-src-elem"]  # the policy does refuse what is a script


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Europe/Rome"])
def test_where_clocks_show_the_same_nothing_is_written_anew(page, live_server, zone):
    newsroom()
    told(make.component("Checkout"), title="Card payments fail")
    there = page.context.browser.new_context(timezone_id=zone).new_page()
    there.goto(live_server.url)
    there.get_by_role("link", name="Card payments fail").wait_for()
    assert there.locator("#zone").inner_text() == "Time zone: Europe/Rome"
    shown = there.locator("#main time").all_inner_texts()
    assert shown
    assert all(text.endswith(("CET", "CEST")) for text in shown)
