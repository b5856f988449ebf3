from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from incidents.errors import NotAllowed, Refused, WrongState

from .component import OPERATE, VIEW, Component
from .plan import CommunicationPlan, PlanVersion, Role
from .template import Scenario
from .words import BADNESS, IMPACT, OVER, ComponentStatus, Severity, Stage, new_uid


class IncidentQuerySet(models.QuerySet["Incident"]):
    def for_user(self, user: User | AnonymousUser) -> "IncidentQuerySet":
        """Incidents on at least one component that this person may see. Without components: whoever sees all."""
        if user.is_active and (user.has_perm(VIEW) or user.has_perm(OPERATE)):  # type: ignore[union-attr, attr-defined]
            return self.all()
        mine = IncidentComponent.objects.filter(
            incident=OuterRef("pk"), component__in=Component.objects.for_user(user).order_by().values("pk")
        )
        return self.filter(Exists(mine))

    def open(self) -> "IncidentQuerySet":
        return self.exclude(stage__in=OVER)

    def not_dismissed(self) -> "IncidentQuerySet":
        """All but those that were closed as declared by mistake: what reports are about."""
        return self.exclude(stage__in=OVER, published_at__isnull=True)

    def public(self) -> "IncidentQuerySet":
        """Those of which customers have been told something."""
        return self.filter(published_at__isnull=False)


class Incident(models.Model):
    """Something that customers notice. Internal until its first update is published."""

    uid = models.CharField(max_length=16, unique=True, default=new_uid, editable=False)
    title = models.CharField(_("title"), max_length=200)
    severity = models.CharField(_("severity"), max_length=8, choices=Severity, default=Severity.SEV2)
    # As it was when customers were last told something; the page goes by it until they are told anew.
    told_severity = models.CharField(max_length=8, choices=Severity, null=True, editable=False)
    scenario = models.ForeignKey(Scenario, on_delete=models.PROTECT, null=True, blank=True, verbose_name=_("scenario"))
    plan = models.ForeignKey(CommunicationPlan, on_delete=models.PROTECT, null=True, blank=True, verbose_name=_("plan"))
    # As the plan stood when the incident was declared: later edits are for later incidents.
    plan_version = models.ForeignKey(
        PlanVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="incidents", editable=False
    )
    components: "models.ManyToManyField[Component, IncidentComponent]" = models.ManyToManyField(
        Component, through="IncidentComponent", related_name="incidents"
    )
    stage = models.CharField(_("stage"), max_length=16, choices=Stage, default=Stage.INVESTIGATING)
    maintenance = models.BooleanField(_("maintenance"), default=False)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    declared_at = models.DateTimeField(_("declared"), auto_now_add=True)
    declared_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    published_at = models.DateTimeField(_("first told customers"), null=True, blank=True)
    monitoring_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)
    next_update_at = models.DateTimeField(_("next update promised for"), null=True, blank=True)
    expected_resolution_at = models.DateTimeField(_("expected resolution"), null=True, blank=True)
    imported_from = models.CharField(max_length=200, null=True, blank=True, unique=True, editable=False)

    objects = IncidentQuerySet.as_manager()

    class Meta:
        verbose_name = _("incident")
        verbose_name_plural = _("incidents")
        ordering = ["-started_at", "-id"]
        permissions = [("declare_incident", "Can declare an incident")]
        indexes = [models.Index(fields=["-started_at"], name="incident_by_start")]

    def __str__(self) -> str:
        return self.title

    @property
    def impact(self) -> str:
        """none, minor, major, critical or maintenance, as customers know it: the word of the public status API."""
        return "maintenance" if self.maintenance else IMPACT[Severity(self.told_severity or self.severity)]

    @property
    def impact_now(self) -> str:
        """The same by the severity as it is now, which the next update tells."""
        return "maintenance" if self.maintenance else IMPACT[Severity(self.severity)]

    @property
    def is_over(self) -> bool:
        return self.stage in OVER

    @cached_property
    def private_base(self) -> str:
        """What stands before its address where it hits private components alone: "/private/<page>"; else "".

        One query for each instance.
        """
        found = list(self.components.values_list("private", "status_pages__uid").order_by("status_pages__name"))
        pages = [page for _private, page in found if page]
        return f"/private/{pages[0]}" if pages and all(private for private, _page in found) else ""

    @property
    def thread(self) -> str:
        """What all its messages have in common."""
        return f"incident-{self.uid}"

    @property
    def update_due_at(self) -> datetime | None:
        """When customers must hear (again): the promise made in words, else the plan's. None once it is over."""
        last = None
        if self.published_at and not self.next_update_at:
            last = self.updates.filter(status="published").aggregate(at=models.Max("published_at"))["at"]
        return self.due_after(last)

    def due_after(self, last_told: datetime | None) -> datetime | None:
        """`update_due_at` for callers that already know when an update was last published."""
        if self.is_over:
            return None
        if self.maintenance:
            return self._maintenance_due()
        if self.published_at and self.next_update_at:
            return self.next_update_at
        plan = self.plan_version
        if plan is None:
            return None
        if self.published_at is None:
            return self.declared_at + timedelta(minutes=plan.first_update_minutes)
        return (last_told or self.published_at) + timedelta(minutes=plan.update_minutes)

    def _maintenance_due(self) -> datetime | None:
        """Planned work owes nothing before it is announced; then its start, then what it promised, else its end."""
        if self.published_at is None:
            return None
        if self.imported_from:  # its notices go out elsewhere
            return self.next_update_at
        if self.stage == Stage.SCHEDULED:
            return self.started_at
        return self.next_update_at or self.expected_resolution_at

    @property
    def was_dismissed(self) -> bool:
        """Closed as declared by mistake: over, and customers never heard of it."""
        return self.is_over and self.published_at is None

    @property
    def was_cancelled(self) -> bool:
        """Maintenance that customers were told of and that was over before it was to begin."""
        ended = self.resolved_at if self.maintenance and self.is_over and self.published_at else None
        return bool(ended and ended < self.started_at)

    @property
    def stage_in_words(self) -> str:
        if self.was_dismissed:
            return _t("Closed: declared by mistake")
        return _t("Cancelled") if self.was_cancelled else str(self.get_stage_display())

    def may_dismiss(self, user: Any) -> bool:
        """Whether this person may call it a mistake, leaving aside its state."""
        return user.has_perm("incidents.declare_incident") and self.may_operate(user)

    def dismiss(self, by: Any, reason: str) -> None:
        """Close an incident that was declared by mistake, giving up its draft. Customers hear nothing.

        Raises NotAllowed, WrongState (once customers were told it must be resolved in words), Refused (no reason).
        """
        from .decision import Decision, name_of

        with transaction.atomic():
            me = Incident.objects.select_for_update(no_key=True).get(pk=self.pk)
            if not me.may_dismiss(by):
                raise NotAllowed(_t("%(who)s may not close this incident.") % {"who": name_of(by)})
            if me.published_at:
                raise WrongState(_t("Customers were told of this incident: resolve it in words instead."))
            if me.is_over:
                raise WrongState(_t("This incident is closed already."))
            if not reason.strip():
                raise Refused(_t("Say why it was a mistake, for whoever reads this later."))
            for update in me.updates.filter(status__in=["draft", "in_review", "approved"]):
                update.withdraw(by)
            me.stage = Stage.RESOLVED
            me.resolved_at = timezone.now()
            me.save()
            Decision.objects.create(incident=me, by=by, verb=Decision.Verb.DISMISS, comment=reason.strip())
        self.refresh_from_db()

    def change_severity(self, by: Any, severity: str, reason: str = "") -> None:
        """Call it more or less severe. Customers learn of it with the next update, as the page does.

        Raises NotAllowed, WrongState (over, planned work, or an update for the old one waits to go out), Refused.
        """
        from incidents.runbooks import running

        from .decision import Decision, name_of
        from .runbook import Runbook

        with transaction.atomic():
            incidents = Incident.objects.select_for_update(of=("self",), no_key=True)
            me = incidents.select_related("plan_version").get(pk=self.pk)
            if not me.may_dismiss(by):
                raise NotAllowed(_t("%(who)s may not change the severity of this incident.") % {"who": name_of(by)})
            if severity not in Severity or severity == me.severity:
                raise Refused(_t("Choose a severity that it does not have already."))
            if me.is_over or me.maintenance or me.imported_from:
                raise WrongState(_t("The severity is that of an open incident, led from here."))
            if me.updates.filter(status__in=["in_review", "approved"]).exists():
                raise WrongState(
                    _t("An update waits that was made for the present severity: publish it or send it back.")
                )
            was, me.severity = Severity(me.severity), severity
            me.save(update_fields=["severity", "updated_at"])
            comment = f"{was.label} → {Severity(severity).label}" + (
                f": {reason.strip()[:500]}" if reason.strip() else ""
            )
            done = Decision.objects.create(incident=me, by=by, verb=Decision.Verb.SEVERITY, comment=comment)
            running.trigger(me, Runbook.Trigger.SEVERITY, by, str(done.pk))
        self.refresh_from_db()

    def may_operate(self, user: Any) -> bool:
        """Acting needs a grant on every component: a message about two reaches the customers of both."""
        if user.has_perm(OPERATE):
            return True
        own = set(self.components.values_list("pk", flat=True))
        mine = set(Component.objects.for_user(user, OPERATE).filter(pk__in=own).values_list("pk", flat=True))
        return bool(own) and own == mine


