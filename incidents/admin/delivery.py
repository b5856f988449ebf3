"""The delivery page of an update: how far it is, what failed and why, and the way out."""

import csv
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import F, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from channels.models import Channel, Delivery, Dispatch, Recipient
from channels.reasons import explain
from commsportal.spreadsheet import inert
from incidents import declaring, publishing
from incidents.errors import Problem, Refused
from incidents.models import OVER, IncidentUpdate

from . import glance
from .board import board, number
from .compose import url
from .refusal import refused

# ── Pages ───────────────────────────────────────────────────────────────────


def urls(model_admin: ModelAdmin) -> list[URLPattern]:
    """The URLs below an update's own; IncidentUpdateAdmin includes them."""

    def at(route: str, name: str, view: Any, methods: Any = require_safe) -> URLPattern:
        return path(
            f"<int:object_id>/delivery/{route}",
            model_admin.admin_site.admin_view(methods(partial(view, model_admin))),
            name=f"incidents_incidentupdate_{name}",
        )

    return [
        at("", "delivery", page),
        at("progress/", "delivery_progress", progress),
        at("retry/", "retry", retry, require_POST),
        at("stop/", "stop", stop, require_http_methods(["GET", "HEAD", "POST"])),
        at("correct/", "correct", correct, require_http_methods(["GET", "HEAD", "POST"])),
        at("failures.csv", "delivery_failures", failures_csv),
    ]


def _update(request: HttpRequest, object_id: int) -> IncidentUpdate:
    if not request.user.has_perm("channels.view_dispatch"):
        raise PermissionDenied
    visible = IncidentUpdate.objects.for_user(request.user).select_related("incident")
    return get_object_or_404(visible, pk=object_id)


def _facts(request: HttpRequest, update: IncidentUpdate) -> dict[str, Any]:
    operates = update.incident.may_operate(request.user)
    return {
        "update": update,
        "board": board(update),
        "may_retry": operates and request.user.has_perm("channels.retry_dispatch"),
        "may_correct": update.status == IncidentUpdate.Status.PUBLISHED
        and not update.imported
        and update.may("write", request.user),
        "corrections": list(update.corrections.order_by("pk")),
        "may_stop": operates and request.user.has_perm("incidents.publish_incidentupdate"),
        "may_test": request.user.has_perm("channels.test_channel") and request.user.has_perm("channels.view_channel"),
        "may_export": _may_export(request),
    }


def page(model_admin: ModelAdmin, request: HttpRequest, object_id: int) -> HttpResponse:
    """How far it is; looks again by itself while it is not finished."""
    update = _update(request, object_id)
    context = {
        **model_admin.admin_site.each_context(request),
        **_facts(request, update),
        "title": _("Delivery of update %(number)s") % {"number": update.number},
        "opts": model_admin.opts,
    }
    return render(request, "admin/incidents/incidentupdate/delivery.html", context)


def progress(model_admin: ModelAdmin, request: HttpRequest, object_id: int) -> HttpResponse:
    """The part of the page that changes, for the script that asks for it."""
    update = _update(request, object_id)
    return render(request, "admin/incidents/incidentupdate/delivery_progress.html", _facts(request, update))


def retry(model_admin: ModelAdmin, request: HttpRequest, object_id: int) -> HttpResponse:
    """POST channel, purpose, status, code: send again to those for whom it failed.

    Where a later update has been published, or these words are being corrected, it asks first; `old_words` is the
    answer.
    """
    update = _update(request, object_id)
    status, purpose = request.POST.get("status", ""), request.POST.get("purpose", Dispatch.Purpose.UPDATE)
    old_words = bool(request.POST.get("old_words"))
    try:
        channel = get_object_or_404(Channel, pk=int(request.POST.get("channel", "")))
        if status not in (Delivery.Status.FAILED, Delivery.Status.UNKNOWN):
            raise Refused(_("Only what failed, or what is not known to have arrived, can be sent again."))
        if status == Delivery.Status.UNKNOWN and not request.POST.get("sure"):
            raise Refused(_("Tick the box first: some of these people may get the message twice."))
        later = update.overtaken_by() if purpose == Dispatch.Purpose.UPDATE else None
        correction = update.being_corrected_by() if purpose == Dispatch.Purpose.UPDATE else None
        if (later or correction) and not old_words:
            return _ask_old_words(model_admin, request, update, channel, later, correction)
        people = update.retry(request.user, channel, purpose, status, request.POST.get("code"), old_words)
    except ValueError:
        return refused(request, Refused(_("No channel was chosen.")), url("delivery", update))
    except Problem as error:
        return refused(request, error, url("delivery", update))
    words = ngettext("%(n)s person is being tried again.", "%(n)s people are being tried again.", people)
    messages.success(request, words % {"n": number(people)})
    return HttpResponseRedirect(url("delivery", update))


