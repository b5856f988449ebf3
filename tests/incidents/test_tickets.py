"""Tickets linked to an incident: how they are linked, and that its updates become comments on them and on no other."""

from contextlib import closing

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from guardian.shortcuts import assign_perm

from channels.forms import RecipientForm
from channels.models import Channel, Delivery, Dispatch, Recipient
from incidents import declaring, linking, roles
from incidents.checker import check
from incidents.errors import NotAllowed, Refused
from incidents.models import Incident, IncidentTicket
from tests import make
from tests.fakes.http import FakeHttp, Reply

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
SECRET = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """Anna's incident, whose plan speaks through a help desk behind the signed webhook: its key."""
    make.plan(make.channel("ticket_webhook", "Help desk", secrets={"signing_secret": SECRET}))
    return make.incident(make.incident_manager(username="anna")).pk


@pytest.fixture
def peer():
    with closing(FakeHttp(lambda _call: Reply(204, b""))) as peer:
        yield peer


@pytest.fixture
def desk(peer, db) -> Channel:
    """The help desk, which listens."""
    one = Channel.objects.get(name="Help desk")
    one.config = {"url": f"{peer.url}/tickets"}
    one.save()
    return one


@pytest.fixture
def author(db) -> User:
    return User.objects.get(username="anna")


@pytest.fixture
def incident(world: int, db) -> Incident:
    return Incident.objects.get(pk=world)


def url(incident: Incident, name: str = "tickets") -> str:
    return reverse(f"admin:incidents_incident_{name}", args=[incident.pk])


def post(user, incident: Incident, **data):
    return make.client(user).post(url(incident), data)


def linked(incident: Incident) -> list[str]:
    return [one.name for one in incident.tickets.all()]


# ── The whole way ──


def test_an_approved_update_becomes_one_comment_on_each_linked_ticket(author, incident, desk, peer):
    linking.link(incident, author, desk, "HELP-1 HELP-2")
    other = make.incident(author, title="Logins fail")
    linking.link(other, author, desk, "HELP-3")
    linking.unlink(incident, author, incident.tickets.get(recipient__address__endswith="HELP-2").pk)
    update = make.published(incident.updates.get())
    make.deliver()
    [call] = peer.calls
    assert call.json["ticket"] == "HELP-1"
    assert call.json["language"] == "en"
    words = update.manifest["messages"][0]["content"]["parts"]
    assert {name: call.json[name] for name in ("subject", "text", "url")} == words
    assert Delivery.objects.get().status == Delivery.Status.SENT
    assert update.approved_count == 1


def test_the_languages_of_other_recipients_make_no_second_comment(author, incident, desk, peer):
    linking.link(incident, author, desk, "HELP-1")
    Recipient.objects.filter(medium="ticket").update(locale="it")
    update = make.published(incident.updates.get())
    make.deliver()
    assert set(update.manifest["page"]) == {"en", "it"}
    assert [call.json["language"] for call in peer.calls] == ["en"]


def test_a_linked_ticket_needs_no_subscription_and_a_subscribed_one_gets_nothing(author, incident, desk, peer):
    [stray] = make.recipients(1, medium="ticket")
    Recipient.objects.filter(pk=stray.pk).update(address=f"{desk.pk}:HELP-9")
    linking.link(incident, author, desk, "HELP-1")
    make.published(incident.updates.get())
    make.deliver()
    assert [call.json["ticket"] for call in peer.calls] == ["HELP-1"]


def test_without_tickets_nothing_is_sent_and_nothing_is_wrong(author, incident, desk, peer):
    incident.updates.get().channels.add(make.channel())
    make.recipients(2)
    update = make.published(incident.updates.get())
    make.deliver()
    assert update.status == "published"
    assert not peer.calls
    assert not Delivery.objects.exclude(status="sent").exists()
    assert Dispatch.objects.get(channel=desk).expanded_at
    page = make.client(author).get(reverse("admin:incidents_incidentupdate_delivery", args=[update.pk]))
    assert page.status_code == 200


def test_that_no_ticket_is_linked_needs_no_typing_while_the_public_hears_of_it(author, incident, desk):
    update = incident.updates.get()
    assert "Nobody would receive this" in update.reach().warning()
    update.channels.add(make.channel("outbox_post"))
    assert update.reach().warning() == ""


