"""A release holds for the approval that it was made of, as an approval does.

Words that were sent back and asked for again unchanged have the same hash: the old decision is not to let them go.
"""

from importlib import import_module

from django.db import migrations

guards = import_module("incidents.migrations.0002_guards")
maintenance = import_module("incidents.migrations.0011_maintenance")

OLD = next(rule for rule in maintenance.RULES if rule[0] == "update_released_by_decision")
SAME_WORDS = "d.content_hash = NEW.approved_hash"
SINCE_ASKED = f"""{SAME_WORDS} AND d.id > COALESCE((SELECT MAX(s.id) FROM incidents_decision s
    WHERE s.update_id = NEW.id AND s.verb IN ('submit', 'reject', 'withdraw')), 0)"""
NEW = (*OLD[:3], OLD[3].replace(SAME_WORDS, SINCE_ASKED), OLD[4])
assert NEW[3] != OLD[3]


def create(apps, schema_editor):
    guards.drop_guards(schema_editor, [OLD], [], "")
    guards.create_guards(schema_editor, [NEW], [], "")


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, [NEW], [], "")
    guards.create_guards(schema_editor, [OLD], [], "")


class Migration(migrations.Migration):
    dependencies = [("incidents", "0023_alerts")]
    operations = [migrations.RunPython(create, drop)]
