import io
import logging
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from channels.models import Channel, Dispatch, Recipient, Suppression
from channels.secrets import address_hash
from incidents import roles
from tests import make
from tests.fakes.smtp import PASSWORD, USER, Mailbox, SmtpServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
CANARY = "canary-9c1f-never-to-be-seen"
LIST = "/admin/channels/channel/"


@pytest.fixture(scope="module")
def world(shared_world):
    """Nobody but Giulia, a communications manager."""
    make.communications_manager(username="giulia")


@pytest.fixture
def manager(client, db) -> User:
    """A communications manager, logged in."""
    one = User.objects.get(username="giulia")
    client.force_login(one)
    return one


@pytest.fixture
def mail_server():
    server = SmtpServer(Mailbox(), auth=True)
    yield server
    server.close()


def page(channel: Channel, name: str = "change") -> str:
    return reverse(f"admin:channels_channel_{name}", args=[channel.pk])


def smtp(**changes):
    config = {
        "host": "127.0.0.1",
        "port": 2525,
        "security": "none",
        "user": USER,
        "from_address": "status@example.com",
        "from_name": "",
        "timeout": 2,
    }
    config.update(changes.pop("config", {}))
    return make.channel("smtp", config=config, secrets={"password": CANARY}, **changes)


def posted(channel: Channel, **changes):
    """What the browser sends when nothing is changed."""
    values = {f"setting_{k}": v for k, v in channel.config.items()} | {"setting_password": "", "name": channel.name}
    if channel.enabled:
        values["enabled"] = "on"
    return values | changes


# ── Adding and changing ──


def test_it_asks_for_the_provider_first_and_then_for_its_own_settings(client, manager):
    shown = client.get(LIST + "add/").content.decode()
    assert 'name="provider"' in shown
    assert "setting_" not in shown
    answer = client.post(LIST + "add/", {"name": "Mail", "provider": "smtp"})
    channel = Channel.objects.get()
    assert answer.url == page(channel)
    assert not channel.enabled
    shown = client.get(page(channel)).content.decode()
    for field in ("host", "port", "password", "from_address"):
        assert f'name="setting_{field}"' in shown


def test_a_provider_without_settings_leads_straight_to_the_test(client, manager):
    answer = client.post(LIST + "add/", {"name": "Mail", "provider": "outbox_email"})
    assert answer.url == page(Channel.objects.get(), "test")


def test_it_stores_credentials_apart_and_names_each_bad_field(client, manager):
    channel = Channel.objects.create(name="Mail", provider="smtp")
    bad = {
        "name": "Mail",
        "setting_host": "smtp://x",
        "setting_port": "0",
        "setting_security": "none",
        "setting_from_address": "nobody",
        "setting_timeout": "5",
    }
    answer = client.post(page(channel), bad)
    errors = answer.context["adminform"].form.errors
    assert set(errors) == {"setting_host", "setting_port", "setting_from_address"}
    assert all(len(messages) == 1 for messages in errors.values())
    assert "host name" in errors["setting_host"][0]
    good = bad | {
        "setting_host": "mail.example.com",
        "setting_port": "587",
        "setting_security": "starttls",
        "setting_from_address": "a@example.com",
        "setting_user": "u",
        "setting_password": CANARY,
    }
    assert client.post(page(channel), good).status_code == 302
    channel.refresh_from_db()
    assert channel.config["port"] == 587
    assert channel.secrets == {"password": CANARY}
    assert "password" not in channel.config


def test_an_error_across_fields_is_shown_too(client, manager):
    channel = smtp()
    answer = client.post(page(channel), posted(channel, setting_port="465"))
    assert "Port 465" in answer.context["adminform"].form.errors["setting_security"][0]


def test_an_empty_credential_is_kept_and_changes_nothing(client, manager):
    channel = smtp()
    before = channel.verified_at
    assert client.post(page(channel), posted(channel)).status_code == 302
    channel.refresh_from_db()
    assert channel.secrets == {"password": CANARY}
    assert (channel.enabled, channel.verified_at) == (True, before)


