"""The compose page: words are saved, refused or kept, and never lost."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Recipient
from incidents import declaring, roles
from incidents.forms import ComposeForm
from incidents.models import IncidentUpdate, Rendition
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


def url(update: IncidentUpdate, name: str = "compose") -> str:
    return reverse(f"admin:incidents_incidentupdate_{name}", args=[update.pk])


def typed(update: IncidentUpdate, **changes: Any) -> dict[str, Any]:
    """What the browser would post for this update, with these fields changed (`en__subject` means en-subject)."""
    update.refresh_from_db()
    form = ComposeForm(update)
    data = {}
    for field in form:
        value = field.value()
        if value not in (None, False):
            data[field.html_name] = value
    return data | {key.replace("__", "-"): value for key, value in changes.items()}


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """Anna's draft of a first update, and Paolo, who may approve it: the draft's key."""
    author = make.incident_manager(username="anna", first_name="Anna", last_name="Bianchi")
    approver = make.communications_manager(username="paolo", first_name="Paolo", last_name="Neri")
    make.plan(
        make.channel(),
        make.channel("outbox_sms"),
        make.channel("outbox_post"),
        people=[("incident_manager", author), ("communications_manager", approver)],
    )
    make.recipients(3)
    make.recipients(2, locale="it")
    # The templates of the tests say the same in both languages, in words that the Italian list rightly minds.
    return make.incident(author, make.component("Checkout")).updates.get().pk


@pytest.fixture
def author(db) -> User:
    return User.objects.get(username="anna")


@pytest.fixture
def update(world: int, db) -> IncidentUpdate:
    return IncidentUpdate.objects.get(pk=world)


def words(update: IncidentUpdate, locale: str = "en") -> dict[str, str]:
    return Rendition.objects.get(update=update, locale=locale).words()


# ── Seeing ──


def test_it_shows_the_words_the_findings_and_every_reader(author, update):
    page = make.client(author).get(url(update))
    assert page.status_code == 200
    html = page.content.decode()
    assert "Payments with Checkout fail since" in html
    assert "srcdoc=" in html
    assert "outage" in html
    assert "5 people" in html
    assert "Europe/Rome" in html


def test_that_nobody_would_be_told_stands_beside_what_the_checker_says(author, update):
    said = "Nobody would receive this: no subscriber matches."
    page = make.client(author).get(url(update)).content.decode()
    assert "Nobody would receive this" not in page
    cache.clear()
    Recipient.objects.update(confirmed_at=None)
    page = make.client(author).get(url(update)).content.decode()
    assert said in page
    assert "nothing to improve" not in page
    assert update.reach().warning() == f"{said} Type 0 to confirm that this is meant."


def test_the_number_of_queries_does_not_grow_with_what_there_is(author, update, django_assert_max_num_queries):
    browser = make.client(author)
    browser.get(url(update))
    limit = 60
    with django_assert_max_num_queries(limit):
        browser.get(url(update))
    make.recipients(300)
    for _n in range(5):
        component = make.component()
        update.incident.components.add(component)
        update.component_states[str(component.pk)] = "major_outage"
    update.save()
    with django_assert_max_num_queries(limit):
        browser.get(url(update))


def test_the_preview_needs_no_more_queries_than_that(author, update, django_assert_max_num_queries):
    browser = make.client(author)
    data = typed(update)
    browser.post(url(update, "preview"), data)
    with django_assert_max_num_queries(45):
        browser.post(url(update, "preview"), data)


def test_the_change_page_leads_to_the_page_that_fits_the_state(author, update):
    browser = make.client(author)
    change = reverse("admin:incidents_incidentupdate_change", args=[update.pk])
    assert browser.get(change).url == url(update)
    update.submit(author)
    assert browser.get(change).url == url(update, "review")
    assert browser.get(url(update)).url == url(update, "review")
    assert browser.get(url(update) + "?edit=1").status_code == 200


# ── Previewing ──


def test_the_preview_shows_what_is_typed_and_saves_nothing(author, update):
    before = words(update)
    data = typed(update, en__issue="Nobody can pay <b>now</b>.", next_update_at="2099-05-31T14:30")
    page = make.client(author).post(url(update, "preview"), data)
    html = page.content.decode()
    assert page.status_code == 200
    assert "Nobody can pay &amp;lt;b&amp;gt;now" in html  # escaped in the letter, and again in the frame's attribute
    assert "31 May 2099, 14:30 CEST" in html
    update.refresh_from_db()
    assert words(update) == before
    assert update.version == 1


def test_an_sms_over_its_limit_has_no_characters_left(author, update):
    def shown(text: str) -> str:
        return make.client(author).post(url(update, "preview"), typed(update, en__sms=text)).content.decode()

    fits = shown("x" * 450)
    assert "3 segments · 450 characters, 9 left · GSM-7 · limit 3" in re.sub(r"\s+", " ", fits)
    over = shown("x" * 470)
    assert "4 segments · 470 characters · GSM-7 · limit 3" in re.sub(r"\s+", " ", over)
    assert "470 characters, " not in over


def test_the_preview_survives_any_input(author, update):
    data = typed(update, en__issue="{{ oops", stage="nonsense", next_update_at="soon", channels=["999"], version="x")
    page = make.client(author).post(url(update, "preview"), data)
    assert page.status_code == 200
    assert "what stands in the braces is not understood" in page.content.decode()
    assert make.client(author).post(url(update, "preview"), {}).status_code == 200
    assert make.client(author).get(url(update, "preview")).status_code == 405


def test_without_javascript_the_preview_button_shows_the_page_and_saves_nothing(author, update):
    page = make.client(author).post(url(update), typed(update, en__subject="Typed but not saved", do="preview"))
    assert page.status_code == 200
    assert "Typed but not saved" in page.content.decode()
    assert words(update)["subject"] != "Typed but not saved"


# ── Saving ──


def test_it_saves_words_facts_and_channels(author, update):
    component = str(update.incident.components.get().pk)
    only = update.channels.order_by("pk").first()
    data = typed(
        update,
        en__subject="Nobody can pay",
        stage="identified",
        next_update_at="2099-01-15T10:05",
        channels=[only.pk],
        **{f"state-{component}": "major_outage"},
    )
    answer = make.client(author).post(url(update), data | {"do": "save"})
    assert answer.status_code == 302
    update.refresh_from_db()
    assert words(update)["subject"] == "Nobody can pay"
    assert update.stage == "identified"
    assert update.next_update_at == datetime(2099, 1, 15, 9, 5, tzinfo=UTC)
    assert update.component_states == {component: "major_outage"}
    assert list(update.channels.all()) == [only]
    assert update.version == 2


def test_saving_an_untouched_form_changes_nothing(author, update):
    make.client(author).post(url(update), typed(update, do="save"))
    update.refresh_from_db()
    assert update.version == 1


def test_autosave_answers_with_the_new_version_and_the_time(author, update):
    browser = make.client(author)
    answer = browser.post(
        url(update), typed(update, en__issue="Nobody can pay."), headers={"X-Requested-With": "autosave"}
    )
    assert answer.json()["version"] == 2
    assert re.fullmatch(r"\d\d:\d\d", answer.json()["saved"])
    assert words(update)["issue"] == "Nobody can pay."


def test_a_stale_version_is_refused_and_both_texts_are_shown(author, update):
    stale = typed(update, en__issue="My own sentence stands here.")
    other = make.incident_manager(username="bruno", first_name="Bruno", last_name="Verdi")
    update.edit(other, update.version, words={"en": {"issue": "Their sentence stands here."}})
    page = make.client(author).post(url(update), stale | {"do": "save"})
    html = page.content.decode()
    assert page.status_code == 409
    assert "Bruno Verdi changed this update at" in html
    assert "My own sentence stands here." in html
    assert "Their sentence stands here." in html
    assert "<del>Their </del><ins>My own </ins>" in html
    assert words(update)["issue"] == "Their sentence stands here."
    # Having seen both, saving once more is a decision.
    version = re.search(r'name="version" value="(\d+)"', html)[1]
    assert make.client(author).post(url(update), stale | {"do": "save", "version": version}).status_code == 302
    assert words(update)["issue"] == "My own sentence stands here."


def test_autosave_of_a_stale_version_gets_the_comparison_and_the_version(author, update):
    stale = typed(update, en__issue="My sentence.")
    update.edit(make.incident_manager(username="bruno"), 1, words={"en": {"issue": "Their sentence."}})
    answer = make.client(author).post(url(update), stale, headers={"X-Requested-With": "autosave"})
    assert answer.status_code == 409
    assert answer.json()["version"] == 2
    assert "bruno" in answer.json()["html"]
    assert "Their sentence." in answer.json()["html"]


def test_an_autosave_whose_answer_was_lost_may_come_again(author, update):
    data = typed(update, en__issue="Nobody can pay.")
    browser = make.client(author)
    for _attempt in range(2):
        answer = browser.post(url(update), data, headers={"X-Requested-With": "autosave"})
        assert answer.status_code == 200
        assert answer.json()["version"] == 2


def test_a_button_pressed_after_an_autosave_whose_answer_was_lost_does_its_work(author, update):
    data = typed(update, en__issue="Nobody can pay.")
    browser = make.client(author)
    browser.post(url(update), data, headers={"X-Requested-With": "autosave"})
    answer = browser.post(url(update), data | {"do": "submit"})
    assert answer.status_code == 302
    update.refresh_from_db()
    assert (update.status, words(update)["issue"]) == ("in_review", "Nobody can pay.")


def test_what_is_published_meanwhile_is_refused_with_the_text_kept(author, update):
    data = typed(update, en__issue="Too late, but not lost.")
    make.published(update)
    page = make.client(author).post(url(update), data | {"do": "save"})
    assert page.status_code == 409
    assert "Too late, but not lost." in page.content.decode()
    assert "Published" in page.content.decode()


# ── Time ──


def test_a_time_that_the_clocks_skip_is_refused_naming_zone_and_next(author, update):
    page = make.client(author).post(
        url(update), typed(update, next_update_at="2099-03-29T02:30", en__issue="Kept.", do="save")
    )
    html = page.content.decode()
    assert page.status_code == 422
    assert "29.03.2099 02:30 does not exist in Europe/Rome" in html
    assert "The next valid time is 03:00." in html
    assert "Kept." in html
    assert words(update)["issue"] != "Kept."


def test_a_time_that_comes_twice_means_the_first_unless_it_is_untouched(author, update):
    browser = make.client(author)
    browser.post(url(update), typed(update, next_update_at="2099-10-25T02:30", do="save"))
    assert "show 02:30 twice; the first one is meant (CEST)" in browser.get(url(update)).content.decode()
    update.refresh_from_db()
    assert update.next_update_at == datetime(2099, 10, 25, 0, 30, tzinfo=UTC)
    second = datetime(2099, 10, 25, 1, 30, tzinfo=UTC)
    update.edit(author, update.version, next_update_at=second)
    assert "show 02:30 twice; the second one is meant (CET)" in browser.get(url(update)).content.decode()
    browser.post(url(update), typed(update, en__issue="Nobody can pay.", do="save"))
    update.refresh_from_db()
    assert update.next_update_at == second


@pytest.mark.parametrize("text", ["tomorrow", "2099-13-01T10:00", "14:30"])
def test_what_is_no_time_is_refused_by_name(author, update, text):
    page = make.client(author).post(url(update), typed(update, next_update_at=text, do="save"))
    assert page.status_code == 422
    assert f"“{text}” is no time" in page.content.decode()


# ── Template ──


def test_a_pristine_draft_takes_the_template_of_another_stage(author, update):
    template = update.incident.scenario.templates.get(stage="identified", locale="en")
    template.issue = "We know why {{ components }} fails."
    template.save()
    answer = make.client(author).post(url(update), typed(update, stage="identified", do="template"))
    assert answer.status_code == 302
    update.refresh_from_db()
    assert update.stage == "identified"
    assert words(update)["issue"] == "We know why Checkout fails."
    assert Rendition.objects.get(update=update, locale="en").template == template


def test_an_edited_draft_asks_before_its_words_are_replaced(author, update):
    update.edit(author, 1, words={"en": {"issue": "My own words."}})
    browser = make.client(author)
    page = browser.post(url(update), typed(update, stage="identified", do="template"))
    assert page.status_code == 200
    assert "Replace my words" in page.content.decode()
    assert words(update)["issue"] == "My own words."
    browser.post(url(update), typed(update, stage="identified", do="template_confirmed"))
    assert words(update)["issue"] != "My own words."


def test_it_shows_what_changed_since_the_template_and_the_last_update(author, update):
    make.published(update)
    second = declaring.start_draft(update.incident, author)
    second.edit(author, 1, words={"en": {"impact": "Customers who pay by card can pay again."}})
    html = make.client(author).get(url(second)).content.decode()
    assert "Since the last update sent" in html
    assert "<del>see an error and are not charged</del><ins>can pay again</ins>" in html


# ── Asking for approval ──


def test_it_saves_and_asks_for_approval_naming_who_may(author, update):
    answer = make.client(author).post(url(update), typed(update, en__issue="Nobody can pay.", do="submit"), follow=True)
    update.refresh_from_db()
    assert update.status == "in_review"
    assert "Nobody can pay." in json.dumps(update.manifest)
    assert "Waiting for approval by Paolo Neri." in answer.content.decode()


def test_asking_twice_for_the_same_words_is_no_error(author, update):
    data = typed(update, en__issue="Nobody can pay.", do="submit")
    make.client(author).post(url(update), data)
    update.refresh_from_db()
    frozen = update.content_hash
    assert make.client(author).post(url(update), data | {"version": update.version}).url == url(update, "review")
    update.refresh_from_db()
    assert (update.status, update.content_hash) == ("in_review", frozen)
    assert update.decisions.filter(verb="submit").count() == 1


def test_what_the_checker_blocks_is_saved_but_not_submitted(author, update):
    page = make.client(author).post(url(update), typed(update, en__issue="{{ componets }} fails.", do="submit"))
    html = page.content.decode()
    assert page.status_code == 422
    assert "did you mean {{ components }}?" in html
    update.refresh_from_db()
    assert update.status == "draft"
    assert words(update)["issue"] == "{{ componets }} fails."


def test_editing_after_approval_makes_it_a_draft_again(author, update):
    update.submit(author)
    update.approve(make.communications_manager(), typed_count=update.reach().total)
    page = make.client(author).post(url(update), typed(update, en__issue="Changed.", do="save"), follow=True)
    update.refresh_from_db()
    assert update.status == "draft"
    assert update.approved_hash == ""
    assert "It is a draft again, and needs approval." in page.content.decode()


def test_the_reason_for_sending_back_is_on_the_page(author, update):
    update.submit(author)
    update.reject(make.communications_manager(username="carla"), "Say which cards.")
    html = make.client(author).get(url(update)).content.decode()
    assert "carla sent it back" in html
    assert "Say which cards." in html


# ── Who may ──


def test_a_foreign_update_is_not_found(update):
    stranger = make.user(roles.INCIDENT_MANAGERS)
    assign_perm("incidents.operate_component", stranger, make.component("Elsewhere"))
    browser = make.client(stranger)
    for name in ("compose", "review", "publish", "withdraw", "change"):
        assert browser.get(url(update, name)).status_code == 404, name
    for name in ("compose", "preview", "review", "publish", "withdraw"):
        assert browser.post(url(update, name), {"do": "save"}).status_code == 404, name
    page = browser.get(reverse("admin:incidents_incidentupdate_changelist"))
    assert update.incident.title not in page.content.decode()


def test_who_may_see_but_not_write_reads_the_review_page_and_saves_nothing(update):
    reader = make.user(roles.SUPPORT_LEADS)
    assign_perm("incidents.view_component", reader, update.incident.components.get())
    browser = make.client(reader)
    assert browser.get(url(update)).url == url(update, "review")
    page = browser.post(url(update), typed(update, en__issue="Mine.", do="save"))
    assert page.status_code == 403
    assert "Mine." in page.content.decode()
    assert browser.post(url(update, "preview"), typed(update)).status_code == 403
    assert words(update)["issue"] != "Mine."


def test_without_a_role_nothing_is_shown(update):
    nobody = make.user()
    browser = make.client(nobody)
    assert browser.get(url(update)).status_code == 403
    assert browser.get(url(update, "review")).status_code == 403


def test_a_promise_that_passed_is_named_beside_its_field(author, update):
    past = timezone.localtime(timezone.now() - timedelta(hours=2))
    page = make.client(author).post(url(update), typed(update, next_update_at=f"{past:%Y-%m-%dT%H:%M}", do="submit"))
    assert page.status_code == 422
    assert "which is past" in page.content.decode()


@pytest.fixture
def without_scenario(author) -> IncidentUpdate:
    """An incident that was declared as “something else”: its draft is empty."""
    make.plan(make.channel())
    make.scenario("payments")
    component = make.component()
    found = declaring.declare(author, "Checkout fails", {component: "partial_outage"}, "sev2")
    return found.updates.get()


def test_an_incident_without_a_scenario_can_still_get_one(author, client, without_scenario):
    client.force_login(author)
    update = without_scenario
    assert "Use the words prepared for it" in client.get(url(update)).content.decode()
    chosen = make.scenario("payments")
    data = typed(update, do="scenario", _scenario=chosen.pk)
    assert client.post(url(update), data).status_code == 302
    update.refresh_from_db()
    assert update.incident.scenario == chosen
    assert words(update)["impact"] == make.WORDS["impact"]
    assert "Use the words prepared for it" not in client.get(url(update)).content.decode()


def test_a_scenario_chosen_late_does_not_replace_what_was_written(author, client, without_scenario):
    client.force_login(author)
    update = without_scenario
    data = typed(update, do="scenario", _scenario=make.scenario("payments").pk, en__issue="My own words.")
    assert client.post(url(update), data).status_code == 302
    assert words(update)["issue"] == "My own words."
    assert words(update)["impact"] == ""


@pytest.mark.parametrize("value", ["", "0", "x", "²"])
def test_a_scenario_that_does_not_exist_is_refused(author, client, without_scenario, value):
    client.force_login(author)
    response = client.post(url(without_scenario), typed(without_scenario, do="scenario", _scenario=value))
    assert response.status_code == 422
    assert "Choose a scenario" in response.content.decode()
