"""A plan is edited; what runs already goes on as it began."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse

from channels.models import Dispatch
from incidents import declaring
from incidents.models import AudienceSegment, CommunicationPlan, Incident, PlanRole, PlanStage, PlanVersion, Stage
from tests import make
from tests.incidents.test_plan_admin import plan_data

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager():
    return make.communications_manager(first_name="Anna", last_name="Neri")


@pytest.fixture
def client(manager):
    return make.client(manager)


def change_url(plan: CommunicationPlan) -> str:
    return reverse("admin:incidents_communicationplan_change", args=[plan.pk])


def as_form(plan: CommunicationPlan, **more):
    """What the page of a plan without rows posts, with other values."""
    data = plan_data(
        name=plan.name,
        severities=plan.severities,
        locales=plan.locales,
        default_locale=plan.locales[0],
        channels=[one.pk for one in plan.channels.all()],
        first_update_minutes=plan.first_update_minutes,
        update_minutes=plan.update_minutes,
        survey_delay_minutes=plan.survey_delay_minutes,
    )
    return data | more


def a_stage(stage: str, number: int = 0, **more):
    return {f"stages-{number}-stage": stage} | {f"stages-{number}-{name}": value for name, value in more.items()}


# ── What runs keeps its own ─────────────────────────────────────────────────


def test_a_running_incident_keeps_the_promises_it_began_with(client):
    plan = make.plan(first_update_minutes=15, update_minutes=30)
    running = make.incident()
    client.post(change_url(plan), as_form(plan, first_update_minutes=5, update_minutes=10))
    running, later = Incident.objects.get(pk=running.pk), make.incident()
    assert running.plan_version.number == 1
    assert running.update_due_at == running.declared_at + timedelta(minutes=15)
    assert later.plan_version.number == 2
    assert later.update_due_at == later.declared_at + timedelta(minutes=5)


def test_the_next_draft_of_a_running_incident_is_by_its_own_version(client):
    email, sms = make.channel(name="Email"), make.channel("outbox_sms", name="SMS")
    plan = make.plan(email, locales=("en",))
    running = make.incident()
    make.published(running.updates.get())
    client.post(change_url(plan), as_form(plan, channels=[sms.pk], locales=["it"], default_locale="it"))
    draft = declaring.start_draft(running, make.incident_manager(), Stage.IDENTIFIED)
    assert [one.name for one in draft.channels.all()] == ["Email"]
    assert [one.locale for one in draft.renditions.all()] == ["en"]
    assert draft.default_locale == "en"
    assert [one.name for one in make.incident().updates.get().channels.all()] == ["SMS"]


def test_the_survey_waits_as_long_as_the_plan_said_at_the_beginning(client):
    make.recipients(3)
    plan = make.plan(make.channel(), survey_delay_minutes=0)
    running = make.incident()
    make.published(running.updates.get())
    client.post(change_url(plan), as_form(plan, survey_delay_minutes=600))
    last = make.published(declaring.start_draft(running, make.incident_manager(), Stage.RESOLVED))
    waits = [one.not_before - last.published_at for one in Dispatch.objects.filter(purpose="survey")]
    assert max(waits) < timedelta(minutes=5)


def test_what_was_changed_outside_of_the_admin_is_a_version_too():
    plan = make.plan(update_minutes=30)
    first = make.incident().plan_version
    CommunicationPlan.objects.update(update_minutes=20)
    second = make.incident().plan_version
    assert [first.number, second.number] == [1, 2]
    assert [first.update_minutes, second.update_minutes] == [30, 20]
    assert make.incident().plan_version == second
    assert plan.versions.count() == 2


def test_the_database_keeps_the_version_by_which_an_incident_goes():
    plan, incident = make.plan(), make.incident()
    older = incident.plan_version
    CommunicationPlan.objects.update(update_minutes=5)
    unused = plan.current()
    with pytest.raises(DatabaseError, match="stays"), transaction.atomic():
        PlanVersion.objects.filter(pk=older.pk)._raw_delete(using="default")
    unused.delete()
    assert plan.versions.get() == older


def test_the_database_refuses_to_rewrite_a_version_or_to_give_an_incident_another():
    plan = make.plan()
    incident = make.incident()
    version = incident.plan_version
    content = version.content | {"update_minutes": 999}
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        PlanVersion.objects.filter(pk=version.pk).update(content=content)
    CommunicationPlan.objects.update(update_minutes=5)
    with pytest.raises(DatabaseError, match="declared under"), transaction.atomic():
        Incident.objects.filter(pk=incident.pk).update(plan_version=plan.current())
    with pytest.raises(DatabaseError), transaction.atomic():
        PlanVersion.objects.create(plan=plan, number=version.number, content=content)


# ── Roles and deputies ──────────────────────────────────────────────────────


def test_a_deputy_stands_in_for_whoever_has_left():
    first, deputy = make.user(), make.user()
    plan = make.plan()
    for order, who in enumerate((first, deputy)):
        PlanRole.objects.create(plan=plan, role="communications_manager", user=who, order=order)
    version = plan.current()
    assert version.people("communications_manager") == [first, deputy]
    first.is_active = False
    first.save()
    assert version.people("communications_manager") == [deputy]
    assert make.incident().roles.get(role="communications_manager").user == deputy
    assert version.people() == [deputy]


# ── What is different at a stage ────────────────────────────────────────────


def test_a_stage_has_channels_segments_and_languages_of_its_own():
    email, sms = make.channel(name="Email"), make.channel("outbox_sms", name="SMS")
    gold = AudienceSegment.objects.create(
        name="Gold", conditions=[{"attribute": "plan", "is": "one_of", "values": ["gold"]}]
    )
    plan = make.plan(email, sms, locales=("en", "it"))
    stage = PlanStage.objects.create(plan=plan, stage=Stage.MONITORING, locales=["it"])
    stage.channels.set([email])
    stage.segments.set([gold])
    incident, by = make.incident(), make.incident_manager()
    make.published(incident.updates.get())
    draft = declaring.start_draft(incident, by, Stage.MONITORING)
    assert [one.name for one in draft.channels.all()] == ["Email"]
    assert [one.locale for one in draft.renditions.all()] == ["it"]
    assert list(draft.segments.all()) == [gold]
    draft.withdraw(by)
    other = declaring.start_draft(incident, by, Stage.IDENTIFIED)
    assert [one.name for one in other.channels.order_by("name")] == ["Email", "SMS"]
    assert {one.locale for one in other.renditions.all()} == {"en", "it"}
    assert not other.segments.exists()


@pytest.mark.parametrize("chosen", [False, True])
def test_a_draft_that_takes_the_words_of_another_stage_goes_its_ways_too(chosen):
    email, sms = make.channel(name="Email"), make.channel("outbox_sms", name="SMS")
    gold = AudienceSegment.objects.create(
        name="Gold", conditions=[{"attribute": "plan", "is": "one_of", "values": ["gold"]}]
    )
    plan = make.plan(email, sms)
    stage = PlanStage.objects.create(plan=plan, stage=Stage.RESOLVED)
    stage.channels.set([email])
    stage.segments.set([gold])
    draft = make.incident().updates.get()
    ticked = [sms.pk] if chosen else [email.pk, sms.pk]
    data = {
        "do": "template_confirmed",
        "version": draft.version,
        "stage": "resolved",
        "channels": ticked,
        "notify": "on",
    }
    data |= {f"state-{pk}": "operational" for pk in draft.component_states}
    page = reverse("admin:incidents_incidentupdate_compose", args=[draft.pk])
    assert make.client(draft.author).post(page, data).status_code == 302
    draft.refresh_from_db()
    assert draft.stage == Stage.RESOLVED
    assert [one.name for one in draft.channels.all()] == (["SMS"] if chosen else ["Email"])
    assert list(draft.segments.all()) == [gold]


def test_a_segment_that_an_open_incident_goes_by_cannot_be_deleted(client):
    gold = AudienceSegment.objects.create(
        name="Gold", conditions=[{"attribute": "plan", "is": "one_of", "values": ["gold"]}]
    )
    plan = make.plan()
    plan.segments.add(gold)
    incident = make.incident(title="Cards fail")
    incident.updates.get().segments.clear()
    plan.segments.clear()
    url = reverse("admin:incidents_audiencesegment_change", args=[gold.pk])
    assert "In use, so that it cannot be deleted: Cards fail." in client.get(url).content.decode()
    assert client.post(reverse("admin:incidents_audiencesegment_delete", args=[gold.pk])).status_code == 403


# ── In the admin ────────────────────────────────────────────────────────────


def test_a_stage_is_added_on_the_page_of_the_plan(client, django_assert_max_num_queries):
    email, sms = make.channel(name="Email"), make.channel("outbox_sms", name="SMS")
    plan = make.plan(email, sms)
    row = {"stages-TOTAL_FORMS": 1, **a_stage("resolved", channels=[email.pk], locales=["it"])}
    assert client.post(change_url(plan), as_form(plan, **row)).status_code == 302
    version = plan.versions.first()
    assert version.content["stages"] == {"resolved": {"channels": [email.pk], "segments": [], "locales": ["it"]}}
    with django_assert_max_num_queries(48):
        page = client.get(change_url(plan)).content.decode()
    assert "What is different at a stage" in page


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([a_stage("resolved")], "Say what is different at this stage, or remove the row."),
        ([a_stage("", locales=["it"])], "This field is required."),
        ([a_stage("nonsense", locales=["it"])], "nonsense is not one of the available choices"),
        ([a_stage("resolved", n, locales=["it"]) for n in (0, 1)], "Please correct the duplicate data"),
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(client, rows, said):
    plan = make.plan()
    data = as_form(plan, **{"stages-TOTAL_FORMS": len(rows)}, **{k: v for row in rows for k, v in row.items()})
    page = client.post(change_url(plan), data)
    assert page.status_code == 200
    assert said in page.content.decode()
    assert not PlanStage.objects.exists()
    assert not plan.versions.exists()


def test_the_page_of_a_plan_tells_its_versions_in_words(client, manager):
    email, sms = make.channel(name="Email"), make.channel("outbox_sms", name="SMS")
    plan = make.plan(email, update_minutes=30)
    make.incident(title="Cards fail")
    row = {"roles-TOTAL_FORMS": 1, "roles-0-role": "support_lead", "roles-0-user": manager.pk, "roles-0-order": 0}
    stage = {"stages-TOTAL_FORMS": 1, **a_stage("resolved", locales=["it"])}
    data = as_form(plan, channels=[sms.pk], update_minutes=20, severities=["sev1"], **row, **stage)
    saved = client.post(change_url(plan), data, follow=True).content.decode()
    assert "This is version 2 now. 1 open incident goes on with the version that it began with." in saved
    saved = client.get(change_url(plan)).content.decode()
    for words in (
        "then every (minutes): 30 → 20",
        "severities: + SEV 1 · critical",
        "channels: + SMS, − Email",
        "Resolved, languages: + Italian",
        "Support lead: + Anna Neri",
        "Cards fail",
        "first version",
    ):
        assert words in saved


def test_saving_without_a_change_makes_no_version(client):
    plan = make.plan()
    for _n in range(2):
        assert client.post(change_url(plan), as_form(plan)).status_code == 302
    assert plan.versions.count() == 1


def test_versions_name_incidents_only_to_those_who_may_see_them():
    plan = make.plan()
    make.incident(title="A secret incident")
    reader = make.user("Communications managers")  # of no component
    page = make.client(reader).get(change_url(plan)).content.decode()
    assert "Versions" in page
    assert "A secret incident" not in page


def test_a_version_with_what_is_gone_since_is_still_told(client):
    channel = make.channel(name="Pager")
    plan = make.plan(channel)
    plan.current()
    channel.delete()
    client.post(change_url(plan), as_form(plan, update_minutes=45))
    page = client.get(change_url(plan)).content.decode()
    assert "channels: − one that is deleted" in page
