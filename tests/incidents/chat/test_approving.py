"""Approvals by buttons in Slack: who is asked there, what they read, and that nothing gets round the page's checks."""

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from incidents import roles, tasks, telling_staff
from incidents.chat import direct
from incidents.models import (
    ApprovalRule,
    ChatAccount,
    ChatPost,
    ChatWorkspace,
    Decision,
    IncidentUpdate,
    StaffContact,
    StaffNotice,
)
from incidents.runbooks import running
from tests import make
from tests.fakes.slack_api import Lost, buttons, texts
from tests.incidents.test_runbooks import SPEAK, runbook

pytestmark = pytest.mark.django_db
Status, Outcome = IncidentUpdate.Status, StaffNotice.Outcome


@pytest.fixture
def people(fake, connected) -> dict[str, User]:
    found = {
        "marta": make.incident_manager(first_name="Marta"),
        "anna": make.communications_manager(first_name="Anna"),
        "elena": make.communications_manager(first_name="Elena"),
        "paolo": make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS, first_name="Paolo"),
    }
    for who in found.values():
        connected(who)
    return found


def member(who: User) -> str:
    return ChatAccount.objects.get(user=who).member


@pytest.fixture
def draft(people) -> IncidentUpdate:
    make.recipients(3)
    make.plan(
        make.channel(name="Email"),
        make.channel("outbox_sms", name="Text messages"),
        people=[("communications_manager", people["anna"]), ("incident_manager", people["elena"])],
    )
    update = make.incident(people["marta"], make.component("Checkout"), title="Cards fail").updates.get()
    StaffNotice.objects.all().delete()  # that it was declared
    return update


@pytest.fixture
def asked(draft) -> IncidentUpdate:
    """Approval is asked for, and those whom it needs were told."""
    update = draft.submit(draft.author)
    telling_staff.send_waiting()
    return update


def messages(fake, who: User) -> list[dict]:
    return fake.messages[f"D{member(who)[1:]}"]


def state(update: IncidentUpdate) -> str:
    update.refresh_from_db()
    return update.status


# ── Who is asked, and what they read ────────────────────────────────────────


def test_the_approver_gets_the_exact_words_and_the_buttons(fake, people, asked):
    [message] = messages(fake, people["anna"])
    shown = texts(message)
    for one in asked.page.values():
        assert one["subject"] in shown
        assert all(part.strip() in shown for part in one["text"].split("\n\n"))
    [sms] = [m for m in asked.manifest["messages"] if m["locale"] == "en" and "subject" not in m["content"]["parts"]]
    assert sms["content"]["parts"]["text"] in shown
    assert "Goes to 3 people. Channels: Email, Text messages." in shown
    assert "Checkout: Partial outage" in shown
    assert "Marta asks for your approval. This is what would be sent." in shown
    found = buttons(message)
    assert list(found) == ["approve", "send_back", "open"]
    assert found["open"]["url"].startswith("http://127.0.0.1:8000/approve/")
    assert "Approve exactly these words?" in found["approve"]["confirm"]["title"]["text"]
    assert "Nothing is sent by this" in found["approve"]["confirm"]["text"]["text"]
    assert [len(messages(fake, people[name])) for name in ("elena", "marta", "paolo")] == [0, 0, 0]


def test_words_are_shown_as_they_stand(fake, people, draft):
    nasty = "We *never* <!channel> lost <@U123> _money_ & `time`. @here #general https://example.com/x"
    words = {"en": {"issue": nasty}}
    update = draft.edit(draft.author, draft.version, words=words).submit(draft.author)
    telling_staff.send_waiting()
    [message] = messages(fake, people["anna"])
    assert update.page["en"]["text"].split("\n\n")[0] in texts(message)
    raw = json.dumps(message["blocks"])
    assert "<!channel>" not in raw
    assert "<@U123>" not in raw
    for block in message["blocks"]:
        text = block.get("text") or {}
        assert text.get("verbatim", True) is True
        assert text.get("emoji", False) is False
        if text.get("type") == "mrkdwn":
            assert "never" not in text["text"]  # the words themselves are never read as markup


