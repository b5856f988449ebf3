"""A domain error as a page that a person understands."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy

from incidents.errors import NotAllowed, Problem, Refused, WrongState

TITLES: dict[type[Problem], Any] = {
    NotAllowed: gettext_lazy("You may not do this"),
    WrongState: gettext_lazy("This has moved on"),
    Refused: gettext_lazy("This cannot be done yet"),
}


def refused(request: HttpRequest, error: Problem, back: str = "") -> HttpResponse:
    """Why a verb was refused, with findings if there are any. `back`: where to go from here."""
    page = {
        **admin.site.each_context(request),
        "title": TITLES[type(error)],
        "error": error,
        "findings": getattr(error, "findings", []),
        "back": back,
    }
    return render(request, "admin/incidents/refused.html", page, status=error.status)
