"""Ways out and what went through them. Nothing here knows of incidents."""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import own_secrets
from .addresses import normalise
from .pictures import SUFFIXES, Prepared
from .secrets import EncryptedJSONField, address_hash

if TYPE_CHECKING:
    from .providers.base import Capabilities, Provider


OPENS_AFTER = 3  # times in a row that a provider is not reached: then its circuit is open
RECOVERY = 0.02  # of a channel's full rate, regained each second after it was halved


class Medium(models.TextChoices):
    """What kind of address a recipient has."""

    EMAIL = "email", _("Email")
    SMS = "sms", _("SMS")
    VOICE = "voice", _("Phone call")
    WHATSAPP = "whatsapp", _("WhatsApp")
    PUSH = "push", _("Mobile push")
    WEBPUSH = "webpush", _("Browser push")
    WEBHOOK = "webhook", _("Webhook")
    SLACK = "slack", _("Slack webhook")
    TEAMS = "teams", _("Microsoft Teams webhook")
    TICKET = "ticket", _("Ticket")
    BROADCAST = "broadcast", _("Broadcast")


def default_time_zone() -> str:
    return settings.TIME_ZONE


def provider_choices() -> list[tuple[str, str]]:
    from .providers import choices

    return choices()


class Channel(models.Model):
    """One configured way out: a provider, its settings, and how it is doing."""

    name = models.CharField(_("name"), max_length=80, unique=True)
    provider = models.CharField(_("provider"), max_length=32, choices=provider_choices)
    config = models.JSONField(_("settings"), default=dict, blank=True)
    secrets = EncryptedJSONField(_("credentials"), default=dict, blank=True)
    locales = models.JSONField(
        _("languages"),
        default=list,
        blank=True,
        help_text=_("For a broadcast channel: the languages it speaks. Empty: all."),
    )
    enabled = models.BooleanField(_("enabled"), default=False)
    verified_at = models.DateTimeField(_("last successful test"), null=True, blank=True, editable=False)
    test_error = models.TextField(_("last test error"), blank=True, editable=False)
    held_until = models.DateTimeField(_("held until"), null=True, blank=True, editable=False)
    paused_at = models.DateTimeField(_("paused"), null=True, blank=True, editable=False)
    paused_reason = models.TextField(_("why paused"), blank=True, editable=False)
    fallback = models.ForeignKey(
        "self",
        verbose_name=_("fallback"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text=_("Takes over what is unfinished when this channel is paused or cannot be reached."),
    )
    rate = models.FloatField(
        _("rate limit"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1)],
        help_text=_("People a second, over all workers. Empty: as many as the provider grants."),
    )
    granted_rate = models.FloatField(_("granted rate"), null=True, blank=True, editable=False)
    failures = models.PositiveSmallIntegerField(_("not reached in a row"), default=0, editable=False)
    answered_at = models.DateTimeField(null=True, blank=True, editable=False)  # lately; see circuit.py
    tried_until = models.DateTimeField(null=True, blank=True, editable=False)  # by the one who tries whether it answers
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("channel")
        verbose_name_plural = _("channels")
        ordering = ["name"]
        permissions = [("test_channel", "Can send a test through a channel")]
        constraints = [
            models.CheckConstraint(
                condition=Q(enabled=False) | Q(verified_at__isnull=False),
                name="channel_enabled_only_after_a_successful_test",
                violation_error_message=_("Send a test that succeeds before you enable this channel."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_provider(self) -> "Provider":
        """The provider, configured. Raises KeyError for a provider no longer in the registry."""
        from .providers import get

        return get(self.provider)({**self.config, **self.secrets})

    @property
    def capabilities(self) -> "Capabilities | None":
        """What it can do; None if its provider is no longer in the registry."""
        try:
            return self.get_provider().capabilities
        except KeyError:
            return None

    @property
    def is_page(self) -> bool:
        """Whether it shows the status page instead of sending words: then it goes with every update."""
        return bool(self.capabilities and self.capabilities.form == "page")

    @property
    def effective_rate(self) -> float | None:
        """People a second: what staff set and what the provider grants, whichever is less; None: no limit."""
        return min((rate for rate in (self.rate, self.granted_rate) if rate), default=None)

    def can_stand_in_for(self, other: "Channel") -> bool:
        """Whether it carries the same words to the same kind of address."""
        ours, theirs = self.capabilities, other.capabilities
        if ours is None or theirs is None or self.pk == other.pk or ours.broadcast or ours.medium == Medium.TICKET:
            return False  # a ticket belongs to one help desk: the same number is another ticket elsewhere
        return (ours.form, ours.medium) == (theirs.form, theirs.medium)

    def mask(self, text: str) -> str:
        """`text` without this channel's credentials: providers like to quote what they were given."""
        for secret in sorted(filter(None, self.secrets.values()), key=len, reverse=True):
            text = text.replace(str(secret), "•••")
        return text

    @property
    def health(self) -> str:
        """One of off, paused, unreachable, held, untested, well."""
        if self.paused_at:
            return "paused"
        if not self.enabled:
            return "off" if self.verified_at else "untested"
        if self.failures >= OPENS_AFTER:
            return "unreachable"
        if self.held_until and self.held_until > timezone.now():
            return "held"
        return "well"


class Recipient(models.Model):
    """One address of one person, device or account."""

    medium = models.CharField(_("medium"), max_length=16, choices=Medium)
    address = models.CharField(_("address"), max_length=2000)  # of a browser's push service as well
    address_hash = models.CharField(max_length=64, editable=False, db_index=True)
    name = models.CharField(_("name"), max_length=120, blank=True)
    locale = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES, default="en")
    time_zone = models.CharField(_("time zone"), max_length=40, default=default_time_zone)
    attributes = models.JSONField(_("attributes"), default=dict, blank=True)
    consent_source = models.CharField(_("source of consent"), max_length=120, blank=True)
    confirmed_at = models.DateTimeField(_("confirmed"), null=True, blank=True)
    # Of a webhook: its own secrets (see own_secrets.py). The database's default is for whoever copies rows in.
    signing = EncryptedJSONField(default=dict, db_default="", blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("recipient")
        verbose_name_plural = _("recipients")
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["medium", "address"], name="recipient_once_per_address")]

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.address_hash = address_hash(self.medium, self.address)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        try:
            self.address = normalise(self.medium, self.address)
        except ValueError as error:
            raise ValidationError({"address": str(error)}) from None

    def renew_secret(self) -> None:
        """Sign what is sent to this webhook with a new secret of its own, and for a day with the one before as well.

        Raises own_secrets.TooMany.
        """
        with transaction.atomic():
            me = Recipient.objects.select_for_update().get(pk=self.pk)
            me.signing = own_secrets.renewed(me.signing)
            me.save(update_fields=["signing"])
        self.signing = me.signing


class Suppression(models.Model):
    """An address that must not be written to. Kept by keyed hash, so that it outlives the person's data."""

    class Reason(models.TextChoices):
        UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
        BOUNCED = "bounced", _("Address does not exist")
        COMPLAINED = "complained", _("Marked as spam")
        MANUAL = "manual", _("Stopped by staff")

    medium = models.CharField(_("medium"), max_length=16, choices=Medium)
    address_hash = models.CharField(max_length=64)
    reason = models.CharField(_("reason"), max_length=16, choices=Reason)
    detail = models.CharField(_("detail"), max_length=500, blank=True)
    created_at = models.DateTimeField(_("since"), auto_now_add=True)

    class Meta:
        verbose_name = _("suppression")
        verbose_name_plural = _("suppressions")
        constraints = [models.UniqueConstraint(fields=["medium", "address_hash"], name="suppression_once_per_address")]

    def __str__(self) -> str:
        return f"{self.get_medium_display()} {self.address_hash[:8]}… ({self.get_reason_display()})"

    @classmethod
    def of_recipient(cls) -> Exists:
        """In a query of recipients: whether the address must not be written to."""
        return Exists(cls.objects.filter(medium=OuterRef("medium"), address_hash=OuterRef("address_hash")))


class Dispatch(models.Model):
    """A frozen message for one channel in one language: exactly what was approved."""

    class Purpose(models.TextChoices):
        UPDATE = "update", _("Incident update")
        SURVEY = "survey", _("Survey invitation")
        REMINDER = "reminder", _("Reminder of a survey")  # to those of them who have not answered

    source = models.CharField(max_length=64, db_index=True)  # who asked, e.g. "update:42"
    thread = models.CharField(max_length=64, db_index=True)  # what belongs together, e.g. "incident-9f3k…"
    purpose = models.CharField(max_length=16, choices=Purpose, default=Purpose.UPDATE)
    channel = models.ForeignKey(Channel, on_delete=models.PROTECT, related_name="dispatches")
    # What it goes through: its own channel, or that one's fallback, once the own one has failed.
    via = models.ForeignKey(Channel, on_delete=models.PROTECT, related_name="+")
    via_since = models.DateTimeField(null=True, blank=True)
    via_reason = models.CharField(max_length=600, blank=True)
    locale = models.CharField(max_length=8)
    # {"parts": {...}, "links": {...}}, and "picture": {"sha256", "alt"} if it has one: see providers.base.Message
    content = models.JSONField()
    audience = models.JSONField(default=dict)  # how the recipients were chosen, for people to read
    approved_hash = models.CharField(max_length=64)  # SHA-256 of the manifest this is a part of
    approved_count = models.PositiveIntegerField(default=0)  # recipients at approval
    not_before = models.DateTimeField(default=timezone.now)
    expanded_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("dispatch")
        verbose_name_plural = _("dispatches")
        ordering = ["id"]
        permissions = [("retry_dispatch", "Can retry failed deliveries")]
        constraints = [
            models.UniqueConstraint(
                fields=["source", "purpose", "channel", "locale"], name="dispatch_once_per_channel_and_language"
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel} · {self.locale} · {self.source}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.via_id:
            self.via_id = self.channel_id
        super().save(*args, **kwargs)


class Picture(models.Model):
    """A picture by its content, kept once however often it is used. The database refuses to change one."""

    sha256 = models.CharField(max_length=64, primary_key=True)  # of `content`
    content = models.BinaryField()  # in the database, because workers may run on other machines
    content_type = models.CharField(max_length=16)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("picture")
        verbose_name_plural = _("pictures")

    def __str__(self) -> str:
        return self.filename

    @property
    def filename(self) -> str:
        return f"{self.sha256}.{SUFFIXES[self.content_type]}"

    @classmethod
    def keep(cls, prepared: Prepared) -> "Picture":
        """The row of this content, made if there is none. Inside a transaction: locked, so that nobody forgets it."""
        key = sha256(prepared.content).hexdigest()
        values = {name: getattr(prepared, name) for name in ("content", "content_type", "width", "height")}
        return cls.objects.select_for_update().get_or_create(sha256=key, defaults=values)[0]


class Pace(models.Model):
    """How fast a channel goes at the moment (see pace.py)."""

    channel = models.OneToOneField(Channel, on_delete=models.CASCADE, primary_key=True, related_name="+")
    rate = models.FloatField()  # people a second
    free_at = models.DateTimeField()  # when all that was handed out is used up
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.channel_id}: {self.rate:g}/s"

    def recover(self, full: float, now: datetime) -> None:
        """Regain what a throttle took, little by little."""
        gained = full * RECOVERY * max(0.0, (now - self.changed_at).total_seconds())
        self.rate = min(full, self.rate + gained)
        self.changed_at = now


class Batch(models.Model):
    """A chunk of a dispatch's recipients, claimed by one worker at a time.

    `recipient_ids[:done_to]` have their outcome recorded; `[done_to:attempted_to]` were in flight when a worker
    died, if one did; the rest is still to do.
    """

    dispatch = models.ForeignKey(Dispatch, on_delete=models.CASCADE, related_name="batches")
    recipient_ids = models.JSONField()
    size = models.PositiveIntegerField()
    repeats = models.BooleanField(default=False)  # a retry by hand: its recipients have an earlier outcome
    attempted_to = models.PositiveIntegerField(default=0)
    done_to = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)
    fence = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    next_try_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=600, blank=True)

    class Meta:
        verbose_name = _("batch")
        verbose_name_plural = _("batches")
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(done_at__isnull=True), name="batch_due"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(done_to__lte=F("attempted_to")) & Q(attempted_to__lte=F("size")),
                name="batch_progress_in_order",
            )
        ]

    def __str__(self) -> str:
        return f"{self.dispatch_id}/{self.pk}: {self.done_to} of {self.size}"


