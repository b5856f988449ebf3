"""SMS through AWS End User Messaging, one SendTextMessage a recipient."""

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Throttled, Uncertain

from . import aws
from .base import Addressee, Capabilities, Message, Outcome, personalise

MAX_CHARACTERS = 1600
# Reasons that lie in the number or its country; any other would meet every recipient.
OF_ONE = {
    "COUNTRY_CODE_MISMATCH",
    "DESTINATION_COUNTRY_BLOCKED",
    "DESTINATION_PHONE_NUMBER_NOT_VERIFIED",
    "DESTINATION_PHONE_NUMBER_OPTED_OUT",
    "INTERNATIONAL_SENDING_NOT_SUPPORTED",
    "INVALID_IDENTITY_FOR_DESTINATION_COUNTRY",
    "PRICE_OVER_THRESHOLD",
    "SENDER_ID_NOT_REGISTERED",
    "SENDER_ID_NOT_SUPPORTED",
    "SENDER_ID_REQUIRES_REGISTRATION",
}


class EumSmsForm(aws.AwsForm):
    origination_identity = forms.RegexField(
        r"^[A-Za-z0-9_:/+-]{1,256}$",
        label=gettext_lazy("Sent from"),
        required=False,
        help_text=gettext_lazy(
            "Phone number, sender ID or pool, by name or ARN. Empty: AWS chooses one for the country of the recipient."
        ),
    )
    configuration_set = forms.RegexField(
        r"^[A-Za-z0-9_:/-]{1,256}$",
        label=gettext_lazy("Configuration set"),
        required=False,
        help_text=gettext_lazy("Optional. Without one, AWS reports no receipts to the portal."),
    )
    max_price = forms.RegexField(
        r"^[0-9]{0,2}\.[0-9]{1,5}$",
        label=gettext_lazy("Highest price of a part"),
        required=False,
        help_text=gettext_lazy("Optional, in US dollars with a point, as in 0.20. Dearer messages are not sent."),
    )
    field_order = ["origination_identity", "configuration_set", "max_price"]


class EumSms(aws.AwsProvider):
    label = gettext_lazy("SMS: AWS End User Messaging")
    capabilities = Capabilities(form="sms", medium="sms", max_segments=3)
    config_form = EumSmsForm
    service = "pinpoint-sms-voice-v2"

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._send_one(message, one) for one in recipients]

    def _send_one(self, message: Message, one: Addressee) -> Outcome:
        text = personalise(message.parts["text"], one.values)
        if not 0 < len(text.strip()) <= len(text) <= MAX_CHARACTERS:
            said = _("The message has %(length)d characters; AWS takes 1 to %(limit)d.")
            return Outcome(error=Permanent("bad-length", said % {"length": len(text), "limit": MAX_CHARACTERS}))
        client = self.client
        try:
            return aws.accepted(client.send_text_message(**self._request(message, one, text)))
        except aws.SDK_ERRORS as error:
            found, of_one = _failure(error)
            if of_one:
                return Outcome(error=found)
            raise found from error

    def _request(self, message: Message, one: Addressee, text: str) -> dict[str, Any]:
        chosen = {
            "OriginationIdentity": self.config.get("origination_identity"),
            "ConfigurationSetName": self.config.get("configuration_set"),
            "MaxPrice": self.config.get("max_price"),
        }
        return {
            "DestinationPhoneNumber": one.address,
            "MessageBody": text,
            "MessageType": "TRANSACTIONAL",
            # Comes back with every event about this message.
            "Context": {"dispatch": message.reference, "delivery": one.key or "-"},
            **{name: value for name, value in chosen.items() if value},
        }

    def probe(self) -> str:
        try:
            found = self.client.describe_account_attributes()["AccountAttributes"]
        except aws.SDK_ERRORS as error:
            raise _failure(error)[0] from error
        tier = {one["Name"]: one["Value"] for one in found}.get("ACCOUNT_TIER", "")
        return _("The account is in the sandbox: it can write to verified numbers only.") if tier == "SANDBOX" else ""


def _failure(error: Exception) -> tuple[DeliveryError, bool]:
    """What went wrong, and whether it concerns this recipient only."""
    found = aws.failure(error)
    if isinstance(found, Throttled):
        found.retry_after = 1  # parts are counted by the second
    if not isinstance(error, ClientError) or not isinstance(found, Permanent):
        return found, isinstance(found, Uncertain)
    # The code alone (ValidationException) says little: AWS's reason becomes our code.
    reason = error.response.get("Reason", "")
    fields = {field.get("Name") for field in error.response.get("Fields") or []}
    bad = fields == {"DestinationPhoneNumber"}
    said = Permanent(reason or found.code, found.detail, bad_address=bad and reason not in OF_ONE)
    return said, bad or fields == {"MessageBody"} or reason in OF_ONE
