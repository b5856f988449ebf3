"""The picture of an update: chosen, described and removed by a form of its own on the compose page."""

from typing import TYPE_CHECKING

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from channels.models import Picture
from incidents.errors import Problem
from incidents.forms import ComposeForm, PictureForm
from incidents.models import IncidentUpdate

from . import compose

if TYPE_CHECKING:
    from .update import IncidentUpdateAdmin


def picture(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """POST sets, replaces, describes anew or (do=remove) removes it, and leads back to the compose page."""
    update = admin.scoped(request, pk)
    if request.method != "POST":
        return HttpResponseRedirect(compose.url("compose", update))
    if not update.may("write", request.user):
        return HttpResponse(_("You may not write updates of this incident."), status=403)
    remove = request.POST.get("do") == "remove"
    form = PictureForm(update, request.POST, request.FILES, remove=remove)
    if not form.is_valid():
        return compose.page(admin, request, update, ComposeForm(update), status=422, picture_form=form)
    before = update.status
    try:
        with transaction.atomic():
            update.set_picture(request.user, form.cleaned_data["version"], form.picture(), form.alt())
    except Problem as error:
        update.refresh_from_db()
        # Saving once more means: this shall stand, now that I have seen what changed.
        form.data = request.POST.copy()
        form.data["version"] = str(update.version)
        return compose.page(
            admin, request, update, ComposeForm(update), status=error.status, error=error, picture_form=form
        )
    said = _("The picture was removed.") if remove else _("The picture is saved.")
    if update.status == before:
        messages.success(request, said)
    else:
        messages.warning(request, said + " " + _("The update is a draft again, and needs approval."))
    return HttpResponseRedirect(compose.url("compose", update))


@require_safe
def _bytes(request: HttpRequest, row: Picture) -> HttpResponse:
    response = HttpResponse(bytes(row.content), content_type=row.content_type)
    # The address names the content, but who may see it can change.
    response["Cache-Control"] = "private, max-age=3600"
    return response


def file(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int, sha256: str) -> HttpResponse:
    """The picture as those see it who may know of the update; published or not."""
    update: IncidentUpdate = admin.scoped(request, pk)
    if update.picture is None or update.picture.picture_id != sha256:
        raise Http404
    return _bytes(request, update.picture.picture)
