"""Audience segments: who is in one, and that what was approved decides who is written to."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Delivery, Recipient
from commsportal.time_limit import TookTooLong, time_limit
from incidents import declaring, roles
from incidents.admin import segment as segment_admin
from incidents.errors import Refused
from incidents.models import AudienceSegment, IncidentUpdate
from incidents.models.segment import MOST_CONDITIONS, checked, in_words, matching
from tests import make

pytestmark = pytest.mark.django_db
ODD = ['pl"an', "pl'an", "a__b", "$.x", "%s", "piano tariffario", "città", "[0]", "a.b", "-- x", "?"]


def one_of(name: str, *values: str, how: str = "one_of") -> dict:
    return {"attribute": name, "is": how, "values": list(values)}


def people(*attributes: dict) -> list[Recipient]:
    rows = make.recipients(len(attributes))
    for row, found in zip(rows, attributes, strict=True):
        row.attributes = found
        row.save()
    return rows


def who(rows: list[Recipient], *conditions: dict) -> list[int]:
    """The places in `rows` of those whom the conditions mean."""
    found = set(Recipient.objects.filter(matching(checked(list(conditions)))).values_list("pk", flat=True))
    return [n for n, row in enumerate(rows) if row.pk in found]


def segment(name: str = "Enterprise", *conditions: dict) -> AudienceSegment:
    return AudienceSegment.objects.create(name=name, conditions=checked(list(conditions) or [one_of("plan", name)]))


# ── Who is in one ──


def test_capitals_do_not_count_and_of_a_list_one_is_enough():
    rows = people(
        {"plan": "Enterprise"},
        {"plan": "ENTERPRISE"},
        {"plan": ["basic", "enterprise"]},
        {"plan": "Enterprise plus"},
        {"plan": None},
        {"other": "Enterprise"},
        {},
        {"plan": {"Enterprise": 1}},
    )
    assert who(rows, one_of("plan", "enterprise")) == [0, 1, 2]
    assert who(rows, one_of("plan", "enterprise", how="none_of")) == [3, 4, 5, 6, 7]


def test_numbers_and_truths_are_compared_as_they_are_written():
    rows = people({"seats": 25}, {"seats": "25"}, {"beta": True}, {"beta": "true"}, {"beta": False}, {"seats": [5, 25]})
    rows += people({"beta": [False, True]})
    assert who(rows, one_of("seats", "25")) == [0, 1, 5]
    assert who(rows, one_of("beta", "true")) == [2, 3, 6]


def test_what_is_known_and_what_is_not():
    rows = people(
        {"region": "it"}, {"region": ""}, {"region": None}, {}, {"region": []}, {"region": ["it"]}, {"region": 0}
    )
    known = who(rows, one_of("region", how="set"))
    assert known == [0, 5, 6]
    assert who(rows, one_of("region", how="not_set")) == [n for n in range(len(rows)) if n not in known]


def test_all_conditions_hold_each_for_one_of_its_values():
    rows = people({"plan": "pro", "region": "it"}, {"plan": "pro", "region": "de"}, {"plan": "free", "region": "it"})
    assert who(rows, one_of("plan", "pro", "team"), one_of("region", "it", "fr")) == [0]
    assert who(rows, one_of("plan", "pro"), one_of("region", "it", how="none_of")) == [1]


def test_accents_are_found_however_they_are_written():
    rows = people({"city": "Forlì"}, {"city": "FORLÌ"}, {"city": "forlì"})
    assert who(rows, one_of("city", "Forlì")) == [0, 1, 2]


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_a_name_whatever_it_looks_like(name):
    rows = people({name: "yes"}, {"x": "yes"})
    assert who(rows, one_of(name, "yes")) == [0]
    assert who(rows, one_of(name, how="set")) == [0]


@pytest.mark.parametrize("value", ["'; DROP TABLE x; --", "%", "_", '"', "\\", "a" * 200])
def test_a_value_is_a_value_whatever_it_looks_like(value):
    assert who(people({"plan": value}, {"plan": "b"}), one_of("plan", value)) == [0]


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([], "at least one condition"),
        ("x", "at least one condition"),
        ([{}], "Condition 1: name an attribute"),
        ([one_of("plan")], "Condition 1: write with which values plan is compared"),
        ([one_of("plan", " ", "")], "write with which values"),
        ([one_of("plan", "a"), one_of("b", "c", how="like")], "Condition 2: choose how b is compared"),
        ([one_of("p" * 81, "a")], "at most 80 characters"),
        ([one_of("plan\0", "a")], "no name of an attribute"),
        ([one_of("plan", "v" * 201)], "at most 200 characters"),
        ([one_of("plan", *map(str, range(51)))], "51 values are too many"),
        ([one_of("plan", "a")] * (MOST_CONDITIONS + 1), "at most 8 conditions"),
    ],
)
def test_what_is_no_rule_is_named(conditions, said):
    with pytest.raises(ValidationError) as error:
        checked(conditions)
    assert said in " ".join(error.value.messages)


def test_it_is_told_in_words():
    assert in_words(checked([one_of("plan", "Pro", "Team"), one_of("region", how="set")])) == (
        "plan is one of Pro, Team; region is known"
    )


# ── Who is written to ──


@pytest.fixture
def draft() -> IncidentUpdate:
    cards = make.component("Cards")
    rows = make.recipients(3, cards)
    for row, plan in zip(rows, ("Enterprise", "Pro", "Enterprise"), strict=True):
        Recipient.objects.filter(pk=row.pk).update(attributes={"plan": plan})
    make.recipients(2)
    update = make.incident(make.incident_manager(username="author"), cards).updates.get()
    update.edit(update.author, update.version, channels=[make.channel()], segments=[segment()])
    return IncidentUpdate.objects.get(pk=update.pk)


def test_an_update_goes_to_subscribers_in_a_segment_alone(draft):
    assert draft.reach().total == 2
    make.published(draft)
    make.deliver()
    assert Delivery.objects.filter(dispatch__purpose="update").count() == 2


def test_any_of_several_segments_is_enough(draft):
    draft.edit(draft.author, draft.version, segments=[segment("Pro"), AudienceSegment.objects.get(name="Enterprise")])
    assert IncidentUpdate.objects.get(pk=draft.pk).reach().total == 3


def test_what_was_approved_decides_however_the_segment_is_changed_since(draft):
    draft.submit(draft.author)
    AudienceSegment.objects.update(conditions=[one_of("plan", "Pro")], name="Other")
    approver = make.communications_manager()
    draft.approve(approver, typed_count=draft.reach().total)
    AudienceSegment.objects.all().delete()
    draft.publish(approver)
    make.deliver()
    plans = Delivery.objects.filter(dispatch__purpose="update").values_list("recipient__attributes__plan", flat=True)
    assert sorted(plans) == ["Enterprise", "Enterprise"]


def test_to_choose_another_segment_takes_the_approval_back(draft):
    draft.submit(draft.author)
    draft.edit(draft.author, draft.version, segments=[])
    assert IncidentUpdate.objects.get(pk=draft.pk).status == "draft"


def test_the_same_choice_changes_nothing(draft):
    draft.submit(draft.author)
    draft.edit(draft.author, draft.version, segments=list(draft.segments.all()))
    assert IncidentUpdate.objects.get(pk=draft.pk).status == "in_review"


def test_a_segment_of_nobody_must_be_confirmed(draft):
    AudienceSegment.objects.update(conditions=[one_of("plan", "None of them")])
    draft.submit(draft.author)
    with pytest.raises(Refused, match="Nobody would receive this"):
        draft.approve(make.communications_manager())


def test_without_segments_the_manifest_is_what_it_was(draft):
    draft.edit(draft.author, draft.version, segments=[])
    draft = IncidentUpdate.objects.get(pk=draft.pk)
    draft.submit(draft.author)
    assert all("segments" not in message["audience"] for message in draft.manifest["messages"])


def test_a_new_draft_has_those_of_the_plan():
    plan = make.plan(make.channel())
    plan.segments.set([segment()])
    update = make.incident().updates.get()
    assert [one.name for one in update.segments.all()] == ["Enterprise"]


def test_who_heard_the_beginning_hears_the_end(draft):
    make.published(draft)
    draft.incident.refresh_from_db()
    following = declaring.start_draft(draft.incident, draft.author, "resolved")
    assert [one.name for one in following.segments.all()] == ["Enterprise"]


# ── Screens ──


def form(**values) -> dict:
    return {"name": "Enterprise in Italy", "description": "", **values}


def test_staff_make_one_by_rows():
    admin = make.client(make.communications_manager())
    rows = {"attribute_0": "plan", "is_0": "one_of", "values_0": "Enterprise\n Business", "attribute_3": "region"}
    answer = admin.post("/admin/incidents/audiencesegment/add/", form(**rows, is_3="set"))
    assert answer.status_code == 302
    one = AudienceSegment.objects.get()
    assert one.conditions == [one_of("plan", "Enterprise", "Business"), one_of("region", how="set")]
    page = admin.get(reverse("admin:incidents_audiencesegment_change", args=[one.pk])).content.decode()
    assert "Enterprise\nBusiness</textarea>" in page
    assert "plan is one of Enterprise, Business" in admin.get("/admin/incidents/audiencesegment/").content.decode()


def test_a_mistake_is_named_and_nothing_is_saved():
    admin = make.client(make.communications_manager())
    page = admin.post("/admin/incidents/audiencesegment/add/", form(attribute_0="plan", is_0="one_of", values_0=" \n "))
    assert "write with which values plan is compared" in page.content.decode()
    assert not AudienceSegment.objects.exists()


def test_it_is_counted_while_it_is_typed():
    people({"plan": "pro"}, {"plan": "pro"}, {"plan": "free"})
    admin = make.client(make.communications_manager())
    url = "/admin/incidents/audiencesegment/count/"
    typed = {"attribute_0": "plan", "is_0": "one_of", "values_0": "PRO"}
    assert admin.post(url, typed).json()["text"].startswith("2 recipients; 2 of them can be written to now: 2 by email")
    assert "name an attribute" in admin.post(url, {"values_0": "x"}).json()["error"]
    assert admin.get(url).status_code == 405
    assert make.client(make.user(roles.MANAGERS)).post(url, typed).status_code == 403
    assert make.client(make.incident_manager()).post(url, typed).status_code == 403  # may look at segments
    assert make.client(make.user()).post(url, typed).status_code == 403


def test_names_that_recipients_have_are_offered():
    people({"plan": "pro", 'od"d': 1}, {"plan": "x"})
    page = make.client(make.communications_manager()).get("/admin/incidents/audiencesegment/add/").content.decode()
    assert page.index('<option value="plan">') < page.index('<option value="od&quot;d">')


VALUES_URL = "/admin/incidents/audiencesegment/values/"


def offered(who, attribute: str) -> list[str]:
    answer = who.post(VALUES_URL, {"attribute": attribute})
    assert "no-store" in answer["Cache-Control"]
    return answer.json()["values"]


def test_the_most_frequent_values_of_an_attribute_are_offered():
    people({"plan": "pro", "n": 1}, {"plan": ["pro", "x"]}, {"plan": "basic"}, {"plan": ["x", "pro"], "n": True})
    people({"plan": None}, {"plan": {"a": "b"}}, {"plan": ""}, {"plan": "l" * 201}, {"plan": [["deep"], None]})
    for odd in ([1], "text", 5):
        [one] = make.recipients(1)
        Recipient.objects.filter(pk=one.pk).update(attributes=odd)
    admin = make.client(make.communications_manager())
    assert offered(admin, "plan") == ["pro", "x", "basic"]
    assert offered(admin, "n") == ["1", "true"]
    for nothing in ("", "nobody", "pl\0an", "x" * 81, "p'l\"an"):
        assert offered(admin, nothing) == []
    people(*({"city": f"c{n:02}"} for n in range(25)))
    assert offered(admin, "city") == [f"c{n:02}" for n in range(20)]


@pytest.mark.parametrize("name", ODD)
def test_values_of_an_attribute_with_any_name_are_offered(name):
    people({name: "here"})
    assert offered(make.client(make.communications_manager()), name) == ["here"]


def test_values_are_offered_to_nobody_who_may_not_see_recipients():
    writer = make.user(roles.ALL_COMPONENTS)
    writer.user_permissions.set(Permission.objects.filter(codename__endswith="_audiencesegment"))
    page = make.client(writer).get("/admin/incidents/audiencesegment/add/")
    assert (page.status_code, "data-values" in page.content.decode()) == (200, False)
    assert make.client(writer).post(VALUES_URL, {"attribute": "plan"}).status_code == 403
    writer.user_permissions.add(Permission.objects.get(codename="view_recipient"))
    assert make.client(writer).post(VALUES_URL, {"attribute": "plan"}).status_code == 200
    assert make.client(writer).get(VALUES_URL).status_code == 405
    assert make.client(make.user(roles.MANAGERS)).post(VALUES_URL, {"attribute": "plan"}).status_code == 403


SLOW = {
    "postgresql": "SELECT count(*) FROM generate_series(1, 1000000000)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n LIMIT 1",
}


def test_a_query_stops_by_itself_and_the_next_has_time_again():
    """The limit is real: either query would go on for minutes, or for ever."""
    with pytest.raises(TookTooLong), time_limit(0.05), connection.cursor() as cursor:
        cursor.execute(SLOW[connection.vendor])
    with time_limit(5), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
    with pytest.raises(DatabaseError), transaction.atomic(), time_limit(5), connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")


def test_what_takes_too_long_to_count_is_said_so(monkeypatch):
    people(*({"plan": "pro", "n": n} for n in range(300)))
    one = segment("pro", one_of("plan", "pro"))
    slow = {
        "postgresql": "pg_sleep(10) IS NULL",
        "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n)",
    }
    monkeypatch.setattr(segment_admin, "PATIENCE", 0.05)
    monkeypatch.setattr(segment_admin, "matching", lambda _rule: Q(RawSQL(slow[connection.vendor], [], BooleanField())))
    admin = make.client(make.communications_manager())
    typed = {"attribute_0": "plan", "is_0": "one_of", "values_0": "pro"}
    said = admin.post("/admin/incidents/audiencesegment/count/", typed)
    assert (said.status_code, said.json()["text"][:25]) == (200, "Too many to count quickly")
    change = reverse("admin:incidents_audiencesegment_change", args=[one.pk])
    assert "Too many to count quickly" in admin.get(change).content.decode()
    assert "too many to count quickly" in admin.get("/admin/incidents/audiencesegment/").content.decode()


def test_the_same_count_is_not_asked_for_twice_in_a_moment(django_assert_num_queries):
    people({"plan": "pro"})
    rule = checked([one_of("plan", "pro")])
    with CaptureQueriesContext(connection) as first:
        said = segment_admin.count_in_words(rule)
    assert len(first) >= 2
    people({"plan": "pro"})
    with django_assert_num_queries(0):
        assert segment_admin.count_in_words(rule) == said
    with time_machine.travel(timezone.now() + timedelta(seconds=11)):
        assert segment_admin.count_in_words(rule).startswith("2 recipients")


def test_one_in_use_is_not_deleted():
    plan = make.plan()
    one = segment()
    plan.segments.set([one])
    admin = make.client(make.communications_manager())
    delete = reverse("admin:incidents_audiencesegment_delete", args=[one.pk])
    assert admin.post(delete, {"post": "yes"}).status_code == 403
    page = admin.get(reverse("admin:incidents_audiencesegment_change", args=[one.pk])).content.decode()
    assert f"In use, so that it cannot be deleted: {plan.name}" in page
    plan.segments.clear()
    assert admin.post(delete, {"post": "yes"}).status_code == 302


def test_it_is_not_deleted_while_a_draft_waits_for_it_even_where_the_incident_is_over(draft):
    draft.edit(draft.author, draft.version, stage="resolved")
    make.published(IncidentUpdate.objects.get(pk=draft.pk))
    one = AudienceSegment.objects.get()
    delete = reverse("admin:incidents_audiencesegment_delete", args=[one.pk])
    admin = make.client(make.communications_manager())
    draft.incident.refresh_from_db()
    declaring.start_draft(draft.incident, draft.author)
    assert admin.post(delete, {"post": "yes"}).status_code == 403


def test_an_incident_of_other_components_is_not_named_by_what_uses_a_segment(draft):
    lead = make.user(roles.SUPPORT_LEADS)
    assign_perm("incidents.operate_component", lead, make.component())
    url = reverse("admin:incidents_audiencesegment_change", args=[AudienceSegment.objects.get().pk])
    page = make.client(lead).get(url).content.decode()
    assert "1 other incident" in page
    assert draft.incident.title not in page
    assert draft.incident.title in make.client(make.communications_manager()).get(url).content.decode()


def test_saving_changes_no_value_that_has_a_comma():
    one = segment("Key account", one_of("owner", "Smith, Jones & Co", "Neri"))
    admin = make.client(make.communications_manager())
    url = reverse("admin:incidents_audiencesegment_change", args=[one.pk])
    fields = admin.get(url).context["adminform"].form
    shown = {name: fields.get_initial_for_field(field, name) or "" for name, field in fields.fields.items()}
    assert admin.post(url, shown | {"description": "only this"}).status_code == 302
    one.refresh_from_db()
    assert one.conditions[0]["values"] == ["Smith, Jones & Co", "Neri"]


def test_odd_recipients_shut_no_form_and_a_push_key_is_no_attribute():
    rows = people({"plan": "pro"}, {"p256dh": "secret"})
    Recipient.objects.filter(pk=rows[1].pk).update(medium="webpush")
    for odd in ([1], "text", 5):
        [one] = make.recipients(1)
        Recipient.objects.filter(pk=one.pk).update(attributes=odd)
    page = make.client(make.communications_manager()).get("/admin/incidents/audiencesegment/add/")
    assert page.status_code == 200
    assert "p256dh" not in page.content.decode()
    assert '<option value="plan">' in page.content.decode()


def test_who_stands_for_everybody_is_nobody():
    Recipient.objects.create(medium="broadcast", address="channel:1", confirmed_at=timezone.now())
    typed = {"attribute_0": "plan", "is_0": "not_set"}
    admin = make.client(make.communications_manager())
    assert admin.post("/admin/incidents/audiencesegment/count/", typed).json()["text"].startswith("0 recipients")


def test_the_list_counts_all_in_one_query(django_assert_num_queries):
    admin = make.client(make.communications_manager())
    segment("a")
    url = "/admin/incidents/audiencesegment/"
    admin.get(url)
    queries = 10 + 4 * (connection.vendor == "postgresql")  # a savepoint and a limit of time, there and back
    for name in "bcd":
        with django_assert_num_queries(queries):
            admin.get(url)
        segment(name)


def test_compose_offers_them_and_review_names_them(draft):
    writer = make.client(draft.author)
    url = reverse("admin:incidents_incidentupdate_change", args=[draft.pk])
    page = writer.get(url, follow=True).content.decode()
    assert "None ticked: all subscribers." in page
    assert "2 people; only in: Enterprise" in page
    draft.submit(draft.author)
    review = make.client(make.communications_manager()).get(url, follow=True).content.decode()
    assert "only in: Enterprise" in review
    assert "Enterprise: plan is one of Enterprise" in review
