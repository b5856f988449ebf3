"""A workspace on the fake of Slack, and staff who are connected there."""

import itertools
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents.chat import requests
from incidents.models import ChatAccount, ChatRequest, ChatWorkspace
from tests.fakes.slack_api import BOT, SIGNING_SECRET, TEAM, TOKEN, FakeSlack

_n = itertools.count(1)


@pytest.fixture
def fake(settings):
    one = FakeSlack()
    settings.SLACK_API = one.api
    yield one
    one.close()


@pytest.fixture
def workspace(db) -> ChatWorkspace:
    """Checked and on."""
    return ChatWorkspace.objects.create(
        name=f"Example {next(_n)}",
        enabled=True,
        secrets={"bot_token": TOKEN, "signing_secret": SIGNING_SECRET},
        team=TEAM,
        team_name="Example",
        bot=BOT,
        address="https://example.slack.com/",
        checked_at="2026-01-01T00:00:00Z",
    )


@pytest.fixture
def connected(fake, workspace):
    """Connects somebody: their member ID."""

    def connect(who: User) -> str:
        member = fake.member(who.get_full_name() or who.username, who.email)
        ChatAccount.objects.create(workspace=workspace, member=member, name=who.username, user=who)
        return member

    return connect


class Chat:
    """What somebody does in Slack, and what comes back to them."""

    def __init__(self, fake: FakeSlack, workspace: ChatWorkspace) -> None:
        self.fake, self.workspace = fake, workspace

    def post(self, what: str, body: str, headers: dict[str, str] | None = None) -> Any:
        path = f"/chat/slack/{self.workspace.uid}/{what}/"
        shown = self.fake.signed(body) if headers is None else headers
        kind = "application/x-www-form-urlencoded"
        return Client().post(path, body, content_type=kind, headers=shown)

    def work(self) -> None:
        """What a worker does with what was taken in."""
        for pk in ChatRequest.objects.filter(done_at=None).values_list("pk", flat=True):
            requests.handle(pk)

    def says(self, member: str, text: str, **more: str) -> str:
        """The answer to `/incident text`."""
        before = len(self.fake.answers)
        response = self.post("commands", self.fake.command(member, text, **more))
        assert response.status_code == 200, response.content
        self.work()
        assert len(self.fake.answers) == before + 1
        return self.answer()

    def clicks(self, member: str, button: dict[str, Any], **more: str) -> Any:
        response = self.post("interactions", self.fake.click(member, button["value"], button["action_id"], **more))
        self.work()
        return response

    def answer(self) -> str:
        """The last answer, which nobody else sees, without the escapes of Slack."""
        said = self.fake.answers[-1]
        assert said["response_type"] == "ephemeral"
        assert said["replace_original"] is False
        text = "\n".join(block["text"]["text"] for block in said["blocks"])
        return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@pytest.fixture
def chat(fake, workspace) -> Chat:
    return Chat(fake, workspace)
