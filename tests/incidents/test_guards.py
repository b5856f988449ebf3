"""What the database itself refuses, whoever asks."""

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from channels.models import Channel, Dispatch
from incidents import publishing
from incidents.models import Decision, IncidentUpdate
from tests import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def author(db):
    return make.incident_manager()


@pytest.fixture
def update(author) -> IncidentUpdate:
    """Waiting for approval."""
    make.plan(make.channel())
    make.recipients(3)
    return make.incident(author).updates.get().submit(author)


def refused(sql: str, *params) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, params)
            return False
    except DatabaseError:
        return True


def test_self_approval_by_raw_row(update, author):
    assert refused(
        "UPDATE incidents_incidentupdate SET status='approved', approved_by_id=%s, approved_hash=content_hash"
        " WHERE id=%s",
        author.pk,
        update.pk,
    )


def test_self_approval_by_an_editor_who_is_not_the_author(update, author):
    editor = make.communications_manager()
    update.edit(editor, update.version, {"en": {"issue": "Card payments fail."}})
    update.submit(author)
    assert refused(
        "UPDATE incidents_incidentupdate SET status='approved', approved_by_id=%s, approved_hash=content_hash"
        " WHERE id=%s",
        editor.pk,
        update.pk,
    )


def test_approval_without_an_approver(update):
    assert refused(
        "UPDATE incidents_incidentupdate SET status='approved', approved_hash=content_hash WHERE id=%s", update.pk
    )


def test_approval_of_other_content(update):
    other = make.communications_manager()
    assert refused(
        "UPDATE incidents_incidentupdate SET status='published', approved_by_id=%s, approved_hash='x' WHERE id=%s",
        other.pk,
        update.pk,
    )


def test_a_decision_of_the_author_to_approve(update, author):
    with pytest.raises(DatabaseError), transaction.atomic():
        Decision.objects.create(incident=update.incident, update=update, by=author, verb=Decision.Verb.APPROVE)


def test_decisions_are_append_only(update):
    assert refused("UPDATE incidents_decision SET comment='x'")
    assert refused("DELETE FROM incidents_decision")


def test_an_update_that_was_inserted_as_approved_by_its_author(update, author):
    update.withdraw(author)
    with pytest.raises(DatabaseError), transaction.atomic():
        IncidentUpdate.objects.create(
            incident=update.incident,
            number=9,
            stage="identified",
            status="published",
            author=author,
            approved_by=author,
            approved_hash="x",
            content_hash="x",
        )


def test_a_dispatch_of_what_nobody_approved(update):
    with pytest.raises(DatabaseError), transaction.atomic():
        Dispatch.objects.create(
            source=f"update:{update.pk}",
            thread="t",
            channel=Channel.objects.get(),
            locale="en",
            content={},
            approved_hash=update.content_hash,
        )


def test_what_is_published_is_final(update):
    update.approve(make.communications_manager())
    update.publish(update.author)
    assert refused("UPDATE incidents_incidentupdate SET manifest='{}' WHERE id=%s", update.pk)
    assert refused("UPDATE incidents_incidentupdate SET status='draft' WHERE id=%s", update.pk)
    assert refused("UPDATE channels_dispatch SET content='{}'")
    dispatch = publishing.dispatches(update).first()
    dispatch.cancelled_at = timezone.now()
    dispatch.save()  # stopping is allowed


def test_a_second_dispatch_for_the_same_channel_and_language(update):
    update.approve(make.communications_manager())
    update.publish(update.author)
    one = publishing.dispatches(update).first()
    one.pk = None
    with pytest.raises(DatabaseError), transaction.atomic():
        one.save()


def test_a_channel_enabled_without_a_successful_test(update):
    assert refused("UPDATE channels_channel SET verified_at=NULL WHERE enabled")


# ── Ways around the front door ──


@pytest.fixture
def approved(update) -> IncidentUpdate:
    return update.approve(make.communications_manager())


@pytest.fixture
def published(approved) -> IncidentUpdate:
    return approved.publish(approved.author)


def test_approval_in_somebody_elses_name_without_a_decision(update):
    other = make.communications_manager()
    change = "UPDATE incidents_incidentupdate SET status=%s, approved_by_id=%s, approved_hash=content_hash WHERE id=%s"
    assert refused(change, "published", other.pk, update.pk)
    assert not refused(change, "approved", other.pk, update.pk)
    assert refused("UPDATE incidents_incidentupdate SET status='published' WHERE id=%s", update.pk)


def test_approval_of_a_draft_that_nobody_submitted(update, author):
    update.reject(make.communications_manager(), "Not yet")
    assert refused(
        "UPDATE incidents_incidentupdate SET status='approved', approved_by_id=%s, approved_hash='', content_hash=''"
        " WHERE id=%s",
        make.communications_manager().pk,
        update.pk,
    )


def test_another_author_or_origin(update):
    other = make.communications_manager()
    assert refused("UPDATE incidents_incidentupdate SET author_id=%s WHERE id=%s", other.pk, update.pk)
    assert refused("UPDATE incidents_incidentupdate SET author_id=NULL WHERE id=%s", update.pk)
    assert refused("UPDATE incidents_incidentupdate SET imported=%s, status='published' WHERE id=%s", True, update.pk)
    assert refused("UPDATE incidents_incidentupdate SET number=77 WHERE id=%s", update.pk)


