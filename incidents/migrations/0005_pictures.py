"""The picture of an update, and what the database holds of it.

- A picture is never changed: its key is what was approved.
- Whoever changes, adds or removes the picture of an update that waits for approval or has it: it is a draft again.
- The picture of a published update stays as it was approved.
"""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

guards = import_module("incidents.migrations.0002_guards")

TABLE = "incidents_updatepicture"
CHANGED = guards.changed("update_id", "picture_id", "alt")
PUBLISHED = guards.PUBLISHED

RULES = [
    # name, when, table, condition under which it is refused, message
    (
        "picture_never_changes",
        "UPDATE",
        "channels_picture",
        guards.changed("sha256", "content", "content_type", "width", "height"),
        "a picture is never changed",
    ),
    (
        "picture_no_replace",
        "INSERT",
        "channels_picture",
        "EXISTS (SELECT 1 FROM channels_picture p WHERE p.sha256 = NEW.sha256)",
        "a picture is never changed",
    ),
    (
        "shown_published_is_final",
        "UPDATE",
        TABLE,
        f"{CHANGED} AND ({PUBLISHED.format(row='OLD')} OR {PUBLISHED.format(row='NEW')})",
        "a published update is final",
    ),
    (
        "shown_published_gets_no_more",
        "INSERT",
        TABLE,
        f"{PUBLISHED.format(row='NEW')} OR EXISTS (SELECT 1 FROM {TABLE} s WHERE s.update_id = NEW.update_id)",
        "an update has one picture, and is final once published",
    ),
    ("shown_published_stays", "DELETE", TABLE, PUBLISHED.format(row="OLD"), "a published update is final"),
]
VOIDS = [
    # name, when, condition, whose update
    ("shown_changed", "UPDATE", CHANGED, "OLD.update_id, NEW.update_id"),
    ("shown_added", "INSERT", "true", "NEW.update_id"),
    ("shown_removed", "DELETE", "true", "OLD.update_id"),
]


def create(apps, schema_editor):
    guards.create_guards(schema_editor, RULES, VOIDS, TABLE)


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, RULES, VOIDS, TABLE)


class Migration(migrations.Migration):
    dependencies = [
        ("channels", "0005_pictures"),
        ("incidents", "0004_guards_by_key"),
    ]

    operations = [
        migrations.CreateModel(
            name="UpdatePicture",
            fields=[
                (
                    "update",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="pictured",
                        serialize=False,
                        to="incidents.incidentupdate",
                    ),
                ),
                ("alt", models.JSONField(default=dict, verbose_name="alternative text")),
                (
                    "picture",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="channels.picture"
                    ),
                ),
            ],
            options={
                "verbose_name": "picture of an update",
                "verbose_name_plural": "pictures of updates",
            },
        ),
        migrations.RunPython(create, drop),
    ]
