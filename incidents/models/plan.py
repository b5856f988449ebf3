"""What was decided before the event: who, how often, by which channels, in which words."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from channels.models import Channel

from .component import ComponentGroup
from .segment import AudienceSegment
from .words import INCIDENT_STAGES, MAINTENANCE_STAGES, NOTICE_STAGES, Stage, WordsModel


class Role(models.TextChoices):
    """The roles that the practice names."""

    INCIDENT_MANAGER = "incident_manager", _("Major incident manager")
    COMMUNICATIONS_MANAGER = "communications_manager", _("Communications manager")
    SUPPORT_LEAD = "support_lead", _("Support lead")


class CommunicationPlan(models.Model):
    """How we speak about incidents of some components and severities. An empty list means: any."""

    name = models.CharField(_("name"), max_length=120, unique=True)
    component_groups = models.ManyToManyField(
        ComponentGroup, blank=True, verbose_name=_("component groups"), help_text=_("Empty: all.")
    )
    severities = models.JSONField(_("severities"), default=list, blank=True, help_text=_("Empty: all."))
    channels = models.ManyToManyField(Channel, blank=True, verbose_name=_("channels"))
    segments = models.ManyToManyField(
        AudienceSegment,
        blank=True,
        verbose_name=_("audience segments"),
        help_text=_("Only subscribers in at least one of them are written to. None ticked: all subscribers."),
    )
    locales = models.JSONField(_("languages"), default=list, help_text=_("The first is the default."))
    first_update_minutes = models.PositiveSmallIntegerField(_("first update within (minutes)"), default=15)
    update_minutes = models.PositiveSmallIntegerField(_("then every (minutes)"), default=30)
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
            "segments": keys(self.segments),
            "locales": self.locales,
            "first_update_minutes": self.first_update_minutes,
            "update_minutes": self.update_minutes,
            "survey_delay_minutes": self.survey_delay_minutes,
            "stages": {one.stage: one.content() for one in self.stages.all() if any(one.content().values())},
            "roles": [[one.role, one.user_id] for one in self.roles.order_by("role", "order", "id")],
        }

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


class PlanVersion(models.Model):
    """A plan as it stood at one time. An incident is led to its end by the version that it was declared under.

    Append-only: the database refuses to change a row.

    `content` is CommunicationPlan.content(): {"name", "groups": [key], "severities", "channels": [key],
    "segments": [key], "locales", "first_update_minutes", "update_minutes", "survey_delay_minutes",
    "stages": {stage: {"channels", "segments", "locales"}}, "roles": [[role, user key]] in the order of asking}.
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

    def differs(self, stage: str, what: str) -> bool:
        """Whether the stage has its own "channels", "segments" or "locales"."""
        return bool(self.content["stages"].get(stage, {}).get(what))

    def _at(self, stage: str, what: str) -> list[Any]:
        return self.content["stages"].get(stage, {}).get(what) or self.content[what]


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
