"""The evidence of an incident: what stands in it equals the database, and who may take it."""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.urls import reverse
from guardian.shortcuts import assign_perm

from channels.models import Delivery, Dispatch, Recipient
from channels.secrets import address_hash
from feedback import evidence, practice, sealing
from feedback.models import EvidenceKey, EvidencePack
from incidents import declaring, roles
from incidents.models import Decision, Incident, IncidentUpdate
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """An incident that went through everything: sent back, approved, published, delivered, answered; a draft left."""
    email, sms = make.channel(name="=Email"), make.channel("outbox_sms", name="Text messages")
    make.plan(email, sms)
    component = make.component("Checkout")
    people = make.recipients(7, component) + make.recipients(3, component, locale="it")
    make.recipients(4, component, medium="sms")
    mara, anna = make.incident_manager(username="mara"), make.communications_manager(username="anna")
    one = make.incident(mara, component)
    first = one.updates.get()
    first.submit(mara)
    first.reject(anna, "=Say who is affected")
    texts = {r.locale: {"issue": "Card payments fail."} for r in first.renditions.all()}
    first.edit(mara, first.version, words=texts)
    make.published(first, anna)
    make.deliver()
    people[0].delete()  # erased since
    Delivery.objects.filter(recipient_id=people[1].pk).update(status="failed", code="550", detail=f"<{people[1]}> gone")
    draft = declaring.start_draft(Incident.objects.get(pk=one.pk), mara, "resolved")
    draft.edit(mara, draft.version, words={"en": {"issue": "A secret draft."}})
    make.survey_answer(one, comment="Private words", clear=5, timely=3, useful=4)
    return one.pk


@pytest.fixture
def incident(world: int, db) -> Incident:
    return Incident.objects.get(pk=world)


@pytest.fixture
def anna(db) -> User:
    return User.objects.get(username="anna")


def take(incident: Incident, by: User, addresses: bool = False) -> zipfile.ZipFile:
    pack = EvidencePack.objects.create(incident=incident, by=by, addresses=addresses)
    return zipfile.ZipFile(io.BytesIO(b"".join(evidence.stream(pack))))


def table(pack: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(pack.read(name).decode("utf-8-sig"))))


def read(pack: zipfile.ZipFile, name: str):
    return json.loads(pack.read(name))


def page(incident: Incident) -> str:
    return reverse("admin:feedback_report_evidence", args=[incident.pk])


# ── What stands in it ──


def test_what_was_approved_stands_in_it_as_the_bytes_that_were_hashed(incident, anna):
    pack = take(incident, anna)
    update = incident.updates.get(status="published")
    approved = pack.read("updates/01/approved.json")
    assert json.loads(approved) == update.manifest
    assert hashlib.sha256(approved).hexdigest() == update.content_hash == update.approved_hash
    said = read(pack, "updates/01/update.json")
    assert said["recomputed_hash"] == said["content_hash"] == said["queued_hash"]
    assert said["matches"] is True
    assert said["queued_as_approved"] is True
    assert said["approved_by"] == {"login": "anna", "name": "anna"}
    assert said["author"]["login"] == "mara"


def test_a_content_that_was_changed_behind_the_guards_does_not_match(incident, anna, unguarded):
    update = incident.updates.get(status="published")
    IncidentUpdate.objects.filter(pk=update.pk).update(manifest={**update.manifest, "title": "Nothing happened"})
    said = read(take(incident, anna), "updates/01/update.json")
    assert said["matches"] is False
    assert said["queued_as_approved"] is False


def test_the_timeline_is_every_decision_in_its_order(incident, anna):
    rows = table(take(incident, anna), "timeline.csv")
    decisions = list(Decision.objects.filter(incident=incident).order_by("at", "id"))
    assert [(row["what"], row["by"], row["content_hash"]) for row in rows] == [
        (one.verb, one.by.username, one.content_hash) for one in decisions
    ]
    assert {"declare", "submit", "reject", "edit", "approve", "publish"} <= {row["what"] for row in rows}
    assert [row["at"] for row in rows] == [one.at.isoformat() for one in decisions]
    # No cell is a formula.
    assert next(row for row in rows if row["what"] == "reject")["comment"] == "'=Say who is affected"


