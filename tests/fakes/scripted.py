"""A fake provider that does what a test's script says, and keeps a ledger of what it was handed."""

import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

from django import forms

from channels.providers.base import Addressee, Capabilities, Message, Outcome, Provider

Script = Callable[[int, Sequence[Addressee]], list[Outcome] | None]


class Scripted(Provider):
    """`script(call number, addressees)` returns outcomes, raises, or None for "all sent"."""

    label = "Scripted (a fake)"
    capabilities: ClassVar[Capabilities] = Capabilities(form="email", medium="email", max_batch=10)
    config_form = forms.Form
    script: ClassVar[Script | None] = None
    ledger: ClassVar[list[str]] = []
    calls: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        with self.lock:
            number = type(self).calls
            type(self).calls += 1
        outcomes = type(self).script(number, recipients) if type(self).script else None
        if outcomes is None:
            outcomes = [Outcome(ref=one.key) for one in recipients]
        with self.lock:
            self.ledger.extend(o.address for o, out in zip(recipients, outcomes, strict=False) if out.error is None)
        return outcomes
