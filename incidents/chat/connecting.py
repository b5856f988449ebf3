"""Which of the staff a member of a workspace is: they say so themselves, logged in here, by a link from the chat.

The link proves that Slack saw this member ask for it; the login proves who opened it. It carries no right, and that the
addresses are equal proves nothing: it only shows whether somebody is perhaps opening a link that was meant for another.
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core import signing
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from channels.errors import DeliveryError
from channels.secrets import address_hash
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import ChatAccount, ChatWorkspace
from incidents.models.decision import name_of

SALT = "incidents.chat.connect"
SECONDS = 15 * 60


@dataclass(frozen=True)
class Invitation:
    """A member who asked to be connected. `mail` is a hash of their address there; empty if Slack did not tell it."""

    workspace: ChatWorkspace
    member: str
    name: str
    mail: str

    def is_of(self, person: Any) -> bool | None:
        """Whether both have the same address; None if that is not known."""
        return _hashed(person.email) == self.mail if self.mail and person.email else None


def link(workspace: ChatWorkspace, member: str) -> str:
    """The page that connects this member, for a quarter of an hour. Asks Slack for their name."""
    name = mail = ""
    try:
        found = workspace.slack.ask("users.info", user=member).get("user") or {}
        profile = found.get("profile") or {}
        name = str(profile.get("real_name") or found.get("real_name") or found.get("name") or "")
        mail = str(profile.get("email") or "")
    except DeliveryError as error:  # the page then shows the ID alone
        workspace.complain(str(error))
    token = signing.dumps([workspace.pk, member, name[:80], _hashed(mail)], salt=SALT, compress=True)
    return f"{settings.PORTAL_URL}{reverse('admin:incidents_chataccount_connect', args=[token])}"


def read(token: str) -> Invitation:
    """Raises django.core.signing.BadSignature, ChatWorkspace.DoesNotExist."""
    pk, member, name, mail = signing.loads(token, salt=SALT, max_age=SECONDS)
    return Invitation(ChatWorkspace.objects.get(pk=pk, enabled=True), member, name, mail)


def connect(invitation: Invitation, by: Any, sure: bool = False) -> ChatAccount:
    """From now on whatever this member asks for in the chat is asked for by `by`.

    `sure`: also where the address there is another than the one here.
    Raises NotAllowed, WrongState, Refused.
    """
    workspace = invitation.workspace
    if not (by.is_active and by.is_staff):
        raise NotAllowed(_("%(who)s may not work here.") % {"who": name_of(by)})
    if invitation.is_of(by) is False and not sure:
        raise Refused(_("The address there is not the one of your login. Tick that it is you, or ask for a link anew."))
    with transaction.atomic():
        taken = ChatAccount.objects.filter(workspace=workspace, member=invitation.member).first()
        if taken and taken.user_id == by.pk:
            return taken
        if taken:
            raise WrongState(_("This Slack account is connected to somebody else. They can disconnect it."))
        if own := ChatAccount.objects.filter(workspace=workspace, user=by).first():
            raise WrongState(_("You are connected already, as %(name)s. Disconnect that first.") % {"name": own})
        try:
            with transaction.atomic():
                return ChatAccount.objects.create(
                    workspace=workspace, member=invitation.member, name=invitation.name, user=by
                )
        except IntegrityError:
            raise WrongState(_("Somebody was connected at the same moment. Open the page again.")) from None


def _hashed(mail: str) -> str:
    """Part of a hash with a key: enough to tell whether it is the same, and no address in an address."""
    return address_hash("email", mail)[:16] if mail else ""
