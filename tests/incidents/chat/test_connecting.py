"""Workspaces, and who is who there: credentials go in and never come out, and nobody is taken for another."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from incidents.chat import connecting
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import ChatAccount, ChatWorkspace
from tests import make
from tests.fakes.slack_api import SIGNING_SECRET, TEAM, TOKEN

pytestmark = pytest.mark.django_db


def page(name: str, *args) -> str:
    return reverse(f"admin:incidents_{name}", args=args)


@pytest.fixture
def admin(db) -> User:
    return User.objects.create_superuser("root", "root@example.com", "pw")


# ── The workspace ───────────────────────────────────────────────────────────


def stored(workspace: ChatWorkspace) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM incidents_chatworkspace WHERE id = %s", [workspace.pk])
        return cursor.fetchone()[0]


def test_a_workspace_is_set_up_from_nothing(fake, admin):
    browser = make.client(admin)
    response = browser.post(page("chatworkspace_add"), {"name": "Example"}, follow=True)
    workspace = ChatWorkspace.objects.get()
    assert f"/chat/slack/{workspace.uid}/commands/" in response.content.decode()
    change, set_up = page("chatworkspace_change", workspace.pk), page("chatworkspace_set_up", workspace.pk)
    data = {"name": "Example", "locale": "en", "rooms_from": "", "rooms_private": "on"}
    response = browser.post(change, {**data, "bot_token": TOKEN, "signing_secret": SIGNING_SECRET})
    assert response["Location"] == set_up
    assert fake.calls == []
    response = browser.post(set_up, {"enable": "1"}, follow=True)
    assert "Check it before" in response.content.decode()
    response = browser.post(set_up, {"check": "1"}, follow=True)
    assert "Slack knows the app in “Example”" in response.content.decode()
    browser.post(set_up, {"enable": "1"})
    workspace.refresh_from_db()
    assert (workspace.enabled, workspace.team, workspace.problem) == (True, TEAM, "")
    assert workspace.address == "https://example.slack.com/"
    for shown in (browser.get(change), browser.get(set_up)):
        assert TOKEN not in shown.content.decode()
        assert SIGNING_SECRET not in shown.content.decode()


def test_credentials_are_encrypted_and_move_to_another_key(workspace, settings):
    assert TOKEN not in stored(workspace)
    before = stored(workspace)
    call_command("rotate_keys", verbosity=0)
    assert stored(workspace) != before
    assert ChatWorkspace.objects.get().secrets["bot_token"] == TOKEN


def test_other_credentials_switch_it_off_until_they_are_checked(workspace, admin):
    data = {"name": workspace.name, "enabled": "on", "locale": "en", "rooms_from": "", "bot_token": "xoxb-another"}
    make.client(admin).post(page("chatworkspace_change", workspace.pk), data)
    workspace.refresh_from_db()
    assert (workspace.enabled, workspace.checked_at) == (False, None)
    assert workspace.secrets == {"bot_token": "xoxb-another", "signing_secret": SIGNING_SECRET}


@pytest.mark.parametrize(
    ("field", "value"), [("bot_token", "xoxp-of-a-person"), ("bot_token", "xoxb-"), ("signing_secret", "short")]
)
def test_what_is_no_credential_is_refused_and_not_repeated(workspace, admin, field, value):
    data = {"name": workspace.name, "locale": "en", "rooms_from": "", field: value}
    response = make.client(admin).post(page("chatworkspace_change", workspace.pk), data)
    text = response.content.decode()
    assert response.status_code == 200
    assert "copy it whole" in text
    assert f'"{value}"' not in text
    workspace.refresh_from_db()
    assert workspace.secrets["bot_token"] == TOKEN


def test_the_check_names_what_slack_refuses_and_what_is_missing(fake, workspace, admin):
    browser, set_up = make.client(admin), page("chatworkspace_set_up", workspace.pk)
    fake.fail("auth.test", "invalid_auth")
    assert "Slack does not take it: invalid_auth" in browser.post(set_up, {"check": "1"}, follow=True).content.decode()
    fake.scopes.remove("pins:write")
    text = browser.post(set_up, {"check": "1"}, follow=True).content.decode()
    assert "These scopes are missing: pins:write" in text
    assert ChatWorkspace.objects.get().problem == ""


def test_a_token_of_another_workspace_does_not_take_over_its_people(fake, workspace, admin, connected):
    connected(admin)
    ChatWorkspace.objects.update(team="T0ANOTHER")
    workspace.refresh_from_db()
    with pytest.raises(Refused, match="Add it as another workspace"):
        workspace.try_out()


def test_only_administrators_set_a_workspace_up(workspace):
    """Who knows the signing secret could approve in anybody's name."""
    for who in (make.incident_manager(), make.communications_manager()):
        browser = make.client(who)
        assert browser.get(page("chatworkspace_change", workspace.pk)).status_code == 200
        assert browser.post(page("chatworkspace_set_up", workspace.pk), {"check": "1"}).status_code == 403
        data = {"name": "Mine", "locale": "en", "rooms_from": "", "bot_token": "xoxb-another"}
        assert browser.post(page("chatworkspace_change", workspace.pk), data).status_code == 403
    workspace.refresh_from_db()
    assert workspace.secrets["bot_token"] == TOKEN


