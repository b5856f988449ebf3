"""Results by group, with intervals that were checked against tables, and nothing said of too few."""

import csv
import io
from collections import Counter

import pytest
from guardian.shortcuts import assign_perm

from channels.models import Dispatch, Recipient
from feedback import results, wording
from feedback.models import Survey, UpdateVote
from incidents import declaring, roles
from incidents.models import Incident, MessageTemplate
from tests import make

# ── Intervals ──


@pytest.mark.parametrize(
    ("df", "table"), [(4, 2.7764), (5, 2.5706), (9, 2.2622), (29, 2.0452), (100, 1.9840), (10**6, 1.96)]
)
def test_t_agrees_with_its_table(df, table):
    assert results._t(df) == pytest.approx(table, rel=0.003)


@pytest.mark.parametrize(
    ("part", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_agrees_with_published_values(part, n, low, high):
    found = results.share(part, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


def test_a_mean_and_its_interval():
    found = results.mean(Counter({3: 2, 4: 5, 5: 3}))  # mean 4.1, s = 0.7379, t(9) = 2.2622
    assert found.value == pytest.approx(4.1)
    assert (found.low, found.high) == (pytest.approx(3.572, abs=0.003), pytest.approx(4.628, abs=0.003))
    assert results.mean(Counter({5: 20})).low == 5.0
    assert results.mean(Counter({5: 18, 4: 2})).high == 5.0


def test_of_four_answers_nothing_is_said():
    few = results.mean(Counter({1: 4}))
    assert (few.n, few.value) == (4, None)
    assert wording.mean_estimate(few) == wording.share_estimate(results.share(4, 4)) == "too few"
    assert wording.mean_estimate(results.mean(Counter({4: 5}))) == "4.0 (4.0–4.0)"
    assert wording.share_estimate(results.share(5, 10)) == "50 % (24–76 %)"


# ── Groups ──

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    """An incident on two components of whose answers six are English by email and five Italian by SMS."""
    author = make.incident_manager()
    component = make.component()
    make.plan(make.channel(name="Email"), make.channel("outbox_sms", name="SMS"))
    people = [*make.recipients(6), *make.recipients(5, medium="sms", locale="it"), *make.recipients(1)]
    incident = make.incident(author, component)
    first = make.published(incident.updates.get())
    template = MessageTemplate.objects.get(scenario=incident.scenario, stage="resolved", locale="en")
    template.impact = "Nobody is affected any more."
    template.save()
    make.deliver()
    make.published(declaring.start_draft(incident, author, "resolved"))
    make.deliver()
    for one in people[:11]:
        sent = Dispatch.objects.get(purpose="survey", deliveries__recipient=one)
        score = 5 if one.medium == "email" else 2
        make.survey_answer(incident, one, clear=score, locale=one.locale, channel=sent.channel)
        UpdateVote.objects.create(update=first, recipient=one, clear=score > 2, locale=one.locale, channel=sent.channel)
    UpdateVote.objects.create(update=first, clear=False, locale="en")
    return incident


def rows(incident: Incident) -> dict[tuple[str, str], results.Row]:
    version = Survey.objects.get().current()
    found = results.of_survey(version, Incident.objects.filter(pk=incident.pk))
    return {(row.kind, row.name): row for row in found.rows}


def test_answers_by_channel_language_and_template(world):
    found = rows(world)
    everybody = found["", ""]
    assert (everybody.invited, everybody.answered, round(everybody.rate, 3)) == (12, 11, 0.917)
    email, sms = found["channel", "Email"], found["channel", "SMS"]
    assert (email.invited, email.answered, email.scores["clear"]) == (7, 6, {5: 6})
    assert (sms.invited, sms.answered, sms.scores["clear"]) == (5, 5, {2: 5})
    assert found["language", "Italian"].scores["clear"] == {2: 5}
    names = {name for kind, name in found if kind == "template"}
    assert names == {
        "Outage · Investigating · en, words 1",
        "Outage · Resolved · en, words 2",
        "Outage · Investigating · it, words 1",
        "Outage · Resolved · it, words 1",
    }
    assert found["template", "Outage · Resolved · en, words 2"].scores["clear"] == {5: 6}


def test_a_template_that_is_changed_later_keeps_its_results_apart(world):
    template = MessageTemplate.objects.get(scenario=world.scenario, stage="resolved", locale="en")
    template.impact = "Again other words."
    template.save()
    assert ("template", "Outage · Resolved · en, words 2") in rows(world)


def test_votes_by_update_template_channel_and_language(world):
    found = {(one.kind, one.name): (one.clear, one.n) for one in results.of_votes(Incident.objects.all())}
    assert found["", ""] == (6, 12)
    assert found["update", f"{world.title}, update 1"] == (6, 12)
    assert found["channel", "Status page"] == (0, 1)
    assert found["channel", "SMS"] == (0, 5)
    assert found["language", "English"] == (6, 7)
    assert found["template", "Outage · Investigating · en, words 1"] == (6, 7)
    assert results.of_votes(Incident.objects.none()) == []


# ── Pages ──


def url(tail: str = "") -> str:
    return f"/admin/feedback/survey/{Survey.objects.get().pk}/results/{tail}"


def test_the_page_and_the_file_say_the_same(client, world):
    client.force_login(make.communications_manager())
    page = client.get(url()).content.decode()
    assert "11 of 12 who were asked answered (92 %)." in page
    assert "5.0 (5.0–5.0)" in page
    assert "A sample" not in page
    lines = list(csv.reader(io.StringIO(client.get(url("csv/")).content.decode("utf-8-sig"))))
    question = "Was it clear what was happening and whether it affected you?"
    [line] = [one for one in lines if one[:2] == ["By channel", "SMS"] and one[5] == question]
    assert line == ["By channel", "SMS", "5", "5", "100.00", question, "5", "2.00", "2.00", "2.00", "1 to 5"]


def test_the_report_of_an_incident_has_them_too(client, world):
    client.force_login(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    page = client.get(f"/admin/feedback/report/{world.pk}/").content.decode()
    assert "Outage · Resolved · en, words 2" in page
    assert "“Was this clear?” under each message" in page
    assert "6 of 12 · 50 % (25–75 %)" in page


def test_a_sample_is_named(client, world):
    survey = Survey.objects.get()
    survey.share = 50
    survey.save()
    survey.current()
    author = make.incident_manager()
    incident = make.incident(author, make.component())
    make.published(incident.updates.get())
    make.deliver()
    make.published(declaring.start_draft(incident, author, "resolved"))
    make.deliver()
    client.force_login(make.communications_manager())
    page = client.get(url("?version=2")).content.decode()
    assert "A sample: 50 % of those who were told were asked." in page
    assert "Nobody has answered this version yet." in page


def test_only_incidents_that_one_sees_are_counted(client, world):
    foreign = make.user(roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.operate_component", foreign, make.component())
    client.force_login(foreign)
    page = client.get(url()).content.decode()
    assert "Nobody has answered this version yet." in page
    assert world.title not in page
    for who in (make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS), make.user(roles.ALL_COMPONENTS)):
        client.force_login(who)
        assert client.get(url()).status_code == client.get(url("csv/")).status_code == 403


@pytest.mark.parametrize("version", ["99", "x", "-1", "9" * 30, "²", ""])
def test_a_version_that_is_not_there(client, version):
    client.force_login(make.communications_manager())
    assert client.get(url(), {"version": version}).status_code == (404 if version == "99" else 200)


def test_the_number_of_queries_does_not_grow(client, world, django_assert_max_num_queries):
    client.force_login(make.communications_manager())
    author = make.incident_manager()
    for _n in range(4):
        incident = make.incident(author, make.component())
        update = make.published(incident.updates.get())
        for one in Recipient.objects.filter(medium="email")[:3]:
            make.survey_answer(incident, one)
            UpdateVote.objects.create(update=update, recipient=one, clear=True, locale="en")
    with django_assert_max_num_queries(22):
        assert client.get(url()).status_code == 200
    with django_assert_max_num_queries(39):
        assert client.get(f"/admin/feedback/report/{world.pk}/").status_code == 200
