"""The registry: one line a provider. To add one: its file, its test, its line here."""

from functools import cache
from importlib import import_module

from .base import Provider

REGISTRY = {
    "outbox_email": "outbox.OutboxEmail",
    "outbox_sms": "outbox.OutboxSMS",
    "outbox_post": "outbox.OutboxPost",
    "smtp": "smtp.Smtp",
    "ses": "ses.Ses",
    "eum_sms": "eum_sms.EumSms",
    "sns_sms": "sns_sms.SnsSms",
    "eum_voice": "eum_voice.EumVoice",
    "eum_whatsapp": "eum_whatsapp.EumWhatsApp",
    "eum_push": "eum_push.EumPush",
    "sns_topic": "sns_topic.SnsTopic",
    "aws_lambda": "aws_lambda.AwsLambda",
    "webhook": "webhook.Webhook",
    "webpush": "webpush.WebPush",
    "sns_push": "sns_push.SnsPush",
    "in_app": "in_app.InApp",
    "x": "x.X",
    "mastodon": "mastodon.Mastodon",
    "bluesky": "bluesky.Bluesky",
    "slack": "slack.Slack",
    "slack_webhook": "slack.SlackWebhook",
    "teams": "teams.Teams",
    "slack_subscribers": "chat_subscribers.SlackSubscribers",
    "teams_subscribers": "chat_subscribers.TeamsSubscribers",
    "amazon_q": "amazon_q.AmazonQ",
    "apprise": "any_apprise.AnyApprise",
    "zendesk": "zendesk.Zendesk",
    "connect_cases": "connect_cases.ConnectCases",
    "ticket_webhook": "ticket_webhook.TicketWebhook",
    "statuspage": "statuspage.StatusPage",
    "s3": "s3.S3",
}


@cache
def get(key: str) -> type[Provider]:
    """The provider's class, imported on first use (an SDK costs nothing until a channel needs it).

    Raises KeyError for an unknown key.
    """
    module, name = REGISTRY[key].split(".")
    return getattr(import_module(f"{__name__}.{module}"), name)


def choices(superuser: bool = True) -> list[tuple[str, str]]:
    """Key and label of every provider that is installed and that this person may set up, for the channel form."""
    found = [(key, get(key)) for key in REGISTRY]
    return [(k, str(one.label)) for k, one in found if one.is_installed() and (superuser or not one.superuser_only)]
