"""Who we are at AWS: entered by an administrator, kept encrypted, checked in words."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse

from incidents.aws import asking, checking
from incidents.models import AwsAccount
from tests import make
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault

from .conftest import PLAN, REGION

pytestmark = pytest.mark.django_db
ADD = "/admin/incidents/awsaccount/add/"
FORM = {
    "name": "Production",
    "enabled": "on",
    "region": REGION,
    "opens_in": "",
    "opens_from": "",
    "namespace": "Commsportal",
    "dashboard": "Commsportal",
}
ME = {"Arn": "arn:aws:iam::123456789012:user/commsportal", "Account": "123456789012", "UserId": "AIDAFAKE"}


@pytest.fixture
def boss(db) -> User:
    return User.objects.create_superuser("boss", "boss@example.com", "pw")


def page(account: AwsAccount, name: str = "change") -> str:
    return reverse(f"admin:incidents_awsaccount_{name}", args=[account.pk])


def errors(response) -> dict:
    return response.context["adminform"].form.errors


# ── The form ──


def test_the_secret_goes_in_encrypted_and_never_comes_out(boss):
    client = make.client(boss)
    client.post(ADD, {**FORM, "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY})
    account = AwsAccount.objects.get()
    assert account.secrets == {"secret_access_key": SECRET_KEY}
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM incidents_awsaccount")
        assert SECRET_KEY not in cursor.fetchone()[0]
    assert SECRET_KEY not in client.get(page(account)).content.decode()
    client.post(page(account), {**FORM, "name": "Other", "access_key_id": ACCESS_KEY, "secret_access_key": ""})
    account.refresh_from_db()
    assert (account.name, account.secrets) == ("Other", {"secret_access_key": SECRET_KEY})


def test_another_key_asks_for_its_own_secret(boss, make_account):
    response = make.client(boss).post(page(make_account()), {**FORM, "access_key_id": "AKIAOTHEROTHEROTHER1"})
    assert "Enter the secret of this access key" in str(errors(response)["secret_access_key"])


def test_without_a_key_the_role_of_the_machine_is_used(boss, make_account):
    account = make_account()
    make.client(boss).post(page(account), {**FORM, "access_key_id": ""})
    account.refresh_from_db()
    assert (account.access_key_id, account.secrets) == ("", {})


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"region": "Milan"}, "region", "“Milan” is not an AWS region"),
        ({"access_key_id": "short"}, "access_key_id", "16 or more capitals"),
        ({"secret_access_key": SECRET_KEY}, "access_key_id", "Enter the ID of this access key"),
        ({"access_key_id": ACCESS_KEY, "secret_access_key": "two words"}, "secret_access_key", "no spaces"),
        ({"role_arn": "admin"}, "role_arn", "“admin” is not the ARN of a role"),
        ({"opens_in": "incident_manager"}, "response_plan_arn", "enter its ARN"),
        ({"opens_in": "incident_manager", "response_plan_arn": "plan"}, "response_plan_arn", "“plan” is not the ARN"),
        ({"opens_in": "", "opens_from": "sev2"}, "opens_in", "Choose where"),
        ({"opens_in": "elsewhere"}, "opens_in", "elsewhere"),
        ({"namespace": "AWS/EC2"}, "namespace", "“AWS/EC2” is no namespace"),
        ({"dashboard": "our board"}, "dashboard", "“our board”: letters, digits"),
    ],
)
def test_bad_input_names_the_field_the_value_and_the_fix(boss, changes, field, words):
    response = make.client(boss).post(ADD, {**FORM, **changes})
    assert response.status_code == 200
    assert words in str(errors(response)[field])
    assert not AwsAccount.objects.exists()


def test_what_an_earlier_check_said_ends_with_other_settings(boss, make_account):
    account = make_account(report=[{"what": "x", "ok": True, "words": "y"}], checked_at="2026-01-01T00:00Z")
    client = make.client(boss)
    same = {**FORM, "access_key_id": ACCESS_KEY}
    client.post(page(account), {**same, "name": "Renamed"})
    account.refresh_from_db()
    assert account.checked_at
    client.post(page(account), {**same, "region": "eu-west-1"})
    account.refresh_from_db()
    assert (account.checked_at, account.report, account.health) == (None, [], "unchecked")


def test_only_an_administrator_sets_it_up_and_incident_managers_see_it(make_account):
    account = make_account()
    manager, other = make.client(make.incident_manager()), make.client(make.user("Support leads"))
    assert manager.get(page(account)).status_code == 200
    assert manager.get(ADD).status_code == 403
    assert manager.post(page(account), FORM).status_code == 403
    assert manager.post(page(account, "check")).status_code == 403
    assert other.get(page(account)).status_code == 403
    assert other.get(page(account, "check")).status_code in (403, 404)


# ── The check ──


def test_the_check_says_who_we_are_and_that_the_response_plan_is_there(boss, make_account, service):
    service("sts").answers["GetCallerIdentity"] = ME
    plans = service("ssm-incidents")
    plans.answers["GetResponsePlan"] = {
        "arn": PLAN,
        "name": "customers-notice",
        "displayName": "Customers notice",
        "incidentTemplate": {"title": "x", "impact": 2},
    }
    account = make_account(opens_in="incident_manager", response_plan_arn=PLAN, trouble="old")
    client = make.client(boss)
    assert "was not asked yet" in client.get(page(account, "check")).content.decode()
    html = client.post(page(account, "check"), follow=True).content.decode()
    assert "AWS knows us as arn:aws:iam::123456789012:user/commsportal" in html
    assert "The response plan “Customers notice” is there" in html
    account.refresh_from_db()
    assert (account.health, account.trouble) == ("well", "")
    assert plans.invalid == []


def test_nothing_is_asked_by_looking(boss, make_account, service):
    sts = service("sts")
    make.client(boss).get(page(make_account(), "check"))
    assert sts.calls == []


def test_ops_center_is_listed_and_nothing_is_created(make_account, service):
    service("sts").answers["GetCallerIdentity"] = ME
    ssm = service("ssm")
    assert all(one.ok for one in checking.check(make_account(opens_in="opscenter")))
    assert [one.operation for one in ssm.calls] == ["DescribeOpsItems"]
    assert ssm.invalid == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("AccessDeniedException", "no policy", 403), "these credentials lack the permission sts:GetCaller"),
        (Fault("InvalidClientTokenId", "x", 403), "AWS does not know these credentials"),
        (Fault("Throttling", "slow down"), "AWS asks for patience"),
        (Fault("InternalFailure", "x", 500), "AWS did not answer in time"),
        (Drop(), "AWS did not answer in time"),
        (Fault("Strange", "what?"), "AWS says no to sts:GetCallerIdentity: Strange. what?"),
    ],
)
def test_each_failure_has_words(make_account, service, fault, words):
    service("sts").script("GetCallerIdentity", fault)
    account = make_account(opens_in="opscenter")
    [found] = checking.check(account)  # nothing else is tried without credentials
    assert not found.ok
    assert words in found.words
    account.refresh_from_db()
    assert account.health == "trouble"


def test_no_server_at_all_has_words_too(make_account, service, monkeypatch):
    service("sts")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    [found] = checking.check(make_account())
    assert "AWS was not reached" in found.words


def test_without_credentials_it_says_so(make_account, service):
    service("sts")
    [found] = checking.check(make_account(access_key_id="", secrets={}))
    assert "There are no credentials" in found.words


def test_a_quoted_secret_is_masked(make_account, service):
    service("sts").script("GetCallerIdentity", Fault("Strange", f"you said {SECRET_KEY}"))
    [found] = checking.check(make_account())
    assert SECRET_KEY not in found.words
    assert "•••" in found.words


def test_the_account_that_does_not_answer_rests(make_account, service):
    sts = service("sts")
    sts.script("GetCallerIdentity", Drop())
    account = make_account()
    with pytest.raises(asking.AwsError) as raised:
        asking.ask(account, "sts", "GetCallerIdentity")
    asking.note(account, raised.value)
    account.refresh_from_db()
    assert account.rests
    asking.note(account, None)
    account.refresh_from_db()
    assert not account.rests
    assert account.trouble  # what happened is still told, for an hour as trouble
