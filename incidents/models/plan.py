"""What was decided before the event: who, how often, by which channels, in which words."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from channels.models import Channel

from .component import ComponentGroup
from .segment import AudienceSegment
from .words import INCIDENT_STAGES, NOTICE_STAGES, Stage, WordsModel


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
