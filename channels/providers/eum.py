"""What SMS and voice through AWS End User Messaging share: the service, its settings, and what its failures mean."""

from botocore.exceptions import ClientError
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Throttled, Uncertain

from . import aws
from .base import Addressee, Message

# Reasons that lie in the number or its country; any other would meet every recipient.
OF_ONE = {
    "COUNTRY_CODE_MISMATCH",
    "COUNTRY_NOT_ENABLED",
    "DAILY_DESTINATION_CALL_LIMIT",
    "DESTINATION_COUNTRY_BLOCKED",
    "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION",
    "DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROTECT_NUMBER_OVERRIDE",
    "DESTINATION_PHONE_NUMBER_NOT_VERIFIED",
    "DESTINATION_PHONE_NUMBER_OPTED_OUT",
    "INTERNATIONAL_SENDING_NOT_SUPPORTED",
    "INVALID_IDENTITY_FOR_DESTINATION_COUNTRY",
    "PRICE_OVER_THRESHOLD",
    "SENDER_ID_NOT_REGISTERED",
    "SENDER_ID_NOT_SUPPORTED",
    "SENDER_ID_REQUIRES_REGISTRATION",
}
IDENTITY = r"^[A-Za-z0-9_:/+-]{1,256}$"
PRICE = r"^[0-9]{0,2}\.[0-9]{1,5}$"


class EumForm(aws.AwsForm):
    configuration_set = forms.RegexField(
        r"^[A-Za-z0-9_:/-]{1,256}$",
        label=gettext_lazy("Configuration set"),
        required=False,
        help_text=gettext_lazy("Optional. Without one, AWS reports no receipts to the portal."),
    )


class Eum(aws.OneByOne):
    service = "pinpoint-sms-voice-v2"

    def context(self, message: Message, one: Addressee) -> dict[str, str]:
        """Comes back with every event about this message."""
        return {"dispatch": message.reference, "delivery": one.key or "-"}

    def blame(self, error: Exception) -> tuple[DeliveryError, bool]:
        found = aws.failure(error)
        if isinstance(found, Throttled):
            found.retry_after = 1  # parts and calls are counted by the second
        if not isinstance(error, ClientError) or not isinstance(found, Permanent):
            return found, isinstance(found, Uncertain)
        # The code alone (ValidationException) says little: AWS's reason becomes our code.
        reason = error.response.get("Reason", "")
        fields = {field.get("Name") for field in error.response.get("Fields") or []}
        bad = fields == {"DestinationPhoneNumber"}
        said = Permanent(reason or found.code, found.detail, bad_address=bad and reason not in OF_ONE)
        return said, bad or fields == {"MessageBody"} or reason in OF_ONE

    def probe(self) -> str:
        try:
            found = self.client.describe_account_attributes()["AccountAttributes"]
        except aws.SDK_ERRORS as error:
            raise self.blame(error)[0] from error
        tier = {one["Name"]: one["Value"] for one in found}.get("ACCOUNT_TIER", "")
        return _("The account is in the sandbox: it can reach verified numbers only.") if tier == "SANDBOX" else ""
