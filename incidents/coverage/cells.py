"""The matrix: each message that a plan promises, by scenario, stage, channel and language, and what it lacks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from django.conf import settings
from django.utils import formats, timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from channels.models import Channel
from channels.providers.base import Capabilities
from incidents import rendering
from incidents.checker import check_prepared, prepared
from incidents.checker.facts import counts, length
from incidents.checker.finding import Finding as Remark
from incidents.checker.finding import Level
from incidents.models import WORDS, CommunicationPlan, MessageTemplate, Scenario, Severity, Stage

from .finding import Finding, Kind, Mend, Notes, Weight, mend
from .known import Known

Words = tuple[tuple[str, tuple[str, ...]], ...]  # by language, the texts in the order of WORDS
SHORT = ("sms", "post")
# What the checker calls a text that is not there; what a channel needs of it is asked of the channel.
GAPS = {"missing_subject", "missing_issue", "missing_impact", "missing_words", "language_gap"}


@dataclass(slots=True)
class Cell:
    """One message, and what stands in its way; nothing: it is ready."""

    scenario: Scenario
    stage: str
    channel: Channel
    locale: str
    troubles: list[Finding] = field(default_factory=list)

    @property
    def state(self) -> str:
        """ready, warning or hole."""
        if not self.troubles:
            return "ready"
        return str(Weight.HOLE if any(one.is_hole for one in self.troubles) else Weight.WARNING)


@dataclass(frozen=True)
class Place:
    """Where words stand, beside the channel: `locales` are all in which this plan speaks there."""

    scenario: Scenario
    stage: str
    locale: str
    locales: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.scenario.name}, {Stage(self.stage).label}"


def cells(known: Known, plan: CommunicationPlan, look: "Look") -> Iterator[Cell]:
    """Every message that the plan promises. A plan that leaves out the least severity leaves out maintenance."""
    for scenario in known.scenarios:
        if scenario.maintenance and plan.severities and Severity.SEV4 not in plan.severities:
            continue
        for stage in scenario.stages:
            locales = known.part(plan, stage).locales
            for channel, locale in known.spoken(plan, stage):
                place = Place(scenario, stage, locale, locales)
                yield Cell(scenario, stage, channel, locale, look.at(plan, channel, place))


class Look:
    """Looks at each text and each channel once, however many messages and plans depend on it."""

    def __init__(self, known: Known, notes: Notes) -> None:
        self.known, self.notes, self.now = known, notes, timezone.now()
        self._channels: dict[int, list[Finding]] = {}
        self._words: dict[tuple, list[Finding]] = {}

    def at(self, plan: CommunicationPlan, channel: Channel, place: Place) -> list[Finding]:
        """What stands in the way of one message of a plan."""
        key = (place.scenario.pk, place.stage, place.locale, place.locales, channel.provider)
        if key not in self._words:
            self._words[key] = list(self._of_words(place, channel))
        found = [*self._words[key], *self.of_channel(channel)]
        for one in found:
            one.plans[plan.pk] = plan
        return found

    # ── Channels ──

    def of_channel(self, channel: Channel) -> list[Finding]:
        """What keeps a channel from sending, or from being relied upon."""
        if channel.pk not in self._channels:
            trouble = self._trouble(channel)
            self._channels[channel.pk] = [self._of_channel(channel, *trouble)] if trouble else []
        return self._channels[channel.pk]

    def _of_channel(self, channel: Channel, sentence: str, weight: Weight, tonight: str) -> Finding:
        ways = (
            mend(_("Open the channel"), "channels_channel_change", "channels.view_channel", channel.pk),
            mend(_("See the plans"), "incidents_communicationplan_changelist", "incidents.view_communicationplan"),
        )
        one = Finding(Kind.CHANNEL, weight, sentence, ways, channel=channel.name, tonight=tonight)
        return self.notes.note(("channel", channel.pk), one)

    def _trouble(self, channel: Channel) -> tuple[str, Weight, str] | None:
        """In a sentence, how grave it is, and what a customer would notice."""
        name, health = {"channel": channel.name}, channel.health
        nothing = _("nothing goes out by %(channel)s") % name
        can = self.known.can[channel.pk]
        if can is None:
            return _("%(channel)s cannot send: its provider is not installed.") % name, Weight.HOLE, nothing
        if can.local and not settings.PORTAL_DEMO:
            said = _("%(channel)s writes into a folder of this server and reaches nobody.")
            return said % name, Weight.HOLE, nothing
        if health == "untested":
            return _("%(channel)s is off: no test of it has succeeded.") % name, Weight.HOLE, nothing
        if health == "off":
            return _("%(channel)s is switched off.") % name, Weight.HOLE, nothing
        if health in ("paused", "unreachable"):
            said = _("%(channel)s is paused.") if health == "paused" else _("%(channel)s cannot be reached.")
            other = self._stand_in(channel)
            if other is None:
                return said % name, Weight.HOLE, nothing
            more = _("Until then %(other)s takes over.") % {"other": other.name}
            return f"{said % name} {more}", Weight.WARNING, ""
        if channel.verified_at and channel.verified_at < self._days_ago(settings.CHANNEL_VERIFIED_DAYS):
            said = _("The last test of %(channel)s succeeded on %(day)s: nobody knows whether it still works.")
            unsure = _("nobody knows whether anything goes out by %(channel)s") % name
            return said % (name | {"day": day(channel.verified_at)}), Weight.HOLE, unsure
        return None

    def _stand_in(self, channel: Channel) -> Channel | None:
        """Its fallback, if that one would send."""
        other = self.known.channels.get(channel.fallback_id or 0)
        return other if other and other.health == "well" and other.can_stand_in_for(channel) else None

    def _days_ago(self, days: int) -> datetime:
        return self.now - timedelta(days=days)

    # ── Words ──

    def _of_words(self, place: Place, channel: Channel) -> Iterator[Finding]:
        """What is wrong with the words that a channel of this one's provider would carry there."""
        template = self.known.templates.get((place.scenario.pk, place.stage, place.locale))
        if template is None:
            yield self.notes.note(("template", place.scenario.pk, place.stage, place.locale), _to_write(place))
            return
        can = self.known.can[channel.pk]
        if can is not None:
            for name in rendering.needed(can.form, place.stage):
                if not getattr(template, name).strip():
                    yield self._empty(place, template, name, channel)
        for remark in self._remarks(place, template, channel):
            yield self._remarked(place, template, remark, channel)
        looked_at = max(filter(None, (template.updated_at, template.approved_at)))
        if looked_at < self._days_ago(settings.TEMPLATE_STALE_DAYS):
            said = _("nobody has changed or approved it since %(day)s.") % {"day": day(looked_at)}
            one = _about(place, template, Kind.STALE, Weight.WARNING, said)
            yield self.notes.note(("stale", template.pk), one)

    def _empty(self, place: Place, template: MessageTemplate, name: str, channel: Channel) -> Finding:
        tonight = _("customers who read %(language)s get nothing by %(channel)s until somebody writes it") % {
            "language": rendering.language_name(place.locale),
            "channel": channel.name,
        }
        said = _("“%(field)s” is empty.") % {"field": WORDS[name]}
        one = _about(place, template, Kind.WORDS, Weight.HOLE, said, tonight)
        return self.notes.note(("empty", template.pk, name), one)

    def _remarked(self, place: Place, template: MessageTemplate, remark: Remark, channel: Channel) -> Finding:
        if remark.code in GAPS:
            return self._empty(place, template, remark.field, channel)
        weight, tonight = Weight.WARNING, ""
        if remark.blocks:
            weight = Weight.HOLE
            tonight = _("what is prepared for customers who read %(language)s is stopped until somebody mends it") % {
                "language": rendering.language_name(place.locale)
            }
        said = f"“{remark.field_label}”: {remark.message}" if remark.field else remark.message
        one = _about(place, template, Kind.WORDS, weight, said, tonight)
        return self.notes.note(("remark", template.pk, remark.field, remark.message), one)

    def _remarks(self, place: Place, template: MessageTemplate, channel: Channel) -> list[Remark]:
        """What the checker says of the draft that begins with these words, as far as it concerns this channel.

        What would be refused stops the whole update; what customers stumble over only where they read it.
        """
        there = [(one, self.known.templates.get((place.scenario.pk, place.stage, one))) for one in place.locales]
        words: Words = tuple((one, tuple(found.words().values())) for one, found in there if found)
        about = (place.stage, place.scenario.maintenance, get_language(), settings.PORTAL_NAME)
        can, own = self.known.can[channel.pk], tuple(template.words().values())
        found = list(_checked(words, *about))
        if can and counts(can):
            found += _measured(((place.locale, own),), *about, channel.name, can)
        read = [name for name in WORDS if (name in SHORT) == (can is not None and can.form in (*SHORT, "push"))]
        return [
            one
            for one in found
            if one.locale == place.locale
            and (one.blocks or (one.level == Level.WARN and one.field in read and one.code not in GAPS))
        ]


