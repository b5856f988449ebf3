"""The review page: exactly the frozen content, and a decision by somebody who wrote none of it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Channel
from incidents import roles, telling_staff
from incidents.models import Decision, IncidentUpdate, Rendition, StaffNotice, Subscription
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


def url(update: IncidentUpdate, name: str = "review") -> str:
    return reverse(f"admin:incidents_incidentupdate_{name}", args=[update.pk])


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """Anna's update waits for approval; it goes to 3 + 2 people by email, 4 by SMS, and to the public. Its key."""
    author = make.incident_manager(username="anna", first_name="Anna", last_name="Bianchi")
    paolo = make.communications_manager(username="paolo", first_name="Paolo", last_name="Neri")
    giulia = make.communications_manager(username="giulia", first_name="Giulia", last_name="Rossi")
    make.plan(
        make.channel(name="Our mail"),
        make.channel("outbox_sms", "Our SMS"),
        make.channel("outbox_post", "Our account"),
        people=[("incident_manager", author), ("communications_manager", paolo), ("support_lead", giulia)],
    )
    make.recipients(3)
    make.recipients(2, locale="it")
    make.recipients(4, medium="sms")
    update = make.incident(author, make.component("Checkout")).updates.get()
    return update.submit(author).pk


@pytest.fixture
def author(db) -> User:
    return User.objects.get(username="anna")


@pytest.fixture
def paolo(db) -> User:
    return User.objects.get(username="paolo")


@pytest.fixture
def update(world: int, db) -> IncidentUpdate:
    return IncidentUpdate.objects.get(pk=world)


def decide(user: Any, update: IncidentUpdate, decision: str, **data: Any):
    data.setdefault("seen_hash", update.content_hash)
    return make.client(user).post(url(update), {"decision": decision, **data})


# ── Seeing ──


def test_it_shows_the_frozen_messages_and_nothing_rendered_anew(unguarded, paolo, update):
    Rendition.objects.filter(update=update).update(issue="Never approved by anybody")
    update.incident.title = "A title that came later"
    update.incident.save()
    html = make.client(paolo).get(url(update)).content.decode()
    assert "Payments with Checkout fail since" in html
    assert "Never approved by anybody" not in re.sub(r'(?s)<ul class="cp-findings">.*?</ul>', "", html)
    for name in ("Our mail", "Our SMS", "Our account", "Status page", "English", "Italian"):
        assert name in html


def test_it_marks_what_each_reader_gets_of_their_own(paolo, update):
    html = make.client(paolo).get(url(update)).content.decode()
    assert '<mark class="cp-sample">the reader&#x27;s own link to unsubscribe</mark>' in html
    assert "[[unsubscribe_url]]" not in html


def test_a_letter_is_shown_in_a_frame_that_runs_nothing(paolo, update):
    html = make.client(paolo).get(url(update)).content.decode()
    frames = re.findall(r"<iframe[^>]*>", html)
    assert len(frames) == 2
    assert all('sandbox=""' in frame and "srcdoc=" in frame for frame in frames)


def test_it_says_how_many_people_and_how_they_were_chosen(paolo, update):
    html = make.client(paolo).get(url(update)).content.decode()
    assert "Sends to 9 people at once." in html
    assert "9 people: 5 by email, 4 by SMS; in public on Our account" in html
    assert "confirmed subscribers of these components who read Italian" in html
    assert "one public message for everybody who follows" in html
    assert "Written by Anna Bianchi." in html
    assert update.content_hash[:10] in html


def test_it_shows_the_survey_that_follows_a_resolved_update(author, paolo, update):
    update.edit(author, update.version, ask_feedback=True)
    update.submit(author)
    html = make.client(paolo).get(url(update)).content.decode()
    assert "Survey invitation" in html
    assert "own link to the survey" in html
    assert "[[survey_url]]" not in html


