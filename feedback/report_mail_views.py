"""Stop a report by email from the mail itself: no login, no cookie; the signed address is the key (RFC 8058)."""

from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from .models.report_mail import ReportSubscription
from .report_mail import SALT


@csrf_exempt  # mail programs post here without a cookie
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def stop(request: HttpRequest, token: str) -> HttpResponse:
    """GET asks and changes nothing; POST stops it."""
    try:
        pk = signing.loads(token, salt=SALT)
        if type(pk) is not int:
            raise TypeError
    except (signing.BadSignature, ValueError, TypeError):
        text = _("Open it again from the message, or copy the whole address: a part of it seems to be missing.")
        return _page(request, _("This link does not work"), text, 404)
    one = ReportSubscription.objects.filter(pk=pk).first()
    with translation.override(one.locale if one else translation.get_language()):
        if one is None:
            return _page(request, _("Nothing left to do"), _("You do not get this report any more."))
        if request.method == "POST":
            ReportSubscription.objects.filter(pk=one.pk).update(active=False)
            one.active = False
        if not one.active:
            return _page(request, _("Stopped"), _("You do not get this report any more."))
        text = _("You will get no more of this report by email. You can still read it in the portal.")
        return _page(request, _("Stop this report?"), text, ask=True)


def _page(request: HttpRequest, title: str, text: str, status: int = 200, ask: bool = False) -> HttpResponse:
    response = render(request, "feedback/report_stop.html", {"title": title, "text": text, "ask": ask}, status=status)
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
