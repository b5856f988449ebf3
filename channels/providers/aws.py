"""What the providers on AWS share: how to log in, and what the SDK's failures mean."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import botocore.session
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.loaders import Loader, create_loader
from botocore.parsers import ResponseParserError
from django import forms
from django.conf import settings
from django.core.validators import RegexValidator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain

from .base import Addressee, Message, Outcome, Provider

# No send call of AWS takes an idempotency token, so that a retried timeout can send twice: one attempt only.
# Parameters are built here and content was checked at review; validating each call again halves the rate.
CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1}, parameter_validation=False)
SDK_ERRORS = (sdk.ClientError, sdk.BotoCoreError, ResponseParserError)

THROTTLES = {
    "LimitExceededException",
    "KMSThrottling",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttled",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
# botocore raises these before anything goes over the wire.
NOT_CONFIGURED = (
    sdk.CredentialRetrievalError,
    sdk.InvalidRegionError,
    sdk.NoCredentialsError,
    sdk.NoRegionError,
    sdk.PartialCredentialsError,
    sdk.ProfileNotFound,
    sdk.UnknownServiceError,
)
NOT_REACHED = (
    sdk.ConnectTimeoutError,
    sdk.EndpointConnectionError,
    sdk.ProxyConnectionError,
    sdk.SSLError,
)
TOPIC_ARN = RegexValidator(
    r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?\Z",
    _("“%(value)s” is not the ARN of a topic; write it as arn:aws:sns:eu-south-1:123456789012:name."),
)


class AwsForm(forms.Form):
    """Who we are on AWS."""

    region = forms.CharField(
        label=_("AWS region"),
        max_length=32,
        initial=lambda: settings.AWS_REGION,
        validators=[
            RegexValidator(
                r"^[a-z]{2,3}(-[a-z]+)+-\d+$", _("“%(value)s” is not an AWS region; write it as eu-south-1.")
            )
        ],
    )
    access_key_id = forms.CharField(
        label=_("Access key ID"),
        required=False,
        help_text=_("Leave both keys empty to use the role of the machine or container, which is safer."),
        validators=[RegexValidator(r"^[A-Z0-9]{16,128}$", _("An access key ID has 16 or more capitals and digits."))],
    )
    secret_access_key = forms.CharField(
        label=_("Secret access key"), required=False, widget=forms.PasswordInput, max_length=128
    )
    role_arn = forms.CharField(
        label=_("Role to assume"),
        required=False,
        max_length=2048,
        help_text=_("Optional: the ARN of a role, for example of another account."),
        validators=[
            RegexValidator(
                r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$",
                _("“%(value)s” is not the ARN of a role; write it as arn:aws:iam::123456789012:role/name."),
            )
        ],
    )
    events_topic_arn = forms.CharField(
        label=_("Topic of events"),
        required=False,
        max_length=400,
        help_text=_(
            "Optional: the ARN of the SNS topic that gets bounces and receipts. It is to be subscribed to the address"
            " /events/sns/ followed by the number of this channel and a slash."
        ),
        validators=[TOPIC_ARN],
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("access_key_id") and not data.get("secret_access_key"):
            self.add_error("secret_access_key", gettext("Enter the secret of this access key, or empty both."))
        if data.get("secret_access_key") and not data.get("access_key_id") and "access_key_id" not in self.errors:
            self.add_error("access_key_id", gettext("Enter the ID of this access key, or empty both."))
        return data


class AwsProvider(Provider):
    """A provider whose `client` is that of one AWS service, made when it is first needed."""

    service: ClassVar[str]  # as the SDK names it

    def region(self) -> str:
        return self.config["region"]

    @cached_property
    def client(self) -> Any:
        return connect(self.service, self.config, self.region())

    def confirm_subscription(self, topic_arn: str, token: str) -> None:
        """Say yes to a topic's wish to post to us; only those with credentials can end it. Raises DeliveryError."""
        client = connect("sns", self.config, topic_arn.split(":")[3])
        try:
            client.confirm_subscription(TopicArn=topic_arn, Token=token, AuthenticateOnUnsubscribe="true")
        except SDK_ERRORS as error:
            raise failure(error) from error
        finally:
            client.close()

    def load(self) -> None:
        _loader().load_service_model(self.service, "service-2")

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()
            del self.client


