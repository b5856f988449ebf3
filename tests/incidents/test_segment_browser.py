"""The segment editor in a real browser: values are offered, and counts do not pile up."""

from typing import Any

import pytest

from incidents.models import AudienceSegment
from tests import make

from .test_compose_browser import window  # noqa: F401
from .test_segments import people

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
# The first count with a value gets no answer for as long as it is not given up.
FIRST_HANGS = """
    window.counts = [];
    const really = window.fetch;
    window.fetch = (url, how) => {
        const counts_a_value = url.endsWith("/count/") && how.body.get("values_0");
        if (!counts_a_value || counts.push(how.signal) > 1) return really(url, how);
        return new Promise((_done, fail) => how.signal.addEventListener("abort", () => fail(how.signal.reason)));
    };
"""


def test_values_are_added_by_keyboard_and_the_latest_count_alone_is_shown(window: Any, live_server: Any) -> None:  # noqa: F811
    people({"plan": "pro"}, {"plan": "pro"}, {"plan": "basic"})
    page = window(make.communications_manager())
    page.add_init_script(FIRST_HANGS)
    page.goto(f"{live_server.url}/admin/incidents/audiencesegment/add/")
    page.fill("#id_name", "Those who pay")
    page.fill("#id_attribute_0", "plan")
    page.keyboard.press("Tab")
    page.get_by_label("Add a value that recipients have (plan)").wait_for()
    assert page.eval_on_selector_all("#known-values-0 option", "all => all.map(one => one.value)") == ["pro", "basic"]

    box = page.get_by_label("Add a value that recipients have (plan)")
    box.press_sequentially("pro")
    box.press("Enter")
    assert page.input_value("#id_values_0") == "pro"
    page.wait_for_function("counts.length === 1")
    assert not page.evaluate("counts[0].aborted")
    page.keyboard.type("basic")
    page.keyboard.press("Enter")
    page.get_by_text("3 recipients; 3 of them can be written to now").wait_for()
    assert page.evaluate("counts.map(one => one.aborted)") == [True, False]
    assert page.input_value("#id_values_0") == "pro\nbasic"
    assert not AudienceSegment.objects.exists()  # Enter in this box adds, and saves nothing
