"""The review page: the frozen content, its audience, and the decision. Nothing here is rendered anew."""

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.models import Channel, Dispatch, Medium
from channels.providers.base import Capabilities
from incidents import approving, publishing, rendering, telling_staff
from incidents.checker import check
from incidents.errors import Problem, Refused
from incidents.models import Component, ComponentStatus, Decision, IncidentUpdate
from incidents.models.segment import in_words
from incidents.publishing import Reach
from incidents.runbooks import running

from . import glance, maintenance, preview, timeline
from .compose import FOLDER, url

if TYPE_CHECKING:
    from .update import IncidentUpdateAdmin

PAGE = {"subject": "", "text": ""}


# ── Views ───────────────────────────────────────────────────────────────────


def review(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """GET shows exactly what will be sent; POST decides: approve, approve_publish or reject."""
    update = admin.scoped(request, pk)
    if request.method != "POST":
        if update.status == IncidentUpdate.Status.DRAFT and update.may("write", request.user):
            return HttpResponseRedirect(url("compose", update))
        return _page(admin, request, update)
    try:
        return _decide(request, update)
    except Problem as error:
        update.refresh_from_db()
        return _page(admin, request, update, error)


def _decide(request: HttpRequest, update: IncidentUpdate) -> HttpResponse:
    decision, comment = request.POST.get("decision", ""), request.POST.get("comment", "")
    seen = request.POST.get("seen_hash", "")
    if decision == "reject":
        update.reject(request.user, comment, seen_hash=seen)
        messages.success(request, _("Sent back to %(name)s with your comment.") % {"name": glance.name(update.author)})
        return HttpResponseRedirect(reverse("admin:incidents_incident_change", args=[update.incident_id]))
    if decision not in (("approve",) if update.publish_at else ("approve", "approve_publish")):
        raise Refused(_("Choose: approve or send back."))
    told = [int(one) for one in request.POST.get("seen_runs", "").split(",") if one.isdecimal() and len(one) < 19]
    update.approve(request.user, comment, seen_hash=seen, typed_count=_typed_count(request), seen_runs=told)
    if update.status == IncidentUpdate.Status.IN_REVIEW:
        names = approving.approvers_in_words(update)
        messages.success(request, _("Approved by you. It waits for approval by %(names)s too.") % {"names": names})
        return HttpResponseRedirect(url("review", update))
    if decision == "approve":
        said = _("Approved. It is not sent yet.")
        if told and running.that_publish(update):
            said = _("Approved. The runbook sends it now.")
        if update.goes_by_itself:
            said = _("Approved. It goes out by itself: %(time)s.") % {
                "time": rendering.moment(update.publish_at, always_day=True)
            }
        messages.success(request, said)
        return HttpResponseRedirect(url("review", update))
    try:
        update.publish(request.user)
    except Problem as error:
        messages.warning(request, _("Approved, but not sent: %(reason)s") % {"reason": error})
        return HttpResponseRedirect(url("review", update))
    messages.success(request, _("Approved and published."))
    return HttpResponseRedirect(url("delivery", update))


def _typed_count(request: HttpRequest) -> int | None:
    digits = "".join(c for c in request.POST.get("typed_count", "") if c.isdecimal())
    return int(digits) if digits and len(digits) < 12 else None


def publish(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """GET says to how many people it goes; POST sends it."""
    update = admin.scoped(request, pk)
    if request.method != "POST":
        if update.status == IncidentUpdate.Status.PUBLISHED:
            return HttpResponseRedirect(url("delivery", update))
        return _confirm(admin, request, update, "publish")
    try:
        update.publish(request.user)
    except Problem as error:
        update.refresh_from_db()
        return _confirm(admin, request, update, "publish", error)
    messages.success(request, _("Published."))
    return HttpResponseRedirect(url("delivery", update))


def release(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """POST lets an approved notice go out by itself at its time."""
    update = admin.scoped(request, pk)
    if request.method != "POST":
        return HttpResponseRedirect(url("review", update))
    try:
        update.release(request.user)
    except Problem as error:
        update.refresh_from_db()
        return _page(admin, request, update, error)
    messages.success(
        request, _("It goes out by itself: %(time)s.") % {"time": rendering.moment(update.publish_at, always_day=True)}
    )
    return HttpResponseRedirect(url("review", update))


def glass(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """GET, with the content that was `seen` on the review page, asks for a reason; POST sends it."""
    update = admin.scoped(request, pk)
    if request.method != "POST":
        seen = request.GET.get("seen")
        # This page shows a subject alone: nobody sends in their own name what they have not read.
        if update.status == IncidentUpdate.Status.IN_REVIEW and seen != update.content_hash:
            if seen:
                text = _("The content changed after you opened it. Read it again before you decide.")
                messages.warning(request, text)
            return HttpResponseRedirect(url("review", update))
        return _confirm(admin, request, update, "glass")
    try:
        seen = request.POST.get("seen_hash", "")
        update.break_glass(request.user, request.POST.get("comment", ""), seen, _typed_count(request))
    except Problem as error:
        update.refresh_from_db()
        return _confirm(admin, request, update, "glass", error)
    messages.warning(request, _("Sent without a second person. Somebody else has to review that now."))
    return HttpResponseRedirect(url("delivery", update))


def glass_seen(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """POST closes the review of what went out without a second person."""
    update = admin.scoped(request, pk)
    if request.method != "POST":
        return HttpResponseRedirect(url("review", update))
    try:
        update.review_glass(request.user, request.POST.get("comment", ""))
    except Problem as error:
        update.refresh_from_db()
        return _page(admin, request, update, error)
    messages.success(request, _("The review is closed."))
    return HttpResponseRedirect(url("review", update))


def withdraw(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """GET asks; POST gives the draft up."""
    update = admin.scoped(request, pk)
    if request.method != "POST":
        return _confirm(admin, request, update, "withdraw")
    try:
        update.withdraw(request.user, request.POST.get("comment", ""))
    except Problem as error:
        update.refresh_from_db()
        return _confirm(admin, request, update, "withdraw", error)
    messages.success(request, _("The draft was withdrawn. Nothing was sent."))
    return HttpResponseRedirect(reverse("admin:incidents_incident_change", args=[update.incident_id]))


def _confirm(
    admin: "IncidentUpdateAdmin",
    request: HttpRequest,
    update: IncidentUpdate,
    verb: str,
    error: Problem | None = None,
) -> HttpResponse:
    Status = IncidentUpdate.Status
    ready = {"publish": (Status.APPROVED,), "glass": (Status.IN_REVIEW,)}.get(verb, IncidentUpdate.PENDING)
    may = update.may("write" if verb == "withdraw" else "publish", request.user)
    if verb == "glass":
        may = may and request.user.has_perm("incidents.break_glass")
    reach = update.reach() if verb != "withdraw" and update.status in ready else Reach(update)
    titles = {
        "publish": _("Send this update?"),
        "glass": _("Send this without a second person?"),
        "withdraw": _("Withdraw this draft?"),
    }
    page = {
        **admin.admin_site.each_context(request),
        "title": titles[verb],
        "opts": admin.opts,
        "update": update,
        "incident": update.incident,
        "verb": verb,
        "reach": reach,
        "people": preview.localise(reach.total),
        "audience": preview.audience_in_words(reach),
        "subject": next((one["subject"] for one in update.page.values()), ""),
        "possible": update.status in ready and may,
        "may": may,
        "error": error,
        "comment": request.POST.get("comment", ""),
        "warning": reach.warning() if verb == "glass" else "",
        "approved_so_far": approving.approvals(update) if verb == "glass" else [],
        "typed_count": request.POST.get("typed_count", ""),
        "seen_hash": request.POST.get("seen_hash", "") or request.GET.get("seen", ""),
    }
    return render(request, f"{FOLDER}/confirm.html", page, status=error.status if error else 200)


# ── What the page shows ─────────────────────────────────────────────────────


def _page(
    admin: "IncidentUpdateAdmin", request: HttpRequest, update: IncidentUpdate, error: Problem | None = None
) -> HttpResponse:
    user = request.user
    in_review = update.status == IncidentUpdate.Status.IN_REVIEW
    approved = update.status == IncidentUpdate.Status.APPROVED
    reach = update.reach() if in_review or approved else Reach(update)
    wrote = user.pk in update.writers()
    decisions = list(update.decisions.select_related("by"))
    asked = timeline.asked(timeline.runs_of(update.incident))
    for one in decisions:
        one.by_runbook = asked.get(one.pk, "")  # type: ignore[attr-defined]
    update.steps = decisions  # type: ignore[attr-defined]
    may_approve = update.may("approve", user)
    counts = may_approve and not wrote and (not in_review or approving.counts(update, user))
    last_needed = not in_review or approving.missing(update) <= 1
    comment = request.POST.get("comment", "")
    uncommented = isinstance(error, Refused) and request.POST.get("decision") == "reject" and not comment.strip()
    findings = check(update) if in_review or approved else []
    page = {
        **admin.admin_site.each_context(request),
        "title": _("Review: %(incident)s") % {"incident": update.incident},
        "opts": admin.opts,
        "update": update,
        "incident": update.incident,
        "error": None if uncommented else error,
        "comment_error": error if uncommented else None,
        "reach": reach,
        "people": preview.localise(reach.total),
        "audience": preview.audience_in_words(reach),
        "audience_rows": _audience_rows(reach),
        "segments": [
            (one["name"], in_words(one["conditions"])) for one in publishing.frozen_choice(update).get("segments", ())
        ],
        "warning": reach.warning() if in_review else "",
        "pages": _pages(update),
        "channels": _channels(update),
        "survey": any(m["purpose"] == Dispatch.Purpose.SURVEY for m in (update.manifest or {}).get("messages", ())),
        "components": _components(update),
        "changes": _changes(update),
        "decisions": decisions,
        "written_by": _written_by(update, decisions),
        "submitted": _last(decisions, Decision.Verb.SUBMIT),
        "blocking": [one for one in findings if one.blocks],
        "findings": [one for one in findings if not one.blocks],
        "untold": telling_staff.untold(update) if in_review else [],
        "in_review": in_review,
        "approved": approved,
        "can_decide": in_review and counts,
        # Whoever comes by a link in a message was asked about other words than these.
        "other_words": bool(request.GET.get("asked")) and request.GET["asked"] != update.content_hash,
        **(_approvals(update) if in_review else {}),
        "last_needed": last_needed,
        **_glass(update, user, decisions, counts),
        "can_send_back": approved and may_approve,
        "can_publish": approved and update.may("publish", user),
        "label": maintenance.label(update),
        "next_notice": maintenance.next_notice(update, user),
        "goes_out": maintenance.goes_out(update, user),
        "by_itself": maintenance.will_go(update, user) and last_needed,
        "why_waits": glance.why_waits(update),
        "published_by": running.that_publish(update) if in_review or approved else [],
        "can_release": approved
        and update.publish_at
        and not (update.released_by_id or glance.why_waits(update))
        and update.publish_at > timezone.now()
        and update.may("publish", user),
        "may_publish": update.may("publish", user) and last_needed,
        "can_edit": update.status in IncidentUpdate.PENDING and update.may("write", user),
        "wrote": wrote,
        "approvers": approving.approvers_in_words(update) if in_review and not counts else "",
        "delivery_url": url("delivery", update) if update.status == IncidentUpdate.Status.PUBLISHED else "",
        "comment": comment,
        "typed_count": request.POST.get("typed_count", ""),
        "seen_hash": update.content_hash,
    }
    return render(request, f"{FOLDER}/review.html", page, status=error.status if error else 200)


def _approvals(update: IncidentUpdate) -> dict[str, Any]:
    """What the plan asks for, and who gave it so far."""
    return {"asks": approving.in_words(update), "approved_so_far": approving.approvals(update)}


def _glass(update: IncidentUpdate, user: Any, decisions: list[Decision], counts: bool) -> dict[str, Any]:
    """Whether this person may send it alone, and what is known of whoever did."""
    may_break = user.has_perm("incidents.break_glass") and update.may("publish", user)
    return {
        "can_break_glass": update.status == IncidentUpdate.Status.IN_REVIEW and may_break and not counts,
        "broke": _last(decisions, Decision.Verb.GLASS) if update.waiver == Decision.Verb.GLASS else None,
        "glass_seen": _last(decisions, Decision.Verb.GLASS_SEEN),
        "can_close_glass": update.glass_is_open and _may_close_glass(update, user, decisions),
    }


def _may_close_glass(update: IncidentUpdate, user: Any, decisions: list[Decision]) -> bool:
    broke = {one.by_id for one in decisions if one.verb == Decision.Verb.GLASS}
    return update.may("approve", user) and user.pk not in update.writers() | broke


def _last(decisions: list[Decision], verb: str) -> Decision | None:
    return next((one for one in reversed(decisions) if one.verb == verb), None)


def _written_by(update: IncidentUpdate, decisions: list[Decision]) -> str:
    people = {d.by_id: glance.name(d.by) for d in decisions if d.verb in Decision.WRITING}
    if update.author_id and update.author_id not in people:
        people[update.author_id] = glance.name(update.author)
    return ", ".join(people.values())


def _audience_rows(reach: Reach) -> list[dict[str, Any]]:
    """Channel, language, people, and how they were chosen."""
    rows = []
    for channel, locale, count in reach.rows:
        able = channel.get_provider().capabilities
        language = preview.LANGUAGES.get(locale, locale)
        if able.broadcast:
            how = _("one public message for everybody who follows")
        elif able.medium == Medium.TICKET:
            how = _("the tickets linked to this incident")
        elif locale == reach.update.default_locale:
            how = _("confirmed subscribers of these components who read %(language)s or a language not written") % {
                "language": rendering.language_name(locale)
            }
        else:
            how = _("confirmed subscribers of these components who read %(language)s") % {
                "language": rendering.language_name(locale)
            }
        rows.append(
            {
                "channel": channel,
                "language": language,
                "count": _("public") if able.broadcast else preview.localise(count),
                "how": how,
                "health": channel.health,
            }
        )
    return rows


def _pages(update: IncidentUpdate) -> list[dict[str, Any]]:
    """What the status page will show, by language, as frozen."""
    return [
        {"locale": locale, "language": preview.LANGUAGES.get(locale, locale), **content}
        for locale, content in update.page.items()
    ]


def _channels(update: IncidentUpdate) -> list[dict[str, Any]]:
    """The frozen messages, by channel: {"channel", "static_copy", "messages": [...]}."""
    frozen = (update.manifest or {}).get("messages", [])
    by_pk = Channel.objects.in_bulk({m["channel"] for m in frozen})
    groups: dict[int, dict[str, Any]] = {}
    for message in frozen:
        channel = by_pk.get(message["channel"])
        able = channel.capabilities if channel else None
        group = groups.setdefault(
            message["channel"],
            {
                "channel": channel or _("a deleted channel"),
                "static_copy": bool(channel and channel.is_page),
                "messages": [],
            },
        )
        group["messages"].append(_message(message, able))
    return list(groups.values())


def _message(message: dict[str, Any], able: Capabilities | None) -> dict[str, Any]:
    """One frozen message with its parts ready to show, and its length where the channel has a limit."""
    parts = message["content"]["parts"]
    text = parts.get("text", "")
    return {
        "language": preview.LANGUAGES.get(message["locale"], message["locale"]),
        "locale": message["locale"],
        "survey": message["purpose"] == Dispatch.Purpose.SURVEY,
        "reminder": message["purpose"] == Dispatch.Purpose.REMINDER,
        "share": message["audience"].get("share"),
        "subject": parts.get("subject", ""),
        "html": preview.sample_html(parts["html"]) if "html" in parts else "",
        "text": preview.sample_text(text),
        "json": parts.get("json", ""),
        "picture": message["content"].get("picture"),
        "size": preview.sms_size(text) if able and able.max_segments else None,
        "weight": able.weigh(text) if able and able.max_weight else None,
        "limit": (able.max_segments or able.max_weight) if able else None,
    }


def _components(update: IncidentUpdate) -> list[dict[str, Any]]:
    """Name and state of every component that the update announces."""
    states = {int(pk): ComponentStatus(state) for pk, state in update.component_states.items()}
    return [{"name": c.name, "state": states[c.pk]} for c in Component.objects.filter(pk__in=states)]


def _changes(update: IncidentUpdate) -> list[dict[str, Any]]:
    """What differs from the last published update, by language; empty for the first one."""
    before = glance.said_before(update).first()
    if before is None:
        return []
    labels = {"subject": _("Subject"), "text": _("Text")}
    return [
        {
            "language": preview.LANGUAGES.get(locale, locale),
            "rows": preview.differences(before.page.get(locale, PAGE), content, labels),
        }
        for locale, content in update.page.items()
    ]
