"""The review of how an incident was communicated: drafted from the facts, put right by people."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import Incident, IncidentUpdate
from incidents.models.decision import name_of
from incidents.models.words import plain

# The parts of a review, in reading order. drafting.py says what the facts say for each.
PARTS = {
    "happened": _("What happened for customers"),
    "told": _("When they were told"),
    "reached": _("Whom we reached, and what they thought"),
    "worked": _("How we worked"),
    "well": _("What went well"),
    "improve": _("What to improve"),
    "timeline": _("Timeline"),
}
# What customers may read of it: the page of the incident is a timeline already.
FOR_CUSTOMERS = ("happened", "told", "reached", "well", "improve")
FIRST_CHOICE = ["happened", "told"]
LONGEST = 10_000  # characters of a part, and of all that customers read


class ReviewQuerySet(models.QuerySet["CommunicationReview"]):
    def for_user(self, user: Any) -> "ReviewQuerySet":
        return self.filter(incident__in=Incident.objects.for_user(user).order_by().values("pk"))


class CommunicationReview(models.Model):
    """One for each incident. What customers read of it is an update like any other (`update`): written, approved by
    a second person, published. The database refuses to change the words of one that is finished.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        FINAL = "final", _("Finished")

    incident = models.OneToOneField(
        Incident, verbose_name=_("incident"), on_delete=models.CASCADE, related_name="communication_review"
    )
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.DRAFT)
    version = models.PositiveIntegerField(default=1)  # counts edits; a stale form is refused by it
    drafted = models.JSONField(default=dict)  # {part: text}, as the facts said it
    texts = models.JSONField(default=dict)  # {part: text}, as it reads now
    shown = models.JSONField(default=list)  # the parts that customers are to read
    drafted_at = models.DateTimeField(_("drafted"), default=timezone.now)
    changed_at = models.DateTimeField(_("last change"), auto_now=True)
    finished_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("finished by"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    # The last update that was made of it for customers.
    update = models.ForeignKey(IncidentUpdate, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    history = HistoricalRecords()

    objects = ReviewQuerySet.as_manager()

    class Meta:
        verbose_name = _("communication review")
        verbose_name_plural = _("communication reviews")
        ordering = ["-id"]
        default_permissions = ("view", "change")
        constraints = [
            models.CheckConstraint(
                condition=Q(state="draft", finished_by__isnull=True, finished_at__isnull=True)
                | Q(state="final", finished_by__isnull=False, finished_at__isnull=False),
                name="review_finished_by_somebody",
            )
        ]

    def __str__(self) -> str:
        return str(self.incident)

    # ── What it says ──

    @property
    def is_published(self) -> bool:
        return self.update is not None and self.update.status == IncidentUpdate.Status.PUBLISHED

    @property
    def pending(self) -> IncidentUpdate | None:
        """The update for customers that is on its way."""
        return self.update if self.update and self.update.status in IncidentUpdate.PENDING else None

    @property
    def state_in_words(self) -> str:
        if self.is_published and self.state == self.State.FINAL:
            return _t("Published")
        return str(self.get_state_display())

    def touched(self, part: str) -> bool:
        """Whether somebody changed what the facts said."""
        return self.texts.get(part, "") != self.drafted.get(part, "")

    def writers(self) -> list[Any]:
        """Everybody who changed a word or drafted it: none of them may approve what customers read of it."""
        records = self.history.select_related("history_user").order_by("history_id")
        return list({one.history_user_id: one.history_user for one in records if one.history_user}.values())

    # ── Who may ──

    def may_write(self, user: Any) -> bool:
        return may_write(user, self.incident)

    def _check_may_write(self, by: Any) -> None:
        check_may_write(by, self.incident)

    # ── Verbs: lock, check, change; the history records ──

    def edit(self, by: Any, version: int, texts: Mapping[str, str], shown: Iterable[str]) -> "CommunicationReview":
        """Put other words in place. Raises NotAllowed, WrongState (finished, or changed meanwhile), Refused."""
        with transaction.atomic():
            me = self._for_writing(by, version)
            new = {part: plain(texts.get(part, me.texts.get(part, ""))) for part in PARTS}
            for part, text in new.items():
                if len(text) > LONGEST:
                    said = _t("“%(part)s” has %(n)d characters; the most are %(most)d.")
                    raise Refused(said % {"part": PARTS[part], "n": len(text), "most": LONGEST})
            chosen = [part for part in FOR_CUSTOMERS if part in set(shown)]
            if (new, chosen) != (me.texts, me.shown):
                me.texts, me.shown = new, chosen
                me._save(by)
        return self._saved()

    def draft_anew(self, by: Any, version: int, locale: str, everything: bool = False) -> "CommunicationReview":
        """Let the facts speak again, in this language; what people changed stays, unless it is to be `everything`.

        Raises NotAllowed, WrongState (finished, or changed meanwhile).
        """
        from feedback.drafting import draft

        with transaction.atomic():
            me = self._for_writing(by, version)
            new = draft(me.incident, locale)
            kept = {} if everything else {part: me.texts[part] for part in PARTS if me.touched(part)}
            me.drafted, me.texts = new, {**new, **kept}
            me.locale, me.drafted_at = locale, timezone.now()
            me._save(by)
        return self._saved()

    def finish(self, by: Any, version: int) -> "CommunicationReview":
        """Say that it stands as it is. Raises NotAllowed, WrongState."""
        with transaction.atomic():
            me = self._for_writing(by, version)
            me.state, me.finished_by, me.finished_at = self.State.FINAL, by, timezone.now()
            me._save(by)
        return self._saved()

    def reopen(self, by: Any) -> "CommunicationReview":
        """Go on writing; what is published stays said. Raises NotAllowed, WrongState (an update is on its way)."""
        with transaction.atomic():
            me = self._locked()
            me._check_may_write(by)
            if me.state != self.State.FINAL:
                raise WrongState(_t("This review is a draft already."))
            if me.pending:
                raise WrongState(
                    _t("An update with these words is on its way to customers: withdraw it first, then go on writing.")
                )
            me.state, me.finished_by, me.finished_at = self.State.DRAFT, None, None
            me._save(by)
        return self._saved()

    # ── Parts of the verbs ──

    def _locked(self) -> "CommunicationReview":
        return (
            CommunicationReview.objects.select_for_update(of=("self",))
            .select_related("incident", "update")
            .get(pk=self.pk)
        )

    def _for_writing(self, by: Any, version: int) -> "CommunicationReview":
        me = self._locked()
        me._check_may_write(by)
        if me.state != self.State.DRAFT:
            raise WrongState(
                _t("%(who)s finished this review: open it again to change it.") % {"who": name_of(me.finished_by)}
            )
        if me.version != version:
            last = me.history.select_related("history_user").first()
            raise WrongState(
                _t("%(who)s changed this review meanwhile: copy what you wrote, load the page anew and save again.")
                % {"who": name_of(last and last.history_user)}
            )
        return me

    def _save(self, by: Any) -> None:
        self.version += 1
        self._history_user = by  # also where no request says who it is
        self.save()

    def _saved(self) -> "CommunicationReview":
        self.refresh_from_db()
        return self


def may_write(user: Any, incident: Incident) -> bool:
    return (
        user.has_perm("feedback.change_communicationreview")
        and Incident.objects.for_user(user).filter(pk=incident.pk).exists()
    )


def check_may_write(by: Any, incident: Incident) -> None:
    if not may_write(by, incident):
        raise NotAllowed(
            _t("%(who)s may not write the review of this incident: the permission or a component is missing.")
            % {"who": name_of(by)}
        )
