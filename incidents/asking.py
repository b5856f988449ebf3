"""What incidents know of surveys: which one is asked, and who has not answered. feedback, which has them, says so.

It does in its `ready`: `ask(asker)`. Where nobody does, nobody is asked.
"""

from dataclasses import dataclass
from typing import Protocol

from django.db.models import CharField, QuerySet, Value
from django.db.models.functions import MD5, Cast, Concat, Left

from channels.models import Recipient

from .models import Incident


@dataclass(frozen=True)
class Asked:
    """One survey as it is sent: `version` is its key, `share` in percent of those who were told."""

    version: int
    questions: int
    share: int
    anonymous: bool
    open_days: int
    remind_days: int | None


class Asker(Protocol):
    def survey(self, incident: Incident) -> Asked | None:
        """The survey of this incident; None if there is none."""

    def unanswered(self, people: QuerySet[Recipient], incident: Incident, update: int) -> QuerySet[Recipient]:
        """Those of `people` who have not answered; nobody once what was asked with this update has closed."""


_asker: Asker | None = None


def ask(asker: Asker) -> None:
    global _asker
    _asker = asker


def survey(incident: Incident) -> Asked | None:
    return _asker.survey(incident) if _asker else None


def unanswered(people: QuerySet[Recipient], incident: Incident, update: int) -> QuerySet[Recipient]:
    return _asker.unanswered(people, incident, update) if _asker else people.none()


def drawn(people: QuerySet[Recipient], incident: Incident, share: int) -> QuerySet[Recipient]:
    """So many percent of `people`, by a lot that is the same whenever it is drawn for this incident.

    Each person's is a number from 0 to 16⁸, from their key and the incident's id: who was not asked can be told later.
    """
    if share >= 100:
        return people
    lot = Left(MD5(Concat(Value(f"{incident.uid}:"), Cast("pk", CharField()))), 8)
    return people.alias(_lot=lot).filter(_lot__lt=f"{share * 16**8 // 100:08x}")