def test_a_person_may_choose_not_to_be_written_to(fake, people, draft):
    StaffContact.objects.create(user=people["anna"], by_slack=False)
    draft.submit(draft.author)
    telling_staff.send_waiting()
    assert messages(fake, people["anna"]) == []
    assert StaffNotice.objects.filter(user=people["anna"], medium="email").exists()


def test_each_is_asked_in_their_language(fake, people, draft):
    StaffContact.objects.create(user=people["anna"], locale="it")
    draft.submit(draft.author)
    telling_staff.send_waiting()
    [message] = messages(fake, people["anna"])
    assert buttons(message)["approve"]["text"]["text"] == "Approva"
    assert "Va a 3 persone" in texts(message)


def test_reminders_are_told_there_too(fake, people, draft, time_machine):
    time_machine.move_to(timezone.now() + timedelta(minutes=12))
    tasks.sweep_clock()
    [message] = messages(fake, people["anna"])
    assert "Update due in" in texts(message)
    assert list(buttons(message)) == ["open"]


def test_what_is_too_long_is_read_and_approved_on_the_page(fake, people, draft):
    words = {"en": {"issue": "Cards fail in many ways. " * 500}}
    draft.edit(draft.author, draft.version, words=words).submit(draft.author)
    telling_staff.send_waiting()
    [message] = messages(fake, people["anna"])
    assert list(buttons(message)) == ["send_back", "open"]
    assert "This is not all of it" in texts(message)
    assert "Cards fail in many ways." in texts(message)


def test_an_audience_that_must_be_typed_is_approved_on_the_page(fake, people, draft, settings):
    settings.AUDIENCE_CONFIRM_ABOVE = 2
    draft.submit(draft.author)
    telling_staff.send_waiting()
    [message] = messages(fake, people["anna"])
    assert list(buttons(message)) == ["send_back", "open"]
    assert "Type the number to confirm" in texts(message)


def test_what_a_runbook_then_publishes_is_approved_on_the_page_which_says_so(fake, people, draft):
    running.start(draft.incident, runbook(*SPEAK), draft.author)
    draft.submit(draft.author)
    telling_staff.send_waiting()
    [message] = messages(fake, people["anna"])
    assert list(buttons(message)) == ["send_back", "open"]


def test_who_may_not_approve_any_more_does_not_get_the_words(fake, people, draft):
    draft.submit(draft.author)
    people["anna"].groups.clear()
    telling_staff.send_waiting()
    assert messages(fake, people["anna"]) == []
    notice = StaffNotice.objects.get(user=people["anna"], medium="direct")
    assert notice.outcome == Outcome.FAILED


# ── Approve ─────────────────────────────────────────────────────────────────


def button(fake, who: User, action: str = "approve") -> dict:
    return buttons(messages(fake, who)[0])[action]


def test_a_click_approves_exactly_what_was_shown(fake, chat, people, asked):
    response = chat.clicks(member(people["anna"]), button(fake, people["anna"]))
    assert response.status_code == 200
    assert state(asked) == Status.APPROVED
    assert asked.approved_by == people["anna"]
    decision = asked.decisions.get(verb=Decision.Verb.APPROVE)
    assert (decision.by, decision.comment, decision.content_hash) == (people["anna"], "Slack", asked.content_hash)
    assert "Approved. It is not sent yet." in chat.answer()
    [message] = messages(fake, people["anna"])
    assert "Approved by Anna." in texts(message)
    assert list(buttons(message)) == ["open"]
    assert asked.published_at is None


def test_a_click_approves_nothing_that_a_runbook_would_publish_since(fake, chat, people, asked):
    click = button(fake, people["anna"])
    running.start(asked.incident, runbook(*SPEAK), asked.author)
    chat.clicks(member(people["anna"]), click)
    assert state(asked) == Status.IN_REVIEW
    assert "publishes this as soon as it is approved" in chat.answer()


def test_the_same_click_twice_approves_once(fake, chat, people, asked):
    one = button(fake, people["anna"])
    chat.clicks(member(people["anna"]), one)
    chat.clicks(member(people["anna"]), one, trigger="trigger-2")
    assert asked.decisions.filter(verb=Decision.Verb.APPROVE).count() == 1


