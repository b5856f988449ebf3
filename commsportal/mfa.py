"""What django-allauth is told: it keeps second factors, encrypted, and has no accounts of its own."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings

from channels.secrets import opened, sealed


class NoAccounts(DefaultAccountAdapter):
    """People are made in the admin. No page of allauth's accounts is served; should one ever be, nobody signs up."""

    def is_open_for_signup(self, request: Any) -> bool:
        return False

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Our pages say what was done."""


class Factors(DefaultMFAAdapter):
    """Secrets are encrypted as those of channels are; an app and a passkey show the portal's name and the login's."""

    def encrypt(self, text: str) -> str:
        return sealed(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Raises InvalidToken if no key reads it: an empty secret would be one that everybody can guess."""
        return opened(encrypted_text)

    def _get_user_identifier(self, user: Any) -> str:
        return user.get_username()

    def _get_site_name(self) -> str:
        return settings.PORTAL_NAME
