"""What the figures suggest: each rule speaks from its bound on, and one click makes an action of it, once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from feedback import reports, suggesting
from feedback.models import ImprovementAction
from feedback.reports import Breach, IncidentFacts, Reach, Survey, UpdateFact
from feedback.suggesting import suggestions
from incidents import roles
from incidents.models import CommunicationPlan, Incident
from tests import make
from tests.feedback.test_reports import an_incident, an_update, at

T0 = datetime(2026, 3, 2, 10, tzinfo=UTC)
REPORT = "/admin/feedback/report/"


def fact(**changes) -> IncidentFacts:
    """An incident in which everything was as it should be."""
    update = UpdateFact(1, "investigating", T0, 300, late=False, kept_promise=None, waited=60)
    return IncidentFacts(
        **{
            "pk": 1,
            "title": "Card payments fail",
            "severity": "sev2",
            "stage": "resolved",
            "plan": "Payments",
            "plan_id": 7,
            "components": (),
            "imported": False,
            "maintenance": False,
            "started_at": T0,
            "declared_at": T0,
            "resolved_at": T0 + timedelta(hours=1),
            "first_allowed": 900,
            "interval": 1800,
            "assumed": False,
            "updates": (update,),
            "waits": (60.0,),
            "channels": (Reach("Email", reached=99, failed=1),),
            "survey": Survey(10, 5, dict.fromkeys(("clear", "timely", "useful"), (0, 0, 0, 1, 4))),
        }
        | changes
    )


def keys(*facts: IncidentFacts) -> list[str]:
    return [one.key for one in suggestions(facts, reports.summarise(facts))]


LATE = (UpdateFact(1, "investigating", T0 + timedelta(minutes=25), 1500, late=True, kept_promise=None, waited=60),)
TOLD = (replace(LATE[0], late=False, expected=T0 + timedelta(minutes=30)),)
BROKEN = (Breach("first", T0, T0 + timedelta(minutes=5), 300),)


def test_nothing_is_suggested_where_all_is_well():
    assert keys(fact(), fact()) == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"updates": LATE}, "first-late:7"),
        ({"waits": (601.0,)}, "slow-approval:7"),
        ({"breaches": BROKEN}, "promises:7"),
        ({"glass": 1}, "glass:7"),
        ({"survey": Survey(10, 5, {"clear": (0, 2, 2, 1, 0)})}, "clear:7"),
        ({"survey": Survey(10, 5, {"timely": (5, 0, 0, 0, 0)})}, "timely:7"),
        ({"survey": Survey(10, 5, {"useful": (0, 5, 0, 0, 0)})}, "useful:7"),
        ({"channels": (Reach("SMS", reached=90, failed=10),)}, "reach:SMS"),
    ],
)
def test_two_incidents_that_show_the_same_suggest_it(changes, key):
    bad = fact(**changes)
    assert keys(bad, bad) == [key]
    plan_rule = not key.startswith("reach")
    assert not plan_rule or key not in keys(bad), "one incident may have been chance"
    assert not plan_rule or keys(replace(bad, imported=True), replace(bad, imported=True)) == []


def test_a_time_that_did_not_come_true_needs_three():
    bad = fact(updates=TOLD)
    assert keys(bad, bad) == []
    assert keys(bad, bad, bad) == ["expected:7"]


@pytest.mark.parametrize(
    "changes",
    [
        {"waits": (600.0,)},
        {"channels": (Reach("SMS", reached=19, failed=1),)},  # 95 %
        {"channels": (Reach("SMS", reached=10, failed=30),)},  # few
        {"channels": (Reach("Page", broadcast=True, reached=10, failed=300),)},
        {"survey": Survey(10, 2, {"clear": (2, 0, 0, 0, 0)})},  # 4 answers of both
    ],
)
def test_below_its_bound_a_rule_is_silent(changes):
    few = fact(**changes)
    assert keys(few, few) == []


def test_plans_are_looked_at_one_by_one():
    bad, other = fact(updates=LATE), fact(plan="Mail", plan_id=8)
    assert keys(bad, bad, other, other, other, other, other) == ["first-late:7"]
    [one] = suggestions([bad, bad], reports.summarise([bad, bad]))
    assert "Payments" in one.what
    assert one.why == "The first update came late in 2 of 2 incidents; the median was 25 min after the start."
    assert one.plan == 7


# ── One click ──


@pytest.fixture
def slow(unguarded, db) -> CommunicationPlan:
    """A plan whose first updates came late, twice."""
    plan = make.plan(first_update_minutes=15, update_minutes=30)
    for _n in range(2):
        one = an_incident(plan, at(4), stage="resolved", resolved_at=at(90), published_at=at(40))
        an_update(one, 1, at(40), "investigating")
    return plan


def test_it_stands_in_the_report_and_one_click_takes_it_up_once(slow, client, django_assert_max_num_queries):
    elena = make.user(roles.MANAGERS, roles.ALL_COMPONENTS, username="elena", first_name="Elena", last_name="Bassi")
    client.force_login(elena)
    client.get(REPORT)
    with django_assert_max_num_queries(25):
        page = client.get(REPORT, {"period": "all"}).content.decode()
    assert "approve the templates of the first message beforehand" in page
    key = f"first-late:{slow.pk}"
    done = client.post(f"{REPORT}improve/?period=all", {"key": key})
    action = ImprovementAction.objects.get()
    assert done.url == f"/admin/feedback/improvementaction/{action.pk}/change/"
    assert (action.owner, action.plan, action.source) == (elena, slow, f"report:{key}")
    assert "late in 2 of 2 incidents" in action.why
    assert "Mar 2026" in action.why
    client.post(f"{REPORT}improve/?period=all", {"key": key})
    assert ImprovementAction.objects.count() == 1
    page = client.get(REPORT, {"period": "all"}).content.decode()
    assert "Taken up by Elena Bassi" in page
    assert f'value="{key}"' not in page
    action.finish(elena)
    assert f'value="{key}"' in client.get(REPORT, {"period": "all"}).content.decode()


def test_what_the_figures_do_not_say_is_not_taken_up(slow, client):
    client.force_login(make.user(roles.MANAGERS, roles.ALL_COMPONENTS))
    for key in ("nonsense", f"clear:{slow.pk}", ""):
        assert client.post(f"{REPORT}improve/?period=all", {"key": key}).status_code in (403, 409, 422)
    assert client.post(f"{REPORT}improve/?period=30", {"key": f"first-late:{slow.pk}"}).status_code in (403, 409, 422)
    assert client.get(f"{REPORT}improve/?period=all").status_code == 405
    assert not ImprovementAction.objects.exists()


def test_who_sees_other_components_is_told_nothing_of_it(slow, client):
    stranger: User = make.user(roles.MANAGERS)
    client.force_login(stranger)
    assert Incident.objects.exists()
    assert "What could be better" not in client.get(REPORT, {"period": "all"}).content.decode()
    client.post(f"{REPORT}improve/?period=all", {"key": f"first-late:{slow.pk}"})
    assert not ImprovementAction.objects.exists()


def test_every_rule_is_in_the_list():
    rules = {name for name, one in vars(suggesting).items() if name.startswith("_") and callable(one)}
    assert {one.__name__ for one in suggesting.RULES} == rules - {"_channels", "_time"} - {"_"}
