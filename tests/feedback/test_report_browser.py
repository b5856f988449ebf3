"""The reports in a real browser: no column of figures is out of sight without a way to it."""

import os
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from feedback import reviewing
from incidents import roles
from tests import make
from tests.feedback.test_reports import an_incident, an_update

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once, pytest.mark.usefixtures("unguarded")]


def test_all_columns_fit_beside_the_menu_of_a_small_laptop_and_a_phone_reaches_them_by_keys(
    chromium: str, live_server: Any, monkeypatch: pytest.MonkeyPatch
):
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes that for an asynchronous view.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    start = timezone.now() - timedelta(hours=30)
    times = {"started_at": start, "published_at": start, "severity": "sev1"}
    plan = make.plan(make.channel(name="Text messages to everybody who asked for them"))
    make.recipients(1)
    make.published(make.incident().updates.get())
    make.deliver()
    one = an_incident(plan, start, title="Signing in to the merchant dashboard fails at times", **times)
    an_update(one, 1, start + timedelta(minutes=77))
    cookie = make.client(make.user(roles.MANAGERS, roles.ALL_COMPONENTS)).cookies[settings.SESSION_COOKIE_NAME].value
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1366, "height": 768}, locale="en-GB")
        page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        page.goto(f"{live_server.url}/admin/feedback/report/?period=all")
        table = page.get_by_role("region", name="Incidents")
        hidden = "wrap => wrap.scrollWidth - wrap.clientWidth"
        assert table.evaluate(hidden) == 0
        page.set_viewport_size({"width": 390, "height": 844})
        assert table.evaluate(hidden) > 0
        channels = page.get_by_role("region", name="Reach by channel")
        assert channels.evaluate(hidden) == 0
        assert channels.get_by_role("row").nth(1).get_by_role("cell").all_inner_texts() == [
            "1",
            "1",
            "0",
            "0",
            "0",
            "100 %",
        ]
        table.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('.cp-incidents').parentElement.scrollLeft > 0")
        browser.close()


def test_on_paper_there_is_the_report_and_nothing_else(
    chromium: str, live_server: Any, monkeypatch: pytest.MonkeyPatch
):
    from playwright.sync_api import sync_playwright

    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    start = timezone.now() - timedelta(hours=30)
    times = {"started_at": start, "published_at": start, "resolved_at": start + timedelta(hours=2)}
    one = an_incident(make.plan(make.channel()), start, title="Signing in fails", stage="resolved", **times)
    an_update(one, 1, start + timedelta(minutes=7))
    author = make.communications_manager()
    review = reviewing.start(one, author, "en")
    review.finish(author, review.version)
    cookie = make.client(author).cookies[settings.SESSION_COOKIE_NAME].value
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        # A dark screen: paper is white all the same.
        page = browser.new_page(viewport={"width": 680, "height": 960}, locale="en-GB", color_scheme="dark")
        page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        for path, said in (
            ("?period=all", "1 incident"),
            (f"{one.pk}/", "First update"),
            (f"{one.pk}/review/", "told"),
        ):
            page.emulate_media(media="screen")
            page.goto(f"{live_server.url}/admin/feedback/report/{path}")
            assert page.locator("[data-print]").is_visible()
            page.emulate_media(media="print")
            assert page.get_by_text(said).first.is_visible()
            for hidden in ("#nav-sidebar", "[data-print]", ".cp-btn", ".cp-report-form", "form"):
                assert not any(part.is_visible() for part in page.locator(hidden).all()), hidden
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            assert (
                page.evaluate("getComputedStyle(document.querySelector('.cp-h1, .cp-sentence')).color")
                == "rgb(0, 0, 0)"
            )
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            # What is folded away on the screen is unfolded for the paper, and folded again afterwards.
            page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
            assert page.locator(".cp-report details:not(.cp-no-print):not([open])").count() == 0
            page.evaluate("window.dispatchEvent(new Event('afterprint'))")
            assert page.locator(".cp-report details[open]").count() == 0
        browser.close()
