from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from channels.models import Heartbeat


def beat(seconds_ago: float) -> None:
    Heartbeat.objects.create(name="worker", at=timezone.now() - timedelta(seconds=seconds_ago))


def test_livez_needs_no_database(client):
    # Without the django_db mark, any query fails the test.
    response = client.get("/livez")
    assert (response.status_code, response.content) == (200, b"ok")
    assert not response.cookies


@pytest.mark.django_db
def test_ready_when_everything_works(client):
    beat(5)
    response = client.get("/readyz")
    assert response.status_code == 200
    found = response.json()
    assert found["status"] == "ok"
    assert {name: check["ok"] for name, check in found["checks"].items()} == {
        "database": True,
        "migrations": True,
        "worker": True,
    }
    assert not response.cookies
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds", "says"), [(None, "no worker has reported"), (61, "last heard 61 s ago")])
def test_not_ready_without_a_worker(client, seconds, says):
    if seconds:
        beat(seconds)
    response = client.get("/readyz")
    assert response.status_code == 503
    worker = response.json()["checks"]["worker"]
    assert worker["ok"] is False
    assert says in worker["detail"]


@pytest.mark.django_db
def test_not_ready_with_a_migration_missing(client):
    beat(1)
    last = MigrationRecorder.Migration.objects.filter(app="incidents").latest("name")
    last.delete()
    response = client.get("/readyz")
    assert response.status_code == 503
    assert f"incidents.{last.name}" in response.json()["checks"]["migrations"]["detail"]


def test_a_dead_database_is_an_answer_not_a_crash(client, monkeypatch):
    def refuse(*args, **kwargs):
        raise OperationalError("password=hunter2 refused")

    monkeypatch.setattr(connection, "cursor", refuse)
    monkeypatch.setattr(connection, "ensure_connection", refuse)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["database"]["ok"] is False
    assert "hunter2" not in response.content.decode()


def test_probes_only_read(client):
    assert client.post("/readyz").status_code == 405
