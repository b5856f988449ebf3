"""What the coverage check found, in sentences, with the page where it is mended."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from incidents.models import CommunicationPlan


class Weight(models.TextChoices):
    HOLE = "hole", _("Hole")  # somebody would not be told, or a message would be stopped on its way
    WARNING = "warning", _("To look at")  # it would go out


class Kind(models.TextChoices):
    """In the order in which they are told: what leaves most people without a word comes first."""

    NO_PLAN = "no_plan", _("Without a plan")
    NO_CHANNEL = "no_channel", _("Plans without a channel")
    ROLE = "role", _("Roles that nobody can fill")
    APPROVAL = "approval", _("Approval that nobody could give")
    CHANNEL = "channel", _("Channels that would not send")
    AUDIENCE = "audience", _("Channels that would reach nobody")
    TEMPLATE = "template", _("Templates to write")
    WORDS = "words", _("Words that are missing, or would be refused")
    STALE = "stale", _("Templates to read again")
    LANGUAGE = "language", _("Languages of customers that a plan does not speak")
    TRAINING = "training", _("People without current training for their role")
    SECOND_FACTOR = "second_factor", _("People without a second factor")
    PERSON = "person", _("People who could not do what a plan asks of them")
    DEPUTY = "deputy", _("Roles without a deputy")
    UNUSED = "unused", _("Plans that are never used")


class Mend(NamedTuple):
    """A page where it can be put right, for whoever has the permission."""

    label: str
    address: str
    permission: str


def mend(label: str, view: str, permission: str, *args: Any, **query: Any) -> Mend:
    address = reverse(f"admin:{view}", args=args)
    return Mend(label, f"{address}?{urlencode(query)}" if query else address, permission)


def mend_plan(plan: CommunicationPlan) -> Mend:
    label, view = _t("Open the plan"), "incidents_communicationplan_change"
    return mend(label, view, "incidents.view_communicationplan", plan.pk)


@dataclass(eq=False)
class Finding:
    """One thing to mend. What it has in common with others is told once, with every plan that it concerns.

    The sentence is for people, in the active language. `scenario`, `stage`, `channel`, `locale`, `person` say where
    it is, as far as that applies: names, and the codes of stage and language.
    """

    kind: Kind
    weight: Weight
    sentence: str
    mends: tuple[Mend, ...] = ()
    scenario: str = ""
    stage: str = ""
    channel: str = ""
    locale: str = ""
    person: str = ""
    # What a customer would notice tonight, as the end of a sentence; and of which incidents that is true.
    tonight: str = ""
    only: str = ""
    # Whose own it is to mend, by key, and where they do that.
    own: tuple[int, Mend] | None = None
    plans: dict[int, CommunicationPlan] = field(default_factory=dict)

    @property
    def is_hole(self) -> bool:
        return self.weight == Weight.HOLE

    @property
    def plan_names(self) -> str:
        return ", ".join(one.name for one in self.plans.values())

    def way(self, user: Any) -> Mend | None:
        """The first page on which this person can do something about it."""
        if self.own and self.own[0] == user.pk:
            return self.own[1]
        return next((one for one in self.mends if user.has_perm(one.permission)), None)


class Notes:
    """What was found so far; the same thing, found for another plan, is one finding."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Finding] = {}

    def note(self, key: Hashable, one: Finding, plan: CommunicationPlan | None = None) -> Finding:
        """`one`, or what was found of the same key before, with the plan added to it."""
        found = self._found.setdefault(key, one)
        if plan is not None:
            found.plans[plan.pk] = plan
        return found

    def in_order(self) -> list[Finding]:
        """Holes first, the gravest first, then as they were found."""
        kinds = list(Kind)
        return sorted(self._found.values(), key=lambda one: (not one.is_hole, kinds.index(one.kind)))
