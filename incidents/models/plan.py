"""What was decided before the event: who, how often, by which channels, with whose approval."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from channels.models import Channel

from .component import ComponentGroup
from .segment import AudienceSegment
from .words import INCIDENT_STAGES, MAINTENANCE_STAGES


class Role(models.TextChoices):
    """The roles that the practice names."""

    INCIDENT_MANAGER = "incident_manager", _("Major incident manager")
    COMMUNICATIONS_MANAGER = "communications_manager", _("Communications manager")
    SUPPORT_LEAD = "support_lead", _("Support lead")


def is_staff_chat(channel: Channel) -> bool:
    """Whether staff can be told something by it: one room for all, which is not a public network."""
    can = channel.capabilities
    return bool(can and can.broadcast and can.form == "chat" and not can.public)


class CommunicationPlan(models.Model):
    """How we speak about incidents of some components and severities. An empty list means: any."""

    name = models.CharField(_("name"), max_length=120, unique=True)
    component_groups = models.ManyToManyField(
        ComponentGroup, blank=True, verbose_name=_("component groups"), help_text=_("Empty: all.")
    )
    severities = models.JSONField(_("severities"), default=list, blank=True, help_text=_("Empty: all."))
    channels = models.ManyToManyField(Channel, blank=True, verbose_name=_("channels"))
    staff_channels = models.ManyToManyField(
        Channel,
        blank=True,
        related_name="+",
        verbose_name=_("chat for staff"),
        help_text=_("Where staff are reminded, besides by email and SMS. Only channels that customers do not read."),
    )
    segments = models.ManyToManyField(
        AudienceSegment,
        blank=True,
        verbose_name=_("audience segments"),
        help_text=_("Only subscribers in at least one of them are written to. None ticked: all subscribers."),
    )
    locales = models.JSONField(_("languages"), default=list, help_text=_("The first is the default."))
    first_update_minutes = models.PositiveSmallIntegerField(_("first update within (minutes)"), default=15)
    update_minutes = models.PositiveSmallIntegerField(_("then every (minutes)"), default=30)
    runbooks = models.ManyToManyField(
        "incidents.Runbook",
        blank=True,
        verbose_name=_("runbooks"),
        help_text=_("They start by themselves in incidents of this plan, or by hand."),
    )
    survey_delay_minutes = models.PositiveSmallIntegerField(
        _("survey after resolution (minutes)"), default=60, help_text=_("How long to wait before customers are asked.")
    )
    # What an incident is led by is a PlanVersion: this is where the next one is written.
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords(m2m_fields=[component_groups, channels, segments])

    class Meta:
        verbose_name = _("communication plan")
        verbose_name_plural = _("communication plans")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def choose(cls, components: Any, severity: str) -> "CommunicationPlan | None":
        """The most specific plan that covers these components and this severity; None if there is none."""
        groups = {c.group_id for c in components}

        def score(plan: CommunicationPlan) -> int:
            own = {g.pk for g in plan.component_groups.all()}
            if (own and not own & groups) or (plan.severities and severity not in plan.severities):
                return -1
            return 2 * bool(own) + bool(plan.severities)

        plans = cls.objects.prefetch_related("component_groups").order_by("id")
        return max((p for p in plans if score(p) >= 0), key=score, default=None)

    def content(self) -> dict[str, Any]:
        """What it says now, as plain JSON: PlanVersion.content."""

        def keys(related: Any) -> list[int]:
            return sorted(related.order_by().values_list("pk", flat=True))

        return {
            "name": self.name,
            "groups": keys(self.component_groups),
            "severities": sorted(self.severities),
            "channels": keys(self.channels),
            "staff_channels": keys(self.staff_channels),
            "segments": keys(self.segments),
            "locales": self.locales,
            "first_update_minutes": self.first_update_minutes,
            "update_minutes": self.update_minutes,
            "survey_delay_minutes": self.survey_delay_minutes,
            "stages": {one.stage: one.content() for one in self.stages.all() if any(one.content().values())},
            "roles": [[one.role, one.user_id] for one in self.roles.order_by("role", "order", "id")],
            "approvals": [one.content() for one in self.approvals.all()],
            # Not there at all without one: what versions of before say stays the same.
            **({"runbooks": found} if (found := [one.content() for one in self._runbooks()]) else {}),
        }

    def _runbooks(self) -> Any:
        return self.runbooks.prefetch_related("steps").order_by("pk")

    def current(self, by: Any = None) -> "PlanVersion":
        """The version that says what the plan says now; written by `by` if there is none yet."""
        with transaction.atomic():
            me = CommunicationPlan.objects.select_for_update(no_key=True).get(pk=self.pk)
            last, content = me.versions.first(), me.content()
            if last is not None and last.content == content:
                return last
            return PlanVersion.objects.create(plan=me, number=last.number + 1 if last else 1, content=content, by=by)


class PlanRole(models.Model):
    plan = models.ForeignKey(CommunicationPlan, on_delete=models.CASCADE, related_name="roles")
    role = models.CharField(_("role"), max_length=32, choices=Role)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, verbose_name=_("person"))
    order = models.PositiveSmallIntegerField(_("order"), default=0, help_text=_("The lowest is asked first."))

    class Meta:
        verbose_name = _("role in the plan")
        verbose_name_plural = _("roles in the plan")
        ordering = ["role", "order", "id"]
        constraints = [models.UniqueConstraint(fields=["plan", "role", "user"], name="plan_role_once")]

    def __str__(self) -> str:
        return f"{self.get_role_display()}: {self.user}"


class PlanStage(models.Model):
    """What is different at one stage. What is left empty is as everywhere in the plan."""

    plan = models.ForeignKey(CommunicationPlan, on_delete=models.CASCADE, related_name="stages")
    stage = models.CharField(
        _("stage"), max_length=16, choices=[(s.value, s.label) for s in (*INCIDENT_STAGES, *MAINTENANCE_STAGES)]
    )
    channels = models.ManyToManyField(Channel, blank=True, verbose_name=_("channels"), related_name="+")
    segments = models.ManyToManyField(
        AudienceSegment, blank=True, verbose_name=_("audience segments"), related_name="+"
    )
    locales = models.JSONField(_("languages"), default=list, blank=True)

    class Meta:
        verbose_name = _("stage of the plan")
        verbose_name_plural = _("stages of the plan")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["plan", "stage"],
                name="plan_stage_once",
                violation_error_message=_("This stage has a row already."),
            )
        ]

    def __str__(self) -> str:
        return str(self.get_stage_display())

    def content(self) -> dict[str, list]:
        return {
            "channels": sorted(self.channels.order_by().values_list("pk", flat=True)),
            "segments": sorted(self.segments.order_by().values_list("pk", flat=True)),
            "locales": self.locales,
        }


class ApprovalRule(models.Model):
    """Who must approve an update, if the rule fits it: the first of the plan's rules that does holds.

    Where none fits: one person who may approve. Whoever wrote a word of it never counts, whatever the rule.
    """

    class Audience(models.TextChoices):
        ANY = "", _("Whoever it goes to")
        NOTIFY = "notify", _("If people are written to")
        PAGE = "page", _("If only the status page changes")

    plan = models.ForeignKey(CommunicationPlan, on_delete=models.CASCADE, related_name="approvals")
    position = models.PositiveSmallIntegerField(
        _("position"), default=0, help_text=_("The first rule that fits an update holds.")
    )
    severities = models.JSONField(_("severities"), default=list, blank=True)
    audience = models.CharField(_("audience"), max_length=8, choices=Audience, blank=True, default=Audience.ANY)
    approvers = models.PositiveSmallIntegerField(
        _("people who approve"), default=1, validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    role = models.CharField(
        _("from the role"), max_length=32, choices=Role, blank=True, help_text=_("Empty: whoever may approve.")
    )
    escalate_minutes = models.PositiveSmallIntegerField(
        _("ask deputies after (minutes)"), default=10, help_text=_("0: never.")
    )
    prepared = models.BooleanField(
        _("approved templates suffice"),
        default=False,
        help_text=_("Words that come unchanged from an approved template need no second person."),
    )

    class Meta:
        verbose_name = _("approval rule")
        verbose_name_plural = _("approval rules")
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return _t("%(n)d of %(who)s") % {"n": self.approvers, "who": self.get_role_display() or _t("anybody")}

    def content(self) -> dict[str, Any]:
        return {
            "severities": sorted(self.severities),
            "audience": self.audience,
            "approvers": self.approvers,
            "role": self.role,
            "escalate_minutes": self.escalate_minutes,
            "prepared": self.prepared,
        }


# Where no rule of a plan fits, and where there is no plan.
USUAL_APPROVAL: dict[str, Any] = {"approvers": 1, "role": "", "escalate_minutes": 10, "prepared": False}


class PlanVersion(models.Model):
    """A plan as it stood at one time. An incident is led to its end by the version that it was declared under.

    Append-only: the database refuses to change a row.

    `content` is CommunicationPlan.content(): {"name", "groups": [key], "severities", "channels": [key],
    "staff_channels": [key], "segments": [key], "locales", "first_update_minutes", "update_minutes",
    "survey_delay_minutes", "stages": {stage: {"channels", "segments", "locales"}},
    "roles": [[role, user key]] in the order of asking, "approvals": [ApprovalRule.content()] in their order,
    "runbooks": [Runbook.content()], where there are any}.
    """

    plan = models.ForeignKey(CommunicationPlan, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    content = models.JSONField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField(_("when"), default=timezone.now)

    class Meta:
        verbose_name = _("version of a plan")
        verbose_name_plural = _("versions of plans")
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["plan", "number"], name="plan_version_once")]

    def __str__(self) -> str:
        return _t("%(plan)s, version %(number)s") % {"plan": self.content["name"], "number": self.number}

    @property
    def first_update_minutes(self) -> int:
        return self.content["first_update_minutes"]

    @property
    def update_minutes(self) -> int:
        return self.content["update_minutes"]

    @property
    def survey_delay_minutes(self) -> int:
        return self.content["survey_delay_minutes"]

    def locales(self, stage: str) -> list[str]:
        """Languages of an update at this stage; the first is the default."""
        return self._at(stage, "locales") or [settings.LANGUAGE_CODE]

    def channels(self, stage: str) -> list[Channel]:
        """Those an update at this stage begins with: enabled ones, without those that show the page."""
        found = Channel.objects.filter(pk__in=self._at(stage, "channels"), enabled=True).order_by("pk")
        return [one for one in found if not one.is_page]

    def staff_channels(self) -> list[Channel]:
        """Chat of the staff; never a channel that the plan speaks to customers by."""
        parts = [self.content, *self.content["stages"].values()]
        read_by_customers = {key for part in parts for key in part["channels"]}
        found = Channel.objects.filter(pk__in=self.content["staff_channels"], enabled=True).order_by("pk")
        return [one for one in found if one.pk not in read_by_customers and is_staff_chat(one)]

    def segments(self, stage: str) -> list[AudienceSegment]:
        return list(AudienceSegment.objects.filter(pk__in=self._at(stage, "segments")))

    def all_segments(self) -> set[int]:
        """Keys of those that it chooses at any stage."""
        return set(self.content["segments"]).union(*(one["segments"] for one in self.content["stages"].values()))

    def people(self, role: str = "") -> list[User]:
        """Active holders of a role, in the order in which they are asked; without a role, everybody of the plan."""
        keys = list(dict.fromkeys(user for one, user in self.content["roles"] if role in ("", one)))
        found = get_user_model().objects.filter(is_active=True).in_bulk(keys)
        return [found[key] for key in keys if key in found]

    def approval(self, severity: str, notify: bool) -> dict[str, Any]:
        """What an update needs: {"approvers", "role", "escalate_minutes", "prepared"} of the first rule that fits."""
        audience = ApprovalRule.Audience.NOTIFY if notify else ApprovalRule.Audience.PAGE
        for rule in self.content["approvals"]:
            if (not rule["severities"] or severity in rule["severities"]) and rule["audience"] in ("", audience):
                return {key: rule[key] for key in USUAL_APPROVAL}
        return dict(USUAL_APPROVAL)

    def runbooks(self) -> list[dict[str, Any]]:
        """Runbook.content() of each, as it was then."""
        return self.content.get("runbooks", [])

    def differs(self, stage: str, what: str) -> bool:
        """Whether the stage has its own "channels", "segments" or "locales"."""
        return bool(self.content["stages"].get(stage, {}).get(what))

    def _at(self, stage: str, what: str) -> list[Any]:
        return self.content["stages"].get(stage, {}).get(what) or self.content[what]
