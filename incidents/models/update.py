"""An incident update: five states, and a Decision for every step between them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels.models import Channel, Picture
from incidents.errors import NotAllowed, Refused, WrongState

from .api_token import ApiToken
from .decision import Decision, name_of
from .incident import Incident
from .picture import UpdatePicture, alt_of
from .segment import AudienceSegment
from .words import WORDS, Stage

if TYPE_CHECKING:
    from incidents.publishing import Reach


class UpdateQuerySet(models.QuerySet["IncidentUpdate"]):
    def for_user(self, user: Any) -> "UpdateQuerySet":
        return self.filter(incident__in=Incident.objects.for_user(user).order_by().values("pk"))


class IncidentUpdate(models.Model):
    """One thing said about an incident, in every language and on every channel at once."""

    class Status(models.TextChoices):
        DRAFT = "draft", _("Draft")
        IN_REVIEW = "in_review", _("Waiting for approval")
        APPROVED = "approved", _("Approved, not yet sent")
        PUBLISHED = "published", _("Published")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    PENDING = (Status.DRAFT, Status.IN_REVIEW, Status.APPROVED)
    WAIVERS = ((Decision.Verb.GLASS, _("Break-glass")), (Decision.Verb.PREPARED, _("Approved templates")))

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="updates")
    number = models.PositiveIntegerField(_("number"))
    stage = models.CharField(_("stage"), max_length=16, choices=Stage)
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.DRAFT)
    version = models.PositiveIntegerField(default=1)  # counts edits; a stale form is refused by it
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("author"), on_delete=models.PROTECT, null=True, related_name="+"
    )
    component_states = models.JSONField(default=dict)  # {"component id": state} that this update announces
    next_update_at = models.DateTimeField(_("next update by"), null=True, blank=True)
    expected_resolution_at = models.DateTimeField(_("expected resolution"), null=True, blank=True)
    notify = models.BooleanField(
        _("notify subscribers"), default=True, help_text=_("Off: only the status page changes.")
    )
    ask_feedback = models.BooleanField(
        _("ask for feedback"), default=False, help_text=_("Invite those who were told to a short survey.")
    )
    channels = models.ManyToManyField(Channel, blank=True, related_name="+", verbose_name=_("channels"))
    segments = models.ManyToManyField(
        AudienceSegment, blank=True, related_name="+", verbose_name=_("audience segments")
    )
    # A correction goes also to everybody whom the mistaken update reached.
    corrects = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="corrections")
    # Frozen when approval is asked for: what the plan asks for (PlanVersion.approval), and below,
    # exactly what will be shown and sent (publishing.build_manifest).
    policy = models.JSONField(null=True, blank=True)
    # Why it needs no second person: the verb of the decision that says so. Null: it does.
    waiver = models.CharField(max_length=12, null=True, blank=True, choices=WAIVERS)
    manifest = models.JSONField(null=True, blank=True)
    content_hash = models.CharField(max_length=64, blank=True)
    approved_hash = models.CharField(max_length=64, blank=True)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    approved_at = models.DateTimeField(null=True, blank=True)
    approved_count = models.PositiveIntegerField(default=0)  # people, when it was approved
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    published_at = models.DateTimeField(null=True, blank=True)
    # Of maintenance that was moved: when the work begins, as this update says. Null: as customers were told before.
    starts_at = models.DateTimeField(_("work begins"), null=True, blank=True)
    # A planned notice: once approved and let go by somebody who may publish, it goes out by itself at this time.
    publish_at = models.DateTimeField(_("goes out on"), null=True, blank=True)
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    # Why it did not go out at its time. Null rather than empty: SQLite would build the table anew, without its guards.
    hold_reason = models.TextField(_("held back because"), null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(_("last change"), auto_now=True)
    imported = models.BooleanField(default=False, editable=False)  # history from elsewhere: never sent from here

    objects = UpdateQuerySet.as_manager()

    class Meta:
        verbose_name = _("incident update")
        verbose_name_plural = _("incident updates")
        ordering = ["-number"]
        permissions = [
            ("write_incidentupdate", "Can write updates"),
            ("approve_incidentupdate", "Can approve updates"),
            ("publish_incidentupdate", "Can publish approved updates"),
            ("break_glass", "Can let out an update without a second person, to be reviewed afterwards"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["incident", "number"], name="update_number_once"),
            models.UniqueConstraint(
                fields=["incident"],
                condition=Q(status__in=["draft", "in_review", "approved"], publish_at__isnull=True),
                name="update_one_pending_per_incident",
            ),
            models.UniqueConstraint(
                fields=["incident", "publish_at"],
                condition=Q(status__in=["draft", "in_review", "approved"], publish_at__isnull=False),
                name="update_one_planned_per_time",
            ),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | ~Q(approved_by=F("author")),
                name="update_never_approved_by_its_author",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["approved", "published"])
                | Q(imported=True)
                | (
                    (Q(approved_by__isnull=False) | Q(waiver__isnull=False))
                    & ~Q(approved_hash="")
                    & Q(approved_hash=F("content_hash"))
                ),
                name="update_sent_only_as_approved",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.incident} #{self.number}"

    # ── What it says ──

    @property
    def begins_at(self) -> datetime:
        """When the incident or the work began, or is to begin, as this update says."""
        return self.starts_at or self.incident.started_at

    @property
    def page(self) -> dict[str, dict[str, Any]]:
        """What the status page shows, by language: {"en": {"subject", "text", "html"}}. Empty before review.

        With a picture there is also "picture": {"sha256", "alt", "file", "width", "height"}.
        """
        return (self.manifest or {}).get("page", {})

    @property
    def picture(self) -> UpdatePicture | None:
        """Its picture with the alternative texts, as they stand in the draft."""
        return getattr(self, "pictured", None)

    @property
    def default_locale(self) -> str:
        plan = self.incident.plan_version
        return plan.locales(self.stage)[0] if plan else settings.LANGUAGE_CODE

    def writers(self) -> set[int]:
        """Ids of everybody who wrote a word of it: none of them may approve it."""
        ids = set(self.decisions.filter(verb__in=Decision.WRITING).values_list("by_id", flat=True))
        ids |= {self.author_id} if self.author_id else set()
        # Who made a token that acts as an account knows its secret: the account's words may be theirs.
        return ids | set(
            ApiToken.objects.filter(owner__in=ids).exclude(created_by=None).values_list("created_by", flat=True)
        )

    def overtaken_by(self) -> "IncidentUpdate | None":
        """The latest update that customers were told after this one; None while this is the last word."""
        published = IncidentUpdate.objects.filter(incident=self.incident_id, status=self.Status.PUBLISHED)
        # By the time it was said: a planned notice has a lower number than what was written before it went out.
        later = Q(published_at__gt=self.published_at) | Q(published_at=self.published_at, number__gt=self.number)
        return published.filter(later).order_by("-published_at", "-number").first()

    def being_corrected_by(self) -> "IncidentUpdate | None":
        """The correction of it that somebody is writing, or that waits to go out; None if there is none."""
        return self.corrections.filter(status__in=self.PENDING).select_related("author").order_by("-number").first()

    @property
    def goes_by_itself(self) -> bool:
        """Whether it goes out at `publish_at` without anybody doing anything more."""
        return bool(
            self.status == self.Status.APPROVED and self.publish_at and self.released_by_id and not self.hold_reason
        )

    def reach(self) -> "Reach":
        """How many people it goes to now, by channel and language."""
        from incidents.publishing import reach

        return reach(self)

    # ── Who may ──

    def may(self, verb: str, user: Any) -> bool:
        """Whether `user` may write, approve or publish this, leaving aside its state."""
        return user.has_perm(f"incidents.{verb}_incidentupdate") and self.incident.may_operate(user)

    def _check_may(self, verb: str, user: Any) -> None:
        if not self.may(verb, user):
            raise NotAllowed(
                _t("%(who)s may not %(verb)s updates of this incident: the role or a component is missing.")
                % {
                    "who": name_of(user),
                    "verb": {"write": _t("write"), "approve": _t("approve")}.get(verb, _t("publish")),
                }
            )

    def _check_factor(self, user: Any) -> None:
        """Who must have a second factor decides nothing without, wherever they are: Slack has no login of ours."""
        from commsportal import second_factor

        if second_factor.lacks(user):
            text = _t("%(who)s must have a second factor for this. Log in at %(url)s and set it up there.")
            raise NotAllowed(text % {"who": name_of(user), "url": f"{settings.PORTAL_URL}{reverse('admin:two_step')}"})

    # ── Verbs: lock, check, change, record ──

    def edit(
        self,
        by: Any,
        version: int,
        words: Mapping[str, Mapping[str, str]] | None = None,
        channels: Iterable[Channel] | None = None,
        segments: Iterable[AudienceSegment] | None = None,
        **facts: Any,
    ) -> "IncidentUpdate":
        """Change the draft: `words` is {locale: {field of WORDS: text}}; `facts` are columns of the update.

        Any change after approval was asked for or given puts it back to draft.
        Raises NotAllowed, WrongState (also when `version` is not the current one).
        """
        allowed = {"stage", "component_states", "next_update_at", "expected_resolution_at", "notify", "ask_feedback"}
        if unknown := set(facts) - allowed:
            raise TypeError(f"not a fact of an update: {', '.join(sorted(unknown))}")
        with transaction.atomic():
            me = self._locked()
            me._check_may("write", by)
            me._check_status(*self.PENDING)
            me._check_version(version)
            if not me._apply(words or {}, {"channels": channels, "segments": segments}, facts):
                return self._saved()
            me.version += 1
            me._to_draft()
            me.save()
            me._record_writing(by)
            return self._saved()

    def set_picture(
        self, by: Any, version: int, picture: Picture | None, alt: Mapping[str, str] | None = None
    ) -> "IncidentUpdate":
        """Show `picture` with the update, or none; `alt` is {locale: what it shows}.

        Whoever does this writes the update, so they cannot approve it. Any change puts it back to draft, as edit().
        Raises NotAllowed, WrongState (also when `version` is not the current one).
        """
        with transaction.atomic():
            me = self._locked()
            me._check_may("write", by)
            me._check_status(*self.PENDING)
            me._check_version(version)
            if not me._apply_picture(picture, alt_of(alt or {})):
                return self._saved()
            me.version += 1
            me._to_draft()
            me.save()
            me._record_writing(by)
            return self._saved()

    def submit(self, by: Any, version: int | None = None) -> "IncidentUpdate":
        """Freeze the content and ask for approval; what approved templates say may need none, if the plan says so.

        Raises NotAllowed, WrongState, Refused (with findings).
        """
        from incidents import approving, clock
        from incidents.declaring import goes_where_planned
        from incidents.publishing import build_manifest, check_private, manifest_hash
        from incidents.rendering import says_only_prepared_words

        with transaction.atomic():
            me = self._locked()
            me._check_may("write", by)
            me._check_status(self.Status.DRAFT)
            if version is not None:
                me._check_version(version)
            me._check_words()
            me.manifest = build_manifest(me)
            check_private(me)
            me.content_hash = manifest_hash(me.manifest)
            me.status = self.Status.IN_REVIEW
            me.policy = me.waiver = None  # of words that were changed past edit(), they are still there
            me.policy = approving.policy(me)
            me.save()
            me._record(by, Decision.Verb.SUBMIT)
            prepared = me.policy["prepared"] and says_only_prepared_words(me) and goes_where_planned(me)
            if prepared and not (reach := me.reach()).warning():
                me._waive(by, Decision.Verb.PREPARED, "", reach.total)
            else:
                clock.ask(me)
            return self._saved()

    def approve(
        self,
        by: Any,
        comment: str = "",
        seen_hash: str | None = None,
        typed_count: int | None = None,
        seen_runs: Iterable[int] = (),
    ) -> "IncidentUpdate":
        """Approve exactly the frozen content. Never by anybody who wrote a word of it, superuser or not.

        It is approved once as many people did as the plan asks for; until then it goes on waiting.
        `seen_hash` is the content the approver looked at; `typed_count` the number of people they typed, needed
        when the audience is empty or unusually large; `seen_runs` the keys of the runs of runbooks of which they were
        told that they publish it then. Raises NotAllowed, WrongState, Refused.
        """
        from incidents import approving
        from incidents.publishing import check_private
        from incidents.runbooks import running

        with transaction.atomic():
            # A runbook that is started just now waits until this is decided, and publish() locks in this order.
            Incident.objects.select_for_update(no_key=True).get(pk=self.incident_id)
            me = self._locked()
            me._check_may("approve", by)
            me._check_factor(by)
            if by.pk in me.writers():
                raise NotAllowed(_t("You wrote this update, so somebody else must approve it."))
            me._check_status(self.Status.IN_REVIEW)
            me._check_seen(seen_hash)
            running.check_told(me, seen_runs)
            approving.check_approver(me, by)
            me._check_words()  # time has passed: what was promised may be over by now
            check_private(me)
            reach = me.reach()
            if (warning := reach.warning()) and typed_count != reach.total:
                raise Refused(warning)
            me._record(by, Decision.Verb.APPROVE, comment)
            if approving.missing(me):
                return self._saved()
            me.status = self.Status.APPROVED
            me.approved_hash = me.content_hash
            me.approved_by = by
            me.approved_at = timezone.now()
            me.approved_count = reach.total
            me.save()
            if me.publish_at and me.publish_at > timezone.now() and me.may("publish", by):
                me._release(by)
            return self._saved()

    def break_glass(self, by: Any, reason: str, seen_hash: str, typed_count: int | None = None) -> "IncidentUpdate":
        """Let it out without a second person, in one's own name. Somebody else has to review that afterwards.

        For what waits for approval, so that what goes out is what stands on the page. As for approve(), `typed_count`.
        Raises NotAllowed, WrongState, Refused (no reason).
        """
        from incidents.publishing import check_private

        with transaction.atomic():
            incident = Incident.objects.select_for_update(no_key=True).get(pk=self.incident_id)  # as publish() locks
            me = self._locked()
            me._check_may("publish", by)
            if not by.has_perm("incidents.break_glass"):
                raise NotAllowed(_t("%(who)s may not send without a second person.") % {"who": name_of(by)})
            me._check_factor(by)
            me._check_status(self.Status.IN_REVIEW)
            me._check_seen(seen_hash)
            if not reason.strip():
                raise Refused(_t("Say why nobody could approve it: somebody reviews this afterwards."))
            me._check_words()
            check_private(me)
            reach = me.reach()
            if (warning := reach.warning()) and typed_count != reach.total:
                raise Refused(warning)
            me._waive(by, Decision.Verb.GLASS, reason, reach.total)
            me._let_out(by, incident)
            return self._saved()

    def review_glass(self, by: Any, comment: str) -> "IncidentUpdate":
        """Close the review of what went out without a second person. Raises NotAllowed, WrongState, Refused."""
        with transaction.atomic():
            me = self._locked()
            me._check_may("approve", by)
            if not me.glass_is_open:
                raise WrongState(_t("There is nothing to review here."))
            broke = me.decisions.filter(verb=Decision.Verb.GLASS).values_list("by_id", flat=True)
            if by.pk in me.writers() | set(broke):
                raise NotAllowed(_t("You wrote this, or sent it alone: somebody else must review it."))
            if not comment.strip():
                raise Refused(_t("Say what you found: were the words right, and was it necessary?"))
            me._record(by, Decision.Verb.GLASS_SEEN, comment)
            return self._saved()

    def release(self, by: Any) -> "IncidentUpdate":
        """Let an approved notice go out by itself at its time, in one's own name. Raises NotAllowed, WrongState."""
        with transaction.atomic():
            me = self._locked()
            me._check_may("publish", by)
            me._check_status(self.Status.APPROVED)
            if me.publish_at is None:
                raise WrongState(_t("This update has no time at which it goes out: publish it."))
            if me.released_by_id:
                raise WrongState(_t("Somebody has let it go out by itself already."))
            if me.publish_at <= timezone.now():
                raise WrongState(_t("Its time has passed: publish it by hand."))
            me._release(by)
            return self._saved()

    def reject(self, by: Any, comment: str, seen_hash: str | None = None) -> "IncidentUpdate":
        """Send it back to its author with a reason. Raises NotAllowed, WrongState, Refused (no reason)."""
        from incidents import clock

        with transaction.atomic():
            me = self._locked()
            me._check_may("approve", by)
            me._check_status(self.Status.IN_REVIEW, self.Status.APPROVED)
            me._check_seen(seen_hash)
            if not comment.strip():
                raise Refused(_t("Say what should change, so that the author can act on it."))
            rejected = me.content_hash
            me._to_draft()
            me.save()
            me._record(by, Decision.Verb.REJECT, comment, rejected)
            clock.send_back(me)
            return self._saved()

    def publish(self, by: Any) -> "IncidentUpdate":
        """Show it on the status page and queue it for every channel. Raises NotAllowed, WrongState, Refused."""
        from incidents.publishing import check_private

        with transaction.atomic():
            # `no_key`: whoever holds the update may meanwhile record a decision, which points to the incident.
            incident = Incident.objects.select_for_update(no_key=True).get(pk=self.incident_id)
            me = self._locked()
            me._check_may("publish", by)
            me._check_status(self.Status.APPROVED)
            me._check_words()
            check_private(me)
            me.reach().check_against(me.approved_count)
            me._let_out(by, incident)
            return self._saved()

    def withdraw(self, by: Any, comment: str = "") -> "IncidentUpdate":
        """Give up a draft. What is published stays said: correct it by a new update."""
        with transaction.atomic():
            me = self._locked()
            me._check_may("write", by)
            me._check_status(*self.PENDING)
            me._to_draft()
            me.status = self.Status.WITHDRAWN
            me.save()
            me._record(by, Decision.Verb.WITHDRAW, comment)
            return self._saved()

    def retry(
        self,
        by: Any,
        channel: Channel,
        purpose: str = "update",
        status: str = "failed",
        code: str | None = None,
        old_words: bool = False,
    ) -> int:
        """Send again to those on `channel` for whom it failed (for the reason `code`); how many.

        `status` "unknown" repeats what perhaps arrived: somebody may get it twice. `old_words`: also where a later
        update has been published, or these words are being corrected. Raises NotAllowed, WrongState, Refused (old
        words that nobody confirmed).
        """
        from channels import delivery
        from channels.tasks import wake
        from incidents.publishing import dispatches

        with transaction.atomic():
            me = self._locked()
            if not (by.has_perm("channels.retry_dispatch") and me.incident.may_operate(by)):
                raise NotAllowed(_t("You may not send this again: the role or a component is missing."))
            me._check_status(self.Status.PUBLISHED)
            # An invitation to the survey is not old words: it asks about the whole incident.
            if purpose == "update" and not old_words and me.overtaken_by():
                raise Refused(_t("A later update has been published: confirm first that these old words shall go out."))
            if purpose == "update" and not old_words and me.being_corrected_by():
                raise Refused(_t("These words are being corrected: confirm first that they shall go out all the same."))
            chosen = dispatches(me).filter(channel=channel, purpose=purpose, cancelled_at__isnull=True)
            count = delivery.retry(chosen, [status], code)
            if not count:
                raise WrongState(_t("Nobody is left to send this to again: somebody has just done it."))
            me._record(by, Decision.Verb.RETRY, f"{channel}: {count} ({status}{f', {code}' if code else ''})")
            transaction.on_commit(lambda: wake(channel.pk))
        return count

    def stop(self, by: Any) -> int:
        """Write to nobody who has not been written to yet; how many. What is handed over cannot be taken back.

        Raises NotAllowed, WrongState.
        """
        from channels.progress import progress_of
        from incidents.publishing import dispatches

        with transaction.atomic():
            me = self._locked()
            me._check_may("publish", by)
            me._check_status(self.Status.PUBLISHED)
            left = [p for p in progress_of(dispatches(me).filter(cancelled_at__isnull=True)) if not p.finished]
            if not left:
                raise WrongState(_t("Everything has been sent: there is nothing left to stop."))
            dispatches(me).filter(pk__in=[p.dispatch.pk for p in left]).update(cancelled_at=timezone.now())
            people = sum(p.waiting for p in left)
            me._record(by, Decision.Verb.STOP, str(people))
        return people

    # ── What it needs before it may go out ──

    @property
    def glass_is_open(self) -> bool:
        """Whether it went out without a second person and nobody has reviewed that yet."""
        went = self.status == self.Status.PUBLISHED and self.waiver == Decision.Verb.GLASS
        return went and not self.decisions.filter(verb=Decision.Verb.GLASS_SEEN).exists()

    # ── Parts of the verbs ──

    def _waive(self, by: Any, verb: str, comment: str, people: int) -> None:
        self._record(by, verb, comment)  # first: the database asks for it
        self.status = self.Status.APPROVED
        self.waiver = verb
        self.approved_hash = self.content_hash
        self.approved_at = timezone.now()
        self.approved_count = people
        self.save()

    def _let_out(self, by: Any, incident: Incident) -> None:
        """The end of publish(): `incident` is locked, and everything is checked."""
        from incidents.publishing import announce, dispatch
        from incidents.runbooks import running

        from .runbook import Runbook

        self.status = self.Status.PUBLISHED
        self.published_at = timezone.now()
        self.published_by = by
        self.hold_reason = None
        self.save()
        announce(self, incident)
        dispatch(self)
        self._record(by, Decision.Verb.PUBLISH)
        running.trigger(incident, Runbook.Trigger.STAGE, by, self.stage, self.stage)

    def _locked(self) -> "IncidentUpdate":
        return (
            IncidentUpdate.objects.select_for_update(of=("self",))
            .select_related("incident__plan_version")
            .get(pk=self.pk)
        )

    def _saved(self) -> "IncidentUpdate":
        """Make this instance show what was saved."""
        self.refresh_from_db()
        return self

    def _check_status(self, *wanted: str) -> None:
        from incidents.rendering import moment

        if self.status in wanted:
            return
        last = self.decisions.select_related("by").order_by("-id").first()
        said = {"status": self.get_status_display()}
        if last is None:
            raise WrongState(_t("This update is “%(status)s” now.") % said)
        said |= {"who": name_of(last.by), "did": last.get_verb_display(), "when": moment(last.at, "H:i:s")}
        raise WrongState(_t("This update is “%(status)s” now: %(who)s %(did)s at %(when)s.") % said)

    def _check_version(self, version: int) -> None:
        from incidents.rendering import moment

        if version != self.version:
            last = self.decisions.select_related("by").order_by("-id").first()
            raise WrongState(
                _t("%(who)s changed this update at %(when)s: compare it with what you wrote, then save again.")
                % {"who": name_of(last and last.by), "when": moment(self.updated_at, "H:i:s")}
            )

    def _check_seen(self, seen_hash: str | None) -> None:
        if seen_hash is not None and seen_hash != self.content_hash:
            raise WrongState(_t("The content changed after you opened it. Read it again before you decide."))

    def _check_words(self) -> None:
        from incidents.checker import check

        blocking = [finding for finding in check(self) if finding.blocks]
        if blocking:
            raise Refused(_t("This cannot be sent yet: see what the checker found."), blocking)

    def _apply(
        self, words: Mapping[str, Mapping[str, str]], chosen: Mapping[str, Iterable[Any] | None], facts: dict[str, Any]
    ) -> bool:
        """Put new words, choices (by relation) and facts in place; whether anything changed."""
        changed = False
        for locale, texts in words.items():
            rendition, _created = self.renditions.get_or_create(locale=locale)
            new = {f: t for f, t in texts.items() if f in WORDS and getattr(rendition, f) != t}
            for field, text in new.items():
                setattr(rendition, field, text)
            if new:
                rendition.save()
                changed = True
        for relation, rows in chosen.items():
            if rows is None:
                continue
            wanted = {row.pk for row in rows}
            if wanted != set(getattr(self, relation).values_list("pk", flat=True)):
                getattr(self, relation).set(wanted)
                changed = True
        for name, value in facts.items():
            if getattr(self, name) != value:
                setattr(self, name, value)
                changed = True
        return changed

    def _apply_picture(self, picture: Picture | None, alt: dict[str, str]) -> bool:
        """Put another picture or other texts in place; whether anything changed."""
        before = self.picture
        if picture is None:
            if before:
                before.delete()
        elif before is None or (before.picture_id, before.alt) != (picture.pk, alt):
            UpdatePicture.objects.update_or_create(update=self, defaults={"picture": picture, "alt": alt})
        else:
            return False
        if before and (picture is None or picture.pk != before.picture_id):
            UpdatePicture.forget(before.picture_id)
        return bool(before or picture)

    def _release(self, by: Any) -> None:
        self._record(by, Decision.Verb.RELEASE)  # first: the database asks for it
        self.released_by = by
        self.save()

    def _to_draft(self) -> None:
        """Forget the frozen content and every approval of it."""
        self.released_by = self.hold_reason = self.policy = self.waiver = None
        self.status = self.Status.DRAFT
        self.manifest = None
        self.content_hash = self.approved_hash = ""
        self.approved_by = self.approved_at = None
        self.approved_count = 0

    def _record_writing(self, by: Any) -> None:
        """Autosave writes often; one line in the record says that this person wrote since the last step."""
        last = self.decisions.order_by("-id").first()
        if last is None or last.by_id != by.pk or last.verb not in Decision.WRITING:
            self._record(by, Decision.Verb.EDIT)

    def _record(self, by: Any, verb: str, comment: str = "", content_hash: str | None = None) -> None:
        from incidents.runbooks import running

        Decision.objects.create(
            incident_id=self.incident_id,
            update=self,
            by=by,
            verb=verb,
            comment=comment.strip(),
            content_hash=self.content_hash if content_hash is None else content_hash,
        )
        if verb in Decision.MOVES:
            running.wake(self.incident_id)
