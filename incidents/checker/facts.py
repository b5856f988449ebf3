"""The words of an update against its data, its other languages and its channels."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.translation import gettext as _

from channels.pictures import MAX_ALT
from channels.posts import split
from channels.sms import segments
from incidents import rendering
from incidents.models.words import MAINTENANCE_STAGES, OVER, WORDS, Stage

from .finding import Finding, Level
from .prose import BODY, lexicon, plain

if TYPE_CHECKING:
    from channels.models import Channel
    from channels.providers.base import Capabilities
    from incidents.models import IncidentUpdate, Rendition

PLACEHOLDER = re.compile(r"\{\{\s*(\w+)[^}]*\}\}")
TOKEN = re.compile(r"\[\[(\w+)\]\]")
CLOCK = re.compile(r"(?<![\d:.])([01]?\d|2[0-3])[:.]([0-5]\d)(?!\d|[.:]\d)\s*([ap]\.?m\b)?", re.I)


@dataclass(frozen=True)
class Draft:
    """An update as it is being written, with everything the checks need loaded."""

    update: "IncidentUpdate"
    words: Mapping[str, Mapping[str, str]]  # locale → field → text as edited
    values: Mapping[str, Mapping[str, str]]  # locale → placeholder → value
    channels: Sequence["Channel"]
    component_names: tuple[str, ...]

    @classmethod
    def of(cls, update: "IncidentUpdate", renditions: "Sequence[Rendition]", channels: "Sequence[Channel]") -> "Draft":
        from incidents.models import Component

        ids = [int(key) for key in update.component_states]
        return cls(
            update=update,
            words={r.locale: r.words() for r in renditions},
            values={r.locale: rendering.values(update, r.locale) for r in renditions},
            channels=channels,
            component_names=tuple(Component.objects.filter(pk__in=ids).values_list("name", flat=True)),
        )

    @cached_property
    def told_at(self) -> set[int]:
        """When customers were told before, as minutes of a day. A query, where a time has to be explained."""
        incident = self.update.incident
        told = incident.updates.filter(published_at__isnull=False) if incident.pk else []
        return set().union(*(_of_day(one.published_at) for one in told))

    @cached_property
    def prepared(self) -> dict[str, dict[str, str]]:
        """What the templates of its scenario and stage say, by language. A query, where it is in several languages."""
        incident = self.update.incident
        if not incident.pk or not incident.scenario_id or len(self.words) < 2:
            return {}
        return rendering.prepared_words(self.update, self.values)

    @property
    def over(self) -> bool:
        return self.update.stage in OVER

    def final(self, locale: str, field: str) -> str:
        return rendering.fill(self.words[locale].get(field, ""), self.values[locale]).strip()

    def languages(self, channel: "Channel") -> list[str]:
        from incidents.publishing import channel_locales

        return channel_locales(channel, self.words, self.update)


def findings(draft: Draft) -> list[Finding]:
    checks: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
        _placeholders,
        _missing,
        _promise,
        _window,
        _past,
        _states,
        _languages,
        _changed_alone,
        _picture,
        _clock_times,
        _channels,
        _lengths,
    )
    return [finding for one in checks for finding in one(draft)]


# ── Placeholders ────────────────────────────────────────────────────────────


def _placeholders(draft: Draft) -> Iterator[Finding]:
    for locale, words in draft.words.items():
        for field, text in words.items():
            problems = rendering.problems(text)
            for problem in problems:
                yield Finding("placeholder", locale, field, problem, level=Level.BLOCK, excerpt=_first_unknown(text))
            if not problems:
                yield from _unfilled(draft, locale, field, text)
            yield from _tokens(locale, field, text)


def _first_unknown(text: str) -> str:
    unknown = (m[0] for m in PLACEHOLDER.finditer(text) if m[1] not in rendering.VARIABLES)
    return next(unknown, "")


def _unfilled(draft: Draft, locale: str, field: str, text: str) -> Iterator[Finding]:
    """A known placeholder that has no value now would go out as it is."""
    if "{{" not in draft.final(locale, field):
        return
    for match in PLACEHOLDER.finditer(text):
        if match[1] not in draft.values[locale] and "default" not in match[0]:
            message = _("%(placeholder)s has no value yet: %(meaning)s is not set.") % {
                "placeholder": match[0],
                "meaning": rendering.VARIABLES[match[1]],
            }
            fix = _("Set it above, or take the sentence out.")
            yield Finding("placeholder", locale, field, message, fix, match[0], Level.BLOCK, *match.span())
            return


def _tokens(locale: str, field: str, text: str) -> Iterator[Finding]:
    """What is filled in for each recipient has its place in the letters; these words also stand on the status page."""
    for match in TOKEN.finditer(text):
        message = _("%(token)s would be sent as it stands.") % {"token": match[0]}
        fix = _("Take it out: everybody reads the same words.")
        yield Finding("placeholder", locale, field, message, fix, match[0], Level.BLOCK, *match.span())


# ── Missing ─────────────────────────────────────────────────────────────────


def _missing(draft: Draft) -> Iterator[Finding]:
    if not any(any(text.strip() for text in words.values()) for words in draft.words.values()):
        yield Finding("empty", "", "", _("Nothing is written yet."), _("Say what is happening."), level=Level.BLOCK)
        return
    for locale, words in draft.words.items():
        if not any(words[field].strip() for field in ("subject", *BODY)):
            continue  # the whole language is empty: _languages says so
        if not words["subject"].strip():
            message = _("The subject is missing: it is all that many readers see.")
            fix = _("Name the service and what is wrong with it.")
            yield Finding("missing_subject", locale, "subject", message, fix, level=Level.BLOCK)
        if not words["issue"].strip():
            message = _("What is happening is missing.")
            fix = _("Say in one sentence what does not work, as a customer would notice it.")
            yield Finding("missing_issue", locale, "issue", message, fix, level=Level.BLOCK)
        if not words["impact"].strip() and not draft.over:
            message = _("Who is affected, and how, is missing: every reader wonders “is it me?”.")
            fix = _("Say which customers, what they cannot do, and what still works.")
            yield Finding("missing_impact", locale, "impact", message, fix)


def _promise(draft: Draft) -> Iterator[Finding]:
    """Neither the data nor the words say when readers hear again, or when it will be over."""
    update = draft.update
    if draft.over or update.next_update_at or update.expected_resolution_at or update.incident.maintenance:
        return
    for locale, words in draft.words.items():
        lists = lexicon(locale)
        filled = any(words[field].strip() for field in BODY)
        if filled and lists and not any(lists.promise.search(words[field]) for field in BODY):
            message = _("Nothing says when it will be over or when you speak again: readers will call instead.")
            fix = _("Set “Next update by” above: it can be kept even when nothing is known yet.")
            yield Finding("missing_promise", locale, "outlook", message, fix)


def _window(draft: Draft) -> Iterator[Finding]:
    """Planned maintenance has a beginning and an end, says both, and is announced while it is ahead."""
    update, incident, ends = draft.update, draft.update.incident, draft.update.expected_resolution_at
    if not incident.maintenance or draft.over or update.stage not in MAINTENANCE_STAGES:
        return
    if ends is None or ends <= update.begins_at:
        message = _("When the work ends is not set.")
        if ends:
            message = _("The work ends before it begins (%(time)s).") % {"time": rendering.moment(update.begins_at)}
        fix = _("Set “Planned end” above.")
        yield Finding("window", "", "expected_resolution_at", message, fix, level=Level.BLOCK)
    if update.publish_at and update.publish_at <= timezone.now():
        message = _("Its time, %(time)s, has passed: it does not go out by itself any more.") % {
            "time": rendering.moment(update.publish_at)
        }
        yield Finding("time_passed", "", "", message, _("Publish it by hand, or withdraw it."))
    if update.stage != Stage.SCHEDULED:
        return
    if update.begins_at <= timezone.now():
        message = _("The work was to begin at %(time)s: it is too late to announce it.") % {
            "time": rendering.moment(update.begins_at)
        }
        fix = _("Withdraw this notice, or say that the work is in progress.")
        yield Finding("too_late", "", "", message, fix, level=Level.BLOCK)
    for locale, words in draft.words.items():
        yield from _window_in_words(draft, locale, words)


def _window_in_words(draft: Draft, locale: str, words: Mapping[str, str]) -> Iterator[Finding]:
    body = " ".join(words[field] for field in BODY)
    if not body.strip():
        return
    names = {m[1] for m in PLACEHOLDER.finditer(body)}
    clocks = {_minutes(m) for m in CLOCK.finditer(plain(body))}
    for at, placeholders, message in (
        (draft.update.begins_at, {"begins", "started"}, _("The words do not say when the work begins.")),
        (draft.update.expected_resolution_at, {"ends", "expected_resolution"}, _("The words do not say when it ends.")),
    ):
        if at and not names & placeholders and not clocks & _of_day(at):
            name = sorted(placeholders)[0]
            fix = _("Write {{ %(name)s }}: then the words follow the time.") % {"name": name}
            yield Finding("missing_window", locale, "issue", message, fix, level=Level.BLOCK)


def _past(draft: Draft) -> Iterator[Finding]:
    if draft.over:
        return
    upkeep = draft.update.incident.maintenance
    for field, label in (
        ("next_update_at", _("The next update")),
        ("expected_resolution_at", _("The planned end") if upkeep else _("The expected resolution")),
    ):
        at = getattr(draft.update, field)
        if at and at <= timezone.now():
            message = _("%(what)s is promised for %(when)s, which is past.") % {
                "what": label,
                "when": rendering.moment(at),
            }
            yield Finding("past", "", field, message, _("Choose a time ahead."), level=Level.BLOCK)


def _states(draft: Draft) -> Iterator[Finding]:
    states = set(draft.update.component_states.values())
    if draft.over and states - {"operational"}:
        message = _("The incident is said to be over, but a component is still not operational.")
        fix = _("Set it to operational, or choose an earlier stage.")
        yield Finding("states", "", "component_states", message, fix)
    early = draft.update.stage in (Stage.INVESTIGATING, Stage.IDENTIFIED)
    if early and states == {"operational"}:
        message = _("Every component is shown as operational while customers read that something is wrong.")
        yield Finding("states", "", "component_states", message, _("Choose the state that customers see."))


# ── Languages ───────────────────────────────────────────────────────────────


def _languages(draft: Draft) -> Iterator[Finding]:
    for field in ("subject", *BODY):
        filled = [locale for locale, words in draft.words.items() if words[field].strip()]
        if not filled:
            continue
        for locale in draft.words:
            if locale not in filled:
                message = _("“%(field)s” is written in %(there)s but empty in %(here)s.") % {
                    "field": WORDS[field],
                    "there": rendering.language_name(filled[0]),
                    "here": rendering.language_name(locale),
                }
                fix = _("Every customer must learn the same: write it here too.")
                yield Finding("language_gap", locale, field, message, fix, level=Level.BLOCK)


def _changed_alone(draft: Draft) -> Iterator[Finding]:
    """Somebody put the prepared words right in one language, and another still says what was prepared."""
    prepared = draft.prepared
    for field in ("subject", *BODY):
        known = [one for one in draft.words if prepared.get(one, {}).get(field) and draft.words[one][field].strip()]
        changed = [one for one in known if draft.words[one][field].strip() != prepared[one][field]]
        for locale in known if changed else []:
            if locale not in changed:
                message = _("“%(field)s” was changed in %(there)s, and still says in %(here)s what was prepared.") % {
                    "field": WORDS[field],
                    "there": rendering.language_name(changed[0]),
                    "here": rendering.language_name(locale),
                }
                fix = _("Read both: does every customer learn the same?")
                yield Finding("changed_alone", locale, field, message, fix)


def _picture(draft: Draft) -> Iterator[Finding]:
    """What a picture shows must be said in every language, and briefly enough for every network."""
    picture = draft.update.picture
    if picture is None:
        return
    for locale in draft.words:
        alt, values = picture.words(locale), {"language": rendering.language_name(locale)}
        if not alt:
            said = _("The picture has no alternative text in %(language)s: who cannot see it learns nothing.")
            fix = _("Say under “Picture” what it shows, or remove it.")
            yield Finding("missing_alt", locale, "picture", said % values, fix, level=Level.BLOCK)
        elif len(alt) > MAX_ALT:
            values |= {"count": str(len(alt)), "limit": str(MAX_ALT)}
            said = _("The alternative text in %(language)s has %(count)s characters (limit %(limit)s).")
            fix = _("Shorten it under “Picture”.")
            yield Finding("long_alt", locale, "picture", said % values, fix, alt[:60], level=Level.BLOCK)


def _minutes(match: re.Match[str]) -> int:
    hour = int(match[1])
    if match[3]:
        hour = hour % 12 + (12 if match[3][0] in "pP" else 0)
    return hour * 60 + int(match[2])


def _of_day(at: datetime | None) -> set[int]:
    """Minutes of the day of a moment, in the portal's zone and in UTC: people write either."""
    if at is None:
        return set()
    return {one.hour * 60 + one.minute for one in (timezone.localtime(at), at.astimezone(UTC))}


