"""Event subscriptions in the admin: who sets them up, whose permissions they carry, and what is shown of them."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from guardian.shortcuts import assign_perm

from channels import own_secrets
from incidents import roles, tasks
from incidents.models import EventDelivery, EventSubscription
from tests import hostile, make
from tests.fakes.http import Reply

pytestmark = pytest.mark.django_db


def url(name: str, *args) -> str:
    return reverse(f"admin:incidents_eventsubscription_{name}", args=args)


def keeper(*groups: str) -> User:
    """Somebody who may set up subscriptions."""
    one = make.user(roles.INCIDENT_MANAGERS, *groups)
    one.user_permissions.add(*Permission.objects.filter(content_type__model="eventsubscription"))
    return User.objects.get(pk=one.pk)


@pytest.fixture
def person() -> User:
    return keeper(roles.ALL_COMPONENTS)


@pytest.fixture
def browser(person):
    return make.client(person)


@pytest.fixture
def happen():
    make.plan(make.channel())
    anna, component = make.incident_manager(), make.component("Checkout")
    return lambda *parts: make.incident(anna, *(parts or [component]))


FORM = {"name": "CRM", "kind": "webhook", "target": "https://crm.example.com/events"}


def test_it_is_added_by_its_owner_and_hears_of_what_happens_from_then_on(browser, person, happen):
    happen()
    tasks.sweep_events()
    response = browser.post(url("add"), {**FORM, "types": ["incident.declared"]})
    one = EventSubscription.objects.get()
    assert response["Location"] == url("connect", one.pk)
    assert (one.owner, one.cursor, one.types, one.enabled) == (person, 2, ["incident.declared"], True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "http://crm.example.com/x"}, "is not a secure web address"),
        ({"target": "https://10.0.0.1/x"}, "is inside a private network"),
        ({"target": "https://169.254.169.254/latest/meta-data"}, "is inside a private network"),
        ({"target": "https://localhost/x"}, "is inside a private network"),
        ({"target": "https://u:p@crm.example.com/x"}, "has a login in it"),
        ({"target": ""}, "This field is required"),
        ({"kind": "sns"}, "is not the ARN of a topic"),
        ({"kind": "sns", "target": "arn:aws:sqs:eu-south-1:123456789012:q"}, "is not the ARN of a topic"),
        ({"kind": "carrier pigeon"}, "is not one of the available choices"),
        ({"types": ["incident.sneezed"]}, "is not one of the available choices"),
        ({"name": "x" * 81}, "at most 80 characters"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_saved(browser, change, said):
    response = browser.post(url("add"), {**FORM, **change})
    assert response.status_code == 200
    assert said in response.content.decode()
    assert not EventSubscription.objects.exists()


@pytest.mark.parametrize("field", ["name", "target", "kind", "types", "components"])
def test_hostile_texts_break_nothing(browser, field):
    for text in [*hostile.MARKUP, *hostile.HOSTS, *hostile.LINKS]:
        page = browser.post(url("add"), {**FORM, field: text})
        assert page.status_code in (200, 302), text
        EventSubscription.objects.all().delete()


def test_a_topic_needs_no_secret_and_its_page_names_the_permission(browser):
    arn = "arn:aws:sns:eu-south-1:123456789012:incidents.fifo"
    browser.post(url("add"), {**FORM, "kind": "sns", "target": arn})
    one = EventSubscription.objects.get()
    page = browser.get(url("connect", one.pk)).content.decode()
    assert "sns:Publish" in page
    assert "FIFO" in page
    assert browser.post(url("connect", one.pk)).status_code == 404


def test_the_secret_is_shown_once_and_the_one_before_signs_for_a_day(browser, subscribe, person):
    one = subscribe(person)
    before = one.secrets["secret"]
    assert before not in browser.get(url("connect", one.pk)).content.decode()
    page = browser.post(url("connect", one.pk))
    one.refresh_from_db()
    assert one.secrets["secret"] in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    assert own_secrets.in_force(one.secrets) == (one.secrets["secret"], before)
    for name in ("connect", "change", "sent"):
        assert one.secrets["secret"] not in browser.get(url(name, one.pk)).content.decode()
    browser.post(url("connect", one.pk), {"at_once": "1"})
    one.refresh_from_db()
    assert len(own_secrets.in_force(one.secrets)) == 1
    assert LogEntry.objects.filter(change_message__contains="New secret").count() == 2


def test_a_secret_is_encrypted_where_it_lies(subscribe):
    from django.db import connection

    one = subscribe()
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM incidents_eventsubscription")
        [stored] = cursor.fetchone()
    assert one.secrets["secret"] not in stored
    assert "whsec" not in stored


def test_try_it_says_what_came_of_it(browser, subscribe, person, receiver):
    one = subscribe(person)
    page = browser.post(url("try", one.pk), follow=True).content.decode()
    assert "The test event was taken." in page
    receiver.script(Reply(401, "wrong <b>door</b>"))
    page = browser.post(url("try", one.pk), follow=True).content.decode()
    assert "The test event was not taken: 401" in page
    assert "<b>door</b>" not in page
    assert browser.get(url("try", one.pk)).status_code == 405


def test_what_was_sent_is_shown_and_sent_again_after_a_confirmation(browser, subscribe, person, receiver, happen):
    one = subscribe(person)
    happen()
    tasks.sweep_events()
    page = browser.get(url("sent", one.pk)).content.decode()
    assert "An incident is declared" in page
    again = url("again", one.pk, 2)
    assert again in page
    assert "Send 1 event again" in browser.get(again).content.decode()
    tasks.sweep_events()
    assert len(receiver.calls) == 2  # looking sends nothing
    browser.post(again)
    tasks.sweep_events()
    assert [call.json["data"]["number"] for call in receiver.calls] == [1, 2, 2]
    assert browser.get(url("again", one.pk, 99)).status_code == 404
    assert browser.post(url("again", one.pk, 99)).status_code == 422


def test_what_is_paused_goes_on_or_leaves_one_out(browser, subscribe, person, receiver, happen):
    one = subscribe(person)
    happen()
    receiver.script(Reply(410))
    tasks.sweep_events()
    page = browser.get(url("sent", one.pk)).content.decode()
    assert "The receiver says that it wants no more events (410)." in page
    assert url("skip", one.pk, 1) in page
    for name, *args in (["resume", one.pk], ["skip", one.pk, 1]):
        assert browser.get(url(name, *args)).status_code == 405
    browser.post(url("skip", one.pk, 1))
    tasks.sweep_events()
    assert [call.json["data"]["number"] for call in receiver.calls] == [1, 2]
    assert browser.post(url("skip", one.pk, 1)).status_code == 409
    assert browser.post(url("resume", one.pk)).status_code == 409


def test_saving_the_form_moves_nothing_that_a_worker_wrote_meanwhile(browser, subscribe, person, happen, monkeypatch):
    one = subscribe(person)
    save = EventSubscription.save

    def saves(self, *args, **kwargs):
        EventSubscription.objects.filter(pk=self.pk).update(cursor=7)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(EventSubscription, "save", saves)
    data = {"name": "CRM 2", "target": FORM["target"], "owner": person.pk, "enabled": "on"}
    assert browser.post(url("change", one.pk), data).status_code == 302
    one.refresh_from_db()
    assert (one.name, one.cursor) == ("CRM 2", 7)
    assert one.secrets


# ── Who may ─────────────────────────────────────────────────────────────────


def test_nobody_lends_out_the_permissions_of_somebody_else(browser, subscribe, person):
    boss = User.objects.create_superuser("boss")
    one = subscribe(person)
    data = {"name": "CRM", "target": FORM["target"], "owner": boss.pk, "enabled": "on"}
    response = browser.post(url("change", one.pk), data)
    assert response.status_code == 200
    one.refresh_from_db()
    assert one.owner == person
    browser.post(url("add"), {**FORM, "name": "Mine", "owner": boss.pk})
    assert EventSubscription.objects.get(name="Mine").owner == person


def test_who_sees_some_components_sees_their_own_subscriptions_alone(subscribe, happen):
    mine, foreign = make.component("Mine"), make.component("Zebra payouts")
    one = keeper()
    assign_perm("incidents.view_component", one, mine)
    other = subscribe(name="Zebra’s")
    browser = make.client(one)
    assert "Zebra" not in browser.get(url("changelist")).content.decode()
    for name, *args in (
        ["change", other.pk],
        ["connect", other.pk],
        ["sent", other.pk],
        ["again", other.pk, 1],
    ):
        response = browser.get(url(name, *args))
        assert response.status_code in (302, 404)
        assert "Zebra" not in response.content.decode()
    for name, *args in (["try", other.pk], ["resume", other.pk], ["skip", other.pk, 1], ["connect", other.pk]):
        assert browser.post(url(name, *args)).status_code == 404
    assert "Zebra" not in browser.get(url("add")).content.decode()
    browser.post(url("add"), {**FORM, "components": [foreign.pk]})
    assert EventSubscription.objects.filter(owner=one).count() == 0


def test_what_a_reader_may_see_no_more_is_not_on_the_page(subscribe, receiver, happen):
    mine = make.component("Mine")
    one = keeper()
    assign_perm("incidents.view_component", one, mine)
    subscription = subscribe(one)
    happen(mine)
    tasks.sweep_events()
    browser = make.client(one)
    assert "incident.declared" in browser.get(url("sent", subscription.pk)).content.decode()
    from guardian.shortcuts import remove_perm

    remove_perm("incidents.view_component", one, mine)
    assert "incident.declared" not in browser.get(url("sent", subscription.pk)).content.decode()


def test_incident_managers_look_and_change_nothing(subscribe, receiver, happen):
    one = subscribe()
    happen()
    receiver.script(Reply(500))
    tasks.sweep_events()
    browser = make.client(make.incident_manager())
    page = browser.get(url("sent", one.pk)).content.decode()
    assert "An incident is declared" in page
    assert "Try it" not in page
    assert url("changelist") in browser.get(reverse("admin:index")).content.decode()
    for name, *args in (["try", one.pk], ["resume", one.pk], ["skip", one.pk, 1], ["again", one.pk, 1]):
        assert browser.post(url(name, *args)).status_code == 403
    assert browser.post(url("connect", one.pk)).status_code == 403
    assert len(receiver.calls) == 1
    assert make.client(make.user(roles.SUPPORT_LEADS)).get(url("sent", one.pk)).status_code in (403, 404)


def test_pages_ask_the_same_number_of_questions_however_much_there_is(
    browser, subscribe, person, happen, django_assert_num_queries
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    one = subscribe(person)
    happen()
    tasks.sweep_events()
    pages = [url("changelist"), url("sent", one.pk)]
    few = []
    for page in pages:
        browser.get(page)
        with CaptureQueriesContext(connection) as asked:
            browser.get(page)
        few.append(len(asked))
    for n in range(4):
        subscribe(keeper(), name=f"More {n}")
        happen()
    tasks.sweep_events()
    assert EventDelivery.objects.filter(subscription=one).count() == 10
    for page, count in zip(pages, few, strict=True):
        with django_assert_num_queries(count):
            browser.get(page)
