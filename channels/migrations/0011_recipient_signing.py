from django.db import migrations

from channels.secrets import EncryptedJSONField


class Migration(migrations.Migration):
    dependencies = [("channels", "0010_heartbeat_name")]
    operations = [
        migrations.AddField(
            model_name="recipient",
            name="signing",
            field=EncryptedJSONField(blank=True, db_default="", default=dict, editable=False),
        ),
    ]
