"""Keys by which a program acts for a member of staff through the REST API, and the answers that it was given."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from incidents.errors import NotAllowed, Refused, WrongState

from .decision import name_of
from .words import one_line

MARK = "cpt_"  # by which a scanner of leaked secrets knows one
MAY_HOLD = "incidents.own_apitoken"
LONGEST = timedelta(days=366)
SEEN_EVERY = timedelta(minutes=1)


class Scope(models.TextChoices):
    """What a token may be used for; what its owner may not do, it never may."""

    INCIDENTS_READ = "incidents:read", _("read incidents")
    INCIDENTS_WRITE = "incidents:write", _("declare and dismiss incidents, hand over roles")
    UPDATES_READ = "updates:read", _("read updates, drafts too")
    UPDATES_WRITE = "updates:write", _("write updates and ask for approval")
    COMPONENTS_READ = "components:read", _("read components")
    PLANS_READ = "plans:read", _("read communication plans")
    SUBSCRIBERS_READ = "subscribers:read", _("read subscribers, with their addresses")
    SUBSCRIBERS_WRITE = "subscribers:write", _("add subscribers and unsubscribe them")
    DELIVERIES_READ = "deliveries:read", _("read what became of messages")
    REPORTS_READ = "reports:read", _("read reports")


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def for_user(self, user: Any) -> "ApiTokenQuerySet":
        """A superuser's are all; everybody else's their own."""
        if not user.is_active:  # nobody logged in, or somebody who left
            return self.none()
        return self.all() if user.is_superuser else self.filter(owner=user)


class ApiToken(models.Model):
    """A key of one program. Of the secret only a hash is kept: it is random, so that no slow hash is needed."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("acts as")
    )
    name = models.CharField(_("name"), max_length=80, help_text=_("Which program uses it, for example: deploy bot."))
    scopes = models.JSONField(_("may"), default=list)
    prefix = models.CharField(_("begins with"), max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)  # SHA-256, hex
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("made by"),
        editable=False,
    )
    created_at = models.DateTimeField(_("made"), auto_now_add=True)
    expires_at = models.DateTimeField(_("good until"))
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["-pk"]
        default_permissions = ()
        permissions = [("own_apitoken", "Can make API tokens that act as oneself")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def make(cls, by: Any, owner: Any, name: str, scopes: Iterable[str], days: int) -> tuple["ApiToken", str]:
        """A new token that acts as `owner` for so many days, and the whole secret, which nobody can show again.

        For oneself; a superuser also for an account that nobody can log in to. Raises NotAllowed, Refused.
        """
        if not by.has_perm(MAY_HOLD):
            raise NotAllowed(_t("%(who)s may not make API tokens.") % {"who": name_of(by)})
        if owner.pk != by.pk and not (by.is_superuser and not owner.has_usable_password()):
            # Else somebody could write as one person and approve as another.
            raise NotAllowed(
                _t("A token acts as the person who makes it: %(who)s must log in and make it.")
                % {"who": name_of(owner)}
            )
        wanted = set(scopes)
        if not wanted or unknown(wanted):
            raise Refused(_t("Choose what the token may be used for."))
        if not (name := one_line(name)):
            raise Refused(_t("Name the program that uses the token."))
        if not timedelta(days=1) <= timedelta(days=days) <= LONGEST:
            raise Refused(_t("A token is good for 1 to %(most)d days.") % {"most": LONGEST.days})
        prefix, secret = MARK + secrets.token_hex(4), secrets.token_urlsafe(32)
        token = cls.objects.create(
            owner=owner,
            name=name[:80],
            scopes=[one for one in Scope.values if one in wanted],
            prefix=prefix,
            secret_hash=hashed(secret),
            created_by=by,
            expires_at=timezone.now() + timedelta(days=days),
        )
        return token, f"{prefix}_{secret}"

    @classmethod
    def find(cls, shown: str) -> "ApiToken | None":
        """The token whose whole secret this is, if it is good now. The work is the same whether there is one."""
        prefix, secret = shown[: len(MARK) + 8], shown[len(MARK) + 9 :]
        found = cls.objects.select_related("owner").filter(prefix=prefix).first() if printable(prefix) else None
        same = constant_time_compare(hashed(secret), found.secret_hash if found else hashed(""))
        whole = shown == f"{prefix}_{secret}"
        return found if found and same and whole and found.state == "good" else None

    @property
    def state(self) -> str:
        """good, expired, revoked, or closed: its owner may hold none any more."""
        if self.revoked_at:
            return "revoked"
        if self.expires_at <= timezone.now():
            return "expired"
        owner = self.owner
        return "good" if owner.is_active and owner.is_staff and owner.has_perm(MAY_HOLD) else "closed"

    @property
    def scopes_in_words(self) -> list[str]:
        return [str(Scope(one).label) for one in self.scopes if one in Scope.values]

    def revoke(self, by: Any) -> None:
        """End it at once and for good. Raises NotAllowed, WrongState (it is revoked)."""
        with transaction.atomic():
            me = ApiToken.objects.select_for_update().get(pk=self.pk)
            if by.pk != me.owner_id and not by.is_superuser:
                raise NotAllowed(_t("%(who)s may not revoke this token.") % {"who": name_of(by)})
            if me.revoked_at:
                raise WrongState(_t("This token is revoked already."))
            me.revoked_at = timezone.now()
            me.save(update_fields=["revoked_at"])
        self.revoked_at = me.revoked_at

    def used(self) -> None:
        """Remember when: once a minute is enough, and a look-up writes nothing else."""
        now = timezone.now()
        if self.last_used_at is None or self.last_used_at < now - SEEN_EVERY:
            ApiToken.objects.filter(pk=self.pk).update(last_used_at=now)


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def unknown(scopes: Iterable[str]) -> list[str]:
    return sorted(set(scopes) - set(Scope.values))


class ApiAnswer(models.Model):
    """What a program was told when it made something, so that asking again makes nothing twice."""

    KEEP = timedelta(hours=24)

    token = models.ForeignKey(ApiToken, on_delete=models.CASCADE, related_name="answers")
    key = models.CharField(max_length=100)  # the program's own name for what it asks
    fingerprint = models.CharField(max_length=64)  # of what was asked
    about = models.CharField(max_length=40, db_index=True)  # what was made: "recipient:12"
    status = models.PositiveSmallIntegerField()
    body = models.JSONField()
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("API answer")
        verbose_name_plural = _("API answers")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["token", "key"], name="api_answer_once_per_key")]

    def __str__(self) -> str:
        return f"{self.token_id} {self.key}: {self.status}"

    @classmethod
    def forget(cls, now: datetime | None = None) -> None:
        """Drop what no program asks again."""
        cls.objects.filter(at__lt=(now or timezone.now()) - cls.KEEP).delete()
