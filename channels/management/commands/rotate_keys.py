from typing import Any

from cryptography.fernet import InvalidToken
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.db.models import Model, TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from channels.models import Channel, Recipient
from channels.secrets import rotated


class Command(BaseCommand):
    help = (
        "Encrypt the credentials of all channels, and the signing secrets of webhook subscribers, anew with the first "
        "of FIELD_KEYS; then the old keys can go."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        channels, lost_channels = _rotate(Channel, "secrets")
        recipients, lost_recipients = _rotate(Recipient, "signing")
        self.stdout.write(_("Encrypted anew: %(count)d.") % {"count": channels + recipients})
        wrong = []
        if lost_channels:
            names = Channel.objects.filter(pk__in=lost_channels).values_list("name", flat=True)
            wrong.append(
                _("No key reads the credentials of: %(names)s. Add their key to FIELD_KEYS, or type them in again.")
                % {"names": ", ".join(names)}
            )
        if lost_recipients:
            wrong.append(
                _(
                    "No key reads the signing secrets of these recipients: %(ids)s. Add their key to FIELD_KEYS, or "
                    "have them make new ones."
                )
                % {"ids": ", ".join(str(pk) for pk in lost_recipients)}
            )
        if wrong:
            raise CommandError("\n".join(wrong))


def _rotate(model: type[Model], column: str) -> tuple[int, list[int]]:
    """How many rows were encrypted anew, and which no key reads."""
    unreadable, done = [], 0
    stored = model._default_manager.annotate(token=Cast(column, TextField())).exclude(token="")
    with transaction.atomic(), connection.cursor() as cursor:
        for pk, token in stored.order_by("pk").select_for_update().values_list("pk", "token"):
            try:
                new = rotated(token)
            except InvalidToken:
                unreadable.append(pk)
                continue
            cursor.execute(f"UPDATE {model._meta.db_table} SET {column} = %s WHERE id = %s", [new, pk])
            done += 1
    return done, unreadable
