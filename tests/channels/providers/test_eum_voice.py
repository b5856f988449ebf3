import pytest

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers.base import Addressee
from channels.providers.eum_voice import VOICES, EumVoiceForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault, model

from .conftest import addressees, make_message

CONFIG = {
    "region": "eu-south-1",
    "access_key_id": ACCESS_KEY,
    "secret_access_key": SECRET_KEY,
    "origination_identity": "+390212345678",
    "voice_en": "EMMA",
    "voice_it": "GIORGIO",
    "time_to_live": 3600,
}
SEND = "SendVoiceMessage"
TEXT = {"text": "Example. Card payments fail. Next update at 15:00."}


@pytest.fixture
def fake(fake_service):
    return fake_service("pinpoint-sms-voice-v2")


@pytest.fixture
def voice(make_provider, fake):
    return make_provider("eum_voice", **CONFIG)


def call(voice, text=TEXT["text"], **changes):
    [outcome] = voice.send(make_message(parts={"text": text}, **changes), addressees(1, "voice"))
    return outcome


def test_its_requests_fit_the_model(make_provider, fake):
    extra = {"configuration_set": "portal", "max_price_per_minute": "0.20"}
    outcome = call(make_provider("eum_voice", **CONFIG, **extra))
    assert outcome.error is None
    assert outcome.ref
    assert fake.invalid == []
    pause = '<break time="600ms"/>'
    assert fake.params(SEND) == [
        {
            "DestinationPhoneNumber": "+393201234500",
            "OriginationIdentity": "+390212345678",
            "MessageBody": f"<speak>Example.{pause}Card payments fail.{pause}Next update at 15:00.</speak>",
            "MessageBodyTextType": "SSML",
            "VoiceId": "EMMA",
            "ConfigurationSetName": "portal",
            "MaxPricePerMinute": "0.20",
            "TimeToLive": 3600,
            "Context": {"dispatch": "dispatch-42", "delivery": "42-0"},
        }
    ]


def test_every_voice_is_one_that_aws_has():
    known = model("pinpoint-sms-voice-v2").shape_for("VoiceId").enum
    assert set().union(*VOICES.values()) <= set(known)


@pytest.mark.parametrize(("locale", "voice_id"), [("it", "GIORGIO"), ("en", "EMMA"), ("en-gb", "EMMA")])
def test_the_voice_follows_the_language(voice, fake, locale, voice_id):
    call(voice, locale=locale)
    assert fake.params(SEND)[0]["VoiceId"] == voice_id


def test_a_language_without_a_voice_is_refused(voice, fake):
    outcome = call(voice, locale="xx")
    assert outcome.error.code == "no-voice"
    assert not fake.calls


def test_nothing_in_the_text_becomes_markup(voice, fake):
    one = Addressee("+393201234567", key="1", values={"name": "<break time='9s'/>"})
    voice.send(make_message(parts={"text": 'R&D says "no" to [[name]]'}), [one])
    said = fake.params(SEND)[0]["MessageBody"]
    assert said == "<speak>R&amp;D says &quot;no&quot; to &lt;break time=&apos;9s&apos;/&gt;</speak>"


@pytest.mark.parametrize(
    ("text", "code"), [("", "bad-length"), (" \n", "bad-length"), ("x" * 5986, "too-long"), ("&" * 1500, "too-long")]
)
def test_it_refuses_what_aws_would_not_read(voice, fake, text, code):
    outcome = call(voice, text)
    assert type(outcome.error) is Permanent
    assert outcome.error.code == code
    assert not fake.calls


def test_six_thousand_characters_go_out_whole(voice, fake):
    assert call(voice, "x" * 5985).error is None
    assert len(fake.params(SEND)[0]["MessageBody"]) == 6000
    assert fake.invalid == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ConflictException", "DESTINATION_PHONE_NUMBER_OPTED_OUT"),
        ("ConflictException", "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION"),
        ("ServiceQuotaExceededException", "DAILY_DESTINATION_CALL_LIMIT"),
    ],
)
def test_what_one_number_meets_is_an_outcome(voice, fake, code, reason):
    fake.script(SEND, Fault(code, "refused", extra={"Reason": reason}))
    outcome = call(voice)
    assert type(outcome.error) is Permanent
    assert (outcome.error.code, outcome.error.bad_address) == (reason, False)


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (Fault("ThrottlingException", "slow down"), Throttled, "ThrottlingException"),
        (
            Fault("ValidationException", "no", extra={"Reason": "VOICE_CAPABILITY_NOT_AVAILABLE"}),
            Permanent,
            "VOICE_CAPABILITY_NOT_AVAILABLE",
        ),
        (
            Fault("ServiceQuotaExceededException", "no", extra={"Reason": "MONTHLY_SPEND_LIMIT_REACHED_FOR_VOICE"}),
            Permanent,
            "MONTHLY_SPEND_LIMIT_REACHED_FOR_VOICE",
        ),
    ],
)
def test_what_every_number_would_meet_is_raised(voice, fake, fault, error, code):
    fake.script(SEND, fault)
    with pytest.raises(error) as caught:
        call(voice)
    assert caught.value.code == code


@pytest.mark.parametrize("step", [Drop(), Drop(cut=True), Fault("InternalServerException", "oops", 500)])
def test_perhaps_called_is_uncertain_and_not_repeated(voice, fake, step):
    fake.script(SEND, step)
    assert type(call(voice).error) is Uncertain
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_called(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_PINPOINT_SMS_VOICE_V2", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        call(make_provider("eum_voice", **CONFIG))


def test_the_probe_tells_of_the_sandbox_and_calls_nobody(voice, fake):
    fake.answers["DescribeAccountAttributes"] = {"AccountAttributes": [{"Name": "ACCOUNT_TIER", "Value": "SANDBOX"}]}
    assert "sandbox" in voice.probe()
    assert [one.operation for one in fake.calls] == ["DescribeAccountAttributes"]


def test_the_form_names_the_field():
    wrong = {"voice_en": "HAL", "time_to_live": "2", "origination_identity": "no spaces!"}
    form = EumVoiceForm(CONFIG | wrong)
    assert set(form.errors) == {"voice_en", "time_to_live", "origination_identity"}
