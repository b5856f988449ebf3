from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels import own_secrets
from channels.models import Delivery, Recipient, Suppression
from incidents import publishing, roles
from incidents.models import ComponentGroup, SubscriberImport
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
LIST = "/admin/channels/recipient/"


@pytest.fixture(scope="module")
def world(shared_world):
    make.communications_manager(username="giulia")


@pytest.fixture
def giulia(client, django_user_model):
    client.force_login(django_user_model.objects.get(username="giulia"))
    return client


def upload(client, content: str | bytes = "address,name\na@example.com,Anna\nnonsense,B\n", **changes):
    content = content.encode() if isinstance(content, str) else content
    data = {
        "file": SimpleUploadedFile("list.csv", content),
        "consent_source": "contract 2025",
        "consent_on": "2025-03-01",
    }
    return client.post(f"{LIST}import/", data | changes)


def words(response) -> str:
    return response.content.decode()


def test_the_list_leads_to_import_and_export(giulia):
    page = words(giulia.get(LIST))
    assert "Import" in page
    assert "Export" in page
    assert giulia.get(f"{LIST}import/").status_code == 200


def test_a_file_is_shown_first_and_taken_in_when_that_is_confirmed(giulia):
    preview = giulia.get(upload(giulia).url)
    assert "Nothing has changed yet" in words(preview)
    assert "nonsense" in words(preview)
    assert not Recipient.objects.exists()
    one = SubscriberImport.objects.get()
    listed = giulia.get(f"{LIST}import/{one.pk}/bad.csv").content.decode("utf-8-sig").splitlines()
    assert listed[1].startswith("3,address,nonsense,")
    done = giulia.post(f"{LIST}import/{one.pk}/", {"fingerprint": preview.context["plan"].fingerprint})
    assert done.url == LIST
    assert Recipient.objects.get().name == "Anna"
    entry = LogEntry.objects.latest("pk")
    assert entry.user.username == "giulia"
    assert "list.csv" in entry.change_message
    assert "contract 2025" in entry.change_message
    assert "1 new" in entry.change_message


@pytest.mark.parametrize("missing", ["file", "consent_source", "consent_on"])
def test_without_a_file_or_a_source_of_consent_nothing_is_kept(giulia, missing):
    response = upload(giulia, **{missing: ""})
    assert response.status_code == 422
    assert not SubscriberImport.objects.exists()


def test_consent_is_not_dated_ahead(giulia):
    tomorrow = timezone.localdate() + timedelta(days=1)
    assert "in the future" in words(upload(giulia, consent_on=tomorrow.isoformat()))


@pytest.mark.parametrize("content", ["name\nx\n", 'address\n"a', b"\0\0", b"address\n\x81\n"])
def test_a_broken_file_gets_words_and_not_a_failure(giulia, content):
    response = upload(giulia, content)
    assert response.status_code == 422
    assert 'role="alert"' in words(response)


def test_what_changed_meanwhile_is_looked_at_again(giulia):
    preview = giulia.get(upload(giulia).url)
    Recipient.objects.create(medium="email", address="a@example.com")
    here = f"{LIST}import/{SubscriberImport.objects.get().pk}/"
    response = giulia.post(here, {"fingerprint": preview.context["plan"].fingerprint})
    assert response.status_code == 409
    assert here in words(response)
    assert Recipient.objects.get().name == ""


def test_a_file_is_nobody_elses(giulia, client):
    upload(giulia)
    here = f"{LIST}import/{SubscriberImport.objects.get().pk}/"
    other = make.client(make.communications_manager())
    assert [other.get(here).status_code, other.post(here).status_code, other.get(f"{here}bad.csv").status_code] == [
        404
    ] * 3


def test_the_export_is_the_list_as_it_is_filtered_and_it_is_recorded(giulia):
    make.recipients(2, locale="it")
    make.recipients(3)
    response = giulia.get(f"{LIST}export/?locale__exact=it")
    assert len(b"".join(response.streaming_content).splitlines()) == 3
    assert LogEntry.objects.latest("pk").change_message == "Exported 2 recipients."
    assert giulia.get(f"{LIST}export/?confirmed_at__isempty=nonsense").status_code in (200, 302)


@pytest.fixture
def told():
    """Somebody who was written to twice and then stopped."""
    make.plan(make.channel(), locales=("en",))
    person = make.recipients(1)[0]
    for title in ("Cards fail", "Mail is late"):
        make.published(make.incident(title=title).updates.get())
        make.deliver()
    Delivery.objects.update(code="bounced")
    Suppression.objects.create(medium="email", address_hash=person.address_hash, reason="bounced")
    return person


