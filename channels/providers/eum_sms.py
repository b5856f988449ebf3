"""SMS through AWS End User Messaging, one SendTextMessage a recipient."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import Permanent

from . import eum
from .base import Addressee, Capabilities, Message, personalise

MAX_CHARACTERS = 1600


class EumSmsForm(eum.EumForm):
    origination_identity = forms.RegexField(
        eum.IDENTITY,
        label=gettext_lazy("Sent from"),
        required=False,
        help_text=gettext_lazy(
            "Phone number, sender ID or pool, by name or ARN. Empty: AWS chooses one for the country of the recipient."
        ),
    )
    max_price = forms.RegexField(
        eum.PRICE,
        label=gettext_lazy("Highest price of a part"),
        required=False,
        help_text=gettext_lazy("Optional, in US dollars with a point, as in 0.20. Dearer messages are not sent."),
    )
    field_order = ["origination_identity", "configuration_set", "max_price"]


class EumSms(eum.Eum):
    label = gettext_lazy("SMS: AWS End User Messaging")
    capabilities = Capabilities(form="sms", medium="sms", max_segments=3, receipts=True)
    config_form = EumSmsForm
    operation = "send_text_message"

    def request(self, message: Message, one: Addressee) -> dict[str, Any]:
        text = personalise(message.parts["text"], one.values)
        if not 0 < len(text.strip()) <= len(text) <= MAX_CHARACTERS:
            said = _("The message has %(length)d characters; AWS takes 1 to %(limit)d.")
            raise Permanent("bad-length", said % {"length": len(text), "limit": MAX_CHARACTERS})
        chosen = {
            "OriginationIdentity": self.config.get("origination_identity"),
            "ConfigurationSetName": self.config.get("configuration_set"),
            "MaxPrice": self.config.get("max_price"),
        }
        return {
            "DestinationPhoneNumber": one.address,
            "MessageBody": text,
            "MessageType": "TRANSACTIONAL",
            "Context": self.context(message, one),
            **{name: value for name, value in chosen.items() if value},
        }
