"""What is done about a delivery: trying again, stopping, the list of those not reached. And who may."""

import csv
import io

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from channels import delivery
from channels.errors import Permanent, Uncertain
from channels.models import Batch, Delivery, Dispatch, Heartbeat, Recipient, Suppression
from channels.progress import progress_of
from incidents import declaring, publishing, roles, tasks
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import ComponentUserObjectPermission, Decision, IncidentUpdate
from tests import make
from tests.fakes.postman import Postman, postman
from tests.incidents.test_delivery_page import published, text, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


@pytest.fixture(scope="module")
def world(shared_world):
    """Marta's update, delivered to 4 of the 10 people who want to hear of cards only: its key, and those 4."""
    marta = make.incident_manager(username="marta")
    cards = make.component("Cards", group="Cards")
    people = make.recipients(10, cards)
    with postman() as fate:
        for one in people[:3]:
            fate[one.address] = Permanent("554", "refused")
        fate[people[3].address] = Permanent("552 5.2.2", "full")
        for one in people[4:6]:
            fate[one.address] = Uncertain("no-reply-after-data")
        make.plan(make.channel("postman", "Mail"), locales=("en",)).component_groups.add(cards.group)
        update = make.published(make.incident(marta, cards).updates.get())
        make.deliver()
        return update.pk, list(Postman.ledger)


@pytest.fixture
def manager(client, db) -> User:
    one = User.objects.get(username="marta")
    client.force_login(one)
    return one


@pytest.fixture
def half(world, manager) -> IncidentUpdate:
    """A published update that failed for 4 of 10, for two reasons, and is unknown for 2. Nobody fails any more."""
    key, reached = world
    with postman():
        Postman.ledger.extend(reached)
        yield IncidentUpdate.objects.get(pk=key)


# ── Retry ──


def retry(client, update, **data):
    channel = update.channels.first()
    return client.post(url(update, "retry"), {"channel": channel.pk, "status": "failed"} | data)


def test_retrying_one_reason_reaches_those_and_records_who_did_it(client, manager, half):
    answer = retry(client, half, code="554")
    assert answer.status_code == 302
    [waiting] = progress_of(publishing.dispatches(half))
    assert waiting.repeating == 3
    assert "Being tried again" not in text(client.get(url(half)))  # one reason is left to try
    make.deliver()
    [done] = progress_of(publishing.dispatches(half))
    assert (done.reached, done.failed, done.unknown) == (7, 1, 2)
    decision = Decision.objects.get(verb="retry")
    assert decision.by == manager
    assert "3" in decision.comment
    assert decision.content_hash == half.content_hash


def test_a_second_click_sends_nothing_twice(client, half):
    retry(client, half, code="554")
    answer = retry(client, half, code="554")
    assert answer.status_code == 409
    assert "Nobody is left" in text(answer)
    make.deliver()
    assert len(Postman.ledger) == len(set(Postman.ledger)) == 7


def test_what_is_not_certain_needs_an_explicit_choice(client, half):
    answer = retry(client, half, status="unknown")
    assert answer.status_code == 422
    assert "twice" in text(answer)
    assert not Batch.objects.filter(repeats=True).exists()
    assert retry(client, half, status="unknown", sure="1").status_code == 302
    make.deliver()
    assert progress_of(publishing.dispatches(half))[0].unknown == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"channel": ""}, 422),
        ({"channel": "x"}, 422),
        ({"channel": "999999"}, 404),
        ({"status": "sent"}, 422),
        ({"status": ""}, 422),
        ({"purpose": "survey"}, 409),
        ({"code": "no such reason"}, 409),
    ],
)
def test_odd_requests_are_refused_in_words(client, half, data, status):
    answer = retry(client, half, **data)
    assert answer.status_code == status
    assert not Batch.objects.filter(repeats=True).exists()


def test_looking_at_retry_or_stop_changes_nothing(client, half):
    assert client.get(url(half, "retry")).status_code == 405
    assert client.get(url(half, "stop")).status_code == 200
    assert not Batch.objects.filter(repeats=True).exists()
    assert not Dispatch.objects.exclude(cancelled_at=None).exists()


