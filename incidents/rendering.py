"""Words: templates → the draft of an update → what each channel will carry.

Templates are Liquid with two tags and four filters: no attribute calls, no loops, a bounded output.
"""

import difflib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import formats, timezone, translation
from django.utils.html import escape
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from liquid import Environment, FalsyStrictUndefined
from liquid.exceptions import LiquidError
from markdown_it import MarkdownIt

from .models import (
    BADNESS,
    OVER,
    WORDS,
    Component,
    ComponentStatus,
    Incident,
    IncidentUpdate,
    MessageTemplate,
    Rendition,
    Stage,
)

if TYPE_CHECKING:
    from .asking import Asked

TAGS = {"if", "unless", "comment", "content", "output", "illegal", "#"}
FILTERS = {"default", "upcase", "downcase", "capitalize"}

# What a template may say, with what it stands for. `later` ones stay placeholders in a draft, so that the words
# follow when the promised time is changed.
VARIABLES = {
    "organisation": gettext_lazy("the name of our organisation"),
    "title": gettext_lazy("the title of the incident"),
    "components": gettext_lazy("the affected components, as in “Checkout and Payments API”"),
    "state": gettext_lazy("the worst state among them, as in “partial outage”"),
    "started": gettext_lazy("when it began"),
    "resolved": gettext_lazy("when it was resolved"),
    "next_update": gettext_lazy("when we promise to speak again"),
    "expected_resolution": gettext_lazy("when we expect it to be resolved, if we know"),
    "begins": gettext_lazy("when planned maintenance begins, with its day"),
    "ends": gettext_lazy("when planned maintenance is to end, with its day"),
    "status_url": gettext_lazy("the address of the incident on the status page"),
}
LATER = {"next_update", "expected_resolution", "resolved", "begins", "ends"}
STAYS = re.compile(r"\{\{-?\s*(?:%s)\b[^}]*\}\}" % "|".join(sorted(LATER)))
# Languages that write the names of months and languages with a capital; Django's names have one in every language.
CAPITAL_MONTHS = ("en", "de")


# Of each form of a channel (channels.providers.base.FORMS) the fields without which its message says too little.
_LETTER = ("subject", "issue", "impact")
NEEDED = {
    **dict.fromkeys(("email", "event", "page", "chat", "voice"), _LETTER),
    "sms": ("sms",),
    "post": ("post",),
    "push": ("subject", "sms"),
}

# Headings once it is over.
WORDS_AFTER = {
    "issue": gettext_lazy("What happened"),
    "impact": gettext_lazy("Who was affected, and how"),
    "action": gettext_lazy("What you can do now"),
}
# One colour, one meaning, and always with its word; each carries white text at a contrast of 5 or more.
STATE_COLOURS = {
    ComponentStatus.OPERATIONAL: "#15803d",
    ComponentStatus.DEGRADED: "#a16207",
    ComponentStatus.PARTIAL: "#c2410c",
    ComponentStatus.MAJOR: "#b91c1c",
    ComponentStatus.MAINTENANCE: "#1d4ed8",
}
EMAIL_STYLES = {
    "p": "margin:0 0 10px;",
    "ul": "margin:0 0 12px;padding-left:22px;",
    "ol": "margin:0 0 12px;padding-left:22px;",
    "li": "margin:0 0 4px;",
    "a": "color:#1d4ed8;text-decoration:underline;",
    "code": "font-family:Consolas,Menlo,monospace;font-size:15px;",
    "blockquote": "margin:0 0 12px;padding-left:12px;border-left:3px solid #d4d4d8;",
}


class _Unset(FalsyStrictUndefined):
    """A value that is not known: `if` and `default` may ask for it, but printing it is refused."""

    force_liquid_default = True


class _Environment(Environment):
    output_stream_limit = 20_000
    loop_iteration_limit = 100
    local_namespace_limit = 10_000


def _environment() -> Environment:
    env = _Environment(undefined=_Unset, extra=False)
    for name in set(env.tags) - TAGS:
        del env.tags[name]
    for name in set(env.filters) - FILTERS:
        del env.filters[name]
    return env


ENV = _environment()
LINK = re.compile(r"https?://\S+")
MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).disable("image")


# ── Placeholders ────────────────────────────────────────────────────────────


