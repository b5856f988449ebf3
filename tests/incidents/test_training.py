"""Records of training: who keeps them, who reads them, and for how long they count."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from incidents import roles
from incidents.models import Training
from tests import make

pytestmark = pytest.mark.django_db
ADD, LIST = "/admin/incidents/training/add/", "/admin/incidents/training/"


def today(ago: int = 0):
    return timezone.localdate() - timedelta(days=ago)


@pytest.fixture
def elena() -> User:
    return make.user(roles.MANAGERS, username="elena", first_name="Elena")


@pytest.fixture
def anna() -> User:
    return make.communications_manager(username="anna", first_name="Anna")


def record(by: User, who: User, **changes: str):
    data = {"user": who.pk, "role": "communications_manager", "completed_on": today().isoformat()}
    return make.client(by).post(ADD, data | {"valid_until": "", "what": ""} | changes)


def test_a_manager_records_training_which_counts_for_a_year(elena, anna):
    assert record(elena, anna, what="Workshop in Milan").status_code == 302
    one = Training.objects.get()
    assert (one.user, one.recorded_by, one.what) == (anna, elena, "Workshop in Milan")
    assert one.valid_until == today() + timedelta(days=365)
    assert one.state == "current"
    assert one.history.get().history_user == elena


def test_how_long_it_counts_can_be_set_and_written_down(elena, anna, settings):
    settings.TRAINING_VALID_DAYS = 100
    record(elena, anna)
    assert Training.objects.get().valid_until == today() + timedelta(days=100)
    record(elena, anna, role="support_lead", valid_until=today(-7).isoformat())
    assert Training.objects.get(role="support_lead").valid_until == today(-7)


@pytest.mark.parametrize(("language", "said"), [("en", "Empty: after 100 days."), ("it", "Vuoto: dopo 100 giorni.")])
def test_the_form_says_how_long_it_counts(elena, settings, language, said):
    settings.TRAINING_VALID_DAYS = 100
    page = make.client(elena).get(reverse("admin:incidents_training_add"), headers={"accept-language": language})
    assert said in page.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"completed_on": (timezone.localdate() + timedelta(days=2)).isoformat()}, "has not come yet"),
        ({"valid_until": "2001-01-01"}, "“Valid until” lies before the day on which it was completed."),
        ({"completed_on": "yesterday"}, "Enter a valid date"),
        ({"completed_on": ""}, "This field is required"),
        ({"role": "king"}, "Select a valid choice"),
        ({"user": "0"}, "Select a valid choice"),
        ({"what": "x" * 201}, "at most 200 characters"),
        ({"what": "\0"}, "Null characters are not allowed"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_kept(elena, anna, changes, said):
    response = record(elena, anna, **changes)
    assert response.status_code == 200
    assert said in response.content.decode()
    assert not Training.objects.exists()


def test_the_same_is_recorded_once(elena, anna):
    record(elena, anna)
    assert "is recorded already" in record(elena, anna).content.decode()
    with pytest.raises(IntegrityError), transaction.atomic():
        make.trained(anna, "communications_manager", today() + timedelta(days=365))
    assert Training.objects.count() == 1


def test_the_database_keeps_an_end_that_comes_after_the_beginning(anna):
    with pytest.raises(IntegrityError), transaction.atomic():
        Training.objects.create(user=anna, role="support_lead", completed_on=today(), valid_until=today(1))


def test_everybody_sees_their_own_and_those_who_keep_them_all(elena, anna):
    marta, giulia = make.incident_manager(), make.user(roles.SUPPORT_LEADS)
    mine, other = make.trained(giulia, "support_lead"), make.trained(marta, "incident_manager")

    def seen(who: User) -> set[int]:
        return {one.pk for one in make.client(who).get(LIST).context["cl"].result_list}

    assert seen(giulia) == {mine.pk}
    assert seen(marta) == {other.pk}
    assert seen(elena) == seen(anna) == {mine.pk, other.pk}
    page = reverse("admin:incidents_training_change", args=[other.pk])
    assert make.client(giulia).get(page).status_code in (302, 404)
    assert make.client(marta).get(page).status_code == 200
    assert make.client(marta).post(page, {"what": "x"}).status_code == 403
    assert "Training" in make.client(giulia).get("/admin/").content.decode()


@pytest.mark.parametrize("role", [roles.INCIDENT_MANAGERS, roles.COMMUNICATIONS_MANAGERS, roles.SUPPORT_LEADS])
def test_nobody_else_records_or_deletes(anna, role):
    one = make.trained(anna, "communications_manager")
    who = make.user(role, roles.ALL_COMPONENTS)
    assert record(who, who).status_code == 403
    make.client(who).post(reverse("admin:incidents_training_delete", args=[one.pk]), {"post": "yes"})
    assert Training.objects.count() == 1


def test_the_list_is_filtered_by_what_still_counts(elena, anna):
    ends = {"expired": -1, "soon": 0, "current": 31}
    for state, days in ends.items():
        role = {"expired": "support_lead", "soon": "incident_manager", "current": "communications_manager"}[state]
        one = make.trained(anna, role, today(-days))
        assert one.state == state
    edge = make.trained(make.user(), "support_lead", today(-30))
    assert edge.state == "soon"
    client = make.client(elena)
    for state, n in {"expired": 1, "soon": 2, "current": 1}.items():
        found = client.get(f"{LIST}?state={state}").context["cl"].result_list
        assert [one.state for one in found] == [state] * n
    assert len(client.get(f"{LIST}?state=nonsense").context["cl"].result_list) == 4


def test_the_list_asks_as_much_for_many_as_for_one(elena, django_assert_max_num_queries):
    counts, client = [], make.client(elena)
    for _round in range(2):
        make.trained(make.user(), "support_lead")
        with django_assert_max_num_queries(30) as captured:
            client.get(LIST)
        counts.append(len(captured))
        for _n in range(5):
            make.trained(make.incident_manager(), "incident_manager")
    assert counts[0] == counts[1]


def test_a_record_outlives_whoever_wrote_it_down(elena, anna):
    record(elena, anna)
    elena.delete()
    assert Training.objects.get().recorded_by is None
    anna.delete()
    assert not Training.objects.exists()


def test_its_changes_are_kept(elena, anna):
    record(elena, anna)
    one = Training.objects.get()
    page = reverse("admin:incidents_training_change", args=[one.pk])
    data = {"user": anna.pk, "role": one.role, "completed_on": one.completed_on, "valid_until": one.valid_until}
    make.client(elena).post(page, data | {"what": "By phone"})
    assert [was.what for was in one.history.all()] == ["By phone", ""]
    assert make.client(elena).get(reverse("admin:incidents_training_history", args=[one.pk])).status_code == 200
