"""The support brief: what may be said is what was approved and published, and nothing else."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Channel, Recipient
from incidents import declaring, linking, roles, support
from incidents.errors import NotAllowed, WrongState
from incidents.models import AudienceSegment, Component, Incident, IncidentUpdate, KnownQuestion, Scenario
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """Marta's incident, of which one update is published: its key. Paolo leads support, Anna approves."""
    marta = make.incident_manager(username="marta", first_name="Marta", last_name="Rinaldi")
    anna = make.communications_manager(username="anna", first_name="Anna", last_name="Weber")
    make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS, username="paolo", first_name="Paolo", last_name="Serra")
    checkout = make.component("Checkout")
    make.plan(make.channel(), make.channel("outbox_sms"), people=[("incident_manager", marta)])
    for number, one in enumerate(make.recipients(5, checkout)):
        one.attributes = {"account": "Aurora" if number < 3 else "Borea"} if number < 4 else {}
        one.save()
    make.recipients(2, make.component("Login"))
    incident = make.incident(marta, checkout)
    make.published(incident.updates.get(), anna)
    return incident.pk


@pytest.fixture
def incident(world: int, db) -> Incident:
    return Incident.objects.get(pk=world)


@pytest.fixture
def marta(db) -> User:
    return User.objects.get(username="marta")


@pytest.fixture
def anna(db) -> User:
    return User.objects.get(username="anna")


@pytest.fixture
def paolo(db) -> User:
    return User.objects.get(username="paolo")


def url(incident: Incident, name: str = "support") -> str:
    return reverse(f"admin:incidents_incident_{name}", args=[incident.pk])


def text(user: User, incident: Incident) -> str:
    return make.client(user).get(url(incident)).content.decode()


def question(by: User, **kwargs) -> KnownQuestion:
    one = KnownQuestion(**{"locale": "en", "question": "Was I charged?", "answer": "No, nobody was."} | kwargs)
    one._history_user = by  # what the admin's middleware does
    one.full_clean()
    one.save()
    return one


# ── Ready answers ──


def test_the_answers_are_the_frozen_words_in_each_language_short_and_long(incident):
    said = incident.updates.get()
    english, italian = support.answers(said)
    assert (english.locale, italian.locale) == ("en", "it")
    sms = next(m for m in said.manifest["messages"] if "subject" not in m["content"]["parts"] and m["locale"] == "en")
    assert english.short == sms["content"]["parts"]["text"]
    assert english.short.startswith("Commsportal: Checkout partial outage")
    assert english.long == said.page["en"]["text"]
    assert "Payments with Checkout fail" in english.long


def test_words_that_change_after_the_approval_do_not_change_the_answers(incident):
    before = support.answers(incident.updates.get())
    incident.title = "Something else"
    incident.save()
    Component.objects.filter(name="Checkout").update(name="Till")
    assert support.answers(incident.updates.get()) == before


def test_without_a_short_message_the_short_answer_is_the_subject_and_says_so(incident, paolo):
    for message in (said := incident.updates.get()).manifest["messages"]:
        if "subject" not in message["content"]["parts"]:
            said.manifest["messages"].remove(message)
            break
    said.manifest["messages"] = [m for m in said.manifest["messages"] if "subject" in m["content"]["parts"]]
    assert [one.short for one in support.answers(said)] == ["", ""]
    Channel.objects.filter(provider="outbox_sms").update(provider="carrier_pigeon")  # gone from the registry
    html = text(paolo, incident)
    assert "No SMS, post or notification was approved with this update" in html
    assert '<p class="cp-say" id="cp-short-en" lang="en">Checkout: partial outage</p>' in html


def test_the_page_says_when_by_whom_and_which_update(incident, paolo):
    html = text(paolo, incident)
    at = timezone.localtime(incident.updates.get().approved_at)
    assert f"As approved at {at:%H:%M} {at.tzname()} by Anna Weber; update 1." in html
    assert "Nothing on this page comes from a draft." in html
    assert 'role="alert"><b>' not in html


