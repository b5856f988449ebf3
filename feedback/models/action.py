"""What we are going to do better: an owner, a date, and who moved it on."""

from datetime import date
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import CommunicationPlan, Incident
from incidents.models.decision import name_of


class ImprovementActionQuerySet(models.QuerySet["ImprovementAction"]):
    def for_user(self, user: Any) -> "ImprovementActionQuerySet":
        """Those of incidents that this person may see, of none, and their own."""
        seen = Incident.objects.for_user(user).order_by().values("pk")
        return self.filter(Q(incident__isnull=True) | Q(incident__in=seen) | Q(owner_id=user.pk))

    def live(self) -> "ImprovementActionQuerySet":
        """What is still to be done."""
        return self.filter(state__in=ImprovementAction.LIVE)

    def overdue(self) -> "ImprovementActionQuerySet":
        return self.live().filter(due_on__lt=timezone.localdate())


class ImprovementAction(models.Model):
    """Something to do, learned from what customers said or what a report showed. Its state moves by its verbs alone.

    `source` is what it was made of, as "answer:17" or "incident:4": see feedback.improving.
    """

    class State(models.TextChoices):
        OPEN = "open", _("Open")
        IN_PROGRESS = "in_progress", _("In progress")
        DONE = "done", _("Done")
        DROPPED = "dropped", _("Dropped")

    LIVE = (State.OPEN, State.IN_PROGRESS)

    title = models.CharField(_("what to do"), max_length=200)
    why = models.TextField(_("why"), blank=True, max_length=4000)
    source = models.CharField(max_length=64, blank=True, db_index=True, editable=False)
    incident = models.ForeignKey(
        Incident,
        verbose_name=_("incident"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="improvement_actions",
    )
    plan = models.ForeignKey(
        CommunicationPlan,
        verbose_name=_("communication plan"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="improvement_actions",
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("owner"), on_delete=models.PROTECT, related_name="improvement_actions"
    )
    due_on = models.DateField(_("due on"))
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.OPEN, editable=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    objects = ImprovementActionQuerySet.as_manager()

    class Meta:
        verbose_name = _("improvement action")
        verbose_name_plural = _("improvement actions")
        ordering = ["due_on", "id"]
        indexes = [
            models.Index(fields=["due_on"], condition=Q(state__in=["open", "in_progress"]), name="action_live_by_date")
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_live(self) -> bool:
        return self.state in self.LIVE

    @property
    def is_overdue(self) -> bool:
        return self.is_live and self.due_on < timezone.localdate()

    def may_move(self, user: Any) -> bool:
        """Whether this person may move it on: its owner, and whoever may change such actions."""
        if user.pk == self.owner_id:
            return bool(user.is_active)
        return user.has_perm("feedback.change_improvementaction") and (
            ImprovementAction.objects.for_user(user).filter(pk=self.pk).exists()
        )

    # ── Verbs: lock, check, change, record ──

    def start(self, by: Any, comment: str = "") -> "ImprovementAction":
        return self._move(by, ActionStep.Verb.START, self.State.IN_PROGRESS, (self.State.OPEN,), comment)

    def finish(self, by: Any, comment: str = "") -> "ImprovementAction":
        return self._move(by, ActionStep.Verb.FINISH, self.State.DONE, self.LIVE, comment)

    def drop(self, by: Any, comment: str) -> "ImprovementAction":
        """Give it up. Raises Refused without a reason."""
        if not comment.strip():
            raise Refused(_t("Say why it is not done: whoever finds the same again will ask."))
        return self._move(by, ActionStep.Verb.DROP, self.State.DROPPED, self.LIVE, comment)

    def reopen(self, by: Any, comment: str = "") -> "ImprovementAction":
        return self._move(by, ActionStep.Verb.REOPEN, self.State.OPEN, (self.State.DONE, self.State.DROPPED), comment)

    def _move(self, by: Any, verb: str, to: str, wanted: tuple[str, ...], comment: str) -> "ImprovementAction":
        """Raises NotAllowed, WrongState."""
        with transaction.atomic():
            me = ImprovementAction.objects.select_for_update().get(pk=self.pk)
            if not me.may_move(by):
                text = _t("%(who)s may not move this on: it is somebody else’s, and the permission is missing.")
                raise NotAllowed(text % {"who": name_of(by)})
            if me.state not in wanted:
                last = me.steps.select_related("by").order_by("-pk").first()
                text = _t("It is “%(state)s” by now: %(who)s was quicker.")
                raise WrongState(text % {"state": me.get_state_display(), "who": name_of(last.by if last else None)})
            me.state = to
            me.save(update_fields=["state"])
            me.steps.create(by=by, verb=verb, comment=comment.strip())
        self.refresh_from_db()
        return self

    def record_change(self, by: Any, before: dict[str, Any]) -> None:
        """Write down what an edit changed: `before` is facts() of before. Nothing if it is the same."""
        now = self.facts()
        changed = [f"{name}: {old} → {now[name]}" for name, old in before.items() if old != now[name]]
        if changed:
            self.steps.create(by=by, verb=ActionStep.Verb.EDIT, comment="\n".join(changed))

    def facts(self) -> dict[str, Any]:
        """What somebody may want to know of a change: by label."""
        due: date = self.due_on
        return {
            str(_t("what to do")): self.title,
            str(_t("owner")): name_of(self.owner),
            str(_t("due on")): due.isoformat(),
        }


class ActionStep(models.Model):
    """Who did what with an action. Append-only: the database refuses to change a row."""

    class Verb(models.TextChoices):
        MAKE = "make", _("made it")
        EDIT = "edit", _("changed it")
        START = "start", _("started")
        FINISH = "finish", _("finished it")
        DROP = "drop", _("dropped it")
        REOPEN = "reopen", _("opened it again")

    action = models.ForeignKey(ImprovementAction, on_delete=models.CASCADE, related_name="steps")
    verb = models.CharField(_("what"), max_length=8, choices=Verb)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    comment = models.TextField(_("comment"), blank=True)
    at = models.DateTimeField(_("when"), default=timezone.now)

    class Meta:
        verbose_name = _("step of an action")
        verbose_name_plural = _("steps of actions")
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.action}: {self.get_verb_display()}"
