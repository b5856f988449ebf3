from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from channels.models import Dispatch
from channels.progress import progress_of
from incidents import declaring, publishing
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import Decision, IncidentUpdate, Stage
from incidents.models.incident import component_states
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
Status = IncidentUpdate.Status
Verb = Decision.Verb


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """Anna's draft for 30 + 12 people: its key.

    They want to hear of one component only, and its group has a plan of its own: no other update is theirs.
    """
    anna = make.incident_manager(username="anna", first_name="Anna")
    make.communications_manager(username="bruno", first_name="Bruno")
    cards = make.component("Cards", group="Cards")
    make.plan(make.channel()).component_groups.add(cards.group)
    make.recipients(30, cards)
    make.recipients(12, cards, locale="it")
    return make.incident(anna, cards).updates.get().pk


@pytest.fixture
def author(db) -> User:
    return User.objects.get(username="anna")


@pytest.fixture
def approver(db) -> User:
    return User.objects.get(username="bruno")


@pytest.fixture
def draft(world: int, db) -> IncidentUpdate:
    return IncidentUpdate.objects.get(pk=world)


def verbs(update) -> list[str]:
    return list(update.decisions.order_by("id").values_list("verb", flat=True))


def test_the_whole_road(draft, author, approver):
    draft.submit(author)
    draft.approve(approver, seen_hash=draft.content_hash)
    draft.publish(author)
    make.deliver()
    assert publishing.sent_hash(draft) == draft.approved_hash == draft.content_hash
    assert [(p.dispatch.locale, p.reached) for p in progress_of(publishing.dispatches(draft))] == [
        ("en", 30),
        ("it", 12),
    ]
    assert verbs(draft) == [Verb.DRAFT, Verb.SUBMIT, Verb.APPROVE, Verb.PUBLISH]
    draft.incident.refresh_from_db()
    assert draft.incident.published_at == draft.published_at
    assert set(component_states().values()) == {"partial_outage"}


def test_resolving_clears_the_components_and_asks_those_who_were_told(draft, author, approver):
    make.published(draft, approver)
    make.deliver()
    make.recipients(5)  # subscribed only after the first message
    last = declaring.start_draft(draft.incident, author, Stage.RESOLVED)
    assert (last.ask_feedback, last.next_update_at) == (True, None)
    make.published(last, approver)
    make.deliver()
    draft.incident.refresh_from_db()
    assert draft.incident.resolved_at == last.published_at
    assert component_states() == {}
    found = {(p.dispatch.purpose, p.dispatch.locale): p.reached for p in progress_of(publishing.dispatches(last))}
    assert found == {("update", "en"): 35, ("update", "it"): 12, ("survey", "en"): 35, ("survey", "it"): 12}


def test_a_survey_waits_for_its_time_and_for_the_messages(author, approver):
    make.recipients(30)
    make.recipients(12, locale="it")
    make.plan(make.channel(), survey_delay_minutes=60)
    draft = make.incident(author).updates.get()
    make.published(draft, approver)
    make.deliver()
    last = declaring.start_draft(draft.incident, author, Stage.RESOLVED)
    make.published(last, approver)
    make.deliver()
    surveys = Dispatch.objects.filter(purpose="survey")
    assert {d.expanded_at for d in surveys} == {None}
    surveys.update(not_before=timezone.now() - timedelta(minutes=1))
    make.deliver()
    assert [p.reached for p in progress_of(surveys)] == [30, 12]


def test_nobody_approves_what_they_wrote_superuser_or_not(draft, author):
    author.is_superuser = True
    author.save()
    draft.submit(author)
    with pytest.raises(NotAllowed, match="somebody else"):
        draft.approve(author)


def test_nobody_approves_what_they_edited(draft, author, approver):
    draft.edit(approver, draft.version, {"en": {"subject": "Card payments fail in shops"}})
    draft.submit(author)
    with pytest.raises(NotAllowed, match="somebody else"):
        draft.approve(approver)
    draft.approve(make.communications_manager())


def test_an_edit_after_approval_voids_it(draft, author, approver):
    draft.submit(author)
    draft.approve(approver)
    draft.edit(author, draft.version, {"it": {"sms": "Pagamenti fermi."}})
    assert (draft.status, draft.approved_by, draft.approved_hash, draft.manifest) == (Status.DRAFT, None, "", None)
    with pytest.raises(WrongState):
        draft.publish(author)


