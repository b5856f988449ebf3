"""Words that are prepared by one person and approved by another before anybody says them."""

import json
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from incidents.errors import NotAllowed, WrongState


class PreparedWords(models.Model):
    """An approval of its own, bound to just these words: any change of `said()` asks for another.

    A subclass has a `history` of HistoricalRecords: that says who wrote what.
    """

    # The words that somebody approved; other words need approval anew.
    approved_hash = models.CharField(max_length=64, blank=True, default="", editable=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )
    approved_at = models.DateTimeField(_("approved"), null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    def said(self) -> list[Any]:
        """What it says, and where and when; plain JSON."""
        raise NotImplementedError

    def may_approve(self, user: Any) -> bool:
        """Whether this person may approve such words, whoever wrote them."""
        return user.has_perm("incidents.approve_incidentupdate")

    @property
    def words_hash(self) -> str:
        """SHA-256 of what it says and when; hex, 64 characters."""
        return sha256(json.dumps(self.said(), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def is_approved(self) -> bool:
        """Whether somebody approved just these words."""
        return bool(self.approved_hash) and self.approved_hash == self.words_hash

    def approve(self, by: Any, seen_hash: str) -> None:
        """Approve the words as they were shown: from now on they may be said.

        Raises NotAllowed (no such role, or they are one's own), WrongState (other words than were seen).
        """
        from .decision import name_of

        with transaction.atomic():
            me = type(self)._default_manager.select_for_update(of=("self",)).get(pk=self.pk)
            if not me.may_approve(by):
                raise NotAllowed(_t("%(who)s may not approve these words.") % {"who": name_of(by)})
            if by in me.writers():
                raise NotAllowed(_t("You wrote some of these words, so somebody else must approve them."))
            if seen_hash != me.words_hash:
                raise WrongState(_t("The words changed after you opened them. Read them again before you decide."))
            me.approved_hash, me.approved_by, me.approved_at = me.words_hash, by, timezone.now()
            me.save()
        self.refresh_from_db()

    def writers(self) -> list[Any]:
        """Everybody who changed its words since they were last approved."""
        found = []
        records = self.history.select_related("history_user")  # type: ignore[attr-defined]
        for record in records.order_by("-history_date", "-history_id"):
            if record.instance.is_approved:
                break
            if record.history_user is not None:
                found.append(record.history_user)
        return found
