"""`manage.py incident`: the same verbs as somebody, with their permissions, and an exit code for each failure."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from guardian.shortcuts import assign_perm

from incidents import roles
from incidents.models import Incident, IncidentUpdate
from tests import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def component():
    make.plan(make.channel())
    make.scenario()
    return make.component("Checkout")


@pytest.fixture
def anna():
    return make.incident_manager(username="anna")


def run(*args: str) -> str:
    out = StringIO()
    call_command("incident", *args, stdout=out)
    return out.getvalue()


def fails(code: int, *args: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(*args)
    assert caught.value.returncode == code, caught.value
    return str(caught.value)


def declare(*more: str) -> Any:
    given = ("declare", "--as", "anna", "--component", "checkout=major_outage", "--scenario", "outage", "--json", *more)
    return json.loads(run(*given))


def test_declaring_writes_a_draft_and_tells_nobody(component, anna):
    said = declare("--word", "en.issue=Cards are refused.")
    one = Incident.objects.get()
    assert (said["incident"]["id"], one.declared_by, one.published_at) == (one.uid, anna, None)
    assert (said["update"]["status"], said["update"]["words"]["en"]["issue"]) == ("draft", "Cards are refused.")


def test_asking_for_approval_publishes_nothing(component, anna):
    said = declare("--submit")
    assert said["update"]["status"] == "in_review"
    assert Incident.objects.get().published_at is None


def test_in_words_it_says_where_to_approve(component, anna):
    said = run(
        "declare", "--as", "anna", "--component", f"{component.uid}=partial_outage", "--scenario", "outage", "--submit"
    )
    assert f"/admin/incidents/incidentupdate/{IncidentUpdate.objects.get().pk}/review/" in said
    assert "Waiting for approval" in said


def test_update_and_resolve(component, anna):
    uid = declare()["incident"]["id"]
    assert "is being written" in fails(5, "update", uid, "--as", "anna")
    changed = json.loads(run("update", uid, "--as", "anna", "--go-on", "--word", "it.issue=Pagamenti fermi.", "--json"))
    assert changed["update"]["words"]["it"]["issue"] == "Pagamenti fermi."
    make.published(IncidentUpdate.objects.get())
    run("update", uid, "--as", "anna", "--no-change")
    IncidentUpdate.objects.get(status="draft").withdraw(anna)
    said = json.loads(run("resolve", uid, "--as", "anna", "--submit", "--json"))["update"]
    assert (said["stage"], said["status"], list(said["component_states"].values())) == (
        "resolved",
        "in_review",
        ["operational"],
    )
    assert Incident.objects.get().resolved_at is None


def test_a_file_of_words(component, anna, tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"en": {"issue": "From a file."}}))
    assert declare("--words", str(file))["update"]["words"]["en"]["issue"] == "From a file."
    for text in ("{", "[]", '{"en": "x"}', '{"en": {"issue": 7}}'):
        file.write_text(text)
        fails(
            6, "declare", "--as", "anna", "--component", "Checkout=major_outage", "--even-if-open", "--words", str(file)
        )
    fails(6, "declare", "--as", "anna", "--component", "Checkout=major_outage", "--even-if-open", "--words", "nosuch")


def test_the_list_has_what_one_may_see(component, anna):
    uid = declare()["incident"]["id"]
    assert uid in run("list", "--as", "anna")
    stranger = make.user(roles.INCIDENT_MANAGERS, username="stranger")
    assign_perm("incidents.operate_component", stranger, make.component("Login"))
    assert run("list", "--as", "stranger").strip() == "None."
    fails(3, "update", uid, "--as", "stranger")
    fails(3, "resolve", uid, "--as", "stranger")
    said = fails(6, "declare", "--as", "stranger", "--component", "Checkout=major_outage")
    assert said.endswith("Use one of: Login.")


@pytest.mark.parametrize(
    ("code", "args"),
    [
        (2, ["list", "--as", "nobody"]),
        (3, ["update", "nosuch", "--as", "anna"]),
        (4, ["list", "--as", "bare"]),
        (4, ["declare", "--as", "elena", "--component", "Checkout=major_outage"]),
        (6, ["declare", "--as", "anna", "--component", "Nosuch=major_outage"]),
        (6, ["declare", "--as", "anna", "--component", "Checkout=major_outage", "--scenario", "nosuch"]),
        (6, ["declare", "--as", "anna", "--component", "Checkout=major_outage", "--started", "2099-01-01T00:00:00Z"]),
        (6, ["declare", "--as", "anna", "--component", "Checkout=major_outage", "--word", "de.issue=x"]),
        (6, ["declare", "--as", "anna", "--component", "Checkout=major_outage", "--word", "en.headline=x"]),
        (
            6,
            [
                "declare",
                "--as",
                "anna",
                "--component",
                "Checkout=major_outage",
                "--submit",
                "--word",
                "en.issue={{ x }}",
            ],
        ),
        (1, ["declare", "--as", "anna", "--component", "Checkout"]),
        (1, ["declare", "--as", "anna", "--component", "Checkout=fine"]),
        (1, ["declare", "--as", "anna", "--component", "Checkout=major_outage", "--started", "noon"]),
        (1, ["declare", "--component", "Checkout=major_outage"]),
        (1, []),
    ],
)
def test_each_failure_has_its_code_and_leaves_nothing(component, anna, code, args):
    """Wrong arguments are 2 at a terminal; `call_command` has 1 for them."""
    make.user(username="bare")
    make.user(roles.MANAGERS, roles.ALL_COMPONENTS, username="elena")
    assert fails(code, *args)
    assert not Incident.objects.exists()


def test_an_incident_that_is_open_already_is_named(component, anna):
    uid = declare()["incident"]["id"]
    assert uid in fails(5, "declare", "--as", "anna", "--component", "Checkout=major_outage")
    declare("--even-if-open")


def test_somebody_who_left_does_nothing(component, anna):
    anna.is_active = False
    anna.save()
    fails(2, "list", "--as", "anna")
