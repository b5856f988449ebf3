"""Comments for any other help desk: one signed request a ticket to a small server of one's own.

Signed as Standard Webhooks has it (standardwebhooks.com), so that the receiver drops what it has seen.
"""

import json
from collections.abc import Sequence

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.addresses import https_url
from channels.errors import Permanent, Throttled, Uncertain

from .base import Addressee, Capabilities, Message, Outcome
from .http import HttpProvider
from .receipts import ReceiptsForm
from .strangers import said
from .tickets import TicketLinkForm, comment, ticket_of
from .webhook import WebhookForm, secrets_of, signed

MAX_COMMENT = 65_535  # characters
# How the receiver says that it is this ticket alone: unknown, being changed, gone, or closed.
OF_ONE = {404, 409, 410, 422}


class TicketWebhookForm(TicketLinkForm, ReceiptsForm, WebhookForm):
    url = forms.CharField(
        label=gettext_lazy("Address of the receiver"),
        max_length=2000,
        help_text=gettext_lazy("A server of yours, which makes each request a comment. It begins with https://."),
    )
    field_order = ["url", "ticket_url"]

    def clean_url(self) -> str:
        try:
            return https_url(self.cleaned_data["url"].strip())
        except ValueError as error:
            raise ValidationError(str(error)) from None


class TicketWebhook(HttpProvider):
    label = gettext_lazy("Tickets: signed webhook")
    capabilities = Capabilities(
        form="chat", medium="ticket", idempotent=True, ticket_pattern=r"[!-~]{1,200}", ticket_example="HELP-123"
    )
    config_form = TicketWebhookForm

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._outcome(message, one) for one in recipients]

    def _outcome(self, message: Message, one: Addressee) -> Outcome:
        try:
            ticket = ticket_of(one, self.capabilities)
            comment(message.parts, MAX_COMMENT)  # refuses what is empty or too long
        except Permanent as refused:
            return Outcome(error=refused)
        parts = {name: message.parts.get(name, "") for name in ("subject", "text", "url")}
        body = json.dumps({"ticket": ticket, **parts, "language": message.locale}, ensure_ascii=False)
        try:
            status, content, _headers = self.call(
                "POST", self.config["url"], body.encode(), signed(body, one.key, secrets_of(self.config))
            )
        except Uncertain as error:
            return Outcome(error=error)
        if status < 300:
            return Outcome(ref=one.key)
        refusal = Permanent(str(status), said(content))
        if status in OF_ONE:
            return Outcome(error=refusal)
        raise refusal

    def probe(self) -> str:
        """Ask the receiver with GET, which changes nothing, only whether it is there: it may well refuse that."""
        try:
            self.call("GET", self.config["url"])
        except (Throttled, Uncertain) as error:
            if not error.code.isdecimal():
                raise
        return _("The receiver is there. Whether it accepts the signature, the test message shows.")
