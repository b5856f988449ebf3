from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils.translation import gettext as _

from incidents import library


class Command(BaseCommand):
    help = "Load the scenarios and message templates that come with the portal. Templates that you changed are kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--overwrite",
            action="store_true",
            help="also replace the words of templates that differ from the library (their history keeps the old ones)",
        )

    def handle(self, *args: Any, overwrite: bool = False, **options: Any) -> None:
        kept = 0
        with transaction.atomic():
            for entry in library.entries():
                done = library.load(entry, overwrite)
                kept += done.kept
                self.stdout.write(f"{entry.name}: {describe(done)}")
        if kept:
            self.stdout.write(_("Use --overwrite to replace the templates that differ from the library."))


def describe(done: library.Loaded) -> str:
    """What loading one scenario did, in a few words."""
    parts = [
        (done.created, _("%(count)d new")),
        (done.replaced, _("%(count)d replaced")),
        (done.unchanged, _("%(count)d unchanged")),
        (done.kept, _("%(count)d changed here and kept")),
    ]
    return ", ".join(text % {"count": count} for count, text in parts if count)
