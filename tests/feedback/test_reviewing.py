"""The review of a communication: what its draft says equals the figures, and what customers read was approved."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Delivery
from feedback import drafting, reviewing
from feedback.admin import review as review_admin
from feedback.models import CommunicationReview
from feedback.models.review import PARTS
from incidents import declaring, roles
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import Component, Decision, Incident, IncidentComponent, PromiseBreach
from tests import make
from tests.feedback.test_reports import at, by_hand, sent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """An incident that was led and resolved by mara and anna, of a public and a private component."""
    email = make.channel(name="Letters")
    make.plan(email)
    public, private = make.component("Checkout"), make.component("Secret ledger")
    Component.objects.filter(pk=private.pk).update(private=True)
    make.recipients(5, public)
    mara, anna = make.incident_manager(username="mara"), make.communications_manager(username="anna")
    make.communications_manager(username="paolo")
    one = make.incident(mara, public, private)
    make.published(one.updates.get(), anna)
    make.published(declaring.start_draft(one, mara, "resolved"), anna)
    make.deliver()
    return one.pk


@pytest.fixture
def incident(world: int, db) -> Incident:
    return Incident.objects.get(pk=world)


@pytest.fixture
def mara(db) -> User:
    return User.objects.get(username="mara")


@pytest.fixture
def anna(db) -> User:
    return User.objects.get(username="anna")


@pytest.fixture
def paolo(db) -> User:
    return User.objects.get(username="paolo")


@pytest.fixture
def review(incident, mara) -> CommunicationReview:
    return reviewing.start(incident, mara, "en")


def page(incident: Incident) -> str:
    return reverse("admin:feedback_report_review", args=[incident.pk])


def finished(review: CommunicationReview, by: User, **texts: str) -> CommunicationReview:
    shown = texts.pop("shown", "happened told").split()
    return review.edit(by, review.version, texts, shown).finish(by, review.version)


# ── What the draft says ──


def test_every_sentence_of_the_draft_names_the_figure_that_says_so(unguarded):
    """The incident of test_reports, which is counted by hand."""
    one = by_hand()
    PromiseBreach.objects.create(incident=one, kind="next", due_at=at(60))
    said = drafting.draft(one, "en")
    assert said["happened"].startswith("It lasted from 2 Mar 2026, 11:00 CET to 2 Mar 2026, 12:30 CET (1 h 30 min)")
    assert "Customers first heard of it 9 min 12 s after it began." in said["told"]
    assert "it took 5 min 12 s; 15 min were allowed: in time." in said["told"]
    assert "4 updates were published." in said["told"]  # the review that followed is none of them
    assert "Of 4 that were due by a time, 1 came late." in said["told"]
    assert "The longest silence between two updates was 30 min 1 s; one was to come every 30 min." in said["told"]
    assert "No update named a time for the resolution." in said["told"]
    assert "At least one message reached 15 of 20 people (75 %)." in said["reached"]
    assert "Email: 80 % of 15 messages." in said["reached"]
    assert "In the survey 3 of 4 answered: clear 4.3, timely 2.0" in said["reached"]
    assert "Updates waited 2 min 55 s for approval altogether" in said["worked"]
    assert "- The first update came in time: 5 min 12 s after declaring, 15 min were allowed." in said["well"]
    assert "- 1 of 3 silences were longer than the 30 min that were allowed, the longest 30 min 1 s." in said["improve"]
    assert "- 1 promise was broken, by 9 min 13 s." in said["improve"]
    assert "- Only 75 % of 20 messages arrived." in said["improve"]
    assert "timely" not in said["improve"]  # three answers say little of all
    rows = said["timeline"].splitlines()
    assert rows[:2] == ["| When | What |", "|---|---|"]
    assert rows[2] == "| 2 Mar 2026, 11:00 CET | It began. |"
    assert "| 2 Mar 2026, 12:00 CET | Promise broken (Next update): late by 9 min 13 s. |" in rows


def test_the_draft_is_written_in_the_language_that_was_chosen(incident):
    said = drafting.draft(incident, "it")
    assert said["told"].startswith("I clienti ne hanno saputo")
    assert "Sono stati pubblicati 2 aggiornamenti." in said["told"]
    assert said["timeline"].startswith("| Quando | Che cosa |") or said["timeline"].startswith("| Quando |")


def test_praise_and_blame_follow_the_figures(incident, unguarded, anna):
    first = incident.updates.get(number=1)
    for _n in range(5):
        make.survey_answer(incident, clear=5, timely=2, useful=3)
    Delivery.objects.filter(dispatch__thread=incident.thread).update(status="delivered")
    said = drafting.draft(incident, "en")
    assert "Customers found it clear: 5.0 of 5, of 5 answers." in said["well"]
    assert "Customers found it late: 2.0 of 5, of 5 answers." in said["improve"]
    assert "useful" not in said["well"] + said["improve"]
    assert "Messages arrived: 100 %" in said["well"]
    sent(first, make.channel(), failed=2, unknown=3, delivered=1)
    Decision.objects.create(incident=incident, update=first, by=anna, verb="glass")
    said = drafting.draft(incident, "en")
    assert "Messages arrived" not in said["well"]
    assert "Of 3 messages it is not known whether they arrived" in said["improve"]
    assert "1 update went out without a second person: see to it" in said["improve"]
    assert "nobody has reviewed 1 yet" in said["improve"]


def test_expected_resolution_is_judged(incident, unguarded):
    first = incident.updates.get(number=1)
    for minutes, where, words in ((40, "improve", "was wrong: it was resolved 40 min later"), (5, "well", "was right")):
        told = incident.resolved_at - timedelta(minutes=minutes)
        type(first).objects.filter(pk=first.pk).update(expected_resolution_at=told)
        assert words in drafting.draft(incident, "en")[where]


def test_words_of_others_mean_nothing_in_markdown(incident, unguarded):
    Component.objects.filter(name="Checkout").update(name="**Check|out** <b> [x](javascript:1)")
    said = drafting.draft(incident, "en")["happened"]
    html = review_admin.html(said)
    assert "**Check|out** &lt;b&gt; [x](javascript:1)" in html
    assert "<strong>" not in html
    assert "href" not in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "<img src=x onerror=alert(1)>",
        "![x](https://example.com/x.png)",
        "<a href='https://x' onclick='y'>z</a>",
    ],
)
def test_what_people_write_is_shown_without_anything_that_acts(text):
    html = review_admin.html(text)
    assert not re.search(r"<(script|img|[a-z]+ [^>]*on\w+=)|href=.javascript", html)


# ── Writing ──


def test_it_is_written_of_what_is_over_and_once(incident, mara, review):
    with pytest.raises(WrongState, match="begun the review"):
        reviewing.start(incident, mara, "en")
    with pytest.raises(WrongState, match="that is over"):
        reviewing.start(make.incident(mara), mara, "en")
    with pytest.raises(Refused, match="no language"):
        reviewing.start(incident, mara, "xx")


def test_drafting_anew_leaves_alone_what_people_changed(review, mara, anna, incident):
    review.edit(anna, review.version, {"well": "The tone was right."}, ["happened"])
    Delivery.objects.filter(dispatch__thread=incident.thread).update(status="unknown")
    review.draft_anew(anna, review.version, "en")
    assert review.texts["well"] == "The tone was right."
    assert "not known whether they arrived" in review.texts["improve"]
    assert review.drafted["well"] != review.texts["well"]
    review.draft_anew(mara, review.version, "it", everything=True)
    assert review.texts == review.drafted
    assert review.locale == "it"
    # Nothing is lost: the history has it.
    assert "The tone was right." in [old.texts["well"] for old in review.history.all()]
    assert {one.username for one in review.writers()} == {"mara", "anna"}


def test_a_stale_form_is_refused(review, mara, anna):
    stale = review.version
    review.edit(anna, stale, {"well": "Mine."}, ["happened"])
    with pytest.raises(WrongState, match="anna changed this review meanwhile"):
        review.edit(mara, stale, {"well": "Mine!"}, ["happened"])


def test_what_is_finished_is_opened_again_before_it_changes(review, mara):
    finished(review, mara, well="Fine.")
    assert (review.finished_by, review.state) == (mara, "final")
    with pytest.raises(WrongState, match="mara finished this review"):
        review.edit(mara, review.version, {"well": "Other."}, [])
    with pytest.raises(IntegrityError, match="opened again"), transaction.atomic():
        CommunicationReview.objects.filter(pk=review.pk).update(texts={"well": "Other."})
    with pytest.raises(IntegrityError), transaction.atomic():
        CommunicationReview.objects.filter(pk=review.pk).update(finished_by=None)
    review.reopen(mara).edit(mara, review.version, {"well": "Other."}, [])
    assert review.texts["well"] == "Other."


def test_too_long_a_part_is_refused_and_nothing_is_saved(review, mara):
    before = dict(review.texts)
    with pytest.raises(Refused, match="“What went well” has 10001 characters; the most are 10000"):
        review.edit(mara, review.version, {"well": "x" * 10001, "told": "Other."}, [])
    review.refresh_from_db()
    assert review.texts == before


def test_who_may_not_write_is_refused(review, incident):
    for who in (make.user(roles.MANAGERS, roles.ALL_COMPONENTS), make.user(roles.COMMUNICATIONS_MANAGERS)):
        with pytest.raises(NotAllowed):
            review.edit(who, review.version, {"well": "x"}, [])
        with pytest.raises(NotAllowed):
            reviewing.start(incident, who, "en")


# ── For customers ──


def test_customers_read_it_only_after_somebody_approved_who_wrote_none_of_it(
    review, incident, mara, anna, paolo, client
):
    review.edit(anna, review.version, {"happened": "Cards were refused for **an hour**."}, ["happened"])
    finished(review, mara, shown="happened")
    update = reviewing.start_update(review, mara)
    assert (update.stage, update.notify, list(update.channels.all())) == ("postmortem", False, [])
    # In Italian it is not written: nobody guesses.
    with pytest.raises(Refused, match="checker"):
        update.submit(mara)
    update.edit(mara, update.version, {"it": {"subject": "Revisione", "issue": "Carte rifiutate per un'ora."}})
    update.submit(mara)
    for writer in (mara, anna):  # anna wrote in the review alone
        with pytest.raises(NotAllowed, match="You wrote this update"):
            update.approve(writer)
        with pytest.raises(IntegrityError), transaction.atomic():
            Decision.objects.create(incident=incident, update=update, by=writer, verb="approve")
    public = f"/incidents/{incident.uid}/"
    assert "an hour" not in client.get(public).content.decode()
    update.approve(paolo)
    update.publish(paolo)
    shown = client.get(public, {"lang": "en"}).content.decode()
    assert "Cards were refused for <strong>an hour</strong>." in shown
    assert "Review published" in shown
    assert "What went well" not in shown
    review.refresh_from_db()
    assert review.is_published
    assert review.state_in_words == "Published"
    incident.refresh_from_db()
    assert incident.is_over
    assert incident.resolved_at < update.published_at


def test_an_edit_voids_the_approval(review, mara, paolo):
    update = reviewing.start_update(finished(review, mara), mara)
    update.submit(mara)
    update.approve(paolo)
    approved = update.approved_hash
    update.edit(mara, update.version, {"en": {"issue": "Something else."}})
    assert update.status == "draft"
    assert update.approved_hash == ""
    assert approved
    with pytest.raises(WrongState):
        update.publish(paolo)


def test_what_stands_as_the_facts_say_is_there_in_every_language(review, mara):
    update = reviewing.start_update(finished(review, mara), mara)
    texts = {text.locale: text for text in update.renditions.all()}
    assert texts["en"].subject == "Review: Card payments fail"
    assert texts["it"].subject == "Revisione: Card payments fail"
    assert "#### When they were told" in texts["en"].issue
    assert "#### Quando sono stati informati" in texts["it"].issue
    update.submit(mara)


def test_if_the_facts_moved_on_no_other_language_is_guessed(review, mara, incident, unguarded):
    finished(review, mara)
    Incident.objects.filter(pk=incident.pk).update(started_at=timezone.now() - timedelta(hours=5))
    update = reviewing.start_update(review, mara)
    assert update.renditions.get(locale="it").issue == ""


def test_a_private_component_is_not_named_to_everybody(review, mara, incident):
    assert "Secret ledger" not in review.texts["happened"]
    finished(review, mara, happened="The secret LEDGER was down.")
    with pytest.raises(Refused, match="names Secret ledger, which is private"):
        reviewing.start_update(review, mara)
    assert not incident.updates.filter(stage="postmortem").exists()
    # Where all is private, so is its page, and the names are those of its readers.
    IncidentComponent.objects.filter(incident=incident, component__private=False).delete()
    review.reopen(mara)
    assert "Secret ledger" in drafting.draft(incident, "en")["happened"]


def test_it_is_handed_on_once_it_is_finished_and_no_other_update_is_under_way(review, mara, incident):
    with pytest.raises(WrongState, match="Finish the review first"):
        reviewing.start_update(review, mara)
    finished(review, mara)
    other = declaring.start_draft(incident, mara, "resolved")
    with pytest.raises(WrongState, match="Another update is being written"):
        reviewing.start_update(review, mara)
    other.withdraw(mara)
    update = reviewing.start_update(review, mara)
    with pytest.raises(WrongState, match="already"):
        reviewing.start_update(review, mara)
    with pytest.raises(WrongState, match="withdraw it first"):
        review.reopen(mara)
    update.withdraw(mara)
    review.reopen(mara)
    review.edit(mara, review.version, {}, []).finish(mara, review.version)
    with pytest.raises(Refused, match="Choose at least one part"):
        reviewing.start_update(review, mara)


def test_who_may_not_write_updates_hands_nothing_on(review, mara, incident):
    from django.contrib.auth.models import Permission

    who = make.user(roles.MANAGERS, roles.ALL_COMPONENTS)
    who.user_permissions.add(Permission.objects.get(codename="change_communicationreview"))
    finished(review, mara)
    with pytest.raises(NotAllowed):
        reviewing.start_update(review, who)
    assert not incident.updates.filter(stage="postmortem").exists()


# ── The page ──


def test_a_person_writes_it_on_its_page(client, incident, mara):
    client.force_login(mara)
    assert "Draft it from the facts" in client.get(page(incident)).content.decode()
    client.post(page(incident), {"do": "draft", "locale": "it"})
    review = CommunicationReview.objects.get()
    shown = client.get(page(incident)).content.decode()
    assert "Che cosa è andato bene" in shown
    texts = {part: review.texts[part] for part in PARTS} | {"well": "Il **tono** era giusto."}
    data = {**texts, "shown": ["happened", "well", "timeline"], "version": review.version}
    client.post(page(incident), {**data, "do": "finish"})
    review.refresh_from_db()
    assert review.shown == ["happened", "well"]  # the timeline is not for customers
    assert review.history.first().history_user == mara
    shown = client.get(page(incident)).content.decode()
    assert "Il <strong>tono</strong> era giusto." in shown
    assert "<table>" in shown
    assert "<textarea" not in shown
    old = review.history.last().history_id
    assert "This is an earlier version." in client.get(page(incident), {"version": old}).content.decode()
    response = client.post(page(incident), {"do": "publish"})
    assert response["Location"] == reverse("admin:incidents_incidentupdate_compose", args=[review_update(review)])
    assert client.get(response["Location"]).status_code == 200
    report = client.get(reverse("admin:feedback_report_incident", args=[incident.pk])).content.decode()
    assert "Communication review: finished" in report


def review_update(review: CommunicationReview) -> int | None:
    review.refresh_from_db()
    return review.update_id


def test_what_was_typed_is_kept_when_it_is_refused(client, incident, review, mara):
    client.force_login(mara)
    response = client.post(page(incident), {"do": "save", "version": 999, "well": "My words", "shown": "well"})
    assert response.status_code == 409
    assert "My words" in response.content.decode()
    response = client.post(page(incident), {"do": "save", "version": review.version, "well": "x" * 10001})
    assert response.status_code == 422
    assert "has 10001 characters" in response.content.decode()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"do": "delete"},
        {"do": "draft", "locale": "xx"},
        {"do": "anew", "version": "1", "locale": "../x"},
        {"do": "save", "version": "x"},
        {"do": "save", "version": "٣"},
        {"do": "reopen"},
        {"do": "publish"},
    ],
)
def test_what_makes_no_sense_is_refused_in_words(client, incident, review, mara, data):
    client.force_login(mara)
    response = client.post(page(incident), data)
    assert response.status_code in (409, 422)
    assert 'class="cp' in response.content.decode()


def test_managers_read_it_and_strangers_do_not(client, incident, review, mara):
    client.force_login(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    shown = client.get(page(incident)).content.decode()
    assert "Customers first heard of it" in shown
    assert "<textarea" not in shown
    assert client.post(page(incident), {"do": "finish", "version": review.version}).status_code == 403
    stranger = make.user(roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.view_component", stranger, make.component("Search"))
    client.force_login(stranger)
    for response in (
        client.get(page(incident)),
        client.post(page(incident), {"do": "finish", "version": review.version}),
    ):
        assert response.status_code == 404
        assert "Card payments" not in response.content.decode()
    client.force_login(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    assert client.get(page(incident)).status_code == 403


def test_the_page_asks_little(client, incident, review, mara, django_assert_max_num_queries):
    client.force_login(mara)
    for n in range(12):
        review.edit(mara, review.version, {"well": f"{n}"}, [])
    with django_assert_max_num_queries(20):
        client.get(page(incident))
    with django_assert_max_num_queries(25):
        drafting.draft(incident, "en")