def _clock_times(draft: Draft) -> Iterator[Finding]:
    """A time written out that is none of the times we know; a time that another language does not give."""
    update = draft.update
    promised = _of_day(update.next_update_at) | _of_day(update.expected_resolution_at)
    known = (
        promised
        | _of_day(update.begins_at)
        | _of_day(update.incident.started_at)
        | _of_day(update.incident.resolved_at)
    )
    said: dict[str, dict[str, dict[int, re.Match[str]]]] = {}
    for locale, words in draft.words.items():
        lists = lexicon(locale)
        for field, text in words.items():
            times = {_minutes(m): m for m in CLOCK.finditer(plain(text))}
            said.setdefault(field, {})[locale] = times
            for minutes, match in times.items():
                around = text[max(0, match.start() - 60) : match.start()].rsplit(". ", 1)[-1]
                if not promised or minutes in known or not lists or not lists.about.search(around):
                    continue
                if minutes not in draft.told_at:  # “since our update of 09:47” promises nothing
                    yield _other_time(draft, locale, field, match)
    for field, by_locale in said.items():
        yield from _differing(draft, field, by_locale)


def _other_time(draft: Draft, locale: str, field: str, match: re.Match[str]) -> Finding:
    at = draft.update.next_update_at or draft.update.expected_resolution_at
    name = "next_update" if draft.update.next_update_at else "expected_resolution"
    message = _("The text says %(text)s, but %(meaning)s is set to %(data)s.") % {
        "text": match[0].strip(),
        "meaning": rendering.VARIABLES[name],
        "data": rendering.moment(at),
    }
    fix = _("Write {{ %(name)s }}: then the words follow the time.") % {"name": name}
    return Finding("other_time", locale, field, message, fix, match[0].strip(), Level.WARN, *match.span())


