"""Improvement actions: what is to be done better, by whom and when, and every step of it."""

from importlib import import_module

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

guards = import_module("incidents.migrations.0002_guards")

RULES = [
    # As in incidents 0002: name, when, table, condition under which it is refused, message.
    ("action_step_no_update", "UPDATE", "feedback_actionstep", "true", "steps of actions are append-only"),
    (
        "action_begins_open",
        "INSERT",
        "feedback_improvementaction",
        "NEW.state <> 'open'",
        "an improvement action begins open",
    ),
    (
        "action_moves_on",
        "UPDATE",
        "feedback_improvementaction",
        """NEW.state <> OLD.state AND NOT (
            (OLD.state = 'open' AND NEW.state IN ('in_progress', 'done', 'dropped'))
            OR (OLD.state = 'in_progress' AND NEW.state IN ('done', 'dropped'))
            OR (OLD.state IN ('done', 'dropped') AND NEW.state = 'open'))""",
        "an improvement action does not move so",
    ),
]


def create(apps, schema_editor):
    guards.create_guards(schema_editor, RULES, [], "")


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, RULES, [], "")


class Migration(migrations.Migration):
    dependencies = [
        ("feedback", "0002_surveys"),
        ("incidents", "0032_aws_call_by"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ImprovementAction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=200, verbose_name="what to do")),
                ("why", models.TextField(blank=True, max_length=4000, verbose_name="why")),
                ("source", models.CharField(blank=True, db_index=True, editable=False, max_length=64)),
                ("due_on", models.DateField(verbose_name="due on")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("in_progress", "In progress"),
                            ("done", "Done"),
                            ("dropped", "Dropped"),
                        ],
                        default="open",
                        editable=False,
                        max_length=12,
                        verbose_name="state",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="improvement_actions",
                        to="incidents.incident",
                        verbose_name="incident",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="improvement_actions",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="improvement_actions",
                        to="incidents.communicationplan",
                        verbose_name="communication plan",
                    ),
                ),
            ],
            options={
                "verbose_name": "improvement action",
                "verbose_name_plural": "improvement actions",
                "ordering": ["due_on", "id"],
            },
        ),
        migrations.CreateModel(
            name="ActionStep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "verb",
                    models.CharField(
                        choices=[
                            ("make", "made it"),
                            ("edit", "changed it"),
                            ("start", "started"),
                            ("finish", "finished it"),
                            ("drop", "dropped it"),
                            ("reopen", "opened it again"),
                        ],
                        max_length=8,
                        verbose_name="what",
                    ),
                ),
                ("comment", models.TextField(blank=True, verbose_name="comment")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "action",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="feedback.improvementaction",
                    ),
                ),
            ],
            options={
                "verbose_name": "step of an action",
                "verbose_name_plural": "steps of actions",
                "ordering": ["id"],
            },
        ),
        migrations.AddIndex(
            model_name="improvementaction",
            index=models.Index(
                condition=models.Q(("state__in", ["open", "in_progress"])),
                fields=["due_on"],
                name="action_live_by_date",
            ),
        ),
        migrations.RunPython(create, drop),
    ]
