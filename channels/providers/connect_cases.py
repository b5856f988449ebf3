"""A comment on a case of Amazon Connect Cases, one CreateRelatedItem a case."""

from typing import Any

from botocore.exceptions import ClientError
from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Uncertain

from . import aws
from .base import Addressee, Capabilities, Message
from .tickets import TicketLinkForm, comment, ticket_of

MAX_COMMENT = 15_000  # characters
# Said about one case: it is not there, it is being merged, its ID is none, or it holds no more comments.
OF_ONE = {"ConflictException", "ResourceNotFoundException", "ServiceQuotaExceededException", "ValidationException"}


class ConnectCasesForm(TicketLinkForm, aws.AwsForm):
    domain_id = forms.CharField(
        label=gettext_lazy("ID of the Cases domain"),
        max_length=100,
        help_text=gettext_lazy("On the page of your Amazon Connect instance, under “Cases”."),
        validators=[
            RegexValidator(
                r"^[A-Za-z0-9-]+\Z",
                gettext_lazy(
                    "“%(value)s” is not the ID of a domain; write it as 1f2e3d4c-5b6a-4789-8abc-0123456789ab."
                ),
            )
        ],
    )
    events_topic_arn = None  # type: ignore[assignment]  # cases have neither receipts nor bounces
    field_order = ["domain_id", "ticket_url"]


class ConnectCases(aws.OneByOne):
    label = gettext_lazy("Tickets: Amazon Connect Cases")
    capabilities = Capabilities(
        form="chat",
        medium="ticket",
        ticket_pattern=r"[A-Za-z0-9][A-Za-z0-9._:#=+-]{0,499}",
        ticket_example="1f2e3d4c-5b6a-4789-8abc-0123456789ab",
    )
    config_form = ConnectCasesForm
    service = "connectcases"
    operation = "create_related_item"

    def request(self, message: Message, one: Addressee) -> dict[str, Any]:
        return {
            "domainId": self.config["domain_id"],
            "caseId": ticket_of(one, self.capabilities),
            "type": "Comment",
            "content": {"comment": {"body": comment(message.parts, MAX_COMMENT), "contentType": "Text/Plain"}},
        }

    def blame(self, error: Exception) -> tuple[DeliveryError, bool]:
        found = aws.failure(error)
        if not isinstance(found, Permanent):
            return found, isinstance(found, Uncertain)
        domain = isinstance(error, ClientError) and "domain" in str(error.response.get("resourceType", "")).lower()
        return found, found.code in OF_ONE and not domain

    def probe(self) -> str:
        try:
            found = self.client.get_domain(domainId=self.config["domain_id"])
        except aws.SDK_ERRORS as error:
            raise self.blame(error)[0] from error
        if found.get("domainStatus") != "Active":
            text = _("The domain is not ready: AWS says “%(status)s”.")
            raise Permanent("domain-not-active", text % {"status": found.get("domainStatus", "")})
        return _("Comments appear in the domain “%(name)s”, where agents read them.") % {"name": found.get("name", "")}