def _differing(draft: Draft, field: str, by_locale: Mapping[str, Mapping[int, re.Match[str]]]) -> Iterator[Finding]:
    """The same field promises other times in another language. Placeholders count with their value."""
    locales = [locale for locale in by_locale if draft.words[locale][field].strip()]
    if len(locales) < 2:
        return
    first, *others = locales
    for locale in others:
        mine, theirs = by_locale[locale], by_locale[first]
        odd = [
            m for minutes, m in mine.items() if minutes not in theirs and minutes not in _filled(draft, first, field)
        ]
        lacking = [
            m for minutes, m in theirs.items() if minutes not in mine and minutes not in _filled(draft, locale, field)
        ]
        if odd and lacking:
            message = _("%(here)s says %(mine)s where %(there)s says %(theirs)s.") % {
                "here": rendering.language_name(locale),
                "mine": odd[0][0].strip(),
                "there": rendering.language_name(first),
                "theirs": lacking[0][0].strip(),
            }
            fix = _("Every customer must learn the same.")
            yield Finding("language_time", locale, field, message, fix, odd[0][0].strip(), Level.WARN, *odd[0].span())


def _filled(draft: Draft, locale: str, field: str) -> set[int]:
    """Times that the placeholders of a text stand for."""
    update = draft.update
    data = {"next_update": update.next_update_at, "expected_resolution": update.expected_resolution_at}
    data |= {"begins": update.begins_at, "ends": update.expected_resolution_at}
    names = {m[1] for m in PLACEHOLDER.finditer(draft.words[locale][field])}
    return {minutes for name in names & set(data) for minutes in _of_day(data[name])}