class OneByOne(AwsProvider):
    """A provider whose service takes one recipient a call."""

    operation: ClassVar[str]  # the client's method

    @abstractmethod
    def request(self, message: Message, one: Addressee) -> dict[str, Any]:
        """The parameters of that call. Raises Permanent for what the service would not take from this recipient."""

    def blame(self, error: Exception) -> tuple[DeliveryError, bool]:
        """What went wrong, and whether it concerns this recipient only."""
        found = failure(error)
        return found, isinstance(found, Uncertain)

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._send_one(message, one) for one in recipients]

    def _send_one(self, message: Message, one: Addressee) -> Outcome:
        try:
            request = self.request(message, one)
        except Permanent as refused:
            return Outcome(error=refused)
        call = getattr(self.client, self.operation)
        try:
            return accepted(call(**request))
        except SDK_ERRORS as error:
            found, of_one = self.blame(error)
            if of_one:
                return Outcome(error=found)
            raise found from error


def connect(service: str, config: Mapping[str, Any], region: str) -> Any:
    """A client of one service, as the channel's settings say. Raises DeliveryError: nothing was sent."""
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    keys = {
        "region_name": region,
        "aws_access_key_id": config.get("access_key_id") or None,
        "aws_secret_access_key": config.get("secret_access_key") or None,
        "config": CONFIG,
    }
    try:
        if config.get("role_arn"):
            keys |= _assume(session, config["role_arn"], keys)
        return session.create_client(service, **keys)
    except SDK_ERRORS as error:
        found = failure(error)
        raise (Transient(found.code, found.detail) if isinstance(found, Uncertain) else found) from error


@cache
def _loader() -> Loader:
    """Keeps the service models in memory: a client then takes 8 ms instead of 50."""
    return create_loader()


def _assume(session: botocore.session.Session, role_arn: str, keys: Mapping[str, Any]) -> dict[str, str]:
    # One call for the life of a client, which is a fraction of the hour that the credentials live.
    sts = session.create_client("sts", **keys)
    try:
        found = sts.assume_role(RoleArn=role_arn, RoleSessionName="commsportal")["Credentials"]
    finally:
        sts.close()
    return {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }


def failure(error: Exception) -> DeliveryError:
    """What an SDK error means where the service itself says no more: what is refused is refused for everybody."""
    if isinstance(error, sdk.ClientError):
        code, detail = code_of(error), error.response.get("Error", {}).get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in THROTTLES or status == 429:
            return Throttled(code, detail, retry_after=5)
        # A server's fault may come after the message was accepted.
        return Uncertain(code, detail) if status >= 500 or status < 400 else Permanent(code, detail)
    name = type(error).__name__
    if isinstance(error, NOT_CONFIGURED):
        return Permanent(name, str(error))
    if isinstance(error, NOT_REACHED):
        return Transient(name, str(error))
    return Uncertain(name, str(error))


def accepted(reply: Mapping[str, Any]) -> Outcome:
    """The outcome of a successful call. The SDK takes a reply cut short for one without content."""
    ref = reply.get("MessageId") or reply.get("messageId") or reply.get("relatedItemId")
    if ref:
        return Outcome(ref=ref)
    return Outcome(error=Uncertain("bad-reply", gettext("AWS answered without the ID of the message.")))


def code_of(error: Exception) -> str:
    """AWS's own word for an error, "" if it did not come from AWS."""
    if not isinstance(error, sdk.ClientError):
        return ""
    return error.response.get("Error", {}).get("Code", "") or "Unknown"
