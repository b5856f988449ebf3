"""Notifications to the mobile apps of customers through Amazon SNS: one Publish an endpoint."""

import json
import re
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent

from . import aws
from .base import Addressee, Capabilities, Message, personalise

MAX_BYTES = 4096  # of what Firebase and Apple each take
ENDPOINT = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:endpoint/\w+/[\w.-]{1,256}/[\w-]+", re.ASCII)


class SnsPushForm(aws.AwsForm):
    application_arn = forms.CharField(
        label=gettext_lazy("Platform application"),
        max_length=400,
        help_text=gettext_lazy(
            "Its ARN, as in arn:aws:sns:eu-south-1:123456789012:app/GCM/name. One is enough: the channel reaches the "
            "endpoints of every application of this account and region, be they for Android or for iOS."
        ),
        validators=[
            RegexValidator(
                r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:app/(GCM|APNS|APNS_SANDBOX)/[A-Za-z0-9_.-]{1,256}\Z",
                gettext_lazy(
                    "“%(value)s” is not the ARN of a platform application for Android (GCM) or iOS (APNS); write it as "
                    "arn:aws:sns:eu-south-1:123456789012:app/GCM/name."
                ),
            )
        ],
    )
    region = None  # type: ignore[assignment]  # the ARN names it; Django drops the field
    field_order = ["application_arn"]


class SnsPush(aws.OneByOne):
    label = gettext_lazy("Push: mobile apps through Amazon SNS")
    capabilities = Capabilities(form="push", medium="push")
    config_form = SnsPushForm
    service = "sns"
    operation = "publish"

    def region(self) -> str:
        return self.config["application_arn"].split(":")[3]

    def request(self, message: Message, one: Addressee) -> dict[str, Any]:
        # A TargetArn may be a topic as well, and whoever reads that was not asked for. The address is not suppressed:
        # it may be a token for a channel of another provider.
        if not ENDPOINT.fullmatch(one.address):
            raise Permanent("bad-endpoint", _("The address is not the ARN of an endpoint of SNS."))
        if one.address.split(":")[:5] != self.config["application_arn"].split(":")[:5]:
            said = _("The endpoint is of another account or region than the channel; it needs a channel of its own.")
            raise Permanent("other-region", said)
        return {"TargetArn": one.address, "MessageStructure": "json", "Message": _as_json(_bodies(message, one))}

    def blame(self, error: Exception) -> tuple[DeliveryError, bool]:
        found, of_one = super().blame(error)
        if not isinstance(found, Permanent):
            return found, of_one
        said = found.detail.lower()
        # "Invalid parameter: TargetArn Reason: No endpoint found" is how SNS puts it for a deleted endpoint.
        gone = found.code == "NotFound" and "application" not in said
        found.bad_address = found.code == "EndpointDisabled" or gone or "no endpoint found" in said
        return found, found.bad_address or found.code in ("InvalidParameter", "ParameterValueInvalid")

    def probe(self) -> str:
        arn = self.config["application_arn"]
        try:
            found = self.client.get_platform_application_attributes(PlatformApplicationArn=arn)["Attributes"]
        except aws.SDK_ERRORS as error:
            raise aws.failure(error) from error
        if found.get("Enabled", "true").lower() != "true":
            said = _("The platform application is disabled: its credentials at Google or Apple have to be renewed.")
            raise Permanent("PlatformApplicationDisabled", said)
        return _("The platform application is enabled.")


def _bodies(message: Message, one: Addressee) -> dict[str, str]:
    """What each kind of phone is to get, as JSON in a string. Raises Permanent if one is too long."""
    title, text = (personalise(message.parts[name], one.values) for name in ("subject", "text"))
    url, words = message.parts["url"], {"title": title, "body": text}
    # Shape of the HTTP v1 API of Firebase: https://docs.aws.amazon.com/sns/latest/dg/sns-fcm-v1-payloads.html
    android = _as_json({"fcmV1Message": {"message": {"notification": words, "data": {"url": url}}}})
    apple = _as_json({"aps": {"alert": words, "thread-id": message.thread}, "url": url})
    size = max(len(one.encode()) for one in (android, apple))
    if size > MAX_BYTES:
        said = _("The notification has %(size)d bytes; phones take %(limit)d. Shorten the SMS text.")
        raise Permanent("too-large", said % {"size": size, "limit": MAX_BYTES})
    return {"default": text, "GCM": android, "APNS": apple, "APNS_SANDBOX": apple}


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
