import pytest

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import get
from channels.providers.base import Addressee
from channels.providers.sns_sms import SnsSmsForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault

from .conftest import addressees, make_message

LOGIN = {"region": "eu-south-1", "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
CONFIG = {**LOGIN, "sender_id": "EXAMPLE", "max_price": "0.20"}
TEXT = {"text": "Example: card payments fail. Next update 15:00 CET."}


@pytest.fixture
def fake(fake_service):
    return fake_service("sns")


@pytest.fixture
def sms(make_provider, fake):
    return make_provider("sns_sms", **CONFIG)


def send(sms, text=TEXT["text"], address="+393201234500"):
    [outcome] = sms.send(make_message(parts={"text": text}), [Addressee(address, key="42-0", values={"name": "Ada"})])
    return outcome


def test_its_requests_fit_the_model(sms, fake):
    outcome = send(sms)
    assert outcome.error is None
    assert outcome.ref
    assert fake.invalid == []
    assert fake.params("Publish") == [
        {
            "PhoneNumber": "+393201234500",
            "Message": TEXT["text"],
            "MessageAttributes": {
                "AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": "Transactional"},
                "AWS.SNS.SMS.SenderID": {"DataType": "String", "StringValue": "EXAMPLE"},
                "AWS.SNS.SMS.MaxPrice": {"DataType": "Number", "StringValue": "0.20"},
            },
        }
    ]


def test_it_leaves_out_what_is_not_set(make_provider, fake):
    assert send(make_provider("sns_sms", **LOGIN, sender_id="", max_price="")).error is None
    assert set(fake.params("Publish")[0]["MessageAttributes"]) == {"AWS.SNS.SMS.SMSType"}


def test_it_stands_in_for_end_user_messaging():
    ours, theirs = get("sns_sms").capabilities, get("eum_sms").capabilities
    assert (ours.form, ours.medium, ours.max_segments) == (theirs.form, theirs.medium, theirs.max_segments)


def test_moto_takes_it(make_provider, moto):
    sms = make_provider("sns_sms", **CONFIG)
    outcomes = sms.send(make_message(parts=TEXT), addressees(2, "sms"))
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert len({outcome.ref for outcome in outcomes}) == 2
    wrong = send(sms, address="not a number")
    assert type(wrong.error) is Permanent
    assert wrong.error.bad_address


def test_personal_values_count(sms, fake):
    assert send(sms, "[[name]]: " + "x" * 1595).error is None
    assert fake.params("Publish")[0]["Message"].startswith("Ada: xx")
    assert send(sms, "[[name]]: " + "x" * 1596).error.code == "bad-length"


@pytest.mark.parametrize("text", ["", "   ", "x" * 1601])
def test_it_refuses_what_does_not_fit(sms, fake, text):
    error = send(sms, text).error
    assert type(error) is Permanent
    assert "1600" in error.detail.replace(",", "")
    assert not fake.calls


@pytest.mark.parametrize(
    ("fault", "bad_address"),
    [
        (Fault("InvalidParameter", "Invalid parameter: PhoneNumber Reason: +39 is not valid to publish to"), True),
        (Fault("InvalidParameter", "Invalid parameter: PhoneNumber Reason: the number is opted out"), False),
        (Fault("OptedOut", "Phone number has opted out"), False),
        (Fault("InvalidParameter", "Invalid parameter: Message Reason: Message too long"), False),
    ],
)
def test_what_one_number_meets_is_an_outcome(sms, fake, fault, bad_address):
    fake.script("Publish", fault)
    error = send(sms).error
    assert (type(error), error.code, error.bad_address) == (Permanent, fault.code, bad_address)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("Throttled", "slow down", 429), Throttled),
        (Fault("Throttling", "Rate exceeded"), Throttled),
        (Fault("AuthorizationError", "not authorized to perform SNS:Publish", 403), Permanent),
        (Fault("InvalidParameterValue", "Invalid parameter: MessageAttributes Reason: SenderID"), Permanent),
        (Fault("ParameterValueInvalid", "AWS.SNS.SMS.MaxPrice"), Permanent),
    ],
)
def test_what_every_number_would_meet_is_raised_once(sms, fake, fault, error):
    fake.script("Publish", fault)
    with pytest.raises(error) as caught:
        send(sms)
    assert caught.value.code == fault.code
    assert not getattr(caught.value, "bad_address", False)
    assert len(fake.calls) == 1


@pytest.mark.parametrize("step", [Drop(), Drop(cut=True), Fault("InternalError", "oops", 500)])
def test_perhaps_sent_is_uncertain_and_not_repeated(sms, fake, step):
    fake.script("Publish", step)
    assert type(send(sms).error) is Uncertain
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_sent(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_SNS", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        send(make_provider("sns_sms", **CONFIG))


@pytest.mark.parametrize("sandbox", [True, False])
def test_the_probe_tells_of_the_sandbox_and_sends_nothing(sms, fake, sandbox):
    fake.answers["GetSMSSandboxAccountStatus"] = {"IsInSandbox": sandbox}
    assert ("sandbox" in sms.probe()) is sandbox
    assert [call.operation for call in fake.calls] == ["GetSMSSandboxAccountStatus"]


def test_the_probe_fails_on_bad_credentials(make_provider, fake):
    with pytest.raises(Permanent):
        make_provider("sns_sms", **CONFIG | {"access_key_id": "AKIASTRANGESTRANGE00"}).probe()


def test_the_form_names_the_field_and_the_value():
    form = SnsSmsForm({"region": "eu-south-1", "max_price": "a lot", "sender_id": "12345"})
    assert "“a lot” is not a price" in str(form.errors["max_price"])
    assert "“12345” is not a sender ID" in str(form.errors["sender_id"])
    assert SnsSmsForm({"region": "eu-south-1", "max_price": "0.20", "sender_id": "4Example"}).is_valid()
    assert "events_topic_arn" not in form.fields