# ── Channels ────────────────────────────────────────────────────────────────


def _channels(draft: Draft) -> Iterator[Finding]:
    if not draft.update.notify:
        return
    if not draft.channels:
        message = _("No channel is chosen: only the status page will change.")
        fix = _("Choose how customers are told, or switch “notify subscribers” off.")
        yield Finding("no_channel", "", "channels", message, fix)
    for channel in draft.channels:
        if channel.capabilities is None:
            message = _("%(channel)s cannot be used: its provider is not installed.") % {"channel": channel}
            yield Finding("channel_gone", "", "channels", message, _("Choose another."), level=Level.BLOCK)
        elif channel.paused_at:
            message = _("%(channel)s is paused (%(reason)s): its messages wait until somebody resumes it.") % {
                "channel": channel,
                "reason": channel.paused_reason or _("no reason given"),
            }
            fix = _("Make sure that another channel reaches the same people.")
            yield Finding("channel_paused", "", "channels", message, fix)
        elif not channel.enabled:
            message = _("%(channel)s is switched off: nothing would go out by it.") % {"channel": channel}
            fix = _("Leave it out, or enable it after a test.")
            yield Finding("channel_off", "", "channels", message, fix, level=Level.BLOCK)


def _lengths(draft: Draft) -> Iterator[Finding]:
    """Words that a chosen channel lacks, or has too many of. One finding per text, whatever the number of channels."""
    told: set[tuple[str, str, str]] = set()
    for channel in draft.channels if draft.update.notify else ():
        able = channel.capabilities
        if able is None or not counts(able):
            continue
        for locale in draft.languages(channel):
            finding = length(draft, channel, able, locale)
            if finding and (finding.code, finding.locale, finding.field) not in told:
                told.add((finding.code, finding.locale, finding.field))
                yield finding


