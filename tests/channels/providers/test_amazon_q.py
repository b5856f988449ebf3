import json

import boto3
import pytest

from channels.errors import Permanent, Throttled, Uncertain
from channels.providers.amazon_q import AmazonQForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault

from .conftest import addressees, make_message

ARN = "arn:aws:sns:eu-south-1:123456789012:incidents"
CONFIG = {"topic_arn": ARN, "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
URL = "https://status.example.com/i/9f3k"


@pytest.fixture
def fake(fake_service):
    return fake_service("sns")


@pytest.fixture
def amazon_q(make_provider, fake):
    return make_provider("amazon_q", **CONFIG)


@pytest.fixture
def queue(moto, closing):
    """A topic on moto with an SQS queue subscribed: what arrives there, by calling it."""
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "eu-south-1"}
    sns, sqs = boto3.client("sns", **keys), boto3.client("sqs", **keys)
    closing.callback(sns.close)
    closing.callback(sqs.close)
    sns.create_topic(Name="incidents")
    url = sqs.create_queue(QueueName="chat")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=ARN, Protocol="sqs", Endpoint=arn)
    return lambda: [json.loads(m["Body"]) for m in sqs.receive_message(QueueUrl=url).get("Messages", [])]


def send(provider, thread="incident-9f3kabcd", **parts):
    words = {"text": "Card payments fail.\n\nNext at 15:00.", "url": URL, **parts}
    [outcome] = provider.send(make_message(parts=words, thread=thread), addressees(1))
    return outcome


def notification(fake):
    return json.loads(fake.params("Publish")[-1]["Message"])


def test_it_publishes_a_custom_notification(amazon_q, fake):
    outcome = send(amazon_q)
    assert outcome.error is None
    assert outcome.ref
    assert fake.invalid == []
    [request] = fake.params("Publish")
    assert set(request) == {"TopicArn", "Message"}
    assert request["TopicArn"] == ARN
    assert notification(fake) == {
        "version": "1.0",
        "source": "custom",
        "id": "42-0",
        "content": {
            "textType": "client-markdown",
            "title": "Card payments: partial outage",
            "description": f"Card payments fail.\n\nNext at 15:00.\n\n{URL}",
        },
        "metadata": {
            "threadId": "incident-9f3kabcd",
            "summary": "Card payments: partial outage",
            "eventType": "incident.update",
            "enableCustomActions": False,
        },
    }


def test_whoever_listens_to_the_topic_gets_the_bare_notification(make_provider, queue):
    provider = make_provider("amazon_q", **CONFIG)
    assert "subscriptions" in provider.probe()
    outcome = send(provider)
    [arrived] = queue()
    assert arrived["MessageId"] == outcome.ref
    assert json.loads(arrived["Message"])["metadata"]["threadId"] == "incident-9f3kabcd"


def test_the_updates_of_an_incident_share_a_thread_and_no_id(amazon_q, fake):
    message = make_message(parts={"url": URL})
    amazon_q.send(message, addressees(2))
    first, second = (json.loads(request["Message"]) for request in fake.params("Publish"))
    assert first["metadata"]["threadId"] == second["metadata"]["threadId"]
    assert first["id"] != second["id"]


def test_a_test_says_so(amazon_q, fake):
    send(amazon_q, thread="test-7")
    assert notification(fake)["metadata"]["eventType"] == "test"


def test_words_mention_nobody_and_stay_as_they_are(amazon_q, fake):
    nasty = "Q&A <!channel> <@U123> <b> @channel"
    send(amazon_q, subject=nasty, text=nasty)
    found = notification(fake)
    safe = "Q&amp;A &lt;!channel&gt; &lt;@U123&gt; &lt;b&gt; @channel"
    assert found["content"]["title"] == found["metadata"]["summary"] == safe
    assert found["content"]["description"] == f"{safe}\n\n{URL}"


def test_a_message_without_an_address_ends_with_its_words(amazon_q, fake):
    send(amazon_q, url="")
    assert notification(fake)["content"]["description"].endswith("15:00.")


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"subject": "x" * 251}, "subject-too-long"),
        ({"subject": "&" * 51}, "subject-too-long"),  # five characters each, as they are sent
        ({"text": "x" * 8000}, "too-long"),  # with the address
        ({"subject": " "}, "empty"),
        ({"text": "", "url": ""}, "empty"),
    ],
)
def test_it_refuses_what_amazon_q_would_drop(amazon_q, fake, parts, code):
    error = send(amazon_q, **parts).error
    assert type(error) is Permanent
    assert error.code == code
    assert not fake.calls


