"""Who asks: a token in the header, and nothing else. No cookie is looked at, so no page can ask in somebody's name."""

import logging
import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from ninja.security.http import HttpBearer

from channels.secrets import network_hash
from incidents.errors import NotAllowed
from incidents.models import ApiToken
from incidents.models.api_token import MARK
from incidents.statuspage.subscribe import network_of

from .problems import Stop

log = logging.getLogger(__name__)
MAX_HEADER = 200
# Names by which tokens are put into addresses, where every server on the way writes them down.
IN_ADDRESS = {"access_token", "api_key", "apikey", "authorization", "bearer", "token"}


class Bearer(HttpBearer):
    """A good token that has the scope; without a scope any."""

    def __init__(self, scope: str = "") -> None:
        self.scope = scope
        super().__init__()

    def __call__(self, request: HttpRequest) -> ApiToken:
        """The token, and request.user is its owner. Raises Stop."""
        kind, _space, secret = request.headers.get("Authorization", "").partition(" ")
        token = None
        if kind.lower() == "bearer" and len(secret) <= MAX_HEADER:
            token = self.authenticate(request, secret.strip())
        if token is None:
            # Not asked before: who guesses must not shut out good tokens that come from the same network.
            if count(f"network:{network_hash(network_of(request))}") > settings.API_FAILURES_PER_MINUTE:
                raise too_many("Too many requests without a good token came from here.")
            raise Stop(
                401,
                "unauthenticated",
                "Send a token that is good: Authorization: Bearer cpt_…. It may be expired or revoked.",
                WWW_Authenticate='Bearer realm="Commsportal API"',
            )
        if count(f"token:{token.pk}") > settings.API_PER_MINUTE:
            raise too_many(f"This token asked more than {settings.API_PER_MINUTE} times in this minute.")
        if self.scope and self.scope not in token.scopes:
            raise Stop(403, "scope_missing", f"This token lacks the scope {self.scope}. Make one that has it.")
        token.used()
        request.user = token.owner
        return token

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        return ApiToken.find(token)


def too_many(detail: str) -> Stop:
    return Stop(429, "too_many", detail, Retry_After=str(60 - int(time.time()) % 60))


def need(request: HttpRequest, permission: str, what: str) -> Any:
    """The owner of the token, who has this permission. Raises NotAllowed: `what` they may not do."""
    if not request.user.has_perm(permission):
        raise NotAllowed(f"The person whom this token acts as may not {what}.")
    return request.user


def refuse_in_address(request: HttpRequest) -> None:
    """A token in an address stands in logs. Raises Stop."""
    if MARK in request.META.get("QUERY_STRING", "") or IN_ADDRESS & {name.lower() for name in request.GET}:
        raise Stop(
            400,
            "token_in_address",
            "Tokens belong in the header Authorization. One that stood in an address stands in logs: revoke it.",
        )


# ── Counting, in the cache that all web servers share ───────────────────────


def count(what: str) -> int:
    """How often in this minute, with this time. A cache that is away counts nothing, and stops nobody."""
    key = f"api:{what}:{int(time.time()) // 60}"
    try:
        cache.add(key, 0, 120)
        return cache.incr(key)
    except ValueError:  # it ran out in between
        return 1
    except Exception as error:
        log.warning("the cache does not count requests of the API: %s", error)
        return 0
