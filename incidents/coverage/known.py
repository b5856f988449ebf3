"""Everything that the coverage check looks at, read in a number of queries that does not grow."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from django.contrib.auth import get_user_model
from django.db.models import Max, Prefetch, QuerySet

from channels.models import Channel
from channels.providers.base import Capabilities
from commsportal import second_factor
from incidents import publishing
from incidents.models import (
    AudienceSegment,
    ChatAccount,
    CommunicationPlan,
    Component,
    ComponentGroupObjectPermission,
    ComponentUserObjectPermission,
    MessageTemplate,
    PlanVersion,
    Scenario,
    Severity,
    StaffContact,
    Training,
)
from incidents.models.component import OPERATE
from incidents.models.plan import PlanRole

BACKEND = "django.contrib.auth.backends.ModelBackend"
DECLARE, WRITE, APPROVE, PUBLISH = (
    "incidents.declare_incident",
    "incidents.write_incidentupdate",
    "incidents.approve_incidentupdate",
    "incidents.publish_incidentupdate",
)


@dataclass(frozen=True)
class Part:
    """What holds at one stage of a plan: its own channels, segments and languages, else the plan's."""

    channels: tuple[int, ...]
    segments: tuple[AudienceSegment, ...]
    locales: tuple[str, ...]


class Known:
    """Read once, then only looked at."""

    def __init__(self) -> None:
        self.plans = list(_plans())
        self.channels = {one.pk: one for one in Channel.objects.order_by("name")}
        self.can: dict[int, Capabilities | None] = {pk: one.capabilities for pk, one in self.channels.items()}
        self.scenarios = _scenarios()
        self.templates = {(one.scenario_id, one.stage, one.locale): one for one in MessageTemplate.objects.all()}
        self.components = list(Component.objects.select_related("group"))
        self.versions = {one.plan_id: one for one in _latest_versions()}
        self.contacts = {one.user_id: one for one in StaffContact.objects.all()}
        self.in_slack = set(ChatAccount.objects.filter(workspace__enabled=True).values_list("user", flat=True))
        self.trained = _trained()
        self.factored = second_factor.holders()
        self.may = {one: _who_may(one) for one in (DECLARE, WRITE, APPROVE, PUBLISH, OPERATE)}
        self.operates = _who_operates()
        self._parts: dict[tuple[int, str], Part] = {}
        self._spoken: dict[tuple[int, str], list[tuple[Channel, str]]] = {}

    def part(self, plan: CommunicationPlan, stage: str) -> Part:
        """What the plan says for this stage, channels that show the status page included: they go with every update."""
        found = self._parts.get((plan.pk, stage))
        if found is None:
            found = self._parts[plan.pk, stage] = self._part(plan, stage)
        return found

    def _part(self, plan: CommunicationPlan, stage: str) -> Part:
        own = next((one for one in plan.stages.all() if one.stage == stage), None)
        everywhere = [one.pk for one in plan.channels.all()]
        chosen = ([one.pk for one in own.channels.all()] if own else []) or everywhere
        pages = [pk for pk in everywhere if pk not in chosen and self.is_page(pk)]
        segments = (list(own.segments.all()) if own else []) or list(plan.segments.all())
        locales = (own.locales if own else []) or plan.locales
        ordered = [pk for pk in self.channels if pk in {*chosen, *pages}]
        return Part(tuple(ordered), tuple(segments), tuple(locales))

    def spoken(self, plan: CommunicationPlan, stage: str) -> list[tuple[Channel, str]]:
        """Each channel of the plan at this stage with each language that goes out by it."""
        key = (plan.pk, stage)
        if key not in self._spoken:
            self._spoken[key] = list(self._speak(self.part(plan, stage)))
        return self._spoken[key]

    def _speak(self, part: Part) -> Iterator[tuple[Channel, str]]:
        every = list(part.locales)
        for pk in part.channels:
            channel, can = self.channels[pk], self.can[pk]
            carried = publishing.languages(can, channel.locales, every, every[0]) if can and every else every
            for locale in carried:
                yield channel, locale

    def is_page(self, channel: int) -> bool:
        can = self.can.get(channel)
        return bool(can and can.form == "page")

    def covered(self, plan: CommunicationPlan) -> list[Component]:
        """The components for which the plan was written."""
        groups = {one.pk for one in plan.component_groups.all()}
        return [one for one in self.components if not groups or one.group_id in groups]

    @cached_property
    def chosen(self) -> dict[tuple[int | None, str], CommunicationPlan | None]:
        """Which plan an incident goes by: by the group of its component (None: in none) and its severity."""
        groups = {one.group_id for one in self.components}
        return {(group, severity): self._choose(group, severity) for group in groups for severity in Severity.values}

    def _choose(self, group: int | None, severity: str) -> CommunicationPlan | None:
        """As CommunicationPlan.choose, which asks the database each time."""
        best, highest = None, -1
        for plan in sorted(self.plans, key=lambda one: one.pk):
            own = {one.pk for one in plan.component_groups.all()}
            if (own and group not in own) or (plan.severities and severity not in plan.severities):
                continue
            score = 2 * bool(own) + bool(plan.severities)
            if score > highest:
                best, highest = plan, score
        return best

    def not_theirs(self, user: int, components: list[Component]) -> list[Component]:
        """Those of these components on whose incidents this person may not work."""
        if user in self.may[OPERATE]:
            return []
        mine = self.operates.get(user, set())
        return [one for one in components if one.pk not in mine]


def _plans() -> QuerySet[CommunicationPlan]:
    light = Channel.objects.only("pk").order_by()  # they are in `Known.channels`, with their secrets decrypted once
    return CommunicationPlan.objects.prefetch_related(
        "component_groups",
        "segments",
        "approvals",
        Prefetch("channels", light),
        Prefetch("staff_channels", light),
        Prefetch("roles", PlanRole.objects.select_related("user")),
        "stages__segments",
        Prefetch("stages__channels", light),
    )


def _scenarios() -> list[Scenario]:
    """Those of incidents, and of planned work the first: planning.plan_maintenance takes no other."""
    found = list(Scenario.objects.all())
    first = next((one for one in found if one.maintenance), None)
    return [one for one in found if not one.maintenance or one is first]


def _latest_versions() -> QuerySet[PlanVersion]:
    newest = PlanVersion.objects.order_by().values("plan").annotate(last=Max("pk")).values("last")
    return PlanVersion.objects.filter(pk__in=newest)


def _trained() -> dict[tuple[int, str], date]:
    """Person and role → the last day of their training for it, which may be over."""
    last = Training.objects.order_by().values("user", "role").annotate(last=Max("valid_until"))
    return {(user, role): day for user, role, day in last.values_list("user", "role", "last")}


def _who_may(permission: str) -> set[int]:
    people = get_user_model()._default_manager.with_perm(permission, backend=BACKEND)
    return set(people.filter(is_active=True).order_by().values_list("pk", flat=True))


def _who_operates() -> dict[int, set[int]]:
    """Person → components on whose incidents they may work by a grant on the component, to them or to a group."""
    code = OPERATE.split(".")[1]
    own = ComponentUserObjectPermission.objects.filter(permission__codename=code)
    groups = ComponentGroupObjectPermission.objects.filter(permission__codename=code, group__user__isnull=False)
    found: dict[int, set[int]] = {}
    for user, component in [
        *own.values_list("user", "content_object"),
        *groups.values_list("group__user", "content_object"),
    ]:
        found.setdefault(user, set()).add(component)
    return found
