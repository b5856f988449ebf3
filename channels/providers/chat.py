"""What the chats share: the address of a webhook, which is a credential itself, and paragraphs and links of a text."""

import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _

from channels.addresses import is_webhook

# In plain text an address ends before the punctuation of its sentence. One group, for `split`: odd parts are addresses.
URL = re.compile(r"""(https?://[^\s<>|"]*[^\s<>|".,;:!?'’”»)\]*_~`])""")


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a plain text, which blank lines divide."""
    return [one for one in (part.strip() for part in re.split(r"\n\s*\n", text)) if one]


class SecretUrlField(forms.CharField):
    """The https address of a webhook. Whoever knows it can post: it is drawn as a password, and no error repeats it.

    hosts: names it may have; one with a leading dot stands for any name below it. path: what its path begins with.
    """

    widget = forms.PasswordInput

    def __init__(self, *, hosts: Sequence[str], path: str = "/", **options: Any) -> None:
        self.hosts, self.path = hosts, path
        super().__init__(**{"max_length": 2048, **options})

    def validate(self, value: str) -> None:
        super().validate(value)
        if value and not is_webhook(value, self.hosts, self.path):
            known = ", ".join(f"https://{'…' * host.startswith('.')}{host}{self.path}" for host in self.hosts)
            raise forms.ValidationError(
                _("This is not the address of such a webhook; copy it whole. It begins with: %(known)s"),
                params={"known": known},
            )
