from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from feedback import sealing
from feedback.models import EvidenceKey
from feedback.sealing import Verdict


class Command(BaseCommand):
    help = (
        "Tell whether an evidence pack is whole, or what in it was changed. Exit code: 0 whole, 1 not, 2 unknown key."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--key",
            help="the public key that it must be signed with: 64 hexadecimal digits, or the name of a PEM file "
            "(default: the keys of this portal)",
        )

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        key = _key(options["key"]) if options["key"] else None
        try:
            found = sealing.verify(file, key)
        except OSError as error:
            text = _("%(file)s cannot be read: %(reason)s.")
            raise CommandError(text % {"file": file, "reason": error.strerror or error}) from None
        if not found.whole:
            raise CommandError("\n".join(_wrong(file, found)))
        known = key is not None or EvidenceKey.objects.filter(public=found.signed_with).exists()
        words = {"files": found.files, "title": found.head.get("incident", {}).get("title", "")}
        whole = _("Whole: all %(files)d files of “%(title)s” are as they were signed.") % words
        if not known:
            text = _(
                "%(whole)s But the key %(key)s is none of this portal's: compare it with the one that the sender gave "
                "you by another way, and repeat with --key."
            )
            raise CommandError(text % {"whole": whole, "key": found.signed_with}, returncode=2)
        self.stdout.write(whole)
        self.stdout.write(_("Signed with the key %(key)s.") % {"key": found.signed_with})


def _key(given: str) -> Any:
    try:
        return sealing.read_key(Path(given).read_text() if Path(given).is_file() else given)
    except ValueError:
        text = _("--key “%(value)s” is no public key: give 64 hexadecimal digits, or the name of a PEM file.")
        raise CommandError(text % {"value": given[:80]}) from None


def _wrong(file: Path, found: Verdict) -> list[str]:
    if found.unreadable:
        return [_("%(file)s is no evidence pack, or is damaged: %(why)s.") % {"file": file, "why": found.unreadable}]
    if found.unsigned:
        return [_("manifest.json was changed, or was signed with another key: nothing in this pack is proved.")]
    lists = (
        (_("Changed since it was signed: %(path)s"), found.changed),
        (_("Missing: %(path)s"), found.missing),
        (_("Added since it was signed: %(path)s"), found.added),
    )
    return [text % {"path": path} for text, paths in lists for path in paths]
