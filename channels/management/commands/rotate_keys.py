from typing import Any

from cryptography.fernet import InvalidToken
from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.db.models import Model, TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from channels.models import Channel, Recipient
from channels.secrets import EncryptedJSONField, rotated
from commsportal import second_factor


class Command(BaseCommand):
    help = (
        "Encrypt the credentials of all channels, the secrets of webhook subscribers, alert sources, event "
        "subscriptions and second factors, and the keys of evidence packs, anew with the first of FIELD_KEYS; then "
        "the old keys can go."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        channels, lost_channels = _rotate(Channel, "secrets")
        recipients, lost_recipients = _rotate(Recipient, "signing")
        others, wrong = 0, []
        for model, column in _others():
            done, lost = _rotate(model, column)
            others += done
            if lost:
                text = _(
                    "No key reads the secrets of %(what)s: %(ids)s. Add their key to FIELD_KEYS, or make new ones."
                )
                ids = ", ".join(str(pk) for pk in lost)
                wrong.append(text % {"what": model._meta.verbose_name_plural, "ids": ids})
        factors, lost_factors = second_factor.rotate()
        others += factors
        if lost_factors:
            text = _("No key reads the second factors %(ids)s. Add their key to FIELD_KEYS, or remove them.")
            wrong.append(text % {"ids": ", ".join(str(pk) for pk in lost_factors)})
        self.stdout.write(_("Encrypted anew: %(count)d.") % {"count": channels + recipients + others})
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


def _others() -> list[tuple[type[Model], str]]:
    """Whatever else is encrypted, in apps of which this one knows nothing."""
    return [
        (model, field.name)
        for model in apps.get_models()
        if model not in (Channel, Recipient)
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedJSONField)
    ]


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
