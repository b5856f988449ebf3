"""The coverage check: every hole that is planted is found, and where there is none it says so."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone, translation
from guardian.shortcuts import assign_perm

from channels.models import Channel, Recipient, Suppression
from channels.providers.base import FORMS
from incidents import coverage, library, publishing, rendering, roles
from incidents.coverage import Coverage, Finding, Kind
from incidents.coverage.readers import Audience
from incidents.models import (
    ApprovalRule,
    AudienceSegment,
    ChatAccount,
    ChatWorkspace,
    CommunicationPlan,
    Component,
    ComponentGroup,
    MessageTemplate,
    PlanRole,
    PlanStage,
    Scenario,
    StaffContact,
    Subscription,
    Training,
)
from tests import hostile, make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
SLUG, UPKEEP = "payments-failing", "planned-maintenance"
PAGE = "admin:incidents_communicationplan_coverage"


@pytest.fixture(autouse=True)
def _demo(settings) -> None:
    """Outside a demo, the local outbox that these tests send by is a hole itself."""
    settings.PORTAL_DEMO = True


@pytest.fixture(scope="module")
def world(shared_world) -> None:
    """One plan without a hole: words, channels, readers, and two trained people with second factors for each role."""
    for entry in library.entries():
        if entry.slug in (SLUG, UPKEEP):
            library.load(entry)
    checkout = make.component("Checkout")
    channels = [make.channel(name="Letters"), make.channel("outbox_sms", "Texts"), make.channel("outbox_post", "Posts")]
    for medium in ("email", "sms"):
        make.recipients(2, checkout, medium=medium)
    people = [
        ("incident_manager", make.incident_manager(username="marta", first_name="Marta")),
        ("incident_manager", make.incident_manager(username="luca")),
        ("communications_manager", make.communications_manager(username="anna", first_name="Anna")),
        ("communications_manager", make.communications_manager(username="paolo")),
        ("support_lead", make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS, username="giulia")),
        ("support_lead", make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS, username="tomas")),
    ]
    make.plan(*channels, people=people)
    for role, who in people:
        make.trained(who, role)
        make.factor(who)


def plan() -> CommunicationPlan:
    return CommunicationPlan.objects.order_by("pk").first()  # type: ignore[return-value]


def person(name: str) -> User:
    return User.objects.get(username=name)


def channel(name: str) -> Channel:
    return Channel.objects.get(name=name)


def template(stage: str = "investigating", locale: str = "it", slug: str = SLUG) -> MessageTemplate:
    return MessageTemplate.objects.get(scenario__slug=slug, stage=stage, locale=locale)


def change(one: Any, **values: Any) -> None:
    """Past save(), which would set the time of the last change."""
    type(one)._default_manager.filter(pk=one.pk).update(**values)


def ago(days: int) -> Any:
    return timezone.now() - timedelta(days=days)


def sentences(found: Coverage) -> str:
    return "\n".join(f"{one.weight}: {one.sentence}" for one in found.findings)


def only(kind: Kind) -> Finding:
    """The one finding there is, of this kind."""
    found = coverage.check()
    assert [one.kind for one in found.findings] == [kind], sentences(found)
    return found.findings[0]


def test_a_plan_without_holes_is_ready_and_says_so():
    found = coverage.check()
    assert sentences(found) == ""
    # Four stages of the incident and three of the maintenance, three channels, two languages.
    assert (found.score, found.ready, found.promised) == (100, 42, 42)
    assert found.headline(Component.objects.all()).startswith("No holes")
    assert "42 of the 42 messages" in found.in_words


def test_every_form_of_a_channel_says_which_words_it_needs():
    assert set(rendering.NEEDED) == set(FORMS)


# ── Words ───────────────────────────────────────────────────────────────────


def test_a_missing_template_is_a_hole_for_every_channel():
    scenario = template().scenario
    template().delete()
    hole = only(Kind.TEMPLATE)
    assert hole.is_hole
    assert hole.sentence == f"{scenario.name}, Investigating: there is no template in Italian."
    assert (hole.scenario, hole.stage, hole.locale) == (scenario.name, "investigating", "it")
    found = coverage.check()
    assert (found.ready, found.promised, found.score) == (39, 42, 92)
    bad = [cell for cell in found.plans[0].cells if cell.state == "hole"]
    assert {(c.channel.name, c.locale) for c in bad} == {("Letters", "it"), ("Texts", "it"), ("Posts", "it")}
    address = reverse("admin:incidents_messagetemplate_add")
    assert hole.mends[0].address == f"{address}?scenario={scenario.pk}&stage=investigating&locale=it"
    assert found.headline(Component.objects.all()) == (
        f"1 hole. If Checkout should fail tonight ({scenario.name}, Investigating), "
        "customers who read Italian get nothing until somebody has written it."
    )


def test_the_form_to_write_it_begins_with_scenario_stage_and_language():
    template().delete()
    form = make.client(person("anna")).get(only(Kind.TEMPLATE).mends[0].address).context["adminform"].form
    assert [form.initial[name] for name in ("stage", "locale")] == ["investigating", "it"]
    assert form.initial["scenario"] == str(Scenario.objects.get(slug=SLUG).pk)


@pytest.mark.parametrize(
    ("field", "channels"),
    [("sms", {"Texts"}), ("post", {"Posts"}), ("impact", {"Letters"}), ("subject", {"Letters"})],
)
def test_words_that_a_channel_needs_are_missing_for_it(field, channels):
    MessageTemplate.objects.filter(stage="investigating").update(**{field: ""})
    found = coverage.check()
    assert {one.kind for one in found.findings} == {Kind.WORDS}
    assert all(one.is_hole for one in found.findings)
    assert {
        c.channel.name for c in found.plans[0].cells if any("is empty" in t.sentence for t in c.troubles)
    } >= channels
    assert {c.stage for c in found.plans[0].cells if c.troubles} == {"investigating"}


def test_a_field_that_is_empty_in_one_language_is_told_once():
    change(template(), issue="")
    assert "“What is happening” is empty." in only(Kind.WORDS).sentence


def test_who_was_affected_may_be_left_out_once_it_is_over():
    MessageTemplate.objects.filter(scenario__slug=SLUG, stage="resolved").update(impact="")
    assert sentences(coverage.check()) == ""


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("issue", "{{ componets }} fail.", "did you mean {{ components }}?"),
        ("issue", "{{ resolved }}: it is over.", "has no value yet"),  # nothing is over while it is looked into
        ("outlook", "Read [[survey_url]].", "would be sent as it stands"),
        ("sms", "x" * 480, "4 segments (limit 3)"),
    ],
)
def test_words_that_would_be_refused_at_approval_are_a_hole(field, text, said):
    change(template(locale="en"), **{field: text})
    hole = only(Kind.WORDS)
    assert hole.is_hole
    assert said in hole.sentence


def test_words_that_customers_stumble_over_are_to_be_looked_at():
    change(template(locale="en"), action="Flush the cache.")
    found = only(Kind.WORDS)
    assert not found.is_hole
    assert "“What you can do meanwhile”" in found.sentence
    assert {c.channel.name for c in coverage.check().plans[0].cells if c.state == "warning"} == {"Letters"}


def test_a_template_that_nobody_read_for_long_is_to_be_looked_at_until_it_is_approved(settings):
    change(template(), updated_at=ago(366))
    found = only(Kind.STALE)
    assert not found.is_hole
    assert coverage.check().score == 92
    change(template(), approved_at=ago(1))
    assert coverage.check().findings == []
    settings.TEMPLATE_STALE_DAYS = 0
    assert len(coverage.check().findings) == 14


def test_without_a_scenario_nothing_is_prepared():
    Scenario.objects.all().delete()
    hole = only(Kind.TEMPLATE)
    assert "There is no scenario" in hole.sentence
    assert coverage.check().score == 0


# ── Channels ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"enabled": False}, "Texts is switched off."),
        ({"enabled": False, "verified_at": None}, "no test of it has succeeded"),
        ({"paused_at": timezone.now()}, "Texts is paused."),
        ({"failures": 3}, "Texts cannot be reached."),
        ({"verified_at": timezone.now() - timedelta(days=91)}, "nobody knows whether it still works"),
        ({"provider": "gone"}, "its provider is not installed"),
    ],
)
def test_a_channel_that_would_not_send_is_a_hole(state, said):
    change(channel("Texts"), **state)
    hole = only(Kind.CHANNEL)
    assert hole.is_hole
    assert said in hole.sentence
    found = coverage.check()
    assert {c.channel.name for c in found.plans[0].cells if c.troubles} == {"Texts"}
    assert found.score == 66
    assert "by Texts" in found.headline(Component.objects.all())


def test_outside_a_demo_a_channel_that_reaches_nobody_is_a_hole(settings):
    settings.PORTAL_DEMO = False
    assert any("reaches nobody" in one.sentence for one in coverage.check().holes)
    settings.PORTAL_DEMO = True
    assert not any("reaches nobody" in one.sentence for one in coverage.check().findings)


def test_how_long_a_test_speaks_for_a_channel_can_be_set(settings):
    change(channel("Texts"), verified_at=ago(91))
    settings.CHANNEL_VERIFIED_DAYS = 100
    assert coverage.check().findings == []


def test_a_paused_channel_whose_fallback_is_well_is_no_hole():
    other = make.channel("outbox_sms", "Other texts")
    change(channel("Texts"), paused_at=timezone.now(), fallback=other)
    assert not only(Kind.CHANNEL).is_hole
    change(other, paused_at=timezone.now())
    assert only(Kind.CHANNEL).is_hole


def test_a_channel_of_no_plan_is_nobodys_hole():
    make.channel("outbox_sms", "Spare", enabled=False, verified_at=None)
    assert coverage.check().findings == []


def test_a_plan_without_channels_has_a_hole():
    plan().channels.clear()
    hole = only(Kind.NO_CHANNEL)
    assert "only the status page would change" in hole.sentence
    assert coverage.check().score == 0


def test_a_stage_with_the_status_page_alone_has_a_hole():
    page = make.channel("statuspage", "Files", config={"directory": "/tmp/x"})
    stage = PlanStage.objects.create(plan=plan(), stage="identified")
    stage.channels.set([page])
    assert "no channel for Identified" in only(Kind.NO_CHANNEL).sentence


def test_a_channel_that_was_deleted_is_told_until_the_plan_is_written_anew():
    spare = make.channel("outbox_sms", "Spare")
    plan().channels.add(spare)
    plan().current()
    spare.delete()
    assert "version 1 that was deleted since" in only(Kind.CHANNEL).sentence
    plan().current()
    assert coverage.check().findings == []


def test_a_channel_that_speaks_one_language_is_asked_for_no_other():
    change(channel("Posts"), locales=["en"])
    assert coverage.check().promised == 35


def test_a_stage_has_its_own_channels_and_languages():
    stage = PlanStage.objects.create(plan=plan(), stage="monitoring", locales=["en"])
    stage.channels.set([channel("Letters")])
    cells = [c for c in coverage.check().plans[0].cells if c.stage == "monitoring"]
    assert [(c.channel.name, c.locale) for c in cells] == [("Letters", "en")]


def test_a_plan_for_grave_incidents_promises_nothing_of_maintenance():
    change(plan(), severities=["sev1"])
    found = coverage.check([plan()])
    assert found.promised == 24
    assert {cell.scenario.slug for cell in found.plans[0].cells} == {SLUG}


# ── What no plan is for ─────────────────────────────────────────────────────


def test_without_any_plan_there_is_one_hole():
    CommunicationPlan.objects.all().delete()
    assert "There is no communication plan" in only(Kind.NO_PLAN).sentence
    assert coverage.check().headline(Component.objects.all()) == (
        "1 hole. If Checkout should fail tonight, no plan says who tells customers."
    )


def test_a_component_group_without_a_plan_is_a_hole():
    plan().component_groups.add(Component.objects.get(name="Checkout").group)
    make.component("Search", "Shop")
    assert only(Kind.NO_PLAN).sentence == "No plan is for Shop."


def test_components_without_a_group_are_told_without_their_names():
    plan().component_groups.add(Component.objects.get(name="Checkout").group)
    Component.objects.create(name="Zebra")
    assert only(Kind.NO_PLAN).sentence == "No plan is for components without a group."


def test_severities_without_a_plan_are_a_hole():
    change(plan(), severities=["sev1", "sev2", "sev4"])
    assert only(Kind.NO_PLAN).sentence == "No plan is for SEV 3 · minor of Payments."


def copy(**kwargs: Any) -> CommunicationPlan:
    """Another plan as full as the first."""
    people = [(one.role, one.user) for one in plan().roles.all()]
    return make.plan(*plan().channels.all(), people=people, **kwargs)


def test_of_two_plans_for_the_same_one_is_never_used():
    other = copy()
    found = only(Kind.UNUSED)
    assert not found.is_hole
    assert found.sentence == f"{other} is never used: for all that it covers, {plan()} goes before it."


def test_the_plan_that_would_be_chosen_is_the_one_that_declaring_chooses():
    group = Component.objects.get(name="Checkout").group
    copy(severities=["sev1"])
    copy().component_groups.add(group)  # type: ignore[arg-type]
    copy(severities=["sev2", "sev3"]).component_groups.add(group)  # type: ignore[arg-type]
    make.component("Search", "Shop")
    Component.objects.create(name="Alone")
    known = coverage.check().known
    for component in Component.objects.all():
        for severity in ("sev1", "sev2", "sev3", "sev4"):
            assert known.chosen[component.group_id, severity] == CommunicationPlan.choose([component], severity)


def test_a_plan_for_a_group_without_components_is_never_used():
    copy().component_groups.add(ComponentGroup.objects.create(name="Nothing"))
    [unused] = [one for one in coverage.check().findings if one.kind == Kind.UNUSED]
    assert "there are no components in its groups" in unused.sentence


# ── People ──────────────────────────────────────────────────────────────────


def test_a_role_that_nobody_holds_is_a_hole_and_one_person_alone_is_to_be_looked_at():
    PlanRole.objects.filter(user=person("luca")).delete()
    found = only(Kind.DEPUTY)
    assert not found.is_hole
    assert "Marta alone is Major incident manager" in found.sentence
    PlanRole.objects.filter(user=person("marta")).delete()
    hole = only(Kind.ROLE)
    assert hole.is_hole
    assert "nobody is named as Major incident manager" in hole.sentence


def told_of(name: str) -> set[str]:
    return {one.sentence for one in coverage.check().findings if one.person == name}


@pytest.mark.parametrize(
    ("who", "code", "said"),
    [
        ("marta", "declare_incident", "may not declare incidents (Major incident manager)"),
        ("marta", "write_incidentupdate", "may not write updates (Major incident manager)"),
        ("anna", "approve_incidentupdate", "may not approve updates (Communications manager)"),
        ("anna", "publish_incidentupdate", "may not publish updates (Communications manager)"),
        ("giulia", "write_incidentupdate", "may not write updates (Support lead)"),
    ],
)
def test_somebody_lacks_the_permission_of_their_role(who, code, said):
    group = person(who).groups.exclude(name=roles.ALL_COMPONENTS).get()
    mine = [one for one in group.permissions.all() if one.codename != code]
    person(who).groups.set([roles_all()])
    person(who).user_permissions.set(mine)
    assert any(said in sentence for sentence in told_of(name_of(who)))
    assert any(one.kind == Kind.DEPUTY for one in coverage.check().findings)  # the other one has nobody behind them
    assert not coverage.check().holes


def roles_all() -> Group:
    return Group.objects.get(name=roles.ALL_COMPONENTS)


def name_of(who: str) -> str:
    return person(who).get_full_name() or who


@pytest.mark.parametrize("state", [{"is_active": False}, {"is_staff": False}])
def test_somebody_who_cannot_log_in_does_not_fill_a_role(state):
    change(person("anna"), **state)
    assert any("Anna cannot log in here any more" in one for one in told_of("Anna"))
    change(person("paolo"), **state)
    [role] = [one for one in coverage.check().findings if one.kind == Kind.ROLE]
    assert "nobody who is named as Communications manager can do what the role asks" in role.sentence


def test_somebody_may_not_work_on_components_of_the_plan():
    search = make.component("Search", "Shop")
    person("marta").groups.remove(roles_all())
    assert any("may not work on all incidents of Payments, Shop" in one for one in told_of("Marta"))
    assert any("Put them into the group “All components”" in one for one in told_of("Marta"))
    assign_perm("incidents.operate_component", person("marta"), Component.objects.get(name="Checkout"))
    assert any("may not work on all incidents of Shop" in one for one in told_of("Marta"))
    team = Group.objects.create(name="Team")
    person("marta").groups.add(team)
    assign_perm("incidents.operate_component", team, search)
    assert told_of("Marta") == set()


def test_somebody_who_cannot_be_told_anything_is_to_be_looked_at():
    change(person("anna"), email="")
    assert "there is neither email nor phone nor Slack" in only(Kind.PERSON).sentence
    contact = StaffContact.objects.create(user=person("anna"), phone="+447700900000")
    assert coverage.check().findings == []
    change(contact, phone="")
    change(person("anna"), email="anna@example.com")
    assert coverage.check().findings == []
    change(contact, by_email=False)
    assert only(Kind.PERSON).person == "Anna"


def connect(who: User, **state: Any) -> None:
    """Their Slack account."""
    workspace = ChatWorkspace.objects.create(name="Example", **{"enabled": True, **state})
    ChatAccount.objects.create(workspace=workspace, member="U1", user=who)


@pytest.mark.parametrize(("state", "found"), [({}, 0), ({"enabled": False}, 1)])
def test_who_is_connected_in_slack_can_be_told(state, found):
    change(person("anna"), email="")
    connect(person("anna"), **state)
    assert len(told_of("Anna")) == found
    StaffContact.objects.create(user=person("anna"), by_slack=False)
    assert len(told_of("Anna")) == 1


# ── Training and second factors ─────────────────────────────────────────────


def test_somebody_without_training_for_their_role_is_to_be_looked_at():
    Training.objects.filter(user=person("anna")).delete()
    make.trained(person("anna"), "support_lead")  # for another role
    found = only(Kind.TRAINING)
    assert not found.is_hole
    assert found.sentence == "Anna has no training for this role (Communications manager)."
    assert found.person == "Anna"
    address = reverse("admin:incidents_training_add")
    assert found.mends[0].address == f"{address}?user={person('anna').pk}&role=communications_manager"
    assert coverage.check().score == 100  # of the messages
    elena = make.client(make.user(roles.MANAGERS))
    form = elena.get(found.mends[0].address).context["adminform"].form
    assert (form.initial["user"], form.initial["role"]) == (str(person("anna").pk), "communications_manager")


@pytest.mark.parametrize(
    ("days", "said"),
    [(-1, "ended on"), (0, "ends on"), (30, "ends on"), (31, "")],
)
def test_training_that_is_over_or_ends_within_thirty_days_is_to_be_looked_at(days, said):
    Training.objects.filter(user=person("anna")).delete()
    make.trained(person("anna"), "communications_manager", timezone.localdate() - timedelta(days=300))
    last = make.trained(person("anna"), "communications_manager", timezone.localdate() + timedelta(days=days))
    if not said:
        assert coverage.check().findings == []
        return
    sentence = only(Kind.TRAINING).sentence
    assert f"Anna: the training for this role {said} " in sentence
    assert str(last.valid_until.year) in sentence


def test_somebody_without_a_second_factor_is_told_once_for_all_plans_and_roles():
    Authenticator.objects.filter(user=person("anna")).delete()
    Authenticator.objects.create(user=person("anna"), type="recovery_codes", data={})  # which are none
    copy(severities=["sev1"])
    PlanRole.objects.create(plan=plan(), role="support_lead", user=person("anna"))
    make.trained(person("anna"), "support_lead")
    found = only(Kind.SECOND_FACTOR)
    assert not found.is_hole
    assert (found.person, len(found.plans)) == ("Anna", 2)
    assert found.mends[0].address == reverse("admin:auth_user_change", args=[person("anna").pk])


def test_whose_factor_is_missing_is_led_to_their_own_page_and_nobody_else():
    Authenticator.objects.filter(user=person("anna")).delete()
    own = f'href="{reverse("admin:two_step")}">Set it up'
    assert own in page(person("anna")).content.decode()
    assert own not in page(person("paolo")).content.decode()


def test_who_cannot_log_in_needs_neither():
    Training.objects.filter(user=person("anna")).delete()
    Authenticator.objects.filter(user=person("anna")).delete()
    change(person("anna"), is_active=False)
    assert {one.kind for one in coverage.check().findings} == {Kind.PERSON, Kind.DEPUTY}


def test_where_a_factor_is_required_and_no_approver_has_one_there_is_a_hole(settings):
    approvers = ["anna", "paolo", "marta", "luca"]  # incident managers may approve too
    Authenticator.objects.filter(user__username__in=approvers).delete()
    assert coverage.check().holes == []
    settings.STAFF_MFA = "required"
    [hole] = coverage.check().holes
    assert hole.kind == Kind.APPROVAL
    assert "none of those who approve has a second factor" in hole.sentence
    assert "nobody can approve before" in coverage.check().headline(Component.objects.all())
    make.factor(person("paolo"))
    assert coverage.check().holes == []


def test_one_person_alone_in_every_role_leaves_nobody_to_approve():
    PlanRole.objects.all().delete()
    anna = person("anna")
    Training.objects.filter(user=anna).delete()
    for role in ("incident_manager", "communications_manager", "support_lead"):
        PlanRole.objects.create(plan=plan(), role=role, user=anna)
    [hole] = coverage.check().holes
    assert hole.kind == Kind.APPROVAL
    assert "Anna alone may both write and approve" in hole.sentence


def test_more_approvals_are_asked_for_than_can_be_given():
    rule = ApprovalRule.objects.create(plan=plan(), approvers=2, role="communications_manager")
    assert coverage.check().findings == []  # Marta writes, Anna and Paolo approve
    change(rule, approvers=3)
    hole = only(Kind.APPROVAL)
    assert hole.is_hole
    assert "asks for 3 approvals (Communications manager), but no more than 2 can be given" in hole.sentence
    change(rule, role="", approvers=5)  # whoever may approve, but not who writes
    assert "no more than 4 can be given" in only(Kind.APPROVAL).sentence


# ── Readers ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("enabled", [True, False])
def test_a_channel_that_nobody_reads_is_a_hole_whether_it_is_on_or_off(enabled):
    Subscription.objects.filter(recipient__medium="sms").delete()
    Channel.objects.filter(name="Texts").update(enabled=enabled)
    [hole] = [one for one in coverage.check().findings if one.kind == Kind.AUDIENCE]
    assert hole.is_hole
    assert (hole.channel, hole.mends[0].address) == (
        "Texts",
        reverse("admin:channels_recipient_changelist") + "?medium__exact=sms",
    )
    assert not enabled or "nobody is told by Texts" in coverage.check().headline(Component.objects.all())


def suppress(*rows: Recipient) -> None:
    for one in rows:
        Suppression.objects.create(medium=one.medium, address_hash=one.address_hash, reason="manual")


@pytest.mark.parametrize(
    "plant",
    [
        lambda: Recipient.objects.filter(medium="sms").update(confirmed_at=None),
        lambda: suppress(*Recipient.objects.filter(medium="sms")),
    ],
)
def test_who_has_not_confirmed_or_has_left_is_no_reader(plant: Callable[[], Any]):
    plant()
    assert only(Kind.AUDIENCE).channel == "Texts"


def test_readers_are_looked_for_in_the_groups_segments_and_severities_of_the_plan():
    search = make.component("Search", "Shop")
    payments = Component.objects.get(name="Checkout").group
    plan().component_groups.add(search.group)  # type: ignore[arg-type]
    copy().component_groups.add(payments)  # type: ignore[arg-type]
    [letters, texts] = [one for one in coverage.check().findings if one.kind == Kind.AUDIENCE]
    assert {letters.channel, texts.channel} == {"Letters", "Texts"}
    [reader] = make.recipients(1)  # of everything
    make.recipients(1, search, medium="sms")
    assert coverage.check().findings == []
    change(plan(), severities=["sev3"])
    change(reader.subscriptions.get(), least_severity="sev2")
    assert [one.channel for one in coverage.check().findings if one.kind == Kind.AUDIENCE] == ["Letters"]


def test_a_segment_at_one_stage_that_nobody_is_in_is_a_hole_of_that_stage():
    large = AudienceSegment.objects.create(
        name="Large", conditions=[{"attribute": "plan", "is": "one_of", "values": ["Enterprise"]}]
    )
    stage = PlanStage.objects.create(plan=plan(), stage="identified")
    stage.segments.set([large])
    found = coverage.check().findings
    assert [one.kind for one in found] == [Kind.AUDIENCE] * 2
    assert all("Identified" in one.sentence for one in found)
    Recipient.objects.update(attributes={"plan": "enterprise"})
    assert coverage.check().findings == []


def test_a_subscription_to_everything_is_none_to_private_components():
    Component.objects.update(private=True)
    Subscription.objects.filter(recipient__medium="sms").update(component=None)
    assert only(Kind.AUDIENCE).channel == "Texts"


def test_readers_are_the_same_as_an_update_would_find():
    """Audience stands beside publishing.subscribers, which asks for each incident: they must not part."""
    search, group = make.component("Search", "Shop"), Component.objects.get(name="Checkout").group
    make.recipients(1, search)
    make.recipients(3)
    Subscription.objects.create(recipient=make.recipients(1, search)[0], group=group)
    suppress(Recipient.objects.filter(medium="email").earliest("pk"))
    for severity in ("sev1", "sev3"):
        Subscription.objects.filter(recipient=Recipient.objects.latest("pk")).update(least_severity="sev2")
        for private in (False, True):
            chosen = {"components": list(group.components.values_list("pk", flat=True)), "severity": severity}
            want = publishing.delivery.audience(
                publishing.subscribers(chosen | {"private": private}), channel("Letters")
            )
            have = Audience("email", (group.pk,), severity, private, ()).people({})
            assert set(have) == set(want), (severity, private)
            assert have.exists()


def test_a_language_that_customers_read_and_the_plan_does_not_speak_is_to_be_looked_at():
    change(plan(), locales=["en"])
    assert coverage.check().findings == []
    make.recipients(1, locale="it")
    found = only(Kind.LANGUAGE)
    assert not found.is_hole
    assert "does not speak Italian: subscribers who read it get English" in found.sentence


# ── Its cost ────────────────────────────────────────────────────────────────


def test_it_asks_as_much_of_many_plans_as_of_one(django_assert_num_queries):
    with django_assert_num_queries(25):
        coverage.check()
    for entry in library.entries()[:3]:
        library.load(entry)
    for n in range(6):
        other = copy(severities=[f"sev{n % 4 + 1}"])
        other.component_groups.add(make.component(f"Part {n}", f"Group {n}").group)  # type: ignore[arg-type]
        other.channels.add(make.channel(), make.channel("outbox_sms"))
        PlanStage.objects.create(plan=other, stage="identified", locales=["it"]).channels.set([make.channel()])
        ApprovalRule.objects.create(plan=other)
        other.current()
    with django_assert_num_queries(27):  # the channels and segments of stages, which there were none of
        found = coverage.check()
    assert len(found.plans) == 7


# ── The page ────────────────────────────────────────────────────────────────


def page(who: User, **query: str) -> Any:
    return make.client(who).get(reverse(PAGE), query)


def test_the_page_says_the_sentence_the_score_and_what_to_mend():
    template().delete()
    change(channel("Texts"), paused_at=timezone.now())
    html = page(person("anna")).content.decode()
    assert "2 holes. If Checkout should fail tonight, nothing goes out by Texts." in html
    assert "61 % of the messages ready · 2 holes" in html
    assert html.count("✕") > 14
    assert f'href="{reverse("admin:channels_channel_change", args=[channel("Texts").pk])}"' in html
    assert "stage=investigating&amp;locale=it" in html


def test_the_page_offers_nothing_that_its_reader_may_not_open():
    template().delete()
    change(person("anna"), email="")
    html = page(person("marta")).content.decode()  # she may read templates, not write them
    assert "there is no template in Italian" in html
    assert reverse("admin:incidents_messagetemplate_add") not in html
    assert f"/auth/user/{person('anna').pk}/" not in html
    assert reverse("admin:incidents_communicationplan_change", args=[plan().pk]) in html


def test_who_may_not_read_plans_sees_neither_page_nor_score():
    stranger = make.user(roles.MANAGERS)
    assert page(stranger).status_code == 403
    assert reverse(PAGE) not in make.client(stranger).get(reverse("admin:index")).content.decode()
    assert make.client(person("anna")).post(reverse(PAGE)).status_code == 405


def test_the_names_of_components_that_one_may_not_see_are_not_told():
    template().delete()
    only_search = make.user(roles.INCIDENT_MANAGERS)
    assign_perm("incidents.operate_component", only_search, make.component("Search", "Shop"))
    html = page(only_search).content.decode()
    assert "If Search should fail tonight" in html
    assert "Checkout" not in html
    nobodys = make.user(roles.INCIDENT_MANAGERS)
    assert "Checkout" not in page(nobodys).content.decode()


def test_one_plan_can_be_looked_at():
    other = copy(severities=["sev1"])
    other.channels.set([make.channel(name="Other letters")])
    assert "Other letters" in page(person("anna")).content.decode()
    assert "Other letters" not in page(person("anna"), plan=str(plan().pk)).content.decode()
    for nonsense in ("0", "x", "1' OR 1=1", "9" * 40):
        assert page(person("anna"), plan=nonsense).status_code == 200


def test_of_many_plans_each_has_its_matrix_on_a_page_of_its_own(monkeypatch):
    monkeypatch.setattr("incidents.admin.coverage.MOST_CELLS", 50)
    assert "cv-table" in page(person("anna")).content.decode()
    copy(severities=["sev1"])
    html = page(person("anna")).content.decode()
    assert "cv-table" not in html
    assert f'href="?plan={plan().pk}"' in html
    assert "cv-table" in page(person("anna"), plan=str(plan().pk)).content.decode()


def test_the_page_asks_as_much_for_many_plans_as_for_one(django_assert_max_num_queries):
    counts = []
    client = make.client(person("anna"))
    for _round in range(2):
        with django_assert_max_num_queries(36) as captured:
            client.get(reverse(PAGE))
        counts.append(len(captured))
        for severity in ("sev1", "sev2"):
            copy(severities=[severity]).channels.add(make.channel())
    assert counts[0] == counts[1]


def test_the_list_of_plans_leads_to_it():
    client = make.client(person("marta"))
    button = reverse("admin:incidents_communicationplan_coverage_button")
    assert button in client.get(reverse("admin:incidents_communicationplan_changelist")).content.decode()
    assert client.get(button).headers["Location"] == reverse(PAGE)


def test_hostile_names_are_inert():
    for n, name in enumerate(hostile.MARKUP):
        text = f"{name} {n}"[:80]
        if n % 3 == 0:
            copy(severities=[f"sev{n % 4 + 1}"]).channels.add(make.channel(name=text, enabled=False))
        elif n % 3 == 1:
            change(copy(severities=["sev2"]), name=text)
        else:
            Scenario.objects.create(slug=f"s{n}", name=text)
    change(person("marta"), first_name="<script>alert(1)</script>", email="")
    response = page(person("anna"))
    html = response.content.decode()
    assert "&lt;script&gt;alert(1)" in html
    for bad in ("<script>alert", "<img src=x", "<svg", "onmouseover='alert", "<iframe", "<base"):
        assert bad not in html.split("</head>")[1].replace('<svg xmlns="http://www.w3.org/2000/svg"', ""), bad


def test_the_dashboard_says_how_ready_the_plans_are_and_leads_to_the_page():
    client = make.client(person("anna"))
    assert "The plans have no holes" in client.get(reverse("admin:index")).content.decode()
    template().delete()
    client.get(reverse(PAGE))  # who mended something and looked at it finds the same on the dashboard
    html = client.get(reverse("admin:index")).content.decode()
    assert "92 % of the messages ready · 1 hole" in html
    assert "1 thing to mend in the plans" in html
    assert f'href="{reverse(PAGE)}"' in html


@pytest.mark.parametrize(
    ("plant", "tone", "said"),
    [
        (lambda: None, "good", "100 % of the messages ready"),
        (lambda: change(person("anna"), email=""), "warn", "100 % of the messages ready · 1 to look at"),
        (lambda: PlanRole.objects.filter(role="support_lead").delete(), "bad", "100 % of the messages ready · 1 hole"),
    ],
)
def test_nothing_is_green_beside_a_hole(plant, tone, said):
    """Whatever the messages are, the colour is that of the worst that was found."""
    plant()
    for address in (reverse(PAGE), reverse("admin:index")):
        html = make.client(person("paolo")).get(address).content.decode()
        [badge] = re.findall(
            r'<span class="cp-badge[^"]* (cp-tone-\w+)[^"]*">([^<]* of the messages ready[^<]*)<', html
        )
        assert badge == (f"cp-tone-{tone}", said), address


def test_the_dashboard_looks_at_the_plans_once_a_minute(django_assert_max_num_queries):
    client = make.client(person("anna"))
    with django_assert_max_num_queries(60) as first:
        client.get(reverse("admin:index"))
    with django_assert_max_num_queries(40) as second:
        client.get(reverse("admin:index"))
    assert len(first) - len(second) == 25


# ── The command ─────────────────────────────────────────────────────────────


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and the error."""
    out = StringIO()
    try:
        call_command("check_plan", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    return 0, out.getvalue(), ""


def test_the_command_says_that_all_is_ready():
    code, said, _error = run()
    assert code == 0
    assert said.startswith("No holes")
    assert "100 % of the messages ready: 42 of the 42" in said


def test_the_command_fails_with_holes_and_names_them():
    template().delete()
    code, said, error = run()
    assert code == 1
    assert error == "1 hole."
    assert (
        f"Hole: {template('identified').scenario}, Investigating: there is no template in Italian. [{plan()}]" in said
    )


def test_the_command_fails_below_a_score_also_without_a_hole():
    change(template(), updated_at=ago(400))
    assert run()[0] == 0
    assert run("--fail-under", "92")[0] == 0
    assert run("--fail-under", "93")[::2] == (1, "The score is 92, below 93.")
    for nonsense in ("101", "-1", "many"):
        with pytest.raises(CommandError, match="no score"):
            call_command("check_plan", f"--fail-under={nonsense}")


def test_the_command_looks_at_named_plans_and_knows_which_there_are():
    other = copy(severities=["sev1"])
    other.roles.all().delete()
    assert run(plan().name)[0] == 0
    code, said, _error = run(other.name)
    assert code == 1
    assert plan().name not in said
    code, said, error = run("Nonsense")
    assert (code, said) == (2, "")
    assert "“Nonsense”. There are: " in error
    assert {plan().name, other.name} == set(re.findall("“(Plan [0-9]+)”", error))


def test_the_command_prints_json_for_programs():
    template().delete()
    code, said, _error = run("--json")
    found = json.loads(said)
    assert code == 1
    assert (found["score"], found["ready"], found["promised"]) == (92, 39, 42)
    [one] = found["findings"]
    assert (one["kind"], one["weight"], one["locale"], one["plans"]) == ("template", "hole", "it", [plan().name])
    assert one["mend_at"].startswith("http://127.0.0.1:8000/admin/incidents/messagetemplate/add/?")


def test_the_command_speaks_italian():
    template().delete()
    _code, said, error = run("--language", "it")
    assert error == "1 lacuna."
    assert "manca il modello in italiano" in said
    assert translation.get_language() == "en"


def test_no_permission_is_needed_that_is_not_there():
    """The pages that findings lead to ask for permissions that exist."""
    known = {
        f"{one.content_type.app_label}.{one.codename}" for one in Permission.objects.select_related("content_type")
    }
    template().delete()
    change(channel("Texts"), enabled=False)
    PlanRole.objects.filter(user=person("luca")).delete()
    change(person("anna"), email="")
    Subscription.objects.filter(recipient__medium="email").delete()
    found = coverage.check().findings
    assert len({one.kind for one in found}) == 5
    assert {way.permission for one in found for way in one.mends} <= known
