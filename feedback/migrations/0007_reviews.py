"""What grows out of the reports: evidence packs with the keys that sign them, and reviews of the communication."""

from importlib import import_module

import django.db.models.deletion
import django.utils.timezone
import simple_history.models
from django.conf import settings
from django.db import migrations, models

import channels.secrets

guards = import_module("incidents.migrations.0002_guards")

RULES = [
    # As in 0002: name, when, table, condition under which it is refused, message.
    ("evidence_pack_no_delete", "DELETE", "feedback_evidencepack", "true", "that evidence was taken stays on record"),
    (
        "evidence_pack_frozen",
        "UPDATE",
        "feedback_evidencepack",
        "OLD.finished_at IS NOT NULL OR " + guards.changed("id", "incident_id", "by_id", "at", "addresses"),
        "that evidence was taken stays on record as it is",
    ),
    ("evidence_key_no_delete", "DELETE", "feedback_evidencekey", "true", "packs are verified with old keys too"),
    (
        # The private half may be encrypted anew: manage.py rotate_keys.
        "evidence_key_frozen",
        "UPDATE",
        "feedback_evidencekey",
        guards.changed("id", "public", "created_at"),
        "packs are verified with old keys too",
    ),
    (
        "review_finished",
        "UPDATE",
        "feedback_communicationreview",
        "OLD.state = 'final' AND NEW.state = 'final' AND "
        + guards.changed("incident_id", "locale", "drafted", "texts", "shown", "finished_by_id", "finished_at"),
        "a finished review is opened again before its words change",
    ),
]


def create(apps, schema_editor):
    guards.create_guards(schema_editor, RULES, [], "")


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, RULES, [], "")


