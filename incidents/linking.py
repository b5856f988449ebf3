"""Which tickets of the help desk belong to an incident: its updates become comments on them."""

import re
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.models import Channel, Medium, Recipient

from .errors import NotAllowed, Refused
from .models import Incident, IncidentTicket

AT_ONCE = 500  # tickets linked in one go


def help_desks() -> list[Channel]:
    """The channels that comment on tickets."""
    return [one for one in Channel.objects.all() if (can := one.capabilities) and can.medium == Medium.TICKET]


def tickets(incident: Incident, channel: Channel) -> QuerySet[Recipient]:
    """The tickets of this channel's help desk that belong to the incident."""
    return Recipient.objects.filter(
        pk__in=incident.tickets.order_by().values("recipient"),
        medium=Medium.TICKET,
        address__startswith=f"{channel.pk}:",
    )


def may_link(incident: Incident, user: Any) -> bool:
    return user.has_perm("incidents.write_incidentupdate") and incident.may_operate(user)


def link(incident: Incident, by: Any, channel: Channel, typed: str) -> int:
    """Link the tickets that somebody typed or pasted; how many are new. All of them or, if one is wrong, none.

    Raises NotAllowed, Refused.
    """
    _check(incident, by)
    names = read(typed, channel)
    with transaction.atomic():
        new = 0
        for name in names:
            ticket, _made = Recipient.objects.get_or_create(
                medium=Medium.TICKET,
                address=f"{channel.pk}:{name}",
                defaults={"confirmed_at": timezone.now(), "consent_source": "ticket"},
            )
            new += IncidentTicket.objects.get_or_create(incident=incident, recipient=ticket, defaults={"added_by": by})[
                1
            ]
    return new


def unlink(incident: Incident, by: Any, pk: int) -> str:
    """Take a ticket off the incident; its name. What was said in it stays. Raises NotAllowed, Refused."""
    _check(incident, by)
    found = incident.tickets.select_related("recipient").filter(pk=pk).first()
    if found is None:
        raise Refused(_("This ticket is not linked to the incident any more."))
    found.delete()
    return found.name


def read(typed: str, channel: Channel) -> list[str]:
    """The tickets in a text, separated by commas, semicolons or white space. Raises Refused, naming what is none."""
    names = list(dict.fromkeys(_name(word) for word in re.split(r"[\s,;]+", typed) if word))
    can = channel.get_provider().capabilities
    if not names:
        text = _("Enter at least one ticket of %(channel)s, as in %(example)s.")
        raise Refused(text % {"channel": channel, "example": can.ticket_example})
    if len(names) > AT_ONCE:
        text = _("These are %(count)d tickets; link at most %(limit)d at once.")
        raise Refused(text % {"count": len(names), "limit": AT_ONCE})
    wrong = [name for name in names if not re.fullmatch(can.ticket_pattern, name)]
    if wrong:
        text = _("“%(value)s” is no ticket of %(channel)s; write it as %(example)s. Nothing was linked.")
        raise Refused(text % {"value": wrong[0][:80], "channel": channel, "example": can.ticket_example})
    return names


def _name(word: str) -> str:
    """“#12345” and a web address that ends with it are 12345."""
    if word.startswith(("https://", "http://")):
        word = word.partition("?")[0].rstrip("/").rpartition("/")[2]
    return word.removeprefix("#")


def _check(incident: Incident, by: Any) -> None:
    if not may_link(incident, by):
        raise NotAllowed(_("Linking tickets needs a role that writes updates, for all components of the incident."))
