"""Messages in Slack or Microsoft Teams through Amazon Q Developer in chat applications (once AWS Chatbot).

It listens to an SNS topic and shows custom notifications alone; anything else it drops without a word. Shape and limits
as of docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html.
"""

import json
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent

from . import aws
from .base import Addressee, Capabilities, Message
from .sns_topic import SnsTopic, SnsTopicForm

# The service has an API in four regions and keeps its configurations in each; its console is here.
REGION = "us-east-2"
PAGES = 20  # of 100 configurations
MAX_TITLE = 250  # characters
MAX_DESCRIPTION = 8000  # characters


class AmazonQForm(SnsTopicForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        topic = self.fields["topic_arn"]
        topic.help_text = gettext_lazy("The ARN of the topic that is mapped to the chat channel in Amazon Q Developer.")
        topic.validators.append(
            RegexValidator(
                r"\.fifo$",
                gettext_lazy("“%(value)s” is a FIFO topic, which Amazon Q Developer cannot hear; use a standard one."),
                inverse_match=True,
            )
        )


class AmazonQ(SnsTopic):
    label = gettext_lazy("Chat: Amazon Q Developer")
    capabilities = Capabilities(form="chat", medium="broadcast", broadcast=True, max_subject=MAX_TITLE)
    config_form = AmazonQForm

    def _request(self, message: Message, one: Addressee) -> dict[str, Any]:
        notification = custom_notification(message, one)
        return {"TopicArn": self.config["topic_arn"], "Message": json.dumps(notification, ensure_ascii=False)}

    def _refusal(self, request: dict[str, Any]) -> Permanent | None:
        content = json.loads(request["Message"])["content"]
        title, description = len(content["title"]), len(content["description"])
        if title > MAX_TITLE:
            text = _("The subject has %(length)d characters; Amazon Q Developer takes %(limit)d. Shorten it.")
            return Permanent("subject-too-long", text % {"length": title, "limit": MAX_TITLE})
        if description > MAX_DESCRIPTION:
            text = _("The text has %(length)d characters; Amazon Q Developer takes %(limit)d. Shorten it.")
            return Permanent("too-long", text % {"length": description, "limit": MAX_DESCRIPTION})
        if not title or not description:
            return Permanent("empty", _("There is nothing to post."))
        return None

    def probe(self) -> str:
        return f"{super().probe()} {self._listeners()}"

    def _listeners(self) -> str:
        """Which chats have the topic, as the service's own configurations say; the test succeeds whatever they say.

        That the topic has a subscription tells less: anybody may subscribe, and the service shows nothing elsewhere.
        """
        topic = self.config["topic_arn"]
        try:
            client = aws.connect("chatbot", self.config, REGION)
            try:
                found = [*_slack(client), *_teams(client)]
            finally:
                client.close()
        except (*aws.SDK_ERRORS, DeliveryError) as error:
            why = aws.code_of(error) or getattr(error, "code", type(error).__name__)
            text = _("Which chats listen could not be looked up (%(why)s): allow chatbot:Describe* and chatbot:List*.")
            return text % {"why": why}
        names = [name for name, topics, _on in found if topic in topics]
        off = [name for name, topics, on in found if topic in topics and not on]
        if not names:
            return _("No chat configuration of this account has the topic: what is posted is shown nowhere.")
        said = _("Shown in: %(names)s.") % {"names": ", ".join(names)}
        return said + " " + _("Switched off there: %(names)s.") % {"names": ", ".join(off)} if off else said


Configuration = tuple[str, list[str], bool]  # its name in words, its topics, whether it is on


def _slack(client: Any) -> Iterator[Configuration]:
    for one in _pages(client.describe_slack_channel_configurations, "SlackChannelConfigurations"):
        name = f"Slack {one.get('SlackTeamName', '')} #{one.get('SlackChannelName') or one.get('SlackChannelId', '')}"
        yield name, one.get("SnsTopicArns") or [], one.get("State") != "DISABLED"


def _teams(client: Any) -> Iterator[Configuration]:
    for one in _pages(client.list_microsoft_teams_channel_configurations, "TeamChannelConfigurations"):
        name = f"Teams {one.get('TeamName', '')} {one.get('ChannelName') or one.get('ChannelId', '')}"
        yield name, one.get("SnsTopicArns") or [], one.get("State") != "DISABLED"


def _pages(operation: Callable[..., Any], member: str) -> Iterator[Any]:
    token: dict[str, str] = {}
    for _page in range(PAGES):
        said = operation(MaxResults=100, **token)
        yield from said.get(member) or []
        if not said.get("NextToken"):
            return
        token = {"NextToken": said["NextToken"]}


def custom_notification(message: Message, one: Addressee) -> dict[str, Any]:
    parts = message.parts
    title = _plain(parts["subject"])
    return {
        "version": "1.0",
        "source": "custom",
        "id": one.key,
        "content": {
            "textType": "client-markdown",
            "title": title,
            "description": "\n\n".join(_plain(text) for text in (parts["text"], parts.get("url", "")) if text.strip()),
        },
        "metadata": {
            "threadId": message.thread,
            "summary": title,
            "eventType": "test" if message.thread.startswith("test-") else "incident.update",
            "enableCustomActions": False,  # buttons that run commands have no place under words for customers
        },
    }


def _plain(text: str) -> str:
    """Text that the chat's own markup reads as it stands: <!channel> and the like would mention people."""
    return escape(text.strip(), quote=False)
