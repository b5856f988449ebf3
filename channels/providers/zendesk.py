"""A public comment on a ticket of Zendesk.

Shapes and errors as of developer.zendesk.com: api-reference/ticketing/tickets/tickets (Update Ticket), ticket_comments,
introduction/security-and-auth, account-configuration/usage_limits.
"""

import base64
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Transient, Uncertain

from .base import Addressee, Capabilities, Message, Outcome
from .http import HttpProvider
from .strangers import said
from .tickets import comment, ticket_of

MAX_COMMENT = 65_535  # characters
# Said about one ticket: it is not there, it is closed or full, or what it asks for is missing.
OF_ONE = {400, 404, 413, 422}


class ZendeskForm(forms.Form):
    subdomain = forms.CharField(
        label=gettext_lazy("Subdomain"),
        max_length=63,
        help_text=gettext_lazy("The first word of your help desk's address: example of https://example.zendesk.com."),
        validators=[
            RegexValidator(
                r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z",
                gettext_lazy("“%(value)s” is not a subdomain; of https://example.zendesk.com enter only example."),
            )
        ],
    )
    email = forms.EmailField(
        label=gettext_lazy("Email of the agent"),
        help_text=gettext_lazy("Comments appear in the name of this agent."),
    )
    api_token = forms.CharField(
        label=gettext_lazy("API token"),
        widget=forms.PasswordInput,
        max_length=255,
        help_text=gettext_lazy("From the Admin Center, under “Apps and integrations”, “APIs”."),
        validators=[RegexValidator(r"^[!-~]+\Z", gettext_lazy("An API token has no white space; copy it again."))],
    )


class Zendesk(HttpProvider):
    label = gettext_lazy("Tickets: Zendesk")
    capabilities = Capabilities(form="chat", medium="ticket", ticket_pattern=r"[0-9]{1,18}", ticket_example="12345")
    config_form = ZendeskForm

    @cached_property
    def api(self) -> str:
        return f"https://{self.config['subdomain']}.zendesk.com"

    def ticket_url(self, ticket: str) -> str:
        return f"{self.api}/agent/tickets/{ticket}"

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._outcome(message, one) for one in recipients]

    def _outcome(self, message: Message, one: Addressee) -> Outcome:
        try:
            ticket, body = ticket_of(one, self.capabilities), comment(message.parts, MAX_COMMENT)
        except Permanent as refused:
            return Outcome(error=refused)
        wanted = {"ticket": {"comment": {"body": body, "public": True}}}
        try:
            status, content = self._call("PUT", f"tickets/{ticket}.json", wanted)
        except Uncertain as error:
            return Outcome(error=error)
        if status == 409:  # somebody changed the ticket in the same moment, and Zendesk took theirs
            return Outcome(error=Transient("409", said(content)))
        if status in OF_ONE:
            return Outcome(error=Permanent(str(status), hint(status, ticket) or said(content)))
        if status >= 400:
            raise Permanent(str(status), hint(status) or said(content))
        return _accepted(content, ticket)

    def probe(self) -> str:
        status, content = self._call("GET", "users/me.json")
        if status >= 400:
            raise Permanent(str(status), hint(status) or said(content))
        user = content.get("user") if isinstance(content, Mapping) else None
        # Without valid credentials Zendesk may answer as to an anonymous visitor, who has no ID.
        if not isinstance(user, Mapping) or not user.get("id"):
            raise Permanent("401", hint(401))
        if user.get("role") == "end-user":
            raise Permanent("not-an-agent", _("This is no agent: a public comment needs one. Use an agent's email."))
        return _("Comments appear in the name of %(who)s.") % {"who": user.get("name") or self.config["email"]}

    def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and content. Raises DeliveryError."""
        login = f"{self.config['email']}/token:{self.config['api_token']}".encode()
        headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
        status, content, _headers = self.call(method, f"{self.api}/api/v2/{path}", body, headers)
        return status, content


def hint(status: int, ticket: str = "") -> str:
    """What a refusal means, for whoever can mend it; "" if Zendesk's own words say it best."""
    if status == 404 and ticket:
        return _("Zendesk has no ticket %(ticket)s, or this agent may not see it.") % {"ticket": ticket}
    if status == 404:
        return _("Zendesk knows no help desk of this subdomain.")
    if status == 401:
        return _("Zendesk does not accept this email and token; make a new token, and allow access by token.")
    return _("This agent may not write public comments; change the role of the agent.") if status == 403 else ""


def _accepted(content: Any, ticket: str) -> Outcome:
    if not isinstance(content, Mapping) or not isinstance(content.get("ticket"), Mapping):
        error: DeliveryError = Uncertain("bad-reply", _("Zendesk answered without the ticket."))
        return Outcome(error=error)
    audit = content.get("audit")
    return Outcome(ref=str((isinstance(audit, Mapping) and audit.get("id")) or ticket))