def test_its_queries_do_not_grow_with_people(paolo, update, django_assert_max_num_queries):
    browser = make.client(paolo)
    browser.get(url(update))
    make.recipients(300)
    with django_assert_max_num_queries(50):
        browser.get(url(update))


def test_where_a_promised_time_has_passed_it_says_so_and_offers_no_approval(author, paolo, update, time_machine):
    update = IncidentUpdate.objects.get(pk=update.pk)
    time_machine.move_to(update.next_update_at + timedelta(minutes=1), tick=False)
    html = make.client(paolo).get(url(update)).content.decode()
    assert "Nobody can approve this until it is put right" in html
    assert "is promised for" in html
    assert "Choose a time ahead." in html
    assert 'value="approve"' not in html
    assert 'value="approve_publish"' not in html
    assert 'value="reject"' in html
    own = make.client(author).get(url(update)).content.decode()
    assert "You wrote this" not in own
    assert f"{url(update, 'compose')}?edit=1" in own
    assert decide(paolo, update, "approve").status_code == 422
    assert decide(paolo, update, "reject", comment="Set a new time.").status_code == 302


def test_what_is_approved_but_cannot_be_sent_any_more_offers_no_sending(paolo, update, time_machine):
    update.approve(paolo, typed_count=update.reach().total)
    assert "Send now" in make.client(paolo).get(url(update)).content.decode()
    time_machine.move_to(update.next_update_at + timedelta(minutes=1), tick=False)
    html = make.client(paolo).get(url(update)).content.decode()
    assert "This cannot be sent until it is put right" in html
    assert "Send now" not in html


# ── Who could not be told ───────────────────────────────────────────────────

UNTOLD = "They could not be told yet:"


def test_whoever_could_not_be_told_is_named_with_the_reason(author, paolo, update):
    incident = reverse("admin:incidents_incident_change", args=[update.incident_id])
    browser = make.client(author)
    assert UNTOLD not in browser.get(url(update)).content.decode()
    Channel.objects.filter(name="Our mail").update(enabled=False)
    for page in (url(update), incident):
        html = browser.get(page).content.decode()
        assert UNTOLD in html
        assert "Paolo Neri – No channel that is on carries this." in html
    Channel.objects.update(enabled=True)
    assert UNTOLD not in browser.get(url(update)).content.decode()
    telling_staff.send_waiting()
    Channel.objects.filter(name="Our mail").update(enabled=False)
    assert UNTOLD not in browser.get(url(update)).content.decode()  # they were


def test_a_provider_that_refused_the_request_is_quoted(author, update):
    StaffNotice.objects.filter(kind="approval").update(outcome="failed", detail="550 No such user.")
    assert "Paolo Neri – 550 No such user." in make.client(author).get(url(update)).content.decode()


def test_a_request_that_no_worker_sends_is_said(author, update, time_machine):
    time_machine.move_to(timezone.now() + timedelta(minutes=3), tick=False)
    assert "does the worker run?" in make.client(author).get(url(update)).content.decode()


def test_whoever_has_no_address_is_named(author, paolo, update):
    User.objects.filter(pk=paolo.pk).update(email="")
    update.edit(author, update.version, {"en": {"impact": "Other customers see an error, and are not charged."}})
    update.submit(author)
    html = make.client(author).get(url(update)).content.decode()
    assert "Paolo Neri – No email, phone or Slack account is known." in html


def test_asking_warns_where_nobody_could_be_told(author, update):
    from tests.incidents.test_compose import typed

    Channel.objects.filter(name="Our mail").update(paused_at=timezone.now())
    update.edit(author, update.version, {"en": {"impact": "Other customers see an error, and are not charged."}})
    there = make.client(author).post(url(update, "compose"), typed(update) | {"do": "submit"}, follow=True)
    [said] = there.context["messages"]
    assert (said.level_tag, str(said)) == ("warning", "Waiting for approval by Paolo Neri or Giulia Rossi.")
    assert UNTOLD in there.content.decode()


