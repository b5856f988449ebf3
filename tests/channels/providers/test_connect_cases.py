import pytest
from botocore.config import Config

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import aws
from channels.providers.base import Addressee
from channels.providers.connect_cases import MAX_COMMENT, ConnectCasesForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault, Hang
from tests.fakes.connect import DOMAIN

from .conftest import make_message

CASE = "9a8b7c6d-0123-4567-89ab-cdef01234567"
CONFIG = {
    "region": "eu-south-1",
    "access_key_id": ACCESS_KEY,
    "secret_access_key": SECRET_KEY,
    "domain_id": DOMAIN["domainId"],
}
CREATE = "CreateRelatedItem"


@pytest.fixture
def fake(fake_service):
    return fake_service("connectcases")


@pytest.fixture
def cases(make_provider, fake):
    return make_provider("connect_cases", **CONFIG)


def send(provider, address=f"7:{CASE}", **parts):
    [outcome] = provider.send(make_message(parts=parts), [Addressee(address, key="42-0")])
    return outcome


def test_its_requests_fit_the_model(cases, fake):
    outcome = send(cases, text="Card payments fail.")
    assert outcome.error is None
    assert outcome.ref.startswith("fake-relateditemid")
    assert fake.invalid == []
    assert fake.params(CREATE) == [
        {
            "domainId": DOMAIN["domainId"],
            "caseId": CASE,
            "type": "Comment",
            "content": {
                "comment": {
                    "body": "Card payments: partial outage\n\nCard payments fail.\n\n"
                    "https://portal.example.com/incidents/9f3kabcd/",
                    "contentType": "Text/Plain",
                }
            },
        }
    ]


def test_the_longest_comment_that_it_takes_fits_the_model(cases, fake):
    assert send(cases, subject="", url="", text="x" * MAX_COMMENT).error is None
    assert fake.invalid == []


@pytest.mark.parametrize(("address", "code"), [("7:../x", "bad-ticket"), ("7:", "bad-ticket"), ("7:a b", "bad-ticket")])
def test_what_is_no_case_is_never_asked_for(cases, fake, address, code):
    assert send(cases, address).error.code == code
    assert not fake.calls


def test_it_refuses_what_does_not_fit_and_cuts_nothing(cases, fake):
    assert send(cases, text="x" * MAX_COMMENT).error.code == "too-long"
    assert send(cases, text=" ").error.code == "empty"
    assert not fake.calls


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ConflictException", 409),
        ("ResourceNotFoundException", 404),
        ("ServiceQuotaExceededException", 402),
        ("ValidationException", 400),
    ],
)
def test_what_one_case_meets_is_an_outcome(cases, fake, code, status):
    extra = {"resourceId": CASE, "resourceType": "CASE"} if code.startswith("Resource") else {}
    fake.script(CREATE, Fault(code, "refused", status, extra))
    error = send(cases).error
    assert (type(error), error.code) == (Permanent, code)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("ResourceNotFoundException", "gone", 404, {"resourceId": "x", "resourceType": "DOMAIN"}),
        Fault("AccessDeniedException", "no", 403),
    ],
)
def test_what_every_case_would_meet_is_raised(cases, fake, fault):
    fake.script(CREATE, fault)
    with pytest.raises(Permanent) as caught:
        send(cases)
    assert caught.value.code == fault.code


def test_a_throttle_is_raised_once(cases, fake):
    fake.script(CREATE, Fault("ThrottlingException", "slow down", 429))
    with pytest.raises(Throttled):
        send(cases)
    assert len(fake.calls) == 1


@pytest.mark.parametrize("step", [Drop(), Hang(), Fault("InternalServerException", "oops", 500)])
def test_perhaps_sent_is_uncertain_and_not_repeated(cases, fake, monkeypatch, step):
    monkeypatch.setattr(aws, "CONFIG", aws.CONFIG.merge(Config(read_timeout=0.2)))
    fake.script(CREATE, step)
    assert type(send(cases).error) is Uncertain
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_sent(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_CONNECTCASES", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        send(make_provider("connect_cases", **CONFIG))


def test_the_probe_names_the_domain_and_writes_nothing(cases, fake):
    fake.answers["GetDomain"] = DOMAIN
    assert "support" in cases.probe()
    assert [call.operation for call in fake.calls] == ["GetDomain"]


def test_the_probe_refuses_a_domain_that_is_not_ready(cases, fake):
    fake.answers["GetDomain"] = DOMAIN | {"domainStatus": "CreationInProgress"}
    with pytest.raises(Permanent, match="CreationInProgress"):
        cases.probe()


def test_the_form_names_the_field_and_the_value():
    form = ConnectCasesForm(CONFIG | {"domain_id": "arn:aws:cases"})
    assert list(form.errors) == ["domain_id"]
    assert "arn:aws:cases" in form.errors["domain_id"][0]
    assert "events_topic_arn" not in form.fields
