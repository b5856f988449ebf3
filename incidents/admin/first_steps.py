"""What a portal needs before its first plan, in the order in which one thing needs the other."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Exists
from django.utils.translation import gettext as _

from channels.models import Channel, Recipient
from incidents.models import Component, MessageTemplate

from . import glance


@dataclass(frozen=True)
class Step:
    name: str
    why: str
    done: bool
    url: str  # empty for whoever may not do it


def first_steps(user: Any) -> list[Step]:
    """For a portal without a plan, in one query. What is there is told of the whole portal, but not what it is."""
    others = User.objects.filter(is_active=True, is_staff=True, groups__isnull=False).exclude(pk=user.pk)
    asked = User.objects.filter(pk=user.pk).values(
        components=Exists(Component.objects.all()),
        people=Exists(others),
        channel=Exists(Channel.objects.filter(enabled=True, verified_at__isnull=False)),
        templates=Exists(MessageTemplate.objects.all()),
        recipients=Exists(Recipient.objects.all()),
    )
    there = asked.get()

    def step(name: str, why: str, done: bool, view: str, permission: str) -> Step:
        return Step(name, why, done, glance.link(view) if user.has_perm(permission) else "")

    return [
        step(
            _("Components"),
            _("What can fail, in words that customers know."),
            there["components"],
            "incidents_component_changelist",
            "incidents.add_component",
        ),
        step(
            _("People and their roles"),
            _("Staff, in groups: nobody approves their own words, so there must be two."),
            there["people"],
            "auth_user_changelist",
            "auth.add_user",
        ),
        step(
            _("A channel, tested"),
            _("The way on which messages go out. Send a test on its page."),
            there["channel"],
            "channels_channel_changelist",
            "channels.add_channel",
        ),
        step(
            _("Templates"),
            _("Words for each stage: bring in the ready-made ones, and make them yours."),
            there["templates"],
            "incidents_messagetemplate_ready",
            "incidents.add_messagetemplate",
        ),
        step(
            _("Recipients"),
            _("Who is written to: bring in a list, or let customers subscribe on the status page."),
            there["recipients"],
            "channels_recipient_changelist",
            "channels.add_recipient",
        ),
        step(
            _("A communication plan"),
            _("Who does what, by when, on which channels."),
            False,
            "incidents_communicationplan_add",
            "incidents.add_communicationplan",
        ),
        step(
            _("The coverage check"),
            _("What would fail tonight, and where it is mended."),
            False,
            "incidents_communicationplan_coverage",
            "incidents.view_communicationplan",
        ),
    ]
