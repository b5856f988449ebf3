"""What the help desks share: whose ticket an address is, and what a comment says."""

import re
from collections.abc import Mapping

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.addresses import https_url
from channels.errors import Permanent

from .base import Addressee, Capabilities


class TicketLinkForm(forms.Form):
    """For help desks whose pages have addresses that cannot be known from the other settings."""

    ticket_url = forms.CharField(
        label=gettext_lazy("Link to a ticket"),
        required=False,
        max_length=500,
        help_text=gettext_lazy(
            "Optional: open a ticket in the browser, copy its address, and write {ticket} in place of its number. "
            "The support brief then links each ticket."
        ),
    )

    def clean_ticket_url(self) -> str:
        text = self.cleaned_data["ticket_url"].strip()
        if not text:
            return ""
        if text.count("{ticket}") != 1:
            wrong = _("“%(value)s” does not say where the ticket stands: write {ticket} once, in place of its number.")
            raise ValidationError(wrong % {"value": text[:80]})
        try:
            https_url(text.replace("{ticket}", "1"))
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return text


def ticket_of(one: Addressee, can: Capabilities) -> str:
    """The ticket as its help desk knows it: an address is "12345", or with its channel's number before it "7:12345".

    Raises Permanent for what cannot be a ticket there.
    """
    ticket = re.sub(r"^\d+:", "", one.address)
    if not re.fullmatch(can.ticket_pattern, ticket):
        text = _("“%(value)s” is no ticket of this help desk; write it as %(example)s.")
        raise Permanent("bad-ticket", text % {"value": ticket[:80], "example": can.ticket_example})
    return ticket


def comment(parts: Mapping[str, str], limit: int) -> str:
    """Subject, words and the incident's address as one plain text. Raises Permanent if it is empty or too long."""
    if not parts["text"].strip():
        raise Permanent("empty", _("There is nothing to say in the ticket."))
    text = "\n\n".join(part.strip() for name in ("subject", "text", "url") if (part := parts.get(name, "")).strip())
    if len(text) > limit:
        said = _("The comment has %(length)d characters; the help desk takes %(limit)d. Shorten it.")
        raise Permanent("too-long", said % {"length": len(text), "limit": limit})
    return text
