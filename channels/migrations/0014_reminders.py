from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("channels", "0013_delivered_at")]
    operations = [
        migrations.AlterField(
            model_name="dispatch",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("update", "Incident update"),
                    ("survey", "Survey invitation"),
                    ("reminder", "Reminder of a survey"),
                ],
                default="update",
                max_length=16,
            ),
        ),
    ]
