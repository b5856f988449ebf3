"""The second step of a login: who has it set up, who must have, and what a session knows of it.

A factor is an authenticator app or a passkey; recovery codes stand in for them and are none themselves. Every session
of somebody with a factor has passed the second step: when the first is added, or all are taken away, the others end.
"""

import time
from typing import Any

from allauth.mfa.models import Authenticator
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.secrets import rotated

PASSED = "second_factor.passed"  # in a session: its login took the second step, or it added the first factor
PENDING = "second_factor.pending"  # in a session: whose password was right, and who has yet to take the second step
SURE = "second_factor.sure"  # in a session: when the person last proved who they are
PENDING_SECONDS = 600
SURE_SECONDS = 600
Type = Authenticator.Type


# ── Who ──


def factors() -> QuerySet[Authenticator]:
    return Authenticator.objects.exclude(type=Type.RECOVERY_CODES).order_by("pk")


def of(user: Any) -> list[Authenticator]:
    return list(factors().filter(user=user.pk))


def has(user: Any) -> bool:
    return factors().filter(user=user.pk).exists()


def holders() -> set[int]:
    """Keys of all who have one."""
    return set(factors().order_by().values_list("user", flat=True))


def there_is() -> Exists:
    """Of each person in a query."""
    return Exists(factors().filter(user=OuterRef("pk")))


def required() -> bool:
    return settings.STAFF_MFA == "required"


def must_have(user: Any) -> bool:
    """Whether this person decides what customers read, or about people, and so must have one."""
    return required() and any(user.has_perm(one) for one in settings.SECOND_FACTOR_FOR)


def lacks(user: Any) -> bool:
    """Whether this person must have one and has none."""
    return must_have(user) and not has(user)


# ── A login ──


def ask(request: HttpRequest, user: Any, then: str) -> None:
    """Remember that the password was right, until the second step is taken. Nobody is logged in by this."""
    request.session.cycle_key()
    request.session[PENDING] = {
        "user": user.pk,
        "backend": user.backend,
        "hash": user.get_session_auth_hash(),
        "at": int(time.time()),
        "then": then,
    }


def pending(request: HttpRequest) -> tuple[Any, str] | None:
    """Who has yet to take the second step, and where they go then; None if nobody, or not any more."""
    asked = request.session.get(PENDING)
    if not asked or time.time() - asked["at"] > PENDING_SECONDS:
        return None
    user = get_user_model()._default_manager.filter(pk=asked["user"], is_active=True, is_staff=True).first()
    if user is None or user.get_session_auth_hash() != asked["hash"]:  # the password was changed meanwhile
        return None
    user.backend = asked["backend"]  # type: ignore[attr-defined]
    return user, asked["then"]


def passed(request: HttpRequest) -> None:
    """This session took the second step."""
    request.session.pop(PENDING, None)
    request.session[PASSED] = True


def sure(request: HttpRequest) -> None:
    """The person has just proved who they are."""
    request.session[SURE] = int(time.time())


def is_sure(request: HttpRequest) -> bool:
    return time.time() - request.session.get(SURE, 0) <= SURE_SECONDS


def detour(request: HttpRequest, own_page: bool) -> str:
    """Where this session must go before it may do anything: "set up", "log in", or nowhere.

    `own_page`: on a page of one's own factors. Elsewhere the database is asked only where a factor is required and the
    session has not passed.
    """
    if request.session.get(PASSED) or not (own_page or must_have(request.user)):
        return ""
    if has(request.user):
        return "log in"
    return "" if own_page else "set up"


# ── What ends with it ──


def added(request: HttpRequest, what: str) -> None:
    """A factor of one's own is there now."""
    if not request.session.get(PASSED):
        end_sessions(request.user, keep=request.session.session_key)
    passed(request)
    record(request.user, request.user, _("Second factor added: %(what)s.") % {"what": what})


@transaction.atomic
def remove(request: HttpRequest, factor: Authenticator) -> bool:
    """Take away one of one's own; whether that was done: the last one stays where it is required."""
    user: Any = get_user_model()._default_manager.select_for_update().get(pk=factor.user_id)
    left = factors().filter(user=user).exclude(pk=factor.pk).exists()
    if not left and must_have(request.user):
        return False
    factors().filter(user=user, pk=factor.pk).delete()
    if not left:
        Authenticator.objects.filter(user=user).delete()  # recovery codes of nothing
        end_sessions(user, keep=request.session.session_key)
        request.session.pop(PASSED, None)
    record(user, user, _("Second factor removed: %(what)s.") % {"what": name(factor)})
    return True


@transaction.atomic
def reset(user: Any, by: Any) -> int:
    """Take all of them from somebody who has lost theirs, and log them out everywhere; how many there were."""
    count = factors().filter(user=user).count()
    Authenticator.objects.filter(user=user).delete()
    end_sessions(user)
    record(user, by, _("All second factors removed."))
    return count


def end_sessions(user: Any, keep: str | None = None) -> None:
    """Log somebody out everywhere, but in the session of the key `keep`."""
    there = Session.objects.filter(expire_date__gt=timezone.now()).exclude(session_key=keep or "")
    keys = [one.pk for one in there.iterator() if one.get_decoded().get(SESSION_KEY) == str(user.pk)]
    Session.objects.filter(pk__in=keys).delete()


def record(user: Any, by: Any, what: str) -> None:
    """In the history of the person's page."""
    LogEntry.objects.log_actions(by.pk, [user], CHANGE, what, single_object=True)


def name(factor: Authenticator) -> str:
    """What its owner calls it."""
    if factor.type == Type.TOTP:
        return _("authenticator app")
    return _("passkey “%(name)s”") % {"name": factor.data.get("name", "")}


# ── Keys ──


def rotate() -> tuple[int, list[int]]:
    """Encrypt their secrets anew with the newest key: how many, and which no key reads."""
    done, unreadable = 0, []
    with transaction.atomic():
        for one in Authenticator.objects.select_for_update().order_by("pk"):
            kept = {key: one.data[key] for key in ("secret", "seed") if key in one.data}
            if not kept:
                continue
            try:
                one.data |= {key: rotated(token) for key, token in kept.items()}
            except InvalidToken:
                unreadable.append(one.pk)
                continue
            one.save(update_fields=["data"])
            done += 1
    return done, unreadable
