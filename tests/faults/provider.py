"""A provider of the harness: plain HTTP as the product's own ones speak it, with a receiver that does or does not drop
what it has had already."""

import os
import signal
from collections.abc import Sequence
from typing import ClassVar

from django import forms

from channels.providers.base import Addressee, Capabilities, Message, Outcome
from channels.providers.http import HttpProvider


class Http(HttpProvider):
    """`config`: url; poison, an address whose message kills the process that sends it."""

    label = "HTTP (of the fault harness)"
    capabilities: ClassVar[Capabilities] = Capabilities(form="email", medium="email")
    config_form = forms.Form

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        [one] = recipients
        if one.address == self.config.get("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        self.call("POST", self.config["url"], {"to": one.address, "key": one.key, "by": os.getsid(0)})
        return [Outcome(ref=one.key)]


class HttpOnce(Http):
    capabilities = Capabilities(form="email", medium="email", idempotent=True)
