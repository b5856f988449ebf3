"""What a survey found, and whether each message was clear: by incident, template, channel and language.

Means have a 95 % interval by Student's t, shares one by Wilson; of fewer than FEW answers nothing is said. Everything
is read in a fixed number of queries, whatever the number of answers.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from math import sqrt
from typing import Any

from django.conf import settings
from django.db.models import Count, QuerySet
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.models import Channel, Delivery, Dispatch
from incidents.models import WORDS, IncidentUpdate, MessageTemplate, Rendition, Stage

from .models import SurveyAnswer, SurveyQuestion, SurveyVersion, UpdateVote
from .models.survey import worded

FEW = 5
Z = 1.959964  # 95 % of a normal distribution lie within so many deviations
Group = tuple[str, str]  # the kind of group, and its name


@dataclass(frozen=True)
class Estimate:
    """A mean or a share of `n` answers, and between what it surely lies; None where they are too few to say."""

    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


def mean(counts: Counter[int]) -> Estimate:
    """Of scores from 1 to 5, by how often each was given."""
    n = sum(counts.values())
    if n < FEW:
        return Estimate(n)
    middle = sum(score * count for score, count in counts.items()) / n
    spread = sum(count * (score - middle) ** 2 for score, count in counts.items()) / (n - 1)
    half = _t(n - 1) * sqrt(spread / n)
    return Estimate(n, middle, max(1.0, middle - half), min(5.0, middle + half))


def share(part: int, n: int) -> Estimate:
    """Wilson's interval: it stays between 0 and 1, and says something of none and of all."""
    if n < FEW:
        return Estimate(n)
    p, weight = part / n, Z * Z / n
    centre = (p + weight / 2) / (1 + weight)
    half = Z * sqrt(p * (1 - p) / n + weight / (4 * n)) / (1 + weight)
    return Estimate(n, p, max(0.0, centre - half), min(1.0, centre + half))


def _t(df: int) -> float:
    """The 97.5 % point of Student's t, by Cornish and Fisher's expansion: right to 0.3 % from 4 degrees on."""
    z3, z5, z7 = Z**3, Z**5, Z**7
    first = (z3 + Z) / 4
    second = (5 * z5 + 16 * z3 + 3 * Z) / 96
    third = (3 * z7 + 19 * z5 + 17 * z3 - 15 * Z) / 384
    return Z + first / df + second / df**2 + third / df**3


# ── A survey ────────────────────────────────────────────────────────────────


@dataclass
class Row:
    """One group: everybody, or those of one incident, template, channel or language."""

    kind: str
    name: str
    invited: int | None = None  # None where it cannot be told, as by template
    answered: int = 0
    scores: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    chosen: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def rate(self) -> float | None:
        return min(1.0, self.answered / self.invited) if self.invited else None

    def means(self, questions: Iterable[dict[str, Any]]) -> list[Estimate]:
        return [mean(self.scores[one["key"]]) for one in questions]


def grouped(rows: Iterable[Any]) -> list[tuple[str, list[Any]]]:
    """Rows of each kind of group under its name, in the order of KINDS."""
    return [(str(KIND_NAMES[kind]), list(found)) for kind, found in groupby(rows, key=lambda one: one.kind)]


@dataclass(frozen=True)
class Results:
    """`rows` begin with everybody; `shares` are those of asked people, in percent, where not all were."""

    version: SurveyVersion
    rows: list[Row]
    shares: list[int]

    @property
    def everybody(self) -> Row:
        return self.rows[0]

    def choices(self, locale: str) -> list[tuple[str, list[tuple[str, Estimate]]]]:
        """Each question with a choice, and the share of each answer."""
        found = []
        for question in self.version.questions:
            if question["kind"] == SurveyQuestion.Kind.CHOICE:
                counts = self.everybody.chosen[question["key"]]
                n = sum(counts.values())
                lines = [(worded(one["text"], locale), share(counts[one["key"]], n)) for one in question["choices"]]
                found.append((worded(question["text"], locale), lines))
        return found


KIND_NAMES = {
    "": gettext_lazy("Everybody"),
    "channel": gettext_lazy("By channel"),
    "language": gettext_lazy("By language"),
    "update": gettext_lazy("By update"),
    "incident": gettext_lazy("By incident"),
    "template": gettext_lazy("By template"),
}
KINDS = list(KIND_NAMES)


def of_survey(version: SurveyVersion, incidents: QuerySet[Any]) -> Results:
    """What was answered to one version about these incidents."""
    columns = ("pk", "uid", "title", "started_at")
    titles = {
        f"incident-{uid}": (pk, f"{title} · {formats.date_format(timezone.localtime(at), _('j M Y'))}")
        for pk, uid, title, at in incidents.order_by().values_list(*columns)
    }
    by_pk = dict(titles.values())
    chosen = incidents.order_by().values("pk")
    answers = SurveyAnswer.objects.filter(version=version, incident__in=chosen)
    rows = list(answers.values_list("incident_id", "channel_id", "locale", "given").annotate(n=Count("*")).order_by())
    templates = Templates(incidents.filter(survey_answers__version=version))
    channels: dict[int | None, str] = dict(Channel.objects.values_list("pk", "name"))
    found: dict[tuple[str, Any], Row] = {("", ""): Row("", "")}

    def groups(incident: int, channel: int | None, locale: str) -> Iterator[Row]:
        named = {
            ("", ""): "",
            ("incident", incident): by_pk[incident],
            ("channel", channel): channels.get(channel) or _("not known"),
            ("language", locale): language(locale),
        }
        for group, name in named.items():
            yield found.setdefault(group, Row(group[0], name))

    for incident, channel, locale, given, n in rows:
        made_from = [
            found.setdefault(("template", name), Row("template", name))
            for name in templates.of_incident(incident, locale)
        ]
        for one in (*groups(incident, channel, locale), *made_from):
            one.answered += n
            for key, value in given.items():
                (one.scores if isinstance(value, int) else one.chosen)[key][value] += n  # type: ignore[index]
    shares = set()
    for thread, channel, locale, audience, reached in _invitations(version, list(titles)):
        shares.add(audience.get("share", 100))
        for one in groups(titles[thread][0], channel, locale):
            one.invited = (one.invited or 0) + reached
    ordered = sorted(found.values(), key=lambda one: (KINDS.index(one.kind), one.name))
    return Results(version, ordered, sorted(shares))


