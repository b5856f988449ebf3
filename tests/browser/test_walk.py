"""The main job, walked by hand: two logins, one incident, from the alarm to the manager's report."""

import json
import re
import time
import urllib.request
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .conftest import CHROMIUM, Window

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.timeout(240),
]


class Count:
    """Fields filled and clicks made on the way to the first message (the experience's promise: sixty seconds)."""

    fields = clicks = 0

    def pick(self, page: Page, component: str, state: str) -> None:
        self.fields += 1
        page.get_by_role("group", name=component).get_by_label(state).check()

    def click(self, page: Page, name: str) -> None:
        self.clicks += 1
        page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first.click()


def ask_and_approve(writer: Window, approver: Window, count: Count) -> None:
    """The writer asks; the approver, on another device, reads and sends."""
    count.click(writer.page, "Ask for approval")
    writer.page.wait_for_url("**/review/")
    expect(writer.page.get_by_role("button", name="Approve and send now")).to_have_count(0)
    approver.go("/admin/")
    approver.page.locator("a", has_text="Review").last.click()
    approver.page.wait_for_url("**/review/")
    count.click(approver.page, "Approve and send now")
    approver.page.wait_for_url("**/delivery/")


def read_summary(address: str) -> dict:
    with urllib.request.urlopen(f"{address}/api/v2/summary.json", timeout=10) as answer:
        return json.load(answer)


def test_the_walk(window: Callable[..., Window], demo: str, capsys) -> None:
    marta, anna = window(), window(viewport={"width": 360, "height": 740})
    count, began = Count(), time.monotonic()

    # 2. The dashboard says what is open, what waits, what is not well.
    page = marta.log_in("marta")
    expect(page.get_by_text("1 open incident")).to_be_visible()
    expect(page.get_by_text("Shop terminals answer slowly").first).to_be_visible()
    marta.shot("dashboard")

    # 3. One short form, and the draft is there.
    count.click(page, "Declare an incident")
    count.pick(page, "Card payments", "Major outage")
    count.fields += 1
    page.select_option("#id_scenario", label="Payments failing")
    marta.shot("declare")
    count.click(page, "Declare and write the first update")
    page.wait_for_url("**/compose/")
    expect(page.get_by_label("Subject").first).to_have_value("Payments failing: Card payments")

    # 4. The checker speaks and the preview follows, in each language and on each channel.
    issue = page.get_by_label("What is happening").first
    good = issue.input_value()
    issue.fill(good + " Some users see {{ componets }} latency.")
    expect(page.get_by_text("did you mean {{ components }}").locator("visible=true").first).to_be_visible()
    marta.shot("compose-checker")
    issue.fill(good + " Bank transfers work.")
    expect(page.get_by_text("did you mean {{ components }}").locator("visible=true")).to_have_count(0)
    expect(page.frame_locator("iframe").first.get_by_text("Bank transfers work.").first).to_be_attached()
    page.get_by_role("radio", name="SMS", exact=True).check(force=True)
    expect(page.get_by_text(re.compile(r"\d segments?")).locator("visible=true").first).to_be_visible()
    marta.shot("compose")

    # 5. and 6. Another person sees exactly what will be sent, approves on a phone, and watches it go.
    anna.log_in("anna")
    ask_and_approve(marta, anna, count)
    first_message = time.monotonic() - began
    expect(anna.page.get_by_text(re.compile(r"All \d+ people reached")).last).to_be_visible(timeout=60_000)
    anna.shot("delivery-phone")
    page.reload()
    marta.shot("delivery")
    marta.go("/outbox/?form=email")
    expect(
        page.get_by_text(re.compile("(Payments failing|Pagamenti non riusciti).*Card payments")).first
    ).to_be_visible()
    marta.shot("outbox")

    # 7. The status page and its API agree.
    marta.go("/")
    expect(page.get_by_role("heading", name=re.compile("Major outage"))).to_be_visible()
    expect(page.get_by_text("Bank transfers work.").first).to_be_visible()
    marta.shot("status")
    summary = read_summary(demo)
    states = {c["name"]: c["status"] for c in summary["components"]}
    assert states["Card payments"] == "major_outage"
    assert "Card payments: major outage" in {i["name"] for i in summary["incidents"]}

    # 8. Resolved: those who were told are asked, by a link that needs neither login nor JavaScript.
    marta.go("/admin/incidents/incident/")
    page.get_by_role("link", name="Card payments: major outage").first.click()
    marta.shot("incident")
    page.get_by_role("button", name="Resolve").first.click()
    page.wait_for_url("**/compose/")
    ask_and_approve(marta, anna, Count())
    expect(anna.page.get_by_text(re.compile(r"Survey invitations")).first).to_be_visible()
    link = invitation(marta)
    answer_survey(window, link)
    assert {c["name"]: c["status"] for c in read_summary(demo)["components"]}["Card payments"] == "operational"

    # 9. The manager reads how it went.
    elena = window()
    elena.log_in("elena")
    elena.go("/admin/feedback/report/")
    elena.shot("report")
    report = elena.page
    report.get_by_role("link", name="Card payments: major outage").first.click()
    expect(report.get_by_text(re.compile("clarity 5")).first).to_be_visible()
    expect(report.get_by_text("Very clear, thank you.").first).to_be_visible()
    elena.shot("report-incident")
    with capsys.disabled():
        print(
            f"\nFrom login to the approved first message: {count.fields} fields, {count.clicks} clicks, "
            f"{first_message:.0f} s in the browser test (with a detour through the checker)."
        )