# Of the same words the same is said again, in the same language and of a portal of the same name.
@lru_cache(maxsize=4000)
def _checked(words: Words, stage: str, maintenance: bool, language: str | None, portal: str) -> tuple[Remark, ...]:
    return tuple(check_prepared(_by_field(words), stage, maintenance))


@lru_cache(maxsize=4000)
def _measured(
    words: Words, stage: str, maintenance: bool, language: str | None, portal: str, channel: str, can: Capabilities
) -> tuple[Remark, ...]:
    """What is wrong with the length of a text in its one language."""
    remark = length(prepared(_by_field(words), stage, maintenance), channel, can, words[0][0])
    return (remark,) if remark else ()


def _by_field(words: Words) -> dict[str, dict[str, str]]:
    return {locale: dict(zip(WORDS, texts, strict=True)) for locale, texts in words}


def day(at: datetime) -> str:
    return formats.date_format(timezone.localtime(at), _("j M Y"))


def _to_write(place: Place) -> Finding:
    language = {"language": rendering.language_name(place.locale)}
    query = {"scenario": place.scenario.pk, "stage": place.stage, "locale": place.locale}
    way = mend(_("Write it"), "incidents_messagetemplate_add", "incidents.add_messagetemplate", **query)
    tonight = _("customers who read %(language)s get nothing until somebody has written it") % language
    said = _("there is no template in %(language)s.") % language
    return _at(place, Kind.TEMPLATE, Weight.HOLE, f"{place}: {said}", tonight, way)


def _about(
    place: Place, template: MessageTemplate, kind: Kind, weight: Weight, said: str, tonight: str = ""
) -> Finding:
    label, view = _("Open the template"), "incidents_messagetemplate_change"
    way = mend(label, view, "incidents.view_messagetemplate", template.pk)
    return _at(place, kind, weight, f"{place}, {rendering.language_name(place.locale)}: {said}", tonight, way)


def _at(place: Place, kind: Kind, weight: Weight, sentence: str, tonight: str, way: Mend) -> Finding:
    return Finding(
        kind,
        weight,
        sentence,
        (way,),
        scenario=place.scenario.name,
        stage=place.stage,
        locale=place.locale,
        tonight="" if place.scenario.maintenance else tonight,
        only=str(place),
    )
