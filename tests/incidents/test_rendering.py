import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.utils import timezone, translation

from channels.providers.base import personalise
from incidents import asking, rendering
from incidents.declaring import start_draft
from incidents.models import Incident, IncidentUpdate
from tests import make

ROME = ZoneInfo("Europe/Rome")
VALUES = {"components": "Card payments", "next_update": "14:30 CET"}


def drafted(**template: str) -> IncidentUpdate:
    """A first draft from a scenario whose English words are `template`."""
    scenario = make.scenario()
    scenario.templates.update(**dict.fromkeys(make.WORDS, ""))
    scenario.templates.filter(locale="en").update(**template)
    make.plan(make.channel())
    incident: Incident = make.incident(None, make.component("Card payments"), scenario=scenario)
    return incident.updates.get()


def words(update: IncidentUpdate, locale: str = "en") -> dict[str, str]:
    return rendering.final_words(update.renditions.get(locale=locale), update)


# ── Placeholders ──


def test_a_known_placeholder_is_no_problem():
    assert rendering.problems("{{ components }} {{ next_update | default: 'soon' }}") == []


def test_an_unknown_placeholder_is_named_with_its_line_and_a_suggestion():
    [problem] = rendering.problems("All is well.\nSee {{ componets }}.")
    assert "Line 2" in problem
    assert "{{ componets }}" in problem
    assert "{{ components }}" in problem


@pytest.mark.parametrize(
    "text",
    [
        "{{ components",
        "{% if state %}never closed",
        "{% for x in components %}{{ x }}{% endfor %}",
        "{% include 'secrets' %}",
        "{{ components.__class__ }}",
        "{{ components | append: 'x' }}",
        "{% assign x = 1 %}",
    ],
)
def test_what_a_template_may_not_say_is_a_problem(text):
    assert rendering.problems(text)


@pytest.mark.parametrize("text", ["{{ components", "{% for x in components %}{{ x }}{% endfor %}", "{{ unheard_of }}"])
def test_a_text_that_cannot_be_filled_comes_back_as_it_is(text):
    assert rendering.fill(text, VALUES) == text


def test_a_value_that_is_not_known_may_be_asked_for_but_not_printed():
    asked = "{% if expected_resolution %}By {{ expected_resolution }}.{% else %}Not known.{% endif %}"
    assert rendering.fill(asked, VALUES) == "Not known."
    assert rendering.fill("{% unless expected_resolution %}Not known.{% endunless %}", VALUES) == "Not known."
    assert rendering.fill("{{ expected_resolution | default: 'not known' }}", VALUES) == "not known"
    assert rendering.fill("By {{ expected_resolution }}", VALUES) == "By {{ expected_resolution }}"


def test_values_are_never_read_as_templates():
    assert rendering.fill("{{ components }}", {"components": "{{ organisation }}"}) == "{{ organisation }}"


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("Since\n{{ components", "between two braces on each side: {{ components }}."),
        ("\n{{ components title }}", "between two braces on each side: {{ components }}."),
        ("\n{% if %}", "A condition has a beginning and an end: {% if next_update %} … {% endif %}."),
    ],
)
def test_a_malformed_placeholder_is_explained_without_the_words_of_a_parser(text, fix):
    [problem] = rendering.problems(text)
    assert problem.startswith("Line 2: what stands in the braces is not understood.")
    assert problem.endswith(fix)
    assert "expression" not in problem


# ── Times ──


def test_a_time_of_today_has_its_zone_and_no_day():
    noon = timezone.localtime().replace(hour=12, minute=5, second=0)
    assert rendering.moment(noon) == f"12:05 {noon.astimezone(ROME).tzname()}"


@time_machine.travel("2026-06-01T12:00:00+02:00", tick=False)
def test_a_time_of_another_day_has_its_day_in_the_language():
    other = datetime(2026, 3, 9, 14, 30, tzinfo=ROME)
    assert rendering.moment(other) == "9 March, 14:30 CET"
    with translation.override("it"):
        assert rendering.moment(other) == "9 marzo, 14:30 CET"


