"""Counts of deliveries by outcome, kept by triggers; what is there already is counted once."""

import django.db.models.deletion
from django.db import migrations, models

TABLE, TALLY = "channels_delivery", "channels_deliverytally"
COLUMNS = f"{TALLY} (dispatch_id, status, code, n, last_at, folded)"
SAME = "dispatch_id = {row}.dispatch_id AND status = {row}.status AND code = {row}.code"

# A statement's rows at once. Nothing is updated, so nobody waits for a lock: see models.DeliveryTally.
ON_POSTGRESQL = {
    "added": (
        "INSERT",
        "REFERENCING NEW TABLE AS fresh",
        f"""INSERT INTO {COLUMNS} SELECT dispatch_id, status, code, count(*), max(at), false FROM fresh
            GROUP BY dispatch_id, status, code;""",
    ),
    "changed": (
        "UPDATE",
        "REFERENCING OLD TABLE AS stale NEW TABLE AS fresh",
        f"""INSERT INTO {COLUMNS} SELECT dispatch_id, status, code, sum(k), max(at), false FROM (
                SELECT dispatch_id, status, code, 1 AS k, at FROM fresh
                UNION ALL SELECT dispatch_id, status, code, -1, NULL FROM stale
            ) AS both_tables GROUP BY dispatch_id, status, code HAVING sum(k) <> 0;""",
    ),
    "removed": (
        "DELETE",
        "REFERENCING OLD TABLE AS stale",
        f"""INSERT INTO {COLUMNS} SELECT dispatch_id, status, code, -count(*), NULL, false FROM stale
            GROUP BY dispatch_id, status, code;""",
    ),
    # Not TRUNCATE: the tally may be among the tables that this statement empties.
    "emptied": ("TRUNCATE", "", f"DELETE FROM {TALLY};"),
}
_ONE_MORE = f"""
    INSERT INTO {COLUMNS} SELECT NEW.dispatch_id, NEW.status, NEW.code, 0, NULL, 1
    WHERE NOT EXISTS (SELECT 1 FROM {TALLY} WHERE {SAME.format(row="NEW")});
    UPDATE {TALLY} SET n = n + 1, last_at = max(coalesce(last_at, NEW.at), NEW.at) WHERE {SAME.format(row="NEW")};
"""
_ONE_LESS = f"UPDATE {TALLY} SET n = n - 1 WHERE {SAME.format(row='OLD')};"
# One writer at a time anyway: the row itself is changed.
ON_SQLITE = {
    "added": ("INSERT", _ONE_MORE),
    "changed": ("UPDATE OF dispatch_id, status, code", _ONE_LESS + _ONE_MORE),
    "removed": ("DELETE", _ONE_LESS),
}


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        # Nothing is recorded between the counting and the triggers.
        schema_editor.execute(f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE")
    schema_editor.execute(
        f"""INSERT INTO {COLUMNS} SELECT dispatch_id, status, code, count(*), max(at), true FROM {TABLE}
            GROUP BY dispatch_id, status, code"""
    )
    if schema_editor.connection.vendor == "postgresql":
        for name, (event, tables, action) in ON_POSTGRESQL.items():
            schema_editor.execute(
                f"CREATE FUNCTION tally_{name}() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN {action} RETURN NULL; END $$",
                params=None,
            )
            schema_editor.execute(
                f"CREATE TRIGGER tally_{name} AFTER {event} ON {TABLE} {tables} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION tally_{name}()",
                params=None,
            )
    else:
        for name, (event, action) in ON_SQLITE.items():
            schema_editor.execute(
                f"CREATE TRIGGER tally_{name} AFTER {event} ON {TABLE} BEGIN {action} END", params=None
            )


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in ON_POSTGRESQL:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS tally_{name} ON {TABLE}")
            schema_editor.execute(f"DROP FUNCTION IF EXISTS tally_{name}()")
    else:
        for name in ON_SQLITE:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS tally_{name}")


class Migration(migrations.Migration):
    dependencies = [("channels", "0011_recipient_signing")]

    operations = [
        migrations.CreateModel(
            name="DeliveryTally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("sent", "Sent"),
                            ("delivered", "Delivered"),
                            ("failed", "Failed"),
                            ("unknown", "Not known whether sent"),
                            ("skipped", "Not sent: stopped or erased"),
                        ],
                        max_length=12,
                    ),
                ),
                ("code", models.CharField(max_length=80)),
                ("n", models.BigIntegerField()),
                ("last_at", models.DateTimeField(null=True)),
                ("folded", models.BooleanField(default=False)),
                (
                    "dispatch",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="channels.dispatch",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("folded", False)), fields=["dispatch"], name="tally_to_fold")
                ],
            },
        ),
        migrations.RunPython(create, drop),
    ]
