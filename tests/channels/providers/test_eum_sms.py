import pytest
from botocore.config import Config

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import aws
from channels.providers.base import Addressee
from channels.providers.eum_sms import EumSmsForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault, Hang

from .conftest import addressees, make_message

CONFIG = {
    "region": "eu-south-1",
    "access_key_id": ACCESS_KEY,
    "secret_access_key": SECRET_KEY,
    "origination_identity": "EXAMPLE",
    "configuration_set": "portal",
    "max_price": "0.20",
}
SEND = "SendTextMessage"
TEXT = {"text": "Example: card payments fail. Next update 15:00 CET."}


@pytest.fixture
def fake(fake_service):
    return fake_service("pinpoint-sms-voice-v2")


@pytest.fixture
def sms(make_provider, fake):
    return make_provider("eum_sms", **CONFIG)


def send(sms):
    [outcome] = sms.send(make_message(parts=TEXT), addressees(1, "sms"))
    return outcome


def test_its_requests_fit_the_model(sms, fake):
    outcome = send(sms)
    assert outcome.error is None
    assert outcome.ref
    assert fake.invalid == []
    assert fake.params(SEND) == [
        {
            "DestinationPhoneNumber": "+393201234500",
            "OriginationIdentity": "EXAMPLE",
            "MessageBody": TEXT["text"],
            "MessageType": "TRANSACTIONAL",
            "ConfigurationSetName": "portal",
            "MaxPrice": "0.20",
            "Context": {"dispatch": "dispatch-42", "delivery": "42-0"},
        }
    ]


def test_it_leaves_out_what_is_not_set(make_provider, fake):
    provider = make_provider("eum_sms", **{k: v for k, v in CONFIG.items() if k in ("region", *KEYS)})
    assert send(provider).error is None
    assert set(fake.params(SEND)[0]) == {"DestinationPhoneNumber", "MessageBody", "MessageType", "Context"}


KEYS = ("access_key_id", "secret_access_key")


def test_it_fills_in_personal_values(sms, fake):
    one = Addressee("+393201234567", key="1", values={"survey_url": "https://p.example/s/1/"})
    sms.send(make_message(parts={"text": "How was it? [[survey_url]]"}), [one])
    assert fake.params(SEND)[0]["MessageBody"] == "How was it? https://p.example/s/1/"


def test_it_keeps_one_connection_across_calls(sms, fake):
    for _n in range(3):
        send(sms)
    assert len({call.peer for call in fake.calls}) == 1


@pytest.mark.parametrize("text", ["", "   ", "x" * 1601])
def test_it_refuses_what_does_not_fit(sms, fake, text):
    [outcome] = sms.send(make_message(parts={"text": text}), addressees(1, "sms"))
    assert outcome.error.code == "bad-length"
    assert not fake.calls


@pytest.mark.parametrize(
    "reason",
    [
        ("ConflictException", "DESTINATION_PHONE_NUMBER_OPTED_OUT"),
        ("ConflictException", "DESTINATION_PHONE_NUMBER_NOT_VERIFIED"),
        ("ValidationException", "DESTINATION_COUNTRY_BLOCKED"),
        ("ValidationException", "PRICE_OVER_THRESHOLD"),
    ],
)
def test_what_one_number_meets_is_an_outcome_with_awss_reason(sms, fake, reason):
    code, why = reason
    fake.script(SEND, Fault(code, "refused", extra={"Reason": why}))
    outcome = send(sms)
    assert type(outcome.error) is Permanent
    assert outcome.error.code == why
    assert not outcome.error.bad_address


def test_a_number_that_cannot_be_one_is_a_bad_address(sms, fake):
    fields = [{"Name": "DestinationPhoneNumber", "Message": "not a phone number"}]
    fake.script(SEND, Fault("ValidationException", "bad", extra={"Reason": "INVALID_PARAMETER", "Fields": fields}))
    outcome = send(sms)
    assert type(outcome.error) is Permanent
    assert outcome.error.bad_address


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("ResourceNotFoundException", "no such sender"), "ResourceNotFoundException"),
        (Fault("AccessDeniedException", "no", 400, {"Reason": "ACCOUNT_DISABLED"}), "ACCOUNT_DISABLED"),
        (
            Fault("ServiceQuotaExceededException", "spent", 400, {"Reason": "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT"}),
            "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT",
        ),
        (
            Fault("ConflictException", "none", 400, {"Reason": "NO_ORIGINATION_IDENTITIES_FOUND"}),
            "NO_ORIGINATION_IDENTITIES_FOUND",
        ),
        (
            Fault(
                "ValidationException",
                "bad",
                400,
                {"Reason": "INVALID_PARAMETER", "Fields": [{"Name": "OriginationIdentity", "Message": "unknown"}]},
            ),
            "INVALID_PARAMETER",
        ),
    ],
)
def test_what_every_number_would_meet_is_raised(sms, fake, fault, code):
    fake.script(SEND, fault)
    with pytest.raises(Permanent) as caught:
        send(sms)
    assert caught.value.code == code
    assert len(fake.calls) == 1


def test_a_throttle_is_raised_once(sms, fake):
    fake.script(SEND, Fault("ThrottlingException", "slow down"))
    with pytest.raises(Throttled):
        send(sms)
    assert len(fake.calls) == 1


@pytest.mark.parametrize("step", [Drop(), Hang(), Fault("InternalServerException", "oops", 500)])
def test_perhaps_sent_is_uncertain_and_not_repeated(sms, fake, monkeypatch, step):
    monkeypatch.setattr(aws, "CONFIG", aws.CONFIG.merge(Config(read_timeout=0.3)))
    fake.script(SEND, step)
    assert type(send(sms).error) is Uncertain
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_sent(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_PINPOINT_SMS_VOICE_V2", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        send(make_provider("eum_sms", **CONFIG))


@pytest.mark.parametrize(("tier", "told"), [("SANDBOX", True), ("PRODUCTION", False)])
def test_the_probe_tells_of_the_sandbox_and_sends_nothing(sms, fake, tier, told):
    fake.answers["DescribeAccountAttributes"] = {"AccountAttributes": [{"Name": "ACCOUNT_TIER", "Value": tier}]}
    assert ("sandbox" in sms.probe()) is told
    assert [call.operation for call in fake.calls] == ["DescribeAccountAttributes"]


def test_the_probe_fails_on_bad_credentials(make_provider, fake):
    with pytest.raises(Permanent):
        make_provider("eum_sms", **CONFIG | {"access_key_id": "AKIASTRANGESTRANGE00"}).probe()


def test_the_form_names_the_field_and_the_value():
    form = EumSmsForm({"region": "eu-south-1", "max_price": "a lot", "origination_identity": "no spaces!"})
    assert set(form.errors) == {"max_price", "origination_identity"}
