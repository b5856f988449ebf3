"""Who changed what: the base of everything that keeps its versions."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from simple_history.admin import SimpleHistoryAdmin

from commsportal.admin import PortalModelAdmin
from incidents.errors import NotAllowed

from .refusal import refused


class HistoryAdmin(SimpleHistoryAdmin, PortalModelAdmin):
    """Keeps who changed what. Going back is a new edit, seen by whoever reads the history: nothing is reverted."""

    def revert_disabled(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # The library only hides the button: a POST would still write the old version back.
        if request.method != "GET":
            error = NotAllowed(
                _("An old version is not put back. Copy its words into a new edit, which the history shows.")
            )
            return refused(request, error, request.path)
        return super().history_form_view(request, *args, **kwargs)