def test_a_draft_is_never_shown_but_that_somebody_writes_is(incident, marta, paolo):
    draft = declaring.start_draft(incident, marta, "identified")
    draft.edit(marta, draft.version, words={"en": {"issue": "SECRET DRAFT", "sms": "SECRET SMS"}})
    html = text(paolo, incident)
    assert "SECRET" not in html
    assert "Marta Rinaldi is writing a newer update." in html
    assert "update 1." in html


def test_waiting_and_approved_updates_are_not_said_either(incident, marta, anna, paolo):
    draft = declaring.start_draft(incident, marta, "identified")
    draft.submit(marta)
    assert "A newer update by Marta Rinaldi waits for approval" in text(paolo, incident)
    draft.approve(anna, typed_count=draft.reach().total)
    html = text(paolo, incident)
    assert "is approved and about to be published" in html
    assert "update 1." in html
    draft.publish(anna)
    assert "update 2." in text(paolo, incident)


def test_a_correction_that_is_being_written_is_loud(incident, marta, paolo):
    make.deliver()
    declaring.start_correction(incident.updates.get(), marta)
    assert "Marta Rinaldi is correcting these words" in text(paolo, incident)


def test_a_promise_that_was_broken_is_loud(incident, paolo):
    Incident.objects.filter(pk=incident.pk).update(next_update_at=timezone.now() - timedelta(minutes=3))
    html = text(paolo, incident)
    assert "Customers were promised news by" in html
    Incident.objects.filter(pk=incident.pk).update(next_update_at=timezone.now() + timedelta(minutes=3))
    assert "Customers were promised news by" not in text(paolo, incident)


def test_before_the_first_update_nothing_may_be_said(marta, paolo):
    quiet = make.incident(marta, Component.objects.get(name="Login"))
    html = text(paolo, quiet)
    assert "Customers have been told nothing yet" in html
    assert "cp-short-en" not in html


def test_what_is_approved_and_not_published_yet_may_not_be_said(marta, anna, paolo):
    quiet = make.incident(marta, Component.objects.get(name="Login"))
    first = quiet.updates.get()
    first.submit(marta)
    first.approve(anna, typed_count=first.reach().total)
    assert support.last_said(quiet) is None
    assert "cp-short-en" not in text(paolo, quiet)


def test_what_went_out_alone_or_by_templates_says_so(incident, marta):
    make.plan(Channel.objects.first(), severities=["sev1"], people=[("incident_manager", marta)])
    alone = make.incident(marta, Component.objects.get(name="Login"), severity="sev1").updates.get()
    alone.submit(marta)
    alone.break_glass(marta, "Nobody answers.", alone.content_hash, alone.reach().total)
    assert support.approved_in_words(alone)[1] == "Marta Rinaldi alone, without a second person"
    said = incident.updates.get()
    said.waiver = "prepared"
    assert support.approved_in_words(said)[1] == "whoever approved its templates"


def test_imported_history_names_no_approver(unguarded):
    past = Incident.objects.create(title="Past", imported_from="x:1", published_at=timezone.now(), stage="resolved")
    IncidentUpdate.objects.create(
        incident=past,
        number=1,
        stage="resolved",
        status="published",
        published_at=timezone.now(),
        imported=True,
        manifest={"page": {"en": {"subject": "Past", "text": "It was.", "html": ""}}},
    )
    html = text(make.incident_manager(), past)
    assert "somebody, in the system that it was imported from" in html
    assert "It was." in html


# ── Who sees it ──


def test_a_foreign_incident_has_no_brief(incident):
    stranger = make.user(roles.SUPPORT_LEADS)
    assign_perm("incidents.operate_component", stranger, Component.objects.get(name="Login"))
    client = make.client(stranger)
    assert [client.get(url(incident, n)).status_code for n in ("support", "support_changed", "accounts")] == [404] * 3


def test_who_may_not_see_incidents_sees_no_brief(incident):
    client = make.client(make.user(roles.ALL_COMPONENTS))
    assert [client.get(url(incident, n)).status_code for n in ("support", "support_changed", "accounts")] == [403] * 3


def test_it_is_linked_from_the_incident_and_the_dashboard(incident, paolo):
    client = make.client(paolo)
    for page in (reverse("admin:incidents_incident_change", args=[incident.pk]), reverse("admin:index")):
        assert f'href="{url(incident)}"' in client.get(page).content.decode()