@pytest.mark.parametrize("change", [{"setting_host": "other.example.com"}, {"setting_password": "new"}])
def test_changed_settings_switch_it_off_and_say_so(client, manager, change):
    channel = smtp(config={"security": "starttls"})
    answer = client.post(page(channel), posted(channel, **change), follow=True)
    channel.refresh_from_db()
    assert (channel.enabled, channel.verified_at) == (False, None)
    assert any("off until a test succeeds" in str(m) for m in answer.context["messages"])


def test_a_setting_that_came_with_a_newer_version_changes_nothing_while_it_is_empty(client, manager):
    channel = smtp()
    assert "bounce_address" not in channel.config
    client.post(page(channel), posted(channel, name="New name"))
    channel.refresh_from_db()
    assert (channel.name, channel.enabled) == ("New name", True)
    client.post(page(channel), posted(channel, setting_bounce_address="bounces@example.org"))
    channel.refresh_from_db()
    assert (channel.config["bounce_address"], channel.enabled) == ("bounces@example.org", False)


def test_renaming_keeps_it_on_and_what_a_worker_wrote_meanwhile(client, manager, monkeypatch):
    channel = smtp()
    original = Channel.save

    def slow_save(self, *args, **kwargs):
        # The worker pauses the channel between the page's read and its write.
        Channel.objects.filter(pk=self.pk).update(paused_at=timezone.now())
        original(self, *args, **kwargs)

    monkeypatch.setattr(Channel, "save", slow_save)
    client.post(page(channel), posted(channel, name="New name"))
    channel.refresh_from_db()
    assert channel.name == "New name"
    assert channel.enabled
    assert channel.paused_at


def test_a_fallback_carries_the_same_words_to_the_same_addresses(client, manager):
    channel, other, sms = smtp(), make.channel("outbox_email", "Spare"), make.channel("outbox_sms", "Texts")
    shown = client.get(page(channel)).context["adminform"].form.fields["fallback"]
    assert list(shown.queryset) == [other]
    refused = client.post(page(channel), posted(channel, fallback=sms.pk, rate="0"))
    assert set(refused.context["adminform"].form.errors) == {"fallback", "rate"}
    assert client.post(page(channel), posted(channel, fallback=other.pk, rate="14.5")).status_code == 302
    channel.refresh_from_db()
    assert (channel.fallback, channel.rate, channel.enabled) == (other, 14.5, True)


def test_a_public_channel_has_no_fallback(client, manager):
    shown = client.get(page(make.channel("outbox_post"))).context["adminform"].form
    assert "rate" in shown.fields
    assert "fallback" not in shown.fields


def test_it_cannot_be_enabled_before_a_test_and_the_form_says_so(client, manager):
    channel = smtp(enabled=False, verified_at=None)
    answer = client.post(page(channel), posted(channel, enabled="on"))
    assert "Send a test that succeeds" in answer.context["adminform"].form.errors["enabled"][0]
    channel.refresh_from_db()
    assert not channel.enabled


def test_a_channel_whose_provider_is_gone_is_still_shown(client, manager):
    channel = make.channel("carrier_pigeon", enabled=False)
    assert client.get(page(channel)).status_code == 200
    assert client.get(LIST).status_code == 200
    assert client.post(page(channel), {"name": "x"}).status_code == 200  # refused, with words
    assert client.get(page(channel, "test")).status_code == 302


def test_a_broadcast_channel_chooses_its_languages(client, manager):
    channel = make.channel("outbox_post")
    client.post(page(channel), {"name": "X", "enabled": "on", "locales": ["it"]})
    channel.refresh_from_db()
    assert channel.locales == ["it"]
    assert channel.enabled


# ── Test ──


def test_a_test_through_a_real_server_verifies_and_then_it_can_be_enabled(client, manager, mail_server):
    channel = smtp(config={"port": mail_server.port}, enabled=False, verified_at=None)
    Channel.objects.filter(pk=channel.pk).update(secrets={"password": PASSWORD})
    shown = client.get(page(channel, "test")).content.decode()
    assert manager.email in shown
    client.post(page(channel, "test"), {"enable": "1"})
    channel.refresh_from_db()
    assert not channel.enabled
    client.post(page(channel, "test"), {"address": "someone@example.com"})
    assert [to for to, _raw in mail_server.mailbox.raw] == ["someone@example.com"]
    client.post(page(channel, "test"), {"enable": "1"})
    channel.refresh_from_db()
    assert channel.enabled
    assert channel.health == "well"


