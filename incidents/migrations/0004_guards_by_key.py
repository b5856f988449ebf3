"""The guards as 0002 makes them by now: without one that PostgreSQL does not need, and one looks up by key."""

from importlib import import_module

from django.db import migrations

guards = import_module("incidents.migrations.0002_guards")


def remake(apps, schema_editor):
    guards.drop(apps, schema_editor)
    guards.create(apps, schema_editor)


class Migration(migrations.Migration):
    dependencies = [("incidents", "0003_tickets")]
    operations = [migrations.RunPython(remake, migrations.RunPython.noop)]
