"""Whether the portal is alive, and whether it can work. For machines: no login, no cookie."""

import logging
from collections.abc import Callable

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from channels.tasks import SILENT, worker_seen

log = logging.getLogger(__name__)


class Unwell(Exception):
    """A check failed; the message says what and, where we know it, what to do."""


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers; depends on nothing else."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when every check passes, else 503.

    {"status": "ok" | "unwell", "checks": {name: {"ok": bool, "detail": str}}}
    """
    checks = {name: _run(check) for name, check in CHECKS.items()}
    well = all(result["ok"] for result in checks.values())
    return JsonResponse({"status": "ok" if well else "unwell", "checks": checks}, status=200 if well else 503)


def _run(check: Callable[[], str]) -> dict[str, bool | str]:
    try:
        return {"ok": True, "detail": check()}
    except Unwell as error:
        return {"ok": False, "detail": str(error)}
    except Error as error:
        # The driver's words may hold addresses and names: the kind is enough here, the log has the rest.
        log.warning("health check failed: %s", error)
        return {"ok": False, "detail": f"the database does not answer ({type(error).__name__})"}


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return connection.vendor


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _backwards in missing[:3])
        raise Unwell(f"{len(missing)} not applied ({names}): run manage.py migrate")
    return "all applied"


def _worker() -> str:
    seen = worker_seen()
    if seen is None:
        raise Unwell("no worker has reported yet: run manage.py worker")
    age = timezone.now() - seen
    if age > SILENT:
        raise Unwell(f"the worker was last heard {age.total_seconds():.0f} s ago")
    return f"heard {max(age.total_seconds(), 0):.0f} s ago"


CHECKS: dict[str, Callable[[], str]] = {"database": _database, "migrations": _migrations, "worker": _worker}
