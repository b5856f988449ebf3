"""The words that were prepared before the event."""

import json
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from incidents.errors import NotAllowed, WrongState

from .words import INCIDENT_STAGES, NOTICE_STAGES, Stage, WordsModel


class Scenario(models.Model):
    """A kind of impairment that we have words for."""

    slug = models.SlugField(_("key"), unique=True)
    name = models.CharField(_("name"), max_length=120)
    description = models.CharField(_("when to use it"), max_length=300, blank=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    maintenance = models.BooleanField(
        _("planned maintenance"), default=False, help_text=_("Its words announce planned work, its start and its end.")
    )

    class Meta:
        verbose_name = _("scenario")
        verbose_name_plural = _("scenarios")
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that want words."""
        return NOTICE_STAGES if self.maintenance else INCIDENT_STAGES


class MessageTemplate(WordsModel):
    """The words for one scenario at one stage in one language, with {{ placeholders }} (rendering.VARIABLES)."""

    scenario = models.ForeignKey(
        Scenario, on_delete=models.CASCADE, related_name="templates", verbose_name=_("scenario")
    )
    stage = models.CharField(
        _("stage"), max_length=16, choices=[(s.value, s.label) for s in (*INCIDENT_STAGES, *NOTICE_STAGES)]
    )
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES)
    updated_at = models.DateTimeField(auto_now=True)
    # The words that somebody approved; other words need approval anew.
    approved_hash = models.CharField(max_length=64, blank=True, default="", editable=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )
    approved_at = models.DateTimeField(_("approved"), null=True, blank=True, editable=False)
    history = HistoricalRecords()

    class Meta:
        verbose_name = _("message template")
        verbose_name_plural = _("message templates")
        ordering = ["scenario__position", "scenario__name", "stage", "locale"]
        constraints = [
            models.UniqueConstraint(fields=["scenario", "stage", "locale"], name="template_once_per_stage_and_language")
        ]

    def __str__(self) -> str:
        return f"{self.scenario} · {self.get_stage_display()} · {self.locale}"

    def clean(self) -> None:
        from incidents.rendering import problems

        errors = {field: found for field, text in self.words().items() if (found := problems(text))}
        if errors:
            raise ValidationError(errors)

    # ── Its own approval ──

    @property
    def words_hash(self) -> str:
        """SHA-256 of what it says and when; hex, 64 characters."""
        said = [self.scenario_id, self.stage, self.locale, self.words()]
        return sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def is_approved(self) -> bool:
        """Whether somebody approved just these words."""
        return bool(self.approved_hash) and self.approved_hash == self.words_hash

    def approve(self, by: Any, seen_hash: str) -> None:
        """Approve the words, so that a plan may let them out unchanged without a second look.

        Raises NotAllowed (no such role, or they are one's own), WrongState (other words than were seen).
        """
        from .decision import name_of

        with transaction.atomic():
            me = MessageTemplate.objects.select_for_update(of=("self",)).get(pk=self.pk)
            if not by.has_perm("incidents.approve_incidentupdate"):
                raise NotAllowed(_t("%(who)s may not approve templates.") % {"who": name_of(by)})
            if by in me.writers():
                raise NotAllowed(_t("You wrote words of this template, so somebody else must approve it."))
            if seen_hash != me.words_hash:
                raise WrongState(_t("The words changed after you opened them. Read them again before you decide."))
            me.approved_hash, me.approved_by, me.approved_at = me.words_hash, by, timezone.now()
            me.save()
        self.refresh_from_db()

    def writers(self) -> list[Any]:
        """Everybody who changed its words since they were last approved."""
        found = []
        for record in self.history.select_related("history_user").order_by("-history_date", "-history_id"):
            if record.instance.is_approved:
                break
            if record.history_user is not None:
                found.append(record.history_user)
        return found
