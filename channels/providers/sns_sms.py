"""SMS through Amazon SNS, one Publish a recipient: simpler than End User Messaging, and a fallback for it."""

import re
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent

from . import aws, eum
from .base import Addressee, Capabilities, Message, personalise
from .receipts import ReceiptsForm

MAX_CHARACTERS = 1600


class SnsSmsForm(ReceiptsForm, aws.AwsForm):
    sender_id = forms.CharField(
        label=gettext_lazy("Sender ID"),
        required=False,
        help_text=gettext_lazy(
            "Optional: the name that people see as the sender, where a country allows it; some ask for registration."
        ),
        validators=[
            RegexValidator(
                r"^(?=\d*[A-Za-z])[A-Za-z0-9]{3,11}\Z",
                gettext_lazy(
                    "“%(value)s” is not a sender ID; use 3 to 11 letters and digits, with at least one letter."
                ),
            )
        ],
    )
    max_price = forms.CharField(
        label=gettext_lazy("Highest price of a message"),
        required=False,
        help_text=gettext_lazy("Optional, in US dollars with a point, as in 0.20. Dearer messages are not sent."),
        validators=[
            RegexValidator(eum.PRICE, gettext_lazy("“%(value)s” is not a price; write US dollars, as in 0.20."))
        ],
    )
    events_topic_arn = None  # type: ignore[assignment]  # SNS reports what became of an SMS to CloudWatch only
    field_order = ["sender_id", "max_price"]


class SnsSms(aws.OneByOne):
    label = gettext_lazy("SMS: Amazon SNS")
    capabilities = Capabilities(form="sms", medium="sms", max_segments=3)
    config_form = SnsSmsForm
    service = "sns"
    operation = "publish"

    def request(self, message: Message, one: Addressee) -> dict[str, Any]:
        text = personalise(message.parts["text"], one.values)
        if not 0 < len(text.strip()) <= len(text) <= MAX_CHARACTERS:
            said = _("The message has %(length)d characters; AWS takes 1 to %(limit)d.")
            raise Permanent("bad-length", said % {"length": len(text), "limit": MAX_CHARACTERS})
        chosen = {
            "SMSType": ("String", "Transactional"),
            "SenderID": ("String", self.config.get("sender_id")),
            "MaxPrice": ("Number", self.config.get("max_price")),
        }
        return {
            "PhoneNumber": one.address,
            "Message": text,
            "MessageAttributes": {
                f"AWS.SNS.SMS.{name}": {"DataType": kind, "StringValue": value}
                for name, (kind, value) in chosen.items()
                if value
            },
        }

    def blame(self, error: Exception) -> tuple[DeliveryError, bool]:
        found, of_one = super().blame(error)
        if not isinstance(found, Permanent):
            return found, of_one
        if found.code == "OptedOut" or "opted out" in found.detail:
            return found, True
        if found.code not in ("InvalidParameter", "ParameterValueInvalid"):
            return found, False
        found.bad_address = bool(re.search("phone ?number", found.detail, re.IGNORECASE))
        # What concerns an attribute (sender, price) would meet everybody.
        return found, found.bad_address or "parameter: Message " in found.detail

    def probe(self) -> str:
        try:
            found = self.client.get_sms_sandbox_account_status()
        except aws.SDK_ERRORS as error:
            raise aws.failure(error) from error
        return (
            _("The account is in the sandbox: it can reach verified numbers only.") if found.get("IsInSandbox") else ""
        )