def test_the_author_reads_it_and_learns_who_can_approve(author, update):
    html = make.client(author).get(url(update)).content.decode()
    assert "You wrote this: Paolo Neri or Giulia Rossi can approve it." in html
    assert 'value="approve"' not in html
    assert 'value="reject"' not in html


def test_the_static_copy_of_the_status_page_is_not_taken_for_the_page_itself(author, paolo, update):
    channel = make.channel("statuspage", "Status page", config={"directory": "/nowhere"})
    update.edit(author, update.version, channels=[channel])
    update.submit(author)
    headings = re.findall(r'<h3 class="cp-h3">(.*?)</h3>', make.client(paolo).get(url(update)).content.decode())
    assert headings[:2] == ["Status page", "Static copy of the status page: Status page"]


def test_an_update_that_nobody_here_wrote_names_no_writer(paolo, update, unguarded):
    update.decisions.all().delete()
    IncidentUpdate.objects.filter(pk=update.pk).update(author=None)
    assert "Written by" not in make.client(paolo).get(url(update)).content.decode()


# ── Deciding ──


@pytest.mark.parametrize("decision", ["approve", "approve_publish"])
def test_nobody_approves_what_they_wrote(author, update, decision):
    assert decide(author, update, decision).status_code == 403
    update.refresh_from_db()
    assert update.status == "in_review"


def test_whoever_edited_a_word_may_not_approve_either(author, paolo, update):
    update.edit(paolo, update.version, words={"en": {"issue": "A word of mine."}})
    update.submit(author)
    assert decide(paolo, update, "approve").status_code == 403
    assert "You wrote this: Giulia Rossi can approve it." in make.client(paolo).get(url(update)).content.decode()


def test_a_superuser_may_not_approve_what_they_wrote(update):
    root = make.user(is_superuser=True)
    update.edit(root, update.version, words={"en": {"issue": "A word of mine."}})
    update.submit(update.author)
    assert decide(root, update, "approve").status_code == 403


def test_approve_only_sends_nothing_yet(paolo, update):
    answer = decide(paolo, update, "approve", comment="Well said")
    assert answer.status_code == 302
    update.refresh_from_db()
    assert update.status == "approved"
    assert update.decisions.get(verb="approve").comment == "Well said"
    html = make.client(paolo).get(url(update)).content.decode()
    assert "Approved. Sends to 9 people at once." in html
    assert "Send now" in html


def test_approve_and_send_goes_to_the_delivery_page(paolo, update):
    answer = decide(paolo, update, "approve_publish")
    assert answer.status_code == 302
    update.refresh_from_db()
    assert update.status == "published"
    assert update.approved_hash == update.content_hash
    assert "/delivery/" in answer.url


def test_if_sending_fails_the_approval_stands_and_the_reason_is_said(paolo, update, monkeypatch):
    from incidents.errors import WrongState

    def refuse(self: IncidentUpdate, by: Any) -> None:
        raise WrongState("The audience changed from 9 to 900 people.")

    monkeypatch.setattr(IncidentUpdate, "publish", refuse)
    answer = make.client(paolo).post(
        url(update), {"decision": "approve_publish", "seen_hash": update.content_hash}, follow=True
    )
    update.refresh_from_db()
    assert update.status == "approved"
    assert "Approved, but not sent: The audience changed from 9 to 900 people." in answer.content.decode()


def test_sending_back_needs_a_reason(paolo, update):
    page = decide(paolo, update, "reject", comment="  ")
    assert page.status_code == 422
    [panel] = re.findall(r'(?s)<details class="cp-sendback" open>.*?</details>', page.content.decode())
    assert "Say what should change" in panel
    assert 'aria-describedby="cp-comment-error" autofocus' in panel
    assert page.content.decode().count("Say what should change") == 1
    assert decide(paolo, update, "reject", comment="Name the cards.").status_code == 302
    update.refresh_from_db()
    assert update.status == "draft"
    assert update.decisions.get(verb="reject").comment == "Name the cards."


