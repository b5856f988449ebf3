"""Managers' reports over many deliveries: what each page takes, beside counting the deliveries that it tells of.

Ten million of them with --full. Each page is asked for again and again in this process, all middleware included, and
the queries of one load are explained: none may read the table of deliveries from end to end.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from . import portal
from .measure import Options, Wrong, percentile, ratio, say
from .stage import Stage

GOALS = {"slowest_p95_vs_1_s": ("<=", 1)}
INCIDENTS = 600  # over two years
UPDATES = 4  # of each
LARGE = 4  # tenths of all deliveries that one incident has
TABLE = "channels_delivery"


def run(stage: Stage, options: Options) -> dict[str, Any]:
    """Milliseconds at p95 for each page, its queries, and the slowest against a second and against a count."""
    wanted = options.pick(1_000_000, 10_000_000)
    world = World(wanted)
    took: dict[str, list[float]] = {name: [] for name in world.pages}
    count: list[float] = []
    for n in range(max(options.rounds, 1)):
        count.append(_count(world.deliveries))
        for name, path in world.pages.items():
            took[name] += [_load(world.client, path) for _time in range(20 if options.full else 7)]
        say(f"round {n + 1} of {options.rounds} done")
    p95 = {name: percentile(sorted(seconds), 95) for name, seconds in took.items()}
    queries = {name: _queries(world.client, path) for name, path in world.pages.items()}
    slowest = max(p95, key=lambda name: p95[name])
    say(f"the slowest is {slowest}")
    return {
        "deliveries": world.deliveries,
        "incidents": INCIDENTS,
        **{f"p95_ms_{name}": round(1000 * seconds, 1) for name, seconds in p95.items()},
        **{f"queries_{name}": n for name, n in queries.items()},
        "count_ms": round(1000 * percentile(sorted(count), 50), 1),
        "ratios": {
            "slowest_p95_vs_1_s": round(p95[slowest], 4),
            "slowest_p95_vs_count": ratio([p95[slowest]], [percentile(sorted(count), 50)]),
        },
    }


# ── The world ───────────────────────────────────────────────────────────────


class World:
    """Two years of incidents, of which one was told to very many; who reads the reports; and the pages they read."""

    def __init__(self, wanted: int) -> None:
        from tests import make

        people = wanted * LARGE // 10 // UPDATES
        portal.populate(people)
        say(f"{people:,} recipients are there")
        self.channels = [portal.null_channel() for _n in range(3)]
        author, approver = make.incident_manager(), make.communications_manager()
        make.plan()
        components = [make.component(f"Component {n}", f"Group {n // 4}") for n in range(12)]
        first = make.incident(author, components[0])
        make.published(first.updates.get(), approver)
        self.incidents = self._incidents(first, components)
        self._updates(first, approver)
        self._deliveries(wanted, people)
        say(f"{self.deliveries:,} deliveries are there")
        reader = make.user("Managers", "All components", is_superuser=True)
        self.client = Client(SERVER_NAME="localhost")
        self.client.force_login(reader)
        large, small = self.incidents[0], self.incidents[1]
        report = reverse("admin:feedback_report")
        update = large.updates.order_by("-number").first()
        self.pages = {
            "90_days": f"{report}?period=90",
            "365_days": f"{report}?period=365",
            "all": f"{report}?period=all",
            "one_component": f"{report}?period=all&component={components[1].pk}",
            "csv_of_all": reverse("admin:feedback_report_csv") + "?period=all",
            "small_incident": reverse("admin:feedback_report_incident", args=[small.pk]),
            "large_incident": reverse("admin:feedback_report_incident", args=[large.pk]),
            "large_incident_csv": reverse("admin:feedback_report_incident_csv", args=[large.pk]),
            "dashboard": reverse("admin:index"),
            "delivery_page": reverse("admin:incidents_incidentupdate_delivery", args=[update.pk]),
        }

    def _incidents(self, first: Any, components: list[Any]) -> list[Any]:
        """Resolved ones, the last of them yesterday."""
        from incidents.models import Incident, IncidentComponent
        from incidents.models.words import new_uid

        now = timezone.now()
        made = []
        for n in range(INCIDENTS):
            start = now - timedelta(days=1 + n * 730 / INCIDENTS)
            made.append(
                Incident(
                    uid=new_uid(),
                    title=f"Payments fail, number {n}",
                    severity=f"sev{n % 4 + 1}",
                    scenario=first.scenario,
                    plan=first.plan,
                    plan_version=first.plan_version,
                    stage="resolved",
                    started_at=start,
                    declared_by=first.declared_by,
                    published_at=start + timedelta(minutes=10),
                    resolved_at=start + timedelta(minutes=100),
                )
            )
        with unguarded():
            Incident.objects.bulk_create(made)
            for one in made:  # auto_now_add said: now
                one.declared_at = one.started_at + timedelta(minutes=3)
            Incident.objects.bulk_update(made, ["declared_at"])
            IncidentComponent.objects.bulk_create(
                IncidentComponent(incident=one, component=components[n % len(components)]) for n, one in enumerate(made)
            )
        return made

    def _updates(self, first: Any, approver: Any) -> None:
        """What was published, asked for and decided; and a dispatch for each channel and language."""
        from channels.models import Dispatch
        from incidents.models import Decision, IncidentUpdate

        model = first.updates.get()
        frozen = Dispatch.objects.filter(source=f"update:{model.pk}").first()
        stages = ["investigating", "identified", "monitoring", "resolved"]
        updates: list[IncidentUpdate] = []
        times: dict[int, Any] = {}
        for incident in self.incidents:
            for n, stage in enumerate(stages):
                at = incident.started_at + timedelta(minutes=10 + 30 * n)
                times[len(updates)] = at
                updates.append(
                    IncidentUpdate(
                        incident=incident,
                        number=n + 1,
                        stage=stage,
                        status="published",
                        author=model.author,
                        component_states=model.component_states,
                        manifest=model.manifest,
                        content_hash=model.content_hash,
                        approved_hash=model.content_hash,
                        approved_by=approver,
                        approved_at=at,
                        published_by=approver,
                        published_at=at,
                        next_update_at=at + timedelta(minutes=30),
                    )
                )
        with unguarded():
            IncidentUpdate.objects.bulk_create(updates, batch_size=500)
            Decision.objects.bulk_create(
                [
                    Decision(incident=one.incident, update=one, by=by, verb=verb, at=times[n] - before)
                    for n, one in enumerate(updates)
                    for by, verb, before in (
                        (model.author, "submit", timedelta(minutes=4)),
                        (approver, "approve", timedelta(minutes=1)),
                        (approver, "publish", timedelta(0)),
                    )
                ],
                batch_size=1000,
            )
            Dispatch.objects.bulk_create(
                [
                    Dispatch(
                        source=f"update:{one.pk}",
                        thread=one.incident.thread,
                        channel=channel,
                        via=channel,
                        locale=locale,
                        content=frozen.content if frozen else {"parts": {}, "links": {}},
                        approved_hash=model.content_hash,
                        expanded_at=one.published_at,
                    )
                    for one in updates
                    for channel in self.channels
                    for locale in ("en", "it")
                ],
                batch_size=1000,
            )

    def _deliveries(self, wanted: int, people: int) -> None:
        """To everybody, in each update of the first incident; the rest evenly over the others. One in 100 failed."""
        from channels.models import Delivery, Dispatch

        rest = wanted - UPDATES * people
        parts = 2 * len(self.channels)
        each = max(1, rest // ((INCIDENTS - 1) * UPDATES * parts))
        ranked = """SELECT d.id, row_number() OVER (PARTITION BY d.source ORDER BY d.id) - 1 AS part, d.created_at
                    FROM channels_dispatch d WHERE d.thread {} %s AND d.source LIKE 'update:%%'"""
        insert = f"""INSERT INTO {TABLE}
            (dispatch_id, recipient_id, status, code, detail, provider_ref, attempts, at)
            SELECT x.id, r.id, CASE WHEN r.id %% 100 = 0 THEN 'failed' ELSE 'sent' END,
                CASE WHEN r.id %% 100 = 0 THEN 'timeout' ELSE '' END, '', '', 1, now()
            FROM ({{ranked}}) AS x JOIN channels_recipient r ON {{which}}"""
        large = self.incidents[0].thread
        with connection.cursor() as cursor:
            cursor.execute("SELECT min(id) FROM channels_recipient WHERE medium = 'email'")
            least = cursor.fetchone()[0]
            by_part = f"r.id %% {parts} = x.part AND r.medium = 'email'"
            cursor.execute(insert.format(ranked=ranked.format("="), which=by_part), [large])
            span = f"r.id BETWEEN {least} + x.part * {each} AND {least} + (x.part + 1) * {each} - 1"
            cursor.execute(insert.format(ranked=ranked.format("<>"), which=span), [large])
            for table in (TABLE, "channels_deliverytally", "channels_dispatch"):
                cursor.execute(f"VACUUM ANALYZE {table}")
        self.deliveries = Delivery.objects.count()
        assert Dispatch.objects.exists()
        from channels import tally
        from feedback import tasks

        tally.fold()
        tasks.count_people(self.incidents[0].pk)


@contextmanager
def unguarded() -> Iterator[None]:
    """Past the guards of the tables: nobody wrote or approved these."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            cursor.execute("SET session_replication_role = DEFAULT")