def test_a_change_of_channels_or_facts_voids_it_too(draft, author, approver):
    draft.submit(author)
    draft.edit(author, draft.version, channels=[])
    assert draft.status == Status.DRAFT
    draft.submit(author)
    draft.edit(author, draft.version, next_update_at=timezone.now() + timedelta(hours=3))
    assert draft.status == Status.DRAFT


def test_saving_without_a_change_voids_nothing(draft, author, approver):
    draft.submit(author)
    draft.approve(approver)
    words = {r.locale: r.words() for r in draft.renditions.all()}
    draft.edit(author, draft.version, words, channels=draft.channels.all(), stage=draft.stage)
    assert draft.status == Status.APPROVED


def test_autosave_leaves_one_line_in_the_record(draft, author, approver):
    for n in range(3):
        draft.edit(author, draft.version, {"en": {"issue": f"Card payments fail, version {n}."}})
    assert verbs(draft) == [Verb.DRAFT]  # nobody else, and no step, in between
    draft.edit(approver, draft.version, {"en": {"issue": "Card payments fail."}})
    draft.edit(approver, draft.version, {"en": {"issue": "Card payments fail in shops."}})
    assert verbs(draft) == [Verb.DRAFT, Verb.EDIT]


def test_a_stale_form_is_refused_and_says_who(draft, author, approver):
    version = draft.version
    draft.edit(approver, version, {"en": {"issue": "Card payments fail."}})
    with pytest.raises(WrongState, match=approver.get_full_name()):
        draft.edit(author, version, {"en": {"issue": "Something else."}})


def test_an_approver_decides_on_what_they_saw(draft, author, approver):
    draft.submit(author)
    seen = draft.content_hash
    draft.edit(author, draft.version, {"en": {"issue": "Card payments fail."}})
    draft.submit(author)
    with pytest.raises(WrongState, match="Read it again"):
        draft.approve(approver, seen_hash=seen)


def test_a_second_decision_names_who_was_first(draft, author, approver):
    draft.submit(author)
    draft.approve(approver)
    with pytest.raises(WrongState, match=approver.get_full_name()):
        draft.approve(make.communications_manager())


def test_sending_back_needs_a_reason(draft, author, approver):
    draft.submit(author)
    with pytest.raises(Refused):
        draft.reject(approver, "  ")
    draft.reject(approver, "Say which shops.")
    assert draft.status == Status.DRAFT
    assert draft.decisions.last().comment == "Say which shops."


def test_publishing_needs_approval(draft, author):
    with pytest.raises(WrongState):
        draft.publish(author)
    draft.submit(author)
    with pytest.raises(WrongState):
        draft.publish(author)
    assert Dispatch.objects.count() == 0


def test_roles_limit_the_verbs(draft, author):
    from incidents import roles

    support = make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS)
    draft.edit(support, draft.version, {"en": {"issue": "Card payments fail."}})
    draft.submit(support)
    with pytest.raises(NotAllowed):
        draft.approve(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    with pytest.raises(NotAllowed):
        draft.approve(make.user(roles.COMMUNICATIONS_MANAGERS))  # no component
    with pytest.raises(NotAllowed):
        draft.withdraw(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))


def test_acting_needs_every_component_seeing_needs_one(author):
    from guardian.shortcuts import assign_perm

    from incidents import roles
    from incidents.models import Incident

    first, second = make.component(), make.component()
    incident = make.incident(author, first, second)
    update = incident.updates.get()
    update.submit(author)
    one = make.user(roles.COMMUNICATIONS_MANAGERS)
    assert not Incident.objects.for_user(one).exists()
    assign_perm("incidents.operate_component", one, first)
    assert Incident.objects.for_user(one).get() == incident
    with pytest.raises(NotAllowed):
        update.approve(one, typed_count=0)
    assign_perm("incidents.operate_component", one, second)
    update.approve(type(one).objects.get(pk=one.pk), typed_count=0)


def test_an_empty_audience_is_typed_to_confirm(author, approver):
    make.plan(make.channel())
    update = make.incident(author).updates.get()
    update.submit(author)
    with pytest.raises(Refused, match="Type 0"):
        update.approve(approver)
    update.approve(approver, typed_count=0)


def test_a_status_page_only_update_needs_no_audience(author, approver):
    make.plan(make.channel())
    update = make.incident(author).updates.get()
    update.edit(author, update.version, notify=False)
    update.submit(author)
    update.approve(approver)
    update.publish(approver)
    assert Dispatch.objects.count() == 0


