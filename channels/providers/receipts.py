"""The setting by which a channel without events of its own hears what became of its messages (see ../receipts.py)."""

from django import forms
from django.utils.translation import gettext_lazy

from .webhook import SecondSecretField


class ReceiptsForm(forms.Form):
    receipts_secret = SecondSecretField(
        label=gettext_lazy("Secret for receipts"),
        help_text=gettext_lazy(
            "Optional: whoever signs with it may tell /events/receipts/, followed by the number of this channel and a "
            "slash, what became of a message. To make one: echo whsec_$(openssl rand -base64 32). A single “-” ends it."
        ),
    )