def test_two_help_desks_are_kept_apart(author, incident, desk, peer):
    with closing(FakeHttp(lambda _call: Reply(204, b""))) as second:
        config = {"url": second.url}
        other = make.channel("ticket_webhook", "Other", config=config, secrets={"signing_secret": SECRET})
        incident.updates.get().channels.add(other)
        linking.link(incident, author, desk, "HELP-1")
        linking.link(incident, author, other, "HELP-1, HELP-2")
        make.published(incident.updates.get())
        make.deliver()
        assert [call.json["ticket"] for call in peer.calls] == ["HELP-1"]
        assert sorted(call.json["ticket"] for call in second.calls) == ["HELP-1", "HELP-2"]
        assert not other.can_stand_in_for(desk)


def test_a_closed_ticket_fails_alone(author, incident, desk, peer):
    linking.link(incident, author, desk, "HELP-1 HELP-2")
    peer.rule = lambda call: Reply(422 if call.json["ticket"] == "HELP-1" else 204, b"")
    make.published(incident.updates.get())
    make.deliver()
    assert sorted(Delivery.objects.values_list("status", flat=True)) == ["failed", "sent"]
    desk.refresh_from_db()
    assert desk.paused_at is None


def test_a_ticket_linked_later_gets_the_next_update(author, incident, desk, peer):
    linking.link(incident, author, desk, "HELP-1")
    make.published(incident.updates.get())
    make.deliver()
    linking.link(incident, author, desk, "HELP-2")
    make.published(declaring.start_draft(incident, author, "identified"))
    make.deliver()
    assert [call.json["ticket"] for call in peer.calls] == ["HELP-1", "HELP-1", "HELP-2"]


def test_tickets_are_asked_no_survey(author, incident, desk, peer):
    linking.link(incident, author, desk, "HELP-1")
    make.published(incident.updates.get())
    make.published(declaring.start_draft(incident, author, "resolved"))
    make.deliver()
    assert len(peer.calls) == 2
    assert not Dispatch.objects.filter(purpose="survey").exists()


def test_the_pages_of_the_update_speak_of_tickets(author, incident, desk):
    linking.link(incident, author, desk, "HELP-1 HELP-2")
    update = incident.updates.get()
    client = make.client(author)
    assert client.get(reverse("admin:incidents_incidentupdate_compose", args=[update.pk])).status_code == 200
    assert not [one for one in check(update) if "Help desk" in str(one.message)]
    update.submit(author)
    page = client.get(reverse("admin:incidents_incidentupdate_review", args=[update.pk])).content.decode()
    assert "the tickets linked to this incident" in page


# ── Linking on the incident's page ──


@pytest.mark.parametrize(
    "typed",
    ["HELP-1,HELP-2", " HELP-1\r\nHELP-2\n", "#HELP-1; HELP-2", "HELP-1 https://help.example.org/browse/HELP-2/?x=1"],
)
def test_tickets_are_taken_as_people_write_them(author, incident, desk, typed):
    response = post(author, incident, help_desk=desk.pk, tickets=typed)
    assert response.url == url(incident, "change")
    assert linked(incident) == ["HELP-1", "HELP-2"]
    assert {one.added_by for one in incident.tickets.all()} == {author}


def test_linking_twice_changes_nothing_and_says_so(author, incident, desk):
    post(author, incident, help_desk=desk.pk, tickets="HELP-1 HELP-1")
    client = make.client(author)
    response = client.post(url(incident), {"help_desk": desk.pk, "tickets": "HELP-1"}, follow=True)
    assert "0 tickets linked." in response.content.decode()
    assert IncidentTicket.objects.count() == Recipient.objects.filter(medium="ticket").count() == 1


def test_one_that_is_none_is_named_and_nothing_is_linked(author, incident):
    config = {"subdomain": "example", "email": "a@example.org"}
    desk = make.channel("zendesk", "Zendesk", config=config, secrets={"api_token": "x"})
    response = post(author, incident, help_desk=desk.pk, tickets="123, 12a4")
    assert response.status_code == 422
    page = response.content.decode()
    assert "“12a4”" in page
    assert "12345" in page
    assert linked(incident) == []


@pytest.mark.parametrize("data", [{}, {"help_desk": "x"}, {"help_desk": "999", "tickets": "1"}, {"remove": "999"}])
def test_what_is_missing_is_said(author, incident, data):
    assert post(author, incident, **data).status_code == 422


def test_no_ticket_and_too_many_are_refused(author, incident, desk):
    for typed in (" , ", " ".join(map(str, range(linking.AT_ONCE + 1)))):
        with pytest.raises(Refused):
            linking.link(incident, author, desk, typed)
    assert linked(incident) == []


def test_an_email_channel_is_no_help_desk(author, incident):
    assert post(author, incident, help_desk=make.channel().pk, tickets="1").status_code == 422


