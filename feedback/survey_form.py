"""The questions of a survey as a form: of the public page, and of the preview in the admin."""

from typing import Any

from django import forms
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from incidents.models.words import plain

from .models import SurveyAnswer, SurveyQuestion, SurveyVersion
from .models.survey import SCORES, worded

MOST_CHARACTERS = 2000
Kind = SurveyQuestion.Kind


class Comment(forms.CharField):
    """A text without control characters: nobody types them on purpose, and not every database keeps them."""

    def to_python(self, value: Any) -> str:
        return plain(super().to_python(value) or "")


class SurveyForm(forms.Form):
    """A field for each question, by its key: scores from 1 to 5, one of some choices, a text of 2,000 characters."""

    def __init__(self, questions: list[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        self.questions = questions
        for question in questions:
            self.fields[question["key"]] = _field(question)

    def asked(self) -> list[tuple[str, forms.BoundField]]:
        """Kind and field of each question, in their order."""
        return [(question["kind"], self[question["key"]]) for question in self.questions]

    def given(self) -> dict[str, Any]:
        """SurveyAnswer.given: what was chosen."""
        return self._of(lambda kind: kind != Kind.TEXT)

    def texts(self) -> dict[str, str]:
        return self._of(lambda kind: kind == Kind.TEXT)

    def _of(self, wanted: Any) -> dict[str, Any]:
        kinds = {question["key"]: question["kind"] for question in self.questions}
        empty = ("", None)
        return {key: value for key, value in self.cleaned_data.items() if wanted(kinds[key]) and value not in empty}


def form(version: SurveyVersion, *args: Any, answer: SurveyAnswer | None = None) -> SurveyForm:
    """The form of a version, filled with what was answered before if it is to be changed."""
    initial = {**answer.given, **answer.texts} if answer else {}
    return SurveyForm(version.questions, *args, initial=initial)


def _field(question: dict[str, Any]) -> forms.Field:
    label = worded(question["text"], translation.get_language() or "")
    required = question["required"]
    if not required:
        label = _("%(question)s (optional)") % {"question": label}
    if question["kind"] == Kind.TEXT:
        return Comment(
            label=label,
            required=required,
            max_length=MOST_CHARACTERS,
            widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off"}),
            error_messages={
                "required": _("Please write something here."),
                "max_length": _(
                    "This text has %(show_value)s characters; at most %(limit_value)s can be sent. Please shorten it."
                ),
            },
        )
    if question["kind"] == Kind.CHOICE:
        choices = [(one["key"], worded(one["text"], translation.get_language() or "")) for one in question["choices"]]
        return forms.ChoiceField(
            label=label,
            required=required,
            choices=choices,
            widget=forms.RadioSelect,
            error_messages={
                "required": _("Please choose one of the answers."),
                "invalid_choice": _("“%(value).20s” is not one of the answers; choose one of those shown."),
            },
        )
    return forms.TypedChoiceField(
        label=label,
        required=required,
        choices=[(score, str(score)) for score in SCORES],
        coerce=int,
        empty_value=None,
        widget=forms.RadioSelect,
        error_messages={
            "required": _("Please choose a number from 1 to 5."),
            "invalid_choice": _("“%(value).20s” is not one of the answers; choose a number from 1 to 5."),
        },
    )
