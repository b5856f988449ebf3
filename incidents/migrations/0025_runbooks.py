"""Runbooks, their runs, and the severity that customers were told of.

A run does what stood in the runbook when it was started, in the name of the person that it was started for; and what
is written down of a step that ended stays.
"""

from importlib import import_module

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

guards = import_module("incidents.migrations.0002_guards")

RULES = [
    # As in 0002: name, when, table, condition under which it is refused, message.
    (
        "runbook_run_keeps_its_steps",
        "UPDATE",
        "incidents_runbookrun",
        " OR ".join(guards.changed(name) for name in ("content", "key", "incident_id", "by_id")),
        "a run keeps the steps and the person that it was started with",
    ),
    (
        "runbook_step_ended_stays",
        "UPDATE",
        "incidents_runbooksteprun",
        "OLD.state IN ('done', 'skipped')",
        "what is written down of a step that ended stays",
    ),
]


def create(apps, schema_editor):
    guards.create_guards(schema_editor, RULES, [], "")


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, RULES, [], "")


def remember_told(apps, schema_editor):
    told = apps.get_model("incidents", "Incident").objects.filter(published_at__isnull=False)
    told.update(told_severity=models.F("severity"))


class Migration(migrations.Migration):
    dependencies = [
        ("incidents", "0024_releases_void"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Runbook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=120, unique=True, verbose_name="name")),
                ("description", models.TextField(blank=True, verbose_name="what it is for")),
                (
                    "enabled",
                    models.BooleanField(
                        default=True,
                        help_text="Off: it starts neither by itself nor by hand. What runs goes on.",
                        verbose_name="in use",
                    ),
                ),
                ("triggers", models.JSONField(blank=True, default=list, verbose_name="starts when")),
                ("stages", models.JSONField(blank=True, default=list, verbose_name="at the stages")),
            ],
            options={
                "verbose_name": "runbook",
                "verbose_name_plural": "runbooks",
                "ordering": ["name"],
            },
        ),
        migrations.AddField(
            model_name="incident",
            name="told_severity",
            field=models.CharField(
                choices=[
                    ("sev1", "SEV 1 · critical"),
                    ("sev2", "SEV 2 · major"),
                    ("sev3", "SEV 3 · minor"),
                    ("sev4", "SEV 4 · notice"),
                ],
                editable=False,
                max_length=8,
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="decision",
            name="verb",
            field=models.CharField(
                choices=[
                    ("declare", "declared the incident"),
                    ("plan", "planned the maintenance"),
                    ("draft", "started a draft"),
                    ("edit", "edited the draft"),
                    ("submit", "asked for approval"),
                    ("approve", "approved"),
                    ("reject", "sent back"),
                    ("publish", "published"),
                    ("withdraw", "withdrew the draft"),
                    ("retry", "retried failed deliveries"),
                    ("dismiss", "closed it as declared by mistake"),
                    ("stop", "stopped the sending"),
                    ("release", "let it go out by itself at its time"),
                    ("cancel", "cancelled the maintenance"),
                    ("move", "moved the maintenance"),
                    ("glass", "broke the glass: let it out without a second person"),
                    ("glass_seen", "reviewed afterwards what went out without a second person"),
                    ("prepared", "let it out by approved templates"),
                    ("severity", "changed the severity"),
                ],
                max_length=12,
                verbose_name="what",
            ),
        ),
        migrations.AlterField(
            model_name="staffnotice",
            name="kind",
            field=models.CharField(
                choices=[
                    ("approval", "Approval is asked for"),
                    ("escalated", "Approval is late: deputies are asked"),
                    ("reminder", "A promise is about to break"),
                    ("breach", "A promise is broken"),
                    ("runbook", "A runbook tells something"),
                ],
                max_length=12,
                verbose_name="what",
            ),
        ),
        migrations.AddField(
            model_name="communicationplan",
            name="runbooks",
            field=models.ManyToManyField(
                blank=True,
                help_text="They start by themselves in incidents of this plan, or by hand.",
                to="incidents.runbook",
                verbose_name="runbooks",
            ),
        ),
        migrations.CreateModel(
            name="RunbookRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("content", models.JSONField()),
                ("key", models.CharField(max_length=120, unique=True)),
                (
                    "trigger",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("opened", "An incident is declared"),
                            ("severity", "Its severity changes"),
                            ("stage", "Customers are told of a stage"),
                            ("clock", "A promise is about to break"),
                        ],
                        max_length=12,
                        verbose_name="started by",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("waiting", "Waiting"),
                            ("paused", "Paused"),
                            ("done", "Done"),
                            ("stopped", "Stopped"),
                        ],
                        default="running",
                        max_length=8,
                        verbose_name="state",
                    ),
                ),
                ("position", models.PositiveSmallIntegerField(default=0)),
                ("reason", models.CharField(blank=True, max_length=500, verbose_name="why it stands still")),
                ("wake_at", models.DateTimeField(blank=True, null=True)),
                ("leased_until", models.DateTimeField(blank=True, null=True)),
                ("fence", models.PositiveIntegerField(default=0)),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="started")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="runs", to="incidents.incident"
                    ),
                ),
                (
                    "runbook",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="runs",
                        to="incidents.runbook",
                    ),
                ),
                (
                    "update",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="incidents.incidentupdate",
                    ),
                ),
            ],
            options={
                "verbose_name": "run of a runbook",
                "verbose_name_plural": "runs of runbooks",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="RunbookStep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField(default=0, verbose_name="position")),
                ("kind", models.CharField(max_length=12, verbose_name="what to do")),
                ("name", models.CharField(blank=True, max_length=120, verbose_name="in your words")),
                ("config", models.JSONField(default=dict)),
                (
                    "runbook",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="steps", to="incidents.runbook"
                    ),
                ),
            ],
            options={
                "verbose_name": "step",
                "verbose_name_plural": "steps",
                "ordering": ["position", "id"],
            },
        ),
        migrations.CreateModel(
            name="RunbookStepRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("index", models.PositiveSmallIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("doing", "Under way"),
                            ("waiting", "Waiting"),
                            ("done", "Done"),
                            ("skipped", "Skipped"),
                            ("failed", "Failed"),
                            ("unknown", "Not known whether it was done"),
                        ],
                        default="doing",
                        max_length=8,
                        verbose_name="state",
                    ),
                ),
                ("began_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("note", models.TextField(blank=True)),
                ("facts", models.JSONField(default=dict)),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="log", to="incidents.runbookrun"
                    ),
                ),
            ],
            options={
                "verbose_name": "step of a run",
                "verbose_name_plural": "steps of runs",
                "ordering": ["index"],
            },
        ),
        migrations.AddIndex(
            model_name="runbookrun",
            index=models.Index(
                condition=models.Q(("state__in", ["running", "waiting"])), fields=["wake_at"], name="runbook_run_live"
            ),
        ),
        migrations.AddConstraint(
            model_name="runbooksteprun",
            constraint=models.UniqueConstraint(fields=("run", "index"), name="runbook_step_once"),
        ),
        migrations.RunPython(remember_told, migrations.RunPython.noop),
        migrations.RunPython(create, drop),
    ]
