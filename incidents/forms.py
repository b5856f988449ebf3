"""Forms of incidents: what a person types, checked before any verb sees it."""

from collections.abc import Iterable
from copy import copy
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels.models import Channel, Picture
from channels.pictures import MAX_ALT, MAX_UPLOAD, BadPicture, Prepared, prepare, too_big
from commsportal import zones

from .models import (
    INCIDENT_STAGES,
    MAINTENANCE_STAGES,
    WORDS,
    AudienceSegment,
    Component,
    ComponentStatus,
    IncidentUpdate,
    Rendition,
    Stage,
)
from .models.words import one_line, plain
from .rendering import language_name

WALL = "%Y-%m-%dT%H:%M"
LANGUAGES = dict(settings.LANGUAGES)
HELP = {
    "subject": _("The service and what is wrong with it, in a few words."),
    "issue": _("What does not work, as a customer notices it. Since when."),
    "impact": _("Which customers, what they cannot do, what still works."),
    "outlook": _("What we are doing, when it should be over, when you speak again."),
    "action": _("What readers can do until then. Empty if nothing helps."),
    "sms": _("Goes by text message only."),
    "post": _("Goes to social networks only."),
}
ROWS = {"subject": 1, "issue": 3, "impact": 3, "outlook": 3, "action": 2, "sms": 3, "post": 3}


def exists(wall: datetime, zone: tzinfo) -> bool:
    """Whether the clocks of `zone` ever show this wall time (they skip an hour in spring)."""
    aware = wall.replace(tzinfo=zone)
    return aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall


def next_valid(wall: datetime, zone: tzinfo) -> datetime:
    """The first minute from `wall` on that the clocks of `zone` show."""
    while not exists(wall, zone):
        wall += timedelta(minutes=1)
    return wall


def skipped(wall: datetime, zone: tzinfo) -> ValidationError:
    """Why a wall time that the clocks skip cannot be meant, and the next one that can."""
    return ValidationError(
        _t("%(time)s does not exist in %(zone)s: the clocks go forward then. The next valid time is %(valid)s.")
        % {
            "time": f"{wall:%d.%m.%Y %H:%M}",
            "zone": zones.in_words(str(zone)),
            "valid": f"{next_valid(wall, zone):%H:%M}",
        }
    )


def which_pass(at: datetime | None) -> str:
    """Which of two a time is whose hour comes twice, when the clocks go back; empty for any other."""
    if at is None:
        return ""
    local = timezone.localtime(at)
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return ""
    said = _t("The clocks go back then and show %(clock)s twice; the second one is meant (%(zone)s).")
    if not local.fold:
        said = _t("The clocks go back then and show %(clock)s twice; the first one is meant (%(zone)s).")
    return said % {"clock": f"{local:%H:%M}", "zone": local.tzname()}


class WallTimeField(forms.Field):
    """A moment, typed as the clocks of the portal's zone show it.

    A time that the clocks skip is refused, with the next valid one. One that they show twice means the first, so
    that a promise is rather kept early; a value that was not touched stays the very moment it was.
    """

    widget = forms.DateTimeInput(format=WALL, attrs={"type": "datetime-local", "step": 60, "class": "cp-input"})

    def __init__(self, *, was: datetime | None = None, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)
        self.was = was
        self.widget.attrs["data-zone"] = timezone.get_current_timezone_name()

    def prepare_value(self, value: Any) -> Any:
        return timezone.localtime(value).strftime(WALL) if isinstance(value, datetime) else value

    def to_python(self, value: Any) -> datetime | None:
        text = str(value or "").strip()
        if not text:
            return None
        if self.was and text[:16].replace(" ", "T") == self.prepare_value(self.was):
            return self.was
        try:
            wall = datetime.fromisoformat(text).replace(tzinfo=None, second=0, microsecond=0)
        except ValueError:
            raise ValidationError(
                _t("“%(text)s” is no time; write it as in 2026-05-31 14:30.") % {"text": text[:40]}
            ) from None
        zone = timezone.get_current_timezone()
        if not exists(wall, zone):
            raise skipped(wall, zone)
        return wall.replace(tzinfo=zone)


