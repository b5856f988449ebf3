import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("incidents", "0005_pictures")]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="group",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="subscriptions",
                to="incidents.componentgroup",
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="least_severity",
            field=models.CharField(
                choices=[
                    ("sev1", "SEV 1 · critical"),
                    ("sev2", "SEV 2 · major"),
                    ("sev3", "SEV 3 · minor"),
                    ("sev4", "SEV 4 · notice"),
                ],
                default="sev4",
                max_length=8,
                verbose_name="least severity",
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="maintenance",
            field=models.BooleanField(default=True, verbose_name="maintenance"),
        ),
        migrations.RemoveConstraint(model_name="subscription", name="subscription_to_all_once"),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(
                fields=["recipient"],
                condition=Q(component__isnull=True, group__isnull=True),
                name="subscription_to_all_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(fields=["recipient", "group"], name="subscription_to_group_once"),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=Q(component__isnull=True) | Q(group__isnull=True),
                name="subscription_to_component_or_group",
            ),
        ),
    ]
