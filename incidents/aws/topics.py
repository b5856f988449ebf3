"""Events for the organisation's own systems on an Amazon SNS topic; what customers read goes through channels."""

from collections.abc import Mapping

import botocore.session
from botocore import exceptions as sdk

from .operations import CONFIG, meaning


def publish(arn: str, message: str, attributes: Mapping[str, str], group: str = "", key: str = "") -> str:
    """Publish once; the id that SNS gave it. Raises DeliveryError.

    With a FIFO topic: all of one `group` arrive in order, and a `key` that it has seen within five minutes is taken
    and dropped (docs.aws.amazon.com/sns/latest/dg/fifo-message-dedup.html).
    """
    fifo = {"MessageGroupId": group, "MessageDeduplicationId": key} if group else {}
    try:
        # A topic takes messages at an endpoint of its own region alone.
        client = botocore.session.Session().create_client("sns", region_name=arn.split(":")[3], config=CONFIG)
        try:
            reply = client.publish(
                TopicArn=arn,
                Message=message,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
                **fifo,
            )
        finally:
            client.close()
    except (sdk.BotoCoreError, sdk.ClientError) as error:
        raise meaning(error) from error
    return reply.get("MessageId", "")