def test_whoever_wrote_a_word_cannot_approve_by_somebody_elses_button(fake, chat, people, asked):
    chat.clicks(member(people["marta"]), button(fake, people["anna"]))
    assert state(asked) == Status.IN_REVIEW
    assert "You wrote this update" in chat.answer()


def test_the_role_is_asked_for_as_on_the_page(fake, chat, people, asked):
    chat.clicks(member(people["paolo"]), button(fake, people["anna"]))
    assert state(asked) == Status.IN_REVIEW
    assert "may not approve" in chat.answer()


def test_who_is_not_connected_is_asked_to_connect_and_decides_nothing(fake, chat, people, asked):
    stranger = fake.member("Stranger", people["anna"].email)
    chat.clicks(stranger, button(fake, people["anna"]))
    assert state(asked) == Status.IN_REVIEW
    assert "does not know who you are" in chat.answer()


def test_words_that_changed_since_are_not_approved(fake, chat, people, asked):
    old = button(fake, people["anna"])
    update = asked.edit(asked.author, asked.version, words={"en": {"issue": "Other words than those."}})
    chat.clicks(member(people["anna"]), old)
    assert state(asked) == Status.DRAFT
    assert list(buttons(messages(fake, people["anna"])[0])) == ["open"]
    update.submit(update.author)
    chat.clicks(member(people["anna"]), old, trigger="trigger-2")
    assert state(asked) == Status.IN_REVIEW
    assert "The content changed after you opened it" in chat.answer()
    tasks.sweep_chat()
    first = messages(fake, people["anna"])[0]
    assert "Marta changed the words since" in texts(first)
    assert list(buttons(first)) == ["open"]


@pytest.mark.parametrize("value", ["", "x", "WzEsICJ4Il0:1:x", "[1, 2]"])
def test_a_forged_button_decides_nothing(fake, chat, people, asked, value):
    chat.clicks(member(people["anna"]), {"action_id": "approve", "value": value})
    assert state(asked) == Status.IN_REVIEW
    assert "Decide on the page" in chat.answer()


def test_a_button_is_good_for_a_week(fake, chat, people, asked, time_machine):
    one = button(fake, people["anna"])
    time_machine.move_to(timezone.now() + timedelta(days=8))
    chat.clicks(member(people["anna"]), one)
    assert state(asked) == Status.IN_REVIEW
    assert "over a week old" in chat.answer()


def test_an_audience_that_grew_is_typed_on_the_page(fake, chat, people, asked, settings):
    settings.AUDIENCE_CONFIRM_ABOVE = 2
    chat.clicks(member(people["anna"]), button(fake, people["anna"]))
    assert state(asked) == Status.IN_REVIEW
    assert "Type the number to confirm" in chat.answer()
    assert f"/incidentupdate/{asked.pk}/review/" in chat.answer()


def test_two_approvals_need_two_people(fake, chat, people, draft):
    ApprovalRule.objects.create(plan=draft.incident.plan, approvers=2)
    incident = make.incident(people["marta"], make.component("Login"), title="Login fails")
    StaffNotice.objects.all().delete()  # that it was declared
    update = incident.updates.get().submit(people["marta"])
    telling_staff.send_waiting()
    chat.clicks(member(people["anna"]), button(fake, people["anna"]))
    assert state(update) == Status.IN_REVIEW
    assert "It waits for approval by Elena too" in chat.answer()
    assert "It waits for somebody else too" in texts(messages(fake, people["anna"])[0])
    assert list(buttons(messages(fake, people["elena"])[0])) == ["approve", "send_back", "open"]
    chat.clicks(member(people["elena"]), button(fake, people["elena"]), trigger="trigger-2")
    assert state(update) == Status.APPROVED


def test_what_is_decided_on_the_page_is_said_in_the_chat(fake, people, asked):
    asked.approve(people["elena"])
    tasks.sweep_chat()
    [message] = messages(fake, people["anna"])
    assert "Approved by Elena." in texts(message)
    assert list(buttons(message)) == ["open"]
    updates = fake.count("chat.update")
    tasks.sweep_chat()
    assert fake.count("chat.update") == updates


