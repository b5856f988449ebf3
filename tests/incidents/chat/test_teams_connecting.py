"""A team of Microsoft Teams: set up and checked as a Slack workspace is, with IDs and a secret that never comes out."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse

from incidents.models import ChatRoom, ChatWorkspace
from tests import make
from tests.fakes.aws import Drop
from tests.fakes.teams_graph import APP, CLIENT_SECRET, TEAM, TENANT, FakeTeams

pytestmark = pytest.mark.django_db
DATA = {"name": "Ops", "locale": "en", "rooms_from": "sev2", "tenant": TENANT, "app": APP, "team": TEAM}


@pytest.fixture
def fake(settings):
    one = FakeTeams()
    settings.MICROSOFT_LOGIN, settings.GRAPH_API, settings.TEAMS_BOT_API = one.login, one.graph, one.bot
    yield one
    one.close()


@pytest.fixture
def admin(db) -> User:
    return User.objects.create_superuser("root", "root@example.com", "pw")


@pytest.fixture
def workspace(db) -> ChatWorkspace:
    given = {**DATA, "secrets": {"client_secret": CLIENT_SECRET}, "rooms_private": False}
    return ChatWorkspace.objects.create(service="teams", **given)


def page(name: str, *args) -> str:
    return reverse(f"admin:incidents_chatworkspace_{name}", args=args)


def checked(workspace: ChatWorkspace, admin: User) -> str:
    response = make.client(admin).post(page("set_up", workspace.pk), {"check": "1"}, follow=True)
    return response.content.decode()


def test_a_team_is_set_up_from_nothing(fake, admin):
    browser = make.client(admin)
    response = browser.post(page("add"), {"name": "Ops", "service": "teams"}, follow=True)
    assert "Azure Bot" in response.content.decode()
    workspace = ChatWorkspace.objects.get()
    assert (workspace.service, workspace.rooms_private) == ("teams", False)
    change, set_up = page("change", workspace.pk), page("set_up", workspace.pk)
    form = browser.get(change).content.decode()
    assert "bot_token" not in form
    assert "Signing secret" not in form
    response = browser.post(change, {**DATA, "client_secret": CLIENT_SECRET})
    assert response["Location"] == set_up
    assert fake.calls == []
    assert "Check it before" in browser.post(set_up, {"enable": "1"}, follow=True).content.decode()
    shown = browser.post(set_up, {"check": "1"}, follow=True).content.decode()
    assert "Microsoft Teams knows the app in “Operations”." in shown
    assert "cannot" not in shown
    browser.post(set_up, {"enable": "1"})
    workspace.refresh_from_db()
    assert (workspace.enabled, workspace.team, workspace.team_name) == (True, TEAM, "Operations")
    assert {one for one, _body in fake.calls} == {"token", "team", "list", "bot_team"}  # it makes and posts nothing
    for shown in (browser.get(change), browser.get(set_up)):
        assert CLIENT_SECRET not in shown.content.decode()
        assert APP in shown.content.decode()


def test_the_secret_is_encrypted(workspace):
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM incidents_chatworkspace WHERE id = %s", [workspace.pk])
        assert CLIENT_SECRET not in cursor.fetchone()[0]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("tenant", "contoso.onmicrosoft.com", "This is no ID; copy it whole"),
        ("app", "portal", "This is no ID; copy it whole"),
        ("team", "19:abc@thread.tacv2", "This is no ID of a team; copy it whole"),
        ("client_secret", APP, "copy its value, not its ID"),
        ("client_secret", "short", "copy its value, not its ID"),
    ],
)
def test_what_is_no_id_and_no_secret_is_refused_and_nothing_is_saved(workspace, admin, field, value, says):
    response = make.client(admin).post(page("change", workspace.pk), {**DATA, "name": "Other", field: value})
    assert response.status_code == 200
    assert says in response.content.decode()
    workspace.refresh_from_db()
    assert (workspace.name, workspace.secrets["client_secret"]) == ("Ops", CLIENT_SECRET)


@pytest.mark.parametrize("change", [{"client_secret": "x" * 40}, {"tenant": APP}, {"app": TENANT}, {"team": APP}])
def test_other_credentials_switch_it_off_until_they_are_checked(fake, workspace, admin, change):
    checked(workspace, admin)
    ChatWorkspace.objects.update(enabled=True)
    make.client(admin).post(page("change", workspace.pk), {**DATA, "enabled": "on", **change})
    workspace.refresh_from_db()
    assert (workspace.enabled, workspace.checked_at) == (False, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tenant": APP}, "Microsoft knows no directory with this ID."),
        ({"app": TENANT}, "This directory knows no application with this ID"),
        ({"secrets": {"client_secret": "another-never-to-be-seen"}}, "Microsoft does not accept the client secret"),
        ({"team": APP}, "No team found"),
    ],
)
def test_the_check_names_what_microsoft_refuses(fake, workspace, admin, change, says):
    for name, value in change.items():
        setattr(workspace, name, value)
    workspace.save()
    shown = checked(workspace, admin)
    assert "Microsoft Teams does not take it" in shown
    assert says in shown
    assert "never-to-be-seen" not in shown
    workspace.refresh_from_db()
    assert workspace.checked_at is None


def test_the_check_names_what_is_missing(fake, workspace, admin):
    fake.installed = False
    fake.allowed -= {"ChannelSettings.ReadWrite.Group", "ChannelSettings.ReadWrite.All", "User.Read.All"}
    shown = checked(workspace, admin)
    assert "The bot cannot post in this team: BotNotInConversationRoster" in shown
    assert "The channels of the team cannot be listed" in shown
    assert "People cannot be looked up" not in shown  # whom standard channels do not need
    ChatWorkspace.objects.update(rooms_private=True)
    workspace.refresh_from_db()
    assert "People cannot be looked up" in checked(workspace, admin)


def test_a_check_that_is_not_answered_says_so(fake, workspace, admin):
    fake.fail("token", Drop())
    assert "Microsoft Teams does not take it" in checked(workspace, admin)


def test_a_team_in_which_something_was_made_stays(workspace, admin):
    form = make.client(admin).get(page("change", workspace.pk)).content.decode()
    assert 'name="team"' in form
    ChatRoom.objects.create(workspace=workspace, incident=make.incident(), name="inc-1")
    form = make.client(admin).get(page("change", workspace.pk)).content.decode()
    assert 'name="team"' not in form


def test_only_administrators_set_a_team_up(fake, workspace):
    browser = make.client(make.incident_manager())
    assert 'name="client_secret"' not in browser.get(page("change", workspace.pk)).content.decode()
    assert browser.post(page("change", workspace.pk), DATA).status_code == 403
    assert browser.post(page("set_up", workspace.pk), {"check": "1"}).status_code == 403
    assert fake.calls == []


def test_the_list_asks_the_database_as_often_for_many(workspace, admin, django_assert_max_num_queries):
    from django.test.utils import CaptureQueriesContext

    browser = make.client(admin)
    browser.get(page("changelist"))
    with CaptureQueriesContext(connection) as few:
        browser.get(page("changelist"))
    for n in range(5):
        ChatWorkspace.objects.create(name=f"More {n}", service="teams")
    with django_assert_max_num_queries(len(few)):
        browser.get(page("changelist"))
