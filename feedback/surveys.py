"""The survey: which one is asked, who was invited, what they may answer, and that they answer once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from django.apps import apps as every_app
from django.apps.registry import Apps
from django.core import signing
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from channels.models import Batch, Delivery, Dispatch, Recipient
from incidents.asking import Asked
from incidents.models import Incident
from incidents.publishing import SURVEY_SALT

from .models import Survey, SurveyAnswer, SurveyQuestion, SurveyUse, SurveyVersion


class NoInvitation(Exception):
    """The link was never sent by us, or not whole. HTTP 404."""


class Gone(Exception):
    """The link was good once; the incident or the person has been erased. HTTP 410."""


class Closed(Exception):
    """The link was good once; its time is over. HTTP 410."""

    def __init__(self, at: datetime) -> None:
        super().__init__(at)
        self.at = at


# ── What is asked ───────────────────────────────────────────────────────────


class Asker:
    """What incidents want to know of surveys: incidents.asking.Asker."""

    def survey(self, incident: Incident) -> Asked | None:
        found = Survey.choose(incident)
        version = found.current() if found else None
        if version is None:
            return None
        content = version.content
        closed = [one for one in version.questions if one["kind"] != SurveyQuestion.Kind.TEXT]
        return Asked(
            version=version.pk,
            questions=len(closed) or len(version.questions),  # a free text at the end is not one to reckon with
            share=content["share"],
            anonymous=content["anonymous"],
            open_days=content["open_days"],
            remind_days=content["remind_days"],
        )

    def unanswered(self, people: QuerySet[Recipient], incident: Incident, update: int) -> QuerySet[Recipient]:
        sent = Dispatch.objects.filter(source=f"update:{update}", purpose=Dispatch.Purpose.SURVEY)
        first = sent.order_by("not_before").first()
        version = version_of(first) if first else None
        if first is None or version is None or closes_at(first, version) <= timezone.now():
            return people.none()
        mine = {"incident": incident, "recipient": OuterRef("pk")}
        answered = Exists(SurveyAnswer.objects.filter(**mine)) | Exists(SurveyUse.objects.filter(**mine))
        return people.exclude(answered)


def version_of(sent: Dispatch) -> SurveyVersion | None:
    """What this invitation asks; from before surveys had versions, the first of all."""
    versions = SurveyVersion.objects.order_by("pk")
    key = sent.audience.get("survey")
    return versions.filter(pk=key).first() if key else versions.first()


def closes_at(sent: Dispatch, version: SurveyVersion) -> datetime:
    """For everybody at the same time, whenever their own invitation left."""
    return sent.not_before + timedelta(days=version.content["open_days"])


def ship(apps: Apps = every_app, **_signal: Any) -> None:
    """The survey that comes with the portal, where there is none at all: after a `migrate`, or a `flush`."""
    try:
        there = apps.get_model("feedback", "Survey").objects.exists()
    except LookupError:  # not migrated so far
        return
    if not there:
        import_module("feedback.migrations.0002_surveys").write(apps)


# ── An invitation ───────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Invitation:
    """One recipient asked about one incident, with the answer if there is one.

    `used`: an anonymous survey was answered, and nobody knows what.
    """

    incident: Incident
    recipient: Recipient
    sent: Dispatch | None
    version: SurveyVersion
    closes_at: datetime | None
    answer: SurveyAnswer | None
    used: bool = False

    @property
    def can_change(self) -> bool:
        return self.answer is not None and self.answer.can_change

    def record(self, given: dict[str, Any], texts: dict[str, str], locale: str) -> bool:
        """Keep an answer. False if there was one already, which stays.

        The unique constraint decides, so that of two taps at once one is kept.
        """
        try:
            with transaction.atomic():
                if self.version.anonymous:
                    SurveyUse.objects.create(incident=self.incident, recipient=self.recipient)
                SurveyAnswer.objects.create(given=given, texts=texts, locale=locale, **self._whose())
        except IntegrityError:
            if not (answer_of(self.incident, self.recipient) or was_used(self.incident, self.recipient)):
                raise
            return False
        return True

    def _whose(self) -> dict[str, Any]:
        now = timezone.now()
        common = {
            "incident": self.incident,
            "version": self.version,
            "channel_id": self.sent.channel_id if self.sent else None,
        }
        if self.version.anonymous:
            return common | {"at": now.replace(hour=0, minute=0, second=0, microsecond=0)}
        fixed = now + timedelta(minutes=self.version.content["change_minutes"])
        fixed = min(fixed, self.closes_at) if self.closes_at else fixed
        return common | {"recipient": self.recipient, "at": now, "fixed_at": fixed if fixed > now else None}

    def change(self, given: dict[str, Any], texts: dict[str, str], locale: str) -> bool:
        """Put another answer in the place of the first. False if it is too late for that.

        The database looks at its clock as it writes: of a change and the end of its time, one wins.
        """
        mine = SurveyAnswer.objects.filter(incident=self.incident, recipient=self.recipient, fixed_at__gt=Now())
        return mine.update(given=given, texts=texts, locale=locale) == 1


def read(token: str) -> Invitation:
    """The invitation behind a link. Raises NoInvitation, Gone or Closed (never for one that was answered)."""
    incident_id, recipient_id = _ids(token)
    incident = Incident.objects.filter(pk=incident_id).first()
    recipient = Recipient.objects.filter(pk=recipient_id).first()
    if incident is None or recipient is None:
        raise Gone
    if answer := answer_of(incident, recipient):
        return Invitation(incident, recipient, None, answer.version, None, answer)
    sent = invitation_of(incident, recipient)
    version = version_of(sent) if sent else None
    if sent is None or version is None:
        raise NoInvitation
    end = closes_at(sent, version)
    used = version.anonymous and was_used(incident, recipient)
    if not used and end <= timezone.now():
        raise Closed(end)
    return Invitation(incident, recipient, sent, version, end, None, used)


def _ids(token: str) -> tuple[int, int]:
    try:
        match signing.loads(token, salt=SURVEY_SALT):
            case [int(incident_id), int(recipient_id)]:
                return incident_id, recipient_id
    except signing.BadSignature:
        pass
    raise NoInvitation


def answer_of(incident: Incident, recipient: Recipient) -> SurveyAnswer | None:
    return SurveyAnswer.objects.select_related("version").filter(incident=incident, recipient=recipient).first()


def was_used(incident: Incident, recipient: Recipient) -> bool:
    return SurveyUse.objects.filter(incident=incident, recipient=recipient).exists()


def invitation_of(incident: Incident, recipient: Recipient) -> Dispatch | None:
    """The latest invitation that went out, or is going out, to this recipient."""
    return sent_to(Dispatch.objects.filter(thread=incident.thread, purpose=Dispatch.Purpose.SURVEY), recipient)


def sent_to(messages: QuerySet[Dispatch], recipient: Recipient) -> Dispatch | None:
    """The latest of these that went out, or is going out, to this recipient."""
    reached = Delivery.objects.filter(dispatch=OuterRef("pk"), recipient=recipient)
    if sent := messages.filter(Exists(reached)).order_by("-pk").first():
        return sent
    # The engine records a wave after it was sent: who is quick may answer before that.
    in_flight = Batch.objects.filter(dispatch__in=messages, done_at__isnull=True, attempted_to__gt=F("done_to"))
    for batch in in_flight.select_related("dispatch"):
        if recipient.pk in batch.recipient_ids:
            return batch.dispatch
    return None
