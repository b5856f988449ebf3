"""The picture of an update: who may set it, what it voids, what is frozen, and that only what is published is seen."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, transaction
from django.db.models import ProtectedError
from django.test import Client
from django.urls import reverse

from channels.models import Delivery, Picture
from channels.pictures import MAX_UPLOAD
from incidents import publishing, roles
from incidents.checker import check
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import Decision, IncidentUpdate, UpdatePicture
from incidents.statuspage import copies
from tests import make
from tests.pictures import drawn, file, kept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
ALT = {"en": "A map: Milan is red.", "it": "Una mappa: Milano è rossa."}
RED = drawn(colour="red")


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """Anna's draft, which goes out by mail, by SMS and as a post: its key."""
    anna = make.incident_manager(username="anna", first_name="Anna", last_name="Bianchi")
    make.communications_manager(username="paolo", first_name="Paolo", last_name="Neri")
    make.plan(make.channel(), make.channel("outbox_sms"), make.channel("outbox_post", "Our account"))
    make.recipients(3)
    return make.incident(anna, make.component("Checkout")).updates.get().pk


@pytest.fixture
def anna(db) -> User:
    return User.objects.get(username="anna")


@pytest.fixture
def paolo(db) -> User:
    return User.objects.get(username="paolo")


@pytest.fixture
def update(world: int, db) -> IncidentUpdate:
    return IncidentUpdate.objects.get(pk=world)


@pytest.fixture
def pictured(update, anna) -> IncidentUpdate:
    return update.set_picture(anna, update.version, kept(), ALT)


def url(update: IncidentUpdate, name: str = "picture", *args: Any) -> str:
    return reverse(f"admin:incidents_incidentupdate_{name}", args=[update.pk, *args])


