"""The public API, wire-compatible with Statuspage v2 (docs/reference/status-api.md)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone, translation
from django.views.decorators.http import conditional_page, require_http_methods

from incidents.models import Component, ComponentGroup

from .caching import cached
from .facts import (
    ACTIVE,
    UNRESOLVED,
    UPCOMING,
    Board,
    Overview,
    PublicIncident,
    Said,
    changed_at,
    page_id,
    public,
    read,
)
from .facts import board as read_board
from .private import scoped
from .scope import EVERYBODY, Scope

LATEST = 50


# ── Shapes ──────────────────────────────────────────────────────────────────


def _iso(at: datetime | None) -> str | None:
    """ISO-8601 with milliseconds and the offset of the page's time zone; None stays None."""
    return timezone.localtime(at).isoformat(timespec="milliseconds") if at else None


def page_json(board: Board) -> dict[str, Any]:
    return {
        "id": page_id(board.scope),
        "name": board.scope.title,
        "url": board.scope.url,
        "time_zone": settings.TIME_ZONE,
        "updated_at": _iso(changed_at(board.components, board.scope)),
    }


def component_json(one: Component, board: Board) -> dict[str, Any]:
    return {
        "id": one.uid,
        "name": one.name,
        "status": board.state(one).value,
        "created_at": _iso(one.created_at),
        "updated_at": _iso(one.updated_at),
        "position": one.position,
        "description": one.description or None,
        "showcase": one.showcase,
        "start_date": None,
        "group_id": one.group.uid if one.group else None,
        "page_id": page_id(board.scope),
        "group": False,
        "only_show_if_degraded": False,
    }


def group_json(group: ComponentGroup, components: list[Component], board: Board) -> dict[str, Any]:
    """A group looks like a component that names its children; its state is the worst of theirs."""
    return {
        "id": group.uid,
        "name": group.name,
        "status": board.worst(components).value,
        "created_at": _iso(group.created_at),
        "updated_at": _iso(group.updated_at),
        "position": group.position,
        "description": None,
        "showcase": True,
        "start_date": None,
        "group_id": None,
        "page_id": page_id(board.scope),
        "group": True,
        "only_show_if_degraded": False,
        "components": [c.uid for c in components],
    }


def update_json(said: Said, incident_id: str) -> dict[str, Any]:
    at = _iso(said.at)
    changes = [
        {"code": component.uid, "name": component.name, "old_status": before, "new_status": after}
        for component, before, after in said.changes
    ]
    return {
        "id": said.id,
        "status": said.stage.value,
        "body": said.words["text"],
        "incident_id": incident_id,
        "created_at": at,
        "updated_at": at,
        "display_at": at,
        "affected_components": changes or None,
        "deliver_notifications": said.notify,
        "custom_tweet": None,
        "tweet_id": None,
    }


def incident_json(one: PublicIncident, board: Board) -> dict[str, Any]:
    incident = one.incident
    found: dict[str, Any] = {
        "id": incident.uid,
        "name": incident.title,
        "status": one.stage.value,
        "created_at": _iso(one.said[-1].at),
        "updated_at": _iso(one.updated_at),
        "monitoring_at": _iso(incident.monitoring_at),
        "resolved_at": _iso(incident.resolved_at),
        "impact": incident.impact,
        "shortlink": one.url,
        "started_at": _iso(incident.started_at),
        "page_id": page_id(board.scope),
        "incident_updates": [update_json(said, incident.uid) for said in one.said],
        "components": [component_json(c, board) for c in one.components],
    }
    if incident.maintenance:
        found |= {"scheduled_for": _iso(one.scheduled_for), "scheduled_until": _iso(one.scheduled_until)}
    return found


# ── Documents ───────────────────────────────────────────────────────────────


def _components(board: Board) -> list[dict[str, Any]]:
    found = []
    for group, rows in board.groups:
        children = [component for component, _state in rows]
        if group:
            found.append(group_json(group, children, board))
        found += [component_json(component, board) for component in children]
    return found


def _incidents(board: Board, limit: int | None = LATEST, **filters: Any) -> list[dict[str, Any]]:
    return [incident_json(one, board) for one in read(public(board.scope).filter(**filters)[:limit], board.scope)]


def summary(board: Board) -> dict[str, Any]:
    found = read(public(board.scope).open(), board.scope)
    return {
        "components": _components(board),
        "incidents": [incident_json(one, board) for one in found if not one.incident.maintenance],
        "scheduled_maintenances": [incident_json(one, board) for one in found if one.incident.maintenance],
        **_status(Overview(board, found)),
    }


def status(board: Board) -> dict[str, Any]:
    return _status(Overview(board, read(public(board.scope).open(), board.scope)))


def _status(overview: Overview) -> dict[str, Any]:
    return {"status": {"indicator": overview.indicator, "description": overview.headline}}


def components(board: Board) -> dict[str, Any]:
    return {"components": _components(board)}


def incidents(board: Board) -> dict[str, Any]:
    return {"incidents": _incidents(board, maintenance=False)}


def unresolved(board: Board) -> dict[str, Any]:
    return {"incidents": _incidents(board, None, maintenance=False, stage__in=UNRESOLVED)}


def maintenances(board: Board) -> dict[str, Any]:
    return {"scheduled_maintenances": _incidents(board, maintenance=True)}


def upcoming(board: Board) -> dict[str, Any]:
    return {"scheduled_maintenances": _incidents(board, None, maintenance=True, stage__in=UPCOMING)}


def active(board: Board) -> dict[str, Any]:
    return {"scheduled_maintenances": _incidents(board, None, maintenance=True, stage__in=ACTIVE)}


DOCUMENTS: dict[str, Callable[[Board], dict[str, Any]]] = {
    "summary": summary,
    "status": status,
    "components": components,
    "incidents": incidents,
    "incidents/unresolved": unresolved,
    "scheduled-maintenances": maintenances,
    "scheduled-maintenances/upcoming": upcoming,
    "scheduled-maintenances/active": active,
}


def document(name: str, scope: Scope = EVERYBODY) -> dict[str, Any]:
    """One of DOCUMENTS, as it stands now, in the default language."""
    board = read_board(scope)
    with translation.override(settings.LANGUAGE_CODE):
        return {"page": page_json(board), **DOCUMENTS[name](board)}


@conditional_page
@require_http_methods(["GET", "HEAD", "OPTIONS"])
@scoped
def view(request: HttpRequest, scope: Scope, name: str) -> HttpResponse:
    """Serve a document to anybody who may read it, from any site."""
    if request.method == "OPTIONS":
        response = HttpResponse(status=204)
        response["Access-Control-Allow-Methods"] = "GET, HEAD, OPTIONS"
        response["Access-Control-Allow-Headers"] = "If-None-Match, If-Modified-Since, Content-Type"
        response["Access-Control-Max-Age"] = "86400"
    else:
        response = cached(JsonResponse(document(name, scope), json_dumps_params={"ensure_ascii": False}))
    response["Content-Language"] = settings.LANGUAGE_CODE
    response["Access-Control-Allow-Origin"] = "*"
    # Existing clients read ETag from scripts on other sites.
    response["Access-Control-Expose-Headers"] = "ETag"
    return response