# ── The clock ───────────────────────────────────────────────────────────────


def _load(client: Client, path: str) -> float:
    """Seconds that a page took. Raises Wrong if it is none."""
    started = time.perf_counter()
    answer: Any = client.get(path, secure=True)
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    seconds = time.perf_counter() - started
    if answer.status_code != 200 or not body:
        raise Wrong(f"{path} answered {answer.status_code}.")
    return seconds


def _count(wanted: int) -> float:
    """Seconds to count all deliveries by their outcome, as a page without a tally would have to."""
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT dispatch_id, status, count(*) FROM {TABLE} GROUP BY dispatch_id, status")
        found = sum(row[2] for row in cursor.fetchall())
    if found != wanted:
        raise Wrong(f"{found} deliveries were counted, of {wanted}.")
    return time.perf_counter() - started


def _queries(client: Client, path: str) -> int:
    """How many queries a page makes. Raises Wrong if one reads all deliveries."""
    with CaptureQueriesContext(connection) as captured:
        _load(client, path)
    for query in captured.captured_queries:
        sql = query["sql"]
        if TABLE + '"' in sql and sql.startswith("SELECT") and _scans(sql):
            raise Wrong(f"{path} reads all deliveries: {sql[:400]}")
    return len(captured)


def _scans(sql: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT JSON) " + sql.replace("%", "%%"))
        [(plan,)] = cursor.fetchall()
    found = json.dumps(plan)
    return any(
        part.get("Node Type") == "Seq Scan" and part.get("Relation Name") == TABLE
        for part in _parts(json.loads(found)[0]["Plan"])
    )


def _parts(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for one in plan.get("Plans", []):
        yield from _parts(one)
