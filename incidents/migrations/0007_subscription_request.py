import django.utils.timezone
from django.db import migrations, models
from django.db.models import Q

import incidents.models.subscription_request


class Migration(migrations.Migration):
    dependencies = [("incidents", "0006_subscription_choices")]

    operations = [
        migrations.CreateModel(
            name="SubscriptionRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
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
                ("address", models.CharField(blank=True, max_length=2000, verbose_name="address")),
                ("address_hash", models.CharField(max_length=64)),
                ("domain", models.CharField(max_length=255, verbose_name="domain")),
                ("ip_hash", models.CharField(max_length=64)),
                (
                    "wanted",
                    models.JSONField(
                        default=incidents.models.subscription_request.default_wanted, verbose_name="wanted"
                    ),
                ),
                ("locale", models.CharField(max_length=8, verbose_name="language")),
                ("time_zone", models.CharField(max_length=40, verbose_name="time zone")),
                ("wording", models.TextField(verbose_name="what they agreed to")),
                ("wording_locale", models.CharField(max_length=8)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="asked")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting to be sent"),
                            ("sending", "Being sent"),
                            ("sent", "Sent"),
                            ("failed", "Failed"),
                            ("unknown", "Not known whether sent"),
                            ("suppressed", "Not sent: the address is stopped"),
                            ("limited", "Not sent: asked for too often"),
                        ],
                        default="waiting",
                        max_length=12,
                        verbose_name="the message",
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=500, verbose_name="detail")),
                ("sent_at", models.DateTimeField(blank=True, null=True, verbose_name="sent")),
                ("confirmed_at", models.DateTimeField(blank=True, null=True, verbose_name="confirmed")),
            ],
            options={
                "verbose_name": "subscription request",
                "verbose_name_plural": "subscription requests",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["address_hash", "created_at"], name="request_by_address"),
                    models.Index(fields=["ip_hash", "created_at"], name="request_by_ip"),
                    models.Index(fields=["domain", "created_at"], name="request_by_domain"),
                    models.Index(condition=~Q(address=""), fields=["created_at"], name="request_with_address"),
                    models.Index(
                        condition=Q(confirmed_at__isnull=True), fields=["created_at"], name="request_unconfirmed"
                    ),
                    models.Index(condition=Q(outcome__in=["waiting", "sending"]), fields=["id"], name="request_unsent"),
                ],
            },
        ),
    ]