class Delivery(models.Model):
    """What became of one recipient of one dispatch. Inserted once, with its outcome."""

    class Status(models.TextChoices):
        SENT = "sent", _("Sent")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Not known whether sent")
        SKIPPED = "skipped", _("Not sent: stopped or erased")

    REACHED = (Status.SENT, Status.DELIVERED)

    dispatch = models.ForeignKey(Dispatch, on_delete=models.CASCADE, related_name="deliveries")
    # No database constraint: an erased person must not block the record, nor each insert a look-up.
    recipient = models.ForeignKey(Recipient, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    status = models.CharField(_("status"), max_length=12, choices=Status)
    code = models.CharField(_("reason"), max_length=80, blank=True)
    detail = models.CharField(_("detail"), max_length=500, blank=True)
    provider_ref = models.CharField(_("provider reference"), max_length=200, blank=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=1)
    at = models.DateTimeField(_("when"))
    # When its provider first told that it arrived; not known of providers that do not tell.
    delivered_at = models.DateTimeField(_("arrived"), null=True, blank=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["id"]
        indexes = [models.Index(fields=["dispatch", "status"], name="delivery_by_status")]
        constraints = [models.UniqueConstraint(fields=["dispatch", "recipient"], name="delivery_once_per_recipient")]

    def __str__(self) -> str:
        return f"{self.recipient_id}: {self.get_status_display()}"


class DeliveryTally(models.Model):
    """How many deliveries of a dispatch have an outcome, kept by the database itself with every change to them.

    Counting ten million rows takes seconds; adding up these takes none. Rows are added, not changed, so that workers
    who record the same dispatch do not wait for each other: the count of an outcome is the sum of its rows (negative
    ones where an outcome was replaced). channels.tally adds them up and folds them into one.
    """

    # No constraint: rows are added while a dispatch is being removed. Sums of nothing are folded away.
    dispatch = models.ForeignKey(Dispatch, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    status = models.CharField(max_length=12, choices=Delivery.Status)
    code = models.CharField(max_length=80)
    n = models.BigIntegerField()
    last_at = models.DateTimeField(null=True)
    folded = models.BooleanField(default=False)

    class Meta:
        indexes = [
            models.Index(fields=["dispatch"], condition=Q(folded=False), name="tally_to_fold"),
        ]

    def __str__(self) -> str:
        return f"{self.dispatch_id} {self.status} {self.code}: {self.n}"


class ProviderEvent(models.Model):
    """An event of a provider that was taken in: it may be told again, and must count once."""

    source = models.CharField(max_length=40)  # who tells, e.g. "sns:7" for the topic of channel 7
    event_id = models.CharField(max_length=100)
    received_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("provider event")
        verbose_name_plural = _("provider events")
        constraints = [models.UniqueConstraint(fields=["source", "event_id"], name="provider_event_once")]

    def __str__(self) -> str:
        return f"{self.source} {self.event_id}"


class Notice(models.Model):
    """What an app of one's own shows its users: stored by the in-app channel, read by anybody, sent to nobody."""

    key = models.CharField(max_length=120, unique=True)  # Addressee.key and locale: sending again adds nothing
    thread = models.CharField(max_length=64)
    locale = models.CharField(max_length=8)
    subject = models.TextField()
    text = models.TextField()
    url = models.TextField(blank=True)
    # {"components": [id, …], "stage", "impact", "over"}: the part "facts" of its message; empty if it had none.
    facts = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        indexes = [models.Index(fields=["at"], name="notice_by_time")]

    def __str__(self) -> str:
        return f"{self.thread} · {self.locale}: {self.subject}"

    @classmethod
    def current(cls) -> "models.QuerySet[Notice]":
        """What may still be shown."""
        return cls.objects.filter(at__gte=timezone.now() - timedelta(hours=settings.IN_APP_HOURS))


class NoticeCount(models.Model):
    """In how many browsers a notice was shown, or closed, on a day (UTC). Nothing tells one browser from another."""

    class Event(models.TextChoices):
        SHOWN = "shown", _("Shown")
        DISMISSED = "dismissed", _("Closed")

    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, related_name="counts")
    day = models.DateField()
    event = models.CharField(max_length=12, choices=Event)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["notice", "day", "event"], name="notice_count_once_a_day")]

    def __str__(self) -> str:
        return f"{self.notice_id} {self.event} {self.day}: {self.count}"


class Heartbeat(models.Model):
    """When a background part last proved that it is alive (the worker's canary)."""

    name = models.CharField(max_length=100, primary_key=True)  # of a sweep: its dotted name and a word
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.at:%H:%M:%S}"
