"""What readers fill in to hear from us: no cookie stands behind it, so the form carries a signed time of its own."""

import logging
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.core import signing
from django.core.validators import ProhibitNullCharactersValidator
from django.utils.translation import get_language, get_language_info, gettext_lazy
from django.utils.translation import gettext as _

from channels import links
from channels.addresses import normalise
from channels.models import Channel, Medium
from commsportal import zones
from incidents.models import Component, ComponentGroup, Severity
from incidents.subscribing import MEDIA

from .scope import EVERYBODY, Scope

log = logging.getLogger(__name__)
FORM_SALT = "incidents.subscribe"
AGAIN = "again"
MIN_AGE = 2  # seconds that a person takes at least
MAX_AGE = 24 * 3600  # seconds that the page may stay open
REGIONS = {
    "Africa": gettext_lazy("Africa"),
    "America": gettext_lazy("America"),
    "Antarctica": gettext_lazy("Antarctica"),
    "Asia": gettext_lazy("Asia"),
    "Atlantic": gettext_lazy("Atlantic"),
    "Australia": gettext_lazy("Australia"),
    "Europe": gettext_lazy("Europe"),
    "Indian": gettext_lazy("Indian Ocean"),
    "Pacific": gettext_lazy("Pacific"),
}
HINTS = {
    Medium.EMAIL: gettext_lazy("Email: name@example.com"),
    Medium.SMS: gettext_lazy("SMS: +442071234567"),
    Medium.SLACK: gettext_lazy("Slack: https://hooks.slack.com/services/…"),
    Medium.TEAMS: gettext_lazy("Microsoft Teams: https://….api.powerplatform.com/…"),
    Medium.WEBHOOK: gettext_lazy("Webhook: https://example.com/hook"),
}
LEVELS = [
    (Severity.SEV4, gettext_lazy("All incidents")),
    (Severity.SEV3, gettext_lazy("Minor incidents and worse")),
    (Severity.SEV2, gettext_lazy("Major incidents and worse")),
    (Severity.SEV1, gettext_lazy("Critical incidents only")),
]


def time_zones() -> list[tuple[str, Any]]:
    """The choices of a zone in the active language: UTC, then [(region, [(name, words)])], ordered by words."""
    return _time_zones(get_language() or "en")


@cache
def _time_zones(language: str) -> list[tuple[str, Any]]:
    names = sorted(one for one in available_timezones() if one.partition("/")[0] in REGIONS)
    regions = groupby(names, key=lambda one: one.partition("/")[0])
    cities: list[tuple[Any, Any]] = [
        (REGIONS[region], sorted(((name, zones.city(name, language)) for name in rows), key=lambda one: one[1]))
        for region, rows in regions
    ]
    return [("UTC", "UTC"), *cities]


@dataclass(frozen=True)
class Offer:
    """What an enabled channel writes to: kinds of address that people type, email first, and a browser's key or ""."""

    media: list[str]
    push_key: str


def offered() -> Offer:
    on = [(channel, channel.capabilities) for channel in Channel.objects.filter(enabled=True).order_by("pk")]
    served = {can.medium: channel for channel, can in reversed(on) if can and not can.broadcast}
    push = served.get(Medium.WEBPUSH)
    return Offer([one for one in MEDIA if one in served], _push_key(push) if push else "")


def _push_key(channel: Channel) -> str:
    try:
        return channel.get_provider().public_key()
    except Exception as error:  # settings it cannot read, as after a lost key: the other ways are offered all the same
        log.error("channel %s gives no key for browsers: %s", channel, channel.mask(repr(error)))
        return ""