def counts(able: "Capabilities") -> bool:
    """Whether there is a limit to what it carries."""
    return able.form in ("sms", "post") or bool(able.max_subject)


def length(draft: Draft, channel: "Channel | str", able: "Capabilities", locale: str) -> Finding | None:
    """What is wrong with the length of what a channel that counts would carry."""
    if able.max_subject:
        return _long_subject(draft.final(locale, "subject"), able.max_subject, locale)
    field, text = able.form, draft.final(locale, able.form)
    if not text:
        message = _("%(channel)s is chosen, but its text in %(language)s is empty.") % {
            "channel": channel,
            "language": rendering.language_name(locale),
        }
        fix = _("Write it, or leave the channel out.")
        return Finding("missing_words", locale, field, message, fix, level=Level.BLOCK)
    if able.max_segments:
        return _too_many_segments(text, able.max_segments, locale)
    weight = able.weigh(text)
    if able.max_weight and weight > able.max_weight and able.thread:
        message = _("%(channel)s: %(count)s characters as the network counts them: a thread of %(posts)s posts.") % {
            "channel": channel,
            "count": weight,
            "posts": len(split(text, able.max_weight, able.weigh)),
        }
        fix = _("Shorten it to %(limit)s characters if one post is to say it all.") % {"limit": able.max_weight}
        return Finding("thread", locale, field, message, fix, level=Level.HINT)
    if able.max_weight and weight > able.max_weight:
        message = _("%(channel)s: %(count)s characters as the network counts them (limit %(limit)s).") % {
            "channel": channel,
            "count": weight,
            "limit": able.max_weight,
        }
        fix = _("Take out %(over)s characters; a link counts 23.") % {"over": weight - able.max_weight}
        return Finding("too_long", locale, field, message, fix, level=Level.BLOCK)
    return None


def _long_subject(subject: str, limit: int, locale: str) -> Finding | None:
    if len(subject) <= limit:
        return None
    message = _("Subject: %(count)s characters (limit %(limit)s).") % {"count": len(subject), "limit": limit}
    fix = _("Take out %(over)s characters.") % {"over": len(subject) - limit}
    return Finding("too_long", locale, "subject", message, fix, level=Level.BLOCK)


def _too_many_segments(text: str, limit: int, locale: str) -> Finding | None:
    size = segments(text)
    if size.count <= limit:
        return None
    what = {"count": size.count, "limit": limit, "characters": " ".join(size.offending[:5])}
    if size.offending:
        message = _("SMS: %(count)s segments (limit %(limit)s), because %(characters)s forces UCS-2.") % what
        fix = _("Replace these characters by plain ones, such as ' for ’, and an SMS holds twice as much.")
    else:
        message = _("SMS: %(count)s segments (limit %(limit)s).") % what
        over = size.units - size.per_segment * limit
        fix = _("Take out %(over)s characters.") % {"over": max(over, 1)}
    return Finding("too_long", locale, "sms", message, fix, level=Level.BLOCK)