def test_those_who_unsubscribed_are_left_out_of_a_retry(client, half):
    failed = Delivery.objects.filter(code="554").first()
    person = Recipient.objects.get(pk=failed.recipient_id)
    Suppression.objects.create(medium="email", address_hash=person.address_hash, reason="unsubscribed")
    retry(client, half, code="554")
    make.deliver()
    assert person.address not in Postman.ledger
    assert "Unsubscribed, or erased, in the meantime" in text(client.get(url(half)))


# ── Old words ──


@pytest.fixture
def overtaken(half, manager):
    """Takes the incident on to a stage, which customers are told."""

    def go_on(stage: str) -> IncidentUpdate:
        return make.published(declaring.start_draft(half.incident, manager, stage))

    return go_on


def test_old_words_go_out_only_after_a_page_that_says_so(client, half, overtaken):
    overtaken("monitoring")
    answer = retry(client, half, code="554")
    shown = text(answer)
    assert answer.status_code == 200
    assert "This says “Investigating”, of " in shown
    assert "A later update, “Monitoring”, has been published since (" in shown
    assert "Send these old words to 3 people all the same?" in shown
    assert not Batch.objects.filter(repeats=True).exists()
    assert retry(client, half, **answer.context["asked"], old_words="1").status_code == 302
    [waiting] = progress_of(publishing.dispatches(half))
    assert waiting.repeating == 3


def test_the_page_says_that_the_incident_is_resolved_since(client, half, overtaken):
    overtaken("resolved")
    assert "The incident has been resolved since (" in text(retry(client, half))
    assert not Batch.objects.filter(repeats=True).exists()


def test_the_choice_to_risk_a_second_copy_is_carried_through_the_question(client, half, overtaken):
    overtaken("monitoring")
    asked = retry(client, half, status="unknown", sure="1").context["asked"]
    assert retry(client, half, **asked, old_words="1").status_code == 302


def test_the_last_word_is_sent_again_without_a_question_even_once_it_is_over(client, half, overtaken):
    last = overtaken("resolved")
    make.deliver()
    Delivery.objects.filter(dispatch__in=publishing.dispatches(last)).update(status="failed", code="554")
    assert retry(client, last, code="554").status_code == 302


def test_a_later_update_that_is_not_published_overtakes_nothing(client, manager, half):
    declaring.start_draft(half.incident, manager, "monitoring")
    assert retry(client, half, code="554").status_code == 302


def test_the_verb_does_not_send_old_words_unasked(half, manager, overtaken):
    overtaken("monitoring")
    with pytest.raises(Refused):
        half.retry(manager, half.channels.get())


def corrected(half: IncidentUpdate, manager: User) -> IncidentUpdate:
    """The draft of a correction, begun by the manager."""
    draft = declaring.start_draft(half.incident, manager, "investigating")
    IncidentUpdate.objects.filter(pk=draft.pk).update(corrects=half)
    return draft


def test_words_that_are_being_corrected_go_out_only_after_a_page_that_says_so(client, manager, half):
    draft = corrected(half, manager)
    answer = retry(client, half, code="554")
    shown = text(answer)
    assert answer.status_code == 200
    assert "is correcting these words; the correction is not published yet." in shown
    assert "Send to 3 people" in shown
    assert "A later update" not in shown
    assert not Batch.objects.filter(repeats=True).exists()
    with pytest.raises(Refused, match="being corrected"):
        half.retry(manager, half.channels.get(), code="554")
    draft.withdraw(manager)
    assert retry(client, half, code="554").status_code == 302  # nobody corrects them any more


def test_words_that_are_being_corrected_go_out_once_that_is_confirmed(client, manager, half):
    corrected(half, manager)
    asked = retry(client, half, code="554").context["asked"]
    assert retry(client, half, **asked, old_words="1").status_code == 302
    [waiting] = progress_of(publishing.dispatches(half))
    assert waiting.repeating == 3


# ── Stop ──


