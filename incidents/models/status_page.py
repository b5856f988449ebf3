from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core import signing
from django.db import models
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from .component import Component
from .words import new_uid

LINK_SALT = "incidents.status-page"
READ_ANY = "incidents.view_statuspage"


class StatusPageQuerySet(models.QuerySet["StatusPage"]):
    def for_user(self, user: User | AnonymousUser) -> "StatusPageQuerySet":
        """For staff: pages of which they may see every component."""
        unseen = Component.objects.exclude(pk__in=Component.objects.for_user(user).order_by().values("pk"))
        return self.exclude(Exists(unseen.filter(status_pages=OuterRef("pk"))))


class StatusPage(models.Model):
    """A private status page: some components, for readers who log in or have a signed link.

    The public page is none of these.
    """

    uid = models.CharField(max_length=12, unique=True, default=new_uid, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True, help_text=_("Readers see it as the title."))
    components = models.ManyToManyField(
        Component,
        related_name="status_pages",
        verbose_name=_("components"),
        help_text=_("Public and private ones. Every incident that hits one of them is on the page."),
    )
    groups = models.ManyToManyField(
        Group,
        blank=True,
        related_name="+",
        verbose_name=_("readers"),
        help_text=_("Who is in one of these groups reads the page after logging in. Empty: by link only."),
    )
    enabled = models.BooleanField(
        _("on"), default=True, help_text=_("Off: nobody reads it, and its links wait until it is on again.")
    )
    link_version = models.PositiveIntegerField(default=1, editable=False)  # links of another one are withdrawn
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords(m2m_fields=[components, groups])

    objects = StatusPageQuerySet.as_manager()

    class Meta:
        verbose_name = _("private status page")
        verbose_name_plural = _("private status pages")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def may_read(self, user: Any) -> bool:
        """Whether a person who is logged in reads it: its groups, and staff who may see it here."""
        if not self.enabled or not user.is_active:
            return False
        if user.has_perm(READ_ANY) and StatusPage.objects.for_user(user).filter(pk=self.pk).exists():
            return True
        return self.groups.filter(user=user).exists()

    def key(self, until: datetime | None) -> str:
        """What stands in a link that opens the page for whoever has it; for ever, or up to a moment."""
        return signing.dumps([self.uid, self.link_version, int(until.timestamp()) if until else 0], salt=LINK_SALT)

    @classmethod
    def by_key(cls, key: str) -> "StatusPage | None":
        """The page that a link opens; None if it was never ours, is over or was withdrawn. One query."""
        uid = cls.uid_of(key)
        page = cls.objects.filter(uid=uid, enabled=True).first() if uid else None
        return page if page and cls.opens(key, page.uid, page.link_version) else None

    @staticmethod
    def uid_of(key: str) -> str | None:
        """Of which page a link was made by us; None if it was not, or is over. No query."""
        try:
            uid, _version, until = signing.loads(key, salt=LINK_SALT)
        except (signing.BadSignature, ValueError, TypeError):
            return None
        return None if until and until < timezone.now().timestamp() else uid

    @classmethod
    def opens(cls, key: str, uid: str, link_version: int) -> bool:
        """Whether a link opens the page `uid` while its links are of `link_version`. No query."""
        return cls.uid_of(key) == uid and cls.parts_of(key)[0] == link_version

    @staticmethod
    def parts_of(key: str) -> list[int]:
        """Version and end (seconds since 1970; 0: none) of a link that opened the page."""
        _uid, version, until = signing.loads(key, salt=LINK_SALT)
        return [version, until]

    def still_lets_in(self, let_in: Mapping[str, Any]) -> bool:
        """Whether somebody who was let in, as Scope.let_in says, would be now."""
        if "link" in let_in:
            version, until = let_in["link"]
            return self.enabled and version == self.link_version and not (until and until < timezone.now().timestamp())
        user = get_user_model().objects.filter(pk=let_in["user"]).first()
        return user is not None and self.may_read(user)

    def withdraw_links(self) -> None:
        """From now on no link that was given opens the page."""
        type(self).objects.filter(pk=self.pk).update(link_version=models.F("link_version") + 1)
        self.refresh_from_db(fields=["link_version"])
