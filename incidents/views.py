"""Addresses of incidents outside of the admin and the status page."""

from django.contrib import messages
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import approving


@never_cache
@require_safe
def approve(request: HttpRequest, token: str) -> HttpResponse:
    """From a message that asks for approval to the page where it is given; the login is asked for there.

    The link carries which content was meant, and no right: whoever opens it sees what their login lets them see.
    """
    try:
        pk, content_hash = approving.read_link(token)
    except (signing.BadSignature, TypeError, ValueError):
        messages.warning(request, _("This link is over a week old, or not whole. What waits for you is listed here."))
        return HttpResponseRedirect(reverse("admin:index"))
    page = reverse("admin:incidents_incidentupdate_review", args=[pk])
    return HttpResponseRedirect(f"{page}?asked={content_hash}")