class ChoiceForm(forms.Form):
    """What somebody wants to hear about, and how."""

    what = forms.ChoiceField(
        choices=[("all", gettext_lazy("Everything")), ("some", gettext_lazy("Only what I choose here"))],
        widget=forms.RadioSelect,
        initial="all",
    )
    parts = forms.MultipleChoiceField(required=False)
    own = forms.MultipleChoiceField(required=False)  # private components that they hear about already
    least_severity = forms.ChoiceField(label=gettext_lazy("Incidents"), choices=LEVELS, initial=Severity.SEV4)
    maintenance = forms.BooleanField(label=gettext_lazy("Planned maintenance as well"), required=False, initial=True)
    locale = forms.ChoiceField(label=gettext_lazy("Language of the messages"))
    time_zone = forms.ChoiceField(label=gettext_lazy("Time zone"))

    def __init__(
        self, *args: Any, zone: str = "", scope: Scope = EVERYBODY, own: Sequence[Component] = (), **kwargs: Any
    ) -> None:
        """`scope` is the page on which the form stands: of a private one its components alone are offered, each by
        itself, as a group may hold others. `own` are offered besides: what somebody has they may give up.
        """
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        self.scope, self.own_components = scope, list(own)
        if scope.private:
            whole_page = [("all", _("Everything on this page")), self.fields["what"].choices[1]]  # type: ignore[attr-defined]
            self.fields["what"].choices = whole_page  # type: ignore[attr-defined]
        shown = list(scope.shown().select_related("group"))
        # Groups in the order of the page; what is in none comes last.
        shown.sort(key=lambda one: one.group is None)
        self.board: list[tuple[ComponentGroup | None, list[Component]]] = [
            (rows[0].group, rows)
            for _key, found in groupby(shown, key=lambda one: one.group_id)
            if (rows := list(found))
        ]
        whole = [] if scope.private else [group for group, _rows in self.board if group]
        choices = [(f"group-{group.uid}", group.name) for group in whole]
        choices += [(f"component-{one.uid}", one.name) for one in shown]
        for name, values in (
            ("parts", choices),
            ("own", [(f"component-{one.uid}", one.name) for one in own]),
            ("locale", [(code, get_language_info(code)["name_local"].capitalize()) for code, _n in settings.LANGUAGES]),
            (
                "time_zone",
                [*_unlisted(zone), *time_zones()],
            ),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = values
        for field in self.fields.values():
            if isinstance(field, forms.ChoiceField):
                field.error_messages["required"] = gettext_lazy("Choose one from the list.")
                field.error_messages["invalid_choice"] = gettext_lazy(
                    "“%(value).40s” is not in the list any more; open this page again and choose from the list."
                )

    def kept(self) -> set[str]:
        """The ticked ones of `own`."""
        return set(self["own"].value() or [])

    def chosen(self) -> set[str]:
        """The ticked parts, as the boxes' values."""
        return set(self["parts"].value() or [])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("what") == "some" and not (data.get("parts") or data.get("own")) and "parts" not in self.errors:
            self.add_error("parts", _("Nothing is chosen: tick at least one box, or choose “Everything”."))
        return data

    def wanted(self) -> dict[str, Any]:
        """What was chosen, as in SubscriptionRequest.wanted, with "own": [key]. A group stands for its components."""
        data = self.cleaned_data
        chosen = set(data["parts"]) if data["what"] == "some" else set()
        if self.scope.private and data["what"] == "all":
            chosen = {f"component-{one.uid}" for _group, rows in self.board for one in rows}
        groups = [group for group, _rows in self.board if group and f"group-{group.uid}" in chosen]
        components = [
            one for group, rows in self.board if group not in groups for one in rows if f"component-{one.uid}" in chosen
        ]
        kept = [one.pk for one in self.own_components if f"component-{one.uid}" in data["own"]]
        return {
            "components": [one.pk for one in components],
            "groups": [one.pk for one in groups],
            "least_severity": data["least_severity"],
            "maintenance": data["maintenance"],
            **({"nothing": True} if data["what"] == "some" and not (groups or components) else {}),
            **({"own": kept} if self.own_components else {}),
        }

    def show(self, wanted: Mapping[str, Any]) -> None:
        """Begin with what somebody chose before."""
        groups, components = set(wanted["groups"]), set(wanted["components"])
        parts = [f"group-{group.uid}" for group, _rows in self.board if group and group.pk in groups]
        parts += [f"component-{one.uid}" for _group, rows in self.board for one in rows if one.pk in components]
        some = bool(groups or components or wanted.get("nothing"))
        shown = {
            "own": [f"component-{one.uid}" for one in self.own_components],
            "what": "some" if some else "all",
            "parts": parts,
            "least_severity": wanted["least_severity"],
            "maintenance": wanted["maintenance"],
        }
        self.initial.update(shown)


@cache
def _unlisted(zone: str) -> list[tuple[str, str]]:
    return [(zone, zone)] if zone and not _is_listed(zone) else []


def _is_listed(zone: str) -> bool:  # to ask for all zones reads a directory of hundreds of files
    return zone == "UTC" or (zone.partition("/")[0] in REGIONS and zone in available_timezones())


def _sized(data: Mapping[str, Any], name: str, size: int) -> bool:
    """Whether a field holds so many bytes in base64url, as PushSubscription.toJSON() writes them."""
    text = data.get(name) or ""
    if not re.fullmatch("[A-Za-z0-9_-]{1,100}", text):  # the decoder passes over what is not of its letters
        return False
    try:
        return len(urlsafe_b64decode(text + "=" * (-len(text) % 4))) == size
    except ValueError:
        return False


def _salt(scope: Scope) -> str:
    """Who reads a page by login sends a cookie: a form of theirs carries a stamp that was made for them alone, so that
    nobody else's page can send it in their name.
    """
    return f"{FORM_SALT}.{scope.page}.{scope.let_in['user']}" if "user" in scope.let_in else FORM_SALT


def _is_quick(stamp: str, salt: str) -> bool:
    """Whether a good stamp is younger than a person takes, and not of the page that asks to press again."""
    try:
        return signing.loads(stamp, salt=salt, max_age=MIN_AGE) != AGAIN
    except signing.SignatureExpired:
        return False


class AnyText(forms.CharField):
    """Text as it was sent. Of a NUL in it Django says nothing that helps: who reads the field says what is wrong."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators = [one for one in self.validators if not isinstance(one, ProhibitNullCharactersValidator)]


class SubscribeForm(ChoiceForm):
    """The same, and the address; of a browser its keys too. `website` is a trap: no person sees it."""

    medium = forms.ChoiceField(label=gettext_lazy("How we write to you"), widget=forms.RadioSelect)
    address = AnyText(label=gettext_lazy("Address"), max_length=2000)
    p256dh = AnyText(required=False)
    auth = AnyText(required=False)
    website = AnyText(required=False)
    stamp = AnyText(required=False, widget=forms.HiddenInput)

    field_order = ["medium", "address"]

    def __init__(self, *args: Any, offer: Offer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        media = offer.media
        labels = dict(Medium.choices)
        field = self.fields["medium"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(one, labels[Medium(one)]) for one in [*media, *([Medium.WEBPUSH] if offer.push_key else [])]]
        field.initial = media[0] if media else None
        field.error_messages["invalid_choice"] = gettext_lazy("“%(value).20s” is not offered; choose one of the list.")
        self.fields["address"].error_messages["required"] = gettext_lazy("Write the address that we shall write to.")
        self.fields["address"].error_messages["max_length"] = gettext_lazy(
            "The address has %(show_value)s characters; at most %(limit_value)s can be kept."
        )
        self.hints = [str(HINTS[Medium(one)]) for one in media]
        # Whoever presses the button again is no program that fills in what it meets: no time is asked of them.
        self.new_stamp = links.signed(_salt(self.scope), AGAIN if self.is_bound else "form")

    def clean_stamp(self) -> str:
        """Raises ValidationError for what no page of ours sent, or not today."""
        stamp = self.cleaned_data["stamp"]
        try:
            signing.loads(stamp, salt=_salt(self.scope), max_age=MAX_AGE)
        except (signing.BadSignature, ValueError):
            raise forms.ValidationError(_("This page was open for too long. Please press the button again.")) from None
        return stamp

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if data.get("medium") and data.get("address"):
            try:
                data["address"] = normalise(data["medium"], data["address"])
            except ValueError as error:
                self.add_error("address", str(error))
        if data.get("medium") == Medium.WEBPUSH and not (_sized(data, "p256dh", 65) and _sized(data, "auth", 16)):
            self.add_error("medium", _("This browser gave no usable keys. Try again, or choose another way."))
        if not self.errors and _is_quick(data["stamp"], _salt(self.scope)):
            text = _(
                "Please press the button once more. It went so fast that we want to be sure that you are not a robot; "
                "all you wrote is still here."
            )
            self.add_error("stamp", text)
        return data

    def wanted(self) -> dict[str, Any]:
        data = self.cleaned_data
        keys = {"keys": {name: data[name] for name in ("p256dh", "auth")}} if data["medium"] == Medium.WEBPUSH else {}
        return super().wanted() | keys

    @property
    def trapped(self) -> bool:
        return bool(self.data.get("website"))
