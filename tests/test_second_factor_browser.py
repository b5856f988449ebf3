"""Passkeys in a real browser, with its virtual authenticator; and how the pages look to axe-core and on a phone."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings

from commsportal import second_factor
from tests import make
from tests.test_second_factor import OWN, STEP, sure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
KEY = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def browser(chromium: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes that for an asynchronous view.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def log_in(page: Any, url: str, who: str) -> None:
    page.goto(url + "/admin/login/")
    page.fill("#id_username", who)
    page.fill("#id_password", "pw")
    page.click("#login-form button[type=submit]")


def test_a_passkey_is_made_and_opens_the_login(browser, live_server):
    anna = make.communications_manager(username="anna")
    url = live_server.url
    assert "localhost" in url
    page = browser.new_context(locale="en-GB").new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    tool = page.context.new_cdp_session(page)
    tool.send("WebAuthn.enable")
    key = tool.send("WebAuthn.addVirtualAuthenticator", {"options": KEY})["authenticatorId"]

    log_in(page, url, "anna")
    page.wait_for_url(url + "/admin/")
    page.goto(url + OWN)
    page.click("text=Add a passkey")
    page.fill("#id_name", "Anna’s laptop")
    page.click("#passkey-add")
    page.wait_for_url(url + OWN + "codes/")
    assert page.locator(".cp-mono li").count() == 10
    [made] = tool.send("WebAuthn.getCredentials", {"authenticatorId": key})["credentials"]
    assert made["rpId"] == "localhost"
    [kept] = second_factor.of(anna)
    assert second_factor.name(kept) == "passkey “Anna’s laptop”"

    page.context.clear_cookies()
    log_in(page, url, "anna")
    page.wait_for_url(url + STEP)
    page.goto(url + "/admin/")
    page.wait_for_url(url + "/admin/login/**")  # the password alone opens nothing
    log_in(page, url, "anna")
    page.wait_for_url(url + STEP)
    page.click("#passkey-use")
    page.wait_for_url(url + "/admin/")
    assert Authenticator.objects.get(pk=kept.pk).last_used_at
    assert problems == []

    page.context.clear_cookies()
    tool.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key})
    tool.send("WebAuthn.addVirtualAuthenticator", {"options": KEY})  # another device, which knows nothing
    log_in(page, url, "anna")
    page.wait_for_url(url + STEP)
    page.click("#passkey-use")
    page.wait_for_selector("#passkey-error:visible")
    page.goto(url + "/admin/")
    page.wait_for_url(url + "/admin/login/**")


@pytest.mark.parametrize(("language", "width"), [("en-GB", 1440), ("it-IT", 360)])
def test_the_pages_have_no_finding_and_fit(browser, live_server, language, width):
    from axe_playwright_python.sync_playwright import Axe

    from tests.test_second_factor import REGISTERED

    anna = make.communications_manager(username="anna")
    make.factor(anna)
    Authenticator.objects.create(user=anna, type="webauthn", data={"name": "Anna’s laptop", "credential": REGISTERED})
    session = sure(anna).cookies[settings.SESSION_COOKIE_NAME].value
    fresh = sure(make.communications_manager()).cookies[settings.SESSION_COOKIE_NAME].value
    axe, found = Axe(), {}
    own = f"{OWN}{second_factor.of(anna)[0].pk}/remove/"
    looks = [(session, OWN), (session, own), (session, OWN + "codes/"), (session, OWN + "confirm/")]
    looks += [(fresh, OWN), (fresh, OWN + "app/"), (fresh, OWN + "passkey/")]
    for key, path in [*looks, ("", STEP)]:
        context = browser.new_context(
            locale=language, viewport={"width": width, "height": 800}, reduced_motion="reduce"
        )
        if key:
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": live_server.url}])
        page = context.new_page()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            if key:
                page.goto(live_server.url + path)
            else:
                log_in(page, live_server.url, "anna")
            where, seen = (".cp", f"{path} {scheme}") if key else ("#page", f"{path} {scheme}")
            page.wait_for_selector(where)
            assert page.url.endswith(path), (page.url, path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), seen
            for one in axe.run(page, context=where, options={"runOnly": RULES}).response["violations"]:
                found.setdefault(seen, []).append((one["id"], [n["html"][:200] for n in one["nodes"]]))
        context.close()
    assert found == {}
