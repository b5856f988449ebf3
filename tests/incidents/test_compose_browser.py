"""The compose page in a real browser: nothing typed is lost."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from incidents import declaring
from incidents.models import IncidentUpdate, Rendition
from tests import make
from tests.pictures import file

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture
def window(chromium: str, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Any]]:
    """A browser page of a person who is logged in."""
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes that for an asynchronous view.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)

        def open_page(user: Any) -> Any:
            client = Client()
            client.force_login(user)
            context = browser.new_context(locale="en-GB")
            cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
            page = context.new_page()
            page.on("dialog", lambda dialog: dialog.accept())
            return page

        yield open_page
        browser.close()


def issue(update: IncidentUpdate) -> str:
    return Rendition.objects.get(update=update, locale="en").issue


def saved(page: Any) -> None:
    page.wait_for_function("document.getElementById('cp-saved').textContent.startsWith('Saved')")


def test_it_saves_by_itself_shows_a_conflict_and_brings_back_what_was_not_saved(window, live_server):
    make.plan(make.channel())
    anna = make.incident_manager(username="anna")
    update = make.incident(anna, make.component("Checkout")).updates.get()
    page = window(anna)
    page.goto(live_server.url + reverse("admin:incidents_incidentupdate_compose", args=[update.pk]))

    page.fill("#cp-en-issue", "Nobody can pay.")
    saved(page)
    assert issue(update) == "Nobody can pay."
    page.frame_locator("iframe").first.get_by_text("Nobody can pay.").first.wait_for(state="attached")

    update.refresh_from_db()
    update.edit(make.incident_manager(username="bruno"), update.version, words={"en": {"issue": "Bruno was here."}})
    page.fill("#cp-en-issue", "Anna goes on.")
    page.wait_for_selector("#cp-refusal .cp-note")
    assert "bruno changed this update at" in page.inner_text("#cp-refusal")
    assert page.input_value("#cp-en-issue") == "Anna goes on."
    assert issue(update) == "Bruno was here."
    with page.expect_navigation():
        page.click(".cp-bar-bottom button[value=save]")
    assert issue(update) == "Anna goes on."

    page.context.set_offline(True)
    page.fill("#cp-en-issue", "Typed in a tunnel.")
    page.wait_for_function("document.getElementById('cp-saved').textContent.includes('no connection')")
    page.context.set_offline(False)
    page.reload()
    page.click("[data-restore]")
    saved(page)
    assert issue(update) == "Typed in a tunnel."

    page.focus("#cp-en-issue")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/review/")
    update.refresh_from_db()
    assert update.status == "in_review"


def test_a_button_pressed_while_it_saves_by_itself_is_no_conflict(window, live_server):
    make.plan(make.channel())
    anna = make.incident_manager(username="anna")
    update = make.incident(anna, make.component("Checkout")).updates.get()
    page = window(anna)
    page.goto(live_server.url + reverse("admin:incidents_incidentupdate_compose", args=[update.pk]))

    def pressed_before_the_answer(route: Any) -> None:
        if route.request.headers.get("x-requested-with") != "autosave":
            return route.continue_()
        answer = route.fetch()  # the server has saved; the page does not know it yet
        page.fill("#cp-en-issue", "Nobody can pay by card.")
        page.click("#cp-submit", no_wait_after=True)
        return route.fulfill(response=answer)

    page.route("**/compose/", pressed_before_the_answer)
    page.fill("#cp-en-issue", "Nobody can pay.")
    page.wait_for_url("**/review/")
    update.refresh_from_db()
    assert (update.status, issue(update)) == ("in_review", "Nobody can pay by card.")


def test_on_a_phone_the_choice_of_a_scenario_is_in_sight(window, live_server):
    make.plan(make.channel())
    make.scenario("payments")
    anna = make.incident_manager(username="anna")
    component = make.component("Checkout")
    update = declaring.declare(anna, "Checkout fails", {component: "partial_outage"}, "sev2").updates.get()
    page = window(anna)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(live_server.url + reverse("admin:incidents_incidentupdate_compose", args=[update.pk]))
    page.wait_for_load_state("networkidle")
    assert page.is_visible("#cp-scenario")
    page.select_option("#cp-scenario", label="Payments")
    page.click("text=Use the words prepared for it")
    page.wait_for_load_state("networkidle")
    assert page.input_value("#cp-en-impact") == make.WORDS["impact"]


def test_a_picture_takes_along_what_was_typed_a_moment_before(window, live_server):
    make.plan(make.channel(), make.channel("outbox_post"))
    anna = make.incident_manager(username="anna")
    update = make.incident(anna, make.component("Checkout")).updates.get()
    page = window(anna)
    page.goto(live_server.url + reverse("admin:incidents_incidentupdate_compose", args=[update.pk]))
    page.fill("#cp-en-issue", "Nobody can pay.")
    saved(page)  # and with that the version of the page is not the one it came with

    page.click("#cp-picture-card summary")
    chosen = {"name": "map.png", "mimeType": "image/png", "buffer": file()}
    page.set_input_files("#cp-picture-file", chosen)
    page.fill("#cp-en-picture", "A map: Milan is red.")
    page.fill("#cp-it-picture", "Una mappa: Milano è rossa.")
    page.fill("#cp-en-issue", "Nobody in Milan can pay.")
    page.click("text=Save the picture")
    page.get_by_text("The picture is saved.").wait_for()
    assert issue(update) == "Nobody in Milan can pay."
    assert page.input_value("#cp-en-issue") == "Nobody in Milan can pay."
    assert not page.is_visible("#cp-restore")
    update.refresh_from_db()
    assert update.picture.alt["en"] == "A map: Milan is red."
    page.wait_for_function("document.querySelector('.cp-thumbnail').naturalWidth === 64")

    page.click("label:has(#cp-show-post)")
    assert page.is_visible("[data-show=post] img[alt='A map: Milan is red.']")
    page.fill("#cp-en-picture", "A map: Milan and Turin are red.")  # of the other form: nothing to save by itself
    assert page.inner_text("#cp-saved") == ""