class ComposeForm(forms.Form):
    """One update as it is written: facts, then words by language.

    Fields: the facts of IncidentUpdate.edit, `state-<component id>`, `<locale>-<field of WORDS>`.
    """

    version = forms.IntegerField(widget=forms.HiddenInput)
    stage = forms.ChoiceField(label=_("Stage"), widget=forms.Select(attrs={"class": "cp-select"}))
    notify = forms.BooleanField(label=_("Notify subscribers"), required=False)
    ask_feedback = forms.BooleanField(label=_("Ask for feedback afterwards"), required=False)
    channels = forms.ModelMultipleChoiceField(
        Channel.objects.none(), label=_("Channels"), required=False, widget=forms.CheckboxSelectMultiple
    )
    segments = forms.ModelMultipleChoiceField(
        AudienceSegment.objects.all(), label=_("Only to"), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, update: IncidentUpdate, data: Any = None) -> None:
        self.update = update
        renditions = {r.locale: r for r in update.renditions.select_related("template")}
        plan = update.incident.plan_version
        # The plan's first language is the default one and comes first; what is written already is never dropped.
        self.locales = list(dict.fromkeys([*(plan.locales(update.stage) if plan else []), *renditions])) or [
            update.default_locale
        ]
        self.renditions = [renditions.get(one) or Rendition(update=update, locale=one) for one in self.locales]
        ids = [int(key) for key in update.component_states]
        self.components = list(Component.objects.filter(Q(incidents=update.incident_id) | Q(pk__in=ids)).distinct())
        self.narrowed = list(update.segments.order_by("name"))
        self.chosen = [one for one in update.channels.order_by("pk") if not one.is_page]
        super().__init__(data, initial=self._initial(), auto_id="cp-%s")
        self._add_facts()
        self._add_words()

    def _initial(self) -> dict[str, Any]:
        update = self.update
        return {
            "version": update.version,
            "stage": update.stage,
            "notify": update.notify,
            "ask_feedback": update.ask_feedback,
            "next_update_at": update.next_update_at,
            "expected_resolution_at": update.expected_resolution_at,
            "channels": [channel.pk for channel in self.chosen],
            "segments": [segment.pk for segment in self.narrowed],
        }

    def _add_facts(self) -> None:
        upkeep = self.update.incident.maintenance
        stages = [*(MAINTENANCE_STAGES if upkeep else INCIDENT_STAGES)]
        if self.update.publish_at:
            stages = []  # what goes out by itself at that time is planned already
        if self.update.stage not in stages:
            stages.append(Stage(self.update.stage))
        self.fields["stage"].choices = [(s.value, s.label) for s in stages]  # type: ignore[attr-defined]
        channels = Channel.objects.filter(Q(enabled=True) | Q(pk__in=[c.pk for c in self.chosen]))
        words = [one.pk for one in channels if not one.is_page]  # a page is no choice: it shows every update
        self.fields["channels"].queryset = channels.filter(pk__in=words)  # type: ignore[attr-defined]
        self.fields["next_update_at"] = WallTimeField(label=_("Next update by"), was=self.update.next_update_at)
        self.fields["expected_resolution_at"] = WallTimeField(
            label=_("Planned end") if upkeep else _("Expected resolution"), was=self.update.expected_resolution_at
        )
        for component in self.components:
            state = self.update.component_states.get(str(component.pk), ComponentStatus.OPERATIONAL)
            self.fields[f"state-{component.pk}"] = forms.ChoiceField(
                label=component.name,
                choices=ComponentStatus.choices,
                initial=state,
                widget=forms.Select(attrs={"class": "cp-select"}),
            )

    def _add_words(self) -> None:
        for rendition in self.renditions:
            for name, label in WORDS.items():
                key = f"{rendition.locale}-{name}"
                attrs: dict[str, Any] = {
                    "class": "cp-textarea cp-words",
                    "rows": ROWS[name],
                    "lang": rendition.locale,
                    "spellcheck": "true",
                    "aria-describedby": f"cp-help-{key} cp-notes-{key}",
                }
                widget: forms.Widget = forms.Textarea(attrs)
                if name == "subject":
                    widget = forms.TextInput(attrs | {"class": "cp-input cp-words"})
                self.fields[key] = forms.CharField(
                    label=label,
                    help_text=HELP[name],
                    required=False,
                    strip=False,
                    max_length=200 if name == "subject" else 10_000,
                    initial=getattr(rendition, name),
                    widget=widget,
                )

    # ── What was typed ──

    def _value(self, name: str) -> Any:
        """The cleaned value; where the form is not valid or not bound, the saved one."""
        if self.is_bound and name not in self.errors:
            return self.cleaned_data[name]
        return self.get_initial_for_field(self.fields[name], name)

    def facts(self) -> dict[str, Any]:
        """The keyword arguments of IncidentUpdate.edit that are columns."""
        names = ("stage", "next_update_at", "expected_resolution_at", "notify", "ask_feedback")
        states = {str(c.pk): self._value(f"state-{c.pk}") for c in self.components}
        # A component of the incident that this update did not speak of stays out until it gets a state.
        said = {
            pk: state for pk, state in states.items() if pk in self.update.component_states or state != "operational"
        }
        return {name: self._value(name) for name in names} | {"component_states": said}

    def typed_words(self) -> dict[str, dict[str, str]]:
        """Locale → field → text, exactly as typed, line ends as in the database."""
        return {
            one: {field: (one_line if field == "subject" else plain)(self._text(f"{one}-{field}")) for field in WORDS}
            for one in self.locales
        }

    def _text(self, key: str) -> str:
        return self.data.get(key, "") if self.is_bound else self.fields[key].initial or ""

    def words_to_save(self) -> dict[str, dict[str, str]]:
        """As typed_words, without languages that nobody has begun."""
        begun = {r.locale for r in self.renditions if r.pk}
        return {one: words for one, words in self.typed_words().items() if one in begun or any(words.values())}

    def typed_channels(self) -> list[Channel]:
        if not self.is_bound or "channels" in self.errors:
            return self.chosen
        return sorted(self.cleaned_data["channels"], key=lambda channel: channel.pk)

    def typed_segments(self) -> list[AudienceSegment]:
        if not self.is_bound or "segments" in self.errors:
            return self.narrowed
        return sorted(self.cleaned_data["segments"], key=lambda segment: segment.name)

    def chosen_now(self) -> tuple[list[Channel], list[AudienceSegment]]:
        return self.typed_channels(), self.typed_segments()

    def typed(self) -> tuple[IncidentUpdate, list[Rendition], list[Channel]]:
        """The update as it would be if this were saved; nothing is."""
        twin = copy(self.update)
        for name, value in self.facts().items():
            setattr(twin, name, value)
        words = self.words_to_save()
        renditions = [
            Rendition(update=twin, locale=r.locale, template=r.template, **words[r.locale])
            for r in self.renditions
            if r.locale in words
        ]
        return twin, renditions, self.typed_channels()

    # ── For the page ──

    def state_fields(self) -> Iterable[forms.BoundField]:
        return [self[f"state-{c.pk}"] for c in self.components]


