"""A plan has versions, and an incident keeps the one it was declared under; a stage may differ from the rest.

What was declared before is led by its plan as it stands now: nobody knows how it stood then.
"""

from importlib import import_module

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

guards = import_module("incidents.migrations.0002_guards")

RULES = [
    # As in 0002: name, when, table, condition under which it is refused, message.
    ("plan_version_no_update", "UPDATE", "incidents_planversion", "true", "a version of a plan is append-only"),
    (
        # SQLite's INSERT OR REPLACE deletes what is in its way without asking the rule above.
        "plan_version_no_replace",
        "INSERT",
        "incidents_planversion",
        """EXISTS (SELECT 1 FROM incidents_planversion v
            WHERE v.id = NEW.id OR (v.plan_id = NEW.plan_id AND v.number = NEW.number))""",
        "a version of a plan is append-only",
    ),
    (
        # Keys are checked at the end of a transaction: until then another row could be put in its place.
        "plan_version_stays",
        "DELETE",
        "incidents_planversion",
        "EXISTS (SELECT 1 FROM incidents_incident i WHERE i.plan_version_id = OLD.id)",
        "a version of a plan by which an incident goes stays",
    ),
    (
        "incident_keeps_its_plan",
        "UPDATE",
        "incidents_incident",
        "OLD.plan_version_id IS NOT NULL AND " + guards.changed("plan_version_id"),
        "an incident is led by the version of the plan that it was declared under",
    ),
]


def write_first_versions(apps, schema_editor):
    Version = apps.get_model("incidents", "PlanVersion")

    def keys(related):
        return sorted(related.order_by().values_list("pk", flat=True))

    for plan in apps.get_model("incidents", "CommunicationPlan").objects.all():
        content = {
            "name": plan.name,
            "groups": keys(plan.component_groups),
            "severities": sorted(plan.severities),
            "channels": keys(plan.channels),
            "staff_channels": [],
            "segments": keys(plan.segments),
            "locales": plan.locales,
            "first_update_minutes": plan.first_update_minutes,
            "update_minutes": plan.update_minutes,
            "survey_delay_minutes": plan.survey_delay_minutes,
            "stages": {},
            "roles": [[one.role, one.user_id] for one in plan.roles.order_by("role", "order", "id")],
            "approvals": [],
        }
        version = Version.objects.create(plan=plan, number=1, content=content)
        apps.get_model("incidents", "Incident").objects.filter(plan=plan).update(plan_version=version)


# SQLite builds a table anew to change a constraint or to take a column away, and loses its triggers; so all guards
# are set aside meanwhile.
_aside = []


def set_aside(apps, schema_editor):
    if schema_editor.connection.vendor != "sqlite":
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'guard_%'")
        _aside[:] = cursor.fetchall()
    for name, _sql in _aside:
        schema_editor.execute(f"DROP TRIGGER {name}")


def put_back(apps, schema_editor):
    if schema_editor.connection.vendor != "sqlite":
        return
    for _name, sql in _aside:
        schema_editor.execute(sql, params=None)
    _aside.clear()


def create(apps, schema_editor):
    guards.create_guards(schema_editor, RULES, [], "")


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, RULES, [], "")


def key():
    return ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


def to_plan(related_name):
    return models.ForeignKey(
        on_delete=django.db.models.deletion.CASCADE, related_name=related_name, to="incidents.communicationplan"
    )


class Migration(migrations.Migration):
    dependencies = [
        ("channels", "0011_recipient_signing"),
        ("incidents", "0015_segments"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(set_aside, put_back),
        migrations.CreateModel(
            name="PlanVersion",
            fields=[
                key(),
                ("number", models.PositiveIntegerField(verbose_name="version")),
                ("content", models.JSONField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("plan", to_plan("versions")),
            ],
            options={
                "verbose_name": "version of a plan",
                "verbose_name_plural": "versions of plans",
                "ordering": ["-number"],
                "constraints": [models.UniqueConstraint(fields=("plan", "number"), name="plan_version_once")],
            },
        ),
        migrations.AddField(
            model_name="incident",
            name="plan_version",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="incidents",
                to="incidents.planversion",
            ),
        ),
        migrations.CreateModel(
            name="PlanStage",
            fields=[
                key(),
                (
                    "stage",
                    models.CharField(
                        choices=[
                            ("investigating", "Investigating"),
                            ("identified", "Identified"),
                            ("monitoring", "Monitoring"),
                            ("resolved", "Resolved"),
                            ("scheduled", "Scheduled"),
                            ("in_progress", "In progress"),
                            ("verifying", "Verifying"),
                            ("completed", "Completed"),
                        ],
                        max_length=16,
                        verbose_name="stage",
                    ),
                ),
                ("locales", models.JSONField(blank=True, default=list, verbose_name="languages")),
                (
                    "channels",
                    models.ManyToManyField(
                        blank=True, related_name="+", to="channels.channel", verbose_name="channels"
                    ),
                ),
                ("plan", to_plan("stages")),
                (
                    "segments",
                    models.ManyToManyField(
                        blank=True, related_name="+", to="incidents.audiencesegment", verbose_name="audience segments"
                    ),
                ),
            ],
            options={
                "verbose_name": "stage of the plan",
                "verbose_name_plural": "stages of the plan",
                "ordering": ["id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("plan", "stage"),
                        name="plan_stage_once",
                        violation_error_message="This stage has a row already.",
                    )
                ],
            },
        ),
        migrations.RunPython(write_first_versions, migrations.RunPython.noop),
        migrations.RunPython(put_back, set_aside),
        migrations.RunPython(create, drop),
    ]