@pytest.mark.parametrize(
    "facts",
    [
        {"status": "approved", "approved_hash": "x", "content_hash": "x"},
        {"status": "published", "approved_hash": "x", "content_hash": "x"},
        {"status": "published", "imported": True, "author": None},
        {"status": "draft", "author": None},
    ],
)
def test_an_update_that_does_not_begin_as_a_draft(update, author, facts):
    update.withdraw(author)
    facts = {"author": author, "stage": "identified", "number": 9} | facts
    if "approved_hash" in facts:
        facts["approved_by"] = make.communications_manager()
    with pytest.raises(DatabaseError), transaction.atomic():
        IncidentUpdate.objects.create(incident=update.incident, **facts)


@pytest.mark.parametrize(
    "change",
    [
        "manifest='{}'",
        "manifest=NULL",
        "content_hash='x', approved_hash='x'",
        "stage='resolved'",
        "component_states='{}'",
        "next_update_at='2030-01-01 00:00:00'",
        "notify=NOT notify",
    ],
)
def test_what_waits_or_is_approved_or_published_does_not_change(update, change):
    sql = f"UPDATE incidents_incidentupdate SET {change} WHERE id=%s"
    assert refused(sql, update.pk)
    update.approve(make.communications_manager())
    assert refused(sql, update.pk)
    update.publish(update.author)
    assert refused(sql, update.pk)


@pytest.mark.parametrize("status", ["in_review", "approved"])
def test_words_changed_behind_its_back_void_the_approval(update, status):
    if status == "approved":
        update.approve(make.communications_manager())
    one = update.renditions.get(locale="en")
    one.issue = "Words that nobody approved."
    one.save()
    update.refresh_from_db()
    assert (update.status, update.manifest, update.approved_hash, update.approved_by) == ("draft", None, "", None)
    assert (update.content_hash, update.approved_at, update.approved_count) == ("", None, 0)


def test_removing_or_adding_a_language_voids_the_approval(approved):
    approved.renditions.get(locale="it").delete()
    approved.refresh_from_db()
    assert approved.status == "draft"
    approved.submit(approved.author)
    approved.renditions.create(locale="it")
    approved.refresh_from_db()
    assert approved.status == "draft"


def test_the_words_of_a_published_update_are_final(published):
    assert refused("UPDATE incidents_rendition SET issue='x' WHERE update_id=%s", published.pk)
    assert refused("DELETE FROM incidents_rendition WHERE update_id=%s", published.pk)
    published.renditions.update(template=None)  # where the words came from may be forgotten
    assert published.renditions.count() == 2


def test_a_published_update_and_its_dispatches_stay(published):
    assert refused("DELETE FROM incidents_incidentupdate WHERE id=%s", published.pk)
    for column in ("approved_at", "published_at"):  # what reports count with
        sql = f"UPDATE incidents_incidentupdate SET {column}='2020-01-01 00:00:00' WHERE id=%s"
        assert refused(sql, published.pk)
    assert refused("DELETE FROM channels_dispatch")


@pytest.mark.parametrize(
    "facts",
    [
        {"content": {"parts": {"subject": "Forged", "text": "", "html": ""}, "links": {}}},
        {"audience": {"components": []}},
        {"locale": "de"},
        {"purpose": "survey"},
        {"thread": "incident-of-others"},
    ],
)
def test_a_dispatch_that_is_no_message_of_what_was_approved(published, facts):
    one = publishing.dispatches(published).first()
    for name, value in facts.items():
        setattr(one, name, value)
    other = make.channel()
    assert not refused("UPDATE channels_dispatch SET approved_count=approved_count")
    with pytest.raises(DatabaseError), transaction.atomic():
        one.save()
    one.pk, one.channel = None, other
    with pytest.raises(DatabaseError), transaction.atomic():
        one.save()


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite has INSERT OR REPLACE")
@pytest.mark.parametrize("table", ["incidents_decision", "incidents_incidentupdate", "channels_dispatch"])
def test_insert_or_replace(published, table):
    assert refused(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    assert refused(f"UPDATE OR REPLACE {table} SET id = id + 1")


@pytest.mark.parametrize("source", ["update:0%s", "update:", "update:x", "update:99999999999999999999", "%s", "x:%s"])
def test_a_dispatch_that_names_its_update_in_any_other_way(update, source):
    update.approve(make.communications_manager())
    update.publish(update.author)
    dispatch = publishing.dispatches(update).first()
    columns = "thread, purpose, channel_id, via_id, via_reason, content, audience, approved_hash, approved_count"
    copy = f"INSERT INTO channels_dispatch (source, locale, not_before, created_at, {columns})"
    assert refused(
        f"{copy} SELECT %s, locale, not_before, created_at, {columns} FROM channels_dispatch WHERE id = %s",
        source.replace("%s", str(update.pk)),
        dispatch.pk,
    )
