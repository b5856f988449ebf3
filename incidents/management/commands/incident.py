import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from pydantic_core import PydanticCustomError

from incidents import declaring, writing
from incidents.api import incidents as api_incidents
from incidents.api import updates as api_updates
from incidents.api.given import moment
from incidents.errors import NotAllowed, Problem, Refused, WrongState
from incidents.models import (
    OVER,
    Component,
    ComponentStatus,
    Incident,
    IncidentUpdate,
    Scenario,
    Severity,
    Stage,
)
from incidents.models.alert import STATES
from incidents.rendering import moment as in_words
from incidents.writing import BadField, Wish, check_began

NO_PERSON, NO_INCIDENT = 2, 3
CODES: dict[type[Problem], int] = {NotAllowed: 4, WrongState: 5, Refused: 6}
SHOWN = 50


def at(text: str) -> datetime:
    try:
        return moment(text)
    except PydanticCustomError as error:
        raise ArgumentTypeError(f"“{text}” {error.message()}. {(error.context or {})['fix']}") from None


def hit(text: str) -> tuple[str, str]:
    """“Checkout=major_outage”"""
    name, equals, state = text.rpartition("=")
    if not equals or state not in STATES:
        raise ArgumentTypeError(f"“{text}”: write NAME=STATE, with a state of {', '.join(STATES)}.")
    return name, state


def word(text: str) -> tuple[str, str, str]:
    """“en.issue=Card payments fail.”"""
    place, equals, words = text.partition("=")
    locale, dot, field = place.partition(".")
    if not (equals and dot):
        raise ArgumentTypeError(f"“{text[:60]}”: write LANGUAGE.FIELD=TEXT, as in en.issue=Card payments fail.")
    return locale, field, words


class Command(BaseCommand):
    help = (
        "Declare, update and resolve incidents as somebody, with their permissions. What is written is a draft; it is "
        "approved and published by people who are logged in. Exit codes: 0 done, 2 wrong arguments, 3 no such "
        "incident, 4 not allowed, 5 it has moved on, 6 what was given cannot be taken."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="declare|update|resolve|list")
        declare = verbs.add_parser("declare", help="open an incident and write its first draft")
        declare.add_argument(
            "--component",
            action="append",
            required=True,
            type=hit,
            metavar="NAME=STATE",
            help="a component, by name or id, and its state; may be given several times",
        )
        declare.add_argument("--severity", choices=Severity.values, default=Severity.SEV2.value)
        declare.add_argument("--scenario", metavar="KEY", help="whose templates are used")
        declare.add_argument("--title", help="default: made from the components")
        declare.add_argument("--started", type=at, metavar="TIME", help="as in 2026-05-31T14:30:00+02:00")
        declare.add_argument("--even-if-open", action="store_true", help="although one is open on these components")
        update = verbs.add_parser("update", help="write the next update as a draft")
        update.add_argument("--stage", choices=Stage.values, help="default: the incident's own")
        update.add_argument("--no-change", action="store_true", help="say that nothing has changed")
        resolve = verbs.add_parser("resolve", help="write the update that says that it is over, as a draft")
        for one in (update, resolve):
            one.add_argument("incident", help="its id, as `list` shows it")
            one.add_argument("--go-on", action="store_true", help="change the draft that is being written, if one is")
            one.add_argument("--next-update", type=at, metavar="TIME", help="when customers hear again")
            one.add_argument("--expected-resolution", type=at, metavar="TIME")
        for one in (declare, update, resolve):
            one.add_argument(
                "--word",
                action="append",
                default=[],
                type=word,
                metavar="LANGUAGE.FIELD=TEXT",
                help="words in place of the template's; may be given several times",
            )
            one.add_argument("--words", metavar="FILE", help='the same as JSON, {"en": {"issue": "…"}}; - is the input')
            one.add_argument("--submit", action="store_true", help="ask for approval at once")
        show = verbs.add_parser("list", help=f"the last {SHOWN} incidents")
        show.add_argument("--open", action="store_true", help="only those that are not over")
        for one in (declare, update, resolve, show):
            one.add_argument("--as", required=True, dest="who", metavar="USER", help="who does it, by their login")
            one.add_argument("--json", action="store_true", help="print it as JSON, as the REST API has it")
            one.add_argument(
                "--language",
                default=settings.LANGUAGE_CODE,
                choices=[code for code, _name in settings.LANGUAGES],
                help="the language of the messages (default: %(default)s)",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        with translation.override(options["language"]):
            who = get_user_model().objects.filter(username=options["who"], is_active=True, is_staff=True).first()
            if who is None:
                raise CommandError(
                    _("“%(name)s” is nobody who logs in here.") % {"name": options["who"]}, returncode=NO_PERSON
                )
            try:
                getattr(self, f"_{options['verb']}")(who, options)
            except Problem as error:
                raise CommandError(_why(error), returncode=_code(error)) from None

    # ── Verbs ──

    def _list(self, who: Any, options: dict[str, Any]) -> None:
        if not who.has_perm("incidents.view_incident"):
            raise NotAllowed(_("%(who)s may not see incidents.") % {"who": who})
        rows = api_incidents.rows(who)
        rows = rows.exclude(stage__in=OVER) if options["open"] else rows
        found = list(rows.order_by("-pk")[:SHOWN])
        if options["json"]:
            return self._json({"items": [api_incidents.shown(one).model_dump() for one in found]})
        for one in found:
            due = one.due_after(one.told_at)  # type: ignore[attr-defined]
            when = _(" · next update due %(time)s") % {"time": in_words(due)} if due else ""
            self.stdout.write(f"{one.uid}  {one.severity}  {one.stage_in_words}: {one.title}{when}")
        if not found:
            self.stdout.write(_("None."))

    def _declare(self, who: Any, options: dict[str, Any]) -> None:
        wish = Wish(words=_words(options))
        components = _components(who, options["component"])
        scenario = _scenario(options["scenario"])
        declaring.check_may_declare(who, components)
        check_began("--started", options["started"])
        if not options["even_if_open"]:
            declaring.check_none_is_open(who, components)
        title = options["title"] or declaring.suggested_title(components)
        with transaction.atomic():
            incident = declaring.declare(who, title, components, options["severity"], scenario, options["started"])
            draft = incident.updates.get()
            draft = _asked(writing.change(draft, who, draft.version, wish), who, options)
        self._said(who, draft, options)

    def _update(self, who: Any, options: dict[str, Any], over: bool = False) -> None:
        incident = _incident(who, options["incident"])
        stage = options.get("stage")
        if over:
            stage = Stage.COMPLETED if incident.maintenance else Stage.RESOLVED
        times = {"next_update_at": "next_update", "expected_resolution_at": "expected_resolution"}
        facts = {name: options[option] for name, option in times.items() if options[option]}
        wish = Wish(stage=stage, words=_words(options), facts=facts)
        with transaction.atomic():
            pending = incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).first()
            if pending and options["go_on"]:
                draft = writing.change(pending, who, pending.version, wish)
            else:
                draft = writing.start(incident, who, wish, options.get("no_change", False))
            draft = _asked(draft, who, options)
        self._said(who, draft, options)

    def _resolve(self, who: Any, options: dict[str, Any]) -> None:
        self._update(who, options, over=True)

    # ── What came of it ──

    def _said(self, who: Any, draft: IncidentUpdate, options: dict[str, Any]) -> None:
        incident = api_incidents.again(who, draft.incident)
        if options["json"]:
            update = api_updates.again(who, draft)
            return self._json({"incident": incident.model_dump(), "update": update.model_dump()})
        page = "compose" if draft.status == IncidentUpdate.Status.DRAFT else "review"
        words = {
            "uid": incident.id,
            "title": incident.title,
            "number": draft.number,
            "status": draft.get_status_display(),
            "url": settings.PORTAL_URL + reverse(f"admin:incidents_incidentupdate_{page}", args=[draft.pk]),
        }
        self.stdout.write(_("Incident %(uid)s “%(title)s”, update %(number)s: %(status)s.") % words)
        self.stdout.write(_("Nobody is told before it is approved and published: %(url)s") % words)

    def _json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: Any) -> str:
    return value.isoformat()


