"""One call to AWS, and what its failure means: the one file here that knows the SDK.

Never inside a transaction. A call takes 15 seconds at most, and the same again where a role is assumed first.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from botocore import xform_name
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.errors import DeliveryError, Throttled, Transient, Uncertain
from channels.providers.aws import SDK_ERRORS, connect, failure
from incidents.models import AwsAccount

REST = timedelta(seconds=60)  # for which an account that did not answer is left alone
# The services' own words for “another one changes it right now”.
BUSY = {"ConflictException", "OpsItemConflictException", "ConcurrentModificationException"}
REFUSED = {"AccessDenied", "AccessDeniedException", "OpsItemAccessDeniedException", "UnauthorizedOperation"}
STRANGERS = {
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "ExpiredToken",
    "ExpiredTokenException",
}
MISSING = {"ResourceNotFoundException", "OpsItemNotFoundException"}


class AwsError(Exception):
    """A call came to nothing. `code` is AWS's word, `cause` says whether it may have been taken."""

    def __init__(self, action: str, cause: DeliveryError, answer: Mapping[str, Any]) -> None:
        super().__init__(f"{action}: {cause}")
        self.action = action
        self.cause = cause
        self.code = cause.code
        self.answer = answer

    @property
    def again(self) -> bool:
        """Whether it is worth trying again by itself."""
        return isinstance(self.cause, Transient | Throttled | Uncertain)

    @property
    def uncertain(self) -> bool:
        """Whether it was perhaps taken."""
        return isinstance(self.cause, Uncertain)

    @property
    def missing(self) -> bool:
        """Whether what it was about is not there (any more)."""
        return self.code in MISSING

    def words(self) -> str:
        """For the operator: what is wrong, and what to do."""
        what = {"action": self.action, "code": self.code, "detail": self.cause.detail}
        if self.code in REFUSED:
            return _("AWS refuses: these credentials lack the permission %(action)s. (%(detail)s)") % what
        if self.code in STRANGERS:
            return (
                _("AWS does not know these credentials (%(code)s): enter the access key and its secret again.") % what
            )
        if self.code in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
            return _("There are no credentials: enter an access key, or give this machine a role.")
        if self.missing:
            return _("It is not there at AWS (%(action)s): %(detail)s") % what
        if isinstance(self.cause, Throttled):
            return _("AWS asks for patience (%(action)s); it is tried again.") % what
        if self.uncertain:
            return _("AWS did not answer in time (%(action)s, %(code)s).") % what
        if isinstance(self.cause, Transient):
            return _("AWS was not reached (%(action)s, %(code)s); it is tried again.") % what
        return _("AWS says no to %(action)s: %(code)s. %(detail)s") % what


def ask(account: AwsAccount, service: str, operation: str, region: str = "", **params: Any) -> dict[str, Any]:
    """What an operation answers. `operation` as AWS names it: StartIncident. Raises AwsError."""
    action = f"{service}:{operation}"
    try:
        client = connect(service, account.config, region or account.region)
    except DeliveryError as error:
        raise AwsError(action, error, {}) from error
    try:
        return getattr(client, xform_name(operation))(**params)
    except SDK_ERRORS as error:
        found = failure(error)
        if found.code in BUSY:
            found = Transient(found.code, found.detail)
        raise AwsError(action, found, getattr(error, "response", {})) from error
    finally:
        client.close()


def note(account: AwsAccount, error: AwsError | None) -> None:
    """Remember how the account does: one that does not answer is left alone for a while."""
    now = timezone.now()
    mine = AwsAccount.objects.filter(pk=account.pk)
    if error is None:
        mine.exclude(held_until=None).update(held_until=None)
        return
    words = account.mask(error.words())[:600]
    account.held_until = now + REST if error.again else account.held_until
    mine.update(held_until=account.held_until, trouble=words, trouble_at=now)
