"""Notices inside an app of one's own: the portal keeps them, the app asks for them (docs/reference/in-app.md)."""

import json
from collections.abc import Sequence

from django import forms
from django.db import DatabaseError, DataError
from django.utils import timezone
from django.utils.translation import gettext_lazy

from channels.errors import Permanent, Transient
from channels.models import Notice

from .base import Addressee, Capabilities, Message, Outcome, Provider


class InAppForm(forms.Form):
    pass


class InApp(Provider):
    label = gettext_lazy("Push: feed for apps")
    # A repeated Addressee.key meets its own row.
    capabilities = Capabilities(form="push", medium="broadcast", broadcast=True, idempotent=True, counted=True)
    config_form = InAppForm

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        parts, now = message.parts, timezone.now()
        rows = [
            Notice(
                key=f"{one.key}-{message.locale}",
                thread=message.thread,
                locale=message.locale,
                subject=parts["subject"],
                text=parts["text"],
                url=parts.get("url", ""),
                facts=json.loads(parts.get("facts", "{}")),  # an older dispatch has none
                at=now,
            )
            for one in recipients
        ]
        try:
            Notice.objects.bulk_create(rows, ignore_conflicts=True)
        except DataError as error:
            return [Outcome(error=Permanent("refused", str(error).split("\n")[0]))] * len(rows)
        except DatabaseError as error:
            raise Transient(type(error).__name__, str(error).split("\n")[0]) from error
        return [Outcome(ref=row.key) for row in rows]
