"""Alerts of monitoring systems, the rules by which they are read, and the incidents that they propose."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import channels.secrets
import incidents.models.alert
import incidents.models.words


class Migration(migrations.Migration):
    dependencies = [
        ("incidents", "0022_clock"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AlertSource",
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
                    models.CharField(choices=incidents.models.alert.kind_choices, max_length=16, verbose_name="kind"),
                ),
                (
                    "secrets",
                    channels.secrets.EncryptedJSONField(
                        blank=True, default=dict, editable=False, verbose_name="credentials"
                    ),
                ),
                (
                    "topics",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="ARNs of the topics that may tell alerts, one on each line. Others are refused.",
                        verbose_name="SNS topics",
                    ),
                ),
                (
                    "default_severity",
                    models.CharField(
                        choices=[
                            ("sev1", "SEV 1 · critical"),
                            ("sev2", "SEV 2 · major"),
                            ("sev3", "SEV 3 · minor"),
                            ("sev4", "SEV 4 · notice"),
                        ],
                        default="sev3",
                        help_text="What is proposed where neither a rule nor the alert says more.",
                        max_length=8,
                        verbose_name="severity",
                    ),
                ),
                (
                    "rate",
                    models.PositiveIntegerField(
                        default=2000,
                        help_text="More are turned away and counted; monitoring systems send them again.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100000),
                        ],
                        verbose_name="most messages a minute",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="on")),
                ("heard_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last heard")),
                ("minute", models.PositiveBigIntegerField(default=0, editable=False)),
                ("taken", models.PositiveIntegerField(default=0, editable=False)),
                ("dropped", models.PositiveBigIntegerField(default=0, editable=False, verbose_name="turned away")),
                (
                    "dropped_at",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last turned away"),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "verbose_name": "alert source",
                "verbose_name_plural": "alert sources",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="AlertRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=80, verbose_name="name")),
                (
                    "position",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="The lowest is looked at first; the first that fits decides.",
                        verbose_name="position",
                    ),
                ),
                (
                    "title",
                    models.CharField(
                        blank=True,
                        help_text="As in checkout-*; a star stands for anything. Empty: any title.",
                        max_length=200,
                        verbose_name="title of the alert",
                    ),
                ),
                (
                    "labels",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="One on each line, as in service = checkout-*. All must fit. Empty: any labels.",
                        verbose_name="labels",
                    ),
                ),
                (
                    "proposes",
                    models.BooleanField(
                        default=True,
                        help_text="Off: such alerts are listed and propose nothing.",
                        verbose_name="proposes an incident",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=incidents.models.alert.state_choices,
                        default="degraded_performance",
                        max_length=24,
                        verbose_name="state",
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
                        help_text="Empty: as the alert says, else as its source does.",
                        max_length=8,
                        verbose_name="severity",
                    ),
                ),
                (
                    "public_title",
                    models.CharField(
                        blank=True,
                        help_text=(
                            "Empty: it is made from the components and their state. An alert's own title is never "
                            "proposed."
                        ),
                        max_length=200,
                        verbose_name="title for customers",
                    ),
                ),
                (
                    "components",
                    models.ManyToManyField(
                        blank=True,
                        help_text="What customers notice of it.",
                        related_name="alert_rules",
                        to="incidents.component",
                        verbose_name="components",
                    ),
                ),
                (
                    "scenario",
                    models.ForeignKey(
                        blank=True,
                        help_text="Picks the prepared words for the first draft.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="incidents.scenario",
                        verbose_name="scenario",
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: every source.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rules",
                        to="incidents.alertsource",
                        verbose_name="alert source",
                    ),
                ),
            ],
            options={
                "verbose_name": "alert rule",
                "verbose_name_plural": "alert rules",
                "ordering": ["position", "pk"],
            },
        ),
        migrations.CreateModel(
            name="Proposal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=200, verbose_name="title")),
                ("public_title", models.CharField(blank=True, max_length=200, verbose_name="title for customers")),
                (
                    "severity",
                    models.CharField(
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
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Waits for a decision"),
                            ("accepted", "Declared as an incident"),
                            ("dismissed", "Dismissed"),
                            ("joined", "Joined with another one"),
                        ],
                        default="open",
                        max_length=12,
                        verbose_name="state",
                    ),
                ),
                ("opened_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="proposed")),
                ("decided_at", models.DateTimeField(blank=True, null=True, verbose_name="decided")),
                ("reason", models.CharField(blank=True, max_length=500, verbose_name="reason")),
                (
                    "decided_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="decided by",
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="proposals",
                        to="incidents.incident",
                        verbose_name="incident",
                    ),
                ),
                (
                    "joined",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="incidents.proposal",
                    ),
                ),
                (
                    "scenario",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="incidents.scenario",
                        verbose_name="scenario",
                    ),
                ),
            ],
            options={
                "verbose_name": "proposed incident",
                "verbose_name_plural": "proposed incidents",
                "ordering": ["-pk"],
            },
        ),
        migrations.CreateModel(
            name="ProposedComponent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(choices=incidents.models.alert.state_choices, max_length=24, verbose_name="state"),
                ),
                (
                    "component",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="incidents.component"
                    ),
                ),
                (
                    "proposal",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="proposed", to="incidents.proposal"
                    ),
                ),
            ],
            options={
                "verbose_name": "proposed component",
                "verbose_name_plural": "proposed components",
                "ordering": ["component__group__position", "component__position", "component__name"],
            },
        ),
        migrations.AddField(
            model_name="proposal",
            name="components",
            field=models.ManyToManyField(
                related_name="proposals", through="incidents.ProposedComponent", to="incidents.component"
            ),
        ),
        migrations.CreateModel(
            name="Alert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("fingerprint", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[("firing", "Firing"), ("resolved", "Resolved")],
                        default="firing",
                        max_length=12,
                        verbose_name="state",
                    ),
                ),
                ("state_at", models.DateTimeField()),
                ("first_at", models.DateTimeField(verbose_name="first")),
                ("last_at", models.DateTimeField(verbose_name="last heard")),
                ("count", models.PositiveIntegerField(default=1, verbose_name="times told")),
                ("title", models.CharField(max_length=200, verbose_name="title")),
                ("summary", models.CharField(blank=True, max_length=1000, verbose_name="summary")),
                ("labels", models.JSONField(default=dict, verbose_name="labels")),
                (
                    "incident",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="alerts",
                        to="incidents.incident",
                        verbose_name="incident",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="incidents.alertrule",
                        verbose_name="alert rule",
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="alerts",
                        to="incidents.alertsource",
                        verbose_name="alert source",
                    ),
                ),
                (
                    "proposal",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="alerts",
                        to="incidents.proposal",
                        verbose_name="proposed incident",
                    ),
                ),
            ],
            options={
                "verbose_name": "alert",
                "verbose_name_plural": "alerts",
                "ordering": ["-pk"],
                "indexes": [
                    models.Index(fields=["source", "fingerprint", "-id"], name="alert_by_fingerprint"),
                    models.Index(condition=models.Q(("incident", None)), fields=["last_at"], name="alert_to_forget"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "firing")),
                        fields=("source", "fingerprint"),
                        name="alert_once_while_firing",
                    )
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="proposedcomponent",
            constraint=models.UniqueConstraint(fields=("proposal", "component"), name="proposed_component_once"),
        ),
        migrations.AddIndex(
            model_name="proposal",
            index=models.Index(condition=models.Q(("state", "open")), fields=["id"], name="proposal_open"),
        ),
        migrations.AddConstraint(
            model_name="proposal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("decided_at", None),
                        ("decided_by", None),
                        ("incident", None),
                        ("joined", None),
                        ("reason", ""),
                        ("state", "open"),
                    ),
                    models.Q(("decided_by", None), ("incident", None), ("joined__isnull", False), ("state", "joined")),
                    models.Q(
                        ("decided_at__isnull", False),
                        ("decided_by__isnull", False),
                        ("incident__isnull", False),
                        ("state", "accepted"),
                    ),
                    models.Q(
                        ("decided_by__isnull", False),
                        ("incident", None),
                        ("state", "dismissed"),
                        models.Q(("reason", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="proposal_decided_by_a_person",
            ),
        ),
    ]