def test_a_failed_test_shows_the_providers_words_without_the_credential(client, manager, caplog):
    server = SmtpServer(Mailbox())
    channel = smtp(config={"port": server.port, "user": ""})
    try:
        server.mailbox.script("MAIL", f"554 5.7.1 refused for {CANARY}")
        shown = client.post(page(channel, "test"), {"address": "a@example.com"}, follow=True).content.decode()
    finally:
        server.close()
    channel.refresh_from_db()
    assert (channel.enabled, channel.verified_at, channel.health) == (False, None, "untested")
    assert "554 5.7.1" in shown
    assert "refused for •••" in shown
    assert CANARY not in shown + caplog.text + channel.test_error


def test_a_wrong_password_fails_the_test_with_the_servers_code(client, manager, mail_server):
    channel = smtp(config={"port": mail_server.port})
    shown = client.post(page(channel, "test"), {"address": "a@example.com"}, follow=True).content.decode()
    assert "535" in shown
    assert not mail_server.mailbox.raw


def test_a_provider_that_breaks_is_a_failed_test_and_not_a_crash(client, manager):
    channel = make.channel("smtp", config={}, enabled=False, verified_at=None)
    answer = client.post(page(channel, "test"), {"address": "a@example.com"})
    assert answer.status_code == 422  # the settings are not complete
    assert "not complete" in answer.content.decode()


def test_a_bad_address_is_refused_before_anything_is_sent(client, manager, data_dir):
    channel = make.channel("outbox_sms")
    answer = client.post(page(channel, "test"), {"address": "+44 20"})
    assert answer.status_code == 422
    assert "too short" in answer.content.decode()
    assert not (data_dir / "outbox").exists()


def test_a_successful_test_resumes_a_paused_channel(client, manager):
    channel = make.channel(paused_at=timezone.now(), paused_reason="535 no")
    assert "535 no" in client.get(page(channel)).content.decode()
    client.post(page(channel, "test"), {"address": "a@example.com"})
    channel.refresh_from_db()
    assert channel.health == "well"


def test_a_broadcast_channel_is_checked_without_posting(client, manager, data_dir):
    channel = make.channel("outbox_post", enabled=False, verified_at=None)
    client.post(page(channel, "test"), {})
    channel.refresh_from_db()
    assert channel.verified_at
    assert not (data_dir / "outbox").exists()


def test_opening_the_test_page_sends_nothing(client, manager, data_dir):
    channel = make.channel(enabled=False, verified_at=None)
    client.get(page(channel, "test"), {"address": "a@example.com", "enable": "1"})
    channel.refresh_from_db()
    assert channel.verified_at is None
    assert not (data_dir / "outbox").exists()


# ── Secrets ──


def test_no_credential_leaves_the_database_by_page_history_log_or_dump(client, manager, caplog):
    caplog.set_level(logging.DEBUG)
    channel = smtp(config={"security": "starttls"})
    seen = [client.post(page(channel), posted(channel, setting_password=f"{CANARY}-2", setting_port="no"))]
    seen.append(client.post(page(channel), posted(channel, setting_password=f"{CANARY}-2"), follow=True))
    seen += [client.get(url) for url in (LIST, page(channel), page(channel, "test"), page(channel, "history"))]
    texts = [answer.content.decode() for answer in seen]
    texts += LogEntry.objects.values_list("change_message", flat=True)
    dump = io.StringIO()
    call_command("dumpdata", "channels", stdout=dump)
    channel.refresh_from_db()
    assert channel.secrets == {"password": f"{CANARY}-2"}  # it was there to be seen
    assert not [text for text in [*texts, dump.getvalue(), caplog.text] if CANARY in text]