def test_stopping_states_the_people_and_sends_no_more(client, manager):
    Heartbeat.objects.create(name="worker", at=timezone.now())
    make.recipients(250)
    channel = make.channel()
    update = published(channel, locales=("en",))
    tasks.sweep()
    delivery.deliver(delivery.claim(channel.pk), channel.get_provider())  # the first hundred
    asked = text(client.get(url(update, "stop")))
    assert "150 people have not been written to yet" in asked
    assert "Stop: leave out 150 people" in asked
    assert client.post(url(update, "stop")).status_code == 302
    make.deliver()
    shown = text(client.get(url(update)))
    assert "100 of 250 people reached" in shown
    assert "150 people were not written to." in shown
    assert 'data-poll="0"' in shown
    assert Decision.objects.get(verb="stop").by == manager
    again = client.post(url(update, "stop"))
    assert again.status_code == 409
    assert "nothing left to stop" in text(again)


def test_a_stopped_message_does_not_hold_up_the_surveys_of_others():
    channel = make.channel()
    make.recipients(3)
    make.plan(channel, locales=("en",))
    update = make.incident().updates.get()
    make.published(update)
    make.deliver()
    incident = update.incident
    second = declaring.start_draft(incident, make.incident_manager(), "resolved")
    second.ask_feedback = True
    second.save()
    make.published(second)
    tasks.sweep()
    publishing.dispatches(second).filter(purpose="update").update(cancelled_at=timezone.now())
    assert [d.purpose for d in publishing.waiting()] == ["survey"]


# ── Who may ──


@pytest.mark.parametrize("name", ["delivery", "delivery_progress", "stop", "delivery_failures"])
def test_an_update_of_other_components_does_not_exist(client, half, name):
    stranger = make.user(roles.INCIDENT_MANAGERS, roles.MANAGERS)
    ComponentUserObjectPermission.objects.create(
        user=stranger,
        content_object=make.component("Elsewhere"),
        permission=Permission.objects.get(codename="operate_component"),
    )
    client.force_login(stranger)
    assert client.get(url(half, name)).status_code == 404
    assert client.post(url(half, "retry"), {}).status_code == 404
    assert client.post(url(half, "stop")).status_code == 404


def test_those_who_may_not_retry_see_no_button_and_are_refused(client, half):
    client.force_login(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    shown = text(client.get(url(half)))
    assert "people again" not in shown
    assert retry(client, half).status_code == 403
    assert client.post(url(half, "stop")).status_code == 403
    assert not Batch.objects.filter(repeats=True).exists()


def test_without_the_right_to_see_deliveries_the_page_is_closed(client, half):
    client.force_login(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    assert client.get(url(half)).status_code == 403
    client.logout()
    assert client.get(url(half)).status_code == 302


def test_the_verbs_check_by_themselves(half):
    stranger = make.user(roles.INCIDENT_MANAGERS)
    with pytest.raises(NotAllowed):
        half.retry(stranger, half.channels.get())
    with pytest.raises(NotAllowed):
        half.stop(stranger)
    draft = make.incident().updates.get()
    with pytest.raises(WrongState):
        draft.retry(make.incident_manager(), half.channels.get())
    with pytest.raises(WrongState):
        draft.stop(make.incident_manager())


# ── CSV ──


def rows(answer):
    return list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_the_list_of_those_not_reached(client, half):
    assert client.get(url(half, "delivery_failures")).status_code == 403  # needs the right to see recipients
    client.force_login(make.communications_manager())
    answer = client.get(url(half, "delivery_failures"))
    assert answer["Content-Type"].startswith("text/csv")
    header, *lines = rows(answer)
    assert header[:4] == ["Channel", "About", "Language", "Address"]
    assert len(lines) == 6
    assert {line[6] for line in lines} == {"554", "552 5.2.2", "no-reply-after-data"}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_becomes_a_formula(client, half, start):
    evil = f"{start}HYPERLINK(1)"
    Recipient.objects.update(name=evil)
    Delivery.objects.filter(status="failed").update(detail=evil, code=evil)
    client.force_login(make.communications_manager())
    cells = [cell for line in rows(client.get(url(half, "delivery_failures"))) for cell in line]
    assert f"'{evil}" in cells
    assert not [cell for cell in cells if cell.startswith(start)]


def test_an_erased_person_keeps_the_line_without_the_address(client, half):
    Recipient.objects.all().delete()
    client.force_login(make.communications_manager())
    lines = rows(client.get(url(half, "delivery_failures")))[1:]
    assert len(lines) == 6
    assert {line[3] for line in lines} == {""}