def test_each_message_is_as_its_channel_carried_it(incident, anna):
    pack = take(incident, anna)
    found = [read(pack, name) for name in pack.namelist() if name.startswith("messages/")]
    sent = {one.pk: one for one in Dispatch.objects.filter(thread=incident.thread)}
    assert {one["dispatch"]: one["content"] for one in found} == {pk: one.content for pk, one in sent.items()}
    assert {(one["channel"], one["language"]) for one in found} == {
        (name, locale) for name in ("=Email", "Text messages") for locale in ("en", "it")
    }
    assert {one["approved_hash"] for one in found} == {incident.updates.get(status="published").approved_hash}


def test_deliveries_equal_the_database_and_say_no_address(incident, anna):
    pack = take(incident, anna)
    rows = table(pack, "deliveries.csv")
    deliveries = Delivery.objects.filter(dispatch__thread=incident.thread)
    assert len(rows) == deliveries.count() == 14
    statuses = Counter(row["status"] for row in rows)
    assert statuses == Counter(deliveries.values_list("status", flat=True))
    hashes = {row["recipient"] for row in rows}
    assert hashes - {"erased"} == {one.address_hash for one in Recipient.objects.exclude(medium="broadcast")}
    assert [row["recipient"] for row in rows].count("erased") == 1
    everything = b"".join(pack.read(name) for name in pack.namelist())
    assert b"customer" not in everything.replace(b"Customers", b"").replace(b"customers", b"")
    assert b"@example.com" not in pack.read("deliveries.csv")
    # The counts are those of the rows, and of the database.
    counted = {(int(row["dispatch"]), row["status"]): int(row["deliveries"]) for row in table(pack, "counts.csv")}
    true = Counter(deliveries.values_list("dispatch_id", "status"))
    assert {key: n for key, n in counted.items() if n} == dict(true)


def test_addresses_stand_in_it_only_if_they_were_asked_for(incident, anna):
    rows = table(take(incident, anna, addresses=True), "deliveries.csv")
    known = [row for row in rows if row["recipient"] != "erased"]
    assert all(address_hash(row["medium"], row["address"].removeprefix("'")) == row["recipient"] for row in known)
    [failed] = [row for row in rows if row["status"] == "failed"]
    assert failed["reason"] == "550"
    assert "gone" in failed["detail"]


def test_drafts_and_comments_are_left_out(incident, anna):
    pack = take(incident, anna)
    everything = b"".join(pack.read(name) for name in pack.namelist())
    assert b"secret draft" not in everything
    assert b"Private words" not in everything
    assert not [name for name in pack.namelist() if name.startswith("updates/02")]


def test_the_figures_are_those_of_the_report(incident, anna):
    pack = take(incident, anna)
    figures, survey = read(pack, "figures.json"), read(pack, "survey.json")
    assert figures["people_written_to"] == 14
    assert figures["people_reached"] == 13
    assert figures["late"] == 0
    assert survey["answered"] == 1
    assert survey["means"] == {"clear": 5, "timely": 3, "useful": 4}


def test_each_step_of_the_practice_names_files_that_are_there(incident, anna):
    pack = take(incident, anna)
    names = pack.namelist()
    kinds = {name: None for step in practice.STEPS["steps"] for name in step["files"]}
    absent = [kind for kind in kinds if not any(name == kind or name.startswith(kind) for name in names)]
    assert absent == ["pictures/", "communication-review.json"]  # no update had one, and no review was finished
    readme = pack.read("README.txt").decode()
    for step in practice.STEPS["steps"]:
        assert step["name"] in readme
    assert "verify_evidence" in readme