def test_what_just_fits_goes_out_whole(amazon_q, fake):
    assert send(amazon_q, subject="è" * 250, text="è" * 8000, url="").error is None
    assert notification(fake)["content"]["title"] == "è" * 250
    assert notification(fake)["content"]["description"] == "è" * 8000


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("Throttling", "Rate exceeded", 400), Throttled),
        (Fault("NotFound", "Topic does not exist", 404), Permanent),
        (Fault("AuthorizationError", "not authorized to perform SNS:Publish", 403), Permanent),
    ],
)
def test_what_every_message_would_meet_is_raised(amazon_q, fake, fault, error):
    fake.script("Publish", fault)
    with pytest.raises(error) as caught:
        send(amazon_q)
    assert caught.value.code == fault.code


@pytest.mark.parametrize("step", [Drop(), Fault("InternalError", "oops", 500)])
def test_perhaps_published_is_uncertain_and_not_repeated(amazon_q, fake, step):
    fake.script("Publish", step)
    assert type(send(amazon_q).error) is Uncertain
    assert len(fake.calls) == 1


def test_the_form_takes_a_standard_topic_alone():
    assert AmazonQForm({"topic_arn": ARN}).is_valid()
    assert "is a FIFO topic" in str(AmazonQForm({"topic_arn": f"{ARN}.fifo"}).errors)
    assert "is not the ARN of a topic" in str(AmazonQForm({"topic_arn": "incidents"}).errors)


# ── Who listens ─────────────────────────────────────────────────────────────


def configuration(topics, **more):
    return {
        "SlackTeamName": "Example",
        "SlackTeamId": "T0123456789",
        "SlackChannelId": "C0123456789",
        "SlackChannelName": "elsewhere",
        "ChatConfigurationArn": "arn:aws:chatbot::123456789012:chat-configuration/slack-channel/incidents",
        "IamRoleArn": "arn:aws:iam::123456789012:role/chat",
        "SnsTopicArns": topics,
        **more,
    }


def team(topics, **more):
    return {
        "ChannelId": "19%3aabc%40thread.tacv2",
        "TeamId": "11111111-2222-3333-4444-555555555555",
        "TenantId": "11111111-2222-3333-4444-555555555555",
        "ChatConfigurationArn": "arn:aws:chatbot::123456789012:chat-configuration/microsoft-teams-channel/incidents",
        "IamRoleArn": "arn:aws:iam::123456789012:role/chat",
        "SnsTopicArns": topics,
        **more,
    }


@pytest.fixture
def chatbot(fake, fake_service):
    fake.answers["GetTopicAttributes"] = {"Attributes": {"SubscriptionsConfirmed": "1"}}
    return fake_service("chatbot")


def answer(chatbot, slack=(), teams=()):
    chatbot.answers["DescribeSlackChannelConfigurations"] = {"SlackChannelConfigurations": list(slack)}
    chatbot.answers["ListMicrosoftTeamsChannelConfigurations"] = {"TeamChannelConfigurations": list(teams)}


def test_the_test_names_the_chats_that_have_the_topic(amazon_q, chatbot):
    answer(
        chatbot,
        [configuration([ARN], SlackChannelName="incidents"), configuration(["arn:aws:sns:eu-south-1:1:other"])],
        [team([ARN, f"{ARN}-2"], TeamName="Operations", ChannelName="War room", State="DISABLED")],
    )
    said = amazon_q.probe()
    assert "Shown in: Slack Example #incidents, Teams Operations War room." in said
    assert "Switched off there: Teams Operations War room." in said
    assert chatbot.invalid == []


def test_a_topic_that_no_chat_has_is_told(amazon_q, chatbot):
    answer(chatbot, [configuration([])], [team([])])
    assert "No chat configuration of this account has the topic" in amazon_q.probe()


def test_all_pages_are_looked_through(amazon_q, chatbot):
    answer(chatbot)

    def page(request):
        if request.get("NextToken") == "second":
            return {"SlackChannelConfigurations": [configuration([ARN], SlackChannelName="second")]}
        return {"SlackChannelConfigurations": [configuration([])], "NextToken": "second"}

    chatbot.answers["DescribeSlackChannelConfigurations"] = page
    assert "#second" in amazon_q.probe()


@pytest.mark.parametrize("fault", [Fault("AccessDeniedException", "no", 403), Fault("Throttling", "", 429), Drop()])
def test_not_to_know_who_listens_is_no_failure(amazon_q, chatbot, fault):
    answer(chatbot)
    chatbot.script("ListMicrosoftTeamsChannelConfigurations", fault)
    said = amazon_q.probe()
    assert "could not be looked up" in said
    assert "chatbot:List*" in said
