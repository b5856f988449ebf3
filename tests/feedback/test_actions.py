"""Improvement actions: made with one click, moved on by their verbs, and seen by whom they concern."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone
from guardian.shortcuts import assign_perm

from feedback import improving
from feedback.models import ActionStep, ImprovementAction
from incidents import roles
from incidents.errors import NotAllowed, Refused, WrongState
from tests import make

pytestmark = pytest.mark.django_db
LIST = "/admin/feedback/improvementaction/"


@pytest.fixture
def anna():
    return make.communications_manager()


@pytest.fixture
def answer():
    incident = make.incident(make.incident_manager(), make.component())
    return make.survey_answer(incident, clear=1, comment="Too late. Call 333 123 4567.", locale="it")


def action(maker, **columns) -> ImprovementAction:
    one = improving.make(maker, "Say it sooner")
    ImprovementAction.objects.filter(pk=one.pk).update(**columns)
    one.refresh_from_db()
    return one


# ── One click ──


def test_an_answer_becomes_an_action_with_one_click(client, anna, answer):
    client.force_login(anna)
    url = f"{LIST}from-answer/{answer.pk}/"
    for page in (f"/admin/feedback/surveyanswer/{answer.pk}/change/", f"/admin/feedback/report/{answer.incident_id}/"):
        assert url in client.get(page).content.decode()
    assert client.get(url).status_code == 405
    assert not ImprovementAction.objects.exists()
    response = client.post(url, follow=True)
    made = ImprovementAction.objects.get()
    assert response.redirect_chain == [(f"{LIST}{made.pk}/change/", 302)]
    assert (made.owner, made.incident, made.state) == (anna, answer.incident, "open")
    assert made.due_on == timezone.localdate() + timedelta(days=14)
    assert "Too late. Call [phone number]." in made.why
    assert "1 of 5" in made.why
    assert made.steps.get().verb == ActionStep.Verb.MAKE
    client.post(url)
    assert ImprovementAction.objects.count() == 1
    assert f"/admin/feedback/surveyanswer/{answer.pk}/change/" in response.content.decode()
    page = client.get(f"/admin/feedback/surveyanswer/{answer.pk}/change/").content.decode()
    assert f"{LIST}{made.pk}/change/" in page


def test_a_good_answer_is_not_offered_in_the_report(client, anna, answer):
    answer.given = {"clear": 4, "timely": 3, "useful": 5}
    answer.save()
    client.force_login(anna)
    assert "from-answer" not in client.get(f"/admin/feedback/report/{answer.incident_id}/").content.decode()


def test_a_report_becomes_an_action(client, answer):
    elena = make.user(roles.MANAGERS, roles.ALL_COMPONENTS)
    client.force_login(elena)
    url = f"{LIST}from-incident/{answer.incident_id}/"
    assert url in client.get(f"/admin/feedback/report/{answer.incident_id}/").content.decode()
    assert client.post(url).status_code == 302
    made = ImprovementAction.objects.get()
    assert (made.owner, made.source) == (elena, f"incident:{answer.incident_id}")
    assert improving.source_url(made) == f"/admin/feedback/report/{answer.incident_id}/"


@pytest.mark.parametrize("path", ["from-answer/{answer}/", "from-incident/{incident}/"])
def test_whoever_does_not_see_it_makes_nothing_of_it(client, answer, path):
    path = LIST + path.format(answer=answer.pk, incident=answer.incident_id)
    foreign = make.user(roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.operate_component", foreign, make.component())
    for who, status in ((foreign, 404), (make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS), 403)):
        client.force_login(who)
        assert client.post(path).status_code == status
    assert not ImprovementAction.objects.exists()


# ── On its way ──


def test_it_goes_from_open_to_done_and_every_step_is_kept(anna):
    one = action(anna)
    one.start(anna).finish(anna, "Template shortened.")
    assert one.state == "done"
    with pytest.raises(WrongState, match="“Done” by now"):
        one.start(anna)
    one.reopen(anna)
    with pytest.raises(Refused):
        one.drop(anna, " ")
    one.drop(anna, "Not ours to mend.")
    assert [step.verb for step in one.steps.all()] == ["make", "start", "finish", "reopen", "drop"]
    assert one.steps.last().comment == "Not ours to mend."


def test_its_owner_moves_it_and_a_stranger_does_not(anna):
    support = make.user(roles.SUPPORT_LEADS)
    one = action(anna, owner=support)
    assert one.start(support).state == "in_progress"
    assert one.finish(make.incident_manager()).state == "done"
    with pytest.raises(NotAllowed):
        one.reopen(make.user(roles.SUPPORT_LEADS))


def test_the_database_holds_it(anna):
    one = action(anna).finish(anna)
    for change in (
        lambda: ImprovementAction.objects.update(state="in_progress"),
        lambda: ImprovementAction.objects.create(title="x", owner=anna, due_on="2030-01-01", state="done"),
        lambda: one.steps.update(comment="other"),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_the_page_moves_it_by_post(client, anna):
    one = action(anna)
    client.force_login(anna)
    page = client.get(f"{LIST}{one.pk}/change/").content.decode()
    assert f"{LIST}{one.pk}/move/finish/" in page
    assert f"{LIST}{one.pk}/move/reopen/" not in page
    assert client.get(f"{LIST}{one.pk}/move/finish/").status_code == 405
    assert client.post(f"{LIST}{one.pk}/move/drop/", {"comment": ""}).status_code == 422
    assert client.post(f"{LIST}{one.pk}/move/delete/").status_code == 403
    assert client.post(f"{LIST}{one.pk}/move/finish/", {"comment": "<b>ok</b>"}).status_code == 302
    assert client.post(f"{LIST}{one.pk}/move/finish/").status_code == 409
    page = client.get(f"{LIST}{one.pk}/change/").content.decode()
    assert "&lt;b&gt;ok" in page


def test_an_edit_leaves_a_step_and_cannot_set_the_state(client, anna):
    one, other = action(anna), make.communications_manager(first_name="Paolo", last_name="Neri")
    client.force_login(anna)
    day = timezone.localdate() + timedelta(days=3)
    data = {"title": "Say it at once", "why": "", "owner": other.pk, "due_on": day.isoformat(), "state": "done"}
    assert client.post(f"{LIST}{one.pk}/change/", data).status_code == 302
    one.refresh_from_db()
    assert (one.title, one.owner, one.due_on, one.state) == ("Say it at once", other, day, "open")
    step = one.steps.last()
    assert step.verb == "edit"
    assert "Say it sooner → Say it at once" in step.comment
    assert "Paolo Neri" in step.comment


def test_a_date_that_is_over_is_refused_and_an_old_one_may_stay(client, anna):
    client.force_login(anna)
    past = (timezone.localdate() - timedelta(days=1)).isoformat()
    data = {"title": "x", "why": "", "owner": anna.pk, "due_on": past}
    assert "is over: choose a day from today on." in client.post(f"{LIST}add/", data).content.decode()
    one = action(anna, due_on=past)
    assert client.post(f"{LIST}{one.pk}/change/", data).status_code == 302


# ── Lists ──


def test_mine_and_overdue(client, anna):
    past = timezone.localdate() - timedelta(days=1)
    late, done = action(anna, due_on=past), action(anna, due_on=past)
    done.finish(anna)
    theirs = action(make.communications_manager(), due_on=past)
    client.force_login(anna)

    def shown(query: str) -> set[int]:
        return {one.pk for one in client.get(LIST + query).context["cl"].result_list}

    assert shown("") == {late.pk, done.pk, theirs.pk}
    assert shown("?whose=mine") == {late.pk, done.pk}
    assert shown("?when=overdue") == {late.pk, theirs.pk}
    assert shown("?whose=mine&when=overdue") == {late.pk}
    dashboard = client.get("/admin/").content.decode()
    assert f"{LIST}{late.pk}/change/" in dashboard
    assert f"{LIST}{theirs.pk}/change/" not in dashboard


def test_those_of_incidents_that_one_does_not_see_are_hidden(client, answer, anna):
    made = improving.from_answer(answer, anna)
    foreign = make.user(roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.operate_component", foreign, make.component())
    client.force_login(foreign)
    assert not client.get(LIST).context["cl"].result_list
    assert client.get(f"{LIST}{made.pk}/change/").status_code == 302
    assert client.post(f"{LIST}{made.pk}/move/finish/").status_code == 404
    client.force_login(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    assert client.get(LIST).status_code == 403


def test_the_list_asks_little(client, anna, django_assert_max_num_queries):
    for _n in range(12):
        incident = make.incident(make.incident_manager(), make.component())
        improving.from_incident(incident, make.incident_manager())
    client.force_login(anna)
    with django_assert_max_num_queries(16):
        assert client.get(LIST).status_code == 200
    with django_assert_max_num_queries(26):
        assert client.get(f"{LIST}{ImprovementAction.objects.first().pk}/change/").status_code == 200