def test_the_page_takes_a_constant_number_of_queries(incident, marta, paolo, django_assert_max_num_queries):
    client = make.client(paolo)
    client.get(url(incident))
    with django_assert_max_num_queries(100) as few:
        client.get(url(incident))
    for number in range(4):
        question(marta, incident=incident, question=f"Question {number}?")
        make.published(declaring.start_draft(incident, marta, "identified"), make.communications_manager())
    desk = make.channel("zendesk", config={"subdomain": "example", "email": "a@example.com"})
    linking.link(incident, marta, desk, "1 2 3 4 5")
    with django_assert_max_num_queries(len(few) + 1):  # the desks of tickets
        client.get(url(incident))


# ── Known questions ──


def test_an_answer_is_said_once_a_second_person_approved_it(incident, paolo, anna, marta):
    one = question(paolo, incident=incident)
    html = text(marta, incident)
    assert "Not to be said yet" in html
    assert 'data-copy="cp-answer' not in html
    with pytest.raises(NotAllowed):
        one.approve(paolo, one.words_hash)  # not the role
    one.approve(anna, one.words_hash)
    html = text(marta, incident)
    assert "Not to be said yet" not in html
    assert f'<p class="cp-say" id="cp-answer-{one.pk}" lang="en">No, nobody was.</p>' in html
    assert "by Anna Weber." in html


def test_nobody_approves_an_answer_of_their_own(incident, anna):
    one = question(anna, incident=incident)
    with pytest.raises(NotAllowed, match="somebody else"):
        one.approve(anna, one.words_hash)
    assert not one.is_approved


def test_a_changed_answer_is_not_to_be_said(incident, paolo, anna, marta):
    one = question(paolo, incident=incident)
    seen = one.words_hash
    one.answer = "Yes, some were."
    one._history_user = paolo
    one.save()
    with pytest.raises(WrongState):
        one.approve(anna, seen)
    one.approve(anna, one.words_hash)
    KnownQuestion.objects.filter(pk=one.pk).update(answer="Perhaps.")
    html = text(marta, incident)
    assert "Not to be said yet" in html
    assert 'class="cp-say" id="cp-answer' not in html


def test_an_answer_older_than_the_last_update_is_marked(incident, paolo, anna, marta):
    one = question(paolo, incident=incident)
    one.approve(anna, one.words_hash)
    assert "Approved before the last update" not in text(marta, incident)
    make.published(declaring.start_draft(incident, marta, "identified"), anna)
    assert "Approved before the last update" in text(marta, incident)


def test_questions_of_the_scenario_are_there_and_those_of_others_are_not(incident, paolo):
    question(paolo, scenario=incident.scenario, question="Do you pay me back?")
    other = Scenario.objects.create(slug="other", name="Other")
    question(paolo, scenario=other, question="Is it safe?")
    html = text(paolo, incident)
    assert "Do you pay me back?" in html
    assert "Is it safe?" not in html


@pytest.mark.parametrize("mark", ["{{ components }}", "{% if x %}", "[[name]]"])
def test_what_looks_like_a_placeholder_is_refused(incident, paolo, mark):
    with pytest.raises(ValidationError, match="not filled in here"):
        question(paolo, incident=incident, answer=f"See {mark}.")


@pytest.mark.parametrize("both", [True, False])
def test_a_question_belongs_to_an_incident_or_to_a_scenario(incident, paolo, both):
    where = {"incident": incident, "scenario": incident.scenario} if both else {}
    with pytest.raises(ValidationError, match="and not both"):
        question(paolo, **where)
    with pytest.raises(IntegrityError), transaction.atomic():
        KnownQuestion.objects.create(locale="en", question="?", answer="!", **where)


def form(incident: Incident | None, **kwargs) -> dict:
    given = {"incident": incident.pk if incident else "", "scenario": "", "locale": "en", "position": "0"}
    return given | {"question": "Was I charged?", "answer": "No."} | kwargs


def test_the_form_saves_and_goes_back_to_the_brief(incident, paolo):
    answer = make.client(paolo).post(reverse("admin:incidents_knownquestion_add"), form(incident))
    assert (answer.status_code, answer["Location"]) == (302, url(incident))
    one = KnownQuestion.objects.get()
    assert one.writers() == [paolo]


