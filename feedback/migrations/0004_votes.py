import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("channels", "0014_reminders"),
        ("feedback", "0003_actions"),
        ("incidents", "0032_aws_call_by"),
    ]

    operations = [
        migrations.CreateModel(
            name="UpdateVote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("clear", models.BooleanField(verbose_name="clear")),
                (
                    "locale",
                    models.CharField(
                        choices=[("en", "English"), ("it", "Italian")], max_length=8, verbose_name="language"
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                (
                    "channel",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="channels.channel"
                    ),
                ),
                (
                    "recipient",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="channels.recipient",
                    ),
                ),
                (
                    "update",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="votes", to="incidents.incidentupdate"
                    ),
                ),
            ],
            options={
                "verbose_name": "vote on an update",
                "verbose_name_plural": "votes on updates",
                "constraints": [models.UniqueConstraint(fields=("update", "recipient"), name="vote_once_per_message")],
            },
        ),
    ]
