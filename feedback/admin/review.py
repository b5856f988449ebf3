"""The review of an incident's communication in the admin: one page on which it is drafted, written, finished, and
handed on to customers by way of an update.
"""

from collections.abc import Callable
from typing import Any

import nh3
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import translation
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt

from feedback import reviewing
from feedback.models.review import FOR_CUSTOMERS, PARTS, CommunicationReview, may_write
from incidents.admin.refusal import refused
from incidents.errors import NotAllowed, Problem, Refused
from incidents.models import Incident
from incidents.models.decision import name_of

TAGS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "strong", "em", "code", "pre", "blockquote", "a"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "br", "hr"}
# As on the status page, and tables besides.
MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).disable("image").enable("table")
VERSIONS = 50  # that are listed


def html(text: str) -> SafeString:
    """A part of a review; raw HTML in it is shown as text, and only safe links are links."""
    return mark_safe(nh3.clean(MARKDOWN.render(text), tags=TAGS, url_schemes={"http", "https", "mailto"}))


def card(request: HttpRequest, incident: Incident) -> str:
    """What the link to the review says on the page of the report; empty if there is nothing to be seen."""
    if not request.user.has_perm("feedback.view_communicationreview"):  # type: ignore[union-attr]
        return ""
    review: CommunicationReview | None = getattr(incident, "communication_review", None)
    if review:
        return _("Communication review: %(state)s") % {"state": review.state_in_words.lower()}
    return _("Write the communication review") if may_begin(request.user, incident) else ""


def may_begin(user: Any, incident: Incident) -> bool:
    return incident.is_over and not incident.maintenance and may_write(user, incident)


def page(request: HttpRequest, incident: Incident, context: dict[str, Any]) -> HttpResponse:
    """GET shows the review, or an earlier `version` of it; POST does what its button says."""
    back = reverse("admin:feedback_report_incident", args=[incident.pk])
    if not request.user.has_perm("feedback.view_communicationreview"):  # type: ignore[union-attr]
        return refused(request, NotAllowed(_("You may not read reviews of the communication.")), back)
    review = (
        CommunicationReview.objects.filter(incident=incident)
        .select_related("update", "finished_by", "incident")
        .first()
    )
    if request.method == "POST":
        try:
            return _act(request, incident, review)
        except Problem as error:
            if review and request.POST.get("do") in ("save", "finish"):
                return _show(request, incident, review, context, error)  # with what was typed
            return refused(request, error, request.path)
    return _show(request, incident, review, context)


def _act(request: HttpRequest, incident: Incident, review: CommunicationReview | None) -> HttpResponse:
    do, by = request.POST.get("do", ""), request.user
    here = HttpResponseRedirect(request.path)
    if do == "draft":
        reviewing.start(incident, by, request.POST.get("locale", ""))
        messages.success(request, _("Drafted from the facts. Read it, and put right what they do not know."))
        return here
    if review is None:
        raise Refused(_("There is no review yet: draft it first."))
    verbs: dict[str, Callable[[], HttpResponse]] = {
        "save": lambda: _save(request, review),
        "finish": lambda: _save(request, review, finish=True),
        "anew": lambda: _anew(request, review),
        "reopen": lambda: _reopen(request, review),
        "publish": lambda: _publish(request, review),
    }
    if do not in verbs:
        raise Refused(_("Choose what is to be done with the review."))
    return verbs[do]()


def _version(request: HttpRequest) -> int:
    given = request.POST.get("version", "")
    return int(given) if given.isdecimal() and len(given) < 10 else 0


def _save(request: HttpRequest, review: CommunicationReview, finish: bool = False) -> HttpResponse:
    texts = {part: request.POST[part] for part in PARTS if part in request.POST}
    review.edit(request.user, _version(request), texts, request.POST.getlist("shown"))
    if finish:
        review.finish(request.user, review.version)
        messages.success(request, _("Finished. Customers read nothing of it until you begin an update for them."))
    else:
        messages.success(request, _("Saved."))
    return HttpResponseRedirect(request.path)


def _anew(request: HttpRequest, review: CommunicationReview) -> HttpResponse:
    everything = request.POST.get("everything") == "yes"
    locale = request.POST.get("locale", review.locale)
    if locale not in dict(settings.LANGUAGES):
        raise Refused(_("“%(language)s” is no language of this portal.") % {"language": locale[:20]})
    review.draft_anew(request.user, _version(request), locale, everything)
    if everything:
        messages.success(request, _("Everything is drafted anew; what was there is among the earlier versions."))
    else:
        messages.success(request, _("Drafted anew; what people had changed stands as they left it."))
    return HttpResponseRedirect(request.path)


def _reopen(request: HttpRequest, review: CommunicationReview) -> HttpResponse:
    review.reopen(request.user)
    messages.success(request, _("It is a draft again."))
    return HttpResponseRedirect(request.path)


def _publish(request: HttpRequest, review: CommunicationReview) -> HttpResponse:
    update = reviewing.start_update(review, request.user)
    messages.success(
        request,
        _("This is what customers will read. Ask for approval: somebody who wrote nothing of it has to approve it."),
    )
    return HttpResponseRedirect(reverse("admin:incidents_incidentupdate_compose", args=[update.pk]))


def _show(
    request: HttpRequest,
    incident: Incident,
    review: CommunicationReview | None,
    context: dict[str, Any],
    error: Problem | None = None,
) -> HttpResponse:
    context |= {
        "incident": incident,
        "review": review,
        "error": error,
        "languages": settings.LANGUAGES,
        "language": review.locale if review else translation.get_language(),
        "may_begin": may_begin(request.user, incident),
    }
    if review:
        records = list(review.history.select_related("history_user")[:VERSIONS])
        wanted = request.GET.get("version", "")
        old = next((one for one in records[1:] if str(one.history_id) == wanted), None)
        may = may_write(request.user, incident) and old is None
        context |= {
            "parts": _parts(request, review, old, typed=error is not None),
            "old": old,
            "versions": [{"record": one, "by": name_of(one.history_user)} for one in records],
            "editing": may and review.state == CommunicationReview.State.DRAFT,
            "may_write": may,
            "may_publish": may and request.user.has_perm("incidents.write_incidentupdate"),  # type: ignore[union-attr]
            "finished_by": name_of(review.finished_by) if review.finished_by else "",
        }
    status = error.status if error else 200
    return render(request, "admin/feedback/report/review.html", context, status=status)


def _parts(request: HttpRequest, review: CommunicationReview, old: Any, typed: bool) -> list[dict[str, Any]]:
    """Each part with its heading, as it reads in the review's language."""
    source = old or review
    with translation.override(source.locale):
        titles = {part: str(title) for part, title in PARTS.items()}
    texts = {part: request.POST.get(part, "") for part in PARTS} if typed else source.texts
    shown = request.POST.getlist("shown") if typed else source.shown
    return [
        {
            "key": part,
            "title": title,
            "text": texts.get(part, ""),
            "html": html(texts.get(part, "")),
            "touched": review.touched(part),
            "for_customers": part in FOR_CUSTOMERS,
            "shown": part in shown,
            "rows": min(24, max(4, len(texts.get(part, "")) // 90 + texts.get(part, "").count("\n") + 2)),
        }
        for part, title in titles.items()
    ]
