"""WhatsApp through AWS End User Messaging Social: one SendWhatsAppMessage a recipient, by an approved template.

WhatsApp lets a business write first only by a template that Meta approved. Ours has three parameters in its body:
{{1}} the subject, {{2}} the text, {{3}} the address of the incident's page.
"""

import json
import re
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Throttled

from . import aws
from .base import Addressee, Capabilities, Message, personalise

MAX_LENGTH = 1024  # characters of a body, its parameters included
# What WhatsApp refuses in a parameter: more than four spaces in a row, tabs, and whatever ends a line.
FORBIDDEN = re.compile(r" {5}|[\t\n\v\f\r\x85\u2028\u2029]")
E164 = re.compile(r"\+[1-9]\d{6,14}")
LANGUAGE = r"^[a-z]{2,3}(_[A-Z]{2,3})?\Z"
# Meta's codes for what lies in this recipient, where AWS passes them on: our own number, one that WhatsApp cannot
# reach, one that a test number may not write to, one that wants no such messages.
OF_ONE = re.compile(r"\b(131021|131026|131030|131050)\b")


class EumWhatsAppForm(aws.AwsForm):
    phone_number_id = forms.RegexField(
        r"^(phone-number-id-[0-9a-zA-Z]{1,99}|arn:aws[a-z-]*:social-messaging:[a-z0-9-]+:\d{12}:phone-number-id/[0-9a-zA-Z]+)\Z",
        label=gettext_lazy("Phone number ID"),
        max_length=115,
        help_text=gettext_lazy("The number that writes, by its ID on AWS (phone-number-id-…) or its ARN."),
        error_messages={
            "invalid": gettext_lazy("Write the ID as AWS shows it, phone-number-id- and 32 digits, or its ARN.")
        },
    )
    template = forms.RegexField(
        r"^[a-z0-9_]{1,512}\Z",
        label=gettext_lazy("Template"),
        help_text=gettext_lazy(
            "Name of a template that Meta approved, with three parameters in its body: {{1}} the subject, {{2}} the"
            " text, {{3}} the address of the page."
        ),
        error_messages={"invalid": gettext_lazy("The name of a template has small letters, digits and underscores.")},
    )
    language_en = forms.RegexField(
        LANGUAGE,
        label=gettext_lazy("Template’s language for English"),
        required=False,
        initial="en",
        help_text=gettext_lazy("As Meta writes it: en, en_GB or en_US."),
        error_messages={"invalid": gettext_lazy("Write the language as Meta does, as in en or en_GB.")},
    )
    language_it = forms.RegexField(
        LANGUAGE,
        label=gettext_lazy("Template’s language for Italian"),
        required=False,
        initial="it",
        help_text=gettext_lazy("Leave it empty if the template has no Italian version."),
        error_messages={"invalid": gettext_lazy("Write the language as Meta does, as in en or en_GB.")},
    )
    api_version = forms.RegexField(
        r"^v\d{1,3}\.\d\Z",
        label=gettext_lazy("Version of Meta’s API"),
        initial="v20.0",
        help_text=gettext_lazy("One that AWS offers in this region, as in v20.0."),
        error_messages={"invalid": gettext_lazy("Write the version as Meta does, as in v20.0.")},
    )
    field_order = ["phone_number_id", "template", "language_en", "language_it", "api_version"]


class EumWhatsApp(aws.OneByOne):
    label = gettext_lazy("WhatsApp: AWS End User Messaging")
    capabilities = Capabilities(form="push", medium="whatsapp")
    config_form = EumWhatsAppForm
    service = "socialmessaging"
    operation = "send_whatsapp_message"

    def request(self, message: Message, one: Addressee) -> dict[str, Any]:
        if not E164.fullmatch(one.address):  # AWS would blame the request, and that would stop the channel
            raise Permanent("bad-address", _("The number is not in E.164, as in +442071234567."), bad_address=True)
        said = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": one.address,
            "type": "template",
            "template": {
                "name": self.config["template"],
                "language": {"code": self._language(message.locale)},
                "components": [{"type": "body", "parameters": _parameters(message, one)}],
            },
        }
        return {
            "originationPhoneNumberId": self.config["phone_number_id"],
            "message": json.dumps(said, ensure_ascii=False).encode(),
            "metaApiVersion": self.config["api_version"],
        }

    def _language(self, locale: str) -> str:
        code = self.config.get(f"language_{locale.partition('-')[0]}")
        if not code:  # words of one language inside a template of another
            said = _("The template has no version for the language “%s”; name one in the channel’s settings.")
            raise Permanent("no-language", said % locale)
        return code

    def blame(self, error: Exception) -> tuple[DeliveryError, bool]:
        found, of_one = super().blame(error)
        if isinstance(found, Throttled):
            found.retry_after = 1  # messages are counted by the second
        return found, of_one or (isinstance(found, Permanent) and bool(OF_ONE.search(found.detail)))

    def probe(self) -> str:
        try:
            found = self.client.get_linked_whatsapp_business_account_phone_number(id=self.config["phone_number_id"])
        except aws.SDK_ERRORS as error:
            raise self.blame(error)[0] from error
        number = found.get("phoneNumber") or {}
        shown = {"number": number.get("displayPhoneNumber", ""), "name": number.get("displayPhoneNumberName", "")}
        return _("Messages come from %(number)s (%(name)s).") % shown


def _parameters(message: Message, one: Addressee) -> list[dict[str, str]]:
    """What fills {{1}}, {{2}} and {{3}}. Raises Permanent for what WhatsApp would refuse; nothing is changed."""
    texts = [personalise(message.parts[part], one.values) for part in ("subject", "text", "url")]
    if not all(text.strip() for text in texts):
        raise Permanent("empty", _("WhatsApp takes no empty words; subject, text and address of the page are needed."))
    if any(FORBIDDEN.search(text) for text in texts):
        said = _("WhatsApp takes no line breaks, tabs or five spaces in a row; take them out of subject and SMS text.")
        raise Permanent("bad-characters", said)
    length = sum(map(len, texts))
    if length > MAX_LENGTH:
        said = _(
            "Subject, text and address have %(length)d characters; WhatsApp takes %(limit)d. Shorten the SMS text."
        )
        raise Permanent("too-long", said % {"length": length, "limit": MAX_LENGTH})
    return [{"type": "text", "text": text} for text in texts]
