"""The form by which staff log in."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from unfold.forms import AuthenticationForm

# What pastes of passwords bring along. Django speaks of “null characters”, which helps nobody.
UNTYPED = _("This has a character that cannot be typed. Delete it, and write it again.")


class LoginForm(AuthenticationForm):
    """The theme's, in words of ours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.error_messages["null_characters_not_allowed"] = UNTYPED
