from dataclasses import dataclass
from enum import StrEnum

from django.utils.translation import gettext as _

from incidents.models.words import WORDS


class Level(StrEnum):
    """How much a finding weighs."""

    BLOCK = "block"  # cannot be sent like this
    WARN = "warn"  # customers will stumble over it
    HINT = "hint"  # could be better


@dataclass(frozen=True)
class Finding:
    """One thing the checker noticed. Texts are for people, in the language of the person who writes.

    `locale` and `field` say where it is; both are empty for what concerns the whole update, and `field` may also
    be a fact ("next_update_at", "channels", "picture"). `start` and `end` are offsets into the text as it is edited.
    """

    code: str
    locale: str
    field: str
    message: str  # what it is, and why it matters
    fix: str = ""  # what to do
    excerpt: str = ""  # the words it means
    level: Level = Level.WARN
    start: int = 0
    end: int = 0

    @property
    def blocks(self) -> bool:
        return self.level == Level.BLOCK

    @property
    def field_label(self) -> str:
        """What the field is called on the page."""
        return _("Picture") if self.field == "picture" else str(WORDS.get(self.field, self.field))
