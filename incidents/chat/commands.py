"""`/incident`: what people ask for in a line. Each does what the page of the same name does, and is answered alone."""

import re
from collections.abc import Callable, Iterable, Mapping
from html import unescape
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from incidents import declaring, rendering
from incidents.admin import glance
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import (
    BADNESS,
    INCIDENT_STAGES,
    MAINTENANCE_STAGES,
    WORDS,
    ChatAccount,
    ChatRoom,
    Component,
    ComponentStatus,
    Incident,
    IncidentUpdate,
    Scenario,
    Severity,
    Stage,
)
from incidents.models.alert import STATES
from incidents.models.component import OPERATE
from incidents.models.words import IMPACT, IMPLIED, one_line, plain

from .blocks import link, safe

MOST = 20  # incidents that a list shows
QUOTED = re.compile(r"[\"“”„«»](.{1,400}?)[\"“”„«»]", re.S)
AGAIN = ("again", "ancora")  # before a declaration: it is another one than those that are open
Answer = dict[str, Any]


def run(account: ChatAccount, asked: Mapping[str, Any]) -> Answer:
    """Do what a line asks for; the answer {"text"}. Raises Problem."""
    text = "".join(unescape(part) if part in ("&amp;", "&lt;", "&gt;") else part for part in _split(asked["text"]))
    word, _space, rest = plain(text).partition(" ")
    act = COMMANDS.get(word.lower(), _help if not word else None)
    if act is None:
        raise Refused(_("“%(word)s” is not a command. Write /incident help.") % {"word": word[:40]})
    return {"text": act(account, rest.strip(), asked)}


def _split(text: str) -> list[str]:
    """Slack escapes three characters, and only those."""
    return re.split(r"(&amp;|&lt;|&gt;)", text)


# ── To know ─────────────────────────────────────────────────────────────────


