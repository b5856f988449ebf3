"""One message to an Amazon SNS topic; its subscribers are AWS's affair."""

import json
import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import Permanent, Uncertain

from . import aws
from .base import Addressee, Capabilities, Message, Outcome

MAX_SUBJECT = 99  # "less than 100 characters long"
MAX_BYTES = 256 * 1024
# Said about one message; everything else that SNS refuses, it would refuse again.
OF_ONE = {"InvalidParameter", "ParameterValueInvalid", "ValidationException"}


class SnsTopicForm(aws.AwsForm):
    topic_arn = forms.CharField(
        label=gettext_lazy("Topic"),
        max_length=2048,
        help_text=gettext_lazy("The ARN of the topic, as in arn:aws:sns:eu-south-1:123456789012:name."),
        validators=[
            RegexValidator(
                r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$",
                gettext_lazy(
                    "“%(value)s” is not the ARN of a topic; write it as arn:aws:sns:eu-south-1:123456789012:name."
                ),
            )
        ],
    )
    region = None  # type: ignore[assignment]  # the ARN names it; Django drops the field
    events_topic_arn = None  # type: ignore[assignment]  # who reads a topic is not told
    field_order = ["topic_arn"]


class SnsTopic(aws.AwsProvider):
    label = gettext_lazy("Event: Amazon SNS topic")
    capabilities = Capabilities(form="event", medium="broadcast", broadcast=True, max_subject=MAX_SUBJECT)
    config_form = SnsTopicForm
    service = "sns"

    def region(self) -> str:
        return self.config["topic_arn"].split(":")[3]

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._publish(message, one) for one in recipients]

    def _publish(self, message: Message, one: Addressee) -> Outcome:
        request = self._request(message, one)
        refused = self._refusal(request)
        if refused:
            return Outcome(error=refused)
        client = self.client
        try:
            return aws.accepted(client.publish(**request))
        except aws.SDK_ERRORS as error:
            found = aws.failure(error)
            if isinstance(found, Uncertain) or (aws.code_of(error) in OF_ONE and "TopicArn" not in found.detail):
                return Outcome(error=found)
            raise found from error

    def _request(self, message: Message, one: Addressee) -> dict[str, Any]:
        parts, arn = message.parts, self.config["topic_arn"]
        attributes = {"type": _kind(parts["json"]), "locale": message.locale, "thread": message.thread}
        request: dict[str, Any] = {
            "TopicArn": arn,
            "Subject": parts["subject"],
            # Machines read the JSON, people with an email or SMS subscription the words.
            "MessageStructure": "json",
            "Message": json.dumps(
                {"default": parts["json"], "email": parts["text"], "sms": parts["subject"]}, ensure_ascii=False
            ),
            # For filter policies of the subscribers.
            "MessageAttributes": {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items()},
        }
        if arn.endswith(".fifo"):
            request |= {"MessageGroupId": message.thread, "MessageDeduplicationId": one.key}
        return request

    def _refusal(self, request: dict[str, Any]) -> Permanent | None:
        """What SNS would not take. Nothing is ever cut: what was approved is what is sent."""
        subject, size = request["Subject"], len(request["Message"].encode())
        if len(subject) > MAX_SUBJECT:
            text = _("The subject has %(length)d characters; a topic takes %(limit)d. Shorten it.")
            return Permanent("subject-too-long", text % {"length": len(subject), "limit": MAX_SUBJECT})
        if not subject or re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", subject):
            return Permanent("bad-subject", _("The subject is empty or has a line break; write it on one line."))
        if size > MAX_BYTES - 2048:  # attributes count too
            return Permanent("too-large", _("The message has %d bytes; a topic takes 256 KiB.") % size)
        return None

    def probe(self) -> str:
        try:
            found = self.client.get_topic_attributes(TopicArn=self.config["topic_arn"])["Attributes"]
        except aws.SDK_ERRORS as error:
            raise aws.failure(error) from error
        return _("Confirmed subscriptions of the topic: %s.") % found.get("SubscriptionsConfirmed", "0")


def _kind(event: str) -> str:
    """The "type" of an event, for the attribute of that name."""
    found = json.loads(event)
    return str(found.get("type") or "test") if isinstance(found, dict) else "test"