def problems(text: str, known: Mapping[str, Any] = VARIABLES) -> list[str]:
    """What is wrong with the placeholders of a text, in sentences with line and suggestion; empty if nothing."""
    try:
        template = ENV.from_string(text)
        analysis = template.analyze()
    except LiquidError as error:
        token = getattr(error, "token", None)
        line = text.count("\n", 0, token.start_index) + 1 if token and token.start_index >= 0 else 1
        fix = _("Write the name of a placeholder between two braces on each side: {{ components }}.")
        if "{%" in text:
            fix = _("A condition has a beginning and an end: {% if next_update %} … {% endif %}.")
        return [_("Line %(line)s: what stands in the braces is not understood.") % {"line": line} + " " + fix]
    found = []
    for name, uses in analysis.globals.items():
        if name in known and all(len(use.segments) == 1 for use in uses):
            continue
        line, _column = uses[0].span.line_col(text)
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = (
            _("did you mean {{ %(name)s }}?") % {"name": close[0]}
            if close
            else _("use one of: %(names)s.") % {"names": ", ".join(known)}
        )
        found.append(
            _("Line %(line)s: {{ %(name)s }} is unknown; %(hint)s") % {"line": line, "name": uses[0], "hint": hint}
        )
    for name, spans in analysis.filters.items():
        if name not in FILTERS:
            line, _column = spans[0].line_col(text)
            found.append(
                _("Line %(line)s: the filter “%(name)s” is unknown; use one of: %(names)s.")
                % {"line": line, "name": name, "names": ", ".join(sorted(FILTERS))}
            )
    return found


def needed(form: str, stage: str) -> tuple[str, ...]:
    """The fields of WORDS that a message of this form wants; who is affected may be left out once it is over."""
    return tuple(field for field in NEEDED[form] if field != "impact" or stage not in OVER)


def sample_values(locale: str) -> dict[str, str]:
    """A value for each placeholder in a language, for a template that belongs to no incident yet."""
    with translation.override(locale):
        return {
            "organisation": settings.PORTAL_NAME,
            "title": _("Checkout: partial outage"),
            "components": _("Checkout and Payments API"),
            "state": _("partial outage"),
            "started": "14:05 CET",
            "resolved": "16:20 CET",
            "next_update": "15:00 CET",
            "expected_resolution": "16:30 CET",
            "begins": _("12 December, 22:00 CET"),
            "ends": _("13 December, 02:00 CET"),
            "status_url": f"{settings.PORTAL_URL}/incidents/bcdfghjkmnpq/",
        }


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill the placeholders. Text that cannot be filled comes back as it is: the checker says why."""
    try:
        return ENV.from_string(text).render(**values)
    except LiquidError:
        return text


# ── Values ──────────────────────────────────────────────────────────────────


def moment(at: datetime | None, clock: str = "H:i", always_day: bool = False) -> str:
    """A time with its zone, and its day unless that is today: “14:30 CET”. Empty for None.

    `always_day`: also today, for words that somebody reads on another day.

    The zone always: in autumn an hour comes twice, and Django's own format leaves it out exactly then.
    """
    if at is None:
        return ""
    local = timezone.localtime(at)
    time = f"{formats.date_format(local, clock)} {local.tzname()}"
    if local.date() == timezone.localdate() and not always_day:
        return time
    day = formats.date_format(local, "j F" if local.year == timezone.localdate().year else "j F Y")
    capital = (translation.get_language() or "en").startswith(CAPITAL_MONTHS)
    return f"{day if capital else day.lower()}, {time}"


def language_name(locale: str) -> str:
    """The name of a language inside a sentence: “Italian” in English, “italiano” in Italian."""
    name = str(dict(settings.LANGUAGES).get(locale, locale))
    return name if (translation.get_language() or "en").startswith(CAPITAL_MONTHS) else name.lower()


def status_url(incident: Incident) -> str:
    """Where customers read of it: of private components alone on their private page, which asks for a login."""
    return f"{settings.PORTAL_URL}{incident.private_base}/incidents/{incident.uid}/"


def named(update: IncidentUpdate) -> list[Component]:
    """The components that messages name: private ones only where there are no others. One query."""
    found = list(Component.objects.filter(pk__in=[int(key) for key in update.component_states]))
    return [one for one in found if not one.private] or found


def values(update: IncidentUpdate, locale: str) -> dict[str, str]:
    """Value of each of VARIABLES for this update, in a language. Unknown times are left out."""
    incident = update.incident
    names = {c.pk: c.name for c in named(update)}
    ids = [int(key) for key in update.component_states if int(key) in names]
    with translation.override(locale):
        states = [ComponentStatus(s) for key, s in update.component_states.items() if int(key) in names]
        worst = max(states, key=lambda s: BADNESS[s], default=ComponentStatus.OPERATIONAL)
        found = {
            "organisation": settings.PORTAL_NAME,
            "title": incident.title,
            "components": get_text_list([names[i] for i in ids], _("and")),
            "state": str(worst.label).lower(),
            "started": moment(update.begins_at),
            "resolved": _resolved(update),
            "next_update": moment(update.next_update_at),
            "expected_resolution": moment(update.expected_resolution_at),
            "status_url": status_url(incident),
        }
        if incident.maintenance:
            found["begins"] = moment(update.begins_at, always_day=True)
            found["ends"] = moment(update.expected_resolution_at, always_day=True)
    return {name: text for name, text in found.items() if text}


def _resolved(update: IncidentUpdate) -> str:
    """When it was over; for a notice that goes out by itself, that time."""
    if update.stage not in (Stage.RESOLVED, Stage.COMPLETED):
        return ""
    return moment(update.incident.resolved_at or update.publish_at or timezone.now())


# ── Draft ───────────────────────────────────────────────────────────────────


def draft_words(update: IncidentUpdate, locale: str) -> tuple[dict[str, str], MessageTemplate | None]:
    """First words for an update from its scenario's template; empty words if there is no template."""
    template = MessageTemplate.objects.filter(
        scenario=update.incident.scenario_id, stage=update.stage, locale=locale
    ).first()
    if template is None:
        return dict.fromkeys(WORDS, ""), None
    known = values(update, locale)
    return {field: _fill_settled(text, known).strip() for field, text in template.words().items()}, template


