"""The coverage page before axe-core and on a phone, with something of everything on it."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from channels.models import Channel
from incidents import coverage, library
from incidents.models import MessageTemplate, PlanStage
from tests import make

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Of the page itself: the theme's frame around it is the same on every page.
OURS = ".cp"


@pytest.fixture
def browser(chromium: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes that for an asynchronous view.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def world() -> str:
    """Two plans with holes of many kinds, and things to look at; a session's key of somebody who may read them."""
    for entry in library.entries()[:4]:
        library.load(entry)
    channels = [make.channel(name="Letters"), make.channel("outbox_sms", "Texts"), make.channel("outbox_post", "Posts")]
    make.recipients(2, make.component("Checkout"))
    anna = make.communications_manager()
    one = make.plan(*channels, people=[("communications_manager", anna)])
    PlanStage.objects.create(plan=one, stage="identified", locales=["en"])
    make.plan(*channels, severities=["sev1"])
    MessageTemplate.objects.filter(stage="monitoring").delete()
    MessageTemplate.objects.filter(locale="en").update(updated_at=timezone.now() - timedelta(days=999))
    Channel.objects.filter(name="Posts").update(paused_at=timezone.now())
    return make.client(anna).cookies[settings.SESSION_COOKIE_NAME].value


@pytest.mark.parametrize(("language", "width"), [("en-GB", 1440), ("it-IT", 360)])
def test_the_page_has_no_finding_and_fits(browser, live_server, settings, language, width):
    from axe_playwright_python.sync_playwright import Axe

    settings.PORTAL_DEMO = True  # or its local outbox is a hole by itself
    session = world()
    assert {"hole", "warning", "ready"} == {cell.state for one in coverage.check().plans for cell in one.cells}
    axe, found = Axe(), {}
    context = browser.new_context(locale=language, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    page = context.new_page()
    for path in (reverse("admin:incidents_communicationplan_coverage"), reverse("admin:index")):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # which the theme looks at once, when the page opens
            page.goto(live_server.url + path)
            page.wait_for_selector(OURS)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            for one in axe.run(page, context=OURS, options={"runOnly": RULES}).response["violations"]:
                found.setdefault(f"{path} {scheme}", []).append((one["id"], [n["html"][:200] for n in one["nodes"]]))
    assert found == {}
