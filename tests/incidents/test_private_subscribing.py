"""Whoever reads a private status page subscribes on it: to what it shows, and to nothing else that is private."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from channels import links
from channels.models import Delivery, Recipient
from incidents import subscribing
from incidents.models import CommunicationPlan, Component, StatusPage, SubscriptionRequest
from tests import make
from tests.incidents.test_statuspage import newsroom, told
from tests.incidents.test_subscribe_pages import filled

pytestmark = pytest.mark.django_db


def private(name: str) -> Component:
    one = make.component(name)
    one.private = True
    one.save()
    return one


@pytest.fixture
def email():
    newsroom()
    return make.channel(name="Email")


@pytest.fixture
def acme() -> StatusPage:
    one = StatusPage.objects.create(name="Acme")
    one.components.set([private("Acme cluster"), private("Acme database"), make.component("Checkout")])
    return one


def base(page: StatusPage, until=None) -> str:
    return f"/private/{page.key(until)}"


def confirm(client: Client, one: SubscriptionRequest):
    path = subscribing.confirm_url(one).removeprefix("http://127.0.0.1:8000")
    client.get(path)
    return client.post(path)


def names(person: Recipient) -> set[str]:
    return {one.component.name if one.component else "everything" for one in person.subscriptions.all()}


def ask(client: Client, page: StatusPage, until=None, **more) -> SubscriptionRequest:
    where = base(page, until)
    answer = client.post(f"{where}/subscribe/", filled(**more))
    assert answer.status_code == 303, answer.content.decode()
    assert answer["Location"] == f"{where}/subscribe/sent/"
    return SubscriptionRequest.objects.latest("pk")


def test_the_page_offers_what_it_shows_and_the_public_one_never_does(client, email, acme):
    private("Bolt cluster")
    assert f'href="{base(acme)}/subscribe/"' in client.get(f"{base(acme)}/").content.decode()
    form = client.get(f"{base(acme)}/subscribe/").content.decode()
    for name in ("Acme cluster", "Acme database", "Checkout", "Everything on this page"):
        assert name in form
    assert "Bolt" not in form
    assert "group-" not in form  # a group may hold what the page does not show
    assert "Acme" not in client.get("/subscribe/").content.decode()


def test_a_reader_confirms_and_is_told_of_the_private_component(client, email, acme):
    one = ask(client, acme)
    assert client.get(f"{base(acme)}/subscribe/sent/").status_code == 200
    confirm(client, one)
    person = Recipient.objects.get()
    assert names(person) == {"Acme cluster", "Acme database", "Checkout"}
    for plan in CommunicationPlan.objects.all():
        plan.channels.add(email)
    told(acme.components.get(name="Acme cluster"), title="Acme's nodes are slow")
    make.deliver()
    assert Delivery.objects.filter(recipient=person, status__in=Delivery.REACHED).count() == 1


def test_some_of_it_is_chosen_and_what_was_chosen_elsewhere_stays(client, email, acme):
    [person] = make.recipients(1)
    cluster = acme.components.get(name="Acme cluster")
    one = ask(client, acme, address=person.address, what="some", parts=[f"component-{cluster.uid}"])
    confirm(client, one)
    assert names(person) == {"everything", "Acme cluster"}


@pytest.mark.parametrize("forged", ["other page", "group", "nonsense"])
def test_what_the_page_does_not_show_cannot_be_chosen(client, email, acme, forged):
    bolt = private("Bolt cluster")
    parts = {"other page": f"component-{bolt.uid}", "group": f"group-{bolt.group.uid}", "nonsense": "component-x"}
    answer = client.post(f"{base(acme)}/subscribe/", filled(what="some", parts=[parts[forged]]))
    assert answer.status_code == 422
    assert client.post("/subscribe/", filled(what="some", parts=[f"component-{bolt.uid}"])).status_code == 422
    assert not SubscriptionRequest.objects.exists()


@pytest.mark.parametrize("closed", ["withdrawn", "over", "off", "deleted"])
def test_who_would_not_be_let_in_any_more_confirms_nothing(client, email, acme, closed, time_machine):
    one = ask(client, acme, until=timezone.now() + timedelta(hours=1))
    if closed == "withdrawn":
        acme.withdraw_links()
    elif closed == "over":
        time_machine.move_to(timezone.now() + timedelta(hours=2))
    elif closed == "off":
        StatusPage.objects.update(enabled=False)
    else:
        acme.delete()
    assert confirm(client, one).status_code == 410
    assert not Recipient.objects.exists()
    one.refresh_from_db()
    assert one.confirmed_at is None


def test_a_component_that_left_the_page_meanwhile_is_not_subscribed_to(client, email, acme):
    one = ask(client, acme)
    acme.components.remove(acme.components.get(name="Acme cluster"))
    confirm(client, one)
    assert names(Recipient.objects.get()) == {"Acme database", "Checkout"}


def test_readers_who_log_in_subscribe_too_and_must_still_be_readers(client, email, acme):
    readers = Group.objects.create(name="Acme's people")
    acme.groups.add(readers)
    who = User.objects.create_user("anna", password="x")
    path = f"/private/{acme.uid}/subscribe/"
    assert client.get(path).status_code == 302  # to the login
    client.force_login(who)
    assert client.get(path).status_code == 404
    who.groups.add(readers)
    assert client.post(path, filled()).status_code == 303
    one = SubscriptionRequest.objects.get()
    who.groups.clear()
    assert confirm(Client(), one).status_code == 410
    who.groups.add(readers)
    assert confirm(Client(), one).status_code == 303
    assert "Acme cluster" in names(Recipient.objects.get())


def test_they_give_up_private_choices_on_their_own_page_and_take_no_new_ones(client, email, acme):
    confirm(client, ask(client, acme))
    person, bolt = Recipient.objects.get(), private("Bolt cluster")
    page = links.manage_url(person.pk).removeprefix("http://127.0.0.1:8000")
    shown = client.get(page).content.decode()
    assert "Acme cluster" in shown
    assert "Bolt" not in shown
    checkout = acme.components.get(name="Checkout")
    keeps = acme.components.get(name="Acme database")
    choice = {"what": "some", "parts": [f"component-{checkout.uid}"], "least_severity": "sev4", "maintenance": "on"}
    choice |= {"locale": "en", "time_zone": "UTC"}
    assert client.post(page, choice | {"own": [f"component-{bolt.uid}"]}).status_code == 422
    assert client.post(page, choice | {"own": [f"component-{keeps.uid}"]}).status_code == 303
    assert names(person) == {"Acme database", "Checkout"}
    only_private = choice | {"parts": [], "own": [f"component-{keeps.uid}"]}
    assert client.post(page, only_private).status_code == 303
    assert names(person) == {"Acme database"}
    assert client.post(page, choice | {"parts": []}).status_code == 422  # nothing at all is what unsubscribing is for
    assert client.post(page, choice | {"what": "all", "own": []}).status_code == 303
    assert names(person) == {"everything"}


def test_the_answer_is_the_same_for_known_and_unknown_addresses(client, email, acme):
    [known] = make.recipients(1)
    first, second = (
        client.post(f"{base(acme)}/subscribe/", filled(address=address))
        for address in (known.address, "new@example.com")
    )
    assert (first.status_code, first["Location"]) == (second.status_code, second["Location"])
