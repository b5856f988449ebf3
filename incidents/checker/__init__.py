"""What the practice calls anti-patterns, found in a draft: late, vague, over-technical, inconsistent words.

`prose` looks at words alone, `facts` at words against data, languages and channels. Pure: nothing is changed.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from .finding import Finding, Level
from .prose import prose

if TYPE_CHECKING:
    from channels.models import Channel
    from incidents.models import IncidentUpdate, Rendition

    from .facts import Draft

__all__ = ["Finding", "Level", "check", "check_prepared", "prepared", "prose"]

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


def prepared(words: Mapping[str, Mapping[str, str]], stage: str, maintenance: bool) -> "Draft":
    """The draft that begins with prepared words, by language, in an incident that is not there. No queries."""
    from incidents import rendering
    from incidents.models import OVER, Incident, IncidentUpdate, Stage

    from .facts import Draft

    now, over = timezone.now(), stage in OVER
    update = IncidentUpdate(
        incident=Incident(maintenance=maintenance, started_at=now + timedelta(hours=1 if maintenance else -1)),
        stage=stage,
        notify=False,
        next_update_at=None if over or maintenance else now + timedelta(minutes=30),
        expected_resolution_at=None if over and not maintenance else now + timedelta(hours=2),
    )
    # As declaring.start_draft and rendering.values know them by then.
    unknown = {"next_update"} if over or maintenance else set()
    unknown |= set() if maintenance else {"begins", "ends"}
    unknown |= set() if stage in (Stage.RESOLVED, Stage.COMPLETED) else {"resolved"}
    unknown |= {"expected_resolution"} if over and not maintenance else set()
    values = {}
    for locale in words:
        sample = rendering.sample_values(locale)
        values[locale] = {name: text for name, text in sample.items() if name not in unknown}
    return Draft(update, words, values, (), ())


def check_prepared(words: Mapping[str, Mapping[str, str]], stage: str, maintenance: bool) -> list[Finding]:
    """What would be found in a draft that begins with prepared words, before anybody touched it. No queries."""
    from . import facts

    found = facts.findings(prepared(words, stage, maintenance))
    for locale, texts in words.items():
        found += prose(texts, locale, (settings.PORTAL_NAME,))
    return sorted(found, key=lambda one: ORDER.index(one.level))
