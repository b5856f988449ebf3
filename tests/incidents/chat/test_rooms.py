"""A channel for each bad incident: made once whatever dies, with its people, a pinned brief and what was published."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from incidents import declaring, roles, tasks
from incidents.chat import rooms, slack
from incidents.chat.slack_room import SlackRoom
from incidents.models import ChatAccount, ChatPost, ChatRoom, ChatWorkspace, Incident, IncidentRole
from tests import make
from tests.fakes.aws import Drop
from tests.fakes.slack_api import BOT, Lost, texts

pytestmark = pytest.mark.django_db
METHODS = (
    "conversations.create",
    "conversations.setTopic",
    "conversations.invite",
    "chat.postMessage",
    "pins.add",
    "conversations.archive",
)


@pytest.fixture
def people(connected) -> dict[str, User]:
    found = {
        "marta": make.incident_manager(first_name="Marta"),
        "anna": make.communications_manager(first_name="Anna"),
        "paolo": make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS, first_name="Paolo"),
    }
    connected(found["marta"]), connected(found["anna"])  # Paolo is not
    return found


@pytest.fixture
def incident(people, workspace) -> Incident:
    ChatWorkspace.objects.update(rooms_from="sev2")
    make.recipients(2)
    pairs = [("incident_manager", "marta"), ("communications_manager", "anna"), ("support_lead", "paolo")]
    make.plan(make.channel(name="Email"), people=[(role, people[name]) for role, name in pairs])
    return make.incident(people["marta"], make.component("Checkout"), title="Cards fail: über 50 % <now>")


def sweep(fake=None, times: int = 1) -> None:
    """As often as a worker comes by; what was put off is due."""
    for _n in range(times):
        ChatRoom.objects.update(busy_until=None)
        tasks.sweep_chat()


def the_channel(fake) -> dict:
    [one] = [one for one in fake.conversations.values() if one.get("creator") == BOT]
    return one


def posted(fake) -> list[str]:
    return [texts(one) for one in fake.messages[the_channel(fake)["id"]]]


# ── Made ────────────────────────────────────────────────────────────────────


def test_a_bad_incident_gets_a_private_channel_with_its_people_and_a_brief(fake, incident, people):
    sweep()
    channel = the_channel(fake)
    assert channel["name"] == f"inc-{incident.pk}-cards-fail-uber-50-now"
    assert channel["is_private"] is True
    members = ChatAccount.objects.filter(user__in=[people["marta"], people["anna"]]).values_list("member", flat=True)
    assert set(channel["members"]) == {BOT, *members}
    assert channel["topic"].startswith("SEV 2 · major · Investigating · customers must hear by ")
    assert "&lt;now&gt;" in channel["topic"]
    [brief] = posted(fake)
    assert all(name in brief for name in ("Cards fail", "Checkout", "Marta", "Anna", "Paolo"))
    assert f"/admin/incidents/incident/{incident.pk}/change/" in brief
    assert fake.pins == [(channel["id"], fake.messages[channel["id"]][0]["ts"])]
    calls = len(fake.calls)
    sweep(times=3)
    assert len(fake.calls) == calls


@pytest.mark.parametrize(
    ("rooms_from", "severity", "made"),
    [("", "sev1", 0), ("sev1", "sev2", 0), ("sev1", "sev1", 1), ("sev3", "sev2", 1), ("sev4", "sev4", 1)],
)
def test_only_incidents_that_are_bad_enough_get_one(fake, workspace, rooms_from, severity, made):
    ChatWorkspace.objects.update(rooms_from=rooms_from)
    make.incident(severity=severity)
    sweep()
    assert fake.count("conversations.create") == made


def test_maintenance_history_and_what_is_over_get_none(fake, workspace, incident, people):
    Incident.objects.update(imported_from="elsewhere")
    sweep()
    Incident.objects.update(imported_from=None, maintenance=True)
    sweep()
    Incident.objects.update(maintenance=False)
    incident.dismiss(people["marta"], "A false alarm.")
    sweep()
    assert fake.calls == []


def test_a_workspace_that_is_off_is_not_called(fake, workspace, incident):
    ChatWorkspace.objects.update(enabled=False)
    sweep()
    assert fake.calls == []


def test_public_channels_are_made_where_that_is_chosen(fake, workspace, incident):
    ChatWorkspace.objects.update(rooms_private=False)
    sweep()
    assert the_channel(fake)["is_private"] is False


def test_a_name_that_is_taken_gets_a_number(fake, incident):
    fake.channel(name := SlackRoom.name_for(incident))
    fake.channel(f"{name}-2")
    sweep()
    assert the_channel(fake)["name"] == f"{name}-3"
    assert ChatRoom.objects.get().name == f"{name}-3"


@pytest.mark.parametrize("title", ["", "???", "日本語", "x" * 200, "-- a --", "Ünïcödé & more"])
def test_every_title_makes_a_name_that_slack_takes(fake, workspace, title):
    ChatWorkspace.objects.update(rooms_from="sev4")
    make.incident(title=title or "a")
    Incident.objects.update(title=title)
    sweep()
    assert the_channel(fake)["name"].startswith("inc-")
    assert ChatRoom.objects.get().problem == ""


def test_who_takes_a_role_over_is_invited_and_who_connects_later(fake, incident, people, connected):
    sweep()
    elena = make.communications_manager(first_name="Elena")
    connected(elena), connected(people["paolo"])
    IncidentRole.objects.filter(incident=incident, role="communications_manager").update(user=elena)
    sweep()
    members = set(ChatAccount.objects.values_list("member", flat=True))
    assert set(the_channel(fake)["members"]) == {BOT, *members}
    assert fake.count("conversations.invite") == 4


def test_who_does_not_see_the_incident_is_not_invited(fake, incident, people):
    people["anna"].groups.clear()
    sweep()
    anna = ChatAccount.objects.get(user=people["anna"])
    assert anna.member not in the_channel(fake)["members"]


def test_a_member_who_cannot_be_invited_stops_nobody(fake, incident):
    fake.fail("conversations.invite", "user_is_restricted")
    sweep(times=2)
    assert len(the_channel(fake)["members"]) == 2
    assert len(posted(fake)) == 1


# ── Kept up to date ─────────────────────────────────────────────────────────


def test_what_is_published_is_posted_in_its_order(fake, incident, people):
    sweep()
    first = make.published(incident.updates.get(), people["anna"])
    sweep()
    last = make.published(declaring.start_draft(incident, people["marta"], "resolved"), people["anna"])
    sweep(times=2)
    assert len(posted(fake)) == 4
    assert "Over since" in posted(fake)[3]
    for shown, update in zip(posted(fake)[1:3], (first, last), strict=True):
        assert update.page["en"]["subject"] in shown
        assert update.page["en"]["text"].split("\n\n")[0] in shown
    assert the_channel(fake)["topic"].startswith("SEV 2 · major · Resolved · Cards fail")


def test_a_draft_is_not_posted(fake, incident, people):
    update = incident.updates.get().submit(people["marta"])
    update.approve(people["anna"])
    sweep()
    assert len(posted(fake)) == 1


def test_it_speaks_the_language_of_the_workspace(fake, workspace, incident, people):
    ChatWorkspace.objects.update(locale="it")
    update = make.published(incident.updates.get(), people["anna"])
    sweep()
    assert update.page["it"]["subject"] in posted(fake)[1]
    assert "Pubblicato alle" in posted(fake)[1]


# ── Archived ────────────────────────────────────────────────────────────────


def archive(who: User, incident: Incident):
    url = reverse("admin:incidents_incident_archive_room", args=[incident.pk])
    room = ChatRoom.objects.filter(incident=incident).first()
    return make.client(who).post(url, {"room": room.pk if room else ""})


def test_it_is_archived_on_request_and_then_left_alone(fake, incident, people):
    sweep()
    assert archive(people["marta"], incident).status_code == 302
    assert the_channel(fake)["is_archived"] is False
    sweep()
    assert the_channel(fake)["is_archived"] is True
    room = ChatRoom.objects.get()
    assert (room.archive_by, bool(room.archived_at)) == (people["marta"], True)
    calls = len(fake.calls)
    sweep(times=2)
    assert len(fake.calls) == calls
    assert archive(people["marta"], incident).status_code == 409


def test_who_may_not_write_does_not_archive(fake, incident):
    sweep()
    boss = make.user(roles.MANAGERS, roles.ALL_COMPONENTS)
    assert archive(boss, incident).status_code == 403
    assert archive(make.user(roles.SUPPORT_LEADS), incident).status_code == 404
    assert ChatRoom.objects.get().archive_at is None


def test_a_link_alone_archives_nothing(fake, incident, people):
    sweep()
    make.client(people["marta"]).get(reverse("admin:incidents_incident_archive_room", args=[incident.pk]))
    assert ChatRoom.objects.get().archive_at is None


def test_the_channel_of_another_incident_is_not_there(fake, incident, people):
    sweep()
    other = make.incident(people["marta"])
    url = reverse("admin:incidents_incident_archive_room", args=[other.pk])
    for room in (str(ChatRoom.objects.get(incident=incident).pk), "", "x", "9" * 30):
        assert make.client(people["marta"]).post(url, {"room": room}).status_code == 404


def test_archive_by_command(fake, chat, incident, people):
    member = ChatAccount.objects.get(user=people["marta"]).member
    assert "has no channel here" in chat.says(member, f"archive {incident.pk}")
    sweep()
    assert "is archived in a moment" in chat.says(member, "archive", channel_id=the_channel(fake)["id"])
    sweep()
    assert the_channel(fake)["is_archived"] is True


def test_a_channel_that_was_archived_in_slack_is_left_alone(fake, incident, people):
    sweep()
    the_channel(fake)["is_archived"] = True
    make.published(incident.updates.get(), people["anna"])
    sweep()
    assert ChatRoom.objects.get().archived_at
    calls = len(fake.calls)
    sweep(times=2)
    assert len(fake.calls) == calls


# ── Once, whatever happens ──────────────────────────────────────────────────


def finished(fake, incident) -> None:
    channel = the_channel(fake)  # one alone
    assert len(channel["members"]) == 3
    assert len(posted(fake)) == 2  # the brief and the update
    assert len(fake.pins) == 1
    assert channel["is_archived"] is True


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fault", [Lost(), Drop(), "internal_error", 1, "ratelimited"])
def test_a_call_that_fails_or_loses_its_reply_is_made_good(fake, incident, people, method, fault, time_machine):
    make.published(incident.updates.get(), people["anna"])
    fake.fail(method, fault)
    sweep()
    archive(people["marta"], incident)
    for _n in range(3):
        time_machine.move_to(timezone.now() + timedelta(minutes=2))  # whatever patience was asked for
        sweep()
    finished(fake, incident)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("before", [True, False])
def test_a_worker_that_dies_at_a_call_is_followed_by_one_that_does_the_rest(
    fake, incident, people, method, before, monkeypatch, time_machine
):
    """Before the call, and after it with nothing written down."""
    make.published(incident.updates.get(), people["anna"])
    sweep_until = slack.Slack.call

    def call(self, asked, **arguments):
        if asked != method:
            return sweep_until(self, asked, **arguments)
        if not before:
            sweep_until(self, asked, **arguments)
        raise KeyboardInterrupt

    if method == "conversations.archive":
        sweep()
        archive(people["marta"], incident)
    with monkeypatch.context() as patch:
        patch.setattr(slack.Slack, "call", call)
        with pytest.raises(KeyboardInterrupt):
            tasks.sweep_chat()
    calls = len(fake.calls)
    tasks.sweep_chat()  # the lease of the dead one holds
    assert len(fake.calls) == calls
    time_machine.move_to(timezone.now() + timedelta(minutes=3))
    tasks.sweep_chat()
    if method != "conversations.archive":
        archive(people["marta"], incident)
    tasks.sweep_chat()
    finished(fake, incident)


def test_a_channel_of_somebody_else_is_never_taken_for_ours(fake, incident):
    """Its name is taken although we asked for it before: somebody made it in between."""
    fake.fail("conversations.create", "internal_error")
    sweep()
    foreign = fake.channel(SlackRoom.name_for(incident))
    sweep()
    assert ChatRoom.objects.get().channel != foreign
    assert fake.messages[foreign] == []


def test_what_slack_does_not_let_us_do_is_said_and_not_tried_all_the_time(fake, incident, people):
    fake.fail("conversations.create", "restricted_action", "restricted_action")
    tasks.sweep_chat()
    room = ChatRoom.objects.get()
    assert "The workspace does not let apps do this" in room.problem
    tasks.sweep_chat()
    assert fake.count("conversations.create") == 1
    url = reverse("admin:incidents_incident_change", args=[incident.pk])
    assert "The workspace does not let apps do this" in make.client(people["marta"]).get(url).content.decode()


def test_an_app_that_is_locked_out_shows_on_the_workspace(fake, incident):
    fake.fail("conversations.create", "token_revoked")
    sweep()
    assert ChatWorkspace.objects.get().problem.startswith("token_revoked")


def test_without_the_right_to_look_back_a_message_is_rather_posted_twice_than_never(fake, incident):
    fake.scopes = [one for one in fake.scopes if not one.endswith(":history")]
    fake.fail("chat.postMessage", Drop())
    sweep(times=2)
    assert len(posted(fake)) == 1


def test_two_sweeps_at_once_make_one_channel(fake, incident, monkeypatch):
    make_room = rooms._make

    def meanwhile(here, topic):
        rooms.tend(here.row.pk)  # another worker comes by
        make_room(here, topic)

    monkeypatch.setattr(rooms, "_make", meanwhile)
    sweep()
    assert fake.count("conversations.create") == 1


def test_what_is_long_over_is_not_looked_after_but_archived_on_request(
    fake, incident, people, time_machine, monkeypatch
):
    sweep()
    make.published(incident.updates.get(), people["anna"])
    make.published(declaring.start_draft(incident, people["marta"], "resolved"), people["anna"])
    sweep()
    tended = []
    with monkeypatch.context() as patch:
        patch.setattr(rooms, "tend", tended.append)
        rooms.tend_all()
        time_machine.move_to(timezone.now() + timedelta(days=8))
        rooms.tend_all()
    assert len(tended) == 1
    archive(people["marta"], incident)
    sweep()
    assert the_channel(fake)["is_archived"] is True


# ── The page of the incident ────────────────────────────────────────────────


def test_the_page_links_the_channel(fake, incident, people):
    url = reverse("admin:incidents_incident_change", args=[incident.pk])
    browser = make.client(people["marta"])
    assert "slack.com" not in browser.get(url).content.decode()
    sweep()
    page = browser.get(url).content.decode()
    room = ChatRoom.objects.get()
    assert f'href="https://example.slack.com/archives/{room.channel}"' in page
    assert "Archive the channel" in page
    boss = make.client(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    assert "Archive the channel" not in boss.get(url).content.decode()


def test_the_page_asks_the_database_once_however_many_channels(fake, incident, people, workspace):
    url = reverse("admin:incidents_incident_change", args=[incident.pk])
    browser = make.client(people["marta"])
    sweep()
    browser.get(url)
    with CaptureQueriesContext(connection) as few:
        browser.get(url)
    for n in range(3):
        more = ChatWorkspace.objects.create(name=f"More {n}", enabled=True)
        ChatRoom.objects.create(workspace=more, incident=incident, name=f"inc-{n}", channel=f"C{n}")
    with CaptureQueriesContext(connection) as many:
        browser.get(url)
    assert len(few) == len(many)


def test_posts_know_where_they_are(fake, incident):
    sweep()
    one = ChatPost.objects.get()
    assert (one.place, bool(one.ts), bool(one.pinned_at)) == (ChatRoom.objects.get().channel, True, True)