def test_the_manifest_says_who_took_what_and_when(incident, anna):
    pack = take(incident, anna)
    said, record = read(pack, "manifest.json"), EvidencePack.objects.get()
    assert (said["schema"], said["version"], said["pack"]) == ("commsportal-evidence", 1, record.pk)
    assert said["incident"] == {"id": incident.uid, "title": incident.title}
    assert said["made_by"]["login"] == "anna"
    assert said["addresses"] is False
    assert {one["path"] for one in said["files"]} == {*pack.namelist()} - set(sealing.UNLISTED)
    assert record.finished_at
    assert record.manifest_sha256 == hashlib.sha256(pack.read("manifest.json")).hexdigest()


# ── Who may take it ──


def test_taking_it_is_written_down_and_comes_as_a_stream(client, incident, anna):
    client.force_login(anna)
    assert "Download the pack" in client.get(page(incident)).content.decode()
    assert not EvidencePack.objects.exists()
    response = client.post(page(incident), HTTP_ACCEPT_LANGUAGE="it")
    assert response.streaming
    record = EvidencePack.objects.get()
    assert (record.by, record.incident, record.finished_at) == (anna, incident, None)  # before the first byte
    content = response.getvalue()
    assert sealing.verify(io.BytesIO(content)).whole
    record.refresh_from_db()
    assert record.size == len(content)
    assert "Cosa si trova dove" in zipfile.ZipFile(io.BytesIO(content)).read("README.txt").decode()
    shown = client.get(page(incident)).content.decode()
    assert EvidenceKey.objects.get().public in shown
    assert "as hashes" in shown
    listed = client.get("/admin/feedback/evidencepack/").content.decode()
    assert "anna" in listed


def test_a_download_that_broke_off_stays_on_record_as_incomplete(incident, anna):
    pack = EvidencePack.objects.create(incident=incident, by=anna)
    pieces = evidence.stream(pack)
    assert next(pieces)
    pieces.close()
    pack.refresh_from_db()
    assert pack.finished_at is None


def test_addresses_need_their_own_permission(client, incident, anna):
    client.force_login(anna)
    response = client.post(page(incident), {"addresses": "yes"})
    assert response.status_code == 403
    assert not EvidencePack.objects.exists()
    assert "with their addresses" not in client.get(page(incident)).content.decode()
    anna.user_permissions.add(Permission.objects.get(codename="take_evidence_addresses"))
    assert client.post(page(incident), {"addresses": "yes"}).status_code == 200
    assert EvidencePack.objects.get().addresses


def test_reading_reports_is_not_enough(client, incident):
    who = make.user(roles.ALL_COMPONENTS)
    who.user_permissions.add(Permission.objects.get(codename="view_report"))
    client.force_login(who)
    assert client.post(page(incident)).status_code == 403
    report = client.get(reverse("admin:feedback_report_incident", args=[incident.pk])).content.decode()
    assert page(incident) not in report
    assert not EvidencePack.objects.exists()


def test_a_foreign_component_is_refused(client, incident):
    who, mine = make.user(roles.MANAGERS), make.component("Search")
    assign_perm("incidents.view_component", who, mine)
    client.force_login(who)
    assert client.post(page(incident)).status_code == 404
    # One component of two is not enough: the pack tells of the customers of both.
    incident.incident_components.create(component=mine, status="degraded_performance")
    assert client.post(page(incident)).status_code == 403
    assert not EvidencePack.objects.exists()
    assign_perm("incidents.view_component", who, incident.components.get(name="Checkout"))
    assert client.post(page(incident)).status_code == 200


def test_whoever_sees_no_component_does_not_see_who_took_it(client, incident, anna):
    EvidencePack.objects.create(incident=incident, by=anna)
    client.force_login(make.user(roles.MANAGERS))
    assert "anna" not in client.get("/admin/feedback/evidencepack/").content.decode().split('id="content"')[1]