# ── Health ──


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({}, "Working"),
        ({"enabled": False}, "Off"),
        ({"enabled": False, "verified_at": None}, "Not tested"),
        ({"paused_at": timezone.now()}, "Paused: needs attention"),
        ({"held_until": timezone.now() + timedelta(hours=1)}, "Slowed down by the provider"),
    ],
)
def test_the_list_says_how_a_channel_is_doing(client, manager, state, word):
    channel = make.channel(**state)
    assert word in client.get(LIST).content.decode()
    assert word in client.get(page(channel)).content.decode()


# ── Permissions ──


def test_a_channel_is_tested_only_by_whoever_may(client):
    channel = make.channel()
    client.force_login(make.incident_manager())  # may see channels
    assert client.get(page(channel)).status_code == 200
    assert client.get(page(channel, "test")).status_code == 403
    assert client.post(page(channel, "test"), {"address": "a@example.com"}).status_code == 403
    client.force_login(make.user(roles.MANAGERS))
    assert client.get(LIST).status_code == 403
    client.logout()
    assert client.get(page(channel, "test")).status_code == 302


def test_whoever_may_only_look_sees_no_settings(client):
    client.force_login(make.incident_manager())
    shown = client.get(page(smtp(config={"host": "mail.internal.example"}))).content.decode()
    assert "setting_" not in shown
    assert "mail.internal.example" not in shown


def test_enabling_needs_the_right_to_change(client):
    channel = make.channel(enabled=False)
    tester = make.user(roles.MANAGERS)
    tester.user_permissions.set(_permissions("view_channel", "test_channel"))
    client.force_login(tester)
    assert client.get(page(channel, "test")).status_code == 200
    assert client.post(page(channel, "test"), {"enable": "1"}).status_code == 403
    channel.refresh_from_db()
    assert not channel.enabled


def _permissions(*codenames):
    return Permission.objects.filter(codename__in=codenames)


@pytest.mark.parametrize("model", ["dispatch", "batch", "delivery"])
def test_raw_records_are_for_those_who_see_every_component(client, model):
    url = f"/admin/channels/{model}/"
    client.force_login(make.incident_manager())
    assert client.get(url).status_code == 200
    assert client.get(url + "add/").status_code == 403
    client.force_login(make.user(roles.INCIDENT_MANAGERS))  # without All components
    assert client.get(url).status_code == 403
    client.force_login(make.user(roles.ALL_COMPONENTS))  # without the role
    assert client.get(url).status_code == 403


def test_nothing_of_the_queue_is_in_the_admin():
    labels = {model._meta.app_label for model in admin.site._registry}
    assert not labels & {"django_q", "guardian", "simple_history"}
    assert "heartbeat" not in {model._meta.model_name for model in admin.site._registry}


def test_raw_records_show_erased_people_too(client, django_assert_max_num_queries):
    make.plan(make.channel())
    people = make.recipients(30)
    make.published(make.incident().updates.get())
    make.deliver()
    Recipient.objects.filter(pk=people[0].pk).delete()
    client.force_login(make.incident_manager())
    with django_assert_max_num_queries(15):
        shown = client.get("/admin/channels/delivery/")
    assert shown.context["cl"].result_count == 30
    assert "erased" in shown.content.decode()
    with django_assert_max_num_queries(15):
        assert client.get("/admin/channels/dispatch/").status_code == 200
    dispatch = Dispatch.objects.get(locale="en")
    assert client.get(f"/admin/channels/dispatch/{dispatch.pk}/change/").status_code == 200
    assert client.get(f"/admin/channels/delivery/{dispatch.deliveries.first().pk}/change/").status_code == 200


# ── Recipients and suppressions ──


def recipient_form(**changes):
    return {
        "medium": "email",
        "address": "Anna@Example.COM",
        "name": "Anna",
        "locale": "en",
        "time_zone": "Europe/Rome",
        "attributes": "{}",
        "consent_source": "",
        "subscriptions-TOTAL_FORMS": "0",
        "subscriptions-INITIAL_FORMS": "0",
    } | changes