def invitation(one: Window) -> str:
    """The survey link in the newest invitation, read in the outbox as a customer would."""
    for _try in range(60):
        one.go("/outbox/?form=email")
        one.page.locator("a[href*='/outbox/'] time").first.click()
        one.page.wait_for_load_state()
        if found := re.search(r"http://[^\s\"<]+/survey/[^\s\"<]+", one.page.content()):
            one.shot("outbox-survey")
            return found[0]
        one.page.wait_for_timeout(1000)
    raise AssertionError("no survey invitation arrived within a minute")


def answer_survey(window: Callable[..., Window], link: str) -> None:
    customer = window(java_script_enabled=False, viewport={"width": 360, "height": 740})
    page = customer.go(link)
    for question in ("clear", "timely", "useful"):
        page.locator(f"input[name={question}][value='5']").check(force=True)
    page.locator("textarea").fill("Very clear, thank you.")
    customer.shot("survey")
    page.locator("button[type=submit]").click()
    expect(page.get_by_text(re.compile("[Tt]hank you|Grazie")).first).to_be_visible()
    customer.go(link)
    expect(page.locator("input[type=radio]:enabled")).to_have_count(0)
    assert customer.context.cookies() == []


def test_no_page_of_the_public_sets_a_cookie_or_needs_javascript(window: Callable[..., Window]) -> None:
    reader = window(java_script_enabled=False)
    for path in ("/", "/?lang=it", "/history/", "/history.atom", "/api/v2/summary.json"):
        reader.page.request.get(reader.address + path)
        if not path.endswith(("atom", "json")):
            reader.go(path)
    assert reader.context.cookies() == []


def test_what_has_the_focus_is_never_behind_the_bar_at_the_bottom(window: Callable[..., Window]) -> None:
    phone = window(viewport={"width": 360, "height": 640})
    page = phone.log_in("marta")
    phone.go("/admin/incidents/incident/declare/")
    reached = set()
    for _tab in range(60):
        page.keyboard.press("Tab")
        name, top, bar = page.evaluate(
            """() => {
              const it = document.activeElement, bar = document.querySelector(".cp-actions-sticky");
              const inside = it === document.body || bar.contains(it);
              return [it.name || "", inside ? 0 : it.getBoundingClientRect().top, bar.getBoundingClientRect().top];
            }"""
        )
        reached.add(name)
        assert top < bar, f"{name} is behind the bar"
    assert {"scenario", "started_at", "title"} <= reached
