import json
from datetime import date

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from channels import erasing
from channels.models import Batch, Channel, Delivery, Recipient, Suppression
from channels.secrets import address_hash
from feedback.models import SurveyAnswer
from incidents import confirming, subscriber_import, subscribing
from incidents.models import Incident, SubscriptionRequest
from tests import make

pytestmark = pytest.mark.django_db
ADDRESS, NAME = "rosalind.quince@example.com", "Rosalind Quince"


def dump() -> str:
    """All rows of all tables as text, and what byte columns hold."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            found += [repr([bytes(c) if isinstance(c, memoryview) else c for c in row]) for row in cursor.fetchall()]
    return "\n".join(found)


@pytest.fixture
def rosalind():
    """Somebody who was written to, answered a survey, asked by themselves, and was talked about in many places."""
    channel = make.channel()
    make.plan(channel, locales=("en",))
    person = Recipient.objects.create(medium="email", address=ADDRESS, name=NAME, attributes={"boss": NAME})
    Recipient.objects.filter(pk=person.pk).update(confirmed_at="2025-01-01T00:00Z")
    person.subscriptions.create()
    incident = make.incident()
    make.published(incident.updates.get())
    make.deliver()
    Delivery.objects.filter(recipient=person).update(detail=f"<{ADDRESS}> is odd", provider_ref=ADDRESS)
    Batch.objects.update(last_error=f"550 {ADDRESS.upper()}")
    Channel.objects.update(test_error=f"550 {ADDRESS}")
    make.survey_answer(incident, person, clear=1, timely=2, useful=3, comment=f"Call me, {NAME}")
    for at in (None, "2025-01-01T00:00Z"):
        SubscriptionRequest.objects.create(
            medium="email",
            address=ADDRESS,
            address_hash=person.address_hash,
            domain="example.com",
            ip_hash="x",
            locale="en",
            time_zone="UTC",
            wording="Yes, write to me.",
            wording_locale="en",
            confirmed_at=at,
        )
    subscriber_import.keep(
        make.user(), "x.csv", f"address,name\n{ADDRESS},{NAME}\n".encode(), "contract", date(2025, 1, 1)
    )
    LogEntry.objects.create(
        user=make.user(),
        content_type=ContentType.objects.get_for_model(Recipient),
        object_id=str(person.pk),
        object_repr=str(person),
        action_flag=2,
        change_message="[]",
    )
    return person


def test_nothing_of_a_person_is_left_in_the_database_or_the_data_directory(rosalind, data_dir):
    assert ADDRESS in dump()
    assert any(ADDRESS in file.read_text() for file in data_dir.rglob("*.json"))
    erasing.erase(rosalind, make.user())
    after = dump().lower()
    for word in (ADDRESS, "rosalind", "quince"):
        assert word not in after
        assert not [f for f in data_dir.rglob("*") if f.is_file() and word in f.read_bytes().decode("latin-1").lower()]


def test_the_record_stays_without_the_person(rosalind):
    by = make.user()
    assert erasing.erase(rosalind, by) == 1
    delivery = Delivery.objects.get()
    assert (delivery.recipient_id, delivery.status) == (rosalind.pk, "sent")
    answer = SurveyAnswer.objects.get()
    assert (answer.recipient_id, answer.given["clear"], answer.texts) == (None, 1, {})
    proof = SubscriptionRequest.objects.get()
    assert (proof.wording, proof.address_hash) == ("Yes, write to me.", rosalind.address_hash)
    assert Incident.objects.count() == 1
    entry = LogEntry.objects.filter(action_flag=3).get()
    assert (entry.user, entry.object_repr, json.loads(entry.change_message)) == (
        by,
        f"#{rosalind.pk}",
        [{"deleted": {}}],
    )


@pytest.mark.parametrize("before", [None, "complained"])
def test_the_address_stays_stopped_also_for_an_import(rosalind, before):
    if before:
        Suppression.objects.create(
            medium="email", address_hash=rosalind.address_hash, reason=before, detail=f"{ADDRESS} said so"
        )
    erasing.erase(rosalind, make.user())
    stop = Suppression.objects.get(address_hash=address_hash("email", ADDRESS))
    assert (stop.reason, stop.detail) == (before or "unsubscribed", "Erased")
    one = subscriber_import.keep(make.user(), "x.csv", f"address\n{ADDRESS}\n".encode(), "contract", date(2025, 1, 1))
    shown = subscriber_import.plan(one)
    assert subscriber_import.apply(one, shown.fingerprint).stopped == 1
    assert not Recipient.objects.filter(address=ADDRESS).exists()


def subscribe_again() -> SubscriptionRequest:
    """The same person, by themselves, on the status page."""
    wanted = {"components": [], "groups": [], "least_severity": "sev4", "maintenance": True}
    one = subscribing.ask("email", ADDRESS, wanted, "en", "UTC", ("Yes, write to me.", "en"), "192.0.2.1")
    confirming.send(one.pk)
    one.refresh_from_db()
    return one


@pytest.mark.parametrize("before", [None, "unsubscribed"])
def test_who_was_erased_may_subscribe_again_and_the_request_records_what_ended(rosalind, before):
    if before:
        Suppression.objects.create(medium="email", address_hash=rosalind.address_hash, reason=before)
    erasing.erase(rosalind, make.user())
    one = subscribe_again()
    assert one.outcome == "sent"
    assert Suppression.objects.exists()  # asking is no proof
    person = subscribing.confirm(one)
    assert not Suppression.objects.exists()
    one.refresh_from_db()
    assert (one.wanted["lifted"]["reason"], one.wanted["lifted"]["detail"]) == ("unsubscribed", "Erased")
    page = make.client(make.communications_manager()).get(f"/admin/channels/recipient/{person.pk}/change/")
    assert "it ended when they confirmed" in page.content.decode()
    assert make.incident().updates.get().reach().total == 1


@pytest.mark.parametrize("before", ["bounced", "complained", "manual"])
def test_who_was_stopped_for_another_reason_before_they_were_erased_stays_so(rosalind, before):
    Suppression.objects.create(medium="email", address_hash=rosalind.address_hash, reason=before)
    erasing.erase(rosalind, make.user())
    assert subscribe_again().outcome == "suppressed"
    assert Suppression.objects.get().reason == before


def test_an_old_link_does_not_lift_what_erasing_stopped(rosalind):
    old = subscribe_again()
    erasing.erase(rosalind, make.user())
    with pytest.raises(subscribing.Gone):
        subscribing.confirm(old)
    assert Suppression.objects.exists()
