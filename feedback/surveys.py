"""The survey: who was invited, what they may answer, and that they answer once."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.core import signing
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from channels.models import Batch, Delivery, Dispatch, Recipient
from incidents.models import Incident
from incidents.models.words import plain
from incidents.publishing import SURVEY_SALT

from .models import QUESTIONS, SurveyAnswer

SCORES = range(1, 6)


class NoInvitation(Exception):
    """The link was never sent by us, or not whole. HTTP 404."""


class Gone(Exception):
    """The link was good once; the incident or the person has been erased. HTTP 410."""


class Closed(Exception):
    """The link was good once; its time is over. HTTP 410."""


class Comment(forms.CharField):
    """A text without control characters: nobody types them on purpose, and not every database keeps them."""

    def to_python(self, value: Any) -> str:
        return plain(super().to_python(value) or "")


class SurveyForm(forms.Form):
    """Three scores from 1 to 5 and a free text of at most 2,000 characters."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for name, question in QUESTIONS.items():
            self.fields[name] = forms.TypedChoiceField(
                label=question,
                choices=[(score, str(score)) for score in SCORES],
                coerce=int,
                widget=forms.RadioSelect,
                error_messages={
                    "required": _("Please choose a number from 1 to 5."),
                    "invalid_choice": _("“%(value).20s” is not one of the answers; choose a number from 1 to 5."),
                },
            )
        self.fields["comment"] = Comment(
            label=_("Anything else? (optional)"),
            required=False,
            max_length=2000,
            widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off"}),
            error_messages={
                "max_length": _(
                    "This text has %(show_value)s characters; at most %(limit_value)s can be sent. Please shorten it."
                )
            },
        )

    def questions(self) -> list[forms.BoundField]:
        return [self[name] for name in QUESTIONS]


@dataclass(frozen=True)
class Invitation:
    """One recipient asked about one incident, with the answer if there is one."""

    incident: Incident
    recipient: Recipient
    answer: SurveyAnswer | None

    def record(self, scores: dict[str, Any], locale: str) -> bool:
        """Keep an answer: `scores` are the form's cleaned data. False if there was one already, which stays.

        The unique constraint decides, so that of two taps at once one is kept.
        """
        try:
            with transaction.atomic():
                SurveyAnswer.objects.create(incident=self.incident, recipient=self.recipient, locale=locale, **scores)
        except IntegrityError:
            if not answer_of(self.incident, self.recipient):
                raise
            return False
        return True


def read(token: str) -> Invitation:
    """The invitation behind a link. Raises NoInvitation, Gone or Closed (never for one that was answered)."""
    incident_id, recipient_id = _ids(token)
    incident = Incident.objects.filter(pk=incident_id).first()
    recipient = Recipient.objects.filter(pk=recipient_id).first()
    if incident is None or recipient is None:
        raise Gone
    answer = answer_of(incident, recipient)
    if answer is None:
        if not was_invited(incident, recipient):
            raise NoInvitation
        try:
            signing.loads(token, salt=SURVEY_SALT, max_age=timedelta(days=settings.SURVEY_OPEN_DAYS))
        except signing.SignatureExpired:
            raise Closed from None
    return Invitation(incident, recipient, answer)


def _ids(token: str) -> tuple[int, int]:
    try:
        match signing.loads(token, salt=SURVEY_SALT):
            case [int(incident_id), int(recipient_id)]:
                return incident_id, recipient_id
    except signing.BadSignature:
        pass
    raise NoInvitation


def answer_of(incident: Incident, recipient: Recipient) -> SurveyAnswer | None:
    return SurveyAnswer.objects.filter(incident=incident, recipient=recipient).first()


def was_invited(incident: Incident, recipient: Recipient) -> bool:
    """Whether an invitation went out, or is going out, to this recipient."""
    sent = Delivery.objects.filter(
        recipient=recipient, dispatch__thread=incident.thread, dispatch__purpose=Dispatch.Purpose.SURVEY
    )
    if sent.exists():
        return True
    # The engine records a wave after it was sent: who is quick may answer before that.
    in_flight = Batch.objects.filter(
        dispatch__thread=incident.thread,
        dispatch__purpose=Dispatch.Purpose.SURVEY,
        done_at__isnull=True,
        attempted_to__gt=F("done_to"),
    )
    return any(recipient.pk in ids for ids in in_flight.values_list("recipient_ids", flat=True))
