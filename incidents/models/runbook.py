"""What is to be done in an incident, step by step: written before it, and run by the portal when it is there."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from .incident import Incident
from .update import IncidentUpdate
from .words import INCIDENT_STAGES


class Runbook(models.Model):
    """Steps, and what starts them. By itself it starts as the plan version has it that the incident was declared under;
    by hand also one of which that version knows nothing.
    """

    class Trigger(models.TextChoices):
        OPENED = "opened", _("An incident is declared")
        SEVERITY = "severity", _("Its severity changes")
        STAGE = "stage", _("Customers are told of a stage")
        CLOCK = "clock", _("A promise is about to break")

    name = models.CharField(_("name"), max_length=120, unique=True)
    description = models.TextField(_("what it is for"), blank=True)
    enabled = models.BooleanField(
        _("in use"), default=True, help_text=_("Off: it starts neither by itself nor by hand. What runs goes on.")
    )
    triggers = models.JSONField(_("starts when"), default=list, blank=True)
    stages = models.JSONField(_("at the stages"), default=list, blank=True)

    class Meta:
        verbose_name = _("runbook")
        verbose_name_plural = _("runbooks")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def content(self) -> dict[str, Any]:
        """{"key", "name", "triggers", "stages", "steps": [{"kind", "name", **settings of that kind}]}."""
        return {
            "key": self.pk,
            "name": self.name,
            "triggers": sorted(self.triggers),
            "stages": sorted(self.stages),
            "steps": [one.content() for one in self.steps.all()],
        }


class RunbookStep(models.Model):
    """`kind` is a key of incidents.runbooks.KINDS; `config` holds the settings of that kind."""

    runbook = models.ForeignKey(Runbook, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    kind = models.CharField(_("what to do"), max_length=12)
    name = models.CharField(_("in your words"), max_length=120, blank=True)
    config = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        ordering = ["position", "id"]

    def __str__(self) -> str:
        from incidents.runbooks import KINDS

        kind = KINDS.get(self.kind)
        return self.name or str(kind.label if kind else self.kind)

    def content(self) -> dict[str, Any]:
        return {**self.config, "kind": self.kind, "name": self.name}


class RunbookRunQuerySet(models.QuerySet["RunbookRun"]):
    def for_user(self, user: Any) -> "RunbookRunQuerySet":
        return self.filter(incident__in=Incident.objects.for_user(user).order_by().values("pk"))


class RunbookRun(models.Model):
    """A runbook that was started in an incident. Its steps are those of `content`, whatever becomes of the runbook."""

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        WAITING = "waiting", _("Waiting")
        PAUSED = "paused", _("Paused")
        DONE = "done", _("Done")
        STOPPED = "stopped", pgettext_lazy("runbook", "Stopped")

    LIVE = (State.RUNNING, State.WAITING)
    OVER = (State.DONE, State.STOPPED)

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="runs")
    runbook = models.ForeignKey(Runbook, on_delete=models.SET_NULL, null=True, related_name="runs")
    content = models.JSONField()  # Runbook.content(), as it was when it was started
    key = models.CharField(max_length=120, unique=True)  # the same occasion starts it once
    trigger = models.CharField(_("started by"), max_length=12, choices=Runbook.Trigger, blank=True)  # "": by hand
    # In whose name it acts, with no permission but theirs.
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.RUNNING)
    position = models.PositiveSmallIntegerField(default=0)  # of the step that is next, from 0
    update = models.ForeignKey(IncidentUpdate, on_delete=models.SET_NULL, null=True, related_name="+")
    reason = models.CharField(_("why it stands still"), max_length=500, blank=True)
    wake_at = models.DateTimeField(null=True, blank=True)  # when it is looked at again; null: at every sweep
    # While a step talks to the network: nobody else takes it before then, and who took it since has another number.
    leased_until = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)
    halts = models.PositiveIntegerField(default=0)  # how often it came to stand still: each is told (incidents.events)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    objects = RunbookRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("run of a runbook")
        verbose_name_plural = _("runs of runbooks")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["wake_at"], condition=Q(state__in=["running", "waiting"]), name="runbook_run_live")
        ]

    def __str__(self) -> str:
        return self.content["name"]

    @property
    def steps(self) -> list[dict[str, Any]]:
        return self.content["steps"]

    @property
    def step(self) -> dict[str, Any] | None:
        """The one that is next or under way; None after the last."""
        return self.steps[self.position] if self.position < len(self.steps) else None

    @property
    def is_over(self) -> bool:
        return self.state in self.OVER

    def is_leased(self, now: datetime) -> bool:
        return bool(self.leased_until and self.leased_until > now)


class RunbookStepRun(models.Model):
    """What became of one step. Written down before the step is begun."""

    class State(models.TextChoices):
        DOING = "doing", _("Under way")
        WAITING = "waiting", _("Waiting")
        DONE = "done", _("Done")
        SKIPPED = "skipped", _("Skipped")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Not known whether it was done")

    ENDED = (State.DONE, State.SKIPPED)

    run = models.ForeignKey(RunbookRun, on_delete=models.CASCADE, related_name="log")
    index = models.PositiveSmallIntegerField()
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.DOING)
    began_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    note = models.TextField(blank=True)  # what came of it, in words
    facts = models.JSONField(default=dict)  # what the kind remembers
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        verbose_name = _("step of a run")
        verbose_name_plural = _("steps of runs")
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["run", "index"], name="runbook_step_once")]

    def __str__(self) -> str:
        return f"{self.run} {self.index + 1}"

    @property
    def step(self) -> dict[str, Any]:
        return self.run.steps[self.index]

    @property
    def took(self) -> timedelta | None:
        return self.ended_at - self.began_at if self.ended_at else None


STAGES = [(one.value, one.label) for one in INCIDENT_STAGES]
