import json
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from incidents import coverage
from incidents.coverage import Coverage, Finding
from incidents.models import CommunicationPlan


def percent(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 100):
        raise ArgumentTypeError(f"“{text}” is no score: write a whole number from 0 to 100.")
    return int(text)


class Command(BaseCommand):
    help = "Look for holes in the communication plans. Exit code: 0 none, 1 holes or a score too low, 2 unknown plan."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="*", help="plans to look at (default: all, and what no plan is for)")
        parser.add_argument("--fail-under", type=percent, default=0, metavar="SCORE", help="fail below this score too")
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        parser.add_argument(
            "--language",
            default=settings.LANGUAGE_CODE,
            choices=[code for code, _name in settings.LANGUAGES],
            help="the language of the sentences (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with translation.override(options["language"]):
            found = coverage.check(_named(options["name"]) if options["name"] else None)
            self.stdout.write(_as_json(found) if options["json"] else _in_words(found))
            if found.holes or found.score < options["fail_under"]:
                raise CommandError(_why(found, options["fail_under"]), returncode=1)


def _named(names: list[str]) -> list[CommunicationPlan]:
    every = {one.name: one for one in CommunicationPlan.objects.all()}
    if unknown := [name for name in names if name not in every]:
        text = _("There is no plan of the name %(names)s. There are: %(known)s.") % {
            "names": ", ".join(f"“{one}”" for one in unknown),
            "known": ", ".join(f"“{one}”" for one in every) or _("none"),
        }
        raise CommandError(text, returncode=2)
    return [every[name] for name in names]


def _why(found: Coverage, least: int) -> str:
    said = []
    if n := len(found.holes):
        said.append(ngettext("%(n)d hole.", "%(n)d holes.", n) % {"n": n})
    if found.score < least:
        said.append(_("The score is %(score)d, below %(least)d.") % {"score": found.score, "least": least})
    return " ".join(said)


def _in_words(found: Coverage) -> str:
    lines = [found.headline(found.known.components), f"{found.standing.in_words}: {found.in_words}"]
    for one in found.findings:
        plans = f" [{one.plan_names}]" if one.plans else ""
        lines.append(f"{one.weight.label}: {one.sentence}{plans}")
    return "\n".join(lines)


def _as_json(found: Coverage) -> str:
    return json.dumps(
        {
            "score": found.score,
            "ready": found.ready,
            "promised": found.promised,
            "sentence": found.headline(found.known.components),
            "plans": [
                {"name": one.plan.name, "score": one.score, "ready": one.ready, "promised": len(one.cells)}
                for one in found.plans
            ],
            "findings": [_finding(one) for one in found.findings],
        },
        ensure_ascii=False,
        indent=2,
    )


def _finding(one: Finding) -> dict[str, Any]:
    where = ("scenario", "stage", "channel", "locale", "person")
    return {
        "kind": str(one.kind),
        "weight": str(one.weight),
        "sentence": one.sentence,
        "plans": [plan.name for plan in one.plans.values()],
        **{name: getattr(one, name) for name in where if getattr(one, name)},
        "mend_at": f"{settings.PORTAL_URL}{one.mends[0].address}" if one.mends else None,
    }
