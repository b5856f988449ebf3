"""What is decided before the event, and who is given what."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from incidents import library, roles
from incidents.models import CommunicationPlan, Component, MessageTemplate, Scenario
from incidents.rendering import VARIABLES, sample_values
from tests import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def client():
    client = Client()
    client.force_login(make.communications_manager())
    return client


def url(model: str, name: str, *args) -> str:
    return reverse(f"admin:incidents_{model}_{name}", args=args)


def plan_data(**more):
    return {
        "name": "Payments",
        "severities": ["sev1", "sev2"],
        "locales": ["en", "it"],
        "default_locale": "it",
        "first_update_minutes": 10,
        "update_minutes": 30,
        "survey_delay_minutes": 0,
        "roles-TOTAL_FORMS": 0,
        "roles-INITIAL_FORMS": 0,
        "stages-TOTAL_FORMS": 0,
        "stages-INITIAL_FORMS": 0,
        "approvals-TOTAL_FORMS": 0,
        "approvals-INITIAL_FORMS": 0,
        **more,
    }


@pytest.mark.parametrize("there", [0, 1])
def test_who_is_named_twice_for_a_role_is_said_by_name(client, there):
    marta = make.incident_manager(first_name="Marta", last_name="Rinaldi")
    rows = {"roles-TOTAL_FORMS": 2, "roles-INITIAL_FORMS": there}
    for n in range(2):
        rows |= {f"roles-{n}-role": "incident_manager", f"roles-{n}-user": marta.pk, f"roles-{n}-order": n}
    where = url("communicationplan", "add")
    if there:
        plan = make.plan(make.channel(), people=[("incident_manager", marta)])
        rows["roles-0-id"] = plan.roles.get().pk
        where = url("communicationplan", "change", plan.pk)
    page = client.post(where, plan_data(channels=[make.channel().pk], **rows))
    assert page.status_code == 200
    assert "Marta Rinaldi is named twice as Major incident manager" in page.text
    assert "already exists" not in page.text
    rows["roles-0-DELETE" if there else "roles-1-DELETE"] = "on"
    assert client.post(where, plan_data(channels=[make.channel().pk], **rows)).status_code == 302
    assert CommunicationPlan.objects.get().roles.get().user == marta


@pytest.mark.parametrize(("language", "said"), [("en", "staff and active"), ("it", "staff ed è attivo")])
def test_the_plan_says_who_can_be_chosen(client, language, said):
    assert said in client.get(url("communicationplan", "add"), headers={"accept-language": language}).text


def test_templates_stand_in_the_order_of_stages(client):
    make.scenario()
    stages = list(dict.fromkeys(one.stage for one in listed(client)))
    assert stages == ["investigating", "identified", "monitoring", "resolved"]
    stages = list(dict.fromkeys(one.stage for one in listed(client, o="-2")))
    assert stages == ["resolved", "monitoring", "identified", "investigating"]


def listed(client, **query):
    return client.get(url("messagetemplate", "changelist"), query).context["cl"].result_list


def test_ready_made_templates_bring_in_what_is_missing_and_no_more(client):
    entries = library.entries()
    for entry in entries:
        library.load(entry)
    lost, own = MessageTemplate.objects.order_by("pk")[:2]
    gone = (lost.scenario, lost.stage, lost.locale)
    lost.delete()
    own.subject = "Our own words"
    own.save()
    Scenario.objects.get(slug=entries[-1].slug).delete()
    page = client.get(url("messagetemplate", "ready"))
    assert "In words of your own" in page.text
    assert client.get(url("messagetemplate", "ready")).context["some"]
    client.post(url("messagetemplate", "ready"))
    assert MessageTemplate.objects.count() == sum(len(entry.words) for entry in entries)
    assert MessageTemplate.objects.filter(scenario=gone[0], stage=gone[1], locale=gone[2]).exists()
    own.refresh_from_db()
    assert own.subject == "Our own words"
    again = client.get(url("messagetemplate", "ready"), headers={"accept-language": "it"})
    assert "Modelli pronti" in again.text
    assert not again.context["some"]


def test_the_page_of_ready_made_templates_takes_few_queries(client, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        client.get(url("messagetemplate", "ready"))
    assert url("messagetemplate", "ready_button") in client.get(url("messagetemplate", "changelist")).text


def test_who_may_not_add_templates_has_no_ready_made_ones():
    reader = make.client(make.incident_manager())
    for answer in (reader.get(url("messagetemplate", "ready")), reader.post(url("messagetemplate", "ready"))):
        assert answer.status_code == 403
    assert not MessageTemplate.objects.exists()


def test_a_plan_is_made_with_boxes(client):
    channel, group, marta = make.channel(), make.component().group, make.incident_manager()
    roles_rows = {
        "roles-TOTAL_FORMS": 1,
        "roles-0-role": "incident_manager",
        "roles-0-user": marta.pk,
        "roles-0-order": 0,
    }
    data = plan_data(channels=[channel.pk], component_groups=[group.pk], **roles_rows)
    assert client.post(url("communicationplan", "add"), data).status_code == 302
    plan = CommunicationPlan.objects.get()
    assert plan.locales == ["it", "en"]  # the default comes first
    assert plan.severities == ["sev1", "sev2"]
    assert list(plan.channels.all()) == [channel]
    assert plan.roles.get().user == marta
    page = client.get(url("communicationplan", "change", plan.pk)).content.decode()
    assert 'value="sev1"' in page
    assert '["sev1"' not in page


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"locales": []}, "locales"),
        ({"locales": ["en"], "default_locale": "it"}, "default_locale"),
        ({"severities": ["sev9"]}, "severities"),
        ({"update_minutes": 0}, "update_minutes"),
        ({"first_update_minutes": -1}, "first_update_minutes"),
        ({"name": ""}, "name"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(client, change, field):
    response = client.post(url("communicationplan", "add"), plan_data(**change))
    assert field in response.context["adminform"].form.errors
    assert not CommunicationPlan.objects.exists()


def test_who_may_only_read_a_plan_reads_sentences():
    plan = make.plan(make.channel(name="Customer email"), severities=["sev1"])
    client = Client()
    client.force_login(make.incident_manager())
    page = client.get(url("communicationplan", "change", plan.pk)).content.decode()
    for words in (
        "all components; SEV 1",
        "first within 15 min, then every 30 min",
        "English, Italian",
        "Customer email",
    ):
        assert words in page
    assert client.post(url("communicationplan", "change", plan.pk), plan_data()).status_code == 403


def test_the_list_says_which_roles_nobody_holds(client):
    make.plan(people=[("incident_manager", make.incident_manager())])
    page = client.get(url("communicationplan", "changelist")).content.decode()
    assert "nobody: Communications manager, Support lead" in page


def template_data(scenario: Scenario, **words: str):
    return {"scenario": scenario.pk, "stage": "investigating", "locale": "en", "subject": "Hello", **words}


def test_an_unknown_placeholder_is_refused_with_a_suggestion(client):
    scenario = Scenario.objects.create(slug="x", name="X")
    data = template_data(scenario, issue="One\n{{ componets }} are slow")
    response = client.post(url("messagetemplate", "add"), data)
    [error] = response.context["adminform"].form.errors["issue"]
    assert "Line 2" in error
    assert "did you mean {{ components }}?" in error
    assert not MessageTemplate.objects.exists()


def test_a_template_shows_its_placeholders_and_reads_on_sample_values(client):
    template = make.scenario().templates.get(stage="investigating", locale="en")
    page = client.get(url("messagetemplate", "change", template.pk)).content.decode()
    for name in VARIABLES:
        assert f"{{{{ {name} }}}}" in page
    assert "Payments with Checkout and Payments API fail since 14:05 CET." in page


def test_every_placeholder_has_a_sample():
    assert set(sample_values("en")) == set(VARIABLES)


def test_a_template_reads_on_sample_values_of_its_own_language_whoever_reads_it(client):
    template = make.scenario().templates.get(stage="investigating", locale="it")
    page = client.get(url("messagetemplate", "change", template.pk)).content.decode()  # in English
    assert "Checkout e Payments API" in page
    assert "Checkout and Payments API fail" not in page


def test_markup_in_a_template_is_shown_as_text(client):
    template = make.scenario().templates.first()
    MessageTemplate.objects.filter(pk=template.pk).update(issue="<script>x()</script>", sms="<i>sms</i>")
    page = client.get(url("messagetemplate", "change", template.pk)).content.decode()
    assert "<script>x()" not in page
    assert "<i>sms</i>" not in page


def test_history_is_kept_and_never_reverted(client):
    template = make.scenario().templates.get(stage="investigating", locale="en")
    client.post(url("messagetemplate", "change", template.pk), template_data(template.scenario, subject="Second"))
    assert client.get(url("messagetemplate", "history", template.pk)).status_code == 200
    first = template.history.earliest()
    assert first.subject != "Second"
    old = reverse("admin:incidents_messagetemplate_simple_history", args=[template.pk, first.history_id])
    assert "Revert" not in client.get(old).content.decode()
    assert client.post(old, template_data(template.scenario, subject=first.subject)).status_code == 403
    template.refresh_from_db()
    assert template.subject == "Second"


@pytest.mark.parametrize("model", ["communicationplan", "messagetemplate", "scenario"])
def test_support_leads_read_the_plan_and_cannot_change_it(model):
    make.plan()
    make.scenario()
    client = Client()
    client.force_login(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS))
    assert client.get(url(model, "changelist")).status_code == 200
    assert client.get(url(model, "add")).status_code == 403


@pytest.mark.parametrize("model", ["communicationplan", "messagetemplate", "scenario", "component", "componentgroup"])
def test_every_page_opens_for_an_administrator(model, admin_client):
    make.plan(make.channel())
    make.scenario()
    make.component()
    from django.apps import apps

    one = apps.get_model("incidents", model).objects.first()
    for path in (
        url(model, "changelist"),
        url(model, "add"),
        url(model, "change", one.pk),
        url(model, "history", one.pk),
    ):
        assert admin_client.get(path).status_code == 200, path


def test_components_are_given_from_the_persons_page_too(admin_client):
    component, person = make.component(), make.user(roles.SUPPORT_LEADS)
    page = admin_client.get(reverse("admin:auth_user_change", args=[person.pk]))
    assert "Components this person may work on" in page.content.decode()
    from django.contrib.auth.models import Permission

    prefix = "componentuserobjectpermission_set"
    data = {
        "username": person.username,
        "is_active": "on",
        "is_staff": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "10:00",
        f"{prefix}-TOTAL_FORMS": 1,
        f"{prefix}-INITIAL_FORMS": 0,
        f"{prefix}-0-content_object": component.pk,
        f"{prefix}-0-permission": Permission.objects.get(codename="operate_component").pk,
        "contact-TOTAL_FORMS": 0,
        "contact-INITIAL_FORMS": 0,
    }
    response = admin_client.post(reverse("admin:auth_user_change", args=[person.pk]), data)
    assert response.status_code == 302, response.context["errors"]
    person = User.objects.get(pk=person.pk)
    assert list(Component.objects.for_user(person, "incidents.operate_component")) == [component]


def test_lists_take_the_same_queries_for_one_and_for_many(admin_client, django_assert_max_num_queries):
    models = ("communicationplan", "messagetemplate", "scenario", "component")
    counts = []
    for n in range(2):
        for i in range(3):
            make.plan(make.channel(), people=[("incident_manager", make.incident_manager())])
            make.scenario(f"s{n}{i}")
            make.component(group=f"Group {n}{i}")
        counts.append({})
        for model in models:
            admin_client.get(url(model, "changelist"))
            with django_assert_max_num_queries(30) as captured:
                admin_client.get(url(model, "changelist"))
            counts[-1][model] = len(captured)
    assert counts[0] == counts[1]
