"""What each reader will see, word-level differences, and how many readers there are."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.utils import formats
from django.utils.functional import Promise
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from channels.models import Channel, Medium
from channels.posts import LIMIT, weighted_length
from channels.providers.base import TOKEN
from channels.sms import Segments, segments
from incidents import rendering
from incidents.models import AudienceSegment, IncidentUpdate, Rendition
from incidents.publishing import Reach, reach

LANGUAGES = dict(settings.LANGUAGES)
# What stands in a message for the value of each reader.
SAMPLES: dict[str, str | Promise] = {
    "name": gettext_lazy("name of the reader"),
    "unsubscribe_url": gettext_lazy("the reader's own link to unsubscribe"),
    "survey_url": gettext_lazy("the reader's own link to the survey"),
    "clear_url": gettext_lazy("the reader's own link to say whether it was clear: "),
}
# A personal link is about as long as this when the segments of an SMS are counted.
SAMPLE_LINK = "/survey/" + "x" * 60
# A word takes the space after it along, so that a changed phrase is one change and not one a word.
WORD = re.compile(r"\s+|\w+\s*|[^\w\s]\s*")

FORMS: dict[str, str | Promise] = {
    "email": gettext_lazy("by email"),
    "sms": gettext_lazy("by SMS"),
    "post": gettext_lazy("by social post"),
    "event": gettext_lazy("by webhook"),
    "page": gettext_lazy("by status page"),
    "chat": gettext_lazy("by chat"),
    "push": gettext_lazy("by push"),
    "voice": gettext_lazy("by phone call"),
    "ticket": gettext_lazy("by comment in a ticket"),
}


# ── Personal values ─────────────────────────────────────────────────────────


def sample(token: str) -> str:
    return str(SAMPLES.get(token, token))


def sample_text(text: str) -> SafeString:
    """A frozen text as HTML, with a marked sample where each reader gets a value of their own."""
    parts = TOKEN.split(text)
    return mark_safe(
        "".join(
            format_html('<mark class="cp-sample">{}</mark>', sample(part)) if i % 2 else escape(part)
            for i, part in enumerate(parts)
        )
    )


def sample_html(html: str) -> str:
    """A frozen HTML letter whose personal links lead nowhere."""
    inside = re.sub(r"""=(["'])\[\[\w+\]\][\w/]*\1""", '="#"', html)
    return TOKEN.sub(lambda m: f"<mark>{escape(sample(m[1]))}</mark>", inside)


def sms_size(text: str) -> Segments:
    """What the SMS costs with a personal link of ordinary length in it."""
    return segments(TOKEN.sub(lambda m: settings.PORTAL_URL + SAMPLE_LINK if m[1].endswith("_url") else "Anna", text))


# ── Preview ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class PostSize:
    """How long a post is, as its network counts characters, and how long it may be."""

    names: list[str]  # of the channels that count so; empty if all count alike
    weight: int
    limit: int


def post_sizes(text: str, channels: Iterable[Channel]) -> list[PostSize]:
    """One for all channels that count alike, in their order; as X counts where none is chosen."""
    names: dict[tuple[int, int], list[str]] = {}
    for channel in channels:
        able = channel.capabilities
        if able and able.max_weight:
            names.setdefault((able.weigh(text), able.max_weight), []).append(channel.name)
    if not names:
        return [PostSize([], weighted_length(text), LIMIT)]
    return [PostSize(theirs if len(names) > 1 else [], *size) for size, theirs in names.items()]


@dataclass(frozen=True)
class Preview:
    """One language of an update, as every kind of reader gets it."""

    locale: str
    language: str
    subject: str
    html: str
    text: SafeString
    sms: str
    sms_size: Segments
    post: str
    post_sizes: list[PostSize]
    page: Mapping[str, str]
    chat: str
    voice: str
    picture: Mapping[str, Any] | None = None  # as the status page gets it


def preview(update: IncidentUpdate, rendition: Rendition, channels: Iterable[Channel]) -> Preview:
    locale = rendition.locale
    words = rendering.final_words(rendition, update)
    email = rendering.parts("email", words, update, locale)
    return Preview(
        locale=locale,
        language=str(LANGUAGES.get(locale, locale)),
        subject=words["subject"],
        html=sample_html(email["html"]),
        text=sample_text(email["text"]),
        sms=words["sms"],
        sms_size=segments(words["sms"]),
        post=words["post"],
        post_sizes=post_sizes(words["post"], channels),
        page=rendering.page(words, update, locale),
        chat=rendering.page(words, update, locale)["text"],
        voice=rendering.spoken(words),
        picture=update.picture.on_page(locale) if update.picture else None,
    )


@dataclass(frozen=True)
class Limits:
    """The tightest limits of the chosen channels, and which channels carry which form."""

    segments: int | None
    names: Mapping[str, list[str]]  # form → names of channels
    pictures: list[str]  # names of the channels that carry the picture


def limits(channels: Iterable[Channel]) -> Limits:
    names: dict[str, list[str]] = {}
    pictures = []
    most: int | None = None
    for channel in channels:
        able = channel.capabilities
        if able is None:
            continue
        names.setdefault(able.form, []).append(channel.name)
        if able.pictures:
            pictures.append(channel.name)
        if able.max_segments:
            most = min(able.max_segments, most or able.max_segments)
    return Limits(most, names, pictures)


# ── Differences ─────────────────────────────────────────────────────────────


def difference(old: str, new: str) -> SafeString:
    """What was taken out and put in, word by word, as <del> and <ins>; empty if nothing."""
    if old == new:
        return SafeString()
    a, b = WORD.findall(old), WORD.findall(new)
    out = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            out.append(escape("".join(a[i1:i2])))
            continue
        if i1 < i2:
            out.append(format_html("<del>{}</del>", "".join(a[i1:i2])))
        if j1 < j2:
            out.append(format_html("<ins>{}</ins>", "".join(b[j1:j2])))
    return mark_safe("".join(out))


def differences(
    old: Mapping[str, str], new: Mapping[str, str], labels: Mapping[str, Any]
) -> list[tuple[Any, SafeString]]:
    """Label and difference of each field that changed."""
    return [
        (label, difference(old.get(field, ""), new.get(field, "")))
        for field, label in labels.items()
        if old.get(field, "") != new.get(field, "")
    ]


# ── Audience ────────────────────────────────────────────────────────────────


def reach_of_draft(
    update: IncidentUpdate,
    renditions: Sequence[Rendition],
    channels: Sequence[Channel],
    segments: Sequence[AudienceSegment],
) -> Reach:
    """How many people what is being typed would go to. Kept for half a minute: counting millions takes a while."""
    locales = [r.locale for r in renditions]
    wanted = channels if update.notify else []
    components = "-".join(sorted(update.component_states))
    rules = "-".join(f"{one.pk}.{one.updated_at.timestamp()}" for one in segments)
    key = f"reach:{update.pk}:{components}:{'-'.join(locales)}:{'-'.join(str(c.pk) for c in wanted)}:{rules}"
    counted = cache.get(key)
    by_pk = {channel.pk: channel for channel in wanted}
    if counted is None:
        fresh = reach(update, channels=list(wanted), locales=locales, segments=list(segments))
        counted = [(channel.pk, locale, count) for channel, locale, count in fresh.rows], fresh.private
        cache.set(key, counted, 30)
    rows, private = counted
    found = [(by_pk[pk], locale, count) for pk, locale, count in rows]
    return Reach(update, found, [one.name for one in segments], private)


def audience_in_words(found: Reach) -> str:
    """“3,000 people: 2,100 by email, 900 by SMS; also in public: @example.”"""
    personal: dict[str, int] = {}
    public: dict[str, None] = {}
    for channel, _locale, count in found.rows:
        able = channel.capabilities
        if able and able.broadcast:
            public[channel.name] = None
        elif able:
            # A ticket is not the chat whose words it shares.
            key = able.medium if able.medium == Medium.TICKET else able.form
            personal[key] = personal.get(key, 0) + count
    if not found.rows:
        if found.private:
            return _("Nobody is notified, and all its components are private: only private status pages change.")
        return _("Nobody is notified: only the status page changes.")
    people = ngettext("%(count)s person", "%(count)s people", found.total) % {"count": localise(found.total)}
    if len(personal) > 1:
        people += ": " + ", ".join(f"{localise(count)} {FORMS.get(form, form)}" for form, count in personal.items())
    if public:
        people += "; " + _("in public on %(names)s") % {"names": ", ".join(public)}
    if found.segments and personal:
        people += "; " + _("only in: %(names)s") % {"names": ", ".join(found.segments)}
    if found.private:
        people += "; " + _("all its components are private: not on the public status page")
    return people


def localise(number: int) -> str:
    return formats.number_format(number, force_grouping=True)
