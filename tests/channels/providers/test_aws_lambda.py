import json

import pytest
from botocore.config import Config

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import aws
from channels.providers.aws_lambda import AwsLambdaForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault, Hang

from .conftest import addressees, make_message

ARN = "arn:aws:lambda:eu-south-1:123456789012:function:notify"
CONFIG = {
    "region": "eu-south-1",
    "access_key_id": ACCESS_KEY,
    "secret_access_key": SECRET_KEY,
    "function": ARN,
    "qualifier": "live",
    "invocation": "RequestResponse",
}
DONE = {"StatusCode": 200, "Payload": b"null"}


@pytest.fixture
def fake(fake_service):
    fake = fake_service("lambda")
    fake.answers["Invoke"] = DONE
    return fake


@pytest.fixture
def function(make_provider, fake):
    return make_provider("aws_lambda", **CONFIG)


def send(provider):
    [outcome] = provider.send(make_message(), addressees(1, "broadcast"))
    return outcome


def test_its_request_fits_the_model_and_carries_the_event(function, fake):
    outcome = send(function)
    assert outcome.error is None
    assert outcome.ref == "fake-request-1"
    assert fake.invalid == []
    [params] = fake.params("Invoke")
    payload = json.loads(params.pop("Payload"))
    assert params == {"FunctionName": ARN, "Qualifier": "live", "InvocationType": "RequestResponse"}
    assert payload == {
        "message": {"version": "1", "type": "incident.update"},
        "subject": "Card payments: partial outage",
        "text": make_message().parts["text"],
        "locale": "en",
        "thread": "incident-9f3kabcd",
        "reference": "dispatch-42",
        "delivery": "42-0",
    }


def test_it_can_queue_the_call_and_needs_no_qualifier(make_provider, fake):
    fake.answers["Invoke"] = {"StatusCode": 202, "Payload": b""}
    provider = make_provider("aws_lambda", **CONFIG | {"function": "notify", "qualifier": "", "invocation": "Event"})
    assert send(provider).error is None
    [params] = fake.params("Invoke")
    assert params.pop("Payload")
    assert params == {"FunctionName": "notify", "InvocationType": "Event"}


def test_it_keeps_one_connection_across_calls(function, fake):
    for _n in range(3):
        send(function)
    assert len({call.peer for call in fake.calls}) == 1


@pytest.mark.parametrize(
    ("kind", "payload", "code", "detail"),
    [
        ("Unhandled", {"errorType": "KeyError", "errorMessage": "'chat'"}, "KeyError", "'chat'"),
        ("Unhandled", {"errorMessage": "Task timed out after 3.00 seconds"}, "Unhandled", "timed out"),
        ("Handled", ["no"], "Handled", "no"),
    ],
)
def test_an_error_of_the_function_fails_the_message_in_its_words(function, fake, kind, payload, code, detail):
    fake.answers["Invoke"] = {"StatusCode": 200, "FunctionError": kind, "Payload": json.dumps(payload).encode()}
    error = send(function).error
    assert type(error) is Permanent
    assert error.code == code
    assert detail in error.detail


def test_an_endless_error_is_told_in_short(function, fake):
    fake.answers["Invoke"] = {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": b"x" * 5000}
    assert send(function).error.detail == "x" * 300


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "12"}, 12), ({}, 5)])
def test_a_throttle_waits_as_long_as_asked(function, fake, headers, seconds):
    fake.script("Invoke", Fault("TooManyRequestsException", "Rate exceeded", 429, headers=headers))
    with pytest.raises(Throttled) as caught:
        send(function)
    assert caught.value.retry_after == seconds
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("ResourceConflictException", "being updated", 409), Transient),
        (Fault("EC2ThrottledException", "later", 502), Transient),
        (Fault("KMSAccessDeniedException", "no key", 502), Permanent),
        (Fault("ResourceNotFoundException", "Function not found", 404), Permanent),
        (Fault("AccessDeniedException", "not authorized", 403), Permanent),
    ],
)
def test_what_every_message_would_meet_is_raised(function, fake, fault, kind):
    fake.script("Invoke", fault)
    with pytest.raises(kind) as caught:
        send(function)
    assert type(caught.value) is kind
    assert caught.value.code == fault.code


def test_a_message_that_is_too_large_fails_alone(function, fake):
    fake.script("Invoke", Fault("RequestTooLargeException", "6291456 bytes at most", 413))
    assert type(send(function).error) is Permanent


@pytest.mark.parametrize("step", [Drop(), Drop(cut=True), Hang(), Fault("ServiceException", "oops", 500)])
def test_perhaps_run_is_uncertain_and_not_repeated(function, fake, monkeypatch, step):
    monkeypatch.setattr(aws, "CONFIG", aws.CONFIG.merge(Config(read_timeout=0.3)))
    fake.script("Invoke", step)
    assert type(send(function).error) is Uncertain
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_sent(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        send(make_provider("aws_lambda", **CONFIG))


def test_the_probe_asks_for_permission_and_runs_nothing(function, fake):
    fake.answers["Invoke"] = {"StatusCode": 204, "Payload": b""}
    assert function.probe() == ""
    assert fake.invalid == []
    assert fake.params("Invoke") == [
        {"FunctionName": ARN, "Qualifier": "live", "InvocationType": "DryRun", "Payload": b""}
    ]


def test_the_probe_fails_where_a_call_would(function, fake):
    fake.script("Invoke", Fault("AccessDeniedException", "not authorized to perform: lambda:InvokeFunction", 403))
    with pytest.raises(Permanent):
        function.probe()


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"function": "notify:live"}, "function", "notify:live"),
        ({"function": "https://example.com"}, "function", "https://example.com"),
        ({"function": ARN.replace("eu-south-1", "us-east-1")}, "function", "us-east-1"),
        ({"qualifier": "a b"}, "qualifier", "a b"),
        ({"invocation": "DryRun"}, "invocation", "DryRun"),
    ],
)
def test_the_form_names_the_field_and_the_value(changes, field, value):
    form = AwsLambdaForm(CONFIG | changes)
    assert set(form.errors) == {field}
    assert value in str(form.errors[field])


@pytest.mark.parametrize("changes", [{}, {"function": "notify"}, {"qualifier": ""}, {"qualifier": "$LATEST"}])
def test_the_form_takes_what_names_a_function(changes):
    form = AwsLambdaForm(CONFIG | changes)
    assert form.is_valid(), form.errors