def test_a_time_of_another_year_has_its_year():
    assert rendering.moment(datetime(2024, 3, 9, 14, 30, tzinfo=ROME)) == "9 March 2024, 14:30 CET"


@pytest.mark.parametrize(("fold", "zone"), [(0, "CEST"), (1, "CET")])
def test_an_hour_that_comes_twice_has_its_zone_too(fold, zone):
    at = datetime(2024, 10, 27, 2, 30, tzinfo=ROME, fold=fold)
    assert rendering.moment(at, "H:i:s") == f"27 October 2024, 02:30:00 {zone}"


def test_no_page_writes_a_time_in_the_format_that_leaves_its_zone_out():
    """Django's "T" writes nothing in the hour that comes twice; "e" and `moment` do."""
    pages = (Path(__file__).parents[2] / "templates").rglob("*.*")
    assert [page.name for page in pages if re.search(r"""H:i(:s)? T["']""", page.read_text())] == []


def test_no_time_is_no_text():
    assert rendering.moment(None) == ""


# ── Drafts ──


@pytest.mark.django_db
def test_a_draft_fills_what_is_settled_and_keeps_what_may_change():
    update = drafted(issue="{{ components }} since {{ started }}.", outlook="Again by {{ next_update }}.")
    rendition = update.renditions.get(locale="en")
    assert rendition.issue == f"Card payments since {rendering.moment(update.incident.started_at)}."
    assert rendition.outlook == "Again by {{ next_update }}."


@pytest.mark.django_db
def test_the_words_follow_an_expected_resolution_that_is_set_later():
    update = drafted(outlook="Expected fix: {{ expected_resolution | default: 'not known yet' }}.")
    assert words(update)["outlook"] == "Expected fix: not known yet."
    soon = timezone.now() + timedelta(hours=1)
    update.edit(update.author, update.version, expected_resolution_at=soon)
    assert words(update)["outlook"] == f"Expected fix: {rendering.moment(soon)}."


@pytest.mark.django_db
def test_without_a_template_the_words_are_empty():
    update = drafted()
    update.withdraw(update.author)
    update.incident.scenario.templates.all().delete()
    update = start_draft(update.incident, update.author)
    assert set(update.renditions.get(locale="en").words().values()) == {""}


# ── Layouts ──


@pytest.fixture
def update(db) -> IncidentUpdate:
    return drafted(
        subject="Payments fail: {{ components }}",
        issue="Payments <b>fail</b>.",
        impact="- nobody can pay\n- see [the guide](https://example.com/guide)",
        action="[Click](javascript:alert(1)) & wait.",
        sms="Payments fail.",
        post="Payments fail. {{ status_url }}",
    )


def email(update: IncidentUpdate, locale: str = "en") -> dict[str, str]:
    return rendering.parts("email", words(update, locale), update, locale)


def test_the_email_says_what_a_reader_looks_for(update):
    parts = email(update)
    promise = rendering.moment(update.next_update_at)
    for part in (parts["text"], parts["html"]):
        for found in ("Payments fail: Card payments", "Investigating", "Partial outage", promise, "Card payments"):
            assert found in part
        assert rendering.status_url(update.incident) in part
        assert "[[unsubscribe_url]]" in part
    assert parts["subject"] == "Payments fail: Card payments"


def test_a_part_that_says_nothing_has_no_heading(update):
    parts = email(update)
    assert "What happens next" not in parts["html"]
    assert "WHAT HAPPENS NEXT" not in parts["text"]


def test_the_email_shows_html_as_text_and_has_only_safe_links(update):
    html = email(update)["html"]
    assert "&lt;b&gt;fail&lt;/b&gt;" in html
    assert 'href="javascript' not in html
    assert '<a href="https://example.com/guide" style=' in html


def test_the_email_needs_nothing_from_the_network(update):
    survey = rendering.survey_parts("email", update, "en", asking.survey(update.incident))["html"]
    for html in (email(update)["html"], survey):
        for word in ("<img", "<link", "<script", "@import", "url(", "src="):
            assert word not in html


