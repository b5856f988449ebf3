import json

import pytest

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers.base import Addressee
from channels.providers.eum_push import EumPushForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault

from .conftest import make_message

APPLICATION = "0123456789abcdef0123456789abcdef"
CONFIG = {
    "region": "eu-west-1",
    "access_key_id": ACCESS_KEY,
    "secret_access_key": SECRET_KEY,
    "application_id": APPLICATION,
}
SEND = "SendMessages"
SUBJECT = "Card payments: partial outage"
TEXT = "Example: card payments fail. Next update at 15:00."
URL = "https://portal.example.com/incidents/9f3kabcd/"
WORDS = {"Title": SUBJECT, "Body": TEXT, "Action": "URL", "Url": URL}


def answer(**results):
    """A reply: all tokens succeed but for those named (None: AWS says nothing of that one)."""

    def reply(params):
        found = {
            token: results.get(token, {"DeliveryStatus": "SUCCESSFUL", "StatusCode": 200, "MessageId": f"id-{token}"})
            for token in params["MessageRequest"]["Addresses"]
        }
        result = {token: one for token, one in found.items() if one}
        return {"MessageResponse": {"ApplicationId": APPLICATION, "Result": result}}

    return reply


@pytest.fixture
def fake(fake_service):
    fake = fake_service("pinpoint")
    fake.answers[SEND] = answer()
    return fake


@pytest.fixture
def push(make_provider, fake):
    return make_provider("eum_push", **CONFIG)


def phone(token, **attributes):
    return Addressee(token, attributes=attributes, values={"name": f"Ms {token}"})


def send(push, *phones, **parts):
    return push.send(make_message(parts={"text": TEXT, "url": URL} | parts), phones or [phone("t")])


def test_a_hundred_phones_are_one_request_that_fits_the_model(push, fake):
    platforms = ["gcm", "apns", "apns_sandbox", "adm", "baidu"]
    outcomes = send(push, *(phone(f"t{n}", platform=platforms[n % 5]) for n in range(100)))
    assert [one.ref for one in outcomes] == [f"id-t{n}" for n in range(100)]
    assert fake.invalid == []
    [params] = fake.params(SEND)
    assert params["ApplicationId"] == APPLICATION
    request = params["MessageRequest"]
    assert request["TraceId"] == "dispatch-42"
    assert request["MessageConfiguration"] == {
        "GCMMessage": WORDS,
        "APNSMessage": WORDS | {"ThreadId": "incident-9f3kabcd"},
        "ADMMessage": WORDS,
        "BaiduMessage": WORDS,
    }
    assert len(request["Addresses"]) == 100
    assert request["Addresses"]["t2"] == {"ChannelType": "APNS_SANDBOX"}


def test_only_what_is_needed_is_in_the_request(push, fake):
    send(push, phone("t"), url="")
    [request] = [one["MessageRequest"] for one in fake.params(SEND)]
    assert request["Addresses"] == {"t": {"ChannelType": "GCM"}}
    assert request["MessageConfiguration"] == {"GCMMessage": {"Title": SUBJECT, "Body": TEXT, "Action": "OPEN_APP"}}


def test_tokens_become_each_ones_own_values_in_the_same_request(push, fake):
    send(push, phone("a"), phone("b"), text="Hello [[name]].")
    [request] = [one["MessageRequest"] for one in fake.params(SEND)]
    assert request["Addresses"] == {
        "a": {"ChannelType": "GCM", "BodyOverride": "Hello Ms a."},
        "b": {"ChannelType": "GCM", "BodyOverride": "Hello Ms b."},
    }


def test_an_unknown_platform_stops_nobody_else(push, fake):
    wrong, right = send(push, phone("a", platform="palm"), phone("b", platform="APNS"))
    assert type(wrong.error) is Permanent
    assert wrong.error.code == "bad-platform"
    assert "palm" in wrong.error.detail
    assert right.ref == "id-b"
    assert list(fake.params(SEND)[0]["MessageRequest"]["Addresses"]) == ["b"]


def test_an_endpoint_of_sns_is_not_taken_for_a_token(push, fake):
    [outcome] = send(push, phone("arn:aws:sns:eu-west-1:123456789012:endpoint/GCM/app/1"))
    assert type(outcome.error) is Permanent
    assert (outcome.error.code, outcome.error.bad_address) == ("not-a-token", False)
    assert not fake.calls


def test_two_with_the_same_token_have_an_outcome_each(push, fake):
    first, second, third = send(push, phone("a"), phone("a"), phone("b"))
    assert (first.ref, third.ref) == ("id-a", "id-b")
    assert type(second.error) is Permanent
    assert (second.error.code, second.error.bad_address) == ("DUPLICATE", False)