def test_the_second_approver_learns_who_was_first_and_when(paolo, update):
    giulia = make.communications_manager(username="giorgio")
    decide(paolo, update, "approve")
    page = decide(giulia, update, "approve", comment="My comment stays")
    assert page.status_code == 409
    said = r"This update is “Approved, not yet sent” now: Paolo Neri approved at \d\d:\d\d:\d\d CES?T\."
    assert re.search(said, page.content.decode())
    assert Decision.objects.filter(update=update, verb="approve").count() == 1


def test_content_that_changed_since_it_was_opened_is_not_approved(author, paolo, update):
    seen = update.content_hash
    update.edit(author, update.version, words={"en": {"issue": "Other words."}})
    update.submit(author)
    page = decide(paolo, update, "approve", seen_hash=seen, comment="Fine by me")
    assert page.status_code == 409
    assert "The content changed after you opened it" in page.content.decode()
    assert "Fine by me" in page.content.decode()


def test_a_post_without_the_seen_content_decides_nothing(paolo, update):
    assert make.client(paolo).post(url(update), {"decision": "approve"}).status_code == 409
    assert decide(paolo, update, "nonsense").status_code == 422
    update.refresh_from_db()
    assert update.status == "in_review"


def test_an_unusual_audience_must_be_typed(paolo, update, settings):
    settings.AUDIENCE_CONFIRM_ABOVE = 5
    assert 'name="typed_count"' in make.client(paolo).get(url(update)).content.decode()
    assert decide(paolo, update, "approve").status_code == 422
    assert decide(paolo, update, "approve", typed_count="8").status_code == 422
    assert decide(paolo, update, "approve", typed_count="9").status_code == 302


def test_an_audience_of_nobody_has_its_reason(author, paolo, update):
    Subscription.objects.all().delete()
    assert "no subscriber matches" in make.client(paolo).get(url(update)).content.decode()
    update.edit(author, update.version, channels=[])
    update.submit(author)
    assert "no channel is chosen" in make.client(paolo).get(url(update)).content.decode()


def test_a_support_lead_may_read_but_not_approve(update):
    lead = make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS)
    assert "can approve it" in make.client(lead).get(url(update)).content.decode()
    assert decide(lead, update, "approve").status_code == 403


def test_approving_needs_every_component_of_the_incident(update):
    partly = make.user(roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.operate_component", partly, make.component("Elsewhere"))
    assert decide(partly, update, "approve").status_code == 404
    assign_perm("incidents.view_component", partly, update.incident.components.get())
    assert decide(partly, update, "approve").status_code == 403


def test_the_next_review_shows_what_changed_since_the_last_update(author, paolo, update):
    from incidents import declaring

    decide(paolo, update, "approve_publish")
    second = declaring.start_draft(update.incident, author)
    second.edit(author, 1, words={"en": {"impact": "Customers who pay by card can pay again."}})
    second.submit(author)
    html = make.client(paolo).get(url(second)).content.decode()
    assert "What changed since the last update sent" in html
    assert "<ins>can pay again</ins>" in html


# ── The list ──


def test_the_list_is_scoped_and_shows_what_waits(paolo, update, django_assert_max_num_queries):
    listing = reverse("admin:incidents_incidentupdate_changelist") + "?status__exact=in_review"
    html = make.client(paolo).get(listing).content.decode()
    assert "Checkout: partial outage" in html
    assert "Waiting for approval" in html
    for _n in range(5):
        make.incident(update.author).updates.get().submit(update.author)
    browser = make.client(paolo)
    browser.get(listing)
    with django_assert_max_num_queries(30):
        browser.get(listing + "&q=Card")


def test_nothing_is_added_or_deleted_by_hand(paolo, update):
    root = make.user(is_superuser=True)
    assert make.client(root).get(reverse("admin:incidents_incidentupdate_add")).status_code == 403
    assert make.client(root).post(reverse("admin:incidents_incidentupdate_delete", args=[update.pk])).status_code == 403
