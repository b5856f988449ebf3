"""The support brief of an incident: what may be said, to whom it matters, and where it is asked."""

from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from commsportal.time_limit import TookTooLong, time_limit
from incidents import support
from incidents.models import Incident, IncidentUpdate, KnownQuestion
from incidents.rendering import language_name, moment

from . import glance
from .segment import NAME, PATIENCE, VALUE, known_attributes

ROWS = 50  # accounts or recipients on a page


def page(model_admin: Any, request: HttpRequest, incident: Incident) -> HttpResponse:
    """Ready answers, known questions, affected accounts and tickets. The number of queries is constant."""
    said, operates = support.last_said(incident), incident.may_operate(request.user)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Support brief"),
        "opts": None,
        "incident": incident,
        "update": said,
        "stamp": _stamp(said) if said else "",
        "notes": _notes(incident, said),
        "languages": _languages(request, incident, said, operates),
        "people": _count(said) if said else 0,
        "may_list": bool(said) and request.user.has_perm("channels.view_recipient"),
        "segments": [one["name"] for one in support.publishing.frozen_choice(said).get("segments", ())] if said else [],
        "tickets": support.tickets(incident),
        "mark": support.mark(incident),
        "may_write": operates and request.user.has_perm("incidents.write_incidentupdate"),
    }
    return render(request, "admin/incidents/incident/support.html", context)


def changed(request: HttpRequest, incident: Incident) -> HttpResponse:
    """For the script: 304 while the page that has this mark is still right; else {"update": key of the last words}."""
    etag = f'"{support.mark(incident)}"'
    known = [one.strip().removeprefix("W/") for one in request.headers.get("If-None-Match", "").split(",")]
    said = None if etag in known else support.last_said(incident)
    answer = HttpResponseNotModified() if etag in known else JsonResponse({"update": said.pk if said else None})
    answer["ETag"], answer["Cache-Control"] = etag, "no-cache, private"
    return answer


def affected(model_admin: Any, request: HttpRequest, incident: Incident) -> HttpResponse:
    """Whom the last update was aimed at, by an attribute such as the account, or one by one.

    `by`: the attribute; empty: one by one. `q`: what to search for, also in the attribute `by`, or else `in`.
    """
    if not request.user.has_perm("channels.view_recipient"):
        raise PermissionDenied
    said = support.last_said(incident)
    known = known_attributes()
    by = _name(request.GET.get("by", support.likely(known)))
    within = by or _name(request.GET.get("in", ""))
    text = " ".join(request.GET.get("q", "").replace("\0", "").split())[:VALUE]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Affected accounts"),
        "opts": None,
        "incident": incident,
        "update": said,
        "attributes": known,
        "by": by,
        "q": text,
        "within": within,
        "query": urlencode({"by": by, "q": text, "in": within}),
        **(_rows(said, by, within, text, request.GET.get("page", "")) if said else {}),
    }
    return render(request, "admin/incidents/incident/affected.html", context)


def _name(text: str) -> str:
    """The name of an attribute, as far as one can be."""
    return text.replace("\0", "")[:NAME]


def _rows(said: IncidentUpdate, by: str, within: str, text: str, number: str) -> dict[str, Any]:
    people = support.search(support.affected(said), text, within)
    rows = support.accounts(people) if by else people.order_by("name", "pk").defer("signing")
    try:
        with time_limit(PATIENCE):
            shown = Paginator(rows, ROWS).get_page(number)
            shown.object_list = list(shown.object_list)
            found: dict[str, Any] = {"page": shown, "total": shown.paginator.count}
            if by:
                found["without"] = support.without(people)
            return found
    except TookTooLong:
        return {"too_many": True}


# ── Parts of the page ───────────────────────────────────────────────────────


def _stamp(said: IncidentUpdate) -> str:
    at, who = support.approved_in_words(said)
    words = {"time": moment(at or said.published_at), "who": who, "number": said.number}
    return _("As approved at %(time)s by %(who)s; update %(number)s.") % words


def _notes(incident: Incident, said: IncidentUpdate | None) -> list[tuple[str, str]]:
    """(tone, sentence): what makes these words less than the whole truth."""
    found = []
    if said is None:
        text = _(
            "Customers have been told nothing yet, so there is nothing that may be said. Wait for the first update."
        )
        found.append(("bad", _("The incident was declared by mistake.") if incident.was_dismissed else text))
    due = support.overdue(incident, said)
    if due and said:
        text = _("Customers were promised news by %(time)s, and there is none. Say that you know no more than this.")
        found.append(("bad", text % {"time": moment(due)}))
    pending = support.being_written(incident)
    if pending and said and pending.corrects_id == said.pk:
        text = _("%(who)s is correcting these words: ask before you go on using them.")
        found.append(("bad", text % {"who": glance.name(pending.author)}))
    elif pending and said:
        text = _("%(who)s is writing a newer update. Until it is published, these are the words.")
        if pending.status == IncidentUpdate.Status.IN_REVIEW:
            text = _("A newer update by %(who)s waits for approval. Until it is published, these are the words.")
        if pending.status == IncidentUpdate.Status.APPROVED:
            text = _(
                "A newer update by %(who)s is approved and about to be published. Until then, these are the words."
            )
        found.append(("warn", text % {"who": glance.name(pending.author)}))
    return found


def _languages(
    request: HttpRequest, incident: Incident, said: IncidentUpdate | None, operates: bool
) -> list[dict[str, Any]]:
    """For each language: the answer that may be given, and the questions."""
    answers = {one.locale: one for one in support.answers(said)} if said else {}
    questions = support.questions(incident)
    approves = operates and request.user.has_perm("incidents.approve_incidentupdate")
    locales = list(dict.fromkeys([*answers, *(one.locale for one in questions)]))
    locales.sort(key=lambda one: one != get_language())  # the reader's own first
    return [
        {
            "locale": locale,
            "name": language_name(locale),
            "answer": answers.get(locale),
            "questions": [_question(one, said, approves) for one in questions if one.locale == locale],
        }
        for locale in locales
    ]


def _question(one: KnownQuestion, said: IncidentUpdate | None, approves: bool) -> dict[str, Any]:
    ready = one.is_approved
    stamp = ""
    if ready:
        stamp = _("As approved at %(time)s by %(who)s.") % {
            "time": moment(one.approved_at),
            "who": glance.name(one.approved_by),
        }
    # What was approved for this incident before customers were told more may be overtaken by it.
    older = bool(ready and one.incident_id and said and said.published_at and one.approved_at < said.published_at)  # type: ignore[operator]
    return {"row": one, "ready": ready, "stamp": stamp, "older": older, "may_approve": approves and not ready}


def _count(said: IncidentUpdate) -> int | None:
    """How many recipients the update was aimed at; None if that takes too long to count."""
    try:
        with time_limit(PATIENCE):
            return support.affected(said).count()
    except TookTooLong:
        return None
