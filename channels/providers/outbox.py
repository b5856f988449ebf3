"""A local mailbox, phone and timeline: the embedded defaults.

Messages become files that /outbox/ shows; nothing leaves the machine.
"""

import base64
import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from .base import Addressee, Capabilities, Message, Outcome, Provider, personalise


class OutboxForm(forms.Form):
    """Nothing to set."""


class OutboxEmail(Provider):
    label = _("Local outbox: email")
    capabilities = Capabilities(form="email", medium="email", max_batch=100, idempotent=True, local=True)
    config_form = OutboxForm

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        folder = Path(settings.DATA_DIR) / "outbox"
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = []
        for one in recipients:
            # One name per addressee and dispatch, so that a repeat after a crash replaces instead of doubling.
            name = f"{one.key or secrets.token_hex(8)}.json"
            letter = {
                "to": one.address,
                "name": one.name,
                "form": self.capabilities.form,
                "at": time.time(),
                "locale": message.locale,
                "thread": message.thread,
                "parts": {k: personalise(v, one.values, html=k == "html") for k, v in message.parts.items()},
            }
            if picture := message.picture:
                data = base64.b64encode(picture.content).decode()
                size = {"width": picture.width, "height": picture.height}
                letter["picture"] = {"url": f"data:{picture.content_type};base64,{data}", "alt": picture.alt, **size}
            partial = folder / f".{name}.{os.getpid()}"
            partial.write_text(json.dumps(letter))
            partial.rename(folder / name)
            outcomes.append(Outcome(ref=name))
        return outcomes


class OutboxSMS(OutboxEmail):
    label = _("Local outbox: SMS")
    capabilities = Capabilities(form="sms", medium="sms", max_batch=100, idempotent=True, max_segments=3, local=True)


class OutboxPost(OutboxEmail):
    label = _("Local outbox: social post")
    capabilities = Capabilities(
        form="post", medium="broadcast", broadcast=True, idempotent=True, max_weight=280, pictures=True, local=True
    )
