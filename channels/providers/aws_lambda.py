"""One message to an AWS Lambda function of one's own: a way out to whatever else it can reach."""

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain

from . import aws
from .base import Addressee, Capabilities, Message, Outcome
from .http import patience
from .receipts import ReceiptsForm

# Lambda could not start the function, which passes; it says so with a status of 409 or 5xx.
NOT_STARTED = {
    "EC2ThrottledException",
    "EFSMountConnectivityException",
    "EFSMountTimeoutException",
    "ENILimitReachedException",
    "ENINotReadyException",
    "ResourceConflictException",
    "ResourceNotReadyException",
    "SnapStartNotReadyException",
    "SnapStartTimeoutException",
    "SubnetIPAddressLimitReachedException",
}
# Lambda could not start the function, and will not until somebody mends its settings.
BROKEN = {
    "EC2AccessDeniedException",
    "InvalidRuntimeException",
    "InvalidSecurityGroupIDException",
    "InvalidSubnetIDException",
    "InvalidZipFileException",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
}
# Said about one message; everything else that Lambda refuses, it would refuse again.
OF_ONE = {"InvalidRequestContentException", "RequestTooLargeException", "SerializedRequestEntityTooLargeException"}


class AwsLambdaForm(ReceiptsForm, aws.AwsForm):
    function = forms.CharField(
        label=gettext_lazy("Function"),
        max_length=256,
        help_text=gettext_lazy("Name or ARN, as in notify or arn:aws:lambda:eu-south-1:123456789012:function:notify."),
        validators=[
            RegexValidator(
                r"^(arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:)?[A-Za-z0-9_-]{1,140}$",
                gettext_lazy("“%(value)s” is not the name or ARN of a function; a version or alias goes below."),
            )
        ],
    )
    qualifier = forms.CharField(
        label=gettext_lazy("Version or alias"),
        required=False,
        max_length=128,
        help_text=gettext_lazy("Optional. Empty: the latest code, $LATEST."),
        validators=[
            RegexValidator(
                r"^(\$LATEST|[A-Za-z0-9_-]+)$",
                gettext_lazy("“%(value)s” is not a version or an alias; write it as 7 or live."),
            )
        ],
    )
    invocation = forms.ChoiceField(
        label=gettext_lazy("Call"),
        initial="RequestResponse",
        choices=[
            ("RequestResponse", gettext_lazy("Wait for the function; its error is ours (10 seconds at most)")),
            ("Event", gettext_lazy("Queue it at AWS and go on; its errors stay there")),
        ],
    )
    field_order = ["function", "qualifier", "invocation"]

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        arn, region = data.get("function", "").split(":"), data.get("region")
        if len(arn) > 1 and region and arn[3] != region:
            text = _("The function is in %(its)s, but the region below is %(region)s; make them the same.")
            self.add_error("function", text % {"its": arn[3], "region": region})
        return data


class AwsLambda(aws.AwsProvider):
    label = gettext_lazy("Event: AWS Lambda function")
    capabilities = Capabilities(form="event", medium="broadcast", broadcast=True)
    config_form = AwsLambdaForm
    service = "lambda"

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._invoke_one(json.dumps(_payload(message, one), ensure_ascii=False).encode()) for one in recipients]

    def _invoke_one(self, payload: bytes) -> Outcome:
        client = self.client
        try:
            reply = client.invoke(InvocationType=self.config["invocation"], Payload=payload, **self._function())
            try:
                answer = reply["Payload"].read()
            finally:
                reply["Payload"].close()
        except aws.SDK_ERRORS as error:
            found = _failure(error)
            if isinstance(found, Uncertain) or aws.code_of(error) in OF_ONE:
                return Outcome(error=found)
            raise found from error
        if kind := reply.get("FunctionError"):
            return Outcome(error=_function_error(kind, answer))
        return Outcome(ref=reply["ResponseMetadata"].get("RequestId", ""))

    def _function(self) -> dict[str, str]:
        names = {"FunctionName": self.config["function"], "Qualifier": self.config.get("qualifier")}
        return {name: value for name, value in names.items() if value}

    def probe(self) -> str:
        try:
            # Checks that the function is there and that we may call it, and does not run it.
            self.client.invoke(InvocationType="DryRun", **self._function())["Payload"].close()
        except aws.SDK_ERRORS as error:
            raise _failure(error) from error
        return ""


def _payload(message: Message, one: Addressee) -> dict[str, Any]:
    parts = message.parts
    return {
        "message": json.loads(parts["json"]),
        "subject": parts["subject"],
        "text": parts["text"],
        "locale": message.locale,
        "thread": message.thread,
        "reference": message.reference,
        "delivery": one.key,
    }


def _failure(error: Exception) -> DeliveryError:
    found, code = aws.failure(error), aws.code_of(error)
    if isinstance(found, Throttled):
        headers = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
        found.retry_after = patience(headers.get("retry-after", ""), default=found.retry_after)
    elif code in NOT_STARTED:
        return Transient(code, found.detail)
    elif code in BROKEN:
        return Permanent(code, found.detail)
    return found


def _function_error(kind: str, answer: bytes) -> Permanent:
    """The function ran and failed: with its own error ("Handled") or by time, memory or a crash ("Unhandled")."""
    text = answer.decode("utf-8", "replace")
    try:
        said = json.loads(text)
        return Permanent(str(said["errorType"]), str(said.get("errorMessage", ""))[:300])
    except (ValueError, KeyError, TypeError):
        return Permanent(kind, text[:300])
