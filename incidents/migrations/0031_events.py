"""The stream of events for other systems, and to whom it goes.

It begins with what happens from now on: what was long over is news to nobody. An event is never changed or deleted.
"""

from importlib import import_module

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import channels.secrets
import incidents.models.event
import incidents.models.words

guards = import_module("incidents.migrations.0002_guards")

RULES = [
    # As in 0002: name, when, table, condition under which it is refused, message.
    ("event_no_update", "UPDATE", "incidents_outgoingevent", "true", "events are append-only"),
    ("event_no_delete", "DELETE", "incidents_outgoingevent", "true", "events are append-only"),
    (
        "event_no_replace",
        "INSERT",
        "incidents_outgoingevent",
        "EXISTS (SELECT 1 FROM incidents_outgoingevent e WHERE e.number = NEW.number OR e.uid = NEW.uid)",
        "events are append-only",
    ),
]
# Source of events and the table that it reads. Runs that go on over this upgrade are not told when they end.
SOURCES = {"decision": "Decision", "breach": "PromiseBreach", "run": "RunbookRun", "end": "RunbookRun"}


# To give a run its new column SQLite writes the table anew, without its guards.
LOST = [one for one in import_module("incidents.migrations.0025_runbooks").RULES if one[2] == "incidents_runbookrun"]


def create(apps, schema_editor):
    guards.drop_guards(schema_editor, LOST, [], "")
    guards.create_guards(schema_editor, [*LOST, *RULES], [], "")


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, RULES, [], "")


def begin_now(apps, schema_editor):
    marks = apps.get_model("incidents", "EventMark").objects
    for source, model in SOURCES.items():
        last = apps.get_model("incidents", model).objects.order_by("-pk").values_list("pk", flat=True).first()
        if last:
            marks.create(source=source, upto=last)


class Migration(migrations.Migration):
    dependencies = [
        ("incidents", "0030_automation"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="EventMark",
            fields=[
                ("source", models.CharField(max_length=12, primary_key=True, serialize=False)),
                ("upto", models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.AddField(
            model_name="runbookrun",
            name="halts",
            field=models.PositiveIntegerField(default=0),
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
                    ("proposal", "Monitoring proposes an incident"),
                    ("events", "Events for another system are paused"),
                ],
                max_length=12,
                verbose_name="what",
            ),
        ),
        migrations.CreateModel(
            name="EventSubscription",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "uid",
                    models.CharField(
                        default=incidents.models.words.new_uid, editable=False, max_length=12, unique=True
                    ),
                ),
                ("name", models.CharField(max_length=80, unique=True, verbose_name="name")),
                (
                    "kind",
                    models.CharField(
                        choices=[("webhook", "Signed webhook"), ("sns", "Amazon SNS topic")],
                        default="webhook",
                        max_length=8,
                        verbose_name="way",
                    ),
                ),
                (
                    "target",
                    models.CharField(
                        help_text="The address of your server, https://…, or the ARN of the topic, arn:aws:sns:…",
                        max_length=500,
                        verbose_name="where to",
                    ),
                ),
                (
                    "secrets",
                    channels.secrets.EncryptedJSONField(
                        blank=True, default=dict, editable=False, verbose_name="credentials"
                    ),
                ),
                (
                    "types",
                    models.JSONField(
                        blank=True, default=list, help_text="None chosen: all of them.", verbose_name="which events"
                    ),
                ),
                (
                    "enabled",
                    models.BooleanField(
                        default=True,
                        help_text="Off: nothing is sent. What happens meanwhile is sent once it is on again.",
                        verbose_name="on",
                    ),
                ),
                (
                    "paused_reason",
                    models.CharField(blank=True, editable=False, max_length=500, verbose_name="why it is paused"),
                ),
                ("cursor", models.PositiveBigIntegerField(default=0, editable=False)),
                ("tries", models.PositiveSmallIntegerField(default=0, editable=False)),
                ("next_try_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="next try")),
                ("leased_until", models.DateTimeField(blank=True, editable=False, null=True)),
                ("fence", models.PositiveIntegerField(default=0, editable=False)),
                ("sent_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last sent")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "components",
                    models.ManyToManyField(
                        blank=True,
                        help_text="None chosen: all that the owner may see.",
                        related_name="+",
                        to="incidents.component",
                        verbose_name="components",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        help_text="What this person may not see is not sent. They are told when the sending pauses.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="event_subscriptions",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
            ],
            options={
                "verbose_name": "event subscription",
                "verbose_name_plural": "event subscriptions",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="OutgoingEvent",
            fields=[
                ("number", models.PositiveBigIntegerField(primary_key=True, serialize=False, verbose_name="number")),
                ("uid", models.CharField(default=incidents.models.event.new_event_id, max_length=32, unique=True)),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("incident.declared", "An incident is declared"),
                            ("incident.severity_changed", "Its severity changes"),
                            ("incident.dismissed", "It is closed as declared by mistake"),
                            ("incident.resolved", "Customers are told that it is over"),
                            ("maintenance.planned", "Maintenance is planned"),
                            ("maintenance.moved", "Maintenance is moved"),
                            ("maintenance.cancelled", "Maintenance is cancelled"),
                            ("update.drafted", "A draft is begun"),
                            ("update.submitted", "Approval is asked for"),
                            ("update.approved", "An approval is given"),
                            ("update.rejected", "A draft is sent back"),
                            ("update.published", "An update is published"),
                            ("update.withdrawn", "A draft is given up"),
                            ("promise.broken", "A promise to customers is broken"),
                            ("runbook.started", "A runbook starts"),
                            ("runbook.halted", "A runbook stands still until somebody decides"),
                            ("runbook.finished", "A runbook ends"),
                        ],
                        max_length=32,
                        verbose_name="what",
                    ),
                ),
                ("source", models.CharField(max_length=12)),
                ("source_id", models.PositiveBigIntegerField()),
                ("nth", models.PositiveIntegerField(default=1)),
                ("data", models.JSONField()),
                ("components", models.JSONField()),
                ("at", models.DateTimeField(verbose_name="when")),
                ("recorded_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="incidents.incident"
                    ),
                ),
            ],
            options={
                "verbose_name": "outgoing event",
                "verbose_name_plural": "outgoing events",
                "ordering": ["number"],
            },
        ),
        migrations.CreateModel(
            name="EventDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("sending", "Being sent"),
                            ("waiting", "Not taken yet: it is sent again"),
                            ("sent", "Sent"),
                            ("skipped", "Left out by a person"),
                        ],
                        default="sending",
                        max_length=8,
                        verbose_name="state",
                    ),
                ),
                ("tries", models.PositiveIntegerField(default=0, verbose_name="tries")),
                ("tried_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="last try")),
                ("detail", models.CharField(blank=True, max_length=500, verbose_name="answer")),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="incidents.eventsubscription",
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="incidents.outgoingevent",
                    ),
                ),
            ],
            options={
                "verbose_name": "sent event",
                "verbose_name_plural": "sent events",
                "ordering": ["-event_id"],
            },
        ),
        migrations.AddConstraint(
            model_name="outgoingevent",
            constraint=models.UniqueConstraint(fields=("source", "source_id", "type", "nth"), name="event_once"),
        ),
        migrations.AddConstraint(
            model_name="eventdelivery",
            constraint=models.UniqueConstraint(fields=("subscription", "event"), name="event_delivery_once"),
        ),
        migrations.RunPython(begin_now, migrations.RunPython.noop),
        migrations.RunPython(create, drop),
    ]
