"""Operations of AWS that a runbook may call: those that the operator allows, checked against the SDK's models."""

from functools import cache
from typing import Any

import botocore.session
from botocore import exceptions as sdk
from botocore import xform_name
from botocore.model import OperationModel, OperationNotFoundError
from botocore.validate import ParamValidator
from django.conf import settings
from django.utils.translation import gettext as _

from channels.errors import Permanent
from channels.providers.aws import SDK_ERRORS, connect, failure
from incidents.errors import Refused

# What sends messages is for channels, which send what was approved. No setting allows it here.
NEVER = {
    "ses", "sesv2", "sns", "pinpoint", "pinpoint-email", "pinpoint-sms-voice", "pinpoint-sms-voice-v2",
    "socialmessaging", "connect", "connectcases", "connectcampaigns", "connectcampaignsv2", "chime-sdk-messaging",
    "workmail", "workmailmessageflow", "iam", "sts", "organizations",
}  # fmt: skip
MOST_REPLY = 2000  # characters of a text that is kept


def allowed() -> list[str]:
    """Of settings.RUNBOOK_AWS_OPERATIONS those that exist and send no messages: ["ssm:StartAutomationExecution"]."""
    return [one for one in settings.RUNBOOK_AWS_OPERATIONS if one.split(":")[0] not in NEVER and _known(one)]


def _known(operation: str) -> bool:
    try:
        model_of(operation)
    except Refused:
        return False
    return True


@cache
def model_of(operation: str) -> OperationModel:
    """Raises Refused where the SDK knows no such operation."""
    service, _colon, name = operation.partition(":")
    try:
        return botocore.session.get_session().get_service_model(service).operation_model(name)
    except (sdk.UnknownServiceError, sdk.DataNotFoundError, OperationNotFoundError):
        raise Refused(_("AWS has no operation “%(operation)s”.") % {"operation": operation[:80]}) from None


def token_of(operation: str) -> str:
    """The parameter by which AWS knows a repeated call; empty if the operation has none."""
    shape = model_of(operation).input_shape
    for name, member in shape.members.items() if shape else ():
        if member.metadata.get("idempotencyToken") or name.lower() == "clienttoken":
            return name
    return ""


def check(operation: str, parameters: Any) -> None:
    """Raises Refused, with what the model says, unless the operation is allowed and takes these parameters."""
    if operation not in allowed():
        raise Refused(_("The operation “%(operation)s” is not allowed here.") % {"operation": operation[:80]})
    if not isinstance(parameters, dict):
        raise Refused(_("The parameters are not an object; write them in braces."))
    shape = model_of(operation).input_shape
    if shape is None:
        return
    report = ParamValidator().validate(parameters, shape)
    if report.has_errors():
        raise Refused(report.generate_report())


def call(operation: str, region: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Call it, once; what it answers, short enough to keep. Raises DeliveryError."""
    if operation not in allowed():
        raise Permanent(
            "not-allowed", _("The operation “%(operation)s” is not allowed here.") % {"operation": operation}
        )
    service, _colon, name = operation.partition(":")
    client = connect(service, {}, region)
    try:
        reply = getattr(client, xform_name(name))(**parameters)
    except SDK_ERRORS as error:
        raise failure(error) from error
    finally:
        client.close()
    reply.pop("ResponseMetadata", None)
    return _short(reply)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(one) for name, one in list(value.items())[:50]}
    if isinstance(value, list):
        return [_short(one) for one in value[:50]]
    return value if isinstance(value, int | float | bool | None) else str(value)[:MOST_REPLY]
