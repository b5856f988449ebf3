from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from channels.posts import weighted_length
from channels.sms import segments
from incidents import library, rendering
from incidents.checker import Level, check
from incidents.declaring import start_draft
from incidents.models import INCIDENT_STAGES, NOTICE_STAGES, OVER, WORDS, MessageTemplate, Scenario
from tests import make

ENTRIES = library.entries()
TEXTS = [
    pytest.param(entry, stage, locale, id=f"{entry.slug}-{stage}-{locale}")
    for entry in ENTRIES
    for stage, locale in entry.words
]
# As long as they get: two services, times of another day, an expected resolution.
VALUES = {
    "organisation": "Fiumara Pay",
    "title": "Card payments fail",
    "components": "Card payments and Online checkout",
    "state": "partial outage",
    "started": "23 November, 23:45 CET",
    "next_update": "24 November, 00:30 CET",
    "expected_resolution": "24 November, 01:15 CET",
    "resolved": "24 November, 01:15 CET",
    "begins": "23 November, 23:45 CET",
    "ends": "24 November, 01:15 CET",
    "status_url": "https://status.example.com/incidents/bcdfghjkmnpq/",
}


def stages(entry: library.Entry) -> tuple[str, ...]:
    return NOTICE_STAGES if entry.maintenance else INCIDENT_STAGES


def load(*options: str) -> str:
    out = StringIO()
    call_command("load_templates", *options, stdout=out)
    return out.getvalue()


def test_it_has_words_for_every_stage_in_both_languages():
    assert len(ENTRIES) >= 10
    for entry in ENTRIES:
        assert set(entry.words) == {(stage.value, locale) for stage in stages(entry) for locale in ("en", "it")}
        assert entry.name
        assert entry.description
    assert len({entry.position for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(("entry", "stage", "locale"), TEXTS)
def test_every_text_is_complete_and_its_placeholders_are_known(entry, stage, locale):
    words = entry.words[stage, locale]
    assert set(words) == set(WORDS)
    for field, text in words.items():
        assert text.strip() == text != ""
        assert rendering.problems(text) == [], field
        assert "{{" not in rendering.fill(text, VALUES), field


@pytest.mark.parametrize(("entry", "stage", "locale"), TEXTS)
def test_no_text_needs_what_may_be_unknown(entry, stage, locale):
    over = stage in OVER
    known = {k: v for k, v in VALUES.items() if k not in {"expected_resolution", "next_update" if over else "resolved"}}
    for field, text in entry.words[stage, locale].items():
        assert "{" not in rendering.fill(text, known), field


@pytest.mark.parametrize(("entry", "stage", "locale"), TEXTS)
def test_filled_texts_fit_their_channel(entry, stage, locale):
    words = {field: rendering.fill(text, VALUES) for field, text in entry.words[stage, locale].items()}
    message = segments(words["sms"])
    assert message.offending == ()
    assert message.count <= 2
    assert weighted_length(words["post"]) <= 280
    assert len(words["subject"]) <= 78


def test_italian_is_not_english():
    for entry in ENTRIES:
        for stage in stages(entry):
            english, italian = entry.words[stage, "en"], entry.words[stage, "it"]
            assert [f for f in WORDS if english[f] == italian[f]] == []


@pytest.mark.django_db
def test_it_loads_everything_once():
    assert "8 new" in load()
    again = load()
    assert "8 unchanged" in again
    assert "new" not in again
    planned = Scenario.objects.filter(maintenance=True).count()
    assert planned == 1
    assert MessageTemplate.objects.count() == 8 * (len(ENTRIES) - planned) + 6 * planned
    assert Scenario.objects.count() == len(ENTRIES)


@pytest.mark.django_db
def test_it_keeps_edited_words_unless_told_to_overwrite():
    load()
    template = MessageTemplate.objects.get(scenario__slug="slow-responses", stage="identified", locale="it")
    original = template.issue
    template.issue = "Le nostre parole."
    template.save()
    MessageTemplate.objects.filter(scenario__slug="login-problems", stage="resolved", locale="en").delete()
    said = load()
    assert "Slow responses: 7 unchanged, 1 changed here and kept" in said
    assert "Login problems: 1 new, 7 unchanged" in said
    assert "--overwrite" in said
    template.refresh_from_db()
    assert template.issue == "Le nostre parole."
    assert "Slow responses: 1 replaced, 7 unchanged" in load("--overwrite")
    template.refresh_from_db()
    assert template.issue == original
    assert "Le nostre parole." in template.history.values_list("issue", flat=True)


@pytest.mark.django_db
def test_names_follow_the_language_of_the_portal(settings):
    settings.LANGUAGE_CODE = "it"
    load()
    assert Scenario.objects.get(slug="payments-failing").name == "Pagamenti non riusciti"


@pytest.mark.django_db
@pytest.mark.parametrize("entry", [e for e in ENTRIES if not e.maintenance], ids=lambda entry: entry.slug)
def test_the_checker_finds_nothing_serious_in_a_draft_as_it_stands(entry):
    library.load(entry)
    by = make.incident_manager()
    make.plan(make.channel("outbox_email"), make.channel("outbox_sms"), make.channel("outbox_post"), people=[])
    parts = [make.component("Card payments"), make.component("Online checkout")]
    incident = make.incident(by, *parts, scenario=Scenario.objects.get(slug=entry.slug), title="Card payments fail")
    update = incident.updates.get()
    states = update.component_states
    for stage in INCIDENT_STAGES:
        update.withdraw(by)
        update = start_draft(incident, by, stage, None if stage == "resolved" else states)
        if stage == "identified":
            update.edit(by, update.version, expected_resolution_at=timezone.now() + timedelta(hours=2))
        grave = [f for f in check(update) if f.level != Level.HINT]
        assert grave == []