def _help(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> str:
    lines = [f"`/incident {usage}` {safe(what)}" for usage, what in HELP]
    who = _("You are %(who)s here. Answers are for you alone; nothing goes to customers from here.")
    return "\n".join([*lines, safe(who % {"who": account.user.get_full_name() or account.user.get_username()})])


def _visible(account: ChatAccount) -> Any:
    """Incidents that this person may see. Raises NotAllowed where the role sees none."""
    if not account.user.has_perm("incidents.view_incident"):
        raise NotAllowed(_("Your role does not see incidents."))
    return Incident.objects.for_user(account.user)


def _list(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> str:
    found = list(_visible(account).open().order_by("-started_at", "-pk")[: MOST + 1])
    if not found:
        return _("No incident is open.")
    lines = []
    for one in found[:MOST]:
        facts = [_("Maintenance") if one.maintenance else str(one.get_severity_display()), one.stage_in_words]
        facts += [] if one.published_at else [_("not public yet")]
        lines.append(f"{_named(one)}: {safe(', '.join(facts))}")
    return "\n".join([*lines, *([_("There are more.")] if len(found) > MOST else [])])


def _clock(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> str:
    found = list(glance.with_story(_visible(account).open()).order_by("-started_at", "-pk")[: MOST + 1])
    if not found:
        return _("No incident is open.")
    return "\n".join([*map(_countdown, found[:MOST]), *([_("There are more.")] if len(found) > MOST else [])])


def _countdown(incident: Any) -> str:
    promise = glance.promise(incident, incident.told_at)
    if promise is None:
        return _named(incident) + ": " + safe(_("nothing is promised"))
    mark = {"late": "🔴 ", "soon": "🟠 "}.get(promise.state, "")
    return f"{mark}{_named(incident)}: {safe(promise.label)} *{safe(promise.text)}* ({rendering.moment(promise.at)})"


def _named(incident: Incident) -> str:
    return f"#{incident.pk} {link(_page('incidents_incident_change', incident.pk), incident.title)}"


def _page(view: str, pk: int) -> str:
    return f"{settings.PORTAL_URL}{reverse(f'admin:{view}', args=[pk])}"


# ── Which one is meant ──────────────────────────────────────────────────────


def _incident(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> tuple[Incident, str]:
    """The incident of a line and what follows: named by number, else that of the channel, else the only open one.

    Raises NotAllowed, Refused.
    """
    visible = _visible(account)
    first, _space, after = rest.partition(" ")
    if number := re.fullmatch(r"#?(\d{1,9})", first):
        found = visible.filter(pk=int(number[1])).first()
        if found is None:
            raise Refused(_("There is no incident %(number)s. See /incident list.") % {"number": number[1]})
        return found, after.strip()
    room = ChatRoom.objects.filter(workspace=account.workspace, channel=asked.get("channel") or "-").first()
    if room and (found := visible.filter(pk=room.incident_id).first()):
        return found, rest
    running = list(visible.open().order_by("-started_at")[:MOST])
    if len(running) == 1:
        return running[0], rest
    if not running:
        raise Refused(_("No incident is open."))
    names = "; ".join(f"#{one.pk} {one.title}" for one in running)
    raise Refused(_("Which one? Write its number before the rest: %(names)s") % {"names": names})


def _meant(word: str, choices: Iterable[Any]) -> Any | None:
    """The choice that a word names: by its value, its label in any language, or the beginning of either; else None."""
    wanted, options = one_line(word).casefold(), list(choices)
    if not wanted:
        return None
    names: dict[str, Any] = {}
    for locale, _label in settings.LANGUAGES:
        with translation.override(locale):
            for one in options:
                names |= {str(one.value).casefold(): one, str(one.label).casefold(): one}
    if wanted in names:
        return names[wanted]
    found = {one for name, one in names.items() if name.startswith(wanted)}
    return found.pop() if len(found) == 1 else None


# ── Declare ─────────────────────────────────────────────────────────────────


def _declare(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> str:
    user = account.user
    if not user.has_perm("incidents.declare_incident"):
        raise NotAllowed(_("Your role does not declare incidents. Ask an incident manager."))
    operable = list(Component.objects.for_user(user, OPERATE))
    first, _space, after = rest.partition(" ")
    again = first.lower() in AGAIN
    first, _space, after = after.strip().partition(" ") if again else (first, _space, after)
    severity = _severity(first)
    title = QUOTED.search(after)
    if severity is None or title is None:
        raise Refused(_declare_usage(operable))
    names, slash, like = after[title.end() :].partition(" / ")
    chosen = _components(names, operable, severity)
    scenario = _scenario(like) if slash else None
    with transaction.atomic():
        _check_new(account, chosen, again)
        incident = declaring.declare(user, one_line(title[1])[:200], chosen, severity, scenario)
    draft = incident.updates.get()
    said = [_("Declared: %(incident)s") % {"incident": _named(incident)}]
    said.append(", ".join(f"{safe(one)}: {safe(ComponentStatus(state).label)}" for one, state in chosen.items()))
    if plan := incident.plan_version:
        text = _("First update within %(minutes)s minutes (plan “%(plan)s”).")
        said.append(safe(text % {"minutes": plan.first_update_minutes, "plan": incident.plan}))
    else:
        said.append(_("No plan covers these components: no roles, no channels and no promised times are set."))
    where = link(_page("incidents_incidentupdate_compose", draft.pk), _("The first draft"))
    said.append(_("Nothing is public.") + " " + where)
    return "\n".join(said)


def _severity(word: str) -> Severity | None:
    digits = re.fullmatch(r"(?:sev)?[- ]?([1-4])", word.lower())
    return Severity(f"sev{digits[1]}") if digits else None


def _declare_usage(operable: list[Component]) -> str:
    names = ", ".join(one.name for one in operable[:40])
    text = _("Write the severity, the title in quotes, the components and, if you like, a scenario: %(sample)s")
    sample = '/incident declare sev2 "Card payments fail" Checkout, Payments API = major / Outage'
    lines = [
        text % {"sample": sample},
        _("Severities: %(names)s") % {"names": "sev1, sev2, sev3, sev4"},
        _("Components: %(names)s") % {"names": names or _("none that you may work on")},
    ]
    return "\n".join(lines)


def _components(text: str, operable: list[Component], severity: Severity) -> dict[Component, str]:
    """“Checkout, API = major” as components and states; without a state, what the severity means. Raises Refused."""
    # Of the notices of least weight some say of no component that it fails: one that is named is at least slow.
    usual = max(IMPLIED.get(IMPACT[severity], ComponentStatus.DEGRADED), STATES[0], key=lambda one: BADNESS[one])
    found: dict[Component, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, word = (one.strip() for one in part.partition("="))
        state = _meant(word, STATES) if equals else usual
        if state is None:
            states = ", ".join(str(one.label) for one in STATES)
            raise Refused(_("“%(word)s” is not a state. Choose: %(states)s") % {"word": word[:60], "states": states})
        found[_component(name, operable)] = str(state)
    if not found:
        raise Refused(_declare_usage(operable))
    return found


def _component(name: str, operable: list[Component]) -> Component:
    """Raises Refused with the choices if none, or more than one, is meant."""
    found = _fitting(name, operable)
    if len(found) == 1:
        return found[0]
    if found:
        names = "; ".join(f"{one.name} ({one.group})" if one.group else one.name for one in found[:20])
        text = _("“%(name)s” fits more than one component. Choose: %(names)s")
        raise Refused(text % {"name": name[:60], "names": names})
    names = ", ".join(one.name for one in operable[:40]) or _("none that you may work on")
    raise Refused(_("There is no component “%(name)s”. Choose: %(names)s") % {"name": name[:60], "names": names})


def _fitting(name: str, options: Iterable[Any]) -> list[Any]:
    """Those of this name; else those whose name begins with it; else those that have it in their name."""
    wanted, known = one_line(name).casefold(), list(options)
    for fits in (str.__eq__, str.startswith, str.__contains__):
        if found := [one for one in known if wanted and fits(one.name.casefold(), wanted)]:
            return found
    return []


def _scenario(name: str) -> Scenario:
    """Whose prepared words the first draft begins with. Raises Refused with the choices."""
    known = list(Scenario.objects.filter(maintenance=False).order_by("name"))
    found = [one for one in known if one.slug == name.strip().lower()] or _fitting(name, known)
    if len(found) == 1:
        return found[0]
    names = "; ".join(one.name for one in found or known) or _("none")
    raise Refused(_("Which scenario is it like? Choose: %(names)s") % {"names": names})


def _check_new(account: ChatAccount, chosen: Mapping[Component, str], again: bool) -> None:
    """Raises Refused where an incident of these components is open already, unless another one is meant."""
    running = Incident.objects.for_user(account.user).open().filter(components__in=list(chosen)).distinct()
    if not again and (found := list(running[:5])):
        names = "; ".join(f"#{one.pk} {one.title}" for one in found)
        text = _("These components have an open incident: %(names)s. Is it another one? Write “declare again …”.")
        raise Refused(text % {"names": names})


# ── Write ───────────────────────────────────────────────────────────────────


def _pending(incident: Incident) -> IncidentUpdate | None:
    return incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).first()


def _stage(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> str:
    incident, word = _incident(account, rest, asked)
    stages = MAINTENANCE_STAGES if incident.maintenance else INCIDENT_STAGES
    stage = _meant(word, stages)
    if stage is None:
        names = ", ".join(f"{one.label} ({one.value})" for one in stages)
        raise Refused(_("Which stage? Write one of: %(names)s") % {"names": names})
    before = _pending(incident)
    if before and (before.stage != stage or before.status != IncidentUpdate.Status.DRAFT):
        what = {"stage": before.get_stage_display(), "url": _page("incidents_incidentupdate_change", before.pk)}
        raise WrongState(_("Another update is being written already (%(stage)s). Finish it first: %(url)s") % what)
    draft = declaring.start_draft(incident, account.user, stage)
    text = _("The draft for “%(stage)s” is there already.") if before else _("A draft for “%(stage)s” is begun.")
    return _told(draft, text % {"stage": Stage(stage).label})


def _draft(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> str:
    incident, text = _incident(account, rest, asked)
    field, text = _field(text)
    if not text:
        fields = ", ".join(f"{name} ({label})" for name, label in WORDS.items())
        usage = _("Write the words: %(sample)s. Before a colon you may name a part: %(fields)s")
        raise Refused(usage % {"sample": "/incident draft …", "fields": fields})
    if field == "subject" and len(text) > 200:
        raise Refused(
            _("The subject has %(length)d characters; write at most %(limit)d.") % {"length": len(text), "limit": 200}
        )
    with transaction.atomic():
        begun = _pending(incident) is None
        draft = declaring.start_draft(incident, account.user)
        if draft.status != IncidentUpdate.Status.DRAFT:
            what = {"state": draft.get_status_display(), "url": _page("incidents_incidentupdate_change", draft.pk)}
            why = _("The update is not a draft any more (%(state)s). Writing on would undo that: do it here: %(url)s")
            raise WrongState(why % what)
        locales = list(draft.renditions.values_list("locale", flat=True))
        own = translation.get_language() or ""
        locale = own if own in locales else draft.default_locale
        draft.edit(account.user, draft.version, words={locale: {field: text}})
    part, language = str(WORDS[field]), rendering.language_name(locale)
    said = _("A draft is begun; “%(part)s” (%(language)s) says:") if begun else _("“%(part)s” (%(language)s) now says:")
    others = [rendering.language_name(one) for one in locales if one != locale]
    more = _("In the other languages it is as it was: %(names)s.") % {"names": ", ".join(others)} if others else ""
    quoted = "\n".join(f"> {safe(one)}" for one in text.splitlines())
    return _told(draft, said % {"part": part, "language": language}, "\n".join(filter(None, [quoted, safe(more)])))


def _field(text: str) -> tuple[str, str]:
    """“impact: …” as the part of the words and its text; what is happening, where none is named."""
    name, colon, rest = text.partition(":")
    wanted = one_line(name).casefold()
    if colon and len(wanted) < 60:
        for locale, _label in settings.LANGUAGES:
            with translation.override(locale):
                for field, label in WORDS.items():
                    if wanted in (field, str(label).casefold()):
                        return field, rest.strip()
    return "issue", text.strip()


def _told(draft: IncidentUpdate, first: str, more: str = "") -> str:
    where = link(_page("incidents_incidentupdate_compose", draft.pk), _("Read and finish it"))
    last = safe(_("Nothing is sent: it needs approval as any other.")) + " " + where
    return "\n".join(filter(None, [f"{_named(draft.incident)}: {safe(first)}", more, last]))


# ── The channel, and who I am ───────────────────────────────────────────────


def _archive(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> str:
    incident, _rest = _incident(account, rest, asked)
    room = ChatRoom.objects.filter(workspace=account.workspace, incident=incident).first()
    if room is None:
        raise Refused(_("This incident has no channel here."))
    room.archive(account.user)
    return safe(_("%(channel)s is archived in a moment. It can still be read.") % {"channel": room})


def _disconnect(account: ChatAccount, rest: str, asked: Mapping[str, Any]) -> str:
    account.delete()
    return _("Done: the portal does not know any more who you are here.")


COMMANDS: dict[str, Callable[[ChatAccount, str, Mapping[str, Any]], str]] = {
    **dict.fromkeys(("help", "aiuto", "?"), _help),
    **dict.fromkeys(("list", "elenco"), _list),
    **dict.fromkeys(("clock", "scadenze"), _clock),
    **dict.fromkeys(("declare", "dichiara"), _declare),
    **dict.fromkeys(("stage", "state", "fase", "stato"), _stage),
    **dict.fromkeys(("draft", "bozza"), _draft),
    **dict.fromkeys(("archive", "archivia"), _archive),
    **dict.fromkeys(("disconnect", "scollega"), _disconnect),
}
HELP = (
    ("list", gettext_lazy("open incidents")),
    ("clock", gettext_lazy("when customers must hear, of each")),
    ('declare sev2 "Card payments fail" Checkout', gettext_lazy("open an incident; nothing is public")),
    ("stage 12 identified", gettext_lazy("begin the draft for a stage")),
    ("draft 12 impact: …", gettext_lazy("write a part of the draft; without a part, what is happening")),
    ("archive 12", gettext_lazy("put the channel of an incident away")),
    ("disconnect", gettext_lazy("forget who you are here")),
)