def test_a_recipients_page_tells_what_was_sent_and_why_it_stopped(giulia, told, django_assert_num_queries):
    giulia.get(f"{LIST}{told.pk}/change/")
    with django_assert_num_queries(QUERIES):
        page = words(giulia.get(f"{LIST}{told.pk}/change/"))
    for text in ("Cards fail", "Mail is late", "The address does not exist", "everything", "Stopped"):
        assert text in page
    for number in range(3):
        make.published(make.incident(title=f"More {number}").updates.get())
    Suppression.objects.all().delete()
    make.deliver()
    with django_assert_num_queries(QUERIES):
        giulia.get(f"{LIST}{told.pk}/change/")


QUERIES = 23


def test_staff_see_whether_a_webhook_has_a_secret_of_its_own_and_never_the_secret(giulia, django_assert_num_queries):
    at = "https://example.com/hook"
    hook = Recipient.objects.create(medium="webhook", address=at, confirmed_at=timezone.now())
    here = f"{LIST}{hook.pk}/change/"
    giulia.get(here)
    with django_assert_num_queries(22):  # one of them for the secrets, which the form does not load
        assert "The channel's, as for all webhooks" in giulia.get(here).content.decode()
    with time_machine.travel(datetime(2026, 3, 5, 13, 0, tzinfo=UTC), tick=False):
        hook.renew_secret()
        page = giulia.get(here).content.decode()
        assert "Its own, made on 5 Mar 2026, 14:00." in page
        assert "The one before signs as well until 6 Mar 2026, 14:00." in page
        hook.renew_secret()
        secrets = own_secrets.in_force(Recipient.objects.get(pk=hook.pk).signing)
        page = giulia.get(here).content.decode()
        assert not [secret for secret in secrets if secret and secret in page]
    with time_machine.travel(datetime(2026, 3, 7, 13, 0, tzinfo=UTC), tick=False):
        page = giulia.get(here).content.decode()
        assert "Its own, made on 5 Mar 2026, 14:00." in page
        assert "The one before" not in page
    # Made before the time was kept.
    Recipient.objects.filter(pk=hook.pk).update(signing={"secret": "whsec_x", "earlier": []})
    assert "Its own." in giulia.get(here).content.decode()
    mail = make.recipients(1)[0]
    assert "Signing secret" not in giulia.get(f"{LIST}{mail.pk}/change/").content.decode()


def test_titles_of_incidents_that_a_reader_may_not_see_are_not_told(told):
    page = words(make.client(make.user(roles.SUPPORT_LEADS)).get(f"{LIST}{told.pk}/change/"))
    assert "What was sent" in page
    assert "Cards fail" not in page


def test_erasing_is_asked_for_first(giulia, told):
    asked = words(giulia.get(f"{LIST}{told.pk}/erase/"))
    assert "2 messages stay on record" in asked
    assert Recipient.objects.filter(pk=told.pk).exists()
    assert giulia.post(f"{LIST}{told.pk}/erase/").url == LIST
    assert not Recipient.objects.filter(pk=told.pk).exists()
    assert Suppression.objects.filter(address_hash=told.address_hash).exists()


