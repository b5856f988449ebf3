import json
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone
from django_q.models import OrmQ

from channels.models import Batch, Channel, Delivery, Recipient
from commsportal.demo import DEMO_LOGINS, DEMO_PASSWORD, build, story
from feedback import reports
from feedback.models import SurveyAnswer
from incidents import publishing
from incidents.checker import Level, check
from incidents.errors import NotAllowed
from incidents.models import Component, Decision, Incident, IncidentUpdate
from tests import make


@pytest.fixture(scope="module")
def company(shared_world: Path) -> tuple[str, Path]:
    """The company, with a tenth of its customers, for all tests of this module: what it printed, its directory."""
    sizes = {medium: count // 10 for medium, count in build.RECIPIENTS.items()}
    out = StringIO()
    with override_settings(PORTAL_DEMO=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "RECIPIENTS", sizes)
        call_command("load_demo", stdout=out)
    return out.getvalue(), shared_world


def person(username: str) -> User:
    return User.objects.get(username=username)


@pytest.mark.django_db
def test_it_refuses_to_make_known_passwords_outside_a_demo(settings):
    settings.PORTAL_DEMO = False
    with pytest.raises(CommandError, match="PORTAL_DEMO"):
        call_command("load_demo")


@pytest.mark.django_db
def test_it_does_not_mix_with_other_data(settings, monkeypatch):
    settings.PORTAL_DEMO = True
    monkeypatch.setattr(build, "is_loaded", lambda: False)
    monkeypatch.setattr(build, "load", lambda: pytest.fail("it began to load"))
    make.component("Ours")
    with pytest.raises(CommandError, match="other data"):
        call_command("load_demo")


@pytest.mark.django_db
def test_it_does_nothing_the_second_time(company, settings, django_assert_max_num_queries):
    settings.PORTAL_DEMO = True
    out = StringIO()
    with django_assert_max_num_queries(1):
        call_command("load_demo", stdout=out)
    assert "already" in out.getvalue()


@pytest.mark.django_db
def test_it_prints_logins_that_work(company):
    printed, _data = company
    assert DEMO_PASSWORD in printed
    for _username, role, name in DEMO_LOGINS:
        assert f"{name}, {role}" in printed
    assert authenticate(username="marta", password=DEMO_PASSWORD) == person("marta")
    assert all(user.is_staff and user.check_password(DEMO_PASSWORD) for user in [person("elena"), person("admin")])
    assert [user.username for user in User.objects.filter(is_superuser=True)] == ["admin"]


def test_it_has_three_thousand_customers():
    assert sum(build.RECIPIENTS.values()) == 3000


@pytest.mark.django_db
def test_customers_come_in_two_languages_and_over_two_media(company):
    found = set(Recipient.objects.exclude(medium="broadcast").values_list("medium", "locale").distinct())
    assert found == {("email", "en"), ("email", "it"), ("sms", "en"), ("sms", "it")}
    assert not Recipient.objects.filter(medium="email").exclude(address__regex=r"@example\.(com|org|net)$").exists()


@pytest.mark.django_db
def test_some_people_are_limited_to_one_group(company):
    for username in ("ingrid", "sofia"):
        mine = Component.objects.for_user(person(username), "incidents.operate_component")
        assert {component.group.name for component in mine} == {"Payments"}
    seen = set(Incident.objects.for_user(person("ingrid")).values_list("title", flat=True))
    assert "Bank transfers held up at a clearing partner" in seen
    assert "Receipts arrive hours late" not in seen
    assert Incident.objects.for_user(person("marta")).count() == len(story.PAST) + 2


@pytest.mark.django_db
def test_the_manager_reads_and_does_not_write(company):
    elena = person("elena")
    assert elena.has_perm("feedback.view_report")
    assert Incident.objects.for_user(elena).count() == len(story.PAST) + 2
    update = IncidentUpdate.objects.get(status="in_review")
    assert not any(update.may(verb, elena) for verb in ("write", "approve", "publish"))


@pytest.mark.django_db
def test_what_was_sent_is_what_was_approved_by_somebody_else(company):
    published = IncidentUpdate.objects.filter(status="published")
    assert published.count() == sum(len(past.updates) for past in story.PAST) + 2
    for update in published:
        assert publishing.sent_hash(update) == update.approved_hash
        assert update.approved_by_id not in update.writers()
        decisions = list(update.decisions.order_by("id"))
        assert [d.at for d in decisions] == sorted(d.at for d in decisions)
        assert decisions[-1].at == update.published_at <= timezone.now()
    assert Decision.objects.filter(verb="reject").exclude(comment="").exists()


@pytest.mark.django_db
def test_reports_have_something_to_say(company):
    for past in story.PAST:
        incident = Incident.objects.get(title=past.title)
        assert incident.stage == "resolved"
        assert incident.resolved_at == incident.started_at + timedelta(minutes=past.updates[-1].minute)
        assert incident.survey_answers.count() > 10
        assert publishing.people_reached(incident) > 20
        first = incident.survey_answers.order_by("at").first()
        assert first.at > incident.resolved_at
    assert SurveyAnswer.objects.exclude(texts={}).exists()
    assert Delivery.objects.filter(status="failed").exclude(code="").exclude(detail="").exists()


@pytest.mark.django_db
def test_nothing_is_left_to_do(company):
    assert not Batch.objects.filter(done_at__isnull=True).exists()
    assert not OrmQ.objects.exists()


@pytest.mark.django_db
def test_maintenance_is_announced_and_its_other_notices_wait_for_their_time(company, client):
    work = Incident.objects.get(maintenance=True)
    assert (work.stage, work.title) == ("scheduled", story.AHEAD.title)
    waiting = work.updates.filter(publish_at__gt=timezone.now()).order_by("publish_at")
    assert [(one.stage, one.goes_by_itself) for one in waiting] == [
        ("scheduled", True),
        ("in_progress", True),
        ("completed", True),
    ]
    assert story.AHEAD.title in client.get("/").content.decode()
    assert story.AHEAD.title in client.get("/maintenance.ics").content.decode()
    (shown,) = client.get("/api/v2/scheduled-maintenances/upcoming.json").json()["scheduled_maintenances"]
    assert shown["name"] == story.AHEAD.title


@pytest.mark.django_db
def test_one_update_waits_for_somebody_who_did_not_write_it(company):
    update = IncidentUpdate.objects.get(status="in_review")
    assert update.next_update_at > timezone.now()
    assert [f for f in check(update) if f.level != Level.HINT] == []
    with pytest.raises(NotAllowed):
        update.approve(person("paolo"), typed_count=update.reach().total)
    update.approve(person("luca"), typed_count=update.reach().total)
    assert update.status == "approved"


@pytest.mark.django_db
def test_the_outbox_holds_what_customers_of_the_open_incident_read(company):
    _printed, data = company
    letters = [json.loads(path.read_text()) for path in (data / "outbox").glob("*.json")]
    thread = Incident.objects.get(title=story.OPEN.title).thread
    mine = [letter for letter in letters if letter["thread"] == thread]
    assert {(letter["form"], letter["locale"]) for letter in mine} == {
        (form, locale) for form in ("email", "sms", "post") for locale in ("en", "it")
    }
    assert not [letter for letter in mine if "{{" in str(letter["parts"]) or "[[" in str(letter["parts"])]


@pytest.mark.django_db
def test_channels_are_shown_in_every_health(company):
    assert {channel.name: channel.health for channel in Channel.objects.all()} == {
        "Email": "well",
        "Text messages": "well",
        "Social posts": "well",
        "Product pages": "well",
        "Status page": "well",
        "Amazon SES": "untested",
        "X": "untested",
    }


@pytest.mark.django_db
def test_its_reports_tell_how_often_notices_were_shown_in_the_app(company):
    said = [facts.channels for facts in reports.gather(Incident.objects.filter(stage="resolved", maintenance=False))]
    shown = [one for channels in said for one in channels if one.shown is not None]
    assert shown
    assert all(one.shown and one.closed and one.shown > one.closed and one.first_shown for one in shown)