# ── Who is who ──────────────────────────────────────────────────────────────


def link_in(answer: str) -> str:
    return re.search(r"<http://127\.0\.0\.1:8000(/\S+?)\|", answer)[1]


def test_an_unknown_member_gets_a_link_and_is_connected_by_who_is_logged_in(fake, workspace, chat):
    anna = make.communications_manager(first_name="Anna")
    member = fake.member("Anna", anna.email)
    answer = chat.says(member, "list")
    assert "does not know who you are" in answer
    assert not ChatAccount.objects.exists()
    browser = make.client(anna)
    shown = browser.get(link_in(answer)).content.decode()
    assert "Anna" in shown
    assert member in shown
    assert not ChatAccount.objects.exists()  # looking changes nothing
    browser.post(link_in(answer))
    account = ChatAccount.objects.get()
    assert (account.member, account.user, account.workspace) == (member, anna, workspace)
    assert "No incident is open" in chat.says(member, "list")


def test_the_link_asks_for_the_login(fake, chat, client):
    answer = chat.says(fake.member("Anna"), "list")
    response = client.get(link_in(answer))
    assert response.status_code == 302
    assert "/admin/login/" in response["Location"]


def test_the_same_address_alone_connects_nobody(fake, workspace, chat):
    anna = make.communications_manager()
    chat.says(fake.member("Anna", anna.email), "help")
    assert not ChatAccount.objects.exists()


def test_another_address_must_be_confirmed(fake, workspace):
    """Somebody may be opening a link that was meant for another."""
    anna = make.communications_manager()
    path = connecting.link(workspace, fake.member("Mallory", "mallory@example.com")).removeprefix(
        "http://127.0.0.1:8000"
    )
    browser = make.client(anna)
    assert "is not the one of your login" in browser.get(path).content.decode()
    assert browser.post(path).status_code == 422
    assert not ChatAccount.objects.exists()
    browser.post(path, {"sure": "1"})
    assert ChatAccount.objects.get().user == anna


def test_a_link_is_good_for_a_quarter_of_an_hour_and_only_whole(fake, workspace, time_machine):
    anna = make.communications_manager()
    path = connecting.link(workspace, fake.member("Anna", anna.email)).removeprefix("http://127.0.0.1:8000")
    browser = make.client(anna)
    forged = path[:-3] + "x/"
    assert browser.post(forged).status_code == 302
    time_machine.move_to(timezone.now() + timedelta(minutes=16))
    assert browser.post(path).status_code == 302
    assert not ChatAccount.objects.exists()


def test_an_account_is_of_one_person_and_a_person_has_one(fake, workspace, connected):
    anna, marta = make.communications_manager(), make.incident_manager()
    member = connected(anna)
    with pytest.raises(WrongState, match="somebody else"):
        connecting.connect(connecting.Invitation(workspace, member, "", ""), marta)
    with pytest.raises(WrongState, match="connected already"):
        connecting.connect(connecting.Invitation(workspace, "U0NEW", "", ""), anna)
    assert connecting.connect(connecting.Invitation(workspace, member, "", ""), anna).user == anna
    customer = User.objects.create_user("customer")
    with pytest.raises(NotAllowed):
        connecting.connect(connecting.Invitation(workspace, "U0NEW", "", ""), customer)


def test_everybody_sees_and_ends_their_own_alone(fake, workspace, connected):
    paolo, anna = make.user("Support leads"), make.user("Support leads")
    connected(paolo), connected(anna)
    own, other = ChatAccount.objects.get(user=paolo), ChatAccount.objects.get(user=anna)
    browser = make.client(paolo)
    shown = browser.get(page("chataccount_changelist")).content.decode()
    assert own.member in shown
    assert other.member not in shown
    assert browser.get(page("chataccount_change", other.pk)).status_code == 302
    assert browser.post(page("chataccount_delete", other.pk), {"post": "yes"}).status_code == 403
    browser.post(page("chataccount_delete", own.pk), {"post": "yes"})
    assert list(ChatAccount.objects.all()) == [other]


def test_who_does_not_work_here_any_more_is_nobody_in_the_chat(fake, chat, connected):
    anna = make.communications_manager()
    member = connected(anna)
    User.objects.filter(pk=anna.pk).update(is_active=False)
    assert "does not know who you are" in chat.says(member, "list")
    User.objects.filter(pk=anna.pk).update(is_active=True, is_staff=False)
    assert "does not know who you are" in chat.says(member, "list")


def test_a_name_that_slack_does_not_tell_stops_nobody(fake, workspace, chat):
    member = fake.member("Anna")
    fake.scopes.remove("users:read")
    answer = chat.says(member, "list")
    anna = make.communications_manager()
    make.client(anna).post(link_in(answer))
    assert ChatAccount.objects.get().user == anna


def test_disconnect_is_done_in_the_chat_too(fake, chat, connected):
    member = connected(make.communications_manager())
    assert "does not know any more" in chat.says(member, "disconnect")
    assert not ChatAccount.objects.exists()
