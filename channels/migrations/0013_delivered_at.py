from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("channels", "0012_delivery_tally")]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="delivered_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="arrived"),
        ),
    ]
