"""A provider that sends nothing, for benchmarks only: what is left of the time is the engine's own."""

import sys
import time
from collections.abc import Sequence
from zlib import crc32

from django import forms

from channels import providers
from channels.providers.base import Addressee, Capabilities, Message, Outcome, Provider

KEY = "benchmark_null"


class Null(Provider):
    """Accepts everybody, after config["sleep"] seconds a call. Keeps a ledger for this process.

    It asks for each recipient's values, as every real provider does: signing links is the engine's work.
    """

    label = "Null provider of the benchmarks: sends nothing"
    capabilities = Capabilities(form="email", medium="email", max_batch=50)
    config_form = forms.Form
    handed_over = 0
    checksum = 0  # of the keys, whatever their order

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        pause = self.config.get("sleep", 0)
        if pause:
            time.sleep(pause)
        Null.handed_over += len(recipients)
        Null.checksum += sum(crc32(one.key.encode()) for one in recipients)
        for one in recipients:
            one.values.get("name"), one.values.get("unsubscribe_url")
        return [Outcome(ref=one.key) for one in recipients]


def register() -> None:
    """Make the provider known to this process, and to no other."""
    providers.REGISTRY[KEY] = "benchmark_null.Null"
    sys.modules["channels.providers.benchmark_null"] = sys.modules[__name__]
