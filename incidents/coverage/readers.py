"""Whether anybody would read what a plan sends, and in a language that they chose."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from channels.models import Channel, Medium, Recipient, Suppression
from incidents.models import INCIDENT_STAGES, CommunicationPlan, Severity, Stage, Subscription
from incidents.models.segment import matching
from incidents.rendering import language_name

from .finding import Finding, Kind, Mend, Notes, Weight, mend, mend_plan
from .known import Known, Part

AT_ONCE = 500  # questions in one query: databases allow some 1,600 columns


@dataclass(frozen=True)
class Audience:
    """People of one medium: as an update of a plan finds them (publishing.subscribers), at its gravest severity.

    Hashable, so that what several plans ask is asked once. `groups` empty: all components. `segments` are keys.
    """

    medium: str
    groups: tuple[int, ...]
    severity: str
    private: bool
    segments: tuple[int, ...]
    locale: str = ""

    def people(self, rules: dict[int, Any]) -> QuerySet[Recipient]:
        what = Q(component__isnull=False)
        if self.groups:
            what = Q(component__group__in=self.groups)
        if not self.private:
            general = Q(group__in=self.groups) if self.groups else Q(group__isnull=False)
            what |= general | Q(component__isnull=True, group__isnull=True)
        levels = [one for one in Severity.values if one >= self.severity]
        wanted = Subscription.objects.filter(what, recipient=OuterRef("pk"), least_severity__in=levels)
        found = Recipient.objects.filter(Exists(wanted), medium=self.medium, confirmed_at__isnull=False)
        if self.segments:
            found = found.filter(reduce(or_, (matching(rules[pk]) for pk in self.segments)))
        if self.locale:
            found = found.filter(locale=self.locale)
        return found.filter(~Suppression.of_recipient())


def readers(known: Known, plans: list[CommunicationPlan], notes: Notes) -> None:
    """Each way to people leads to somebody, and nobody has chosen a language that their plan does not speak.

    Whether there is anybody is asked, and not how many: that is known at once where there is somebody.
    """
    asked = [one for plan in plans for one in _questions(known, plan)]
    rules = {one.pk: one.conditions for plan in known.plans for one in _all_segments(plan)}
    there = _answers({audience for _plan, _channel, _stages, audience in asked}, rules)
    for plan, channel, stages, audience in asked:
        if audience.locale and there[audience]:
            one = _unspoken(plan, audience.locale)
            notes.note(("language", plan.pk, audience.locale), one, plan)
        elif not audience.locale and not there[audience]:
            one = _nobody(plan, channel, stages)
            notes.note(("audience", plan.pk, channel.pk, tuple(stages)), one, plan)


Question = tuple[CommunicationPlan, Channel, list[Stage], Audience]


def _questions(known: Known, plan: CommunicationPlan) -> Iterable[Question]:
    stages = list(dict.fromkeys([*INCIDENT_STAGES, *(stage for one in known.scenarios for stage in one.stages)]))
    differing: dict[tuple[Channel, Audience], list[Stage]] = {}
    for stage in stages:
        part = known.part(plan, stage)
        for channel, medium in _personal(known, part):
            differing.setdefault((channel, _audience(known, plan, part, medium)), []).append(stage)
    for (channel, audience), where in differing.items():
        yield plan, channel, [] if len(where) == len(stages) else where, audience
        for locale, _name in settings.LANGUAGES:
            if not any(locale in known.part(plan, stage).locales for stage in where):
                other = Audience(**{**audience.__dict__, "locale": locale})
                yield plan, channel, where, other


def _personal(known: Known, part: Part) -> Iterable[tuple[Channel, str]]:
    """Channels that write to people one by one, on or off: what is wrong is said at once. A ticket is linked when there
    is an incident.
    """
    for pk in part.channels:
        can, channel = known.can[pk], known.channels[pk]
        if can and not can.broadcast and can.medium != Medium.TICKET:
            yield channel, can.medium


def _audience(known: Known, plan: CommunicationPlan, part: Part, medium: str) -> Audience:
    covered = known.covered(plan)
    return Audience(
        medium,
        tuple(sorted(one.pk for one in plan.component_groups.all())),
        min(plan.severities, default=str(Severity.SEV1)),
        bool(covered) and all(one.private for one in covered),
        tuple(sorted(one.pk for one in part.segments)),
    )


def _all_segments(plan: CommunicationPlan) -> Iterable[Any]:
    return [*plan.segments.all(), *(one for stage in plan.stages.all() for one in stage.segments.all())]


def _answers(asked: set[Audience], rules: dict[int, Any]) -> dict[Audience, bool]:
    """Whether there is anybody in each; all in one query, up to AT_ONCE of them."""
    every = list(asked)
    found: dict[Audience, bool] = {}
    for start in range(0, len(every), AT_ONCE):
        some = every[start : start + AT_ONCE]
        questions = {f"a{n}": Exists(one.people(rules)) for n, one in enumerate(some)}
        row = CommunicationPlan.objects.order_by("pk").annotate(**questions).values(*questions)[:1].get()
        found |= {one: bool(row[f"a{n}"]) for n, one in enumerate(some)}
    return found


def _nobody(plan: CommunicationPlan, channel: Channel, stages: list[Stage]) -> Finding:
    said = {"plan": plan.name, "channel": channel.name, "stages": ", ".join(str(one.label) for one in stages)}
    text = _("%(plan)s: nobody who may be written to by %(channel)s is subscribed to its components.")
    if stages:
        text = _("%(plan)s, %(stages)s: nobody who may be written to by %(channel)s is among those it is for.")
    can = channel.capabilities
    ways = (_recipients(can.medium if can else ""), mend_plan(plan))
    tonight = _("nobody is told by %(channel)s") % said
    return Finding(Kind.AUDIENCE, Weight.HOLE, text % said, ways, channel=channel.name, tonight=tonight)


def _recipients(medium: str) -> Mend:
    label, view = _("See the recipients"), "channels_recipient_changelist"
    return mend(label, view, "channels.view_recipient", medium__exact=medium)


def _unspoken(plan: CommunicationPlan, locale: str) -> Finding:
    said = {"plan": plan.name, "language": language_name(locale)}
    said["other"] = language_name(plan.locales[0] if plan.locales else settings.LANGUAGE_CODE)
    text = _("%(plan)s does not speak %(language)s: subscribers who read it get %(other)s.") % said
    return Finding(Kind.LANGUAGE, Weight.WARNING, text, (mend_plan(plan),), locale=locale)
