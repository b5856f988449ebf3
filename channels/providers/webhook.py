"""Events to customers' own servers, signed as Standard Webhooks has it (standardwebhooks.com)."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from standardwebhooks.webhooks import Webhook as Signer

from channels.errors import Permanent, Throttled, Transient
from channels.own_secrets import OF_CHANNEL, PREFIX

from .base import Addressee, Capabilities, Message
from .strangers import MAX_BATCH, StrangersProvider, said


def check_secret(value: str) -> None:
    """Refuse what is no secret of Standard Webhooks: the prefix and 24 to 64 bytes in base64."""
    if not value.startswith(PREFIX):
        raise ValidationError(_("The secret does not begin with whsec_; make one as described below."))
    try:
        size = len(base64.b64decode(value.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        raise ValidationError(
            _("What follows whsec_ is not base64; copy the whole secret, or make one as described below.")
        ) from None
    if not 24 <= size <= 64:
        text = _("The secret has %(size)d bytes; 24 to 64 are needed. Make one as described below.")
        raise ValidationError(text % {"size": size})


class SecondSecretField(forms.CharField):
    """A secret of Standard Webhooks that a channel may do without.

    A stored credential is kept when its field is left empty: so it takes a sign to drop it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=forms.PasswordInput, max_length=120, **kwargs)

    def clean(self, value: Any) -> str:
        given = super().clean(value)
        if given in ("", "-"):
            return ""
        check_secret(given)
        return given


class WebhookForm(forms.Form):
    signing_secret = forms.CharField(
        label=gettext_lazy("Signing secret"),
        widget=forms.PasswordInput,
        max_length=120,
        validators=[check_secret],
        help_text=gettext_lazy(
            "Customers check with it that a message is ours. To make one: echo whsec_$(openssl rand -base64 32)"
        ),
    )
    previous_secret = SecondSecretField(
        label=gettext_lazy("Previous secret"),
        help_text=gettext_lazy(
            "While customers change over to a new secret, enter the old one here: messages carry both signatures. "
            "A single “-” ends that."
        ),
    )

    def clean_previous_secret(self) -> str:
        value = self.cleaned_data["previous_secret"]
        return "" if value == self.cleaned_data.get("signing_secret") else value


def secrets_of(config: Mapping[str, Any]) -> list[str]:
    """The secrets that messages are signed with, newest first."""
    return [secret for name in ("signing_secret", "previous_secret") if (secret := config.get(name))]


def secrets_for(config: Mapping[str, Any], one: Addressee) -> list[str]:
    """The secrets that a message to one recipient is signed with: their own, or else the channel's."""
    found = [secrets_of(config) if own == OF_CHANNEL else [own] for own in one.secrets or [OF_CHANNEL]]
    return [secret for part in found for secret in part]


def signed(body: str, key: str, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of a message as it leaves now. `key` stays the same when it is sent again."""
    now = datetime.now(UTC)
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(key, now, body) for secret in secrets),
    }


class Webhook(StrangersProvider):
    label = gettext_lazy("Webhook: signed events")
    # By Standard Webhooks a receiver drops a message whose webhook-id it has seen.
    capabilities = Capabilities(form="event", medium="webhook", max_batch=MAX_BATCH, idempotent=True, many_servers=True)
    config_form = WebhookForm

    def hand_over(self, message: Message, one: Addressee) -> str:
        body = message.parts["json"]
        headers = signed(body, one.key, secrets_for(self.config, one))
        if kind := message.parts.get("content_type"):
            headers["Content-Type"] = kind
        try:
            status, content, _headers = self.post(one.address, body.encode(), headers)
        except Throttled as error:
            # One customer's server is not a provider that all share: the others need not wait for it.
            raise Transient(error.code, error.detail) from error
        if 200 <= status < 300:
            return one.key
        # "410 Gone": the receiver does not want to hear from us again.
        raise Permanent(str(status), said(content), bad_address=status == 410)

    def probe(self) -> str:
        if len(secrets_of(self.config)) > 1:
            return _("Messages carry two signatures: of the new secret and of the previous one.")
        return ""
