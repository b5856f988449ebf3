"""Email through Amazon SES, API version 2, one SendEmail a recipient."""

import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from channels.errors import DeliveryError, Permanent, Throttled, Uncertain

from . import aws
from .base import Addressee, Capabilities, Message, Outcome, personalise
from .mail import ascii_address, common_headers, domain_of, mailbox, one_line, unsubscribe_headers

# Said about one message; everything else that SES refuses, it would refuse for everybody.
OF_ONE = {"MessageRejected", "BadRequestException"}


class SesForm(aws.AwsForm):
    from_address = forms.EmailField(
        label=gettext_lazy("From address"),
        help_text=gettext_lazy("This address or its domain must be a verified identity in SES, in this region."),
    )
    from_name = forms.CharField(label=gettext_lazy("From name"), required=False, max_length=80)
    configuration_set = forms.RegexField(
        r"^[A-Za-z0-9_-]{1,64}$",
        label=gettext_lazy("Configuration set"),
        required=False,
        help_text=gettext_lazy("Optional. Without one, SES reports no bounces and deliveries to the portal."),
    )
    field_order = ["from_address", "from_name", "configuration_set"]


class Ses(aws.AwsProvider):
    label = gettext_lazy("Email: Amazon SES")
    capabilities = Capabilities(form="email", medium="email")
    config_form = SesForm
    service = "sesv2"

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._send_one(message, one) for one in recipients]

    def _send_one(self, message: Message, one: Addressee) -> Outcome:
        try:
            request = self._request(message, one)
        except ValueError as error:
            return Outcome(error=Permanent("bad-syntax", str(error)))
        client = self.client
        try:
            return aws.accepted(client.send_email(**request))
        except aws.SDK_ERRORS as error:
            found = self._failure(error)
            if isinstance(found, Uncertain) or (aws.code_of(error) in OF_ONE and not self._is_about_us(found)):
                return Outcome(error=found)
            raise found from error

    def _request(self, message: Message, one: Addressee) -> dict[str, Any]:
        sender = self.config["from_address"]
        headers = {**common_headers(message, domain_of(sender)), **unsubscribe_headers(one)}
        body = {
            form.capitalize(): {
                "Data": personalise(message.parts[form], one.values, form == "html"),
                "Charset": "UTF-8",
            }
            for form in ("text", "html")
            if message.parts.get(form)
        }
        subject = one_line(personalise(message.parts["subject"], one.values))
        request = {
            "FromEmailAddress": mailbox(sender, self.config.get("from_name", "")),
            "Destination": {"ToAddresses": [mailbox(one.address, one.name)]},
            "Content": {
                "Simple": {
                    "Subject": {"Data": subject, "Charset": "UTF-8"},
                    "Body": body,
                    "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
                }
            },
            # Events of SES carry the tags back, so that one whose reply was lost can be found again.
            "EmailTags": [
                {"Name": "dispatch", "Value": _tag(message.reference)},
                {"Name": "delivery", "Value": _tag(one.key)},
            ],
        }
        if self.config.get("configuration_set"):
            request["ConfigurationSetName"] = self.config["configuration_set"]
        return request

    def _failure(self, error: Exception) -> DeliveryError:
        found = aws.failure(error)
        if isinstance(found, Throttled):
            # The rate is counted by the second, the quota by the day.
            found.retry_after = 600 if re.search("daily|quota", found.detail, re.I) else 1
        return found

    def _is_about_us(self, error: DeliveryError) -> bool:
        """Whether a rejection names our own sender as not verified (in the sandbox it names recipients too)."""
        said = error.detail.lower()
        return "verified" in said and ascii_address(self.config["from_address"]).lower() in said

    def probe(self) -> str:
        try:
            account = self.client.get_account()
        except aws.SDK_ERRORS as error:
            raise self._failure(error) from error
        status = account.get("EnforcementStatus", "HEALTHY")
        if not account.get("SendingEnabled", True) or status == "SHUTDOWN":
            raise Permanent("SendingPaused", _("SES has paused sending for this account (%s).") % status)
        quota = account.get("SendQuota", {})
        rate, daily = int(quota.get("MaxSendRate", 0)), int(quota.get("Max24HourSend", 0))
        said = [
            ngettext("SES grants %(rate)d message a second", "SES grants %(rate)d messages a second", rate)
            % {"rate": rate}
            + _(" and %(daily)d in 24 hours.") % {"daily": daily}
        ]
        if not account.get("ProductionAccessEnabled", True):
            said.append(_("The account is in the sandbox: it can write to verified addresses only."))
        return " ".join(said)


def _tag(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@-]", "-", text)[:256] or "-"
