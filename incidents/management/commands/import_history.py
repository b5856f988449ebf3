import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from incidents import history, importing

SHOWN = 20


class Command(BaseCommand):
    help = "Import incident history: Statuspage v2 incidents.json or summary.json, or a JSON-lines archive."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the file to import")
        parser.add_argument("--dry-run", action="store_true", help="check and count, but keep nothing")
        parser.add_argument(
            "--language",
            default=settings.LANGUAGE_CODE,
            choices=[code for code, _name in settings.LANGUAGES],
            help="the language of the texts (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        try:
            content = options["file"].read_bytes()
        except OSError as error:
            raise CommandError(
                _("%(file)s cannot be read: %(reason)s.") % {"file": options["file"], "reason": error.strerror}
            ) from error
        try:
            found = history.read(content)
        except history.BadHistory as error:
            raise CommandError(_refusal(options["file"], error)) from error
        self.stdout.write(
            _("Read %(incidents)s incidents with %(updates)s updates, %(components)s components.")
            % {"incidents": len(found.incidents), "updates": found.updates, "components": len(found.components)}
        )
        counts = importing.store(found, options["dry_run"], options["language"], self._progress)
        for name in counts.components:
            self.stdout.write(_("New component: %(name)s") % {"name": name})
        self.stdout.write(
            (_("Nothing was kept (--dry-run). It would be: ") if options["dry_run"] else _("Done: "))
            + _("%(new)s new, %(changed)s changed, %(unchanged)s unchanged; %(updates)s updates written, %(s).1f s.")
            % {
                "new": counts.new,
                "changed": counts.changed,
                "unchanged": counts.unchanged,
                "updates": counts.updates,
                "s": time.monotonic() - started,
            }
        )

    def _progress(self, done: int, total: int) -> None:
        self.stdout.write(_("%(done)s of %(total)s incidents") % {"done": done, "total": total})


def _refusal(file: Path, error: history.BadHistory) -> str:
    lines = [_("%(file)s was refused; nothing was imported.") % {"file": file}, *str(error).split("\n")[:SHOWN]]
    if (more := len(error.problems) - SHOWN) > 0:
        lines.append(_("… and %(count)s more.") % {"count": more})
    return "\n".join(lines)
