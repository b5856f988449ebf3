"""Maintenance that is moved: when the work begins is part of what an update says, is approved and stays as it was."""

from importlib import import_module

from django.db import migrations, models

guards = import_module("incidents.migrations.0002_guards")
pictures = import_module("incidents.migrations.0005_pictures")
maintenance = import_module("incidents.migrations.0011_maintenance")

BEFORE = "NEW.publish_at IS DISTINCT FROM OLD.publish_at"
NOW = f"{BEFORE} OR NEW.starts_at IS DISTINCT FROM OLD.starts_at"
RULES = [
    (name, event, table, condition.replace(BEFORE, NOW), message)
    for name, event, table, condition, message in maintenance.RULES
    if name in maintenance.REPLACED
]
assert all(NOW in condition for _name, _event, _table, condition, _message in RULES)
VERBS = [*maintenance.VERBS, ("move", "moved the maintenance")]


def create(apps, schema_editor):
    guards.drop_guards(schema_editor, RULES, [], "")
    guards.create_guards(schema_editor, RULES, [], "")


def create_old(apps, schema_editor):
    """The last step of going back: every guard as it was before."""
    maintenance.create_old(apps, schema_editor)
    maintenance.create(apps, schema_editor)


class Migration(migrations.Migration):
    dependencies = [("incidents", "0013_private_pages")]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, create_old),
        migrations.AddField(
            model_name="incidentupdate",
            name="starts_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="work begins"),
        ),
        migrations.AlterField(
            model_name="decision",
            name="verb",
            field=models.CharField(choices=VERBS, max_length=12, verbose_name="what"),
        ),
        migrations.RunPython(create, maintenance.drop_all),
    ]