def test_what_is_on_record_cannot_be_changed(incident, anna):
    pack = EvidencePack.objects.create(incident=incident, by=anna)
    b"".join(evidence.stream(pack))
    key = EvidenceKey.objects.get()
    for change in (
        lambda: EvidencePack.objects.filter(pk=pack.pk).delete(),
        lambda: EvidencePack.objects.filter(pk=pack.pk).update(by=User.objects.get(username="mara")),
        lambda: EvidencePack.objects.filter(pk=pack.pk).update(size=1),
        lambda: EvidenceKey.objects.filter(pk=key.pk).delete(),
        lambda: EvidenceKey.objects.filter(pk=key.pk).update(public="0" * 64),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()


# ── How it is verified ──


def test_the_command_says_whole_or_which_file_was_changed(incident, anna, tmp_path, capsys):
    path = tmp_path / "pack.zip"
    pack = EvidencePack.objects.create(incident=incident, by=anna)
    path.write_bytes(b"".join(evidence.stream(pack)))
    call_command("verify_evidence", str(path))
    assert "Whole" in capsys.readouterr().out
    call_command("verify_evidence", str(path), "--key", EvidenceKey.objects.get().public)
    pem = tmp_path / "key.pem"
    pem.write_text(EvidenceKey.objects.get().pem)
    call_command("verify_evidence", str(path), "--key", str(pem))
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["deliveries.csv"] = content["deliveries.csv"].replace(b"failed", b"sent")
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    with pytest.raises(CommandError, match=r"Changed since it was signed: deliveries\.csv$"):
        call_command("verify_evidence", str(path))


def test_the_command_does_not_believe_a_key_that_it_does_not_know(incident, anna, tmp_path, unguarded):
    path = tmp_path / "pack.zip"
    pack = EvidencePack.objects.create(incident=incident, by=anna)
    path.write_bytes(b"".join(evidence.stream(pack)))
    with connection.cursor() as cursor:
        cursor.execute(
            "DROP TRIGGER guard_evidence_key_no_delete"
            + (" ON feedback_evidencekey" if connection.vendor == "postgresql" else "")
        )
    EvidenceKey.objects.all().delete()
    with pytest.raises(CommandError, match="none of this portal's") as error:
        call_command("verify_evidence", str(path))
    assert error.value.returncode == 2
    other = sealing.hex_of(sealing.Ed25519PrivateKey.generate().public_key())
    with pytest.raises(CommandError, match="nothing in this pack is proved"):
        call_command("verify_evidence", str(path), "--key", other)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere.zip"], "nowhere.zip cannot be read"),
        ([__file__], "is no evidence pack"),
        ([__file__, "--key", "abc"], "--key “abc” is no public key"),
    ],
)
def test_the_command_names_what_it_cannot_read(given, said):
    with pytest.raises(CommandError, match=said):
        call_command("verify_evidence", *given)


def test_the_key_outlives_a_change_of_the_keys_it_is_kept_under(settings, capsys):
    from cryptography.fernet import Fernet

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    first = EvidenceKey.current()
    settings.FIELD_KEYS = [new, old]
    call_command("rotate_keys")
    settings.FIELD_KEYS = [new]
    assert EvidenceKey.current() == first
    assert EvidenceKey.current().signer().public_key() == first.signer().public_key()
    # A key that nobody can read signs no more; its public half is kept.
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    assert EvidenceKey.current() != first
    assert EvidenceKey.objects.filter(pk=first.pk).exists()


# ── How little it asks ──


def test_the_number_of_queries_does_not_grow_with_the_recipients(client, incident, anna, django_assert_max_num_queries):
    client.force_login(anna)
    EvidenceKey.current()
    with django_assert_max_num_queries(70):
        take(incident, anna)
    one = Dispatch.objects.filter(thread=incident.thread).first()
    Delivery.objects.bulk_create(
        Delivery(dispatch=one, recipient=who, status="sent", at=one.created_at) for who in make.recipients(300)
    )
    with django_assert_max_num_queries(70):
        assert len(table(take(incident, anna), "deliveries.csv")) == 314
    with django_assert_max_num_queries(20):
        client.get(page(incident))
