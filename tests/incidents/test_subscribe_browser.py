"""Subscribing in a real browser: the whole way without JavaScript, and the button that needs it."""

import json
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from channels import mailbox
from channels.models import Recipient
from incidents import tasks
from incidents.models import SubscriptionRequest
from tests import make
from tests.fakes.browser import Browser

from .test_subscribe_pages import ENDPOINT, push_channel, stamp

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
# The one foreign part: a push service, which is not on the loopback. Everything else is the browser's own.
SERVICE = """
Notification.requestPermission = async () => "%s";
PushManager.prototype.subscribe = async (options) => {
  window.askedWith = [...new Uint8Array(options.applicationServerKey)].length;
  return { toJSON: () => (%s) };
};
"""


@pytest.fixture
def browser(chromium: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes that for an asynchronous view.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def aged(page: Any) -> None:
    """As if the person had taken a minute to fill in the form."""
    page.locator("[name=stamp]").evaluate("(field, stamp) => { field.value = stamp; }", stamp())


def test_the_whole_way_without_javascript(browser, live_server, settings):
    settings.PORTAL_URL = live_server.url
    make.channel()
    make.component("Checkout", "Shop")
    make.component("Ledger", "Bank")
    context = browser.new_context(java_script_enabled=False, locale="it-IT", viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(f"{live_server.url}/")
    page.get_by_role("link", name="Iscriviti").click()
    assert not page.get_by_label("Shop: tutto").is_visible()
    page.get_by_label("Il tuo indirizzo email").fill("lucia@example.com")
    page.get_by_label("Solo quello che scelgo qui").check()
    page.get_by_label("Shop: tutto").check()
    with time_machine.travel(timezone.now() + timedelta(seconds=5)):
        page.get_by_role("button", name="Iscriviti").click()
    page.get_by_text("il link di conferma è in arrivo").wait_for()
    tasks.sweep_requests()
    [letter] = mailbox.letters("", "", 0, 5)
    page.goto(re.search(r"http\S+/subscribe/confirm/\S+/", letter.text)[0])
    page.get_by_role("button", name="Conferma").click()
    page.get_by_text("Confermato: l’iscrizione è attiva.").wait_for()
    assert page.get_by_label("Shop: tutto").is_checked()
    page.get_by_label("Incidenti", exact=True).select_option("Solo incidenti critici")
    page.get_by_role("button", name="Salva").click()
    page.get_by_text("Salvato.").wait_for()
    subscription = Recipient.objects.get().subscriptions.get()
    assert (subscription.group.name, subscription.least_severity) == ("Shop", "sev1")
    assert context.cookies() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_browser_subscribes_by_a_button(browser, live_server):
    push_channel()
    keys = Browser().keys
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.add_init_script(SERVICE % ("granted", json.dumps({"endpoint": ENDPOINT, "keys": keys})))
    page.goto(f"{live_server.url}/subscribe/")
    aged(page)
    page.get_by_label("Only what I choose here").check()
    page.get_by_role("button", name="Notify me in this browser").click()
    page.get_by_text("Nothing is chosen").wait_for()
    assert page.evaluate("window.askedWith") == 65
    page.get_by_label("Everything").check()
    page.get_by_role("button", name="Notify me in this browser").click()
    page.get_by_text("a link is on its way").wait_for()
    one = SubscriptionRequest.objects.get()
    assert (one.medium, one.address, one.wanted["keys"]) == ("webpush", ENDPOINT, keys)
    assert [one for one in problems if "422" not in one] == []


def test_a_reader_who_refuses_is_told_what_to_do(browser, live_server):
    push_channel()
    page = browser.new_page()
    page.add_init_script(SERVICE % ("denied", "{}"))
    page.goto(f"{live_server.url}/subscribe/")
    page.get_by_role("button", name="Notify me in this browser").click()
    page.get_by_text("does not allow notifications").wait_for()
    assert not SubscriptionRequest.objects.exists()


def test_the_worker_shows_what_was_pushed(browser, live_server):
    """What the provider encrypts, as the browser hands it to the script."""
    push_channel()
    context = browser.new_context()
    context.grant_permissions(["notifications"], origin=live_server.url)
    page = context.new_page()
    versions: list[dict] = []
    session = context.new_cdp_session(page)
    session.on("ServiceWorker.workerRegistrationUpdated", lambda event: versions.extend(event["registrations"]))
    session.send("ServiceWorker.enable")
    page.goto(f"{live_server.url}/subscribe/")
    page.evaluate("navigator.serviceWorker.register('/push-worker.js').then(() => navigator.serviceWorker.ready)")
    said = {
        "title": "Checkout: outage",
        "body": "We look into it.",
        "url": f"{live_server.url}/",
        "tag": "t",
        "lang": "en",
    }
    session.send(
        "ServiceWorker.deliverPushMessage",
        {"origin": live_server.url, "registrationId": versions[-1]["registrationId"], "data": json.dumps(said)},
    )
    shown = page.evaluate(
        """async () => {
            const registration = await navigator.serviceWorker.ready;
            for (;;) {
                const found = await registration.getNotifications();
                if (found.length) return found.map((one) => [one.title, one.body, one.tag, one.lang, one.data]);
                await new Promise((done) => setTimeout(done, 20));
            }
        }"""
    )
    assert shown == [["Checkout: outage", "We look into it.", "t", "en", f"{live_server.url}/"]]
