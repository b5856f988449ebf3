"""The state as a small picture (SVG) to put on another page: of everything, or of one component."""

import unicodedata

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.decorators.http import conditional_page, require_safe

from incidents.models import Component, ComponentStatus
from incidents.models.incident import component_states
from incidents.models.words import one_line

from .caching import cached
from .facts import Board, overview

# White words on these are readable anywhere: the page's own colours by day (static/portal/status.css).
COLOURS = {
    ComponentStatus.OPERATIONAL: "#1a7340",
    ComponentStatus.DEGRADED: "#8a5a00",
    ComponentStatus.PARTIAL: "#b14300",
    ComponentStatus.MAJOR: "#b3202c",
    ComponentStatus.MAINTENANCE: "#1d5fae",
}
UNKNOWN = "#59616d"
NAME = "#343c48"
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{both}" lang="{lang}">\
<title>{both}</title><rect width="{width}" height="20" rx="3" fill="{colour}"/>\
<rect width="{left}" height="20" rx="3" fill="{dark}"/><rect x="{joint}" width="3" height="20" fill="{dark}"/>\
<g fill="#fff" font-family="Verdana, 'DejaVu Sans', Geneva, sans-serif" font-size="11">\
<text x="6" y="14" textLength="{name_width}" lengthAdjust="spacingAndGlyphs">{name}</text>\
<text x="{state_x}" y="14" textLength="{state_width}" lengthAdjust="spacingAndGlyphs">{state}</text></g></svg>
"""


def badge(name: str, state: str, colour: str) -> str:
    """An SVG of two words, 20 pixels high, in the active language; `colour` as "#rrggbb" stands behind the state."""
    name = one_line(name) or "–"
    name_width, state_width = _width(name), _width(state)
    left = name_width + 12
    return format_html(
        _SVG,
        name=name,
        state=state,
        both=f"{name}: {state}",
        lang=translation.get_language(),
        dark=NAME,
        colour=colour,
        left=left,
        joint=left - 3,  # square where it meets the state; without ids, which two on one page would share
        width=left + state_width + 12,
        name_width=name_width,
        state_width=state_width,
        state_x=left + 6,
    )


def _width(text: str) -> int:
    """About how many pixels the words take at 11 pixels; they are stretched to it, whatever font there is."""
    return round(sum(_advance(one) for one in text))


def _advance(one: str) -> float:
    if unicodedata.combining(one):
        return 0
    if unicodedata.east_asian_width(one) in "WF":
        return 11
    if one in "ijlI.,:;'|! ()[]":
        return 4.2
    return 9.5 if one in "mwMW@%—" else 7.8 if one.isupper() else 6.8


@conditional_page
@require_safe
def view(request: HttpRequest, uid: str = "") -> HttpResponse:
    """Serve /badge.svg, or that of a component; 404 with a grey one if no such component is shown.

    In the default language unless ?lang= asks for another: the pages it stands on have a language of their own.
    """
    asked = request.GET.get("lang", "")
    language = asked if asked in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE
    with translation.override(language):
        drawn, status = _component(uid) if uid else (_everything(), 200)
    response = cached(HttpResponse(drawn, content_type="image/svg+xml", status=status))
    response["Content-Language"] = language
    response["Access-Control-Allow-Origin"] = "*"
    return response


def _everything() -> str:
    state = ComponentStatus(overview().tone)
    return badge(settings.PORTAL_NAME, str(state.label), COLOURS[state])


def _component(uid: str) -> tuple[str, int]:
    """A badge and its HTTP status. Two queries."""
    one = Component.objects.public().filter(uid=uid).first()
    if one is None:
        return badge(settings.PORTAL_NAME, _("Unknown"), UNKNOWN), 404
    return of_component(one, Board([one], component_states())), 200


def of_component(one: Component, board: Board) -> str:
    """The badge of a component, in the active language. No query."""
    state = board.state(one)
    return badge(one.name, str(state.label), COLOURS[state])
