"""How staff are reached, what they are told, and which promises were broken."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import incidents.models.staff_notice


class Migration(migrations.Migration):
    dependencies = [
        ("channels", "0011_recipient_signing"),
        ("incidents", "0020_approvals"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="communicationplan",
            name="staff_channels",
            field=models.ManyToManyField(
                blank=True,
                help_text=(
                    "Where staff are reminded, besides by email and SMS. Only channels that customers do not read."
                ),
                related_name="+",
                to="channels.channel",
                verbose_name="chat for staff",
            ),
        ),
        migrations.CreateModel(
            name="StaffContact",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("by_email", models.BooleanField(default=True, verbose_name="by email")),
                (
                    "phone",
                    models.CharField(
                        blank=True,
                        help_text="As +39 333 1234567; empty: no SMS.",
                        max_length=32,
                        verbose_name="phone for SMS",
                    ),
                ),
                (
                    "locale",
                    models.CharField(
                        choices=[("en", "English"), ("it", "Italian")],
                        default=incidents.models.staff_notice.default_locale,
                        max_length=8,
                        verbose_name="language",
                    ),
                ),
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="contact", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "verbose_name": "how to reach them",
                "verbose_name_plural": "how to reach them",
            },
        ),
        migrations.CreateModel(
            name="PromiseBreach",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("first", "First update"), ("next", "Next update"), ("work", "End of the work")],
                        max_length=8,
                        verbose_name="what",
                    ),
                ),
                ("due_at", models.DateTimeField(verbose_name="due")),
                ("noticed_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="noticed")),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="breaches", to="incidents.incident"
                    ),
                ),
            ],
            options={
                "verbose_name": "broken promise",
                "verbose_name_plural": "broken promises",
                "ordering": ["due_at"],
                "constraints": [models.UniqueConstraint(fields=("incident", "due_at"), name="breach_once")],
            },
        ),
        migrations.CreateModel(
            name="StaffNotice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=200, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("approval", "Approval is asked for"),
                            ("escalated", "Approval is late: deputies are asked"),
                            ("reminder", "A promise is about to break"),
                            ("breach", "A promise is broken"),
                        ],
                        max_length=12,
                        verbose_name="what",
                    ),
                ),
                (
                    "medium",
                    models.CharField(
                        choices=[
                            ("email", "Email"),
                            ("sms", "SMS"),
                            ("voice", "Phone call"),
                            ("whatsapp", "WhatsApp"),
                            ("push", "Mobile push"),
                            ("webpush", "Browser push"),
                            ("webhook", "Webhook"),
                            ("slack", "Slack webhook"),
                            ("teams", "Microsoft Teams webhook"),
                            ("ticket", "Ticket"),
                            ("broadcast", "Broadcast"),
                        ],
                        max_length=16,
                        verbose_name="medium",
                    ),
                ),
                (
                    "locale",
                    models.CharField(
                        choices=[("en", "English"), ("it", "Italian")], max_length=8, verbose_name="language"
                    ),
                ),
                ("subject", models.CharField(max_length=300, verbose_name="subject")),
                ("text", models.TextField(verbose_name="text")),
                ("url", models.CharField(max_length=500)),
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
                ("tried_at", models.DateTimeField(blank=True, null=True)),
                ("detail", models.CharField(blank=True, max_length=500, verbose_name="detail")),
                (
                    "channel",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="channels.channel",
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="staff_notices",
                        to="incidents.incident",
                    ),
                ),
                (
                    "update",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="incidents.incidentupdate",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "notice to staff",
                "verbose_name_plural": "notices to staff",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("outcome__in", ["waiting", "sending"])),
                        fields=["id"],
                        name="staff_notice_unsent",
                    )
                ],
            },
        ),
    ]
