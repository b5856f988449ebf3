import json
from base64 import b64decode

import pytest

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers.base import Addressee
from channels.providers.eum_whatsapp import EumWhatsAppForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault

from .conftest import addressees, make_message

NUMBER = "phone-number-id-01234567890123456789012345678901"
CONFIG = {
    "region": "eu-west-1",
    "access_key_id": ACCESS_KEY,
    "secret_access_key": SECRET_KEY,
    "phone_number_id": NUMBER,
    "template": "incident_update",
    "language_en": "en_GB",
    "language_it": "it",
    "api_version": "v20.0",
}
SEND = "SendWhatsAppMessage"
PROBE = "GetLinkedWhatsAppBusinessAccountPhoneNumber"
TEXT = "Example: card payments fail. Next update at 15:00."
URL = "https://portal.example.com/incidents/9f3kabcd/"
DETAILS = {
    "arn": "arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/0123",
    "phoneNumber": "+390212345678",
    "phoneNumberId": NUMBER,
    "metaPhoneNumberId": "1234567890",
    "displayPhoneNumberName": "Example",
    "displayPhoneNumber": "+39 02 1234 5678",
    "qualityRating": "GREEN",
}


@pytest.fixture
def fake(fake_service):
    return fake_service("socialmessaging")


@pytest.fixture
def whatsapp(make_provider, fake):
    return make_provider("eum_whatsapp", **CONFIG)


def send(whatsapp, one=None, parts=None, **changes):
    words = {"text": TEXT, "url": URL} | (parts or {})
    [outcome] = whatsapp.send(make_message(parts=words, **changes), [one or addressees(1, "whatsapp")[0]])
    return outcome


def sent(fake):
    return [json.loads(b64decode(one["message"])) for one in fake.params(SEND)]


def test_its_requests_fit_the_model_and_the_template(whatsapp, fake):
    outcome = send(whatsapp)
    assert outcome.error is None
    assert outcome.ref == "fake-messageid-1"
    assert fake.invalid == []
    [params] = fake.params(SEND)
    assert (params["originationPhoneNumberId"], params["metaApiVersion"]) == (NUMBER, "v20.0")
    assert sent(fake) == [
        {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": "+393201234500",
            "type": "template",
            "template": {
                "name": "incident_update",
                "language": {"code": "en_GB"},
                "components": [
                    {
                        "type": "body",
                        "parameters": [
                            {"type": "text", "text": "Card payments: partial outage"},
                            {"type": "text", "text": TEXT},
                            {"type": "text", "text": URL},
                        ],
                    }
                ],
            },
        }
    ]


@pytest.mark.parametrize(("locale", "code"), [("it", "it"), ("en", "en_GB"), ("en-gb", "en_GB")])
def test_the_template_follows_the_language(whatsapp, fake, locale, code):
    send(whatsapp, locale=locale)
    assert sent(fake)[0]["template"]["language"] == {"code": code}


@pytest.mark.parametrize("locale", ["xx", "it"])
def test_a_language_without_a_template_is_refused(make_provider, fake, locale):
    outcome = send(make_provider("eum_whatsapp", **CONFIG | {"language_it": ""}), locale=locale)
    assert type(outcome.error) is Permanent
    assert (outcome.error.code, fake.calls) == ("no-language", [])


def test_tokens_become_each_ones_own_values(whatsapp, fake):
    send(whatsapp, Addressee("+393201234567", values={"name": "Zoë “Z” {{2}}"}), {"text": "Hello [[name]]."})
    [parameters] = [one["parameters"] for one in sent(fake)[0]["template"]["components"]]
    assert parameters[1]["text"] == "Hello Zoë “Z” {{2}}."


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"text": "One.\nTwo."}, "bad-characters"),
        ({"subject": "One\tTwo"}, "bad-characters"),
        ({"text": "One.     Two."}, "bad-characters"),
        ({"text": "One.\u2028Two."}, "bad-characters"),
        ({"text": " "}, "empty"),
        ({"url": ""}, "empty"),
        ({"subject": "s", "url": "u", "text": "x" * 1023}, "too-long"),
    ],
)
def test_it_refuses_what_whatsapp_would_not_take(whatsapp, fake, parts, code):
    outcome = send(whatsapp, parts=parts)
    assert type(outcome.error) is Permanent
    assert (outcome.error.code, outcome.error.bad_address) == (code, False)
    assert outcome.error.detail
    assert not fake.calls


@pytest.mark.parametrize("text", ["x" * 1022, "One.    Two."])
def test_what_just_fits_goes_out_whole(whatsapp, fake, text):
    assert send(whatsapp, parts={"subject": "s", "url": "u", "text": text}).error is None
    assert sent(fake)[0]["template"]["components"][0]["parameters"][1]["text"] == text


def test_a_wrong_number_stops_nobody_else(whatsapp, fake):
    wrong, right = whatsapp.send(
        make_message(parts={"text": TEXT}), [Addressee("0039 320"), *addressees(1, "whatsapp")]
    )
    assert type(wrong.error) is Permanent
    assert wrong.error.bad_address
    assert right.error is None
    assert len(fake.calls) == 1


def test_what_lies_in_one_recipient_is_an_outcome(whatsapp, fake):
    fake.script(SEND, Fault("InvalidParametersException", "(#131026) Message undeliverable"))
    outcome = send(whatsapp)
    assert type(outcome.error) is Permanent
    assert not outcome.error.bad_address


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("ThrottledRequestException", "slow down", 429), Throttled),
        (Fault("LimitExceededException", "too many", 402), Throttled),
        (Fault("ValidationException", "no such version"), Permanent),
        (Fault("InvalidParametersException", "(#132001) Template name does not exist"), Permanent),
        (Fault("ResourceNotFoundException", "no such number", 404), Permanent),
        (Fault("AccessDeniedException", "not allowed", 403), Permanent),
    ],
)
def test_what_every_number_would_meet_is_raised(whatsapp, fake, fault, error):
    fake.script(SEND, fault)
    with pytest.raises(error) as caught:
        send(whatsapp)
    assert caught.value.code == fault.code


@pytest.mark.parametrize(
    "step",
    [
        Drop(),
        Drop(cut=True),
        Fault("InternalServiceException", "oops", 500),
        Fault("DependencyException", "Meta is away", 502),
    ],
)
def test_perhaps_sent_is_uncertain_and_not_repeated(whatsapp, fake, step):
    fake.script(SEND, step)
    assert type(send(whatsapp).error) is Uncertain
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_sent(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_SOCIALMESSAGING", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        send(make_provider("eum_whatsapp", **CONFIG))


def test_the_probe_says_which_number_writes_and_sends_nothing(whatsapp, fake):
    fake.answers[PROBE] = {"phoneNumber": DETAILS}
    assert whatsapp.probe() == "Messages come from +39 02 1234 5678 (Example)."
    assert [(one.operation, one.params) for one in fake.calls] == [(PROBE, {"id": NUMBER})]
    assert fake.invalid == []


def test_the_probe_fails_without_that_number(whatsapp, fake):
    fake.script(PROBE, Fault("ResourceNotFoundException", "no such number", 404))
    with pytest.raises(Permanent):
        whatsapp.probe()


def test_the_form_names_the_field():
    wrong = {"phone_number_id": "+39021234", "template": "Incident update", "language_en": "EN", "api_version": "20"}
    assert set(EumWhatsAppForm(CONFIG | wrong).errors) == set(wrong)
    assert EumWhatsAppForm(CONFIG | {"phone_number_id": DETAILS["arn"], "language_it": ""}).is_valid()
