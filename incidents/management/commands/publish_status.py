"""Write the public status page as files, also when there is no database."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from incidents.statuspage import archive, copies, snapshot


class Command(BaseCommand):
    help = "Write the public status page as files into a directory, for any web server to serve."
    requires_system_checks: list[str] = []  # they may ask the database

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path, help="where the files go; let nothing else write there")
        parser.add_argument(
            "--from-file",
            nargs="?",
            const=Path(settings.STATUS_DIR) / snapshot.FILE,
            type=Path,
            metavar="FILE",
            help="take the last pages that a web server kept, and ask no database (default: %(const)s)",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        directory, file = options["directory"], options["from_file"]
        try:
            if file:
                copies.publish(directory, snapshot.load(file, with_pictures=True), kept=file.parent)
                taken = snapshot.read_head(file)
            else:
                taken = snapshot.take()
                archive.refresh(Path(settings.STATUS_DIR))
                copies.publish(directory, taken)
        except (OSError, ValueError) as error:
            raise CommandError(f"{directory if file is None else file}: {error}") from error
        self.stdout.write(f"{directory} holds the status page as of {taken.at:%Y-%m-%d %H:%M:%S %Z}.")
