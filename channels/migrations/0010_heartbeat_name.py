from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("channels", "0009_chat_media")]
    operations = [
        migrations.AlterField(
            model_name="heartbeat",
            name="name",
            field=models.CharField(max_length=100, primary_key=True, serialize=False),
        ),
    ]
