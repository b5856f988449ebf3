"""Promises to customers: staff are reminded before one breaks, and told when it does."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from channels.models import Channel
from channels.providers.base import Outcome as BaseOutcome
from incidents import approving, checker, clock, declaring, tasks, telling_staff
from incidents.errors import WrongState
from incidents.models import ApprovalRule, Incident, IncidentUpdate, PlanRole, PromiseBreach, StaffContact, StaffNotice
from tests import make

pytestmark = pytest.mark.django_db
Kind, Outcome = StaffNotice.Kind, StaffNotice.Outcome
T0 = timezone.now().replace(microsecond=0)


@pytest.fixture
def at(time_machine):
    """Moves the clock to so many minutes after T0."""

    def move(minutes: float) -> None:
        time_machine.move_to(T0 + timedelta(minutes=minutes), tick=False)

    move(0)
    return move


@pytest.fixture
def people() -> dict[str, User]:
    return {
        "incident_manager": make.incident_manager(first_name="Marta"),
        "communications_manager": make.communications_manager(first_name="Anna"),
    }


@pytest.fixture
def incident(at, people) -> Incident:
    """First update within 15 minutes, then every 30."""
    make.recipients(2)
    make.plan(make.channel(name="Email"), people=list(people.items()), first_update_minutes=15, update_minutes=30)
    return make.incident(people["incident_manager"], title="Cards fail")


def told(kind: str) -> list[str]:
    rows = StaffNotice.objects.filter(kind=kind).order_by("pk")
    return [one.user.first_name if one.user else one.channel.name for one in rows.select_related("user", "channel")]


# ── Declared ────────────────────────────────────────────────────────────────


def test_whom_the_plan_gives_a_role_is_told_once_that_an_incident_was_declared(at):
    marta, anna = make.incident_manager(first_name="Marta"), make.communications_manager(first_name="Anna")
    paolo, deputy = make.user("Support leads", first_name="Paolo"), make.user("Support leads", first_name="Bruno")
    StaffContact.objects.create(user=paolo, locale="it")
    people = [("incident_manager", marta), ("communications_manager", anna), ("support_lead", paolo)]
    plan = make.plan(make.channel(), people=people, first_update_minutes=15)
    PlanRole.objects.create(plan=plan, role="support_lead", user=deputy, order=1)
    incident = make.incident(marta, make.component("Checkout"), title="Cards fail")
    assert sorted(told(Kind.DECLARED)) == ["Anna", "Paolo"]
    text, page = said(Kind.DECLARED)["Anna"]
    name = marta.get_full_name()
    assert text.startswith(f"{name} declared an incident: SEV 2 · major. ")
    assert "Affected: Checkout (partial outage). Your role: Communications manager. Customers are to be told by" in text
    assert page == reverse("admin:incidents_incident_change", args=[incident.pk])
    assert StaffNotice.objects.get(user=paolo).subject == "Incidente dichiarato: Cards fail"
    telling_staff.send_waiting()
    assert set(StaffNotice.objects.values_list("outcome", flat=True)) == {Outcome.SENT}


def test_nobody_is_told_any_more_of_an_incident_that_was_declared_by_mistake(incident, people):
    incident.dismiss(people["incident_manager"], "A false alarm.")
    telling_staff.send_waiting()
    assert StaffNotice.objects.get(kind=Kind.DECLARED).outcome == Outcome.OBSOLETE


# ── The first update ────────────────────────────────────────────────────────


def test_the_communications_manager_is_reminded_in_the_last_third(incident, at):
    at(9)
    clock.tick()
    assert told(Kind.REMINDER) == []
    at(10)
    clock.tick()
    assert told(Kind.REMINDER) == ["Anna"]
    [notice] = StaffNotice.objects.filter(kind=Kind.REMINDER)
    assert notice.subject == "Update due in 5 min: Cards fail"
    assert not PromiseBreach.objects.exists()


def test_a_broken_promise_is_recorded_once_and_goes_up_to_the_incident_manager(incident, at):
    for minutes in (14.9, 15, 15.2, 40):
        at(minutes)
        clock.tick()
    assert told(Kind.BREACH) == ["Marta", "Anna"]
    [breach] = incident.breaches.all()
    assert (breach.kind, breach.due_at) == ("first", incident.declared_at + timedelta(minutes=15))
    assert StaffNotice.objects.filter(kind=Kind.BREACH).first().subject == "First update overdue: Cards fail"


def test_an_update_that_is_published_while_the_clock_looks_breaks_no_promise(incident, at, people, monkeypatch):
    at(14)
    watch = clock._watch

    def publish_first(one, told_at):
        make.published(incident.updates.get(), people["communications_manager"])
        at(15.1)
        watch(one, told_at)

    monkeypatch.setattr(clock, "_watch", publish_first)
    clock.tick()
    assert not PromiseBreach.objects.exists()
    assert told(Kind.BREACH) == []


def test_each_promise_has_its_own_reminder_and_breach(incident, at, people):
    at(5)
    update = make.published(incident.updates.get(), people["communications_manager"])
    due = update.next_update_at
    for moment in (due - timedelta(minutes=1), due + timedelta(minutes=1)):
        at((moment - T0).total_seconds() / 60)
        clock.tick()
    assert told(Kind.REMINDER) == ["Anna"]
    assert [(one.kind, one.due_at) for one in incident.breaches.all()] == [("next", due)]
    make.published(declaring.start_draft(incident, people["incident_manager"]), people["communications_manager"])
    clock.tick()
    assert incident.breaches.count() == 1


@pytest.mark.parametrize("over", ["resolved", "dismissed", "imported"])
def test_the_clock_stands_still_for_what_is_over_or_not_ours(incident, at, people, over):
    if over == "resolved":
        make.published(declaring.start_draft(incident, people["incident_manager"]), people["communications_manager"])
        last = declaring.start_draft(incident, people["incident_manager"], "resolved")
        make.published(last, people["communications_manager"])
    elif over == "dismissed":
        incident.dismiss(people["incident_manager"], "A false alarm.")
    else:
        Incident.objects.update(imported_from="elsewhere")
    StaffNotice.objects.all().delete()
    at(500)
    clock.tick()
    assert not StaffNotice.objects.exists()
    assert not PromiseBreach.objects.exists()


def test_planned_work_promises_nothing_before_it_begins(at, people):
    make.plan(make.channel(), people=list(people.items()))
    from incidents import planning

    make.scenario()
    start = T0 + timedelta(hours=1)
    planning.plan_maintenance(people["incident_manager"], "Move", [make.component()], start, start + timedelta(hours=1))
    at(30)
    clock.tick()
    assert not StaffNotice.objects.exclude(kind=Kind.APPROVAL).exists()


def test_where_nobody_holds_the_role_the_plan_names_somebody(incident, at, people):
    incident.roles.all().delete()
    at(12)
    clock.tick()
    assert told(Kind.REMINDER) == ["Anna"]


def said(kind: str) -> dict[str, tuple[str, str]]:
    """Text and page of each notice, by the first name of its reader."""
    rows = StaffNotice.objects.filter(kind=kind).select_related("user")
    return {one.user.first_name: (one.text, one.url.removeprefix("http://127.0.0.1:8000")) for one in rows}


def test_who_is_reminded_while_an_update_waits_for_them_is_led_to_its_approval(incident, at, people):
    update = incident.updates.get()
    update.submit(update.author)
    for minutes in (12, 16):
        at(minutes)
        clock.tick()
    text, page = said(Kind.REMINDER)["Anna"]
    assert text.endswith("An update waits for your approval.")
    assert approving.read_link(page.split("/")[2]) == (update.pk, update.content_hash)
    assert said(Kind.BREACH)["Anna"][0].endswith("An update waits for your approval.")
    text, page = said(Kind.BREACH)["Marta"]
    assert text.endswith(f"An update waits for approval by {people['communications_manager'].get_full_name()}.")
    assert page == f"/admin/incidents/incident/{incident.pk}/change/"


def test_a_reminder_speaks_the_language_of_its_reader(incident, at, people):
    StaffContact.objects.create(user=people["communications_manager"], locale="it")
    update = incident.updates.get()
    update.submit(update.author)
    at(12)
    clock.tick()
    assert said(Kind.REMINDER)["Anna"][0].endswith("Un aggiornamento attende la tua approvazione.")


def test_a_reminder_says_what_is_to_be_done_by_where_the_next_update_stands(incident, at, people):
    def reminder() -> str:
        StaffNotice.objects.all().delete()
        clock.tick()
        return said(Kind.REMINDER)["Anna"][0]

    first, anna = incident.updates.get(), people["communications_manager"]
    at(12)
    assert reminder().endswith("A draft is there: finish it, and ask for approval.")
    first.submit(first.author)
    first.approve(anna, typed_count=first.reach().total)
    assert reminder().endswith("An update is approved, and only has to be published.")
    first.withdraw(first.author)
    assert reminder().endswith("Nobody is writing an update: begin one.")
    second = make.published(declaring.start_draft(incident, people["incident_manager"]), anna)
    at((second.next_update_at - T0).total_seconds() / 60 - 1)
    assert reminder().endswith("Nothing new? Say just that: it is one button.")


# ── How staff are told ──────────────────────────────────────────────────────


def test_a_reminder_goes_out_by_email_sms_and_the_staff_chat(at, people):
    make.channel(name="Email")
    make.channel("outbox_sms", name="SMS")
    room = make.channel("slack", name="War room", config={}, secrets={"url": "https://hooks.slack.com/services/x"})
    plan = make.plan(people=list(people.items()))
    plan.staff_channels.add(room)
    StaffContact.objects.create(user=people["communications_manager"], phone="+393331234567", locale="it")
    make.incident(people["incident_manager"], title="Cards fail")
    at(12)
    clock.tick()
    rows = StaffNotice.objects.filter(kind=Kind.REMINDER)
    assert {(one.medium, one.locale) for one in rows} == {("email", "it"), ("sms", "it"), ("broadcast", "en")}
    assert rows.get(medium="email").subject == "Aggiornamento entro 3 min: Cards fail"


def test_a_notice_is_sent_once_and_says_where_to_go(incident, at, settings):
    at(12)
    clock.tick()
    tasks.sweep_clock()
    [notice] = StaffNotice.objects.filter(kind=Kind.REMINDER)
    assert notice.outcome == Outcome.SENT
    tasks.tell_staff(notice.pk)
    letters = [path.read_text() for path in (settings.DATA_DIR / "outbox").glob("*.json")]
    [mail] = [one for one in letters if notice.user.email in one and notice.subject in one]
    assert f"/admin/incidents/incident/{incident.pk}/change/" in mail
    assert "for staff only" in mail


def test_a_notice_waits_for_a_channel_and_is_given_up_when_it_says_nothing_true_any_more(at, people):
    make.plan(people=list(people.items()))
    make.incident(people["incident_manager"])
    at(12)
    tasks.sweep_clock()
    [notice] = StaffNotice.objects.filter(kind=Kind.REMINDER)
    assert (notice.outcome, notice.detail) == (Outcome.WAITING, "No channel that is on carries this.")
    at(60)
    telling_staff.send_waiting()
    notice.refresh_from_db()
    assert notice.outcome == Outcome.FAILED


def test_what_was_done_meanwhile_is_not_asked_for_any_more(incident, at, people):
    at(12)
    clock.tick()
    update = incident.updates.get()
    update.submit(update.author)
    make_again(update, people)
    telling_staff.send_waiting()
    kinds = dict(StaffNotice.objects.exclude(kind=Kind.DECLARED).values_list("kind", "outcome"))
    assert kinds == {Kind.REMINDER: Outcome.OBSOLETE, Kind.APPROVAL: Outcome.OBSOLETE}


def test_what_a_lost_worker_was_sending_is_sent_again(incident, at):
    at(12)
    clock.tick()
    StaffNotice.objects.update(outcome=Outcome.SENDING, tried_at=timezone.now())
    telling_staff.send_waiting()
    assert StaffNotice.objects.filter(outcome=Outcome.SENT).count() == 0
    at(15)
    telling_staff.send_waiting()
    assert set(StaffNotice.objects.values_list("outcome", flat=True)) == {Outcome.SENT}


def test_a_channel_that_customers_read_is_never_used_for_staff(at, people):
    plan = make.plan(people=list(people.items()))
    public = make.channel("outbox_post", name="Posts")
    both = make.channel("slack", name="Community", secrets={"url": "https://hooks.slack.com/services/x"})
    plan.staff_channels.set([public, both])
    plan.channels.set([both])
    make.incident(people["incident_manager"])
    at(12)
    clock.tick()
    assert told(Kind.REMINDER) == ["Anna"]
    notice = StaffNotice.objects.get(kind=Kind.REMINDER)
    StaffNotice.objects.filter(pk=notice.pk).update(channel=public, user=None, medium="broadcast")
    telling_staff.send(notice.pk)
    notice.refresh_from_db()
    assert (notice.outcome, notice.detail) == (Outcome.FAILED, "Customers read this channel.")


def test_the_plan_refuses_a_chat_in_which_customers_are_spoken_to():
    from tests.incidents.test_plan_versions import as_form, change_url

    room = make.channel("slack", name="Community", secrets={"url": "https://hooks.slack.com/services/x"})
    plan, client = make.plan(room), make.client(make.communications_manager())
    page = client.post(change_url(plan), as_form(plan, staff_channels=[room.pk])).content.decode()
    assert "Customers are spoken to by Community: staff need a chat of their own." in page
    make.channel(name="Mail")
    assert "Mail" not in str(client.get(change_url(plan)).context["adminform"].form["staff_channels"])


def test_where_no_chat_can_be_chosen_the_plan_says_what_to_add():
    from tests.incidents.test_plan_versions import change_url

    plan = make.plan(make.channel("outbox_post", name="Posts"))
    client = make.client(make.communications_manager())
    missing = "There is no chat to choose yet."
    assert missing in client.get(change_url(plan)).content.decode()
    make.channel("teams", name="Staff room")
    assert missing not in client.get(change_url(plan)).content.decode()


def test_a_phone_is_checked_where_it_is_written():
    admin = User.objects.create_superuser("root", "root@example.com", "pw")
    client, who = make.client(admin), make.user()
    page = reverse("admin:auth_user_change", args=[who.pk])
    form = {
        "username": who.username,
        "date_joined_0": "2026-01-01",
        "date_joined_1": "10:00",
        "contact-TOTAL_FORMS": 1,
        "contact-INITIAL_FORMS": 0,
        "contact-0-user": who.pk,
        "contact-0-by_email": "on",
        "contact-0-locale": "it",
        "componentuserobjectpermission_set-TOTAL_FORMS": 0,
        "componentuserobjectpermission_set-INITIAL_FORMS": 0,
    }
    bad = client.post(page, form | {"contact-0-phone": "+44 20"})
    assert bad.status_code == 200
    assert "+44 20" in bad.content.decode()
    assert not StaffContact.objects.exists()
    assert client.post(page, form | {"contact-0-phone": "+39 333 1234567"}).status_code == 302
    assert StaffContact.objects.get().phone == "+393331234567"


# ── Approvals ───────────────────────────────────────────────────────────────


def test_who_is_to_approve_is_told_at_once_and_deputies_later(at, people):
    make.recipients(2)
    plan = make.plan(make.channel(), people=list(people.items()))
    deputy = make.communications_manager(first_name="Bruno")
    PlanRole.objects.create(plan=plan, role="communications_manager", user=deputy, order=1)
    ApprovalRule.objects.create(plan=plan, role="communications_manager", escalate_minutes=10)
    update = make.incident(people["incident_manager"]).updates.get()
    update.submit(update.author)
    assert told(Kind.APPROVAL) == ["Anna"]
    at(9)
    clock.tick()
    assert told(Kind.ESCALATED) == []
    for minutes in (10, 11):
        at(minutes)
        clock.tick()
    assert told(Kind.ESCALATED) == ["Bruno"]


def test_whoever_else_may_approve_is_asked_where_the_plan_names_too_few(at, people):
    make.recipients(2)
    plan = make.plan(make.channel(), people=list(people.items()))
    make.communications_manager(first_name="Bruno")
    make.communications_manager(first_name="Carla")
    ApprovalRule.objects.create(plan=plan, approvers=2, escalate_minutes=10)
    update = make.incident(people["incident_manager"]).updates.get()
    update.submit(update.author)
    assert told(Kind.APPROVAL) == ["Anna", "Bruno"]
    at(10)
    clock.tick()
    assert told(Kind.ESCALATED) == ["Carla"]


@pytest.mark.parametrize("how", ["approved", "never"])
def test_nobody_is_asked_again_when_it_is_decided_or_the_plan_says_never(at, people, how):
    make.recipients(2)
    plan = make.plan(make.channel(), people=list(people.items()))
    ApprovalRule.objects.create(plan=plan, escalate_minutes=0 if how == "never" else 5)
    update = make.incident(people["incident_manager"]).updates.get()
    update.submit(update.author)
    if how == "approved":
        update.approve(people["communications_manager"])
    at(30)
    clock.tick()
    assert told(Kind.ESCALATED) == []


def test_who_wrote_it_is_told_once_that_it_was_sent_back_and_why(at, people):
    make.recipients(2)
    make.plan(make.channel(), people=list(people.items()))
    writer = make.incident_manager(first_name="Ciro")
    StaffContact.objects.create(user=writer, locale="it", phone="+393331234567")
    update = make.incident(writer).updates.get()
    for reason in ("Say who is affected.", "Still not."):
        update.submit(writer)
        update.reject(people["communications_manager"], reason)
    rows = list(StaffNotice.objects.filter(kind=Kind.RETURNED).order_by("pk"))
    assert [(one.user.first_name, one.medium) for one in rows] == [("Ciro", "email"), ("Ciro", "sms")] * 2
    assert rows[0].subject == "Rimandato indietro: Card payments fail"
    assert "“Say who is affected.”" in rows[0].text
    assert rows[0].url.endswith(reverse("admin:incidents_incidentupdate_compose", args=[update.pk]))
    telling_staff.send_waiting()
    # The first is overtaken by the second; no channel carries SMS.
    outcomes = list(StaffNotice.objects.filter(kind=Kind.RETURNED).order_by("pk").values_list("outcome", flat=True))
    assert outcomes == [Outcome.OBSOLETE, Outcome.OBSOLETE, Outcome.SENT, Outcome.WAITING]


def test_when_customers_are_to_hear_soon_the_incident_manager_learns_that_it_was_sent_back(incident, at, people):
    incident.roles.filter(role="incident_manager").update(user=make.incident_manager(first_name="Dora"))
    update = incident.updates.get()
    for minutes in (5, 12):
        at(minutes)
        update.submit(update.author)
        update.reject(people["communications_manager"], "Say who is affected.")
    assert told(Kind.RETURNED) == ["Marta", "Marta", "Dora"]


def test_where_a_promised_time_has_passed_the_author_is_told_and_no_deputy_asked(at, people):
    make.recipients(2)
    plan = make.plan(make.channel(), people=list(people.items()), update_minutes=10)
    deputy = make.communications_manager(first_name="Bruno")
    PlanRole.objects.create(plan=plan, role="communications_manager", user=deputy, order=1)
    ApprovalRule.objects.create(plan=plan, role="communications_manager", escalate_minutes=60)
    update = make.incident(people["incident_manager"]).updates.get()
    update.submit(update.author)
    for minutes in (16, 17, 61, 62):
        at(minutes)
        clock.tick()
    assert told(Kind.ESCALATED) == []
    [notice] = StaffNotice.objects.filter(kind=Kind.STUCK)
    assert (notice.user, notice.update) == (people["incident_manager"], update)
    assert notice.text == "The time you promise has passed before anybody approved: set a new one and ask again."
    assert notice.url.endswith(reverse("admin:incidents_incidentupdate_compose", args=[update.pk]) + "?edit=1")
    update.edit(update.author, update.version, next_update_at=T0 + timedelta(hours=3))
    update.submit(update.author)
    at(62 + 61)
    clock.tick()
    assert told(Kind.ESCALATED) == ["Bruno"]


def test_a_request_that_a_newer_one_replaced_is_not_sent_when_the_channel_comes_back(at, people):
    make.recipients(2)
    mail = make.channel()
    make.plan(mail, people=list(people.items()))
    Channel.objects.update(enabled=False)
    update = make.incident(people["incident_manager"]).updates.get()
    update.submit(update.author)
    telling_staff.send_waiting()
    update.edit(update.author, update.version, {"en": {"impact": "Other customers see an error, and are not charged."}})
    update.submit(update.author)
    at(45)  # it still waits
    telling_staff.send_waiting()
    Channel.objects.update(enabled=True)
    at(46)
    telling_staff.send_waiting()
    rows = StaffNotice.objects.filter(kind=Kind.APPROVAL).order_by("pk")
    assert [one.outcome for one in rows] == [Outcome.OBSOLETE, Outcome.SENT]


def test_asked_again_after_an_edit_everybody_is_told_again(at, people):
    make.recipients(2)
    make.plan(make.channel(), people=list(people.items()))
    update = make.incident(people["incident_manager"]).updates.get()
    update.submit(update.author)
    update.edit(update.author, update.version, {"en": {"impact": "Other customers see an error, and are not charged."}})
    update.submit(update.author)
    assert told(Kind.APPROVAL) == ["Anna", "Anna"]


def test_the_link_opens_the_exact_content_after_the_login(at, people, client):
    make.recipients(2)
    make.plan(make.channel(), people=list(people.items()))
    update = make.incident(people["incident_manager"]).updates.get()
    update.submit(update.author)
    link = StaffNotice.objects.get(kind=Kind.APPROVAL).url.replace("http://127.0.0.1:8000", "")
    assert link.startswith("/approve/")
    there = client.get(link)
    review = reverse("admin:incidents_incidentupdate_review", args=[update.pk])
    assert there.url.startswith(review)
    assert client.get(there.url).url.startswith("/admin/login/")
    anna = make.client(people["communications_manager"])
    page = anna.get(there.url).content.decode()
    assert "Approve and send now" in page
    assert "The words changed since" not in page
    update.edit(update.author, update.version, {"en": {"impact": "Other customers see an error, and are not charged."}})
    update.submit(update.author)
    assert "The words changed since" in anna.get(there.url).content.decode()
    assert client.post(link).status_code == 405


@pytest.mark.parametrize("token", ["x", "x:y:z", "WzEsIiJd:1tq:forged"])
def test_a_forged_or_old_link_leads_to_the_list_of_what_waits(token, at, people, client):
    assert client.get(f"/approve/{token}/").url == reverse("admin:index")
    make.plan(make.channel(), people=list(people.items()))
    update = make.incident(people["incident_manager"]).updates.get()
    update.submit(update.author)
    link = approving.link(update)
    at(8 * 24 * 60)
    assert client.get(link).url == reverse("admin:index")


# ── Nothing new ─────────────────────────────────────────────────────────────


def test_nothing_new_is_said_in_two_clicks(incident, at, people):
    at(5)
    make.published(incident.updates.get(), people["communications_manager"])
    at(25)
    client = make.client(people["incident_manager"])
    assert "Nothing new" in client.get(reverse("admin:index")).content.decode()
    first = client.post(reverse("admin:incidents_incident_write", args=[incident.pk]), {"no_change": "1"})
    draft = incident.updates.get(status="draft")
    assert first.url == reverse("admin:incidents_incidentupdate_compose", args=[draft.pk])
    text = draft.renditions.get(locale="en")
    assert text.subject.startswith("No change: ")
    assert text.outlook.startswith("Nothing has changed since our update of ")
    assert draft.renditions.get(locale="it").subject.startswith("Nessuna novità: ")
    # Its own words give the checker nothing to say about times.
    assert [one.message for one in checker.check(draft) if "The text says" in one.message] == []
    draft.submit(people["incident_manager"])
    assert draft.status == IncidentUpdate.Status.IN_REVIEW
    published = make_again(draft, people)
    assert published.next_update_at > timezone.now()
    again = declaring.start_no_change(incident, people["incident_manager"])
    assert again.renditions.get(locale="en").subject == text.subject


def make_again(draft: IncidentUpdate, people) -> IncidentUpdate:
    draft.approve(people["communications_manager"], typed_count=draft.reach().total)
    return draft.publish(people["communications_manager"])


def test_there_is_no_change_of_nothing(incident, people):
    with pytest.raises(WrongState, match="nothing was published"):
        declaring.start_no_change(incident, people["incident_manager"])
    make.published(incident.updates.get(), people["communications_manager"])
    declaring.start_draft(incident, people["incident_manager"])
    with pytest.raises(WrongState, match="being written"):
        declaring.start_no_change(incident, people["incident_manager"])


# ── What staff see ──────────────────────────────────────────────────────────


def test_the_incident_tells_its_broken_promises(incident, at, people):
    at(20)
    clock.tick()
    client = make.client(people["incident_manager"])
    page = reverse("admin:incidents_incident_change", args=[incident.pk])
    assert "late by 5 min so far" in client.get(page).content.decode()
    at(27)
    make.published(incident.updates.get(), people["communications_manager"])
    at(60)
    assert "12 min late" in client.get(page).content.decode()


def test_notices_are_listed_to_those_who_see_the_incident(incident, at, people, django_assert_max_num_queries):
    at(20)
    clock.tick()
    url = reverse("admin:incidents_staffnotice_changelist")
    with django_assert_max_num_queries(26):
        page = make.client(people["incident_manager"]).get(url).content.decode()
    assert "First update overdue: Cards fail" in page
    stranger = make.user("Support leads")
    assert "Cards fail" not in make.client(stranger).get(url).content.decode()
    one = StaffNotice.objects.first()
    change = reverse("admin:incidents_staffnotice_change", args=[one.pk])
    assert make.client(people["incident_manager"]).get(change).status_code == 200
    assert make.client(people["incident_manager"]).post(change, {"subject": "x"}).status_code == 403
    assert make.client(stranger).get(change).status_code in (302, 403, 404)


def test_the_sweep_is_harmless_to_repeat_and_no_error_stops_the_others(incident, at, people, monkeypatch):
    other = make.incident(people["incident_manager"], title="Search is slow")
    seen = []

    def watch(one, told_at):
        seen.append(one.title)
        if one.pk == incident.pk:
            raise RuntimeError("a bug")

    monkeypatch.setattr(clock, "_watch", watch)
    clock.tick()
    assert set(seen) == {incident.title, other.title}
    assert Channel.objects.filter(paused_at__isnull=False).count() == 0


def test_all_that_staff_are_told_of_an_incident_shares_a_thread_of_its_own(at, people, monkeypatch):
    """Amazon Q Developer puts what has the same thread together; what customers are told has another."""
    sent = []

    def send_own(channel, message, one):
        sent.append(message)
        return BaseOutcome(ref="1")

    monkeypatch.setattr(telling_staff.delivery, "send_own", send_own)
    room = make.channel("amazon_q", name="War room", config={"topic_arn": "arn:aws:sns:eu-south-1:123456789012:staff"})
    plan = make.plan(people=list(people.items()), first_update_minutes=15)
    plan.staff_channels.add(room)
    incident = make.incident(people["incident_manager"], title="Cards fail")
    for minutes in (12, 16):
        at(minutes)
        clock.tick()
        telling_staff.send_waiting()
    assert len(sent) == 2
    assert {one.thread for one in sent} == {f"staff-{incident.thread}"}