@pytest.mark.parametrize(("text", "code"), [("à" * 2000, "too-large"), ("Use {{name}}.", "braces")])
def test_it_refuses_what_would_not_arrive_whole(push, fake, text, code):
    [outcome] = send(push, text=text)
    assert type(outcome.error) is Permanent
    assert (outcome.error.code, outcome.error.bad_address) == (code, False)
    assert not fake.calls


def wrapped(error):
    """What AWS says of a token, with the platform's own word in it."""
    words = {"errorMessage": "Unregistered or expired token", "channelType": "APNS", "pushProviderStatusCode": "400"}
    return json.dumps(words | {"pushProviderError": error, "pushProviderResponse": json.dumps({"reason": error})})


@pytest.mark.parametrize(
    ("status", "http", "said", "error", "bad"),
    [
        ("THROTTLED", 429, "slow down", Throttled, False),
        ("TEMPORARY_FAILURE", 503, "try later", Transient, False),
        ("PERMANENT_FAILURE", 410, "", Permanent, True),
        ("PERMANENT_FAILURE", 400, "BadDeviceToken", Permanent, True),
        ("PERMANENT_FAILURE", 400, '{"errorMessage":"Unregistered or expired token"}', Permanent, True),
        ("PERMANENT_FAILURE", 400, wrapped("Unregistered"), Permanent, True),
        ("PERMANENT_FAILURE", 400, wrapped("DeviceTokenNotForTopic"), Permanent, False),
        ("PERMANENT_FAILURE", 400, "[]", Permanent, False),
        ("PERMANENT_FAILURE", 404, "NotRegistered", Permanent, True),
        ("PERMANENT_FAILURE", 403, "InvalidProviderToken", Permanent, False),
        ("PERMANENT_FAILURE", 400, "DeviceTokenNotForTopic", Permanent, False),
        ("PERMANENT_FAILURE", 400, "No credentials", Permanent, False),
        ("OPT_OUT", 200, "opted out", Permanent, False),
        ("DUPLICATE", 200, "duplicate", Permanent, False),
        ("UNKNOWN_FAILURE", 500, "?", Uncertain, False),
    ],
)
def test_each_token_has_the_outcome_that_aws_tells(push, fake, status, http, said, error, bad):
    fake.answers[SEND] = answer(a={"DeliveryStatus": status, "StatusCode": http, "StatusMessage": said})
    first, second = send(push, phone("a"), phone("b"))
    assert type(first.error) is error
    assert (first.error.code, first.error.detail) == (status, said)
    assert getattr(first.error, "bad_address", False) is bad
    assert second.ref == "id-b"


def test_a_token_of_which_aws_says_nothing_is_uncertain(push, fake):
    fake.answers[SEND] = answer(a=None)
    first, second = send(push, phone("a"), phone("b"))
    assert type(first.error) is Uncertain
    assert second.ref == "id-b"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("TooManyRequestsException", "slow down", 429), Throttled),
        (Fault("BadRequestException", "no"), Permanent),
        (Fault("ForbiddenException", "no", 403), Permanent),
        (Fault("NotFoundException", "no such application", 404), Permanent),
    ],
)
def test_what_every_phone_would_meet_is_raised(push, fake, fault, error):
    fake.script(SEND, fault)
    with pytest.raises(error) as caught:
        send(push)
    assert caught.value.code == fault.code


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (Drop(), Uncertain),
        (Drop(cut=True), Uncertain),
        (Fault("InternalServerErrorException", "oops", 500), Uncertain),
        (Fault("PayloadTooLargeException", "too large", 413), Permanent),
    ],
)
def test_what_these_phones_met_is_an_outcome_and_not_repeated(push, fake, step, error):
    fake.script(SEND, step)
    assert [type(one.error) for one in send(push, phone("a"), phone("b"))] == [error, error]
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_sent(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_PINPOINT", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        send(make_provider("eum_push", **CONFIG))


def channels(**enabled):
    return {"ChannelsResponse": {"Channels": {name: {"Enabled": one} for name, one in enabled.items()}}}


def test_the_probe_says_what_is_enabled_and_sends_nothing(push, fake):
    fake.answers["GetChannels"] = channels(GCM=True, APNS=True, ADM=False, EMAIL=True)
    assert push.probe() == "Enabled for: APNS, GCM."
    assert [one.operation for one in fake.calls] == ["GetChannels"]


def test_the_probe_fails_where_nothing_is_enabled(push, fake):
    fake.answers["GetChannels"] = channels(GCM=False, SMS=True)
    with pytest.raises(Permanent) as caught:
        push.probe()
    assert caught.value.code == "no-channel"


def test_the_probe_fails_without_the_application(push, fake):
    fake.script("GetChannels", Fault("NotFoundException", "no such application", 404))
    with pytest.raises(Permanent):
        push.probe()


def test_the_form_names_the_field():
    assert EumPushForm(CONFIG).is_valid()
    assert set(EumPushForm(CONFIG | {"application_id": "my app"}).errors) == {"application_id"}
