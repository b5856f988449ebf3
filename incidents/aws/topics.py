"""Events for the organisation's own systems on an Amazon SNS topic; what customers read goes through channels."""

from collections.abc import Mapping

from channels.providers.aws import SDK_ERRORS, connect, failure


def publish(arn: str, message: str, attributes: Mapping[str, str], group: str = "", key: str = "") -> str:
    """Publish once; the id that SNS gave it. Raises DeliveryError.

    With a FIFO topic: all of one `group` arrive in order, and a `key` that it has seen within five minutes is taken
    and dropped (docs.aws.amazon.com/sns/latest/dg/fifo-message-dedup.html).
    """
    fifo = {"MessageGroupId": group, "MessageDeduplicationId": key} if group else {}
    client = connect("sns", {}, arn.split(":")[3])  # a topic takes messages at an endpoint of its own region alone
    try:
        reply = client.publish(
            TopicArn=arn,
            Message=message,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
            **fifo,
        )
    except SDK_ERRORS as error:
        raise failure(error) from error
    finally:
        client.close()
    return reply.get("MessageId", "")