def test_a_ticket_is_removed_by_its_button(author, incident, desk):
    linking.link(incident, author, desk, "HELP-1 HELP-2")
    first = incident.tickets.first()
    page = make.client(author).get(url(incident, "change")).content.decode()
    assert f'name="remove" value="{first.pk}"' in page
    assert post(author, incident, remove=first.pk).url == url(incident, "change")
    assert linked(incident) == ["HELP-2"]


def test_a_ticket_of_another_incident_is_not_removed(author, incident, desk):
    other = make.incident(author)
    linking.link(other, author, desk, "HELP-1")
    assert post(author, incident, remove=other.tickets.get().pk).status_code == 422
    assert linked(other) == ["HELP-1"]


def test_looking_links_nothing(author, incident, desk):
    response = make.client(author).get(url(incident), {"help_desk": desk.pk, "tickets": "HELP-1"})
    assert response.url == url(incident, "change")
    assert linked(incident) == []


def test_the_support_lead_may_link_tickets(incident, desk):
    lead = make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS)
    assert "Link tickets" in make.client(lead).get(url(incident, "change")).content.decode()
    assert linking.link(incident, lead, desk, "HELP-1") == 1


def test_whoever_may_not_sees_the_tickets_without_buttons(author, incident, desk):
    linking.link(incident, author, desk, "HELP-1")
    reader = make.user(roles.INCIDENT_MANAGERS)
    assign_perm("incidents.view_component", reader, incident.components.get())
    for who in (reader, make.user(roles.MANAGERS, roles.ALL_COMPONENTS)):
        page = make.client(who).get(url(incident, "change")).content.decode()
        assert "HELP-1" in page
        assert "Link tickets" not in page
        assert 'name="remove"' not in page
        assert post(who, incident, help_desk=desk.pk, tickets="HELP-2").status_code == 403
        with pytest.raises(NotAllowed):
            linking.unlink(incident, who, incident.tickets.get().pk)
    assert linked(incident) == ["HELP-1"]


def test_a_foreign_incident_does_not_exist(incident, desk):
    stranger = make.user(roles.INCIDENT_MANAGERS)
    assign_perm("incidents.operate_component", stranger, make.component())
    assert post(stranger, incident, help_desk=desk.pk, tickets="HELP-1").status_code == 404


def test_typed_html_stays_text(author, incident, desk):
    linking.link(incident, author, desk, "<b>1</b>")
    page = make.client(author).get(url(incident, "change")).content.decode()
    assert "<b>1</b>" not in page
    assert "&lt;b&gt;1&lt;/b&gt;" in page


def test_without_a_help_desk_there_is_no_card(author, incident, desk):
    incident.updates.get().channels.set([make.channel()])
    incident.plan.channels.clear()
    desk.delete()
    page = make.client(author).get(url(incident, "change")).content.decode()
    assert 'id="tickets"' not in page


def test_the_page_warns_of_tickets_that_the_next_update_would_pass_by(author, incident, desk):
    warning = "these tickets get nothing"
    linking.link(incident, author, desk, "HELP-1")
    assert warning not in make.client(author).get(url(incident, "change")).content.decode()
    incident.updates.get().channels.clear()
    assert warning in make.client(author).get(url(incident, "change")).content.decode()
    incident.updates.get().withdraw(author)  # from now on it is the plan's word
    assert warning not in make.client(author).get(url(incident, "change")).content.decode()


def test_several_help_desks_are_chosen_from(author, incident, desk):
    make.channel(
        "ticket_webhook", "Second desk", config={"url": "https://x.example"}, secrets={"signing_secret": SECRET}
    )
    page = make.client(author).get(url(incident, "change")).content.decode()
    assert "Second desk</option>" in page


def test_a_help_desk_that_is_gone_leaves_its_tickets_in_sight(author, incident, desk):
    linking.link(incident, author, desk, "HELP-1")
    incident.updates.get().channels.clear()
    incident.plan.channels.clear()
    desk.delete()
    page = make.client(author).get(url(incident, "change")).content.decode()
    assert "A help desk that is gone" in page
    assert 'name="remove"' in page
    assert "Link tickets" not in page


def test_tickets_are_not_typed_in_as_recipients(desk):
    assert "ticket" not in dict(RecipientForm().fields["medium"].choices)
    stored = Recipient(medium="ticket", address=f"{desk.pk}:HELP-1")
    assert "ticket" in dict(RecipientForm(instance=stored).fields["medium"].choices)
