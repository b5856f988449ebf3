"""Improvement actions out of what was learned: of an answer, of a report. Others add their kind to SOURCES."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from incidents.errors import NotAllowed
from incidents.models import Incident
from incidents.models.decision import name_of

from .models import ActionStep, ImprovementAction, SurveyAnswer
from .screening import screened
from .suggesting import Suggestion

DUE = timedelta(days=14)
# Kind of a source and the page that shows it, which takes its key.
SOURCES = {"answer": "admin:feedback_surveyanswer_change", "incident": "admin:feedback_report_incident"}
REPORT = "report:"  # before the key of a suggestion: a period's report has no key


def source_url(action: ImprovementAction) -> str:
    """Where to read what it was made of; empty if it was made by hand."""
    if action.source.startswith(REPORT):
        return reverse("admin:feedback_report")
    kind, _colon, key = action.source.partition(":")
    return reverse(SOURCES[kind], args=[key]) if kind in SOURCES else ""


def make(
    by: Any, title: str, why: str = "", source: str = "", due_on: date | None = None, **about: Any
) -> ImprovementAction:
    """An action of one's own, due in two weeks; `about` are its incident and plan. Raises NotAllowed."""
    if not by.has_perm("feedback.add_improvementaction"):
        raise NotAllowed(_("%(who)s may not make improvement actions.") % {"who": name_of(by)})
    with transaction.atomic():
        action = ImprovementAction.objects.create(
            title=Truncator(title).chars(200),
            why=why,
            source=source,
            owner=by,
            due_on=due_on or timezone.localdate() + DUE,
            **about,
        )
        action.steps.create(by=by, verb=ActionStep.Verb.MAKE)
    return action


def from_answer(answer: SurveyAnswer, by: Any) -> ImprovementAction:
    """What a customer wrote, without personal data, becomes something to do. One that was made of it already is it."""
    source = f"answer:{answer.pk}"
    if found := ImprovementAction.objects.filter(source=source).first():
        return found
    why = "\n".join(f"{question} {said}" for question, said, _free in answer.in_words(screened(answer)))
    title = _("Look into: %(title)s") % {"title": answer.incident.title}
    return make(by, title, why, source, incident=answer.incident, plan=answer.incident.plan)


def from_incident(incident: Incident, by: Any, why: str = "") -> ImprovementAction:
    """What a report showed becomes something to do. There may be several of one report."""
    title = _("Do better: %(title)s") % {"title": incident.title}
    return make(by, title, why, f"incident:{incident.pk}", incident=incident, plan=incident.plan)


def from_suggestion(one: Suggestion, period: str, by: Any) -> ImprovementAction:
    """What the figures of a period say becomes something to do. While one is still to be done, that is it."""
    source = f"{REPORT}{one.key}"[:64]
    if found := taken_up([one]).get(one.key):
        return found
    return make(by, one.what, f"{one.why} ({period})", source, plan_id=one.plan)


def taken_up(suggestions: Iterable[Suggestion]) -> dict[str, ImprovementAction]:
    """The actions that are still to be done of suggestions, by the key of each. One query."""
    sources = {f"{REPORT}{one.key}"[:64]: one.key for one in suggestions}
    live = ImprovementAction.objects.live().filter(source__in=sources).select_related("owner")
    return {sources[action.source]: action for action in live}
