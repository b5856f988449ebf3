"""A channel in Microsoft Teams for each bad incident, against a fake on loopback: Teams itself was never asked."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from incidents import declaring, roles, tasks
from incidents.chat import cards, rooms, teams, teams_room
from incidents.chat.room import Entry
from incidents.models import ChatPost, ChatRoom, ChatWorkspace, Incident
from tests import make
from tests.fakes.aws import Drop
from tests.fakes.http import Reply
from tests.fakes.slack_api import Lost
from tests.fakes.teams_graph import APP, CLIENT_SECRET, TEAM, TENANT, FakeTeams, texts

pytestmark = pytest.mark.django_db


@pytest.fixture
def fake(settings):
    one = FakeTeams()
    settings.MICROSOFT_LOGIN, settings.GRAPH_API, settings.TEAMS_BOT_API = one.login, one.graph, one.bot
    yield one
    one.close()


@pytest.fixture
def workspace(db) -> ChatWorkspace:
    """Checked and on."""
    return ChatWorkspace.objects.create(
        name="Operations",
        service=ChatWorkspace.Service.TEAMS,
        enabled=True,
        tenant=TENANT,
        app=APP,
        team=TEAM,
        team_name="Operations",
        secrets={"client_secret": CLIENT_SECRET},
        rooms_from="sev2",
        rooms_private=False,
        checked_at="2026-01-01T00:00:00Z",
    )


@pytest.fixture
def people(fake) -> dict[str, User]:
    found = {
        "marta": make.incident_manager(first_name="Marta"),
        "anna": make.communications_manager(first_name="Anna"),
        "paolo": make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS, first_name="Paolo"),
    }
    fake.user(found["marta"].email)
    fake.user("somebody@example.com", upn=found["anna"].email.upper())  # her mail is another; her login is this one
    return found  # Paolo is not in the directory


@pytest.fixture
def incident(people, workspace) -> Incident:
    make.recipients(2)
    pairs = [("incident_manager", "marta"), ("communications_manager", "anna"), ("support_lead", "paolo")]
    make.plan(make.channel(name="Email"), people=[(role, people[name]) for role, name in pairs])
    return make.incident(people["marta"], make.component("Checkout"), title="Cards fail: über 50 % <now> & {x}")


def sweep(times: int = 1) -> None:
    """As often as a worker comes by; what was put off is due."""
    for _n in range(times):
        ChatRoom.objects.update(busy_until=None)
        tasks.sweep_chat()


def the_channel(fake) -> dict:
    [one] = fake.channels.values()
    return one


def posted(fake) -> list[str]:
    return [texts(one) for one in fake.messages[the_channel(fake)["id"]]]


def members(fake) -> set[str]:
    return {fake.users[one]["mail"] for one in the_channel(fake)["members"]}


# ── Made ────────────────────────────────────────────────────────────────────


def test_a_bad_incident_gets_a_channel_with_a_description_and_a_brief(fake, incident):
    sweep()
    channel = the_channel(fake)
    assert channel["displayName"] == f"inc-{incident.pk} Cards fail über 50 now x"
    assert channel["membershipType"] == "standard"
    assert channel["description"].startswith("SEV 2 · major · Investigating · customers must hear by ")
    assert channel["description"].endswith(f"/admin/incidents/incident/{incident.pk}/change/")
    [brief] = posted(fake)
    assert all(name in brief for name in ("Cards fail: über 50 % <now> & {x}", "Checkout", "Marta", "Anna", "Paolo"))
    assert f"/admin/incidents/incident/{incident.pk}/change/" in brief
    assert "/incident clock" not in brief
    room = ChatRoom.objects.get()
    assert (room.channel, room.name, room.problem) == (channel["id"], channel["displayName"], "")
    calls = len(fake.calls)
    sweep(times=3)
    assert len(fake.calls) == calls


@pytest.mark.parametrize(
    ("rooms_from", "severity", "made"), [("", "sev1", 0), ("sev1", "sev2", 0), ("sev1", "sev1", 1), ("sev4", "sev4", 1)]
)
def test_only_incidents_that_are_bad_enough_get_one(fake, workspace, rooms_from, severity, made):
    ChatWorkspace.objects.update(rooms_from=rooms_from)
    make.incident(severity=severity)
    sweep()
    assert fake.count("create") == made


def test_maintenance_and_what_is_over_get_none(fake, incident, people):
    Incident.objects.update(maintenance=True)
    sweep()
    Incident.objects.update(maintenance=False)
    incident.dismiss(people["marta"], "A false alarm.")
    sweep()
    assert fake.calls == []


@pytest.mark.parametrize(
    "title",
    ["", "???", "日本語", "x" * 200, "_.a.", "-- a --", "Ünïcödé & more", "𠀀" * 60, "😀 gone", "a/b\\c:d*e?f|g'h\""],
    ids=range(10),
)
def test_every_title_makes_a_name_that_teams_takes(fake, workspace, title):
    make.incident(title="a")
    Incident.objects.update(title=title)
    sweep()
    assert the_channel(fake)["displayName"].startswith("inc-")
    assert ChatRoom.objects.get().problem == ""


def test_a_name_that_is_taken_gets_a_number_also_of_what_was_deleted(fake, incident):
    name = teams_room.TeamsRoom.name_for(incident)
    fake.channel(name.upper())
    fake.channel(f"{name} 2", deleted=True)
    sweep()
    assert ChatRoom.objects.get().name == f"{name} 3"


# ── Private ─────────────────────────────────────────────────────────────────


def test_a_private_channel_has_who_holds_a_role_and_is_in_the_team(fake, workspace, incident, people):
    ChatWorkspace.objects.update(rooms_private=True)
    fake.private_bots = True
    stranger = fake.user(people["paolo"].email, in_team=False)
    sweep()
    assert the_channel(fake)["membershipType"] == "private"
    assert members(fake) == {people["marta"].email, "somebody@example.com"}
    assert stranger not in the_channel(fake)["members"]
    assert ["owner"] in the_channel(fake)["members"].values()
    assert fake.count("member") == 2  # Anna, and Paolo in vain: the owner is in it from the start
    assert len(posted(fake)) == 1
    calls = len(fake.calls)
    sweep(times=2)
    assert len(fake.calls) == calls


def test_who_does_not_see_the_incident_is_not_let_in(fake, workspace, incident, people):
    ChatWorkspace.objects.update(rooms_private=True)
    fake.private_bots = True
    people["anna"].groups.clear()
    sweep()
    assert members(fake) == {people["marta"].email}


def test_an_owner_who_does_not_see_the_incident_is_none(fake, workspace, incident, people):
    ChatWorkspace.objects.update(rooms_private=True)
    people["marta"].groups.clear()
    sweep()
    assert members(fake) == {"somebody@example.com"}


def test_a_private_channel_without_anybody_is_not_made_and_says_why(fake, workspace, incident, people):
    ChatWorkspace.objects.update(rooms_private=True)
    fake.users.clear()
    sweep()
    assert fake.channels == {}
    assert "needs an owner who is in the team" in ChatRoom.objects.get().problem
    assert "Marta" in ChatRoom.objects.get().problem


def test_where_teams_lets_no_bot_write_the_channel_is_there_and_the_page_says_so(fake, workspace, incident, people):
    ChatWorkspace.objects.update(rooms_private=True)
    sweep()
    assert the_channel(fake)["description"]
    assert len(the_channel(fake)["members"]) == 2
    assert "only once a person has added it there" in ChatRoom.objects.get().problem
    url = reverse("admin:incidents_incident_change", args=[incident.pk])
    assert "only once a person has added it there" in make.client(people["marta"]).get(url).content.decode()
    fake.private_bots = True  # somebody added it
    sweep()
    assert len(posted(fake)) == 1
    assert ChatRoom.objects.get().problem == ""


def test_what_cannot_be_written_does_not_keep_it_from_being_archived(fake, workspace, incident, people):
    ChatWorkspace.objects.update(rooms_private=True)
    sweep()
    archive(people["marta"], incident)
    sweep(times=4)
    assert the_channel(fake)["isArchived"] is True


# ── Kept up to date ─────────────────────────────────────────────────────────


def test_what_is_published_is_posted_in_its_order_then_that_it_is_over(fake, incident, people):
    sweep()
    first = make.published(incident.updates.get(), people["anna"])
    sweep()
    last = make.published(declaring.start_draft(incident, people["marta"], "resolved"), people["anna"])
    sweep(times=2)
    assert len(posted(fake)) == 4
    for shown, update in zip(posted(fake)[1:3], (first, last), strict=True):
        assert update.page["en"]["subject"] in shown
        assert update.page["en"]["text"].split("\n\n")[0] in shown
    assert posted(fake)[3].startswith("Over since ")
    assert the_channel(fake)["description"].startswith("SEV 2 · major · Resolved · Cards fail")


def test_a_draft_is_not_posted(fake, incident, people):
    update = incident.updates.get().submit(people["marta"])
    update.approve(people["anna"])
    sweep()
    assert len(posted(fake)) == 1


def test_a_false_alarm_says_that_it_was_one(fake, incident, people):
    sweep()
    incident.dismiss(people["marta"], "A false alarm.")
    sweep()
    assert posted(fake)[1].startswith("Dismissed ")


def test_it_speaks_the_language_of_the_workspace(fake, incident, people):
    ChatWorkspace.objects.update(locale="it")
    update = make.published(incident.updates.get(), people["anna"])
    sweep()
    assert update.page["it"]["subject"] in posted(fake)[1]
    assert "Pubblicato alle" in posted(fake)[1]


def test_a_text_that_is_too_long_says_that_there_is_more():
    entry = Entry("Title", text="\n\n".join(["Ünïcödé words. " * 40] * 60), links=[("https://example.com", "Open")])
    made = cards.activity(entry, "said-1-1")
    assert len(json.dumps(made, ensure_ascii=False).encode()) <= cards.MAX_BYTES
    last = made["attachments"][0]["content"]["body"][-1]
    assert last["inlines"][0]["text"] == "This is not all of it: read the rest in the portal."


def test_one_endless_word_is_no_endless_loop():
    made = cards.activity(Entry("x" * 300, text="y" * 50_000), "said-1-1")
    assert len(json.dumps(made).encode()) <= cards.MAX_BYTES


# ── Archived ────────────────────────────────────────────────────────────────


def archive(who: User, incident: Incident):
    url = reverse("admin:incidents_incident_archive_room", args=[incident.pk])
    return make.client(who).post(url, {"room": ChatRoom.objects.get(incident=incident).pk})


def test_it_is_archived_once_teams_says_so(fake, incident, people, time_machine):
    sweep()
    assert archive(people["marta"], incident).status_code == 302
    tasks.sweep_chat()
    room = ChatRoom.objects.get()
    assert (room.archived_at, bool(room.archiving)) == (None, True)
    calls = len(fake.calls)
    tasks.sweep_chat()  # Teams asks not to be asked for 30 seconds
    assert len(fake.calls) == calls
    for _n in range(2):
        assert ChatRoom.objects.get().archived_at is None
        time_machine.move_to(timezone.now() + timedelta(seconds=40))
        tasks.sweep_chat()
    assert ChatRoom.objects.get().archived_at
    assert the_channel(fake)["isArchived"] is True
    assert fake.count("archive") == 1


def test_what_teams_does_not_archive_is_said_and_tried_again(fake, incident, people):
    sweep()
    archive(people["marta"], incident)
    fake.archiving_fails = True
    sweep(times=3)
    room = ChatRoom.objects.get()
    assert room.archived_at is None
    assert "The channel has no owner." in room.problem
    fake.archiving_fails = False
    sweep(times=3)
    assert ChatRoom.objects.get().archived_at


@pytest.mark.parametrize("how", ["isArchived", "deleted"])
def test_a_channel_that_was_put_away_in_teams_is_left_alone(fake, incident, people, how):
    sweep()
    the_channel(fake)[how] = True
    make.published(incident.updates.get(), people["anna"])
    sweep()
    assert ChatRoom.objects.get().archived_at
    calls = len(fake.calls)
    sweep(times=2)
    assert len(fake.calls) == calls


# ── Once, whatever happens ──────────────────────────────────────────────────

FAULTS = {
    "lost": Lost(),
    "drop": Drop(),
    "429": 1,
    "503": Reply(503, {}, {"Retry-After": "2"}),
    "412": Reply(412, {}),
}


@pytest.mark.parametrize("operation", ["token", "create", "patch", "member", "post", "archive", "operation"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_call_that_fails_or_loses_its_reply_is_made_good(fake, incident, people, operation, fault, time_machine):
    ChatWorkspace.objects.update(rooms_private=True)
    fake.private_bots = True
    make.published(incident.updates.get(), people["anna"])
    fake.fail(operation, fault)
    sweep()
    for _n in range(3):
        time_machine.move_to(timezone.now() + timedelta(minutes=2))  # whatever patience was asked for
        sweep()
    archive(people["marta"], incident)
    for _n in range(6):
        time_machine.move_to(timezone.now() + timedelta(minutes=2))
        sweep()
    assert len(fake.channels) == 1
    assert len(the_channel(fake)["members"]) == 2
    assert len(posted(fake)) == 2
    assert the_channel(fake)["isArchived"] is True


@pytest.mark.parametrize("path", ["/channels", "/members", "/conversations", "/archive"])
@pytest.mark.parametrize("before", [True, False])
def test_a_worker_that_dies_at_a_call_is_followed_by_one_that_does_the_rest(
    fake, incident, people, path, before, monkeypatch, time_machine
):
    """Before the call, and after it with nothing written down."""
    ChatWorkspace.objects.update(rooms_private=True)
    fake.private_bots = True
    make.published(incident.updates.get(), people["anna"])
    ask = teams.ask

    def dies(method, url, body, headers):
        if method != "POST" or not url.endswith(path):
            return ask(method, url, body, headers)
        if not before:
            ask(method, url, body, headers)
        raise KeyboardInterrupt

    if path == "/archive":
        sweep()
        archive(people["marta"], incident)
    with monkeypatch.context() as patch:
        patch.setattr(teams, "ask", dies)
        with pytest.raises(KeyboardInterrupt):
            tasks.sweep_chat()
    calls = len(fake.calls)
    tasks.sweep_chat()  # the lease of the dead one holds
    assert len(fake.calls) == calls
    time_machine.move_to(timezone.now() + timedelta(minutes=3))
    tasks.sweep_chat()
    if path != "/archive":
        archive(people["marta"], incident)
    for _n in range(4):
        time_machine.move_to(timezone.now() + timedelta(minutes=1))
        tasks.sweep_chat()
    assert len(fake.channels) == 1
    assert len(the_channel(fake)["members"]) == 2
    assert len(posted(fake)) == 2
    assert the_channel(fake)["isArchived"] is True


def test_patience_is_kept_to_for_the_whole_team(fake, incident):
    fake.fail("create", 90)
    sweep()
    assert ChatWorkspace.objects.get().held_until > timezone.now() + timedelta(seconds=80)
    calls = len(fake.calls)
    sweep(times=2)
    assert len(fake.calls) == calls


def test_a_channel_of_somebody_else_is_never_taken_for_ours(fake, incident):
    """Its name is taken although we asked for it before: somebody made it in between."""
    fake.fail("create", Reply(500))
    sweep()
    foreign = fake.channel(teams_room.TeamsRoom.name_for(incident), "Lunch")
    sweep()
    assert ChatRoom.objects.get().channel not in ("", foreign)
    assert fake.messages[foreign] == []


def test_without_the_right_to_look_back_a_message_is_rather_posted_twice_than_never(fake, incident):
    fake.allowed.discard("ChannelMessage.Read.Group")
    fake.fail("post", Lost())
    sweep(times=2)
    assert len(posted(fake)) == 2
    assert ChatRoom.objects.get().problem == ""


def test_what_teams_does_not_let_us_do_is_said_on_the_page_and_stops_no_publishing(fake, incident, people):
    fake.allowed.discard("Channel.Create.Group")
    tasks.sweep_chat()
    assert "API requires one of 'Channel.Create.Group" in ChatRoom.objects.get().problem
    tasks.sweep_chat()
    assert fake.count("create") == 1
    url = reverse("admin:incidents_incident_change", args=[incident.pk])
    assert "Channel.Create.Group" in make.client(people["marta"]).get(url).content.decode()
    update = make.published(incident.updates.get(), people["anna"])
    assert update.status == "published"


def test_a_secret_that_ran_out_shows_on_the_workspace_and_goes_once_it_is_good(fake, workspace, incident):
    workspace.secrets = {"client_secret": "another-secret-never-to-be-seen"}
    workspace.save()
    sweep()
    problem = ChatWorkspace.objects.get().problem
    assert problem.startswith("invalid_client")
    assert "never-to-be-seen" not in problem
    workspace.secrets = {"client_secret": CLIENT_SECRET}
    workspace.save(update_fields=["secrets"])
    sweep()
    assert ChatWorkspace.objects.get().problem == ""


def test_no_token_leaves_for_another_host(fake, incident, monkeypatch):
    """Not by the next page of a list, and not by where an operation is said to be."""
    seen = []
    ask = teams.ask
    monkeypatch.setattr(teams, "ask", lambda *args: seen.append(args[1]) or ask(*args))
    client = ChatWorkspace.objects.get().teams
    elsewhere = "https://evil.example.com/v1.0/x"
    fake.fail("list", Reply(200, {"value": [], "@odata.nextLink": elsewhere}))
    assert client.every(f"/teams/{TEAM}/channels") == []
    pk = fake.channel("a")
    fake.fail("archive", Reply(202, b"", {"Location": elsewhere}))
    where = client.begin(f"/teams/{TEAM}/channels/{teams.path_of(pk)}/archive")
    assert where.startswith("/")
    assert all(url.startswith(fake.http.url) for url in seen)


def test_tokens_are_asked_for_once_a_round_and_only_when_needed(fake, incident):
    sweep()
    assert sorted(body for one, body in fake.calls if one == "token") == sorted(
        [f"{fake.http.url}/.default", "https://api.botframework.com/.default"]
    )


# ── The page of the incident ────────────────────────────────────────────────


def test_the_page_links_the_channel(fake, incident, people):
    sweep()
    page = make.client(people["marta"]).get(reverse("admin:incidents_incident_change", args=[incident.pk]))
    assert "https://teams.microsoft.com/l/channel/19:" in page.content.decode()
    assert "Archive the channel" in page.content.decode()


def test_the_page_asks_the_database_once_however_many_channels(fake, incident, people, workspace):
    url = reverse("admin:incidents_incident_change", args=[incident.pk])
    browser = make.client(people["marta"])
    sweep()
    browser.get(url)
    with CaptureQueriesContext(connection) as few:
        browser.get(url)
    for n in range(3):
        more = ChatWorkspace.objects.create(name=f"More {n}", service="teams", enabled=True)
        ChatRoom.objects.create(workspace=more, incident=incident, name=f"inc-{n}", channel=f"19:{n}", link="https://x")
    with CaptureQueriesContext(connection) as many:
        browser.get(url)
    assert len(few) == len(many)


def test_posts_know_where_they_are(fake, incident):
    sweep()
    one = ChatPost.objects.get()
    assert (one.place, bool(one.ts), one.pinned_at) == (ChatRoom.objects.get().channel, True, None)


def test_slack_commands_are_not_taken_for_a_team(client, workspace):
    assert client.post(f"/chat/slack/{workspace.uid}/commands/", {}).status_code == 404


def test_rooms_is_the_one_that_decides(fake, incident):
    """Both chats at once: each gets its own."""
    slack = ChatWorkspace.objects.create(name="Slack", enabled=False, rooms_from="sev2")
    rooms.want()
    assert ChatRoom.objects.filter(workspace=slack).count() == 0
    ChatWorkspace.objects.filter(pk=slack.pk).update(enabled=True)
    rooms.want()
    assert ChatRoom.objects.get(workspace=slack).name == f"inc-{incident.pk}-cards-fail-uber-50-now-x"