class IncidentComponent(models.Model):
    """A component hit by an incident. `status` is what customers were last told; operational before that."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="incident_components")
    component = models.ForeignKey(Component, on_delete=models.PROTECT, related_name="incident_components")
    status = models.CharField(_("state"), max_length=24, choices=ComponentStatus, default=ComponentStatus.OPERATIONAL)

    class Meta:
        verbose_name = _("affected component")
        verbose_name_plural = _("affected components")
        ordering = ["component__position", "id"]
        constraints = [models.UniqueConstraint(fields=["incident", "component"], name="incident_component_once")]

    def __str__(self) -> str:
        return f"{self.component}: {self.get_status_display()}"


class IncidentRole(models.Model):
    """Who holds a role in this incident; filled from the plan when it is declared."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="roles")
    role = models.CharField(_("role"), max_length=32, choices=Role)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, verbose_name=_("person"))

    class Meta:
        verbose_name = _("role in the incident")
        verbose_name_plural = _("roles in the incident")
        constraints = [models.UniqueConstraint(fields=["incident", "role"], name="incident_role_once")]

    def __str__(self) -> str:
        return f"{self.get_role_display()}: {self.user}"


def component_states() -> dict[int, str]:
    """State of every component that is not operational, by id: the worst that its open public incidents say."""
    states: dict[int, str] = {}
    rows = IncidentComponent.objects.filter(
        ~Q(incident__stage__in=OVER), incident__published_at__isnull=False
    ).values_list("component_id", "status")
    for component_id, status in rows:
        if BADNESS[ComponentStatus(status)] > BADNESS[ComponentStatus(states.get(component_id, "operational"))]:
            states[component_id] = status
    return states
