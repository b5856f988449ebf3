"""Whose approval an update needs, by its plan; and how it goes out when nobody can give it."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.models import Delivery, Dispatch, Suppression
from incidents import approving, declaring, library, planning, publishing
from incidents.errors import NotAllowed, Problem, Refused, WrongState
from incidents.models import (
    ApprovalRule,
    AudienceSegment,
    Decision,
    Incident,
    IncidentUpdate,
    MessageTemplate,
    PlanRole,
    Subscription,
)
from tests import make

pytestmark = pytest.mark.django_db
Status, Verb = IncidentUpdate.Status, Decision.Verb


def url(name: str, update: IncidentUpdate) -> str:
    return reverse(f"admin:incidents_incidentupdate_{name}", args=[update.pk])


def a_plan(*rules, people=(), recipients: int = 2, **kwargs):
    make.recipients(recipients)
    plan = make.plan(make.channel(), people=people, **kwargs)
    for n, rule in enumerate(rules):
        ApprovalRule.objects.create(plan=plan, position=n, **rule)
    return plan


def waiting(severity: str = "sev2", **facts) -> IncidentUpdate:
    """An update of an incident under the plan, with approval asked for."""
    update = make.incident(severity=severity).updates.get()
    if facts:
        update.edit(update.author, update.version, **facts)
    return update.submit(update.author)


def glass_breaker(**kwargs):
    who = make.communications_manager(**kwargs)
    who.user_permissions.add(Permission.objects.get(codename="break_glass"))
    return who


# ── As many as the plan asks for ────────────────────────────────────────────


def test_without_a_rule_one_person_suffices():
    a_plan()
    update = waiting()
    assert update.policy == {"approvers": 1, "role": "", "escalate_minutes": 10, "prepared": False}
    assert update.approve(make.communications_manager()).status == Status.APPROVED


def test_two_people_must_approve_where_the_plan_says_so():
    a_plan({"approvers": 2})
    update, first, second = waiting(), make.communications_manager(), make.communications_manager()
    assert update.approve(first).status == Status.IN_REVIEW
    assert (approving.missing(update), update.approved_by) == (1, None)
    with pytest.raises(WrongState, match="approved this already"):
        update.approve(first)
    with pytest.raises(WrongState):
        update.publish(first)
    assert update.approve(second).status == Status.APPROVED
    assert update.publish(first).status == Status.PUBLISHED


def test_an_edit_takes_back_every_approval():
    a_plan({"approvers": 2})
    update, first, second = waiting(), make.communications_manager(), make.communications_manager()
    update.approve(first)
    update.edit(update.author, update.version, {"en": {"impact": "Every second payment fails, and is not charged."}})
    assert update.policy is None
    update.submit(update.author)
    assert approving.approvals(update) == []
    assert update.approve(second).status == Status.IN_REVIEW
    assert update.approve(first).status == Status.APPROVED


def test_approvals_of_the_same_words_before_a_rejection_do_not_count():
    a_plan({"approvers": 2})
    update, first, second = waiting(), make.communications_manager(), make.communications_manager()
    update.approve(first)
    update.reject(second, "Say it more simply.")
    same = update.submit(update.author)
    assert approving.approvals(same) == []
    assert same.approve(second).status == Status.IN_REVIEW


def test_the_role_of_the_plan_must_approve():
    chief, deputy = make.communications_manager(first_name="Anna"), make.communications_manager(first_name="Bruno")
    people = [("communications_manager", chief), ("communications_manager", deputy)]
    a_plan({"role": "communications_manager"}, people=people)
    update, stranger = waiting(), make.communications_manager()
    with pytest.raises(NotAllowed, match=r"Communications manager \(Anna, Bruno\)"):
        update.approve(stranger)
    assert update.approve(deputy).status == Status.APPROVED


def test_whoever_holds_the_role_in_the_incident_counts_though_the_plan_does_not_name_them():
    a_plan({"role": "communications_manager"})
    update, stand_in = waiting(), make.communications_manager()
    with pytest.raises(NotAllowed, match="nobody"):
        update.approve(stand_in)
    update.incident.roles.create(role="communications_manager", user=stand_in)
    assert update.approve(stand_in).status == Status.APPROVED


@pytest.mark.parametrize(
    ("severity", "notify", "approvers"),
    [("sev1", True, 3), ("sev1", False, 1), ("sev2", True, 2), ("sev2", False, 1), ("sev4", True, 2)],
)
def test_the_first_rule_that_fits_holds(severity, notify, approvers):
    a_plan(
        {"severities": ["sev1"], "audience": "notify", "approvers": 3},
        {"audience": "notify", "approvers": 2},
        {"approvers": 1},
    )
    assert waiting(severity, notify=notify).policy["approvers"] == approvers


def test_a_rule_that_is_changed_meanwhile_changes_nothing_that_waits():
    a_plan({"approvers": 2})
    update = waiting()
    ApprovalRule.objects.update(approvers=1)
    assert update.approve(make.communications_manager()).status == Status.IN_REVIEW


# ── What the database holds ─────────────────────────────────────────────────


def execute(sql: str, *params) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, params)


def test_the_database_lets_nothing_out_with_too_few_approvals():
    a_plan({"approvers": 2})
    update, first = waiting(), make.communications_manager()
    update.approve(first)
    execute(
        "UPDATE incidents_incidentupdate SET status='approved', approved_by_id=%s, approved_hash=content_hash "
        "WHERE id=%s",
        first.pk,
        update.pk,
    )
    with pytest.raises(DatabaseError, match="as many approvals"):
        execute("UPDATE incidents_incidentupdate SET status='published' WHERE id=%s", update.pk)


@pytest.mark.parametrize("waiver", ["glass", "prepared"])
def test_the_database_lets_nothing_out_without_a_second_person_but_by_a_decision(waiver):
    a_plan()
    update = waiting()
    execute(
        "UPDATE incidents_incidentupdate SET status='approved', waiver=%s, approved_hash=content_hash WHERE id=%s",
        waiver,
        update.pk,
    )
    with pytest.raises(DatabaseError, match="by a recorded decision"):
        execute("UPDATE incidents_incidentupdate SET status='published' WHERE id=%s", update.pk)


def test_the_database_takes_no_approval_for_the_decision_to_do_without():
    a_plan({"approvers": 2})
    update, first = waiting(), make.communications_manager()
    update.approve(first)
    execute(
        "UPDATE incidents_incidentupdate SET status='approved', waiver='approve', approved_by_id=%s, "
        "approved_hash=content_hash WHERE id=%s",
        first.pk,
        update.pk,
    )
    with pytest.raises(DatabaseError, match="by a recorded decision"):
        execute("UPDATE incidents_incidentupdate SET status='published' WHERE id=%s", update.pk)


def test_the_database_lets_nobody_review_what_they_sent_alone():
    a_plan()
    update, alone = waiting(), glass_breaker()
    update.break_glass(alone, "Nobody answers", update.content_hash)
    for who in (alone, update.author):
        with pytest.raises(DatabaseError, match="neither wrote nor sent"), transaction.atomic():
            Decision.objects.create(incident=update.incident, update=update, by=who, verb=Verb.GLASS_SEEN)


def test_the_database_keeps_what_was_asked_for_while_it_waits():
    a_plan({"approvers": 2})
    update = waiting()
    with pytest.raises(DatabaseError, match="making it a draft again"), transaction.atomic():
        IncidentUpdate.objects.filter(pk=update.pk).update(policy={**update.policy, "approvers": 0})


# ── Break-glass ─────────────────────────────────────────────────────────────


def test_the_glass_is_broken_with_a_reason_and_reviewed_by_somebody_else():
    a_plan()
    alone = glass_breaker()
    update = make.incident(alone).updates.get()
    update.submit(alone)
    with pytest.raises(Refused, match="Say why"):
        update.break_glass(alone, " ", update.content_hash)
    update.break_glass(alone, "It is 3 in the morning and nobody answers.", update.content_hash)
    make.deliver()
    assert (update.status, update.waiver, update.approved_by) == (Status.PUBLISHED, "glass", None)
    assert publishing.sent_hash(update) == update.content_hash
    assert update.glass_is_open
    with pytest.raises(NotAllowed, match="somebody else"):
        update.review_glass(alone, "I was right.")
    reviewer = make.communications_manager()
    with pytest.raises(Refused):
        update.review_glass(reviewer, "")
    update.review_glass(reviewer, "The words were right.")
    assert not update.glass_is_open
    with pytest.raises(WrongState):
        update.review_glass(reviewer, "Once more.")
    verbs = list(update.decisions.order_by("pk").values_list("verb", flat=True))
    assert verbs == [Verb.DRAFT, Verb.SUBMIT, Verb.GLASS, Verb.PUBLISH, Verb.GLASS_SEEN]


def test_the_glass_needs_its_permission_and_words_that_wait():
    a_plan()
    update, usual = waiting(), make.communications_manager()
    with pytest.raises(NotAllowed, match="without a second person"):
        update.break_glass(usual, "Why not?", update.content_hash)
    with pytest.raises(WrongState, match="changed after you opened it"):
        update.break_glass(glass_breaker(), "Now.", "0" * 64)
    draft = make.incident().updates.get()
    with pytest.raises(WrongState):
        draft.break_glass(glass_breaker(), "Now.", "")


def test_breaking_the_glass_to_an_unusual_audience_asks_for_the_number():
    make.plan(make.channel())
    update = waiting()  # nobody is subscribed
    with pytest.raises(Refused, match="Type 0"):
        update.break_glass(glass_breaker(), "Now.", update.content_hash)
    assert update.break_glass(glass_breaker(), "Now.", update.content_hash, 0).status == Status.PUBLISHED


def test_the_glass_in_the_admin_is_loud_until_it_is_reviewed():
    a_plan()
    alone, other = glass_breaker(first_name="Marta", last_name="Conti"), make.communications_manager()
    update = make.incident(alone, title="Cards fail").updates.get()
    update.submit(alone)
    client = make.client(alone)
    assert "Nobody can approve it?" in client.get(url("review", update)).content.decode()
    asked = client.get(url("glass", update), {"seen": update.content_hash}).content.decode()
    assert "Sends to 2 people at once" in asked
    assert "Nobody can approve it?" not in make.client(other).get(url("review", update)).content.decode()
    assert client.post(url("glass", update), {"seen_hash": update.content_hash}).status_code == 422
    sent = {"comment": "Nobody answers", "seen_hash": update.content_hash}
    assert client.post(url("glass", update), sent).status_code == 302
    home = make.client(other).get(reverse("admin:index")).content.decode()
    assert "Cards fail: Marta Conti sent an update without a second person" in home
    assert "Nobody answers" in home
    assert "Close the review" not in client.get(url("review", update)).content.decode()
    assert "Close the review" in make.client(other).get(url("review", update)).content.decode()
    assert "This went out without a second person." in client.get(url("delivery", update)).content.decode()
    make.client(other).post(url("glass_seen", update), {"comment": "Fine."})
    assert "without a second person" not in make.client(other).get(reverse("admin:index")).content.decode()


def test_the_glass_is_broken_only_for_words_that_were_on_the_page():
    a_plan()
    alone, other = glass_breaker(), make.communications_manager()
    update = make.incident(alone).updates.get().submit(alone)
    client = make.client(alone)
    page = client.get(url("review", update)).content.decode()
    link = f"{url('glass', update)}?seen={update.content_hash}"
    assert link in page
    update.edit(other, update.version, {"en": {"impact": "Words that came after the page was opened."}})
    update.submit(other)
    for way in (link, url("glass", update)):
        assert client.get(way).headers["Location"] == url("review", update)
    read = client.get(url("review", update)).content.decode()
    assert "The content changed after you opened it." in read
    assert client.get(f"{url('glass', update)}?seen={update.content_hash}").status_code == 200


def test_breaking_the_glass_on_a_planned_notice_says_that_it_was_for_later():
    a_plan()
    begin, author = timezone.now() + timedelta(days=3), make.incident_manager()
    library.load(next(entry for entry in library.entries() if entry.maintenance))
    ends_at = begin + timedelta(hours=2)
    work = planning.plan_maintenance(author, "New database", [make.component()], begin, ends_at)
    notice = work.updates.get(publish_at=begin).submit(author)
    page = make.client(glass_breaker()).get(url("glass", notice), {"seen": notice.content_hash}).content.decode()
    assert "It was planned for" in page


# ── Approved templates ──────────────────────────────────────────────────────


def approve_templates(by=None) -> None:
    by = by or make.communications_manager()
    for one in MessageTemplate.objects.all():
        one.approve(by, one.words_hash)


def test_words_of_approved_templates_need_no_second_person_where_the_plan_says_so():
    a_plan({"prepared": True}, recipients=3)
    make.scenario()
    approve_templates()
    update = waiting()
    assert (update.status, update.waiver, update.approved_by) == (Status.APPROVED, "prepared", None)
    assert update.approved_count == 3
    assert update.publish(update.author).status == Status.PUBLISHED
    assert not update.glass_is_open


@pytest.mark.parametrize("change", ["words", "template", "unapproved", "plan"])
def test_anything_else_needs_a_second_person(change):
    a_plan({"prepared": change != "plan"})
    make.scenario()
    if change != "unapproved":
        approve_templates()
    update = make.incident().updates.get()
    if change == "words":
        update.edit(update.author, update.version, {"it": {"impact": "Chi paga con carta vede un errore."}})
    if change == "template":
        one = MessageTemplate.objects.get(stage="investigating", locale="en")
        one.impact = "Other words, which nobody approved."
        one.save()
    assert update.submit(update.author).status == Status.IN_REVIEW


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("", Status.APPROVED),
        ("channel", Status.IN_REVIEW),
        ("everybody", Status.IN_REVIEW),
        ("segment", Status.IN_REVIEW),
    ],
)
def test_prepared_words_go_no_further_than_the_plan_says(more, status):
    plan = a_plan({"prepared": True}, recipients=3)
    conditions = [{"attribute": "plan", "is": "not_set", "values": []}]
    italy, other = (AudienceSegment.objects.create(name=name, conditions=conditions) for name in ("Italy", "Other"))
    plan.segments.add(italy)
    make.scenario()
    approve_templates()
    update = make.incident().updates.get()
    by, channels = update.author, list(update.channels.all())
    segments = {"everybody": [], "segment": [italy, other]}.get(more, [italy])
    update.edit(by, update.version, channels=[*channels, *([make.channel(name="X")] if more == "channel" else [])])
    update.edit(by, update.version, segments=segments)
    assert update.submit(by).status == status


def test_words_that_were_changed_past_the_form_are_asked_for_by_the_rule_of_now():
    a_plan({"severities": ["sev1"], "approvers": 3})
    update = waiting()
    update.renditions.filter(locale="en").update(impact="Changed in a shell.")  # the database makes it a draft
    Incident.objects.update(severity="sev1")
    update = IncidentUpdate.objects.get()
    assert update.submit(update.author).policy["approvers"] == 3


def test_prepared_words_to_an_unusual_audience_need_a_second_person():
    a_plan({"prepared": True}, recipients=0)
    make.scenario()
    approve_templates()
    assert waiting().status == Status.IN_REVIEW  # nobody would receive it


def test_a_template_is_approved_by_somebody_who_did_not_write_it():
    make.scenario()
    one, writer = MessageTemplate.objects.first(), make.communications_manager()
    page = reverse("admin:incidents_messagetemplate_change", args=[one.pk])
    data = one.words() | {"scenario": one.scenario_id, "stage": one.stage, "locale": one.locale, "impact": "New words."}
    assert make.client(writer).post(page, data).status_code == 302
    one.refresh_from_db()
    with pytest.raises(NotAllowed, match="somebody else"):
        one.approve(writer, one.words_hash)
    with pytest.raises(WrongState):
        one.approve(make.communications_manager(), "0" * 64)
    with pytest.raises(NotAllowed):
        one.approve(make.user(), one.words_hash)
    one.approve(make.communications_manager(), one.words_hash)
    assert one.is_approved
    one.impact = "Newer words."
    assert not one.is_approved


def test_a_template_is_approved_on_its_page():
    make.scenario()
    one, who = MessageTemplate.objects.first(), make.communications_manager(first_name="Anna")
    client = make.client(who)
    page = reverse("admin:incidents_messagetemplate_change", args=[one.pk])
    assert "Nobody has approved these words yet." in client.get(page).content.decode()
    approve = reverse("admin:incidents_messagetemplate_approve", args=[one.pk])
    assert client.get(approve).status_code == 302
    one.refresh_from_db()
    assert not one.is_approved
    client.post(approve, {"seen_hash": "0" * 64})
    one.refresh_from_db()
    assert not one.is_approved
    client.post(approve, {"seen_hash": one.words_hash})
    one.refresh_from_db()
    assert one.is_approved
    assert "Anna approved these words" in client.get(page).content.decode()


# ── In the admin ────────────────────────────────────────────────────────────


def test_the_review_page_says_who_is_still_asked():
    anna, bruno = make.communications_manager(first_name="Anna"), make.communications_manager(first_name="Bruno")
    a_plan(
        {"approvers": 2, "role": "communications_manager"},
        people=[("communications_manager", anna), ("communications_manager", bruno)],
    )
    update = waiting()
    page = make.client(anna).get(url("review", update)).content.decode()
    assert "2 people must approve this (Communications manager)." in page
    assert "Approve and send now" not in page  # there is one more to ask
    assert "Your approval sends nothing yet" in page
    assert "Sends to 2 people at once" not in page
    assert "Anna and Bruno can approve it" in make.client(update.author).get(url("review", update)).content.decode()
    saved = make.client(anna).post(
        url("review", update), {"decision": "approve", "seen_hash": update.content_hash}, follow=True
    )
    assert "Approved by you. It waits for approval by Bruno too." in saved.content.decode()
    assert "Approve only" not in saved.content.decode()
    glass = make.client(glass_breaker()).get(url("glass", update), {"seen": update.content_hash}).content.decode()
    assert "Fewer people approved these words than the plan asks for." in glass
    assert "Approve and send now" in make.client(bruno).get(url("review", update)).content.decode()
    home = reverse("admin:index")
    assert "asks for your approval" not in make.client(anna).get(home).content.decode()
    assert "asks for your approval" in make.client(bruno).get(home).content.decode()


def test_whoever_does_not_hold_the_role_is_not_asked():
    anna, stranger = make.communications_manager(first_name="Anna"), make.communications_manager()
    a_plan({"role": "communications_manager"}, people=[("communications_manager", anna)])
    update = waiting()
    page = make.client(stranger).get(url("review", update)).content.decode()
    assert "Anna can approve it" in page
    assert "cp-decide" not in page
    assert "asks for your approval" not in make.client(stranger).get(reverse("admin:index")).content.decode()
    PlanRole.objects.all().delete()
    alone = make.incident().updates.get()
    alone.submit(alone.author)
    assert "nobody can approve it" in make.client(stranger).get(url("review", alone)).content.decode()
    posted = {"decision": "approve", "seen_hash": update.content_hash}
    assert make.client(stranger).post(url("review", update), posted).status_code == 403


def test_rules_are_written_on_the_page_of_the_plan():
    from tests.incidents.test_plan_versions import as_form, change_url

    plan, client = make.plan(), make.client(make.communications_manager())
    rule = {
        "approvals-TOTAL_FORMS": 1,
        "approvals-0-position": 0,
        "approvals-0-severities": ["sev1"],
        "approvals-0-audience": "notify",
        "approvals-0-approvers": 2,
        "approvals-0-role": "communications_manager",
        "approvals-0-escalate_minutes": 5,
    }
    bad = client.post(change_url(plan), as_form(plan, **rule | {"approvals-0-approvers": 9}))
    assert "less than or equal to 5" in bad.content.decode()
    plan.current()
    saved = client.post(change_url(plan), as_form(plan, **rule), follow=True).content.decode()
    assert "people whom the plan names for this role: 0" in saved
    assert plan.versions.first().content["approvals"][0]["approvers"] == 2
    page = client.get(change_url(plan)).content.decode()
    assert "approval: SEV 1 · critical, If people are written to: 2 × Communications manager" in page


# ── Whatever the order of the steps ─────────────────────────────────────────

STEPS = st.lists(
    st.sampled_from(["edit", "raw", "submit", "approve1", "approve2", "approve3", "reject", "publish", "withdraw"]),
    min_size=4,
    max_size=14,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_order_of_steps_sends_what_two_others_did_not_approve(steps):
    sid = transaction.savepoint()
    try:
        _walk(steps)
    finally:
        transaction.savepoint_rollback(sid)


def _walk(steps: list[str]) -> None:
    a_plan({"approvers": 2})
    author = make.incident_manager()
    people = {f"approve{n}": make.communications_manager() for n in (1, 2, 3)}
    update = make.incident(author).updates.get()
    approved: dict[int, str] = {}  # person → the hash that they read and approved last
    for n, step in enumerate(steps):
        try:
            with transaction.atomic():
                if step == "edit":
                    update.edit(author, update.version, {"en": {"impact": f"Impact number {n} of the failure."}})
                elif step == "raw":  # a bug, or a shell
                    update.renditions.filter(locale="en").first()
                    update.renditions.filter(locale="en").update(impact=f"Nobody read number {n}.")
                    update.refresh_from_db()
                elif step == "submit":
                    update.submit(author)
                elif step == "reject":
                    update.reject(people["approve3"], "No.")
                elif step == "withdraw":
                    update.withdraw(author)
                elif step == "publish":
                    update.publish(people["approve1"])
                else:
                    seen = update.content_hash
                    update.approve(people[step], seen_hash=seen, typed_count=update.reach().total)
                    approved[people[step].pk] = seen
        except Problem:
            update.refresh_from_db()
        except IntegrityError:
            assert step == "raw"  # the database keeps what is published
            update.refresh_from_db()
    sent = Dispatch.objects.filter(source=f"update:{update.pk}")
    if update.status != Status.PUBLISHED:
        assert not sent.exists()
        return
    assert publishing.sent_hash(update) == update.content_hash
    assert sum(seen == update.content_hash for seen in approved.values()) >= 2
    assert author.pk not in {d.by_id for d in update.decisions.filter(verb=Verb.APPROVE)}


# ── Corrections ─────────────────────────────────────────────────────────────


def told(update: IncidentUpdate) -> set[int]:
    rows = Delivery.objects.filter(dispatch__source=f"update:{update.pk}", status__in=Delivery.REACHED)
    return set(rows.values_list("recipient", flat=True))


def test_a_correction_goes_to_those_who_received_the_mistake():
    a_plan(locales=("en",), recipients=0)
    component = make.component()
    stays, leaves, gone = make.recipients(3, component)
    author = make.incident_manager()
    mistaken = make.published(make.incident(author, component).updates.get())
    make.deliver()
    Subscription.objects.filter(recipient__in=[leaves, gone]).delete()
    Suppression.objects.create(medium=gone.medium, address_hash=gone.address_hash, reason="unsubscribed")
    [new] = make.recipients(1, component)
    draft = declaring.start_correction(mistaken, author)
    assert draft.corrects == mistaken
    assert draft.renditions.get().subject.startswith("Correction: ")
    correction = make.published(draft)
    make.deliver()
    assert told(correction) == {stays.pk, leaves.pk, new.pk}
    assert {d.audience["received"] for d in Dispatch.objects.filter(source=f"update:{correction.pk}")} == {mistaken.pk}
    later = make.published(declaring.start_draft(mistaken.incident, author))
    make.deliver()
    assert told(later) == {stays.pk, new.pk}


def test_a_correction_is_begun_from_the_delivery_page(django_assert_max_num_queries):
    a_plan()
    author = make.incident_manager()
    mistaken = make.published(make.incident(author).updates.get())
    client = make.client(author)
    refused = client.post(url("correct", mistaken))
    assert refused.status_code == 409
    assert "It is still being sent: stop the sending first" in refused.content.decode()
    make.deliver()
    assert "Correct what was said…" in client.get(url("delivery", mistaken)).content.decode()
    with django_assert_max_num_queries(30):
        asked = client.get(url("correct", mistaken)).content.decode()
    assert "Write the correction" in asked
    begun = client.post(url("correct", mistaken))
    draft = mistaken.incident.updates.get(status="draft")
    assert begun.url == url("compose", draft)
    again = client.post(url("correct", mistaken))
    assert again.status_code == 409
    assert "Another update is being written" in again.content.decode()
    says = "This is a correction: it goes also to everybody who received what it corrects."
    assert says in client.get(url("compose", draft)).content.decode()
    draft.submit(author)
    assert says in make.client(make.communications_manager()).get(url("review", draft)).content.decode()
    assert "Corrected by update 2: Waiting for approval" in client.get(url("delivery", mistaken)).content.decode()


def test_only_who_may_write_corrects_and_only_what_was_published():
    a_plan()
    update = make.incident().updates.get()
    with pytest.raises(WrongState, match="Only what was published"):
        declaring.start_correction(update, update.author)
    mistaken = make.published(update)
    make.deliver()
    with pytest.raises(NotAllowed):
        declaring.start_correction(mistaken, make.user("Managers"))
    assert not mistaken.incident.updates.filter(status="draft").exists()


def test_the_database_keeps_what_a_published_update_corrects():
    a_plan()
    author = make.incident_manager()
    mistaken = make.published(make.incident(author).updates.get(), make.communications_manager())
    make.deliver()
    correction = make.published(declaring.start_correction(mistaken, author), make.communications_manager())
    with pytest.raises(DatabaseError), transaction.atomic():
        IncidentUpdate.objects.filter(pk=correction.pk).update(corrects=None)


def test_a_deputy_named_twice_counts_once():
    who = make.communications_manager()
    plan = a_plan({"approvers": 2, "role": "communications_manager"})
    for n in range(2):
        PlanRole.objects.get_or_create(plan=plan, role="communications_manager", user=who, defaults={"order": n})
    update = waiting()
    update.incident.roles.get_or_create(role="communications_manager", defaults={"user": who})
    assert update.approve(who).status == Status.IN_REVIEW
    with pytest.raises(WrongState):
        update.approve(who)


def test_nobody_takes_the_role_that_the_plan_asks_for_approvals():
    a_plan({"role": "communications_manager"})
    update, who, other = waiting(), make.incident_manager(), make.incident_manager()
    hand_out = reverse("admin:incidents_incident_role", args=[update.incident_id])
    taken = make.client(who).post(hand_out, {"role": "communications_manager", "user": who.pk})
    assert taken.status_code == 403
    assert "somebody else must hand it to you" in taken.content.decode()
    make.client(other).post(hand_out, {"role": "communications_manager", "user": who.pk})
    assert update.incident.roles.get(role="communications_manager").user == who
    make.client(who).post(hand_out, {"role": "support_lead", "user": who.pk})
    assert update.incident.roles.get(role="support_lead").user == who


# ── A second factor ─────────────────────────────────────────────────────────


def test_who_must_have_a_second_factor_and_has_none_decides_nothing(settings):
    settings.STAFF_MFA = "required"
    a_plan()
    update, who = waiting(), glass_breaker()
    for verb in (update.approve, lambda by: update.break_glass(by, "Nobody is there.", update.content_hash)):
        with pytest.raises(NotAllowed, match="must have a second factor for this"):
            verb(who)
    update.refresh_from_db()
    assert update.status == Status.IN_REVIEW
    make.factor(who)
    assert update.approve(who).status == Status.APPROVED


def test_what_was_approved_goes_out_though_a_factor_is_required_since(settings):
    a_plan()
    who = make.communications_manager()
    update = waiting().approve(who)
    settings.STAFF_MFA = "required"
    assert update.publish(who).status == Status.PUBLISHED
