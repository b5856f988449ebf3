import json

import boto3
import pytest

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers.base import Addressee
from channels.providers.sns_push import MAX_BYTES, SnsPushForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault

from .conftest import make_message

KEYS = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
ARN = "arn:aws:sns:eu-south-1:123456789012:app/GCM/example"
ENDPOINT = "arn:aws:sns:eu-south-1:123456789012:endpoint/APNS/example/0f7d5971-aa8b-4bd5-b585-0826e9f93a66"
CONFIG = {"application_arn": ARN, **KEYS}
PARTS = {"subject": "Pagamenti: già risolto", "text": "Example: i pagamenti sono già ripresi."}
URL = "https://portal.example.com/incidents/9f3kabcd/"


@pytest.fixture
def fake(fake_service):
    return fake_service("sns")


@pytest.fixture
def push(make_provider, fake):
    return make_provider("sns_push", **CONFIG)


@pytest.fixture
def cloud(moto, closing):
    """A client of moto with a platform application."""
    login = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "eu-south-1"}
    sns = boto3.client("sns", **login)
    closing.callback(sns.close)
    made = sns.create_platform_application(Name="example", Platform="GCM", Attributes={"Enabled": "true"})
    assert made["PlatformApplicationArn"] == ARN
    return sns


def send(push, address=ENDPOINT, **parts):
    [outcome] = push.send(make_message(parts=PARTS | parts), [Addressee(address, key="42-0", values={"name": "Ada"})])
    return outcome


def test_each_kind_of_phone_gets_what_was_approved(push, fake):
    outcome = send(push)
    assert outcome.error is None
    assert outcome.ref
    assert fake.invalid == []
    [request] = fake.params("Publish")
    bodies = json.loads(request.pop("Message"))
    assert request == {"TargetArn": ENDPOINT, "MessageStructure": "json"}
    assert bodies.pop("default") == PARTS["text"]
    words = {"title": PARTS["subject"], "body": PARTS["text"]}
    apple = {"aps": {"alert": words, "thread-id": "incident-9f3kabcd"}, "url": URL}
    assert {name: json.loads(body) for name, body in bodies.items()} == {
        "GCM": {"fcmV1Message": {"message": {"notification": words, "data": {"url": URL}}}},
        "APNS": apple,
        "APNS_SANDBOX": apple,
    }


def test_it_fills_in_personal_values(push, fake):
    send(push, text="Hello [[name]]")
    assert json.loads(fake.params("Publish")[0]["Message"])["default"] == "Hello Ada"


def test_4096_bytes_go_out_and_one_more_is_refused(push, fake):
    send(push, text="")
    bodies = json.loads(fake.params("Publish")[0]["Message"])
    room = MAX_BYTES - max(len(body.encode()) for name, body in bodies.items() if name != "default")
    assert send(push, text="è" * (room // 2) + "x" * (room % 2)).error is None
    error = send(push, text="è" * (room // 2) + "xx").error
    assert (type(error), error.code, error.bad_address) == (Permanent, "too-large", False)
    assert "Shorten" in error.detail
    assert len(fake.calls) == 2


@pytest.mark.parametrize(
    "address",
    [
        "arn:aws:sns:eu-south-1:123456789012:incidents",  # a topic
        "a-token-for-another-provider",
        ENDPOINT.replace("eu-south-1", "eu-west-1"),
        ENDPOINT.replace("123456789012", "210987654321"),
    ],
)
def test_nothing_goes_to_what_is_no_endpoint_of_this_account_and_region(push, fake, address):
    error = send(push, address).error
    assert type(error) is Permanent
    assert not error.bad_address  # a channel of another provider or region may reach it
    assert not fake.calls


@pytest.mark.parametrize(
    ("fault", "bad_address"),
    [
        (Fault("EndpointDisabled", "Endpoint is disabled"), True),
        (Fault("NotFound", "Endpoint does not exist", 404), True),
        (Fault("InvalidParameter", "Invalid parameter: TargetArn Reason: No endpoint found for the target arn"), True),
        (Fault("InvalidParameter", "Invalid parameter: Message Reason: too long"), False),
    ],
)
def test_what_one_endpoint_meets_is_an_outcome(push, fake, fault, bad_address):
    fake.script("Publish", fault)
    error = send(push).error
    assert (type(error), error.code, error.bad_address) == (Permanent, fault.code, bad_address)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("PlatformApplicationDisabled", "Platform application is disabled"), Permanent),
        (Fault("NotFound", "PlatformApplication does not exist", 404), Permanent),
        (Fault("AuthorizationError", "not authorized to perform SNS:Publish", 403), Permanent),
        (Fault("Throttled", "slow down", 429), Throttled),
    ],
)
def test_what_every_endpoint_would_meet_is_raised_once(push, fake, fault, error):
    fake.script("Publish", fault)
    with pytest.raises(error) as caught:
        send(push)
    assert caught.value.code == fault.code
    assert not getattr(caught.value, "bad_address", False)
    assert len(fake.calls) == 1


@pytest.mark.parametrize("step", [Drop(), Drop(cut=True), Fault("InternalError", "oops", 500)])
def test_perhaps_sent_is_uncertain_and_not_repeated(push, fake, step):
    fake.script("Publish", step)
    assert type(send(push).error) is Uncertain
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_sent(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_SNS", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        send(make_provider("sns_push", **CONFIG))


def test_moto_takes_it_until_the_endpoint_is_disabled_or_gone(make_provider, cloud):
    endpoint = cloud.create_platform_endpoint(PlatformApplicationArn=ARN, Token="phone")["EndpointArn"]
    push = make_provider("sns_push", **CONFIG)
    assert send(push, endpoint).ref
    cloud.set_endpoint_attributes(EndpointArn=endpoint, Attributes={"Enabled": "false"})
    disabled = send(push, endpoint).error
    assert (disabled.code, disabled.bad_address) == ("EndpointDisabled", True)
    cloud.delete_endpoint(EndpointArn=endpoint)
    gone = send(push, endpoint).error
    assert (gone.code, gone.bad_address) == ("NotFound", True)


def test_the_probe_says_whether_the_application_is_enabled(make_provider, cloud):
    push = make_provider("sns_push", **CONFIG)
    assert "is enabled" in push.probe()
    cloud.set_platform_application_attributes(PlatformApplicationArn=ARN, Attributes={"Enabled": "false"})
    with pytest.raises(Permanent, match="renewed"):
        push.probe()


def test_the_probe_fails_for_an_application_that_does_not_exist(make_provider, moto):
    with pytest.raises(Permanent) as caught:
        make_provider("sns_push", **CONFIG).probe()
    assert caught.value.code == "NotFound"


def test_the_form_takes_the_region_from_the_application():
    form = SnsPushForm({"application_arn": ARN})
    assert form.is_valid()
    assert "region" not in form.fields
    wrong = SnsPushForm({"application_arn": ENDPOINT})
    assert f"“{ENDPOINT}” is not the ARN of a platform application" in str(wrong.errors)