def test_a_recipient_is_stored_in_its_canonical_form(client, manager):
    client.post("/admin/channels/recipient/add/", recipient_form())
    one = Recipient.objects.get()
    assert one.address == "Anna@example.com"
    assert one.address_hash == address_hash("email", "anna@example.com")


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        (
            {"medium": "sms", "address": "+44 20"},
            "address",
            "“+44 20” is too short; write it with + and the country code, for example +442071234567.",
        ),
        ({"address": "anna"}, "address", "is not an email address"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "“Mars/Olympus” is not a time zone"),
        ({"medium": "broadcast"}, "medium", "broadcast"),
        ({"attributes": "{"}, "attributes", "JSON"),
    ],
)
def test_a_bad_recipient_is_refused_in_words(client, manager, changes, field, words):
    answer = client.post("/admin/channels/recipient/add/", recipient_form(**changes))
    assert words in " ".join(answer.context["adminform"].form.errors[field])
    assert not Recipient.objects.exists()


def test_the_same_address_is_not_added_twice(client, manager):
    client.post("/admin/channels/recipient/add/", recipient_form())
    answer = client.post("/admin/channels/recipient/add/", recipient_form(address=" Anna@EXAMPLE.com "))
    assert answer.status_code == 200
    assert "already exists" in str(answer.context["adminform"].form.errors)


def test_recipients_are_found_and_their_state_is_told_in_few_queries(client, manager, django_assert_max_num_queries):
    people = make.recipients(40)
    make.recipients(3, medium="sms", locale="it")
    Suppression.objects.create(medium="email", address_hash=people[0].address_hash, reason="unsubscribed")
    with django_assert_max_num_queries(12):
        shown = client.get("/admin/channels/recipient/").content.decode()
    assert "Stopped" in shown
    assert "Confirmed" in shown
    found = client.get("/admin/channels/recipient/", {"q": people[7].address}).context["cl"].result_list
    assert [one.pk for one in found] == [people[7].pk]
    filtered = client.get("/admin/channels/recipient/", {"medium__exact": "sms", "locale__exact": "it"})
    assert filtered.context["cl"].result_count == 3


def test_the_stand_in_of_a_broadcast_channel_is_not_a_recipient_to_edit(client, manager):
    Recipient.objects.create(medium="broadcast", address="channel:1", confirmed_at=timezone.now())
    assert client.get("/admin/channels/recipient/").context["cl"].result_count == 0


def test_an_address_is_stopped_by_hash_found_by_text_and_lifted_by_deleting(client, manager):
    [person] = make.recipients(1)
    url = "/admin/channels/suppression/"
    client.post(url + "add/", {"medium": "email", "address": person.address.upper(), "detail": "asked by phone"})
    row = Suppression.objects.get()
    assert (row.address_hash, row.reason) == (person.address_hash, "manual")
    assert "asked by phone" in client.get(f"{url}{row.pk}/change/").content.decode()
    again = client.post(url + "add/", {"medium": "email", "address": person.address, "detail": ""})
    assert "stopped already" in str(again.context["adminform"].form.errors)
    shown = client.get(url, {"q": person.address})
    assert shown.context["cl"].result_count == 1
    assert client.get(url, {"q": "other@example.com"}).context["cl"].result_count == 0
    assert person.address not in " ".join(LogEntry.objects.values_list("object_repr", flat=True))
    assert client.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Suppression.objects.exists()


def test_a_bad_address_cannot_be_stopped(client, manager):
    answer = client.post("/admin/channels/suppression/add/", {"medium": "sms", "address": "12", "detail": ""})
    assert "country code" in str(answer.context["adminform"].form.errors)


def test_recipients_are_read_only_for_support_and_closed_to_managers(client):
    [person] = make.recipients(1)
    client.force_login(make.user(roles.SUPPORT_LEADS))
    assert client.get("/admin/channels/recipient/").status_code == 200
    assert client.get("/admin/channels/recipient/add/").status_code == 403
    assert client.post(f"/admin/channels/recipient/{person.pk}/change/", recipient_form()).status_code == 403
    client.force_login(make.user(roles.MANAGERS))
    assert client.get("/admin/channels/recipient/").status_code == 403
    assert client.get("/admin/channels/suppression/").status_code == 403


def test_the_list_of_channels_takes_the_same_queries_for_one_and_for_twenty(
    client, manager, django_assert_max_num_queries
):
    for _n in range(20):
        make.channel()
    with django_assert_max_num_queries(12):
        assert client.get(LIST).context["cl"].result_count == 20