def prepared_words(update: IncidentUpdate, known: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """The same in several languages, without those that have no template; `known` are the values(). One query."""
    templates = MessageTemplate.objects.filter(
        scenario=update.incident.scenario_id, stage=update.stage, locale__in=list(known)
    )
    return {
        one.locale: {field: _fill_settled(text, known[one.locale]).strip() for field, text in one.words().items()}
        for one in templates
    }


def says_only_prepared_words(update: IncidentUpdate) -> bool:
    """Whether each of its texts is what an approved template says now, word for word, and there is no picture."""
    texts = list(update.renditions.all())
    return bool(texts) and update.picture is None and all(_is_prepared(update, one) for one in texts)


def _is_prepared(update: IncidentUpdate, text: Rendition) -> bool:
    words, template = draft_words(update, text.locale)
    return template is not None and template.is_approved and text.words() == words


def _fill_settled(text: str, known: Mapping[str, str]) -> str:
    """Fill what is settled; the placeholders of LATER stay as they are written, with their default."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    filled = fill(STAYS.sub(keep, text), known)
    return re.sub("\0([0-9]+)\0", lambda match: kept[int(match[1])], filled)


def use_template(update: IncidentUpdate, by: Any, version: int, **facts: Any) -> None:
    """Replace the words of a draft by those of the template for `facts["stage"]`. Raises as IncidentUpdate.edit."""
    with transaction.atomic():
        update.edit(by, version, **facts)
        drafts = {r.locale: draft_words(update, r.locale) for r in update.renditions.all()}
        update.edit(by, update.version, words={locale: words for locale, (words, _template) in drafts.items()})
        for locale, (_words, template) in drafts.items():
            update.renditions.filter(locale=locale).update(template=template)


def write_draft(update: IncidentUpdate, locales: list[str]) -> None:
    """(Re)write the renditions of a draft from the templates."""
    for locale in locales:
        words, template = draft_words(update, locale)
        Rendition.objects.update_or_create(update=update, locale=locale, defaults={**words, "template": template})


# ── What a channel carries ──────────────────────────────────────────────────


def final_words(rendition: Rendition, update: IncidentUpdate) -> dict[str, str]:
    """The words with every placeholder filled."""
    known = values(update, rendition.locale)
    return {field: fill(text, known).strip() for field, text in rendition.words().items()}


def sections(words: Mapping[str, str], locale: str, over: bool = False) -> list[tuple[str, str]]:
    """Heading and Markdown of each part that says something, in reading order; `over` speaks of the past."""
    headings = WORDS | WORDS_AFTER if over else WORDS
    with translation.override(locale):
        return [(str(headings[f]), words[f]) for f in ("issue", "impact", "outlook", "action") if words.get(f)]


def affected(update: IncidentUpdate) -> list[tuple[str, ComponentStatus]]:
    """Name and announced state of each component."""
    states = {int(k): ComponentStatus(v) for k, v in update.component_states.items()}
    return [(c.name, states[c.pk]) for c in named(update)]


def times(update: IncidentUpdate, locale: str) -> list[tuple[str, str]]:
    """Label and value of each time that readers look for: how long, and when they hear again."""
    known = values(update, locale)
    with translation.override(locale):
        if update.incident.maintenance:
            begins = _("Begins") if update.stage == Stage.SCHEDULED else _("Began")
            rows = [(begins, known.get("begins"))]
            if update.stage not in OVER:
                rows += [(_("Planned end"), known.get("ends")), (_("Next update by"), known.get("next_update"))]
            return [(label, value) for label, value in rows if value]
        rows = [(_("Began"), known.get("started"))]
        if update.stage in OVER:
            rows.append((_("Resolved"), known.get("resolved")))
        else:
            rows.append((_("Expected resolution"), known.get("expected_resolution")))
            rows.append((_("Next update by"), known.get("next_update")))
        return [(label, value) for label, value in rows if value]


def facts(update: IncidentUpdate, locale: str) -> list[tuple[str, str]]:
    """Label and value of what is data rather than prose: stage, components with state, times."""
    with translation.override(locale):
        rows = [(_("Status"), str(Stage(update.stage).label))]
        rows += [(name, str(state.label)) for name, state in affected(update)]
    return rows + times(update, locale)


def markdown(text: str) -> str:
    """HTML of a Markdown text; raw HTML in it is shown as text, and only safe links are links."""
    return MARKDOWN.render(text)


def email_markdown(text: str) -> str:
    """HTML of a Markdown text for mail programs, which know only styles at the element."""
    tokens = MARKDOWN.parse(text)
    for token in tokens:
        for one in (token, *(token.children or ())):
            if one.nesting >= 0 and one.tag in EMAIL_STYLES:
                one.attrSet("style", EMAIL_STYLES[one.tag])
                one.attrSet("class", f"m-{one.tag}")
    return MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})


def page(words: Mapping[str, str], update: IncidentUpdate, locale: str) -> dict[str, str]:
    """What the status page shows: {"subject", "text", "html"}. Headings only where there is more than one part."""
    parts = sections(words, locale, over=update.stage in OVER)
    if len(parts) == 1:
        return {"subject": words["subject"], "text": parts[0][1], "html": markdown(parts[0][1])}
    text = "\n\n".join(f"{heading}: {body}" for heading, body in parts)
    html = "".join(f"<h4>{escape(heading)}</h4>{markdown(body)}" for heading, body in parts)
    return {"subject": words["subject"], "text": text, "html": html}


def parts(form: str, words: Mapping[str, str], update: IncidentUpdate, locale: str) -> dict[str, str]:
    """The message parts that a provider of this `form` carries (see providers.base.Message)."""
    context = _update_context(words, update, locale)
    with translation.override(locale):
        if form == "email":
            return {
                "subject": words["subject"],
                "text": render_to_string("messages/update.txt", context),
                "html": render_to_string("messages/update.html", context),
            }
        if form == "sms":
            return {"text": words["sms"]}
        if form == "post":
            return {"text": words["post"]}
        if form == "event":
            # It goes to a topic, not to a person: there is nobody to unsubscribe.
            return {
                "subject": words["subject"],
                "text": render_to_string("messages/update.txt", context | {"impersonal": True}),
                "json": event(update, words, locale),
            }
        if form == "push":
            return {
                "subject": words["subject"],
                "text": words["sms"],
                "url": status_url(update.incident),
                "facts": push_facts(update),
            }
        if form == "voice":
            return {"text": spoken(words)}
        plain = {"subject": words["subject"], "text": page(words, update, locale)["text"]}
        return plain | {"url": status_url(update.incident)} if form == "chat" else plain


def plain_text(text: str) -> str:
    """The words of a Markdown text on one line, without links: what can be read aloud."""
    words = [
        child.content if child.type in ("text", "code_inline") else " "
        for token in MARKDOWN.parse(text)
        for child in [*(token.children or ()), token]
    ]
    return " ".join(LINK.sub("", "".join(words)).split())


def spoken(words: Mapping[str, str]) -> str:
    """What a voice reads out: sentences without links, signs or headings."""
    said = [settings.PORTAL_NAME, *(plain_text(words[f]) for f in ("subject", "issue", "impact", "outlook", "action"))]
    return " ".join(text if text[-1] in ".!?…" else f"{text}." for text in said if text)


def _update_context(words: Mapping[str, str], update: IncidentUpdate, locale: str) -> dict[str, Any]:
    states = affected(update)
    worst = max((state for _name, state in states), key=lambda s: BADNESS[s], default=ComponentStatus.OPERATIONAL)
    over = update.stage in OVER
    return {
        "words": words,
        "sections": [(heading, body, email_markdown(body)) for heading, body in sections(words, locale, over)],
        "facts": facts(update, locale),
        "affected": [(name, state, STATE_COLOURS[state]) for name, state in states],
        "times": times(update, locale),
        "promise": "" if over else values(update, locale).get("next_update", ""),
        "colour": STATE_COLOURS[ComponentStatus.OPERATIONAL if over else worst],
        "over": over,
        "stage": Stage(update.stage),
        "incident": update.incident,
        "update": update,
        "status_url": status_url(update.incident),
        "organisation": settings.PORTAL_NAME,
        "locale": locale,
    }


def event(update: IncidentUpdate, words: Mapping[str, str], locale: str) -> str:
    """The machine-readable form, schema version 1."""
    incident = update.incident
    names = {c.pk: c for c in named(update)}
    return json.dumps(
        {
            "version": "1",
            "type": "incident.update",
            "locale": locale,
            "incident": {
                "id": incident.uid,
                "title": incident.title,
                "impact": incident.impact_now,
                "started_at": update.begins_at.isoformat(),
                "url": status_url(incident),
            },
            "update": {
                "number": update.number,
                "status": update.stage,
                "subject": words["subject"],
                **{f: words[f] for f in ("issue", "impact", "outlook", "action")},
                "next_update_at": update.next_update_at.isoformat() if update.next_update_at else None,
                "expected_resolution_at": (
                    update.expected_resolution_at.isoformat() if update.expected_resolution_at else None
                ),
            },
            "components": [
                {"id": names[int(k)].uid, "name": names[int(k)].name, "status": v}
                for k, v in update.component_states.items()
                if int(k) in names
            ],
        },
        ensure_ascii=False,
    )


def push_facts(update: IncidentUpdate) -> str:
    """What an app decides by: JSON of {"components": [public id, …], "stage", "impact", "over"}."""
    return json.dumps(
        {
            "components": [one.uid for one in named(update)],
            "stage": update.stage,
            "impact": update.incident.impact_now,
            "over": update.stage in OVER,
        }
    )


def survey_parts(
    form: str, update: IncidentUpdate, locale: str, asked: "Asked", reminder: bool = False
) -> dict[str, str]:
    """The invitation to the survey, for a channel of this form. [[survey_url]] is filled per recipient."""
    context = {
        "asked": asked,
        "reminder": reminder,
        "incident": update.incident,
        "colour": STATE_COLOURS[ComponentStatus.OPERATIONAL],
        "organisation": settings.PORTAL_NAME,
        "locale": locale,
    }
    with translation.override(locale):
        if form == "sms":
            return {"text": render_to_string("messages/survey_sms.txt", context).strip()}
        subject = _("A reminder: how did we do? %(title)s") if reminder else _("How did we do? %(title)s")
        return {
            "subject": subject % {"title": update.incident.title},
            "text": render_to_string("messages/survey.txt", context),
            "html": render_to_string("messages/survey.html", context),
        }
