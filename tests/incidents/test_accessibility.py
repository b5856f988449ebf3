"""Every public page before axe-core: in both languages and both colour schemes, WCAG 2.2 AA and axe's own advice."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from channels import own_secrets
from channels.links import manage_url, unsubscribe_url
from channels.models import Recipient
from incidents import library, planning, subscribing
from incidents.models import Component, Incident, StatusPage
from incidents.statuspage import views
from tests import make

from .test_archive import long_ago
from .test_statuspage import newsroom, say, told

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture
def browser(chromium: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes that for an asynchronous view.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def upkeep() -> list[Incident]:
    """Maintenance that was moved and is ahead, that is in progress, and that was cancelled."""
    library.load(next(entry for entry in library.entries() if entry.maintenance))
    author, start, hour = make.incident_manager(), timezone.now() + timedelta(days=2), timedelta(hours=1)
    found = []
    for title in ("Database upgrade", "New certificates", "Move to another hall"):
        found.append(planning.plan_maintenance(author, title, [make.component()], start, start + hour))
        make.published(found[-1].updates.get(stage="scheduled"))
    ahead, now, never = found
    told_anew = planning.move_maintenance(ahead, author, start + hour, start + 3 * hour)
    assert told_anew
    make.published(told_anew)
    make.published(now.updates.get(stage="in_progress"))
    cancelled = planning.cancel_maintenance(never, author, "No need.")
    assert cancelled
    make.published(cancelled)
    return found


def addresses() -> list[str]:
    """Every page that anybody may see, with something on it."""
    newsroom()
    checkout, search = make.component("Checkout"), make.component("Search", "Shop")
    make.component("Reports", "Shop")
    over = told(search, title="Search is slow")
    say(over, "identified")
    say(over, "resolved")
    now = told(checkout, title="Card payments fail")
    say(now, "identified")
    [person] = make.recipients(1, checkout)
    stop, own = unsubscribe_url(person.pk), manage_url(person.pk)
    hooks = []
    for n, signing in enumerate([own_secrets.renewed(own_secrets.begun()), {}]):
        address, at = f"https://example.com/{n}", timezone.now()
        hook = Recipient.objects.create(medium="webhook", address=address, confirmed_at=at, signing=signing)
        hooks.append(manage_url(hook.pk))
    make.channel()
    make.channel("outbox_sms")
    push = {"vapid_private_secret": "A" * 42 + "E"}
    make.channel("webpush", config={"contact_email": "ops@example.com"}, secrets=push)
    wanted = {"components": [checkout.pk], "groups": [], "least_severity": "sev4", "maintenance": True}
    asked = subscribing.ask("email", "a@example.com", wanted, "en", "Europe/Rome", ("You can stop.", "en"), "")
    confirm = subscribing.confirm_url(asked)
    private = StatusPage.objects.create(name="Acme")
    cluster = make.component("Acme cluster")
    Component.objects.filter(pk=cluster.pk).update(private=True)
    private.components.set([checkout, search, cluster])
    person.subscriptions.create(component=cluster)
    long_ago(2, 1)
    return [
        "/",
        f"/private/{private.key(None)}/",
        f"/private/{private.key(None)}/history/",
        f"/private/{private.key(None)}/subscribe/",
        f"/private/{private.key(None)}/subscribe/sent/",
        "/private/x:y:z/",
        "/private/login/",
        "/history/",
        "/history/2/",
        f"/incidents/{now.uid}/",
        f"/incidents/{over.uid}/",
        *(f"/incidents/{one.uid}/" for one in upkeep()),
        "/incidents/nowhere/",
        stop[stop.index("/unsubscribe/") :],
        "/unsubscribe/forged/",
        "/subscribe/",
        "/subscribe/sent/",
        "/subscribe/confirm/forged/",
        confirm[confirm.index("/subscribe/") :],
        *(one[one.index("/subscription/") :] for one in (own, *hooks)),
        "/survey/forged/",
    ]


@pytest.mark.parametrize(("language", "width"), [("en-GB", 1280), ("it-IT", 390)])
def test_no_page_has_a_finding(browser, live_server, language, width, monkeypatch):
    from axe_playwright_python.sync_playwright import Axe

    monkeypatch.setattr(views, "PER_PAGE", 1)  # the archive has a second page
    axe, paths = Axe(), addresses()
    found: dict[str, list[tuple[str, list[str]]]] = {}
    # In the dark only colours differ; to look at all else again would take as long again.
    looks = {"light": RULES, "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
    page = browser.new_page(locale=language, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    for path in paths:
        page.goto(live_server.url + path)
        for scheme, rules in looks.items():
            page.emulate_media(color_scheme=scheme)
            for one in axe.run(page, options={"runOnly": rules}).response["violations"]:
                found.setdefault(f"{path} {scheme}", []).append((one["id"], [n["html"][:200] for n in one["nodes"]]))
    assert found == {}
