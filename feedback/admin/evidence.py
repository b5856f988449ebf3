"""Evidence in the admin: the page on which somebody takes it, who took it before, and the keys that sign it."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from commsportal.admin import ReadOnlyAdmin
from feedback import evidence
from feedback.models.evidence import EvidenceKey, EvidencePack, may_take
from incidents.admin.refusal import refused
from incidents.errors import NotAllowed
from incidents.models import Incident

LISTED = 20  # packs that were taken before


@admin.register(EvidencePack)
class EvidencePackAdmin(ReadOnlyAdmin):
    list_display = ["at", "incident", "by", "addresses", "finished_at", "size"]
    list_filter = ["addresses", "at"]
    list_select_related = ["incident", "by"]
    search_fields = ["incident__title", "by__username", "manifest_sha256"]
    fields = ["incident", "by", "at", "addresses", "finished_at", "size", "manifest_sha256"]


@admin.register(EvidenceKey)
class EvidenceKeyAdmin(ReadOnlyAdmin):
    list_display = ["public", "created_at"]
    fields = ["public", "created_at"]


def page(request: HttpRequest, incident: Incident, context: dict[str, Any]) -> HttpResponseBase:
    """GET says what a pack holds and who took one before; POST takes it, and writes down who did."""
    back = reverse("admin:feedback_report_incident", args=[incident.pk])
    if not may_take(request.user, incident):
        text = _(
            "You may not take the evidence of this incident: the permission, or one of its components, is missing."
        )
        return refused(request, NotAllowed(text), back)
    may_have_addresses = request.user.has_perm("feedback.take_evidence_addresses")  # type: ignore[union-attr]
    if request.method == "POST":
        addresses = request.POST.get("addresses") == "yes"
        if addresses and not may_have_addresses:
            text = _("You may not take the addresses of recipients. Take the pack with keyed hashes in their place.")
            return refused(request, NotAllowed(text), request.path)
        return _take(request, incident, addresses)
    key = EvidenceKey.objects.first()
    context |= {
        "incident": incident,
        "may_have_addresses": may_have_addresses,
        "packs": EvidencePack.objects.filter(incident=incident).select_related("by")[:LISTED],
        "key": key,
    }
    return render(request, "admin/feedback/report/evidence.html", context)


def _take(request: HttpRequest, incident: Incident, addresses: bool) -> HttpResponse | StreamingHttpResponse:
    pack = EvidencePack.objects.create(incident=incident, by=request.user, addresses=addresses)  # type: ignore[misc]
    # Streamed while it is made: nothing waits for the last of a million lines, nor holds them.
    response = StreamingHttpResponse(evidence.stream(pack), content_type="application/zip")
    name = f"evidence-{incident.uid}-{timezone.localtime(pack.at):%Y%m%d-%H%M}.zip"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response