class PictureForm(forms.Form):
    """The picture of an update: a file, and what it shows in each language (`alt-<locale>`).

    Its controls stand inside the compose form's markup and belong to a form of their own by their attribute `form`.
    """

    FORM = "cp-picture"
    use_required_attribute = False  # the button that removes it needs none of the fields

    version = forms.IntegerField(widget=forms.HiddenInput({"form": FORM}))
    file = forms.FileField(
        label=_("PNG or JPEG file"),
        required=False,
        allow_empty_file=True,  # the reader of pictures says it better
        help_text=_(
            "At most 5 MB and 4096 × 4096 pixels. Large pictures are made smaller; what a camera writes into them, "
            "such as the place, is removed."
        ),
        widget=forms.FileInput({"form": FORM, "accept": "image/png,image/jpeg", "class": "cp-input"}),
    )

    def __init__(self, update: IncidentUpdate, data: Any = None, files: Any = None, remove: bool = False) -> None:
        self.now, self.remove = update.picture, remove
        initial = {"version": update.version}
        super().__init__(data, files, initial=initial, auto_id="cp-picture-%s")
        locales = list(update.renditions.values_list("locale", flat=True)) or [update.default_locale]
        for locale in locales:
            self.fields[f"alt-{locale}"] = forms.CharField(
                label=_t("Alternative text in %(language)s") % {"language": language_name(locale)},
                required=not remove,
                max_length=MAX_ALT,
                initial=self.now.words(locale) if self.now else "",
                error_messages={"required": _("Say what the picture shows: who cannot see it hears this instead.")},
                widget=forms.Textarea(
                    {"form": self.FORM, "class": "cp-textarea", "rows": 2, "lang": locale, "spellcheck": "true"}
                ),
            )
            # Where the checker's findings lead: #cp-<locale>-<field>.
            self.fields[f"alt-{locale}"].widget.attrs["id"] = f"cp-{locale}-picture"

    def clean_file(self) -> Prepared | None:
        file = self.cleaned_data["file"]
        if self.remove:
            return None
        if file is None:
            if self.now is None:
                raise ValidationError(_t("Nothing is chosen: choose a PNG or JPEG file."))
            return None
        try:
            if file.size > MAX_UPLOAD:  # not read at all
                raise BadPicture(too_big(file.size))
            return prepare(file.read())
        except BadPicture as error:
            said = _t("“%(file)s” was not taken. %(reason)s")
            raise ValidationError(said % {"file": file.name[:80], "reason": error}) from None

    def picture(self) -> Picture | None:
        """The picture to show from now on: the new one, the one there is, or none. Inside a transaction."""
        if self.remove:
            return None
        if prepared := self.cleaned_data["file"]:
            return Picture.keep(prepared)
        return self.now.picture if self.now else None

    def alt(self) -> dict[str, str]:
        return {name.removeprefix("alt-"): text for name, text in self.cleaned_data.items() if name.startswith("alt-")}

    def alt_fields(self) -> Iterable[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith("alt-")]
