"""What the practice calls anti-patterns, found in a draft: late, vague, over-technical, inconsistent words.

`prose` looks at words alone, `facts` at words against data, languages and channels. Pure: nothing is changed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.conf import settings

from .finding import Finding, Level
from .prose import prose

if TYPE_CHECKING:
    from channels.models import Channel
    from incidents.models import IncidentUpdate, Rendition

__all__ = ["Finding", "Level", "check", "prose"]

ORDER = list(Level)


def check(
    update: "IncidentUpdate",
    renditions: "Sequence[Rendition] | None" = None,
    channels: "Sequence[Channel] | None" = None,
) -> list[Finding]:
    """Everything worth saying about an update, gravest first.

    `renditions` and `channels` stand in for the saved ones, to check what is being typed. Queries: those two, the
    names of the components, and what is needed to fill the placeholders; their number does not grow.
    """
    from . import facts

    texts = list(update.renditions.all()) if renditions is None else list(renditions)
    chosen = list(update.channels.order_by("pk")) if channels is None else list(channels)
    draft = facts.Draft.of(update, texts, chosen)
    names = (settings.PORTAL_NAME, *draft.component_names)
    found = facts.findings(draft)
    for locale, words in draft.words.items():
        found += prose(words, locale, names)
    return sorted(found, key=lambda one: ORDER.index(one.level))
