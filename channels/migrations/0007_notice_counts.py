import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("channels", "0005_pictures"),
    ]

    operations = [
        migrations.AddField(
            model_name="notice",
            name="facts",
            field=models.JSONField(default=dict),
        ),
        migrations.CreateModel(
            name="NoticeCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                (
                    "event",
                    models.CharField(choices=[("shown", "Shown"), ("dismissed", "Closed")], max_length=12),
                ),
                ("count", models.PositiveBigIntegerField(default=0)),
                (
                    "notice",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="counts", to="channels.notice"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("notice", "day", "event"), name="notice_count_once_a_day")
                ],
            },
        ),
    ]
