"""The channel form is built from its provider's `config_form`; credentials go in and never come out."""

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import CHECKBOX_CLASSES, INPUT_CLASSES, TEXTAREA_CLASSES, UnfoldAdminSelectWidget

from . import providers
from .addresses import normalise
from .models import Channel, Medium, Recipient, Suppression
from .providers.base import Provider
from .secrets import address_hash

PREFIX = "setting_"
PERSONAL = [choice for choice in Medium.choices if choice[0] != Medium.BROADCAST]


def provider_of(channel: Channel) -> type[Provider] | None:
    """The channel's provider class; None if it is no longer in the registry."""
    try:
        return providers.get(channel.provider)
    except KeyError:
        return None


def settings_complete(channel: Channel) -> bool:
    """Whether the stored settings satisfy the provider's own form."""
    provider = provider_of(channel)
    return provider is not None and provider.config_form({**channel.config, **channel.secrets}).is_valid()


def is_secret(field: forms.Field) -> bool:
    return isinstance(field.widget, forms.PasswordInput)


class NewChannelForm(forms.ModelForm):
    """Name and provider; the provider's own fields follow on the next page."""

    class Meta:
        model = Channel
        fields = ["name", "provider"]


class ChannelForm(forms.ModelForm):
    """A channel with its provider's fields, made by `channel_form`. Changed settings turn the channel off."""

    provider_class: type[Provider] | None = None

    class Meta:
        model = Channel
        fields = ["name", "enabled", "fallback", "rate"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.changed_settings = False
        for name, field in self._settings().items():
            stored = self.instance.secrets if is_secret(field) else self.instance.config
            if not is_secret(field):
                field.initial = stored.get(name, field.initial)
            elif stored.get(name):
                field.required = False
                field.widget.attrs["placeholder"] = _t("Stored. Leave empty to keep it.")
        if "fallback" in self.fields:
            others = [c.pk for c in Channel.objects.exclude(pk=self.instance.pk) if c.can_stand_in_for(self.instance)]
            self.fields["fallback"].empty_label = _t("None")  # type: ignore[attr-defined]
            self.fields["fallback"].queryset = Channel.objects.filter(pk__in=others)  # type: ignore[attr-defined]
        if "locales" in self.fields:
            self.fields["locales"].initial = self.instance.locales

    def _settings(self) -> dict[str, forms.Field]:
        """The provider's fields by their own names."""
        return {n.removeprefix(PREFIX): f for n, f in self.fields.items() if n.startswith(PREFIX)}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.provider_class is None:
            raise ValidationError(_t("The provider of this channel is not installed any more."))
        config, secrets = self._checked(self.provider_class)
        stored = self.instance.config
        # A setting that came with a newer version of the portal, and is left empty, changes nothing.
        said = {name: value for name, value in config.items() if value not in ("", None) or name in stored}
        self.changed_settings = (said, secrets) != (stored, self.instance.secrets)
        self._new_settings = (config, secrets)
        if self.changed_settings:
            cleaned["enabled"] = False
        elif cleaned.get("enabled") and not self.instance.verified_at:
            self.add_error("enabled", _t("Send a test that succeeds before you enable this channel."))
        return cleaned

    def _checked(self, provider: type[Provider]) -> tuple[dict[str, Any], dict[str, str]]:
        """Settings and credentials as the provider's own form cleans them; its errors land on our fields."""
        fields = self._settings()
        raw = {n: f.widget.value_from_datadict(self.data, self.files, PREFIX + n) for n, f in fields.items()}
        kept = {n: self.instance.secrets.get(n, "") for n, f in fields.items() if is_secret(f) and not raw[n]}
        form = provider.config_form(raw | kept)
        for name, errors in form.errors.items():
            ours = PREFIX + name
            if name in fields and ours not in self.errors:
                self.add_error(ours, errors)
            elif name not in fields:
                self.add_error(None, errors)
        config: dict[str, Any] = {}
        secrets: dict[str, str] = {}
        for name, value in form.cleaned_data.items():
            if not is_secret(form.fields[name]):
                config[name] = value
            elif value:
                secrets[name] = value
        return config, secrets

    def save(self, commit: bool = True) -> Channel:
        channel = self.instance
        if self.changed_settings:
            channel.granted_rate = None
            channel.config, channel.secrets = self._new_settings
            channel.enabled = False
            channel.verified_at = None
            channel.test_error = ""
        if "locales" in self.cleaned_data:
            channel.locales = self.cleaned_data["locales"]
        return super().save(commit)


def channel_form(provider: type[Provider] | None) -> type[ChannelForm]:
    """The form class for channels of one provider."""
    members: dict[str, Any] = {"provider_class": provider}
    if provider is not None:
        for name, field in provider.config_form().fields.items():
            members[PREFIX + name] = dressed(field)
        if provider.capabilities.broadcast:
            members["locales"] = forms.MultipleChoiceField(
                label=_("Languages"),
                choices=settings.LANGUAGES,
                required=False,
                widget=forms.CheckboxSelectMultiple,
                help_text=_("The languages this channel speaks. None chosen: all."),
            )
            members["fallback"] = None  # a public post is never made twice; Django drops the field
    return type("ChannelForm", (ChannelForm,), members)


def dressed(field: forms.Field) -> forms.Field:
    """A provider's field in the admin's clothes."""
    if isinstance(field, forms.ChoiceField) and type(field.widget) is forms.Select:
        field.widget = UnfoldAdminSelectWidget(choices=field.choices)
        return field
    widget = field.widget
    if isinstance(widget, forms.CheckboxInput):
        classes = CHECKBOX_CLASSES
    elif isinstance(widget, forms.Textarea):
        classes = TEXTAREA_CLASSES
    else:
        classes = INPUT_CLASSES
    widget.attrs["class"] = " ".join(classes)
    if isinstance(widget, forms.PasswordInput):
        widget.render_value = False  # whatever the provider says
        widget.attrs["autocomplete"] = "new-password"
    return field


class SendTestForm(forms.Form):
    """Where a test message goes; nothing to ask for a broadcast channel."""

    address = forms.CharField(label=_("Send the test to"), max_length=2000)

    def __init__(self, medium: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.medium = medium
        if medium == Medium.BROADCAST:
            del self.fields["address"]
            return
        widget = self.fields["address"].widget
        widget.attrs["class"] = "cp-input"
        if medium == Medium.SMS:
            widget.input_type = "tel"
            self.fields["address"].help_text = _t(
                "A mobile number with + and the country code, for example +442071234567."
            )
        elif medium == Medium.EMAIL:
            widget.input_type = "email"

    def clean_address(self) -> str:
        try:
            return normalise(self.medium, self.cleaned_data["address"])
        except ValueError as error:
            raise ValidationError(str(error)) from None


class RecipientForm(forms.ModelForm):
    class Meta:
        model = Recipient
        fields = [
            "medium",
            "address",
            "name",
            "locale",
            "time_zone",
            "confirmed_at",
            "consent_source",
            "attributes",
        ]
        help_texts = {
            "address": _("An email address, or a phone number with + and the country code, for example +442071234567."),
            "confirmed_at": _("When the owner of the address said yes. Only confirmed addresses are written to."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "medium" in self.fields:
            # Tickets are linked on the page of their incident, where it is known of which help desk they are.
            typed = [one for one in PERSONAL if one[0] != Medium.TICKET or self.instance.medium == Medium.TICKET]
            self.fields["medium"].choices = [("", _t("Select value")), *typed]  # type: ignore[attr-defined]

    def clean_attributes(self) -> dict[str, Any]:
        found = self.cleaned_data["attributes"]
        if not isinstance(found, dict | None):
            raise ValidationError(_t('Write attributes with their names, for example {"plan": "Enterprise"}.'))
        return found or {}

    def clean_time_zone(self) -> str:
        name = self.cleaned_data["time_zone"]
        if name not in available_timezones():
            raise ValidationError(
                _t("“%(value)s” is not a time zone; write it as Europe/Rome or America/New_York."),
                params={"value": name},
            )
        return name


class SuppressionForm(forms.ModelForm):
    """Stop an address. Only its keyed hash is kept."""

    address = forms.CharField(label=_("Address"), max_length=320, help_text=_("Kept as a hash, not as text."))

    class Meta:
        model = Suppression
        fields = ["medium", "detail"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "medium" in self.fields:
            self.fields["medium"].choices = [("", _t("Select value")), *PERSONAL]  # type: ignore[attr-defined]
        self.fields["address"].widget.attrs["class"] = " ".join(INPUT_CLASSES)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        medium, address = cleaned.get("medium"), cleaned.get("address")
        if not medium or not address:
            return cleaned
        try:
            hashed = address_hash(medium, normalise(medium, address))
        except ValueError as error:
            self.add_error("address", str(error))
            return cleaned
        found = Suppression.objects.filter(medium=medium, address_hash=hashed).first()
        if found:
            self.add_error(
                "address",
                _t("This address is stopped already: %(reason)s.") % {"reason": found.get_reason_display()},
            )
        self.instance.address_hash = hashed
        self.instance.reason = Suppression.Reason.MANUAL
        return cleaned