def test_a_runaway_audience_is_typed_to_confirm(draft, author, approver, settings):
    settings.AUDIENCE_CONFIRM_ABOVE = 40
    draft.submit(author)
    with pytest.raises(Refused, match="42 people"):
        draft.approve(approver, typed_count=41)
    draft.approve(approver, typed_count=42)


def test_ten_times_the_last_audience_is_typed_to_confirm(draft, author, approver):
    make.published(draft, approver)
    make.recipients(420)
    update = declaring.start_draft(draft.incident, author, Stage.IDENTIFIED)
    update.submit(author)
    with pytest.raises(Refused, match="462 people"):
        update.approve(approver)
    update.approve(approver, typed_count=462)


def test_an_audience_that_grew_since_approval_stops_the_publication(draft, author, approver):
    draft.submit(author)
    draft.approve(approver)
    make.recipients(200)
    with pytest.raises(WrongState, match="from 42 to 242"):
        draft.publish(author)
    assert Dispatch.objects.count() == 0


def test_an_unknown_placeholder_blocks_and_suggests(draft, author):
    draft.edit(author, draft.version, {"en": {"issue": "All fine\nin {{ componets }}"}})
    with pytest.raises(Refused) as refused:
        draft.submit(author)
    [finding] = [f for f in refused.value.findings if f.code == "placeholder"]
    assert (finding.locale, finding.field) == ("en", "issue")
    assert "Line 2: {{ componets }} is unknown; did you mean {{ components }}?" in finding.message


def test_there_is_one_pending_update_at_a_time(draft, author):
    assert declaring.start_draft(draft.incident, author) == draft


def test_a_withdrawn_draft_makes_room_for_the_next(draft, author):
    draft.withdraw(author)
    following = declaring.start_draft(draft.incident, author)
    assert (following.number, following.status) == (2, Status.DRAFT)
    with pytest.raises(WrongState):
        draft.submit(author)


def test_a_promise_follows_the_time_that_is_set(draft, author):
    at = timezone.now().replace(minute=7) + timedelta(hours=5)
    draft.edit(author, draft.version, next_update_at=at)
    draft.submit(author)
    local = timezone.localtime(at)
    [english] = [m for m in draft.manifest["messages"] if m["locale"] == "en"]
    assert f"{local:%H:%M} {local.tzname()}" in english["content"]["parts"]["text"]


def test_a_broadcast_channel_speaks_its_own_languages_and_counts_as_one(author):
    make.plan(make.channel("outbox_post", locales=["it"]))
    make.recipients(10)
    update = make.incident(author).updates.get()
    assert [(locale, count) for _channel, locale, count in update.reach().rows] == [("it", 1)]


def test_a_language_nobody_wrote_reads_the_default(author):
    make.plan(make.channel(), locales=("en",))
    make.recipients(3, locale="it")
    update = make.incident(author).updates.get()
    assert [(locale, count) for _channel, locale, count in update.reach().rows] == [("en", 3)]


def test_a_draft_after_the_first_was_withdrawn_keeps_the_declared_states(draft, author):
    states = draft.component_states
    assert set(states.values()) == {"partial_outage"}
    draft.withdraw(author)
    assert declaring.start_draft(draft.incident, author).component_states == states


def test_nobody_to_write_to_is_typed_even_if_there_is_a_public_post(author, approver):
    make.plan(make.channel(), make.channel("outbox_post"))
    update = make.incident(author).updates.get()
    update.submit(author)
    with pytest.raises(Refused, match="Type 0"):
        update.approve(approver)


def test_a_public_post_alone_needs_no_typing(author, approver):
    make.plan(make.channel("outbox_post"))
    update = make.incident(author).updates.get()
    update.submit(author)
    update.approve(approver)
    update.publish(approver)


def test_a_promise_that_has_passed_is_neither_approved_nor_published(draft, author, approver, time_machine_later):
    draft.submit(author)
    with time_machine_later(hours=2), pytest.raises(Refused):
        draft.approve(approver)
    draft.approve(approver)
    with time_machine_later(hours=2), pytest.raises(Refused):
        draft.publish(approver)
    assert Dispatch.objects.count() == 0


@pytest.fixture
def time_machine_later():
    import time_machine

    return lambda **span: time_machine.travel(timezone.now() + timedelta(**span))


def test_people_who_appear_after_nobody_was_approved_stop_the_publication(author, approver):
    make.plan(make.channel())
    update = make.incident(author).updates.get()
    update.submit(author)
    update.approve(approver, typed_count=0)
    make.recipients(1)
    with pytest.raises(WrongState, match="from 0 to 1"):
        update.publish(approver)
