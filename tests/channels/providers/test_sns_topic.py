import json

import boto3
import pytest

from channels.errors import Permanent, Throttled, Uncertain
from channels.providers.sns_topic import SnsTopicForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault

from .conftest import addressees, make_message

ARN = "arn:aws:sns:eu-south-1:123456789012:incidents"
CONFIG = {"topic_arn": ARN, "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}


@pytest.fixture
def fake(fake_service):
    return fake_service("sns")


@pytest.fixture
def sns(make_provider, fake):
    return make_provider("sns_topic", **CONFIG)


@pytest.fixture
def queue(moto, closing):
    """A topic on moto with an SQS queue subscribed: what arrives there, by calling it."""
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "eu-south-1"}
    sns, sqs = boto3.client("sns", **keys), boto3.client("sqs", **keys)
    closing.callback(sns.close)
    closing.callback(sqs.close)
    sns.create_topic(Name="incidents")
    url = sqs.create_queue(QueueName="listener")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(
        TopicArn=ARN, Protocol="sqs", Endpoint=arn, Attributes={"FilterPolicy": json.dumps({"locale": ["it"]})}
    )
    return lambda: [
        json.loads(m["Body"]) for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    ]


def test_subscribers_get_the_event_they_filter_for(make_provider, queue):
    provider = make_provider("sns_topic", **CONFIG)
    for locale in ("en", "it"):
        [outcome] = provider.send(make_message(locale=locale), addressees(1))
        assert outcome.error is None
    [arrived] = queue()
    assert arrived["MessageId"] == outcome.ref
    assert arrived["Subject"] == "Card payments: partial outage"
    assert json.loads(arrived["Message"])["type"] == "incident.update"
    assert arrived["MessageAttributes"]["locale"]["Value"] == "it"
    assert arrived["MessageAttributes"]["type"]["Value"] == "incident.update"


def test_the_probe_finds_the_topic(make_provider, queue):
    assert "subscriptions" in make_provider("sns_topic", **CONFIG).probe()


def test_the_probe_counts_subscriptions(sns, fake):
    fake.answers["GetTopicAttributes"] = {"Attributes": {"TopicArn": ARN, "SubscriptionsConfirmed": "17"}}
    assert "17" in sns.probe()
    assert [call.operation for call in fake.calls] == ["GetTopicAttributes"]


def test_the_probe_fails_for_a_topic_that_does_not_exist(moto, make_provider):
    with pytest.raises(Permanent) as caught:
        make_provider("sns_topic", **CONFIG).probe()
    assert caught.value.code in ("NotFound", "NotFoundException")


def test_its_requests_fit_the_model(sns, fake):
    sns.send(make_message(), addressees(1))
    [request] = fake.params("Publish")
    assert fake.invalid == []
    words = json.loads(request["Message"])
    assert json.loads(words["default"])["version"] == "1"
    assert words["email"].startswith("Hello")
    assert words["sms"] == "Card payments: partial outage"
    assert request["MessageAttributes"]["thread"] == {"DataType": "String", "StringValue": "incident-9f3kabcd"}
    assert "MessageGroupId" not in request


def test_a_fifo_topic_gets_order_and_a_key_against_doubles(make_provider, fake):
    make_provider("sns_topic", **CONFIG | {"topic_arn": f"{ARN}.fifo"}).send(make_message(), addressees(1))
    [request] = fake.params("Publish")
    assert request["MessageGroupId"] == "incident-9f3kabcd"
    assert request["MessageDeduplicationId"] == "42-0"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"subject": "x" * 100}, "subject-too-long"),
        ({"subject": "two\nlines"}, "bad-subject"),
        ({"subject": ""}, "bad-subject"),
        ({"text": "è" * 140_000}, "too-large"),
    ],
)
def test_it_refuses_what_a_topic_would_not_take(sns, fake, parts, code):
    [outcome] = sns.send(make_message(parts=parts), addressees(1))
    assert type(outcome.error) is Permanent
    assert outcome.error.code == code
    assert not fake.calls


def test_a_subject_of_99_characters_goes_out_whole(sns, fake):
    sns.send(make_message(parts={"subject": "è" * 99}), addressees(1))
    assert fake.params("Publish")[0]["Subject"] == "è" * 99


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("Throttling", "Rate exceeded", 400), Throttled),
        (Fault("KMSThrottling", "slow"), Throttled),
        (Fault("NotFound", "Topic does not exist", 404), Permanent),
        (Fault("AuthorizationError", "not authorized to perform SNS:Publish", 403), Permanent),
        (Fault("InvalidParameter", "Invalid parameter: TopicArn", 400), Permanent),
    ],
)
def test_what_every_message_would_meet_is_raised(sns, fake, fault, error):
    fake.script("Publish", fault)
    with pytest.raises(error) as caught:
        sns.send(make_message(), addressees(1))
    assert caught.value.code == fault.code
    assert len(fake.calls) == 1


def test_what_this_message_meets_is_an_outcome(sns, fake):
    fake.script("Publish", Fault("InvalidParameter", "Invalid parameter: Message too long"))
    [outcome] = sns.send(make_message(), addressees(1))
    assert type(outcome.error) is Permanent


@pytest.mark.parametrize("step", [Drop(), Fault("InternalError", "oops", 500)])
def test_perhaps_published_is_uncertain_and_not_repeated(sns, fake, step):
    fake.script("Publish", step)
    [outcome] = sns.send(make_message(), addressees(1))
    assert type(outcome.error) is Uncertain
    assert len(fake.calls) == 1


def test_the_form_takes_the_region_from_the_topic():
    form = SnsTopicForm({"topic_arn": ARN})
    assert form.is_valid()
    assert "region" not in form.fields
    wrong = SnsTopicForm({"topic_arn": "incidents"})
    assert "“incidents” is not the ARN of a topic" in str(wrong.errors)
