"""One incident as one story, with the next step at hand."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Delivery
from incidents import declaring, roles
from incidents.models import Incident, IncidentUpdate
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


def url(incident: Incident, name: str = "change") -> str:
    return reverse(f"admin:incidents_incident_{name}", args=[incident.pk])


def text(user, incident: Incident) -> str:
    return make.client(user).get(url(incident)).content.decode()


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """An incident that Marta declared: its key."""
    author = make.incident_manager(username="marta", first_name="Marta", last_name="Rinaldi")
    make.plan(make.channel(), people=[("incident_manager", author)])
    make.recipients(3)
    return make.incident(author).pk


@pytest.fixture
def author(db) -> User:
    return User.objects.get(username="marta")


@pytest.fixture
def incident(world: int, db) -> Incident:
    return Incident.objects.get(pk=world)


def test_it_tells_the_story_newest_first_in_words(author, incident):
    anna = make.communications_manager(first_name="Anna", last_name="Weber")
    first = incident.updates.get()
    first.submit(author)
    first.reject(anna, "Say which cards.")
    make.published(first, anna)
    make.deliver()
    second = declaring.start_draft(incident, author, "identified")
    html = text(author, incident)
    for words in (
        "Marta Rinaldi declared the incident",
        "Marta Rinaldi asked for approval",
        "Anna Weber sent back: <q",
        "Say which cards.",
        "Anna Weber published",
        "3 of 3 messages went out",
        "You are writing an update",
        "partial outage",
    ):
        assert words in " ".join(html.split()), words
    assert [item["update"] for item in make.client(author).get(url(incident)).context["story"]] == [second, first]
    assert reverse("admin:incidents_incidentupdate_delivery", args=[first.pk]) in html


def test_what_was_published_is_shown_as_it_was_sent(unguarded, author, incident):
    update = make.published(incident.updates.get())
    update.renditions.update(issue="Changed behind the scenes")
    html = text(author, incident)
    assert "Changed behind the scenes" not in html
    assert "Customers who pay by card see an error" in html


def test_typed_html_stays_text(author, incident):
    update = incident.updates.get()
    update.edit(author, update.version, {"en": {"issue": "<script>alert(1)</script>", "subject": "<b>x</b>"}})
    html = text(author, incident)
    assert "<script>alert(1)" not in html
    assert "&lt;b&gt;x" in html


def test_failures_are_counted_beside_the_bar(author, incident):
    update = make.published(incident.updates.get())
    make.deliver()
    Delivery.objects.filter(pk=Delivery.objects.first().pk).update(status="failed", code="x")
    assert "2 of 3 messages went out" in text(author, incident)
    assert "1 failed" in text(author, incident)
    assert update.status == "published"


def test_write_starts_the_next_update_once(author, incident):
    make.published(incident.updates.get())
    client = make.client(author)
    response = client.post(url(incident, "write"))
    draft = incident.updates.get(status="draft")
    assert response.url == reverse("admin:incidents_incidentupdate_compose", args=[draft.pk])
    assert client.post(url(incident, "write"), {"stage": "resolved"}).url == response.url
    assert incident.updates.count() == 2


def test_resolve_starts_the_update_that_says_so(author, incident):
    make.published(incident.updates.get())
    assert "Resolve" in text(author, incident)
    make.client(author).post(url(incident, "write"), {"stage": "resolved"})
    draft = incident.updates.get(status="draft")
    assert (draft.stage, draft.ask_feedback, draft.next_update_at) == ("resolved", True, None)
    assert set(draft.component_states.values()) == {"operational"}


def test_an_update_in_review_opens_its_review(author, incident):
    update = incident.updates.get().submit(author)
    response = make.client(author).post(url(incident, "write"))
    assert response.url == reverse("admin:incidents_incidentupdate_review", args=[update.pk])
    assert IncidentUpdate.objects.get().status == "in_review"


def test_looking_changes_nothing(author, incident):
    make.published(incident.updates.get())
    for name in ("write", "role"):
        assert make.client(author).get(url(incident, name)).url == url(incident)
    assert incident.updates.count() == 1


def test_an_unknown_stage_is_refused(author, incident):
    response = make.client(author).post(url(incident, "write"), {"stage": "exploded"})
    assert response.status_code == 422
    assert "exploded" in response.content.decode()


def test_an_imported_incident_that_is_over_is_not_reopened(author, incident):
    incident.updates.get().withdraw(author)
    Incident.objects.filter(pk=incident.pk).update(stage="resolved", imported_from="x:1")
    response = make.client(author).post(url(incident, "write"), {"stage": "investigating"})
    assert response.status_code == 409
    assert "declare a new one" in response.content.decode()


def test_over_means_no_clock_and_no_resolve(author, incident):
    make.published(incident.updates.get())
    make.published(declaring.start_draft(incident, author, "resolved"))
    html = text(author, incident)
    assert "until it was resolved" in html
    assert "since it began" not in html
    assert 'value="resolved"' not in html
    assert "Hand over" not in html
    assert "Write a follow-up" in html


# ── Roles ──


def test_a_role_is_handed_over(author, incident):
    luca = make.incident_manager(first_name="Luca", last_name="Ferrante")
    client = make.client(author)
    response = client.post(url(incident, "role"), {"role": "support_lead", "user": luca.pk}, follow=True)
    assert incident.roles.get(role="support_lead").user == luca
    assert "Support lead: Luca Ferrante" in response.content.decode()
    client.post(url(incident, "role"), {"role": "support_lead", "user": author.pk})
    assert incident.roles.get(role="support_lead").user == author


def test_only_people_who_may_work_on_it_are_offered(author, incident):
    scoped, elsewhere = make.user(roles.SUPPORT_LEADS), make.user(roles.SUPPORT_LEADS)
    gone = make.incident_manager(is_active=False)
    assign_perm("incidents.operate_component", scoped, incident.components.get())
    assign_perm("incidents.operate_component", elsewhere, make.component())
    offered = {pk for row in make.client(author).get(url(incident)).context["roles"] for pk, _name in row["people"]}
    assert {author.pk, scoped.pk} <= offered
    assert not offered & {elsewhere.pk, gone.pk}


@pytest.mark.parametrize(
    "data", [{}, {"role": "king"}, {"role": "support_lead"}, {"role": "support_lead", "user": "x"}]
)
def test_a_bad_role_or_person_is_refused(author, incident, data):
    outsider = make.user(roles.SUPPORT_LEADS)
    data = {"user": outsider.pk, **data}
    assert make.client(author).post(url(incident, "role"), data).status_code == 422
    assert not incident.roles.filter(role="support_lead").exists()


def test_handing_over_needs_the_right_to_change_the_incident(author, incident):
    manager = make.communications_manager()
    assert "Hand over" not in text(manager, incident)
    data = {"role": "support_lead", "user": author.pk}
    assert make.client(manager).post(url(incident, "role"), data).status_code == 403
    Incident.objects.filter(pk=incident.pk).update(stage="resolved")
    assert make.client(author).post(url(incident, "role"), data).status_code == 409


# ── The list, and what is not offered ──


def test_the_list_filters_by_open_severity_and_component(author, incident):
    over = make.incident(author, title="Long over", severity="sev4")
    Incident.objects.filter(pk=over.pk).update(stage="resolved")
    client = make.client(author)
    base = reverse("admin:incidents_incident_changelist")

    def shown(query: str) -> set[Incident]:
        return set(client.get(base + query).context["cl"].queryset)

    assert shown("?open=yes") == {incident}
    assert shown("?open=no") == {over}
    assert shown("?severity__exact=sev4") == {over}
    assert shown(f"?component={over.components.get().pk}") == {over}
    assert shown("?component=zebra") == {incident, over}
    assert shown("?q=Long") == {over}


@pytest.mark.parametrize(
    ("source", "minutes", "told"),
    [(None, 12, "12 min"), (None, 0, "less than 1 min"), ("x:1", 12, "12 min"), ("x:1", 0, None), (None, -60, None)],
    ids=["ours", "at-once", "imported", "imported-without-a-start", "announced-ahead"],
)
def test_the_list_says_how_long_customers_waited_where_that_is_known(author, incident, source, minutes, told):
    began = timezone.now()
    Incident.objects.filter(pk=incident.pk).update(
        started_at=began, published_at=began + timedelta(minutes=minutes), imported_from=source
    )
    changes = make.client(author).get(reverse("admin:incidents_incident_changelist")).context["cl"]
    assert changes.model_admin.first_told(changes.queryset.get()) == told


def test_an_incident_is_never_edited_or_deleted_in_a_form(author, incident):
    from django.contrib.auth.models import User

    boss = make.client(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    boss.post(url(incident), {"title": "Changed"})
    assert boss.post(url(incident, "delete"), {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": incident.pk, "post": "yes"}
    boss.post(reverse("admin:incidents_incident_changelist"), data)
    assert Incident.objects.get().title == "Card payments fail"


@pytest.mark.parametrize("pk", ["0", "abc", "99999999999999999999"])
def test_what_does_not_exist_is_not_found(author, pk):
    assert make.client(author).get(f"/admin/incidents/incident/{pk}/change/").status_code == 404


def test_without_the_role_the_page_is_forbidden(incident):
    assert make.client(make.user(roles.ALL_COMPONENTS)).get(url(incident)).status_code == 403


def test_the_number_of_queries_does_not_grow(author, incident, django_assert_max_num_queries):
    counts = []
    for stage in ("identified", "monitoring"):
        make.published(declaring.start_draft(incident, author, stage))
        make.deliver()
        client = make.client(author)
        with django_assert_max_num_queries(40) as captured:
            client.get(url(incident))
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_the_list_takes_the_same_queries_for_one_and_for_many(author, incident, django_assert_max_num_queries):
    counts = []
    for _round in range(2):
        make.incident(author, make.component())
        client = make.client(author)
        with django_assert_max_num_queries(30) as captured:
            client.get(reverse("admin:incidents_incident_changelist"))
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_a_follow_up_does_not_ask_for_feedback_again(author, incident):
    make.published(incident.updates.get())
    make.published(declaring.start_draft(incident, author, "resolved"))
    make.client(author).post(url(incident, "write"))
    follow_up = incident.updates.get(status="draft")
    assert (follow_up.stage, follow_up.ask_feedback) == ("resolved", False)