def test_whoever_sees_an_incident_but_does_not_work_on_it_all_writes_no_answers_for_it(marta):
    both = make.incident(marta, *Component.objects.filter(name__in=["Login", "Checkout"]))
    one = make.user(roles.SUPPORT_LEADS)
    assign_perm("incidents.operate_component", one, Component.objects.get(name="Login"))
    client = make.client(one)
    answer = client.post(reverse("admin:incidents_knownquestion_add"), form(both))
    assert "You may not work on all components" in answer.content.decode()
    assert not KnownQuestion.objects.exists()
    theirs = question(marta, incident=both)
    page = reverse("admin:incidents_knownquestion_change", args=[theirs.pk])
    assert client.post(page, form(both, answer="Yes.")).status_code == 403
    assert (
        client.post(reverse("admin:incidents_knownquestion_delete", args=[theirs.pk]), {"post": "1"}).status_code == 403
    )
    theirs.refresh_from_db()
    assert theirs.answer == "No, nobody was."


def test_questions_of_foreign_incidents_do_not_exist(incident, paolo, anna):
    one = question(paolo, incident=incident, question="Zebra?")
    stranger = make.user(roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.operate_component", stranger, Component.objects.get(name="Login"))
    client = make.client(stranger)
    assert "Zebra" not in client.get(reverse("admin:incidents_knownquestion_changelist")).content.decode()
    approve = reverse("admin:incidents_knownquestion_approve", args=[one.pk])
    assert client.post(approve, {"seen_hash": one.words_hash}).status_code == 404
    refused = client.post(reverse("admin:incidents_knownquestion_add"), form(incident)).content.decode()
    assert "Select a valid choice" in refused
    assert KnownQuestion.objects.count() == 1
    assert make.client(anna).post(approve, {"seen_hash": one.words_hash}).status_code == 302
    one.refresh_from_db()
    assert one.is_approved


def test_approving_is_a_post_and_says_why_it_is_refused(incident, paolo, anna):
    one = question(paolo, incident=incident)
    approve = reverse("admin:incidents_knownquestion_approve", args=[one.pk])
    assert make.client(anna).get(approve).status_code == 302
    assert make.client(paolo).post(approve, {"seen_hash": one.words_hash}).status_code == 403
    assert make.client(anna).post(approve, {"seen_hash": "old"}).status_code == 409
    one.refresh_from_db()
    assert not one.is_approved
    back = make.client(anna).post(approve, {"seen_hash": one.words_hash, "incident": str(incident.pk)})
    assert back["Location"] == url(incident)


# ── Affected accounts ──


def test_the_count_is_of_those_the_update_was_aimed_at(incident, paolo):
    assert "5 recipients are subscribed to what is affected." in text(paolo, incident)


def test_segments_narrow_it_as_they_were_approved(incident, marta, anna, paolo):
    rule = [{"attribute": "account", "is": "one_of", "values": ["Aurora"]}]
    segment = AudienceSegment.objects.create(name="Aurora only", conditions=rule)
    draft = declaring.start_draft(incident, marta, "identified")
    draft.edit(marta, draft.version, segments=[segment])
    make.published(draft, anna)
    segment.conditions = [{"attribute": "account", "is": "one_of", "values": ["Borea"]}]
    segment.save()
    html = text(paolo, incident)
    assert "3 recipients are subscribed" in html
    assert "Aurora only" in html


def test_accounts_are_counted_by_attribute_and_searched(incident, paolo):
    client = make.client(paolo)
    html = client.get(url(incident, "accounts")).content.decode()  # "account" is what names them
    assert '>Aurora</a></td><td class="cp-num">3</td>' in html
    assert '>Borea</a></td><td class="cp-num">1</td>' in html
    assert "1 more recipient has no “account”." in html
    found = client.get(url(incident, "accounts"), {"by": "account", "q": "BOR"}).content.decode()
    assert ">Borea<" in found
    assert ">Aurora<" not in found
    each = client.get(url(incident, "accounts"), {"by": "", "in": "account", "q": "aurora"}).content.decode()
    assert "3 recipients" in each
    one = Recipient.objects.filter(subscriptions__component__name="Checkout").last()
    alone = client.get(url(incident, "accounts"), {"by": "", "q": one.address}).content.decode()
    assert "1 recipient" in alone
    assert one.address in alone
    other = Recipient.objects.filter(subscriptions__component__name="Login").first()
    assert "Nobody with" in client.get(url(incident, "accounts"), {"by": "", "q": other.address}).content.decode()


@pytest.mark.parametrize(
    "query", [{"by": 'x"]; --', "q": "%_'\""}, {"by": "a\0b", "q": "\0"}, {"page": "-9"}, {"in": "§"}]
)
def test_odd_searches_do_no_harm(incident, paolo, query):
    assert make.client(paolo).get(url(incident, "accounts"), query).status_code == 200


def test_the_list_needs_the_permission_of_recipients(incident):
    viewer = make.user(roles.MANAGERS, roles.ALL_COMPONENTS)
    client = make.client(viewer)
    assert client.get(url(incident, "accounts")).status_code == 403
    html = text(viewer, incident)
    assert "5 recipients" in html
    assert "Search the accounts" not in html


def test_many_accounts_come_in_pages(incident, paolo):
    checkout = Component.objects.get(name="Checkout")
    for number, one in enumerate(make.recipients(60, checkout)):
        one.attributes = {"account": f"Account {number:02}"}
        one.save()
    client = make.client(paolo)
    first = client.get(url(incident, "accounts")).content.decode()
    assert ">account: 62<" in first
    assert "Page 1 of 2" in first
    second = client.get(url(incident, "accounts"), {"page": "2"}).content.decode()
    assert "Account 59" in second
    assert "Account 00" not in second


# ── Tickets ──


def test_tickets_link_to_their_help_desk(incident, marta, paolo):
    zendesk = make.channel("zendesk", config={"subdomain": "example", "email": "a@example.com"})
    other = make.channel("ticket_webhook", config={"ticket_url": "https://desk.example.com/t/{ticket}?x=1"})
    silent = make.channel("ticket_webhook")
    linking.link(incident, marta, zendesk, "12345")
    linking.link(incident, marta, other, "A/1")
    linking.link(incident, marta, silent, "B-2")
    assert [one.url for one in support.tickets(incident)] == [
        "https://example.zendesk.com/agent/tickets/12345",
        "https://desk.example.com/t/A%2F1?x=1",
        "",
    ]
    html = text(paolo, incident)
    assert 'href="https://example.zendesk.com/agent/tickets/12345"' in html
    assert "B-2" in html


# ── Changed since it was opened? ──


def test_a_poll_is_empty_until_something_changes(incident, marta, anna, paolo):
    client = make.client(paolo)
    seen = client.get(url(incident)).context["mark"]

    def ask():
        return client.get(url(incident, "support_changed"), headers={"If-None-Match": f'"{seen}"'})

    assert (ask().status_code, ask().content) == (304, b"")
    draft = declaring.start_draft(incident, marta, "identified")
    first = ask()
    assert (first.status_code, first.json()) == (200, {"update": incident.updates.get(number=1).pk})
    seen = first["ETag"].strip('"')
    assert ask().status_code == 304
    make.published(draft, anna)
    assert ask().json() == {"update": draft.pk}


@pytest.mark.parametrize("what", ["question", "approval", "ticket", "promise"])
def test_whatever_support_goes_by_changes_the_mark(incident, paolo, anna, marta, what):
    one = question(paolo, incident=incident)
    before = support.mark(incident)
    assert support.mark(incident) == before
    if what == "question":
        question(paolo, incident=incident, question="Again?")
    elif what == "approval":
        one.approve(anna, one.words_hash)
    elif what == "ticket":
        linking.link(incident, marta, make.channel("ticket_webhook"), "1")
    else:
        Incident.objects.filter(pk=incident.pk).update(next_update_at=timezone.now() - timedelta(minutes=1))
    assert support.mark(Incident.objects.get(pk=incident.pk)) != before


def test_a_poll_is_cheap(incident, paolo, django_assert_max_num_queries):
    client = make.client(paolo)
    mark = client.get(url(incident)).context["mark"]
    with django_assert_max_num_queries(14):
        client.get(url(incident, "support_changed"), headers={"If-None-Match": f'"{mark}"'})
