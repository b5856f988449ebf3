"""The setting by which a channel without events of its own hears what became of its messages (see ../receipts.py)."""

from django import forms
from django.utils.translation import gettext_lazy

from .webhook import check_secret


class ReceiptsForm(forms.Form):
    receipts_secret = forms.CharField(
        label=gettext_lazy("Secret for receipts"),
        required=False,
        widget=forms.PasswordInput,
        max_length=120,
        help_text=gettext_lazy(
            "Optional: whoever signs with it may tell /events/receipts/, followed by the number of this channel and a "
            "slash, what became of a message. To make one: echo whsec_$(openssl rand -base64 32). A single “-” ends it."
        ),
    )

    def clean_receipts_secret(self) -> str:
        # A stored credential is kept when its field is left empty: so it takes a sign to drop it.
        value = self.cleaned_data["receipts_secret"]
        if value in ("", "-"):
            return ""
        check_secret(value)
        return value