# ── Send back ───────────────────────────────────────────────────────────────


def test_send_back_asks_for_the_reason_and_gives_it_to_the_author(fake, chat, people, asked):
    chat.clicks(member(people["anna"]), button(fake, people["anna"], "send_back"))
    [form] = fake.forms
    assert fake.answers == []
    response = chat.post("interactions", fake.submission(member(people["anna"]), form, "Say who is affected."))
    assert response.content == b""
    assert state(asked) == Status.DRAFT
    assert asked.decisions.get(verb=Decision.Verb.REJECT).comment == "Say who is affected."
    tasks.sweep_chat()
    assert "Anna sent it back: “Say who is affected.”" in texts(messages(fake, people["anna"])[0])


@pytest.mark.parametrize("reason", ["", "   ", None])
def test_a_reason_is_needed(fake, chat, people, asked, reason):
    chat.clicks(member(people["anna"]), button(fake, people["anna"], "send_back"))
    response = chat.post("interactions", fake.submission(member(people["anna"]), fake.forms[0], reason))
    assert response.json()["response_action"] == "errors"
    assert "Say what should change" in response.json()["errors"]["reason"]
    assert state(asked) == Status.IN_REVIEW


def test_a_form_that_is_too_late_says_so(fake, chat, people, asked):
    chat.clicks(member(people["anna"]), button(fake, people["anna"], "send_back"))
    asked.edit(asked.author, asked.version, words={"en": {"issue": "Other words."}}).submit(asked.author)
    response = chat.post("interactions", fake.submission(member(people["anna"]), fake.forms[0], "Why?"))
    assert "The content changed" in response.json()["errors"]["reason"]
    assert state(asked) == Status.IN_REVIEW


@pytest.mark.parametrize("who", ["paolo", "stranger"])
def test_a_form_of_who_may_not_decides_nothing(fake, chat, people, asked, who):
    chat.clicks(member(people["anna"]), button(fake, people["anna"], "send_back"))
    mine = fake.member("Stranger") if who == "stranger" else member(people["paolo"])
    response = chat.post("interactions", fake.submission(mine, fake.forms[0], "Because."))
    assert response.json()["response_action"] == "errors"
    assert state(asked) == Status.IN_REVIEW


def test_a_form_with_another_update_in_it_decides_nothing(fake, chat, people, asked):
    chat.clicks(member(people["anna"]), button(fake, people["anna"], "send_back"))
    forged = {**fake.forms[0], "private_metadata": "[1, 2]"}
    response = chat.post("interactions", fake.submission(member(people["anna"]), forged, "Because."))
    assert "not whole" in response.json()["errors"]["reason"]


def test_where_slack_shows_no_form_the_page_is_named(fake, chat, people, asked):
    chat.clicks(member(people["anna"]), button(fake, people["anna"], "send_back"), trigger="expired")
    assert fake.forms == []
    assert "Send it back on the page" in chat.answer()
    assert f"/incidentupdate/{asked.pk}/review/" in chat.answer()


def test_links_and_unknown_clicks_are_acknowledged_and_change_nothing(fake, chat, people, asked):
    for action in ("open", "publish", "delete"):
        body = fake.click(member(people["anna"]), button(fake, people["anna"])["value"], action, trigger=action)
        assert chat.post("interactions", body).status_code == 200
    payload = {"type": "shortcut", "team": {"id": "T0123456789"}, "user": {"id": member(people["anna"])}}
    assert chat.post("interactions", urlencode({"payload": json.dumps(payload)})).status_code == 200
    chat.work()
    assert state(asked) == Status.IN_REVIEW
    assert fake.answers == []


# ── Once, whatever happens ──────────────────────────────────────────────────


def again(minutes: float, time_machine) -> None:
    time_machine.move_to(timezone.now() + timedelta(minutes=minutes))
    telling_staff.send_waiting()


