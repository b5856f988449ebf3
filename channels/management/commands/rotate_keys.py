from typing import Any

from cryptography.fernet import InvalidToken
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from channels.models import Channel
from channels.secrets import rotated


class Command(BaseCommand):
    help = "Encrypt the credentials of all channels anew with the first of FIELD_KEYS; then the old keys can go."

    def handle(self, *args: Any, **options: Any) -> None:
        stored = Channel.objects.annotate(token=Cast("secrets", TextField())).exclude(token="")
        unreadable, done = [], 0
        with transaction.atomic(), connection.cursor() as cursor:
            for pk, name, token in stored.select_for_update().values_list("pk", "name", "token"):
                try:
                    new = rotated(token)
                except InvalidToken:
                    unreadable.append(name)
                    continue
                cursor.execute("UPDATE channels_channel SET secrets = %s WHERE id = %s", [new, pk])
                done += 1
        self.stdout.write(_("Encrypted anew: %(count)d.") % {"count": done})
        if unreadable:
            raise CommandError(
                _("No key reads the credentials of: %(names)s. Add their key to FIELD_KEYS, or type them in again.")
                % {"names": ", ".join(unreadable)}
            )
