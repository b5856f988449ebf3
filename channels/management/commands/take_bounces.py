import sys
from email import message_from_bytes, policy
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from channels import events, receipts
from channels.models import Channel

MAX_BYTES = 1024 * 1024  # more than any report needs, which may quote the whole message
EX_TEMPFAIL = 75  # of sysexits.h: a mail server keeps the mail and tries again


class Command(BaseCommand):
    help = "Read one mail from standard input: a mail server's report about a message of ours (RFC 3464)."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("channel", type=int, help="number of the channel that sent it")

    def handle(self, *args: Any, channel: int, **options: Any) -> None:
        found = Channel.objects.filter(pk=channel).first()
        if found is None:
            text = _("There is no channel %(number)d; its number stands in the address of its page.")
            raise CommandError(text % {"number": channel})
        raw = sys.stdin.buffer.read(MAX_BYTES)
        mail = message_from_bytes(raw, policy=policy.compat32)
        event_id, told = receipts.read_bounce(mail)
        for number, one in enumerate(told):
            try:
                events.take_in(found, f"bounce:{channel}", f"{event_id} {number}", one, timezone.now())
            except events.TooEarly:
                raise CommandError(_("The message is just being sent; try again."), returncode=EX_TEMPFAIL) from None
        self.stdout.write(_("Counted: %(count)d.") % {"count": len(told)})