def test_who_may_not_change_recipients_neither_imports_nor_exports_nor_erases():
    person = make.recipients(1)[0]
    lead = make.client(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    page = words(lead.get(LIST))
    assert "to-import" not in page
    assert "to-export" not in page
    for url in ("import/", "export/", f"{person.pk}/erase/"):
        assert [lead.get(LIST + url).status_code, lead.post(LIST + url).status_code] == [403, 403], url
    assert Recipient.objects.filter(pk=person.pk).exists()


# ── What they hear of ──

PERSON = {
    "medium": "email",
    "address": "b@example.com",
    "name": "",
    "locale": "en",
    "time_zone": "UTC",
    "confirmed_at_0": "2025-03-01",
    "confirmed_at_1": "10:00",
    "consent_source": "contract",
    "attributes": "{}",
}


def rows(*chosen, initial=0):
    """The inline's part of the form: (pk or "", about, more fields) for each row."""
    data = {"subscriptions-TOTAL_FORMS": len(chosen), "subscriptions-INITIAL_FORMS": initial}
    for n, (pk, about, more) in enumerate(chosen):
        row = {"id": pk, "about": about, "least_severity": "sev4", "maintenance": "on"} | more
        data |= {f"subscriptions-{n}-{name}": value for name, value in row.items()}
    return data


def heard(person) -> list:
    return list(person.subscriptions.order_by("pk").values_list("component", "group", "least_severity", "maintenance"))


def test_who_is_added_by_hand_hears_of_everything_unless_somebody_chooses(giulia):
    page = giulia.get(f"{LIST}add/")
    assert "What they hear of" in words(page)
    formset = page.context["inline_admin_formsets"][0].formset
    assert formset.total_form_count() == 1
    assert formset.forms[0].initial["about"] == ""
    done = giulia.post(f"{LIST}add/", PERSON | rows(("", "", {})))
    assert done.status_code == 302, words(done)
    assert heard(Recipient.objects.get()) == [(None, None, "sev4", True)]
    update = make.incident().updates.get()
    found = publishing.subscribers(publishing.choice(update, []))
    assert list(found.values_list("address", flat=True)) == ["b@example.com"]


def test_a_component_and_a_group_are_chosen_and_removed(giulia):
    component = make.component()
    group = ComponentGroup.objects.create(name="Cards of all kinds")
    chosen = rows(("", f"component-{component.pk}", {"least_severity": "sev2"}), ("", f"group-{group.pk}", {}))
    assert giulia.post(f"{LIST}add/", PERSON | chosen).status_code == 302
    person = Recipient.objects.get()
    assert heard(person) == [(component.pk, None, "sev2", True), (None, group.pk, "sev4", True)]
    one, two = person.subscriptions.order_by("pk")
    # What is posted for a row that stands does not change what it is about.
    data = rows((one.pk, f"group-{group.pk}", {}), (two.pk, "", {"DELETE": "on"}), ("", "", {}), initial=2)
    done = giulia.post(f"{LIST}{person.pk}/change/", PERSON | data)
    assert done.status_code == 302, words(done)
    assert heard(person) == [(component.pk, None, "sev4", True), (None, None, "sev4", True)]


@pytest.mark.parametrize("about", ["component-999999", "group-1x", "nonsense", "component-"])
def test_what_is_not_there_is_named_and_nothing_is_saved(giulia, about):
    done = giulia.post(f"{LIST}add/", PERSON | rows(("", about, {})))
    assert done.status_code == 200
    assert "not here any more" in words(done)
    assert not Recipient.objects.exists()


def test_the_same_is_not_chosen_twice_not_even_beside_an_import(giulia):
    done = giulia.post(f"{LIST}add/", PERSON | rows(("", "", {}), ("", "", {})))
    assert "This is here twice" in words(done)
    assert not Recipient.objects.exists()
    person = Recipient.objects.create(medium="email", address="c@example.com", confirmed_at=timezone.now())
    person.subscriptions.create()  # to everything, and the page below does not know of it
    done = giulia.post(f"{LIST}{person.pk}/change/", PERSON | {"address": "c@example.com"} | rows(("", "", {})))
    assert "This is here twice" in words(done)
    assert person.subscriptions.count() == 1


def test_a_component_that_is_not_theirs_is_neither_shown_nor_taken(client):
    mine, other = make.component("Mine"), make.component("Not mine")
    carlo = make.user(roles.COMMUNICATIONS_MANAGERS, username="carlo")
    assign_perm("incidents.operate_component", carlo, mine)
    client.force_login(carlo)
    person = Recipient.objects.create(medium="email", address="d@example.com", confirmed_at=timezone.now())
    person.subscriptions.create(component=other)
    here = f"{LIST}{person.pk}/change/"
    formset = client.get(here).context["inline_admin_formsets"][0].formset
    assert formset.initial_form_count() == 0
    assert "Not mine" not in str(formset.empty_form)
    done = client.post(here, PERSON | {"address": "d@example.com"} | rows(("", f"component-{other.pk}", {})))
    assert "not here any more" in words(done)
    assert client.post(here, PERSON | {"address": "d@example.com"} | rows()).status_code == 302
    assert heard(person) == [(other.pk, None, "sev4", True)]


def test_who_may_only_look_reads_what_they_hear_of(client):
    person = Recipient.objects.create(medium="email", address="d@example.com", confirmed_at=timezone.now())
    person.subscriptions.create(group=ComponentGroup.objects.create(name="Cards of all kinds"))
    elena = make.user(roles.MANAGERS, roles.ALL_COMPONENTS, username="elena")
    elena.user_permissions.add(Permission.objects.get(codename="view_recipient"))
    client.force_login(elena)
    page = words(client.get(f"{LIST}{person.pk}/change/"))
    assert "Cards of all kinds" in page
    assert "subscriptions-TOTAL_FORMS" not in page or 'name="subscriptions-0-about"' not in page
    assert client.post(f"{LIST}{person.pk}/change/", PERSON | rows(("", "", {}))).status_code == 403
