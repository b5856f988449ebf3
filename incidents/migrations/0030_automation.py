import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import incidents.models.automation


class Migration(migrations.Migration):
    dependencies = [
        ("incidents", "0029_support"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AutomationDocument",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "region",
                    models.CharField(
                        max_length=32, validators=[incidents.models.automation.check_region], verbose_name="AWS region"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="No document of yours may have it already.",
                        max_length=128,
                        validators=[incidents.models.automation.check_name],
                        verbose_name="name in AWS",
                    ),
                ),
                (
                    "role_arn",
                    models.CharField(
                        blank=True,
                        help_text="The ARN of the role by which AWS does the steps. Empty: by the portal’s own role.",
                        max_length=2048,
                        validators=[incidents.models.automation.check_role],
                        verbose_name="role of the execution",
                    ),
                ),
                (
                    "topic_arn",
                    models.CharField(
                        blank=True,
                        help_text="Optional: the ARN of an SNS topic that tells them; its name begins with Automation.",
                        max_length=400,
                        validators=[incidents.models.automation.check_topic],
                        verbose_name="topic for approvers",
                    ),
                ),
                (
                    "approvers",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Users and roles of IAM, one a line, 10 at most; the portal’s own role among them.",
                        validators=[incidents.models.automation.check_principals],
                        verbose_name="who may approve in AWS",
                    ),
                ),
                (
                    "integrations",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="The integration in AWS that calls the webhook of a step, one a line: 3 = name.",
                        verbose_name="integrations of webhooks",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("new", "Not registered"),
                            ("asked", "Being registered"),
                            ("registered", "Registered"),
                            ("failed", "AWS refused it"),
                        ],
                        default="new",
                        editable=False,
                        max_length=12,
                        verbose_name="state",
                    ),
                ),
                ("detail", models.CharField(blank=True, editable=False, max_length=500, verbose_name="what AWS said")),
                ("asked", models.JSONField(editable=False, null=True)),
                ("asked_text", models.TextField(blank=True, editable=False)),
                ("asked_at", models.DateTimeField(editable=False, null=True)),
                ("tries", models.PositiveSmallIntegerField(default=0, editable=False)),
                ("try_at", models.DateTimeField(editable=False, null=True)),
                ("content", models.JSONField(editable=False, null=True)),
                ("text", models.TextField(blank=True, editable=False)),
                ("content_hash", models.CharField(blank=True, editable=False, max_length=64)),
                ("version", models.CharField(blank=True, editable=False, max_length=20, verbose_name="version")),
                ("registered_at", models.DateTimeField(editable=False, null=True, verbose_name="registered")),
                (
                    "asked_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "runbook",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="automation_documents",
                        to="incidents.runbook",
                        verbose_name="runbook",
                    ),
                ),
            ],
            options={
                "verbose_name": "runbook on AWS",
                "verbose_name_plural": "runbooks on AWS",
                "ordering": ["name", "region"],
            },
        ),
        migrations.CreateModel(
            name="AutomationExecution",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("region", models.CharField(max_length=32, verbose_name="AWS region")),
                ("document_name", models.CharField(max_length=128, verbose_name="document")),
                ("document_version", models.CharField(max_length=20, verbose_name="version")),
                ("parameters", models.JSONField(default=dict)),
                ("token", models.UUIDField(default=uuid.uuid4, unique=True)),
                ("execution_id", models.CharField(blank=True, max_length=36, verbose_name="execution")),
                ("status", models.CharField(blank=True, max_length=40, verbose_name="state")),
                ("failure", models.TextField(blank=True, verbose_name="why it ended")),
                ("steps", models.JSONField(default=list)),
                ("asked_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="started")),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
                ("looked_at", models.DateTimeField(null=True, verbose_name="last looked")),
                ("look_at", models.DateTimeField(default=django.utils.timezone.now, null=True)),
                ("quiet", models.PositiveSmallIntegerField(default=0)),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("doubtful", models.BooleanField(default=False)),
                ("trouble", models.CharField(blank=True, max_length=500, verbose_name="what went wrong")),
                ("leased_until", models.DateTimeField(null=True)),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "document",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="executions",
                        to="incidents.automationdocument",
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="automations", to="incidents.incident"
                    ),
                ),
                (
                    "run",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="automation",
                        to="incidents.runbookrun",
                    ),
                ),
            ],
            options={
                "verbose_name": "execution on AWS",
                "verbose_name_plural": "executions on AWS",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="AutomationSignal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(max_length=128, verbose_name="step")),
                (
                    "kind",
                    models.CharField(
                        choices=[("Approve", "Approved"), ("Reject", "Rejected"), ("Resume", "Go on")],
                        max_length=8,
                        verbose_name="signal",
                    ),
                ),
                (
                    "origin",
                    models.CharField(
                        choices=[("portal", "by the portal"), ("aws", "in AWS")],
                        default="portal",
                        max_length=6,
                        verbose_name="given",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting to be sent"),
                            ("sent", "Sent"),
                            ("moot", "Not needed any more"),
                            ("failed", "AWS refused it"),
                            ("given", "Given in AWS"),
                        ],
                        default="waiting",
                        max_length=8,
                        verbose_name="state",
                    ),
                ),
                ("comment", models.CharField(blank=True, max_length=500, verbose_name="comment")),
                ("who", models.TextField(blank=True, verbose_name="who")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                ("sent_at", models.DateTimeField(null=True)),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("detail", models.CharField(blank=True, max_length=500, verbose_name="what AWS said")),
                (
                    "execution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="signals",
                        to="incidents.automationexecution",
                    ),
                ),
            ],
            options={
                "verbose_name": "signal to AWS",
                "verbose_name_plural": "signals to AWS",
                "ordering": ["id"],
            },
        ),
        migrations.AddConstraint(
            model_name="automationdocument",
            constraint=models.UniqueConstraint(
                fields=("region", "name"),
                name="automation_document_once",
                violation_error_message="This name is taken in this region: choose another.",
            ),
        ),
        migrations.AddIndex(
            model_name="automationexecution",
            index=models.Index(
                condition=models.Q(("look_at__isnull", False)), fields=["look_at"], name="automation_live"
            ),
        ),
        migrations.AddConstraint(
            model_name="automationsignal",
            constraint=models.UniqueConstraint(fields=("execution", "step", "origin"), name="automation_signal_once"),
        ),
    ]