def upload(data: bytes, name: str = "map.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data, "image/png")


def typed(update: IncidentUpdate, **changes: Any) -> dict[str, Any]:
    update.refresh_from_db()
    data = {"version": update.version, "alt-en": ALT["en"], "alt-it": ALT["it"], "do": "save"}
    return data | {key.replace("__", "-"): value for key, value in changes.items()}


def shown(update: IncidentUpdate) -> dict[str, Any] | None:
    """What stands saved."""
    row = UpdatePicture.objects.filter(update=update).select_related("picture").first()
    return {"file": row.picture.filename, "alt": row.alt} if row else None


# ── The verb ──


def test_setting_a_picture_is_writing(update, paolo):
    version = update.version
    update.set_picture(paolo, version, kept(), {"en": "  A map:\n Milan is red. ", "it": ALT["it"], "fr": " "})
    assert (update.version, update.status) == (version + 1, "draft")
    assert update.picture.alt == ALT
    assert update.decisions.last().verb == Decision.Verb.EDIT
    assert paolo.pk in update.writers()
    update.submit(update.author)
    with pytest.raises(NotAllowed, match="You wrote this"):
        update.approve(paolo)


def test_the_same_again_changes_nothing(pictured, anna, paolo):
    before = (pictured.version, pictured.decisions.count())
    pictured.submit(anna)
    pictured.set_picture(paolo, pictured.version, kept(), ALT)
    assert (pictured.version, pictured.decisions.count()) == (before[0], before[1] + 1)
    assert pictured.status == "in_review"
    pictured.set_picture(paolo, pictured.version, None)
    pictured.set_picture(paolo, pictured.version, None)
    assert pictured.version == before[0] + 1


def test_a_stale_version_is_refused(pictured, anna):
    with pytest.raises(WrongState, match="changed this update"):
        pictured.set_picture(anna, pictured.version - 1, kept(RED), ALT)
    assert pictured.picture.picture == kept()


def test_who_may_not_write_may_not_set_one(update):
    with pytest.raises(NotAllowed):
        update.set_picture(make.user(roles.MANAGERS, roles.ALL_COMPONENTS), update.version, kept(), ALT)
    with pytest.raises(NotAllowed):
        update.set_picture(make.user(roles.INCIDENT_MANAGERS), update.version, kept(), ALT)
    assert shown(update) is None


@pytest.mark.parametrize("status", ["in_review", "approved"])
@pytest.mark.parametrize("change", ["another", "other words", "none"])
def test_any_change_voids_the_approval(pictured, anna, paolo, status, change):
    pictured.submit(anna)
    if status == "approved":
        pictured.approve(paolo)
    new = {"another": (kept(RED), ALT), "other words": (kept(), ALT | {"en": "A chart."}), "none": (None, {})}
    pictured.set_picture(anna, pictured.version, *new[change])
    assert (pictured.status, pictured.manifest, pictured.approved_hash) == ("draft", None, "")


def test_what_is_published_or_withdrawn_gets_no_picture(pictured, anna, paolo):
    make.published(pictured, paolo)
    with pytest.raises(WrongState):
        pictured.set_picture(anna, pictured.version, kept(RED), ALT)


def test_a_picture_that_no_update_shows_any_more_is_forgotten(pictured, anna):
    other = make.incident(anna).updates.get()
    other.set_picture(anna, other.version, kept(), ALT)
    pictured.set_picture(anna, pictured.version, kept(RED), ALT)
    assert Picture.objects.count() == 2  # the other one shows the first
    other.set_picture(anna, other.version, None)
    assert [one.pk for one in Picture.objects.all()] == [pictured.picture.picture_id]


# ── What it shows must be said ──


@pytest.mark.parametrize(
    ("alt", "code"), [({"en": "A map."}, "missing_alt"), ({"en": "A map.", "it": "è" * 1001}, "long_alt")]
)
def test_a_picture_without_words_in_a_language_is_not_sent(update, anna, alt, code):
    update.set_picture(anna, update.version, kept(), alt)
    with pytest.raises(Refused) as caught:
        update.submit(anna)
    [finding] = [one for one in caught.value.findings if one.field == "picture"]
    assert (finding.code, finding.locale, finding.field_label) == (code, "it", "Picture")
    assert "Italian" in finding.message
    update.set_picture(anna, update.version, kept(), ALT)
    assert not [one for one in check(update) if one.field == "picture"]
    assert update.submit(anna).status == "in_review"


# ── What is approved ──


def test_the_picture_is_frozen_for_the_page_and_for_channels_that_carry_pictures(pictured, anna):
    pictured.submit(anna)
    key = pictured.picture.picture_id
    for locale in ("en", "it"):
        expected = {"sha256": key, "alt": ALT[locale], "file": f"{key}.png", "width": 64, "height": 48}
        assert pictured.page[locale]["picture"] == expected
    carried = {(m["channel"], m["locale"]): m["content"].get("picture") for m in pictured.manifest["messages"]}
    post = pictured.channels.get(provider="outbox_post").pk
    assert {key for key, one in carried.items() if one} == {(post, "en"), (post, "it")}
    assert carried[post, "it"] == {"sha256": key, "alt": ALT["it"]}


def test_the_hash_covers_the_picture_and_its_words(update, anna):
    hashes = {update.submit(anna).content_hash}
    for picture, alt in ((kept(), ALT), (kept(), ALT | {"it": "Una carta."}), (kept(RED), ALT)):
        update.set_picture(anna, update.version, picture, alt)
        hashes.add(update.submit(anna).content_hash)
    assert len(hashes) == 4
    update.set_picture(anna, update.version, None)
    assert update.submit(anna).content_hash in hashes


def test_what_was_approved_is_what_is_sent(pictured, paolo, data_dir):
    make.published(pictured, paolo)
    assert publishing.sent_hash(pictured) == pictured.approved_hash
    make.deliver()
    letters = [json.loads(path.read_text()) | {"file": path.stem} for path in (data_dir / "outbox").glob("*.json")]
    posts = {one["locale"]: one for one in letters if one["form"] == "post"}
    assert posts["it"]["picture"]["alt"] == ALT["it"]
    assert posts["en"]["picture"]["url"].startswith("data:image/png;base64,")
    assert not [one for one in letters if one["form"] != "post" and "picture" in one]
    page = make.client(make.user(is_superuser=True)).get(f"/outbox/{posts['it']['file']}/").content.decode()
    assert 'src="data:image/png;base64,' in page
    assert f'alt="{ALT["it"]}"' in page


def test_half_of_what_was_approved_is_not_sent(pictured, paolo, data_dir, monkeypatch):
    make.published(pictured, paolo)
    monkeypatch.setattr(Picture.objects, "get", lambda **_key: (_ for _ in ()).throw(Picture.DoesNotExist))
    make.deliver()
    failed = Delivery.objects.filter(dispatch__in=publishing.dispatches(pictured), status="failed")
    assert {(one.dispatch.channel.provider, one.code) for one in failed} == {("outbox_post", "no-picture")}


# ── Behind the application's back ──


def refused(change: Any) -> bool:
    try:
        with transaction.atomic():
            change()
    except DatabaseError:
        return True
    return False


def rows(update: IncidentUpdate):
    return UpdatePicture.objects.filter(update=update)


CHANGES = {
    "another": lambda update: rows(update).update(picture=kept(RED)),
    "other words": lambda update: rows(update).update(alt={"en": "Never approved."}),
    "none": lambda update: rows(update).delete(),
}


@pytest.mark.parametrize("status", ["in_review", "approved"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_database_makes_it_a_draft_again(pictured, anna, paolo, status, change):
    pictured.submit(anna)
    if status == "approved":
        pictured.approve(paolo)
    CHANGES[change](pictured)
    pictured.refresh_from_db()
    assert (pictured.status, pictured.manifest, pictured.approved_by) == ("draft", None, None)
    assert (pictured.content_hash, pictured.approved_hash, pictured.approved_count) == ("", "", 0)


def test_the_database_makes_it_a_draft_again_when_one_is_added(update, anna, paolo):
    update.submit(anna)
    update.approve(paolo)
    UpdatePicture.objects.create(update=update, picture=kept(), alt=ALT)
    update.refresh_from_db()
    assert (update.status, update.content_hash) == ("draft", "")


@pytest.mark.parametrize("change", CHANGES)
def test_the_picture_of_a_published_update_is_final(pictured, paolo, change):
    make.published(pictured, paolo)
    assert refused(lambda: CHANGES[change](pictured))
    assert shown(pictured)["alt"] == ALT


def test_a_published_update_gets_none(update, paolo):
    make.published(update, paolo)
    assert refused(lambda: UpdatePicture.objects.create(update=update, picture=kept(), alt=ALT))
    assert shown(update) is None


def test_the_picture_of_another_update_does_not_move_to_a_published_one(update, anna, paolo):
    other = make.incident(anna).updates.get()
    other.set_picture(anna, other.version, kept(), ALT)
    make.published(update, paolo)
    assert refused(lambda: rows(other).update(update=update))


@pytest.mark.parametrize(
    "column", [{"content": b"x"}, {"content_type": "image/gif"}, {"width": 1}, {"height": 1}, {"sha256": "0" * 64}]
)
def test_a_picture_is_never_changed(update, column):
    one = kept()
    assert refused(lambda: Picture.objects.filter(pk=one.pk).update(**column))
    assert kept() == one


def test_a_picture_that_is_shown_stays(pictured):
    with pytest.raises(ProtectedError):
        pictured.picture.picture.delete()


# ── The form ──


def test_it_is_chosen_described_and_shown_on_the_compose_page(update, anna):
    browser = make.client(anna)
    answer = browser.post(url(update), typed(update, file=upload(file())))
    assert (answer.status_code, answer.url) == (302, url(update, "compose"))
    assert shown(update) == {"file": kept().filename, "alt": ALT}
    page = browser.get(answer.url).content.decode()
    assert "The picture is saved." in page
    assert f'src="{url(update, "picture_file", kept().pk)}"' in page
    assert page.count(ALT["it"]) >= 3  # in its field, with the post, on the status page
    assert 'enctype="multipart/form-data" id="cp-picture"' in page


def test_its_words_are_changed_without_choosing_it_again(pictured, anna):
    answer = make.client(anna).post(url(pictured), typed(pictured, alt__en="A chart: the queue grows."))
    assert answer.status_code == 302
    assert shown(pictured) == {"file": kept().filename, "alt": ALT | {"en": "A chart: the queue grows."}}


def test_it_is_replaced_and_removed(pictured, anna):
    browser = make.client(anna)
    browser.post(url(pictured), typed(pictured, file=upload(file(RED, "JPEG"), "map.jpg")))
    assert shown(pictured)["file"].endswith(".jpg")
    answer = browser.post(url(pictured), {"version": pictured.version + 1, "do": "remove"})
    assert answer.status_code == 302
    assert shown(pictured) is None
    assert "The picture was removed." in browser.get(answer.url).content.decode()


def test_one_that_waited_for_approval_is_a_draft_again_and_says_so(pictured, anna):
    pictured.submit(anna)
    browser = make.client(anna)
    assert "cp-picture" in browser.get(url(pictured, "compose") + "?edit=1").content.decode()
    answer = browser.post(url(pictured), typed(pictured, file=upload(file(RED))), follow=True)
    assert "The update is a draft again, and needs approval." in answer.content.decode()
    pictured.refresh_from_db()
    assert pictured.status == "draft"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"file": upload(file(drawn().convert("P"), "GIF"), "cat.png")}, "“cat.png” was not taken. It is neither"),
        ({"file": upload(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg")}, "“a.svg” was not taken."),
        ({"file": upload(b"", "none.png")}, "“none.png” was not taken."),
        ({"file": upload(file() + b"\0" * MAX_UPLOAD, "big.png")}, "“big.png” was not taken. It has 5.1 MB"),
        ({}, "Nothing is chosen: choose a PNG or JPEG file."),
        ({"file": upload(file()), "alt__it": "  "}, "Say what the picture shows"),
        ({"file": upload(file()), "alt__it": "è" * 1001}, "1000"),
        ({"file": upload(file()), "version": "x"}, "whole number"),
    ],
    ids=["gif", "svg", "empty", "heavy", "no file", "no words", "many words", "no version"],
)
def test_bad_input_is_said_and_nothing_is_saved(update, anna, changes, says):
    data = typed(update) | {key.replace("__", "-"): value for key, value in changes.items()}
    answer = make.client(anna).post(url(update), data)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert says in page
    assert "The picture is not saved yet:" in page
    assert ALT["en"] in page  # what was typed stays
    assert ("choose the file again" in page) == ("file" in changes)
    assert shown(update) is None
    assert not Picture.objects.exists()


def test_a_stale_page_is_told_and_saves_nothing(update, anna, paolo):
    data = typed(update, file=upload(file()))
    update.edit(paolo, update.version, {"en": {"subject": "Card payments fail"}})
    answer = make.client(anna).post(url(update), data)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "changed this update" in page
    assert shown(update) is None
    assert not Picture.objects.exists()
    assert f'name="version" value="{update.version}" form="cp-picture"' in page


def test_only_who_may_write_sets_it_and_only_who_may_know_sees_it(pictured, paolo):
    there = url(pictured, "picture_file", kept().pk)
    reader = make.client(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    stranger = make.client(make.incident_manager())
    User.objects.last().groups.set([])
    assert Client().get(there).status_code == 302
    assert stranger.get(there).status_code == 403
    assert reader.post(url(pictured), typed(pictured, alt__en="Mine")).status_code == 403
    hostile = typed(pictured, file=upload(b"not even looked at"))
    assert reader.post(url(pictured), hostile).status_code == 403
    assert stranger.post(url(pictured), typed(pictured, alt__en="Mine")).status_code == 403
    assert make.client(make.user(roles.INCIDENT_MANAGERS)).post(url(pictured), typed(pictured)).status_code == 404
    assert shown(pictured)["alt"] == ALT
    answer = reader.get(there)
    assert (answer.status_code, answer["Content-Type"], answer.content) == (200, "image/png", bytes(kept().content))
    assert "private" in answer["Cache-Control"]
    assert reader.get(url(pictured, "picture_file", kept(RED).pk)).status_code == 404


def test_it_needs_the_token_against_forgery(update, anna):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(anna)
    assert browser.post(url(update), typed(update, file=upload(file()))).status_code == 403
    assert shown(update) is None


def test_looking_changes_nothing(pictured, anna):
    assert make.client(anna).get(url(pictured)).url == url(pictured, "compose")
    assert shown(pictured)["alt"] == ALT


def test_a_picture_costs_the_compose_page_no_query_for_its_bytes(pictured, anna, django_assert_max_num_queries):
    browser = make.client(anna)
    browser.get(url(pictured, "compose"))
    with django_assert_max_num_queries(60) as found:
        browser.get(url(pictured, "compose"))
    assert not [one["sql"] for one in found if '"channels_picture"."content",' in one["sql"]]


# ── Who approves sees it ──


def test_the_approver_sees_what_was_frozen(pictured, anna, paolo):
    pictured.submit(anna)
    page = make.client(paolo).get(url(pictured, "review")).content.decode()
    assert page.count(f'src="{url(pictured, "picture_file", kept().pk)}"') == 4  # page and post, in two languages
    for alt in ALT.values():
        assert page.count(f"{alt}</figcaption>") == 2


def test_what_is_said_of_the_picture_cannot_be_markup(update, anna, paolo, client):
    update.set_picture(anna, update.version, kept(), dict.fromkeys(ALT, '"><script>alert(1)</script>'))
    make.published(update, paolo)
    pages = [make.client(paolo).get(url(update, "review")), client.get("/"), client.get("/history.atom")]
    assert not [page for page in pages if "<script>alert" in page.content.decode()]


# ── The public ──


def public(update: IncidentUpdate) -> str:
    return reverse("status-picture", args=[update.picture.picture.filename])


def test_only_the_picture_of_what_is_published_is_public(pictured, anna, paolo, client):
    there = public(pictured)
    for step in (lambda: None, lambda: pictured.submit(anna), lambda: pictured.approve(paolo)):
        step()
        assert client.get(there).status_code == 404
    pictured.publish(paolo)
    answer = client.get(there)
    assert (answer.status_code, answer.content) == (200, bytes(kept().content))
    assert answer["Content-Type"] == "image/png"
    assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert not answer.cookies
    assert client.get(there, headers={"If-None-Match": answer["ETag"]}).status_code == 304
    assert client.get(there.replace(".png", ".jpg")).status_code == 404
    assert client.get(there.replace(".png", "")).status_code == 404
    assert client.post(there).status_code == 405


def test_readers_see_it_under_the_words(pictured, paolo, client, django_assert_max_num_queries):
    make.published(pictured, paolo)
    img = f'<img class="cp-picture" src="{public(pictured)}" alt="%s" width="64" height="48" loading="lazy">'
    with django_assert_max_num_queries(9):  # as without a picture
        assert img % ALT["en"] in client.get("/").content.decode()
    there = f"/incidents/{pictured.incident.uid}/?lang=it"
    assert img % ALT["it"] in client.get(there).content.decode()
    assert f"Picture: {ALT['en']}" in client.get("/history.atom").content.decode()


def test_the_static_page_has_it_too_and_drops_what_it_no_longer_shows(pictured, paolo, tmp_path):
    make.published(pictured, paolo)
    old = tmp_path / "pictures" / f"{'0' * 64}.png"
    old.parent.mkdir()
    old.write_bytes(b"old")
    (old.parent / "logo.png").write_bytes(b"not ours")
    copies.publish(tmp_path)
    assert (tmp_path / public(pictured).lstrip("/")).read_bytes() == bytes(kept().content)
    assert public(pictured) in (tmp_path / "index.html").read_text()
    assert not old.exists()
    assert (old.parent / "logo.png").exists()