def correct(model_admin: ModelAdmin, request: HttpRequest, object_id: int) -> HttpResponse:
    """GET says whom a correction goes to; POST begins it."""
    update = _update(request, object_id)
    if request.method == "POST":
        try:
            draft = declaring.start_correction(update, request.user)
        except Problem as error:
            return refused(request, error, url("delivery", update))
        messages.info(request, _("These are the words that went out: put them right, then ask for approval."))
        return HttpResponseRedirect(url("compose", draft))
    context = {
        **model_admin.admin_site.each_context(request),
        **_facts(request, update),
        "title": _("Correct what was said?"),
        "opts": model_admin.opts,
        "subject": glance.words(update).get("subject", ""),
    }
    return render(request, "admin/incidents/incidentupdate/correct.html", context)


def _ask_old_words(
    model_admin: ModelAdmin,
    request: HttpRequest,
    update: IncidentUpdate,
    channel: Channel,
    later: IncidentUpdate | None,
    correction: IncidentUpdate | None,
) -> HttpResponse:
    """What would go out, what customers were told or will be told since, and to how many it would go all the same."""
    facts = _facts(request, update)
    asked = {
        name: request.POST[name] for name in ("channel", "purpose", "status", "code", "sure") if name in request.POST
    }
    people = sum(
        failure.people
        for failure in facts["board"].failures
        if (failure.row.channel, failure.row.purpose) == (channel, Dispatch.Purpose.UPDATE)
        and failure.status == asked["status"]
        and asked.get("code", failure.code) == failure.code
    )
    context = {
        **model_admin.admin_site.each_context(request),
        **facts,
        "title": _("Send old words?") if later else _("Send words that are being corrected?"),
        "opts": model_admin.opts,
        "later": later,
        "correction": correction,
        "corrector": glance.name(correction.author) if correction else "",
        "resolved_since": update.incident.is_over and update.stage not in OVER,
        "subject": glance.words(update).get("subject", ""),
        "way": channel,
        "broadcast": bool(channel.capabilities and channel.capabilities.broadcast),
        "people": people,
        "asked": asked,
    }
    return render(request, "admin/incidents/incidentupdate/delivery_old_words.html", context)


def stop(model_admin: ModelAdmin, request: HttpRequest, object_id: int) -> HttpResponse:
    """GET asks, naming the people; POST stops what is not yet sent."""
    update = _update(request, object_id)
    if request.method != "POST":
        context = {
            **model_admin.admin_site.each_context(request),
            **_facts(request, update),
            "title": _("Stop sending?"),
            "opts": model_admin.opts,
        }
        return render(request, "admin/incidents/incidentupdate/delivery_stop.html", context)
    try:
        people = update.stop(request.user)
    except Problem as error:
        return refused(request, error, url("delivery", update))
    words = ngettext("Stopped. %(n)s person will not get this.", "Stopped. %(n)s people will not get this.", people)
    messages.warning(request, words % {"n": number(people)})
    return HttpResponseRedirect(url("delivery", update))


# ── Export ──────────────────────────────────────────────────────────────────


def _may_export(request: HttpRequest) -> bool:
    return request.user.has_perm("channels.view_delivery") and request.user.has_perm("channels.view_recipient")


class _Echo:
    def write(self, value: str) -> str:
        return value


def failures_csv(model_admin: ModelAdmin, request: HttpRequest, object_id: int) -> StreamingHttpResponse:
    """Everybody who was not, or perhaps not, reached: one line each, with the reason."""
    update = _update(request, object_id)
    if not _may_export(request):
        raise PermissionDenied
    response = StreamingHttpResponse(_failure_lines(update), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="not-reached-{update.incident.uid}-{update.number}.csv"'
    return response


def _failure_lines(update: IncidentUpdate) -> Iterator[str]:
    writer = csv.writer(_Echo())
    headers = (_("Channel"), _("About"), _("Language"), _("Address"), _("Name"), _("What happened"))
    yield writer.writerow([*headers, _("Code"), _("Detail"), _("Attempts"), _("When")])
    channels = {c.pk: c for c in Channel.objects.filter(dispatches__in=publishing.dispatches(update)).distinct()}
    person = Recipient.objects.filter(pk=OuterRef("recipient_id"))
    rows = (
        Delivery.objects.filter(dispatch__in=publishing.dispatches(update))
        .filter(status__in=[Delivery.Status.FAILED, Delivery.Status.UNKNOWN])
        .annotate(
            # No join: the row of an erased person stays, without the address.
            address=Subquery(person.values("address")[:1]),
            who=Subquery(person.values("name")[:1]),
            channel=F("dispatch__channel_id"),
            locale=F("dispatch__locale"),
            purpose=F("dispatch__purpose"),
        )
        .order_by("id")
    )
    for row in rows.iterator(chunk_size=2000):
        one: Any = row
        yield writer.writerow(
            [
                inert(channels[one.channel].name),
                inert(str(Dispatch.Purpose(one.purpose).label)),
                one.locale,
                inert(one.address or ""),
                inert(one.who or ""),
                inert(f"{row.get_status_display()}: {explain(row.code).words}"),
                inert(row.code),
                inert(channels[one.channel].mask(row.detail)),
                row.attempts,
                timezone.localtime(row.at).isoformat(timespec="seconds"),
            ]
        )