def _invitations(version: SurveyVersion, threads: list[str]) -> list[tuple[str, int, str, dict[str, Any], int]]:
    """(thread, channel, language, audience, people reached) of each invitation to this version."""
    first = not SurveyVersion.objects.filter(pk__lt=version.pk).exists()
    sent = Dispatch.objects.filter(purpose=Dispatch.Purpose.SURVEY, thread__in=threads).order_by()
    sent = sent.filter(audience__survey=version.pk) if not first else sent
    rows = {row[0]: row[1:] for row in sent.values_list("pk", "thread", "channel_id", "locale", "audience")}
    # From before surveys had versions: what names none asked the first.
    rows = {pk: row for pk, row in rows.items() if row[3].get("survey", version.pk) == version.pk}
    reached = Delivery.objects.filter(dispatch__in=list(rows), status__in=Delivery.REACHED)
    counts = dict(reached.values_list("dispatch_id").annotate(n=Count("*")).order_by())
    return [(*row, counts.get(pk, 0)) for pk, row in rows.items()]


def language(locale: str) -> str:
    return str(dict(settings.LANGUAGES).get(locale, locale))


# ── Template versions ───────────────────────────────────────────────────────


class Templates:
    """From which prepared words the updates of some incidents were made: “Outage · Resolved · en, words 2”.

    Words are counted by the template's history; those in force when the update was begun are the ones meant.
    """

    def __init__(self, incidents: QuerySet[Any]) -> None:
        made = Rendition.objects.filter(
            update__incident__in=incidents.order_by().values("pk"),
            update__status=IncidentUpdate.Status.PUBLISHED,
            template__isnull=False,
        )
        columns = ("update_id", "update__incident_id", "locale", "template_id", "update__created_at")
        rows = list(made.order_by("update_id").values_list(*columns))
        wanted = {row[3] for row in rows}
        names = {
            pk: f"{scenario} · {Stage(stage).label} · {locale}"
            for pk, scenario, stage, locale in MessageTemplate.objects.filter(pk__in=wanted).values_list(
                "pk", "scenario__name", "stage", "locale"
            )
        }
        history: dict[int, list[tuple[Any, tuple[str, ...]]]] = defaultdict(list)
        records = MessageTemplate.history.filter(id__in=wanted).order_by("history_date", "history_id")
        for pk, at, *words in records.values_list("id", "history_date", *WORDS):
            if not history[pk] or history[pk][-1][1] != tuple(words):
                history[pk].append((at, tuple(words)))
        self._of_update: dict[tuple[int, str], str] = {}
        self._of_incident: dict[tuple[int, str], list[str]] = defaultdict(list)
        for update, incident, locale, template, at in rows:
            number = max(1, sum(since <= at for since, _words in history[template]))
            name = _("%(template)s, words %(number)s") % {"template": names[template], "number": number}
            self._of_update[update, locale] = name
            if name not in self._of_incident[incident, locale]:
                self._of_incident[incident, locale].append(name)

    def of_incident(self, incident: int, locale: str) -> list[str]:
        """All that its readers of this language read."""
        return self._of_incident.get((incident, locale), [])

    def of_update(self, update: int, locale: str) -> str:
        return self._of_update.get((update, locale), "")


# ── Votes ───────────────────────────────────────────────────────────────────


@dataclass
class Votes:
    """How many found an update, or a group of them, clear."""

    kind: str
    name: str
    clear: int = 0
    n: int = 0

    @property
    def share(self) -> Estimate:
        return share(self.clear, self.n)


def of_votes(incidents: QuerySet[Any]) -> list[Votes]:
    """Everybody first, then by update, template, channel and language."""
    votes = UpdateVote.objects.filter(update__incident__in=incidents.order_by().values("pk"))
    columns = ("update_id", "update__incident__title", "update__number", "channel__name", "locale", "clear")
    rows = list(votes.values_list(*columns).annotate(n=Count("*")).order_by("update__incident_id", "update__number"))
    if not rows:
        return []
    templates = Templates(incidents.filter(updates__votes__isnull=False))
    found: dict[Group, Votes] = {}
    for update, title, number, channel, locale, clear, n in rows:
        groups = [
            ("", ""),
            ("update", _("%(title)s, update %(number)s") % {"title": title, "number": number}),
            ("channel", channel or _("Status page")),
            ("language", language(locale)),
        ]
        if template := templates.of_update(update, locale):
            groups.append(("template", template))
        for group in groups:
            one = found.setdefault(group, Votes(*group))
            one.n += n
            one.clear += n if clear else 0
    return sorted(found.values(), key=lambda one: KINDS.index(one.kind))