# ── What was given ──────────────────────────────────────────────────────────


def _asked(draft: IncidentUpdate, who: Any, options: dict[str, Any]) -> IncidentUpdate:
    if options["submit"] and draft.status == IncidentUpdate.Status.DRAFT:
        return draft.submit(who, draft.version)
    return draft


def _incident(who: Any, uid: str) -> Incident:
    """Raises CommandError (3) if there is none that this person may see."""
    if not who.has_perm("incidents.view_incident"):
        raise NotAllowed(_("%(who)s may not see incidents.") % {"who": who})
    found = Incident.objects.for_user(who).filter(uid=uid).first()
    if found is None:
        raise CommandError(_("There is no incident “%(uid)s”.") % {"uid": uid}, returncode=NO_INCIDENT)
    return found


def _components(who: Any, given: list[tuple[str, str]]) -> dict[Component, str]:
    found: dict[Component, str] = {}
    mine = list(Component.objects.for_user(who))
    for name, state in given:
        one = next((each for each in mine if name == each.uid or name.casefold() == each.name.casefold()), None)
        if one is None:
            names = ", ".join(each.name for each in mine) or "—"
            raise BadField("--component", name, _("Use one of: %(names)s.") % {"names": names})
        found[one] = str(ComponentStatus(state))
    return found


def _scenario(key: str | None) -> Scenario | None:
    if not key:
        return None
    known = {one.slug: one for one in Scenario.objects.filter(maintenance=False)}
    if key not in known:
        raise BadField("--scenario", key, _("Use one of: %(names)s.") % {"names": ", ".join(known) or "—"})
    return known[key]


def _words(options: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Those of the file, and over them those that were given one by one."""
    found: dict[str, dict[str, str]] = {}
    if file := options["words"]:
        found = _of_file(file)
    for locale, field, text in options["word"]:
        found.setdefault(locale, {})[field] = text
    return found


def _of_file(file: str) -> dict[str, dict[str, str]]:
    try:
        if file == "-":
            given = json.load(sys.stdin)
        else:
            with open(file, encoding="utf-8") as opened:
                given = json.load(opened)
    except OSError as error:
        raise BadField("--words", file, _("It cannot be read: %(reason)s.") % {"reason": error.strerror}) from None
    except (ValueError, RecursionError):
        raise BadField("--words", file, _("It is not JSON.")) from None
    whole = isinstance(given, dict) and all(isinstance(texts, dict) for texts in given.values())
    if not whole or any(not isinstance(text, str) for texts in given.values() for text in texts.values()):
        raise BadField("--words", file, _('Write texts by language and field: {"en": {"issue": "…"}}.'))
    return given


def _code(error: Problem) -> int:
    return next(code for kind, code in CODES.items() if isinstance(error, kind))


def _why(error: Problem) -> str:
    lines = [str(error)]
    for one in getattr(error, "findings", []):
        lines.append(
            f"- {' '.join(part for part in (one.locale, one.field) if part)}: {one.message} {one.fix}".rstrip()
        )
    return "\n".join(lines)
