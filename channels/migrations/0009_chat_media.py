from django.db import migrations, models

MEDIA = [
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
]


class Migration(migrations.Migration):
    dependencies = [("channels", "0007_notice_counts")]
    operations = [
        migrations.AlterField(
            model_name=model,
            name="medium",
            field=models.CharField(choices=MEDIA, max_length=16, verbose_name="medium"),
        )
        for model in ("recipient", "suppression")
    ]