def test_a_message_whose_reply_was_lost_is_found_and_not_posted_again(fake, chat, people, draft, time_machine):
    fake.fail("chat.postMessage", Lost())
    draft.submit(draft.author)
    telling_staff.send_waiting()
    assert StaffNotice.objects.get(user=people["anna"], medium="direct").outcome == Outcome.WAITING
    again(1, time_machine)
    assert len(messages(fake, people["anna"])) == 1
    assert StaffNotice.objects.get(user=people["anna"], medium="direct").outcome == Outcome.SENT
    chat.clicks(member(people["anna"]), button(fake, people["anna"]))
    assert list(buttons(messages(fake, people["anna"])[0])) == ["open"]  # its ID is known


def test_what_a_worker_posted_before_it_died_is_found(fake, people, draft, monkeypatch, time_machine):
    draft.submit(draft.author)
    save = ChatPost.save

    def die(self, *args, **kwargs):
        if self.ts:
            raise KeyboardInterrupt
        save(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ChatPost, "save", die)
        with pytest.raises(KeyboardInterrupt):
            telling_staff.send_waiting()
    again(3, time_machine)
    assert len(messages(fake, people["anna"])) == 1
    assert ChatPost.objects.get().ts


def test_slack_that_asks_for_patience_gets_it(fake, people, draft, time_machine):
    fake.fail("chat.postMessage", 90)
    draft.submit(draft.author)
    telling_staff.send_waiting()
    calls = len(fake.calls)
    again(1, time_machine)
    assert len(fake.calls) == calls
    again(1, time_machine)
    assert len(messages(fake, people["anna"])) == 1


@pytest.mark.parametrize("word", ["invalid_auth", "token_revoked", "account_inactive"])
def test_an_app_that_is_locked_out_is_shown_as_a_problem(fake, people, draft, workspace, word):
    fake.fail("conversations.open", word)
    draft.submit(draft.author)
    telling_staff.send_waiting()
    notice = StaffNotice.objects.get(user=people["anna"], medium="direct")
    assert notice.outcome == Outcome.FAILED
    assert notice.detail.startswith(word)
    assert ChatWorkspace.objects.get().problem.startswith(word)
    assert StaffNotice.objects.filter(user=people["anna"], medium="email").exists()


def test_no_credential_is_written_down(fake, people, draft, workspace):
    from tests.fakes.http import Reply

    fake.fail("conversations.open", Reply(500, workspace.secrets["bot_token"].encode(), {"Content-Type": "text/plain"}))
    draft.submit(draft.author)
    telling_staff.send_waiting()
    assert workspace.secrets["bot_token"] not in StaffNotice.objects.get(user=people["anna"], medium="direct").detail


def test_what_was_decided_before_it_could_be_sent_is_not_sent(fake, people, draft):
    update = draft.submit(draft.author)
    update.approve(people["elena"])
    telling_staff.send_waiting()
    assert messages(fake, people["anna"]) == []


def test_a_message_that_was_deleted_there_is_left_alone(fake, people, asked):
    fake.messages.clear()
    asked.approve(people["elena"])
    direct.close_decided()
    assert ChatPost.objects.get().closed_at


def test_a_message_that_cannot_be_changed_just_now_is_changed_later(fake, people, asked):
    asked.approve(people["elena"])
    fake.fail("chat.update", "internal_error")
    direct.close_decided()
    assert ChatPost.objects.get().closed_at is None
    direct.close_decided()
    assert ChatPost.objects.get().closed_at


# ── A second factor ─────────────────────────────────────────────────────────


def test_who_must_have_a_second_factor_and_has_none_approves_nothing_there(fake, people, chat, asked, settings):
    settings.STAFF_MFA = "required"
    [message] = messages(fake, people["anna"])
    chat.clicks(member(people["anna"]), buttons(message)["approve"])
    assert "Anna must have a second factor for this. Log in at <http://127.0.0.1:8000/admin/two-step/>" in chat.answer()
    assert state(asked) == Status.IN_REVIEW
    make.factor(people["anna"])
    chat.clicks(member(people["anna"]), buttons(message)["approve"], trigger="trigger-2")
    assert state(asked) == Status.APPROVED
