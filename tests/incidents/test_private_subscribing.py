"""Whoever reads a private status page subscribes on it: to what it shows, and to nothing else that is private."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from channels import links
from channels.models import Delivery, Recipient, Suppression
from incidents import subscribing
from incidents.models import CommunicationPlan, Component, StatusPage, SubscriptionRequest
from tests import make
from tests.incidents.test_statuspage import newsroom, told
from tests.incidents.test_subscribe_pages import filled, letters, link_in, stamp, subscribed, work

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


def test_a_subscriber_is_asked_for_a_yes_of_their_own_to_what_the_page_shows(client, email, acme):
    """They cannot choose it on the page of their subscription: “you are subscribed already” would lead nowhere."""
    known = subscribed()
    ask(client, acme)
    work()
    [letter] = letters()
    assert "Acme cluster" in letter.text
    client.post(link_in(letter))
    assert names(known) == {"everything", "Acme cluster", "Acme database", "Checkout"}


def test_requests_on_two_pages_are_confirmed_in_any_order(client, email, acme, settings):
    settings.SUBSCRIBE_ADDRESS_PER_DAY = 4
    bolt = StatusPage.objects.create(name="Bolt")
    bolt.components.set([private("Bolt cluster")])
    on_acme, on_bolt = ask(client, acme), ask(client, bolt)
    client.post("/subscribe/", filled())
    public = SubscriptionRequest.objects.latest("pk")
    again = ask(client, acme, what="some", parts=[f"component-{acme.components.get(name='Acme cluster').uid}"])
    work()
    for one in (again, public, on_bolt):
        assert confirm(client, one).status_code == 303
    assert names(Recipient.objects.get()) == {"everything", "Acme cluster", "Bolt cluster"}
    assert confirm(client, on_acme).status_code == 410  # it was asked for anew since


def test_what_was_asked_for_before_on_the_same_page_and_not_yet_sent_asks_for_nothing_any_more(client, email, acme):
    before, after = ask(client, acme), ask(client, acme)
    confirm(client, after)
    work()
    before.refresh_from_db()
    assert (before.outcome, before.address) == ("failed", "")
    assert confirm(client, before).status_code == 410


def test_who_had_unsubscribed_gets_what_they_ask_for_now_and_not_what_they_left(client, email, acme):
    person = subscribed()
    Suppression.objects.create(medium="email", address_hash=person.address_hash, reason="unsubscribed")
    cluster = acme.components.get(name="Acme cluster")
    confirm(client, ask(client, acme, what="some", parts=[f"component-{cluster.uid}"]))
    assert names(person) == {"Acme cluster"}
    assert not Suppression.objects.exists()


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
def test_who_would_not_be_let_in_any_more_confirms_nothing(client, email, acme, closed, request):
    one = ask(client, acme, until=timezone.now() + timedelta(hours=1))
    if closed == "withdrawn":
        acme.withdraw_links()
    elif closed == "over":
        travel = time_machine.travel(timezone.now() + timedelta(hours=2))
        travel.start()
        request.addfinalizer(travel.stop)
    elif closed == "off":
        StatusPage.objects.update(enabled=False)
    else:
        acme.delete()
    page = client.get(subscribing.confirm_url(one).removeprefix("http://127.0.0.1:8000"))
    assert page.status_code == 410
    assert "Acme" not in page.content.decode()
    assert confirm(client, one).status_code == 410
    assert not Recipient.objects.exists()
    one.refresh_from_db()
    assert one.confirmed_at is None
    work()
    assert letters() == []
    one.refresh_from_db()
    assert (one.outcome, one.address) == ("failed", "")


def test_a_component_that_left_the_page_meanwhile_is_not_subscribed_to(client, email, acme):
    one = ask(client, acme)
    acme.components.remove(acme.components.get(name="Acme cluster"))
    page = client.get(subscribing.confirm_url(one).removeprefix("http://127.0.0.1:8000")).content.decode()
    assert "Acme database" in page
    assert "Acme cluster" not in page
    confirm(client, one)
    assert names(Recipient.objects.get()) == {"Acme database", "Checkout"}


def test_where_nothing_of_it_is_left_on_the_page_there_is_nothing_to_confirm(client, email, acme):
    cluster = acme.components.get(name="Acme cluster")
    one = ask(client, acme, what="some", parts=[f"component-{cluster.uid}"])
    acme.components.remove(cluster)
    assert confirm(client, one).status_code == 410
    assert not Recipient.objects.exists()


def test_readers_who_log_in_subscribe_too_and_must_still_be_readers(client, email, acme):
    readers = Group.objects.create(name="Acme's people")
    acme.groups.add(readers)
    who = User.objects.create_user("anna", password="x")
    path = f"/private/{acme.uid}/subscribe/"
    assert client.get(path).status_code == 302  # to the login
    client.force_login(who)
    assert client.get(path).status_code == 404
    who.groups.add(readers)
    form = client.get(path).content.decode()
    assert client.post(path, filled()).status_code == 422  # a stamp of the public page, as a forged request has it
    assert client.post(path, filled(stamp=stamp(reader=f".{acme.uid}.{who.pk + 1}"))).status_code == 422
    assert not SubscriptionRequest.objects.exists()
    own = re.search(r'name="stamp" value="([^"]+)"', form)
    with time_machine.travel(timezone.now() + timedelta(minutes=1), tick=False):
        assert client.post(path, filled(stamp=own[1])).status_code == 303
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


def test_how_they_hear_of_private_choices_changes_with_the_rest_and_only_if_they_change_it(client, email, acme):
    cluster = acme.components.get(name="Acme cluster")
    only = {"what": "some", "parts": [f"component-{cluster.uid}"]}
    confirm(client, ask(client, acme, **only, least_severity="sev2"))
    person = Recipient.objects.get()
    page = links.manage_url(person.pk).removeprefix("http://127.0.0.1:8000")
    choice = {"what": "some", "own": [f"component-{cluster.uid}"], "locale": "en", "time_zone": "UTC"}
    client.post(page, choice | {"least_severity": "sev1"})
    [row] = person.subscriptions.all()
    assert (row.least_severity, row.maintenance) == ("sev1", False)
    client.post(page, choice | {"what": "all", "least_severity": "sev1"})
    person.subscriptions.filter(component=None).update(least_severity="sev4", maintenance=True)
    shown = client.get(page).content.decode()
    assert '<option value="sev4" selected>' in shown
    client.post(page, choice | {"what": "all", "least_severity": "sev4", "maintenance": "on", "time_zone": "UTC"})
    levels = {one.component_id: one.least_severity for one in person.subscriptions.all()}
    assert levels == {None: "sev4", cluster.pk: "sev1"}


def test_what_no_page_but_a_private_one_shows_is_given_up_like_what_is_private(client, email, acme):
    hidden = make.component("Acme's old nodes")
    Component.objects.filter(pk=hidden.pk).update(showcase=False)
    acme.components.add(hidden)
    confirm(client, ask(client, acme, what="some", parts=[f"component-{hidden.uid}"]))
    person = Recipient.objects.get()
    page = links.manage_url(person.pk).removeprefix("http://127.0.0.1:8000")
    assert f'name="own" value="component-{hidden.uid}" checked' in client.get(page).content.decode()
    choice = {"what": "all", "least_severity": "sev4", "maintenance": "on", "locale": "en", "time_zone": "UTC"}
    assert client.post(page, choice).status_code == 303
    assert names(person) == {"everything"}


def test_the_pages_cost_few_queries(client, email, acme, django_assert_num_queries):
    where = base(acme)
    with django_assert_num_queries(4):
        client.get(f"{where}/subscribe/")
    with django_assert_num_queries(2):
        sent = client.get(f"{where}/subscribe/sent/").content.decode()
    assert f'href="{where}/subscribe/"' in sent  # back to the form of this page
    path = subscribing.confirm_url(ask(client, acme)).removeprefix("http://127.0.0.1:8000")
    with django_assert_num_queries(4):
        client.get(path)


def test_the_answer_is_the_same_for_known_and_unknown_addresses(client, email, acme):
    [known] = make.recipients(1)
    first, second = (
        client.post(f"{base(acme)}/subscribe/", filled(address=address))
        for address in (known.address, "new@example.com")
    )
    assert (first.status_code, first["Location"]) == (second.status_code, second["Location"])