class Migration(migrations.Migration):
    dependencies = [
        ("feedback", "0006_social"),
        ("incidents", "0002_guards"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="EvidenceKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("public", models.CharField(editable=False, max_length=64, unique=True, verbose_name="public key")),
                ("private", channels.secrets.EncryptedJSONField(default=dict, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="since"),
                ),
            ],
            options={
                "verbose_name": "key of evidence packs",
                "verbose_name_plural": "keys of evidence packs",
                "ordering": ["-id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="EvidencePack",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                ("addresses", models.BooleanField(default=False, verbose_name="with addresses")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="complete")),
                ("size", models.BigIntegerField(blank=True, null=True, verbose_name="bytes")),
                (
                    "manifest_sha256",
                    models.CharField(blank=True, max_length=64, verbose_name="SHA-256 of manifest.json"),
                ),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="taken by",
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="evidence_packs",
                        to="incidents.incident",
                        verbose_name="incident",
                    ),
                ),
            ],
            options={
                "verbose_name": "evidence pack",
                "verbose_name_plural": "evidence packs",
                "ordering": ["-id"],
                "permissions": [
                    ("take_evidencepack", "Can take the evidence of an incident"),
                    ("take_evidence_addresses", "Can take evidence with the addresses of recipients"),
                ],
                "default_permissions": ("view",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at__isnull", True), ("manifest_sha256", ""), ("size__isnull", True)),
                            models.Q(
                                ("finished_at__isnull", False),
                                ("size__isnull", False),
                                models.Q(("manifest_sha256", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="evidence_pack_complete_or_not",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="HistoricalCommunicationReview",
            fields=[
                ("id", models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name="ID")),
                (
                    "locale",
                    models.CharField(
                        choices=[("en", "English"), ("it", "Italian")], max_length=8, verbose_name="language"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("draft", "Draft"), ("final", "Finished")],
                        default="draft",
                        max_length=8,
                        verbose_name="state",
                    ),
                ),
                ("version", models.PositiveIntegerField(default=1)),
                ("drafted", models.JSONField(default=dict)),
                ("texts", models.JSONField(default=dict)),
                ("shown", models.JSONField(default=list)),
                ("drafted_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="drafted")),
                ("changed_at", models.DateTimeField(blank=True, editable=False, verbose_name="last change")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                ("history_change_reason", models.CharField(max_length=100, null=True)),
                (
                    "history_type",
                    models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1),
                ),
                (
                    "finished_by",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="finished by",
                    ),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="incidents.incident",
                        verbose_name="incident",
                    ),
                ),
                (
                    "update",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="incidents.incidentupdate",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical communication review",
                "verbose_name_plural": "historical communication reviews",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="CommunicationReview",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "locale",
                    models.CharField(
                        choices=[("en", "English"), ("it", "Italian")], max_length=8, verbose_name="language"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("draft", "Draft"), ("final", "Finished")],
                        default="draft",
                        max_length=8,
                        verbose_name="state",
                    ),
                ),
                ("version", models.PositiveIntegerField(default=1)),
                ("drafted", models.JSONField(default=dict)),
                ("texts", models.JSONField(default=dict)),
                ("shown", models.JSONField(default=list)),
                ("drafted_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="drafted")),
                ("changed_at", models.DateTimeField(auto_now=True, verbose_name="last change")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                (
                    "finished_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="finished by",
                    ),
                ),
                (
                    "incident",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="communication_review",
                        to="incidents.incident",
                        verbose_name="incident",
                    ),
                ),
                (
                    "update",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="incidents.incidentupdate",
                    ),
                ),
            ],
            options={
                "verbose_name": "communication review",
                "verbose_name_plural": "communication reviews",
                "ordering": ["-id"],
                "default_permissions": ("view", "change"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at__isnull", True), ("finished_by__isnull", True), ("state", "draft")),
                            models.Q(
                                ("finished_at__isnull", False), ("finished_by__isnull", False), ("state", "final")
                            ),
                            _connector="OR",
                        ),
                        name="review_finished_by_somebody",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ReportSubscription",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "every",
                    models.CharField(
                        choices=[("week", "Every week, on Monday"), ("month", "Every month, on its first day")],
                        default="week",
                        max_length=8,
                        verbose_name="how often",
                    ),
                ),
                (
                    "severity",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("sev1", "SEV 1 · critical"),
                            ("sev2", "SEV 2 · major"),
                            ("sev3", "SEV 3 · minor"),
                            ("sev4", "SEV 4 · notice"),
                        ],
                        max_length=8,
                        verbose_name="severity",
                    ),
                ),
                (
                    "locale",
                    models.CharField(
                        choices=[("en", "English"), ("it", "Italian")], max_length=8, verbose_name="language"
                    ),
                ),
                ("active", models.BooleanField(default=True, verbose_name="active")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="since"),
                ),
                (
                    "component",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="incidents.component",
                        verbose_name="component",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="incidents.communicationplan",
                        verbose_name="plan",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="reader",
                    ),
                ),
            ],
            options={
                "verbose_name": "report by email",
                "verbose_name_plural": "reports by email",
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="ReportMail",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("first", models.DateField(verbose_name="from")),
                ("last", models.DateField(verbose_name="to")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting to be sent"),
                            ("sending", "Being sent"),
                            ("sent", "Sent"),
                            ("failed", "Failed"),
                            ("unknown", "Not known whether sent"),
                            ("obsolete", "Not needed any more"),
                        ],
                        default="waiting",
                        max_length=12,
                        verbose_name="the message",
                    ),
                ),
                ("tried_at", models.DateTimeField(blank=True, null=True, verbose_name="tried")),
                ("detail", models.CharField(blank=True, max_length=500, verbose_name="detail")),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="mails",
                        to="feedback.reportsubscription",
                        verbose_name="report by email",
                    ),
                ),
            ],
            options={
                "verbose_name": "report that was sent",
                "verbose_name_plural": "reports that were sent",
                "ordering": ["-id"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("outcome__in", ["waiting", "sending"])),
                        fields=["id"],
                        name="report_mail_unsent",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("subscription", "first"), name="report_mail_once_for_each_period"),
                    models.CheckConstraint(
                        condition=models.Q(("first__lte", models.F("last"))), name="report_mail_period_in_order"
                    ),
                ],
            },
        ),
        migrations.RunPython(create, drop),
    ]