def test_the_text_part_keeps_lines_short(update):
    long = words(update) | {"issue": "Payments by card fail at the last step for everybody who tries. " * 5}
    text = rendering.parts("email", long, update, "en")["text"]
    assert max(len(line) for line in text.splitlines() if "://" not in line and "[[" not in line) <= 72


def test_personal_values_are_escaped_in_html(update):
    hostile = 'https://x/?a=1&b="><script>'
    filled = personalise(email(update)["html"], {"unsubscribe_url": hostile, "clear_url": hostile}, html=True)
    assert "<script>" not in filled
    assert "[[" not in filled


def test_once_it_is_over_the_email_speaks_of_the_past_and_promises_nothing(update):
    update.edit(update.author, update.version, stage="resolved", next_update_at=None)
    parts = email(update)
    for found in ("What happened", "Who was affected, and how", "What you can do now", "Resolved"):
        assert found in parts["html"]
    assert "Next update by" not in parts["html"] + parts["text"]
    page = rendering.page(words(update), update, "en")
    assert "What happened" in page["html"]


def test_a_topic_gets_no_personal_link(update):
    parts = rendering.parts("event", words(update), update, "en")
    assert "[[" not in parts["text"]
    event = json.loads(parts["json"])
    assert event["update"]["issue"] == "Payments <b>fail</b>."
    assert event["components"] == [
        {"id": event["components"][0]["id"], "name": "Card payments", "status": "partial_outage"}
    ]


def test_a_text_message_and_a_post_carry_their_own_words(update):
    assert rendering.parts("sms", words(update), update, "en") == {"text": "Payments fail."}
    post = rendering.parts("post", words(update), update, "en")
    assert post == {"text": f"Payments fail. {rendering.status_url(update.incident)}"}


def test_a_call_speaks_sentences_without_links_or_signs(settings):
    settings.PORTAL_NAME = "Fiumara Pay"
    said = rendering.spoken(
        {
            "subject": "Cards: outage",
            "issue": "**Card** payments fail; see [it](https://a.example/x) or https://b.example/y.\n\n- one\n- two",
            "impact": "",
            "outlook": "Next update by 15:00!",
            "action": "`Wait`",
        }
    )
    assert said == "Fiumara Pay. Cards: outage. Card payments fail; see it or one two. Next update by 15:00! Wait."


def test_a_push_is_as_short_as_an_sms_and_leads_to_the_page(update):
    parts = rendering.parts("push", words(update), update, "en")
    assert parts["text"] == words(update)["sms"]
    assert parts["url"].startswith("http")
    assert rendering.parts("chat", words(update), update, "en")["url"] == parts["url"]


def test_the_status_page_has_headings_only_between_parts(update):
    page = rendering.page(words(update), update, "en")
    assert page["html"].count("<h4>") == 3
    one = rendering.page({"subject": "S", "issue": "Only **this**."}, update, "en")
    assert one == {"subject": "S", "text": "Only **this**.", "html": "<p>Only <strong>this</strong>.</p>\n"}


@pytest.mark.parametrize("form", ["email", "sms"])
def test_the_survey_invitation_has_one_personal_link(update, form):
    parts = rendering.survey_parts(form, update, "en", asking.survey(update.incident))
    for name, part in parts.items():
        assert part.count("[[survey_url]]") == (name != "subject")


def test_the_survey_invitation_names_the_incident_without_trusting_it(update):
    update.incident.title = "<i>Cards</i> & co"
    parts = rendering.survey_parts("email", update, "en", asking.survey(update.incident))
    assert "&lt;i&gt;Cards&lt;/i&gt; &amp; co" in parts["html"]
    assert "<i>Cards</i> & co" in parts["text"]


@pytest.mark.parametrize(("speaking", "name"), [("en", "Italian"), ("it", "italiano")])
def test_a_language_is_named_as_in_a_sentence(speaking, name):
    with translation.override(speaking):
        assert rendering.language_name("it") == name
